//! `/live/{name}/events`: the state of a stream for viewers' players, as server-sent events.

use super::body::{self, Body};
use super::front::open_to_all;
use crate::Engine;
use crate::playback::Grant;
use crate::status::{Fingerprint, LiveState, live_state, live_state_of_unknown};
use bytes::Bytes;
use hyper::Response;
use hyper::header::{self, HeaderValue};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// A player that hears nothing for a few of these knows that the server is gone.
const REPEAT: Duration = Duration::from_secs(2);
/// While media is stalled the page counts the seconds.
const REPEAT_WHILE_STALLED: Duration = Duration::from_secs(1);

/// Starts an endless answer that begins with the state of now. `name` may be unknown. It ends when the policy no longer allows `grant`.
pub fn events(engine: &Arc<Engine>, name: &str, grant: Grant, shutdown: watch::Receiver<bool>) -> Response<Body> {
    let (sender, body) = body::channel();
    tokio::spawn(tell(engine.clone(), name.to_owned(), grant, sender, shutdown));
    let mut response = open_to_all(Response::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx holds answers back unless told not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

async fn tell(
    engine: Arc<Engine>,
    name: String,
    grant: Grant,
    sender: mpsc::Sender<Bytes>,
    mut shutdown: watch::Receiver<bool>,
) {
    engine.counters.http_event_streams.increment();
    let mut changes = engine.live_changes.subscribe();
    let mut policies = engine.gate.changes();
    // EventSource reconnects after this many milliseconds when the connection is lost.
    let mut line = String::from("retry: 1000\n");
    loop {
        let (data, shown) = state(&engine, &name);
        line.push_str(&format!("event: state\ndata: {data}\n\n"));
        if sender.send(Bytes::from(std::mem::take(&mut line))).await.is_err() {
            break;
        }
        let stalled = shown.is_some_and(|shown| shown.state() == LiveState::NoMedia);
        let again = tokio::time::sleep(if stalled { REPEAT_WHILE_STALLED } else { REPEAT });
        let news = async {
            while changes.changed().await.is_ok() {
                if state(&engine, &name).1 != shown {
                    return;
                }
            }
        };
        tokio::select! {
            () = again => {}
            () = news => {}
            _ = policies.wait_for(|policy| !policy.allows(&name, &grant)) => break,
            () = sender.closed() => break,
            _ = shutdown.wait_for(|down| *down) => break,
        }
    }
    engine.counters.http_event_streams.decrement();
}

fn state(engine: &Engine, name: &str) -> (Value, Option<Fingerprint>) {
    let Some(stream) = engine.streams.get(name) else { return (live_state_of_unknown(name), None) };
    let (snapshot, now) = (stream.snapshot(), Instant::now());
    let around = engine.surroundings(&snapshot);
    (live_state(&snapshot, around, now), Some(Fingerprint::of(&snapshot, around.hls_ready, now)))
}
