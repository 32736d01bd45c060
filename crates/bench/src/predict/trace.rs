//! What failed when, and what could have?
//!
//! Reads the failure records of Los Alamos National Laboratory, 1995 to 2005 (LA-UR-05-7318; Schroeder and Gibson, "A
//! large-scale study of failures in high-performance computing systems", DSN 2006). The file lists failures only. That a
//! node exists and never failed is told by the number of nodes of its system, which stands in every line.

use crate::Failure;
use jiff::civil;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Minutes in a day.
pub(super) const DAY: u64 = 24 * 60;

/// No system of the trace is near this; a larger number is an error in the file.
const NODES_MAX: u32 = 10_000;

/// The start of time here: midnight before anything was recorded.
fn epoch() -> civil::Date {
    civil::date(1990, 1, 1)
}

/// A history of failures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Trace {
    /// Where it came from.
    pub(super) source: String,
    /// All nodes, also those that never failed.
    pub(super) nodes: Vec<Node>,
    /// All failures, by when they began.
    pub(super) failures: Vec<Down>,
    /// Lines that name no node.
    pub(super) nameless: u64,
}

/// A machine that could fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Node {
    /// Which system it belongs to.
    pub(super) system: u32,
    /// Its number there.
    pub(super) number: u32,
    /// Since when it served, in minutes since the epoch.
    pub(super) from: u64,
    /// Until when.
    pub(super) until: u64,
}

/// A failure.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Down {
    /// When it began, in minutes since the epoch.
    pub(super) start: u64,
    /// When it was mended.
    pub(super) fixed: u64,
    /// Index of the node.
    pub(super) node: usize,
}

impl Trace {
    /// How many nodes never failed.
    pub(super) fn unscathed(&self) -> usize {
        self.nodes.len() - self.failures.iter().map(|down| down.node).collect::<BTreeSet<_>>().len()
    }
}

/// The first minute of a year.
pub(super) fn year(year: i16) -> u64 {
    minutes(civil::date(year, 1, 1).at(0, 0, 0, 0)).expect("after 1990")
}

/// Reads `lanl.csv.xz` or `lanl.csv` in a folder.
pub(super) fn read(folder: &Path) -> Result<Trace, Failure> {
    let (packed, plain) = (folder.join("lanl.csv.xz"), folder.join("lanl.csv"));
    let (path, text) =
        if packed.exists() { (packed.clone(), unpack(&packed)?) } else { (plain.clone(), load(&plain)?) };
    let mut trace = parse(&text).map_err(|message| odd(&path, &message))?;
    trace.source = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(trace)
}

fn load(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure {
        message: format!("{}: {error}", path.display()),
        help: "give --data the folder that has lanl.csv.xz or lanl.csv, or leave it out for generated data".into(),
    })
}

fn unpack(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    let packed = load(path)?;
    let mut text = Vec::new();
    lzma_rs::xz_decompress(&mut packed.as_slice(), &mut text)
        .map_err(|error| odd(path, &format!("cannot be unpacked: {error}")))?;
    Ok(text)
}

fn odd(path: &Path, message: &str) -> Failure {
    Failure {
        message: format!("{}: {message}", path.display()),
        help: "take the file as it was published (LA-UR-05-7318), or leave --data out for generated data".into(),
    }
}

/// One line, as far as it matters here.
struct Line {
    system: u32,
    number: u32,
    nodes: u32,
    served: (Since, Until),
    start: u64,
    fixed: u64,
}

/// When a node began to serve, in minutes since the epoch; `None` before records were kept.
type Since = Option<u64>;
/// When it ceased to; `None` while it serves.
type Until = Option<u64>;

/// Reads the text of the file.
pub(super) fn parse(text: &[u8]) -> Result<Trace, String> {
    let mut reader = csv::Reader::from_reader(text);
    let columns = Columns::find(reader.headers().map_err(|error| error.to_string())?)?;
    let (mut lines, mut nameless) = (Vec::new(), 0);
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let at = record.position().map_or(0, csv::Position::line);
        match columns.line(&record).map_err(|message| format!("line {at}: {message}"))? {
            Some(line) => lines.push(line),
            None => nameless += 1,
        }
    }
    if lines.is_empty() {
        return Err("no line names a node that failed".into());
    }
    Ok(assemble(&lines, nameless))
}

/// Where the columns are.
struct Columns([usize; 7]);

impl Columns {
    const NAMES: [&str; 7] = ["System", "nodes", "nodenumz", "node prod", "node decom", "Prob Started", "Prob Fixed"];

    fn find(heads: &csv::StringRecord) -> Result<Self, String> {
        let mut columns = [0; 7];
        for (column, name) in columns.iter_mut().zip(Self::NAMES) {
            let found = heads.iter().position(|head| head == name);
            *column = found.ok_or_else(|| format!("line 1: no column \"{name}\""))?;
        }
        Ok(Self(columns))
    }

