//! A WHIP publisher's frames on their way into the stream.
//!
//! str0m gives whole depacketized frames with RTP times; this puts them on the stream's one timeline, finds
//! the decoder configuration in the bits, and holds everything back until the tracks can be announced.
//! Audio and video are aligned by arrival at first and by the publisher's sender reports once both have come.

use crate::codec_of;
use std::time::{Duration, Instant, SystemTime};
use str0m::media::MediaData;
use tallylight_media::{AccessUnit, Codec, EndReason, Kind, Publication, Track, TrackConfig, TrackId};
use tallylight_rtp::Assembler;

/// A second track that has not shown up this long after the first is announced later, by itself.
const SECOND_TRACK_PATIENCE: Duration = Duration::from_millis(500);
/// Units held before the announcement: half a second of 60 fps video with 10 ms audio is 80.
const MAX_HELD_UNITS: usize = 256;
/// Sender reports move the audio only if it is off by more: below, nobody hears it and the report's own jitter dominates.
const SYNC_TOLERANCE_S: f64 = 0.015;
/// Sender reports further apart than this are a broken clock, not lip sync.
const SYNC_LIMIT_S: f64 = 2.0;

struct IncomingTrack {
    id: TrackId,
    rate_hz: u32,
    assembler: Assembler,
    config: Option<TrackConfig>,
    /// RTP time (extended) of stream time zero.
    zero_rtp: i64,
    last_dts: Option<i64>,
    /// Wall clock of the publisher at stream time zero, from its last sender report.
    zero_wall: Option<SystemTime>,
}

pub struct Ingest {
    publication: Publication,
    expects_video: bool,
    expects_audio: bool,
    video: Option<IncomingTrack>,
    audio: Option<IncomingTrack>,
    zero: Option<Instant>,
    announced: Option<Vec<TrackConfig>>,
    held: Vec<AccessUnit>,
    needs_keyframe: bool,
}

impl Ingest {
    pub fn new(publication: Publication, expects_video: bool, expects_audio: bool) -> Ingest {
        Ingest {
            publication,
            expects_video,
            expects_audio,
            video: None,
            audio: None,
            zero: None,
            announced: None,
            held: Vec::new(),
            needs_keyframe: true,
        }
    }

    /// Why the stream ended this publication, if it did.
    pub fn over(&self) -> Option<EndReason> {
        self.publication.over()
    }

    pub fn epoch(&self) -> u64 {
        self.publication.epoch()
    }

    pub fn end(self, reason: EndReason) {
        self.publication.end(reason);
    }

    /// Takes one frame. True: the decoder cannot go on without a keyframe, ask for one.
    pub fn take(&mut self, media: MediaData, now: Instant) -> bool {
        let Some(codec) = codec_of(media.params.spec().codec) else { return false };
        let video = codec.kind() == Kind::Video;
        let stream = self.publication.stream().clone();
        stream.ingest_in.record_bytes(media.data.len() as u64, now);
        let zero = *self.zero.get_or_insert(media.network_time);
        let slot = if video { &mut self.video } else { &mut self.audio };
        let track = slot.get_or_insert_with(|| IncomingTrack::new(codec, &media, zero));
        let assembled = match track.assembler.push(&media.data) {
            Ok(Some(assembled)) => assembled,
            // Parameter sets alone, or pictures before the first keyframe.
            Ok(None) => return video && self.needs_keyframe,
            Err(_) => {
                stream.ingest_in.record_error();
                self.needs_keyframe |= video;
                return video;
            }
        };
        if assembled.config_changed {
            track.config = track.assembler.config().cloned();
        }
        track.read_sender_report(&media);
        if video {
            if assembled.keyframe {
                self.needs_keyframe = false;
            } else if self.needs_keyframe || !media.contiguous {
                self.needs_keyframe = true;
                stream.ingest_in.record_dropped(1);
                return true;
            }
        }
        self.align_audio();
        let track = if video { self.video.as_mut() } else { self.audio.as_mut() };
        let Some(track) = track else { return false };
        let dts = track.next_dts(media.time.numer() as i64);
        let unit = AccessUnit {
            track: track.id,
            pts: dts,
            dts,
            keyframe: !video || assembled.keyframe,
            data: assembled.data,
            arrived_at: media.network_time,
        };
        self.forward(unit, now);
        false
    }

