//! Which stream key a publisher's address carries.

/// The one application of this server.
pub const APP: &str = "live";
/// Keys of this server have 32 characters; people may choose their own.
pub const MAX_KEY_BYTES: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("The address must be rtmp://HOST/{APP} with the stream key after it.")]
    App,
    #[error("A stream key is needed: rtmp://HOST/{APP}/KEY.")]
    KeyMissing,
    #[error("The stream key holds characters that no key has.")]
    KeyMalformed,
}

/// What a publisher's address asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishAddress<'a> {
    pub key: &'a str,
    /// `?takeover=1`: end the publisher that is on, if there is one.
    pub take_over: bool,
}

/// The key in `rtmp://host/live/<key>`, from the application and the name a peer sent.
///
/// Encoders cut an address in different places and add queries or a trailing slash, so application and
/// name together are the path, which must be `live/<key>`.
pub fn publish_address<'a>(app: &'a str, name: &'a str) -> Result<PublishAddress<'a>, AddressError> {
    let path_of =
        |text: &'a str| text.split(['?', '#']).next().unwrap_or_default().split('/').filter(|part| !part.is_empty());
    let mut parts = path_of(app).chain(path_of(name));
    if parts.next() != Some(APP) {
        return Err(AddressError::App);
    }
    let key = parts.next().ok_or(AddressError::KeyMissing)?;
    let printable = key.bytes().all(|byte| byte.is_ascii_graphic());
    if parts.next().is_some()
        || !printable
        || key.len() > MAX_KEY_BYTES
        || key.contains(['%', '\\'])
        || key.starts_with('.')
    {
        return Err(AddressError::KeyMalformed);
    }
    Ok(PublishAddress { key, take_over: asks_to_take_over(app) || asks_to_take_over(name) })
}

fn asks_to_take_over(text: &str) -> bool {
    let query = text.split('#').next().unwrap_or_default().split_once('?').map(|(_, query)| query);
    query.is_some_and(|query| query.split(['&', '?']).any(|pair| pair.trim_end_matches('/') == "takeover=1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_in_many_spellings() {
        for (app, name, take_over) in [
            ("live", "key", false),
            ("live/", "key/", false),
            ("/live", "key?token=1", false),
            ("live?a=/b", "key", false),
            ("live/key", "", false),
            ("live", "/key#x", false),
            ("live", "key?takeover=1", true),
            ("live", "key?a=b&takeover=1", true),
            ("live/key?takeover=1", "", true),
            ("live?takeover=1", "key", true),
            ("live", "key?takeover=1/", true),
            ("live", "key?takeover=0", false),
            ("live", "key?takeover=11", false),
            ("live", "key?xtakeover=1", false),
            ("live", "key#?takeover=1", false),
        ] {
            assert_eq!(publish_address(app, name), Ok(PublishAddress { key: "key", take_over }), "{app} {name}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = "k".repeat(MAX_KEY_BYTES + 1);
        for (app, name, error) in [
            ("", "", AddressError::App),
            ("app", "key", AddressError::App),
            ("livex", "key", AddressError::App),
            ("live", "", AddressError::KeyMissing),
            ("live", "?key", AddressError::KeyMissing),
            ("live", "../key", AddressError::KeyMalformed),
            ("live", "..", AddressError::KeyMalformed),
            ("live", "%2e%2e", AddressError::KeyMalformed),
            ("live", "a/b", AddressError::KeyMalformed),
            ("live", "rtmp://host/live/key", AddressError::KeyMalformed),
            ("live", "k\0y", AddressError::KeyMalformed),
            ("live", "k y", AddressError::KeyMalformed),
            ("live", "schlüssel", AddressError::KeyMalformed),
            ("live", &long, AddressError::KeyMalformed),
        ] {
            assert_eq!(publish_address(app, name), Err(error), "{app} {name}");
        }
    }
}
