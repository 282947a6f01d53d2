//! WHIP and WHEP as RFC 9725 wants them (matrix H9, H10).

use crate::control::{HELD_KEY, RIGHT_KEY};
use crate::support::{Answer, Server, eventually};
use tallylight_engine::peers::Peers;
use tallylight_media::EndReason;

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\n";
const SDP: &str = "Content-Type: application/sdp\r\n";
const FRAGMENT: &str = "Content-Type: application/trickle-ice-sdpfrag\r\n";

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

async fn publish(server: &Server) -> Answer {
    let answer = server.ask("POST", "/whip", &format!("{SDP}{}", bearer(RIGHT_KEY)), OFFER).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer
}

#[tokio::test]
async fn a_publisher_is_created_with_everything_it_needs() {
    let server = Server::start().await;
    let _control = server.control().await;
    let created = publish(&server).await;
    assert!(created.header("location").expect("an address").starts_with("/whip/sessions/"));
    assert_eq!(created.header("content-type"), Some("application/sdp"));
    assert!(created.header("etag").expect("an entity tag").starts_with('"'));
    assert_eq!(
        created.headers("link"),
        ["<stun:stun.example.org:3478>; rel=\"ice-server\"", "<stun:b.example.org>; rel=\"ice-server\""]
    );
    assert_eq!(created.header("access-control-allow-origin"), Some("*"));
    let exposed = created.header("access-control-expose-headers").expect("exposed headers");
    assert_eq!(created.header("x-tallylight-stream"), Some("main"));
    assert!(["Location", "ETag", "Link", "X-Tallylight-Stream"].iter().all(|name| exposed.contains(name)), "{exposed}");
    assert_eq!(created.body, "v=0\r\ns=whip\r\n");
}

#[tokio::test]
async fn endpoints_refuse_what_is_not_an_offer() {
    let server = Server::start().await;
    let _control = server.control().await;
    let key = bearer(RIGHT_KEY);
    let refusals = [
        ("GET", "/whip", String::new(), "", (405, "method_not_allowed")),
        ("PUT", "/whep/main", SDP.into(), OFFER, (405, "method_not_allowed")),
        ("POST", "/whip", format!("{key}Content-Type: text/plain\r\n"), OFFER, (415, "content_type_wrong")),
        ("POST", "/whep/main", String::new(), OFFER, (415, "content_type_wrong")),
        ("POST", "/whip", format!("{key}{SDP}"), "hello", (400, "sdp_malformed")),
        ("POST", "/whip", SDP.into(), OFFER, (401, "key_missing")),
        ("POST", "/whip", format!("{SDP}{}", bearer("wrong")), OFFER, (401, "key_wrong")),
        ("POST", "/whip", format!("{SDP}{}", bearer("old-key")), OFFER, (401, "key_rotated")),
        ("POST", "/whip/other", format!("{key}{SDP}"), OFFER, (401, "key_wrong")),
        ("POST", "/whep/nobody", SDP.into(), OFFER, (404, "nothing_on_air")),
        ("POST", "/whip/sessions", format!("{key}{SDP}"), OFFER, (404, "not_found")),
        ("POST", "/whep", SDP.into(), OFFER, (404, "not_found")),
    ];
    for (method, target, headers, body, (status, code)) in refusals {
        let answer = server.ask(method, target, &headers, body).await;
        assert_eq!(answer.problem(), (status, code.into()), "{method} {target}");
        match status {
            401 => assert_eq!(answer.header("www-authenticate"), Some("Bearer")),
            405 => assert_eq!(answer.header("allow"), Some("POST, OPTIONS")),
            415 => assert_eq!(answer.header("accept-post"), Some("application/sdp")),
            _ => {}
        }
    }
    assert!(server.peers.sessions().is_empty());
    assert!(server.engine.streams.get("nobody").is_none(), "strangers cannot make streams");
}

#[tokio::test]
async fn a_second_publisher_is_refused_unless_it_takes_over() {
    let server = Server::start().await;
    let _control = server.control().await;
    let publication = server.publish("main", false);
    let headers = format!("{SDP}{}", bearer(RIGHT_KEY));
    for target in ["/whip", "/whip/main?takeover=0", "/whip?takeover=12"] {
        assert_eq!(server.ask("POST", target, &headers, OFFER).await.problem(), (409, "publisher_busy".into()));
    }
    let refused = server.engine.events.after(0).events.into_iter().find(|event| event.name == "publish_refused");
    let refused: serde_json::Value = serde_json::from_str(&refused.expect("an event").json).expect("JSON");
    assert_eq!((&refused["stream"], &refused["code"]), (&"main".into(), &"publisher_busy".into()));
    let broken = server.ask("POST", "/whip?takeover=1", &headers, "hello").await;
    assert_eq!((broken.problem().0, publication.over()), (400, None), "an offer that is no good ends nobody");
    assert_eq!(server.ask("POST", "/whip/main?a=b&takeover=1", &headers, OFFER).await.status, 201);
    assert_eq!(publication.over(), Some(EndReason::TakenOver));
}

