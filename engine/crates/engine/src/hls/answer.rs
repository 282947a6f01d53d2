//! Requests below `/hls/`: playlists, held until they have what was asked for, and media.

use super::viewers::{NoSession, Visit};
use super::{HlsStore, Packaged};
use crate::context::random_id;
use crate::http::front::{cors_preflight, open_to_all};
use crate::http::problem::{Code, Problem};
use crate::http::{Body, full, token};
use crate::playback::Grant;
use crate::status::{codec_string, hls_playability};
use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tallylight_hls::{Found, MAX_HOLD_S, Reload, ReloadQuery, Resource, Snapshot, Variant, multivariant};
use tallylight_media::{Kind, StreamSnapshot};

const MAX_HOLD: Duration = Duration::from_secs(MAX_HOLD_S);

/// Advice of RFC 8216bis section 6.2.5.3 and appendix B for caches in between. An answer to a blocking request is the same
/// for all who ask it, for six target durations; a playlist asked for without directives changes all the
/// time; media never changes under its name.
const CACHE_BLOCKING: &str = "public, max-age=24";
const CACHE_LIVE: &str = "no-cache";
const CACHE_MEDIA: &str = "public, max-age=86400, immutable";
/// The multivariant playlist has the id of one viewer in it; private media is nobody else's.
const CACHE_NOTHING: &str = "private, no-store";

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const MP4: &str = "video/mp4";

/// What is asked for below `/hls/`, and by whom.
pub struct HlsRequest<'a> {
    pub method: &'a Method,
    /// What follows `/hls/`, percent-decoded.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub remote: IpAddr,
}

/// The parts of a path below `/hls/`: `NAME/FILE`, or `NAME/~SESSION/FILE` on a private stream.
struct Place<'a> {
    stream: &'a str,
    session: Option<&'a str>,
    resource: Resource,
}

/// A body with what its headers say.
struct Content {
    bytes: Bytes,
    content_type: &'static str,
    cache_control: &'static str,
}

