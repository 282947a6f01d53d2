//! What is true about a stream, as the JSON of `docs/engine-api.md`: pure functions over snapshots.

use crate::timestamps::rfc3339;
use crate::viewers::ViewerCount;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tallylight_media::stream::TrackRates;
use tallylight_media::{
    Codec, EndReason, Kind, LedgerSnapshot, Stream, StreamSnapshot, Track, TrackConfig, TrackId, TrackSet, codec,
};

/// Viewers are told that the picture has stopped after this long without media: longer than a hiccup of
/// a mobile uplink, short enough that with the watcher's tick the page says so within 3 s.
pub const NO_MEDIA_AFTER: Duration = Duration::from_millis(1500);

/// What a viewer is told about a stream now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveState {
    OnAir,
    /// A publisher is connected, but nothing has arrived for [`NO_MEDIA_AFTER`].
    NoMedia,
    OffAir,
}

impl LiveState {
    pub fn of(snapshot: &StreamSnapshot, now: Instant) -> LiveState {
        let Some(publisher) = &snapshot.publisher else { return LiveState::OffAir };
        let silent_since = snapshot.last_media_at.unwrap_or(publisher.since);
        if now.saturating_duration_since(silent_since) >= NO_MEDIA_AFTER {
            LiveState::NoMedia
        } else if snapshot.last_media_at.is_some() && snapshot.tracks.is_some() {
            LiveState::OnAir
        } else {
            LiveState::OffAir
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            LiveState::OnAir => "on_air",
            LiveState::NoMedia => "no_media",
            LiveState::OffAir => "off_air",
        }
    }
}

/// Whether one way of playing works, and if not, why and what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Playability {
    pub playable: bool,
    pub code: Option<&'static str>,
    pub reason: Option<&'static str>,
    pub fix: Option<&'static str>,
}

const PLAYABLE: Playability = Playability { playable: true, code: None, reason: None, fix: None };
const STARTING: Playability = no("starting", "The stream is just starting.", None);
const B_FRAMES: Playability = no(
    "b_frames",
    "This stream uses B-frames, which WebRTC cannot play in order, so it plays over HLS a moment later.",
    Some("In OBS: Settings, Output, set B-frames to 0 (for x264 the option bframes=0) or the profile to baseline."),
);
const HEVC: Playability = no(
    "codec_not_webrtc",
    "This stream's video is H.265 (HEVC), which browsers do not play over WebRTC, so it plays over HLS where the browser can.",
    Some("In OBS: Settings, Output, choose an H.264 encoder."),
);
const VP8_IN_HLS: Playability = no(
    "codec_not_hls",
    "This stream's video is VP8, which HLS cannot carry, so it plays over WebRTC only.",
    Some("Publish from a browser that can encode H.264, or choose H.264 in the encoder's settings."),
);

const fn no(code: &'static str, reason: &'static str, fix: Option<&'static str>) -> Playability {
    Playability { playable: false, code: Some(code), reason: Some(reason), fix }
}

/// Can a WebRTC viewer play these tracks? The WHEP route and the pages both decide by this.
pub fn webrtc_playability(tracks: Option<&TrackSet>) -> Playability {
    let Some(tracks) = tracks.filter(|set| !set.tracks.is_empty()) else { return STARTING };
    match tracks.video().map(|video| &video.config) {
        Some(config) if config.codec == Codec::H265 => HEVC,
        Some(config) if config.has_b_frames => B_FRAMES,
        _ => PLAYABLE,
    }
}

/// Can an HLS viewer play these tracks? `ready`: the playlist already has something to play.
pub fn hls_playability(tracks: Option<&TrackSet>, ready: bool) -> Playability {
    match tracks.filter(|set| !set.tracks.is_empty()) {
        Some(set) if set.video().is_some_and(|video| video.config.codec == Codec::Vp8) => VP8_IN_HLS,
        Some(_) if ready => PLAYABLE,
        _ => STARTING,
    }
}

/// What is known about a stream beside its own snapshot.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings {
    pub viewers: ViewerCount,
    pub hls_ready: bool,
}

