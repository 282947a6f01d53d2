//! A media playlist, read strictly: what a player would have to guess is an error.

use std::collections::HashMap;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("it does not start with #EXTM3U")]
    NoHeader,
    #[error("line {line}: {tag} has no readable {what}")]
    Value { line: usize, tag: String, what: String },
    #[error("line {line}: {uri} has no EXTINF")]
    NoDuration { line: usize, uri: String },
    #[error("line {line}: unknown tag {tag}")]
    UnknownTag { line: usize, tag: String },
}

#[derive(Debug, Clone, PartialEq)]
pub struct ParsedPart {
    pub uri: String,
    pub duration_s: f64,
    pub independent: bool,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ParsedSegment {
    /// None while it is incomplete.
    pub uri: Option<String>,
    pub duration_s: Option<f64>,
    pub discontinuity: bool,
    /// The init segment that applies to it.
    pub map: Option<String>,
    pub program_date_time: Option<String>,
    pub parts: Vec<ParsedPart>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ParsedPlaylist {
    pub version: Option<u64>,
    pub target_duration_s: Option<u64>,
    pub part_target_s: Option<f64>,
    pub hold_back_s: Option<f64>,
    pub skip_until_s: Option<f64>,
    pub can_block_reload: bool,
    /// 0 when the tag is absent, as the specification says.
    pub media_sequence: u64,
    pub discontinuity_sequence: u64,
    pub skipped: u64,
    /// After the skipped ones; the last may be incomplete.
    pub segments: Vec<ParsedSegment>,
    pub hint: Option<String>,
    pub ended: bool,
}

impl ParsedPlaylist {
    /// Segments shown, with their media sequence numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (u64, &ParsedSegment)> {
        (self.media_sequence + self.skipped..).zip(&self.segments)
    }
}

/// Reads a media playlist.
pub fn parse(text: &str) -> Result<ParsedPlaylist, ParseError> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    if lines.next().map(|(_, line)| line) != Some("#EXTM3U") {
        return Err(ParseError::NoHeader);
    }
    let mut reader = Reader::default();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
        match line.strip_prefix('#') {
            Some(tag) if tag.starts_with("EXT") => reader.tag(number, line)?,
            Some(_) => {}
            None => reader.uri(number, line)?,
        }
    }
    Ok(reader.finish())
}

#[derive(Default)]
struct Reader {
    playlist: ParsedPlaylist,
    segment: ParsedSegment,
    map: Option<String>,
}

impl Reader {
    fn tag(&mut self, line: usize, text: &str) -> Result<(), ParseError> {
        let (tag, value) = text.split_once(':').unwrap_or((text, ""));
        let tags = Tag { line, tag, attributes: attributes(value) };
        let playlist = &mut self.playlist;
        match tag {
            "#EXT-X-VERSION" => playlist.version = Some(tags.value(value)?),
            "#EXT-X-TARGETDURATION" => playlist.target_duration_s = Some(tags.value(value)?),
            "#EXT-X-MEDIA-SEQUENCE" => playlist.media_sequence = tags.value(value)?,
            "#EXT-X-DISCONTINUITY-SEQUENCE" => playlist.discontinuity_sequence = tags.value(value)?,
            "#EXT-X-SERVER-CONTROL" => {
                playlist.can_block_reload = tags.attributes.get("CAN-BLOCK-RELOAD").is_some_and(|yes| *yes == "YES");
                playlist.hold_back_s = tags.optional("PART-HOLD-BACK")?;
                playlist.skip_until_s = tags.optional("CAN-SKIP-UNTIL")?;
            }
            "#EXT-X-PART-INF" => playlist.part_target_s = Some(tags.required("PART-TARGET")?),
            "#EXT-X-SKIP" => playlist.skipped = tags.required("SKIPPED-SEGMENTS")?,
            "#EXT-X-DISCONTINUITY" => self.segment.discontinuity = true,
            "#EXT-X-MAP" => self.map = Some(tags.required("URI")?),
            "#EXT-X-PROGRAM-DATE-TIME" => self.segment.program_date_time = Some(value.to_owned()),
            "#EXT-X-PART" => self.segment.parts.push(ParsedPart {
                uri: tags.required("URI")?,
                duration_s: tags.required("DURATION")?,
                independent: tags.attributes.get("INDEPENDENT").is_some_and(|yes| *yes == "YES"),
            }),
            "#EXTINF" => self.segment.duration_s = Some(tags.value(value.split(',').next().unwrap_or(""))?),
            "#EXT-X-PRELOAD-HINT" => playlist.hint = Some(tags.required("URI")?),
            "#EXT-X-ENDLIST" => playlist.ended = true,
            _ => return Err(ParseError::UnknownTag { line, tag: tag.to_owned() }),
        }
        Ok(())
    }

    fn uri(&mut self, line: usize, uri: &str) -> Result<(), ParseError> {
        let mut segment = std::mem::take(&mut self.segment);
        if segment.duration_s.is_none() {
            return Err(ParseError::NoDuration { line, uri: uri.to_owned() });
        }
        segment.uri = Some(uri.to_owned());
        segment.map = self.map.clone();
        self.playlist.segments.push(segment);
        Ok(())
    }

    fn finish(mut self) -> ParsedPlaylist {
        if !self.segment.parts.is_empty() {
            self.segment.map = self.map;
            self.playlist.segments.push(self.segment);
        }
        self.playlist
    }
}

struct Tag<'a> {
    line: usize,
    tag: &'a str,
    attributes: HashMap<&'a str, &'a str>,
}

impl Tag<'_> {
    fn value<T: std::str::FromStr>(&self, value: &str) -> Result<T, ParseError> {
        value.parse().map_err(|_| self.error("value"))
    }

    fn required<T: std::str::FromStr>(&self, name: &str) -> Result<T, ParseError> {
        self.optional(name)?.ok_or_else(|| self.error(name))
    }

    fn optional<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ParseError> {
        self.attributes.get(name).map(|value| value.parse().map_err(|_| self.error(name))).transpose()
    }

    fn error(&self, what: &str) -> ParseError {
        ParseError::Value { line: self.line, tag: self.tag.to_owned(), what: what.to_owned() }
    }
}

/// `NAME=value,NAME="quoted, value"` (RFC 8216bis section 4.2), without the quotes.
fn attributes(list: &str) -> HashMap<&str, &str> {
    let mut found = HashMap::new();
    let mut rest = list;
    while let Some((name, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, next) = quoted.split_once('"').unwrap_or((quoted, ""));
                (value, next.strip_prefix(',').unwrap_or(next))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.insert(name.trim(), value);
        rest = next;
    }
    found
}
