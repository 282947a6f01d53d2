//! Values of the messages this server sends (RTMP Specification 1.0, section 7.2; E-RTMP v2, "Enhancing NetConnection connect").

use crate::amf0::{Value, encode};
use crate::flv::{AUDIO_FOUR_CC, VIDEO_FOUR_CC};

/// E-RTMP `FourCcInfoMask.CanForward`: codecs pass through untouched.
const CAN_FORWARD: f64 = 4.0;
/// E-RTMP `CapsExMask.ModEx`: ModEx blocks are understood.
const CAPS_EX: f64 = 4.0;

/// The two levels of a status object.
#[derive(Clone, Copy)]
pub(super) enum Level {
    Status,
    Error,
}

fn body(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| encode(&mut out, value));
    out
}

fn information(level: Level, code: &str, description: &str) -> Value {
    let level = match level {
        Level::Status => "status",
        Level::Error => "error",
    };
    Value::object(&[
        ("level", Value::string(level)),
        ("code", Value::string(code)),
        ("description", Value::string(description)),
    ])
}

pub(super) fn connect_result(transaction: f64) -> Vec<u8> {
    let can_forward = |codecs: &[&str]| {
        Value::Object(codecs.iter().map(|codec| ((*codec).to_owned(), Value::Number(CAN_FORWARD))).collect())
    };
    let all = VIDEO_FOUR_CC.iter().chain(&AUDIO_FOUR_CC).map(|codec| Value::string(codec)).collect();
    let properties = Value::object(&[
        // Old encoders look for this name; the value is the one most servers answer.
        ("fmsVer", Value::string("FMS/3,5,7,7009")),
        ("capabilities", Value::Number(31.0)),
        ("fourCcList", Value::StrictArray(all)),
        ("videoFourCcInfoMap", can_forward(&VIDEO_FOUR_CC)),
        ("audioFourCcInfoMap", can_forward(&AUDIO_FOUR_CC)),
        ("capsEx", Value::Number(CAPS_EX)),
    ]);
    let mut status = information(Level::Status, "NetConnection.Connect.Success", "Connected.");
    if let Value::Object(entries) = &mut status {
        entries.push(("objectEncoding".to_owned(), Value::Number(0.0)));
    }
    body(&[Value::string("_result"), Value::Number(transaction), properties, status])
}

pub(super) fn result(transaction: f64, value: Value) -> Vec<u8> {
    body(&[Value::string("_result"), Value::Number(transaction), Value::Null, value])
}

pub(super) fn error(transaction: f64, description: &str) -> Vec<u8> {
    let status = information(Level::Error, "NetConnection.Call.Failed", description);
    body(&[Value::string("_error"), Value::Number(transaction), Value::Null, status])
}

pub(super) fn on_status(level: Level, code: &str, description: &str) -> Vec<u8> {
    body(&[Value::string("onStatus"), Value::Number(0.0), Value::Null, information(level, code, description)])
}

/// What FMLE and its descendants wait for after `FCPublish`.
pub(super) fn on_fc_publish() -> Vec<u8> {
    let status =
        Value::object(&[("code", Value::string("NetStream.Publish.Start")), ("description", Value::string(""))]);
    body(&[Value::string("onFCPublish"), Value::Number(0.0), Value::Null, status])
}
