//! Work that is done, and work that cannot be: with the reason, and without harm to anybody.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ledger::{Encode as _, Executor, Hash, Height, Kind, Nonce, Policy, SecretKey, Submission, Timestamp, Transaction};
use serde_json::{Value, json};

use crate::{
    network::{Devnet, Node, SOON, Solo},
    work::{self, Task, command, product, with},
    world::{World, until},
};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/workload.jsonl")
}

/// What a task of the example must give, found out without the executor that gives it.
fn expected(task: &Value) -> Vec<u8> {
    let payload = &task["payload"];
    if task["executor"] == "matmul" {
        let n = payload["n"].as_u64().expect("a size");
        let seed = payload["seed"].as_u64().expect("a seed");
        return executor::matmul::result(seed, usize::try_from(n).expect("a small size"));
    }
    let input = payload["input"].as_str().unwrap_or_default();
    let lines = || input.split_inclusive('\n');
    match payload["program"].as_str().expect("a program") {
        "sort" => {
            let mut sorted: Vec<&str> = lines().collect();
            sorted.sort_unstable();
            sorted.concat().into_bytes()
        }
        "wc" => {
            let words = input.split_whitespace().count();
            format!("{:>7} {words:>7} {:>7}\n", lines().count(), input.len()).into_bytes()
        }
        "sha256sum" => format!("{}  -\n", Hash::of(input.as_bytes())).into_bytes(),
        other => panic!("what does {other} print?"),
    }
}

#[test]
fn the_example_is_done_once_and_every_result_is_right() {
    let world = World::shared("example");
    let devnet = Devnet::up(&world, 4);
    let submit = format!("tasks submit {} --wait --dir {}", example().display(), devnet.dir.display());
    let ran = work::run(&world, &format!("{submit} -o json"));
    let summary = work::document(&ran.ok());
    for (figure, expected) in [("tasks", 20), ("submitted", 20), ("skipped", 0), ("done", 20), ("failed", 0)] {
        assert_eq!(summary[figure], expected, "{figure}: {summary}");
    }
    assert!(summary["p50_ms"].as_u64() <= summary["p99_ms"].as_u64() && summary["p99_ms"].is_u64(), "{summary}");

    let node = devnet.row("n1").node();
    let text = fs::read_to_string(example()).expect("the example");
    let lines = text.lines().filter(|line| line.starts_with('{'));
    for line in lines.map(work::document) {
        let id = line["id"].as_str().expect("an id");
        let task = work::document(&world.unsplit(&format!("--api {} -o json tasks show {id}", node.api)).ok());
        let text = task["result"]["content"]["text"].as_str().unwrap_or_else(|| panic!("a result: {task}"));
        assert_eq!(text.as_bytes(), expected(&line), "{task}");
        assert_eq!(task["payload"]["text"].as_str().map(work::document), Some(line["payload"].clone()), "{task}");
    }

    // The same file again, and what people see.
    let again = work::run(&world, &submit).ok();
    assert!(again.contains("20 tasks: 20 done") && again.contains("0 submitted, 20 were there already"), "{again}");
    work::assert_each_done_once(&node, &work::list(&world, &node, ""));
    let shown = world.unsplit(&format!("--api {} tasks show sort-fruit", node.api)).ok();
    assert!(shown.contains("result, 22 bytes:\napple\nbanana\nfig\npear\n"), "{shown}");
    let status = world.unsplit(&format!("--api {} status", node.api)).ok();
    assert!(status.contains("tasks 0 pending, 0 leased, 20 done, 0 failed") && status.contains("leases"), "{status}");
    let page = world.unsplit(&format!("--api {} tasks list --limit 3", node.api)).ok();
    assert!(page.contains("3 tasks") && page.contains("there are more"), "{page}");
}

