//! Receiving many datagrams with one system call.

use crate::UdpSocket;
use crate::address::{MAX_ENCODED_BYTES, PeerAddress};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;

/// Datagrams taken per call: one wake of a shard with a few hundred viewers finds 10-40 waiting.
pub const RECEIVE_MESSAGES: usize = 64;
/// Bytes per datagram: media and DTLS stay under an Ethernet MTU, so 2 KiB leaves room for every legal one.
pub const RECEIVE_BUFFER_BYTES: usize = 2048;

#[derive(Clone, Copy)]
struct Received {
    length: usize,
    source: SocketAddr,
}

const NOTHING: Received = Received { length: 0, source: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0) };

/// Buffers for up to [`RECEIVE_MESSAGES`] datagrams, reused by every call.
pub struct ReceiveBatch {
    buffers: Box<[[u8; RECEIVE_BUFFER_BYTES]]>,
    addresses: Box<[[u8; MAX_ENCODED_BYTES]]>,
    received: [Received; RECEIVE_MESSAGES],
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl ReceiveBatch {
    /// Allocates the buffers (130 KiB).
    pub fn new() -> Self {
        Self {
            buffers: vec![[0; RECEIVE_BUFFER_BYTES]; RECEIVE_MESSAGES].into_boxed_slice(),
            addresses: vec![[0; MAX_ENCODED_BYTES]; RECEIVE_MESSAGES].into_boxed_slice(),
            received: [NOTHING; RECEIVE_MESSAGES],
        }
    }

    /// Takes what is waiting on `socket`, without blocking, and returns how many datagrams that was; 0 when nothing waits.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        // SAFETY: mmsghdr is a plain C struct for which all zero bytes (null pointers, zero lengths) is a valid value.
        let mut headers: [libc::mmsghdr; RECEIVE_MESSAGES] = unsafe { std::mem::zeroed() };
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; RECEIVE_MESSAGES];
        let slots = self.buffers.iter_mut().zip(self.addresses.iter_mut());
        for ((header, vector), (buffer, address)) in headers.iter_mut().zip(vectors.iter_mut()).zip(slots) {
            *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = address.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = address.len() as libc::socklen_t;
        }
        let (fd, count) = (socket.as_raw_fd(), RECEIVE_MESSAGES as libc::c_uint);
        let result = loop {
            // SAFETY: `count` headers, each pointing at one iovec, one buffer and one address buffer of the stated lengths; all of
            // them outlive the call and none is touched through a reference while the kernel writes.
            let result = unsafe {
                libc::recvmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _, std::ptr::null_mut())
            };
            match usize::try_from(result) {
                Ok(received) => break received,
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::WouldBlock => break 0,
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Err(error),
                },
            }
        };
        for (index, header) in headers.iter().enumerate().take(result) {
            self.received[index] = self.describe(index, header);
        }
        self.received[result..].fill(NOTHING);
        Ok(result)
    }

    /// A datagram longer than its buffer counts as empty: what is left of it is not what the peer sent.
    fn describe(&self, index: usize, header: &libc::mmsghdr) -> Received {
        let name_length = (header.msg_hdr.msg_namelen as usize).min(MAX_ENCODED_BYTES);
        let Some(source) = PeerAddress::decode(&self.addresses[index][..name_length]) else { return NOTHING };
        let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let length = if cut { 0 } else { (header.msg_len as usize).min(RECEIVE_BUFFER_BYTES) };
        Received { length, source }
    }

    /// Datagram `index` of the last call and who sent it (IPv4-mapped IPv6 as IPv4). Empty when it was longer than the buffer or
    /// `index` is not below the count returned.
    pub fn datagram(&self, index: usize) -> (&[u8], SocketAddr) {
        let Received { length, source } = self.received.get(index).copied().unwrap_or(NOTHING);
        let bytes = self.buffers.get(index).map_or(&[][..], |buffer| &buffer[..length]);
        (bytes, source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Waker, wait};
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(10);

    fn bound(address: &str) -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind(address.parse().expect("address")).expect("bind");
        let local = socket.local_addr().expect("local address");
        (socket, local)
    }

    #[test]
    fn an_idle_socket_gives_nothing() {
        let (socket, _) = bound("127.0.0.1:0");
        assert_eq!(ReceiveBatch::new().receive(&socket).expect("receive"), 0);
    }

    #[test]
    fn many_datagrams_come_in_one_call_with_their_source() {
        let ((receiver, to), (sender, from)) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
        for number in 0..100u8 {
            sender.send_to(&vec![number; usize::from(number)], to).expect("send");
        }
        let mut batch = ReceiveBatch::new();
        // Loopback delivers within the send call, so everything waits already.
        assert_eq!(batch.receive(&receiver).expect("receive"), RECEIVE_MESSAGES);
        for index in 0..RECEIVE_MESSAGES {
            assert_eq!(batch.datagram(index), (&vec![index as u8; index][..], from));
        }
        assert_eq!(batch.receive(&receiver).expect("receive"), 100 - RECEIVE_MESSAGES);
        assert_eq!(batch.datagram(0).0, [64; 64]);
        assert_eq!(batch.datagram(99).0.len(), 0, "an index past the count is empty");
    }

    #[test]
    fn a_datagram_longer_than_the_buffer_is_empty() {
        let ((receiver, to), (sender, from)) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
        sender.send_to(&[7; RECEIVE_BUFFER_BYTES + 1], to).expect("send");
        sender.send_to(&[8; RECEIVE_BUFFER_BYTES], to).expect("send");
        let mut batch = ReceiveBatch::new();
        assert_eq!(batch.receive(&receiver).expect("receive"), 2);
        assert_eq!(batch.datagram(0), (&[][..], from));
        assert_eq!(batch.datagram(1).0.len(), RECEIVE_BUFFER_BYTES);
    }

    #[test]
    fn a_dual_stack_socket_talks_to_both_families() {
        let (server, address) = bound("[::]:0");
        let waker = Waker::new().expect("waker");
        let mut batch = ReceiveBatch::new();
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let (client, from) = bound(host);
            client.send_to(b"ping", SocketAddr::new(from.ip(), address.port())).expect("send");
            assert!(wait(&server, &waker, LIMIT).expect("wait").socket);
            assert_eq!(batch.receive(&server).expect("receive"), 1);
            assert_eq!(batch.datagram(0), (&b"ping"[..], from));
            server.send_to(b"pong", from).expect("answer");
            assert!(wait(&client, &waker, LIMIT).expect("wait").socket);
            assert_eq!(batch.receive(&client).expect("receive"), 1);
            assert_eq!(batch.datagram(0).0, b"pong");
        }
    }
}
