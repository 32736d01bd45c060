//! What does a file ask for?
//!
//! Every line is looked at before anything is sent, and every bad one is named: whoever mends a file mends all of it.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, stdin},
    path::Path,
    time::Duration,
};

use api::TaskView;
use ledger::{
    Executor, Hash, Policy, Region, Submission, TaskId, Timestamp,
    tasks::{
        balance::UNITS_MAX,
        order::{LEASE_MS_MAX, LEASE_MS_MIN, RETRIES_MAX},
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;
use validator::config::parse_duration;

use crate::failure::Failure;

/// A file is held in memory whole. This is room for some hundred thousand tasks.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// More complaints than anybody mends at once.
const COMPLAINTS_SHOWN_MAX: usize = 20;

/// Time to notice that a validator does not come back, without taking tasks from one that is only slow.
const LEASE_DEFAULT: Duration = Duration::from_secs(10);

/// Enough to outlive any f validators of a small network.
const RETRIES_DEFAULT: u64 = 5;

const DEADLINE_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// Nothing is done faster than a block.
const DEADLINE_MIN: Duration = Duration::from_secs(1);

/// One task that is asked for, and checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Order {
    /// Where it stands in the file, from 1.
    pub(crate) line: usize,
    pub(crate) id: TaskId,
    executor: Executor,
    payload: Vec<u8>,
    units: u32,
    lease_ms: u32,
    retries: u8,
    /// From the moment of submission.
    deadline: Duration,
    /// What becomes of its lease while its holder is cut off.
    policy: Policy,
    /// Where it is best done.
    region: Option<Region>,
}

/// A line as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    id: String,
    executor: String,
    #[serde(borrow)]
    payload: &'a RawValue,
    units: Option<u64>,
    lease: Option<String>,
    retries: Option<u64>,
    deadline: Option<String>,
    policy: Option<String>,
    region: Option<String>,
}

/// What is wrong with which line.
#[derive(Debug, Eq, PartialEq)]
struct Complaint {
    line: usize,
    what: String,
}

/// Reads a file, or standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<Order>, Failure> {
    let is_stdin = path == Path::new("-");
    let (name, bytes) = if is_stdin {
        ("standard input".to_owned(), bytes(stdin().lock(), path)?)
    } else {
        (path.display().to_string(), bytes(File::open(path).map_err(Failure::file("read", path))?, path)?)
    };
    let orders = parse(&bytes).map_err(|complaints| complain(&name, &complaints))?;
    if orders.is_empty() {
        let help = "one JSON object a line: see `unsplit tasks submit --help`";
        return Err(Failure::config(format!("{name} holds no task"), help));
    }
    Ok(orders)
}

/// The example of the repository, which newcomers edit and the demo works off.
///
/// # Panics
/// Never: a test reads it.
pub(crate) fn example() -> Vec<Order> {
    parse(include_bytes!("../../../../examples/workload.jsonl")).expect("the example is good")
}

fn bytes(source: impl Read, path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Failure::file("read", path))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("{} has more than {} MiB", path.display(), FILE_BYTES_MAX >> 20);
        return Err(Failure::config(message, "submit it in several parts"));
    }
    Ok(bytes)
}

fn complain(name: &str, complaints: &[Complaint]) -> Failure {
    let shown =
        complaints.iter().take(COMPLAINTS_SHOWN_MAX).map(|Complaint { line, what }| format!("{name}:{line}: {what}"));
    let mut lines: Vec<String> = shown.collect();
    if complaints.len() > COMPLAINTS_SHOWN_MAX {
        lines.push(format!("and {} more", complaints.len() - COMPLAINTS_SHOWN_MAX));
    }
    let help =
        "nothing was submitted: mend the file and submit it again; `unsplit tasks submit --help` shows the fields";
    Failure::config(lines.join("\n"), help)
}