#[test]
fn with_one_bad_line_nothing_is_submitted_and_all_bad_lines_are_named() {
    let world = World::shared("bad-line");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let _process = solo.start();
    let file = world.path("work.jsonl");
    let good = |id: &str| product(id, 3).to_string();
    let text = format!("# fine\n{}\n\nseed=7\n{}\n{{\"id\": \"c\"}}\n{}\n", good("a"), good("b"), good("a"));
    fs::write(&file, text).expect("our own folder");
    let submit = format!("tasks submit {} {}", file.display(), solo.signer());
    world.unsplit(&submit).refused(
        3,
        &[
            "work.jsonl:4: expected value",
            "work.jsonl:6: missing field `executor`",
            "work.jsonl:7: has the id a of line 2",
            "nothing was submitted",
        ],
    );
    solo.node().wait_for_blocks(2);
    assert!(work::list(&world, &solo.node(), "").is_empty());
    let account = solo.node().ask(&format!("accounts/{}", solo.account().public())).expect("an account");
    assert_eq!(account["nonce"], 0);

    fs::write(&file, "# nothing\n").expect("our own folder");
    world.unsplit(&submit).refused(3, &["work.jsonl holds no task"]);
    world.unsplit(&submit.replace("work.jsonl", "none.jsonl")).refused(3, &["cannot read", "none.jsonl"]);
}

#[test]
fn whose_task_it_is_has_to_be_said() {
    let world = World::shared("whose");
    let file = work::write(&world, "work.jsonl", [product("a", 3)]);
    let submit = format!("tasks submit {}", file.display());
    world.unsplit(&submit).refused(2, &["whose task", "--key FILE", "--dir DEVNET"]);
    world.unsplit(&format!("{submit} --dir nowhere")).refused(6, &["there is no devnet in nowhere"]);
    let solo = Solo::write(&world, "net", "unsplit-test");
    let key = solo.dir.join("accounts/a0.key");
    world.unsplit(&format!("{submit} --key {}", key.display())).refused(5, &["token", "--token-file"]);
    world.unsplit(&format!("{submit} {}", solo.signer())).refused(4, &["does not answer"]);
}

#[test]
fn a_file_submitted_twice_is_done_once_and_only_what_is_new_is_added() {
    let world = World::shared("twice");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let _process = solo.start();
    // More than are on the way at once.
    let tasks = |count: usize| (0..count).map(|i| product(&format!("t{i}"), 4));
    let file = work::write(&world, "work.jsonl", tasks(250));
    let submit = format!("tasks submit {} -o json {}", file.display(), solo.signer());
    let mut both = [world.spawn(&submit), world.spawn(&submit)];
    both.iter_mut().for_each(|process| drop(work::ended(process).ok()));
    work::write(&world, "work.jsonl", tasks(260));
    let summary = work::document(&work::run(&world, &format!("{submit} --wait")).ok());
    assert_eq!((&summary["submitted"], &summary["skipped"], &summary["done"]), (&json!(10), &json!(250), &json!(260)));
    let listed = work::list(&world, &solo.node(), "");
    assert_eq!(listed.len(), 260);
    work::assert_each_done_once(&solo.node(), &listed);

    // The id of another task is no name for a new one.
    work::write(&world, "work.jsonl", [product("new", 4), product("t7", 5)]);
    world.unsplit(&submit).refused(5, &["line 2: the account has another task t7 already"]);
    assert_eq!(work::list(&world, &solo.node(), "").len(), 260, "nothing was submitted");
}

