//! The one question the engine asks: may this publish go ahead? No answer means: try again later.

use crate::Counters;
use crate::http::unix::{UnixClient, unix_client, unix_uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A person waits for this answer with a finger on "Start Streaming"; the control plane restarts in about this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// An answer is one short JSON object.
const MAX_ANSWER_BYTES: usize = 16 << 10;
/// A stream name is part of URLs; the control plane allows fewer.
const MAX_STREAM_NAME_BYTES: usize = 256;
/// What a second publisher is told.
pub const PUBLISHER_BUSY: &str =
    "This stream already has a publisher that is sending; stop it first, or add ?takeover=1 to take its place.";
/// Longer codes, or such of other characters, are none of the control plane's.
const MAX_CODE_BYTES: usize = 64;
/// A key longer than this was never handed out: refused without asking.
const MAX_KEY_BYTES: usize = 512;

/// Somebody wants to publish.
#[derive(Clone, Serialize)]
pub struct PublishQuestion {
    /// `rtmp` or `whip`.
    pub protocol: &'static str,
    /// The stream named in the URL, if any; otherwise the key alone decides.
    pub stream: Option<String>,
    pub key: String,
    pub session: String,
    pub remote_ip: IpAddr,
}

/// Shows everything but the key.
impl std::fmt::Debug for PublishQuestion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishQuestion")
            .field("protocol", &self.protocol)
            .field("stream", &self.stream)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allow {
        stream: String,
    },
    /// `code` is a word of lower-case letters and `_`; `message` is one sentence for people.
    Deny {
        code: String,
        message: String,
    },
    /// Nobody could answer now.
    TryAgain,
}

#[derive(Deserialize)]
struct Answer {
    allow: bool,
    stream: Option<String>,
    code: Option<String>,
    message: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    action: &'static str,
    #[serde(flatten)]
    question: &'a PublishQuestion,
}

