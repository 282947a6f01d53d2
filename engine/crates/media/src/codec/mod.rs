//! What this server must read out of encoded bits: sizes, profiles, reordering, keyframes.
//!
//! Every parser takes bytes from strangers: loops are bounded by the specification's own limits, sizes are
//! checked before anything is allocated, and nothing here panics. What goes wrong is a [`CodecError`].

pub mod aac;
pub mod av1;
mod bits;
pub mod h264;
pub mod h265;
pub mod nal;
pub mod opus;
pub mod vp8;
pub mod vp9;

pub use bits::BitReader;

/// Largest picture edge accepted, in pixels: 8K fits, and width x height stays below 2^26, so that no later
/// computation with sizes can overflow (hardening matrix G7).
pub const MAX_PICTURE_EDGE: u32 = 8192;

/// What can be wrong with encoded bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("{structure} ends too early")]
    Truncated { structure: &'static str },
    #[error("{field} is {value}, the largest allowed is {max}")]
    OutOfRange { field: &'static str, value: u64, max: u64 },
    #[error("{field} has the unsupported value {value}")]
    Unsupported { field: &'static str, value: u64 },
    #[error("{structure} is missing")]
    Missing { structure: &'static str },
    #[error("a picture of {width}x{height} is outside of 1x1 to {MAX_PICTURE_EDGE}x{MAX_PICTURE_EDGE}")]
    PictureSize { width: u64, height: u64 },
}

/// Checks a picture size against [`MAX_PICTURE_EDGE`].
pub(crate) fn picture_size(width: u64, height: u64) -> Result<(u32, u32), CodecError> {
    let edge = 1..=u64::from(MAX_PICTURE_EDGE);
    if edge.contains(&width) && edge.contains(&height) {
        Ok((width as u32, height as u32))
    } else {
        Err(CodecError::PictureSize { width, height })
    }
}

#[cfg(test)]
pub(crate) mod test_support;
