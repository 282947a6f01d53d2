//! Looks at all streams a few times a second: says when media stops and comes back, when tracks change,
//! closes publishers that stay silent, and rings the bell of those who show live states.

use crate::Engine;
use crate::status::{Fingerprint, LiveState, tracks_json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tallylight_media::{EndReason, StreamSnapshot};
use tokio::sync::watch;

/// With [`crate::status::NO_MEDIA_AFTER`] a page knows of a frozen publisher within 2 s.
const TICK: Duration = Duration::from_millis(250);
/// A publisher that is connected but silent for this long is closed, so that its encoder notices and reconnects.
const CLOSE_STALLED_AFTER: Duration = Duration::from_secs(15);
/// Counting a stream's viewers asks all WebRTC shards, so it is done once a second for all who want to know.
const COUNT_VIEWERS_EVERY: u32 = 4;

/// What was last seen of one stream.
#[derive(Debug, Clone, Copy)]
struct Seen {
    fingerprint: Fingerprint,
    /// Epoch and version of the tracks last announced.
    tracks: Option<(u64, u32)>,
    stalled: bool,
    closed_epoch: Option<u64>,
}

/// Runs until shutdown.
pub async fn run(engine: Arc<Engine>, mut shutdown: watch::Receiver<bool>) {
    let mut seen = HashMap::new();
    let mut bell = engine.events.bell();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count = 0_u32;
    loop {
        let ticked = tokio::select! {
            _ = ticks.tick() => true,
            // What just happened may have changed a state: no need to wait for the tick.
            _ = bell.changed() => false,
            _ = shutdown.wait_for(|down| *down) => return,
        };
        count = count.wrapping_add(u32::from(ticked));
        if ticked && count % COUNT_VIEWERS_EVERY == 1 {
            let sessions = engine.with_peers(|peers| peers.sessions()).await;
            engine.viewers.count(sessions.unwrap_or_default(), engine.hls.viewers.count(Instant::now()));
        }
        let changed = engine.streams.all().iter().fold(false, |changed, stream| {
            let snapshot = stream.snapshot();
            let ready = engine.hls_ready(&snapshot);
            let outcome = look(&mut seen, &snapshot, ready, Instant::now());
            outcome.events(&engine, &snapshot);
            if outcome.close {
                stream.close_publisher(EndReason::Stalled);
            }
            changed | outcome.changed
        });
        if changed {
            engine.live_changes.send_modify(|count| *count += 1);
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    changed: bool,
    announced: bool,
    stalled: bool,
    resumed: bool,
    close: bool,
}

impl Outcome {
    fn events(&self, engine: &Engine, snapshot: &StreamSnapshot) {
        let session = snapshot.publisher.as_ref().map(|publisher| publisher.session.clone());
        let fields = [("stream", snapshot.name.clone().into()), ("session", session.into())];
        if self.announced {
            let [stream, session] = fields.clone();
            engine
                .events
                .emit("tracks_announced", &[stream, session, ("tracks", tracks_json(snapshot, Instant::now()).into())]);
        }
        if self.stalled {
            engine.events.emit("media_stalled", &fields);
        }
        if self.resumed {
            engine.events.emit("media_resumed", &fields);
        }
    }
}

/// Compares one stream with what was last seen of it. Pure but for `seen`.
fn look(seen: &mut HashMap<String, Seen>, snapshot: &StreamSnapshot, hls_ready: bool, now: Instant) -> Outcome {
    let fingerprint = Fingerprint::of(snapshot, hls_ready, now);
    let before = seen.get(&snapshot.name).copied();
    let tracks = snapshot.tracks.as_ref().map(|set| (set.epoch, set.version));
    let same_publication = before.is_some_and(|before| before.fingerprint.epoch() == snapshot.epoch);
    let was_stalled = same_publication && before.is_some_and(|before| before.stalled);
    let state = fingerprint.state();
    let silent_since = snapshot.last_media_at.or(snapshot.publisher.as_ref().map(|publisher| publisher.since));
    let silent = silent_since.is_some_and(|at| now.saturating_duration_since(at) >= CLOSE_STALLED_AFTER);
    let closed_epoch = before.and_then(|before| before.closed_epoch);
    let outcome = Outcome {
        changed: before.is_none_or(|before| before.fingerprint != fingerprint),
        announced: tracks.is_some() && before.is_none_or(|before| before.tracks != tracks),
        stalled: state == LiveState::NoMedia && !was_stalled,
        resumed: state == LiveState::OnAir && was_stalled,
        close: snapshot.publisher.is_some() && silent && closed_epoch != Some(snapshot.epoch),
    };
    let now_seen = Seen {
        fingerprint,
        tracks: tracks.or(before.and_then(|before| before.tracks)),
        stalled: state == LiveState::NoMedia,
        closed_epoch: if outcome.close { Some(snapshot.epoch) } else { closed_epoch },
    };
    seen.insert(snapshot.name.clone(), now_seen);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::NO_MEDIA_AFTER;
    use bytes::Bytes;
    use tallylight_media::{AccessUnit, Codec, Protocol, PublisherInfo, Streams, Track, TrackConfig, TrackId};

    fn audio() -> Track {
        let config = TrackConfig {
            codec: Codec::Opus,
            timescale_hz: 48_000,
            extradata: Bytes::new(),
            width: 0,
            height: 0,
            sample_rate_hz: 48_000,
            channels: 2,
            has_b_frames: false,
        };
        Track { id: TrackId::AUDIO, config }
    }

    #[test]
    fn a_publisher_that_stops_is_noticed_once_and_closed_once() {
        let stream = Streams::new(1).get_or_create("main");
        let start = Instant::now();
        let mut seen = HashMap::new();
        let info = PublisherInfo {
            session: "s".into(),
            protocol: Protocol::Whip,
            request_keyframe: None,
            close: Arc::new(|_| {}),
        };
        let mut publication = stream.publish(info, start).expect("free");
        publication.set_tracks(vec![audio()]);
        let push = |at: Instant| {
            let unit = AccessUnit {
                track: TrackId::AUDIO,
                pts: 0,
                dts: 0,
                keyframe: true,
                data: Bytes::from_static(b"x"),
                arrived_at: at,
            };
            assert!(publication.push(unit, at));
        };
        let mut look_at = |after: Duration| look(&mut seen, &stream.snapshot(), true, start + after);
        push(start);
        assert_eq!(look_at(Duration::ZERO), Outcome { changed: true, announced: true, ..Outcome::default() });
        assert_eq!(look_at(Duration::ZERO), Outcome::default());
        assert_eq!(look_at(NO_MEDIA_AFTER), Outcome { changed: true, stalled: true, ..Outcome::default() });
        assert_eq!(look_at(NO_MEDIA_AFTER), Outcome::default());
        push(start + NO_MEDIA_AFTER);
        assert_eq!(look_at(NO_MEDIA_AFTER), Outcome { changed: true, resumed: true, ..Outcome::default() });
        let late = NO_MEDIA_AFTER + CLOSE_STALLED_AFTER;
        assert!(look_at(late).close);
        assert!(!look_at(late).close, "asked once");
    }
}
