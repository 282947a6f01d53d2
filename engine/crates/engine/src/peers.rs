//! The WebRTC side as the rest of the engine sees it. The product is [`WebRtc`]; tests of the routes bring
//! their own, so that they need no peer that speaks ICE and DTLS.

use crate::EventLog;
use crate::config::{Config, Fatal};
use crate::http::connections::network_of;
use crate::listeners::{advertised_addresses, bind_failed};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use tallylight_media::Stream;
use tallylight_webrtc::{
    Answer, OfferError, PatchError, Patched, SessionEvent, SessionStatistics, WebRtc, WebRtcConfig,
};

/// Media sessions over WebRTC. An answer costs about a millisecond of CPU; `patch`, `close` and `sessions`
/// wait for the media thread, so async code calls all of them by [`Engine::with_peers`].
///
/// [`Engine::with_peers`]: crate::Engine::with_peers
pub trait Peers: Send + Sync {
    /// A viewer's offer on a stream.
    fn whep(&self, stream: &Arc<Stream>, offer_sdp: &str, remote: IpAddr) -> Result<Answer, OfferError>;
    /// A publisher's offer; it becomes the stream's publisher, with `take_over` in place of another one.
    fn whip(
        &self,
        stream: &Arc<Stream>,
        offer_sdp: &str,
        remote: IpAddr,
        take_over: bool,
    ) -> Result<Answer, OfferError>;
    /// Trickle ICE, or with `*` an ICE restart.
    fn patch(&self, session: &str, fragment: &str, if_match: &str) -> Result<Patched, PatchError>;
    /// False when there is no such session.
    fn close(&self, session: &str) -> bool;
    /// Closes a viewer's session because it may no longer watch. False when there is no such session.
    fn revoke(&self, session: &str) -> bool;
    /// Whether a session exists, and whether it publishes. Never waits.
    fn publishes(&self, session: &str) -> Option<bool>;
    fn sessions(&self) -> Vec<SessionStatistics>;
    /// Counters by name, without a prefix. Never waits.
    fn statistics(&self) -> Vec<(&'static str, u64)>;
    /// Closes all sessions and the UDP socket.
    fn shutdown(&self);
}

impl Peers for WebRtc {
    fn whep(&self, stream: &Arc<Stream>, offer_sdp: &str, remote: IpAddr) -> Result<Answer, OfferError> {
        WebRtc::whep(self, stream, offer_sdp, network_of(remote))
    }

    fn whip(
        &self,
        stream: &Arc<Stream>,
        offer_sdp: &str,
        remote: IpAddr,
        take_over: bool,
    ) -> Result<Answer, OfferError> {
        WebRtc::whip(self, stream, offer_sdp, network_of(remote), take_over)
    }

    fn patch(&self, session: &str, fragment: &str, if_match: &str) -> Result<Patched, PatchError> {
        WebRtc::patch(self, session, fragment, Some(if_match))
    }

    fn close(&self, session: &str) -> bool {
        WebRtc::close(self, session)
    }

    fn revoke(&self, session: &str) -> bool {
        WebRtc::revoke(self, session)
    }

    fn publishes(&self, session: &str) -> Option<bool> {
        self.session_publishes(session)
    }

    fn sessions(&self) -> Vec<SessionStatistics> {
        WebRtc::sessions(self)
    }

    fn statistics(&self) -> Vec<(&'static str, u64)> {
        WebRtc::statistics(self)
    }

    fn shutdown(&self) {
        WebRtc::shutdown(self);
    }
}

/// Binds the UDP port and starts the media thread; its sessions' lives become events.
pub fn start(config: &Config, events: Arc<EventLog>) -> Result<Arc<dyn Peers>, Fatal> {
    let webrtc = WebRtcConfig {
        bind: config.webrtc_bind,
        candidates: advertised_addresses(config),
        audit_nonces: config.audit_nonces,
    };
    tracing::info!(addresses = ?webrtc.candidates, "webrtc_addresses_advertised");
    let started = WebRtc::start(webrtc, Arc::new(move |event| record(&events, &event)));
    let webrtc = started.map_err(|error| bind_failed("udp", "TALLYLIGHT_WEBRTC_PORT", config.webrtc_bind, &error))?;
    Ok(Arc::new(webrtc))
}

/// A publisher's session is reported like one of RTMP, a viewer's as it is.
fn record(events: &EventLog, event: &SessionEvent) {
    let mut fields: Vec<(&str, Value)> =
        vec![("stream", event.stream.clone().into()), ("session", event.session.clone().into())];
    let publisher = event.name.starts_with("whip");
    if publisher {
        fields.push(("protocol", "whip".into()));
        fields.extend(event.epoch.map(|epoch| ("epoch", epoch.into())));
    }
    if let Some(reason) = event.reason {
        fields.push(("reason", if publisher { end_reason(reason) } else { reason }.into()));
        fields.push(("duration_s", crate::status::seconds(event.duration).into()));
    }
    if let Some(profile) = &event.srtp_profile {
        fields.push(("srtp_profile", profile.clone().into()));
    }
    let name = match event.name {
        "whip_session_opened" => "publish_started",
        "whip_session_closed" => "publish_ended",
        other => other,
    };
    events.emit(name, &fields);
}

/// The `EndReason` code of a WHIP session's close code.
fn end_reason(close_reason: &'static str) -> &'static str {
    match close_reason {
        "peer_closed" => "finished",
        "never_connected" | "consent_lost" => "connection_lost",
        "codec_changed" => "protocol_error",
        same => same,
    }
}
