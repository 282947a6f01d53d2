//! Bodies of audio and video messages: FLV tags (Adobe, "Video File Format Specification 10.1", annex E.4)
//! and Enhanced RTMP v2 (veovera.org, "Enhanced RTMP (V2)", sections "ExVideoTagHeader" and "ExAudioTagHeader").
//!
//! Of a multitrack message only track 0 is used.

use bytes::{Buf, Bytes};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoCodec {
    Avc,
    Hevc,
    Av1,
    Vp9,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioCodec {
    Aac,
    Opus,
}

/// Codecs offered in the reply to `connect`, as E-RTMP FourCC.
pub const VIDEO_FOUR_CC: [&str; 4] = ["avc1", "hvc1", "av01", "vp09"];
pub const AUDIO_FOUR_CC: [&str; 2] = ["mp4a", "Opus"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VideoPacket {
    /// Decoder configuration record (avcC, hvcC, av1C or vpcC).
    Configuration { codec: VideoCodec, record: Bytes },
    Frame {
        codec: VideoCodec,
        keyframe: bool,
        /// Presentation time minus decoding time, milliseconds; may be negative.
        composition_offset_ms: i32,
        data: Bytes,
    },
    /// End of sequence, command frames, metadata frames, other tracks: nothing to decode.
    Ignored,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioPacket {
    /// `AudioSpecificConfig` or `OpusHead`.
    Configuration {
        codec: AudioCodec,
        record: Bytes,
    },
    Frame {
        codec: AudioCodec,
        data: Bytes,
    },
    Ignored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    #[error("audio or video message ends too early")]
    Truncated,
    #[error("video codec id {0} is not supported; use H.264, HEVC, AV1 or VP9")]
    VideoCodecId(u8),
    #[error("audio codec id {0} is not supported; use AAC or Opus")]
    AudioCodecId(u8),
    #[error("codec {:?} is not supported", String::from_utf8_lossy(.0))]
    FourCc([u8; 4]),
    #[error("unknown packet type {0}")]
    PacketType(u8),
}

/// Annex E.4.3.1: frame types.
const KEYFRAME: u8 = 1;
const COMMAND_FRAME: u8 = 5;

pub fn parse_video(mut body: Bytes) -> Result<VideoPacket, FlvError> {
    let first = u8(&mut body)?;
    let frame_type = (first >> 4) & 7;
    if first & 0x80 != 0 {
        return enhanced_video(body, frame_type, first & 0x0f);
    }
    if frame_type == COMMAND_FRAME {
        return Ok(VideoPacket::Ignored);
    }
    let codec = match first & 0x0f {
        7 => VideoCodec::Avc,
        // Not in the specification; what encoders used for HEVC before E-RTMP.
        12 => VideoCodec::Hevc,
        id => return Err(FlvError::VideoCodecId(id)),
    };
    let packet_type = u8(&mut body)?;
    let composition_offset_ms = i24(&mut body)?;
    match packet_type {
        0 => Ok(VideoPacket::Configuration { codec, record: body }),
        1 => Ok(VideoPacket::Frame { codec, keyframe: frame_type == KEYFRAME, composition_offset_ms, data: body }),
        2 => Ok(VideoPacket::Ignored),
        other => Err(FlvError::PacketType(other)),
    }
}

pub fn parse_audio(mut body: Bytes) -> Result<AudioPacket, FlvError> {
    let first = u8(&mut body)?;
    match first >> 4 {
        9 => enhanced_audio(body, first & 0x0f),
        10 => match u8(&mut body)? {
            0 => Ok(AudioPacket::Configuration { codec: AudioCodec::Aac, record: body }),
            1 => Ok(AudioPacket::Frame { codec: AudioCodec::Aac, data: body }),
            other => Err(FlvError::PacketType(other)),
        },
        id => Err(FlvError::AudioCodecId(id)),
    }
}

/// E-RTMP v2 VideoPacketType.
mod video_packet {
    pub const SEQUENCE_START: u8 = 0;
    pub const CODED_FRAMES: u8 = 1;
    pub const SEQUENCE_END: u8 = 2;
    /// Coded frames with composition offset 0.
    pub const CODED_FRAMES_X: u8 = 3;
    pub const METADATA: u8 = 4;
    pub const MPEG2TS_SEQUENCE_START: u8 = 5;
    pub const MULTITRACK: u8 = 6;
    pub const MOD_EX: u8 = 7;
}

/// E-RTMP v2 AudioPacketType.
mod audio_packet {
    pub const SEQUENCE_START: u8 = 0;
    pub const CODED_FRAMES: u8 = 1;
    pub const SEQUENCE_END: u8 = 2;
    pub const MULTICHANNEL_CONFIG: u8 = 4;
    pub const MULTITRACK: u8 = 5;
    pub const MOD_EX: u8 = 7;
}

fn enhanced_video(mut body: Bytes, frame_type: u8, mut packet_type: u8) -> Result<VideoPacket, FlvError> {
    skip_mod_ex(&mut body, &mut packet_type, video_packet::MOD_EX)?;
    if packet_type != video_packet::METADATA && frame_type == COMMAND_FRAME {
        return Ok(VideoPacket::Ignored);
    }
    let (four_cc, mut data) = if packet_type == video_packet::MULTITRACK {
        match first_track(&mut body, &mut packet_type)? {
            Some(track) => track,
            None => return Ok(VideoPacket::Ignored),
        }
    } else {
        (four_cc(&mut body)?, body)
    };
    if matches!(packet_type, video_packet::METADATA | video_packet::SEQUENCE_END | video_packet::MPEG2TS_SEQUENCE_START)
    {
        return Ok(VideoPacket::Ignored);
    }
    let codec = match &four_cc {
        b"avc1" => VideoCodec::Avc,
        b"hvc1" => VideoCodec::Hevc,
        b"av01" => VideoCodec::Av1,
        b"vp09" => VideoCodec::Vp9,
        other => return Err(FlvError::FourCc(*other)),
    };
    let keyframe = frame_type == KEYFRAME;
    match packet_type {
        video_packet::SEQUENCE_START => Ok(VideoPacket::Configuration { codec, record: data }),
        video_packet::CODED_FRAMES => {
            // Only codecs with reordering in the container carry an offset.
            let has_offset = matches!(codec, VideoCodec::Avc | VideoCodec::Hevc);
            let composition_offset_ms = if has_offset { i24(&mut data)? } else { 0 };
            Ok(VideoPacket::Frame { codec, keyframe, composition_offset_ms, data })
        }
        video_packet::CODED_FRAMES_X => Ok(VideoPacket::Frame { codec, keyframe, composition_offset_ms: 0, data }),
        other => Err(FlvError::PacketType(other)),
    }
}

fn enhanced_audio(mut body: Bytes, mut packet_type: u8) -> Result<AudioPacket, FlvError> {
    skip_mod_ex(&mut body, &mut packet_type, audio_packet::MOD_EX)?;
    let (four_cc, data) = if packet_type == audio_packet::MULTITRACK {
        match first_track(&mut body, &mut packet_type)? {
            Some(track) => track,
            None => return Ok(AudioPacket::Ignored),
        }
    } else {
        (four_cc(&mut body)?, body)
    };
    let codec = match &four_cc {
        b"mp4a" => AudioCodec::Aac,
        b"Opus" => AudioCodec::Opus,
        other => return Err(FlvError::FourCc(*other)),
    };
    match packet_type {
        audio_packet::SEQUENCE_START => Ok(AudioPacket::Configuration { codec, record: data }),
        audio_packet::CODED_FRAMES => Ok(AudioPacket::Frame { codec, data }),
        audio_packet::SEQUENCE_END | audio_packet::MULTICHANNEL_CONFIG => Ok(AudioPacket::Ignored),
        other => Err(FlvError::PacketType(other)),
    }
}

/// ModEx blocks before the real packet type: a nanosecond offset today, so skipped (the timeline has milliseconds).
fn skip_mod_ex(body: &mut Bytes, packet_type: &mut u8, mod_ex: u8) -> Result<(), FlvError> {
    while *packet_type == mod_ex {
        let mut size = usize::from(u8(body)?) + 1;
        if size == 256 {
            size = usize::from(u16(body)?) + 1;
        }
        take(body, size)?;
        *packet_type = u8(body)? & 0x0f;
    }
    Ok(())
}

/// FourCC and body of track 0 in a multitrack message; None when it has other tracks only.
fn first_track(body: &mut Bytes, packet_type: &mut u8) -> Result<Option<([u8; 4], Bytes)>, FlvError> {
    const ONE_TRACK: u8 = 0;
    const MANY_TRACKS_MANY_CODECS: u8 = 2;
    let kind = u8(body)?;
    *packet_type = kind & 0x0f;
    let mode = kind >> 4;
    let mut codec = if mode == MANY_TRACKS_MANY_CODECS { [0; 4] } else { four_cc(body)? };
    // Each round takes at least one byte, so this ends.
    while !body.is_empty() {
        if mode == MANY_TRACKS_MANY_CODECS {
            codec = four_cc(body)?;
        }
        let track_id = u8(body)?;
        let data = if mode == ONE_TRACK {
            std::mem::take(body)
        } else {
            let size = u24(body)? as usize;
            take(body, size)?
        };
        if track_id == 0 {
            return Ok(Some((codec, data)));
        }
    }
    Ok(None)
}

fn u8(body: &mut Bytes) -> Result<u8, FlvError> {
    body.try_get_u8().map_err(|_| FlvError::Truncated)
}

fn u16(body: &mut Bytes) -> Result<u16, FlvError> {
    body.try_get_u16().map_err(|_| FlvError::Truncated)
}

fn u24(body: &mut Bytes) -> Result<u32, FlvError> {
    body.try_get_uint(3).map(|value| value as u32).map_err(|_| FlvError::Truncated)
}

/// Signed 24 bits.
fn i24(body: &mut Bytes) -> Result<i32, FlvError> {
    Ok((u24(body)? << 8) as i32 >> 8)
}

fn four_cc(body: &mut Bytes) -> Result<[u8; 4], FlvError> {
    body.try_get_u32().map(u32::to_be_bytes).map_err(|_| FlvError::Truncated)
}

fn take(body: &mut Bytes, size: usize) -> Result<Bytes, FlvError> {
    if body.len() < size { Err(FlvError::Truncated) } else { Ok(body.split_to(size)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(body: &[u8]) -> Result<VideoPacket, FlvError> {
        parse_video(Bytes::copy_from_slice(body))
    }

    fn audio(body: &[u8]) -> Result<AudioPacket, FlvError> {
        parse_audio(Bytes::copy_from_slice(body))
    }

    fn frame(codec: VideoCodec, keyframe: bool, composition_offset_ms: i32, data: &'static [u8]) -> VideoPacket {
        VideoPacket::Frame { codec, keyframe, composition_offset_ms, data: Bytes::from_static(data) }
    }

    #[test]
    fn legacy_avc() {
        let record = Bytes::from_static(b"avcC");
        assert_eq!(video(b"\x17\0\0\0\0avcC"), Ok(VideoPacket::Configuration { codec: VideoCodec::Avc, record }));
        assert_eq!(video(b"\x17\x01\0\0\x28x"), Ok(frame(VideoCodec::Avc, true, 40, b"x")));
        assert_eq!(video(b"\x27\x01\xff\xff\xd8x"), Ok(frame(VideoCodec::Avc, false, -40, b"x")));
        assert_eq!(video(b"\x27\x01\x80\0\0x"), Ok(frame(VideoCodec::Avc, false, -(1 << 23), b"x")));
        assert_eq!(video(b"\x17\x02\0\0\0"), Ok(VideoPacket::Ignored));
        assert_eq!(video(b"\x57\x00"), Ok(VideoPacket::Ignored));
        assert_eq!(video(b"\x1c\x01\0\0\0h"), Ok(frame(VideoCodec::Hevc, true, 0, b"h")));
        assert_eq!(video(b"\x12\x00"), Err(FlvError::VideoCodecId(2)));
    }

    #[test]
    fn enhanced_video_codecs() {
        assert_eq!(video(b"\x91hvc1\0\0\x21x"), Ok(frame(VideoCodec::Hevc, true, 33, b"x")));
        assert_eq!(video(b"\xa3hvc1x"), Ok(frame(VideoCodec::Hevc, false, 0, b"x")));
        assert_eq!(video(b"\x91av01obu"), Ok(frame(VideoCodec::Av1, true, 0, b"obu")));
        assert_eq!(video(b"\x91vp09v"), Ok(frame(VideoCodec::Vp9, true, 0, b"v")));
        assert_eq!(video(b"\x94av01hdr"), Ok(VideoPacket::Ignored));
        assert_eq!(video(b"\x91xxxxv"), Err(FlvError::FourCc(*b"xxxx")));
    }

    #[test]
    fn multitrack_and_mod_ex() {
        // ModEx of 3 bytes (nanoseconds), then coded frames.
        assert_eq!(video(b"\x97\x02\0\0\x01\x01avc1\0\0\0x"), Ok(frame(VideoCodec::Avc, true, 0, b"x")));
        // Many tracks, one codec: track 1 is skipped, track 0 taken.
        assert_eq!(video(b"\x96\x13avc1\x01\0\0\x01a\x00\0\0\x01b"), Ok(frame(VideoCodec::Avc, true, 0, b"b")));
        assert_eq!(video(b"\x96\x03avc1\x07abc"), Ok(VideoPacket::Ignored));
        assert_eq!(video(b"\x96\x13avc1\x01\xff\xff\xffa"), Err(FlvError::Truncated));
    }

    #[test]
    fn audio_codecs() {
        let record = Bytes::from_static(b"\x11\x90");
        assert_eq!(audio(b"\xaf\0\x11\x90"), Ok(AudioPacket::Configuration { codec: AudioCodec::Aac, record }));
        let data = Bytes::from_static(b"raw");
        assert_eq!(audio(b"\xaf\x01raw"), Ok(AudioPacket::Frame { codec: AudioCodec::Aac, data: data.clone() }));
        assert_eq!(audio(b"\x91Opusraw"), Ok(AudioPacket::Frame { codec: AudioCodec::Opus, data: data.clone() }));
        assert_eq!(audio(b"\x95\x01Opus\0raw"), Ok(AudioPacket::Frame { codec: AudioCodec::Opus, data }));
        assert_eq!(audio(b"\x94Opus\0\x02"), Ok(AudioPacket::Ignored));
        assert_eq!(audio(b"\x2f\xff\xfb"), Err(FlvError::AudioCodecId(2)));
        assert_eq!(audio(b"\x91ac-3x"), Err(FlvError::FourCc(*b"ac-3")));
    }

    #[test]
    fn short_bodies_are_errors() {
        for body in [&b""[..], b"\x17", b"\x17\x01\0\0", b"\x91hvc", b"\x91hvc1\0\0", b"\x97\xff\xff", b"\x96"] {
            assert_eq!(video(body), Err(FlvError::Truncated), "{body:?}");
        }
        for body in [&b""[..], b"\xaf", b"\x91Opu", b"\x97"] {
            assert_eq!(audio(body), Err(FlvError::Truncated), "{body:?}");
        }
    }
}
