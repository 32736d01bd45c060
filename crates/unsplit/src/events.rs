//! What happened, and what happens.
//!
//! - `frames`: server-sent events, out of whatever pieces they come in

mod frames;

use std::{collections::HashMap, time::Duration};

use api::{AilmentView, Course, Departing, Duty, Event, EventKind, Standing, TaskState};
use jiff::Timestamp;
use reqwest::Response;
use tokio::time::{sleep, timeout};

use self::frames::{Frame, Frames};
use crate::{
    cli::{Events, Global},
    client::{Client, Trouble},
    failure::{Exit, Failure},
    hook::Hook,
    output::{Output, harmless},
    signals::Signals,
    status::{finality_word, span, state_word},
    testnet::now_ms,
};

/// What a validator already has comes in one go; after such a silence, that was all.
const QUIET: Duration = Duration::from_millis(500);

/// The stream has a sign of life every 5 s.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Between two attempts to connect.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The chain has fewer leases at once, as a rule; who has seen more forgets them all and goes on.
const LEASES_MAX: usize = 100_000;

/// Reads the events of one validator.
struct Reader<'a> {
    verb: &'a Events,
    client: Client,
    patience: Duration,
    output: Output,
    /// The newest offset seen, or from where to begin.
    after: Option<u64>,
    leases: Leases,
    hook: Option<Hook>,
}

/// The tokens of the leases that were told of, by the number of the task: the same lease again is a renewal.
#[derive(Default)]
struct Leases(HashMap<u64, u64>);

/// What the reading came to.
enum Ended {
    /// All that was wanted is shown, or nobody reads it.
    Over,
    /// The connection is gone.
    Lost(String),
}

pub(crate) async fn run(verb: &Events, global: &Global, output: Output) -> Result<Exit, Failure> {
    if verb.after.is_none() && !verb.follow {
        let help = "add -f to see what happens from now on";
        return Err(Failure::usage("nothing has happened yet after now", help));
    }
    let mut signals = Signals::listen();
    let patience = global.timeout + Duration::from_secs(1);
    let mut reader = Reader {
        verb,
        client: Client::of(global)?,
        patience,
        output,
        after: verb.after,
        leases: Leases::default(),
        hook: verb.hook.as_deref().map(Hook::parse).transpose()?,
    };
    tokio::select! {
        ended = reader.read() => ended.map(|()| Exit::Ok),
        exit = signals.next() => Ok(exit),
    }
}

impl Reader<'_> {
    /// A validator that does not answer at first may not exist; one that has answered is waited for.
    async fn read(&mut self) -> Result<(), Failure> {
        let mut response = self.connect().await?;
        loop {
            match self.show(response).await? {
                Ended::Over => return Ok(()),
                Ended::Lost(why) => self.output.talk(&format!("lost the connection: {why}; trying again")),
            }
            response = loop {
                sleep(AGAIN_AFTER).await;
                if let Ok(response) = self.connect().await {
                    break response;
                }
            };
            self.output.talk("connected again");
        }
    }

    async fn connect(&self) -> Result<Response, Trouble> {
        let answer = timeout(self.patience, self.client.events_after(self.after, &self.verb.kinds)).await;
        answer.unwrap_or_else(|_| Err(self.client.unreachable("no answer in time")))
    }

    async fn show(&mut self, mut response: Response) -> Result<Ended, Failure> {
        let asked_ms = now_ms();
        let mut frames = Frames::default();
        let patience = if self.verb.follow { SILENCE_MAX } else { QUIET };
        loop {
            let chunk = match timeout(patience, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Err(_) if !self.verb.follow => return Ok(Ended::Over),
                Err(_) => return Ok(Ended::Lost(format!("silent for {} s", SILENCE_MAX.as_secs()))),
                Ok(Ok(None)) => return Ok(Ended::Lost("the validator closed it".into())),
                Ok(Err(error)) => return Ok(Ended::Lost(error.to_string())),
            };
            for frame in frames.push(&chunk).map_err(|why| self.client.strange(why.into()))? {
                // What happens meanwhile is for those who follow. The API is on this machine, and so is its clock.
                let is_news = !self.verb.follow && time(&frame).is_some_and(|time_ms| time_ms > asked_ms);
                if is_news || !self.frame(&frame) {
                    return Ok(Ended::Over);
                }
                self.tell(&frame).await;
            }
        }
    }

    /// Tells the operator's program.
    async fn tell(&self, frame: &Frame) {
        let (Some(hook), Frame::Event { data, .. }) = (&self.hook, frame) else { return };
        if let Err(why) = hook.run(variables(data)).await {
            self.output.talk(&format!("the hook was told of an event and failed: {why}"));
        }
    }

    /// Shows one frame. Whether anybody still reads.
    fn frame(&mut self, frame: &Frame) -> bool {
        match frame {
            Frame::Event { offset, data } => {
                self.after = offset.or(self.after);
                let line = if self.output.is_json() { data.clone() } else { human(data, &mut self.leases) };
                self.output.stream_line(&line)
            }
            Frame::Missed(0) => {
                self.output.talk("the validator was restarted and counts its events anew");
                true
            }
            Frame::Missed(count) => {
                self.output.talk(&format!("{count} events before these are not kept any more"));
                true
            }
        }
    }
}

