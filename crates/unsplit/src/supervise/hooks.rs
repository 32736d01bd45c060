//! Who else is told?
//!
//! A program or an address of the operator's. Changes are told in order, one at a time, by a task of its own, so that nothing
//! waits for them; when too many wait, new ones are dropped and that is said. A hook that fails is reported, never fatal.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::Command,
    sync::mpsc::{self, Receiver, Sender},
    task::JoinHandle,
    time::timeout,
};

use super::{
    clock::millis,
    event::{Change, Event},
};
use crate::{devnet::describe, failure::Failure, output::Output, testnet::now_ms};

/// Changes that may wait.
const WAITING_MAX: usize = 64;

/// How long a program may run.
const COMMAND_MAX: Duration = Duration::from_secs(30);

/// How long an address may take to answer; it is tried twice.
const WEBHOOK_MAX: Duration = Duration::from_secs(5);

/// Who is told.
pub(super) struct Hooks {
    changes: Option<Sender<Event>>,
    telling: JoinHandle<()>,
    output: Output,
}

struct Teller {
    command: Vec<String>,
    webhook: Option<(String, reqwest::Client)>,
    output: Output,
}

impl Hooks {
    /// # Errors
    /// When the command or the address make no sense.
    pub(super) fn new(command: Option<&str>, webhook: Option<&str>, output: Output) -> Result<Self, Failure> {
        let command = command.map(split).transpose()?.unwrap_or_default();
        let webhook = webhook.map(address).transpose()?;
        let (changes, inbox) = mpsc::channel(WAITING_MAX);
        let is_silent = command.is_empty() && webhook.is_none();
        let telling = tokio::spawn(Teller { command, webhook, output }.run(inbox));
        Ok(Self { changes: (!is_silent).then_some(changes), telling, output })
    }

    pub(super) fn tell(&self, event: &Event) {
        if let Some(changes) = &self.changes
            && changes.try_send(event.clone()).is_err()
        {
            let why = format!("{WAITING_MAX} changes wait already, so this one is not told");
            report(event, &why, None, self.output);
        }
    }

    /// Waits until all is told, or gives up after a while.
    pub(super) async fn finish(&mut self, patience: Duration) {
        self.changes = None;
        if timeout(patience, &mut self.telling).await.is_err() {
            self.telling.abort();
            self.output.talk("the hook is not told of the last changes: it takes too long");
        }
    }
}

impl Teller {
    async fn run(self, mut inbox: Receiver<Event>) {
        while let Some(event) = inbox.recv().await {
            let began = Instant::now();
            if let Err(why) = self.run_command(&event).await {
                report(&event, &why, Some(millis(began.elapsed())), self.output);
            }
            let began = Instant::now();
            if let Err(why) = self.post(&event).await {
                report(&event, &why, Some(millis(began.elapsed())), self.output);
            }
        }
    }

    async fn run_command(&self, event: &Event) -> Result<(), String> {
        let Some((program, arguments)) = self.command.split_first() else { return Ok(()) };
        let mut command = Command::new(program);
        command.args(arguments).env("UNSPLIT_NODE", &event.node).env("UNSPLIT_CHANGE", event.change.word());
        command.env("UNSPLIT_ATTEMPT", event.attempt.to_string());
        command.env("UNSPLIT_REASON", event.reason.as_deref().unwrap_or_default().replace('\0', " "));
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
        let group = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        match timeout(COMMAND_MAX, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("{program}: {}", describe(status))),
            Ok(Err(error)) => Err(format!("{program} is lost: {error}")),
            Err(_) => {
                // With all that it has started. It has not been waited for, so its id is still its own.
                let _ = group.map(|group| kill_process_group(group, Signal::KILL));
                let _ = child.wait().await;
                Err(format!("{program} was killed after {} s", COMMAND_MAX.as_secs()))
            }
        }
    }

    async fn post(&self, event: &Event) -> Result<(), String> {
        let Some((url, http)) = &self.webhook else { return Ok(()) };
        let post = async || match http.post(url).json(event).send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("{url} answers {}", response.status())),
            Err(error) => Err(format!("{url}: {error}")),
        };
        match post().await {
            Ok(()) => Ok(()),
            Err(_) => post().await,
        }
    }
}

