//! Sending many datagrams to many peers with few system calls: `sendmmsg` of UDP GSO trains.
//!
//! The caller writes each datagram once, into the arena ([`SendBatch::slot`]), and commits it. Datagrams of one peer that follow
//! each other become one train, which the kernel (or the network card) cuts into datagrams again: 2-3.6 times less CPU than one
//! `sendto` per datagram. Source: Linux `udp(7)`, `UDP_SEGMENT`, since 4.18.

use crate::UdpSocket;
use crate::address::PeerAddress;
use crate::system::{option, poll_one};
use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};

/// Datagrams in a train: `UDP_MAX_SEGMENTS` of the oldest kernels that have GSO.
pub const MAX_TRAIN_SEGMENTS: usize = 64;
/// Bytes in a train: an IP packet holds 65,535 with its headers, and options or IPv6 extensions may need some of the rest.
pub const MAX_TRAIN_BYTES: usize = 65_000;
/// Messages per `sendmmsg`: the gain per call is flat above this, and the headers stay small enough for the stack.
const MESSAGES_PER_CALL: usize = 32;
/// How long a full send buffer may hold up one flush. A 1 Gb/s card sends 600 KB in this time.
const WRITABLE_TIMEOUT_MS: libc::c_int = 5;
/// Peers remembered as reachable without GSO only. Past this the memory is cleared and costs each of them one failing call again.
const MAX_PLAIN_PEERS: usize = 64;

/// Bytes of one control message that carries a u16.
const CONTROL_BYTES: usize = 24;

/// Space for the `UDP_SEGMENT` control message, aligned as cmsghdr asks.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

/// One datagram, or one train of equal datagrams (the last may be shorter) to one peer.
#[derive(Clone, Copy)]
struct Message {
    offset: usize,
    length: usize,
    segment: usize,
    peer: PeerAddress,
}

impl Message {
    fn packets(&self) -> u64 {
        self.length.div_ceil(self.segment) as u64
    }

    fn is_train(&self) -> bool {
        self.length > self.segment
    }

    /// Only whole segments so far, and room for another of `bytes`.
    fn takes(&self, bytes: usize) -> bool {
        bytes <= self.segment
            && self.length.is_multiple_of(self.segment)
            && self.length / self.segment < MAX_TRAIN_SEGMENTS
            && self.length + bytes <= MAX_TRAIN_BYTES
    }
}

/// What is known of GSO on the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gso {
    /// No train has been sent yet.
    Untried,
    /// A train has been sent: a failing one later is a matter of its path.
    Proven,
    /// The kernel or the socket cannot do it: plain datagrams for good.
    Off,
}

/// What one flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// Datagrams the kernel took.
    pub packets: u64,
    /// Datagrams dropped: a failing destination, or a send buffer that stayed full.
    pub dropped: u64,
    /// The send buffer was full at least once.
    pub would_block: bool,
}

/// Totals since the batch was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendStatistics {
    /// `sendmmsg` calls.
    pub calls: u64,
    /// Messages the kernel took (a train is one).
    pub messages: u64,
    /// Datagrams the kernel took.
    pub packets: u64,
    /// Payload bytes of those.
    pub bytes: u64,
    /// Datagrams dropped.
    pub dropped: u64,
    /// Times the send buffer was full.
    pub would_block: u64,
    /// Trains sent again as single datagrams because their path, or the system, refused GSO.
    pub split_trains: u64,
    /// False once the system refused GSO; trains are not built any more then.
    pub gso_enabled: bool,
}

/// Collects datagrams in one arena and sends them together.
///
/// Per datagram: `if batch.is_full(n) { batch.flush(&socket); }`, write into `batch.slot(n)`, `batch.commit(n, &peer, continues)`.
pub struct SendBatch {
    arena: Box<[u8]>,
    used: usize,
    max_messages: usize,
    messages: Vec<Message>,
    gso: Gso,
    /// Peers whose trains failed while others' went out (a small path MTU, IPsec): they get single datagrams.
    plain_peers: HashSet<PeerAddress>,
    statistics: SendStatistics,
}

