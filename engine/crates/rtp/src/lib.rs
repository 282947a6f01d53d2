//! Access units into RTP payloads and whole received frames back into access units. No sockets, no clock.
//!
//! ```text
//! AccessUnit -> Packetizer -> payloads (equal in size, so that they go out as one GSO train)
//! frame bytes out of a depacketizer -> Assembler -> data of an AccessUnit, and its TrackConfig when it changes
//! ```
//!
//! Called by the WebRTC crate on both of its sides. Headers and sender reports are in [`header`] and [`rtcp`].

pub mod assemble;
mod av1;
pub mod header;
mod nal;
pub mod packetizer;
pub mod rtcp;
mod vpx;

pub use assemble::{AssembleError, Assembled, Assembler};
pub use header::RtpHeader;
pub use packetizer::{PacketizeError, Packetizer};

#[cfg(test)]
mod test_support;
