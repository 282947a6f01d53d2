//! Accepts the connections of the public front: bounded in number, in time and in size.

use super::body::RECEIPT_DEADLINE;
use super::connections::{Connections, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS};
use super::front::Front;
use crate::Engine;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Request line and headers; also hyper's buffer for writing. Browsers send some 2 KiB.
const MAX_HEADER_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 100;
/// Parallel requests on one HTTP/2 connection: a player asks for a playlist and two parts at a time.
const MAX_H2_STREAMS: u32 = 100;
const MAX_H2_HEADER_LIST_BYTES: u32 = 32 << 10;
const H2_PING_EVERY: Duration = Duration::from_secs(20);
/// Requests under way at shutdown get this long; the whole process has 2 s.
const DRAIN: Duration = Duration::from_millis(800);
/// After a failed accept (no file descriptors left) wait for some to be given back.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Accepts until `shutdown` turns true, then lets requests finish for a moment.
pub async fn serve(engine: Arc<Engine>, front: Arc<Front>, listener: TcpListener, mut shutdown: watch::Receiver<bool>) {
    let connections = Connections::new(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, engine.counters.clone());
    let graceful = GracefulShutdown::new();
    let builder = Arc::new(connection_builder());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|down| *down) => break,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "http_accept_failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // A trusted proxy brings everybody's connections, and counts them itself.
        let proxy = engine.config.trusted_proxies.contains(remote.ip());
        let Some(place) = connections.admit(remote.ip(), proxy) else { continue };
        let (front, builder, watcher) = (front.clone(), builder.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _place = place;
            serve_connection(&builder, watcher, front, socket, remote).await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

async fn serve_connection(
    builder: &auto::Builder<TokioExecutor>,
    watcher: Watcher,
    front: Arc<Front>,
    socket: TcpStream,
    remote: SocketAddr,
) {
    // Without it small answers wait for the client's delayed acknowledgement.
    let _ = socket.set_nodelay(true);
    let asked = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.answer(request, remote.ip()).await) }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(socket), service);
    // The builder first waits for enough bytes to tell HTTP/1 from HTTP/2, and that wait has no limit of its own.
    let silent = async {
        tokio::time::sleep(RECEIPT_DEADLINE).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        result = watcher.watch(connection) => {
            if let Err(error) = result {
                tracing::debug!(%error, "http_connection_ended");
            }
        }
        () = silent => {}
    }
}

fn connection_builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(RECEIPT_DEADLINE)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_H2_STREAMS)
        .max_header_list_size(MAX_H2_HEADER_LIST_BYTES)
        .keep_alive_interval(H2_PING_EVERY)
        .keep_alive_timeout(RECEIPT_DEADLINE);
    builder
}