    fn forward(&mut self, unit: AccessUnit, now: Instant) {
        self.announce_if_ready(now);
        if self.announced.is_none() {
            if self.held.len() < MAX_HELD_UNITS {
                self.held.push(unit);
            } else {
                self.publication.stream().ingest_in.record_dropped(1);
            }
            return;
        }
        for held in std::mem::take(&mut self.held) {
            self.publication.push(held, now);
        }
        self.publication.push(unit, now);
    }

    fn announce_if_ready(&mut self, now: Instant) {
        let tracks: Vec<Track> = [&self.video, &self.audio]
            .into_iter()
            .flatten()
            .filter_map(|track| Some(Track { id: track.id, config: track.config.clone()? }))
            .collect();
        let configs: Vec<TrackConfig> = tracks.iter().map(|track| track.config.clone()).collect();
        if tracks.is_empty() || self.announced.as_ref() == Some(&configs) {
            return;
        }
        let known = |expected: bool, kind: Kind| !expected || tracks.iter().any(|track| track.kind() == kind);
        let complete = known(self.expects_video, Kind::Video) && known(self.expects_audio, Kind::Audio);
        let waited = self.zero.is_some_and(|zero| now.saturating_duration_since(zero) > SECOND_TRACK_PATIENCE);
        if complete || waited || self.announced.is_some() {
            self.publication.set_tracks(tracks);
            self.announced = Some(configs);
        }
    }

    /// Moves the audio so that both tracks' sender reports name the same moment as stream time zero.
    fn align_audio(&mut self) {
        let (Some(video), Some(audio)) = (&self.video, &mut self.audio) else { return };
        let (Some(video_zero), Some(audio_zero)) = (video.zero_wall, audio.zero_wall) else { return };
        let off = signed_seconds(audio_zero, video_zero);
        if off.abs() > SYNC_TOLERANCE_S && off.abs() < SYNC_LIMIT_S {
            audio.zero_rtp -= (off * f64::from(audio.rate_hz)) as i64;
            audio.zero_wall = Some(video_zero);
        }
    }
}

impl IncomingTrack {
    fn new(codec: Codec, media: &MediaData, zero: Instant) -> IncomingTrack {
        let rate_hz = media.time.frequency().get();
        let late = media.network_time.saturating_duration_since(zero);
        IncomingTrack {
            id: if codec.kind() == Kind::Video { TrackId::VIDEO } else { TrackId::AUDIO },
            rate_hz,
            assembler: Assembler::new(codec),
            config: None,
            zero_rtp: media.time.numer() as i64 - (late.as_secs_f64() * f64::from(rate_hz)) as i64,
            last_dts: None,
            zero_wall: None,
        }
    }

    /// Stream time of an RTP time; never goes back, also when the alignment moved.
    fn next_dts(&mut self, rtp: i64) -> i64 {
        let dts = rtp - self.zero_rtp;
        let dts = self.last_dts.map_or(dts, |last| dts.max(last + 1));
        self.last_dts = Some(dts);
        dts
    }

    fn read_sender_report(&mut self, media: &MediaData) {
        let Some(report) = media.last_sender_info else { return };
        // The report's RTP time is 32 bits wide; near the frame's it is unambiguous.
        let ahead = (report.rtp_time.numer() as u32).wrapping_sub(media.time.numer() as u32) as i32;
        let report_rtp = media.time.numer() as i64 + i64::from(ahead);
        let since_zero_s = (report_rtp - self.zero_rtp) as f64 / f64::from(self.rate_hz);
        self.zero_wall = shifted(report.ntp_time, -since_zero_s);
    }
}

fn shifted(time: SystemTime, seconds: f64) -> Option<SystemTime> {
    let distance = Duration::try_from_secs_f64(seconds.abs()).ok()?;
    if seconds < 0.0 { time.checked_sub(distance) } else { time.checked_add(distance) }
}

/// `a - b` in seconds.
fn signed_seconds(a: SystemTime, b: SystemTime) -> f64 {
    match a.duration_since(b) {
        Ok(later) => later.as_secs_f64(),
        Err(earlier) => -earlier.duration().as_secs_f64(),
    }
}
