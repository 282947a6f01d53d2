//! One RTMP connection from the server's side: bytes and decisions in, events and bytes out.
//!
//! ```text
//! receive(bytes) -> next_event() until None -> take_output() to the socket
//!                   PublishRequested -> accept_publish() or refuse_publish(sentence)
//! ```
//! No clock, no socket, no policy. While a decision is awaited nothing more is parsed, so a peer that sends
//! media ahead of the answer loses none and costs no memory beyond [`MAX_UNAUTHORISED_BYTES`].

mod aggregate;
mod handshake;
mod reply;

use crate::amf0::{Amf0Error, Decoder, Value};
use crate::chunk::{ChunkError, ChunkReader, Message, message_type, write_message};
use crate::metadata::Metadata;
use aggregate::Aggregate;
use bytes::{Bytes, BytesMut};
use handshake::Handshake;
use reply::Level;

/// All bytes of a connection before its publish is allowed, the handshake's 3,073 included. OBS and FFmpeg
/// need under 5 KiB.
pub const MAX_UNAUTHORISED_BYTES: usize = 64 << 10;
/// Message streams one connection may create. Publishers need one; some create and delete a few.
pub const MAX_MESSAGE_STREAMS: u32 = 8;
/// Chunk size of this server's messages: every reply fits one chunk.
const OUTPUT_CHUNK_BYTES: usize = 65536;
/// Acknowledgement window told to the peer, the value most servers use.
const WINDOW_BYTES: u32 = 2_500_000;
/// A peer's window below this would only make us acknowledge all the time.
const MIN_WINDOW_BYTES: u64 = 64 << 10;

/// Chunk streams of what this server sends.
const CONTROL_CHANNEL: u8 = 2;
const COMMAND_CHANNEL: u8 = 3;

