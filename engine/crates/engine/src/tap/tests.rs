//! The tap's answers, with a publisher that pushes synthetic units.

use super::*;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use std::time::Duration;
use tallylight_media::queue::MAX_UNITS;
use tallylight_media::{
    AccessUnit, Codec, EndReason, Protocol, Publication, PublisherInfo, Streams, Track, TrackConfig, TrackId,
};

/// A Baseline `avcC` with stubs of one SPS and one PPS.
const AVCC: [u8; 17] = [1, 0x42, 0, 0x0c, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0, 0x0c, 1, 0, 2, 0x68, 0xce];

struct Fixture {
    taps: Taps,
    stream: Arc<Stream>,
    shutdown: watch::Sender<bool>,
}

/// One publication; time is in pictures at 25 Hz, with a keyframe every 50.
struct OnAir {
    publication: Publication,
    pictures: i64,
}

impl Fixture {
    fn new() -> Fixture {
        let taps = Taps::new(Arc::default(), Arc::default());
        Fixture { taps, stream: Streams::new(1).get_or_create("main"), shutdown: watch::Sender::new(false) }
    }

    fn publish(&self, codec: Codec) -> OnAir {
        let info = PublisherInfo {
            session: "session".into(),
            protocol: Protocol::Whip,
            request_keyframe: None,
            close: Arc::new(|_| {}),
        };
        let publication = self.stream.publish(info, Instant::now()).expect("nobody else publishes");
        let mut on_air = OnAir { publication, pictures: 0 };
        on_air.set_tracks(codec, 640);
        on_air
    }

    fn open(&self) -> Response<Body> {
        self.taps.open(Some(self.stream.clone()), self.shutdown.subscribe())
    }

    fn closed_because(&self, reason: &str) -> bool {
        let reason = format!("\"reason\":\"{reason}\"");
        let events = self.taps.events.after(0).events;
        events.iter().any(|event| event.name == "tap_closed" && event.json.contains(&reason))
    }
}

impl OnAir {
    fn set_tracks(&mut self, codec: Codec, width: u32) {
        let extradata = if codec == Codec::H264 { Bytes::from_static(&AVCC) } else { Bytes::new() };
        let config = TrackConfig {
            codec,
            timescale_hz: 90_000,
            extradata,
            width,
            height: 360,
            sample_rate_hz: 0,
            channels: 0,
            has_b_frames: false,
        };
        self.publication.set_tracks(vec![Track { id: TrackId::VIDEO, config }]);
    }

    fn send(&mut self, pictures: i64) {
        for _ in 0..pictures {
            let (now, dts) = (Instant::now(), self.pictures * 3600);
            let data = vec![7; 1000].into();
            let keyframe = self.pictures % 50 == 0;
            let unit = AccessUnit { track: TrackId::VIDEO, pts: dts, dts, keyframe, data, arrived_at: now };
            assert!(self.publication.push(unit, now));
            self.pictures += 1;
        }
    }
}

async fn whole(response: Response<Body>) -> Bytes {
    assert_eq!(response.status(), StatusCode::OK);
    let collected = tokio::time::timeout(Duration::from_secs(10), response.into_body().collect());
    collected.await.expect("an end").expect("a body").to_bytes()
}

async fn code(response: Response<Body>) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

/// Waits for a condition; a test that waits for ten seconds has failed.
async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), met).await.expect("the condition");
}

/// Names of the boxes on the top level.
fn boxes(mut bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while let [a, b, c, d, name @ ..] = bytes {
        let size = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        names.push(String::from_utf8_lossy(&name[..4]).into_owned());
        bytes = &bytes[size..];
    }
    names
}

