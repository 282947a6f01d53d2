//! A nonblocking UDP socket that can also be dual-stack.

use crate::system::{check, option, set_option};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A bound, nonblocking UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    inner: std::net::UdpSocket,
}

impl UdpSocket {
    /// Binds to `address`. `[::]` also receives IPv4, whatever the host's `net.ipv6.bindv6only` says; its IPv4 peers are
    /// reported and addressed as IPv4.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let inner = match address {
            SocketAddr::V6(v6) if *v6.ip() == Ipv6Addr::UNSPECIFIED => bind_dual_stack(address)?,
            _ => std::net::UdpSocket::bind(address)?,
        };
        inner.set_nonblocking(true)?;
        Ok(Self { inner })
    }

    /// The address and port the socket is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// Asks for kernel buffers of these sizes in bytes and returns what was granted, (receive, send).
    ///
    /// The FORCE options pass `net.core.rmem_max` and need `CAP_NET_ADMIN`; without it the plain ones are cut to that limit.
    /// Linux reports twice what it was asked for, as it counts its own bookkeeping (socket(7)).
    pub fn set_buffer_sizes(&self, receive: usize, send: usize) -> io::Result<(usize, usize)> {
        let granted_receive = self.set_buffer(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, receive)?;
        let granted_send = self.set_buffer(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send)?;
        Ok((granted_receive, granted_send))
    }

    fn set_buffer(&self, forced: libc::c_int, plain: libc::c_int, bytes: usize) -> io::Result<usize> {
        // The kernel doubles the value, so half of the largest integer is the largest sensible request.
        let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX).min(libc::c_int::MAX / 2);
        let fd = self.as_raw_fd();
        if set_option(fd, libc::SOL_SOCKET, forced, value).is_err() {
            set_option(fd, libc::SOL_SOCKET, plain, value)?;
        }
        option(fd, libc::SOL_SOCKET, plain).map(|granted| usize::try_from(granted).unwrap_or(0))
    }

    /// Sends one datagram now. `WouldBlock` when the send buffer is full.
    ///
    /// An IPv4 peer may be given to a dual-stack socket as it is: Linux takes `AF_INET` there.
    pub fn send_to(&self, datagram: &[u8], peer: SocketAddr) -> io::Result<usize> {
        self.inner.send_to(datagram, peer)
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// std cannot clear `IPV6_V6ONLY` before binding, so this one socket is made by hand.
fn bind_dual_stack(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    // SAFETY: no pointers; the result is checked before use.
    let fd = check(unsafe { libc::socket(libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: `fd` was just opened, is valid, and nobody else owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
    let encoded = crate::PeerAddress::from(address);
    let bytes = encoded.encoded();
    // SAFETY: pointer and length describe the live encoded sockaddr_in6; the kernel copies it and needs no alignment.
    check(unsafe { libc::bind(fd, bytes.as_ptr().cast(), bytes.len() as libc::socklen_t) })?;
    Ok(owned.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_sizes_are_granted_and_reported() {
        let socket = UdpSocket::bind("127.0.0.1:0".parse().expect("address")).expect("bind");
        let (receive, send) = socket.set_buffer_sizes(64 * 1024, 32 * 1024).expect("buffer sizes");
        assert!(receive >= 64 * 1024, "{receive}");
        assert!(send >= 32 * 1024, "{send}");
    }

    #[test]
    fn a_taken_port_is_an_error() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let first = UdpSocket::bind(address.parse().expect("address")).expect("bind");
            let error = UdpSocket::bind(first.local_addr().expect("address")).expect_err("port is taken");
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }
}
