//! The server session against the crate's own client and against hand-made bytes.

use bytes::{Bytes, BytesMut};
use tallylight_rtmp::amf0::{Amf0Error, Value, encode};
use tallylight_rtmp::chunk::{ChunkError, MAX_MESSAGE_BYTES, Message, message_type, write_message};
use tallylight_rtmp::client::{Client, ClientEvent};
use tallylight_rtmp::session::{MAX_MESSAGE_STREAMS, MAX_UNAUTHORISED_BYTES};
use tallylight_rtmp::{Event, Metadata, Session, SessionError};

/// Bytes of a whole handshake from the client.
fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; 1 + 2 * 1536];
    bytes[0] = 3;
    bytes
}

fn message(message_type: u8, stream_id: u32, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let body = Bytes::copy_from_slice(body);
    write_message(&mut out, 128, 3, &Message { message_type, stream_id, timestamp_ms: 0, body });
    out.to_vec()
}

fn command(stream_id: u32, values: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    values.iter().for_each(|value| encode(&mut body, value));
    message(message_type::COMMAND_AMF0, stream_id, &body)
}

/// The commands of the order table, by name.
fn named(name: &str) -> Vec<u8> {
    let call = |stream_id: u32, argument: Value| {
        command(
            stream_id,
            &[Value::string(name.trim_end_matches(char::is_numeric)), Value::Number(7.0), Value::Null, argument],
        )
    };
    match name {
        "connect" => {
            command(0, &[Value::string(name), Value::Number(1.0), Value::object(&[("app", Value::string("live"))])])
        }
        "publish" | "play" => call(1, Value::string("key")),
        "publish0" => call(0, Value::string("key")),
        "publish9" => call(9, Value::string("key")),
        "deleteStream" => call(0, Value::Number(1.0)),
        "deleteStream9" => call(0, Value::Number(9.0)),
        _ => call(0, Value::string("key")),
    }
}

/// Feeds bytes and takes all events; accepts a publish when `accept`.
fn drive(session: &mut Session, bytes: &[u8], accept: bool) -> Result<Vec<Event>, SessionError> {
    session.receive(bytes)?;
    let mut events = Vec::new();
    loop {
        match session.next_event()? {
            Some(event) => {
                if accept && matches!(event, Event::PublishRequested { .. }) {
                    session.accept_publish();
                }
                events.push(event);
            }
            None => return Ok(events),
        }
    }
}

fn publishing() -> Session {
    let mut session = Session::new(1);
    let bytes = [handshake(), named("connect"), named("createStream"), named("publish")].concat();
    drive(&mut session, &bytes, true).unwrap();
    session
}

/// Carries bytes both ways until neither side has any.
fn exchange(client: &mut Client, session: &mut Session, accept: bool) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let sent = client.take_output();
        events.extend(drive(session, &sent, accept).unwrap());
        let reply = session.take_output();
        client.receive(&reply).unwrap();
        if sent.is_empty() && reply.is_empty() {
            return events;
        }
    }
}

#[test]
fn a_client_publishes_sends_media_and_says_goodbye() {
    let (mut client, mut session) = (Client::new("live", "key"), Session::new(42));
    let events = exchange(&mut client, &mut session, true);
    assert!(matches!(&events[0], Event::Connected { app, .. } if app == "live"));
    assert_eq!(events[1], Event::PublishRequested { app: "live".into(), name: "key".into() });
    assert_eq!(client.next_event(), Some(ClientEvent::Publishing));
    client.send_metadata(&[("videocodecid", Value::Number(7.0))]);
    client.send_video(0x0123_4567, &[7; 1000]);
    client.send_audio(u32::MAX, &[8; 10]);
    client.finish();
    let events = exchange(&mut client, &mut session, true);
    assert_eq!(
        events,
        [
            Event::Metadata(Metadata { declares_video: true, declares_audio: false }),
            Event::Video { timestamp_ms: 0x0123_4567, body: Bytes::from(vec![7; 1000]) },
            Event::Audio { timestamp_ms: u32::MAX, body: Bytes::from(vec![8; 10]) },
            Event::PublishFinished,
        ]
    );
}