/// `UNSPLIT_EVENT` is the kind; each other field has its own name. What is nested stays JSON.
fn variables(data: &str) -> Vec<(String, String)> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(data) else { return Vec::new() };
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    fields.into_iter().map(|(name, value)| (format!("UNSPLIT_{}", name.to_uppercase()), text(value))).collect()
}

fn time(frame: &Frame) -> Option<u64> {
    match frame {
        Frame::Event { data, .. } => serde_json::from_str::<Event>(data).ok().map(|event| event.time_ms),
        Frame::Missed(_) => None,
    }
}

/// An event of a newer version is shown as it came.
fn human(data: &str, leases: &mut Leases) -> String {
    let Ok(event) = serde_json::from_str::<Event>(data) else { return harmless(data) };
    let sentence = if leases.is_renewed(&event.kind) { renewed(&event.kind) } else { sentence(&event.kind) };
    format!("{:>6}  {}  {}", event.offset, clock(event.time_ms), harmless(&sentence))
}

impl Leases {
    /// Whether this tells of a lease that was told of before.
    fn is_renewed(&mut self, kind: &EventKind) -> bool {
        let EventKind::TaskChanged { number, state, token, .. } = kind else { return false };
        let before = match (state, token) {
            (TaskState::Leased, Some(token)) => self.0.insert(*number, *token),
            (_, _) => {
                self.0.remove(number);
                None
            }
        };
        if self.0.len() > LEASES_MAX {
            self.0.clear();
        }
        before.is_some() && before == *token
    }
}

fn renewed(kind: &EventKind) -> String {
    let EventKind::TaskChanged { number, id, holder, .. } = kind else { return sentence(kind) };
    format!("task {id} ({number}) is kept by {}, lease renewed", holder.as_deref().unwrap_or("nobody"))
}

/// `16:20:07.250 UTC`.
fn clock(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{ms} ms"), |time| time.strftime("%H:%M:%S%.3f UTC").to_string())
}

fn ailing(node: &str, ailments: &[AilmentView]) -> String {
    if ailments.is_empty() {
        return format!("{node} is well again");
    }
    let ailments: Vec<String> =
        ailments.iter().map(|ailment| format!("{}: {}", ailment.what, ailment.measured)).collect();
    format!("{node} is ill, {}", ailments.join("; "))
}

fn standing_changed(standing: Standing, reason: Option<&str>, accusers: &[String], network_event: bool) -> String {
    match standing {
        Standing::Active => "is active".into(),
        Standing::Trial => "is back, on trial".into(),
        Standing::Unresponsive => {
            let event = if network_event { ", with so many others that it is the network's doing" } else { "" };
            format!("is unresponsive ({}), say {}{event}", reason.unwrap_or("?"), accusers.join(" "))
        }
    }
}

