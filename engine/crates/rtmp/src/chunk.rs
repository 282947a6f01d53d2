//! The RTMP chunk stream (Adobe, "RTMP Specification 1.0", section 5.3): messages cut into interleaved chunks.
//!
//! The reader takes payload as it arrives, so a declared length or chunk size allocates nothing, and bounds
//! the number of chunk streams, the length of each message and the sum of all unfinished messages.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::HashMap;

/// Chunk streams per connection. OBS uses 3, FFmpeg 5, hardware encoders up to 8.
pub const MAX_CHUNK_STREAMS: usize = 16;
/// One video or aggregate message: a keyframe of a 100 Mb/s stream is about 3 MiB.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;
/// One audio message; the largest AAC frame of eight channels has 6 KiB.
pub const MAX_AUDIO_MESSAGE_BYTES: usize = 1 << 20;
/// One command, metadata or control message.
pub const MAX_OTHER_MESSAGE_BYTES: usize = 256 << 10;
/// Sum of all unfinished messages before a publisher was authorised. Commands have a few hundred bytes.
pub const MAX_REASSEMBLY_UNAUTHORISED_BYTES: usize = 64 << 10;
/// Sum of all unfinished messages of an authorised publisher: two of the largest.
pub const MAX_REASSEMBLY_BYTES: usize = 16 << 20;

/// Chunk size both sides start with (section 5.4.1).
const DEFAULT_CHUNK_SIZE: usize = 128;
/// Room made at once for a message of an authorised publisher; larger ones grow as they arrive.
const FIRST_RESERVATION_BYTES: usize = 64 << 10;
/// In the 3-byte timestamp field: the real value follows in 4 bytes (section 5.3.1.3).
const EXTENDED_TIMESTAMP: u32 = 0x00ff_ffff;

pub mod message_type {
    //! Message type ids, sections 5.4 and 7.1.
    pub const SET_CHUNK_SIZE: u8 = 1;
    pub const ABORT: u8 = 2;
    pub const ACKNOWLEDGEMENT: u8 = 3;
    pub const USER_CONTROL: u8 = 4;
    pub const WINDOW_ACKNOWLEDGEMENT_SIZE: u8 = 5;
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    pub const AUDIO: u8 = 8;
    pub const VIDEO: u8 = 9;
    pub const DATA_AMF3: u8 = 15;
    pub const COMMAND_AMF3: u8 = 17;
    pub const DATA_AMF0: u8 = 18;
    pub const COMMAND_AMF0: u8 = 20;
    pub const AGGREGATE: u8 = 22;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub message_type: u8,
    pub stream_id: u32,
    /// Milliseconds, wraps at 2^32.
    pub timestamp_ms: u32,
    pub body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("more than {MAX_CHUNK_STREAMS} chunk streams")]
    TooManyChunkStreams,
    #[error("chunk stream {0} starts with a header that refers to an earlier one")]
    HeaderWithoutPredecessor(u32),
    #[error("message of type {message_type} declares {bytes} bytes")]
    MessageTooLarge { message_type: u8, bytes: usize },
    #[error("unfinished messages exceed {limit} bytes")]
    ReassemblyLimit { limit: usize },
    #[error("chunk size {0} is not between 1 and 2147483647")]
    ChunkSize(u32),
}

/// State of one chunk stream: its last header, and the message being put together.
#[derive(Default)]
struct Channel {
    timestamp_ms: u32,
    /// Last timestamp or timestamp delta field, what a type 3 header repeats.
    timestamp_field: u32,
    extended: bool,
    length: usize,
    message_type: u8,
    stream_id: u32,
    body: BytesMut,
    open: bool,
}

/// A chunk header as read, before it changes any state.
struct Header {
    format: u8,
    channel: u32,
    /// Absolute (format 0) or delta (1, 2); None in format 3.
    timestamp_field: Option<u32>,
    extended: bool,
    /// Length and type, formats 0 and 1.
    message: Option<(usize, u8)>,
    /// Format 0.
    stream_id: Option<u32>,
    bytes: usize,
}

/// Puts messages together. Feed it the connection's bytes after the handshake.
pub struct ChunkReader {
    chunk_size: usize,
    channels: HashMap<u32, Channel>,
    /// The chunk being read: its channel and the payload bytes still missing.
    current: Option<(u32, usize)>,
    unfinished_bytes: usize,
    authorised: bool,
}

