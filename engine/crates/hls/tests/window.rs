//! The window and its playlists over a publisher's life, checked by the invariants.

use bytes::Bytes;
use tallylight_hls::invariants::{Checker, ParsedPlaylist, parse};
use tallylight_hls::{
    BadReload, Found, InitName, MAX_SEGMENT_TICKS, Part, Reload, ReloadQuery, Resource, Snapshot, TIMESCALE_HZ, Window,
    WindowBounds,
};

const FIRST: u64 = 186_000_000;
const PART: u64 = TIMESCALE_HZ / 5;

/// A window with a publisher that sends a keyframe every `gop` parts.
struct Publisher {
    window: Window,
    checker: Checker,
    epoch: u64,
    sent: u64,
}

impl Publisher {
    fn new(first_msn: u64) -> Publisher {
        let window = Window::new(first_msn, WindowBounds::default());
        Publisher { window, checker: Checker::new(), epoch: 0, sent: 0 }
    }

    fn connect(&mut self) {
        self.epoch += 1;
        self.sent = 0;
        self.window.set_init(InitName { epoch: self.epoch, version: 1 }, Bytes::from_static(b"init"));
    }

    fn send(&mut self, parts: u64, gop: u64) {
        for _ in 0..parts {
            let independent = self.sent.is_multiple_of(gop);
            let bytes = Bytes::from(format!("{}-{} ", self.epoch, self.sent));
            let part = Part { bytes, duration_ticks: PART, independent };
            self.window.push(part, "2026-11-25T00:00:00.000Z".into());
            self.sent += 1;
            self.check();
        }
    }

    fn check(&mut self) {
        let snapshot = self.window.snapshot();
        for skip in [false, true] {
            let violations = self.checker.playlist(&text(&snapshot, skip));
            assert!(violations.is_empty(), "{violations:?}\n{}", text(&snapshot, skip));
        }
    }

    fn snapshot(&self) -> Snapshot {
        self.window.snapshot()
    }

    fn playlist(&self) -> ParsedPlaylist {
        parse(&text(&self.snapshot(), false)).expect("a playlist")
    }
}

fn text(snapshot: &Snapshot, skip: bool) -> String {
    String::from_utf8(snapshot.playlist(skip).to_vec()).expect("text")
}

#[test]
fn segments_end_before_the_first_keyframe_after_two_seconds() {
    for (gop, seconds) in [(5, 2.0), (10, 2.0), (15, 3.0), (20, 4.0), (7, 2.8)] {
        // The very first segment may be cut by time.
        let mut publisher = Publisher::new(FIRST);
        publisher.connect();
        publisher.send(100, gop);
        let first_whole = if seconds > 2.2 { 2 } else { 0 };
        for segment in publisher.playlist().segments[first_whole..].iter().filter(|segment| segment.uri.is_some()) {
            assert!((segment.duration_s.unwrap() - seconds).abs() < 1e-5, "gop {gop}: {:?}", segment.duration_s);
        }
    }
}

#[test]
fn long_groups_of_pictures_are_cut_by_time_and_again_at_the_keyframe() {
    let mut publisher = Publisher::new(FIRST);
    publisher.connect();
    publisher.send(42 * 5, 42);
    let playlist = publisher.playlist();
    let complete: Vec<_> = playlist.segments.iter().filter_map(|segment| segment.duration_s).collect();
    assert!(complete.iter().all(|seconds| seconds * TIMESCALE_HZ as f64 <= MAX_SEGMENT_TICKS as f64 + 1.0));
    let starts = playlist.segments.iter().filter(|segment| segment.parts.first().is_some_and(|part| part.independent));
    assert!(starts.count() >= 1, "every second segment begins with a keyframe");
    let expected = [2.2, 4.4, 1.8, 4.4, 4.0];
    assert!(complete.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-5), "{complete:?}");
}

