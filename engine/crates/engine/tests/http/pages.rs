//! The built pages, their caching and their headers.

use crate::support::Server;

#[tokio::test]
async fn each_address_has_its_page() {
    let server = Server::start().await;
    for (target, text) in [
        ("/", "the start page"),
        ("/studio", "the studio page"),
        ("/sign-in", "the sign-in page"),
        ("/watch/main", "the watch page"),
        ("/watch/any-name", "the watch page"),
        ("/tallylight-player.js", "export {}"),
    ] {
        let answer = server.get(target).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, text), "{target}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.header("referrer-policy").is_some());
    }
    for target in ["/", "/studio", "/sign-in"] {
        let page = server.get(target).await;
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.contains("script-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    }
    let watch = server.get("/watch/main").await;
    assert!(watch.header("content-security-policy").expect("a policy").contains("frame-ancestors *"));
}

#[tokio::test]
async fn other_addresses_are_no_pages() {
    let server = Server::start().await;
    let control = server.control().await;
    for target in ["/watch", "/index", "/sign-in/", "/sign-in/x", "/Sign-in", "/assets/app-1a2b", "/dashboard"] {
        assert!(!server.get(target).await.body.contains("page"), "{target}");
    }
    assert_eq!(control.asked.lock().expect("one at a time").len(), 7, "the control plane answers them");
}

#[tokio::test]
async fn files_are_cached_by_their_kind() {
    let server = Server::start().await;
    let asset = server.get("/assets/app-1a2b.js").await;
    assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let player = server.get("/tallylight-player.js").await;
    assert_eq!(player.header("cache-control"), Some("no-cache"));
    assert_eq!(player.header("access-control-allow-origin"), Some("*"), "other sites import it");
    let etag = player.header("etag").expect("an entity tag");
    let again = server.ask("GET", "/tallylight-player.js", &format!("If-None-Match: \"x\", W/{etag}\r\n"), "").await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let head = server.ask("HEAD", "/tallylight-player.js", "", "").await;
    assert_eq!((head.status, head.header("content-length"), head.body.as_str()), (200, Some("9"), ""));
}

#[tokio::test]
async fn without_built_pages_there_is_a_sentence() {
    use std::sync::Arc;
    use tallylight_engine::http::pages::Pages;
    use tallylight_engine::http::path::PlainPath;
    let pages = Arc::new(Pages::default());
    let path = PlainPath::parse("/watch/main").expect("a plain path");
    let answer = pages.answer(&hyper::Method::GET, &path, &hyper::HeaderMap::new()).expect("a page");
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body").to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("make build"));
}
