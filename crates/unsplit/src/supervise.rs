//! Keeps one validator alive, and says when that is hopeless.
//!
//! The supervisor owns the validator's process. `sentinel::recovery` decides when it is worth bringing it back and
//! `sentinel::recovery::crashes` when to stop trying; this module starts, watches, ends and tells.
//!
//! - `watch`: does the validator do what it is for?
//! - `integrity`: is what would be started what it should be?
//! - `child`, `lines`: the process, and what it says
//! - `opening`: what a supervisor begins with
//! - `looks`: who looks at the process, and how often?
//! - `orders`: what is done when somebody else wants the validator back
//! - `course`: what each look at the validator means for the attempt under way
//! - `event`, `hooks`, `telling`: who is told what
//! - `record`, `evidence`, `clock`: what outlives the supervisor
//! - `showing`: what was done, for people

mod child;
mod clock;
mod course;
mod event;
mod evidence;
mod hooks;
mod integrity;
mod lines;
mod looks;
mod opening;
mod orders;
mod record;
mod showing;
mod telling;
mod watch;

pub(crate) use showing::{recover, recoveries};

use std::{
    collections::VecDeque,
    path::PathBuf,
    process::ExitStatus,
    time::{Duration, Instant},
};

use sentinel::recovery::{Action, Attempt, Outcome, Recovery, State, Step, crashes};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::sleep_until,
};
use validator::{Config, orders::Command};

use self::{
    child::Process,
    clock::{Clock, millis},
    event::{Change, Event},
    hooks::Hooks,
    integrity::{Certified, Files},
    lines::Sink,
    looks::{LOOK_MAX, Look, Running, look, next},
    opening::{bounds, misfit, seed, take_lock, take_up},
    orders::commanded,
    record::{Before, Record},
    watch::{Limits, Watch},
};
use crate::{
    cli::{Global, Supervise},
    client::Client,
    config, devnet,
    failure::{Exit, Failure},
    files::Lock,
    node::{check_genesis, read_genesis},
    output::Output,
    room,
    signals::Signals,
    testnet::now_ms,
};

/// The longest sleep, so that a deadline far away needs no timer that long.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// How long hooks may still be told when the supervisor ends.
const TELL_MAX: Duration = Duration::from_secs(45);
const TELL_MAX_ASKED: Duration = Duration::from_secs(2);

/// How often it is looked whether a disk can be written again.
const DISK_LOOK: Duration = Duration::from_secs(2);

/// The one that is supervised, as the decider counts nodes.
const ME: u32 = 0;

pub(crate) async fn run(verb: &Supervise, global: &Global, output: Output) -> Result<Exit, Failure> {
    let mut supervisor = Supervisor::open(verb, global, output)?;
    let ended = supervisor.keep_alive().await;
    supervisor.finish(ended).await
}

/// A validator and what is done for it.
struct Supervisor<'a> {
    verb: &'a Supervise,
    global: &'a Global,
    output: Output,
    config: Config,
    clock: Clock,
    signals: Signals,
    /// SIGUSR1: somebody on this machine wants the validator back now.
    orders: Signal,
    /// Orders of enough validators; nothing if the genesis file names no supervisor for this one.
    commands: Option<mpsc::Receiver<Command>>,
    recovery: Recovery,
    crashes: crashes::Crashes,
    /// The process, while it runs.
    running: Option<Running>,
    /// When the process is to be started.
    start_at: Option<Instant>,
    /// How long to wait before the next start.
    pause: Duration,
    /// Whether the validator was well since it was last started.
    is_well: bool,
    /// Whether the last known state is that all attempts are used.
    is_failed: bool,
    /// Why it is down.
    reason: Option<String>,
    /// Whether it is told that the disk cannot be written.
    has_no_room: bool,
    /// What the chain certifies, as far as it is known here.
    chain_certified: ledger::Certified,
    hooks: Hooks,
    sink: Sink,
    history: VecDeque<Event>,
    _lock: Lock,
}

/// What a supervisor waits for.
enum Happening {
    Asked(Exit),
    Ended(Result<ExitStatus, Failure>),
    Looked(Look),
    StartDue,
    Ordered,
    /// By more than f validators; nothing if no more commands can come.
    Commanded(Option<Command>),
    Time,
}