#[test]
fn reconnects_and_restarts_never_go_back() {
    let mut publisher = Publisher::new(FIRST);
    for round in 0..30 {
        publisher.connect();
        publisher.check();
        publisher.send(23 + round, 10);
        publisher.window.end();
        publisher.check();
    }
    let before = publisher.playlist();
    // A new process; it knows nothing of the old one. Publishers came back less than once an hour meanwhile.
    let checker = std::mem::take(&mut publisher.checker);
    let mut publisher = Publisher { checker, epoch: 1000, ..Publisher::new(FIRST + 31 * 3600) };
    publisher.connect();
    publisher.send(40, 10);
    assert!(publisher.playlist().media_sequence > before.media_sequence + before.segments.len() as u64);
}

#[test]
fn a_discontinuity_is_marked_where_the_publisher_returned() {
    let mut publisher = Publisher::new(FIRST);
    publisher.connect();
    publisher.send(12, 10);
    publisher.window.end();
    assert_eq!(publisher.playlist().hint, None, "nothing is promised while nobody publishes");
    publisher.connect();
    assert_eq!(publisher.playlist().hint, None, "nor over a discontinuity that no part has marked yet");
    publisher.send(3, 10);
    assert!(publisher.playlist().hint.is_some());
    let playlist = publisher.playlist();
    let marks: Vec<_> = playlist.segments.iter().map(|segment| segment.discontinuity).collect();
    assert_eq!(marks, [false, false, true]);
    assert_eq!(playlist.segments[2].map.as_deref(), Some("init-2-1.mp4"));
}

#[test]
fn a_forgotten_window_goes_on_with_its_numbers() {
    let mut publisher = Publisher::new(FIRST);
    for _ in 0..2 {
        publisher.connect();
        publisher.send(25, 10);
        publisher.window.end();
    }
    publisher.window.forget();
    assert!(!publisher.snapshot().is_playable());
    assert_eq!(publisher.snapshot().media_sequence(), FIRST + 6);
    publisher.connect();
    publisher.send(12, 10);
    assert!(publisher.playlist().segments[0].discontinuity);
}

#[test]
fn the_window_is_bounded_and_old_segments_stay_a_little_longer() {
    let mut publisher = Publisher::new(FIRST);
    publisher.connect();
    publisher.send(10 * 60, 10);
    let playlist = publisher.playlist();
    let listed: f64 = playlist.segments.iter().filter_map(|segment| segment.duration_s).sum();
    assert!((60.0..64.0).contains(&listed), "{listed} s");
    let first = playlist.media_sequence;
    let snapshot = publisher.snapshot();
    assert!(matches!(snapshot.find(Resource::Segment(first - 1)), Found::Ready(_)));
    assert_eq!(snapshot.find(Resource::Segment(first - 20)), Found::Missing);
}

#[test]
fn a_window_of_large_segments_is_cut_by_bytes() {
    let mut window = Window::new(FIRST, WindowBounds { bytes: 8 << 20, ..WindowBounds::default() });
    window.set_init(InitName { epoch: 1, version: 1 }, Bytes::from_static(b"init"));
    for index in 0..300 {
        let part = Part { bytes: vec![0; 100_000].into(), duration_ticks: PART, independent: index % 10 == 0 };
        window.push(part, String::new());
    }
    let playlist = parse(&text(&window.snapshot(), false)).expect("a playlist");
    assert!((6..=10).contains(&playlist.segments.len()), "{} segments", playlist.segments.len());
}

#[test]
fn a_delta_update_skips_what_is_older_than_the_boundary() {
    let mut publisher = Publisher::new(FIRST);
    publisher.connect();
    publisher.send(300, 10);
    let snapshot = publisher.snapshot();
    let (full, delta) = (publisher.playlist(), parse(&text(&snapshot, true)).expect("a playlist"));
    assert_eq!(delta.segments.len() + delta.skipped as usize, full.segments.len());
    let open: f64 = delta.segments.last().map_or(0.0, |last| last.parts.iter().map(|part| part.duration_s).sum());
    let kept = open + delta.segments.iter().filter_map(|segment| segment.duration_s).sum::<f64>();
    assert!(delta.skipped > 0 && kept >= 24.0 - 1e-5, "{} skipped, {kept} s kept", delta.skipped);
}

