//! The bare floor: copy, encrypt, send, and nothing else.
//!
//! Per viewer one AEAD key; per packet a header of 12 bytes is written, the payload copied from a ring, sealed in place with
//! AES-GCM and committed to a GSO train. That is what any SFU must do per packet. The packets are those of a recorded
//! [`Pattern`], at the recorded times, so that wake-ups and trains are the server's own. A thread on another core receives them:
//! on loopback the sender pays for the delivery into the receiver's queue, and a full queue would make that cheaper.

use crate::arguments::{ArgumentError, Arguments};
use crate::pattern::{Pattern, PatternError};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde::Serialize;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tallylight_udp::{PeerAddress, RECEIVE_MESSAGES, ReceiveBatch, SendBatch, UdpSocket, pin_to_cpu, thread_cpu_time};

const HEADER_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Source of the payload copies: a second of a 2.7 Mb/s stream, more than the L2 cache's share of it.
const RING_BYTES: usize = 1 << 19;
const ARENA_BYTES: usize = 1 << 19;
/// As many messages per flush as one `sendmmsg` takes.
const MAX_MESSAGES: usize = 32;
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
const SEND_BUFFER_BYTES: usize = 4 << 20;
/// The receiver looks at the stop flag this often when nothing arrives.
const RECEIVER_TICK: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    #[error("{0}")]
    Argument(#[from] ArgumentError),
    #[error("{0}")]
    Pattern(#[from] PatternError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the AEAD refused a key or a packet")]
    Aead,
    #[error("a packet of {0} bytes is shorter than an RTP header and an AEAD tag, or longer than a datagram")]
    PacketSize(usize),
    #[error("a floor needs at least one viewer and some time")]
    Nothing,
    #[error("the receiver thread panicked")]
    Receiver,
}

impl From<aws_lc_rs::error::Unspecified> for FloorError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Aead
    }
}

/// The AEAD of the run, by the name str0m prints for the SRTP profile.
#[derive(Clone, Copy, Debug)]
pub struct Cipher(&'static Algorithm);

impl FromStr for Cipher {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "AEAD_AES_128_GCM" => Ok(Self(&AES_128_GCM)),
            "AEAD_AES_256_GCM" => Ok(Self(&AES_256_GCM)),
            _ => Err(()),
        }
    }
}

#[derive(Debug)]
pub struct Options {
    pub pattern: PathBuf,
    pub viewers: usize,
    pub seconds: f64,
    pub cipher: Cipher,
    pub cpu: Option<usize>,
    pub receiver_cpu: Option<usize>,
}

impl Options {
    pub fn parse(mut arguments: Arguments) -> Result<Self, FloorError> {
        let options = Self {
            pattern: arguments.require("pattern")?,
            viewers: arguments.require("viewers")?,
            seconds: arguments.require("seconds")?,
            cipher: arguments.take("cipher")?.unwrap_or(Cipher(&AES_256_GCM)),
            cpu: arguments.take("cpu")?,
            receiver_cpu: arguments.take("receiver-cpu")?,
        };
        arguments.finish()?;
        let sensible = options.viewers > 0 && options.seconds > 0.0 && options.seconds < 3600.0;
        if sensible { Ok(options) } else { Err(FloorError::Nothing) }
    }
}

/// The result line.
#[derive(Debug, Serialize)]
pub struct Report {
    pub n: usize,
    pub packets: u64,
    pub cpu_us_per_packet: f64,
    pub sender_utilisation: f64,
    pub packets_per_message: f64,
    pub messages_per_call: f64,
    pub bytes_per_packet: f64,
    pub received_ratio: f64,
    pub dropped: u64,
    pub gso: bool,
}

struct Peer {
    address: PeerAddress,
    key: LessSafeKey,
    sequence: u64,
}