#[test]
fn a_refused_publish_is_denied_with_the_sentence() {
    let (mut client, mut session) = (Client::new("live", "wrong"), Session::new(1));
    exchange(&mut client, &mut session, false);
    session.refuse_publish("This stream key is not valid.");
    client.receive(&session.take_output()).unwrap();
    let description = "This stream key is not valid.".to_owned();
    let refused = ClientEvent::Refused { code: "NetStream.Publish.Denied".into(), description };
    assert_eq!(client.next_event(), Some(refused));
    client.send_video(0, &[7; 10]);
    assert_eq!(exchange(&mut client, &mut session, true), []);
}

#[test]
fn connect_is_answered_with_the_enhanced_codecs() {
    let mut session = Session::new(1);
    drive(&mut session, &[handshake(), named("connect")].concat(), true).unwrap();
    let output = session.take_output();
    for codec in ["fourCcList", "avc1", "hvc1", "av01", "vp09", "Opus", "mp4a"] {
        assert!(output.windows(codec.len()).any(|window| window == codec.as_bytes()), "{codec}");
    }
}

#[test]
fn the_handshake_echoes_c1_and_differs_by_seed() {
    let mut c1 = handshake();
    c1.truncate(1537);
    c1[9..].iter_mut().enumerate().for_each(|(i, byte)| *byte = i as u8);
    let reply = |seed| {
        let mut session = Session::new(seed);
        session.receive(&c1).unwrap();
        assert!(!session.handshake_done());
        session.take_output()
    };
    let (a, b) = (reply(1), reply(2));
    assert_eq!((a.len(), a[0]), (1 + 2 * 1536, 3));
    assert_eq!(a[1537..], c1[1..]);
    assert_ne!(a[1..1537], b[1..1537]);
}

#[test]
fn other_protocols_end_at_their_first_byte() {
    for first in [&b"GET / HTTP/1.1\r\n"[..], &[0x16, 3, 1, 2, 0], &[0; 1 << 10], &[6]] {
        assert_eq!(Session::new(1).receive(first), Err(SessionError::Version(first[0])));
    }
}

#[test]
fn media_sent_ahead_of_the_decision_is_kept() {
    let mut session = Session::new(1);
    let ahead = message(message_type::VIDEO, 1, &[9; 500]);
    let bytes = [handshake(), named("connect"), named("createStream"), named("publish"), ahead].concat();
    assert_eq!(drive(&mut session, &bytes, false).unwrap().len(), 2);
    assert_eq!(session.next_event(), Ok(None));
    session.accept_publish();
    let expected = Event::Video { timestamp_ms: 0, body: Bytes::from(vec![9; 500]) };
    assert_eq!(session.next_event(), Ok(Some(expected)));
}

#[test]
fn media_before_publishing_is_ignored() {
    let mut session = Session::new(1);
    let media = message(message_type::VIDEO, 1, &[9; 500]);
    let bytes = [handshake(), media.clone(), named("connect"), media].concat();
    assert_eq!(drive(&mut session, &bytes, true).unwrap().len(), 1);
}

