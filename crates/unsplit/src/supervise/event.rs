//! What a supervisor tells: people in a line, programs in a document, hooks in their environment.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::output::{Output, harmless};

/// Something that changed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Event {
    /// `unsplit.supervisor.event/1`.
    pub(super) schema: String,
    /// Milliseconds since the Unix epoch.
    pub(super) time_ms: u64,
    /// The validator.
    pub(super) node: String,
    pub(super) change: Change,
    /// The attempt under way, or the last one, counted within the window; 0 when there was none.
    pub(super) attempt: usize,
    /// The step of the attempt, for those that are about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<String>,
    /// How long what is now over took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) took_ms: Option<u64>,
    /// Why, or what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// Where the evidence is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) evidence: Option<PathBuf>,
}

/// What changed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// The validator's process was started.
    Started,
    /// The validator votes and keeps up, for the first time since the supervisor was started.
    Well,
    /// The process ended, asked or not.
    Ended,
    /// The disk cannot be written: the process is started once it can.
    NoRoom,
    /// The process stands still and is ended.
    Stuck,
    /// Enough validators want it back.
    Ordered,
    /// An attempt to bring it back began.
    AttemptBegan,
    /// A step of an attempt succeeded.
    StepDone,
    /// The attempt succeeded.
    Active,
    /// The attempt failed.
    AttemptFailed,
    /// The next attempt has to wait for the cooldown.
    Cooling,
    /// All attempts are used.
    Failed,
    /// The validator will not be started again.
    GaveUp,
    /// A hook or webhook did not work.
    HookFailed,
    /// The supervisor ends.
    Stopped,
}

impl Change {
    /// The word in documents and in a hook's environment.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Well => "well",
            Self::Ended => "ended",
            Self::NoRoom => "no_room",
            Self::Stuck => "stuck",
            Self::Ordered => "ordered",
            Self::AttemptBegan => "attempt_began",
            Self::StepDone => "step_done",
            Self::Active => "active",
            Self::AttemptFailed => "attempt_failed",
            Self::Cooling => "cooling",
            Self::Failed => "failed",
            Self::GaveUp => "gave_up",
            Self::HookFailed => "hook_failed",
            Self::Stopped => "stopped",
        }
    }
}

impl Event {
    /// Whether anybody reads it does not matter.
    pub(super) fn tell(&self, output: Output) {
        let line = match output.is_json() {
            true => serde_json::to_string(self).expect("strings and numbers"),
            false => self.line(),
        };
        output.stream_line(&line);
    }

    /// `16:20:07.250 UTC  n3  catch_up done in 1.204 s: at height 40`.
    fn line(&self) -> String {
        let what = match (self.change, &self.step) {
            (Change::StepDone, Some(step)) => format!("{step} done"),
            (Change::AttemptBegan, _) => format!("attempt {} begins", self.attempt),
            (change, _) => change.word().replace('_', " "),
        };
        let took = self.took_ms.map(|ms| format!(" {} {}", self.preposition(), seconds(ms))).unwrap_or_default();
        let reason = self.reason.as_ref().map(|reason| format!(": {}", harmless(reason))).unwrap_or_default();
        let evidence = self.evidence.as_ref().map(|path| format!("; evidence in {}", path.display()));
        format!("{}  {}  {what}{took}{reason}{}", clock(self.time_ms), self.node, evidence.unwrap_or_default())
    }

    fn preposition(&self) -> &'static str {
        match self.change {
            Change::Ended | Change::Stuck | Change::Stopped | Change::AttemptFailed | Change::GaveUp => "after",
            Change::Started
            | Change::Well
            | Change::Ordered
            | Change::NoRoom
            | Change::AttemptBegan
            | Change::StepDone
            | Change::Active
            | Change::Cooling
            | Change::Failed
            | Change::HookFailed => "in",
        }
    }
}

/// `1.204 s`.
pub(super) fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1_000, ms % 1_000)
}

/// `16:20:07.250 UTC`.
fn clock(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{ms} ms"), |time| time.strftime("%H:%M:%S%.3f UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_how_long_and_why() {
        let event = |change, step: Option<&str>, took_ms, reason: Option<&str>| Event {
            schema: "unsplit.supervisor.event/1".into(),
            time_ms: 1_000,
            node: "n3".into(),
            change,
            attempt: 2,
            step: step.map(str::to_owned),
            took_ms,
            reason: reason.map(str::to_owned),
            evidence: None,
        };
        let line = |event: Event| event.line();
        let said = line(event(Change::StepDone, Some("catch_up"), Some(1_204), Some("at height 40")));
        assert_eq!(said, "00:00:01.000 UTC  n3  catch_up done in 1.204 s: at height 40");
        let said = line(event(Change::AttemptBegan, None, None, Some("killed\u{1b}[2J")));
        assert_eq!(said, "00:00:01.000 UTC  n3  attempt 2 begins: killed\\u{1b}[2J");
        let ended = Event { evidence: Some("/e/1".into()), ..event(Change::Ended, None, Some(9), Some("exit code 1")) };
        assert_eq!(line(ended), "00:00:01.000 UTC  n3  ended after 0.009 s: exit code 1; evidence in /e/1");
    }

    #[test]
    fn a_change_has_one_word_everywhere() {
        for change in [Change::Started, Change::AttemptBegan, Change::GaveUp, Change::HookFailed, Change::Stopped] {
            assert_eq!(serde_json::to_string(&change).expect("a word"), format!("{:?}", change.word()));
        }
    }
}
