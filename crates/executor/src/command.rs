//! Runs one of the operator's programs, through a launcher.
//!
//! The validator's half of [`crate::launcher`]: it holds the pipe whose end tells the launcher to kill everything.

use crate::{
    Failed, Limits, Program, RESULT_BYTES_MAX, Settings,
    job::{End, Job, LINE_BYTES_MAX, Report},
    launcher, printable, processes,
};
use serde::Deserialize;
use std::{collections::BTreeMap, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::timeout,
};

/// How long a launcher may take beside the time of its program: to start on a busy machine, and to kill.
const LAUNCHER_GRACE: Duration = Duration::from_secs(20);

/// Most bytes of a program's name in a sentence.
const NAME_BYTES_MAX: usize = 40;

/// What a submitter writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Payload {
    program: String,
    #[serde(default)]
    input: String,
}

/// What the program printed. Dropping the future closes the pipe to the launcher, and that kills everything.
pub(crate) async fn run(settings: &Settings, payload: &Payload) -> Result<Vec<u8>, Failed> {
    let name = shown(&payload.program);
    let Some(program) = settings.commands.get(&payload.program) else {
        return Err(not_allowed(&name, &settings.commands));
    };
    let job = job(program, &settings.limits, payload.input.len());
    let answer = ask(settings, [job.write(), payload.input.clone().into_bytes()].concat()).await?;
    match Report::parse(&answer) {
        Ok((report, output)) => judge(&name, &settings.limits, &report, output),
        Err(error) => {
            Err(Failed::host(&format!("the launcher gave no answer: {error}; the validator's log may say more")))
        }
    }
}

fn job(program: &Program, limits: &Limits, input_bytes: usize) -> Job {
    Job {
        path: program.path.clone(),
        args: program.args.clone(),
        input_bytes,
        output_bytes_max: RESULT_BYTES_MAX,
        wall_ms: u64::try_from(limits.wall.as_millis()).unwrap_or(u64::MAX),
        memory_bytes: limits.memory_bytes,
        processes: limits.processes,
    }
}

/// Starts a launcher and gives all it wrote, whole or not.
async fn ask(settings: &Settings, message: Vec<u8>) -> Result<Vec<u8>, Failed> {
    let mut launcher = start(settings)?;
    let deadline = settings.limits.wall.saturating_add(LAUNCHER_GRACE);
    let answer = timeout(deadline, converse(&mut launcher, &message)).await;
    if answer.as_ref().is_ok_and(|answer| Report::parse(answer).is_ok()) {
        // It has nothing left to do but to end. Should it not, the runtime buries it later.
        let _ = timeout(LAUNCHER_GRACE, launcher.wait()).await;
    } else {
        clean_up_after(launcher).await;
    }
    answer.map_err(|_| Failed::host(&format!("the launcher did not answer within {}", time(deadline))))
}

fn start(settings: &Settings) -> Result<Child, Failed> {
    let (program, args) = settings.launcher.split_first().expect("checked at start: commands have a launcher");
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
        .spawn()
        .map_err(|error| Failed::host(&format!("could not start the launcher {}: {error}", program.display())))
}

/// Everything a launcher answers to this message, and a little more if it says more than it may.
async fn converse(launcher: &mut Child, message: &[u8]) -> Vec<u8> {
    let mut stdin = launcher.stdin.take().expect("it was piped, and this is done once");
    let stdout = launcher.stdout.take().expect("it was piped, and this is done once");
    // Whatever goes wrong here, what the launcher has said by then says more about it.
    let _ = stdin.write_all(message).await;
    let mut answer = Vec::new();
    let bytes_max = LINE_BYTES_MAX + RESULT_BYTES_MAX + 1;
    let _ = stdout.take(bytes_max as u64).read_to_end(&mut answer).await;
    answer
}

/// Kills a launcher that is dead or as good as dead, and what it may have left: the processes of its session, which
/// has the id of its leader, and those of the program's own user.
async fn clean_up_after(mut launcher: Child) {
    let _ = launcher.start_kill();
    // As long as it is not waited for, its id is not given to anybody else.
    if let Some(id) = launcher.id().and_then(|id| i32::try_from(id).ok()) {
        let strays = tokio::task::spawn_blocking(move || processes::kill(|all| strays(id, all), || true));
        let _ = strays.await;
    }
    let _ = timeout(LAUNCHER_GRACE, launcher.wait()).await;
}

fn strays(launcher: i32, all: &[processes::Process]) -> Vec<processes::Process> {
    let user = u64::from(launcher::user_of(launcher));
    let is_stray = |process: &&processes::Process| {
        process.session == launcher || processes::status(&process.id.to_string(), "Uid") == Some(user)
    };
    all.iter().filter(is_stray).copied().collect()
}