#[test]
fn commands_out_of_order_get_an_error_reply() {
    // Commands in order; the last one is out of place.
    let table: &[&[&str]] = &[
        &["createStream"],
        &["publish"],
        &["play"],
        &["FCPublish"],
        &["releaseStream"],
        &["_checkbw"],
        &["connect", "connect"],
        &["connect", "publish"],
        &["connect", "play"],
        &["connect", "createStream", "publish0"],
        &["connect", "createStream", "publish9"],
        &["connect", "createStream", "play"],
        &["connect", "createStream", "connect"],
        &["connect", "createStream", "publish", "publish"],
        &["connect", "createStream", "publish", "play"],
        &["connect", "createStream", "publish", "connect"],
        &["connect", "createStream", "publish", "createStream", "publish"],
        &["connect", "createStream", "publish", "deleteStream", "publish"],
        &["connect", "createStream", "publish", "FCUnpublish", "publish"],
    ];
    for sequence in table {
        let mut session = Session::new(1);
        drive(&mut session, &handshake(), true).unwrap();
        let (last, before) = sequence.split_last().unwrap();
        for name in before.iter() {
            drive(&mut session, &named(name), true).unwrap_or_else(|error| panic!("{sequence:?}: {error}"));
        }
        session.take_output();
        let error = drive(&mut session, &named(last), true);
        assert!(matches!(error, Err(SessionError::OutOfOrder { .. })), "{sequence:?}: {error:?}");
        let reply = session.take_output();
        assert!(reply.windows(6).any(|window| window == b"_error"), "{sequence:?} got no reply");
    }
}

#[test]
fn every_sequence_of_five_commands_ends_in_events_or_an_error() {
    let names = ["connect", "createStream", "publish", "publish9", "deleteStream", "deleteStream9", "FCUnpublish"];
    let mut sequences = 0;
    for number in 0..names.len().pow(5) {
        let mut session = Session::new(1);
        drive(&mut session, &handshake(), true).unwrap();
        let (mut rest, mut connected, mut allowed) = (number, false, 0);
        for _ in 0..5 {
            let name = names[rest % names.len()];
            rest /= names.len();
            match drive(&mut session, &named(name), true) {
                Ok(events) => {
                    connected |= name == "connect";
                    allowed += events.iter().filter(|e| matches!(e, Event::PublishRequested { .. })).count();
                }
                Err(_) => break,
            }
        }
        assert!(allowed <= 1 && (allowed == 0 || connected), "sequence {number}");
        sequences += 1;
    }
    assert_eq!(sequences, 16_807);
}

#[test]
fn deleting_other_streams_changes_nothing() {
    let mut session = publishing();
    assert_eq!(drive(&mut session, &named("deleteStream9"), true), Ok(vec![]));
    let media = message(message_type::AUDIO, 1, &[1]);
    assert_eq!(drive(&mut session, &media, true).unwrap().len(), 1);
    assert_eq!(drive(&mut session, &named("deleteStream"), true), Ok(vec![Event::PublishFinished]));
    assert_eq!(drive(&mut session, &media, true), Ok(vec![]));
}

#[test]
fn message_streams_are_limited() {
    let mut session = Session::new(1);
    drive(&mut session, &[handshake(), named("connect")].concat(), true).unwrap();
    for _ in 0..MAX_MESSAGE_STREAMS {
        drive(&mut session, &named("createStream"), true).unwrap();
    }
    assert_eq!(drive(&mut session, &named("createStream"), true), Err(SessionError::TooManyMessageStreams));
}

#[test]
fn bytes_before_authorisation_are_limited() {
    let mut session = Session::new(1);
    session.receive(&handshake()).unwrap();
    let filler = message(message_type::ACKNOWLEDGEMENT, 0, &[0; 1000]);
    let mut sent = handshake().len();
    let error = loop {
        sent += filler.len();
        match drive(&mut session, &filler, true) {
            Ok(_) => assert!(session.buffered_bytes() <= MAX_UNAUTHORISED_BYTES),
            Err(error) => break error,
        }
    };
    assert_eq!(error, SessionError::TooMuchBeforeAuthorisation);
    assert!(sent > MAX_UNAUTHORISED_BYTES && sent <= MAX_UNAUTHORISED_BYTES + filler.len());
}

