//! What `onMetaData` says about the tracks to come ("Video File Format Specification 10.1", annex E.5).

use crate::amf0::{Amf0Error, Decoder, Value};

/// The declarations of a publisher, before its first frame. Hints only: nothing is trusted but the track list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metadata {
    pub declares_video: bool,
    pub declares_audio: bool,
}

impl Metadata {
    /// Reads a data message (`@setDataFrame`, `onMetaData`, object, or without the first).
    ///
    /// None for other data messages and for metadata that declares no track at all.
    pub fn parse(body: &[u8]) -> Result<Option<Metadata>, Amf0Error> {
        let mut decoder = Decoder::new(body);
        let mut name = decoder.next_value()?;
        if name.as_ref().and_then(Value::as_str) == Some("@setDataFrame") {
            name = decoder.next_value()?;
        }
        if name.as_ref().and_then(Value::as_str) != Some("onMetaData") {
            return Ok(None);
        }
        let Some(object) = decoder.next_value()? else { return Ok(None) };
        let metadata = Metadata {
            declares_video: declares(&object, "hasVideo", "videocodecid", "width"),
            declares_audio: declares(&object, "hasAudio", "audiocodecid", "audiosamplerate"),
        };
        Ok((metadata != Metadata::default()).then_some(metadata))
    }
}

/// An explicit flag wins, then a codec id, then any property that only such a track has.
fn declares(object: &Value, flag: &str, codec: &str, property: &str) -> bool {
    if let Some(flag) = object.get(flag).and_then(Value::as_bool) {
        return flag;
    }
    match object.get(codec).or_else(|| object.get(property)) {
        Some(Value::Number(number)) => *number > 0.0,
        // Some encoders write the FourCC or a name.
        Some(Value::String(name)) => !name.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amf0::encode;

    fn message(values: &[Value]) -> Vec<u8> {
        let mut out = Vec::new();
        values.iter().for_each(|value| encode(&mut out, value));
        out
    }

    fn parse(object: &[(&str, Value)]) -> Option<Metadata> {
        let body = message(&[Value::string("@setDataFrame"), Value::string("onMetaData"), Value::object(object)]);
        Metadata::parse(&body).unwrap()
    }

    #[test]
    fn codec_ids_declare_tracks() {
        let both = [("videocodecid", Value::Number(7.0)), ("audiocodecid", Value::Number(10.0))];
        assert_eq!(parse(&both), Some(Metadata { declares_video: true, declares_audio: true }));
        assert_eq!(parse(&both[..1]), Some(Metadata { declares_video: true, declares_audio: false }));
        let opus = [("videocodecid", Value::Number(0.0)), ("audiocodecid", Value::string("Opus"))];
        assert_eq!(parse(&opus), Some(Metadata { declares_video: false, declares_audio: true }));
        let flag = [("hasVideo", Value::Boolean(false)), ("width", Value::Number(640.0)), both[1].clone()];
        assert_eq!(parse(&flag), Some(Metadata { declares_video: false, declares_audio: true }));
    }

    #[test]
    fn other_data_is_not_metadata() {
        assert_eq!(parse(&[("encoder", Value::string("x"))]), None);
        assert_eq!(Metadata::parse(&message(&[Value::string("onTextData"), Value::Null])), Ok(None));
        assert_eq!(Metadata::parse(&[]), Ok(None));
        assert_eq!(Metadata::parse(&[2, 0]), Err(Amf0Error::Truncated));
    }
}
