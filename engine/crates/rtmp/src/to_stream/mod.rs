//! From RTMP messages to the stream core: tracks to announce, access units to push.
//!
//! ```text
//! push_metadata / push_video / push_audio -> next_output() until None -> Publication::{set_tracks, push}
//! ```
//! Tracks are announced when all that the metadata declared (without metadata: one of each kind) are
//! configured, or after [`ANNOUNCE_AFTER_MS`] of media with what is there. What comes later or changes is
//! announced again. Frames that arrive before wait and are not lost; video starts at a keyframe.

mod audio;
mod clock;
mod timeline;
mod video;

#[cfg(test)]
mod tests;

use crate::flv::{AudioPacket, FlvError, VideoPacket, parse_audio, parse_video};
use crate::metadata::Metadata;
use audio::Audio;
use bytes::Bytes;
use clock::{TrackClock, ticks};
use std::collections::VecDeque;
use std::time::Instant;
use tallylight_media::codec::CodecError;
use tallylight_media::{AccessUnit, Kind, Track, TrackConfig, TrackId};
use timeline::Timeline;
use video::Video;

/// Media to wait through for a second track: encoders send both configurations within the first frames.
pub const ANNOUNCE_AFTER_MS: i64 = 500;
/// Frames kept while waiting; beyond this the tracks are announced at once. Half a second of 240 pictures a
/// second with sound, and a keyframe of any size.
const MAX_WAITING_UNITS: usize = 256;
const MAX_WAITING_BYTES: usize = 16 << 20;
/// No real picture is shown this much before or after its decoding; H.264 reorders at most 16 pictures.
const MAX_COMPOSITION_OFFSET_MS: i32 = 10_000;
/// Announcements allowed in [`STORM_WINDOW_MS`]; an encoder that changes at every keyframe stays below.
const MAX_ANNOUNCEMENTS: u32 = 20;
const STORM_WINDOW_MS: i64 = 10_000;

