//! The publishing side of a connection without I/O: what tests and load tools push with.
//!
//! Like [`crate::Session`]: bytes in, events and bytes out. It follows the same path as OBS and FFmpeg:
//! handshake, `connect`, `createStream`, `publish`.

use crate::amf0::{Decoder, Value, encode};
use crate::chunk::{ChunkError, ChunkReader, Message, message_type, write_message};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;

const C1_BYTES: usize = 1536;
/// S0, S1 and S2.
const SERVER_HANDSHAKE_BYTES: usize = 1 + 2 * C1_BYTES;
/// Chunk size of the protocol's beginning, kept: the server must put chunks together.
const CHUNK_BYTES: usize = 128;

const CONNECT_TRANSACTION: f64 = 1.0;
const CREATE_STREAM_TRANSACTION: f64 = 2.0;

#[derive(Debug, Clone, PartialEq)]
pub enum ClientEvent {
    /// The server takes media now.
    Publishing,
    /// A status of level `error`, or `_error`.
    Refused { code: String, description: String },
}

pub struct Client {
    app: String,
    name: String,
    handshake_done: bool,
    input: BytesMut,
    output: BytesMut,
    chunks: ChunkReader,
    stream_id: u32,
    events: VecDeque<ClientEvent>,
}

impl Client {
    /// Will publish `name` on application `app`.
    pub fn new(app: &str, name: &str) -> Client {
        let mut output = BytesMut::new();
        output.put_u8(3);
        output.put_bytes(0, C1_BYTES);
        Client {
            app: app.to_owned(),
            name: name.to_owned(),
            handshake_done: false,
            input: BytesMut::new(),
            output,
            chunks: ChunkReader::default(),
            stream_id: 0,
            events: VecDeque::new(),
        }
    }

    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), ChunkError> {
        self.input.extend_from_slice(bytes);
        if !self.handshake_done {
            if self.input.len() < SERVER_HANDSHAKE_BYTES {
                return Ok(());
            }
            let c2 = self.input.split_to(SERVER_HANDSHAKE_BYTES);
            self.output.put_slice(&c2[1..=C1_BYTES]);
            self.handshake_done = true;
            self.connect();
        }
        while let Some(message) = self.chunks.next_message(&mut self.input)? {
            self.handle(message)?;
        }
        Ok(())
    }

    pub fn next_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    pub fn take_output(&mut self) -> Bytes {
        self.output.split().freeze()
    }

    pub fn send_video(&mut self, timestamp_ms: u32, body: &[u8]) {
        self.send(6, message_type::VIDEO, timestamp_ms, body);
    }

    pub fn send_audio(&mut self, timestamp_ms: u32, body: &[u8]) {
        self.send(4, message_type::AUDIO, timestamp_ms, body);
    }

    pub fn send_metadata(&mut self, properties: &[(&str, Value)]) {
        let mut body = Vec::new();
        for value in [Value::string("@setDataFrame"), Value::string("onMetaData"), Value::object(properties)] {
            encode(&mut body, &value);
        }
        self.send(5, message_type::DATA_AMF0, 0, &body);
    }

    /// Says goodbye as OBS does.
    pub fn finish(&mut self) {
        let name = Value::string(&self.name);
        self.send_command(0, &[Value::string("FCUnpublish"), Value::Number(0.0), Value::Null, name]);
        let stream_id = Value::Number(self.stream_id.into());
        self.send_command(0, &[Value::string("deleteStream"), Value::Number(0.0), Value::Null, stream_id]);
    }

    /// Sends any command, in order or not.
    pub fn send_command(&mut self, stream_id: u32, values: &[Value]) {
        let mut body = Vec::new();
        values.iter().for_each(|value| encode(&mut body, value));
        let message =
            Message { message_type: message_type::COMMAND_AMF0, stream_id, timestamp_ms: 0, body: body.into() };
        write_message(&mut self.output, CHUNK_BYTES, 3, &message);
    }

    fn send(&mut self, channel: u8, message_type: u8, timestamp_ms: u32, body: &[u8]) {
        let body = Bytes::copy_from_slice(body);
        let message = Message { message_type, stream_id: self.stream_id, timestamp_ms, body };
        write_message(&mut self.output, CHUNK_BYTES, channel, &message);
    }

    fn connect(&mut self) {
        let object = Value::object(&[
            ("app", Value::string(&self.app)),
            ("flashVer", Value::string("Tallylight test publisher")),
        ]);
        self.send_command(0, &[Value::string("connect"), Value::Number(CONNECT_TRANSACTION), object]);
    }

    fn handle(&mut self, message: Message) -> Result<(), ChunkError> {
        match message.message_type {
            message_type::SET_CHUNK_SIZE if message.body.len() >= 4 => {
                self.chunks.set_chunk_size((&message.body[..]).get_u32())?;
            }
            message_type::COMMAND_AMF0 => {
                if let Ok(values) = Decoder::new(&message.body).all() {
                    self.handle_command(&values);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn handle_command(&mut self, values: &[Value]) {
        let name = values.first().and_then(Value::as_str).unwrap_or_default();
        let transaction = values.get(1).and_then(Value::as_number).unwrap_or_default();
        let information = values.get(3).unwrap_or(&Value::Null);
        let text = |name: &str| information.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match name {
            "_result" if transaction == CONNECT_TRANSACTION => {
                let create = [Value::string("createStream"), Value::Number(CREATE_STREAM_TRANSACTION), Value::Null];
                self.send_command(0, &create);
            }
            "_result" if transaction == CREATE_STREAM_TRANSACTION => {
                self.stream_id = information.as_number().unwrap_or_default() as u32;
                let publish = ["publish", "", &self.name, "live"].map(Value::string);
                let [command, _, name, kind] = publish;
                self.send_command(self.stream_id, &[command, Value::Number(0.0), Value::Null, name, kind]);
            }
            "_error" => self.refused(text("code"), text("description")),
            "onStatus" if text("level") == "error" => self.refused(text("code"), text("description")),
            "onStatus" if text("code") == "NetStream.Publish.Start" => self.events.push_back(ClientEvent::Publishing),
            _ => {}
        }
    }

    fn refused(&mut self, code: String, description: String) {
        self.events.push_back(ClientEvent::Refused { code, description });
    }
}
