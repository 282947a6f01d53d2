//! The engine binary's parts: everything with sockets, tasks and files lives here; the protocol crates do no I/O.
//!
//! ```text
//! main ── config ──> Engine (context: streams, admission, events, counters, sessions, hls)
//!            http  front: /whip /whep /hls /live and pages here, the rest proxied to the control plane
//!            api   engine API on the Unix socket: streams, sessions, statistics, events
//!            rtmp  ingest on tcp/1935        hls  packager per stream        transcode  AAC -> Opus
//!            playback  who may play: the policy, tokens, and who was let in
//!            tap   endless MP4 of a stream for programs on this host
//!            watcher  notices media that stops and starts, closes what stays silent
//! ```

pub mod admission;
pub mod api;
pub mod config;
pub mod context;
pub mod counters;
pub mod cuts;
pub mod events;
pub mod hls;
pub mod http;
pub mod listeners;
pub mod logging;
pub mod peers;
pub mod playback;
pub mod process;
pub mod rtmp;
pub mod sessions;
pub mod status;
pub mod tap;
pub mod timestamps;
pub mod transcode;
pub mod viewers;
pub mod watcher;

pub use admission::{Admission, PublishQuestion, Verdict};
pub use config::Config;
pub use context::Engine;
pub use counters::Counters;
pub use events::EventLog;
