//! What a WHIP or WHEP offer asks for, read before any session is built for it.

use tallylight_media::{Codec, Kind};

/// Bounds of an SDP offer from outside. A browser's is 4-8 KiB with two media sections.
pub const MAX_OFFER_BYTES: usize = 64 << 10;
pub const MAX_MEDIA_SECTIONS: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferSyntaxError {
    #[error("the offer is larger than {MAX_OFFER_BYTES} bytes")]
    TooLarge,
    #[error("the offer does not start with v=0")]
    NotSdp,
    #[error("the offer has more than {MAX_MEDIA_SECTIONS} media sections")]
    TooManySections,
    #[error("the offer has no audio or video section")]
    NoMedia,
    #[error("the offer has two sections of one kind; this server takes one audio and one video track")]
    ExtraTracks,
}

/// One `m=` section of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedMedia {
    pub kind: Kind,
    /// In the order of the offer, without duplicates.
    pub codecs: Vec<Codec>,
    pub receives: bool,
    pub sends: bool,
}

/// The sections of an offer that carry audio or video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferSummary {
    pub media: Vec<OfferedMedia>,
}

impl OfferSummary {
    pub fn of(&self, kind: Kind) -> Option<&OfferedMedia> {
        self.media.iter().find(|media| media.kind == kind)
    }

    pub fn offers(&self, codec: Codec) -> bool {
        self.of(codec.kind()).is_some_and(|media| media.codecs.contains(&codec))
    }
}

pub fn summarize(sdp: &str) -> Result<OfferSummary, OfferSyntaxError> {
    if sdp.len() > MAX_OFFER_BYTES {
        return Err(OfferSyntaxError::TooLarge);
    }
    if !sdp.trim_start().starts_with("v=0") {
        return Err(OfferSyntaxError::NotSdp);
    }
    let mut media: Vec<OfferedMedia> = Vec::new();
    let mut sections = 0;
    // Attributes before the first section, and those of sections that are neither audio nor video, count for nothing.
    let mut inside = false;
    for line in sdp.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix("m=") {
            sections += 1;
            if sections > MAX_MEDIA_SECTIONS {
                return Err(OfferSyntaxError::TooManySections);
            }
            let kind = match section.split(' ').next() {
                Some("audio") => Some(Kind::Audio),
                Some("video") => Some(Kind::Video),
                _ => None,
            };
            inside = kind.is_some();
            if let Some(kind) = kind {
                if media.iter().any(|other| other.kind == kind) {
                    return Err(OfferSyntaxError::ExtraTracks);
                }
                media.push(OfferedMedia { kind, codecs: Vec::new(), receives: true, sends: true });
            }
        } else if let (true, Some(section)) = (inside, media.last_mut()) {
            section.read(line);
        }
    }
    if media.is_empty() { Err(OfferSyntaxError::NoMedia) } else { Ok(OfferSummary { media }) }
}

impl OfferedMedia {
    fn read(&mut self, line: &str) {
        match line {
            "a=recvonly" => self.sends = false,
            "a=sendonly" => self.receives = false,
            "a=inactive" => (self.sends, self.receives) = (false, false),
            _ => {}
        }
        let Some(codec) = line.strip_prefix("a=rtpmap:").and_then(codec_of_rtpmap) else { return };
        if codec.kind() == self.kind && !self.codecs.contains(&codec) {
            self.codecs.push(codec);
        }
    }
}

fn codec_of_rtpmap(value: &str) -> Option<Codec> {
    let name = value.split_once(' ')?.1.split('/').next()?;
    Some(match name.to_ascii_uppercase().as_str() {
        "H264" => Codec::H264,
        "H265" => Codec::H265,
        "AV1" => Codec::Av1,
        "VP8" => Codec::Vp8,
        "VP9" => Codec::Vp9,
        "OPUS" => Codec::Opus,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=sendonly\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=recvonly\r\na=rtpmap:111 opus/48000/2\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\na=recvonly\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=rtpmap:98 H264/90000\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=sendonly\r\n";

    #[test]
    fn reads_codecs_and_directions() {
        let summary = summarize(OFFER).unwrap();
        let video = summary.of(Kind::Video).unwrap();
        assert_eq!(video.codecs, [Codec::Vp8, Codec::H264]);
        assert!(video.receives && !video.sends);
        assert!(summary.offers(Codec::Opus) && !summary.offers(Codec::Av1));
    }

    #[test]
    fn refuses_what_is_no_offer() {
        assert_eq!(summarize("hello"), Err(OfferSyntaxError::NotSdp));
        assert_eq!(summarize("v=0\r\n"), Err(OfferSyntaxError::NoMedia));
        assert_eq!(summarize(&format!("v=0{}", "a".repeat(MAX_OFFER_BYTES))), Err(OfferSyntaxError::TooLarge));
        assert_eq!(summarize(&format!("v=0\r\n{}", "m=x\r\n".repeat(9))), Err(OfferSyntaxError::TooManySections));
        assert_eq!(summarize("v=0\r\nm=video 9 x 1\r\nm=video 9 x 1\r\n"), Err(OfferSyntaxError::ExtraTracks));
    }
}
