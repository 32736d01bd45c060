//! What does a benchmark say?
//!
//! One table, what was measured on and with, and remarks that a reader needs to judge the figures.

use serde::Serialize;
use std::fmt;

/// The outcome of one benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Names the document and its version.
    pub schema: &'static str,
    /// What was run, with all that decides the outcome: to be run again.
    pub command: String,
    /// Programs and versions that took part, `name version`.
    pub versions: Vec<String>,
    /// What the columns are; units are part of the name.
    pub columns: Vec<&'static str>,
    /// One row for each thing measured.
    pub rows: Vec<Vec<Cell>>,
    /// What to know before quoting a figure.
    pub notes: Vec<String>,
}

/// A field of a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// A name.
    Text(String),
    /// A count.
    Count(u64),
    /// A measured quantity.
    Figure(f64),
    /// Not measured, or without meaning here.
    Nothing,
}

impl Report {
    /// Nothing measured yet.
    pub fn new(command: String, columns: Vec<&'static str>) -> Self {
        let ours = format!("unsplit {}", env!("CARGO_PKG_VERSION"));
        Self { schema: "unsplit.bench/1", command, versions: vec![ours], columns, rows: Vec::new(), notes: Vec::new() }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<f64> for Cell {
    fn from(figure: f64) -> Self {
        Self::Figure(figure)
    }
}

impl From<Option<f64>> for Cell {
    fn from(figure: Option<f64>) -> Self {
        figure.map_or(Self::Nothing, Self::Figure)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.pad(text),
            Self::Count(count) => f.pad(&count.to_string()),
            Self::Figure(figure) => f.pad(&rounded(*figure)),
            Self::Nothing => f.pad("-"),
        }
    }
}

/// Three digits that matter, and no exponent where none is needed.
fn rounded(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".into(),
        size if size < 0.001 => format!("{figure:.2e}"),
        size if size < 10.0 => format!("{figure:.3}"),
        size if size < 100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

/// The table for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.command, self.versions.join(" · "))?;
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].to_string().chars().count());
            cells.chain([self.columns[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let heads = self.columns.iter().zip(&widths).map(|(head, width)| format!("{head:>width$}"));
        writeln!(f, "{}", heads.collect::<Vec<_>>().join("  "))?;
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  "))?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table_for_people_and_a_document_for_programs() {
        let mut report = Report::new("bench x --seed 1".into(), vec!["what", "s"]);
        report.rows.push(vec!["ours".into(), 0.5.into()]);
        report.rows.push(vec!["a peer".into(), Cell::Nothing]);
        report.notes.push("on a quiet machine".into());
        let text = report.to_string();
        assert!(text.contains("  what      s\n  ours  0.500\na peer      -\n- on a quiet machine"), "{text}");
        let document = serde_json::to_value(&report).expect("serializes");
        assert_eq!(document["rows"], serde_json::json!([["ours", 0.5], ["a peer", null]]));
    }
}
