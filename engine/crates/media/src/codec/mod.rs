//! What this server must read out of encoded bits: sizes, profiles, reordering, keyframes.