impl<'a> Supervisor<'a> {
    fn open(verb: &'a Supervise, global: &'a Global, output: Output) -> Result<Self, Failure> {
        let config = config::load(&verb.config)?;
        check_genesis(&config)?;
        let genesis = read_genesis(&config.genesis)?;
        let hooks = Hooks::new(verb.hook.as_deref(), verb.webhook.as_deref(), output)?;
        let seed = seed()?;
        let mut recovery = Recovery::new(bounds(verb), 1, seed).map_err(|error| misfit(&error))?;
        let lock = take_lock(&config)?;
        let before = Record::load(&config.data_dir.join("supervisor.json"))?;
        let known_ms = if let Before::Known(record) = &before { record.clock_ms } else { 0 };
        let newer = if let Before::Known(record) = &before { record.certified.clone() } else { None };
        let chain_certified = newer.unwrap_or_else(|| genesis.certified.clone());
        let clock = Clock::after(known_ms, now_ms());
        let (history, is_failed) = take_up(&mut recovery, before, &clock, output);
        if Certified::new(&chain_certified, &verb.certified)?.is_empty() {
            output.talk("no hash is certified: name those that may run with --certified SHA256, or have the chain do it: unsplit certify");
        }
        let commands = validator::receive_orders(&config, genesis)?;
        if commands.is_none() {
            output.talk("the genesis file names no supervisor for this validator: nobody else can have it restarted");
        }
        Ok(Self {
            verb,
            global,
            output,
            clock,
            signals: Signals::listen(),
            commands,
            chain_certified,
            orders: signal(SignalKind::user_defined1()).expect("signals can be listened for"),
            recovery,
            crashes: crashes::Crashes::new(crashes::Config::default(), seed).map_err(|error| misfit(&error))?,
            running: None,
            start_at: None,
            pause: Duration::ZERO,
            is_well: false,
            is_failed,
            reason: None,
            has_no_room: false,
            hooks,
            sink: Sink::open(verb.log.as_deref())?,
            history,
            _lock: lock,
            config,
        })
    }

    /// Until somebody asks it to end, or it is hopeless.
    async fn keep_alive(&mut self) -> Result<Exit, Failure> {
        if let Some(exit) = self.begin().await? {
            return Ok(exit);
        }
        loop {
            if let Some(exit) = self.act().await? {
                return Ok(exit);
            }
            self.save("");
            match self.wait().await {
                Happening::Asked(exit) => return Ok(exit),
                Happening::Ended(status) => {
                    if let Some(exit) = self.missed(status?)? {
                        return Ok(exit);
                    }
                }
                Happening::Looked(seen) => {
                    if let Some(exit) = self.looked(seen).await? {
                        return Ok(exit);
                    }
                }
                Happening::StartDue => self.start()?,
                Happening::Ordered => self.ordered(),
                Happening::Commanded(command) => self.commanded(command).await?,
                Happening::Time => {}
            }
        }
    }

    /// The first start is no attempt: nothing has failed yet. Unless this supervisor's predecessor had used them all.
    async fn begin(&mut self) -> Result<Option<Exit>, Failure> {
        let now_ms = self.clock.now_ms();
        if self.is_failed && self.recovery.attempts_left(ME, now_ms) == 0 && !self.global.yes {
            let reason = "all attempts were used before this supervisor was started";
            self.recovery.down(ME, reason);
            self.reason = Some(reason.into());
            self.output.talk("mended? start it by hand: the same command with --yes");
            return Ok(None);
        }
        self.is_failed = false;
        if let Some(exit) = self.verify().await? {
            return Ok(Some(exit));
        }
        self.start()?;
        Ok(None)
    }

