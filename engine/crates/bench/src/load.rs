//! The load: N viewers joining at a given rate, then one counted stretch of media, then a report.

use crate::arguments::{ArgumentError, Arguments};
use crate::dtls::{self, DtlsError};
use crate::pattern::{Pattern, PatternError};
use crate::percentile::percentile;
use crate::server::ServerProcess;
use crate::signalling::{self, Signalling};
use crate::tally::{Count, Stretch};
use crate::viewer::{Settings, Totals, Viewer, ViewerError};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tallylight_udp::{RECEIVE_MESSAGES, ReceiveBatch};

/// How long after the last viewer was started the slowest may still be joining.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// str0m's timers are looked at this often: its shortest are DTLS retransmissions of 50 ms and more.
const TICK: Duration = Duration::from_millis(20);
/// A source that has not played the stretch after this much of its duration, and 2 s more, has stalled.
const STRETCH_PATIENCE: f64 = 1.25;
const VIDEO_CLOCK_HZ: f64 = 90_000.0;
const AUDIO_CLOCK_HZ: f64 = 48_000.0;
/// WebRTC's Opus frames are 20 ms (RFC 7587 section 3.3).
const AUDIO_FRAME_TICKS: u32 = 960;
/// Not a viewer's index: the answers of the signalling threads.
const ANSWERS: Token = Token(usize::MAX);

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{0}")]
    Argument(#[from] ArgumentError),
    #[error("{0}")]
    Dtls(#[from] DtlsError),
    #[error("{0}")]
    Viewer(#[from] ViewerError),
    #[error("{0}")]
    Pattern(#[from] PatternError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a load needs at least one viewer and one whole video frame")]
    Nothing,
}

/// What to load and how long.
#[derive(Debug)]
pub struct Options {
    pub url: String,
    pub token: Option<String>,
    pub viewers: usize,
    /// Joins per second.
    pub ramp: f64,
    /// Pause between the last join and the counted stretch.
    pub settle: Duration,
    /// Media time to count; a whole number of the source's loops.
    pub seconds: f64,
    pub frame_rate: f64,
    pub sampled: usize,
    pub server_pid: Option<u32>,
    pub cpu: Option<usize>,
    /// Where to write the packet pattern of the first viewer.
    pub pattern_out: Option<PathBuf>,
    /// Address the viewers' sockets are bound to.
    pub address: IpAddr,
}

impl Options {
    pub fn parse(mut arguments: Arguments) -> Result<Self, LoadError> {
        let options = Self {
            url: arguments.require("url")?,
            token: arguments.take("token")?,
            viewers: arguments.require("viewers")?,
            ramp: arguments.take("ramp")?.unwrap_or(50.0),
            settle: Duration::from_secs_f64(arguments.take("settle")?.unwrap_or(2.0_f64).clamp(0.0, 600.0)),
            seconds: arguments.require("seconds")?,
            frame_rate: arguments.take("frame-rate")?.unwrap_or(30.0),
            sampled: arguments.take("sampled")?.unwrap_or(2),
            server_pid: arguments.take("server-pid")?,
            cpu: arguments.take("cpu")?,
            pattern_out: arguments.take("pattern-out")?,
            address: arguments.take("address")?.unwrap_or(Ipv4Addr::LOCALHOST.into()),
        };
        arguments.finish()?;
        // `>` and not `<=`, so that NaN is refused as well.
        let sensible = options.viewers > 0 && options.ramp > 0.0 && options.seconds * options.frame_rate >= 1.0;
        if sensible { Ok(options) } else { Err(LoadError::Nothing) }
    }

    fn video_stretch(&self) -> Stretch {
        Stretch {
            frame_ticks: (VIDEO_CLOCK_HZ / self.frame_rate).round() as u32,
            frames: (self.seconds * self.frame_rate).round() as u64,
        }
    }

    fn audio_stretch(&self) -> Stretch {
        let frames = self.seconds * AUDIO_CLOCK_HZ / f64::from(AUDIO_FRAME_TICKS);
        Stretch { frame_ticks: AUDIO_FRAME_TICKS, frames: frames.round() as u64 }
    }

    /// Sampled viewers are spread over the joining order.
    fn is_sampled(&self, index: usize) -> bool {
        let sampled = self.sampled.min(self.viewers);
        sampled > 0 && index.is_multiple_of(self.viewers / sampled) && index / (self.viewers / sampled) < sampled
    }
}

/// The result line. Times in the unit of their name; None where nothing could be measured.
#[derive(Debug, Serialize)]
pub struct Report {
    pub n: usize,
    pub connected: usize,
    pub errors: usize,
    pub last_error: Option<String>,
    /// Viewers by the SRTP profile they negotiated.
    pub ciphers: BTreeMap<String, usize>,
    pub post_ms_p50: Option<f64>,
    pub join_ms_p50: Option<f64>,
    pub join_ms_p95: Option<f64>,
    pub first_rtp_ms_p50: Option<f64>,
    pub first_rtp_ms_p95: Option<f64>,
    /// Wall time of the window all CPU figures are of.
    pub window_s: f64,
    pub packets: u64,
    pub packets_per_s: f64,
    pub megabits_per_s: f64,
    /// The smallest of the three ratios below.
    pub delivered_ratio: f64,
    /// Packets of all viewers against the best one's, over the same stretch of media.
    pub ratio_to_best_viewer: f64,
    /// Packets against the span of sequence numbers.
    pub ratio_to_sequence_span: f64,
    /// Frames against those the source has by its timestamps.
    pub ratio_to_source_frames: f64,
    pub incomplete_viewers: usize,
    /// Media seconds per second, 1.0 for a live source that did not stall.
    pub source_speed: Option<f64>,
    pub sampled: usize,
    pub sampled_packets: u64,
    pub sampled_decrypted: u64,
    pub generator_utilisation: f64,
    pub server_cpu_s: Option<f64>,
    pub server_utilisation: Option<f64>,
    pub server_us_per_packet: Option<f64>,
    pub server_rss_bytes_before: Option<u64>,
    pub server_rss_bytes: Option<u64>,
}

/// Readings at one instant.
#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    totals: Totals,
    sampled: Totals,
    generator_cpu: Duration,
    server_cpu: Option<Duration>,
}

pub struct Load {
    options: Options,
    settings: Settings,
    server: ServerProcess,
    poll: Poll,
    signalling: Signalling,
    viewers: Vec<Viewer>,
    refused: Vec<String>,
    batch: ReceiveBatch,
    /// Arrivals and sizes of the first viewer's packets within the window.
    recording: Option<Vec<(Instant, usize)>>,
    rss_before: Option<u64>,
}

impl Load {
    pub fn new(options: Options) -> Result<Self, LoadError> {
        if let Some(cpu) = options.cpu {
            tallylight_udp::pin_to_cpu(cpu)?;
        }
        tallylight_udp::raise_file_limit()?;
        let (crypto, certificate) = dtls::prepare()?;
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), ANSWERS)?;
        // A wake that fails only delays the answer to the next tick.
        let signalling = Signalling::start(&options.url, options.token.as_deref(), move || drop(waker.wake()));
        let server = ServerProcess::new(options.server_pid);
        Ok(Self {
            settings: Settings { address: options.address, crypto, certificate },
            server,
            poll,
            signalling,
            viewers: Vec::with_capacity(options.viewers),
            refused: Vec::new(),
            batch: ReceiveBatch::new(),
            recording: None,
            rss_before: server.resident_bytes(),
            options,
        })
    }

    /// Joins, counts, leaves.
    pub fn run(mut self) -> Result<Report, LoadError> {
        self.join_all()?;
        let settled = Instant::now() + self.options.settle;
        self.serve_until(settled, |_| false)?;
        let begin = self.reading();
        let (video, audio) = (self.options.video_stretch(), self.options.audio_stretch());
        self.viewers.iter_mut().for_each(|viewer| viewer.arm(video, audio));
        self.recording = self.options.pattern_out.is_some().then(Vec::new);
        let patience = Duration::from_secs_f64(self.options.seconds * STRETCH_PATIENCE + 2.0);
        self.serve_until(begin.at + patience, |load| load.viewers.iter().all(Viewer::is_counted))?;
        let end = self.reading();
        let report = self.report(begin, end);
        self.write_pattern()?;
        let sessions: Vec<_> = self.viewers.iter_mut().filter_map(|viewer| viewer.session.take()).collect();
        signalling::leave(&sessions, self.options.token.as_deref());
        Ok(report)
    }

    fn join_all(&mut self) -> Result<(), LoadError> {
        let start = Instant::now();
        let deadline = start + Duration::from_secs_f64(self.options.viewers as f64 / self.options.ramp) + JOIN_TIMEOUT;
        while self.viewers.len() < self.options.viewers {
            let index = self.viewers.len();
            let due = start + Duration::from_secs_f64(index as f64 / self.options.ramp);
            self.serve_until(due, |_| false)?;
            let (viewer, offer) = Viewer::new(&self.settings, self.options.is_sampled(index), Instant::now())?;
            let fd = viewer.socket.as_raw_fd();
            self.poll.registry().register(&mut SourceFd(&fd), Token(index), Interest::READABLE)?;
            self.viewers.push(viewer);
            self.signalling.post(index, offer);
        }
        self.serve_until(deadline, |load| {
            let settled = load.viewers.iter().filter(|viewer| viewer.is_settled()).count();
            settled + load.refused.len() >= load.options.viewers
        })
    }

    /// Receives, answers and runs timers until `deadline` or until `done`, asked at every tick.
    fn serve_until(&mut self, deadline: Instant, done: impl Fn(&Self) -> bool) -> Result<(), LoadError> {
        let mut events = Events::with_capacity(1024);
        let mut next_tick = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_tick {
                self.viewers.iter_mut().for_each(|viewer| viewer.tick(now));
                next_tick = now + TICK;
                if done(self) {
                    return Ok(());
                }
            }
            if now >= deadline {
                return Ok(());
            }
            match self.poll.poll(&mut events, Some(next_tick.min(deadline) - now)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    ANSWERS => self.take_answers(),
                    Token(index) => self.receive(index)?,
                }
            }
        }
    }

    fn take_answers(&mut self) {
        for (index, answer) in self.signalling.answers() {
            match answer {
                Ok(answer) => self.viewers[index].answered(answer, Instant::now()),
                Err(error) => self.refused.push(error.to_string()),
            }
        }
    }

    /// Takes everything waiting: the poll reports each arrival once.
    fn receive(&mut self, index: usize) -> Result<(), LoadError> {
        let viewer = &mut self.viewers[index];
        loop {
            let count = self.batch.receive(&viewer.socket)?;
            let now = Instant::now();
            for position in 0..count {
                let (datagram, source) = self.batch.datagram(position);
                let packets = viewer.totals.packets;
                viewer.datagram(datagram, source, now);
                if let Some(recording) = &mut self.recording
                    && index == 0
                    && viewer.totals.packets > packets
                {
                    recording.push((now, datagram.len()));
                }
            }
            if count < RECEIVE_MESSAGES {
                return Ok(());
            }
        }
    }

    fn reading(&self) -> Reading {
        let sum = |viewers: &mut dyn Iterator<Item = &Viewer>| {
            viewers.fold(Totals::default(), |sum, viewer| sum.plus(viewer.totals))
        };
        Reading {
            at: Instant::now(),
            totals: sum(&mut self.viewers.iter()),
            sampled: sum(&mut self.viewers.iter().filter(|viewer| viewer.sampled())),
            generator_cpu: tallylight_udp::process_cpu_time(),
            server_cpu: self.server.cpu_time(),
        }
    }

    fn write_pattern(&mut self) -> Result<(), LoadError> {
        let (Some(path), Some(packets)) = (&self.options.pattern_out, self.recording.take()) else { return Ok(()) };
        let viewer = self.viewers.first();
        let stretch = viewer.and_then(|viewer| viewer.stretch_began.zip(viewer.stretch_ended));
        let (began, ended) = stretch.ok_or(PatternError::Shape)?;
        let packets: Vec<_> = packets
            .into_iter()
            .filter(|(at, _)| (began..ended).contains(at))
            .map(|(at, size)| (at - began, size))
            .collect();
        Ok(Pattern::of_packets(&packets, ended - began).write(path)?)
    }

    fn report(&self, begin: Reading, end: Reading) -> Report {
        let window_s = (end.at - begin.at).as_secs_f64();
        let packets = end.totals.packets - begin.totals.packets;
        let bytes = end.totals.bytes - begin.totals.bytes;
        let delivery = Delivery::of(&self.viewers, &self.options);
        let server_cpu_s = end.server_cpu.zip(begin.server_cpu).map(|(end, begin)| (end - begin).as_secs_f64());
        let failures = self.viewers.iter().filter_map(|viewer| viewer.failure.as_ref());
        let errors = failures.clone().count() + self.refused.len();
        let last_error = failures.last().map(ToString::to_string).or(self.refused.last().cloned());
        let millis = |times: &dyn Fn(&Viewer) -> Option<Duration>, fraction| {
            let times: Vec<_> = self.viewers.iter().filter_map(times).map(|time| time.as_secs_f64() * 1e3).collect();
            percentile(&times, fraction)
        };
        let mut ciphers = BTreeMap::new();
        for profile in self.viewers.iter().filter_map(Viewer::profile) {
            *ciphers.entry(format!("{profile:?}")).or_default() += 1;
        }
        Report {
            n: self.options.viewers,
            connected: self.viewers.iter().filter(|viewer| viewer.connected.is_some()).count(),
            errors,
            last_error,
            ciphers,
            post_ms_p50: millis(&|viewer| viewer.post, 0.5),
            join_ms_p50: millis(&|viewer| viewer.connected, 0.5),
            join_ms_p95: millis(&|viewer| viewer.connected, 0.95),
            first_rtp_ms_p50: millis(&|viewer| viewer.first_rtp, 0.5),
            first_rtp_ms_p95: millis(&|viewer| viewer.first_rtp, 0.95),
            window_s,
            packets,
            packets_per_s: packets as f64 / window_s,
            megabits_per_s: bytes as f64 * 8.0 / window_s / 1e6,
            delivered_ratio: delivery.worst(),
            ratio_to_best_viewer: delivery.to_best_viewer,
            ratio_to_sequence_span: delivery.to_sequence_span,
            ratio_to_source_frames: delivery.to_source_frames,
            incomplete_viewers: self.viewers.iter().filter(|viewer| !viewer.video().complete).count(),
            source_speed: delivery.source_speed,
            sampled: self.viewers.iter().filter(|viewer| viewer.sampled()).count(),
            sampled_packets: end.sampled.fed - begin.sampled.fed,
            sampled_decrypted: end.sampled.decrypted - begin.sampled.decrypted,
            generator_utilisation: (end.generator_cpu - begin.generator_cpu).as_secs_f64() / window_s,
            server_cpu_s,
            server_utilisation: server_cpu_s.map(|cpu| cpu / window_s),
            server_us_per_packet: server_cpu_s.map(|cpu| cpu * 1e6 / packets as f64).filter(|cost| cost.is_finite()),
            server_rss_bytes_before: self.rss_before,
            server_rss_bytes: self.server.resident_bytes(),
        }
    }
}

