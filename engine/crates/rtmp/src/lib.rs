//! RTMP and Enhanced RTMP v2 ingest without I/O: the server side of a publisher's connection.
//!
//! ```text
//! bytes -> session (handshake, commands) <- chunk (messages) , amf0 (values), metadata
//!             | Event::{Video, Audio, Metadata}
//!             v
//!          to_stream <- flv (tag bodies)        -> Output::{Tracks, Unit} for `tallylight_media::Publication`
//! ```
//! [`session::Session`] speaks the protocol, [`to_stream::ToStream`] turns its events into tracks and access
//! units on the stream's timeline. The engine's `rtmp` module owns the sockets, the clock and the policy.

pub mod amf0;
pub mod chunk;
pub mod client;
pub mod flv;
pub mod metadata;
mod publish_key;
pub mod session;
pub mod to_stream;

pub use metadata::Metadata;
pub use publish_key::{APP, AddressError, PublishAddress, publish_address};
pub use session::{Event, Session, SessionError};
