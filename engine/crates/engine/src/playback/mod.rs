//! Who may play a stream. The control plane sets the whole policy; the engine keeps it, asks nobody when a viewer comes,
//! and ends what a new policy no longer allows.
//!
//! ```text
//! PUT /v1/policy ──> Gate (in force, and on disk) ──> Policy::admit(stream, token) ──> Grant
//!                                      └── enforce ──> WHEP and HLS sessions whose Grant is no longer enough
//! ```
//! A [`Grant`] is what a viewer was let in with. It is compared with the policy of now, so revoking needs no list of tokens:
//! a stream that gets another key, or turns private, leaves every older grant behind.

mod admitted;
mod gate;
mod policy;
#[cfg(test)]
pub(crate) mod test_support;
mod token;

pub use admitted::Admitted;
pub use gate::{Gate, ReplaceError};
pub use policy::{Grant, MAX_POLICY_BYTES, PlaybackKey, Policy, PolicyError, Refusal};
pub use token::{MAX_TOKEN_BYTES, TokenError, verify};

use crate::Engine;
use std::sync::Arc;

/// How many sessions a new policy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    pub whep: usize,
    pub hls: usize,
}

/// Ends the sessions that the policy in force does not allow. Live states (`/live/…/events`) watch the gate themselves.
pub async fn enforce(engine: &Arc<Engine>) -> Revoked {
    let policy = engine.gate.policy();
    let hls = engine.hls.viewers.revoke(&policy);
    let sessions = engine.admitted.take_refused(&policy);
    let close = move |peers: &dyn crate::peers::Peers| sessions.iter().filter(|session| peers.revoke(session)).count();
    let whep = engine.with_peers(close).await.unwrap_or(0);
    engine.counters.playback_revoked.add((whep + hls) as u64);
    Revoked { whep, hls }
}
