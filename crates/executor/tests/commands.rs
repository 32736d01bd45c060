//! Programs that behave and programs that do not, as real processes: what comes out, and is anything left?

use executor::{Executors, Failed, Fault, Limits, Program, RESULT_BYTES_MAX, Settings};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::{
    env, fs,
    process::Stdio,
    time::{Duration, Instant},
};

const LAUNCHER: &str = env!("CARGO_BIN_EXE_unsplit-launch");

/// Until something that must happen has happened, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A time limit for programs that are to reach it.
const SHORT: Duration = Duration::from_millis(300);

/// One program, allowed under one name.
struct Bench {
    settings: Settings,
    input: String,
}

impl Bench {
    /// The program and its arguments.
    fn new<const N: usize>(command: [&str; N]) -> Self {
        let args = command[1..].iter().map(ToString::to_string).collect();
        let program = Program { path: command[0].into(), args };
        let commands = [("it".to_string(), program)].into();
        let settings = Settings { launcher: vec![LAUNCHER.into()], commands, limits: Limits::default() };
        Self { settings, input: String::new() }
    }

    fn shell(script: &str) -> Self {
        Self::new(["sh", "-c", script])
    }

    fn input(self, input: &str) -> Self {
        Self { input: input.to_string(), ..self }
    }

    fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    fn wall(mut self, wall: Duration) -> Self {
        self.settings.limits.wall = wall;
        self
    }

    async fn run(self) -> Result<Vec<u8>, Failed> {
        let executors = Executors::new(self.settings).expect("nothing to mend");
        let payload = serde_json::json!({ "program": "it", "input": self.input }).to_string();
        executors.execute("command", payload.as_bytes()).await
    }

    async fn prints(self, expected: &str) {
        let result = self.run().await.map(|result| String::from_utf8_lossy(&result).into_owned());
        assert_eq!(result.as_deref(), Ok(expected));
    }

    async fn fails(self, reason: &str) {
        let failed = self.run().await.expect_err("a failure");
        assert!(failed.reason().starts_with(reason), "{failed}");
        assert_eq!(failed.fault(), Fault::Task, "{failed}");
    }
}

/// A word that only the processes of one test have on their command line. Also a number, so that `sleep` takes it.
fn marker() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("1000.{}{:03}7", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The living processes with this word on their command line.
fn marked(marker: &str) -> Vec<i32> {
    let has_it = |id: &i32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.windows(marker.len()).any(|part| part == marker.as_bytes())
    };
    let entries = fs::read_dir("/proc").expect("Linux").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| *id != std::process::id() as i32).filter(has_it).collect()
}