impl SendBatch {
    /// An arena of `arena_bytes`, counted as full with `max_messages` messages in it. GSO is used when the first flush finds the
    /// kernel has it.
    pub fn new(arena_bytes: usize, max_messages: usize) -> Self {
        Self {
            arena: vec![0; arena_bytes].into_boxed_slice(),
            used: 0,
            max_messages,
            messages: Vec::with_capacity(max_messages),
            gso: Gso::Untried,
            plain_peers: HashSet::new(),
            statistics: SendStatistics { gso_enabled: true, ..SendStatistics::default() },
        }
    }

    /// The same without GSO: one message per datagram.
    pub fn without_gso(arena_bytes: usize, max_messages: usize) -> Self {
        let mut batch = Self::new(arena_bytes, max_messages);
        batch.turn_gso_off();
        batch
    }

    /// True when `need` more bytes do not fit, or the messages are used up: flush first.
    pub fn is_full(&self, need: usize) -> bool {
        !self.has_room(need) || self.messages.len() >= self.max_messages
    }

    /// True when `need` more bytes fit, however many messages there are: a train may still grow in a full batch.
    pub fn has_room(&self, need: usize) -> bool {
        need <= self.arena.len() - self.used
    }

    /// True when nothing is committed.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// `bytes` of arena to write the next datagram into. Nothing is sent until it is committed; a slot that is not is given again.
    ///
    /// # Panics
    /// When `bytes` do not fit: [`is_full`](Self::is_full) says so.
    pub fn slot(&mut self, bytes: usize) -> &mut [u8] {
        &mut self.arena[self.used..][..bytes]
    }

    /// Commits the first `bytes` of the slot as one datagram to `peer`.
    ///
    /// `continues` says that the datagram committed before went to the same peer, so that both may travel in one train: if all of
    /// its datagrams so far are equally long and this one is not longer. 0 bytes commit nothing.
    ///
    /// # Panics
    /// When `bytes` do not fit into the arena.
    pub fn commit(&mut self, bytes: usize, peer: &PeerAddress, continues: bool) {
        assert!(bytes <= self.arena.len() - self.used, "commit of {bytes} bytes past the arena's end");
        if bytes == 0 {
            return;
        }
        let offset = self.used;
        self.used += bytes;
        let train = if continues && self.may_train(peer) { self.messages.last_mut() } else { None };
        if let Some(train) = train.filter(|train| train.peer == *peer && train.takes(bytes)) {
            train.length += bytes;
            return;
        }
        self.messages.push(Message { offset, length: bytes, segment: bytes, peer: *peer });
    }

    fn may_train(&self, peer: &PeerAddress) -> bool {
        self.gso != Gso::Off && (self.plain_peers.is_empty() || !self.plain_peers.contains(peer))
    }

    /// Sends everything committed, in order, and empties the batch.
    ///
    /// A destination that fails is skipped and counted. When the send buffer is full, it is waited for once (5 ms); if it fills
    /// again the rest is dropped and counted, because media that waits is late media.
    pub fn flush(&mut self, socket: &UdpSocket) -> FlushReport {
        let fd = socket.as_raw_fd();
        if self.gso == Gso::Untried && option(fd, libc::SOL_UDP, libc::UDP_SEGMENT).is_err() {
            self.turn_gso_off();
        }
        let mut messages = std::mem::take(&mut self.messages);
        if self.gso == Gso::Off {
            let all = 0..messages.len();
            split_trains(&mut messages, all);
        }
        let mut report = FlushReport::default();
        let mut next = 0;
        while next < messages.len() {
            match self.send_some(fd, &messages[next..]) {
                Ok(sent) => {
                    self.count_sent(&messages[next..next + sent], &mut report);
                    next += sent;
                }
                Err(error) => match self.answer(fd, &error, &messages[next], &mut report) {
                    Answer::Retry => {}
                    Answer::Split => {
                        // The system's refusal concerns all trains, a path's only this one.
                        let end = if self.gso == Gso::Off { messages.len() } else { next + 1 };
                        split_trains(&mut messages, next..end);
                    }
                    Answer::Skip => {
                        report.dropped += messages[next].packets();
                        next += 1;
                    }
                    Answer::DropRest => {
                        report.dropped += messages[next..].iter().map(Message::packets).sum::<u64>();
                        next = messages.len();
                    }
                },
            }
        }
        self.statistics.packets += report.packets;
        self.statistics.dropped += report.dropped;
        messages.clear();
        self.messages = messages;
        self.used = 0;
        report
    }