/// The counters of the links behind the ingest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ledgers {
    pub package_in: LedgerSnapshot,
    pub package_out: LedgerSnapshot,
    pub deliver_in: LedgerSnapshot,
    pub deliver_out: LedgerSnapshot,
}

impl Ledgers {
    pub fn of(stream: &Stream) -> Ledgers {
        Ledgers {
            package_in: stream.package_in.snapshot(),
            package_out: stream.package_out.snapshot(),
            deliver_in: stream.deliver_in.snapshot(),
            deliver_out: stream.deliver_out.snapshot(),
        }
    }
}

/// `StreamStatus` of the engine API.
pub fn stream_status(snapshot: &StreamSnapshot, ledgers: &Ledgers, around: Surroundings, now: Instant) -> Value {
    let publisher = snapshot.publisher.as_ref();
    let tracks = snapshot.tracks.as_deref();
    json!({
        "name": snapshot.name,
        "status": if snapshot.on_air(now) { "ON_AIR" } else { "OFF_AIR" },
        "stream_type": publisher.map(|publisher| publisher.protocol.stream_type()),
        "protocol": publisher.map(|publisher| publisher.protocol.name()),
        "epoch": snapshot.epoch,
        "session": publisher.map(|publisher| publisher.session.as_str()),
        "started_at": publisher.map(|publisher| rfc3339(publisher.started_at)),
        "uptime_s": publisher.map(|publisher| seconds(now.saturating_duration_since(publisher.since))),
        "media_age_ms": media_age_ms(snapshot, now),
        "last_end": snapshot.last_end.map(EndReason::code),
        "tracks": tracks_json(snapshot, now),
        "viewers": around.viewers,
        "playback": {
            "webrtc": webrtc_playability(tracks),
            "hls": hls_playability(tracks, around.hls_ready),
        },
        "ledger": {
            "ingest": link(&snapshot.ingest_in, &snapshot.ingest_out, now),
            "package": link(&ledgers.package_in, &ledgers.package_out, now),
            "deliver": link(&ledgers.deliver_in, &ledgers.deliver_out, now),
        },
    })
}

/// The data of one `event: state` for viewers.
pub fn live_state(snapshot: &StreamSnapshot, around: Surroundings, now: Instant) -> Value {
    let publisher = snapshot.publisher.as_ref();
    let tracks = snapshot.tracks.as_deref();
    json!({
        "stream": snapshot.name,
        "state": LiveState::of(snapshot, now).name(),
        "media_age_ms": media_age_ms(snapshot, now),
        "last_end": snapshot.last_end.map(EndReason::code),
        "epoch": snapshot.epoch,
        "viewers": around.viewers.sum(),
        "started_at": publisher.map(|publisher| rfc3339(publisher.started_at)),
        "stream_type": publisher.map(|publisher| publisher.protocol.stream_type()),
        "tracks": tracks_json(snapshot, now),
        "webrtc": webrtc_playability(tracks),
        "hls": hls_playability(tracks, around.hls_ready),
    })
}

/// A stream nobody has ever published on looks to viewers like any other that is off air.
pub fn live_state_of_unknown(name: &str) -> Value {
    json!({
        "stream": name, "state": "off_air", "media_age_ms": null, "last_end": null, "epoch": 0, "viewers": 0,
        "started_at": null, "stream_type": null, "tracks": [],
        "webrtc": webrtc_playability(None), "hls": hls_playability(None, false),
    })
}

/// The part of a live state whose change viewers are told about at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    state: LiveState,
    epoch: u64,
    tracks_version: Option<u32>,
    last_end: Option<EndReason>,
    hls_ready: bool,
}

impl Fingerprint {
    pub fn of(snapshot: &StreamSnapshot, hls_ready: bool, now: Instant) -> Fingerprint {
        Fingerprint {
            state: LiveState::of(snapshot, now),
            epoch: snapshot.epoch,
            tracks_version: snapshot.tracks.as_ref().map(|set| set.version),
            last_end: snapshot.last_end,
            hls_ready,
        }
    }