    /// A line; `None` if it does not say which node failed.
    fn line(&self, record: &csv::StringRecord) -> Result<Option<Line>, String> {
        let [system, nodes, number, since, until, start, fixed] = self.0.map(|column| record.get(column).unwrap_or(""));
        if number.is_empty() {
            return Ok(None);
        }
        let (start, fixed) = (moment("Prob Started", start)?, moment("Prob Fixed", fixed)?);
        if fixed < start {
            return Err("it was mended before it failed".into());
        }
        let served = (month("node prod", since, "before tracking", 0)?, month("node decom", until, "current", 1)?);
        let number = count("nodenumz", number)?;
        Ok(Some(Line { system: count("System", system)?, number, nodes: count("nodes", nodes)?, served, start, fixed }))
    }
}

fn count(name: &str, text: &str) -> Result<u32, String> {
    let number = text.parse().map_err(|_| format!("{name} \"{text}\" is not a number"))?;
    if number > NODES_MAX {
        return Err(format!("{name} {number} is above {NODES_MAX}"));
    }
    Ok(number)
}

fn minutes(moment: civil::DateTime) -> Option<u64> {
    let since = moment.duration_since(epoch().at(0, 0, 0, 0));
    u64::try_from(since.as_mins()).ok()
}

/// `6/21/2005 10:54`, in the local time of the laboratory.
fn moment(name: &str, text: &str) -> Result<u64, String> {
    let moment = civil::DateTime::strptime("%m/%d/%Y %H:%M", text).ok().and_then(minutes);
    moment.ok_or_else(|| format!("{name} \"{text}\" is not like 6/21/2005 10:54, from 1990 on"))
}

/// `Jan-97`, or `5-Jun` for June 2005: a spreadsheet took it for a day of a year. `None` for the `open` word. The first
/// minute of that month, or of a later one.
fn month(name: &str, text: &str, open: &str, later: i32) -> Result<Option<u64>, String> {
    if text == open {
        return Ok(None);
    }
    let first = text.split_once('-').and_then(|(left, right)| first_of(right, left).or_else(|| first_of(left, right)));
    let moved = first.and_then(|date| date.checked_add(jiff::Span::new().months(later)).ok());
    let minute = moved.and_then(|date| minutes(date.at(0, 0, 0, 0)));
    minute.map(Some).ok_or_else(|| format!("{name} \"{text}\" is neither a month like Jan-97 or 5-Jun nor \"{open}\""))
}

fn first_of(year: &str, month: &str) -> Option<civil::Date> {
    let short: i16 = year.parse().ok()?;
    let year = if short < 90 { 2000 + short } else { 1900 + short };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)?;
    civil::Date::new(year, i8::try_from(month + 1).ok()?, 1).ok()
}

/// Nodes from lines: those that failed, and as many more as their systems have.
fn assemble(lines: &[Line], nameless: u64) -> Trace {
    let end = lines.iter().map(|line| line.start).max().unwrap_or(0) + 1;
    let mut systems: BTreeMap<u32, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        systems.entry(line.system).or_default().push(line);
    }
    let nodes: Vec<Node> = systems.values().flat_map(|lines| members(lines, end)).collect();
    let index: BTreeMap<(u32, u32), usize> =
        nodes.iter().enumerate().map(|(index, node)| ((node.system, node.number), index)).collect();
    let down = |line: &Line| Down { start: line.start, fixed: line.fixed, node: index[&(line.system, line.number)] };
    let mut failures: Vec<Down> = lines.iter().map(down).collect();
    failures.sort_unstable();
    Trace { source: "text".into(), nodes, failures, nameless }
}

/// The nodes of a system: each that failed with its own time of service, made longer if it failed outside; then, up to
/// the number of nodes that its lines give, the lowest free numbers from the lowest that failed, with the time of service
/// that most lines of the system give.
fn members(lines: &[&Line], end: u64) -> Vec<Node> {
    let system = lines[0].system;
    let first = lines.iter().map(|line| line.start).min().unwrap_or(0);
    let mut nodes: BTreeMap<u32, Node> = BTreeMap::new();
    for line in lines {
        let (from, until) = span(line.served, first, end);
        let fresh = Node { system, number: line.number, from, until };
        let node = nodes.entry(line.number).or_insert(fresh);
        node.from = node.from.min(from).min(line.start);
        node.until = node.until.max(until).max(line.start + 1).min(end);
    }
    let size = lines.iter().map(|line| line.nodes as usize).max().unwrap_or(0);
    let (from, until) = span(usual(lines), first, end);
    let lowest = nodes.keys().next().copied().unwrap_or(0);
    for number in lowest.. {
        if nodes.len() >= size {
            break;
        }
        nodes.entry(number).or_insert(Node { system, number, from, until });
    }
    nodes.into_values().collect()
}

fn span((since, until): (Since, Until), first: u64, end: u64) -> (u64, u64) {
    (since.unwrap_or(first), until.unwrap_or(end).min(end))
}

fn usual(lines: &[&Line]) -> (Since, Until) {
    let mut counts: BTreeMap<(Since, Until), usize> = BTreeMap::new();
    lines.iter().for_each(|line| *counts.entry(line.served).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map_or((None, None), |(served, _)| served)
}

#[cfg(test)]
mod tests;
