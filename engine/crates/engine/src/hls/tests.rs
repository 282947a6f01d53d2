//! The store as the front sees it, with a publisher that pushes synthetic units.

use super::answer::HlsRequest;
use super::*;
use crate::http::Body;
use crate::playback::Gate;
use crate::playback::test_support::{private_policy, sign};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tallylight_hls::invariants::{Checker, ParsedPlaylist, parse};
use tallylight_media::{
    AccessUnit, Codec, EndReason, Protocol, Publication, PublisherInfo, Streams, Track, TrackConfig, TrackId,
};

/// A Baseline `avcC` with stubs of one SPS and one PPS.
const AVCC: [u8; 17] = [1, 0x42, 0, 0x0c, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0, 0x0c, 1, 0, 2, 0x68, 0xce];
/// AAC-LC, 48 kHz, stereo.
const AAC: [u8; 2] = [0x11, 0x90];

struct Fixture {
    store: Arc<HlsStore>,
    stream: Arc<Stream>,
    keyframe_requests: Arc<AtomicUsize>,
}

/// One publication; time is in pictures at 25 Hz.
struct OnAir {
    publication: Publication,
    pictures: i64,
}

impl Fixture {
    fn new() -> Fixture {
        let store = Arc::new(HlsStore::new(Arc::default(), Arc::default(), Arc::new(Gate::open(None))));
        let stream = Streams::new(1).get_or_create("main");
        store.ensure(stream.clone());
        Fixture { store, stream, keyframe_requests: Arc::default() }
    }

    fn publish(&self, codec: Codec) -> OnAir {
        let requests = self.keyframe_requests.clone();
        let info = PublisherInfo {
            session: "session".into(),
            protocol: Protocol::Whip,
            request_keyframe: Some(Arc::new(move || {
                requests.fetch_add(1, Ordering::Relaxed);
            })),
            close: Arc::new(|_| {}),
        };
        let mut publication = self.stream.publish(info, Instant::now()).expect("nobody else publishes");
        publication.set_tracks(vec![track(TrackId::VIDEO, codec, &AVCC), track(TrackId::AUDIO, Codec::Aac, &AAC)]);
        OnAir { publication, pictures: 0 }
    }

    /// Waits until the packager has taken this many pictures with their audio.
    async fn packaged(&self, pictures: u64) {
        until(|| self.stream.package_in.snapshot().access_units >= 3 * pictures).await;
    }

    async fn get(&self, path: &str, query: &str) -> Response<Body> {
        self.ask(&Method::GET, path, query).await
    }

    async fn ask(&self, method: &Method, path: &str, query: &str) -> Response<Body> {
        let remote = IpAddr::from([127, 0, 0, 1]);
        let headers = HeaderMap::new();
        self.store.answer(HlsRequest { method, path, query: Some(query), headers: &headers, remote }).await
    }

    async fn bytes(&self, path: &str, query: &str) -> Bytes {
        let response = self.get(path, query).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}?{query}");
        response.into_body().collect().await.expect("a body").to_bytes()
    }

    async fn playlist(&self, query: &str) -> ParsedPlaylist {
        parse(&text(self.bytes("main/media.m3u8", query).await)).expect("a playlist")
    }

    async fn code(&self, path: &str, query: &str) -> (StatusCode, String) {
        let response = self.get(path, query).await;
        let status = response.status();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        (status, problem["code"].as_str().unwrap_or_default().to_owned())
    }
}

impl OnAir {
    /// Sends pictures with a keyframe every two seconds, and the audio beside them.
    fn send(&mut self, pictures: i64) {
        for _ in 0..pictures {
            self.picture(self.pictures % 50 == 0);
        }
    }

    fn picture(&mut self, keyframe: bool) {
        let dts = self.pictures * 3600;
        self.push(TrackId::VIDEO, dts, keyframe, 1000);
        for frame in 0..2 {
            // 1,920 ticks a picture: two frames of 960 stand for the 1.875 of 1,024.
            self.push(TrackId::AUDIO, self.pictures * 1920 + frame * 960, true, 100);
        }
        self.pictures += 1;
    }

