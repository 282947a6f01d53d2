//! Playback tokens as viewers send them, and the refusals as HTTP says them.

use super::problem::{Code, Problem};
use crate::Counters;
use crate::playback::{Gate, Grant, Refusal};
use crate::timestamps::unix_seconds;
use hyper::header::{self, HeaderMap, HeaderValue};
use std::time::SystemTime;

/// Lets a viewer of `stream` in, or says why not.
pub fn admit(gate: &Gate, counters: &Counters, stream: &str, token: Option<&str>) -> Result<Grant, Problem> {
    gate.policy().admit(stream, token, unix_seconds(SystemTime::now())).map_err(|refused| {
        counters.playback_refused.increment();
        refusal(refused)
    })
}

/// The token of a request: `Authorization: Bearer`, or `token=` of the query for those who cannot send headers (`EventSource`, native
/// players). A token has no character that a query would have to escape.
pub fn presented<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Option<&'a str> {
    let from_query = || query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("token="));
    bearer(headers).or_else(from_query).filter(|token| !token.is_empty())
}

/// The bearer token (RFC 6750 section 2.1); the scheme's case does not matter.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// 401 that says how to do better.
pub fn unauthorized(code: Code, detail: impl Into<String>) -> Problem {
    Problem::new(code, detail).with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// The one table from the policy's refusals to HTTP.
fn refusal(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::TokenMissing => {
            unauthorized(Code::TokenMissing, "This stream is private; open it with a playback token.")
        }
        Refusal::TokenWrong => unauthorized(Code::TokenWrong, "This playback token is not valid for this stream."),
        Refusal::TokenExpired => unauthorized(Code::TokenExpired, "This playback token has expired; get a new one."),
        Refusal::PolicyUnknown => {
            Problem::new(Code::TryAgain, "This server does not know yet who may watch; try again.").retry_after(1)
        }
    }
}

/// For somebody who was let in and may not stay.
pub fn revoked() -> Problem {
    unauthorized(Code::AccessRevoked, "Access to this stream was withdrawn; open it again with a new playback token.")
}

/// For a player of a private stream that was away for too long.
pub fn session_over() -> Problem {
    unauthorized(Code::TokenMissing, "This viewing session is over; open index.m3u8 again with a playback token.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(authorization: Option<&'static str>, query: Option<&str>) -> Option<String> {
        let value = authorization.map(HeaderValue::from_static);
        let headers = HeaderMap::from_iter(value.map(|value| (header::AUTHORIZATION, value)));
        presented(&headers, query).map(str::to_owned)
    }

    #[test]
    fn a_token_comes_by_header_or_query() {
        assert_eq!(token(Some("Bearer a.b.c"), None).as_deref(), Some("a.b.c"));
        assert_eq!(token(Some("bearer a.b.c "), Some("token=x")).as_deref(), Some("a.b.c"));
        assert_eq!(token(None, Some("a=1&token=a.b.c&token=d")).as_deref(), Some("a.b.c"));
        // A password of the proxy in front is not for us.
        assert_eq!(token(Some("Basic dXNlcg=="), Some("token=a.b.c")).as_deref(), Some("a.b.c"));
        for nothing in [token(None, None), token(None, Some("token=")), token(Some("Bearer "), Some("tokens=x"))] {
            assert_eq!(nothing, None);
        }
        for nothing in ["Basic key", "Bearer", "Bearer ", "key"] {
            assert_eq!(token(Some(nothing), None), None, "{nothing}");
        }
    }
}
