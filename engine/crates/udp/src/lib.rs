//! Batched UDP for the media egress, and the few system calls around it that std does not wrap.
//!
//! Data in: datagrams a caller writes into a [`SendBatch`], addressed with a [`PeerAddress`]. Data out: `sendmmsg` calls of GSO trains
//! on a [`UdpSocket`]. The other way round, a [`ReceiveBatch`] fills from `recvmmsg`. [`wait`] sleeps until the socket is readable, a
//! [`Waker`] was used or a timeout passed. One shard thread owns one socket, one of each batch and one waker; nothing here locks.
//!
//! This is the only crate of the workspace that may use `unsafe`; every block says why it is sound. Linux only.

mod address;
mod process;
mod receive;
mod send;
mod socket;
mod system;
mod wake;

pub use address::PeerAddress;
pub use process::{pin_to_cpu, process_cpu_time, process_cpu_time_of, raise_file_limit, thread_cpu_time};
pub use receive::{RECEIVE_BUFFER_BYTES, RECEIVE_MESSAGES, ReceiveBatch};
pub use send::{FlushReport, MAX_TRAIN_BYTES, MAX_TRAIN_SEGMENTS, SendBatch, SendStatistics};
pub use socket::UdpSocket;
pub use wake::{Ready, Waker, wait};