#[test]
fn parts_are_slices_of_their_segment() {
    let mut publisher = Publisher::new(FIRST);
    publisher.connect();
    publisher.send(11, 10);
    let snapshot = publisher.snapshot();
    let Found::Ready(segment) = snapshot.find(Resource::Segment(FIRST)) else { panic!("no segment") };
    assert_eq!(&segment[..], b"1-0 1-1 1-2 1-3 1-4 1-5 1-6 1-7 1-8 1-9 ");
    let part = |index| snapshot.find(Resource::Part { window: FIRST, index });
    assert_eq!(part(3), Found::Ready(Bytes::from_static(b"1-3 ")));
    assert_eq!(part(10), Found::Ready(Bytes::from_static(b"1-10 ")));
    assert_eq!(part(11), Found::Wait);
    assert_eq!(part(12), Found::Missing);
    assert_eq!(snapshot.find(Resource::Part { window: FIRST - 1, index: 3 }), Found::Missing);
    let init = Resource::Init(InitName { epoch: 1, version: 1 });
    assert_eq!(snapshot.find(init), Found::Ready(Bytes::from_static(b"init")));
}

#[test]
fn reloads_wait_for_what_is_next_and_refuse_what_is_far() {
    let mut publisher = Publisher::new(FIRST);
    publisher.connect();
    // One complete segment and three parts of the next.
    publisher.send(13, 10);
    let snapshot = publisher.snapshot();
    let ask = |query: &str| match ReloadQuery::parse(query) {
        Ok(query) => snapshot.reload(query),
        Err(bad) => Reload::Bad(bad),
    };
    let at = |offset: u64, part: &str| ask(&format!("_HLS_msn={}{part}", FIRST + offset));
    assert_eq!(ask(""), Reload::Ready);
    assert_eq!(ask("token=x&_HLS_skip=YES"), Reload::Ready);
    assert_eq!(at(0, ""), Reload::Ready);
    assert_eq!(at(0, "&_HLS_part=9"), Reload::Ready);
    assert_eq!(at(0, "&_HLS_part=10"), Reload::Ready, "means part 0 of the next segment");
    assert_eq!(at(1, ""), Reload::Wait);
    assert_eq!(at(1, "&_HLS_part=2"), Reload::Ready);
    assert_eq!(at(1, "&_HLS_part=3"), Reload::Wait);
    assert_eq!(at(2, "&_HLS_part=0"), Reload::Wait);
    assert_eq!(at(3, ""), Reload::Bad(BadReload::TooFarAhead { msn: FIRST + 3, newest: FIRST }));
    assert_eq!(at(1, "&_HLS_part=19"), Reload::Bad(BadReload::PartTooFarAhead { part: 19 }));
    assert_eq!(ask("_HLS_part=1"), Reload::Bad(BadReload::PartWithoutSequence));
    assert_eq!(ask("_HLS_msn=-1"), Reload::Bad(BadReload::NotANumber { directive: "_HLS_msn" }));
    assert_eq!(ask("_HLS_msn=1&_HLS_skip=no"), Reload::Bad(BadReload::NotASkip { directive: "_HLS_skip" }));
    assert!(matches!(ask(&format!("_HLS_msn={}", u64::MAX)), Reload::Bad(_)));
}

#[test]
fn a_window_without_media_makes_everybody_wait() {
    let snapshot = Window::new(FIRST, WindowBounds::default()).snapshot();
    assert!(!snapshot.is_playable());
    assert_eq!(snapshot.reload(ReloadQuery::default()), Reload::Wait);
}