/// The result, or what a person should know.
fn judge(name: &str, limits: &Limits, report: &Report, output: &[u8]) -> Result<Vec<u8>, Failed> {
    let ended = |how: &str| Err(Failed::task_with_words(&format!("program {name} {how}"), &report.last_words));
    match &report.end {
        End::Code(0) if output.len() <= RESULT_BYTES_MAX => Ok(output.to_vec()),
        End::Signal(signal) => ended(&format!("was killed by signal {signal}{}", meaning(*signal, limits))),
        End::OutOfTime => ended(&format!("was killed after {}, its time limit", time(limits.wall))),
        End::TooMuchOutput | End::Code(0) => {
            ended(&format!("printed more than {RESULT_BYTES_MAX} bytes, its output limit"))
        }
        End::Code(code) => ended(&format!("ended with exit code {code}")),
        End::NotStarted(reason) => Err(Failed::host(&format!("program {name} could not be started: {reason}"))),
        End::NotKilled => Err(Failed::host(&format!("program {name} is over, but part of it survived being killed"))),
    }
}

/// What a signal most likely means for a program under limits. The numbers are those of Linux.
fn meaning(signal: i32, limits: &Limits) -> String {
    let memory = || format!(", perhaps over its memory limit of {} MiB", limits.memory_bytes >> 20);
    match signal {
        6 => format!(" (SIGABRT){}", memory()),
        7 => format!(" (SIGBUS){}", memory()),
        9 => format!(" (SIGKILL){}", memory()),
        11 => format!(" (SIGSEGV){}", memory()),
        24 => format!(" (SIGXCPU): it used more than {} of CPU time", time(limits.wall)),
        25 => " (SIGXFSZ): it may not write to files".to_string(),
        _ => String::new(),
    }
}

fn not_allowed(name: &str, commands: &BTreeMap<String, Program>) -> Failed {
    let allowed: Vec<&str> = commands.keys().map(String::as_str).collect();
    let allowed = if allowed.is_empty() { "none".to_string() } else { allowed.join(", ") };
    Failed::host(&format!("program {name} is not allowed here (allowed: {allowed})"))
}

fn shown(name: &str) -> String {
    format!("\"{}\"", printable::beginning(&printable::printable(name), NAME_BYTES_MAX))
}

/// `30 s`, `250 ms`.
fn time(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{} s", duration.as_secs()),
        _ => format!("{} ms", duration.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    fn check(end: End, last_words: &str, expected: Result<&str, (&str, Fault)>) {
        let report = Report { end, last_words: last_words.to_string(), output_bytes: 2 };
        let judged = judge(&shown("sort"), &Limits::default(), &report, b"b\n");
        let judged = judged.map(|result| String::from_utf8(result).unwrap());
        let judged = judged.map_err(|failed| (failed.reason().to_string(), failed.fault()));
        assert_eq!(judged, expected.map(str::to_string).map_err(|(reason, fault)| (reason.to_string(), fault)));
    }

    #[test]
    fn every_end_is_explained() {
        let task = |reason| Err((reason, Fault::Task));
        let host = |reason| Err((reason, Fault::Host));
        check(End::Code(0), "a warning", Ok("b\n"));
        check(End::Code(2), "sort: no", task(r#"program "sort" ended with exit code 2: sort: no"#));
        check(End::Code(2), "", task(r#"program "sort" ended with exit code 2"#));
        check(End::OutOfTime, "", task(r#"program "sort" was killed after 30 s, its time limit"#));
        check(End::TooMuchOutput, "", task(r#"program "sort" printed more than 65536 bytes, its output limit"#));
        let reason = "program \"sort\" was killed by signal 11 (SIGSEGV), perhaps over its memory limit of 512 MiB: no";
        check(End::Signal(11), "no", task(reason));
        check(End::Signal(15), "", task(r#"program "sort" was killed by signal 15"#));
        check(End::NotStarted("busy".to_string()), "", host(r#"program "sort" could not be started: busy"#));
        check(End::NotKilled, "", host(r#"program "sort" is over, but part of it survived being killed"#));
    }

    #[test]
    fn a_launcher_that_lets_too_much_through_is_not_believed() {
        let report = Report { end: End::Code(0), last_words: String::new(), output_bytes: RESULT_BYTES_MAX + 1 };
        let judged = judge(&shown("sort"), &Limits::default(), &report, &[0; RESULT_BYTES_MAX + 1]);
        assert!(judged.expect_err("too much").reason().ends_with("its output limit"));
    }

    #[test]
    fn a_program_that_is_not_allowed_is_told_those_that_are() {
        let program = Program { path: "/bin/true".into(), args: Vec::new() };
        let commands = ["wc", "sort"].map(|name| (name.to_string(), program.clone())).into();
        let failed = not_allowed(&shown("nope"), &commands);
        assert_eq!(failed.reason(), r#"program "nope" is not allowed here (allowed: sort, wc)"#);
        let failed = not_allowed(&shown(&"\u{1b}x".repeat(999)), &commands);
        assert!(failed.reason().ends_with("…\" is not allowed here (allowed: sort, wc)"), "{failed}");
    }

    #[test]
    fn times_are_written_as_people_do() {
        assert_eq!(time(Duration::from_secs(90)), "90 s");
        assert_eq!(time(Duration::from_millis(1500)), "1500 ms");
    }
}
