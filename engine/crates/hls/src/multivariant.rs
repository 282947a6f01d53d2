//! The multivariant playlist: the entry that tells players what they are about to decode.

use std::fmt::Write;

/// The one variant stream of a programme.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Highest and mean bits per second of its segments.
    pub bandwidth_bps: u64,
    pub average_bandwidth_bps: u64,
    /// RFC 6381 strings, video first.
    pub codecs: Vec<String>,
    /// Pixels; None without video or while not known.
    pub resolution: Option<(u32, u32)>,
    pub frame_rate_hz: Option<f64>,
}

/// Writes `index.m3u8`; `media_uri` is where the media playlist is.
pub fn multivariant(variant: &Variant, media_uri: &str) -> String {
    // No EXT-X-INDEPENDENT-SEGMENTS: an encoder with a long keyframe interval has segments cut by time.
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:9\n");
    // Writing into a String cannot fail.
    let _ = write!(
        out,
        "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\"",
        variant.bandwidth_bps,
        variant.average_bandwidth_bps,
        variant.codecs.join(",")
    );
    if let Some((width, height)) = variant.resolution {
        let _ = write!(out, ",RESOLUTION={width}x{height}");
    }
    if let Some(frame_rate_hz) = variant.frame_rate_hz {
        let _ = write!(out, ",FRAME-RATE={frame_rate_hz:.3}");
    }
    let _ = write!(out, "\n{media_uri}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_codecs_and_size() {
        let variant = Variant {
            bandwidth_bps: 3_000_000,
            average_bandwidth_bps: 2_500_000,
            codecs: vec!["avc1.64001f".into(), "mp4a.40.2".into()],
            resolution: Some((1280, 720)),
            frame_rate_hz: Some(30.0),
        };
        assert_eq!(
            multivariant(&variant, "media.m3u8?session=1"),
            "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-STREAM-INF:BANDWIDTH=3000000,AVERAGE-BANDWIDTH=2500000,\
             CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=30.000\nmedia.m3u8?session=1\n"
        );
    }

    #[test]
    fn audio_alone_has_no_size() {
        let variant = Variant {
            bandwidth_bps: 128_000,
            average_bandwidth_bps: 128_000,
            codecs: vec!["opus".into()],
            resolution: None,
            frame_rate_hz: None,
        };
        assert!(multivariant(&variant, "media.m3u8").ends_with("CODECS=\"opus\"\nmedia.m3u8\n"));
    }
}