#[derive(Debug, Clone)]
pub enum Output {
    /// The tracks from here on, in order of their id.
    Tracks(Vec<Track>),
    Unit(AccessUnit),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToStreamError {
    #[error(transparent)]
    Flv(#[from] FlvError),
    /// There would be no picture at all. (Sound that cannot be used is left out instead.)
    #[error(transparent)]
    VideoNotSupported(FlvError),
    #[error("the decoder configuration cannot be used: {0}")]
    Configuration(#[source] CodecError),
    #[error("a damaged frame: {0}")]
    Frame(#[source] CodecError),
    #[error("a frame before its decoder configuration")]
    NoConfiguration,
    #[error("the tracks changed more than {MAX_ANNOUNCEMENTS} times in {STORM_WINDOW_MS} ms")]
    ConfigurationStorm,
}

impl ToStreamError {
    /// Whether the publication cannot go on. After any other error only this message is lost.
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            ToStreamError::Configuration(_) | ToStreamError::ConfigurationStorm | ToStreamError::VideoNotSupported(_)
        )
    }
}

/// A frame that waits for the tracks to be announced.
struct Waiting {
    kind: Kind,
    place_ms: i64,
    composition_offset_ms: i32,
    /// Audio only, in ticks.
    duration: Option<u32>,
    keyframe: bool,
    data: Bytes,
    arrived_at: Instant,
}

#[derive(Default)]
pub struct ToStream {
    metadata: Option<Metadata>,
    video: Video,
    audio: Audio,
    timeline: Timeline,
    video_clock: TrackClock,
    audio_clock: TrackClock,
    /// Place of the first frame, and of the earliest: the zero of the stream's timeline.
    first_ms: Option<i64>,
    zero_ms: i64,
    newest_ms: i64,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    announced: Option<Vec<Track>>,
    /// Since when announcements are counted, and how many there were.
    storm: (i64, u32),
    video_started: bool,
    outputs: VecDeque<Output>,
}

impl ToStream {
    pub fn new() -> ToStream {
        ToStream::default()
    }

    /// Declarations count until the first announcement.
    pub fn push_metadata(&mut self, metadata: Metadata) {
        self.metadata = Some(metadata);
    }

    /// Takes the body of a video message; `timestamp_ms` wraps at 2^32.
    pub fn push_video(&mut self, timestamp_ms: u32, body: Bytes, arrived_at: Instant) -> Result<(), ToStreamError> {
        let packet = parse_video(body).map_err(|error| match error {
            FlvError::VideoCodecId(_) | FlvError::FourCc(_) => ToStreamError::VideoNotSupported(error),
            damaged => damaged.into(),
        })?;
        match packet {
            VideoPacket::Configuration { codec, record } => {
                self.video.configure(codec, &record).map_err(ToStreamError::Configuration)?;
                self.flush()
            }
            VideoPacket::Frame { codec, keyframe, composition_offset_ms, data } => {
                let place_ms = self.place(Kind::Video, timestamp_ms, arrived_at);
                let picture = self.video.frame(codec, keyframe, &data);
                let composition_offset_ms = plausible(composition_offset_ms);
                if let Ok(Some(_)) = &picture {
                    self.video.watch_order(place_ms + i64::from(composition_offset_ms));
                }
                self.announce_changes()?;
                let Some(picture) = picture? else { return Ok(()) };
                self.video_started |= picture.keyframe;
                if self.video_started && self.video.config().is_some() {
                    self.wait(Waiting {
                        kind: Kind::Video,
                        place_ms,
                        composition_offset_ms,
                        duration: None,
                        keyframe: picture.keyframe,
                        data: picture.data,
                        arrived_at,
                    });
                }
                self.flush()
            }
            VideoPacket::Ignored => Ok(()),
        }
    }

    /// Takes the body of an audio message.
    pub fn push_audio(&mut self, timestamp_ms: u32, body: Bytes, arrived_at: Instant) -> Result<(), ToStreamError> {
        match parse_audio(body)? {
            AudioPacket::Configuration { codec, record } => {
                self.audio.configure(codec, &record).map_err(ToStreamError::Configuration)?;
                self.flush()
            }
            // Some encoders mark silence with an empty frame.
            AudioPacket::Frame { data, .. } if data.is_empty() => Ok(()),
            AudioPacket::Frame { codec, data } => {
                let place_ms = self.place(Kind::Audio, timestamp_ms, arrived_at);
                let duration = self.audio.frame(codec, &data);
                self.announce_changes()?;
                let waiting = Waiting {
                    kind: Kind::Audio,
                    place_ms,
                    composition_offset_ms: 0,
                    duration: Some(duration?),
                    keyframe: true,
                    data,
                    arrived_at,
                };
                self.wait(waiting);
                self.flush()
            }
            AudioPacket::Ignored => Ok(()),
        }
    }

    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn place(&mut self, kind: Kind, timestamp_ms: u32, arrived_at: Instant) -> i64 {
        let place_ms = self.timeline.place(kind, timestamp_ms, arrived_at);
        self.first_ms.get_or_insert(place_ms);
        self.newest_ms = self.newest_ms.max(place_ms);
        place_ms
    }

    fn wait(&mut self, frame: Waiting) {
        self.waiting_bytes += frame.data.len();
        self.waiting.push_back(frame);
    }

    /// Announces what is ready, for the first time or because it differs from what was announced.
    fn announce_changes(&mut self) -> Result<(), ToStreamError> {
        let ready = self.announced.is_some() || self.complete() || self.waited_enough();
        let configs = [(TrackId::VIDEO, self.video.config()), (TrackId::AUDIO, self.audio.config())];
        let unchanged = self.announced.as_ref().is_some_and(|announced| {
            let current = configs.iter().filter_map(|(id, config)| config.map(|config| (*id, config)));
            announced.iter().map(|track| (track.id, &track.config)).eq(current)
        });
        if !ready || unchanged {
            return Ok(());
        }
        let track = |(id, config): &(TrackId, Option<&TrackConfig>)| {
            config.map(|config| Track { id: *id, config: config.clone() })
        };
        let tracks: Vec<Track> = configs.iter().filter_map(track).collect();
        if tracks.is_empty() {
            return Ok(());
        }
        self.count_announcement()?;
        match &self.announced {
            // Decoders begin anew with a new configuration, which only a keyframe allows.
            Some(old) if video_differs(old, &tracks) => self.video_started = false,
            Some(_) => {}
            None => {
                self.zero_ms =
                    self.waiting.iter().map(|frame| frame.place_ms).min().unwrap_or(self.first_ms.unwrap_or(0))
            }
        }
        self.outputs.push_back(Output::Tracks(tracks.clone()));
        self.announced = Some(tracks);
        Ok(())
    }

    /// Everything that is to come is known.
    fn complete(&self) -> bool {
        let both = Metadata { declares_video: true, declares_audio: true };
        let expected = self.metadata.unwrap_or(both);
        (!expected.declares_video || self.video.settled())
            && (!expected.declares_audio || self.audio.config().is_some())
    }

    fn waited_enough(&self) -> bool {
        self.first_ms.is_some_and(|first_ms| self.newest_ms - first_ms >= ANNOUNCE_AFTER_MS)
            || self.waiting.len() >= MAX_WAITING_UNITS
            || self.waiting_bytes >= MAX_WAITING_BYTES
    }

    fn count_announcement(&mut self) -> Result<(), ToStreamError> {
        let (since_ms, count) = self.storm;
        self.storm =
            if self.newest_ms - since_ms > STORM_WINDOW_MS { (self.newest_ms, 1) } else { (since_ms, count + 1) };
        if self.storm.1 > MAX_ANNOUNCEMENTS { Err(ToStreamError::ConfigurationStorm) } else { Ok(()) }
    }

    /// Hands out what waits, once the tracks are announced.
    fn flush(&mut self) -> Result<(), ToStreamError> {
        self.announce_changes()?;
        if self.announced.is_none() {
            return Ok(());
        }
        self.waiting_bytes = 0;
        while let Some(frame) = self.waiting.pop_front() {
            if let Some(unit) = self.unit(frame) {
                self.outputs.push_back(Output::Unit(unit));
            }
        }
        Ok(())
    }

    /// A frame in ticks; None when its track is not configured any more.
    fn unit(&mut self, frame: Waiting) -> Option<AccessUnit> {
        let (track, config, clock) = match frame.kind {
            Kind::Video => (TrackId::VIDEO, self.video.config()?, &mut self.video_clock),
            Kind::Audio => (TrackId::AUDIO, self.audio.config()?, &mut self.audio_clock),
        };
        let timescale_hz = config.timescale_hz;
        let place_ms = frame.place_ms - self.zero_ms;
        let dts = clock.dts(place_ms, timescale_hz, frame.duration);
        let pts = match frame.kind {
            Kind::Audio => dts,
            // The offset is added to the exact time, so that a shifted dts does not move the picture; but a
            // picture with a positive offset is never shown before it is decoded.
            Kind::Video => {
                let pts = ticks(place_ms + i64::from(frame.composition_offset_ms), timescale_hz);
                if frame.composition_offset_ms >= 0 { pts.max(dts) } else { pts }
            }
        };
        Some(AccessUnit { track, pts, dts, keyframe: frame.keyframe, data: frame.data, arrived_at: frame.arrived_at })
    }
}

fn plausible(composition_offset_ms: i32) -> i32 {
    if composition_offset_ms.abs() <= MAX_COMPOSITION_OFFSET_MS { composition_offset_ms } else { 0 }
}

/// Whether a video decoder must begin anew: everything but the note about reordering counts.
fn video_differs(old: &[Track], new: &[Track]) -> bool {
    let config = |tracks: &[Track]| {
        let video = tracks.iter().find(|track| track.kind() == Kind::Video);
        video.map(|track| TrackConfig { has_b_frames: false, ..track.config.clone() })
    };
    config(old) != config(new)
}