fn report(event: &Event, why: &str, took_ms: Option<u64>, output: Output) {
    let reason = Some(format!("told of {}: {why}", event.change.word()));
    let (change, step, evidence) = (Change::HookFailed, None, None);
    Event { change, step, evidence, reason, took_ms, time_ms: now_ms(), ..event.clone() }.tell(output);
}

fn split(command: &str) -> Result<Vec<String>, Failure> {
    let words = shlex::split(command).filter(|words| !words.is_empty());
    words.ok_or_else(|| {
        let help = "write a program and its arguments, for example --hook '/usr/local/bin/page --team nodes'";
        Failure::usage(format!("--hook {command:?} is no command"), help)
    })
}

fn address(url: &str) -> Result<(String, reqwest::Client), Failure> {
    let is_address = reqwest::Url::parse(url).is_ok_and(|parsed| parsed.scheme() == "http" && parsed.has_host());
    if !is_address {
        let help = "write http://HOST[:PORT]/PATH; this program brings no TLS, so https needs a relay on this machine, or \
                    a --hook that runs curl";
        return Err(Failure::usage(format!("--webhook {url:?} cannot be used"), help));
    }
    let http = reqwest::Client::builder().no_proxy().timeout(WEBHOOK_MAX).build();
    http.map(|http| (url.to_owned(), http)).map_err(|error| Failure::unexpected(format!("no HTTP client: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_without_a_shell() {
        assert_eq!(split("page --text 'a b' $HOME").expect("a command"), ["page", "--text", "a b", "$HOME"]);
        for wrong in ["", "  ", "page 'open"] {
            assert!(split(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_an_address_that_can_be_reached_is_taken() {
        assert!(address("http://127.0.0.1:9/x").is_ok());
        for wrong in ["", "localhost", "https://example.com/", "file:///etc/passwd", "http://"] {
            assert!(address(wrong).is_err(), "{wrong:?}");
        }
    }

    fn event() -> Event {
        Event {
            schema: "unsplit.supervisor.event/1".into(),
            time_ms: 1,
            node: "n3".into(),
            change: Change::Stuck,
            attempt: 2,
            step: None,
            took_ms: None,
            reason: Some("a b".into()),
            evidence: None,
        }
    }

    fn teller(command: &str, webhook: Option<&str>) -> Teller {
        let output = Output::new(crate::cli::Format::Json, true);
        let webhook = webhook.map(|url| address(url).expect("an address"));
        Teller { command: split(command).expect("a command"), webhook, output }
    }

    #[tokio::test]
    async fn a_program_is_told_in_its_environment_and_its_failure_is_no_panic() {
        let is_told =
            "sh -c 'test \"$UNSPLIT_NODE $UNSPLIT_CHANGE $UNSPLIT_REASON $UNSPLIT_ATTEMPT\" = \"n3 stuck a b 2\"'";
        assert_eq!(teller(is_told, None).run_command(&event()).await, Ok(()));
        let failed = teller("sh -c 'exit 9'", None).run_command(&event()).await;
        assert_eq!(failed, Err("sh: exit code 9".into()));
        let missing = teller("/no/such/program", None).run_command(&event()).await;
        assert!(missing.expect_err("it is not there").contains("cannot be started"));
    }

    #[tokio::test]
    async fn an_address_that_fails_once_is_asked_again_and_one_that_fails_twice_is_reported() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/told", listener.local_addr().expect("bound"));
        let serving = tokio::spawn(async move {
            let mut bodies = Vec::new();
            for status in ["500 Oh", "200 OK", "500 Oh", "500 Oh"] {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    assert!(stream.read_buf(&mut request).await.expect("a request") > 0, "it ends with its body");
                }
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.expect("it reads");
                bodies.push(String::from_utf8_lossy(&request).into_owned());
            }
            bodies
        });
        let teller = teller("true", Some(&url));
        assert_eq!(teller.post(&event()).await, Ok(()));
        assert!(teller.post(&event()).await.expect_err("twice").contains("500"));
        let bodies = serving.await.expect("four requests");
        assert!(bodies.iter().all(|body| body.starts_with("POST /told ") && body.contains("\"change\":\"stuck\"")));
    }
}
