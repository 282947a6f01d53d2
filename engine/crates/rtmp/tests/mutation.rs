//! Tens of thousands of damaged sessions: whatever arrives, the result is events or an error.

use std::time::Instant;
use tallylight_rtmp::amf0::Value;
use tallylight_rtmp::chunk::MAX_REASSEMBLY_BYTES;
use tallylight_rtmp::client::Client;
use tallylight_rtmp::to_stream::{Output, ToStream};
use tallylight_rtmp::{Event, Session, SessionError};

const SESSIONS: u64 = 20_000;

/// testsrc2 1280x720 through libx264: SPS and PPS as avcC, high profile.
const AVCC: &[u8] = b"\x01\x64\x00\x1f\xff\xe1\x00\x19\x67\x64\x00\x1f\xac\xd9\x40\x50\x05\xbb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\xc0\xf1\x83\x19\x60\x01\x00\x06\x68\xeb\xe3\xcb\x22\xc0\xfd\xf8\xf8\x00";
/// av1C of libaom, 320x180.
const AV1C: &[u8] = b"\x81\x00\x0c\x00\x0a\x0b\x00\x00\x00\x04\x3c\xfe\xcc\xff\xf9\x80\x40";

/// Everything a publisher may send, with the connection's beginning.
fn conversation() -> Vec<u8> {
    let (mut client, mut session) = (Client::new("live", "key"), Session::new(7));
    let mut recorded = Vec::new();
    loop {
        let sent = client.take_output();
        if sent.is_empty() {
            break;
        }
        recorded.extend_from_slice(&sent);
        session.receive(&sent).unwrap();
        while let Some(event) = session.next_event().unwrap() {
            if matches!(event, Event::PublishRequested { .. }) {
                session.accept_publish();
            }
        }
        client.receive(&session.take_output()).unwrap();
    }
    client.send_metadata(&[("videocodecid", Value::Number(7.0)), ("audiocodecid", Value::Number(10.0))]);
    client.send_video(0, &[b"\x17\0\0\0\0", AVCC].concat());
    client.send_audio(0, b"\xaf\0\x11\x90");
    client.send_video(0, b"\x17\x01\0\0\x28\0\0\0\x02\x09\xf0\0\0\0\x08\x65\x88\x84\x00\x10\x20\x30\x40");
    for i in 1..20u32 {
        client.send_audio(i * 21, b"\xaf\x01audio frame");
        client.send_video(i * 40, b"\x27\x01\0\0\x14\0\0\0\x06\x41\x9a\x24\x6c\x41\x7f");
    }
    client.send_video(800, &[b"\x90av01", AV1C].concat());
    client.send_video(
        840,
        b"\x91av01\x12\x00\x0a\x0b\x00\x00\x00\x04\x3c\xfe\xcc\xff\xf9\x80\x40\x32\x04\x14\x00\xa3\x70",
    );
    client.send_video(880, b"\x96\x13avc1\x01\0\0\x01a\x00\0\0\x01b");
    client.send_audio(900, b"\x97\x02\0\0\x01\x01Opus\xfc\xff\xfe");
    client.send_video(0xffff_ff00, b"\x91hvc1\0\0\x21hevc");
    client.send_video(0x0100_0000, b"\x91vp09\x82\x49\x83\x42\x00\x13\xf0\x0b\x34");
    client.finish();
    recorded.extend_from_slice(&client.take_output());
    recorded
}

struct Random(u64);

impl Random {
    /// XorShift64 (Marsaglia 2003): the same damage on every run.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    const HANDSHAKE_BYTES: usize = 1 + 2 * 1536;
    for _ in 0..=random.below(6) {
        // The random part of the handshake is not read, so most damage goes behind it.
        let start = if random.below(20) == 0 { 0 } else { HANDSHAKE_BYTES };
        if bytes.len() <= start {
            return;
        }
        let at = start + random.below(bytes.len() - start);
        let length = random.below(40).min(bytes.len() - at);
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            2 => bytes[at] = random.below(256) as u8,
            3 => drop(bytes.drain(at..at + length)),
            4 => bytes.extend_from_within(at..at + length),
            _ => {
                let copy = bytes[at..at + length].to_vec();
                let to = start + random.below(bytes.len() - start);
                bytes.splice(to..to, copy);
            }
        }
    }
}

/// What one session led to.
#[derive(Default)]
struct Outcome {
    units: u64,
    tracks: u64,
    stream_errors: u64,
}

fn run(bytes: &[u8], random: &mut Random, outcome: &mut Outcome) -> Result<(), SessionError> {
    let mut session = Session::new(1);
    let mut to_stream = ToStream::new();
    let now = Instant::now();
    let mut last_dts = [i64::MIN; 256];
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((1 + random.below(2000)).min(rest.len()));
        rest = after;
        session.receive(piece)?;
        while let Some(event) = session.next_event()? {
            let pushed = match event {
                Event::PublishRequested { .. } => {
                    session.accept_publish();
                    Ok(())
                }
                Event::Video { timestamp_ms, body } => to_stream.push_video(timestamp_ms, body, now),
                Event::Audio { timestamp_ms, body } => to_stream.push_audio(timestamp_ms, body, now),
                Event::Metadata(metadata) => {
                    to_stream.push_metadata(metadata);
                    Ok(())
                }
                Event::Connected { .. } | Event::PublishFinished => Ok(()),
            };
            outcome.stream_errors += u64::from(pushed.is_err());
            while let Some(output) = to_stream.next_output() {
                match output {
                    Output::Tracks(tracks) => {
                        assert!(!tracks.is_empty());
                        last_dts = [i64::MIN; 256];
                        outcome.tracks += 1;
                    }
                    Output::Unit(unit) => {
                        let last = &mut last_dts[usize::from(unit.track.0)];
                        assert!(unit.dts > *last && unit.dts >= 0 && !unit.data.is_empty());
                        *last = unit.dts;
                        outcome.units += 1;
                    }
                }
            }
        }
        session.take_output();
        assert!(session.buffered_bytes() <= MAX_REASSEMBLY_BYTES + 2000);
    }
    Ok(())
}

#[test]
fn damaged_sessions_end_in_events_or_errors() {
    let seed = conversation();
    let mut random = Random(0x5eed_0000_0000_0001);
    let mut intact = Outcome::default();
    run(&seed, &mut random, &mut intact).expect("the undamaged conversation");
    assert!(intact.units > 20 && intact.tracks >= 3, "{} units, {} announcements", intact.units, intact.tracks);
    let (mut outcome, mut session_errors) = (Outcome::default(), 0);
    for _ in 0..SESSIONS {
        let mut bytes = seed.clone();
        damage(&mut bytes, &mut random);
        session_errors += u64::from(run(&bytes, &mut random, &mut outcome).is_err());
    }
    // The damage must reach all layers: broken protocol, broken media, and sessions that still work.
    assert!(session_errors > SESSIONS / 20 && session_errors < SESSIONS, "{session_errors} session errors");
    assert!(outcome.stream_errors > 1000 && outcome.units > SESSIONS, "{} media errors", outcome.stream_errors);
}
