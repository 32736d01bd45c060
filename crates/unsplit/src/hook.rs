//! A program of the operator's that is told of something.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{process::Command, time::timeout};

use crate::{devnet::describe, failure::Failure};

/// How long the program may run.
const RUN_MAX: Duration = Duration::from_secs(30);

/// A program and its arguments. No shell runs it.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    program: String,
    arguments: Vec<String>,
}

impl Hook {
    /// Splits words and reads quotes as a shell does.
    ///
    /// # Errors
    /// When it is no command.
    pub(crate) fn parse(command: &str) -> Result<Self, Failure> {
        let mut words = shlex::split(command).unwrap_or_default().into_iter();
        let program = words.next().filter(|program| !program.is_empty()).ok_or_else(|| {
            let help = "write a program and its arguments, for example --hook '/usr/local/bin/page --team nodes'";
            Failure::usage(format!("--hook {command:?} is no command"), help)
        })?;
        Ok(Self { program, arguments: words.collect() })
    }

    /// Runs it to its end, with these variables in its environment beside ours.
    ///
    /// # Errors
    /// When it cannot be started, fails, or takes too long.
    pub(crate) async fn run(&self, variables: impl IntoIterator<Item = (String, String)>) -> Result<(), String> {
        let program = &self.program;
        let mut command = Command::new(program);
        command.args(&self.arguments);
        command.envs(variables.into_iter().map(|(name, value)| (name, value.replace('\0', " "))));
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
        let group = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        match timeout(RUN_MAX, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("{program}: {}", describe(status))),
            Ok(Err(error)) => Err(format!("{program} is lost: {error}")),
            Err(_) => {
                // With all that it has started. It has not been waited for, so its id is still its own.
                let _ = group.map(|group| kill_process_group(group, Signal::KILL));
                let _ = child.wait().await;
                Err(format!("{program} was killed after {} s", RUN_MAX.as_secs()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_without_a_shell() {
        let hook = Hook::parse("page --text 'a b' $HOME").expect("a command");
        assert_eq!(
            (hook.program.as_str(), hook.arguments.as_slice()),
            ("page", &["--text", "a b", "$HOME"].map(String::from)[..])
        );
        for wrong in ["", "  ", "''", "page 'open"] {
            assert!(Hook::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_program_is_told_in_its_environment_and_its_failure_is_no_panic() {
        let run = async |command: &str| {
            let variables = [("UNSPLIT_REASON".to_owned(), "a\0b".to_owned())];
            Hook::parse(command).expect("a command").run(variables).await
        };
        assert_eq!(run("sh -c 'test \"$UNSPLIT_REASON\" = \"a b\"'").await, Ok(()));
        assert_eq!(run("sh -c 'exit 9'").await, Err("sh: exit code 9".into()));
        assert!(run("/no/such/program").await.expect_err("it is not there").contains("cannot be started"));
    }
}
