//! The public http front.

pub mod body;
pub mod unix;

pub use body::{Body, empty, full};
