//! The core every protocol meets: a [`Stream`] has at most one publisher and any number of subscribers.
//!
//! Data first: a publisher announces a [`TrackSet`] (what the tracks are) and pushes [`AccessUnit`]s
//! (one encoded picture or audio frame each, on the stream's own timeline). The stream keeps the
//! current group of pictures, copies a reference to each unit into every subscriber's bounded
//! [`queue`], and counts both sides in [`ledger`]s. No sockets, no files; time comes in as an argument.
//!
//! Ingests (`rtmp`, `webrtc`) call [`Stream::publish`]; the packager, the WebRTC shards and the audio
//! transcoder call [`Stream::subscribe`].

pub mod codec;
pub mod ledger;
pub mod queue;
pub mod stream;
pub mod track;
pub mod unit;

pub use ledger::{Ledger, LedgerSnapshot};
pub use queue::{QueueStatistics, Subscription, Waker};
pub use stream::{
    EndReason, GHOST_AFTER, JoinPoint, Protocol, Publication, PublishError, PublisherInfo, Stream, StreamSnapshot,
    Streams,
};
pub use track::{Codec, Kind, Track, TrackConfig, TrackId, TrackSet};
pub use unit::{AccessUnit, Item};
