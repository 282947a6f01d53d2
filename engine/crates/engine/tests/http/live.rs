//! Live states for viewers.

use crate::support::{Server, eventually};
use serde_json::Value;
use tallylight_media::EndReason;

/// The data of all whole events read so far.
fn states(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn a_viewer_sees_a_stream_come_and_go() {
    let server = Server::start().await;
    let mut viewer = server.connect().await;
    viewer.send("GET /live/main/events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n").await;
    let first = viewer.until_it("a first state", |text| !states(text).is_empty()).await;
    assert!(first.contains("content-type: text/event-stream") && first.contains("access-control-allow-origin: *"));
    assert_eq!(states(&first)[0]["state"], "off_air", "an unknown stream is off air, not an error");
    assert!(server.engine.streams.get("main").is_none(), "asking makes no stream");

    let publication = server.publish("main", true);
    let is_on_air = |state: &Value| state["state"] == "on_air";
    let text = viewer.until_it("on air", |text| states(text).iter().any(is_on_air)).await;
    let state = states(&text).into_iter().find(is_on_air).expect("that state");
    assert_eq!((&state["webrtc"]["code"], &state["stream_type"]), (&"b_frames".into(), &"RTMP_STREAM".into()));

    publication.end(EndReason::Finished);
    viewer.until("\"last_end\":\"finished\"").await;
}

#[tokio::test]
async fn a_stalled_publisher_is_told_of_and_recorded() {
    let server = Server::start().await;
    let _publication = server.publish("main", false);
    let mut viewer = server.connect().await;
    viewer.send("GET /live/main/events HTTP/1.1\r\nHost: test\r\n\r\n").await;
    viewer.until("\"state\":\"no_media\"").await;
    let events = server.engine.events.after(0).events;
    assert!(events.iter().any(|event| event.name == "tracks_announced"));
    eventually("the stall is recorded", || {
        server.engine.events.after(0).events.iter().any(|event| event.name == "media_stalled")
    })
    .await;
}

#[tokio::test]
async fn only_reading_is_allowed() {
    let server = Server::start().await;
    assert_eq!(server.ask("POST", "/live/main/events", "", "").await.problem(), (405, "method_not_allowed".into()));
    assert_eq!(server.ask("OPTIONS", "/live/main/events", "", "").await.status, 204);
    assert_eq!(server.get("/live/main").await.problem(), (404, "not_found".into()));
}