fn parse(bytes: &[u8]) -> Result<Vec<Order>, Vec<Complaint>> {
    let (mut orders, mut complaints) = (Vec::new(), Vec::new());
    let mut lines: HashMap<TaskId, usize> = HashMap::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let order = match std::str::from_utf8(line).map(str::trim) {
            Ok("") => continue,
            Ok(comment) if comment.starts_with('#') => continue,
            Ok(text) => parse_line(number, text),
            Err(_) => Err("is not UTF-8".into()),
        };
        let order = order.and_then(|order| match lines.insert(order.id.clone(), number) {
            None => Ok(order),
            Some(first) => Err(format!("has the id {} of line {first}; give each task its own", order.id)),
        });
        match order {
            Ok(order) => orders.push(order),
            Err(what) => complaints.push(Complaint { line: number, what }),
        }
    }
    if complaints.is_empty() { Ok(orders) } else { Err(complaints) }
}

fn parse_line(line: usize, text: &str) -> Result<Order, String> {
    let Line { id, executor, payload, units, lease, retries, deadline, policy, region } =
        serde_json::from_str(text).map_err(|error| json_problem(&error))?;
    let payload = compact(payload.get());
    executor::check(&executor, &payload).map_err(|unfit| unfit.to_string())?;
    let lease = duration("lease", lease, LEASE_DEFAULT)?;
    let deadline = duration("deadline", deadline, DEADLINE_DEFAULT)?;
    if deadline < DEADLINE_MIN {
        return Err(format!("deadline is {deadline:?}, not {DEADLINE_MIN:?} or more"));
    }
    let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    Ok(Order {
        line,
        id: id.parse().map_err(|error: ledger::TextError| error.to_string())?,
        executor: executor.parse().map_err(|error: ledger::TextError| error.to_string())?,
        payload,
        units: within("units", units.unwrap_or(1), 1, UNITS_MAX)?,
        lease_ms: within("lease in milliseconds", lease_ms, LEASE_MS_MIN, LEASE_MS_MAX)?,
        retries: within("retries", retries.unwrap_or(RETRIES_DEFAULT), 0, RETRIES_MAX)?,
        deadline,
        policy: policy.map_or(Ok(Policy::default()), |policy| policy.parse()).map_err(|why| why.to_string())?,
        region: region
            .map(|region| region.parse())
            .transpose()
            .map_err(|why: ledger::TextError| format!("region: {why}"))?,
    })
}

/// Serde counts lines within the text it was given, which is one line.
fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(what) => format!("{what}, at column {}", error.column()),
        None => text,
    }
}

fn duration(field: &str, text: Option<String>, default: Duration) -> Result<Duration, String> {
    text.map_or(Ok(default), |text| parse_duration(&text).map_err(|why| format!("{field}: {why}")))
}

fn within<T: Copy + Into<u64> + TryFrom<u64>>(field: &str, value: u64, min: T, max: T) -> Result<T, String> {
    let outside = || format!("{field} is {value}, not {} to {}", min.into(), max.into());
    T::try_from(value).ok().filter(|_| (min.into()..=max.into()).contains(&value)).ok_or_else(outside)
}

/// JSON without the space between its parts. Everything else stays as it is written, so that the executor judges what the
/// submitter wrote: no number is rounded, and no field that is there twice is dropped.
fn compact(json: &str) -> Vec<u8> {
    let (mut in_string, mut escaped) = (false, false);
    let mut keep = |byte: u8| {
        let keep = in_string || !byte.is_ascii_whitespace();
        if byte == b'"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && byte == b'\\' && !escaped;
        keep
    };
    json.bytes().filter(|byte| keep(*byte)).collect()
}

impl Order {
    /// The order as the chain takes it.
    pub(crate) fn submission(&self, deadline: Timestamp) -> Submission {
        Submission {
            id: self.id.clone(),
            executor: self.executor.clone(),
            payload: self.payload.clone(),
            units: self.units,
            lease_ms: self.lease_ms,
            retries: self.retries,
            deadline,
            policy: self.policy,
            region: self.region.clone(),
        }
    }