#[tokio::test]
async fn starts_at_the_newest_keyframe_and_ends_with_the_publication() {
    for codec in [Codec::H264, Codec::Vp8] {
        let fixture = Fixture::new();
        let mut on_air = fixture.publish(codec);
        on_air.send(60);
        let tap = fixture.open();
        assert_eq!(tap.headers()[header::CONTENT_TYPE], "video/mp4");
        on_air.send(30);
        on_air.publication.end(EndReason::Finished);
        let bytes = whole(tap).await;
        let names = boxes(&bytes);
        assert_eq!(names[..4], ["ftyp", "moov", "moof", "mdat"], "{codec:?}");
        assert_eq!(names.iter().filter(|name| *name == "moov").count(), 1);
        // Pictures 50 to 89; those before the keyframe are not there.
        let samples = bytes.iter().filter(|byte| **byte == 7).count();
        assert!((40_000..40_100).contains(&samples), "{samples}");
        assert!(fixture.closed_because("publication_ended"));
        assert_eq!(fixture.taps.counters.tap_bytes.get(), bytes.len() as u64);
        assert_eq!(fixture.taps.counters.tap_open.get(), 0);
    }
}

#[tokio::test]
async fn without_a_keyframe_nothing_is_sent() {
    let fixture = Fixture::new();
    let mut on_air = fixture.publish(Codec::H264);
    on_air.pictures = 1;
    on_air.send(20);
    let tap = fixture.open();
    on_air.publication.end(EndReason::Finished);
    assert!(whole(tap).await.is_empty());
}

#[tokio::test]
async fn nothing_on_air_is_a_problem() {
    let fixture = Fixture::new();
    let missing = (StatusCode::NOT_FOUND, "nothing_on_air".to_owned());
    assert_eq!(code(fixture.taps.open(None, fixture.shutdown.subscribe())).await, missing);
    assert_eq!(code(fixture.open()).await, missing);
    let mut on_air = fixture.publish(Codec::H264);
    on_air.send(60);
    on_air.publication.end(EndReason::Finished);
    assert_eq!(code(fixture.open()).await, missing);
    assert_eq!(fixture.taps.places.available_permits(), MAX_TAPS);
}

#[tokio::test]
async fn places_are_bounded_and_come_back() {
    let fixture = Fixture::new();
    let mut on_air = fixture.publish(Codec::H264);
    on_air.send(60);
    let taps: Vec<_> = (0..MAX_TAPS).map(|_| fixture.open()).collect();
    assert_eq!(code(fixture.open()).await, (StatusCode::SERVICE_UNAVAILABLE, "too_many_taps".to_owned()));
    until(|| fixture.taps.counters.tap_open.get() == MAX_TAPS as u64).await;
    drop(taps);
    until(|| fixture.taps.places.available_permits() == MAX_TAPS).await;
    assert!(fixture.closed_because("reader_gone"));
    assert_eq!(fixture.taps.counters.tap_open.get(), 0);
}

#[tokio::test]
async fn a_slow_reader_loses_whole_groups_and_nobody_waits() {
    let fixture = Fixture::new();
    let mut on_air = fixture.publish(Codec::H264);
    on_air.send(60);
    let tap = fixture.open();
    // Nobody reads while more than a queue is sent; the channel and the queue fill, and the queue drops.
    on_air.send(2 * MAX_UNITS as i64);
    on_air.publication.end(EndReason::Finished);
    let bytes = whole(tap).await;
    assert!(fixture.taps.counters.tap_dropped.get() > 0);
    assert_eq!(boxes(&bytes)[..4], ["ftyp", "moov", "moof", "mdat"]);
}

#[tokio::test]
async fn other_tracks_end_it_and_so_does_shutdown() {
    let fixture = Fixture::new();
    let mut on_air = fixture.publish(Codec::H264);
    on_air.send(60);
    let tap = fixture.open();
    until(|| fixture.taps.counters.tap_bytes.get() > 0).await;
    on_air.set_tracks(Codec::H264, 320);
    on_air.send(60);
    whole(tap).await;
    assert!(fixture.closed_because("tracks_changed"));
    let tap = fixture.open();
    fixture.shutdown.send_replace(true);
    whole(tap).await;
    assert!(fixture.closed_because("shutdown"));
}
