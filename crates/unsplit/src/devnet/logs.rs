//! What the validators write.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    time::Duration,
};

use super::record::{NodeRecord, Record};
use crate::{
    devnet::groups,
    failure::{Exit, Failure},
    files,
    output::Output,
    signals::Signals,
};

pub(crate) async fn show(
    dir: &Path,
    node: Option<&str>,
    follow: bool,
    lines: usize,
    output: Output,
) -> Result<Exit, Failure> {
    let mut signals = Signals::listen();
    let record = Record::load(dir)?;
    let mut nodes = record.nodes.clone();
    if let Some(name) = node {
        let index = groups::find(name, &record.names()).map_err(|why| Failure::not_found(why, ""))?;
        nodes = vec![nodes[index].clone()];
    }
    let mut tails: Vec<Tail> = nodes.iter().map(Tail::new).collect();
    let named = nodes.len() > 1;
    for (tail, node) in tails.iter_mut().zip(&nodes) {
        tail.skip();
        files::tail(&node.log, lines).iter().all(|line| print(output, named, &node.name, line));
    }
    if !follow {
        return Ok(Exit::Ok);
    }
    tokio::select! {
        exit = signals.next() => Ok(exit),
        () = go_on(&mut tails, &nodes, named, output) => Ok(Exit::Ok),
    }
}

/// Whether anybody still reads.
fn print(output: Output, named: bool, name: &str, line: &str) -> bool {
    output.stream_line(&if named { format!("{name} {line}") } else { line.to_owned() })
}

/// Ends when the folder or the reader is gone.
async fn go_on(tails: &mut [Tail], nodes: &[NodeRecord], named: bool, output: Output) {
    while nodes.iter().any(|node| node.log.exists()) {
        for (tail, node) in tails.iter_mut().zip(nodes) {
            if !tail.news().iter().all(|line| print(output, named, &node.name, line)) {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A log and how far it has been read.
struct Tail {
    path: std::path::PathBuf,
    offset: u64,
    rest: String,
}

impl Tail {
    fn new(node: &NodeRecord) -> Self {
        Self { path: node.log.clone(), offset: 0, rest: String::new() }
    }

    fn skip(&mut self) {
        self.offset = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
    }

    /// The lines that were completed since the last look. A log that was emptied is read from its start.
    fn news(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            let length = file.metadata()?.len();
            if length < self.offset {
                self.offset = 0;
            }
            file.seek(SeekFrom::Start(self.offset))?;
            file.take(1 << 20).read_to_end(&mut bytes)
        });
        self.offset += read.unwrap_or(0) as u64;
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        let Some(end) = self.rest.rfind('\n') else { return Vec::new() };
        let rest = self.rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.rest, rest);
        lines.lines().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_whole_lines_also_after_the_log_was_emptied() {
        let path = std::env::temp_dir().join(format!("unsplit-news-{}", std::process::id()));
        let mut tail = Tail { path: path.clone(), offset: 0, rest: String::new() };
        let mut look = |text: &str| {
            std::fs::write(&path, text).expect("a temporary file");
            tail.news()
        };
        assert_eq!(look("one\ntw"), ["one"]);
        assert_eq!(look("one\ntwo\n"), ["two"]);
        assert_eq!(look("one\ntwo\n"), Vec::<String>::new());
        assert_eq!(look("new\n"), ["new"]);
        std::fs::remove_file(path).expect("our own file");
    }
}