    pub fn state(&self) -> LiveState {
        self.state
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// The tracks as the API shows them, with rates where they are measured already.
pub fn tracks_json(snapshot: &StreamSnapshot, now: Instant) -> Vec<Value> {
    let rates = |id: TrackId| snapshot.rates.iter().find(|(track, _)| *track == id).map(|(_, rates)| *rates);
    let tracks = snapshot.tracks.iter().flat_map(|set| &set.tracks);
    tracks.map(|track| track_json(track, rates(track.id).unwrap_or_default(), now)).collect()
}

fn track_json(track: &Track, rates: TrackRates, now: Instant) -> Value {
    let config = &track.config;
    let mut json = json!({
        "id": track.id.0,
        "kind": track.kind().name(),
        "codec": config.codec.name(),
        "codec_string": codec_string(config),
        "bitrate_bps": rates.bitrate_bps.round() as u64,
        "age_ms": rates.last_unit_at.map(|at| milliseconds(now.saturating_duration_since(at))),
    });
    let kind_specific = match track.kind() {
        Kind::Video => json!({
            "width": config.width,
            "height": config.height,
            "has_b_frames": config.has_b_frames,
            "frame_rate": hundredths(rates.units_per_second),
            "keyframe_interval_s": rates.keyframe_interval_s.map(hundredths),
        }),
        Kind::Audio => json!({"sample_rate_hz": config.sample_rate_hz, "channels": config.channels}),
    };
    if let (Value::Object(all), Value::Object(more)) = (&mut json, kind_specific) {
        all.extend(more);
    }
    json
}

/// RFC 6381 codec string; None while the configuration does not say enough for one.
pub fn codec_string(config: &TrackConfig) -> Option<String> {
    /// Profile 0 has 8 bits; other profiles do not come out of browsers.
    const VP9_PROFILE: (u8, u8) = (0, 8);
    match config.codec {
        Codec::H264 => codec::h264::codec_string(&config.extradata).ok(),
        Codec::H265 => codec::h265::codec_string(&config.extradata).ok(),
        Codec::Av1 => codec::av1::codec_string(&config.extradata).ok(),
        Codec::Vp8 => Some(codec::vp8::codec_string()),
        Codec::Vp9 => Some(codec::vp9::codec_string(VP9_PROFILE.0, VP9_PROFILE.1, config.width, config.height)),
        Codec::Aac => codec::aac::codec_string(&config.extradata).ok(),
        Codec::Opus => Some(codec::opus::codec_string()),
    }
}

fn link(into: &LedgerSnapshot, out: &LedgerSnapshot, now: Instant) -> Value {
    json!({"in": ledger(into, now), "out": ledger(out, now)})
}

fn ledger(values: &LedgerSnapshot, now: Instant) -> Value {
    json!({
        "bytes": values.bytes,
        "access_units": values.access_units,
        "keyframes": values.keyframes,
        "last_pts": values.last_pts,
        "age_ms": values.last_at.map(|at| milliseconds(now.saturating_duration_since(at))),
        "errors": values.errors,
        "dropped": values.dropped,
    })
}

/// How old the newest media is; None when no publisher is connected or none has come yet.
fn media_age_ms(snapshot: &StreamSnapshot, now: Instant) -> Option<u64> {
    let at = snapshot.last_media_at.filter(|_| snapshot.publisher.is_some())?;
    Some(milliseconds(now.saturating_duration_since(at)))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds with milliseconds, as shown in the API.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::Arc;
    use tallylight_media::{AccessUnit, Protocol, Publication, PublisherInfo, Streams};

    fn video(codec: Codec, has_b_frames: bool) -> Track {
        let config = TrackConfig {
            codec,
            timescale_hz: 90_000,
            extradata: Bytes::new(),
            width: 1280,
            height: 720,
            sample_rate_hz: 0,
            channels: 0,
            has_b_frames,
        };
        Track { id: TrackId::VIDEO, config }
    }

    fn set(codec: Codec, has_b_frames: bool) -> TrackSet {
        TrackSet { epoch: 1, version: 1, tracks: vec![Arc::new(video(codec, has_b_frames))] }
    }

    fn publish(stream: &Arc<Stream>, now: Instant) -> Publication {
        let info = PublisherInfo {
            session: "s1".into(),
            protocol: Protocol::Rtmp,
            request_keyframe: None,
            close: Arc::new(|_| {}),
        };
        let mut publication = stream.publish(info, now).expect("nobody else publishes");
        publication.set_tracks(vec![video(Codec::H264, false)]);
        publication
    }

    fn unit(now: Instant) -> AccessUnit {
        AccessUnit {
            track: TrackId::VIDEO,
            pts: 0,
            dts: 0,
            keyframe: true,
            data: Bytes::from_static(&[0; 4]),
            arrived_at: now,
        }
    }

    #[test]
    fn playability_names_the_cause() {
        let webrtc = |codec, b_frames| webrtc_playability(Some(&set(codec, b_frames))).code;
        assert_eq!(webrtc_playability(None).code, Some("starting"));
        assert_eq!(webrtc(Codec::H264, false), None);
        assert_eq!(webrtc(Codec::H264, true), Some("b_frames"));
        assert_eq!(webrtc(Codec::H265, true), Some("codec_not_webrtc"));
        assert_eq!(webrtc(Codec::Vp8, false), None);
        assert_eq!(hls_playability(Some(&set(Codec::Vp8, false)), true).code, Some("codec_not_hls"));
        assert_eq!(hls_playability(Some(&set(Codec::H265, true)), true).code, None);
        assert_eq!(hls_playability(Some(&set(Codec::H264, false)), false).code, Some("starting"));
        for problem in [B_FRAMES, HEVC, VP8_IN_HLS] {
            assert!(problem.reason.is_some_and(|text| text.ends_with('.')) && problem.fix.is_some());
        }
    }

    #[test]
    fn a_stream_goes_through_its_states() {
        let stream = Streams::new(1).get_or_create("main");
        let start = Instant::now();
        let state = |after: Duration| LiveState::of(&stream.snapshot(), start + after);
        assert_eq!(state(Duration::ZERO), LiveState::OffAir);
        let publication = publish(&stream, start);
        assert_eq!(state(Duration::ZERO), LiveState::OffAir, "connected, nothing sent yet");
        assert_eq!(state(NO_MEDIA_AFTER), LiveState::NoMedia);
        publication.push(unit(start), start);
        assert_eq!(state(Duration::from_millis(1499)), LiveState::OnAir);
        assert_eq!(state(NO_MEDIA_AFTER), LiveState::NoMedia);
        publication.end(EndReason::Finished);
        assert_eq!(state(Duration::ZERO), LiveState::OffAir);
    }

    #[test]
    fn status_has_the_documented_shape() {
        let stream = Streams::new(1).get_or_create("main");
        let now = Instant::now();
        let publication = publish(&stream, now);
        publication.push(unit(now), now);
        let around = Surroundings { viewers: ViewerCount { webrtc: 3, hls: 2 }, hls_ready: true };
        let status = stream_status(&stream.snapshot(), &Ledgers::of(&stream), around, now);
        assert_eq!(status["status"], "ON_AIR");
        assert_eq!(status["stream_type"], "RTMP_STREAM");
        assert_eq!(status["viewers"], json!({"webrtc": 3, "hls": 2}));
        assert_eq!(live_state(&stream.snapshot(), around, now)["viewers"], 5);
        assert_eq!(status["tracks"][0]["width"], 1280);
        let later = now + Duration::from_millis(70);
        let aged = stream_status(&stream.snapshot(), &Ledgers::of(&stream), around, later);
        assert_eq!((&aged["tracks"][0]["age_ms"], &aged["media_age_ms"]), (&json!(70), &json!(70)));
        assert_eq!(status["playback"]["hls"]["playable"], true);
        assert_eq!(status["ledger"]["ingest"]["out"]["access_units"], 1);
        publication.end(EndReason::Finished);
        let status = stream_status(&stream.snapshot(), &Ledgers::of(&stream), around, now);
        assert_eq!(status["status"], "OFF_AIR");
        assert!(status["session"].is_null() && status["started_at"].is_null() && status["media_age_ms"].is_null());
        assert_eq!(status["last_end"], "finished");
    }

    #[test]
    fn an_unknown_stream_has_the_same_fields_as_a_known_one() {
        let stream = Streams::new(1).get_or_create("main");
        let known = live_state(&stream.snapshot(), Surroundings::default(), Instant::now());
        let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&known), keys(&live_state_of_unknown("main")));
    }
}