fn sentence(kind: &EventKind) -> String {
    match kind {
        EventKind::Finalized { height, transactions, .. } => {
            format!("block {height} is final, {}", crate::output::counted(*transactions, "transaction"))
        }
        EventKind::FinalityChanged { finality, why } => format!("{}: {why}", finality_word(*finality)),
        EventKind::StateChanged { state, why } => format!("the network is {}: {why}", state_word(*state)),
        EventKind::SlackChanged { slack, alarm: true, why, .. } => format!("ALARM: slack {slack:+}: {why}"),
        EventKind::SlackChanged { slack, alarm: false, .. } => format!("slack {slack:+}: the alarm is over"),
        EventKind::NodeHeard { node } => format!("{node} is heard again"),
        EventKind::NodeSilent { node } => format!("{node} fell silent"),
        EventKind::DutyChanged { duty: Duty::Voting, reason } => format!("votes: {reason}"),
        EventKind::DutyChanged { duty: Duty::Observing, reason } => format!("observes and signs nothing: {reason}"),
        EventKind::PeerBlocked { node, component, grounds, ttl_ms } => {
            format!("{node} is cut off by {component} for {} ({grounds})", span(*ttl_ms))
        }
        EventKind::NodeAiling { node, ailments } => ailing(node, ailments),
        EventKind::PartitionChanged { sentence } => sentence.clone(),
        EventKind::StoreDamaged { part, damage, kept, what, .. } => {
            let kept = kept.as_ref().map_or_else(String::new, |kept| format!("; a copy is kept in {kept}"));
            format!("damage on the disk ({part}, {damage}): {what}{kept}")
        }
        EventKind::StoreRepaired { part, from, to, count } => {
            format!("{count} {part} of heights {from} to {to} came back from peers")
        }
        EventKind::StoreOutOfReach { height } => {
            format!("block {height} is missing here, and no peer that was asked holds it")
        }
        EventKind::SyncChanged { course, height, target, why } => match course {
            Course::Live => format!("follows the chain live at {height}: {why}"),
            Course::Blocks => format!("fetches blocks, {} behind at {height}: {why}", target.saturating_sub(*height)),
            Course::Snapshot => {
                format!("fetches the state, {} behind at {height}: {why}", target.saturating_sub(*height))
            }
        },
        EventKind::SnapshotTaken { height, bytes, pieces, took_ms } => {
            format!("took over the state at {height} ({bytes} bytes in {pieces} pieces, {})", span(*took_ms))
        }
        EventKind::RecoveryWanted { node, reason } => format!("{node} should be restarted by its supervisor: {reason}"),
        EventKind::StandingChanged { node, standing, reason, accusers, network_event, height } => {
            let change = standing_changed(*standing, reason.as_deref(), accusers, *network_event);
            format!("{node} {change} (block {height})")
        }
        EventKind::JoinRequested { node, key } => format!("{node} asks for a seat, with key {key}"),
        EventKind::Learner { node, .. } => format!("{node} is a learner: it has a seat, and no vote yet"),
        EventKind::CaughtUp { node, .. } => format!("{node} is level with the chain"),
        EventKind::JoinEnded { node, reason, .. } => format!("{node} gets no seat: {reason}"),
        EventKind::SetDecided { epoch, validators, going, coming, postponed } => {
            let mut words = vec![format!("epoch {epoch} will have {validators} validators")];
            words.extend(coming.iter().map(|node| format!("{node} gets a vote")));
            words.extend(going.iter().map(|Departing { node, why, .. }| format!("{node} goes: {why}")));
            words.extend(postponed.iter().map(|Departing { node, why, postponed }| {
                format!("{node} waits, although {why}: {}", postponed.as_deref().unwrap_or("?"))
            }));
            words.join("; ")
        }
        EventKind::EpochBegan { epoch, validators, gone, came } => {
            let gone = if gone.is_empty() { String::new() } else { format!(", without {}", gone.join(" ")) };
            let came = if came.is_empty() { String::new() } else { format!(", {} for the first time", came.join(" ")) };
            format!("epoch {epoch} begins with {validators} validators{came}{gone}")
        }
        EventKind::ScalingChanged { capacity, desired } => {
            format!("the tasks ask for a capacity of {desired}, there is {capacity}")
        }
        EventKind::FaultInjected { fault } => format!("fault: {fault}"),
        EventKind::FaultEnded { fault } => format!("fault ended: {fault}"),
        EventKind::TaskChanged { number, id, state, holder, token, attempts, reason, .. } => {
            let holder = holder.as_deref().unwrap_or("nobody");
            let token = token.map(|token| format!(", token {token}")).unwrap_or_default();
            let reason = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let stands = match state {
                TaskState::Pending if *attempts == 0 => "is submitted".to_owned(),
                TaskState::Pending => format!("lost lease {attempts}{reason}"),
                TaskState::Leased => format!("is leased to {holder}{token}"),
                TaskState::Done => format!("is done by {holder}{token}"),
                TaskState::Failed => format!("failed{reason}"),
                TaskState::Cancelled => "is cancelled".to_owned(),
            };
            format!("task {id} ({number}) {stands}")
        }
        EventKind::CommitRejected { number, id, node, token, reason } => {
            let id = id.as_deref().unwrap_or("that is forgotten");
            format!("dropped what {node} says came out of task {id} ({number}), token {token}: {reason}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(state: TaskState, attempts: u32) -> EventKind {
        let reason = (attempts > 0).then(|| "the lease ran out".to_owned());
        let (holder, token) = (Some("n2".to_owned()), Some(7));
        let (id, account) = ("sort-1".to_owned(), "ab".to_owned());
        EventKind::TaskChanged { number: 3, id, account, state, holder, token, attempts, height: 9, reason }
    }

    #[test]
    fn a_hook_finds_each_field_of_an_event_under_its_own_name() {
        let kind = EventKind::ScalingChanged { capacity: 4, desired: 8 };
        let event = Event { offset: 3, time_ms: 9, kind };
        let mut found = variables(&serde_json::to_string(&event).expect("an event is JSON"));
        found.sort();
        let expected = [
            ("UNSPLIT_CAPACITY", "4"),
            ("UNSPLIT_DESIRED", "8"),
            ("UNSPLIT_EVENT", "scaling_changed"),
            ("UNSPLIT_OFFSET", "3"),
            ("UNSPLIT_TIME_MS", "9"),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(variables("no document").is_empty());
    }

    #[test]
    fn every_state_of_a_task_is_a_sentence() {
        for (state, attempts, expected) in [
            (TaskState::Pending, 0, "task sort-1 (3) is submitted"),
            (TaskState::Leased, 1, "task sort-1 (3) is leased to n2, token 7"),
            (TaskState::Pending, 1, "task sort-1 (3) lost lease 1: the lease ran out"),
            (TaskState::Done, 1, "task sort-1 (3) is done by n2, token 7"),
            (TaskState::Failed, 2, "task sort-1 (3) failed: the lease ran out"),
            (TaskState::Cancelled, 0, "task sort-1 (3) is cancelled"),
        ] {
            assert_eq!(sentence(&changed(state, attempts)), expected);
        }
    }

    #[test]
    fn an_event_is_one_line_with_its_offset_and_time() {
        let event = Event { offset: 12, time_ms: 1_795_375_590_880, kind: EventKind::NodeSilent { node: "n1".into() } };
        let data = serde_json::to_string(&event).expect("an event");
        let human = |data| human(data, &mut Leases::default());
        assert_eq!(human(&data), "    12  19:26:30.880 UTC  n1 fell silent");
        assert_eq!(human("{\"event\":\"of tomorrow\"}"), "{\"event\":\"of tomorrow\"}");
    }

    #[test]
    fn the_same_lease_again_is_a_renewal() {
        let mut leases = Leases::default();
        let leased = changed(TaskState::Leased, 0);
        assert!(!leases.is_renewed(&leased));
        assert!(leases.is_renewed(&leased));
        assert_eq!(renewed(&leased), "task sort-1 (3) is kept by n2, lease renewed");
        assert!(!leases.is_renewed(&changed(TaskState::Pending, 1)));
        assert!(!leases.is_renewed(&leased));
    }
}
