//! Policies and tokens as the control plane makes them.

use aws_lc_rs::hmac;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::json;

pub fn key_text(byte: u8) -> String {
    Base64UrlUnpadded::encode_string(&[byte; 32])
}

/// The policy under which `stream` is private with a key of this byte.
pub fn private_policy(stream: &str, byte: u8) -> String {
    json!({"streams": {stream: {"visibility": "private", "playback_key": key_text(byte)}}}).to_string()
}

pub fn sign(key: [u8; 32], stream: &str, exp: u64) -> String {
    let encode = Base64UrlUnpadded::encode_string;
    let claims = json!({"sub": stream, "aud": "tallylight-playback", "exp": exp}).to_string();
    let signed = format!("{}.{}", encode(br#"{"alg":"HS256","typ":"JWT"}"#), encode(claims.as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
    format!("{signed}.{}", encode(tag.as_ref()))
}