impl HlsStore {
    /// Answers a request below `/hls/`.
    pub async fn answer(&self, request: HlsRequest<'_>) -> Response<Body> {
        self.counters.hls_requests.increment();
        match *request.method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => return cors_preflight("GET, HEAD, OPTIONS", "Authorization, Range, Cache-Control"),
            _ => return open_to_all(Problem::method_not_allowed("GET, HEAD, OPTIONS").response()),
        }
        let response = match self.content(&request).await {
            Ok(content) => {
                if *request.method == Method::GET {
                    self.counters.hls_bytes.add(content.bytes.len() as u64);
                }
                content.response()
            }
            Err(problem) => problem.response(),
        };
        open_to_all(response)
    }

    async fn content(&self, request: &HlsRequest<'_>) -> Result<Content, Problem> {
        let place = Place::parse(request.path).ok_or_else(Problem::not_found)?;
        if place.resource == Resource::Multivariant {
            return self.enter(request, place.stream).await;
        }
        let (packaged, visit) = match place.session {
            Some(session) => {
                // First, so that a stranger does not learn what is on air.
                let visit = self.visit(&place, session)?;
                (self.get(place.stream).ok_or_else(nothing_on_air)?, Some(visit))
            }
            None => {
                // Without a session there is only what everybody may have.
                token::admit(&self.gate, &self.counters, place.stream, None)?;
                let packaged = self.get(place.stream).ok_or_else(nothing_on_air)?;
                (packaged, self.count_in(request, &place)?)
            }
        };
        let mut content = match place.resource {
            Resource::Media => self.media(packaged, request.query.unwrap_or_default()).await?,
            resource => self.bytes(packaged, resource).await?,
        };
        // It may have been held for seconds; whom a new policy shuts out gets nothing more.
        let over = visit.as_ref().is_some_and(Visit::is_over);
        if over || (place.session.is_none() && !self.gate.policy().allows(place.stream, &Grant::PUBLIC)) {
            return Err(token::revoked());
        }
        if let Some(visit) = visit.filter(|_| *request.method == Method::GET) {
            visit.sent(content.bytes.len());
        }
        if place.session.is_some() {
            content.cache_control = CACHE_NOTHING;
        }
        Ok(content)
    }

    /// A request below a private session.
    fn visit(&self, place: &Place<'_>, session: &str) -> Result<Visit, Problem> {
        let playlist = place.resource == Resource::Media;
        let visit = self.viewers.visit(session, place.stream, playlist, &self.gate.policy(), Instant::now());
        visit.map_err(no_session)
    }

    /// The viewer that a playlist request of a public stream names. None for media, which is the same for all, and when it cannot be
    /// counted.
    fn count_in(&self, request: &HlsRequest<'_>, place: &Place<'_>) -> Result<Option<Visit>, Problem> {
        match session_of(request.query).filter(|_| place.resource == Resource::Media) {
            Some(session) => {
                let counted = self.viewers.count_in(session, place.stream, request.remote, Instant::now());
                counted.map_err(no_session)
            }
            None => Ok(None),
        }
    }

    /// The multivariant playlist: for somebody who wants to start, so only while a publisher is there. It names the viewer's own media
    /// playlist, in a query while media is for all (its relative addresses are then shared), in the path on a private
    /// stream (so that they stay below the session).
    async fn enter(&self, request: &HlsRequest<'_>, stream: &str) -> Result<Content, Problem> {
        let presented = token::presented(request.headers, request.query);
        let grant = token::admit(&self.gate, &self.counters, stream, presented)?;
        let packaged = self.get(stream).ok_or_else(nothing_on_air)?;
        let session = random_id();
        let media = Resource::Media;
        let uri = if grant.is_private() { format!("~{session}/{media}") } else { format!("{media}?session={session}") };
        let text = self.multivariant(packaged, &uri).await?;
        if !self.gate.policy().allows(stream, &grant) {
            return Err(token::revoked());
        }
        let opens = grant.is_private() && *request.method == Method::GET;
        if opens && !self.viewers.open(&session, stream, grant, request.remote, Instant::now()) {
            let detail = "This server has as many viewers over HLS as it takes; try again later.";
            return Err(Problem::new(Code::TooManySessions, detail).retry_after(5));
        }
        Ok(Content { bytes: text.into(), content_type: PLAYLIST, cache_control: CACHE_NOTHING })
    }

    async fn multivariant(&self, packaged: Packaged, media_uri: &str) -> Result<String, Problem> {
        let source = packaged.stream.clone();
        let look = |snapshot: &Arc<Snapshot>| {
            let stream = source.snapshot();
            if stream.publisher.is_none() {
                return Some(Err(nothing_on_air()));
            }
            let playability = hls_playability(stream.tracks.as_deref(), true);
            if playability.code == Some("codec_not_hls") {
                let reason = playability.reason.unwrap_or_default();
                return Some(Err(Problem::new(Code::CodecNotPlayable, reason)));
            }
            let variant = snapshot.is_playable().then(|| variant(snapshot, &stream)).flatten()?;
            Some(Ok(multivariant(&variant, media_uri)))
        };
        self.wait(packaged, look).await
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

fn no_session(error: NoSession) -> Problem {
    match error {
        NoSession::Unknown => token::session_over(),
        NoSession::Ended => token::revoked(),
    }
}

impl Place<'_> {
    fn parse(path: &str) -> Option<Place<'_>> {
        let (stream, file) = path.split_once('/')?;
        let (session, file) = match file.strip_prefix('~') {
            Some(below) => below.split_once('/').map(|(session, file)| (Some(session), file))?,
            None => (None, file),
        };
        let resource = Resource::parse(file)?;
        // The entry is where sessions come from.
        let entry_below_session = session.is_some() && resource == Resource::Multivariant;
        (!entry_below_session).then_some(Place { stream, session, resource })
    }
}

/// `session=ID` of the query.
fn session_of(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|pair| pair.strip_prefix("session="))
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
