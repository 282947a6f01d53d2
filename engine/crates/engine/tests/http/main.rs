//! The http front and the engine API over real sockets. WebRTC is a stand-in that keeps sessions but sends
//! nothing; the control plane is a small server on a Unix socket. Clients write raw bytes, so that no
//! library corrects a path on its way.

mod api;
mod contract;
mod control;
mod live;
mod pages;
mod paths;
mod peers;
mod playback;
mod proxy;
mod receipt;
mod support;
mod webrtc;
