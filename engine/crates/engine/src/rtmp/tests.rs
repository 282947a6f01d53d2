//! The adapter over real loopback sockets, with a control plane that answers like the real one.

use super::{Limits, serve_with};
use crate::context::random_id;
use crate::{Config, Engine};
use serde_json::{Value, json};
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tallylight_media::EndReason;
use tallylight_rtmp::client::{Client, ClientEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A wait that takes this long has failed; nothing passes by waiting.
const GIVE_UP: Duration = Duration::from_secs(20);

async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(GIVE_UP, wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Answers admission questions: `key-NAME` opens the stream NAME, everything else is wrong.
async fn answer_admission(mut socket: UnixStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        if !matches!(socket.read_buf(&mut request).await, Ok(1..)) {
            return;
        }
    }
    let text = String::from_utf8_lossy(&request);
    let (head, body) = text.split_once("\r\n\r\n").expect("an HTTP request");
    assert!(head.starts_with("POST /engine/admission "), "{head}");
    let question: Value = serde_json::from_str(body).expect("JSON");
    let answer = match question["key"].as_str().and_then(|key| key.strip_prefix("key-")) {
        Some(stream) => json!({"allow": true, "stream": stream}),
        None => json!({"allow": false, "code": "key_wrong", "message": "This stream key is not valid."}),
    }
    .to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
    let _ = socket.write_all([head, answer].concat().as_bytes()).await;
}

struct Server {
    engine: Arc<Engine>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    directory: PathBuf,
}

impl Server {
    async fn start(limits: Limits) -> Server {
        let server = Server::without_control_plane(limits).await;
        let control_plane = UnixListener::bind(&server.engine.config.control_socket).expect("a socket");
        tokio::spawn(async move {
            while let Ok((socket, _)) = control_plane.accept().await {
                tokio::spawn(answer_admission(socket));
            }
        });
        server
    }

    async fn without_control_plane(limits: Limits) -> Server {
        let directory = std::env::temp_dir().join(format!("tallylight-rtmp-{}", random_id()));
        std::fs::create_dir(&directory).expect("a directory");
        let config = json!({
            "http_bind": "127.0.0.1:0", "webrtc_bind": "127.0.0.1:0", "rtmp_bind": "127.0.0.1:0",
            "engine_socket": directory.join("engine.sock"), "control_socket": directory.join("control.sock"),
        });
        let engine = Engine::new(Config::parse(&config.to_string()).expect("a valid configuration"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, shutdown) = watch::channel(false);
        let serving = tokio::spawn(serve_with(engine.clone(), listener, shutdown, limits));
        Server { engine, address, stop, serving, directory }
    }

    /// Waits for an event and returns it.
    async fn event(&self, name: &str) -> Value {
        let mut bell = self.engine.events.bell();
        let found = async {
            loop {
                if let Some(event) = self.engine.events.after(0).events.iter().find(|event| event.name == name) {
                    return serde_json::from_str(&event.json).expect("JSON");
                }
                bell.changed().await.expect("the log lives");
            }
        };
        in_time(name, found).await
    }

    /// Waits until so many connections are open.
    async fn connections(&self, count: u64) {
        let reached = async {
            while self.engine.counters.rtmp_connections.get() != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time(&format!("{count} connections"), reached).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// An encoder on a real socket.
struct Encoder {
    socket: TcpStream,
    client: Client,
}

impl Encoder {
    async fn connect(server: &Server, app: &str, name: &str) -> Encoder {
        let socket = TcpStream::connect(server.address).await.expect("a connection");
        Encoder { socket, client: Client::new(app, name) }
    }

    /// The next event of the server, None when it closed.
    async fn next_event(&mut self) -> Option<ClientEvent> {
        let next = async {
            loop {
                self.send().await;
                if let Some(event) = self.client.next_event() {
                    return Some(event);
                }
                let mut buffer = [0; 4096];
                match self.socket.read(&mut buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(count) => self.client.receive(&buffer[..count]).expect("RTMP"),
                }
            }
        };
        in_time("an event of the server", next).await
    }

    /// A server that has closed is found out by reading.
    async fn send(&mut self) {
        let _ = self.socket.write_all(&self.client.take_output()).await;
    }

    /// The handshake and the `connect` command, and no more.
    async fn send_connect(&mut self) {
        self.send().await;
        let mut output = self.client.take_output();
        while output.is_empty() {
            let mut buffer = [0; 4096];
            let count = self.socket.read(&mut buffer).await.expect("the server's handshake");
            assert!(count > 0, "closed in the handshake");
            self.client.receive(&buffer[..count]).expect("RTMP");
            output = self.client.take_output();
        }
        self.socket.write_all(&output).await.expect("an open connection");
    }

    async fn on_air(server: &Server, key: &str) -> Encoder {
        let mut encoder = Encoder::connect(server, "live", key).await;
        assert_eq!(encoder.next_event().await, Some(ClientEvent::Publishing));
        encoder
    }

    /// Sends so many AAC frames from `start` on.
    async fn sound(&mut self, start: u32, frames: u32) {
        self.client.send_audio(start * 21, b"\xaf\0\x11\x90");
        for i in start..start + frames {
            self.client.send_audio(i * 21, b"\xaf\x01aac frame");
        }
        self.send().await;
    }
}

/// Reads until the server closes.
async fn closed(socket: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while matches!(socket.read(&mut buffer).await, Ok(1..)) {}
}

#[tokio::test]
async fn a_publisher_goes_on_air_and_finishes() {
    let server = Server::start(Limits::default()).await;
    let mut encoder = Encoder::on_air(&server, "key-main?token=1").await;
    let started = server.event("publish_started").await;
    assert_eq!((&started["stream"], &started["protocol"]), (&json!("main"), &json!("rtmp")));
    encoder.sound(0, 50).await;
    let stream = server.engine.streams.get("main").expect("the stream");
    let all_there = async {
        while stream.snapshot().ingest_out.access_units < 50 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("50 frames", all_there).await;
    let snapshot = stream.snapshot();
    assert!(snapshot.on_air(Instant::now()));
    assert_eq!((snapshot.ingest_in.access_units, snapshot.ingest_in.errors), (51, 0));
    let session = server.engine.sessions.all().pop().expect("a session");
    assert_eq!(session.place(), (Some("main".into()), "publishing"));
    assert_eq!(started["session"], json!(session.id));
    encoder.client.finish();
    encoder.send().await;
    assert_eq!(server.event("publish_ended").await["reason"], "finished");
    assert_eq!(encoder.next_event().await, None);
    drop(encoder);
    server.connections(0).await;
    assert!(server.engine.sessions.all().is_empty());
}

#[tokio::test]
async fn a_goodbye_in_two_parts_meets_an_open_connection() {
    let server = Server::start(Limits::default()).await;
    let mut encoder = Encoder::on_air(&server, "key-main").await;
    let unpublish = tallylight_rtmp::amf0::Value::string("FCUnpublish");
    encoder.client.send_command(0, &[unpublish]);
    encoder.send().await;
    assert_eq!(server.event("publish_ended").await["reason"], "finished");
    // FFmpeg sends deleteStream on its own and reports an error when the connection was reset meanwhile.
    encoder.client.finish();
    encoder.socket.write_all(&encoder.client.take_output()).await.expect("an open connection");
    encoder.socket.shutdown().await.expect("an open connection");
    let mut rest = Vec::new();
    encoder.socket.read_to_end(&mut rest).await.expect("an orderly end");
    server.connections(0).await;
}

#[tokio::test]
async fn wrong_keys_and_addresses_are_denied_with_a_sentence() {
    for (app, name, code) in [
        ("live", "wrong", "key_wrong"),
        ("live", "", "key_missing"),
        ("live", "../etc", "key_wrong"),
        ("app", "key-main", "app_wrong"),
    ] {
        let server = Server::start(Limits::default()).await;
        let mut encoder = Encoder::connect(&server, app, name).await;
        match encoder.next_event().await {
            Some(ClientEvent::Refused { code, description }) => {
                assert_eq!(code, "NetStream.Publish.Denied");
                assert!(description.ends_with('.'), "{description}");
            }
            other => panic!("{app} {name}: {other:?}"),
        }
        assert_eq!(encoder.next_event().await, None);
        assert_eq!(server.event("publish_refused").await["code"], code);
        assert!(server.engine.streams.all().is_empty());
    }
}

#[tokio::test]
async fn a_publisher_whose_stream_is_cut_while_its_key_is_looked_at_asks_again() {
    let server = Server::without_control_plane(Limits::default()).await;
    let control_plane = UnixListener::bind(&server.engine.config.control_socket).expect("a socket");
    for cut in [true, false] {
        let mut encoder = Encoder::connect(&server, "live", "key-main?takeover=1").await;
        let answer = async {
            let (socket, _) = control_plane.accept().await.expect("a question");
            if cut {
                server.engine.cuts.record("main", Instant::now());
            }
            answer_admission(socket).await;
        };
        let (heard, ()) = tokio::join!(encoder.next_event(), answer);
        assert_eq!(heard, (!cut).then_some(ClientEvent::Publishing));
    }
}

#[tokio::test]
async fn without_a_control_plane_the_connection_closes_without_a_word() {
    let server = Server::without_control_plane(Limits::default()).await;
    let mut encoder = Encoder::connect(&server, "live", "key-main").await;
    assert_eq!(encoder.next_event().await, None);
}

#[tokio::test]
async fn a_second_publisher_is_denied_and_the_first_goes_on() {
    let server = Server::start(Limits::default()).await;
    let mut first = Encoder::on_air(&server, "key-main").await;
    first.sound(0, 1).await;
    let mut second = Encoder::connect(&server, "live", "key-main").await;
    assert!(matches!(second.next_event().await, Some(ClientEvent::Refused { .. })));
    assert_eq!(server.event("publish_refused").await["code"], "publisher_busy");
    first.client.finish();
    first.send().await;
    assert_eq!(server.event("publish_ended").await["reason"], "finished");
}

#[tokio::test]
async fn a_second_publisher_takes_over_when_it_says_so() {
    let server = Server::start(Limits::default()).await;
    let mut first = Encoder::on_air(&server, "key-main").await;
    first.sound(0, 1).await;
    let mut second = Encoder::on_air(&server, "key-main?takeover=1").await;
    match first.next_event().await {
        Some(ClientEvent::Refused { description, .. }) => assert!(description.contains("took over"), "{description}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(first.next_event().await, None);
    let ended = server.event("publish_ended").await;
    assert_eq!((&ended["reason"], &ended["stream"]), (&json!("taken_over"), &json!("main")));
    second.sound(0, 1).await;
    let stream = server.engine.streams.get("main").expect("the stream");
    let publisher = stream.snapshot().publisher.expect("the second publisher").session;
    assert_ne!(ended["session"], json!(publisher));
    assert!(stream.close_publisher(EndReason::KeyRotated));
    match second.next_event().await {
        Some(ClientEvent::Refused { description, .. }) => assert!(description.contains("rotated"), "{description}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(second.next_event().await, None);
    assert_eq!(stream.snapshot().last_end, Some(EndReason::KeyRotated));
}

#[tokio::test]
async fn each_way_to_end_has_its_reason() {
    let server = Server::start(Limits::default()).await;
    drop(Encoder::on_air(&server, "key-main").await);
    assert_eq!(server.event("publish_ended").await["reason"], "connection_lost");

    let server = Server::start(Limits::default()).await;
    let mut encoder = Encoder::on_air(&server, "key-main").await;
    // A chunk size of 0.
    let _ = encoder.socket.write_all(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    assert_eq!(server.event("publish_ended").await["reason"], "protocol_error");

    let server = Server::start(Limits::default()).await;
    let mut encoder = Encoder::on_air(&server, "key-main").await;
    encoder.client.send_video(0, b"\x17\0\0\0\0broken");
    assert!(matches!(encoder.next_event().await, Some(ClientEvent::Refused { .. })));
    assert_eq!(server.event("publish_ended").await["reason"], "protocol_error");

    let server = Server::start(Limits::default()).await;
    let mut encoder = Encoder::on_air(&server, "key-main").await;
    let session = server.event("publish_started").await["session"].clone();
    assert!(server.engine.sessions.close(session.as_str().expect("an id")));
    assert!(matches!(encoder.next_event().await, Some(ClientEvent::Refused { .. })));
    assert_eq!(server.event("publish_ended").await["reason"], "removed");

    let server = Server::start(Limits::default()).await;
    let mut encoder = Encoder::on_air(&server, "key-main").await;
    let stream = server.engine.streams.get("main").expect("the stream");
    assert!(stream.close_publisher(EndReason::Stalled));
    assert_eq!(encoder.next_event().await, None);
    assert_eq!(server.event("publish_ended").await["reason"], "stalled");
}

#[tokio::test]
async fn shutdown_ends_publications_and_strangers_at_once() {
    let mut server = Server::start(Limits::default()).await;
    let mut encoder = Encoder::on_air(&server, "key-main").await;
    let mut stranger = TcpStream::connect(server.address).await.expect("a connection");
    server.connections(2).await;
    server.stop.send_replace(true);
    in_time("the end of serve", &mut server.serving).await.expect("no panic");
    assert_eq!(server.event("publish_ended").await["reason"], "shutdown");
    assert_eq!(encoder.next_event().await, None);
    in_time("the stranger's end", closed(&mut stranger)).await;
    assert_eq!(server.engine.counters.rtmp_connections.get(), 0);
}

/// Hardening matrix G1.
#[tokio::test]
async fn garbage_is_closed() {
    let server = Server::start(Limits { connect: Duration::from_secs(1), ..Limits::default() }).await;
    let noise: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut rtmp_then_noise = vec![3; 1];
    rtmp_then_noise.extend(&noise);
    for garbage in [
        noise,
        rtmp_then_noise,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc],
        vec![0; 1 << 20],
        vec![3],
    ] {
        let mut socket = TcpStream::connect(server.address).await.expect("a connection");
        let (mut reader, mut writer) = socket.split();
        let mut buffer = [0; 4096];
        let exchange = async {
            // Writing fails as soon as the server has closed.
            let _ = writer.write_all(&garbage).await;
            while matches!(reader.read(&mut buffer).await, Ok(1..)) {}
        };
        in_time("the end of a garbage connection", exchange).await;
    }
    server.connections(0).await;
    assert!(server.engine.counters.rtmp_protocol_errors.get() >= 5);
    Encoder::on_air(&server, "key-main").await;
}

/// Hardening matrix G2, scaled down: half-open handshakes from several addresses.
#[tokio::test]
async fn half_open_handshakes_leave_room_for_others() {
    let limits = Limits { connect: Duration::from_secs(3600), per_address: 8, total: 20, ..Limits::default() };
    let server = Server::start(limits).await;
    let mut half_open = Vec::new();
    for host in 2..12u8 {
        for _ in 0..12 {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(([127, 0, 0, host], 0).into()).expect("a loopback address");
            let mut stream = socket.connect(server.address).await.expect("a connection");
            let _ = stream.write_all(&[3, 0, 0]).await;
            half_open.push(stream);
        }
    }
    let mut encoder = Encoder::on_air(&server, "key-main").await;
    encoder.sound(0, 1).await;
    server.event("publish_started").await;
    // Ten addresses may have eight each, but there are only twenty places; the publisher holds none of them.
    server.connections(1 + 20 - 1).await;
    assert_eq!(server.engine.counters.rtmp_connections_refused.get(), 10 * (12 - 8));
    drop(half_open);
    server.connections(1).await;
}

/// Hardening matrix G9: a byte now and then does not move the deadlines.
#[tokio::test]
async fn dribbling_peers_meet_an_absolute_deadline() {
    let limits = Limits { connect: Duration::from_secs(1), publish: Duration::from_millis(1500), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut in_handshake = TcpStream::connect(server.address).await.expect("a connection");
    in_handshake.write_all(&[3]).await.expect("open");
    let mut after_connect = Encoder::connect(&server, "live", "key-main").await;
    in_time("the handshake", after_connect.send_connect()).await;
    for socket in [&mut in_handshake, &mut after_connect.socket] {
        let mut buffer = [0; 4096];
        let (mut reader, mut writer) = socket.split();
        let dribble = async {
            loop {
                tokio::select! {
                    read = reader.read(&mut buffer) => if !matches!(read, Ok(1..)) { return },
                    () = tokio::time::sleep(Duration::from_millis(20)) => {
                        if writer.write_all(&[0]).await.is_err() {
                            return;
                        }
                    }
                }
            }
        };
        in_time("the deadline", dribble).await;
    }
    server.connections(0).await;
}
