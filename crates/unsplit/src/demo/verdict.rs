//! What was expected, what was measured, and whether that is good enough.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

/// One act of the demo.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Act {
    pub(crate) name: String,
    pub(crate) expected: String,
    /// Figures of this very run.
    pub(crate) measured: Map<String, Value>,
    pub(crate) ok: bool,
    /// Seconds after launch.
    pub(crate) at_s: f64,
    /// The figures in words.
    #[serde(skip)]
    pub(crate) words: String,
}

/// The one document that `-o json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    /// `unsplit.demo/1`.
    pub(crate) schema: &'static str,
    pub(crate) nodes: usize,
    pub(crate) acts: Vec<Act>,
    pub(crate) submitted: u64,
    pub(crate) resubmitted: u64,
    #[serde(rename = "final")]
    pub(crate) told_final: usize,
    pub(crate) lost: usize,
    pub(crate) duplicated: usize,
    pub(crate) forks: usize,
    pub(crate) tasks: Tasks,
    pub(crate) ok: bool,
}

/// What became of the tasks.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Tasks {
    pub(crate) submitted: usize,
    pub(crate) done: usize,
    pub(crate) failed: usize,
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) wrong: usize,
    /// Had more than one holder.
    pub(crate) moved: usize,
    /// Completions that came after their lease, and had no effect.
    pub(crate) stale_commits_rejected: usize,
}

impl Act {
    /// One line of the table.
    pub(crate) fn line(&self) -> String {
        let mark = if self.ok { "" } else { "  MISSED" };
        let line = format!("  [{:5.1}s] {:<38} {:<34} {}{mark}", self.at_s, self.name, self.expected, self.words);
        line.trim_end().to_owned()
    }
}

/// The line above the first act.
pub(crate) fn header() -> String {
    format!("{:<50}{:<35}{}", "storm (about 2 min)", "expected", "measured")
}

impl Verdict {
    /// The last line of the table.
    pub(crate) fn line(&self) -> String {
        let met = self.acts.iter().filter(|act| act.ok).count();
        format!(
            "verdict   {met}/{} expectations met · {} forks · {} of {} final transactions lost · {} twice · {} of {} tasks \
             lost · {} done twice · exit {}",
            self.acts.len(),
            self.forks,
            self.lost,
            self.told_final,
            self.duplicated,
            self.tasks.lost,
            self.tasks.submitted,
            self.tasks.doubled,
            if self.ok { 0 } else { 20 }
        )
    }
}

/// `850 ms` up to a second, `1.3 s` above it.
pub(crate) fn span(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// The same, when it may be unknown.
pub(crate) fn span_or_never(duration: Option<Duration>) -> String {
    duration.map_or("never".into(), span)
}

/// For `measured`.
pub(crate) fn millis(duration: Duration) -> Value {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).into()
}

/// For `measured`, when it may be unknown.
pub(crate) fn millis_or_null(duration: Option<Duration>) -> Value {
    duration.map_or(Value::Null, millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(ok: bool) -> Act {
        let measured = Map::from_iter([("first_block_ms".to_owned(), Value::from(1400))]);
        let (name, expected) = ("first final block".to_owned(), "≤ 3 s".to_owned());
        Act { name, expected, measured, ok, at_s: 1.4, words: "1.4 s".into() }
    }

    fn verdict(acts: Vec<Act>) -> Verdict {
        let ok = acts.iter().all(|act| act.ok);
        Verdict {
            schema: "unsplit.demo/1",
            nodes: 7,
            acts,
            submitted: 10,
            resubmitted: 1,
            told_final: 9,
            lost: 0,
            duplicated: 0,
            forks: 0,
            tasks: Tasks::default(),
            ok,
        }
    }

    #[test]
    fn columns_line_up_and_a_miss_is_printed_in_place() {
        let (met, missed) = (act(true).line(), act(false).line());
        let column = |text: &str, word: &str| text.find(word).map(|at| text[..at].chars().count());
        assert_eq!(column(&header(), "expected"), column(&met, "≤ 3 s"));
        assert_eq!(column(&header(), "measured"), column(&met, "1.4 s"));
        assert!(!met.contains("MISSED"));
        assert!(missed.ends_with("1.4 s  MISSED"));
    }

    #[test]
    fn the_document_has_its_promised_shape() {
        let json = serde_json::to_value(verdict(vec![act(true)])).expect("a document");
        for key in [
            "schema",
            "nodes",
            "acts",
            "submitted",
            "resubmitted",
            "final",
            "lost",
            "duplicated",
            "forks",
            "tasks",
            "ok",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert_eq!(json["schema"], "unsplit.demo/1");
        for key in ["name", "expected", "measured", "ok"] {
            assert!(json["acts"][0].get(key).is_some(), "{key}");
        }
        assert_eq!(json["acts"][0]["measured"]["first_block_ms"], 1400);
    }

    #[test]
    fn the_verdict_counts_what_was_met() {
        assert!(verdict(vec![act(true), act(true)]).line().starts_with("verdict   2/2 expectations met · 0 forks"));
        assert!(verdict(vec![act(true), act(false)]).line().contains("1/2"));
        assert!(verdict(vec![act(false)]).line().ends_with("exit 20"));
    }

    #[test]
    fn spans_are_short() {
        assert_eq!(span(Duration::from_millis(999)), "999 ms");
        assert_eq!(span(Duration::from_millis(1_340)), "1.3 s");
        assert_eq!(span_or_never(None), "never");
    }
}