impl Default for ChunkReader {
    fn default() -> Self {
        ChunkReader {
            chunk_size: DEFAULT_CHUNK_SIZE,
            channels: HashMap::new(),
            current: None,
            unfinished_bytes: 0,
            authorised: false,
        }
    }
}

impl ChunkReader {
    /// Raises the reassembly bound from [`MAX_REASSEMBLY_UNAUTHORISED_BYTES`] to [`MAX_REASSEMBLY_BYTES`].
    pub fn set_authorised(&mut self) {
        self.authorised = true;
    }

    /// Bytes of all messages not yet complete.
    pub fn unfinished_bytes(&self) -> usize {
        self.unfinished_bytes
    }

    /// Obeys Set Chunk Size (section 5.4.1): 0 and values with the top bit set are errors. Some encoders
    /// declare 2^31-1 to mean "never cut"; sizes above the largest message are the same as that size.
    pub fn set_chunk_size(&mut self, bytes: u32) -> Result<(), ChunkError> {
        if bytes == 0 || bytes > 0x7fff_ffff {
            return Err(ChunkError::ChunkSize(bytes));
        }
        self.chunk_size = (bytes as usize).min(MAX_MESSAGE_BYTES);
        Ok(())
    }

    /// Obeys Abort (section 5.4.2): forgets the unfinished message of one chunk stream.
    pub fn abort(&mut self, channel: u32) {
        if let Some(channel) = self.channels.get_mut(&channel) {
            self.unfinished_bytes -= channel.discard();
        }
    }

    /// Takes bytes from `input` up to the end of the next message; None when more input is needed.
    pub fn next_message(&mut self, input: &mut BytesMut) -> Result<Option<Message>, ChunkError> {
        loop {
            if self.current.is_none() && !self.start_chunk(input)? {
                return Ok(None);
            }
            if let Some(message) = self.read_payload(input)? {
                return Ok(Some(message));
            }
            if self.current.is_some() {
                return Ok(None);
            }
        }
    }

    /// Reads a chunk header and applies it; false when it is not complete yet.
    fn start_chunk(&mut self, input: &mut BytesMut) -> Result<bool, ChunkError> {
        let Some(header) = self.parse_header(input)? else { return Ok(false) };
        input.advance(header.bytes);
        let channel = self.channels.entry(header.channel).or_default();
        if header.format < 3 {
            // A new header in the middle of a message: the peer has given the old message up.
            self.unfinished_bytes -= channel.discard();
        }
        channel.apply(&header);
        if !channel.open {
            channel.advance_clock(header.format);
            let limit = message_limit(channel.message_type);
            if channel.length > limit {
                return Err(ChunkError::MessageTooLarge { message_type: channel.message_type, bytes: channel.length });
            }
            channel.open = true;
            if self.authorised {
                channel.body.reserve(channel.length.min(FIRST_RESERVATION_BYTES));
            }
        }
        self.current = Some((header.channel, (channel.length - channel.body.len()).min(self.chunk_size)));
        Ok(true)
    }

    fn read_payload(&mut self, input: &mut BytesMut) -> Result<Option<Message>, ChunkError> {
        let Some((id, missing)) = self.current else { return Ok(None) };
        let Some(channel) = self.channels.get_mut(&id) else { return Ok(None) };
        let count = missing.min(input.len());
        let limit = if self.authorised { MAX_REASSEMBLY_BYTES } else { MAX_REASSEMBLY_UNAUTHORISED_BYTES };
        if self.unfinished_bytes + count > limit {
            return Err(ChunkError::ReassemblyLimit { limit });
        }
        self.unfinished_bytes += count;
        channel.body.put_slice(&input[..count]);
        input.advance(count);
        if count < missing {
            self.current = Some((id, missing - count));
            return Ok(None);
        }
        self.current = None;
        if channel.body.len() < channel.length {
            return Ok(None);
        }
        self.unfinished_bytes -= channel.length;
        channel.open = false;
        Ok(Some(Message {
            message_type: channel.message_type,
            stream_id: channel.stream_id,
            timestamp_ms: channel.timestamp_ms,
            body: std::mem::take(&mut channel.body).freeze(),
        }))
    }

