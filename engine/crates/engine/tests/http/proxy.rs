//! What the engine passes on to the control plane, and what happens while that one is away.

use crate::support::Server;

#[tokio::test]
async fn requests_go_on_with_honest_headers() {
    let server = Server::start().await;
    let _control = server.control().await;
    let headers = "X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n\
                   X-Hop: 1\r\nConnection: x-hop\r\nTE: trailers\r\nAccept: text/html\r\n";
    let seen = server.ask("GET", "/api/streams?limit=2", headers, "").await.json();
    assert_eq!(seen["target"], "/api/streams?limit=2");
    assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!((&seen["headers"]["host"], &seen["headers"]["accept"]), (&"test".into(), &"text/html".into()));
    for dropped in ["x-real-ip", "forwarded", "x-hop", "te", "connection"] {
        assert!(seen["headers"][dropped].is_null(), "{dropped}: {seen}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client() {
    let server = Server::behind_proxies(&["127.0.0.0/8"]).await;
    let _control = server.control().await;
    let headers = "X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 6.6.6.6\r\n";
    let seen = server.ask("GET", "/api/streams", headers, "").await.json();
    assert_eq!(seen["headers"]["x-forwarded-for"], "203.0.113.9");
    assert_eq!(seen["headers"]["x-forwarded-proto"], "https");
    assert!(seen["headers"]["x-real-ip"].is_null());
    let seen = server.get("/api/streams").await.json();
    assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen["headers"]["x-forwarded-proto"], "http");
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let server = Server::start().await;
    let _control = server.control().await;
    let mut connection = server.connect().await;
    connection.send("POST /api/echo-stream HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    connection.send("5\r\nfirst\r\n").await;
    connection.until("first").await;
    connection.send("6\r\nsecond\r\n0\r\n\r\n").await;
    let all = connection.until("0\r\n\r\n").await;
    assert!(all.starts_with("HTTP/1.1 200") && all.contains("second"), "{all}");
}

#[tokio::test]
async fn web_sockets_pass_through() {
    let server = Server::start().await;
    let _control = server.control().await;
    let mut connection = server.connect().await;
    connection
        .send("GET /api/socket HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    let head = connection.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    connection.send("abcd").await;
    connection.until("dcba").await;
    connection.send("wxyz").await;
    connection.until("zyxw").await;
}

#[tokio::test]
async fn an_absent_control_plane_is_named_and_found_again() {
    let server = Server::start().await;
    for _ in 0..2 {
        let answer = server.get("/api/streams").await;
        assert_eq!(answer.problem(), (503, "control_plane_away".into()));
        assert_eq!(answer.header("retry-after"), Some("1"));
        let control = server.control().await;
        assert_eq!(server.get("/api/streams").await.status, 200);
        drop(control);
    }
    assert_eq!(server.get("/").await.status, 200, "pages need no control plane");
    assert_eq!(server.engine.counters.http_control_plane_away.get(), 2);
}
