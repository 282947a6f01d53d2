//! The engine API on the Unix socket: what is true now, what happened, and the two ways to end something.

use crate::Engine;
use crate::http::body::{self, Body, empty, full};
use crate::http::path::PlainPath;
use crate::http::problem::{Code, Problem};
use crate::playback::{self, MAX_POLICY_BYTES, ReplaceError};
use crate::process;
use crate::status::{Ledgers, seconds, stream_status};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tallylight_media::{EndReason, Stream};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

/// Tells the control plane's reader that the engine is alive; it gives up after three of them.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Accepts until `shutdown` turns true. Only the owner of the socket file can connect, so nothing is capped here.
pub async fn serve(engine: Arc<Engine>, listener: UnixListener, mut shutdown: watch::Receiver<bool>) {
    loop {
        let socket = tokio::select! {
            accepted = listener.accept() => accepted.map(|(socket, _)| socket),
            _ = shutdown.wait_for(|down| *down) => return,
        };
        let Ok(socket) = socket.inspect_err(|error| tracing::warn!(%error, "api_accept_failed")) else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (engine, shutdown) = (engine.clone(), shutdown.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let (engine, shutdown) = (engine.clone(), shutdown.clone());
                async move { Ok::<_, Infallible>(answer(&engine, request, shutdown).await) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new());
            if let Err(error) = builder.serve_connection(TokioIo::new(socket), service).await {
                tracing::debug!(%error, "api_connection_ended");
            }
        });
    }
}

async fn answer(engine: &Arc<Engine>, request: Request<Incoming>, shutdown: watch::Receiver<bool>) -> Response<Body> {
    let Some(path) = PlainPath::parse(request.uri().path()) else { return Problem::not_found().response() };
    let segments: Vec<&str> = path.segments().collect();
    let get = request.method() == Method::GET;
    let delete = request.method() == Method::DELETE;
    let put = request.method() == Method::PUT;
    match segments[..] {
        ["v1", "health"] if get => json_answer(&health(engine)),
        ["v1", "streams"] if get => {
            let streams: Vec<Value> = engine.streams.all().iter().map(|stream| status(engine, stream)).collect();
            json_answer(&json!({"streams": streams}))
        }
        ["v1", "streams", name] if get => match engine.streams.get(name) {
            Some(stream) => json_answer(&status(engine, &stream)),
            None => Problem::new(Code::StreamUnknown, "Nobody has published on this stream since the engine started.")
                .response(),
        },
        ["v1", "streams", name, "publisher"] if delete => {
            let Some(reason) = cut_reason(request.uri().query()) else {
                return Problem::new(Code::ReasonUnknown, "A publisher is cut as removed or key_rotated.").response();
            };
            engine.cuts.record(name, Instant::now());
            let closed = engine.streams.get(name).is_some_and(|stream| stream.close_publisher(reason));
            done(closed, || Problem::new(Code::NothingOnAir, "Nobody is publishing on this stream."))
        }
        ["v1", "streams", name, "tap"] if get => engine.taps.open(engine.streams.get(name), shutdown),
        ["v1", "policy"] if put => set_policy(engine, request.into_body()).await.unwrap_or_else(Problem::response),
        ["v1", "sessions"] if get => json_answer(&json!({"sessions": sessions(engine).await})),
        ["v1", "sessions", id] if delete => {
            done(close_session(engine, id).await, || Problem::new(Code::SessionUnknown, "There is no such session."))
        }
        ["v1", "statistics"] if get => json_answer(&statistics(engine)),
        ["v1", "events"] if get => events(engine, request.uri().query(), shutdown),
        ["v1", "health" | "streams" | "sessions" | "statistics" | "events"]
        | ["v1", "streams", _]
        | ["v1", "streams", _, "tap"] => Problem::method_not_allowed("GET").response(),
        ["v1", "policy"] => Problem::method_not_allowed("PUT").response(),
        ["v1", "sessions", _] | ["v1", "streams", _, "publisher"] => Problem::method_not_allowed("DELETE").response(),
        _ => Problem::not_found().response(),
    }
}

/// Puts a playback policy in force and ends what it no longer allows.
async fn set_policy(engine: &Arc<Engine>, body: Incoming) -> Result<Response<Body>, Problem> {
    let document = body::receive(body, MAX_POLICY_BYTES).await?;
    playback::replace(engine, document).await.map(|()| no_content()).map_err(|error| match error {
        ReplaceError::Invalid(error) => {
            Problem::new(Code::PolicyInvalid, format!("The playback policy cannot be used: {error}."))
        }
        ReplaceError::NotKept(error) => {
            tracing::error!(%error, "playback_policy_not_kept");
            let detail = format!(
                "The playback policy is in force, but not on disk ({error}): a restarted engine lets nobody watch until it is set again."
            );
            Problem::new(Code::PolicyNotKept, detail)
        }
    })
}

fn status(engine: &Engine, stream: &Stream) -> Value {
    let snapshot = stream.snapshot();
    stream_status(&snapshot, &Ledgers::of(stream), engine.surroundings(&snapshot), Instant::now())
}