/// Plays the pattern to N sockets for the given time.
pub fn run(options: &Options) -> Result<Report, FloorError> {
    let pattern = Pattern::read(&options.pattern)?;
    check_sizes(&pattern)?;
    tallylight_udp::raise_file_limit()?;
    let sockets = (0..options.viewers).map(|_| receiver_socket()).collect::<io::Result<Vec<_>>>()?;
    let mut peers = Vec::with_capacity(sockets.len());
    for (index, socket) in sockets.iter().enumerate() {
        peers.push(Peer::new(index, socket.local_addr()?, options.cipher)?);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let receiver = {
        let (stop, cpu) = (stop.clone(), options.receiver_cpu);
        thread::spawn(move || receive_all(&sockets, cpu, &stop))
    };
    let sent = send_all(&pattern, &mut peers, options);
    stop.store(true, Ordering::Release);
    let received = receiver.join().map_err(|_| FloorError::Receiver)??;
    let mut report = sent?;
    report.received_ratio = received as f64 / report.packets.max(1) as f64;
    Ok(report)
}

fn check_sizes(pattern: &Pattern) -> Result<(), FloorError> {
    let legal = HEADER_BYTES + TAG_BYTES..=tallylight_udp::RECEIVE_BUFFER_BYTES;
    match pattern.bursts.iter().flat_map(|burst| &burst.sizes).find(|size| !legal.contains(size)) {
        Some(size) => Err(FloorError::PacketSize(*size)),
        None => Ok(()),
    }
}

fn receiver_socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    socket.set_buffer_sizes(RECEIVE_BUFFER_BYTES, RECEIVE_BUFFER_BYTES)?;
    Ok(socket)
}

impl Peer {
    fn new(index: usize, address: SocketAddr, Cipher(algorithm): Cipher) -> Result<Self, FloorError> {
        // Any key will do: nobody decrypts. Different ones, so that each has its own schedule in the cache.
        let key_bytes = vec![index as u8; algorithm.key_len()];
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &key_bytes)?);
        Ok(Self { address: address.into(), key, sequence: 0 })
    }

    /// One encrypted packet of `size` bytes into the batch.
    fn packet(
        &mut self,
        batch: &mut SendBatch,
        payload: &[u8],
        size: usize,
        continues: bool,
    ) -> Result<(), FloorError> {
        let slot = batch.slot(size);
        let (body, tag_slot) = slot.split_at_mut(size - TAG_BYTES);
        let (header, plain) = body.split_at_mut(HEADER_BYTES);
        header[..4].copy_from_slice(&[0x80, 96, (self.sequence >> 8) as u8, self.sequence as u8]);
        header[4..].copy_from_slice(&self.sequence.to_be_bytes());
        plain.copy_from_slice(&payload[..plain.len()]);
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&self.sequence.to_be_bytes());
        self.sequence += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(&*header), plain)?;
        tag_slot.copy_from_slice(tag.as_ref());
        batch.commit(size, &self.address, continues);
        Ok(())
    }
}

fn send_all(pattern: &Pattern, peers: &mut [Peer], options: &Options) -> Result<Report, FloorError> {
    if let Some(cpu) = options.cpu {
        pin_to_cpu(cpu)?;
    }
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    socket.set_buffer_sizes(RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES)?;
    let ring: Vec<u8> = (0..RING_BYTES).map(|index| (index * 31 % 251) as u8).collect();
    let mut batch = SendBatch::new(ARENA_BYTES, MAX_MESSAGES);
    let mut ring_offset = 0;
    let (start, cpu_before) = (Instant::now(), thread_cpu_time());
    let end = start + Duration::from_secs_f64(options.seconds);
    'playing: for round in 0.. {
        for burst in &pattern.bursts {
            let due = start + Duration::from_micros(round * pattern.duration_us.max(1) + burst.at_us);
            if due >= end {
                break 'playing;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let bytes: usize = burst.sizes.iter().sum();
            if ring_offset + bytes > RING_BYTES {
                ring_offset = 0;
            }
            send_burst(&mut batch, &socket, peers, &ring[ring_offset..], &burst.sizes)?;
            ring_offset += bytes;
        }
    }
    let (elapsed, cpu) = (start.elapsed(), thread_cpu_time() - cpu_before);
    let statistics = batch.statistics();
    let packets = statistics.packets.max(1) as f64;
    Ok(Report {
        n: peers.len(),
        packets: statistics.packets,
        cpu_us_per_packet: cpu.as_secs_f64() * 1e6 / packets,
        sender_utilisation: cpu.as_secs_f64() / elapsed.as_secs_f64(),
        packets_per_message: packets / statistics.messages.max(1) as f64,
        messages_per_call: statistics.messages as f64 / statistics.calls.max(1) as f64,
        bytes_per_packet: statistics.bytes as f64 / packets,
        received_ratio: 0.0,
        dropped: statistics.dropped,
        gso: statistics.gso_enabled,
    })
}

