//! Names of everything below a stream's `/hls/<name>/`, both ways.

use std::fmt;

/// Which init segment: one per publication (`epoch`) and change of its tracks (`version`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InitName {
    pub epoch: u64,
    pub version: u32,
}

/// A file name below a stream. Names are never used twice, also not by the engine's next process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// `index.m3u8`: the multivariant playlist.
    Multivariant,
    /// `media.m3u8`: the media playlist.
    Media,
    /// `init-<epoch>-<version>.mp4`
    Init(InitName),
    /// `seg-<media sequence number>.mp4`
    Segment(u64),
    /// `part-<first media sequence number of the window>-<count>.mp4`: counted through all segments, so
    /// that the next part's name is known before it is known which segment it belongs to.
    Part { window: u64, index: u64 },
}

impl Resource {
    /// The resource of a file name, or None for anything we never write.
    pub fn parse(name: &str) -> Option<Resource> {
        match name {
            "index.m3u8" => return Some(Resource::Multivariant),
            "media.m3u8" => return Some(Resource::Media),
            _ => {}
        }
        let mut words = name.strip_suffix(".mp4")?.split('-');
        let kind = words.next()?;
        let resource = match (kind, words.next(), words.next()) {
            ("init", Some(epoch), Some(version)) => {
                Resource::Init(InitName { epoch: number(epoch)?, version: u32::try_from(number(version)?).ok()? })
            }
            ("seg", Some(msn), None) => Resource::Segment(number(msn)?),
            ("part", Some(window), Some(index)) => Resource::Part { window: number(window)?, index: number(index)? },
            _ => return None,
        };
        words.next().is_none().then_some(resource)
    }
}

/// Plain decimal digits: `u64::from_str` would also take a sign.
fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Multivariant => f.write_str("index.m3u8"),
            Resource::Media => f.write_str("media.m3u8"),
            Resource::Init(InitName { epoch, version }) => write!(f, "init-{epoch}-{version}.mp4"),
            Resource::Segment(msn) => write!(f, "seg-{msn}.mp4"),
            Resource::Part { window, index } => write!(f, "part-{window}-{index}.mp4"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for resource in [
            Resource::Multivariant,
            Resource::Media,
            Resource::Init(InitName { epoch: 1_764_000_000_001, version: 2 }),
            Resource::Segment(186_000_000),
            Resource::Part { window: 186_000_000, index: 0 },
        ] {
            assert_eq!(Resource::parse(&resource.to_string()), Some(resource));
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            ".mp4",
            "seg-.mp4",
            "seg-1",
            "seg-+1.mp4",
            "seg--1.mp4",
            "seg-1-2.mp4",
            "part-1.mp4",
            "part-1-2-3.mp4",
            "init-1-99999999999.mp4",
            "seg-99999999999999999999999.mp4",
            "../index.m3u8",
            "index.m3u8/",
            "seg-１.mp4",
        ] {
            assert_eq!(Resource::parse(name), None, "{name}");
        }
    }
}
