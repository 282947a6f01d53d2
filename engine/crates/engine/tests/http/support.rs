//! An engine on free ports, and a client that speaks raw HTTP/1.1.

use crate::control::Control;
use crate::peers::FakePeers;
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tallylight_engine::context::random_id;
use tallylight_engine::http::front::Front;
use tallylight_engine::http::pages::Pages;
use tallylight_engine::{Config, Engine, api, http, listeners, watcher};
use tallylight_media::{AccessUnit, Codec, Protocol, Publication, PublisherInfo, Track, TrackConfig, TrackId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// Only a broken test waits this long. Much longer than any deadline under test, because a paused clock jumps
/// to the next timer of all.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    pub engine: Arc<Engine>,
    pub peers: Arc<FakePeers>,
    pub address: SocketAddr,
    _directory: Directory,
    _stop: watch::Sender<bool>,
}

/// A directory that is gone after the test.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Server {
    pub async fn start() -> Server {
        Server::behind_proxies(&[]).await
    }

    /// One that believes these networks what they say about clients.
    pub async fn behind_proxies(trusted: &[&str]) -> Server {
        let directory = Directory(std::env::temp_dir().join(format!("tallylight-{}", random_id())));
        let web = directory.0.join("web");
        fs::create_dir_all(web.join("assets")).expect("a temporary directory");
        for (name, text) in [
            ("index.html", "the start page"),
            ("watch.html", "the watch page"),
            ("studio.html", "the studio page"),
            ("sign-in.html", "the sign-in page"),
            ("tallylight-player.js", "export {}"),
            ("assets/app-1a2b.js", "app()"),
            (".secret", "hidden"),
        ] {
            fs::write(web.join(name), text).expect("a page");
        }
        fs::write(directory.0.join("outside.txt"), "must stay outside").expect("a file");
        std::os::unix::fs::symlink(directory.0.join("outside.txt"), web.join("planted.txt")).expect("a link");

        let config = serde_json::json!({
            "http_bind": "127.0.0.1:0", "webrtc_bind": "127.0.0.1:0", "rtmp_bind": "127.0.0.1:0",
            "ice_servers": [{"urls": ["stun:stun.example.org:3478", "stun:b.example.org"]}],
            "engine_socket": directory.0.join("engine.sock"), "control_socket": directory.0.join("control.sock"),
            "web_dir": web, "policy_file": directory.0.join("policy.json"), "trusted_proxies": trusted,
        });
        let engine = Engine::new(Config::parse(&config.to_string()).expect("a valid configuration"));
        let peers = Arc::new(FakePeers::default());
        assert!(engine.peers.set(peers.clone()).is_ok());
        let (stop, shutdown) = watch::channel(false);
        let pages = Pages::load(&web).expect("pages");
        let front = Arc::new(Front::new(engine.clone(), pages, shutdown.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let socket = listeners::unix(&engine.config.engine_socket).expect("the engine's socket");
        tokio::spawn(http::server::serve(engine.clone(), front, listener, shutdown.clone()));
        tokio::spawn(api::serve(engine.clone(), socket, shutdown.clone()));
        tokio::spawn(watcher::run(engine.clone(), shutdown));
        Server { engine, peers, address, _directory: directory, _stop: stop }
    }

    /// Starts the control plane this engine talks to.
    pub async fn control(&self) -> Control {
        Control::start(&self.engine.config.control_socket)
    }

    pub async fn connect(&self) -> Connection<TcpStream> {
        Connection { socket: TcpStream::connect(self.address).await.expect("the front listens"), read: Vec::new() }
    }

    pub async fn connect_api(&self) -> Connection<UnixStream> {
        let socket = UnixStream::connect(&self.engine.config.engine_socket).await.expect("the API listens");
        Connection { socket, read: Vec::new() }
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, "", "").await
    }

    /// One request on a connection of its own; `headers` are whole lines with their ends.
    pub async fn ask(&self, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        self.connect().await.ask(method, target, headers, body).await
    }

    pub async fn api(&self, method: &str, target: &str) -> Answer {
        self.connect_api().await.ask(method, target, "", "").await
    }

    /// A publisher of one H.264 track on `name` that has sent one keyframe.
    pub fn publish(&self, name: &str, has_b_frames: bool) -> Publication {
        let info = PublisherInfo {
            session: "s1".into(),
            protocol: Protocol::Rtmp,
            request_keyframe: None,
            close: Arc::new(|_| {}),
        };
        let stream = self.engine.streams.get_or_create(name);
        let now = Instant::now();
        let mut publication = stream.publish(info, now).expect("nobody publishes yet");
        let config = TrackConfig {
            codec: Codec::H264,
            timescale_hz: 90_000,
            extradata: bytes::Bytes::new(),
            width: 1280,
            height: 720,
            sample_rate_hz: 0,
            channels: 0,
            has_b_frames,
        };
        publication.set_tracks(vec![Track { id: TrackId::VIDEO, config }]);
        let unit = AccessUnit {
            track: TrackId::VIDEO,
            pts: 0,
            dts: 0,
            keyframe: true,
            data: bytes::Bytes::from_static(&[0; 8]),
            arrived_at: now,
        };
        assert!(publication.push(unit, now));
        publication
    }
}

pub struct Connection<S> {
    pub socket: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWriteExt + Unpin> Connection<S> {
    pub async fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.expect("the server reads");
    }

    pub async fn ask(mut self, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{length}{headers}\r\n");
        self.send(&head).await;
        self.send(body).await;
        self.rest().await
    }

    /// Everything until the server closes.
    pub async fn rest(mut self) -> Answer {
        let read = self.socket.read_to_end(&mut self.read);
        timeout(PATIENCE, read).await.expect("the server closes").expect("a whole answer");
        Answer::parse(&self.read)
    }

    /// Reads until `text` has come, and gives everything read so far.
    pub async fn until(&mut self, text: &str) -> String {
        self.until_it(text, |so_far| so_far.contains(text)).await
    }

    /// Reads until everything read so far fulfils `condition`.
    pub async fn until_it(&mut self, what: &str, condition: impl Fn(&str) -> bool) -> String {
        let reading = async {
            loop {
                let so_far = String::from_utf8_lossy(&self.read).into_owned();
                if condition(&so_far) {
                    return so_far;
                }
                let read = self.socket.read_buf(&mut self.read).await.expect("a readable socket");
                assert!(read > 0, "closed before {what:?}: {so_far}");
            }
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("{what:?} did not come"))
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Answer {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        let answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
        match answer.header("transfer-encoding") {
            Some("chunked") => Answer { body: unchunk(body), ..answer },
            _ => answer,
        }
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).into_iter().next()
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        let pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        pairs.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a problem document; checks that it is one.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let document = self.json();
        assert_eq!(document["status"], self.status);
        assert!(document["detail"].as_str().is_some_and(|detail| detail.ends_with('.')), "a sentence: {document}");
        (self.status, document["code"].as_str().expect("a code").to_owned())
    }
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        whole.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").unwrap_or_default();
    }
    whole
}

/// Waits until `condition` holds, by looking again and again.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let looking = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("never: {what}"));
}
