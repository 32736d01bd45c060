//! Who can talk to whom?

use api::{EpisodeView, MatrixView, PartitionsView};

use crate::{
    cli::Global,
    client::Client,
    failure::{Exit, Failure},
    output::{self, Output},
    status::{clock, span},
};

/// What is left of the network, and what it was like before.
pub(crate) async fn show(global: &Global, output: Output) -> Result<Exit, Failure> {
    let partitions = Client::of(global)?.partitions().await?;
    output.data(&page(&partitions), &partitions);
    Ok(Exit::Ok)
}

/// Who says that it hears whom.
pub(crate) async fn matrix(global: &Global, output: Output) -> Result<Exit, Failure> {
    let matrix = Client::of(global)?.matrix().await?;
    output.data(&table(&matrix), &matrix);
    Ok(Exit::Ok)
}

fn page(view: &PartitionsView) -> String {
    let mut lines = vec![view.sentence.clone()];
    lines.extend(clock(view.since_ms).map(|since| format!("  since {since}")));
    let at_least = if view.mutual_is_largest { "" } else { "at least " };
    let (count, mutual) = (view.mutual.len(), view.mutual.join(" "));
    lines.push(format!("  {at_least}{count} hear each other, {} are needed: {mutual}", view.quorum));
    lines.extend(view.damaged.iter().map(|link| match link.state.as_str() {
        "one_way" => format!("  {} → {} only", link.from, link.to),
        state => format!("  {} - {} {state}", link.from, link.to),
    }));
    if !view.history.is_empty() {
        lines.push("before".into());
        lines.extend(view.history.iter().map(episode));
    }
    lines.join("\n")
}

fn episode(episode: &EpisodeView) -> String {
    let lasted = span(episode.until_ms.saturating_sub(episode.since_ms));
    format!("  {} for {lasted}: {}", clock(episode.since_ms).unwrap_or_default(), episode.sentence)
}

/// A row for each, with what it says of the others.
fn table(matrix: &MatrixView) -> String {
    let sign = |word: &str| match word {
        "hears" => "+",
        "deaf" => "-",
        _ => "?",
    };
    let rows = matrix.nodes.iter().zip(&matrix.rows).enumerate().map(|(me, (name, row))| {
        let cells = row.iter().enumerate().map(|(about, word)| if me == about { "" } else { sign(word) }.to_owned());
        std::iter::once(name.clone()).chain(cells).collect::<Vec<_>>()
    });
    let head: Vec<&str> = std::iter::once("hears").chain(matrix.nodes.iter().map(String::as_str)).collect();
    output::table(&head, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_is_cut_and_what_was_before() {
        let link = |from: &str, to: &str, state: &str| api::DamageView {
            from: from.into(),
            to: to.into(),
            state: state.into(),
        };
        let view = PartitionsView {
            sentence: "split".into(),
            mutual: vec!["n0".into(), "n1".into()],
            mutual_is_largest: true,
            quorum: 3,
            damaged: vec![link("n2", "n0", "one_way"), link("n1", "n2", "cut")],
            history: vec![EpisodeView { sentence: "whole".into(), since_ms: 1_000, until_ms: 61_000 }],
            ..PartitionsView::default()
        };
        let page = page(&view);
        for words in ["2 hear each other, 3 are needed: n0 n1", "n2 → n0 only", "n1 - n2 cut", "for 60 s: whole"] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }

    #[test]
    fn the_matrix_has_a_sign_for_each_word() {
        let row = |words: [&str; 2]| words.map(str::to_owned).to_vec();
        let matrix = MatrixView {
            nodes: vec!["n0".into(), "n1".into()],
            rows: vec![row(["unknown", "hears"]), row(["deaf", "unknown"])],
            ..MatrixView::default()
        };
        let table = table(&matrix);
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [vec!["hears", "n0", "n1"], vec!["n0", "+"], vec!["n1", "-"]]);
    }
}
