//! The public http front: what it answers itself and what it passes on.
//!
//! [`server`] accepts connections, [`client`] says who is on the other end, [`front`] routes one request, and behind it are [`webrtc`] (WHIP and
//! WHEP), [`live`] (states for viewers), [`pages`] (built files) and [`proxy`] (the control plane).

pub mod body;
pub mod client;
pub mod connections;
pub mod front;
pub mod ice_servers;
pub mod live;
pub mod pages;
pub mod path;
pub mod problem;
pub mod proxy;
pub mod server;
pub mod token;
pub mod unix;
pub mod webrtc;

pub use body::{Body, empty, full};
