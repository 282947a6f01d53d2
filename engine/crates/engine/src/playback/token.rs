//! Playback tokens: JSON Web Tokens that the control plane signs with a stream's playback key. Pure.
//!
//! RFC 7515 (compact serialization), RFC 7519 (claims), RFC 8725 (one algorithm, an audience of its own). The signature is checked before
//! anything inside is read, so only the holder of the key decides what the JSON parser sees.

use super::policy::PlaybackKey;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// Ours have some 250 bytes; headers of other issuers are not much longer.
pub const MAX_TOKEN_BYTES: usize = 2048;

const ALGORITHM: &str = "HS256";
const AUDIENCE: &str = "tallylight-playback";

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is not one for this stream")]
    Wrong,
    #[error("the token has expired")]
    Expired,
}

/// serde refuses a field that is there twice, so a token means the same to every reader.
#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that a reader must understand (RFC 7515 section 4.1.11); we understand none.
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: String,
    /// Seconds since 1970 (NumericDate, which may have a fraction).
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
}

/// Whether `token` lets its bearer play `stream` at `now_unix_s`.
pub fn verify(token: &str, key: &PlaybackKey, stream: &str, now_unix_s: u64) -> Result<(), TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Wrong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Wrong)?;
    if !key.signed(signed.as_bytes(), &decode(signature)?) {
        return Err(TokenError::Wrong);
    }
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Wrong)?;
    let header: Header = read(header)?;
    if header.alg != ALGORITHM || header.crit.is_some() {
        return Err(TokenError::Wrong);
    }
    let claims: Claims = read(claims)?;
    let now = now_unix_s as f64;
    if claims.aud != AUDIENCE || claims.sub != stream || claims.nbf.is_some_and(|nbf| nbf > now) {
        return Err(TokenError::Wrong);
    }
    if claims.exp <= now { Err(TokenError::Expired) } else { Ok(()) }
}

fn read<T: DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    serde_json::from_slice(&decode(part)?).map_err(|_| TokenError::Wrong)
}

