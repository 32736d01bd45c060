//! What is kept of a validator that failed, for whoever has to find out why?

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::{failure::Failure, files};

/// Failures that are kept; older ones go.
const KEPT_MAX: usize = 10;

/// One failure.
#[derive(Debug, Serialize)]
pub(super) struct Evidence<'a> {
    pub(super) schema: &'static str,
    pub(super) time_ms: u64,
    pub(super) node: &'a str,
    /// How the process ended, or why it was ended.
    pub(super) reason: &'a str,
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) ran_ms: u64,
    pub(super) version: &'static str,
    pub(super) attempts_left: usize,
}

/// Writes a folder with `evidence.json`, the last lines of output and a copy of the configuration, which holds no secrets.
/// Says where.
pub(super) fn keep(dir: &Path, evidence: &Evidence<'_>, lines: &[String], config: &Path) -> Result<PathBuf, Failure> {
    files::make_folder(dir)?;
    let number = numbers(dir)?.last().map_or(1, |(number, _)| number + 1);
    let folder = dir.join(format!("{number:06}-{}", stamp(evidence.time_ms)));
    files::make_folder(&folder)?;
    let text = serde_json::to_string_pretty(evidence).expect("strings and numbers");
    files::replace(&folder.join("evidence.json"), &text)?;
    files::replace(&folder.join("output.log"), &(lines.join("\n") + "\n"))?;
    let copy = folder.join("node.toml");
    fs::copy(config, &copy).map_err(Failure::file("copy the configuration to", &copy))?;
    prune(dir)?;
    Ok(folder)
}

/// The folders that are ours, oldest first. Numbers rather than times order them: a clock may have stepped back.
fn numbers(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Failure> {
    let entries = fs::read_dir(dir).map_err(Failure::file("read the folder", dir))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut numbers: Vec<_> = paths.filter_map(|path| Some((number(&path)?, path))).collect();
    numbers.sort();
    Ok(numbers)
}

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

fn prune(dir: &Path) -> Result<(), Failure> {
    let mut kept = numbers(dir)?;
    let surplus = kept.len().saturating_sub(KEPT_MAX);
    let mut gone = kept.drain(..surplus);
    gone.try_for_each(|(_, folder)| fs::remove_dir_all(&folder).map_err(Failure::file("remove", &folder)))
}

/// `20260706T162007Z`.
fn stamp(time_ms: u64) -> String {
    let time = i64::try_from(time_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| time_ms.to_string(), |time| time.strftime("%Y%m%dT%H%M%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ten_are_kept_and_nothing_of_others_is_touched() {
        let dir = std::env::temp_dir().join(format!("unsplit-evidence-{}", std::process::id()));
        files::make_folder(&dir).expect("a temporary folder");
        let config = dir.join("node.toml");
        fs::write(&config, "name = \"n0\"\n").expect("our own folder");
        let mut kept = Vec::new();
        for failure in 0..12 {
            let evidence = Evidence {
                schema: "unsplit.evidence/1",
                // A clock that goes back.
                time_ms: 1_000_000_000_000 - failure * 3_600_000,
                node: "n0",
                reason: "exit code 1",
                exit_code: Some(1),
                signal: None,
                ran_ms: 5,
                version: "1",
                attempts_left: 2,
            };
            kept.push(keep(&dir, &evidence, &["a".into(), "b".into()], &config).expect("a folder"));
        }
        let exist: Vec<bool> = kept.iter().map(|folder| folder.exists()).collect();
        assert_eq!(exist, [vec![false; 2], vec![true; 10]].concat());
        assert!(config.exists());
        let read = |name: &str| fs::read_to_string(kept[11].join(name)).expect("it was written");
        assert_eq!((read("output.log").as_str(), read("node.toml").as_str()), ("a\nb\n", "name = \"n0\"\n"));
        assert!(read("evidence.json").contains("\"exit_code\": 1"));
        assert!(kept[11].ends_with("000012-20010908T144640Z"), "{:?}", kept[11]);
        fs::remove_dir_all(dir).expect("our own folder");
    }
}
