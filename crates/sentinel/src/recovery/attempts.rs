//! How often was a node brought back lately, and may it be tried again?

use super::{Config, Outcome, Step, jitter::jitter};

/// Who wanted an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum By {
    /// Nobody: the node was down.
    Itself,
    /// A person or a recovery order. Waits for no cooldown, and counts like any other.
    Order,
}

/// How one step went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stage {
    /// Which.
    pub step: Step,
    /// When it began.
    pub began_ms: u64,
    /// How long it took; `None` while it lasts.
    pub took_ms: Option<u64>,
}

/// One attempt to bring a node back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attempt {
    /// Who wanted it.
    pub by: By,
    /// When it began.
    pub began_ms: u64,
    /// When and how it ended; `None` while it lasts.
    pub ended: Option<(u64, Outcome)>,
    /// How often it began from the first step.
    pub passes: usize,
    /// The steps of the last pass.
    pub stages: Vec<Stage>,
}

impl Attempt {
    pub(super) const fn new(by: By, now_ms: u64) -> Self {
        Self { by, began_ms: now_ms, ended: None, passes: 1, stages: Vec::new() }
    }
}

/// Why there is no attempt now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The node is not down.
    #[error("the node is not down")]
    NotDown,
    /// An attempt is under way.
    #[error("an attempt is under way")]
    UnderWay,
    /// It has been too short since the last one.
    #[error("the last attempt ended too recently; the next may begin at {until_ms} ms")]
    Cooldown {
        /// When this is over.
        until_ms: u64,
    },
    /// All attempts of the window are used.
    #[error("all attempts are used; the next may begin at {until_ms} ms")]
    Exhausted {
        /// When the oldest no longer counts, and a cooldown after the newest is over.
        until_ms: u64,
    },
}

/// The attempts of one node that still count, oldest first. Only time takes one away: a node that came back for a second
/// is not forgiven for that.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attempts {
    /// Which node's, so that its jitter is its own.
    node: u32,
    counted: Vec<Attempt>,
}

impl Attempts {
    pub(super) const fn new(node: u32) -> Self {
        Self { node, counted: Vec::new() }
    }

    /// Those that still count, oldest first. The last may be under way.
    pub fn counted(&self) -> &[Attempt] {
        &self.counted
    }

    /// How many may begin before the window has moved on.
    pub fn left(&self, config: &Config, now_ms: u64) -> usize {
        config.attempts_max.saturating_sub(self.counting(config, now_ms).count())
    }

    /// Why no attempt may begin now; `None` when one may. An order waits for no cooldown.
    pub fn refusal(&self, by: By, config: &Config, seed: u64, now_ms: u64) -> Option<Refusal> {
        let cooled_ms = match by {
            By::Itself => self.cooled_ms(config, seed),
            By::Order => 0,
        };
        let oldest = self.counting(config, now_ms).next();
        match oldest.filter(|_| self.left(config, now_ms) == 0) {
            Some(oldest) => Some(Refusal::Exhausted { until_ms: forgiven_ms(oldest, config).max(cooled_ms) }),
            None if now_ms < cooled_ms => Some(Refusal::Cooldown { until_ms: cooled_ms }),
            None => None,
        }
    }

    /// When the cooldown after the newest attempt is over. One that is under way has not even begun it, but there is no
    /// second beside it either.
    fn cooled_ms(&self, config: &Config, seed: u64) -> u64 {
        let Some(Attempt { began_ms, ended: Some((ended_ms, _)), .. }) = self.counted.last() else { return 0 };
        let jitter_ms = jitter(seed, u64::from(self.node), *began_ms, config.jitter_ms);
        ended_ms.saturating_add(config.cooldown_ms + jitter_ms)
    }

    fn counting(&self, config: &Config, now_ms: u64) -> impl Iterator<Item = &Attempt> {
        self.counted.iter().filter(move |attempt| now_ms < forgiven_ms(attempt, config))
    }

    /// Begins one. Those that no longer count go, so that never more than `attempts_max` are kept.
    pub(super) fn begin(&mut self, by: By, config: &Config, now_ms: u64) {
        self.counted.retain(|attempt| now_ms < forgiven_ms(attempt, config));
        self.counted.push(Attempt::new(by, now_ms));
    }

    pub(super) fn last(&self) -> Option<&Attempt> {
        self.counted.last()
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut Attempt> {
        self.counted.last_mut()
    }

    /// Takes up what was known before this process began. More than may count are cut to the newest; one that was under
    /// way ended with the process that made it.
    pub(super) fn restore(&mut self, mut attempts: Vec<Attempt>, config: &Config, now_ms: u64) {
        attempts.sort_by_key(|attempt| attempt.began_ms);
        attempts.drain(..attempts.len().saturating_sub(config.attempts_max));
        for attempt in &mut attempts {
            // A future begin is a clock that was ahead. It counts from now on, for no longer than a whole window.
            attempt.began_ms = attempt.began_ms.min(now_ms);
            let (ended_ms, outcome) = attempt.ended.take().unwrap_or((now_ms, Outcome::Interrupted));
            attempt.ended = Some((ended_ms.clamp(attempt.began_ms, now_ms), outcome));
            attempt.stages.truncate(Step::ALL.len());
        }
        self.counted = attempts;
    }
}

/// From when on an attempt no longer counts.
const fn forgiven_ms(attempt: &Attempt, config: &Config) -> u64 {
    attempt.began_ms.saturating_add(config.window_ms)
}