/// Base64url in its one form: no padding, no spare bits, nothing in between.
fn decode(text: &str) -> Result<Vec<u8>, TokenError> {
    Base64UrlUnpadded::decode_vec(text).map_err(|_| TokenError::Wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::hmac;
    use serde_json::json;

    const NOW: u64 = 1_800_000_000;
    const KEY: [u8; 32] = [7; 32];

    fn sign_with(algorithm: hmac::Algorithm, key: &[u8], header: &str, claims: &str) -> String {
        let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let tag = hmac::sign(&hmac::Key::new(algorithm, key), signed.as_bytes());
        format!("{signed}.{}", Base64UrlUnpadded::encode_string(tag.as_ref()))
    }

    fn sign(header: &str, claims: &str) -> String {
        sign_with(hmac::HMAC_SHA256, &KEY, header, claims)
    }

    const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

    fn claims(change: &[(&str, serde_json::Value)]) -> String {
        let mut claims = json!({"sub": "main", "aud": AUDIENCE, "exp": NOW + 60});
        for (name, value) in change {
            claims[name] = value.clone();
        }
        claims.to_string()
    }

    fn outcome(token: &str) -> Result<(), TokenError> {
        verify(token, &PlaybackKey::new(KEY), "main", NOW)
    }

    #[test]
    fn a_token_of_another_library_is_accepted() {
        // python: jwt.encode({"sub": "main", "aud": "tallylight-playback", "exp": 1800000060}, bytes([7]) * 32, "HS256")
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJtYWluIiwiYXVkIjoidGFsbHlsaWdodC1wbGF5YmFjayIsImV4cCI6MTgwMDAwMDA2MH0.K0hntJvltrjglEtGBQa3NqwVFoSU22_qeavkm42_9ys";
        assert_eq!(outcome(token), Ok(()));
        assert_eq!(verify(token, &PlaybackKey::new([8; 32]), "main", NOW), Err(TokenError::Wrong));
        assert_eq!(verify(token, &PlaybackKey::new(KEY), "other", NOW), Err(TokenError::Wrong));
        assert_eq!(verify(token, &PlaybackKey::new(KEY), "main", NOW + 60), Err(TokenError::Expired));
        assert_eq!(verify(token, &PlaybackKey::new(KEY), "main", NOW + 59), Ok(()));
    }

    #[test]
    fn claims_decide() {
        for (change, expected) in [
            (vec![], Ok(())),
            (vec![("extra", json!({"a": [1]}))], Ok(())),
            (vec![("nbf", json!(NOW))], Ok(())),
            (vec![("exp", json!(NOW as f64 + 0.5))], Ok(())),
            (vec![("exp", json!(NOW))], Err(TokenError::Expired)),
            (vec![("exp", json!(-1))], Err(TokenError::Expired)),
            (vec![("exp", json!(NOW - 1)), ("sub", json!("other"))], Err(TokenError::Wrong)),
            (vec![("nbf", json!(NOW + 1))], Err(TokenError::Wrong)),
            (vec![("nbf", json!("soon"))], Err(TokenError::Wrong)),
            (vec![("sub", json!("Main"))], Err(TokenError::Wrong)),
            (vec![("sub", json!(""))], Err(TokenError::Wrong)),
            (vec![("sub", json!(["main"]))], Err(TokenError::Wrong)),
            (vec![("aud", json!("tallylight"))], Err(TokenError::Wrong)),
            (vec![("aud", json!([AUDIENCE]))], Err(TokenError::Wrong)),
            (vec![("exp", json!(null))], Err(TokenError::Wrong)),
            (vec![("exp", json!("1900000000"))], Err(TokenError::Wrong)),
        ] {
            assert_eq!(outcome(&sign(HEADER, &claims(&change))), expected, "{change:?}");
        }
    }

    #[test]
    fn claims_that_are_missing_or_there_twice_are_refused() {
        for text in [
            format!(r#"{{"aud":"{AUDIENCE}","exp":1900000000}}"#),
            r#"{"sub":"main","exp":1900000000}"#.into(),
            format!(r#"{{"sub":"main","aud":"{AUDIENCE}"}}"#),
            format!(r#"{{"sub":"other","sub":"main","aud":"{AUDIENCE}","exp":1900000000}}"#),
            format!(r#"{{"sub":"main","aud":"x","aud":"{AUDIENCE}","exp":1900000000}}"#),
            format!(r#"{{"sub":"main","aud":"{AUDIENCE}","exp":1,"exp":1900000000}}"#),
            format!(r#"{{"sub":"main","aud":"{AUDIENCE}","exp":1e999}}"#),
            format!(r#"{{"sub":"main","aud":"{AUDIENCE}","exp":1900000000}} "trailing""#),
            "[]".into(),
            "null".into(),
            String::new(),
        ] {
            assert_eq!(outcome(&sign(HEADER, &text)), Err(TokenError::Wrong), "{text}");
        }
    }

    #[test]
    fn only_our_algorithm_is_taken_even_when_rightly_signed() {
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":"none","alg":"HS256"}"#,
            r#"{"typ":"JWT"}"#,
            r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
            r#"{"alg":"HS256","crit":[]}"#,
            "{}",
            "",
        ] {
            assert_eq!(outcome(&sign(header, &claims(&[]))), Err(TokenError::Wrong), "{header}");
        }
        let sha512 = sign_with(hmac::HMAC_SHA512, &KEY, r#"{"alg":"HS512"}"#, &claims(&[]));
        assert_eq!(outcome(&sha512), Err(TokenError::Wrong));
        let as_text =
            sign_with(hmac::HMAC_SHA256, Base64UrlUnpadded::encode_string(&KEY).as_bytes(), HEADER, &claims(&[]));
        assert_eq!(outcome(&as_text), Err(TokenError::Wrong), "the key is its bytes, not their text");
    }

    #[test]
    fn no_character_can_be_changed_added_or_taken_away() {
        let token = sign(HEADER, &claims(&[]));
        assert_eq!(outcome(&token), Ok(()));
        for index in 0..token.len() {
            for replacement in ["A", "b", "-", "_", ".", "=", "\u{fc}", ""] {
                let changed = format!("{}{replacement}{}", &token[..index], &token[index + 1..]);
                if changed != token {
                    assert_eq!(outcome(&changed), Err(TokenError::Wrong), "{replacement:?} at {index}");
                }
            }
        }
        // The last character carries two bits too many: a lenient reader would take four spellings of it.
        let last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars();
        let accepted = last.filter(|last| outcome(&format!("{}{last}", &token[..token.len() - 1])).is_ok());
        assert_eq!(accepted.count(), 1);
        for changed in [
            format!("{token}="),
            format!("{token}."),
            format!(".{token}"),
            format!("{token}.{token}"),
            format!(" {token}"),
            token.rsplit_once('.').expect("a signature").0.to_owned(),
            format!("{}.", token.rsplit_once('.').expect("a signature").0),
        ] {
            assert_eq!(outcome(&changed), Err(TokenError::Wrong), "{changed}");
        }
    }

    #[test]
    fn shapes_that_are_no_token_are_refused() {
        let long = sign(HEADER, &claims(&[("pad", json!("x".repeat(MAX_TOKEN_BYTES)))]));
        let deep = sign(HEADER, &format!("{}{}", "[".repeat(700), "]".repeat(700)));
        assert!(deep.len() <= MAX_TOKEN_BYTES);
        for token in ["", ".", "..", "...", "a.b", "a.b.c", "\u{0}", long.as_str(), deep.as_str()] {
            assert_eq!(outcome(token), Err(TokenError::Wrong));
        }
        let fits = sign(HEADER, &claims(&[("pad", json!("x".repeat(1000)))]));
        assert_eq!(outcome(&fits), Ok(()));
    }
}
