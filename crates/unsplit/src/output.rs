//! Data goes to standard output, talk to standard error.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::{
    cli::Format,
    failure::{Exit, Failure},
};

/// Where and how to say things.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
    quiet: bool,
}

#[derive(Serialize)]
struct ErrorDocument<'a> {
    schema: &'static str,
    message: &'a str,
    help: &'a str,
    exit: u8,
}

#[derive(Serialize)]
struct VersionDocument {
    schema: &'static str,
    version: &'static str,
    config_version: u32,
}

impl Output {
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        Self { format, quiet }
    }

    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Data: `human` for people, `document` for programs.
    pub(crate) fn data(self, human: &str, document: &impl Serialize) {
        let text = match self.format {
            Format::Human => human.trim_end().to_owned(),
            Format::Json => serde_json::to_string_pretty(document).expect("documents hold strings, numbers and lists"),
        };
        print(&text);
    }

    /// Data that only people read, line by line as it comes; programs get it as talk.
    pub(crate) fn line(self, line: &str) {
        match self.format {
            Format::Human => {
                print(line);
            }
            Format::Json => self.talk(line),
        }
    }

    /// A document of others, as it is, whoever reads it.
    pub(crate) fn raw(self, text: &str) -> Exit {
        print(text);
        Exit::Ok
    }

    /// One piece of a stream, as it is, whoever reads it. Whether anybody still does.
    pub(crate) fn stream_line(self, line: &str) -> bool {
        print(line)
    }

    /// Talk: what happens, for whoever looks.
    pub(crate) fn talk(self, line: &str) {
        if !self.quiet {
            // A closed standard error is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    pub(crate) fn failure(self, failure: &Failure) {
        let text = match self.format {
            Format::Human if failure.help.is_empty() => format!("error: {}", failure.message),
            Format::Human => format!("error: {}\nhelp: {}", failure.message, failure.help),
            Format::Json => {
                let Failure { message, help, exit } = failure;
                let document = ErrorDocument { schema: "unsplit.error/1", message, help, exit: *exit as u8 };
                serde_json::to_string(&document).expect("strings and a number")
            }
        };
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    pub(crate) fn version(self) -> Exit {
        let version = env!("CARGO_PKG_VERSION");
        let document =
            VersionDocument { schema: "unsplit.version/1", version, config_version: validator::config::VERSION };
        self.data(&format!("unsplit {version}"), &document);
        Exit::Ok
    }
}

/// A reader that went away (`unsplit blocks | head`) is no error of ours. Whether it is still there.
fn print(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

/// Whether a person reads standard output.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// `1 byte`, `2 bytes`.
pub(crate) fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Text of strangers for a terminal: what would move the cursor or change the colours is spelled out.
pub(crate) fn harmless(text: &str) -> String {
    let shown = |character: char| match character {
        '\n' | '\t' => character.to_string(),
        control if control.is_control() => control.escape_default().to_string(),
        other => other.to_string(),
    };
    text.chars().map(shown).collect()
}

/// A table without lines: columns are enough.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "byte")), ["0 bytes", "1 byte", "2 bytes"]);
    }

    #[test]
    fn what_is_shown_cannot_take_over_the_terminal() {
        assert_eq!(harmless("a\tb\n\u{1b}[2Jc\u{7}\r grün"), "a\tb\n\\u{1b}[2Jc\\u{7}\\r grün");
    }

    #[test]
    fn a_table_lines_up_and_ends_its_lines() {
        let text = table(&["name", "height"], [vec!["n0".into(), "17".into()], vec!["n10".into(), "?".into()]]);
        assert_eq!(text, " name  height\n n0    17\n n10   ?");
    }
}
