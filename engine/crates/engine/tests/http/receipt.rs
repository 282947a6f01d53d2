//! Receipt deadlines and bounds (matrix H1, H2), and connections that come and go.

use crate::support::{Server, eventually};

/// The deadlines are as long as in production; the test's clock jumps when everybody waits.
#[tokio::test]
async fn silent_and_slow_clients_are_closed() {
    let server = Server::start().await;
    let _silent = server.connect().await;
    let mut half = server.connect().await;
    half.send("GET / HTTP/1.1\r\nHost").await;
    let mut offering = server.connect().await;
    offering
        .send("POST /whip HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer k\r\nContent-Type: application/sdp\r\nContent-Length: 99\r\n\r\nv=0")
        .await;
    eventually("all three are connected", || server.engine.counters.http_connections.get() == 3).await;
    eventually("the offer is being read", || server.engine.counters.http_requests.get() == 1).await;
    tokio::time::pause();
    offering.until("body_too_slow").await;
    eventually("all are closed", || server.engine.counters.http_connections.get() == 0).await;
}

#[tokio::test]
async fn an_offer_has_a_largest_size() {
    let server = Server::start().await;
    let body = "v".repeat((64 << 10) + 1);
    let headers = "Authorization: Bearer k\r\nContent-Type: application/sdp\r\n";
    assert_eq!(server.ask("POST", "/whip", headers, &body).await.problem(), (413, "too_large".into()));
}

#[tokio::test]
async fn connections_give_their_places_back() {
    let server = Server::start().await;
    for _ in 0..50 {
        assert_eq!(server.get("/").await.status, 200);
    }
    eventually("all are closed", || server.engine.counters.http_connections.get() == 0).await;
    assert_eq!(server.engine.counters.http_connections_accepted.get(), 50);
}

#[tokio::test]
async fn who_is_refused_before_the_body_came_is_told_that_the_connection_ends() {
    let server = Server::start().await;
    let head = |target: &str, length: usize| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut early = server.connect().await;
    early.send(&head("/whip", 5)).await;
    let answer = early.rest().await;
    assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));

    // Nothing is left to be read here, so the next question may follow.
    let mut staying = server.connect().await;
    for asked in 1..=2 {
        staying.send("GET /hls/nobody/index.m3u8 HTTP/1.1\r\nHost: test\r\n\r\n").await;
        let said = staying.until_it("an answer", |said| said.matches("HTTP/1.1 404").count() == asked).await;
        assert!(!said.contains("connection: close"), "{said}");
    }
}