/// One burst to every peer, peer by peer: each gets its packets as one train.
fn send_burst(
    batch: &mut SendBatch,
    socket: &UdpSocket,
    peers: &mut [Peer],
    payload: &[u8],
    sizes: &[usize],
) -> Result<(), FloorError> {
    for peer in peers {
        let mut payload = payload;
        for (position, size) in sizes.iter().enumerate() {
            let mut continues = position > 0;
            if batch.is_full(*size) && !(continues && batch.has_room(*size)) {
                batch.flush(socket);
                continues = false;
            }
            peer.packet(batch, payload, *size, continues)?;
            payload = &payload[size - HEADER_BYTES - TAG_BYTES..];
        }
    }
    batch.flush(socket);
    Ok(())
}

/// Takes and counts everything that arrives, until told to stop and nothing is left.
fn receive_all(sockets: &[UdpSocket], cpu: Option<usize>, stop: &AtomicBool) -> Result<u64, FloorError> {
    if let Some(cpu) = cpu {
        pin_to_cpu(cpu)?;
    }
    let mut poll = Poll::new()?;
    for (index, socket) in sockets.iter().enumerate() {
        poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(index), Interest::READABLE)?;
    }
    let mut events = Events::with_capacity(1024);
    let mut batch = ReceiveBatch::new();
    let mut received = 0;
    loop {
        let stopping = stop.load(Ordering::Acquire);
        match poll.poll(&mut events, Some(RECEIVER_TICK)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        if stopping && events.is_empty() {
            return Ok(received);
        }
        for event in &events {
            loop {
                let count = batch.receive(&sockets[event.token().0])?;
                received += count as u64;
                if count < RECEIVE_MESSAGES {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Burst;

    #[test]
    fn a_pattern_reaches_every_socket() {
        let bursts = (0..5).map(|frame| Burst { at_us: frame * 2_000, sizes: vec![1216, 1216, 1216, 500] }).collect();
        let path = std::env::temp_dir().join(format!("tallylight-floor-{}.json", std::process::id()));
        Pattern { duration_us: 10_000, bursts }.write(&path).expect("pattern");
        let options = Options {
            pattern: path.clone(),
            viewers: 40,
            seconds: 0.02,
            cipher: "AEAD_AES_256_GCM".parse().expect("cipher"),
            cpu: None,
            receiver_cpu: None,
        };
        let report = run(&options);
        std::fs::remove_file(&path).expect("own file");
        let report = report.expect("floor");
        assert_eq!((report.packets, report.dropped), (40 * 10 * 4, 0));
        assert_eq!(report.received_ratio, 1.0);
        assert!(report.packets_per_message > 3.9 || !report.gso, "{report:?}");
        assert!(report.cpu_us_per_packet > 0.0);
    }

    #[test]
    fn sizes_that_hold_no_packet_are_refused() {
        for size in [27, 2049] {
            let pattern = Pattern { duration_us: 1, bursts: vec![Burst { at_us: 0, sizes: vec![size] }] };
            assert!(matches!(check_sizes(&pattern), Err(FloorError::PacketSize(refused)) if refused == size));
        }
    }
}