#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("the control plane cannot be reached: {0}")]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    #[error("the control plane answered with status {0}")]
    Status(StatusCode),
    #[error("the control plane's answer broke off or is too long")]
    BrokenBody,
    #[error("the control plane's answer is not as agreed: {0}")]
    NotAsAgreed(#[from] serde_json::Error),
    #[error("the control plane did not answer within {ANSWER_TIMEOUT:?}")]
    Timeout(#[from] tokio::time::error::Elapsed),
}

pub struct Admission {
    client: UnixClient<Full<Bytes>>,
    counters: Arc<Counters>,
}

impl Admission {
    pub fn new(control_socket: &Path, counters: Arc<Counters>) -> Admission {
        // A fresh connection for each question: a pooled one may belong to a control plane that is gone.
        Admission { client: unix_client(control_socket, 0), counters }
    }

    /// Asks the control plane. Never waits longer than two seconds.
    pub async fn ask(&self, question: PublishQuestion) -> Verdict {
        self.counters.admission_questions.increment();
        let verdict = if question.key.is_empty() {
            deny("key_missing", "A stream key is needed to publish.")
        } else if question.key.len() > MAX_KEY_BYTES {
            deny("key_wrong", "This stream key is not valid.")
        } else {
            match self.answer(&question).await {
                Ok(answer) => verdict(answer, question.stream.as_deref()),
                Err(error) => {
                    tracing::warn!(session = question.session, %error, "admission_unanswered");
                    Verdict::TryAgain
                }
            }
        };
        match &verdict {
            Verdict::Allow { .. } => {}
            Verdict::Deny { .. } => self.counters.admission_denied.increment(),
            Verdict::TryAgain => self.counters.admission_unanswered.increment(),
        }
        verdict
    }

    async fn answer(&self, question: &PublishQuestion) -> Result<Answer, NoAnswer> {
        let body = serde_json::to_vec(&Body { action: "publish", question })?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = unix_uri("/engine/admission");
        request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        tokio::time::timeout(ANSWER_TIMEOUT, async {
            let response = self.client.request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(NoAnswer::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
            let bytes = body.collect().await.map_err(|_| NoAnswer::BrokenBody)?.to_bytes();
            Ok(serde_json::from_slice(&bytes)?)
        })
        .await?
    }
}

/// What an answer means for somebody who asked for `requested` (or for whatever the key opens).
fn verdict(answer: Answer, requested: Option<&str>) -> Verdict {
    if !answer.allow {
        let code = answer.code.filter(|code| is_code(code)).unwrap_or_else(|| "key_wrong".into());
        let message = answer.message.unwrap_or_else(|| "This stream key is not valid.".into());
        return Verdict::Deny { code, message };
    }
    match answer.stream {
        Some(stream) if requested.is_some_and(|requested| requested != stream) => {
            deny("key_wrong", "This stream key is not valid for the stream named in the address.")
        }
        Some(stream) if (1..=MAX_STREAM_NAME_BYTES).contains(&stream.len()) => Verdict::Allow { stream },
        _ => {
            tracing::error!("admission_answer_without_stream");
            Verdict::TryAgain
        }
    }
}

fn is_code(text: &str) -> bool {
    (1..=MAX_CODE_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn deny(code: &str, message: &str) -> Verdict {
    Verdict::Deny { code: code.into(), message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        serde_json::from_str(text).expect("a test answer")
    }

    /// An example that the control plane checks from its side.
    fn example(name: &str) -> Vec<serde_json::Value> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/contract").join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).expect("a list")
    }

    #[test]
    fn questions_are_sent_as_in_the_examples() {
        for expected in example("admission-questions.json") {
            let text = |name: &str| expected[name].as_str().unwrap_or_default().to_owned();
            let question = PublishQuestion {
                protocol: if expected["protocol"] == "rtmp" { "rtmp" } else { "whip" },
                stream: expected["stream"].as_str().map(str::to_owned),
                key: text("key"),
                session: text("session"),
                remote_ip: text("remote_ip").parse().expect("an address"),
            };
            let sent = serde_json::to_value(Body { action: "publish", question: &question }).expect("JSON");
            assert_eq!(sent, expected);
        }
    }

    #[test]
    fn example_answers_are_understood() {
        for expected in example("admission-answers.json") {
            match verdict(answer(&expected.to_string()), None) {
                Verdict::Allow { stream } => assert_eq!(expected["stream"], stream),
                Verdict::Deny { code, message } => {
                    assert_eq!((&expected["code"], &expected["message"]), (&code.into(), &message.into()));
                }
                Verdict::TryAgain => panic!("not understood: {expected}"),
            }
        }
    }

    #[test]
    fn allowed_only_for_the_stream_asked_for() {
        let main = || answer(r#"{"allow": true, "stream": "main"}"#);
        let allow = Verdict::Allow { stream: "main".into() };
        assert_eq!(verdict(main(), None), allow);
        assert_eq!(verdict(main(), Some("main")), allow);
        assert!(matches!(verdict(main(), Some("other")), Verdict::Deny { code, .. } if code == "key_wrong"));
    }

    #[test]
    fn a_code_that_is_none_means_a_wrong_key() {
        let code_of = |code: &str| match verdict(answer(&format!(r#"{{"allow": false, "code": "{code}"}}"#)), None) {
            Verdict::Deny { code, .. } => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code_of("key_rotated"), "key_rotated");
        for none in ["", "Key Rotated", &"x".repeat(MAX_CODE_BYTES + 1)] {
            assert_eq!(code_of(none), "key_wrong", "{none}");
        }
    }

    #[test]
    fn an_answer_without_a_stream_does_not_allow() {
        assert_eq!(verdict(answer(r#"{"allow": true}"#), None), Verdict::TryAgain);
        assert_eq!(verdict(answer(r#"{"allow": true, "stream": ""}"#), None), Verdict::TryAgain);
    }

    #[test]
    fn the_key_is_never_shown() {
        let question = PublishQuestion {
            protocol: "rtmp",
            stream: None,
            key: "secret-key".into(),
            session: "s".into(),
            remote_ip: [127, 0, 0, 1].into(),
        };
        assert!(!format!("{question:?}").contains("secret-key"));
    }

    #[tokio::test]
    async fn no_control_plane_means_try_again() {
        let admission = Admission::new(Path::new("/nonexistent/control.sock"), Arc::default());
        let question = PublishQuestion {
            protocol: "rtmp",
            stream: None,
            key: "k".into(),
            session: "s".into(),
            remote_ip: [127, 0, 0, 1].into(),
        };
        assert_eq!(admission.ask(question).await, Verdict::TryAgain);
    }
}
