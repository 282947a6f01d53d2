//! One HTTP/1.1 request per connection, blocking: all that signalling needs, without a client library in the measurement.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server that does not answer for this long has failed the join.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An SDP answer is about 2 KiB; more than this is not one.
const MAX_RESPONSE_BYTES: u64 = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("`{0}` is not an http:// URL")]
    UrlInvalid(String),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the response is not HTTP")]
    NotHttp,
    #[error("the response body is chunked, which this client does not read")]
    Chunked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub location: Option<String>,
    pub body: String,
}

/// `http://host:port` and the path of a URL.
pub fn split_url(url: &str) -> Result<(&str, &str), HttpError> {
    let rest = url.strip_prefix("http://").ok_or_else(|| HttpError::UrlInvalid(url.to_owned()))?;
    let slash = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(slash);
    if host.is_empty() { Err(HttpError::UrlInvalid(url.to_owned())) } else { Ok((host, path)) }
}

/// `location` as an absolute URL, given the URL it answered.
pub fn absolute(location: &str, base: &str) -> Result<String, HttpError> {
    if location.starts_with("http://") {
        return Ok(location.to_owned());
    }
    Ok(format!("http://{}{location}", split_url(base)?.0))
}

/// Sends one request with an SDP (or empty) body and reads the whole response.
pub fn request(method: &str, url: &str, token: Option<&str>, body: &str) -> Result<Response, HttpError> {
    let (host, path) = split_url(url)?;
    let path = if path.is_empty() { "/" } else { path };
    let authority = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut stream = TcpStream::connect(authority)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/sdp\r\n{authorization}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut bytes)?;
    parse_response(&String::from_utf8_lossy(&bytes))
}

fn parse_response(text: &str) -> Result<Response, HttpError> {
    let (head, body) = text.split_once("\r\n\r\n").ok_or(HttpError::NotHttp)?;
    let mut lines = head.lines();
    let status_line = lines.next().filter(|line| line.starts_with("HTTP/1.")).ok_or(HttpError::NotHttp)?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(HttpError::NotHttp)?;
    let mut location = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("location") {
            location = Some(value.trim().to_owned());
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(HttpError::Chunked);
        }
    }
    Ok(Response { status, location, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_taken_apart() {
        let response =
            parse_response("HTTP/1.1 201 Created\r\nlocation: /whep/sessions/1\r\nETag: \"x\"\r\n\r\nv=0\r\n");
        let expected = Response { status: 201, location: Some("/whep/sessions/1".into()), body: "v=0\r\n".into() };
        assert_eq!(response.expect("response"), expected);
    }

    #[test]
    fn other_answers_are_errors() {
        for text in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert!(matches!(parse_response(text), Err(HttpError::NotHttp)), "{text:?}");
        }
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(matches!(parse_response(chunked), Err(HttpError::Chunked)));
    }

    #[test]
    fn locations_are_made_absolute() {
        let base = "http://127.0.0.1:8080/whep/main";
        assert_eq!(absolute("/s/1", base).expect("url"), "http://127.0.0.1:8080/s/1");
        assert_eq!(absolute("http://a/s", base).expect("url"), "http://a/s");
        assert!(absolute("/s/1", "https://a/").is_err());
    }
}
