//! WHIP (RFC 9725) and WHEP (its mirror image for viewers): offers, answers, trickle, restart, goodbye.

use super::body::{self, Body, empty, full};
use super::connections::network_of;
use super::front::{cors_preflight, open_to_all};
use super::ice_servers;
use super::problem::{Code, Problem};
use super::token::{self, bearer, unauthorized};
use crate::Engine;
use crate::admission::{PUBLISHER_BUSY, PublishQuestion, Verdict};
use crate::context::random_id;
use crate::peers::Peers;
use crate::playback;
use crate::status::webrtc_playability;
use aws_lc_rs::{constant_time, digest};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};
use tallylight_webrtc::{Answer, OfferError, PatchError, Patched};

/// An offer of a browser has 4 to 8 KiB (matrix H2).
const MAX_SDP_BYTES: usize = 64 << 10;
const SDP: &str = "application/sdp";
const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const ENDPOINT_METHODS: &str = "POST, OPTIONS";
const SESSION_METHODS: &str = "PATCH, DELETE, OPTIONS";
const REQUEST_HEADERS: &str = "Authorization, Content-Type, If-Match";
/// What scripts of other sites may read of our answers.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Location, ETag, Link, Accept-Patch, Accept-Post, Retry-After, WWW-Authenticate, X-Tallylight-Stream",
);
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// Which stream the key opened: a publisher that does not name one learns here where it is on air.
const STREAM: HeaderName = HeaderName::from_static("x-tallylight-stream");

pub struct WebRtcRoutes {
    engine: Arc<Engine>,
    /// SHA-256 of the key each WHIP session was opened with: the same key may change or close it.
    keys: Mutex<HashMap<String, KeyHash>>,
}

type KeyHash = [u8; digest::SHA256_OUTPUT_LEN];

impl WebRtcRoutes {
    pub fn new(engine: Arc<Engine>) -> WebRtcRoutes {
        WebRtcRoutes { engine, keys: Mutex::default() }
    }

    /// `/whip` and `/whip/{name}`.
    pub async fn whip(&self, request: Request<Incoming>, name: Option<&str>, remote: IpAddr) -> Response<Body> {
        self.endpoint(request, remote, async |request| self.publish(request, name, remote).await).await
    }

    /// `/whep/{name}`.
    pub async fn whep(&self, request: Request<Incoming>, name: &str, remote: IpAddr) -> Response<Body> {
        self.endpoint(request, remote, async |request| self.view(request, name, remote).await).await
    }

    /// `/whip/sessions/{id}`.
    pub async fn whip_session(&self, request: Request<Incoming>, session: &str) -> Response<Body> {
        let allowed =
            if is_session_method(request.method()) { self.check_owner(session, request.headers()) } else { Ok(()) };
        self.session(request, session, allowed).await
    }

    /// `/whep/sessions/{id}`: knowing the address is the right to it.
    pub async fn whep_session(&self, request: Request<Incoming>, session: &str) -> Response<Body> {
        let publishes = self.engine.peers.get().and_then(|peers| peers.publishes(session));
        let allowed = if publishes == Some(false) { Ok(()) } else { Err(unknown_session()) };
        self.session(request, session, allowed).await
    }

