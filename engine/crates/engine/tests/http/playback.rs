//! Private streams: who is let in, and who is cut when the policy changes.

use crate::support::{Answer, Server};
use aws_lc_rs::hmac;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

const SDP: &str = "Content-Type: application/sdp\r\n";
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\n";

fn policy(key: u8) -> String {
    let key = Base64UrlUnpadded::encode_string(&[key; 32]);
    json!({"streams": {"main": {"visibility": "private", "playback_key": key}}}).to_string()
}

fn token(key: u8) -> String {
    let encode = Base64UrlUnpadded::encode_string;
    let claims = json!({"sub": "main", "aud": "tallylight-playback", "exp": 1_u64 << 40}).to_string();
    let signed = format!("{}.{}", encode(br#"{"alg":"HS256"}"#), encode(claims.as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[key; 32]), signed.as_bytes());
    format!("{signed}.{}", encode(tag.as_ref()))
}

async fn set(server: &Server, policy: &str) -> Answer {
    server.connect_api().await.ask("PUT", "/v1/policy", "", policy).await
}

async fn watch(server: &Server, query: &str, headers: &str) -> Answer {
    server.ask("POST", &format!("/whep/main{query}"), &format!("{SDP}{headers}"), OFFER).await
}

async fn sessions(server: &Server) -> usize {
    server.api("GET", "/v1/sessions").await.json()["sessions"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn the_policy_decides_about_whep_and_live_states() {
    let server = Server::start().await;
    let _publication = server.publish("main", false);
    let _other = server.publish("other", false);
    assert_eq!(watch(&server, "", "").await.status, 201);
    assert_eq!(set(&server, &policy(1)).await.status, 204);
    for (query, headers, code) in [
        ("", "".to_owned(), "token_missing"),
        ("?token=", "".into(), "token_missing"),
        ("?token=a.b.c", "".into(), "token_wrong"),
        ("", format!("Authorization: Bearer {}\r\n", token(2)), "token_wrong"),
    ] {
        let answer = watch(&server, query, &headers).await;
        assert_eq!(answer.problem(), (401, code.into()), "{query} {headers}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(server.ask("GET", &format!("/live/main/events{query}"), &headers, "").await.problem().1, code);
    }
    assert_eq!(server.ask("OPTIONS", "/whep/main", "", "").await.status, 204, "a preflight has no token");
    assert_eq!(watch(&server, &format!("?token={}", token(1)), "").await.status, 201);
    assert_eq!(watch(&server, "", &format!("Authorization: Bearer {}\r\n", token(1))).await.status, 201);
    assert_eq!(server.ask("POST", "/whep/other", SDP, OFFER).await.status, 201, "another stream is for all");
    assert_eq!(server.engine.counters.playback_refused.get(), 8);
}

#[tokio::test]
async fn a_new_policy_ends_what_it_does_not_allow() {
    let server = Server::start().await;
    let _publication = server.publish("main", false);
    let _other = server.publish("other", false);
    assert_eq!(server.ask("POST", "/whep/other", SDP, OFFER).await.status, 201);
    assert_eq!(watch(&server, "", "").await.status, 201);
    let mut public = server.connect().await;
    public.send("GET /live/main/events HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await;
    public.until("\"state\":").await;
    assert_eq!(sessions(&server).await, 2);

    assert_eq!(set(&server, &policy(1)).await.status, 204);
    assert_eq!(sessions(&server).await, 1, "the viewer of the public stream stays");
    public.rest().await;
    let query = format!("?token={}", token(1));
    assert_eq!(watch(&server, &query, "").await.status, 201);
    let mut private = server.connect().await;
    let head = format!("GET /live/main/events{query} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    private.send(&head).await;
    private.until("\"state\":").await;
    assert_eq!(set(&server, &policy(1)).await.status, 204);
    assert_eq!(sessions(&server).await, 2, "the same policy again cuts nobody");

    assert_eq!(set(&server, &policy(2)).await.status, 204);
    assert_eq!(sessions(&server).await, 1);
    private.rest().await;
    assert_eq!(server.engine.counters.playback_revoked.get(), 2);
    let events = server.engine.events.after(0).events;
    let last: Value = serde_json::from_str(&events.last().expect("an event").json).expect("JSON");
    assert_eq!((&last["event"], &last["whep_ended"]), (&"playback_policy_set".into(), &1.into()));
    assert_eq!(set(&server, r#"{"streams":{}}"#).await.status, 204);
    assert_eq!(watch(&server, "", "").await.status, 201);
}

#[tokio::test]
async fn a_policy_that_cannot_be_used_changes_nothing() {
    let server = Server::start().await;
    let _publication = server.publish("main", false);
    assert_eq!(set(&server, &policy(1)).await.status, 204);
    for broken in ["{", r#"{"streams":{"main":{"visibility":"private"}}}"#] {
        assert_eq!(set(&server, broken).await.problem(), (400, "policy_invalid".into()));
    }
    assert_eq!(watch(&server, "", "").await.problem(), (401, "token_missing".into()));
    assert_eq!(server.api("GET", "/v1/policy").await.problem(), (405, "method_not_allowed".into()));
    let long = " ".repeat((4 << 20) + 1);
    assert_eq!(set(&server, &long).await.problem(), (413, "too_large".into()));
}
