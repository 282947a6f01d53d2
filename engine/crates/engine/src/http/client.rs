//! Who sent a request: the peer of the connection, or whom a trusted proxy in front of us names. Pure.

use hyper::header::HeaderMap;
use serde::Deserialize;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Proxies in a row that are looked through; a longer list is somebody playing.
const MAX_HOPS: usize = 16;

/// The far end of a request, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    /// Whether the client came by TLS, which ends before us.
    pub https: bool,
}

/// Networks whose word about the client counts (`X-Forwarded-For`, `X-Forwarded-Proto`). None by default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct TrustedProxies(Vec<Network>);

/// `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a network like 10.0.0.0/8 or 2001:db8::/32, or an address")]
pub struct NotANetwork(String);

impl TrustedProxies {
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }

    /// Of a connection from `peer`. Every proxy appends the address it was asked from, so the list is read from its end: the first address
    /// that is not a trusted proxy is the client; what stands before it is only the client's own word.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
            return Client { address: peer, https: false };
        }
        let mut address = peer;
        for named in listed(headers, "x-forwarded-for").take(MAX_HOPS) {
            // Not an address ("unknown"): the last proxy that gave one is all that is known.
            let Some(named) = host_of(named) else { break };
            address = named;
            if !self.contains(address) {
                break;
            }
        }
        let https = listed(headers, "x-forwarded-proto").next().is_some_and(|it| it.eq_ignore_ascii_case("https"));
        Client { address, https }
    }
}

/// The elements of a list header from the last to the first.
fn listed<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().collect::<Vec<_>>().into_iter().rev();
    lines.flat_map(|line| line.to_str().unwrap_or("unknown").rsplit(',')).map(str::trim)
}

/// An address, also with a port as some proxies write it.
fn host_of(text: &str) -> Option<IpAddr> {
    let address = text.parse().or_else(|_| SocketAddr::from_str(text).map(|socket| socket.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

impl Network {
    /// `address` in its canonical form.
    fn contains(&self, address: IpAddr) -> bool {
        let (ours, theirs, width) = match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (u128::from(ours.to_bits()), u128::from(theirs.to_bits()), u32::BITS)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), Ipv6Addr::BITS),
            _ => return false,
        };
        let host_bits = width - self.prefix_bits;
        // A shift by the whole width would overflow; a prefix of nothing contains all.
        (ours ^ theirs).checked_shr(host_bits).unwrap_or(0) == 0
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Network, NotANetwork> {
        text.parse()
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Network, NotANetwork> {
        let wrong = || NotANetwork(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { u32::BITS } else { Ipv6Addr::BITS };
        let prefix_bits = prefix.map_or(Ok(width), |prefix| prefix.parse().map_err(|_| wrong()))?;
        if prefix_bits > width { Err(wrong()) } else { Ok(Network { address, prefix_bits }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn proxies(networks: &[&str]) -> TrustedProxies {
        TrustedProxies(networks.iter().map(|network| network.parse().expect("a network")).collect())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn client(peer: &str, forwarded_for: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded_for {
            headers.append("x-forwarded-for", HeaderValue::from_str(line).expect("a value"));
        }
        let trusted = proxies(&["127.0.0.1", "::1", "10.0.0.0/8", "2001:db8::/32"]);
        trusted.client(ip(peer), &headers).address.to_string()
    }

    #[test]
    fn strangers_are_who_they_are() {
        assert_eq!(client("192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(client("::ffff:192.0.2.1", &["10.0.0.1"]), "192.0.2.1");
        assert_eq!(proxies(&[]).client(ip("127.0.0.1"), &HeaderMap::new()).address, ip("127.0.0.1"));
    }

    #[test]
    fn the_last_address_that_is_no_proxy_of_ours_is_the_client() {
        for (forwarded_for, expected) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            (&["6.6.6.6", "203.0.113.9, 10.1.2.3"], "203.0.113.9"),
            (&["127.0.0.1, 203.0.113.9,10.1.2.3 , 10.9.9.9"], "203.0.113.9"),
            (&["2001:db8:1::5, 2001:db9::5"], "2001:db9::5"),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["[2001:db9::5]:4711"], "2001:db9::5"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            (&["10.0.0.7, 10.0.0.8"], "10.0.0.7"),
            (&["203.0.113.9, unknown"], "127.0.0.1"),
            (&["203.0.113.9, , 10.0.0.8"], "10.0.0.8"),
            (&["203.0.113.9, 10.0.0.8\u{e4}"], "127.0.0.1"),
            (&[""], "127.0.0.1"),
            (&[], "127.0.0.1"),
        ] {
            assert_eq!(client("127.0.0.1", forwarded_for), expected, "{forwarded_for:?}");
            assert_eq!(client("::ffff:127.0.0.1", forwarded_for), expected, "a mapped peer: {forwarded_for:?}");
        }
        let long = Box::leak(format!("203.0.113.9{}", ", 10.0.0.1".repeat(MAX_HOPS)).into_boxed_str());
        assert_eq!(client("::1", &[long]), "10.0.0.1");
    }

    #[test]
    fn only_a_trusted_proxy_says_https() {
        let trusted = proxies(&["127.0.0.1"]);
        let https = |peer: &str, proto: &'static str| {
            let headers =
                HeaderMap::from_iter([("x-forwarded-proto".parse().expect("a name"), HeaderValue::from_static(proto))]);
            trusted.client(ip(peer), &headers).https
        };
        assert!(https("127.0.0.1", "https") && https("127.0.0.1", "http, HTTPS"));
        assert!(!https("127.0.0.1", "http") && !https("127.0.0.1", "https, http") && !https("192.0.2.1", "https"));
    }

    #[test]
    fn networks_contain_what_their_prefix_says() {
        let contains = |network: &str, address: &str| proxies(&[network]).contains(ip(address));
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("10.9.9.9/8", "10.0.0.1"), "host bits do not matter");
        assert!(contains("192.0.2.1", "192.0.2.1") && !contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("0.0.0.0/0", "203.0.113.9") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1") && !contains("::/0", "203.0.113.9"));
        assert!(contains("2001:db8::/33", "2001:db8:7fff::1") && !contains("2001:db8::/33", "2001:db8:8000::1"));
        for wrong in
            ["", "/", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0/8", "localhost", "10.0.0.0/8/8"]
        {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