/// A submission that no command line of ours would make.
fn signed(key: &SecretKey, node: &Node, executor: &str, payload: &[u8]) -> String {
    let submission = Submission {
        id: "x".parse().expect("an id"),
        executor: executor.parse::<Executor>().expect("a name"),
        payload: payload.to_vec(),
        units: 1,
        lease_ms: 10_000,
        retries: 0,
        deadline: Timestamp(u64::MAX),
        policy: Policy::Replace,
        region: None,
    };
    let kind = Kind::SubmitTask(submission);
    let bytes = Transaction::sign(key, node.chain_id(), Nonce(0), Height(500), kind).encode();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_nobody_can_do_is_refused_by_the_api_with_the_reason() {
    let world = World::shared("unfit");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let mut process = solo.start();
    let (node, key) = (solo.node(), solo.account());
    #[track_caller]
    fn check(node: &Node, body: &[u8], status: u16, code: &str, words: &str) {
        let answer = node.submit_tasks(body, Some(&node.token));
        assert_eq!((answer.status, answer.code()), (status, code), "{:?}", answer.body);
        let said = format!("{} {}", answer.body["detail"], answer.body["help"]);
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    let of = |executor: &str, payload: &[u8]| {
        json!({"transactions": [signed(&key, &node, executor, payload)]}).to_string().into_bytes()
    };
    check(&node, &of("shell", b"{}"), 422, "unfit_task", "there is no executor `shell`; there are: matmul, command");
    check(&node, &of("matmul", b"seed=7"), 422, "unfit_task", "the payload is not JSON");
    check(&node, &of("matmul", br#"{"seed": 7, "n": 0}"#), 422, "unfit_task", "n is 0, but 1 to 1024");
    let large = |bytes: usize| [b"{\"program\":\"wc\",\"input\":\"", &vec![b'x'; bytes][..], b"\"}"].concat();
    check(&node, &of("command", &large(64 << 10)), 422, "malformed", "payload is 65");
    check(&node, &of("command", &large(80 << 10)), 413, "too_large", "transaction 0 has");
    check(&node, b"seed=7", 400, "bad_json", "line 1");
    check(&node, br#"{"transactions": []}"#, 422, "bad_count", "1 to 256");
    check(&node, br#"{"transactions": ["xyz"]}"#, 400, "bad_hex", "transaction 0");
    let good = of("matmul", br#"{"seed": 7, "n": 3}"#);
    for token in [None, Some("wrong")] {
        assert_eq!(node.submit_tasks(&good, token).status, 401);
    }
    assert!(work::list(&world, &node, "").is_empty());
    let taken = node.submit_tasks(&good, Some(&node.token));
    assert_eq!(taken.status, 200, "{:?}", taken.body);
    work::wait_for(&world, &node, "done", 1);
    assert!(process.is_running());
}

/// Programs that no operator would allow, if they knew. The number tells their processes from all others.
const MISBEHAVIOUR: &str = r#"{
    hangs = ["/bin/sh", "-c", "sleep 31337.5"],
    crashes = ["/bin/sh", "-c", "kill -SEGV $$"],
    fails = ["/bin/sh", "-c", "echo no such luck >&2; exit 7"],
    forks = ["/bin/sh", "-c", "f() { f & f & sleep 31337.5; }; f; sleep 31337.5"],
    prints = ["/bin/sh", "-c", "while :; do echo 31337.5 31337.5 31337.5 31337.5 31337.5 31337.5 31337.5; done"],
    sort = ["sort"],
}"#;

#[test]
fn a_program_that_misbehaves_fails_its_task_with_the_reason_and_harms_nobody() {
    let world = World::shared("misbehaviour");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let commands = format!("worker.commands={}", MISBEHAVIOUR.replace('\n', " "));
    let mut process = solo.start_with(&["worker.time_max=500ms", &commands]);
    let node = solo.node();
    let expected = [
        ("hangs", "program \"hangs\" was killed after 500 ms, its time limit"),
        ("crashes", "program \"crashes\" was killed by signal 11 (SIGSEGV)"),
        ("fails", "program \"fails\" ended with exit code 7: no such luck"),
        ("forks", "program \"forks\" "),
        ("prints", "program \"prints\" printed more than 65536 bytes, its output limit"),
        ("none", "program \"none\" is not allowed here"),
    ];
    let bad = expected.iter().map(|(program, _)| with(command(program, program), "retries", 0));
    let file = work::write(&world, "work.jsonl", bad.chain([command("good", "sort"), product("product", 40)]));
    let ran = work::run(&world, &format!("tasks submit {} --wait {}", file.display(), solo.signer()));
    assert_eq!(ran.code, Some(20), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("8 tasks: 2 done, 6 failed"), "{}", ran.out);
    let tasks = work::by_id(work::list(&world, &node, ""));
    for (program, reason) in expected {
        let Task { state, reason: told, .. } = &tasks[program];
        assert_eq!(state, "failed", "{program}");
        assert!(told.as_deref().is_some_and(|told| told.starts_with(reason)), "{program}: {told:?}");
        assert!(ran.out.contains(&format!("{program} failed: {reason}")), "{}", ran.out);
    }
    until(SOON, "nothing of them is left", || (strays() == 0).then_some(()));
    assert!(process.is_running());
    node.wait_for_blocks(3);
    let file = work::write(&world, "more.jsonl", [command("again", "sort")]);
    work::run(&world, &format!("tasks submit {} --wait {}", file.display(), solo.signer())).ok();
}

/// Processes of programs that misbehave.
fn strays() -> usize {
    let entries = fs::read_dir("/proc").expect("this is Linux").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    // The validator itself was told what to run; its own line begins otherwise.
    let is_stray = |line: &Vec<u8>| {
        let (text, shell) = (String::from_utf8_lossy(line), b"/bin/sh");
        text.contains("31337.5") && (line.starts_with(shell) || line.starts_with(b"sleep"))
    };
    lines.filter(is_stray).count()
}

#[test]
fn a_task_that_waits_can_be_cancelled_and_one_that_is_finished_cannot() {
    let world = World::shared("cancel");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let _process = solo.start_with(&[r#"worker.commands={ nap = ["sleep", "3"] }"#]);
    let node = solo.node();
    // The first takes all that the one validator takes at once.
    let nap = |id: &str| with(command(id, "nap"), "units", 64);
    let file = work::write(&world, "work.jsonl", [nap("first"), nap("second"), nap("third")]);
    world.unsplit(&format!("tasks submit {} {}", file.display(), solo.signer())).ok();
    let tasks = work::by_id(work::list(&world, &node, ""));
    assert_eq!((tasks["first"].state.as_str(), tasks["second"].state.as_str()), ("leased", "pending"));

    let cancel = |id: &str| world.unsplit(&format!("tasks cancel {id} --wait {}", solo.signer()));
    assert!(cancel("second").ok().contains("second is cancelled"));
    // One that runs is stopped: the one that waited for its place is leased long before it would have ended.
    assert!(cancel("first").ok().contains("first is cancelled"));
    work::wait_for(&world, &node, "done", 1);
    let tasks = work::by_id(work::list(&world, &node, ""));
    let states = ["first", "second", "third"].map(|id| tasks[id].state.as_str());
    assert_eq!(states, ["cancelled", "cancelled", "done"]);
    cancel("third").refused(5, &["done", "nothing left to cancel"]);
    cancel("none").refused(6, &["none"]);
    let ran = work::run(&world, &format!("tasks submit {} --wait {}", file.display(), solo.signer()));
    assert_eq!(ran.code, Some(20), "not all are done: {}{}", ran.out, ran.err);
    assert!(ran.out.contains("3 tasks: 1 done, 2 cancelled"), "{}", ran.out);
}

#[test]
fn the_time_to_wait_for_a_task_has_an_end() {
    let world = World::shared("wait-max");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let _process = solo.start_with(&[r#"worker.commands={ nap = ["sleep", "25"] }"#]);
    let file = work::write(&world, "work.jsonl", [command("long", "nap")]);
    let line = format!("tasks submit {} --wait --wait-max 2s {}", file.display(), solo.signer());
    let ran = work::run(&world, &line);
    assert_eq!(ran.code, Some(4), "{}{}", ran.out, ran.err);
    for words in ["not over after 2 s", "1 of 1 tasks are on the chain, 0 finished", "The same command goes on"] {
        assert!(ran.err.contains(words), "{words:?} is not in: {}", ran.err);
    }
    let mut waiting = world.spawn(&format!("tasks submit {} --wait {}", file.display(), solo.signer()));
    std::thread::sleep(std::time::Duration::from_millis(500));
    waiting.signal(rustix::process::Signal::INT);
    let ran = work::ended(&mut waiting);
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    assert!(ran.err.contains("interrupted: 1 of 1 tasks are on the chain"), "{}", ran.err);
}

#[test]
fn documents_for_other_programs_need_no_network() {
    let world = World::shared("documents");
    let openapi = work::document(&world.unsplit("openapi").ok());
    assert!(openapi["paths"]["/api/v1/tasks"].is_object());
    for shell in ["bash", "fish", "zsh"] {
        assert!(world.unsplit(&format!("completions {shell}")).ok().contains("submit"), "{shell}");
    }
    world.unsplit("completions csh").refused(2, &["csh"]);
    // Not for people, and not in the way of anything that might fail.
    world.unsplit("launch-task --no-such-option").refused(1, &["launcher: ", "only a validator can use this"]);
}