/// User control events, section 7.1.7.
const STREAM_BEGIN: [u8; 2] = [0, 0];
const PING_REQUEST: [u8; 2] = [0, 6];
const PING_RESPONSE: [u8; 2] = [0, 7];

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The peer said which application it wants. For logs; already answered.
    Connected {
        app: String,
        encoder: String,
    },
    /// Answer with [`Session::accept_publish`] or [`Session::refuse_publish`]; until then no further event comes.
    PublishRequested {
        app: String,
        name: String,
    },
    Metadata(Metadata),
    Video {
        timestamp_ms: u32,
        body: Bytes,
    },
    Audio {
        timestamp_ms: u32,
        body: Bytes,
    },
    /// The publisher said goodbye.
    PublishFinished,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("not RTMP: the first byte is {0:#04x}, not 3")]
    Version(u8),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error(transparent)]
    Amf0(#[from] Amf0Error),
    #[error("more than {MAX_UNAUTHORISED_BYTES} bytes before publishing was allowed")]
    TooMuchBeforeAuthorisation,
    #[error("{command} out of order: {rule}")]
    OutOfOrder { command: &'static str, rule: &'static str },
    #[error("more than {MAX_MESSAGE_STREAMS} message streams")]
    TooManyMessageStreams,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Publish {
    Idle,
    Requested { stream_id: u32 },
    Running { stream_id: u32 },
    Over,
}

pub struct Session {
    handshake: Handshake,
    handshake_seed: u64,
    input: BytesMut,
    output: BytesMut,
    chunks: ChunkReader,
    aggregate: Option<Aggregate>,
    app: Option<String>,
    message_streams: u32,
    publish: Publish,
    received_bytes: u64,
    acknowledged_bytes: u64,
    window_bytes: u64,
}

impl Session {
    /// `handshake_seed` should differ between connections; nothing secret depends on it.
    pub fn new(handshake_seed: u64) -> Session {
        Session {
            handshake: Handshake::AwaitingC0C1,
            handshake_seed,
            input: BytesMut::new(),
            output: BytesMut::new(),
            chunks: ChunkReader::default(),
            aggregate: None,
            app: None,
            message_streams: 0,
            publish: Publish::Idle,
            received_bytes: 0,
            acknowledged_bytes: 0,
            window_bytes: WINDOW_BYTES.into(),
        }
    }

    /// Takes bytes from the peer. Call [`Session::next_event`] until it returns None before the next bytes.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        self.received_bytes += bytes.len() as u64;
        if !self.authorised() && self.received_bytes > MAX_UNAUTHORISED_BYTES as u64 {
            return Err(SessionError::TooMuchBeforeAuthorisation);
        }
        self.input.extend_from_slice(bytes);
        if self.handshake != Handshake::Done {
            self.handshake.advance(&mut self.input, &mut self.output, self.handshake_seed)?;
        }
        if self.handshake == Handshake::Done {
            self.acknowledge();
        }
        Ok(())
    }

    /// The next thing that happened, or None when more bytes (or a decision) are needed.
    ///
    /// After an error the connection is over; [`Session::take_output`] may hold a last reply that says why.
    pub fn next_event(&mut self) -> Result<Option<Event>, SessionError> {
        while self.handshake == Handshake::Done && !matches!(self.publish, Publish::Requested { .. }) {
            let Some(message) = self.next_message()? else { return Ok(None) };
            if let Some(event) = self.handle(message)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Bytes for the peer since the last call.
    pub fn take_output(&mut self) -> Bytes {
        self.output.split().freeze()
    }

    pub fn handshake_done(&self) -> bool {
        self.handshake == Handshake::Done
    }

    /// Bytes held for this peer: unparsed input, unfinished messages and unsent output.
    pub fn buffered_bytes(&self) -> usize {
        self.input.len() + self.chunks.unfinished_bytes() + self.output.len()
    }

    /// Allows the requested publish. Does nothing when none was requested.
    pub fn accept_publish(&mut self) {
        let Publish::Requested { stream_id } = self.publish else { return };
        self.publish = Publish::Running { stream_id };
        self.chunks.set_authorised();
        let event = [&STREAM_BEGIN[..], &stream_id.to_be_bytes()].concat();
        self.send_control(message_type::USER_CONTROL, event);
        let started = reply::on_status(Level::Status, "NetStream.Publish.Start", "Publishing.");
        self.send_command(stream_id, started);
    }

    /// Refuses the requested publish, or ends a running one, with a sentence for people.
    ///
    /// `NetStream.Publish.Denied` and nothing else: OBS takes other codes (`BadName`) for a broken connection
    /// and goes on trying; FFmpeg stops at any error.
    pub fn refuse_publish(&mut self, sentence: &str) {
        let (Publish::Requested { stream_id } | Publish::Running { stream_id }) = self.publish else { return };
        self.publish = Publish::Over;
        self.send_command(stream_id, reply::on_status(Level::Error, "NetStream.Publish.Denied", sentence));
    }

    fn authorised(&self) -> bool {
        matches!(self.publish, Publish::Running { .. } | Publish::Over)
    }

    fn next_message(&mut self) -> Result<Option<Message>, SessionError> {
        if let Some(aggregate) = &mut self.aggregate {
            if let Some(message) = aggregate.next_message() {
                return Ok(Some(message));
            }
            self.aggregate = None;
        }
        Ok(self.chunks.next_message(&mut self.input)?)
    }

    fn handle(&mut self, message: Message) -> Result<Option<Event>, SessionError> {
        let running = matches!(self.publish, Publish::Running { .. });
        let Message { timestamp_ms, body, .. } = message;
        match message.message_type {
            // Media is taken from any message stream: there is one publication, and encoders that begin
            // with a format 1 header send no stream id.
            message_type::VIDEO if running && !body.is_empty() => Ok(Some(Event::Video { timestamp_ms, body })),
            message_type::AUDIO if running && !body.is_empty() => Ok(Some(Event::Audio { timestamp_ms, body })),
            message_type::DATA_AMF0 if running => metadata(&body),
            message_type::DATA_AMF3 if running => metadata(body.get(1..).unwrap_or_default()),
            message_type::AGGREGATE if running => {
                self.aggregate = Some(Aggregate::new(Message { timestamp_ms, body, ..message }));
                Ok(None)
            }
            message_type::COMMAND_AMF0 => self.command(message.stream_id, &body),
            // An AMF3 command starts with a zero byte and is AMF0 from there (section 7.1.1).
            message_type::COMMAND_AMF3 => self.command(message.stream_id, body.strip_prefix(&[0]).unwrap_or(&body)),
            other => self.control(other, &body).map(|()| None),
        }
    }

    /// Sections 5.4 and 7.1.7. A control message too short for its value is ignored.
    fn control(&mut self, message_type: u8, body: &[u8]) -> Result<(), SessionError> {
        let value = body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        match (message_type, value) {
            (message_type::SET_CHUNK_SIZE, Some(bytes)) => self.chunks.set_chunk_size(bytes)?,
            (message_type::ABORT, Some(channel)) => self.chunks.abort(channel),
            (message_type::WINDOW_ACKNOWLEDGEMENT_SIZE, Some(bytes)) => {
                self.window_bytes = u64::from(bytes).max(MIN_WINDOW_BYTES);
            }
            (message_type::USER_CONTROL, Some(_)) if body.len() >= 6 && body[..2] == PING_REQUEST => {
                self.send_control(message_type::USER_CONTROL, [&PING_RESPONSE[..], &body[2..6]].concat());
            }
            _ => {}
        }
        Ok(())
    }

    fn command(&mut self, stream_id: u32, body: &[u8]) -> Result<Option<Event>, SessionError> {
        let values = Decoder::new(body).all()?;
        let Some(name) = values.first().and_then(Value::as_str) else { return Ok(None) };
        let transaction = values.get(1).and_then(Value::as_number).unwrap_or(0.0);
        match name {
            "connect" => self.connect(transaction, values.get(2).unwrap_or(&Value::Null)).map(Some),
            "createStream" => self.create_stream(transaction).map(|()| None),
            "publish" => self.publish(stream_id, transaction, values.get(3)).map(Some),
            "play" => Err(self.out_of_order(transaction, "play", "this server sends no media over RTMP")),
            "FCPublish" => {
                self.require_connected(transaction, "FCPublish")?;
                self.send_command(0, reply::on_fc_publish());
                self.send_empty_result(transaction);
                Ok(None)
            }
            "releaseStream" | "_checkbw" | "getStreamLength" => {
                self.require_connected(transaction, "releaseStream")?;
                self.send_empty_result(transaction);
                Ok(None)
            }
            "FCUnpublish" => Ok(self.finish(None)),
            "closeStream" => Ok(self.finish(Some(stream_id))),
            "deleteStream" => {
                let deleted = values.get(3).and_then(Value::as_number).unwrap_or(0.0);
                Ok(self.finish(Some(deleted as u32)))
            }
            _ => Ok(None),
        }
    }

    fn connect(&mut self, transaction: f64, object: &Value) -> Result<Event, SessionError> {
        if self.app.is_some() {
            return Err(self.out_of_order(transaction, "connect", "this connection is connected already"));
        }
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (app, encoder) = (text("app"), text("flashVer"));
        self.app = Some(app.clone());
        self.send_control(message_type::WINDOW_ACKNOWLEDGEMENT_SIZE, WINDOW_BYTES.to_be_bytes().to_vec());
        // Limit type 2, dynamic (section 5.4.5).
        self.send_control(message_type::SET_PEER_BANDWIDTH, [&WINDOW_BYTES.to_be_bytes()[..], &[2]].concat());
        self.send_control(message_type::SET_CHUNK_SIZE, (OUTPUT_CHUNK_BYTES as u32).to_be_bytes().to_vec());
        self.send_command(0, reply::connect_result(transaction));
        Ok(Event::Connected { app, encoder })
    }

    fn create_stream(&mut self, transaction: f64) -> Result<(), SessionError> {
        self.require_connected(transaction, "createStream")?;
        if self.message_streams >= MAX_MESSAGE_STREAMS {
            return Err(SessionError::TooManyMessageStreams);
        }
        self.message_streams += 1;
        self.send_command(0, reply::result(transaction, Value::Number(self.message_streams.into())));
        Ok(())
    }

    fn publish(&mut self, stream_id: u32, transaction: f64, name: Option<&Value>) -> Result<Event, SessionError> {
        self.require_connected(transaction, "publish")?;
        if stream_id == 0 || stream_id > self.message_streams {
            return Err(self.out_of_order(transaction, "publish", "createStream makes the message stream first"));
        }
        if self.publish != Publish::Idle {
            return Err(self.out_of_order(transaction, "publish", "one connection publishes once"));
        }
        self.publish = Publish::Requested { stream_id };
        let app = self.app.clone().unwrap_or_default();
        Ok(Event::PublishRequested { app, name: name.and_then(Value::as_str).unwrap_or_default().to_owned() })
    }

    /// Ends the publication if it runs on that message stream (None: on any); others are not touched.
    fn finish(&mut self, which: Option<u32>) -> Option<Event> {
        let Publish::Running { stream_id } = self.publish else { return None };
        if which.is_some_and(|which| which != stream_id) {
            return None;
        }
        self.publish = Publish::Over;
        let stopped = reply::on_status(Level::Status, "NetStream.Unpublish.Success", "Publishing has stopped.");
        self.send_command(stream_id, stopped);
        Some(Event::PublishFinished)
    }

    fn require_connected(&mut self, transaction: f64, command: &'static str) -> Result<(), SessionError> {
        match self.app {
            Some(_) => Ok(()),
            None => Err(self.out_of_order(transaction, command, "connect comes first")),
        }
    }

    /// Leaves a reply for the peer and makes the error that ends the connection.
    fn out_of_order(&mut self, transaction: f64, command: &'static str, rule: &'static str) -> SessionError {
        let error = SessionError::OutOfOrder { command, rule };
        self.send_command(0, reply::error(transaction, &error.to_string()));
        error
    }

    /// Section 5.4.3; half a window, so that a peer with a strict reading of it never waits.
    fn acknowledge(&mut self) {
        if self.received_bytes - self.acknowledged_bytes >= self.window_bytes / 2 {
            self.acknowledged_bytes = self.received_bytes;
            let sequence = self.received_bytes as u32; // wraps by design
            self.send_control(message_type::ACKNOWLEDGEMENT, sequence.to_be_bytes().to_vec());
        }
    }

    fn send_empty_result(&mut self, transaction: f64) {
        if transaction != 0.0 {
            self.send_command(0, reply::result(transaction, Value::Null));
        }
    }

    fn send_control(&mut self, message_type: u8, body: Vec<u8>) {
        self.send(CONTROL_CHANNEL, message_type, 0, body);
    }

    fn send_command(&mut self, stream_id: u32, body: Vec<u8>) {
        self.send(COMMAND_CHANNEL, message_type::COMMAND_AMF0, stream_id, body);
    }

    fn send(&mut self, channel: u8, message_type: u8, stream_id: u32, body: Vec<u8>) {
        let chunk_bytes = OUTPUT_CHUNK_BYTES;
        let message = Message { message_type, stream_id, timestamp_ms: 0, body: body.into() };
        write_message(&mut self.output, chunk_bytes, channel, &message);
    }
}

/// Metadata is a hint: what is merely broken is left out, what looks like an attack ends the connection.
fn metadata(body: &[u8]) -> Result<Option<Event>, SessionError> {
    match Metadata::parse(body) {
        Ok(metadata) => Ok(metadata.map(Event::Metadata)),
        Err(Amf0Error::Truncated | Amf0Error::UnknownMarker(_)) => Ok(None),
        Err(limit) => Err(limit.into()),
    }
}
