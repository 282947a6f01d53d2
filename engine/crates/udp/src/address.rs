//! Socket addresses as the kernel reads them, encoded once per peer instead of once per datagram.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of `sockaddr_in6`, the longest address we use.
pub(crate) const MAX_ENCODED_BYTES: usize = size_of::<libc::sockaddr_in6>();
const V4_BYTES: usize = size_of::<libc::sockaddr_in>();
const FAMILY_V4: u16 = libc::AF_INET as u16;
const FAMILY_V6: u16 = libc::AF_INET6 as u16;

/// A peer's address in the kernel's encoding (`sockaddr_in` or `sockaddr_in6`).
///
/// An IPv4 address stays `AF_INET` even when it is sent from a dual-stack IPv6 socket: Linux accepts that, and equal addresses then
/// have equal bytes. An IPv4-mapped IPv6 address becomes plain IPv4 for the same reason.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    bytes: [u8; MAX_ENCODED_BYTES],
    length: u8,
}

impl PeerAddress {
    /// The encoded address, of the length its family has.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Reads what the kernel wrote; None for a family other than IPv4 and IPv6 or a cut address.
    pub(crate) fn decode(encoded: &[u8]) -> Option<SocketAddr> {
        let family = u16::from_ne_bytes(*encoded.first_chunk()?);
        let port = u16::from_be_bytes(*encoded.get(2..)?.first_chunk()?);
        match family {
            FAMILY_V4 => {
                let octets: [u8; 4] = *encoded.get(4..)?.first_chunk()?;
                Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(octets)), port))
            }
            FAMILY_V6 => {
                let octets: [u8; 16] = *encoded.get(8..)?.first_chunk()?;
                let scope_id = u32::from_ne_bytes(*encoded.get(24..)?.first_chunk()?);
                Some(canonical(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope_id)))
            }
            _ => None,
        }
    }
}

/// IPv4-mapped IPv6 (`::ffff:a.b.c.d`) as IPv4, anything else as it is.
fn canonical(address: SocketAddrV6) -> SocketAddr {
    match address.ip().to_ipv4_mapped() {
        Some(v4) => SocketAddr::new(IpAddr::V4(v4), address.port()),
        None => SocketAddr::V6(address),
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        let mut bytes = [0; MAX_ENCODED_BYTES];
        let address = if let SocketAddr::V6(v6) = address { canonical(v6) } else { address };
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let length = match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&FAMILY_V4.to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                V4_BYTES
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&FAMILY_V6.to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                MAX_ENCODED_BYTES
            }
        };
        Self { bytes, length: length as u8 }
    }
}

impl From<PeerAddress> for SocketAddr {
    fn from(peer: PeerAddress) -> Self {
        // Every PeerAddress was encoded from a SocketAddr above, so decoding it cannot fail.
        PeerAddress::decode(peer.encoded()).unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0))
    }
}

impl std::fmt::Debug for PeerAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PeerAddress({})", SocketAddr::from(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> String {
        SocketAddr::from(PeerAddress::from(text.parse::<SocketAddr>().expect("test address"))).to_string()
    }

    #[test]
    fn addresses_survive_the_encoding() {
        for text in ["192.0.2.7:5004", "[2001:db8::1]:65535", "[fe80::1%3]:9", "0.0.0.0:0"] {
            assert_eq!(round_trip(text), text);
        }
    }

    #[test]
    fn mapped_ipv4_is_the_same_peer_as_ipv4() {
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:5004".parse().expect("test address");
        let plain: SocketAddr = "192.0.2.7:5004".parse().expect("test address");
        assert!(PeerAddress::from(mapped) == PeerAddress::from(plain));
    }

    #[test]
    fn other_families_and_cut_addresses_are_refused() {
        assert_eq!(PeerAddress::decode(&[0xff; 28]), None);
        let v6 = PeerAddress::from("[::1]:1".parse::<SocketAddr>().expect("test address"));
        assert_eq!(PeerAddress::decode(&v6.encoded()[..27]), None);
        assert_eq!(PeerAddress::decode(&[]), None);
    }
}
