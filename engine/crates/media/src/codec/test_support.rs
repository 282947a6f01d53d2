//! Helpers of the parser tests: bytes from hex, and seeded damage.

/// Bytes of a hex string; white space is ignored.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Calls `parse` with `rounds` damaged copies of `seed`: flipped bits, random bytes, cut and repeated parts.
/// The damage depends only on the seed, so a failure repeats.
pub fn mutate(seed: &[u8], rounds: u32, mut parse: impl FnMut(&[u8])) {
    for length in 0..=seed.len() {
        parse(&seed[..length]);
    }
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % below.max(1)
    };
    for _ in 0..rounds {
        let mut copy = seed.to_vec();
        for _ in 0..=random(4) {
            if copy.is_empty() {
                break;
            }
            let at = random(copy.len());
            match random(4) {
                0 => copy[at] ^= 1 << random(8),
                1 => copy[at] = random(256) as u8,
                2 => copy.truncate(at),
                _ => copy.extend_from_within(at..),
            }
        }
        parse(&copy);
    }
}
