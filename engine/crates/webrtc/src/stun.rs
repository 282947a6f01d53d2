//! What routing must read of a STUN message before str0m verifies it (RFC 8489, RFC 8445).

const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const ATTRIBUTE_USERNAME: u16 = 0x0006;
const ATTRIBUTE_USE_CANDIDATE: u16 = 0x0025;

/// The routing facts of a binding request; nothing here is authenticated yet.
#[derive(Debug, PartialEq, Eq)]
pub struct BindingRequest<'a> {
    /// Our ufrag: the part of USERNAME before the colon (RFC 8445 section 7.2.2).
    pub local_ufrag: &'a str,
    /// The peer nominates this path.
    pub use_candidate: bool,
}

/// True for anything in STUN's range of first bytes (RFC 7983 section 7).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER && datagram[0] < 4 && datagram[4..8] == MAGIC_COOKIE
}

/// Reads a binding request, or None if it is not one we could answer.
pub fn parse_binding_request(datagram: &[u8]) -> Option<BindingRequest<'_>> {
    if !is_stun(datagram) || datagram[..2] != BINDING_REQUEST {
        return None;
    }
    let mut rest = &datagram[HEADER..];
    let (mut local_ufrag, mut use_candidate) = (None, false);
    while rest.len() >= 4 {
        let kind = u16::from_be_bytes([rest[0], rest[1]]);
        let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        let value = rest.get(4..4 + length)?;
        match kind {
            ATTRIBUTE_USERNAME => local_ufrag = std::str::from_utf8(value).ok()?.split(':').next(),
            ATTRIBUTE_USE_CANDIDATE => use_candidate = true,
            _ => {}
        }
        // Values are padded to four bytes.
        rest = rest.get(4 + length.div_ceil(4) * 4..).unwrap_or(&[]);
    }
    Some(BindingRequest { local_ufrag: local_ufrag?, use_candidate })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![0, 1, 0, 0];
        message.extend_from_slice(&MAGIC_COOKIE);
        message.extend_from_slice(&[7; 12]);
        for (kind, value) in attributes {
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&(value.len() as u16).to_be_bytes());
            message.extend_from_slice(value);
            message.resize(message.len().div_ceil(4) * 4, 0);
        }
        message
    }

    #[test]
    fn reads_the_ufrag_and_the_nomination() {
        let message = request(&[(0x0024, &[0; 4]), (6, b"ours:theirs"), (0x25, &[])]);
        let expected = BindingRequest { local_ufrag: "ours", use_candidate: true };
        assert_eq!(parse_binding_request(&message), Some(expected));
    }

    #[test]
    fn no_length_and_no_truncation_panics() {
        let message = request(&[(6, b"ours:theirs"), (0x25, &[])]);
        for length in 0..=message.len() {
            let _ = parse_binding_request(&message[..length]);
        }
        for length in 0..1500 {
            let mut garbage = vec![0xff; length];
            garbage.splice(..message.len().min(length), message[..message.len().min(length)].iter().copied());
            let _ = parse_binding_request(&garbage);
        }
    }

    #[test]
    fn a_response_or_another_protocol_is_not_a_request() {
        let mut message = request(&[(6, b"ours:theirs")]);
        message[1] = 0x11;
        assert_eq!(parse_binding_request(&message), None);
        assert!(!is_stun(&[0x80; 40]));
    }
}