fn nothing_is_left_of(marker: &str) {
    let left = marked(marker);
    assert!(left.is_empty(), "left: {left:?}");
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn kill(id: i32) {
    kill_process(Pid::from_raw(id).expect("a process"), Signal::KILL).expect("ours");
}

/// Nothing for one that is gone.
fn parent(id: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

#[tokio::test]
async fn a_program_gets_its_input_and_its_output_is_the_result() {
    Bench::new(["sort"]).input("b\na\n").prints("a\nb\n").await;
    Bench::new(["wc", "-c"]).input(&"x".repeat(60_000)).prints("60000\n").await;
    Bench::new(["cat"]).prints("").await;
    Bench::shell("cat; echo $#; echo warning >&2").input("in\n").prints("in\n0\n").await;
}

#[tokio::test]
async fn a_program_need_not_read_its_input() {
    Bench::new(["echo", "done"]).input(&"x".repeat(60_000)).prints("done\n").await;
    Bench::shell("exec 0<&-; echo done").input(&"x".repeat(60_000)).prints("done\n").await;
}

#[tokio::test]
async fn a_program_finds_an_empty_world() {
    Bench::new(["env"]).prints("LANG=C\nPATH=/usr/local/bin:/usr/bin:/bin\n").await;
    Bench::new(["pwd"]).prints("/\n").await;
    Bench::shell("ulimit -n; ulimit -v; ulimit -f; ulimit -c; ulimit -t").prints("64\n524288\n0\n0\n30\n").await;
    Bench::shell("grep NoNewPrivs /proc/self/status").prints("NoNewPrivs:\t1\n").await;
}

#[tokio::test]
async fn under_root_a_program_is_a_user_of_its_own() {
    if !geteuid().is_root() {
        println!("skipped: only root can choose a user");
        return;
    }
    let result = Bench::shell("id -u; id -g; id -G").run().await.expect("it works");
    let result = String::from_utf8(result).unwrap();
    let ids: Vec<u32> = result.split_whitespace().map(|id| id.parse().unwrap()).collect();
    assert!(ids.len() == 3 && ids[0] > 2_000_000_000 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn many_run_side_by_side() {
    let runs: Vec<_> = (0..16).map(|_| tokio::spawn(Bench::new(["sort"]).input("b\na\n").prints("a\nb\n"))).collect();
    for run in runs {
        run.await.expect("each gets its own result");
    }
}

#[tokio::test]
async fn a_failure_is_told_with_code_and_last_words() {
    Bench::shell("echo out; echo first >&2; echo no such thing >&2; exit 7")
        .fails("program \"it\" ended with exit code 7: first no such thing")
        .await;
    Bench::shell("printf 'a\\033[2J\\nb' >&2; exit 1").fails("program \"it\" ended with exit code 1: a [2J b").await;
    let failed = Bench::shell("yes some words | head -c 110000 >&2; echo >&2 the end; exit 3").run().await;
    let failed = failed.expect_err("exit code 3");
    assert!(failed.reason().starts_with("program \"it\" ended with exit code 3: …"), "{failed}");
    assert!(failed.reason().ends_with("some words the end"), "{failed}");
}

#[tokio::test]
async fn a_crash_is_told_with_its_signal() {
    Bench::shell("kill -SEGV $$")
        .fails("program \"it\" was killed by signal 11 (SIGSEGV), perhaps over its memory limit of 512 MiB")
        .await;
    Bench::shell("kill -TERM $$").fails("program \"it\" was killed by signal 15").await;
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_at_its_time_limit() {
    let marker = marker();
    Bench::new(["sleep", &marker]).wall(SHORT).fails("program \"it\" was killed after 300 ms, its time limit").await;
    nothing_is_left_of(&marker);
}

#[tokio::test]
async fn deaf_programs_are_killed_too() {
    let marker = marker();
    let script = format!("trap '' TERM INT HUP; sleep {marker} & while :; do wait; done");
    Bench::shell(&script).wall(SHORT).fails("program \"it\" was killed after 300 ms, its time limit").await;
    nothing_is_left_of(&marker);
}

#[tokio::test]
async fn a_program_that_closes_its_output_is_still_waited_for() {
    Bench::shell("exec >&- 2>&-; while :; do :; done")
        .wall(SHORT)
        .fails("program \"it\" was killed after 300 ms")
        .await;
}

#[tokio::test]
async fn output_may_reach_its_limit_but_not_exceed_it() {
    let longest = Bench::shell("head -c 65536 /dev/zero").run().await.expect("as much as there may be");
    assert_eq!(longest, [0; RESULT_BYTES_MAX]);
    let reason = "program \"it\" printed more than 65536 bytes, its output limit";
    Bench::shell("head -c 65537 /dev/zero").fails(reason).await;
    Bench::new(["yes"]).fails(reason).await;
    Bench::shell("yes >&2").wall(SHORT).fails("program \"it\" was killed after 300 ms").await;
}

#[tokio::test]
async fn memory_is_limited() {
    let limits = Limits { memory_bytes: 64 << 20, ..Limits::default() };
    Bench::shell("head -c 1G /dev/zero | tail").limits(limits).fails("program \"it\" ended with exit code 1: ").await;
}

#[tokio::test]
async fn files_cannot_be_written() {
    let file = env::temp_dir().join(format!("unsplit-executor-{}", marker()));
    let script = format!("echo text > {}", file.display());
    Bench::shell(&script).fails("program \"it\" was killed by signal 25 (SIGXFSZ): it may not write to files").await;
    assert_eq!(fs::read_to_string(&file).unwrap_or_default(), "");
    // Nor can what is there be overwritten, even by its owner.
    let script = format!("printf x 1<>{}", file.display());
    let _ = fs::remove_file(&file);
    fs::write(&file, "text").expect("a file of our own");
    Bench::shell(&script).run().await.expect_err("it may not write");
    assert_eq!(fs::read_to_string(&file).unwrap_or_default(), "text");
    let _ = fs::remove_file(&file);
}

#[tokio::test]
async fn a_program_stands_back_where_others_need_the_processor() {
    if geteuid().is_root() && !may_set_priorities() {
        println!("skipped: this root may not set priorities of others");
        return;
    }
    // The priority is given from outside, so it takes a moment.
    Bench::shell("until [ $(nice) -ge 10 ]; do :; done; nice").prints("10\n").await;
}

/// CAP_SYS_NICE, capability 23.
fn may_set_priorities() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("Linux");
    u64::from_str_radix(capabilities.trim(), 16).expect("hex") & 1 << 23 != 0
}

#[tokio::test]
async fn a_daemon_is_killed_when_the_program_ends() {
    let marker = marker();
    let script = format!(
        "setsid sleep {marker} >/dev/null 2>&1 & setsid sh -c 'sleep {marker} & sleep {marker} & exit' & echo done"
    );
    Bench::shell(&script).prints("done\n").await;
    nothing_is_left_of(&marker);
}

#[tokio::test]
async fn a_daemon_that_holds_the_output_does_not_hold_up_the_result() {
    let marker = marker();
    Bench::shell(&format!("sleep {marker} & echo done")).prints("done\n").await;
    nothing_is_left_of(&marker);
}

/// Runs a script that starts processes without end. How it ends depends on who is refused a process first.
async fn bomb(script: &str) {
    let marker = marker();
    let limits = Limits { processes: 8, wall: SHORT, ..Limits::default() };
    drop(Bench::shell(&format!("{script} # {marker}")).limits(limits).run().await);
    nothing_is_left_of(&marker);
}

#[tokio::test]
async fn a_fork_bomb_is_cleared_away() {
    bomb("b() { b | b & }; b; while :; do :; done").await;
    bomb("b() { b | b & b; }; b").await;
    bomb("b() { b & b & while :; do :; done; }; b").await;
}

/// Each process lives for a moment only, and hands over to the next.
#[tokio::test]
async fn a_program_that_runs_away_from_the_killer_is_caught() {
    bomb("r() { r & exit; }; r & while :; do :; done").await;
    for _ in 0..5 {
        bomb("r() { r & exit; }; r &").await;
        bomb("R='setsid sh -c \"$R\" & exit'; export R; (eval \"$R\")").await;
    }
}

#[tokio::test]
async fn no_more_processes_than_allowed_run_at_once() {
    let marker = marker();
    let script = format!("(while :; do sleep {marker} & done); exec sleep {marker}");
    let run = tokio::spawn(Bench::shell(&script).limits(Limits { processes: 8, ..Limits::default() }).run());
    // Who is not root shares the limit with the rest of the user's processes, and gets their room when they end.
    let others = if geteuid().is_root() { 0 } else { 200 };
    let mut full = 0;
    until("there is no more room", || {
        let processes = marked(&marker).len();
        assert!(processes <= 8 + others, "{processes} at once");
        full += u32::from(processes >= 7);
        full == 10
    })
    .await;
    run.abort();
    until("nothing is left", || marked(&marker).is_empty()).await;
}

#[tokio::test]
async fn dropping_the_future_kills_everything() {
    let marker = marker();
    let script = format!("setsid sleep {marker} & sleep {marker}");
    let run = tokio::spawn(Bench::shell(&script).run());
    until("both sleep", || marked(&marker).len() >= 3).await;
    run.abort();
    until("nothing is left", || marked(&marker).is_empty()).await;
}

#[tokio::test]
async fn dropping_the_future_at_any_moment_leaves_nothing() {
    let marker = marker();
    for step in 0..20 {
        let run = Bench::new(["sleep", &marker]).run();
        let _ = tokio::time::timeout(Duration::from_micros(250 * step), run).await;
    }
    until("nothing is left", || marked(&marker).is_empty() && launchers_of_this_process() == 0).await;
}

fn launchers_of_this_process() -> usize {
    let me = std::process::id() as i32;
    marked(LAUNCHER).into_iter().filter(|id| parent(*id) == Some(me)).count()
}

/// The validator of the next test: runs a program until it is killed. On its own it does nothing.
#[tokio::test]
async fn a_validator_to_be_killed() {
    if let Ok(marker) = env::var("UNSPLIT_EXECUTOR_TEST_MARKER") {
        let script = format!("setsid sleep {marker} & sleep {marker}");
        drop(Bench::shell(&script).run().await);
    }
}

#[tokio::test]
async fn killing_the_validator_kills_everything() {
    let marker = marker();
    let mut validator = tokio::process::Command::new(env::current_exe().expect("a test has a file"))
        .args(["--exact", "a_validator_to_be_killed"])
        .env("UNSPLIT_EXECUTOR_TEST_MARKER", &marker)
        .stdout(Stdio::null())
        .spawn()
        .expect("a second of ourselves");
    until("both sleep", || marked(&marker).len() >= 3).await;
    validator.start_kill().expect("ours");
    until("nothing is left", || marked(&marker).is_empty()).await;
    validator.wait().await.expect("ours");
}

#[tokio::test]
async fn what_a_killed_launcher_leaves_is_cleared_away_and_its_hosts_fault() {
    let marker = marker();
    let run = tokio::spawn(Bench::new(["sleep", &marker]).run());
    until("it sleeps", || marked(&marker).len() == 1).await;
    kill(parent(marked(&marker)[0]).expect("it sleeps on"));
    let failed = run.await.expect("no panic").expect_err("a failure");
    assert!(failed.reason().starts_with("the launcher gave no answer"), "{failed}");
    assert_eq!(failed.fault(), Fault::Host);
    nothing_is_left_of(&marker);
}

/// A launcher that is none, and what is said about it.
async fn no_launcher(launcher: &[&str], reason: &str) {
    let mut bench = Bench::new(["true"]);
    bench.settings.launcher = launcher.iter().map(Into::into).collect();
    let failed = bench.run().await.expect_err("a failure");
    assert!(failed.reason().starts_with(reason), "{failed}");
    assert_eq!(failed.fault(), Fault::Host);
}

#[tokio::test]
async fn a_launcher_that_is_none_is_the_hosts_fault() {
    no_launcher(&["/no/such/launcher"], "could not start the launcher /no/such/launcher: No such file").await;
    no_launcher(&["true"], "the launcher gave no answer: there is no whole first line").await;
    no_launcher(&["yes"], "the launcher gave no answer: ").await;
}

/// With a clock that jumps to the next deadline while nothing else happens.
#[tokio::test(start_paused = true)]
async fn a_launcher_that_says_nothing_is_given_up() {
    let marker = marker();
    no_launcher(&["sleep", &marker], "the launcher did not answer within 50 s").await;
    until("nothing is left", || marked(&marker).is_empty()).await;
}

#[tokio::test]
async fn a_program_that_vanished_is_the_hosts_fault() {
    let program = env::temp_dir().join(format!("unsplit-executor-{}", marker()));
    fs::copy("/bin/true", &program).expect("a program of our own");
    let executors = Executors::new(Bench::new([program.to_str().unwrap()]).settings).expect("it is there");
    fs::remove_file(&program).expect("ours");
    let failed = executors.execute("command", br#"{"program": "it"}"#).await.expect_err("it is gone");
    assert!(failed.reason().starts_with("program \"it\" could not be started: No such file"), "{failed}");
    assert_eq!(failed.fault(), Fault::Host);
}
