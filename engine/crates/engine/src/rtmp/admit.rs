//! From the publish command to the right to publish, or to the sentence that says why not.

use super::connection::{Connection, Ending};
use crate::admission::PUBLISHER_BUSY;
use crate::{PublishQuestion, Verdict};
use std::sync::Arc;
use std::time::Instant;
use tallylight_media::{EndReason, Protocol, Publication, PublishError, PublisherInfo};
use tallylight_rtmp::{AddressError, publish_address};

impl Connection {
    /// Asks the control plane about the key and takes the stream it opens.
    pub(super) async fn admit(&mut self, app: &str, name: &str) -> Result<Publication, Ending> {
        let address = match publish_address(app, name) {
            Ok(address) => address,
            Err(error) => return Err(self.refuse(None, address_code(error), &error.to_string())),
        };
        let question = PublishQuestion {
            protocol: Protocol::Rtmp.name(),
            stream: None,
            key: address.key.to_owned(),
            session: self.registration.id.clone(),
            remote_ip: self.remote.ip().to_canonical(),
        };
        let asked_at = Instant::now();
        match self.engine.admission.ask(question).await {
            Verdict::Allow { stream } => self.take(&stream, address.take_over, asked_at),
            Verdict::Deny { code, message } => Err(self.refuse(None, &code, &message)),
            // Closed without a word: encoders take that for a network fault and come back by themselves.
            Verdict::TryAgain => Err(Ending::TryAgain),
        }
    }

    fn take(&mut self, name: &str, take_over: bool, asked_at: Instant) -> Result<Publication, Ending> {
        if self.engine.cuts.any_since(name, asked_at) {
            return Err(Ending::TryAgain);
        }
        let closer = self.closer.clone();
        let info = PublisherInfo {
            session: self.registration.id.clone(),
            protocol: Protocol::Rtmp,
            // RTMP has no way to ask for one.
            request_keyframe: None,
            close: Arc::new(move |reason| closer.close(reason)),
        };
        let stream = self.engine.streams.get_or_create(name);
        let now = Instant::now();
        let taken = if take_over { Ok(stream.take_over(info, now)) } else { stream.publish(info, now) };
        match taken {
            Ok(publication) if self.engine.cuts.any_since(name, asked_at) => {
                publication.end(EndReason::Removed);
                Err(Ending::TryAgain)
            }
            Ok(publication) => {
                self.engine.hls.ensure(stream);
                self.session.accept_publish();
                Ok(publication)
            }
            Err(PublishError::Busy { .. }) => Err(self.refuse(Some(name), "publisher_busy", PUBLISHER_BUSY)),
        }
    }

    fn refuse(&mut self, stream: Option<&str>, code: &str, sentence: &str) -> Ending {
        self.session.refuse_publish(sentence);
        let fields = [
            ("stream", stream.into()),
            ("protocol", Protocol::Rtmp.name().into()),
            ("code", code.into()),
            ("message", sentence.into()),
            ("session", self.registration.id.clone().into()),
        ];
        self.engine.events.emit("publish_refused", &fields);
        Ending::Refused
    }
}

/// Codes of `publish_refused` for addresses that cannot be right.
fn address_code(error: AddressError) -> &'static str {
    match error {
        AddressError::App => "app_wrong",
        AddressError::KeyMissing => "key_missing",
        AddressError::KeyMalformed => "key_wrong",
    }
}