    /// Section 5.3.1. None when more input is needed; nothing is consumed and nothing changes.
    fn parse_header(&self, input: &[u8]) -> Result<Option<Header>, ChunkError> {
        let Some((format, id, mut at)) = basic_header(input) else { return Ok(None) };
        let known = self.channels.get(&id);
        match known {
            // The specification wants format 0 first; librtmp may start with format 1, which is complete but for the stream id.
            None if format > 1 => return Err(ChunkError::HeaderWithoutPredecessor(id)),
            None if self.channels.len() >= MAX_CHUNK_STREAMS => return Err(ChunkError::TooManyChunkStreams),
            _ => {}
        }
        let header_bytes = [11, 7, 3, 0][usize::from(format)];
        let Some(fields) = input.get(at..at + header_bytes) else { return Ok(None) };
        at += header_bytes;
        let mut header = Header {
            format,
            channel: id,
            timestamp_field: (format < 3).then(|| u24(fields)),
            extended: known.is_some_and(|channel| channel.extended),
            message: (format < 2).then(|| (u24(&fields[3..]) as usize, fields[6])),
            stream_id: (format == 0).then(|| u32::from_le_bytes([fields[7], fields[8], fields[9], fields[10]])),
            bytes: at,
        };
        if let Some(field) = header.timestamp_field {
            header.extended = field == EXTENDED_TIMESTAMP;
        }
        if header.extended {
            let Some(&extension) = input[at..].first_chunk::<4>() else { return Ok(None) };
            let extension = u32::from_be_bytes(extension);
            if format < 3 {
                header.timestamp_field = Some(extension);
                header.bytes += 4;
            } else if known.is_some_and(|c| extension == c.timestamp_field || extension == c.timestamp_ms) {
                // Type 3 repeats the field (section 5.3.1.3). Some encoders leave it out, some repeat the
                // absolute time: only what matches is taken as the field.
                header.bytes += 4;
            }
        }
        Ok(Some(header))
    }
}

impl Channel {
    /// Drops an unfinished message and returns how many bytes it held.
    fn discard(&mut self) -> usize {
        self.open = false;
        std::mem::take(&mut self.body).len()
    }

    fn apply(&mut self, header: &Header) {
        self.extended = header.extended;
        if let Some(field) = header.timestamp_field {
            self.timestamp_field = field;
        }
        if let Some((length, message_type)) = header.message {
            self.length = length;
            self.message_type = message_type;
        }
        if let Some(stream_id) = header.stream_id {
            self.stream_id = stream_id;
        }
    }

    /// Time of a new message. After a format 0 header, format 3 repeats its timestamp as the delta
    /// (section 5.3.1.2.4; FFmpeg's sender relies on it).
    fn advance_clock(&mut self, format: u8) {
        self.timestamp_ms =
            if format == 0 { self.timestamp_field } else { self.timestamp_ms.wrapping_add(self.timestamp_field) };
    }
}

/// Format, chunk stream id and length of the basic header (section 5.3.1.1).
fn basic_header(input: &[u8]) -> Option<(u8, u32, usize)> {
    let first = *input.first()?;
    let (id, bytes) = match first & 0x3f {
        0 => (64 + u32::from(*input.get(1)?), 2),
        1 => (64 + u32::from(*input.get(1)?) + 256 * u32::from(*input.get(2)?), 3),
        id => (u32::from(id), 1),
    };
    Some((first >> 6, id, bytes))
}

fn message_limit(message_type: u8) -> usize {
    match message_type {
        message_type::VIDEO | message_type::AGGREGATE => MAX_MESSAGE_BYTES,
        message_type::AUDIO => MAX_AUDIO_MESSAGE_BYTES,
        _ => MAX_OTHER_MESSAGE_BYTES,
    }
}

