//! The playback policy itself: which streams are private, and the decision about one viewer. Pure.

use super::token::{TokenError, verify};
use aws_lc_rs::hmac;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt;

/// A private stream takes some 150 bytes of the document.
pub const MAX_POLICY_BYTES: usize = 4 << 20;
/// More streams than one server ever has on air.
const MAX_STREAMS: usize = 20_000;

/// Signs a stream's playback tokens: the HMAC key is these 32 bytes, not their text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PlaybackKey([u8; 32]);

impl PlaybackKey {
    pub fn new(bytes: [u8; 32]) -> PlaybackKey {
        PlaybackKey(bytes)
    }

    fn parse(text: &str) -> Option<PlaybackKey> {
        let bytes = Base64UrlUnpadded::decode_vec(text).ok()?;
        bytes.try_into().ok().map(PlaybackKey)
    }

    /// Whether `signature` is this key's HMAC-SHA-256 of `message`. Takes the same time wherever it differs.
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), message, signature).is_ok()
    }
}

impl fmt::Debug for PlaybackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlaybackKey(secret)")
    }
}

/// What a viewer was let in with: the key of the stream at that moment, or nothing on a stream for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant(Option<PlaybackKey>);

impl Grant {
    /// Anybody's.
    pub const PUBLIC: Grant = Grant(None);

    /// Of a token signed with this key.
    #[cfg(test)]
    pub(crate) fn signed_by(key: [u8; 32]) -> Grant {
        Grant(Some(PlaybackKey(key)))
    }

    /// Whether a token was needed.
    pub fn is_private(&self) -> bool {
        self.0.is_some()
    }
}

/// Why a viewer does not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a private stream, and no token")]
    TokenMissing,
    #[error("a token that is not one for this stream")]
    TokenWrong,
    #[error("a token that has expired")]
    TokenExpired,
    /// The kept policy could not be read, and the control plane has not sent it yet.
    #[error("the policy is not known")]
    PolicyUnknown,
}

/// Which streams are private. Every other one is for everybody.
#[derive(Debug)]
pub enum Policy {
    Known {
        private: HashMap<String, PlaybackKey>,
    },
    /// There is one, but it cannot be read: nobody comes in until it is known again.
    Unknown,
}

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("it is not the JSON that was agreed: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it has {0} streams, and at most {MAX_STREAMS} are taken")]
    TooManyStreams(usize),
    #[error("{0} is private and has no playback_key of 32 bytes in base64url without padding")]
    KeyNeeded(String),
}

#[derive(Deserialize)]
struct Document {
    streams: HashMap<String, Rule>,
}

#[derive(Deserialize)]
struct Rule {
    visibility: Visibility,
    #[serde(default)]
    playback_key: Option<String>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Visibility {
    Public,
    Unlisted,
    Private,
}

impl Policy {
    /// What holds before anybody has ever set one.
    pub fn everything_public() -> Policy {
        Policy::Known { private: HashMap::new() }
    }

    /// Reads the body of `PUT /v1/policy`.
    pub fn parse(document: &[u8]) -> Result<Policy, PolicyError> {
        let document: Document = serde_json::from_slice(document)?;
        if document.streams.len() > MAX_STREAMS {
            return Err(PolicyError::TooManyStreams(document.streams.len()));
        }
        let private = document.streams.into_iter().filter(|(_, rule)| rule.visibility == Visibility::Private);
        let keyed = private.map(|(name, rule)| match rule.playback_key.as_deref().and_then(PlaybackKey::parse) {
            Some(key) => Ok((name, key)),
            None => Err(PolicyError::KeyNeeded(name)),
        });
        Ok(Policy::Known { private: keyed.collect::<Result<_, _>>()? })
    }

    /// The decision about somebody who wants to start playing `stream`.
    pub fn admit(&self, stream: &str, token: Option<&str>, now_unix_s: u64) -> Result<Grant, Refusal> {
        let Policy::Known { private } = self else { return Err(Refusal::PolicyUnknown) };
        let Some(key) = private.get(stream) else { return Ok(Grant::PUBLIC) };
        verify(token.ok_or(Refusal::TokenMissing)?, key, stream, now_unix_s).map_err(|error| match error {
            TokenError::Wrong => Refusal::TokenWrong,
            TokenError::Expired => Refusal::TokenExpired,
        })?;
        Ok(Grant(Some(*key)))
    }

