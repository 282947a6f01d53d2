//! AMF0, the value format of RTMP commands and metadata (Adobe, "Action Message Format AMF 0", December 2007).
//!
//! Decoding is bounded before it allocates: depth, number of values, string length and declared counts.

/// Nesting of objects and arrays. Encoders use 2 or 3; deep recursion would overflow the stack.
pub const MAX_DEPTH: u32 = 32;
/// Values in one message. OBS's metadata has about 20.
pub const MAX_VALUES: u32 = 4096;
/// Bytes of one string; short strings cannot be longer by their format.
pub const MAX_STRING_BYTES: usize = 64 << 10;

mod marker {
    pub const NUMBER: u8 = 0x00;
    pub const BOOLEAN: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const OBJECT: u8 = 0x03;
    pub const NULL: u8 = 0x05;
    pub const UNDEFINED: u8 = 0x06;
    pub const REFERENCE: u8 = 0x07;
    pub const ECMA_ARRAY: u8 = 0x08;
    pub const OBJECT_END: u8 = 0x09;
    pub const STRICT_ARRAY: u8 = 0x0a;
    pub const DATE: u8 = 0x0b;
    pub const LONG_STRING: u8 = 0x0c;
    pub const UNSUPPORTED: u8 = 0x0d;
    pub const XML_DOCUMENT: u8 = 0x0f;
    pub const TYPED_OBJECT: u8 = 0x10;
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number(f64),
    Boolean(bool),
    String(String),
    /// Objects, typed objects and ECMA arrays, in the order sent.
    Object(Vec<(String, Value)>),
    StrictArray(Vec<Value>),
    /// Null, undefined and unsupported.
    Null,
    /// A date or a reference: skipped over. References are never followed, so they cannot form a cycle.
    Opaque,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Amf0Error {
    #[error("AMF0 value ends too early")]
    Truncated,
    #[error("AMF0 values are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("more than {MAX_VALUES} AMF0 values in one message")]
    TooManyValues,
    #[error("AMF0 string of {bytes} bytes, limit {MAX_STRING_BYTES}")]
    StringTooLong { bytes: usize },
    #[error("AMF0 array declares {declared} elements but only {remaining} bytes follow")]
    CountTooLarge { declared: usize, remaining: usize },
    #[error("unknown AMF0 marker {0:#04x}")]
    UnknownMarker(u8),
}

impl Value {
    pub fn string(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    pub fn object(properties: &[(&str, Value)]) -> Value {
        Value::Object(properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The first property of that name, if this is an object.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(properties) => properties.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }
}

/// Reads the values of one message in order; the value budget is shared by all of them.
pub struct Decoder<'a> {
    rest: &'a [u8],
    values_left: u32,
}

impl<'a> Decoder<'a> {
    pub fn new(message: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: message, values_left: MAX_VALUES }
    }

    /// The next top-level value, or None at the end of the message.
    pub fn next_value(&mut self) -> Result<Option<Value>, Amf0Error> {
        if self.rest.is_empty() { Ok(None) } else { self.value(0).map(Some) }
    }

    pub fn all(mut self) -> Result<Vec<Value>, Amf0Error> {
        let mut values = Vec::new();
        while let Some(value) = self.next_value()? {
            values.push(value);
        }
        Ok(values)
    }

    fn value(&mut self, depth: u32) -> Result<Value, Amf0Error> {
        if depth > MAX_DEPTH {
            return Err(Amf0Error::TooDeep);
        }
        self.values_left = self.values_left.checked_sub(1).ok_or(Amf0Error::TooManyValues)?;
        match self.u8()? {
            marker::NUMBER => Ok(Value::Number(f64::from_be_bytes(self.array()?))),
            marker::BOOLEAN => Ok(Value::Boolean(self.u8()? != 0)),
            marker::STRING => Ok(Value::String(self.short_string()?)),
            marker::LONG_STRING | marker::XML_DOCUMENT => Ok(Value::String(self.long_string()?)),
            marker::OBJECT => self.properties(depth),
            marker::ECMA_ARRAY => {
                // Section 2.10: the count is a hint; the end marker ends it.
                self.count()?;
                self.properties(depth)
            }
            marker::TYPED_OBJECT => {
                self.short_string()?;
                self.properties(depth)
            }
            marker::STRICT_ARRAY => self.strict_array(depth),
            marker::NULL | marker::UNDEFINED | marker::UNSUPPORTED => Ok(Value::Null),
            marker::DATE => self.take(10).map(|_| Value::Opaque),
            marker::REFERENCE => self.take(2).map(|_| Value::Opaque),
            unknown => Err(Amf0Error::UnknownMarker(unknown)),
        }
    }

    fn properties(&mut self, depth: u32) -> Result<Value, Amf0Error> {
        let mut properties = Vec::new();
        loop {
            let name = self.short_string()?;
            if name.is_empty() && self.rest.first() == Some(&marker::OBJECT_END) {
                self.take(1)?;
                return Ok(Value::Object(properties));
            }
            properties.push((name, self.value(depth + 1)?));
        }
    }

