//! AAC to Opus for WebRTC viewers, only while one needs it.
//!
//! ```text
//! first viewer's want_opus() -> hook -> one thread per stream: Subscription -> Transcoder -> push_derived(AUDIO_OPUS)
//! ```
//!
//! [`pipeline`] turns AAC frames into Opus packets and keeps their time (no threads, no clock); [`worker`]
//! is the thread around it. [`aac`] and [`resample`] wrap the two libraries.

mod aac;
mod pipeline;
mod resample;
mod worker;

#[cfg(test)]
mod test_support;

pub use pipeline::{OpusPacket, TranscodeError, Transcoder};

use crate::Engine;
use std::sync::Arc;
use worker::{LINGER, Workers};

/// Registers the transcoder with the streams.
pub fn install(engine: Arc<Engine>) {
    let workers = Workers::new(engine.events.clone(), engine.counters.clone(), LINGER);
    engine.streams.on_opus_wanted(move |stream| workers.start(stream));
}