    fn count_sent(&mut self, sent: &[Message], report: &mut FlushReport) {
        for message in sent {
            report.packets += message.packets();
            self.statistics.messages += 1;
            self.statistics.bytes += message.length as u64;
            if message.is_train() && self.gso == Gso::Untried {
                self.gso = Gso::Proven;
            }
        }
    }

    /// What to do about `error`, which the first unsent message got.
    fn answer(&mut self, fd: RawFd, error: &io::Error, message: &Message, report: &mut FlushReport) -> Answer {
        match error.raw_os_error() {
            Some(libc::EINTR) => Answer::Retry,
            Some(libc::EAGAIN) => {
                self.statistics.would_block += 1;
                let first = !std::mem::replace(&mut report.would_block, true);
                if first && poll_one(fd, libc::POLLOUT, WRITABLE_TIMEOUT_MS) { Answer::Retry } else { Answer::DropRest }
            }
            // EINVAL: no GSO on this socket, or (until 6.14) segments above the path MTU, which is EMSGSIZE since. EIO: no checksum
            // offload on the way, or IPsec. The plain datagrams may still go out.
            Some(libc::EINVAL | libc::EIO | libc::EOPNOTSUPP | libc::EMSGSIZE) if message.is_train() => {
                self.statistics.split_trains += 1;
                self.distrust(message.peer);
                Answer::Split
            }
            _ => Answer::Skip,
        }
    }

    /// A train to `peer` failed: the system's fault if none ever went out, otherwise its path's.
    fn distrust(&mut self, peer: PeerAddress) {
        if self.gso != Gso::Proven {
            self.turn_gso_off();
            return;
        }
        if self.plain_peers.len() >= MAX_PLAIN_PEERS {
            self.plain_peers.clear();
        }
        self.plain_peers.insert(peer);
    }

    fn turn_gso_off(&mut self) {
        self.gso = Gso::Off;
        self.statistics.gso_enabled = false;
    }

    /// One `sendmmsg` of the first messages; how many the kernel took, at least 1.
    fn send_some(&mut self, fd: RawFd, messages: &[Message]) -> io::Result<usize> {
        let count = messages.len().min(MESSAGES_PER_CALL);
        // SAFETY: mmsghdr is a plain C struct for which all zero bytes (null pointers, zero lengths) is a valid value.
        let mut headers: [libc::mmsghdr; MESSAGES_PER_CALL] = unsafe { std::mem::zeroed() };
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; MESSAGES_PER_CALL];
        let mut controls = [Control([0; CONTROL_BYTES]); MESSAGES_PER_CALL];
        for (index, message) in messages[..count].iter().enumerate() {
            let bytes = &self.arena[message.offset..][..message.length];
            let (header, vector, control) = (&mut headers[index].msg_hdr, &mut vectors[index], &mut controls[index]);
            // The kernel only reads through these pointers; C has one type for both directions.
            *vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_name = message.peer.encoded().as_ptr().cast_mut().cast();
            header.msg_namelen = message.peer.encoded().len() as libc::socklen_t;
            if message.is_train() {
                *control = segment_control(message.segment as u16);
                header.msg_control = control.0.as_mut_ptr().cast();
                header.msg_controllen = CONTROL_BYTES as _;
            }
        }
        self.statistics.calls += 1;
        // SAFETY: `count` headers whose pointers are to vectors, controls, addresses and arena bytes of the stated lengths, all of
        // which outlive the call; the kernel only reads them, and writes msg_len into the headers.
        let result = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count as libc::c_uint, 0) };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }

    /// Totals since the batch was made.
    pub fn statistics(&self) -> SendStatistics {
        self.statistics
    }
}

