//! Is a stopped validator's store whole?

use std::path::Path;

use validator::{PartReport, StoreReport};

use crate::{
    cli::Verify,
    failure::{Exit, Failure},
    output::{Output, table},
};

pub(crate) fn run(verb: &Verify, output: Output) -> Result<Exit, Failure> {
    match verb {
        Verify::Store { dir } => store(dir, output),
    }
}

fn store(dir: &Path, output: Output) -> Result<Exit, Failure> {
    let report = validator::verify_store(dir)?;
    output.data(&show(&report), &report);
    Ok(if report.whole { Exit::Ok } else { Exit::Missed })
}

fn show(report: &StoreReport) -> String {
    let row = |part: &PartReport| {
        let heights = part.heights.map_or_else(String::new, |(first, last)| format!("{first} to {last}"));
        let verdict =
            if part.damage.is_empty() { "whole".to_owned() } else { format!("{} damaged", part.damage.len()) };
        vec![part.name.clone(), part.files.to_string(), format!("{} KiB", part.bytes >> 10), heights, verdict]
    };
    let mut text = table(&["PART", "FILES", "SIZE", "HEIGHTS", "VERDICT"], report.parts.iter().map(row));
    for part in &report.parts {
        for what in &part.damage {
            text.push_str(&format!("\n{}: {what}", part.name));
        }
    }
    if report.quarantined > 0 {
        text.push_str(&format!("\n{} damaged pieces of before are kept in quarantine", report.quarantined));
    }
    text.push_str(if report.whole {
        "\nwhole"
    } else {
        "\ndamaged: start the validator, it takes out what is damaged and fetches it from its peers"
    });
    text
}
