//! Who else is told?
//!
//! A program or an address of the operator's. Changes are told in order, one at a time, by a task of its own, so that nothing
//! waits for them; when too many wait, new ones are dropped and that is said. A hook that fails is reported, never fatal.

use std::time::{Duration, Instant};

use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::JoinHandle,
    time::timeout,
};

use super::{
    clock::millis,
    event::{Change, Event},
};
use crate::{failure::Failure, hook::Hook, output::Output, testnet::now_ms};

/// Changes that may wait.
const WAITING_MAX: usize = 64;

/// How long an address may take to answer; it is tried twice.
const WEBHOOK_MAX: Duration = Duration::from_secs(5);

/// Who is told.
pub(super) struct Hooks {
    changes: Option<Sender<Event>>,
    telling: JoinHandle<()>,
    output: Output,
}

struct Teller {
    command: Option<Hook>,
    webhook: Option<(String, reqwest::Client)>,
    output: Output,
}

impl Hooks {
    /// # Errors
    /// When the command or the address make no sense.
    pub(super) fn new(command: Option<&str>, webhook: Option<&str>, output: Output) -> Result<Self, Failure> {
        let command = command.map(Hook::parse).transpose()?;
        let webhook = webhook.map(address).transpose()?;
        let (changes, inbox) = mpsc::channel(WAITING_MAX);
        let is_silent = command.is_none() && webhook.is_none();
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
        let Some(command) = &self.command else { return Ok(()) };
        let variables = [
            ("UNSPLIT_NODE", event.node.clone()),
            ("UNSPLIT_CHANGE", event.change.word().to_owned()),
            ("UNSPLIT_ATTEMPT", event.attempt.to_string()),
            ("UNSPLIT_REASON", event.reason.clone().unwrap_or_default()),
        ];
        command.run(variables.map(|(name, value)| (name.to_owned(), value))).await
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
        Teller { command: Some(Hook::parse(command).expect("a command")), webhook, output }
    }

    #[tokio::test]
    async fn a_program_finds_the_change_in_its_environment() {
        let is_told =
            "sh -c 'test \"$UNSPLIT_NODE $UNSPLIT_CHANGE $UNSPLIT_REASON $UNSPLIT_ATTEMPT\" = \"n3 stuck a b 2\"'";
        assert_eq!(teller(is_told, None).run_command(&event()).await, Ok(()));
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