    async fn publish(
        &self,
        request: Request<Incoming>,
        name: Option<&str>,
        remote: IpAddr,
    ) -> Result<Response<Body>, Problem> {
        let key = stream_key(request.headers())?.to_owned();
        let take_over = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "takeover=1"));
        let offer = receive_text(request, SDP, ACCEPT_POST).await?;
        let asked_at = Instant::now();
        let name = self.ask(name, &key, remote).await?;
        if self.engine.cuts.any_since(&name, asked_at) {
            return Err(try_again());
        }
        let stream = self.engine.streams.get_or_create(&name);
        self.engine.hls.ensure(stream.clone());
        let answer = self.peers(move |peers| peers.whip(&stream, &offer, remote, take_over)).await?;
        let answer = answer.map_err(|error| self.publish_problem(&name, error))?;
        if self.engine.cuts.any_since(&name, asked_at) {
            self.peers(move |peers| peers.close(&answer.session)).await?;
            return Err(try_again());
        }
        self.remember_key(&answer.session, &key);
        let mut response = self.created("whip", answer, remote);
        if let Ok(name) = HeaderValue::try_from(name) {
            response.headers_mut().insert(STREAM, name);
        }
        Ok(response)
    }

    async fn view(&self, request: Request<Incoming>, name: &str, remote: IpAddr) -> Result<Response<Body>, Problem> {
        let presented = token::presented(request.headers(), request.uri().query());
        let grant = token::admit(&self.engine.gate, &self.engine.counters, name, presented)?;
        let offer = receive_text(request, SDP, ACCEPT_POST).await?;
        let stream = self.engine.streams.get(name).ok_or_else(|| offer_problem(OfferError::NothingOnAir))?;
        let playability = webrtc_playability(stream.snapshot().tracks.as_deref());
        let reason = playability.reason.unwrap_or_default();
        match playability.code {
            None => {}
            Some("b_frames") => return Err(Problem::new(Code::BFrames, reason)),
            Some("starting") => return Err(offer_problem(OfferError::NothingOnAir)),
            Some(_) => return Err(Problem::new(Code::CodecNotPlayable, reason)),
        }
        let answer = self.peers(move |peers| peers.whep(&stream, &offer, remote)).await?.map_err(offer_problem)?;
        let peers = self.engine.peers.get();
        let exists = |session: &str| peers.is_some_and(|peers| peers.publishes(session).is_some());
        self.engine.admitted.remember(&answer.session, name, grant, exists);
        if !self.engine.gate.policy().allows(name, &grant) {
            // The policy changed while the offer was being answered.
            playback::enforce(&self.engine).await;
            return Err(token::revoked());
        }
        Ok(self.created("whep", answer, remote))
    }

    /// The stream the key opens.
    async fn ask(&self, name: Option<&str>, key: &str, remote: IpAddr) -> Result<String, Problem> {
        let question = PublishQuestion {
            protocol: "whip",
            stream: name.map(str::to_owned),
            key: key.to_owned(),
            session: random_id(),
            remote_ip: remote.to_canonical(),
        };
        let session = question.session.clone();
        match self.engine.admission.ask(question).await {
            Verdict::Allow { stream } => Ok(stream),
            Verdict::Deny { code, message } => {
                self.report_refusal(name, Some(&session), &code, &message);
                Err(denied(&code, message))
            }
            Verdict::TryAgain => Err(try_again()),
        }
    }

    fn publish_problem(&self, stream: &str, error: OfferError) -> Problem {
        if matches!(error, OfferError::Busy(_)) {
            self.report_refusal(Some(stream), None, Code::PublisherBusy.text(), PUBLISHER_BUSY);
        }
        offer_problem(error)
    }

    fn report_refusal(&self, stream: Option<&str>, session: Option<&str>, code: &str, message: &str) {
        let fields = [
            ("stream", stream.into()),
            ("session", session.into()),
            ("protocol", "whip".into()),
            ("code", code.into()),
            ("message", message.into()),
        ];
        self.engine.events.emit("publish_refused", &fields);
    }

    async fn session(&self, request: Request<Incoming>, session: &str, allowed: Result<(), Problem>) -> Response<Body> {
        let answer = match *request.method() {
            Method::OPTIONS => Ok(cors_preflight(SESSION_METHODS, REQUEST_HEADERS)),
            Method::DELETE | Method::PATCH if allowed.is_err() => allowed.map(|()| no_content()),
            Method::DELETE => self.close(session).await,
            Method::PATCH => self.patch(request, session).await,
            // RFC 9725 section 4.2 keeps GET, HEAD, POST and PUT for later use.
            _ => Err(Problem::method_not_allowed(SESSION_METHODS)),
        };
        expose(answer.unwrap_or_else(Problem::response))
    }

    async fn close(&self, session: &str) -> Result<Response<Body>, Problem> {
        self.lock_keys().remove(session);
        let session = session.to_owned();
        let closed = self.peers(move |peers| peers.close(&session)).await?;
        if closed { Ok(Response::new(empty())) } else { Err(unknown_session()) }
    }

    async fn patch(&self, request: Request<Incoming>, session: &str) -> Result<Response<Body>, Problem> {
        let if_match = request.headers().get(header::IF_MATCH).and_then(|value| value.to_str().ok()).map(etag_value);
        let if_match = if_match.ok_or_else(|| {
            Problem::new(
                Code::PreconditionRequired,
                "Send If-Match with the ETag of the session, or \"*\" to restart ICE.",
            )
        })?;
        let fragment = receive_text(request, SDP_FRAGMENT, ACCEPT_PATCH).await?;
        let session = session.to_owned();
        let patched = self.peers(move |peers| peers.patch(&session, &fragment, &if_match)).await?;
        match patched.map_err(patch_problem)? {
            Patched::Trickled => Ok(no_content()),
            Patched::Restarted { fragment, etag } => {
                let mut response = Response::new(full(fragment));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP_FRAGMENT));
                insert_etag(response.headers_mut(), &etag);
                Ok(response)
            }
        }
    }

    /// 201 with everything RFC 9725 sections 4.2, 4.3.1 and 4.6 want.
    fn created(&self, kind: &str, answer: Answer, remote: IpAddr) -> Response<Body> {
        let mut response = Response::new(full(answer.sdp));
        *response.status_mut() = StatusCode::CREATED;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(ACCEPT_PATCH, HeaderValue::from_static(SDP_FRAGMENT));
        insert_etag(headers, &answer.etag);
        if let Ok(location) = HeaderValue::try_from(format!("/{kind}/sessions/{}", answer.session)) {
            headers.insert(header::LOCATION, location);
        }
        self.name_ice_servers(headers, remote);
        response
    }

    /// A browser that relays needs them before it gathers, so they come with OPTIONS as well as with 201.
    fn name_ice_servers(&self, headers: &mut HeaderMap, remote: IpAddr) {
        for link in ice_servers::links(&self.engine.config.ice_servers, SystemTime::now(), network_of(remote)) {
            headers.append(header::LINK, link);
        }
    }

    async fn endpoint(
        &self,
        request: Request<Incoming>,
        remote: IpAddr,
        post: impl AsyncFnOnce(Request<Incoming>) -> Result<Response<Body>, Problem>,
    ) -> Response<Body> {
        let answer = match *request.method() {
            Method::OPTIONS => {
                let mut response = cors_preflight(ENDPOINT_METHODS, REQUEST_HEADERS);
                let headers = response.headers_mut();
                headers.insert(ACCEPT_POST, HeaderValue::from_static(SDP));
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                self.name_ice_servers(headers, remote);
                Ok(response)
            }
            Method::POST => post(request).await,
            _ => Err(Problem::method_not_allowed(ENDPOINT_METHODS)),
        };
        expose(answer.unwrap_or_else(Problem::response))
    }

    /// RFC 9725 section 4.8: the bearer token that opened a session also changes and closes it.
    fn check_owner(&self, session: &str, headers: &HeaderMap) -> Result<(), Problem> {
        let publishes = self.engine.peers.get().and_then(|peers| peers.publishes(session));
        let expected = self.lock_keys().get(session).copied();
        let expected = expected.filter(|_| publishes == Some(true)).ok_or_else(unknown_session)?;
        let given = key_hash(stream_key(headers)?);
        constant_time::verify_slices_are_equal(&expected, &given)
            .map_err(|_| unauthorized(Code::KeyWrong, "This is not the stream key the session was opened with."))
    }

    /// Also forgets the keys of sessions that are gone, however they ended.
    fn remember_key(&self, session: &str, key: &str) {
        let peers = self.engine.peers.get();
        let mut keys = self.lock_keys();
        keys.retain(|session, _| peers.is_some_and(|peers| peers.publishes(session).is_some()));
        keys.insert(session.to_owned(), key_hash(key));
    }

    async fn peers<T: Send + 'static>(&self, ask: impl FnOnce(&dyn Peers) -> T + Send + 'static) -> Result<T, Problem> {
        let answer = self.engine.with_peers(ask).await;
        answer
            .ok_or_else(|| Problem::new(Code::TryAgain, "The media engine is just starting; try again.").retry_after(1))
    }

    fn lock_keys(&self) -> std::sync::MutexGuard<'_, HashMap<String, KeyHash>> {
        self.keys.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// OPTIONS, POST and the refusal of everything else on an address that takes offers.