fn u24(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

/// Appends one message on chunk stream `channel` (2..=63), format 0 and then format 3.
pub fn write_message(out: &mut BytesMut, chunk_size: usize, channel: u8, message: &Message) {
    let extended = message.timestamp_ms >= EXTENDED_TIMESTAMP;
    out.put_u8(channel & 0x3f);
    out.put_uint(u64::from(message.timestamp_ms.min(EXTENDED_TIMESTAMP)), 3);
    out.put_uint(message.body.len() as u64, 3);
    out.put_u8(message.message_type);
    out.put_u32_le(message.stream_id);
    if extended {
        out.put_u32(message.timestamp_ms);
    }
    for (index, payload) in message.body.chunks(chunk_size.max(1)).enumerate() {
        if index > 0 {
            out.put_u8(0xc0 | (channel & 0x3f));
            if extended {
                out.put_u32(message.timestamp_ms);
            }
        }
        out.put_slice(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(message_type: u8, timestamp_ms: u32, bytes: usize) -> Message {
        let body: Vec<u8> = (0..bytes).map(|i| i as u8).collect();
        Message { message_type, stream_id: 1, timestamp_ms, body: body.into() }
    }

    fn read_all(reader: &mut ChunkReader, input: &[u8]) -> Result<Vec<Message>, ChunkError> {
        let mut input = BytesMut::from(input);
        let mut messages = Vec::new();
        while let Some(message) = reader.next_message(&mut input)? {
            messages.push(message);
        }
        Ok(messages)
    }

    /// Format 0 header without payload.
    fn header(channel: u8, length: usize, message_type: u8) -> Vec<u8> {
        let length = (length as u32).to_be_bytes();
        vec![channel, 0, 0, 0, length[1], length[2], length[3], message_type, 1, 0, 0, 0]
    }

    #[test]
    fn messages_survive_any_chunk_size_and_byte_wise_delivery() {
        for chunk_size in [1, 127, 128, 4096, 1 << 20] {
            let sent = [message(9, 0xffff_fff0, 1000), message(8, 40, 0), message(18, 0x00ff_ffff, 300)];
            let mut wire = BytesMut::new();
            for (channel, message) in [6, 4, 5].into_iter().zip(&sent) {
                write_message(&mut wire, chunk_size, channel, message);
            }
            let mut reader = ChunkReader::default();
            reader.set_chunk_size(chunk_size as u32).unwrap();
            let mut input = BytesMut::new();
            let mut received = Vec::new();
            for byte in wire {
                input.put_u8(byte);
                received.extend(reader.next_message(&mut input).unwrap());
            }
            assert_eq!(received, sent);
            assert_eq!(reader.unfinished_bytes(), 0);
        }
    }

    #[test]
    fn interleaved_chunk_streams_are_put_together_apart() {
        let (video, audio) = (message(9, 10, 300), message(8, 12, 200));
        let (mut a, mut b) = (BytesMut::new(), BytesMut::new());
        write_message(&mut a, 128, 6, &video);
        write_message(&mut b, 128, 4, &audio);
        // 12 + 128 bytes are the first chunk of each, the audio's second is 1 + 72 bytes.
        let wire = [&a[..140], &b[..140], &a[140..269], &b[140..], &a[269..]].concat();
        assert_eq!(read_all(&mut ChunkReader::default(), &wire).unwrap(), [audio, video]);
    }

    #[test]
    fn deltas_and_repeats_advance_the_clock_and_wrap() {
        let mut wire = header(4, 1, 8);
        wire.splice(1..4, [0xff, 0xff, 0xff]);
        wire.extend(0xffff_fff0u32.to_be_bytes());
        wire.push(b'a');
        wire.extend([0x84, 0, 0, 0x20, b'b']); // format 2: + 32 ms, over the wrap
        wire.extend([0xc4, b'c']); // format 3: the same delta
        let times: Vec<u32> =
            read_all(&mut ChunkReader::default(), &wire).unwrap().iter().map(|m| m.timestamp_ms).collect();
        assert_eq!(times, [0xffff_fff0, 0x10, 0x30]);
    }

    #[test]
    fn format_three_after_format_zero_repeats_the_timestamp_as_delta() {
        let mut wire = header(4, 1, 8);
        wire[3] = 23;
        wire.extend([b'a', 0xc4, b'b']);
        let messages = read_all(&mut ChunkReader::default(), &wire).unwrap();
        assert_eq!([messages[0].timestamp_ms, messages[1].timestamp_ms], [23, 46]);
    }

    #[test]
    fn continuations_without_the_extended_timestamp_are_understood() {
        let sent = message(9, 0x0100_0000, 300);
        let mut wire = header(6, 300, 9);
        wire.splice(1..4, [0xff, 0xff, 0xff]);
        wire.extend(0x0100_0000u32.to_be_bytes());
        wire.extend(&sent.body[..128]);
        wire.push(0xc6);
        wire.extend(&sent.body[128..256]);
        wire.push(0xc6);
        wire.extend(&sent.body[256..]);
        assert_eq!(read_all(&mut ChunkReader::default(), &wire).unwrap(), [sent]);
    }

    #[test]
    fn chunk_sizes_out_of_range_are_errors_and_huge_ones_are_harmless() {
        let mut reader = ChunkReader::default();
        for bytes in [0, 0x8000_0000, 0xffff_ffff] {
            assert_eq!(reader.set_chunk_size(bytes), Err(ChunkError::ChunkSize(bytes)));
        }
        reader.set_chunk_size(0x7fff_ffff).unwrap();
        let mut wire = BytesMut::new();
        write_message(&mut wire, 1 << 24, 6, &message(9, 0, 100_000));
        reader.set_authorised();
        assert_eq!(read_all(&mut reader, &wire).unwrap().len(), 1);
    }

    #[test]
    fn message_lengths_are_limited_by_type() {
        for (message_type, limit) in
            [(9, MAX_MESSAGE_BYTES), (8, MAX_AUDIO_MESSAGE_BYTES), (20, MAX_OTHER_MESSAGE_BYTES)]
        {
            let fits = read_all(&mut ChunkReader::default(), &header(4, limit, message_type));
            assert_eq!(fits, Ok(vec![]));
            let refused = read_all(&mut ChunkReader::default(), &header(4, limit + 1, message_type));
            assert_eq!(refused, Err(ChunkError::MessageTooLarge { message_type, bytes: limit + 1 }));
        }
    }

    #[test]
    fn the_seventeenth_chunk_stream_is_refused() {
        let mut reader = ChunkReader::default();
        for channel in 2..18 {
            assert_eq!(read_all(&mut reader, &[header(channel, 1, 8), vec![0]].concat()).unwrap().len(), 1);
        }
        assert_eq!(read_all(&mut reader, &header(18, 1, 8)), Err(ChunkError::TooManyChunkStreams));
    }

    #[test]
    fn a_chunk_stream_must_start_with_a_full_header() {
        for first in [0x84, 0xc4] {
            let refused = read_all(&mut ChunkReader::default(), &[first, 0, 0, 0, 0]);
            assert_eq!(refused, Err(ChunkError::HeaderWithoutPredecessor(4)));
        }
    }

    fn flood(reader: &mut ChunkReader) -> Result<usize, ChunkError> {
        reader.set_chunk_size(1 << 20).unwrap();
        let mut accepted = 0;
        for channel in 2..18 {
            let mut wire = header(channel, MAX_MESSAGE_BYTES, 9);
            wire.resize(wire.len() + (1 << 20), 0);
            // The chunk is complete but the message is not.
            read_all(reader, &wire)?;
            accepted += 1;
        }
        Ok(accepted)
    }

    #[test]
    fn unfinished_messages_are_bounded_before_and_after_authorisation() {
        let mut reader = ChunkReader::default();
        let refused = Err(ChunkError::ReassemblyLimit { limit: MAX_REASSEMBLY_UNAUTHORISED_BYTES });
        assert_eq!(flood(&mut reader), refused);
        let mut reader = ChunkReader::default();
        reader.set_authorised();
        assert_eq!(flood(&mut reader), Ok(16));
        assert_eq!(reader.unfinished_bytes(), MAX_REASSEMBLY_BYTES);
        let next = [&[0xc2][..], &[0; 16]].concat();
        assert_eq!(read_all(&mut reader, &next), Err(ChunkError::ReassemblyLimit { limit: MAX_REASSEMBLY_BYTES }));
    }

    #[test]
    fn abort_and_a_new_header_free_the_unfinished_message() {
        let mut reader = ChunkReader::default();
        let part = [header(4, 1000, 8), vec![0; 128]].concat();
        read_all(&mut reader, &part).unwrap();
        assert_eq!(reader.unfinished_bytes(), 128);
        reader.abort(4);
        reader.abort(99);
        assert_eq!(reader.unfinished_bytes(), 0);
        read_all(&mut reader, &part).unwrap();
        read_all(&mut reader, &part).unwrap();
        assert_eq!(reader.unfinished_bytes(), 128);
        assert_eq!(read_all(&mut reader, &[header(4, 1, 8), vec![7]].concat()).unwrap()[0].body[..], [7]);
        assert_eq!(reader.unfinished_bytes(), 0);
    }
}