    /// When the result is of no use any more, if it is submitted now.
    pub(crate) fn deadline(&self, now_ms: u64) -> Timestamp {
        Timestamp(now_ms).after(u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether the chain has this very task, whenever it was submitted.
    pub(crate) fn is(&self, task: &TaskView) -> bool {
        task.id == self.id.as_str()
            && task.executor == self.executor.as_str()
            && task.payload_sha256 == Hash::of(&self.payload).to_string()
            && task.units == self.units
            && task.lease_ms == u64::from(self.lease_ms)
            && task.retries == u32::from(self.retries)
            && task.policy == self.policy.name()
            && task.region.as_deref() == self.region.as_ref().map(Region::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(line: &str) -> Order {
        let mut orders = parse(line.as_bytes()).unwrap_or_else(|complaints| panic!("{line}: {complaints:?}"));
        orders.pop().expect("one order")
    }

    /// A file in which exactly these lines are bad, and why.
    fn bad(text: impl AsRef<[u8]>, expected: &[(usize, &str)]) {
        let complaints = parse(text.as_ref()).expect_err("something is bad");
        let lines: Vec<usize> = complaints.iter().map(|complaint| complaint.line).collect();
        assert_eq!(lines, expected.iter().map(|(line, _)| *line).collect::<Vec<_>>(), "{complaints:?}");
        for (complaint, (_, words)) in complaints.iter().zip(expected) {
            assert!(complaint.what.contains(words), "{words:?} is not in {:?}", complaint.what);
        }
    }

    /// A line with more fields than it needs.
    fn with(more: &str) -> String {
        format!(r#"{{"id": "a", "executor": "matmul", "payload": {{"seed": 7, "n": 3}}{more}}}"#)
    }

    #[test]
    fn a_task_needs_an_id_an_executor_and_a_payload() {
        let order = good(&with(""));
        assert_eq!((order.units, order.lease_ms, order.retries), (1, 10_000, 5));
        assert_eq!(order.deadline(0), Timestamp(24 * 3_600_000));
        assert_eq!(order.payload, br#"{"seed":7,"n":3}"#);
        let order = good(&with(r#", "units": 64, "lease": "1m", "retries": 0, "deadline": "2h""#));
        assert_eq!((order.units, order.lease_ms, order.retries), (64, 60_000, 0));
        assert_eq!(order.deadline(5), Timestamp(7_200_005));
        bad(r#"{"executor": "matmul", "payload": {"seed": 7, "n": 3}}"#, &[(1, "missing field `id`")]);
        bad(r#"{"id": "a", "payload": {"seed": 7, "n": 3}}"#, &[(1, "missing field `executor`")]);
        bad(r#"{"id": "a", "executor": "matmul"}"#, &[(1, "missing field `payload`")]);
    }

    #[test]
    fn every_bad_line_is_named_and_others_are_not() {
        let text = [
            "# a comment",
            &with(""),
            "",
            "seed=7",
            "  # another",
            r#"{"id": "b", "exector": "matmul", "payload": {}}"#,
            &with(""),
            r#"{"id": "c", "executor": "shell", "payload": {}}"#,
            r#"{"id": "d", "executor": "command", "payload": {"program": "sort"}}"#,
        ];
        bad(
            text.join("\r\n"),
            &[
                (4, "expected value, at column 1"),
                (6, "unknown field `exector`, expected one of `id`, `executor`"),
                (7, "has the id a of line 2"),
                (8, "there is no executor `shell`; there are: matmul, command"),
            ],
        );
        bad([&with("").into_bytes()[..], b"\n\xff\n"].concat(), &[(2, "is not UTF-8")]);
        assert_eq!(parse(b"\n# nothing\n"), Ok(Vec::new()));
    }

    #[test]
    fn every_value_has_its_bounds() {
        for (more, words) in [
            (r#", "units": 0"#, "units is 0, not 1 to 64"),
            (r#", "units": 65"#, "units is 65, not 1 to 64"),
            (r#", "units": -1"#, "expected u64"),
            (r#", "retries": 16"#, "retries is 16, not 0 to 15"),
            (r#", "lease": "999ms""#, "lease in milliseconds is 999, not 1000 to 3600000"),
            (r#", "lease": "3601s""#, "lease in milliseconds is 3601000"),
            (r#", "lease": 10"#, "expected a string"),
            (r#", "lease": "soon""#, "lease: \"soon\" is not a duration"),
            (r#", "deadline": "999ms""#, "deadline is 999ms, not 1s or more"),
            (r#", "deadline": "-1s""#, "is negative"),
            (r#", "id": "b""#, "duplicate field `id`"),
        ] {
            bad(with(more), &[(1, words)]);
        }
        bad(with("").replace("\"a\"", "\"a b\""), &[(1, "task id")]);
        bad(with("").replace("\"n\": 3", "\"n\": 0"), &[(1, "n is 0, but 1 to 1024")]);
        bad(with("").replace("\"n\": 3", "\"n\": 3, \"n\": 4"), &[(1, "duplicate field `n`")]);
        let large = |bytes: usize| {
            let frame = r#"{"program":"wc","input":""}"#.len();
            format!(
                r#"{{"id": "a", "executor": "command", "payload": {{"program": "wc", "input": "{}"}}}}"#,
                "x".repeat(bytes - frame)
            )
        };
        assert_eq!(good(&large(64 << 10)).payload.len(), 64 << 10);
        bad(large((64 << 10) + 1), &[(1, "has 65537 bytes, but at most 65536")]);
    }

    #[test]
    fn only_the_first_complaints_are_shown_and_the_rest_are_counted() {
        let complaints: Vec<Complaint> = (1..=22).map(|line| Complaint { line, what: "is bad".into() }).collect();
        let message = complain("f", &complaints).message;
        assert!(message.starts_with("f:1: is bad\nf:2: is bad\n") && message.ends_with("f:20: is bad\nand 2 more"));
        assert!(!complain("f", &complaints[..20]).message.contains("more"));
    }

    #[test]
    fn space_goes_from_between_the_parts_of_a_payload_only() {
        for (written, kept) in [
            ("{ \"a b\" : [ 1 , 2.50 ] }", "{\"a b\":[1,2.50]}"),
            (r#" "a \" b" "#, r#""a \" b""#),
            (r#"{"a\\" : 1 }"#, r#"{"a\\":1}"#),
            (r#"{"a": 1, "a": 18446744073709551616}"#, r#"{"a":1,"a":18446744073709551616}"#),
        ] {
            assert_eq!(String::from_utf8(compact(written)).expect("text"), kept);
        }
    }

    #[test]
    fn a_task_on_the_chain_is_recognized_by_what_it_asks_for() {
        let order = good(&with(""));
        let submission = order.submission(Timestamp(9));
        let task = TaskView {
            id: "a".into(),
            executor: "matmul".into(),
            payload_sha256: Hash::of(&submission.payload).to_string(),
            units: 1,
            lease_ms: 10_000,
            retries: 5,
            deadline_ms: 77,
            policy: "replace".into(),
            ..TaskView::default()
        };
        assert!(order.is(&task));
        assert!(!order.is(&TaskView { units: 2, ..task.clone() }));
        assert!(!order.is(&TaskView { policy: "keep".into(), ..task.clone() }));
        assert!(!order.is(&TaskView { region: Some("eu".into()), ..task.clone() }));
        assert!(!order.is(&TaskView { payload_sha256: "00".into(), ..task }));
    }

    #[test]
    fn the_examples_are_good() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/workload.jsonl"));
        let orders = read(path).expect("every line of the example is good");
        assert!(orders.len() >= 20, "{}", orders.len());
        for executor in executor::EXECUTORS {
            assert!(orders.iter().any(|order| order.executor.as_str() == executor), "{executor}");
        }
    }
}