impl Totals {
    fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            fed: self.fed + other.fed,
            decrypted: self.decrypted + other.decrypted,
        }
    }
}

impl Viewer {
    /// Joined, or failed for good.
    fn is_settled(&self) -> bool {
        self.failure.is_some() || (self.connected.is_some() && self.totals.packets > 0)
    }

    /// Nothing more to count.
    fn is_counted(&self) -> bool {
        let audio_complete = self.audio() == Count::default() || self.audio().complete;
        self.failure.is_some() || self.connected.is_none() || (self.video().complete && audio_complete)
    }
}

/// How much of the source reached the viewers. A viewer that never joined got nothing.
#[derive(Debug, PartialEq)]
struct Delivery {
    to_best_viewer: f64,
    to_sequence_span: f64,
    to_source_frames: f64,
    source_speed: Option<f64>,
}

impl Delivery {
    fn of(viewers: &[Viewer], options: &Options) -> Self {
        let speeds: Vec<_> = viewers
            .iter()
            .filter_map(|viewer| viewer.stretch_began.zip(viewer.stretch_ended))
            .map(|(began, ended)| options.seconds / (ended - began).as_secs_f64())
            .collect();
        let video: Vec<_> = viewers.iter().map(Viewer::video).collect();
        let audio: Vec<_> = viewers.iter().map(Viewer::audio).collect();
        Self {
            source_speed: percentile(&speeds, 0.5),
            ..Self::of_counts(&video, &audio, options.video_stretch().frames)
        }
    }

