//! The binary as the supervisor sees it: how it refuses to start, how it says that it has, how it ends.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tallylight_engine::context::random_id;

/// `docs/engine-api.md`: it ends within 2 s.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let path = std::env::temp_dir().join(format!("tallylight-{}", random_id()));
        std::fs::create_dir(&path).expect("a temporary directory");
        Directory(path)
    }

    fn config(&self, changes: Value) -> PathBuf {
        let mut config = json!({
            "http_bind": "127.0.0.1:0", "webrtc_bind": "127.0.0.1:0", "rtmp_bind": "127.0.0.1:0",
            "engine_socket": self.0.join("engine.sock"), "control_socket": self.0.join("control.sock"),
            "exit_when_stdin_closes": true,
        });
        let changes = changes.as_object().expect("an object").clone();
        config.as_object_mut().expect("an object").extend(changes);
        let path = self.0.join("engine.json");
        std::fs::write(&path, config.to_string()).expect("a writable file");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Process {
    child: Child,
    /// Closing it is what a parent's death looks like.
    stdin: Option<ChildStdin>,
    log: BufReader<std::process::ChildStderr>,
}

impl Process {
    fn start(config: &Path) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tallylight-engine"))
            .arg("--config")
            .arg(config)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the engine's binary");
        let stdin = child.stdin.take();
        let log = BufReader::new(child.stderr.take().expect("its log"));
        Process { child, stdin, log }
    }

    /// Reads the log until an event; every line must be JSON.
    fn wait_for(&mut self, event: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).expect("a readable log") > 0, "ended before {event}");
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if value["event"] == event {
                return value;
            }
        }
    }

    fn end(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("a readable log");
        (self.child.wait().expect("its end"), rest)
    }
}

/// The fatal line of an engine that must not start.
fn refused(config: &Path) -> Value {
    let (status, log) = Process::start(config).end();
    assert_eq!(status.code(), Some(3), "{log}");
    let last: Value = serde_json::from_str(log.lines().last().expect("a last line")).expect("JSON");
    assert!(last["fatal"]["message"].is_string() && last["fatal"]["fix"].is_string(), "{last}");
    last["fatal"]["code"].clone()
}

#[test]
fn what_stops_the_start_is_named() {
    let directory = Directory::new();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = tcp.local_addr().expect("its address").to_string();
    let _udp = std::net::UdpSocket::bind(&taken).expect("the same UDP port");
    for (changes, code) in [
        (json!({"http_bind": taken}), "port_in_use"),
        (json!({"rtmp_bind": taken}), "port_in_use"),
        (json!({"webrtc_bind": taken}), "port_in_use"),
        (json!({"http_bind": "192.0.2.1:0"}), "address_not_available"),
        (json!({"engine_socket": "/nonexistent/engine.sock"}), "socket_dir_not_writable"),
        (json!({"http_bind": "nonsense"}), "config_invalid"),
    ] {
        assert_eq!(refused(&directory.config(changes.clone())), code, "{changes}");
    }
    assert_eq!(refused(&directory.0.join("missing.json")), "config_invalid");
}

#[test]
fn it_ends_when_its_parent_is_gone() {
    let directory = Directory::new();
    let mut engine = Process::start(&directory.config(json!({})));
    let started = engine.wait_for("engine_started");
    assert!(started["http"].is_string() && started["boot_id"].is_string());
    assert!(directory.0.join("engine.sock").exists());
    let began = Instant::now();
    drop(engine.stdin.take());
    assert_eq!(engine.wait_for("engine_stopping")["reason"], "parent_gone");
    assert!(engine.end().0.success());
    assert!(began.elapsed() < SHUTDOWN_LIMIT);
    assert!(!directory.0.join("engine.sock").exists(), "the socket file is gone");
}

#[test]
fn it_ends_on_either_signal_with_clients_connected() {
    for signal in ["TERM", "INT"] {
        let directory = Directory::new();
        let mut engine = Process::start(&directory.config(json!({})));
        let address = engine.wait_for("engine_started")["http"].as_str().expect("an address").to_owned();
        let mut viewer = std::net::TcpStream::connect(&address).expect("the front listens");
        std::io::Write::write_all(&mut viewer, b"GET /live/main/events HTTP/1.1\r\nHost: t\r\n\r\n")
            .expect("a request");
        let mut byte = [0];
        viewer.read_exact(&mut byte).expect("an answer has begun");
        let began = Instant::now();
        let pid = engine.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().expect("kill(1)").success());
        assert!(engine.end().0.success(), "{signal}");
        assert!(began.elapsed() < SHUTDOWN_LIMIT, "{signal}");
    }
}

#[test]
fn it_tells_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_tallylight-engine")).arg("--version").output().expect("the binary");
    let expected = format!("tallylight-engine {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    let wrong = Command::new(env!("CARGO_BIN_EXE_tallylight-engine")).arg("--nonsense").status().expect("the binary");
    assert_eq!(wrong.code(), Some(2));
}

#[test]
fn a_private_stream_stays_private_over_a_restart() {
    let directory = Directory::new();
    let policy = directory.0.join("policy.json");
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    let private = json!({"streams": {"main": {"visibility": "private", "playback_key": key}}}).to_string();
    for (kept, status) in [(private.as_str(), "401"), ("half a fi", "503"), (r#"{"streams":{}}"#, "404")] {
        std::fs::write(&policy, kept).expect("a writable file");
        let mut process = Process::start(&directory.config(json!({"policy_file": policy})));
        let address = process.wait_for("engine_started")["http"].as_str().expect("an address").to_owned();
        let mut socket = TcpStream::connect(address).expect("it listens");
        let request = "GET /hls/main/index.m3u8 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        socket.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{kept}: {answer}");
        drop(process.stdin.take());
        assert!(process.end().0.success());
    }
}
