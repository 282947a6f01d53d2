//! Who watches over HLS. HTTP has no connections to count, so each viewer gets an id with the multivariant playlist and is there for
//! as long as playlists are asked for under it. On a private stream the id is also the right to the media. Pure but for the lock;
//! the time comes from outside.

use crate::http::connections::network_of;
use crate::playback::{Grant, Policy};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Without a request for a playlist this long, a viewer is gone: players without low latency ask every target duration (4 s), so two
/// have been left out. A request that is held counts for as long as it is.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// A private session is kept longer than it is counted: a player in a tunnel, or paused, goes on where it was.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// A session takes some 300 bytes: 5 MB for each kind.
const MAX_SESSIONS: usize = 16_384;
/// Live ones of both kinds, and as many again that have ended: beyond it their ids are forgotten early, which opens nothing.
const MAX_ENTRIES: usize = 4 * MAX_SESSIONS;
/// As generous as the front is with connections, for the same reason.
const MAX_SESSIONS_PER_NETWORK: usize = 4096;
/// What [`crate::context::random_id`] makes.
const ID_CHARACTERS: usize = 32;

#[derive(Default)]
pub struct HlsViewers(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    entries: HashMap<String, Entry>,
    /// Of public sessions, and of private ones: strangers cannot keep out those who were let in.
    places: [Places; 2],
}

/// How many sessions that have not ended there are, in all and from each network.
#[derive(Default)]
struct Places {
    taken: usize,
    of_network: HashMap<IpAddr, usize>,
}

struct Entry {
    stream: String,
    grant: Grant,
    remote: IpAddr,
    opened_at: Instant,
    last_at: Instant,
    /// None until the first media playlist: who only looks at the entry (a link preview) does not watch.
    last_playlist_at: Option<Instant>,
    /// Playlist requests under way.
    held: u32,
    /// Until it is forgotten, its id stays refused.
    ended: bool,
    requests: u64,
    bytes: u64,
}

/// One viewer, as the engine API shows it.
pub struct HlsSession {
    pub id: String,
    pub stream: String,
    pub state: &'static str,
    pub age: Duration,
    pub remote: IpAddr,
    pub requests: u64,
    pub bytes: u64,
}

/// Why a session's request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSession {
    /// Never there, or forgotten.
    Unknown,
    /// Closed from outside, or no longer allowed.
    Ended,
}

/// One request of a session, until it is answered or given up.
pub struct Visit {
    viewers: Arc<HlsViewers>,
    id: String,
    playlist: bool,
}

impl HlsViewers {
    /// A private viewer comes in. False when there are too many.
    pub fn open(&self, id: &str, stream: &str, grant: Grant, remote: IpAddr, now: Instant) -> bool {
        self.lock().insert(id, Entry::new(stream, grant, remote, now))
    }

    /// A request below a private session.
    pub fn visit(
        self: &Arc<Self>,
        id: &str,
        stream: &str,
        playlist: bool,
        policy: &Policy,
        now: Instant,
    ) -> Result<Visit, NoSession> {
        let mut inner = self.lock();
        let entry = inner.entries.get_mut(id).filter(|entry| entry.stream == stream && entry.grant.is_private());
        let entry = entry.filter(|entry| entry.is_kept(now)).ok_or(NoSession::Unknown)?;
        if entry.ended {
            return Err(NoSession::Ended);
        }
        if !policy.allows(stream, &entry.grant) {
            inner.end(id);
            return Err(NoSession::Ended);
        }
        entry.enter(playlist, now);
        Ok(Visit { viewers: self.clone(), id: id.to_owned(), playlist })
    }

