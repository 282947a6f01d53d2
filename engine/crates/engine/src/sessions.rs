//! Connected peers that are not WebRTC sessions (those are kept by `tallylight-webrtc` itself).
//!
//! A protocol registers a peer when it is accepted and holds the [`Registration`] until it is gone.

use crate::counters::Counter;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Ends one session from outside; must not block, may be called from any thread and more than once.
pub type CloseHook = Arc<dyn Fn() + Send + Sync>;

/// One connected peer. Counters are written by its task, read by the engine API.
pub struct Session {
    pub id: String,
    pub kind: &'static str,
    pub remote: SocketAddr,
    pub since: Instant,
    /// Messages (RTMP) received, and bytes received on the wire.
    pub packets: Counter,
    pub bytes: Counter,
    place: Mutex<Place>,
    close: CloseHook,
}

#[derive(Clone)]
struct Place {
    stream: Option<String>,
    state: &'static str,
}

impl Session {
    /// The stream it publishes on (None before it is allowed to) and one word for what it does now.
    pub fn place(&self) -> (Option<String>, &'static str) {
        let place = self.place.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        (place.stream, place.state)
    }

    pub fn set_place(&self, stream: Option<&str>, state: &'static str) {
        let mut place = self.place.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *place = Place { stream: stream.map(str::to_owned), state };
    }
}

#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<HashMap<String, Arc<Session>>>>);

impl Sessions {
    /// Adds a peer; it disappears when the returned registration is dropped.
    pub fn register(&self, id: String, kind: &'static str, remote: SocketAddr, close: CloseHook) -> Registration {
        let session = Arc::new(Session {
            id: id.clone(),
            kind,
            remote,
            since: Instant::now(),
            packets: Counter::default(),
            bytes: Counter::default(),
            place: Mutex::new(Place { stream: None, state: "connected" }),
            close,
        });
        self.lock().insert(id, session.clone());
        Registration { sessions: self.clone(), session }
    }

    pub fn all(&self) -> Vec<Arc<Session>> {
        self.lock().values().cloned().collect()
    }

    /// Tells the session to close. False when there is none of that name.
    pub fn close(&self, id: &str) -> bool {
        let session = self.lock().get(id).cloned();
        session.inspect(|session| (session.close)()).is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Keeps a session listed; use it as the session.
pub struct Registration {
    sessions: Sessions,
    session: Arc<Session>,
}

impl std::ops::Deref for Registration {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.session.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_session_is_listed_until_its_registration_is_dropped() {
        let sessions = Sessions::default();
        let closed = Arc::new(AtomicBool::new(false));
        let flag = closed.clone();
        let close: CloseHook = Arc::new(move || flag.store(true, Ordering::Relaxed));
        let registration = sessions.register("a1".into(), "rtmp", ([127, 0, 0, 1], 5).into(), close);
        registration.set_place(Some("main"), "publishing");
        assert_eq!(sessions.all()[0].place(), (Some("main".into()), "publishing"));
        assert!(sessions.close("a1") && closed.load(Ordering::Relaxed));
        assert!(!sessions.close("b2"));
        drop(registration);
        assert!(sessions.all().is_empty() && !sessions.close("a1"));
    }
}