    /// Whether somebody who was let in with `grant` may stay.
    pub fn allows(&self, stream: &str, grant: &Grant) -> bool {
        match self {
            Policy::Known { private } => private.get(stream).is_none_or(|key| grant.0 == Some(*key)),
            Policy::Unknown => false,
        }
    }

    /// How many streams are private.
    pub fn private_streams(&self) -> usize {
        match self {
            Policy::Known { private } => private.len(),
            Policy::Unknown => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::test_support::{key_text, sign};
    use serde_json::json;

    fn private(byte: u8) -> Policy {
        let document = json!({"streams": {
            "main": {"visibility": "private", "playback_key": key_text(byte)},
            "hidden": {"visibility": "unlisted"}, "open": {"visibility": "public", "playback_key": "anything"},
        }});
        Policy::parse(document.to_string().as_bytes()).expect("a policy")
    }

    fn token(byte: u8, exp: u64) -> String {
        sign([byte; 32], "main", exp)
    }

    #[test]
    fn only_private_streams_need_a_token() {
        let policy = private(1);
        assert_eq!(policy.private_streams(), 1);
        for stream in ["hidden", "open", "unheard-of"] {
            assert_eq!(policy.admit(stream, None, 100), Ok(Grant::PUBLIC), "{stream}");
        }
        assert_eq!(policy.admit("main", None, 100), Err(Refusal::TokenMissing));
        assert_eq!(policy.admit("main", Some("x"), 100), Err(Refusal::TokenWrong));
        assert_eq!(policy.admit("main", Some(&token(2, 200)), 100), Err(Refusal::TokenWrong));
        assert_eq!(policy.admit("main", Some(&token(1, 100)), 100), Err(Refusal::TokenExpired));
        assert!(policy.admit("main", Some(&token(1, 200)), 100).expect("a grant").is_private());
    }

    #[test]
    fn a_grant_is_worth_what_the_policy_of_now_says() {
        let grant = private(1).admit("main", Some(&token(1, 200)), 100).expect("a grant");
        assert!(private(1).allows("main", &grant), "set again without a change");
        assert!(Policy::everything_public().allows("main", &grant));
        assert!(!private(2).allows("main", &grant), "another key");
        assert!(!private(1).allows("main", &Grant::PUBLIC), "turned private");
        assert!(private(1).allows("open", &Grant::PUBLIC));
        assert!(!Policy::Unknown.allows("open", &Grant::PUBLIC));
        assert_eq!(Policy::Unknown.admit("open", None, 100), Err(Refusal::PolicyUnknown));
    }

    #[test]
    fn a_private_stream_without_its_key_is_refused() {
        for rule in [
            json!({"visibility": "private"}),
            json!({"visibility": "private", "playback_key": null}),
            json!({"visibility": "private", "playback_key": ""}),
            json!({"visibility": "private", "playback_key": Base64UrlUnpadded::encode_string(&[1; 31])}),
            json!({"visibility": "private", "playback_key": key_text(1) + "="}),
            json!({"visibility": "private", "playback_key": 1}),
            json!({"visibility": "secret"}),
            json!({}),
        ] {
            let document = json!({"streams": {"main": rule}}).to_string();
            assert!(Policy::parse(document.as_bytes()).is_err(), "{document}");
        }
        for document in ["", "{}", "[]", "null", r#"{"streams": []}"#] {
            assert!(Policy::parse(document.as_bytes()).is_err(), "{document}");
        }
        let many: HashMap<String, _> =
            (0..=MAX_STREAMS).map(|n| (n.to_string(), json!({"visibility": "public"}))).collect();
        assert!(Policy::parse(json!({"streams": many}).to_string().as_bytes()).is_err());
    }

    #[test]
    fn keys_are_not_printed() {
        assert!(!format!("{:?}", private(65)).contains("65"));
    }
}
