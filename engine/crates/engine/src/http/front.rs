//! From one request to its answer.

use super::body::{Body, empty};
use super::client::Client;
use super::pages::Pages;
use super::path::PlainPath;
use super::problem::Problem;
use super::proxy::Proxy;
use super::webrtc::WebRtcRoutes;
use super::{live, token};
use crate::Engine;
use crate::hls::HlsRequest;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

pub struct Front {
    engine: Arc<Engine>,
    pages: Pages,
    proxy: Proxy,
    webrtc: WebRtcRoutes,
    shutdown: watch::Receiver<bool>,
}

impl Front {
    /// `shutdown` ends answers that would never end by themselves.
    pub fn new(engine: Arc<Engine>, pages: Pages, shutdown: watch::Receiver<bool>) -> Front {
        let proxy = Proxy::new(&engine.config.control_socket, engine.counters.clone());
        Front { webrtc: WebRtcRoutes::new(engine.clone()), engine, pages, proxy, shutdown }
    }

    /// `peer` is the other end of the connection, which may be a proxy.
    pub async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Body> {
        self.engine.counters.http_requests.increment();
        let client = self.engine.config.trusted_proxies.client(peer, request.headers());
        let with_body = request.version() <= Version::HTTP_11 && !request.body().is_end_stream();
        let mut response = self.route(request, client).await;
        let refused = response.status().is_client_error() || response.status().is_server_error();
        if with_body && refused {
            // Many refusals come before the body does, and hyper then closes the connection. A client that is not told
            // sends its next request into the close.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        harden(response.headers_mut());
        response
    }

    async fn route(&self, request: Request<Incoming>, client: Client) -> Response<Body> {
        let remote = client.address;
        // ASVS 13.4.4: TRACE gives a page its visitor's headers; CONNECT would make a proxy of us.
        if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
            return Problem::method_not_allowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS").response();
        }
        let Some(path) = PlainPath::parse(request.uri().path()).filter(|path| !path.is_private()) else {
            return Problem::not_found().response();
        };
        let segments: Vec<&str> = path.segments().collect();
        match segments[..] {
            ["whip"] => self.webrtc.whip(request, None, remote).await,
            ["whip", "sessions", session] => self.webrtc.whip_session(request, session).await,
            ["whip", name] if !matches!(name, "" | "sessions") => self.webrtc.whip(request, Some(name), remote).await,
            ["whep", "sessions", session] => self.webrtc.whep_session(request, session).await,
            ["whep", name] if !matches!(name, "" | "sessions") => self.webrtc.whep(request, name, remote).await,
            ["live", name, "events"] if !name.is_empty() => self.live(&request, name),
            ["hls", _, ..] => self.hls(&request, &path, remote).await,
            ["whip" | "whep" | "live" | "hls", ..] => Problem::not_found().response(),
            _ => match self.pages.answer(request.method(), &path, request.headers()) {
                Some(response) => response,
                None => self.proxy.pass(request, client).await,
            },
        }
    }

    async fn hls(&self, request: &Request<Incoming>, path: &PlainPath, remote: IpAddr) -> Response<Body> {
        let asked = HlsRequest {
            method: request.method(),
            path: path.as_str().strip_prefix("/hls/").unwrap_or_default(),
            query: request.uri().query(),
            headers: request.headers(),
            remote,
        };
        self.engine.hls.answer(asked).await
    }

    fn live(&self, request: &Request<Incoming>, name: &str) -> Response<Body> {
        match *request.method() {
            Method::GET => {
                let presented = token::presented(request.headers(), request.uri().query());
                match token::admit(&self.engine.gate, &self.engine.counters, name, presented) {
                    Ok(grant) => live::events(&self.engine, name, grant, self.shutdown.clone()),
                    Err(problem) => open_to_all(problem.response()),
                }
            }
            Method::OPTIONS => cors_preflight("GET, OPTIONS", "Authorization, Cache-Control, Last-Event-ID"),
            _ => open_to_all(Problem::method_not_allowed("GET, OPTIONS").response()),
        }
    }
}

/// Lets pages of other sites read this answer. Nothing here depends on cookies.
pub fn open_to_all(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// The answer to a CORS preflight on an address that is open to all sites.
pub fn cors_preflight(methods: &'static str, headers: &'static str) -> Response<Body> {
    let mut response = open_to_all(Response::new(empty()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ALLOW, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, headers),
        // Chromium keeps a preflight for at most two hours.
        (header::ACCESS_CONTROL_MAX_AGE, "7200"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Headers every answer has, whoever wrote it (ASVS 3.4; matrix H19). What is there already stays.
fn harden(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "strict-origin-when-cross-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
