//! What happened, in order: a ring of the last events for replay, and a bell for live readers.
//!
//! Events are hints for the control plane and lines in the log, under the same name. They never hold keys.

use crate::timestamps::rfc3339;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tokio::sync::watch;

/// A control plane that was away for its three seconds of restart finds everything; one that was away
/// for longer reads the streams anew.
pub const RING_EVENTS: usize = 1000;

/// One event, numbered from 1.
#[derive(Debug)]
pub struct Event {
    pub seq: u64,
    pub name: &'static str,
    /// The whole event as one JSON line without a line end.
    pub json: String,
}

/// The answer to "what happened after event N?".
#[derive(Debug)]
pub struct Replay {
    pub events: Vec<Arc<Event>>,
    /// The oldest event still known, when events after N are already gone.
    pub lost_before: Option<u64>,
    /// Read on from here.
    pub last_seq: u64,
}

pub struct EventLog {
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    last_seq: u64,
}

impl Default for EventLog {
    fn default() -> Self {
        EventLog::new()
    }
}

impl EventLog {
    pub fn new() -> EventLog {
        EventLog { ring: Mutex::default(), newest: watch::Sender::new(0) }
    }

    /// Records and logs one event. May be called from any thread; never blocks on a reader.
    pub fn emit(&self, event: &'static str, fields: &[(&str, Value)]) {
        let at = rfc3339(SystemTime::now());
        let seq = {
            let mut ring = self.lock();
            let seq = ring.last_seq + 1;
            let json = line(seq, &at, event, fields);
            tracing::info!(target: "tallylight::events", json = json.as_str());
            ring.last_seq = seq;
            ring.events.push_back(Arc::new(Event { seq, name: event, json }));
            if ring.events.len() > RING_EVENTS {
                ring.events.pop_front();
            }
            seq
        };
        // Two emitters may ring in either order; the bell only ever shows the larger number.
        self.newest.send_if_modified(|newest| std::mem::replace(newest, seq.max(*newest)) < seq);
    }

    /// Everything known after `seq`. A number from the future (an earlier engine's) replays everything.
    pub fn after(&self, seq: u64) -> Replay {
        let ring = self.lock();
        let seq = if seq > ring.last_seq { 0 } else { seq };
        let oldest = ring.last_seq + 1 - ring.events.len() as u64;
        Replay {
            events: ring.events.iter().filter(|event| event.seq > seq).cloned().collect(),
            lost_before: (seq + 1 < oldest).then_some(oldest),
            last_seq: ring.last_seq,
        }
    }

    /// A bell that rings with the newest number.
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn line(seq: u64, at: &str, event: &str, fields: &[(&str, Value)]) -> String {
    let mut object = Map::new();
    object.insert("seq".into(), seq.into());
    object.insert("at".into(), at.into());
    object.insert("event".into(), event.into());
    object.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replay_starts_after_the_given_number() {
        let log = EventLog::new();
        log.emit("engine_started", &[]);
        log.emit("publish_started", &[("stream", "main".into())]);
        let replay = log.after(1);
        assert_eq!(replay.events.len(), 1);
        let value: Value = serde_json::from_str(&replay.events[0].json).expect("a JSON line");
        assert_eq!((value["seq"].as_u64(), value["stream"].as_str()), (Some(2), Some("main")));
        assert_eq!((replay.lost_before, replay.last_seq), (None, 2));
        assert!(log.after(2).events.is_empty());
    }

    #[test]
    fn a_full_ring_says_what_is_lost() {
        let log = EventLog::new();
        for _ in 0..RING_EVENTS + 5 {
            log.emit("media_stalled", &[]);
        }
        assert_eq!(log.after(0).lost_before, Some(6));
        assert_eq!(log.after(4).lost_before, Some(6));
        assert_eq!(log.after(5).lost_before, None);
        assert_eq!(log.after(5).events.len(), RING_EVENTS);
    }

    #[test]
    fn a_number_from_an_earlier_engine_replays_everything() {
        let log = EventLog::new();
        log.emit("engine_started", &[]);
        assert_eq!(log.after(900).events.len(), 1);
    }

    #[tokio::test]
    async fn the_bell_rings() {
        let log = EventLog::new();
        let mut bell = log.bell();
        log.emit("engine_started", &[]);
        bell.changed().await.expect("the log lives");
        assert_eq!(*bell.borrow(), 1);
    }
}
