//! Requests below `/hls/`: playlists, held until they have what was asked for, and media.

use super::{HlsStore, Packaged};
use crate::http::front::{cors_preflight, open_to_all};
use crate::http::problem::{Code, Problem};
use crate::http::{Body, full};
use crate::status::{codec_string, hls_playability};
use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Response};
use std::sync::Arc;
use std::time::Duration;
use tallylight_hls::{Found, MAX_HOLD_S, Reload, ReloadQuery, Resource, Snapshot, Variant, multivariant};
use tallylight_media::{Kind, StreamSnapshot};

const MAX_HOLD: Duration = Duration::from_secs(MAX_HOLD_S);

/// Advice of RFC 8216bis section 6.2.5.3 and appendix B for caches in between. An answer to a blocking request is the same
/// for all who ask it, for six target durations; a playlist asked for without directives changes all the
/// time; media never changes under its name.
const CACHE_BLOCKING: &str = "public, max-age=24";
const CACHE_LIVE: &str = "no-cache";
const CACHE_MEDIA: &str = "public, max-age=86400, immutable";

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const MP4: &str = "video/mp4";

/// A body with what its headers say.
struct Content {
    bytes: Bytes,
    content_type: &'static str,
    cache_control: &'static str,
}

impl HlsStore {
    /// Answers a request below `/hls/`; `path` is what follows that prefix, percent-decoded.
    pub async fn answer(&self, method: &Method, path: &str, query: Option<&str>) -> Response<Body> {
        self.counters.hls_requests.increment();
        match *method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => return cors_preflight("GET, HEAD, OPTIONS", "Range, Cache-Control"),
            _ => return open_to_all(Problem::method_not_allowed("GET, HEAD, OPTIONS").response()),
        }
        let response = match self.content(path, query.unwrap_or_default()).await {
            Ok(content) => {
                if *method == Method::GET {
                    self.counters.hls_bytes.add(content.bytes.len() as u64);
                }
                content.response()
            }
            Err(problem) => problem.response(),
        };
        open_to_all(response)
    }

    async fn content(&self, path: &str, query: &str) -> Result<Content, Problem> {
        let (name, file) = path.split_once('/').ok_or_else(Problem::not_found)?;
        let resource = Resource::parse(file).ok_or_else(Problem::not_found)?;
        let packaged = self.get(name).ok_or_else(nothing_on_air)?;
        match resource {
            Resource::Multivariant => self.multivariant(packaged).await,
            Resource::Media => self.media(packaged, query).await,
            Resource::Init(_) | Resource::Segment(_) | Resource::Part { .. } => self.bytes(packaged, resource).await,
        }
    }

    /// For somebody who wants to start: only while a publisher is there.
    async fn multivariant(&self, packaged: Packaged) -> Result<Content, Problem> {
        let source = packaged.stream.clone();
        let text = self
            .wait(packaged, |snapshot| {
                let stream = source.snapshot();
                if stream.publisher.is_none() {
                    return Some(Err(nothing_on_air()));
                }
                let playability = hls_playability(stream.tracks.as_deref(), true);
                if playability.code == Some("codec_not_hls") {
                    let reason = playability.reason.unwrap_or_default();
                    return Some(Err(Problem::new(Code::CodecNotPlayable, reason)));
                }
                snapshot.is_playable().then(|| variant(snapshot, &stream)).flatten().map(|it| Ok(multivariant(&it)))
            })
            .await?;
        Ok(Content { bytes: text.into(), content_type: PLAYLIST, cache_control: CACHE_LIVE })
    }

    async fn media(&self, packaged: Packaged, query: &str) -> Result<Content, Problem> {
        let invalid = |error: tallylight_hls::BadReload| Problem::new(Code::ReloadInvalid, sentence(error));
        let query = ReloadQuery::parse(query).map_err(invalid)?;
        let off_air = packaged.stream.snapshot().publisher.is_none();
        if off_air && !packaged.snapshots.borrow().is_playable() {
            return Err(nothing_on_air());
        }
        let bytes = self
            .wait(packaged, |snapshot| match snapshot.reload(query) {
                Reload::Ready => Some(Ok(snapshot.playlist(query.skip))),
                Reload::Wait => None,
                Reload::Bad(error) => Some(Err(invalid(error))),
            })
            .await?;
        let cache_control = if query.msn.is_some() { CACHE_BLOCKING } else { CACHE_LIVE };
        Ok(Content { bytes, content_type: PLAYLIST, cache_control })
    }

    async fn bytes(&self, packaged: Packaged, resource: Resource) -> Result<Content, Problem> {
        let missing = || Problem::new(Code::NotFound, "This part of the stream is gone, or never existed.");
        let bytes = self
            .wait(packaged, |snapshot| match snapshot.find(resource) {
                Found::Ready(bytes) => Some(Ok(bytes)),
                Found::Wait => None,
                Found::Missing => Some(Err(missing())),
            })
            .await?;
        Ok(Content { bytes, content_type: MP4, cache_control: CACHE_MEDIA })
    }

    /// Looks at the newest snapshot, and holds the request for later ones until `look` has an answer. At most
    /// [`MAX_HOLD`], and at most [`super::MAX_HELD`] requests at once; both end in 503.
    async fn wait<T>(
        &self,
        packaged: Packaged,
        look: impl Fn(&Arc<Snapshot>) -> Option<Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let mut snapshots = packaged.snapshots;
        let newest = snapshots.borrow_and_update().clone();
        if let Some(answer) = look(&newest) {
            return answer;
        }
        let Ok(_place) = self.held.try_acquire() else {
            return Err(try_again("Too many requests are waiting for media."));
        };
        let _gauge = Held::new(&self.counters.hls_held);
        let later = async {
            loop {
                // The packager runs as long as the store does.
                snapshots.changed().await.ok()?;
                let newest = snapshots.borrow_and_update().clone();
                if let Some(answer) = look(&newest) {
                    return Some(answer);
                }
            }
        };
        match tokio::time::timeout(MAX_HOLD, later).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(nothing_on_air()),
            Err(_) => Err(try_again("No new media came while this request was held.")),
        }
    }
}