fn is_session_method(method: &Method) -> bool {
    matches!(*method, Method::PATCH | Method::DELETE)
}

fn expose(response: Response<Body>) -> Response<Body> {
    let mut response = open_to_all(response);
    response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    response
}

/// The body as text, if it is of the wanted type and within the bounds.
async fn receive_text(request: Request<Incoming>, wanted: &'static str, accept: HeaderName) -> Result<String, Problem> {
    let given = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case(wanted) {
        let problem = Problem::new(Code::ContentTypeWrong, format!("Send this with Content-Type: {wanted}."));
        return Err(problem.with(accept, HeaderValue::from_static(wanted)));
    }
    let bytes = body::receive(request.into_body(), MAX_SDP_BYTES).await?;
    String::from_utf8(bytes.into()).map_err(|_| Problem::new(Code::SdpMalformed, "The SDP is not UTF-8 text."))
}

fn stream_key(headers: &HeaderMap) -> Result<&str, Problem> {
    bearer(headers).ok_or_else(|| {
        unauthorized(Code::KeyMissing, "Send the stream key as a bearer token (Authorization: Bearer KEY).")
    })
}

fn denied(code: &str, message: String) -> Problem {
    match code {
        "key_missing" => unauthorized(Code::KeyMissing, message),
        "stream_unknown" => Problem::new(Code::StreamUnknown, message),
        "rate_limited" => Problem::new(Code::RateLimited, message).retry_after(10),
        other => unauthorized(Code::KeyWrong, message).worded(other),
    }
}

