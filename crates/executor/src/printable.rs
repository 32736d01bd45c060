//! What of a stranger's text may be shown?
//!
//! Payloads and programs write what they like, and it ends up in terminals, logs and pages. Escape sequences, line
//! breaks and characters that turn the direction of writing become single spaces.

/// The text as one line without anything invisible.
pub(crate) fn printable(text: &str) -> String {
    let visible: String = text.chars().map(|c| if is_visible(c) { c } else { ' ' }).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The beginning of the text, at most this many bytes of it; an ellipsis shows that something is missing.
pub(crate) fn beginning(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_string();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub(ELLIPSIS.len()));
    format!("{}{ELLIPSIS}", text[..end].trim_end())
}

/// The end of the text, at most this many bytes of it; an ellipsis shows that something is missing.
pub(crate) fn ending(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_string();
    }
    let room = bytes_max.saturating_sub(ELLIPSIS.len());
    let start = text.ceil_char_boundary(text.len() - room);
    format!("{ELLIPSIS}{}", text[start..].trim_start())
}

const ELLIPSIS: &str = "…";

/// The standard library's judgement: a character is printable if its debug form needs no escape.
fn is_visible(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().eq([c])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_becomes_one_space() {
        assert_eq!(printable("a\u{1b}[31m\r\n\tb\0"), "a [31m b");
        assert_eq!(printable("left\u{202e}right \u{200b} end"), "left right end");
        assert_eq!(printable("  \"quoted\" 'ä' \\ 日本 "), "\"quoted\" 'ä' \\ 日本");
        assert_eq!(printable(""), "");
    }

    #[test]
    fn a_cut_is_shown_and_never_splits_a_character() {
        assert_eq!(beginning("12345", 5), "12345");
        assert_eq!(beginning("123456", 5), "12…");
        assert_eq!(beginning("ääää", 6), "ä…");
        assert_eq!(ending("12345", 5), "12345");
        assert_eq!(ending("123456", 5), "…56");
        assert_eq!(ending("ääää", 6), "…ä");
    }
}
