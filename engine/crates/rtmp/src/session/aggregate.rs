//! Aggregate messages (RTMP Specification 1.0, section 7.1.6): FLV tags in one message, read one at a time.

use crate::chunk::{Message, message_type};
use bytes::{Buf, Bytes};

/// An FLV tag header; each tag is followed by its size in 4 bytes.
const TAG_HEADER_BYTES: usize = 11;
const BACK_POINTER_BYTES: usize = 4;

pub(super) struct Aggregate {
    rest: Bytes,
    /// What to add to a tag's timestamp: the first tag stands for the time of the message.
    offset_ms: Option<u32>,
    message: Message,
}

impl Aggregate {
    pub(super) fn new(mut message: Message) -> Aggregate {
        Aggregate { rest: std::mem::take(&mut message.body), offset_ms: None, message }
    }

    /// The next tag as a message. Aggregates inside are left out, so there is no recursion.
    pub(super) fn next_message(&mut self) -> Option<Message> {
        loop {
            let mut header = self.rest.get(..TAG_HEADER_BYTES)?;
            let message_type = header.get_u8();
            let length = header.get_uint(3) as usize;
            let low = header.get_uint(3) as u32;
            let timestamp_ms = u32::from(header.get_u8()) << 24 | low;
            if self.rest.len() < TAG_HEADER_BYTES + length + BACK_POINTER_BYTES {
                return None;
            }
            self.rest.advance(TAG_HEADER_BYTES);
            let body = self.rest.split_to(length);
            self.rest.advance(BACK_POINTER_BYTES);
            let start_ms = self.message.timestamp_ms;
            let offset_ms = *self.offset_ms.get_or_insert(start_ms.wrapping_sub(timestamp_ms));
            if message_type != message_type::AGGREGATE {
                return Some(Message {
                    message_type,
                    timestamp_ms: timestamp_ms.wrapping_add(offset_ms),
                    body,
                    ..self.message.clone()
                });
            }
        }
    }
}
