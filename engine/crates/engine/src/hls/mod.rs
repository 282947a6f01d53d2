//! The packager of each stream and the answers below `/hls/`.

use crate::EventLog;
use crate::http::{Body, empty};
use hyper::{HeaderMap, Method, Response, StatusCode};
use std::sync::Arc;
use tallylight_media::Stream;

pub struct HlsStore {
    _events: Arc<EventLog>,
}

impl HlsStore {
    pub fn new(events: Arc<EventLog>) -> HlsStore {
        HlsStore { _events: events }
    }

    /// Starts packaging a stream, once; called by every ingest that is allowed to publish on it.
    pub fn ensure(&self, _stream: Arc<Stream>) {}

    /// Answers a request below `/hls/`; `path` is what follows that prefix, percent-decoded.
    pub async fn answer(
        &self,
        _method: &Method,
        _path: &str,
        _query: Option<&str>,
        _headers: &HeaderMap,
    ) -> Response<Body> {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    }
}