impl Content {
    fn response(self) -> Response<Body> {
        let mut response = Response::new(full(self.bytes));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        // Pages that isolate themselves (COEP) may embed the player.
        let policy = HeaderName::from_static("cross-origin-resource-policy");
        headers.insert(policy, HeaderValue::from_static("cross-origin"));
        response
    }
}

/// Counts a held request while it lives, also when its client goes away.
struct Held<'a>(&'a crate::counters::Counter);

impl<'a> Held<'a> {
    fn new(gauge: &'a crate::counters::Counter) -> Held<'a> {
        gauge.increment();
        Held(gauge)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.decrement();
    }
}

/// What the stream is now, for the multivariant playlist; None between two publications.
fn variant(snapshot: &Snapshot, stream: &StreamSnapshot) -> Option<Variant> {
    let tracks = stream.tracks.as_ref()?;
    let video = tracks.video().map(|track| &track.config);
    let codecs = [video, tracks.audio().map(|track| &track.config)];
    let rates = |kind: Kind| {
        let of_kind = tracks.tracks.iter().find(|track| track.kind() == kind)?;
        stream.rates.iter().find(|(id, _)| *id == of_kind.id).map(|(_, rates)| *rates)
    };
    let measured = [Kind::Video, Kind::Audio].into_iter().filter_map(rates).map(|rates| rates.bitrate_bps as u64).sum();
    let (peak, mean) = snapshot.bandwidth_bps().unwrap_or((measured, measured));
    Some(Variant {
        // The attribute must not be zero.
        bandwidth_bps: peak.max(1),
        average_bandwidth_bps: mean.max(1),
        codecs: codecs.into_iter().flatten().filter_map(codec_string).collect(),
        resolution: video
            .map(|config| (config.width, config.height))
            .filter(|(width, height)| *width > 0 && *height > 0),
        frame_rate_hz: rates(Kind::Video).map(|rates| rates.units_per_second).filter(|rate| *rate > 0.0),
    })
}

fn nothing_on_air() -> Problem {
    Problem::new(Code::NothingOnAir, "Nothing is on air on this stream.")
}

fn try_again(detail: &str) -> Problem {
    Problem::new(Code::TryAgain, detail).retry_after(1)
}

/// An error as the one sentence a problem document has.
fn sentence(error: impl std::fmt::Display) -> String {
    format!("{error}.")
}
