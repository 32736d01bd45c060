//! Server-sent events, out of whatever pieces they come in.

use api::Missed;

/// The events of ours are short; whoever sends more in one line is no validator of ours.
const LINE_BYTES_MAX: usize = 1 << 20;

/// One thing that a validator says.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    /// An event, as the JSON it came as.
    Event { offset: Option<u64>, data: String },
    /// So many events were dropped.
    Missed(u64),
}

/// Puts lines together, and frames out of lines.
#[derive(Default)]
pub(crate) struct Frames {
    line: Vec<u8>,
    offset: Option<u64>,
    is_missed: bool,
    data: String,
}

impl Frames {
    /// The frames that are complete with this piece.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<Vec<Frame>, &'static str> {
        let mut frames = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                return Err("a line without end");
            }
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                frames.extend(self.line(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n'])));
            }
        }
        Ok(frames)
    }

    fn line(&mut self, line: &str) -> Option<Frame> {
        if line.is_empty() {
            return self.end();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.offset = value.parse().ok(),
            "event" => self.is_missed = value == "missed",
            "data" => self.data.push_str(value),
            // Comments, which show that somebody is there, and what may come one day.
            _ => {}
        }
        None
    }

    /// An empty line ends a frame, if there was one.
    fn end(&mut self) -> Option<Frame> {
        let Self { offset, is_missed, data, .. } = std::mem::take(self);
        if data.is_empty() {
            return None;
        }
        if is_missed {
            return serde_json::from_str(&data).ok().map(|Missed { missed }| Frame::Missed(missed));
        }
        Some(Frame::Event { offset, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\nid: 7\nevent: finalized\ndata: {\"a\": 1}\n\nevent: missed\ndata: {\"missed\":3}\n\n\
                          data:{}\r\n\r\nid: 9\ndata: half";

    fn expected() -> Vec<Frame> {
        let event = |offset, data: &str| Frame::Event { offset, data: data.into() };
        vec![event(Some(7), "{\"a\": 1}"), Frame::Missed(3), event(None, "{}")]
    }

    #[test]
    fn frames_are_the_same_in_whatever_pieces_they_come() {
        for size in [1, 2, 7, 1_000] {
            let mut frames = Frames::default();
            let pieces = STREAM.as_bytes().chunks(size);
            let all: Vec<Frame> = pieces.flat_map(|piece| frames.push(piece).expect("short lines")).collect();
            assert_eq!(all, expected(), "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_has_an_end() {
        let mut frames = Frames::default();
        assert_eq!(frames.push(&vec![b'x'; LINE_BYTES_MAX]), Ok(Vec::new()));
        assert!(frames.push(b"x").is_err());
    }
}
