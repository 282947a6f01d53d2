//! The engine API on its Unix socket.

use crate::support::Server;
use serde_json::Value;
use tallylight_engine::events::RING_EVENTS;

#[tokio::test]
async fn health_streams_and_statistics_have_the_documented_shape() {
    let server = Server::start().await;
    let health = server.api("GET", "/v1/health").await.json();
    assert_eq!((&health["status"], &health["workers"][0]["kind"]), (&"pass".into(), &"webrtc".into()));
    assert_eq!(health["boot_id"], server.engine.boot_id.as_str());
    assert_eq!(server.api("GET", "/v1/streams").await.json()["streams"], Value::Array(vec![]));
    assert_eq!(server.api("GET", "/v1/streams/main").await.problem(), (404, "stream_unknown".into()));

    let _publication = server.publish("main", false);
    let stream = server.api("GET", "/v1/streams/main").await.json();
    assert_eq!((&stream["name"], &stream["protocol"]), (&"main".into(), &"rtmp".into()));
    assert_eq!(server.api("GET", "/v1/streams").await.json()["streams"][0]["name"], "main");
    let statistics = server.api("GET", "/v1/statistics").await.json();
    let numbers = statistics.as_object().expect("a flat object");
    assert!(numbers.values().all(Value::is_number));
    for name in ["webrtc.sessions", "rtmp.connections", "http.requests", "process.rss_bytes", "process.fds"] {
        assert!(numbers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn publishers_and_sessions_are_cut() {
    let server = Server::start().await;
    assert_eq!(server.api("DELETE", "/v1/streams/main/publisher").await.problem(), (404, "nothing_on_air".into()));
    let _publication = server.publish("main", false);
    let because = |reason: &str| format!("/v1/streams/main/publisher?reason={reason}");
    assert_eq!(server.api("DELETE", &because("fun")).await.problem(), (400, "reason_unknown".into()));
    assert_eq!(server.api("DELETE", "/v1/streams/main/publisher").await.status, 204);
    assert_eq!(server.api("DELETE", &because("removed")).await.status, 204);
    assert_eq!(server.api("DELETE", &because("key_rotated")).await.status, 204);
    let created = server.ask("POST", "/whep/main", "Content-Type: application/sdp\r\n", "v=0\r\n").await;
    let id = created.header("location").expect("an address").rsplit_once('/').expect("an id").1;
    let sessions = server.api("GET", "/v1/sessions").await.json();
    assert_eq!((&sessions["sessions"][0]["id"], &sessions["sessions"][0]["kind"]), (&id.into(), &"whep".into()));
    assert_eq!(server.api("DELETE", &format!("/v1/sessions/{id}")).await.status, 204);
    assert_eq!(server.api("DELETE", &format!("/v1/sessions/{id}")).await.problem(), (404, "session_unknown".into()));
    assert_eq!(server.api("POST", "/v1/streams").await.problem().0, 405);
    assert_eq!(server.api("GET", "/v2").await.problem().0, 404);
}

#[tokio::test]
async fn events_are_replayed_and_then_live() {
    let server = Server::start().await;
    server.engine.events.emit("engine_started", &[]);
    server.engine.events.emit("publish_started", &[("stream", "a".into())]);
    let mut reader = server.connect_api().await;
    reader.send("GET /v1/events?after=1 HTTP/1.1\r\nHost: engine\r\n\r\n").await;
    let replayed = reader.until("publish_started").await;
    assert!(!replayed.contains("engine_started"), "{replayed}");
    server.engine.events.emit("publish_ended", &[("stream", "a".into())]);
    let live = reader.until("publish_ended").await;
    assert!(live.contains("\"seq\":3") && !live.contains("events_lost"), "{live}");
    tokio::time::pause();
    reader.until("{\"heartbeat\":true}\n").await;
}

#[tokio::test]
async fn lost_events_are_admitted() {
    let server = Server::start().await;
    for _ in 0..RING_EVENTS + 2 {
        server.engine.events.emit("media_stalled", &[]);
    }
    let mut reader = server.connect_api().await;
    reader.send("GET /v1/events?after=1 HTTP/1.1\r\nHost: engine\r\n\r\n").await;
    let text = reader.until("\"seq\":1002").await;
    let body = text.split_once("\r\n\r\n").expect("a body").1;
    let line = body.lines().find(|line| line.starts_with('{')).expect("a first line");
    let first: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((&first["event"], &first["oldest"]), (&"events_lost".into(), &3.into()));
}