    /// A playlist request that names a viewer of a public stream, who may be new here: after the engine's restart players go on with the ids
    /// they have. None when it cannot be counted, which is no reason not to answer.
    pub fn count_in(
        self: &Arc<Self>,
        id: &str,
        stream: &str,
        remote: IpAddr,
        now: Instant,
    ) -> Result<Option<Visit>, NoSession> {
        if id.len() != ID_CHARACTERS || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut inner = self.lock();
        if !inner.entries.contains_key(id) && !inner.insert(id, Entry::new(stream, Grant::PUBLIC, remote, now)) {
            return Ok(None);
        }
        let Some(entry) = inner.entries.get_mut(id).filter(|entry| entry.stream == stream) else { return Ok(None) };
        if entry.ended {
            return Err(NoSession::Ended);
        }
        entry.enter(true, now);
        Ok(Some(Visit { viewers: self.clone(), id: id.to_owned(), playlist: true }))
    }

    /// How many watch each stream. Also forgets those who are long gone.
    pub fn count(&self, now: Instant) -> HashMap<String, u64> {
        let mut inner = self.lock();
        inner.forget(|entry| !entry.is_kept(now));
        let mut counts = HashMap::new();
        for entry in inner.entries.values().filter(|entry| entry.watches(now)) {
            *counts.entry(entry.stream.clone()).or_default() += 1;
        }
        counts
    }

    /// Those who watch, or may begin to.
    pub fn all(&self, now: Instant) -> Vec<HlsSession> {
        let inner = self.lock();
        let there = inner.entries.iter().filter(|(_, entry)| !entry.ended && entry.is_kept(now));
        there.map(|(id, entry)| entry.shown(id, now)).collect()
    }

    /// Ends one session. False when there is none.
    pub fn close(&self, id: &str) -> bool {
        self.lock().end(id)
    }

    /// Ends the sessions that the policy does not allow, and says how many they were.
    pub fn revoke(&self, policy: &Policy) -> usize {
        let mut inner = self.lock();
        let all = inner.entries.iter();
        let refused = all.filter(|(_, it)| !it.ended && !policy.allows(&it.stream, &it.grant));
        let refused: Vec<String> = refused.map(|(id, _)| id.clone()).collect();
        refused.iter().filter(|id| inner.end(id)).count()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Inner {
    /// False when there is no place. Ended sessions have none, so that who was sent away may come back.
    fn insert(&mut self, id: &str, entry: Entry) -> bool {
        if !self.places[entry.kind()].take(entry.remote) {
            return false;
        }
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.retain(|_, known| !known.ended);
        }
        self.entries.insert(id.to_owned(), entry);
        true
    }

    /// Ends a session; false when there is none, or it has ended already.
    fn end(&mut self, id: &str) -> bool {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| !entry.ended) else { return false };
        entry.ended = true;
        self.places[entry.kind()].give_back(entry.remote);
        true
    }

    fn forget(&mut self, is_gone: impl Fn(&Entry) -> bool) {
        for (_, entry) in self.entries.extract_if(|_, entry| is_gone(entry)).filter(|(_, entry)| !entry.ended) {
            self.places[entry.kind()].give_back(entry.remote);
        }
    }
}

impl Places {
    fn take(&mut self, remote: IpAddr) -> bool {
        let network = network_of(remote);
        let here = self.of_network.get(&network).copied().unwrap_or(0);
        let place = self.taken < MAX_SESSIONS && here < MAX_SESSIONS_PER_NETWORK;
        if place {
            self.taken += 1;
            self.of_network.insert(network, here + 1);
        }
        place
    }

    fn give_back(&mut self, remote: IpAddr) {
        let network = network_of(remote);
        self.taken -= 1;
        match self.of_network.get_mut(&network) {
            Some(1) | None => drop(self.of_network.remove(&network)),
            Some(here) => *here -= 1,
        }
    }
}

impl Entry {
    fn new(stream: &str, grant: Grant, remote: IpAddr, now: Instant) -> Entry {
        Entry {
            stream: stream.to_owned(),
            grant,
            remote,
            opened_at: now,
            last_at: now,
            last_playlist_at: None,
            held: 0,
            ended: false,
            requests: 0,
            bytes: 0,
        }
    }

    fn kind(&self) -> usize {
        usize::from(self.grant.is_private())
    }

    fn enter(&mut self, playlist: bool, now: Instant) {
        self.requests += 1;
        self.last_at = now;
        if playlist {
            self.held += 1;
            self.last_playlist_at = Some(now);
        }
    }

