//! The simple handshake (RTMP Specification 1.0, section 5.2): C0 C1 in, S0 S1 S2 out, C2 in.

use super::SessionError;
use bytes::{Buf, BufMut, BytesMut};

const VERSION: u8 = 3;
/// C1, S1, C2 and S2.
pub(super) const PACKET_BYTES: usize = 1536;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handshake {
    AwaitingC0C1,
    AwaitingC2,
    Done,
}

impl Handshake {
    /// Consumes what is complete and answers it. `seed` makes the random part of S1.
    pub(super) fn advance(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        seed: u64,
    ) -> Result<(), SessionError> {
        if *self == Handshake::AwaitingC0C1 {
            match input.first() {
                // HTTP, TLS and noise end here, with their first byte.
                Some(&version) if version != VERSION => return Err(SessionError::Version(version)),
                _ if input.len() <= PACKET_BYTES => return Ok(()),
                _ => {}
            }
            output.put_u8(VERSION);
            // S1: our time is 0, then zero, then random bytes "need not be cryptographically secure" (5.2.3).
            output.put_u64(0);
            put_random(output, seed, PACKET_BYTES - 8);
            // S2 echoes C1 (5.2.4).
            output.put_slice(&input[1..=PACKET_BYTES]);
            input.advance(1 + PACKET_BYTES);
            *self = Handshake::AwaitingC2;
        }
        // The content of C2 is not checked: several encoders do not echo S1.
        if *self == Handshake::AwaitingC2 && input.len() >= PACKET_BYTES {
            input.advance(PACKET_BYTES);
            *self = Handshake::Done;
        }
        Ok(())
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): good enough to look random, and a test can predict it.
fn put_random(output: &mut BytesMut, seed: u64, bytes: usize) {
    let mut state = seed;
    for _ in 0..bytes / 8 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        output.put_u64(z ^ (z >> 31));
    }
}
