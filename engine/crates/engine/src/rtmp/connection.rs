//! One accepted connection: reading, writing, and its way from the first byte to the last.

use super::Limits;
use super::places::Place;
use crate::Engine;
use crate::context::random_id;
use crate::sessions::Registration;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tallylight_media::{EndReason, Publication};
use tallylight_rtmp::{Event, Session, SessionError};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout_at;

/// Read at once before a publish is allowed: what a peer sends ahead of the answer stays with its kernel.
const READ_BYTES_UNAUTHORISED: usize = 4 << 10;
/// Read at once from a publisher: 50 ms of 10 Mb/s.
const READ_BYTES: usize = 64 << 10;
/// After the last reply the peer has this long to read it and close. Closing at once could reset the
/// connection while the reply is under way, and the person at the encoder would never see the sentence.
const LINGER: Duration = Duration::from_secs(2);

/// Why there is nothing more to read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the peer closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] SessionError),
}

/// The way one connection ended, for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ending {
    #[error("publication over: {}", .0.code())]
    Published(EndReason),
    #[error("publish refused")]
    Refused,
    #[error("told to try again")]
    TryAgain,
    #[error("no handshake or publish in time")]
    TooSlow,
    #[error("made room for a newer connection")]
    Evicted,
    #[error("closed by this server")]
    ClosedHere,
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Asks a connection to close; the first reason counts.
#[derive(Clone)]
pub(super) struct Closer(watch::Sender<Option<EndReason>>);

impl Closer {
    pub(super) fn close(&self, reason: EndReason) {
        self.0.send_if_modified(|current| current.is_none().then(|| *current = Some(reason)).is_some());
    }

    /// Resolves when somebody asked.
    pub(super) async fn asked(&self) -> EndReason {
        let mut receiver = self.0.subscribe();
        match receiver.wait_for(Option::is_some).await.map(|reason| *reason) {
            Ok(Some(reason)) => reason,
            // Only without any sender left, but `self` is one.
            _ => std::future::pending().await,
        }
    }
}

pub(super) struct Connection {
    pub(super) engine: Arc<Engine>,
    pub(super) session: Session,
    pub(super) registration: Registration,
    pub(super) closer: Closer,
    pub(super) remote: SocketAddr,
    pub(super) shutdown: watch::Receiver<bool>,
    socket: TcpStream,
    accepted_at: Instant,
    read_bytes: usize,
}

impl Connection {
    pub(super) fn new(
        engine: Arc<Engine>,
        socket: TcpStream,
        remote: SocketAddr,
        shutdown: watch::Receiver<bool>,
    ) -> Connection {
        let (id, closer) = (random_id(), Closer(watch::Sender::new(None)));
        let hook = closer.clone();
        let close = Arc::new(move || hook.close(EndReason::Removed));
        // Only makes the random part of the handshake, which protects nothing.
        let seed = getrandom::u64().unwrap_or_default();
        let registration = engine.sessions.register(id, "rtmp", remote, close);
        engine.counters.rtmp_connections.increment();
        Connection {
            engine,
            session: Session::new(seed),
            registration,
            closer,
            remote,
            shutdown,
            socket,
            accepted_at: Instant::now(),
            read_bytes: READ_BYTES_UNAUTHORISED,
        }
    }

    pub(super) async fn run(mut self, place: Place, limits: Limits) {
        // Replies are small and awaited one by one.
        let _ = self.socket.set_nodelay(true);
        // Held until the connection is closed, or a publication runs.
        let mut place = Some(place);
        let ending = self.live(&mut place, limits).await;
        if let Ending::Broken(Broken::Protocol(_)) = &ending {
            self.engine.counters.rtmp_protocol_errors.increment();
        }
        self.deliver_last_reply().await;
        let duration_s = self.accepted_at.elapsed().as_secs_f64();
        tracing::debug!(session = self.registration.id, %ending, duration_s, "rtmp_connection_closed");
    }

    async fn live(&mut self, place: &mut Option<Place>, limits: Limits) -> Ending {
        let (closer, mut shutdown) = (self.closer.clone(), self.shutdown.clone());
        let admitted = tokio::select! {
            admitted = self.become_publisher(limits) => admitted,
            () = evicted(place.as_ref()) => return Ending::Evicted,
            _ = closer.asked() => return Ending::ClosedHere,
            _ = shutdown.wait_for(|down| *down) => return Ending::ClosedHere,
        };
        match admitted {
            Ok(publication) => {
                *place = None;
                self.read_bytes = READ_BYTES;
                Ending::Published(self.ingest(publication).await)
            }
            Err(ending) => ending,
        }
    }

    async fn become_publisher(&mut self, limits: Limits) -> Result<Publication, Ending> {
        let (app, name) = self.greet(limits).await?;
        self.admit(&app, &name).await
    }

    /// Application and name of the publish command, which must come in time.
    async fn greet(&mut self, limits: Limits) -> Result<(String, String), Ending> {
        let mut deadline = self.accepted_at + limits.connect;
        loop {
            match timeout_at(deadline.into(), self.next_event()).await {
                Err(_) => return Err(Ending::TooSlow),
                Ok(Ok(Event::PublishRequested { app, name })) => return Ok((app, name)),
                Ok(Ok(Event::Connected { encoder, .. })) => {
                    tracing::debug!(session = self.registration.id, encoder, "rtmp_connected");
                    deadline = self.accepted_at + limits.publish;
                }
                // Nothing else comes before a publish.
                Ok(Ok(_)) => {}
                Ok(Err(broken)) => return Err(broken.into()),
            }
        }
    }

    /// The next event of the peer. Replies are written before more is read, so a peer that does not read
    /// gets no more of our attention. May be dropped at any await when the connection ends with it.
    pub(super) async fn next_event(&mut self) -> Result<Event, Broken> {
        loop {
            if let Some(event) = self.session.next_event()? {
                return Ok(event);
            }
            self.flush().await?;
            self.socket.readable().await?;
            let count = match self.receive() {
                Err(Broken::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => continue,
                other => other?,
            };
            self.registration.bytes.add(count as u64);
            self.engine.counters.rtmp_bytes_in.add(count as u64);
        }
    }

    /// Reads what is there. The buffer lives on the stack, so a silent connection holds none.
    fn receive(&mut self) -> Result<usize, Broken> {
        let mut buffer = [0; READ_BYTES];
        let count = self.socket.try_read(&mut buffer[..self.read_bytes])?;
        if count == 0 {
            return Err(Broken::Closed);
        }
        self.session.receive(&buffer[..count])?;
        Ok(count)
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let output = self.session.take_output();
        if output.is_empty() { Ok(()) } else { self.socket.write_all(&output).await }
    }

    /// Sends a last reply, if there is one, and waits a moment for the peer to read it and close; what it
    /// still sends is thrown away.
    async fn deliver_last_reply(&mut self) {
        let reply = self.session.take_output();
        if reply.is_empty() {
            return;
        }
        let socket = &mut self.socket;
        let goodbye = async {
            socket.write_all(&reply).await?;
            socket.shutdown().await?;
            tokio::io::copy(socket, &mut tokio::io::sink()).await
        };
        tokio::select! {
            // An error here is a peer that closed first.
            _ = tokio::time::timeout(LINGER, goodbye) => {}
            _ = self.shutdown.wait_for(|down| *down) => {}
        }
    }
}

async fn evicted(place: Option<&Place>) {
    match place {
        Some(place) => place.evicted().await,
        None => std::future::pending().await,
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.engine.counters.rtmp_connections.decrement();
    }
}