    fn of_counts(video: &[Count], audio: &[Count], source_frames: u64) -> Self {
        let packets = |counts: &[Count]| counts.iter().map(|count| count.packets).sum::<u64>();
        let best = |counts: &[Count]| counts.iter().map(|count| count.packets).max().unwrap_or(0) * counts.len() as u64;
        let span: u64 = video.iter().chain(audio).map(|count| count.span).sum();
        let frames: u64 = video.iter().map(|count| count.frames).sum();
        let received = packets(video) + packets(audio);
        Self {
            to_best_viewer: ratio(received, best(video) + best(audio)),
            to_sequence_span: ratio(received, span),
            to_source_frames: ratio(frames, source_frames * video.len() as u64),
            source_speed: None,
        }
    }

    fn worst(&self) -> f64 {
        self.to_best_viewer.min(self.to_sequence_span).min(self.to_source_frames)
    }
}

/// 0 of nothing: no packets is no delivery.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(packets: u64, frames: u64) -> Count {
        Count { packets, span: packets, frames, complete: true }
    }

    #[test]
    fn a_full_delivery_is_one() {
        let delivery = Delivery::of_counts(&[count(100, 10); 3], &[count(20, 20); 3], 10);
        assert_eq!(delivery.worst(), 1.0);
    }

    #[test]
    fn each_kind_of_loss_lowers_the_worst_ratio() {
        let audio = [count(20, 20); 2];
        let viewer_short = Delivery::of_counts(&[count(100, 10), count(40, 10)], &audio, 10);
        assert_eq!(viewer_short.worst(), viewer_short.to_best_viewer);
        assert!(viewer_short.worst() < 0.8);
        let gaps = Delivery::of_counts(&[Count { span: 200, ..count(100, 10) }; 2], &audio, 10);
        assert_eq!(gaps.worst(), gaps.to_sequence_span);
        assert!(gaps.worst() < 0.6);
        let all_alike = Delivery::of_counts(&[count(90, 9); 2], &audio, 10);
        assert_eq!(all_alike.worst(), 0.9, "equal losses show against the source's frames");
        assert_eq!(Delivery::of_counts(&[Count::default(); 2], &[Count::default(); 2], 10).worst(), 0.0);
    }

    fn options(line: &str) -> Result<Options, LoadError> {
        Options::parse(Arguments::parse(line.split_whitespace().map(str::to_owned))?)
    }

    #[test]
    fn stretches_follow_the_duration() {
        let options = options("--url http://a/ --viewers 7 --seconds 8 --sampled 3").expect("options");
        assert_eq!((options.video_stretch().frame_ticks, options.video_stretch().frames), (3000, 240));
        assert_eq!(options.audio_stretch().frames, 400);
        assert_eq!((0..7).filter(|index| options.is_sampled(*index)).collect::<Vec<_>>(), [0, 2, 4]);
    }

    #[test]
    fn loads_that_measure_nothing_are_refused() {
        for line in ["--viewers 0 --seconds 8", "--viewers 1 --seconds 0.01", "--viewers 1 --seconds nan"] {
            assert!(matches!(options(&format!("--url http://a/ {line}")), Err(LoadError::Nothing)), "{line}");
        }
        assert!(matches!(options("--viewers 1 --seconds 8"), Err(LoadError::Argument(_))), "no URL");
    }
}