#[test]
fn bytes_ahead_of_a_decision_are_limited_too() {
    let mut session = Session::new(1);
    let bytes = [handshake(), named("connect"), named("createStream"), named("publish")].concat();
    drive(&mut session, &bytes, false).unwrap();
    let flood = vec![0; MAX_UNAUTHORISED_BYTES];
    assert_eq!(session.receive(&flood), Err(SessionError::TooMuchBeforeAuthorisation));
}

#[test]
fn chunk_size_zero_and_huge_messages_end_the_connection() {
    let mut session = publishing();
    let error = drive(&mut session, &message(message_type::SET_CHUNK_SIZE, 0, &[0; 4]), true);
    assert_eq!(error, Err(SessionError::Chunk(ChunkError::ChunkSize(0))));
    let mut session = publishing();
    let header = [6, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0];
    let error = drive(&mut session, &header, true);
    let bytes = 0x00ff_ffff;
    assert_eq!(error, Err(SessionError::Chunk(ChunkError::MessageTooLarge { message_type: 9, bytes })));
    assert!(MAX_MESSAGE_BYTES < bytes);
}

#[test]
fn bombs_in_commands_and_metadata_end_the_connection() {
    let bomb = [3, 0, 1, b'a'].repeat(1000);
    let mut session = Session::new(1);
    session.receive(&handshake()).unwrap();
    let error = drive(&mut session, &message(message_type::COMMAND_AMF0, 0, &bomb), true);
    assert_eq!(error, Err(SessionError::Amf0(Amf0Error::TooDeep)));
    let mut data = Vec::new();
    encode(&mut data, &Value::string("onMetaData"));
    let error = drive(&mut publishing(), &message(message_type::DATA_AMF0, 1, &[&data[..], &bomb].concat()), true);
    assert_eq!(error, Err(SessionError::Amf0(Amf0Error::TooDeep)));
    // Merely broken metadata is no reason to go off air.
    let broken = message(message_type::DATA_AMF0, 1, &[&data[..], &[3, 0, 1, b'a']].concat());
    assert_eq!(drive(&mut publishing(), &broken, true), Ok(vec![]));
}

#[test]
fn aggregates_are_taken_apart_on_the_time_of_the_message() {
    let tag = |message_type: u8, timestamp_ms: u8, body: &[u8]| {
        let head = [message_type, 0, 0, body.len() as u8, 0, 0, timestamp_ms, 0, 0, 0, 0];
        [&head[..], body, &[0; 4]].concat()
    };
    let nested = tag(message_type::AGGREGATE, 60, &tag(message_type::AUDIO, 0, &[9]));
    let body = [tag(9, 50, &[1]), nested, tag(8, 70, &[2]), vec![9, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0]].concat();
    let mut wire = BytesMut::new();
    let aggregate =
        Message { message_type: message_type::AGGREGATE, stream_id: 1, timestamp_ms: 1000, body: body.into() };
    write_message(&mut wire, 128, 6, &aggregate);
    assert_eq!(
        drive(&mut publishing(), &wire, true).unwrap(),
        [
            Event::Video { timestamp_ms: 1000, body: Bytes::from_static(&[1]) },
            Event::Audio { timestamp_ms: 1020, body: Bytes::from_static(&[2]) },
        ]
    );
}

#[test]
fn pings_are_answered_and_bytes_acknowledged() {
    let mut session = publishing();
    session.take_output();
    drive(&mut session, &message(message_type::USER_CONTROL, 0, &[0, 6, 1, 2, 3, 4]), true).unwrap();
    assert!(session.take_output().ends_with(&[0, 7, 1, 2, 3, 4]));
    let window = (128u32 << 10).to_be_bytes();
    drive(&mut session, &message(message_type::WINDOW_ACKNOWLEDGEMENT_SIZE, 0, &window), true).unwrap();
    for _ in 0..70 {
        drive(&mut session, &message(message_type::AUDIO, 1, &[0; 1000]), true).unwrap();
    }
    let output = session.take_output();
    assert_eq!((output.len(), output[7]), (16, message_type::ACKNOWLEDGEMENT));
}