    fn push(&self, track: TrackId, dts: i64, keyframe: bool, size: usize) {
        let now = Instant::now();
        let unit = AccessUnit { track, pts: dts, dts, keyframe, data: vec![7; size].into(), arrived_at: now };
        assert!(self.publication.push(unit, now));
    }
}

fn track(id: TrackId, codec: Codec, extradata: &[u8]) -> Track {
    let video = id == TrackId::VIDEO;
    Track {
        id,
        config: TrackConfig {
            codec,
            timescale_hz: if video { 90_000 } else { 48_000 },
            extradata: Bytes::copy_from_slice(extradata),
            width: if video { 640 } else { 0 },
            height: if video { 360 } else { 0 },
            sample_rate_hz: 48_000,
            channels: 2,
            has_b_frames: false,
        },
    }
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

fn text(bytes: Bytes) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[tokio::test]
async fn a_player_gets_from_the_entry_to_the_media() {
    let fixture = Fixture::new();
    fixture.publish(Codec::H264).send(120);
    // The publication has ended with that; a second one is on air.
    let mut on_air = fixture.publish(Codec::H264);
    on_air.send(120);
    fixture.packaged(240).await;
    let entry = text(fixture.bytes("main/index.m3u8", "").await);
    assert!(entry.contains("CODECS=\"avc1.42000c,mp4a.40.2\",RESOLUTION=640x360"), "{entry}");
    let own = entry.lines().last().expect("an address");
    assert!(own.starts_with("media.m3u8?session="), "{entry}");
    let playlist = fixture.playlist("").await;
    assert!(playlist.segments.iter().any(|segment| segment.discontinuity));
    for segment in &playlist.segments {
        let init = fixture.bytes(&format!("main/{}", segment.map.as_deref().expect("a map")), "").await;
        assert_eq!(&init[4..8], b"ftyp");
        for name in segment.uri.iter().chain(segment.parts.iter().map(|part| &part.uri)) {
            assert_eq!(&fixture.bytes(&format!("main/{name}"), "").await[4..8], b"moof");
        }
    }
    assert!(fixture.store.counters.hls_bytes.get() > 100_000);
}

#[tokio::test]
async fn a_history_over_reconnects_keeps_the_rules() {
    let fixture = Fixture::new();
    let mut checker = Checker::new();
    for _ in 0..4 {
        let mut on_air = fixture.publish(Codec::H264);
        // The first segment of the publication makes the playlist playable.
        on_air.send(60);
        let mut next = fixture.playlist("").await;
        for round in 0..40 {
            on_air.send(5);
            let (msn, part) = after(&next);
            let skip = if round % 2 == 0 { "&_HLS_skip=YES" } else { "" };
            let read = text(fixture.bytes("main/media.m3u8", &format!("_HLS_msn={msn}&_HLS_part={part}{skip}")).await);
            assert_eq!(checker.playlist(&read), [], "{read}");
            next = parse(&read).expect("a playlist");
        }
        on_air.publication.end(EndReason::ConnectionLost);
    }
    assert_eq!(checker.playlists(), 160);
}

/// What a player asks for next: the part after the last one.
fn after(playlist: &ParsedPlaylist) -> (u64, usize) {
    let (msn, last) = playlist.numbered().last().expect("a segment");
    if last.uri.is_some() { (msn + 1, 0) } else { (msn, last.parts.len()) }
}

#[tokio::test]
async fn requests_are_held_until_the_part_is_there() {
    let fixture = Arc::new(Fixture::new());
    let mut on_air = fixture.publish(Codec::H264);
    on_air.send(101);
    fixture.packaged(101).await;
    let before = fixture.playlist("").await;
    let hint = before.hint.clone().expect("a hint");
    let (msn, part) = after(&before);
    let ask = |path: String, query: String| {
        let fixture = fixture.clone();
        tokio::spawn(async move { fixture.bytes(&path, &query).await })
    };
    let playlist = ask("main/media.m3u8".into(), format!("_HLS_msn={msn}&_HLS_part={part}"));
    let hinted = ask(format!("main/{hint}"), String::new());
    until(|| fixture.store.counters.hls_held.get() >= 2).await;
    on_air.send(10);
    assert!(after(&parse(&text(playlist.await.expect("an answer"))).expect("a playlist")) > (msn, part));
    assert_eq!(&hinted.await.expect("an answer")[4..8], b"moof");
    assert_eq!(fixture.store.counters.hls_held.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_held_request_ends_after_three_target_durations() {
    let fixture = Fixture::new();
    let mut on_air = fixture.publish(Codec::H264);
    on_air.send(120);
    fixture.packaged(120).await;
    let (msn, _) = after(&fixture.playlist("").await);
    let asked_at = tokio::time::Instant::now();
    let answer = fixture.code("main/media.m3u8", &format!("_HLS_msn={}", msn + 1)).await;
    assert_eq!(answer, (StatusCode::SERVICE_UNAVAILABLE, "try_again".to_owned()));
    assert_eq!(asked_at.elapsed().as_secs(), 12);
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let fixture = Arc::new(Fixture::new());
    let on_air = fixture.publish(Codec::H264);
    let asking = tokio::spawn({
        let fixture = fixture.clone();
        async move { fixture.get("main/index.m3u8", "").await }
    });
    until(|| fixture.store.counters.hls_held.get() >= 1).await;
    asking.abort();
    assert!(asking.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(fixture.store.counters.hls_held.get(), 0);
    assert_eq!(fixture.store.held.available_permits(), MAX_HELD);
    drop(on_air);
}

#[tokio::test]
async fn refusals_have_codes() {
    let fixture = Fixture::new();
    let missing = |code: &str| (StatusCode::NOT_FOUND, code.to_owned());
    assert_eq!(fixture.code("nobody/index.m3u8", "").await, missing("nothing_on_air"));
    assert_eq!(fixture.code("main/index.m3u8", "").await, missing("nothing_on_air"));
    assert_eq!(fixture.code("main/media.m3u8", "").await, missing("nothing_on_air"));
    assert_eq!(fixture.code("main/../index.m3u8", "").await, missing("not_found"));
    assert_eq!(fixture.code("main", "").await, missing("not_found"));
    assert_eq!(fixture.code("main/seg-1.mp4", "").await, missing("not_found"));
    let mut on_air = fixture.publish(Codec::H264);
    on_air.send(120);
    fixture.packaged(120).await;
    let (msn, _) = after(&fixture.playlist("").await);
    let invalid = (StatusCode::BAD_REQUEST, "reload_invalid".to_owned());
    for query in [format!("_HLS_msn={}", msn + 2), "_HLS_part=0".into(), "_HLS_msn=x".into()] {
        assert_eq!(fixture.code("main/media.m3u8", &query).await, invalid, "{query}");
    }
    let put = fixture.ask(&Method::PUT, "main/index.m3u8", "").await;
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
    let preflight = fixture.ask(&Method::OPTIONS, "main/index.m3u8", "").await;
    assert_eq!(preflight.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn vp8_is_refused_in_words_also_to_those_who_wait() {
    let fixture = Arc::new(Fixture::new());
    let asking = {
        let on_air = fixture.publish(Codec::Vp8);
        let answer = fixture.code("main/index.m3u8", "").await;
        drop(on_air);
        answer
    };
    assert_eq!(asking, (StatusCode::CONFLICT, "codec_not_playable".to_owned()));
}

#[tokio::test]
async fn publishers_without_a_keyframe_are_asked_for_one() {
    let fixture = Fixture::new();
    let mut on_air = fixture.publish(Codec::H264);
    on_air.picture(false);
    until(|| fixture.keyframe_requests.load(Ordering::Relaxed) > 0).await;
}

#[tokio::test]
async fn links_are_counted_and_readiness_is_told() {
    let fixture = Fixture::new();
    let mut on_air = fixture.publish(Codec::H264);
    let epoch = on_air.publication.epoch();
    assert!(!fixture.store.ready("main", epoch));
    on_air.send(120);
    fixture.packaged(120).await;
    assert!(fixture.store.ready("main", epoch) && !fixture.store.ready("main", epoch + 1));
    on_air.publication.end(EndReason::Finished);
    until(|| fixture.store.get("main").is_some_and(|packaged| packaged.snapshots.borrow().ended())).await;
    let (into, out) = (fixture.stream.package_in.snapshot(), fixture.stream.package_out.snapshot());
    assert_eq!((into.access_units, into.keyframes, into.bytes), (360, 3, 120 * 1000 + 240 * 100));
    assert_eq!(out.access_units + out.dropped, into.access_units);
    assert_eq!(out.keyframes, 3);
    assert!(fixture.store.events.after(0).events.iter().any(|event| event.name == "hls_started"));
}

const NEVER: u64 = 1 << 40;

/// The private viewer's own playlist.
async fn enter(fixture: &Fixture, key: u8) -> String {
    let entry = text(fixture.bytes("main/index.m3u8", &format!("token={}", sign([key; 32], "main", NEVER))).await);
    let own = entry.lines().last().expect("an address").to_owned();
    assert!(own.starts_with('~') && own.ends_with("/media.m3u8"), "{entry}");
    format!("main/{own}")
}

async fn on_air() -> (Fixture, OnAir) {
    let fixture = Fixture::new();
    let mut on_air = fixture.publish(Codec::H264);
    on_air.send(120);
    fixture.packaged(120).await;
    (fixture, on_air)
}

#[tokio::test]
async fn viewers_are_counted_by_their_own_playlists() {
    let (fixture, _on_air) = on_air().await;
    let watching = || fixture.store.viewers.count(Instant::now()).get("main").copied().unwrap_or(0);
    for viewers in 1..=3 {
        let entry = text(fixture.bytes("main/index.m3u8", "").await);
        let own = entry.lines().last().expect("an address");
        assert_eq!(watching(), viewers - 1, "the entry alone is no viewer");
        let query = own.strip_prefix("media.m3u8?").expect("a session");
        for _ in 0..2 {
            let playlist = fixture.playlist(query).await;
            assert!(playlist.segments.iter().filter_map(|it| it.uri.as_ref()).all(|uri| !uri.contains('?')), "shared");
        }
        assert_eq!(watching(), viewers);
    }
    let entry = fixture.get("main/index.m3u8", "").await;
    assert_eq!(entry.headers()[header::CACHE_CONTROL], "private, no-store");
    let segment = fixture.playlist("").await.segments[0].uri.clone().expect("a segment");
    let media = fixture.get(&format!("main/{segment}"), "").await;
    assert_eq!(media.headers()[header::CACHE_CONTROL], "public, max-age=86400, immutable");
    fixture.playlist("session=x").await;
    assert_eq!(watching(), 3);
}

#[tokio::test]
async fn private_media_is_below_a_session_only() {
    let (fixture, _on_air) = on_air().await;
    let segment = fixture.playlist("").await.segments[0].uri.clone().expect("a segment");
    fixture.store.gate.replace(private_policy("main", 1).into(), async {}).await.expect("a policy");
    let refused = |code: &str| (StatusCode::UNAUTHORIZED, code.to_owned());
    let expired = sign([1; 32], "main", 1);
    for (query, code) in [
        ("".to_owned(), "token_missing"),
        ("token=a.b.c".into(), "token_wrong"),
        (format!("token={}", sign([2; 32], "main", NEVER)), "token_wrong"),
        (format!("token={}", sign([1; 32], "other", NEVER)), "token_wrong"),
        (format!("token={expired}"), "token_expired"),
    ] {
        let answer = fixture.get("main/index.m3u8", &query).await;
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(fixture.code("main/index.m3u8", &query).await, refused(code), "{query}");
    }
    let token = format!("token={}", sign([1; 32], "main", NEVER));
    for path in ["main/media.m3u8".to_owned(), format!("main/{segment}"), format!("main/~0123/{segment}")] {
        assert_eq!(fixture.code(&path, &token).await, refused("token_missing"), "{path}");
    }
    let own = enter(&fixture, 1).await;
    let playlist = parse(&text(fixture.bytes(&own, "").await)).expect("a playlist");
    assert_eq!(playlist.segments[0].uri.as_ref(), Some(&segment), "relative, so below the session");
    let below = own.replace("media.m3u8", &segment);
    let media = fixture.get(&below, "").await;
    assert_eq!(
        (media.status(), &media.headers()[header::CACHE_CONTROL]),
        (StatusCode::OK, &HeaderValue::from_static("private, no-store"))
    );
    assert_eq!(fixture.code(&own.replace("main/", "other/"), "").await, refused("token_missing"));
    let not_found = (StatusCode::NOT_FOUND, "not_found".to_owned());
    for path in [own.replace("media", "index"), own.replace('~', "~~"), "main/~/".into(), "main/~a".into()] {
        assert_ne!(fixture.get(&path, &token).await.status(), StatusCode::OK, "{path}");
    }
    assert_eq!(fixture.code(&own.replace("media", "index"), &token).await, not_found);
    let session = &fixture.store.viewers.all(Instant::now())[0];
    assert_eq!((session.state, session.stream.as_str(), session.requests), ("watching", "main", 2));
    assert!(session.bytes > 1000);
}

#[tokio::test]
async fn a_new_policy_cuts_those_who_watch_also_while_they_are_held() {
    let (fixture, mut on_air) = on_air().await;
    let fixture = Arc::new(fixture);
    fixture.store.gate.replace(private_policy("main", 1).into(), async {}).await.expect("a policy");
    let own = enter(&fixture, 1).await;
    let (msn, part) = after(&parse(&text(fixture.bytes(&own, "").await)).expect("a playlist"));
    let held = tokio::spawn({
        let (fixture, own) = (fixture.clone(), own.clone());
        async move { fixture.code(&own, &format!("_HLS_msn={msn}&_HLS_part={part}")).await }
    });
    until(|| fixture.store.counters.hls_held.get() == 1).await;
    fixture.store.gate.replace(private_policy("main", 2).into(), async {}).await.expect("a policy");
    assert_eq!(fixture.store.viewers.revoke(&fixture.store.gate.policy()), 1);
    on_air.send(10);
    let revoked = (StatusCode::UNAUTHORIZED, "access_revoked".to_owned());
    assert_eq!(held.await.expect("an answer"), revoked);
    assert_eq!(fixture.code(&own, "").await, revoked);
    assert_eq!(
        fixture.code("main/index.m3u8", &format!("token={}", sign([1; 32], "main", NEVER))).await.1,
        "token_wrong"
    );
    let again = enter(&fixture, 2).await;
    fixture.bytes(&again, "").await;
    fixture.store.gate.replace(r#"{"streams":{}}"#.into(), async {}).await.expect("a policy");
    fixture.bytes(&again, "").await;
    fixture.playlist("").await;
}

#[tokio::test]
async fn a_public_viewer_is_cut_when_the_stream_turns_private() {
    let (fixture, mut on_air) = on_air().await;
    let fixture = Arc::new(fixture);
    let (msn, part) = after(&fixture.playlist("").await);
    let held = tokio::spawn({
        let fixture = fixture.clone();
        async move { fixture.code("main/media.m3u8", &format!("_HLS_msn={msn}&_HLS_part={part}")).await }
    });
    until(|| fixture.store.counters.hls_held.get() == 1).await;
    fixture.store.gate.replace(private_policy("main", 1).into(), async {}).await.expect("a policy");
    on_air.send(10);
    assert_eq!(held.await.expect("an answer"), (StatusCode::UNAUTHORIZED, "access_revoked".to_owned()));
    assert_eq!(fixture.code("main/media.m3u8", "").await, (StatusCode::UNAUTHORIZED, "token_missing".to_owned()));
}
