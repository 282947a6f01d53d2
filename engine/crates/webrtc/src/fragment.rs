//! SDP fragments of trickle ICE and ICE restart (RFC 8840; RFC 9725 section 4.3).

/// Bounds of a fragment from outside: a browser sends a handful of candidates of about 120 bytes.
pub const MAX_FRAGMENT_BYTES: usize = 16 << 10;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    #[error("the fragment is larger than {MAX_FRAGMENT_BYTES} bytes")]
    TooLarge,
    #[error("the fragment has no a=ice-ufrag and a=ice-pwd")]
    NoCredentials,
}

/// The ICE credentials in a fragment. Its candidates are not needed: the server is ICE-lite and learns
/// the peer's addresses from its authenticated checks, so `.local` names are never resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    pub ufrag: String,
    pub password: String,
}

pub fn parse(text: &str) -> Result<Fragment, FragmentError> {
    if text.len() > MAX_FRAGMENT_BYTES {
        return Err(FragmentError::TooLarge);
    }
    let value = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::to_owned);
    match (value("a=ice-ufrag:"), value("a=ice-pwd:")) {
        (Some(ufrag), Some(password)) if !ufrag.is_empty() && !password.is_empty() => Ok(Fragment { ufrag, password }),
        _ => Err(FragmentError::NoCredentials),
    }
}

/// The server's side of an ICE restart.
pub fn render(ufrag: &str, password: &str, candidates: &[String]) -> String {
    let mut text = format!(
        "a=ice-lite\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
    );
    for candidate in candidates {
        text.push_str("a=");
        text.push_str(candidate);
        text.push_str("\r\n");
    }
    text.push_str("a=end-of-candidates\r\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_credentials_wherever_they_stand() {
        let text = "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:secretsecretsecretsecret\r\n";
        let fragment = parse(text).unwrap();
        assert_eq!((fragment.ufrag.as_str(), fragment.password.len()), ("EsAw", 24));
        assert_eq!(parse("a=mid:0\r\n"), Err(FragmentError::NoCredentials));
        assert_eq!(parse(&"a".repeat(MAX_FRAGMENT_BYTES + 1)), Err(FragmentError::TooLarge));
    }
}
