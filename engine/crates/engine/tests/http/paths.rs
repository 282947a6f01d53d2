//! No spelling of a private path, and no path out of the pages' directory, is answered (matrix H4, H11).

use crate::support::Server;

#[tokio::test]
async fn private_paths_do_not_exist_in_any_spelling() {
    let server = Server::start().await;
    let control = server.control().await;
    for target in [
        "/internal",
        "/internal/health",
        "//internal",
        "/%69nternal",
        "/%2569nternal",
        "/x/../internal",
        "/x/%2e%2e/internal",
        "/./internal",
        "/INTERNAL",
        "/internal%2fhealth",
        "/\\internal",
        "/%5cinternal",
        "/internal;x",
        "/engine/admission",
        "//engine/admission",
        "/engine",
        "/%65ngine/admission",
        "/api/../engine/admission",
        "/api/%2e%2e/engine/admission",
        "/api//..//engine/admission",
        "http://test/engine/admission",
        "http://other/internal",
        "/hls/../engine/admission",
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = server.ask(method, target, "X-Forwarded-For: 127.0.0.1\r\n", "").await;
            assert_eq!(answer.problem(), (404, "not_found".into()), "{method} {target}");
        }
    }
    assert!(control.asked.lock().expect("one at a time").is_empty(), "nothing went on to the control plane");
}

#[tokio::test]
async fn no_path_leads_out_of_the_pages() {
    let server = Server::start().await;
    let _control = server.control().await;
    for target in [
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/assets/../../outside.txt",
        "/assets/%2e%2e/%2e%2e/outside.txt",
        "/..%2foutside.txt",
        "/..%5coutside.txt",
        "/..\\outside.txt",
        "/%252e%252e/outside.txt",
        "/assets/..%00/outside.txt",
        "/planted.txt",
        "/.secret",
        "/assets/",
        "/assets",
        "/.%2e/outside.txt",
        "/watch/../../outside.txt",
        "//outside.txt",
        "/%c0%ae%c0%ae/outside.txt",
        "/hls/../../outside.txt",
        "/hls/main/../../../outside.txt",
    ] {
        let answer = server.get(target).await;
        assert!(!answer.body.contains("must stay outside") && !answer.body.contains("hidden"), "{target}");
    }
}

#[tokio::test]
async fn tracing_and_tunnelling_are_refused() {
    let server = Server::start().await;
    let _control = server.control().await;
    assert_eq!(server.ask("TRACE", "/", "", "").await.problem().0, 405);
    assert_eq!(server.ask("CONNECT", "example.org:443", "", "").await.problem().0, 405);
}

#[tokio::test]
async fn a_request_of_unreasonable_size_is_refused() {
    let server = Server::start().await;
    let long = format!("X-Long: {}\r\n", "a".repeat(100 << 10));
    assert_eq!(server.ask("GET", "/", &long, "").await.status, 431, "too long");
    let many: String = (0..200).map(|number| format!("X-{number}: 1\r\n")).collect();
    assert_eq!(server.ask("GET", "/", &many, "").await.status, 431, "too many");
}
