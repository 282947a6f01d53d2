//! A small control plane: shows what it was asked, streams, upgrades, answers the admission question.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

type Body = BoxBody<Bytes, hyper::Error>;

pub const RIGHT_KEY: &str = "right-key";
/// Right as well, and answered when the test says so.
pub const HELD_KEY: &str = "held-key";

pub struct Control {
    path: PathBuf,
    task: JoinHandle<()>,
    /// Paths and queries of all requests.
    pub asked: Arc<Mutex<Vec<String>>>,
    /// Lets one waiting answer about `HELD_KEY` go.
    pub let_go: Arc<Notify>,
}

impl Control {
    pub fn start(path: &Path) -> Control {
        let listener = UnixListener::bind(path).expect("the control socket");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
        let let_go = Arc::new(Notify::new());
        let gate = let_go.clone();
        let task = tokio::spawn(async move {
            // Dropped with this task, so that a control plane that goes takes its connections along.
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.expect("accepting");
                let (log, gate) = (log.clone(), gate.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        log.lock().expect("one at a time").push(request.uri().to_string());
                        let gate = gate.clone();
                        async move { Ok::<_, Infallible>(answer(request, &gate).await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(socket), service).with_upgrades().await;
                });
            }
        });
        Control { path: path.into(), task, asked, let_go }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(mut request: Request<Incoming>, gate: &Notify) -> Response<Body> {
    match request.uri().path() {
        "/engine/admission" => {
            let question = collect(request).await;
            if question["key"] == HELD_KEY {
                gate.notified().await;
            }
            whole(admission(&question))
        }
        "/api/echo-stream" => Response::new(request.into_body().boxed()),
        "/api/socket" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut socket = TokioIo::new(upgrade.await.expect("an upgrade"));
                let mut word = [0; 4];
                while socket.read_exact(&mut word).await.is_ok() {
                    word.reverse();
                    socket.write_all(&word).await.expect("the client reads");
                }
            });
            let mut response =
                whole(Value::Null).map(|_| Full::new(Bytes::new()).map_err(|never| match never {}).boxed());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert(header::UPGRADE, "websocket".parse().expect("a value"));
            response.headers_mut().insert(header::CONNECTION, "upgrade".parse().expect("a value"));
            response
        }
        _ => {
            let headers: serde_json::Map<String, Value> = request
                .headers()
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().expect("text").into()))
                .collect();
            whole(json!({"method": request.method().as_str(), "target": request.uri().to_string(), "headers": headers}))
        }
    }
}

fn admission(question: &Value) -> Value {
    assert_eq!(question["action"], "publish");
    assert!(question["session"].is_string() && question["remote_ip"] == "127.0.0.1", "{question}");
    match question["key"].as_str() {
        Some(RIGHT_KEY | HELD_KEY) => json!({"allow": true, "stream": "main"}),
        Some("old-key") => json!({"allow": false, "code": "key_rotated", "message": "This stream key was rotated."}),
        _ => json!({"allow": false, "code": "key_wrong", "message": "This stream key is not valid."}),
    }
}

async fn collect(request: Request<Incoming>) -> Value {
    let bytes = request.into_body().collect().await.expect("a whole body").to_bytes();
    serde_json::from_slice(&bytes).expect("JSON")
}

fn whole(value: Value) -> Response<Body> {
    Response::new(Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed())
}
