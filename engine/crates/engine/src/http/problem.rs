//! Refusals of the http front as problem documents (RFC 9457): one table from code to status and title.

use super::body::{Body, full};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

macro_rules! problems {
    ($($name:ident $code:literal $status:ident $title:literal,)*) => {
        /// The registry of codes; `docs/engine-api.md` lists the same ones.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($name,)* }

        impl Code {
            pub fn text(self) -> &'static str {
                match self { $(Code::$name => $code,)* }
            }

            pub fn status(self) -> StatusCode {
                match self { $(Code::$name => StatusCode::$status,)* }
            }

            fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
        }
    };
}

problems! {
    NotFound "not_found" NOT_FOUND "Not found",
    NothingOnAir "nothing_on_air" NOT_FOUND "Nothing on air",
    StreamUnknown "stream_unknown" NOT_FOUND "Stream unknown",
    SessionUnknown "session_unknown" NOT_FOUND "Session unknown",
    CodecNotPlayable "codec_not_playable" CONFLICT "Codec not playable",
    BFrames "b_frames" CONFLICT "B-frames cannot be played by WebRTC",
    PublisherBusy "publisher_busy" CONFLICT "Stream already has a publisher",
    KeyWrong "key_wrong" UNAUTHORIZED "Stream key not valid",
    KeyMissing "key_missing" UNAUTHORIZED "Stream key needed",
    TokenMissing "token_missing" UNAUTHORIZED "Playback token needed",
    TokenWrong "token_wrong" UNAUTHORIZED "Playback token not valid",
    TokenExpired "token_expired" UNAUTHORIZED "Playback token expired",
    AccessRevoked "access_revoked" UNAUTHORIZED "Access withdrawn",
    RateLimited "rate_limited" TOO_MANY_REQUESTS "Too many attempts",
    SdpMalformed "sdp_malformed" BAD_REQUEST "SDP not understood",
    PolicyInvalid "policy_invalid" BAD_REQUEST "Playback policy not valid",
    PolicyNotKept "policy_not_kept" INTERNAL_SERVER_ERROR "Playback policy not written to disk",
    ReloadInvalid "reload_invalid" BAD_REQUEST "Playlist request not valid",
    BodyBroken "body_broken" BAD_REQUEST "Request body incomplete",
    BodyTooSlow "body_too_slow" REQUEST_TIMEOUT "Request body too slow",
    ContentTypeWrong "content_type_wrong" UNSUPPORTED_MEDIA_TYPE "Content type not supported",
    ReasonUnknown "reason_unknown" BAD_REQUEST "Reason not known",
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "Method not allowed",
    PreconditionFailed "precondition_failed" PRECONDITION_FAILED "Precondition failed",
    PreconditionRequired "precondition_required" PRECONDITION_REQUIRED "Precondition required",
    TooLarge "too_large" PAYLOAD_TOO_LARGE "Request body too large",
    TooManySessions "too_many_sessions" SERVICE_UNAVAILABLE "Too many sessions",
    TooManyTaps "too_many_taps" SERVICE_UNAVAILABLE "Too many taps",
    TryAgain "try_again" SERVICE_UNAVAILABLE "Try again",
    ControlPlaneAway "control_plane_away" SERVICE_UNAVAILABLE "Control plane away",
}

/// One refusal: a code, one sentence, and headers that tell the client more.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    /// The control plane's own word for why it refuses, in place of `code`.
    word: Option<String>,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem { code, word: None, detail: detail.into(), headers: Vec::new() }
    }

    /// 404 that says nothing about what exists elsewhere.
    pub fn not_found() -> Problem {
        Problem::new(Code::NotFound, "There is nothing at this address.")
    }

    /// 405 with the methods that exist here (RFC 9110 section 10.2.1).
    pub fn method_not_allowed(allow: &'static str) -> Problem {
        Problem::new(Code::MethodNotAllowed, format!("This address answers {allow} only."))
            .with(header::ALLOW, HeaderValue::from_static(allow))
    }

    pub fn retry_after(self, seconds: u32) -> Problem {
        self.with(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// Says another word than the registry's, one of the control plane's codes.
    pub fn worded(mut self, word: &str) -> Problem {
        self.word = Some(word.to_owned());
        self
    }

    pub fn code(&self) -> Code {
        self.code
    }

    pub fn response(self) -> Response<Body> {
        let document = serde_json::json!({
            "type": "about:blank",
            "title": self.code.title(),
            "status": self.code.status().as_u16(),
            "code": self.word.as_deref().unwrap_or(self.code.text()),
            "detail": self.detail,
        });
        let mut response = Response::new(full(document.to_string()));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers);
        response
    }
}
