//! Who may publish when several want to, and what the others are told.

use bytes::Bytes;
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};
use tallylight_media::{
    AccessUnit, Codec, EndReason, GHOST_AFTER, Protocol, PublishError, PublisherInfo, Stream, Streams, Track,
    TrackConfig, TrackId,
};

type Told = Arc<Mutex<Vec<EndReason>>>;

fn publisher(session: &str) -> (PublisherInfo, Told) {
    let told = Told::default();
    let close = told.clone();
    let info = PublisherInfo {
        session: session.into(),
        protocol: Protocol::Rtmp,
        request_keyframe: None,
        close: Arc::new(move |reason| close.lock().expect("unpoisoned").push(reason)),
    };
    (info, told)
}

fn stream() -> Arc<Stream> {
    Streams::new(1).get_or_create("main")
}

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

fn unit(now: Instant) -> AccessUnit {
    let data = Bytes::from_static(b"x");
    AccessUnit { track: TrackId::AUDIO, pts: 0, dts: 0, keyframe: true, data, arrived_at: now }
}

#[test]
fn a_ghost_yields_and_one_that_sends_does_not() {
    let (stream, start) = (stream(), Instant::now());
    let (info, told) = publisher("first");
    let mut first = stream.publish(info, start).expect("free");
    first.set_tracks(vec![audio()]);
    assert!(first.push(unit(start), start + Duration::from_secs(1)));
    let just_before = start + Duration::from_secs(1) + GHOST_AFTER - Duration::from_millis(1);
    assert!(matches!(
        stream.publish(publisher("early").0, just_before),
        Err(PublishError::Busy { session, .. }) if session == "first"
    ));
    let second = stream.publish(publisher("second").0, start + Duration::from_secs(1) + GHOST_AFTER).expect("a ghost");
    assert_eq!((first.over(), second.over()), (Some(EndReason::Replaced), None));
    assert_eq!(*told.lock().expect("unpoisoned"), [EndReason::Replaced]);
    assert!(!first.push(unit(start), start), "what it still sends is nobody's");
    assert!(second.epoch() > first.epoch());
}

#[test]
fn one_that_never_sent_is_a_ghost_as_well() {
    let (stream, start) = (stream(), Instant::now());
    let silent = stream.publish(publisher("silent").0, start).expect("free");
    assert!(stream.publish(publisher("early").0, start + GHOST_AFTER / 2).is_err());
    stream.publish(publisher("second").0, start + GHOST_AFTER).expect("a ghost");
    assert_eq!(silent.over(), Some(EndReason::Replaced));
}

#[test]
fn taking_over_ends_a_publisher_that_sends() {
    let (stream, now) = (stream(), Instant::now());
    let (info, told) = publisher("first");
    let first = stream.publish(info, now).expect("free");
    let second = stream.take_over(publisher("second").0, now);
    assert_eq!(first.over(), Some(EndReason::TakenOver));
    assert_eq!(*told.lock().expect("unpoisoned"), [EndReason::TakenOver]);
    drop(first);
    assert_eq!(stream.snapshot().publisher.map(|publisher| publisher.session), Some("second".into()));
    assert_eq!(stream.snapshot().last_end, None, "the late end of the first is no end of the second");
    second.end(EndReason::Finished);
    assert_eq!(stream.snapshot().last_end, Some(EndReason::Finished));
    assert!(stream.take_over(publisher("third").0, now).over().is_none(), "there is nobody to end");
}

#[test]
fn of_two_at_once_exactly_one_wins() {
    let (stream, now) = (stream(), Instant::now());
    for _ in 0..1000 {
        let start = Barrier::new(2);
        let mut tries = std::thread::scope(|scope| {
            let racers = ["a", "b"].map(|session| {
                let (stream, start) = (&stream, &start);
                scope.spawn(move || {
                    start.wait();
                    stream.publish(publisher(session).0, now)
                })
            });
            racers.map(|racer| racer.join().expect("no panic"))
        });
        assert_eq!(tries.iter().filter(|tried| tried.is_ok()).count(), 1);
        for winner in tries.iter_mut().filter_map(|tried| tried.as_mut().ok()) {
            winner.set_tracks(vec![audio()]);
            assert!(winner.push(unit(now), now));
        }
    }
}

#[test]
fn of_two_that_take_over_at_once_the_later_one_is_on() {
    let (stream, now) = (stream(), Instant::now());
    let mut before = stream.take_over(publisher("before").0, now);
    for _ in 0..1000 {
        let start = Barrier::new(2);
        let [a, b] = std::thread::scope(|scope| {
            let racers = ["a", "b"].map(|session| {
                let (stream, start) = (&stream, &start);
                scope.spawn(move || {
                    start.wait();
                    stream.take_over(publisher(session).0, now)
                })
            });
            racers.map(|racer| racer.join().expect("no panic"))
        });
        let (loser, winner) = if a.epoch() < b.epoch() { (a, b) } else { (b, a) };
        assert_eq!((before.over(), loser.over()), (Some(EndReason::TakenOver), Some(EndReason::TakenOver)));
        assert_eq!(winner.over(), None);
        before = winner;
    }
}