/// How a flush goes on after an error.
enum Answer {
    Retry,
    Split,
    Skip,
    DropRest,
}

/// Replaces the trains in `range` by their datagrams.
fn split_trains(messages: &mut Vec<Message>, range: Range<usize>) {
    let split: Vec<_> = messages[range.clone()].iter().copied().flat_map(datagrams).collect();
    messages.splice(range, split);
}

/// The datagrams of a train as messages of their own.
fn datagrams(train: Message) -> impl Iterator<Item = Message> {
    (0..train.length).step_by(train.segment).map(move |start| {
        let length = train.segment.min(train.length - start);
        Message { offset: train.offset + start, length, segment: length, peer: train.peer }
    })
}

/// The control message that asks for segmentation: a cmsghdr and a u16 (udp(7)).
fn segment_control(segment: u16) -> Control {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    const _: () = assert!(HEADER == 16 && CONTROL_BYTES == HEADER + 8, "cmsghdr of a 64-bit Linux");
    let mut control = Control([0; CONTROL_BYTES]);
    let bytes = &mut control.0;
    bytes[..8].copy_from_slice(&(HEADER + size_of::<u16>()).to_ne_bytes());
    bytes[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
    bytes[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
    bytes[16..18].copy_from_slice(&segment.to_ne_bytes());
    control
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReceiveBatch;
    use crate::system::set_option;
    use std::net::SocketAddr;

    struct Loopback {
        sender: UdpSocket,
        receiver: UdpSocket,
        peer: PeerAddress,
    }

    fn loopback(host: &str) -> Loopback {
        let sender = UdpSocket::bind(host.parse().expect("address")).expect("bind");
        let receiver = UdpSocket::bind(host.parse().expect("address")).expect("bind");
        receiver.set_buffer_sizes(1 << 20, 1 << 16).expect("buffer sizes");
        let peer = PeerAddress::from(receiver.local_addr().expect("address"));
        Loopback { sender, receiver, peer }
    }

    fn push(batch: &mut SendBatch, datagram: &[u8], peer: &PeerAddress, continues: bool) {
        batch.slot(datagram.len()).copy_from_slice(datagram);
        batch.commit(datagram.len(), peer, continues);
    }

    /// Everything that waits on the socket; loopback delivers within the send call.
    fn drain(socket: &UdpSocket) -> Vec<Mark> {
        let mut batch = ReceiveBatch::new();
        let mut datagrams = Vec::new();
        loop {
            let count = batch.receive(socket).expect("receive");
            if count == 0 {
                return datagrams;
            }
            datagrams.extend((0..count).map(|index| Mark::of(batch.datagram(index).0)));
        }
    }

    /// A datagram of equal bytes, told by its length and that byte.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Mark {
        length: usize,
        byte: u8,
    }

    impl Mark {
        fn of(datagram: &[u8]) -> Self {
            let byte = datagram[0];
            assert!(datagram.iter().all(|other| *other == byte), "one datagram holds bytes of another");
            Self { length: datagram.len(), byte }
        }
    }

    /// `count` datagrams of 1200 bytes and a shorter last one.
    fn frame(count: u8) -> Vec<Mark> {
        let mut datagrams: Vec<_> = (0..count).map(|byte| Mark { length: 1200, byte }).collect();
        datagrams.push(Mark { length: 333, byte: count });
        datagrams
    }

    fn push_frame(batch: &mut SendBatch, datagrams: &[Mark], peer: &PeerAddress) {
        for (index, mark) in datagrams.iter().enumerate() {
            push(batch, &vec![mark.byte; mark.length], peer, index > 0);
        }
    }

    #[test]
    fn a_train_arrives_as_the_datagrams_it_was_made_of() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Loopback { sender, receiver, peer } = loopback(host);
            let mut batch = SendBatch::new(1 << 20, 32);
            push_frame(&mut batch, &frame(9), &peer);
            let report = batch.flush(&sender);
            assert_eq!(report, FlushReport { packets: 10, dropped: 0, would_block: false });
            assert_eq!(drain(&receiver), frame(9));
            let statistics = batch.statistics();
            assert_eq!((statistics.calls, statistics.messages, statistics.packets), (1, 1, 10));
            assert_eq!(statistics.bytes, 9 * 1200 + 333);
            assert!(statistics.gso_enabled);
        }
    }

    #[test]
    fn a_train_ends_at_a_shorter_datagram_a_longer_one_and_another_peer() {
        let Loopback { sender, receiver, peer } = loopback("127.0.0.1:0");
        let other = loopback("127.0.0.1:0");
        let mut batch = SendBatch::new(1 << 20, 32);
        let sizes = [1000, 1000, 400, 1000, 1100, 1100];
        for (index, size) in sizes.into_iter().enumerate() {
            push(&mut batch, &vec![index as u8; size], &peer, index > 0);
        }
        push(&mut batch, &[99; 17], &other.peer, false);
        assert_eq!(batch.messages.iter().map(Message::packets).collect::<Vec<_>>(), [3, 1, 2, 1]);
        assert_eq!(batch.flush(&sender).packets, 7);
        assert_eq!(drain(&receiver).iter().map(|mark| mark.length).collect::<Vec<_>>(), sizes);
        assert_eq!(drain(&other.receiver), [Mark { length: 17, byte: 99 }]);
    }

    #[test]
    fn trains_keep_to_the_kernels_limits() {
        let Loopback { sender, receiver, peer } = loopback("127.0.0.1:0");
        let mut batch = SendBatch::new(1 << 20, 32);
        for index in 0..130 {
            push(&mut batch, &[7; 100], &peer, index > 0);
        }
        assert_eq!(batch.messages.iter().map(Message::packets).collect::<Vec<_>>(), [64, 64, 2]);
        for index in 0..60 {
            push(&mut batch, &[8; 1216], &peer, index > 0);
        }
        assert!(batch.messages.iter().all(|message| message.length <= MAX_TRAIN_BYTES));
        assert_eq!(batch.flush(&sender), FlushReport { packets: 190, dropped: 0, would_block: false });
        assert_eq!(drain(&receiver).len(), 190);
    }

    #[test]
    fn a_batch_says_when_it_is_full() {
        let peer = PeerAddress::from("127.0.0.1:9".parse::<SocketAddr>().expect("address"));
        let mut batch = SendBatch::new(1000, 2);
        assert!(batch.is_empty() && !batch.is_full(1000) && batch.is_full(1001));
        push(&mut batch, &[0; 400], &peer, false);
        assert!(!batch.is_empty() && !batch.is_full(600) && batch.is_full(601));
        push(&mut batch, &[0; 400], &peer, false);
        assert!(batch.is_full(1), "two messages are the limit");
    }

    /// The kernel refuses GSO with EINVAL on a socket that sends no checksums: a real refusal, not a simulated one.
    fn refuse_gso(socket: &UdpSocket, refuse: bool) {
        set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, refuse.into()).expect("SO_NO_CHECK");
    }

    #[test]
    fn a_socket_without_gso_falls_back_for_good_and_loses_nothing() {
        let Loopback { sender, receiver, peer } = loopback("127.0.0.1:0");
        refuse_gso(&sender, true);
        let mut batch = SendBatch::new(1 << 20, 32);
        push_frame(&mut batch, &frame(9), &peer);
        push_frame(&mut batch, &frame(3), &peer);
        assert_eq!(batch.flush(&sender), FlushReport { packets: 14, dropped: 0, would_block: false });
        assert_eq!(drain(&receiver), [frame(9), frame(3)].concat());
        assert!(!batch.statistics().gso_enabled);
        push_frame(&mut batch, &frame(9), &peer);
        assert_eq!(batch.messages.len(), 10, "no trains any more");
        assert_eq!(batch.flush(&sender).packets, 10);
    }

    #[test]
    fn a_path_without_gso_falls_back_alone_once_gso_is_proven() {
        let Loopback { sender, receiver, peer } = loopback("127.0.0.1:0");
        let other = loopback("127.0.0.1:0");
        let mut batch = SendBatch::new(1 << 20, 32);
        push_frame(&mut batch, &frame(2), &peer);
        batch.flush(&sender);
        refuse_gso(&sender, true);
        push_frame(&mut batch, &frame(4), &peer);
        assert_eq!(batch.flush(&sender).packets, 5);
        refuse_gso(&sender, false);
        push_frame(&mut batch, &frame(4), &peer);
        push_frame(&mut batch, &frame(4), &other.peer);
        assert_eq!(batch.messages.len(), 6, "single datagrams to the first, a train to the other");
        assert_eq!(batch.flush(&sender).packets, 10);
        assert_eq!(drain(&receiver), [frame(2), frame(4), frame(4)].concat());
        assert_eq!(batch.statistics().split_trains, 1);
        assert!(batch.statistics().gso_enabled);
    }

    #[test]
    fn without_gso_sends_the_same_datagrams() {
        let Loopback { sender, receiver, peer } = loopback("127.0.0.1:0");
        let mut batch = SendBatch::without_gso(1 << 20, 32);
        push_frame(&mut batch, &frame(40), &peer);
        assert_eq!(batch.flush(&sender).packets, 41);
        assert_eq!(drain(&receiver), frame(40));
        let statistics = batch.statistics();
        assert_eq!((statistics.calls, statistics.messages, statistics.gso_enabled), (2, 41, false));
    }

    #[test]
    fn a_failing_destination_is_skipped_and_counted() {
        let Loopback { sender, receiver, peer } = loopback("127.0.0.1:0");
        // Port 0 is no destination: sendmsg says EINVAL, for trains and for single datagrams.
        let nowhere = PeerAddress::from("127.0.0.1:0".parse::<SocketAddr>().expect("address"));
        let mut batch = SendBatch::new(1 << 20, 32);
        push_frame(&mut batch, &frame(2), &peer);
        push_frame(&mut batch, &frame(2), &nowhere);
        push_frame(&mut batch, &frame(2), &peer);
        assert_eq!(batch.flush(&sender), FlushReport { packets: 6, dropped: 3, would_block: false });
        assert_eq!(drain(&receiver), [frame(2), frame(2)].concat());
        assert_eq!(batch.statistics().dropped, 3);
        assert!(batch.statistics().gso_enabled, "the others keep their trains");
    }

    #[test]
    fn a_full_send_buffer_is_waited_for_once_per_flush() {
        let Loopback { sender, peer, .. } = loopback("127.0.0.1:0");
        let mut batch = SendBatch::new(1 << 16, 32);
        let message = Message { offset: 0, length: 10, segment: 10, peer };
        let (full, mut report) = (io::Error::from_raw_os_error(libc::EAGAIN), FlushReport::default());
        // Loopback never fills the buffer, so the error is made up; the wait for the writable socket is real.
        let mut answer = || batch.answer(sender.as_raw_fd(), &full, &message, &mut report);
        assert!(matches!((answer(), answer()), (Answer::Retry, Answer::DropRest)));
        assert!(report.would_block);
        assert_eq!(batch.statistics().would_block, 2);
    }

    #[test]
    fn a_batch_can_move_to_another_thread() {
        let Loopback { sender, receiver, peer } = loopback("127.0.0.1:0");
        let mut batch = SendBatch::new(1 << 20, 32);
        push_frame(&mut batch, &frame(2), &peer);
        std::thread::spawn(move || batch.flush(&sender)).join().expect("thread");
        assert_eq!(drain(&receiver), frame(2));
    }
}
