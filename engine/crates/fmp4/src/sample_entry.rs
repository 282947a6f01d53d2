//! The codec boxes of a track: what a decoder must know, from our [`TrackConfig`].

use crate::InitError;
use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor};
use mp4_atom::{
    Atom, Audio, Av01, Av1c, Avc1, Avcc, Codec as SampleEntry, Dops, Esds, Hvc1, Hvcc, Mp4a, Opus, OpusChannelMapping,
    Visual, Vp08, Vp09, VpcC,
};
use tallylight_media::codec::aac::AudioSpecificConfig;
use tallylight_media::codec::{CodecError, opus::OpusHead, vp9};
use tallylight_media::{Codec, TrackConfig};

/// The `stsd` entry of a track.
pub(crate) fn sample_entry(config: &TrackConfig) -> Result<SampleEntry, InitError> {
    let visual = visual(config)?;
    Ok(match config.codec {
        Codec::H264 => Avc1 { visual, avcc: record::<Avcc>(config)?, ..Default::default() }.into(),
        Codec::H265 => Hvc1 { visual, hvcc: record::<Hvcc>(config)?, ..Default::default() }.into(),
        Codec::Av1 => Av01 { visual, av1c: record::<Av1c>(config)?, ..Default::default() }.into(),
        Codec::Vp9 => Vp09 { visual, vpcc: vpx(vp9::level(config.width, config.height)), ..Default::default() }.into(),
        Codec::Vp8 => Vp08 { visual, vpcc: vpx(0), ..Default::default() }.into(),
        Codec::Aac => aac(config)?.into(),
        Codec::Opus => opus(config)?.into(),
    })
}

fn record<A: Atom>(config: &TrackConfig) -> Result<A, InitError> {
    let mut body = &config.extradata[..];
    A::decode_body(&mut body).map_err(|source| InitError::Configuration { codec: config.codec.name(), source })
}

fn visual(config: &TrackConfig) -> Result<Visual, InitError> {
    let side = |pixels: u32| {
        u16::try_from(pixels).map_err(|_| InitError::PictureTooLarge { width: config.width, height: config.height })
    };
    Ok(Visual {
        data_reference_index: 1,
        width: side(config.width)?,
        height: side(config.height)?,
        ..Default::default()
    })
}

/// 8 bit 4:2:0, the only form browsers send in WebRTC (VP9 profile 0).
fn vpx(level: u8) -> VpcC {
    VpcC { level, bit_depth: 8, chroma_subsampling: 1, ..Default::default() }
}

fn audio(channels: u8, sample_rate_hz: u32) -> Audio {
    Audio {
        data_reference_index: 1,
        channel_count: u16::from(channels),
        sample_size: 16,
        // ISO/IEC 14496-12 section 12.2.3: 16.16 fixed point. Rates above 65,535 Hz do not fit: 0, and the
        // decoder takes it from the codec's own configuration.
        sample_rate: u16::try_from(sample_rate_hz).unwrap_or(0).into(),
    }
}

fn aac(config: &TrackConfig) -> Result<Mp4a, InitError> {
    let parsed = AudioSpecificConfig::parse(&config.extradata)
        .map_err(|source| InitError::AudioConfiguration { codec: "AAC", source })?;
    Ok(Mp4a {
        audio: audio(parsed.channels, parsed.extension_sample_rate_hz.unwrap_or(parsed.sample_rate_hz)),
        esds: Esds {
            es_desc: EsDescriptor {
                dec_config: DecoderConfig {
                    // ISO/IEC 14496-1 tables 5 and 6: MPEG-4 audio, an audio stream.
                    object_type_indication: 0x40,
                    stream_type: 5,
                    // `raw` is written as it is; the other fields are only for readers of the struct.
                    dec_specific: Some(DecoderSpecific { raw: config.extradata.to_vec(), ..Default::default() }),
                    ..Default::default()
                },
                ..Default::default()
            },
        },
        btrt: None,
        taic: None,
    })
}

fn opus(config: &TrackConfig) -> Result<Opus, InitError> {
    let head =
        OpusHead::parse(&config.extradata).map_err(|source| InitError::AudioConfiguration { codec: "Opus", source })?;
    Ok(Opus {
        audio: audio(head.channels, 48_000),
        dops: Dops {
            output_channel_count: head.channels,
            pre_skip: head.pre_skip,
            input_sample_rate: head.input_sample_rate_hz,
            output_gain: head.output_gain,
            channel_mapping: channel_mapping(config, &head)?,
        },
        btrt: None,
    })
}

/// The table of more than two channels (RFC 7845 section 5.1.1).
fn channel_mapping(config: &TrackConfig, head: &OpusHead) -> Result<Option<OpusChannelMapping>, InitError> {
    if head.mapping_family == 0 {
        return Ok(None);
    }
    let end = 21 + usize::from(head.channels);
    let table = config.extradata.get(19..end).ok_or(InitError::AudioConfiguration {
        codec: "Opus",
        source: CodecError::Truncated { structure: "OpusHead channel mapping" },
    })?;
    Ok(Some(OpusChannelMapping {
        family: head.mapping_family,
        stream_count: table[0],
        coupled_count: table[1],
        channel_mapping: table[2..].to_vec(),
    }))
}
