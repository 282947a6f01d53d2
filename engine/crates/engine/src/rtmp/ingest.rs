//! A running publication: messages in, access units into the stream, until one of many ends.

use super::connection::{Broken, Connection};
use crate::Engine;
use std::sync::Arc;
use std::time::Instant;
use tallylight_media::{EndReason, Protocol, Publication};
use tallylight_rtmp::Event;
use tallylight_rtmp::to_stream::{Output, ToStream, ToStreamError};

/// A publication on air; when dropped it ends and says so, also when its task broke down.
struct OnAir {
    engine: Arc<Engine>,
    publication: Option<Publication>,
    session: String,
    started: Instant,
    reason: EndReason,
}

impl OnAir {
    fn new(engine: Arc<Engine>, publication: Publication, session: String) -> OnAir {
        let fields = [
            ("stream", publication.stream().name().into()),
            ("session", session.clone().into()),
            ("protocol", Protocol::Rtmp.name().into()),
            ("epoch", publication.epoch().into()),
        ];
        engine.events.emit("publish_started", &fields);
        let (started, reason) = (Instant::now(), EndReason::ConnectionLost);
        OnAir { engine, publication: Some(publication), session, started, reason }
    }
}

impl Drop for OnAir {
    fn drop(&mut self) {
        let Some(publication) = self.publication.take() else { return };
        let fields = [
            ("stream", publication.stream().name().into()),
            ("session", self.session.clone().into()),
            ("protocol", Protocol::Rtmp.name().into()),
            ("epoch", publication.epoch().into()),
            ("reason", self.reason.code().into()),
            ("duration_s", self.started.elapsed().as_secs_f64().into()),
        ];
        // First the state, then the news of it.
        publication.end(self.reason);
        self.engine.events.emit("publish_ended", &fields);
    }
}

impl Connection {
    /// Runs a publication to its end.
    pub(super) async fn ingest(&mut self, publication: Publication) -> EndReason {
        self.registration.set_place(Some(publication.stream().name()), "publishing");
        let mut on_air = OnAir::new(self.engine.clone(), publication, self.registration.id.clone());
        let (closer, mut shutdown) = (self.closer.clone(), self.shutdown.clone());
        let reason = match &mut on_air.publication {
            None => EndReason::ConnectionLost,
            Some(publication) => tokio::select! {
                biased;
                reason = closer.asked() => reason,
                _ = shutdown.wait_for(|down| *down) => EndReason::Shutdown,
                reason = self.pump(publication) => reason,
            },
        };
        if let Some(sentence) = parting_words(reason) {
            self.session.refuse_publish(sentence);
        }
        self.registration.set_place(None, "closing");
        on_air.reason = reason;
        reason
    }

    async fn pump(&mut self, publication: &mut Publication) -> EndReason {
        let mut to_stream = ToStream::new();
        loop {
            let event = match self.next_event().await {
                Ok(event) => event,
                Err(Broken::Closed | Broken::Io(_)) => return EndReason::ConnectionLost,
                Err(Broken::Protocol(error)) => {
                    self.engine.counters.rtmp_protocol_errors.increment();
                    tracing::warn!(session = self.registration.id, %error, "rtmp_protocol_error");
                    return EndReason::ProtocolError;
                }
            };
            let now = Instant::now();
            let pushed = match event {
                Event::Metadata(metadata) => {
                    to_stream.push_metadata(metadata);
                    continue;
                }
                Event::Video { timestamp_ms, body } => {
                    self.count(publication, body.len(), now);
                    to_stream.push_video(timestamp_ms, body, now)
                }
                Event::Audio { timestamp_ms, body } => {
                    self.count(publication, body.len(), now);
                    to_stream.push_audio(timestamp_ms, body, now)
                }
                Event::PublishFinished => return EndReason::Finished,
                Event::Connected { .. } | Event::PublishRequested { .. } => continue,
            };
            if let Err(error) = pushed
                && self.unreadable(publication, &error)
            {
                return EndReason::ProtocolError;
            }
            if !hand_over(&mut to_stream, publication, now) {
                return publication.over().unwrap_or(EndReason::Replaced);
            }
        }
    }

    fn count(&self, publication: &Publication, bytes: usize, now: Instant) {
        publication.stream().ingest_in.record_bytes(bytes as u64, now);
        self.registration.packets.increment();
    }

    /// Counts a message that cannot be used; true when the publication cannot go on.
    fn unreadable(&mut self, publication: &Publication, error: &ToStreamError) -> bool {
        publication.stream().ingest_in.record_error();
        if !error.is_fatal() {
            tracing::debug!(session = self.registration.id, %error, "rtmp_message_unusable");
            return false;
        }
        tracing::warn!(session = self.registration.id, %error, "rtmp_media_unusable");
        self.session.refuse_publish(&format!("This server cannot use what the encoder sends: {error}."));
        true
    }
}

/// What an encoder is told that was cut off; without it most would just come back.
fn parting_words(reason: EndReason) -> Option<&'static str> {
    match reason {
        EndReason::Removed => Some("This publication was ended by the server's operator."),
        EndReason::KeyRotated => Some("This stream's key was rotated; copy the new one from the studio."),
        EndReason::TakenOver => Some("Another publisher with the same key took over this stream."),
        _ => None,
    }
}

/// False when another publisher has taken the stream.
fn hand_over(to_stream: &mut ToStream, publication: &mut Publication, now: Instant) -> bool {
    while let Some(output) = to_stream.next_output() {
        match output {
            Output::Tracks(tracks) => publication.set_tracks(tracks),
            Output::Unit(unit) => {
                if !publication.push(unit, now) {
                    return false;
                }
            }
        }
    }
    true
}
