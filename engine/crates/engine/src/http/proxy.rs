//! Everything the engine does not answer itself goes on to the control plane, streaming both ways.

use super::body::{Body, Upload, UploadError};
use super::client::Client;
use super::problem::{Code, Problem};
use super::unix::{UnixClient, unix_client, unix_uri};
use crate::Counters;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

/// The control plane's pages are few; this many kept connections answer bursts without a new connect.
const MAX_IDLE_CONNECTIONS: usize = 32;

/// Meant for this connection only (RFC 9110 section 7.6.1), never passed on.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// What only this front may say about the client; a client's own word for it is dropped.
const FORWARDED: [HeaderName; 6] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

pub struct Proxy {
    client: UnixClient<Upload>,
    counters: Arc<Counters>,
}

impl Proxy {
    pub fn new(control_socket: &Path, counters: Arc<Counters>) -> Proxy {
        Proxy { client: unix_client(control_socket, MAX_IDLE_CONNECTIONS), counters }
    }

    /// Passes one request on and its answer back.
    pub async fn pass(&self, mut request: Request<Incoming>, from: Client) -> Response<Body> {
        self.counters.http_proxied.increment();
        let upgrade = wanted_upgrade(request.headers());
        let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        match self.client.request(outbound(request, from, upgrade)).await {
            Ok(response) => inbound(response, client_side),
            Err(error) => self.refuse(&error).response(),
        }
    }

    /// The client's own fault is not called the control plane's.
    fn refuse(&self, error: &hyper_util::client::legacy::Error) -> Problem {
        match upload_error(error) {
            Some(UploadError::TooSlow) => Problem::new(Code::BodyTooSlow, "The request body did not arrive in time."),
            Some(UploadError::Broken(_)) => Problem::new(Code::BodyBroken, "The request body broke off."),
            None => {
                self.counters.http_control_plane_away.increment();
                tracing::debug!(%error, "control_plane_away");
                Problem::new(Code::ControlPlaneAway, "The control plane does not answer at the moment; try again.")
                    .retry_after(1)
            }
        }
    }
}

fn upload_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a UploadError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(upload) = error.downcast_ref() {
            return Some(upload);
        }
        next = error.source();
    }
    None
}

/// The protocol the client asks to switch to (`websocket`), if it does.
fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let listed = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asks = listed.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| asks).cloned()
}

fn outbound(request: Request<Incoming>, from: Client, upgrade: Option<HeaderValue>) -> Request<Upload> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().map(|authority| authority.as_str().to_owned());
    parts.uri = unix_uri(parts.uri.path_and_query().map_or("/", |path| path.as_str()));
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    remove_hop_by_hop(headers);
    FORWARDED.iter().for_each(|name| drop(headers.remove(name)));
    // hyper has already answered it towards the client.
    headers.remove(header::EXPECT);
    join_cookies(headers);
    // HTTP/2 carries the host as a pseudo header (RFC 9113 section 8.3.1).
    if let Some(host) = authority.and_then(|authority| HeaderValue::try_from(authority).ok()) {
        headers.entry(header::HOST).or_insert(host);
    }
    if let Ok(remote) = HeaderValue::try_from(from.address.to_string()) {
        headers.insert("x-forwarded-for", remote);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static(if from.https { "https" } else { "http" }));
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    Request::from_parts(parts, Upload::new(body))
}

fn inbound(mut response: Response<Incoming>, client_side: Option<hyper::upgrade::OnUpgrade>) -> Response<Body> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client_side) = client_side else {
            return Problem::new(Code::ControlPlaneAway, "The control plane gave an answer nobody asked for.")
                .response();
        };
        let server_side = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            if let (Ok(client), Ok(server)) = tokio::join!(client_side, server_side) {
                // Either side closing ends both; why it closed is the control plane's to log.
                let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await;
            }
        });
        return response.map(|body| body.boxed_unsync());
    }
    remove_hop_by_hop(response.headers_mut());
    response.map(|body| body.boxed_unsync())
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| HeaderName::try_from(token.trim()).ok())
        .collect();
    named.iter().chain(&HOP_BY_HOP).for_each(|name| drop(headers.remove(name)));
}

/// HTTP/2 clients may send one cookie per field; HTTP/1.1 wants one field (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_bytes(&cookies.join(&b"; "[..]));
    if let (2.., Ok(joined)) = (cookies.len(), joined) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn named_hop_by_hop_headers_stay_here() {
        let mut map =
            headers(&[("connection", "close, X-Secret"), ("x-secret", "1"), ("te", "trailers"), ("accept", "*/*")]);
        remove_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        assert!(wanted_upgrade(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])).is_some());
        assert!(wanted_upgrade(&headers(&[("upgrade", "websocket")])).is_none());
        assert!(wanted_upgrade(&headers(&[("connection", "upgrade")])).is_none());
    }

    #[test]
    fn cookies_become_one_field() {
        let mut map = HeaderMap::new();
        map.append(header::COOKIE, HeaderValue::from_static("a=1"));
        map.append(header::COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut map);
        assert_eq!(map, headers(&[("cookie", "a=1; b=2")]));
    }
}
