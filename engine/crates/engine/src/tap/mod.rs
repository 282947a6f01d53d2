//! The tap: what is on air on one stream as endless fragmented MP4, for programs on this host.
//!
//! ```text
//! Stream ── subscription (bounded, drops to a keyframe) ──> reader's Muxer ── four chunks at most ──> socket
//! ```
//! One task and one muxer a reader: a slow one loses units of its own and of nobody else.

mod reader;
#[cfg(test)]
mod tests;

use crate::hls::own_tracks;
use crate::http::body::{self, Body};
use crate::http::problem::{Code, Problem};
use crate::{Counters, EventLog};
use hyper::Response;
use hyper::header::{self, HeaderValue};
use reader::Reader;
use std::sync::Arc;
use std::time::Instant;
use tallylight_fmp4::InitSegment;
use tallylight_media::{JoinPoint, Stream};
use tokio::sync::{Notify, Semaphore, watch};

/// Readers at the same time. Each can hold a full queue of its stream (16 MiB), so all together 1 GiB.
pub const MAX_TAPS: usize = 64;

/// Every open tap.
pub struct Taps {
    events: Arc<EventLog>,
    counters: Arc<Counters>,
    places: Arc<Semaphore>,
}

impl Taps {
    pub fn new(events: Arc<EventLog>, counters: Arc<Counters>) -> Taps {
        Taps { events, counters, places: Arc::new(Semaphore::new(MAX_TAPS)) }
    }

    /// Starts an answer that begins at the newest keyframe and ends with the publication.
    ///
    /// Panics outside of a Tokio runtime.
    pub fn open(&self, stream: Option<Arc<Stream>>, shutdown: watch::Receiver<bool>) -> Response<Body> {
        self.start(stream, shutdown).unwrap_or_else(Problem::response)
    }

    fn start(&self, stream: Option<Arc<Stream>>, shutdown: watch::Receiver<bool>) -> Result<Response<Body>, Problem> {
        let stream = stream.ok_or_else(nothing_on_air)?;
        let place = self.places.clone().try_acquire_owned().map_err(|_| too_many_taps())?;
        let arrived = Arc::new(Notify::new());
        let waker = arrived.clone();
        // Subscribed before looking: a publication that is seen below cannot end unnoticed.
        let subscription = stream.subscribe(JoinPoint::LastKeyframe, Arc::new(move || waker.notify_one()));
        let snapshot = stream.snapshot();
        let tracks = snapshot.tracks.as_ref().filter(|_| snapshot.on_air(Instant::now())).ok_or_else(nothing_on_air)?;
        if let Err(error) = InitSegment::new(own_tracks(tracks)) {
            return Err(Problem::new(Code::CodecNotPlayable, format!("MP4 cannot carry these tracks: {error}.")));
        }
        let (sender, body) = body::channel();
        let reader = Reader::new(stream, snapshot.epoch, self.counters.clone(), sender);
        tokio::spawn(reader.run(subscription, arrived, shutdown, self.events.clone(), place));
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
        Ok(response)
    }
}

fn nothing_on_air() -> Problem {
    Problem::new(Code::NothingOnAir, "Nothing is on air on this stream.")
}

fn too_many_taps() -> Problem {
    Problem::new(Code::TooManyTaps, format!("{MAX_TAPS} taps are open already.")).retry_after(1)
}