fn health(engine: &Engine) -> Value {
    let pid = std::process::id();
    let uptime = engine.started.elapsed();
    let load = process::cpu_time().map(|cpu| cpu.as_secs_f64() / uptime.as_secs_f64().max(0.001));
    json!({
        "status": "pass",
        "version": env!("CARGO_PKG_VERSION"),
        "boot_id": engine.boot_id,
        "pid": pid,
        "uptime_s": seconds(uptime),
        "workers": [{
            "pid": pid,
            "alive": engine.peers.get().is_some(),
            "kind": "webrtc",
            "load": load.map(|load| (load * 100.0).round() / 100.0),
        }],
    })
}

async fn close_session(engine: &Engine, id: &str) -> bool {
    let peer = id.to_owned();
    engine.sessions.close(id)
        || engine.hls.viewers.close(id)
        || engine.with_peers(move |peers| peers.close(&peer)).await.unwrap_or(false)
}

async fn sessions(engine: &Engine) -> Vec<Value> {
    let rtmp = engine.sessions.all().into_iter().map(|session| {
        let (stream, state) = session.place();
        json!({
            "id": session.id, "kind": session.kind, "stream": stream, "state": state,
            "age_s": seconds(session.since.elapsed()), "remote": session.remote.to_string(),
            "packets": session.packets.get(), "bytes": session.bytes.get(),
        })
    });
    let peers = engine.with_peers(|peers| peers.sessions()).await.unwrap_or_default();
    let webrtc = peers.into_iter().map(|session| {
        json!({
            "id": session.id, "kind": session.kind, "stream": session.stream, "state": session.state,
            "age_s": seconds(session.age), "remote": session.remote.map(|remote| remote.to_string()),
            "packets": session.packets, "bytes": session.bytes,
        })
    });
    let hls = engine.hls.viewers.all(Instant::now()).into_iter().map(|session| {
        json!({
            "id": session.id, "kind": "hls", "stream": session.stream, "state": session.state,
            "age_s": seconds(session.age), "remote": session.remote.to_string(),
            "packets": session.requests, "bytes": session.bytes,
        })
    });
    rtmp.chain(webrtc).chain(hls).collect()
}

fn statistics(engine: &Engine) -> Value {
    let mut all: Map<String, Value> =
        engine.counters.all().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    all.extend(process::statistics().into_iter().map(|(name, value)| (name.to_owned(), value.into())));
    all.insert("process.uptime_s".into(), seconds(engine.started.elapsed()).into());
    all.insert("streams.known".into(), engine.streams.all().len().into());
    let webrtc = engine.peers.get().map(|peers| peers.statistics()).unwrap_or_default();
    all.extend(webrtc.into_iter().map(|(name, value)| (format!("webrtc.{name}"), value.into())));
    Value::Object(all)
}

/// `after=N` of the query; without it everything that is still known.
fn after(query: Option<&str>) -> u64 {
    let pairs = query.unwrap_or_default().split('&');
    pairs.filter_map(|pair| pair.strip_prefix("after=")).find_map(|number| number.parse().ok()).unwrap_or(0)
}

/// `reason=` of the query: why a publisher is cut.
fn cut_reason(query: Option<&str>) -> Option<EndReason> {
    match query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("reason=")) {
        None | Some("removed") => Some(EndReason::Removed),
        Some("key_rotated") => Some(EndReason::KeyRotated),
        Some(_) => None,
    }
}

fn events(engine: &Arc<Engine>, query: Option<&str>, shutdown: watch::Receiver<bool>) -> Response<Body> {
    let (sender, body) = body::channel();
    tokio::spawn(tell_events(engine.clone(), after(query), sender, shutdown));
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}

async fn tell_events(
    engine: Arc<Engine>,
    mut after: u64,
    lines: mpsc::Sender<Bytes>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut bell = engine.events.bell();
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.tick().await;
    loop {
        bell.mark_unchanged();
        let replay = engine.events.after(after);
        let lost = replay.lost_before.map(|oldest| json!({"event": "events_lost", "oldest": oldest}).to_string());
        let known = replay.events.iter().map(|event| event.json.as_str());
        let text: String = lost.as_deref().into_iter().chain(known).flat_map(|line| [line, "\n"]).collect();
        after = replay.last_seq;
        if !text.is_empty() && lines.send(Bytes::from(text)).await.is_err() {
            return;
        }
        let beat = tokio::select! {
            _ = bell.changed() => false,
            _ = heartbeat.tick() => true,
            () = lines.closed() => return,
            _ = shutdown.wait_for(|down| *down) => return,
        };
        if beat && lines.send(Bytes::from_static(b"{\"heartbeat\":true}\n")).await.is_err() {
            return;
        }
    }
}

fn json_answer(value: &Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn done(done: bool, problem: impl FnOnce() -> Problem) -> Response<Body> {
    if done { no_content() } else { problem().response() }
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
