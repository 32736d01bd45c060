//! Tasks, as they are asked for and told of.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    network::Node,
    world::{Process, Ran, World, until},
};

/// Long enough for whole workloads on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A row of `tasks list -o json`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Task {
    pub(crate) number: u64,
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) holder: Option<String>,
    pub(crate) token: Option<u64>,
    pub(crate) attempts: u32,
    pub(crate) finished_height: Option<u64>,
    pub(crate) reason: Option<String>,
}

/// A product that takes a moment.
pub(crate) fn product(id: &str, n: u64) -> Value {
    json!({"id": id, "executor": "matmul", "payload": {"seed": n, "n": n}})
}

/// A run of a program that the validators allow.
pub(crate) fn command(id: &str, program: &str) -> Value {
    json!({"id": id, "executor": "command", "payload": {"program": program}})
}

/// The same task with another value of one field.
pub(crate) fn with(mut task: Value, field: &str, value: impl Into<Value>) -> Value {
    task[field] = value.into();
    task
}

/// Writes tasks into a file, one a line.
pub(crate) fn write(world: &World, name: &str, tasks: impl IntoIterator<Item = Value>) -> PathBuf {
    let path = world.path(name);
    let lines: Vec<String> = tasks.into_iter().map(|task| task.to_string()).collect();
    fs::write(&path, lines.join("\n")).expect("our own folder");
    path
}

/// Runs a command that may take longer than most.
pub(crate) fn run(world: &World, line: &str) -> Ran {
    let mut process = world.spawn(line);
    ended(&mut process)
}

/// Waits for the end of such a command.
pub(crate) fn ended(process: &mut Process) -> Ran {
    let status = process.wait(PATIENCE);
    let status = status.unwrap_or_else(|| panic!("not over after {PATIENCE:?}: {}{}", process.out(), process.err()));
    Ran { code: status.code(), out: process.out(), err: process.err() }
}

/// All tasks that one validator knows.
pub(crate) fn list(world: &World, node: &Node, more: &str) -> Vec<Task> {
    let ran = world.unsplit(&format!("--api {} -o json tasks list --all {more}", node.api));
    let mut document: Value = serde_json::from_str(&ran.ok()).expect("a document");
    assert_eq!(document["schema"], "unsplit.tasks/1");
    assert!(document["next"].is_null(), "all of them");
    serde_json::from_value(document["tasks"].take()).expect("rows")
}

/// The same by id.
pub(crate) fn by_id(tasks: Vec<Task>) -> BTreeMap<String, Task> {
    tasks.into_iter().map(|task| (task.id.clone(), task)).collect()
}

/// The one document that a command wrote.
pub(crate) fn document(text: &str) -> Value {
    serde_json::from_str(text).expect("one document")
}

/// Waits until a validator knows so many tasks that stand there.
#[track_caller]
pub(crate) fn wait_for(world: &World, node: &Node, state: &str, count: usize) -> Vec<Task> {
    until(PATIENCE, &format!("{count} tasks {state}"), || {
        Some(list(world, node, &format!("--state {state}"))).filter(|tasks| tasks.len() >= count)
    })
}

/// Reads the whole chain and fails the test unless each of these is done, by one completion, which is the one it names.
#[track_caller]
pub(crate) fn assert_each_done_once(node: &Node, tasks: &[Task]) {
    let mut completions: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut submissions: BTreeMap<String, usize> = BTreeMap::new();
    // The status lags behind the tasks a little, and what comes after the last of them is of interest too.
    let last = tasks.iter().filter_map(|task| task.finished_height).max().expect("some are finished");
    let tip = until(PATIENCE, "the last of them", || node.height().filter(|height| *height > last));
    for height in 1..=tip {
        let block = node.block(height);
        for transaction in block["transactions"].as_array().expect("transactions") {
            match transaction["kind"].as_str().expect("a kind") {
                "complete_task" => {
                    let of_task = completions.entry(transaction["number"].as_u64().expect("a number")).or_default();
                    of_task.push(transaction["token"].as_u64().expect("a token"));
                }
                "submit_task" => {
                    *submissions.entry(transaction["task"].as_str().expect("an id").to_owned()).or_default() += 1;
                }
                _ => {}
            }
        }
    }
    for task in tasks {
        assert_eq!(task.state, "done", "{task:?}");
        let token = task.token.expect("who did it had a lease");
        assert_eq!(completions.get(&task.number), Some(&vec![token]), "{task:?}");
        assert_eq!(submissions.get(&task.id), Some(&1), "{task:?}");
    }
}
