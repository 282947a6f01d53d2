//! From the publish command to the right to publish, or to the sentence that says why not.

use super::connection::{Connection, Ending};
use crate::{PublishQuestion, Verdict};
use std::sync::Arc;
use std::time::Instant;
use tallylight_media::{Protocol, Publication, PublishError, PublisherInfo};
use tallylight_rtmp::{AddressError, publish_key};

impl Connection {
    /// Asks the control plane about the key and takes the stream it opens.
    pub(super) async fn admit(&mut self, app: &str, name: &str) -> Result<Publication, Ending> {
        let key = match publish_key(app, name) {
            Ok(key) => key.to_owned(),
            Err(error) => return Err(self.refuse(address_code(error), &error.to_string())),
        };
        let question = PublishQuestion {
            protocol: Protocol::Rtmp.name(),
            stream: None,
            key,
            session: self.registration.id.clone(),
            remote_ip: self.remote.ip().to_canonical(),
        };
        match self.engine.admission.ask(question).await {
            Verdict::Allow { stream } => self.take(&stream),
            Verdict::Deny { code, message } => Err(self.refuse(&code, &message)),
            // Closed without a word: encoders take that for a network fault and come back by themselves.
            Verdict::TryAgain => Err(Ending::TryAgain),
        }
    }

    fn take(&mut self, stream: &str) -> Result<Publication, Ending> {
        let closer = self.closer.clone();
        let info = PublisherInfo {
            session: self.registration.id.clone(),
            protocol: Protocol::Rtmp,
            // RTMP has no way to ask for one.
            request_keyframe: None,
            close: Arc::new(move |reason| closer.close(reason)),
        };
        let stream = self.engine.streams.get_or_create(stream);
        match stream.publish(info, Instant::now()) {
            Ok(publication) => {
                self.engine.hls.ensure(stream);
                self.session.accept_publish();
                Ok(publication)
            }
            Err(PublishError::Busy { .. }) => {
                let sentence = "This stream already has a publisher that is sending; stop it first.";
                Err(self.refuse("publisher_busy", sentence))
            }
        }
    }

    fn refuse(&mut self, code: &str, sentence: &str) -> Ending {
        self.session.refuse_publish(sentence);
        let fields = [
            ("protocol", Protocol::Rtmp.name().into()),
            ("code", code.into()),
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
