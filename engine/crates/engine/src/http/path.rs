//! One rule for request paths: decoded once, a path must already be in its plain form, or it does not exist.
//!
//! So there is only one spelling of every path, and what this process checks is what the control plane
//! behind it sees (hardening matrix H4, H11).

/// A path in its plain form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainPath(String);

/// First segments that belong to other listeners and are never served here.
const PRIVATE_PREFIXES: [&str; 2] = ["internal", "engine"];
/// Longer than any address of ours, shorter than any header limit.
const MAX_PATH_BYTES: usize = 2048;

impl PlainPath {
    /// None when the path is not in its plain form: an empty or dot segment, a backslash, a control
    /// character, an encoded slash, an encoding inside an encoding, or bytes that are not UTF-8.
    pub fn parse(raw: &str) -> Option<PlainPath> {
        if raw.len() > MAX_PATH_BYTES {
            return None;
        }
        let decoded = percent_decode(raw)?;
        let rest = decoded.strip_prefix('/')?;
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            let plain = match segment {
                "" => last,
                "." | ".." => false,
                _ => !segment.contains(|c: char| c == '\\' || c == '%' || c.is_control()),
            };
            if !plain {
                return None;
            }
        }
        Some(PlainPath(decoded))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0[1..].split('/')
    }

    /// `/internal*` and `/engine*`: not for the public.
    pub fn is_private(&self) -> bool {
        let first = self.segments().next().unwrap_or_default().to_ascii_lowercase();
        PRIVATE_PREFIXES.iter().any(|prefix| first.starts_with(prefix))
    }
}

/// Decodes `%XX` once. None for a broken escape, an encoded slash or bytes that are not UTF-8.
fn percent_decode(raw: &str) -> Option<String> {
    let mut bytes = raw.bytes();
    let mut decoded = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        match u8::try_from(high * 16 + low).ok()? {
            b'/' => return None,
            byte => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_pass() {
        for (raw, plain) in [
            ("/", "/"),
            ("/watch/main", "/watch/main"),
            ("/watch/main/", "/watch/main/"),
            ("/watch/%C3%BCber", "/watch/über"),
            ("/api/streams/a%20b", "/api/streams/a b"),
        ] {
            assert_eq!(PlainPath::parse(raw).expect(raw).as_str(), plain);
        }
    }

    #[test]
    fn other_spellings_do_not_exist() {
        for raw in [
            "//internal",
            "/x/../internal",
            "/x/%2e%2e/internal",
            "/x/%2E./internal",
            "/./internal",
            "/a//b",
            "/a\\b",
            "/a%5cb",
            "/a%2fb",
            "/a%2Fb",
            "/%2569nternal",
            "/a%00",
            "/a%0d%0ab",
            "/%",
            "/%4",
            "/%zz",
            "/%ff",
            "",
            "*",
            "internal",
            "/..",
            "/a/..",
            "/%252e%252e/x",
            "/a%7f",
        ] {
            assert_eq!(PlainPath::parse(raw), None, "{raw}");
        }
        assert_eq!(PlainPath::parse(&format!("/{}", "a".repeat(MAX_PATH_BYTES))), None);
    }

    #[test]
    fn private_paths_are_private_however_encoded() {
        for raw in [
            "/internal",
            "/internal/health",
            "/%69nternal",
            "/INTERNAL",
            "/%49nternal/x",
            "/engine/admission",
            "/engine",
            "/%65%6e%67ine",
            "/internals",
        ] {
            assert!(PlainPath::parse(raw).expect(raw).is_private(), "{raw}");
        }
        for raw in ["/", "/watch/internal", "/api/engine", "/assets/engine.js"] {
            assert!(!PlainPath::parse(raw).expect(raw).is_private(), "{raw}");
        }
    }
}