    fn watches(&self, now: Instant) -> bool {
        let recent = self.last_playlist_at.is_some_and(|at| now.saturating_duration_since(at) < GONE_AFTER);
        !self.ended && (self.held > 0 || recent)
    }

    fn is_kept(&self, now: Instant) -> bool {
        let limit = if self.grant.is_private() || self.ended { KEPT_FOR } else { GONE_AFTER };
        self.held > 0 || now.saturating_duration_since(self.last_at) < limit
    }

    fn shown(&self, id: &str, now: Instant) -> HlsSession {
        HlsSession {
            id: id.to_owned(),
            stream: self.stream.clone(),
            state: if self.watches(now) { "watching" } else { "idle" },
            age: now.saturating_duration_since(self.opened_at),
            remote: self.remote,
            requests: self.requests,
            bytes: self.bytes,
        }
    }
}

impl Visit {
    pub fn sent(&self, bytes: usize) {
        self.entry(|entry| entry.bytes += bytes as u64);
    }

    /// Whether the session was ended meanwhile.
    pub fn is_over(&self) -> bool {
        let mut over = true;
        self.entry(|entry| over = entry.ended);
        over
    }

    fn entry(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.viewers.lock().entries.get_mut(&self.id) {
            change(entry);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let now = Instant::now();
        self.entry(|entry| {
            entry.last_at = now;
            if self.playlist {
                entry.held -= 1;
                entry.last_playlist_at = Some(now);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::random_id;
    use crate::playback::test_support::private_policy;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn policy(key: u8) -> Policy {
        Policy::parse(private_policy("main", key).as_bytes()).expect("a policy")
    }

    fn watching(viewers: &HlsViewers, now: Instant) -> u64 {
        viewers.count(now).get("main").copied().unwrap_or(0)
    }

    #[test]
    fn a_viewer_is_there_while_playlists_are_asked_for() {
        let viewers = Arc::new(HlsViewers::default());
        let (id, start) = (random_id(), Instant::now());
        let visit = viewers.count_in(&id, "main", HERE, start).expect("not ended").expect("a place");
        let later = start + Duration::from_secs(100);
        assert_eq!(watching(&viewers, later), 1, "a held request counts");
        visit.sent(7);
        drop(visit);
        let end = Instant::now();
        assert_eq!(watching(&viewers, end + GONE_AFTER - Duration::from_secs(1)), 1);
        let shown = viewers.all(end);
        assert_eq!((shown[0].state, shown[0].requests, shown[0].bytes), ("watching", 1, 7));
        drop(viewers.count_in(&id, "main", HERE, end));
        assert_eq!(watching(&viewers, end), 1, "the same viewer again");
        assert_eq!(watching(&viewers, Instant::now() + GONE_AFTER), 0);
        assert!(viewers.lock().entries.is_empty(), "forgotten");
        let places = &viewers.lock().places[0];
        assert_eq!((places.taken, places.of_network.len()), (0, 0));
    }

    #[test]
    fn ids_that_are_not_ours_are_not_counted() {
        let viewers = Arc::new(HlsViewers::default());
        let id = random_id();
        for other in ["", "x", &id[1..], &format!("{id}0"), &id.replace(|_: char| true, "g")] {
            assert!(viewers.count_in(other, "main", HERE, Instant::now()).expect("not ended").is_none(), "{other}");
        }
        drop(viewers.count_in(&id, "main", HERE, Instant::now()));
        assert!(viewers.count_in(&id, "other", HERE, Instant::now()).expect("not ended").is_none());
        assert_eq!(viewers.count(Instant::now()).len(), 1);
    }

    #[test]
    fn places_are_bounded_and_strangers_take_none_of_the_private_ones() {
        let viewers = Arc::new(HlsViewers::default());
        let now = Instant::now();
        for number in 0..MAX_SESSIONS {
            let remote = IpAddr::from([10, 0, 0, u8::try_from(number % 8).expect("a byte")]);
            drop(
                viewers.count_in(&format!("{number:032x}"), "main", remote, now).expect("not ended").expect("a place"),
            );
        }
        let id = random_id();
        assert!(viewers.count_in(&id, "main", HERE, now).expect("not ended").is_none());
        let grant = Grant::signed_by([1; 32]);
        for number in 0..MAX_SESSIONS_PER_NETWORK {
            assert!(viewers.open(&format!("p{number}"), "main", grant, HERE, now));
        }
        assert!(!viewers.open("one more", "main", grant, HERE, now));
        assert!(
            viewers.close("p7") && viewers.open("one more", "main", grant, HERE, now),
            "the ended one takes no place"
        );
        assert!(!viewers.open("and one more", "main", grant, HERE, now));
        // One household's addresses are one network.
        let of_network = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        for number in 0..MAX_SESSIONS_PER_NETWORK {
            let remote = of_network(u16::try_from(number).expect("a number of 16 bits"));
            assert!(viewers.open(&format!("v6-{number}"), "main", grant, remote, now));
        }
        assert!(!viewers.open("v6", "main", grant, of_network(9999), now));
    }

    #[test]
    fn a_private_session_is_kept_longer_than_it_is_counted() {
        let viewers = Arc::new(HlsViewers::default());
        let now = Instant::now();
        let policy = policy(0);
        assert!(viewers.open("p", "main", Grant::signed_by([0; 32]), HERE, now));
        assert_eq!((watching(&viewers, now), viewers.all(now)[0].state), (0, "idle"), "nothing asked for yet");
        drop(viewers.visit("p", "main", true, &policy, now).expect("a session"));
        assert_eq!(watching(&viewers, now), 1);
        let paused = now + KEPT_FOR - Duration::from_secs(1);
        assert_eq!(watching(&viewers, paused), 0);
        drop(viewers.visit("p", "main", false, &policy, paused).expect("media keeps it"));
        assert!(viewers.visit("p", "other", true, &policy, now).is_err_and(|error| error == NoSession::Unknown));
        let late = Instant::now() + KEPT_FOR;
        assert!(viewers.visit("p", "main", true, &policy, late).is_err_and(|error| error == NoSession::Unknown));
        let id = random_id();
        drop(viewers.count_in(&id, "main", HERE, now));
        let public = viewers.visit(&id, "main", true, &Policy::everything_public(), now);
        assert!(public.is_err_and(|error| error == NoSession::Unknown), "a public id opens nothing");
    }

    #[test]
    fn a_new_policy_ends_who_was_let_in_under_the_old_one() {
        let viewers = Arc::new(HlsViewers::default());
        let now = Instant::now();
        assert!(viewers.open("p", "main", Grant::signed_by([0; 32]), HERE, now));
        let held = viewers.visit("p", "main", true, &policy(0), now).expect("a session");
        let public = random_id();
        drop(viewers.count_in(&public, "main", HERE, now));
        assert_eq!(viewers.revoke(&policy(0)), 1, "the public viewer");
        assert!(viewers.count_in(&public, "main", HERE, now).is_err(), "refused for a while");
        assert!(!held.is_over());
        assert_eq!(viewers.revoke(&policy(1)), 1, "the key changed");
        assert!(held.is_over());
        assert!(viewers.visit("p", "main", true, &policy(1), now).is_err_and(|error| error == NoSession::Ended));
        assert_eq!((watching(&viewers, now), viewers.all(now).len(), viewers.revoke(&policy(1))), (0, 0, 0));
        assert!(!viewers.close("p"), "ended already");
    }

    #[test]
    fn a_session_is_closed_from_outside() {
        let viewers = Arc::new(HlsViewers::default());
        assert!(viewers.open("p", "main", Grant::signed_by([0; 32]), HERE, Instant::now()));
        assert!(viewers.close("p") && !viewers.close("p") && !viewers.close("q"));
        let visit = viewers.visit("p", "main", true, &policy(0), Instant::now());
        assert!(visit.is_err_and(|error| error == NoSession::Ended));
    }
}
