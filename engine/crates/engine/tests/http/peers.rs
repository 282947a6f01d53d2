//! A stand-in for WebRTC that keeps its sessions by the same rules, but needs no peer on the other side.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tallylight_engine::context::random_id;
use tallylight_engine::peers::Peers;
use tallylight_media::{Protocol, Publication, PublisherInfo, Stream};
use tallylight_webrtc::{Answer, OfferError, PatchError, Patched, SessionStatistics};

#[derive(Default)]
pub struct FakePeers(Mutex<HashMap<String, Held>>);

struct Held {
    stream: String,
    kind: &'static str,
    etag: String,
    _publication: Option<Publication>,
}

impl FakePeers {
    fn open(
        &self,
        stream: &Stream,
        kind: &'static str,
        offer: &str,
        publish: impl FnOnce(&str) -> Result<Option<Publication>, OfferError>,
    ) -> Result<Answer, OfferError> {
        if !offer.starts_with("v=0") {
            return Err(OfferError::Malformed("it is not SDP".into()));
        }
        let (session, etag) = (random_id(), random_id());
        let publication = publish(&session)?;
        let held = Held { stream: stream.name().into(), kind, etag: etag.clone(), _publication: publication };
        self.0.lock().expect("one at a time").insert(session.clone(), held);
        Ok(Answer { session, etag, sdp: format!("v=0\r\ns={kind}\r\n") })
    }
}

impl Peers for FakePeers {
    fn whep(&self, stream: &Arc<Stream>, offer: &str, _: IpAddr) -> Result<Answer, OfferError> {
        self.open(stream, "whep", offer, |_| Ok(None))
    }

    fn whip(&self, stream: &Arc<Stream>, offer: &str, _: IpAddr, take_over: bool) -> Result<Answer, OfferError> {
        self.open(stream, "whip", offer, |session| {
            let info = PublisherInfo {
                session: session.to_owned(),
                protocol: Protocol::Whip,
                request_keyframe: None,
                close: Arc::new(|_| {}),
            };
            let now = Instant::now();
            Ok(Some(if take_over { stream.take_over(info, now) } else { stream.publish(info, now)? }))
        })
    }

    fn patch(&self, session: &str, _: &str, if_match: &str) -> Result<Patched, PatchError> {
        let mut sessions = self.0.lock().expect("one at a time");
        let held = sessions.get_mut(session).ok_or(PatchError::SessionUnknown)?;
        match if_match {
            "*" => {
                held.etag = random_id();
                Ok(Patched::Restarted { fragment: "a=ice-ufrag:new\r\n".into(), etag: held.etag.clone() })
            }
            tag if tag == held.etag => Ok(Patched::Trickled),
            _ => Err(PatchError::PreconditionFailed),
        }
    }

    fn close(&self, session: &str) -> bool {
        self.0.lock().expect("one at a time").remove(session).is_some()
    }

    fn revoke(&self, session: &str) -> bool {
        self.close(session)
    }

    fn publishes(&self, session: &str) -> Option<bool> {
        self.0.lock().expect("one at a time").get(session).map(|held| held.kind == "whip")
    }

    fn sessions(&self) -> Vec<SessionStatistics> {
        let sessions = self.0.lock().expect("one at a time");
        let statistics = sessions.iter().map(|(id, held)| SessionStatistics {
            id: id.clone(),
            kind: held.kind,
            stream: held.stream.clone(),
            state: "connected",
            age: Duration::from_secs(1),
            remote: None,
            packets: 0,
            bytes: 0,
            errors: 0,
            srtp_profile: None,
        });
        statistics.collect()
    }

    fn statistics(&self) -> Vec<(&'static str, u64)> {
        vec![("sessions", self.0.lock().expect("one at a time").len() as u64)]
    }

    fn shutdown(&self) {}
}