/// The one table from what WebRTC refuses to what HTTP says.
fn offer_problem(error: OfferError) -> Problem {
    let detail = match &error {
        OfferError::CodecNotPlayable { codec } => {
            format!("This stream's video is {}, which the offer does not list.", codec.name())
        }
        OfferError::NothingOnAir => "Nothing is on air on this stream.".into(),
        OfferError::Busy(_) => PUBLISHER_BUSY.into(),
        OfferError::BFrames => {
            "This stream uses B-frames, which WebRTC cannot play in order; watch it over HLS.".into()
        }
        OfferError::TooManySessions => "This server has as many WebRTC sessions as it takes; try again later.".into(),
        other => format!("The offer cannot be answered: {other}."),
    };
    match error {
        OfferError::Malformed(_) | OfferError::Syntax(_) => Problem::new(Code::SdpMalformed, detail),
        OfferError::NothingOnAir => Problem::new(Code::NothingOnAir, detail),
        OfferError::CodecNotPlayable { .. } | OfferError::NoUsableTrack => Problem::new(Code::CodecNotPlayable, detail),
        OfferError::BFrames => Problem::new(Code::BFrames, detail),
        OfferError::Busy(_) => Problem::new(Code::PublisherBusy, detail),
        OfferError::TooManySessions => Problem::new(Code::TooManySessions, detail).retry_after(5),
    }
}

fn patch_problem(error: PatchError) -> Problem {
    match error {
        PatchError::SessionUnknown => unknown_session(),
        PatchError::PreconditionFailed => {
            Problem::new(Code::PreconditionFailed, "The If-Match header does not name the current ICE session.")
        }
        PatchError::Fragment(error) => {
            Problem::new(Code::SdpMalformed, format!("The SDP fragment is not usable: {error}."))
        }
        PatchError::NoAnswer => Problem::new(Code::TryAgain, "The media engine did not answer in time.").retry_after(1),
    }
}

/// Nobody knows now whether the key is right, or it may have been changed since somebody did.
fn try_again() -> Problem {
    Problem::new(Code::TryAgain, "This server cannot check stream keys at the moment; try again.").retry_after(2)
}

fn unknown_session() -> Problem {
    Problem::new(Code::SessionUnknown, "There is no such session.")
}

fn key_hash(key: &str) -> KeyHash {
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
    hash
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The value inside an entity tag's quotes; `*` stays (RFC 9725 section 4.3.3 writes it with quotes, too).
fn etag_value(given: &str) -> String {
    given.trim().trim_start_matches("W/").trim_matches('"').to_owned()
}

fn insert_etag(headers: &mut HeaderMap, etag: &str) {
    if let Ok(value) = HeaderValue::try_from(format!("\"{etag}\"")) {
        headers.insert(header::ETAG, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_lose_their_quotes() {
        assert_eq!(
            [etag_value("\"a1\""), etag_value("*"), etag_value("\"*\""), etag_value("W/\"a1\"")],
            ["a1", "*", "*", "a1"]
        );
    }
}