    fn strict_array(&mut self, depth: u32) -> Result<Value, Amf0Error> {
        let count = self.count()?;
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(depth + 1)?);
        }
        Ok(Value::StrictArray(values))
    }

    /// A declared number of elements; each needs at least one byte.
    fn count(&mut self) -> Result<usize, Amf0Error> {
        let declared = u32::from_be_bytes(self.array()?) as usize;
        let remaining = self.rest.len();
        if declared > remaining { Err(Amf0Error::CountTooLarge { declared, remaining }) } else { Ok(declared) }
    }

    fn short_string(&mut self) -> Result<String, Amf0Error> {
        let bytes = u16::from_be_bytes(self.array()?);
        self.text(bytes.into())
    }

    fn long_string(&mut self) -> Result<String, Amf0Error> {
        let bytes = u32::from_be_bytes(self.array()?) as usize;
        self.text(bytes)
    }

    fn text(&mut self, bytes: usize) -> Result<String, Amf0Error> {
        if bytes > MAX_STRING_BYTES {
            return Err(Amf0Error::StringTooLong { bytes });
        }
        Ok(String::from_utf8_lossy(self.take(bytes)?).into_owned())
    }

    fn u8(&mut self) -> Result<u8, Amf0Error> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Amf0Error> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Amf0Error::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Amf0Error> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(Amf0Error::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }
}

/// Appends one value. Only this server's own values go through here; a text over 65,535 bytes is cut.
pub fn encode(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => {
            out.push(marker::NUMBER);
            out.extend(number.to_be_bytes());
        }
        Value::Boolean(flag) => out.extend([marker::BOOLEAN, u8::from(*flag)]),
        Value::String(text) => {
            out.push(marker::STRING);
            encode_text(out, text);
        }
        Value::Object(properties) => {
            out.push(marker::OBJECT);
            for (name, value) in properties {
                encode_text(out, name);
                encode(out, value);
            }
            out.extend([0, 0, marker::OBJECT_END]);
        }
        Value::StrictArray(values) => {
            out.push(marker::STRICT_ARRAY);
            out.extend((values.len() as u32).to_be_bytes());
            for value in values {
                encode(out, value);
            }
        }
        Value::Null | Value::Opaque => out.push(marker::NULL),
    }
}

fn encode_text(out: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(u16::MAX.into())];
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(message: &[u8]) -> Result<Vec<Value>, Amf0Error> {
        Decoder::new(message).all()
    }

    #[test]
    fn values_survive_a_round_trip() {
        let values = [
            Value::string("connect"),
            Value::Number(1.5),
            Value::object(&[
                ("app", Value::string("live")),
                ("nested", Value::object(&[("flag", Value::Boolean(true))])),
            ]),
            Value::StrictArray(vec![Value::Null, Value::string("avc1")]),
        ];
        let mut message = Vec::new();
        values.iter().for_each(|value| encode(&mut message, value));
        assert_eq!(decode(&message).unwrap(), values);
    }

    #[test]
    fn an_ecma_array_reads_as_an_object() {
        let message = [&[8, 0, 0, 0, 1, 0, 5][..], b"width", &[0], &1280f64.to_be_bytes(), &[0, 0, 9]].concat();
        assert_eq!(decode(&message).unwrap()[0].get("width"), Some(&Value::Number(1280.0)));
    }

    #[test]
    fn every_prefix_of_a_message_is_an_error_or_shorter() {
        let mut message = Vec::new();
        encode(&mut message, &Value::object(&[("a", Value::StrictArray(vec![Value::Number(1.0); 3]))]));
        for end in 1..message.len() {
            assert!(decode(&message[..end]).is_err(), "prefix of {end} bytes");
        }
    }

    #[test]
    fn nesting_of_seventy_thousand_is_refused() {
        assert_eq!(decode(&[3, 0, 1, b'a'].repeat(70_000)), Err(Amf0Error::TooDeep));
        assert_eq!(decode(&[0x0a, 0, 0, 0, 1].repeat(70_000)), Err(Amf0Error::TooDeep));
    }

    #[test]
    fn depth_of_exactly_the_limit_is_read() {
        let mut message = [0x0a, 0, 0, 0, 1].repeat(MAX_DEPTH as usize);
        message.push(5);
        assert!(decode(&message).is_ok());
        message.splice(0..0, [0x0a, 0, 0, 0, 1]);
        assert_eq!(decode(&message), Err(Amf0Error::TooDeep));
    }

    #[test]
    fn declared_counts_must_fit_the_message() {
        assert_eq!(
            decode(&[0x0a, 0xff, 0xff, 0xff, 0xff, 5]),
            Err(Amf0Error::CountTooLarge { declared: 0xffff_ffff, remaining: 1 })
        );
        assert!(matches!(decode(&[8, 0xff, 0xff, 0xff, 0xff, 0, 0, 9]), Err(Amf0Error::CountTooLarge { .. })));
    }

    #[test]
    fn long_strings_are_bounded() {
        assert_eq!(decode(&[0x0c, 0xff, 0xff, 0xff, 0xff]), Err(Amf0Error::StringTooLong { bytes: 0xffff_ffff }));
        let mut message = vec![0x0c];
        message.extend((MAX_STRING_BYTES as u32).to_be_bytes());
        message.resize(5 + MAX_STRING_BYTES, b'x');
        assert!(decode(&message).is_ok());
    }

    #[test]
    fn the_number_of_values_is_bounded_over_the_whole_message() {
        assert!(decode(&vec![5; MAX_VALUES as usize]).is_ok());
        assert_eq!(decode(&vec![5; MAX_VALUES as usize + 1]), Err(Amf0Error::TooManyValues));
        let mut array = vec![0x0a];
        array.extend(MAX_VALUES.to_be_bytes());
        array.resize(5 + MAX_VALUES as usize, 5);
        assert_eq!(decode(&array), Err(Amf0Error::TooManyValues));
    }

    #[test]
    fn references_are_not_followed() {
        let message = [3, 0, 1, b'a', 7, 0, 0, 0, 0, 9];
        assert_eq!(decode(&message).unwrap(), [Value::Object(vec![("a".into(), Value::Opaque)])]);
    }
}
