//! Which payload types of an SDP answer carry the audio and the video.

use std::collections::BTreeSet;

/// Payload types by kind; retransmission formats are in neither.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct PayloadTypes {
    pub audio: BTreeSet<u8>,
    pub video: BTreeSet<u8>,
}

impl PayloadTypes {
    pub fn of_answer(sdp: &str) -> Self {
        let mut types = Self::default();
        for section in sdp.split("\nm=").skip(1) {
            let mut lines = section.lines();
            let mut words = lines.next().unwrap_or_default().split_whitespace();
            let kind = words.next().unwrap_or_default();
            let retransmission: BTreeSet<u8> = lines.filter_map(retransmission_type).collect();
            // After the kind: port, protocol, then the formats.
            let formats = words.skip(2).filter_map(|word| word.parse().ok());
            let media = formats.filter(|format| !retransmission.contains(format));
            match kind {
                "audio" => types.audio.extend(media),
                "video" => types.video.extend(media),
                _ => {}
            }
        }
        types
    }
}

fn retransmission_type(line: &str) -> Option<u8> {
    let (format, codec) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
    if codec.to_ascii_lowercase().starts_with("rtx/") { format.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::PayloadTypes;

    #[test]
    fn retransmission_is_told_from_media() {
        let sdp = "v=0\r\ns=-\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n\
                   m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=rtpmap:96 H264/90000\r\na=rtpmap:97 rtx/90000\r\n";
        let types = PayloadTypes::of_answer(sdp);
        assert_eq!((types.audio, types.video), ([111].into(), [96].into()));
    }
}
