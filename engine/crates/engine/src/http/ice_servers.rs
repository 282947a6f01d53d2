//! The STUN and TURN servers that browsers are told about, as `Link` headers (RFC 9725 section 4.6). Pure.

use crate::config::IceServer;
use aws_lc_rs::hmac;
use base64ct::{Base64, Encoding};
use hyper::header::HeaderValue;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// How long made credentials open a TURN server. It asks for them whenever an allocation is refreshed, so they must outlast the
/// longest broadcast somebody watches in one sitting: a day.
pub const CREDENTIALS_LAST: Duration = Duration::from_secs(24 * 3600);

/// Of the hash that stands for a network: two networks of one server do not meet in it by chance.
const PEER_BYTES: usize = 8;

/// One `Link` per URL. The configuration has checked that nothing needs escaping.
///
/// A TURN server counts allocations by user, so everybody in one `network` is one user, however often credentials are asked for.
pub fn links(servers: &[IceServer], now: SystemTime, network: IpAddr) -> Vec<HeaderValue> {
    servers.iter().flat_map(|server| links_of(server, now, network)).collect()
}

fn links_of(server: &IceServer, now: SystemTime, network: IpAddr) -> Vec<HeaderValue> {
    let (username, credential) = match &server.secret {
        Some(secret) => {
            let (username, credential) = expiring_credentials(secret, now + CREDENTIALS_LAST, network);
            (Some(username), Some(credential))
        }
        None => (server.username.clone(), server.credential.clone()),
    };
    let mut attributes = String::from("; rel=\"ice-server\"");
    if let Some(username) = username {
        attributes.push_str(&format!("; username=\"{username}\""));
    }
    if let Some(credential) = credential {
        attributes.push_str(&format!("; credential=\"{credential}\"; credential-type=\"password\""));
    }
    let link = |url: &String| {
        // STUN asks for no credentials; RTCPeerConnection ignores them there.
        let attributes = if url.starts_with("stun") { "; rel=\"ice-server\"" } else { attributes.as_str() };
        HeaderValue::try_from(format!("<{url}>{attributes}")).ok()
    };
    server.urls.iter().filter_map(link).collect()
}

/// Username `expiry:peer` and the password that the TURN server computes from it as well
/// (draft-uberti-behave-turn-rest-00 section 2.2; SHA-1 is what every TURN server implements).
///
/// `peer` tells one network from another without naming it.
fn expiring_credentials(secret: &str, expiry: SystemTime, network: IpAddr) -> (String, String) {
    let expiry_s = expiry.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let hidden = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), network.to_string().as_bytes());
    let peer: String = hidden.as_ref().iter().take(PEER_BYTES).map(|byte| format!("{byte:02x}")).collect();
    let username = format!("{expiry_s}:{peer}");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let credential = Base64::encode_string(hmac::sign(&key, username.as_bytes()).as_ref());
    (username, credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn server(urls: &[&str]) -> IceServer {
        IceServer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            username: None,
            credential: None,
            secret: None,
        }
    }

    #[test]
    fn ice_servers_become_links() {
        let server = IceServer {
            username: Some("user".into()),
            credential: Some("secret".into()),
            ..server(&["turn:a.example:3478?transport=udp", "stun:b.example"])
        };
        let links = links(&[server], SystemTime::UNIX_EPOCH, THERE);
        assert_eq!(
            links,
            [
                "<turn:a.example:3478?transport=udp>; rel=\"ice-server\"; username=\"user\"; credential=\"secret\"; credential-type=\"password\"",
                "<stun:b.example>; rel=\"ice-server\"",
            ]
        );
    }

    #[test]
    fn a_secret_makes_credentials_that_expire() {
        // printf 192.0.2.1 | openssl dgst -sha256 -hmac north | (its first 16 digits); printf 1000086400:b6ac1b5a3481c69a | openssl dgst -sha1 -hmac north -binary | base64
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let server = IceServer { secret: Some("north".into()), ..server(&["turn:a.example"]) };
        let link = links(&[server], now, THERE).remove(0);
        let text = link.to_str().expect("ASCII");
        assert!(text.contains("username=\"1000086400:b6ac1b5a3481c69a\""), "{text}");
        assert!(text.contains("credential=\"3dZraQNOYDGHkF2iq+zXTE6MXLU=\""), "{text}");
        assert!(!text.contains("north"));
    }
}
