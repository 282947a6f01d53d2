//! The checker finds every violation that is planted, and nothing in a clean history.

use tallylight_hls::invariants::{Checker, MediaSpan, Violation, check_media};

const HEAD: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:4\n\
    #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6,CAN-SKIP-UNTIL=24.0\n#EXT-X-PART-INF:PART-TARGET=0.2\n";

fn clean() -> [String; 3] {
    let first = format!(
        "{HEAD}#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-DISCONTINUITY-SEQUENCE:3\n#EXT-X-MAP:URI=\"init-1.mp4\"\n\
         #EXTINF:2.0,\nseg-7.mp4\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-2.mp4\"\n\
         #EXT-X-PART:DURATION=0.2,URI=\"p1\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.19,URI=\"p2\"\n\
         #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p3\"\n"
    );
    let second = first.replace("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p3\"\n", "")
        + "#EXT-X-PART:DURATION=0.1,URI=\"p3\"\n#EXTINF:0.49,\nseg-8.mp4\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p4\"\n";
    let third = format!(
        "{HEAD}#EXT-X-MEDIA-SEQUENCE:9\n#EXT-X-DISCONTINUITY-SEQUENCE:4\n#EXT-X-MAP:URI=\"init-2.mp4\"\n\
         #EXT-X-PART:DURATION=0.2,URI=\"p4\",INDEPENDENT=YES\n#EXTINF:0.2,\nseg-9.mp4\n"
    );
    [first, second, third]
}

fn check(history: &[String]) -> Vec<Violation> {
    let mut checker = Checker::new();
    history.iter().flat_map(|text| checker.playlist(text)).collect()
}

/// Replaces text in one playlist of the clean history.
fn planted(index: usize, from: &str, to: &str) -> Vec<Violation> {
    let mut history = clean();
    assert!(history[index].contains(from), "{from} is not in\n{}", history[index]);
    history[index] = history[index].replace(from, to);
    check(&history)
}

macro_rules! finds {
    ($violations:expr, $pattern:pat) => {
        let violations = $violations;
        assert!(violations.iter().any(|violation| matches!(violation, $pattern)), "{violations:?}");
    };
}

#[test]
fn a_clean_history_is_clean() {
    assert_eq!(check(&clean()), []);
}

#[test]
fn one_playlist() {
    finds!(planted(0, "#EXTINF:2.0", "#EXTINF:4.6"), Violation::SegmentTooLong { .. });
    finds!(planted(0, "DURATION=0.19", "DURATION=0.21"), Violation::PartTooLong { .. });
    finds!(planted(1, "DURATION=0.19", "DURATION=0.15"), Violation::PartTooShort { .. });
    finds!(planted(1, "#EXTINF:0.49", "#EXTINF:0.5"), Violation::PartSum { .. });
    finds!(planted(0, "PART-HOLD-BACK=0.6", "PART-HOLD-BACK=0.4"), Violation::HoldBack { .. });
    finds!(planted(0, "CAN-SKIP-UNTIL=24.0", "CAN-SKIP-UNTIL=12.0"), Violation::SkipUntil { .. });
    finds!(planted(0, "CAN-BLOCK-RELOAD=YES,", ""), Violation::TagMissing { .. });
    finds!(planted(0, "#EXT-X-VERSION:9", "#EXT-X-VERSION:6"), Violation::TagMissing { .. });
    finds!(planted(0, "#EXT-X-MAP:URI=\"init-1.mp4\"\n", ""), Violation::NoMap { .. });
    finds!(planted(0, "#EXT-X-DISCONTINUITY\n", ""), Violation::MapWithoutDiscontinuity { .. });
    finds!(planted(0, "#EXTM3U\n", ""), Violation::Unreadable(_));
    finds!(planted(0, "#EXTINF:2.0,\n", ""), Violation::Unreadable(_));
    finds!(planted(0, "DURATION=0.19", "DURATION=x"), Violation::Unreadable(_));
}

#[test]
fn against_earlier_playlists() {
    finds!(planted(1, "SEQUENCE:7", "SEQUENCE:6"), Violation::MediaSequenceBack { from: 7, to: 6 });
    finds!(planted(2, "SEQUENCE:9", "SEQUENCE:7"), Violation::NewestBack { .. });
    finds!(planted(1, "TARGETDURATION:4", "TARGETDURATION:3"), Violation::TargetDurationChanged { from: 4, to: 3 });
    finds!(planted(1, "PART-TARGET=0.2", "PART-TARGET=0.195"), Violation::PartTargetChanged { .. });
    finds!(planted(2, "DISCONTINUITY-SEQUENCE:4", "DISCONTINUITY-SEQUENCE:3"), Violation::DiscontinuitySequence { .. });
    finds!(planted(2, "DISCONTINUITY-SEQUENCE:4", "DISCONTINUITY-SEQUENCE:5"), Violation::DiscontinuitySequence { .. });
    finds!(planted(1, "seg-7.mp4", "seg-70.mp4"), Violation::SegmentChanged { msn: 7, .. });
    finds!(planted(1, "#EXTINF:2.0", "#EXTINF:2.1"), Violation::SegmentChanged { msn: 7, .. });
    finds!(planted(2, "seg-9.mp4", "seg-7.mp4"), Violation::UriReused { before: 7, now: 9, .. });
    finds!(planted(1, "DURATION=0.19", "DURATION=0.195"), Violation::PartChanged { msn: 8, index: 1, .. });
    finds!(planted(0, "URI=\"p3\"", "URI=\"other\""), Violation::HintBroken { .. });
    finds!(planted(2, "#EXT-X-MAP", "#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXT-X-MAP"), Violation::SkippedUnknown { .. });
}

#[test]
fn decode_times() {
    let span = |start_ticks, discontinuity| MediaSpan {
        uri: format!("at {start_ticks}"),
        track: 1,
        timescale_hz: 1000,
        start_ticks,
        duration_ticks: 200,
        discontinuity,
    };
    assert_eq!(check_media(&[span(0, false), span(200, false), span(500, true)]), []);
    finds!(check_media(&[span(0, false), span(201, false)]), Violation::DecodeTimeGap { .. });
    finds!(check_media(&[span(0, false), span(199, false)]), Violation::DecodeTimeBack { .. });
    assert_eq!(check_media(&[span(200, false), span(0, true)]), []);
}
