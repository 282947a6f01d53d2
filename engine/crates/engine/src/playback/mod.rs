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
use crate::peers::Peers;
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A media thread that is behind takes no commands for a moment: sessions that must end are named again, for two seconds.
const REVOKE_TRIES: usize = 20;
const REVOKE_PAUSE: Duration = Duration::from_millis(100);

/// How many sessions a new policy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    pub whep: usize,
    pub hls: usize,
}

/// Puts a policy in force and ends what it no longer allows, then keeps it for the next start. Runs to its end, also when nobody
/// waits for it.
pub async fn replace(engine: &Arc<Engine>, document: Bytes) -> Result<(), ReplaceError> {
    let engine = engine.clone();
    let replacing = tokio::spawn(async move {
        let ended = async {
            let revoked = enforce(&engine).await;
            let fields = [
                ("private_streams", engine.gate.policy().private_streams().into()),
                ("whep_ended", revoked.whep.into()),
                ("hls_ended", revoked.hls.into()),
            ];
            engine.events.emit("playback_policy_set", &fields);
        };
        engine.gate.replace(document, ended).await
    });
    replacing.await.map_err(io::Error::other)?
}

/// Ends the sessions that the policy in force does not allow. Live states (`/live/…/events`) watch the gate themselves.
pub async fn enforce(engine: &Arc<Engine>) -> Revoked {
    let policy = engine.gate.policy();
    let hls = engine.hls.viewers.revoke(&policy);
    let mut left = engine.admitted.refused(&policy);
    let mut whep = 0;
    for _ in 0..REVOKE_TRIES {
        let close = move |peers: &dyn Peers| {
            let before = left.len();
            left.retain(|session| !peers.revoke(session));
            let ended = before - left.len();
            left.retain(|session| peers.publishes(session).is_some());
            (left, ended)
        };
        let Some((still_there, ended)) = engine.with_peers(close).await else { break };
        (left, whep) = (still_there, whep + ended);
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(REVOKE_PAUSE).await;
    }
    engine.counters.playback_revoked.add((whep + hls) as u64);
    Revoked { whep, hls }
}