#[tokio::test]
async fn a_publisher_whose_stream_is_cut_while_its_key_is_looked_at_asks_again() {
    let server = Server::start().await;
    let control = server.control().await;
    let headers = format!("{SDP}{}", bearer(HELD_KEY));
    let offer = server.ask("POST", "/whip?takeover=1", &headers, OFFER);
    let cut = async {
        eventually("the question", || control.asked.lock().expect("one at a time").len() == 1).await;
        assert_eq!(server.api("DELETE", "/v1/streams/main/publisher?reason=key_rotated").await.status, 404);
        control.let_go.notify_one();
    };
    let (answer, ()) = tokio::join!(offer, cut);
    assert_eq!(answer.problem(), (503, "try_again".into()));
    assert!(server.peers.sessions().is_empty());
    control.let_go.notify_one();
    assert_eq!(server.ask("POST", "/whip?takeover=1", &headers, OFFER).await.status, 201, "asked after the cut");
}

#[tokio::test]
async fn preflights_are_answered() {
    let server = Server::start().await;
    for target in ["/whip", "/whip/main", "/whep/main", "/whep/sessions/x", "/whip/sessions/x"] {
        let answer = server.ask("OPTIONS", target, "Origin: https://example.org\r\n", "").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("*")), "{target}");
        assert!(answer.header("access-control-allow-headers").expect("headers").contains("Authorization"));
    }
    assert_eq!(server.ask("OPTIONS", "/whip", "", "").await.header("accept-post"), Some("application/sdp"));
}

#[tokio::test]
async fn without_a_control_plane_a_publisher_is_told_to_try_again() {
    let server = Server::start().await;
    let answer = server.ask("POST", "/whip", &format!("{SDP}{}", bearer(RIGHT_KEY)), OFFER).await;
    assert_eq!(answer.problem(), (503, "try_again".into()));
    assert_eq!(answer.header("retry-after"), Some("2"));
}

#[tokio::test]
async fn a_viewer_joins_without_a_control_plane() {
    let server = Server::start().await;
    let _publication = server.publish("main", false);
    let answer = server.ask("POST", "/whep/main", "Content-Type: application/sdp; charset=utf-8\r\n", OFFER).await;
    assert_eq!((answer.status, answer.body.as_str()), (201, "v=0\r\ns=whep\r\n"));
    assert!(answer.header("location").expect("an address").starts_with("/whep/sessions/"));
}

#[tokio::test]
async fn b_frames_are_refused_by_name() {
    let server = Server::start().await;
    let _publication = server.publish("main", true);
    assert_eq!(server.ask("POST", "/whep/main", SDP, OFFER).await.problem(), (409, "b_frames".into()));
}

#[tokio::test]
async fn a_session_follows_its_entity_tag() {
    let server = Server::start().await;
    let _control = server.control().await;
    let created = publish(&server).await;
    let session = created.header("location").expect("an address");
    let patch = async |if_match: &str| {
        let condition = if if_match.is_empty() { String::new() } else { format!("If-Match: {if_match}\r\n") };
        server.ask("PATCH", session, &format!("{FRAGMENT}{condition}{}", bearer(RIGHT_KEY)), "a=mid:0\r\n").await
    };
    let etag = created.header("etag").expect("an entity tag");
    assert_eq!(patch("").await.problem(), (428, "precondition_required".into()));
    assert_eq!(patch("\"other\"").await.problem(), (412, "precondition_failed".into()));
    assert_eq!(patch(etag).await.status, 204);
    let restarted = patch("\"*\"").await;
    assert_eq!((restarted.status, restarted.header("content-type")), (200, Some("application/trickle-ice-sdpfrag")));
    assert_ne!(restarted.header("etag"), Some(etag));
    assert_eq!(patch(etag).await.problem().0, 412, "the old tag is over");
    let wrong_type = server.ask("PATCH", session, &format!("{SDP}If-Match: *\r\n{}", bearer(RIGHT_KEY)), "x").await;
    assert_eq!(wrong_type.problem(), (415, "content_type_wrong".into()));
    assert_eq!(server.get(session).await.problem(), (405, "method_not_allowed".into()));
}

#[tokio::test]
async fn only_its_publisher_closes_a_session() {
    let server = Server::start().await;
    let _control = server.control().await;
    let created = publish(&server).await;
    let session = created.header("location").expect("an address");
    let as_viewer = session.replace("/whip/", "/whep/");
    assert_eq!(server.ask("DELETE", session, "", "").await.problem(), (401, "key_missing".into()));
    assert_eq!(server.ask("DELETE", session, &bearer("wrong"), "").await.problem(), (401, "key_wrong".into()));
    assert_eq!(server.ask("DELETE", &as_viewer, "", "").await.problem(), (404, "session_unknown".into()));
    assert_eq!(server.ask("DELETE", "/whip/sessions/0", &bearer(RIGHT_KEY), "").await.problem().0, 404);
    assert_eq!(server.peers.sessions().len(), 1, "still there");
    assert_eq!(server.ask("DELETE", session, &bearer(RIGHT_KEY), "").await.status, 200);
    assert_eq!(server.ask("DELETE", session, &bearer(RIGHT_KEY), "").await.problem(), (404, "session_unknown".into()));
}

#[tokio::test]
async fn a_viewer_closes_its_session_by_its_address() {
    let server = Server::start().await;
    let _publication = server.publish("main", false);
    let created = server.ask("POST", "/whep/main", SDP, OFFER).await;
    let session = created.header("location").expect("an address");
    assert_eq!(server.ask("DELETE", session, "", "").await.status, 200);
    assert_eq!(server.ask("DELETE", session, "", "").await.problem(), (404, "session_unknown".into()));
}