    async fn wait(&mut self) -> Happening {
        let wake = self.recovery.deadline(self.clock.now_ms()).map(|at_ms| self.clock.instant(at_ms));
        let wake = wake.unwrap_or_else(|| Instant::now() + SLEEP_MAX).min(Instant::now() + SLEEP_MAX);
        let start_at = self.start_at;
        let due = async move {
            match start_at {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            exit = self.signals.next() => Happening::Asked(exit),
            happening = next(self.running.as_mut()) => happening,
            () = due => Happening::StartDue,
            Some(()) = self.orders.recv() => Happening::Ordered,
            command = commanded(self.commands.as_mut()) => Happening::Commanded(command),
            () = sleep_until(wake.into()) => Happening::Time,
        }
    }

    /// Does what the decider says, until it says no more.
    async fn act(&mut self) -> Result<Option<Exit>, Failure> {
        loop {
            let mut actions = Vec::new();
            self.recovery.tick(self.clock.now_ms(), &mut actions);
            if actions.is_empty() {
                return Ok(None);
            }
            for action in actions {
                if let Some(exit) = self.carry_out(action).await? {
                    return Ok(Some(exit));
                }
            }
        }
    }

    async fn carry_out(&mut self, action: Action) -> Result<Option<Exit>, Failure> {
        match action {
            Action::Begin { step: Step::VerifyIntegrity, .. } => {
                if self.passes() == 1 {
                    let reason = self.reason.clone();
                    self.tell(Change::AttemptBegan, |event| Event { reason, ..event });
                }
                return self.verify().await;
            }
            Action::Begin { step: Step::Restart, .. } => self.start_at = Some(Instant::now() + self.pause),
            // These come about by themselves and are watched.
            Action::Begin { step: Step::CatchUp | Step::VerifyResponsive | Step::Trial, .. } => {}
            Action::Ended { outcome, .. } => self.attempt_ended(&outcome).await?,
            Action::GaveUp { until_ms, reason, .. } => {
                self.is_failed = true;
                let wait_ms = until_ms.saturating_sub(self.clock.now_ms());
                let reason = format!("{reason}; all attempts are used, the next is in {} s", wait_ms / 1_000);
                self.tell(Change::Failed, |event| Event { reason: Some(reason), ..event });
            }
        }
        Ok(None)
    }

    /// Looks at the files. What is wrong there does not pass by itself, so it ends the supervisor.
    async fn verify(&mut self) -> Result<Option<Exit>, Failure> {
        let files = Files {
            program: devnet::program(),
            models: self.verb.models.clone(),
            data_dir: self.config.data_dir.clone(),
            certified: Certified::new(&self.chain_certified, &self.verb.certified)?,
        };
        let began = Instant::now();
        let verifying = tokio::task::spawn_blocking(move || files.verify());
        let verified = tokio::select! {
            exit = self.signals.next() => return Ok(Some(exit)),
            verified = verifying => verified,
        };
        let verified = verified.map_err(|error| Failure::unexpected(format!("the verification ended: {error}")))?;
        match verified {
            Ok(text) => {
                self.step_done(Step::VerifyIntegrity, began.elapsed(), Some(text));
                Ok(None)
            }
            Err(failure) => {
                let evidence = self.keep_evidence(&failure.message, None, Duration::ZERO, &[]);
                let reason = Some(failure.message.clone());
                self.tell(Change::GaveUp, |event| Event { reason, evidence, ..event });
                Err(failure)
            }
        }
    }

    fn start(&mut self) -> Result<(), Failure> {
        assert!(self.running.is_none(), "the process has ended before it is started");
        if self.waits_for_the_disk() {
            return Ok(());
        }
        (self.start_at, self.pause, self.is_well) = (None, Duration::ZERO, false);
        let process = match Process::start(&self.verb.config, self.global.verbose, self.sink.clone()) {
            Ok(process) => process,
            // A machine that has no room for a process now may have some in a moment.
            Err(failure) => {
                let line = failure.message;
                return self.again(crashes::Failure::new(crashes::Ending::Code(-1), &line), &line, None);
            }
        };
        let reason = Some(format!("process {}", process.pid));
        self.running = Some(self.watched(process)?);
        self.tell(Change::Started, |event| Event { reason, ..event });
        Ok(())
    }

    /// A validator on a disk that cannot be written would only end again. Nothing is wrong with it, so waiting costs no
    /// attempt.
    fn waits_for_the_disk(&mut self) -> bool {
        let Some(refusal) = room::refusal(&self.config.data_dir) else {
            self.has_no_room = false;
            return false;
        };
        self.start_at = Some(Instant::now() + DISK_LOOK);
        if !std::mem::replace(&mut self.has_no_room, true) {
            self.reason = Some(refusal.clone());
            let reason = Some(format!("{refusal}; the validator is started once it can be"));
            self.tell(Change::NoRoom, |event| Event { reason, ..event });
        }
        true
    }

    fn watched(&self, process: Process) -> Result<Running, Failure> {
        let limits = Limits {
            silent_ms: millis(self.verb.silent_after),
            stuck_ms: millis(self.verb.stuck_after),
            start_ms: millis(self.verb.start_max),
        };
        let client = Client::new(&format!("http://{}", self.config.api.listen), None, LOOK_MAX)?;
        let (told, looks) = mpsc::channel(1);
        let looking = tokio::spawn(look(client, self.config.data_dir.join("lock"), process.pid, told));
        Ok(Running { process, watch: Watch::new(limits, self.clock.now_ms()), looks, looking })
    }

    /// The process ended although nobody here asked it to.
    fn missed(&mut self, status: ExitStatus) -> Result<Option<Exit>, Failure> {
        let Some(running) = self.running.take() else { return Ok(None) };
        let (how, line) = (devnet::describe(status), running.process.last.error());
        let ran = running.process.started.elapsed();
        if status.success() {
            let reason = Some("somebody asked the validator to end, so the supervisor ends too".into());
            self.tell(Change::Ended, |event| Event { reason, took_ms: Some(millis(ran)), ..event });
            return Ok(Some(Exit::Ok));
        }
        let reason = if line.is_empty() { how } else { format!("{how}: {line}") };
        let evidence = self.keep_evidence(&reason, Some(status), ran, &running.process.last.lines());
        let (told, kept) = (Some(reason.clone()), evidence.clone());
        self.tell(Change::Ended, |event| Event { reason: told, took_ms: Some(millis(ran)), evidence: kept, ..event });
        if self.waits_for_the_disk() {
            return Ok(None);
        }
        // What the command line or the configuration lacks is not mended by another start.
        for exit in [Exit::Usage, Exit::Config] {
            if status.code() == Some(i32::from(exit as u8)) {
                return Err(self.give_up(exit, &reason, evidence));
            }
        }
        self.again(crashes::Failure::new(child::ending(status), &line), &reason, evidence)?;
        Ok(None)
    }

    /// The process is gone. Is it worth another start?
    fn again(&mut self, failure: crashes::Failure, reason: &str, evidence: Option<PathBuf>) -> Result<(), Failure> {
        self.reason = Some(reason.to_owned());
        match self.crashes.failed(failure) {
            crashes::Answer::Stop { same } => {
                let reason = format!("it failed {same} times in the same way: {reason}");
                self.recovery.failed(ME, &reason, self.clock.now_ms());
                Err(self.give_up(Exit::GaveUp, &reason, evidence))
            }
            crashes::Answer::Restart { pause_ms } => {
                self.pause = Duration::from_millis(pause_ms);
                // One of the two does nothing, depending on whether an attempt is under way.
                self.recovery.again(ME, reason, self.clock.now_ms());
                self.recovery.down(ME, reason);
                self.tell_cooling();
                Ok(())
            }
        }
    }

    /// Tells that nothing more will be tried; what the process ends with.
    fn give_up(&mut self, exit: Exit, reason: &str, evidence: Option<PathBuf>) -> Failure {
        let (told, kept) = (Some(reason.to_owned()), evidence.clone());
        self.tell(Change::GaveUp, |event| Event { reason: told, evidence: kept, ..event });
        let name = &self.config.name;
        let place = evidence.map_or_else(|| "what it said above".into(), |path| path.display().to_string());
        let help = format!("read {place}; mend what it names, then start the supervisor again");
        Failure::new(exit, format!("{name} is given up: {reason}"), help)
    }

    /// Ends the process because it does not do what it is for.
    async fn unstick(&mut self, reason: &str) -> Result<(), Failure> {
        let Some(running) = self.running.as_mut() else { return Ok(()) };
        let ran = running.process.started.elapsed();
        let told = Some(reason.to_owned());
        self.tell(Change::Stuck, |event| Event { reason: told, took_ms: Some(millis(ran)), ..event });
        let Some((status, lines, took)) = self.stop().await? else { return Ok(()) };
        let evidence = self.keep_evidence(reason, Some(status), ran, &lines);
        let (told, kept) = (Some(devnet::describe(status)), evidence.clone());
        self.tell(Change::Ended, |event| Event { reason: told, took_ms: Some(millis(took)), evidence: kept, ..event });
        self.again(crashes::Failure::new(crashes::Ending::Stuck, reason), reason, evidence)
    }

    /// Ends the process if it runs: how it ended, its last lines, and how long that took.
    async fn stop(&mut self) -> Result<Option<(ExitStatus, Vec<String>, Duration)>, Failure> {
        let Some(mut running) = self.running.take() else { return Ok(None) };
        let began = Instant::now();
        let status = running.process.stop().await?;
        Ok(Some((status, running.process.last.lines(), began.elapsed())))
    }

    async fn attempt_ended(&mut self, outcome: &Outcome) -> Result<(), Failure> {
        // The next one may have begun already.
        let (attempt, took_ms) = self.last_ended();
        let Some(reason) = outcome.reason() else {
            (self.reason, self.is_failed) = (None, false);
            self.tell(Change::Active, |event| Event { attempt, took_ms, ..event });
            return Ok(());
        };
        self.start_at = None;
        self.reason = Some(reason.clone());
        if let Some((status, lines, _)) = self.stop().await? {
            self.keep_evidence(&reason, Some(status), Duration::ZERO, &lines);
        }
        self.tell(Change::AttemptFailed, |event| Event { attempt, took_ms, reason: Some(reason), ..event });
        self.tell_cooling();
        Ok(())
    }

    fn tell_cooling(&mut self) {
        let now_ms = self.clock.now_ms();
        if let State::Cooling { until_ms } = self.recovery.state(ME, now_ms) {
            let reason = Some(format!("the next attempt is in {} s", until_ms.saturating_sub(now_ms) / 1_000));
            self.tell(Change::Cooling, |event| Event { reason, ..event });
        }
    }

    fn attempts(&self) -> &[Attempt] {
        self.recovery.attempts(ME).expect("there is one node").counted()
    }

    /// The number of the last attempt that is over, and how long it took.
    fn last_ended(&self) -> (usize, Option<u64>) {
        let attempts = self.attempts().iter().enumerate().rev();
        let mut ended = attempts.filter_map(|(index, attempt)| Some((index + 1, attempt, attempt.ended.as_ref()?.0)));
        ended
            .next()
            .map_or((0, None), |(number, attempt, ended_ms)| (number, Some(ended_ms.saturating_sub(attempt.began_ms))))
    }

    fn passes(&self) -> usize {
        self.attempts().last().map_or(0, |attempt| attempt.passes)
    }

    fn step_done(&mut self, step: Step, took: Duration, reason: Option<String>) {
        self.recovery.done(ME, step, self.clock.now_ms());
        let (step, took_ms) = (Some(step.name().to_owned()), Some(millis(took)));
        self.tell(Change::StepDone, |event| Event { step, took_ms, reason, ..event });
    }

    /// Ends the validator, then tells, then ends.
    async fn finish(mut self, ended: Result<Exit, Failure>) -> Result<Exit, Failure> {
        let stopped = self.stop().await?;
        if let Some((status, _, took)) = stopped {
            let (reason, took_ms) = (Some(devnet::describe(status)), Some(millis(took)));
            self.tell(Change::Ended, |event| Event { reason, took_ms, ..event });
        }
        let reason = ended.as_ref().err().map(|failure| failure.message.clone());
        self.tell(Change::Stopped, |event| Event { reason, ..event });
        self.save(if ended.is_ok() { "stopped" } else { "gave_up" });
        self.sink.flush();
        self.hooks.finish(if ended.is_ok() { TELL_MAX_ASKED } else { TELL_MAX }).await;
        ended
    }
}
