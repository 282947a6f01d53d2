//! RTMP ingest: sockets, deadlines and policy around the `tallylight-rtmp` state machine.
//!
//! ```text
//! serve (accept, places) ── one task per connection:
//!     greet      handshake .. publish command, within absolute deadlines       (connection)
//!     admit      key -> control plane -> Stream::publish, or Denied            (admit)
//!     ingest     messages -> ToStream -> Publication, until it ends            (ingest)
//! ```
//! A publisher that sends nothing is closed by the engine's watcher, like those of every other protocol.

mod admit;
mod connection;
mod ingest;
mod places;

#[cfg(test)]
mod tests;

use crate::Engine;
use connection::Connection;
use places::Places;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Bounds of what strangers may hold open. All deadlines count from accept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Handshake and `connect` are two round trips and 4 KiB (hardening matrix G1: closed within 5 s).
    pub connect: Duration,
    /// `publish` comes after three more round trips, whatever the peer dribbles meanwhile (G9).
    pub publish: Duration,
    /// Connections without a publication, from one address (G2). A studio with some encoders behind one
    /// address stays far below.
    pub per_address: usize,
    /// And in all; beyond it the oldest makes room, so that newcomers are never locked out.
    pub total: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Duration::from_millis(4500),
            publish: Duration::from_millis(9500),
            per_address: 64,
            total: 1024,
        }
    }
}

/// After a failed accept (no file descriptors left) wait for some to be given back.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Accepts publishers until `shutdown` turns true, then ends their publications.
pub async fn serve(engine: Arc<Engine>, listener: TcpListener, shutdown: watch::Receiver<bool>) {
    serve_with(engine, listener, shutdown, Limits::default()).await;
}

async fn serve_with(engine: Arc<Engine>, listener: TcpListener, mut shutdown: watch::Receiver<bool>, limits: Limits) {
    let places = Places::new(limits.per_address, limits.total);
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Finished connections are forgotten as they end.
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            _ = shutdown.wait_for(|down| *down) => break,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "rtmp_accept_failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        engine.counters.rtmp_connections_accepted.increment();
        match places.admit(remote.ip()) {
            Some(place) => {
                let connection = Connection::new(engine.clone(), socket, remote, shutdown.clone());
                tasks.spawn(connection.run(place, limits));
            }
            None => engine.counters.rtmp_connections_refused.increment(),
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}
