//! Does the validator do what it is for?
//!
//! A process that exists proves nothing. What counts is that it votes and follows, as far as the others let it. So it is
//! stuck only on evidence that *others* go on without it: a finalized height it knows of and does not reach, or more than f
//! peers that say they are further (f of them may lie). While nobody is known to go on, the network is halted, and a restart
//! would mend nothing.
//!
//! Times are added up from one look to the next, and one step counts three seconds at most: a supervisor that was itself
//! stopped for an hour has not seen an hour of silence.

use api::{Duty, Finality, Snapshot};

/// More than this between two looks is the supervisor's own pause.
const STEP_MAX_MS: u64 = 3_000;

/// As far behind as a validator is that keeps up.
const BEHIND_MAX: u64 = 2;

/// Whoever signed within this time votes.
const SIGNED_WITHIN_MS: u64 = 5_000;

/// How patient to be, in milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Limits {
    /// Without an answer for so long, it is stuck.
    pub(super) silent_ms: u64,
    /// Others went on for so long and it did not.
    pub(super) stuck_ms: u64,
    /// For a start, until the first answer with a state.
    pub(super) start_ms: u64,
}

/// What the validator said at one look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Seen {
    /// Whether it has read its state from disk.
    pub(super) is_ready: bool,
    pub(super) height: u64,
    /// The greatest height that is known to be final: by certificate, or because more than f peers say so.
    pub(super) known: u64,
    pub(super) votes: bool,
    /// Whether it follows without a vote because its vote guard is lost. It votes again by itself.
    pub(super) observes: bool,
    pub(super) hears_quorum: bool,
    pub(super) is_live: bool,
    /// Whether the part that decides answered when it was asked last. Otherwise all the rest may be old.
    pub(super) decides: bool,
}

impl Seen {
    /// `decides`: whether the part that decides answers.
    pub(super) fn of(snapshot: &Snapshot, decides: bool) -> Self {
        let status = &snapshot.status;
        let hears_quorum = status.reachable >= status.quorum;
        Self {
            is_ready: status.validators != 0,
            height: status.height,
            known: status.tip.max(claimed(snapshot)),
            votes: status.last_signed_ms_ago.is_some_and(|ago| ago <= SIGNED_WITHIN_MS),
            observes: status.duty == Duty::Observing,
            hears_quorum,
            is_live: hears_quorum && matches!(status.finality, Finality::Live | Finality::Degraded),
            decides,
        }
    }

    pub(super) fn keeps_up(&self) -> bool {
        self.is_ready && self.known <= self.height + BEHIND_MAX
    }

    /// Whether somebody goes on without it. One that hears no quorum is cut off: nothing in this process can mend that.
    fn is_left_behind(&self) -> bool {
        self.is_ready && self.hears_quorum && self.known > self.height
    }
}

/// The greatest height that at least one honest peer has, if no more than f lie.
fn claimed(snapshot: &Snapshot) -> u64 {
    let peers = snapshot.nodes.iter().filter(|row| !row.me && row.reachable);
    let mut heights: Vec<u64> = peers.filter_map(|row| row.height).collect();
    heights.sort_unstable_by(|a, b| b.cmp(a));
    heights.get(snapshot.status.faults_tolerated).copied().unwrap_or(0)
}

/// What a look comes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Condition {
    /// It has not answered with a state yet.
    Starting,
    /// It does not answer at the moment, or with what it once knew.
    Silent,
    /// It answers.
    Answers {
        /// What it said.
        seen: Seen,
        /// How many blocks further it is than at the last look.
        blocks: u64,
    },
    /// It will not come round by itself, for this reason.
    Stuck(String),
}

/// One process, from its start on.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    limits: Limits,
    last_ms: u64,
    is_started: bool,
    height: Option<u64>,
    silent_ms: u64,
    behind_ms: u64,
    mute_ms: u64,
    hung_ms: u64,
}

impl Watch {
    pub(super) fn new(limits: Limits, now_ms: u64) -> Self {
        let (is_started, height) = (false, None);
        Self { limits, last_ms: now_ms, is_started, height, silent_ms: 0, behind_ms: 0, mute_ms: 0, hung_ms: 0 }
    }

    /// Takes in one look; `None` if there was no answer.
    pub(super) fn look(&mut self, now_ms: u64, seen: Option<Seen>) -> Condition {
        let step_ms = now_ms.saturating_sub(self.last_ms).min(STEP_MAX_MS);
        self.last_ms = self.last_ms.max(now_ms);
        let Some(seen) = seen.filter(|seen| seen.is_ready) else { return self.silence(step_ms) };
        (self.is_started, self.silent_ms) = (true, 0);
        if !seen.decides {
            return self.hang(step_ms);
        }
        self.hung_ms = 0;
        let before = self.height.replace(seen.height);
        let blocks = before.map_or(0, |before| seen.height.saturating_sub(before));
        self.behind_ms = if blocks == 0 && seen.is_left_behind() { self.behind_ms + step_ms } else { 0 };
        self.mute_ms = match (seen.votes || seen.observes, seen.is_live && seen.keeps_up()) {
            (true, _) => 0,
            (false, true) => self.mute_ms + step_ms,
            (false, false) => self.mute_ms,
        };
        self.verdict(seen).map_or(Condition::Answers { seen, blocks }, Condition::Stuck)
    }

    /// What it shows may be old, so nothing follows from that.
    fn hang(&mut self, step_ms: u64) -> Condition {
        self.hung_ms += step_ms;
        if self.hung_ms < self.limits.stuck_ms {
            return Condition::Silent;
        }
        Condition::Stuck(format!(
            "it shows an old state: what decides in it has not answered for {} s",
            self.hung_ms / 1_000
        ))
    }

    fn silence(&mut self, step_ms: u64) -> Condition {
        self.silent_ms += step_ms;
        match self.is_started {
            false if self.silent_ms < self.limits.start_ms => Condition::Starting,
            false => Condition::Stuck(format!("its state is not read after {} s", self.silent_ms / 1_000)),
            true if self.silent_ms < self.limits.silent_ms => Condition::Silent,
            true => Condition::Stuck(format!("its API has not answered for {} s", self.silent_ms / 1_000)),
        }
    }

    fn verdict(&self, seen: Seen) -> Option<String> {
        if self.behind_ms >= self.limits.stuck_ms {
            let (here, known, seconds) = (seen.height, seen.known, self.behind_ms / 1_000);
            return Some(format!("it stands at height {here} for {seconds} s while others are at {known}"));
        }
        let is_mute = self.mute_ms >= self.limits.stuck_ms;
        is_mute.then(|| format!("it has not voted for {} s while others finalize", self.mute_ms / 1_000))
    }
}

#[cfg(test)]
mod tests {
    use api::{NodeRow, Status};

    use super::*;

    const LIMITS: Limits = Limits { silent_ms: 10_000, stuck_ms: 60_000, start_ms: 300_000 };

    const WELL: Seen = Seen {
        is_ready: true,
        height: 10,
        known: 10,
        votes: true,
        observes: false,
        hears_quorum: true,
        is_live: true,
        decides: true,
    };

    /// After a good first look: when, in seconds, is it called stuck, if it says the same at every second?
    fn check(seconds: u64, look: impl Fn(u64) -> Option<Seen>, stuck: Option<(u64, &str)>) {
        let mut watch = Watch::new(LIMITS, 0);
        watch.look(0, Some(WELL));
        let found = (1..=seconds).find_map(|second| match watch.look(second * 1_000, look(second)) {
            Condition::Stuck(reason) => Some((second, reason)),
            Condition::Starting | Condition::Silent | Condition::Answers { .. } => None,
        });
        assert_eq!(found.as_ref().map(|(second, reason)| (*second, reason.as_str())), stuck);
    }

    #[test]
    fn one_that_does_not_answer_is_stuck_after_ten_seconds() {
        check(9, |_| None, None);
        check(10, |_| None, Some((10, "its API has not answered for 10 s")));
        check(1_000, |second| (second % 10 == 0).then_some(WELL), None);
    }

    #[test]
    fn one_that_stands_still_while_others_go_on_is_stuck_after_a_minute() {
        let says = "it stands at height 10 for 60 s while others are at 11";
        check(1_000, |_| Some(Seen { known: 11, ..WELL }), Some((60, says)));
        check(1_000, |second| Some(Seen { height: 10 + second / 59, known: 1_000, ..WELL }), None);
    }

    #[test]
    fn one_that_only_shows_what_it_once_knew_is_stuck_after_a_minute() {
        let says = "it shows an old state: what decides in it has not answered for 60 s";
        check(1_000, |_| Some(Seen { decides: false, ..WELL }), Some((60, says)));
        check(1_000, |second| Some(Seen { decides: second % 59 == 0, ..WELL }), None);
    }

    #[test]
    fn a_halted_network_is_no_reason() {
        check(10_000, |_| Some(Seen { votes: false, is_live: false, ..WELL }), None);
        let cut_off = Seen { votes: false, is_live: false, hears_quorum: false, known: 99, ..WELL };
        check(10_000, |_| Some(cut_off), None);
    }

    #[test]
    fn one_that_follows_and_does_not_vote_is_stuck_unless_its_guard_is_lost() {
        let says = "it has not voted for 60 s while others finalize";
        let mute = |second: u64| Seen { votes: false, height: second, known: second, ..WELL };
        check(1_000, |second| Some(mute(second)), Some((60, says)));
        check(1_000, |second| Some(Seen { observes: true, ..mute(second) }), None);
        check(1_000, |second| Some(Seen { votes: second % 59 == 0, ..mute(second) }), None);
        let catching_up = |second| Seen { known: 10_000, ..mute(second) };
        check(1_000, |second| Some(catching_up(second)), None);
    }

    #[test]
    fn a_start_has_its_own_patience() {
        let mut watch = Watch::new(LIMITS, 0);
        let reading = Some(Seen { is_ready: false, ..WELL });
        for second in 1..300 {
            let seen = if second % 2 == 0 { None } else { reading };
            assert_eq!(watch.look(second * 1_000, seen), Condition::Starting);
        }
        assert!(matches!(watch.look(300_000, reading), Condition::Stuck(_)));
    }

    #[test]
    fn what_the_supervisor_slept_through_does_not_count() {
        let mut watch = Watch::new(LIMITS, 0);
        watch.look(0, Some(WELL));
        let hour = 3_600_000;
        assert_eq!(watch.look(hour, None), Condition::Silent);
        assert_eq!(watch.look(2 * hour, None), Condition::Silent);
        assert_eq!(watch.look(hour, None), Condition::Silent, "a clock that goes back adds nothing");
        assert_eq!(watch.look(2 * hour, Some(WELL)), Condition::Answers { seen: WELL, blocks: 0 });
    }

    #[test]
    fn blocks_are_counted_from_the_second_look_on() {
        let mut watch = Watch::new(LIMITS, 0);
        let at = |height| Seen { height, known: height, ..WELL };
        let counts = [100, 107, 107, 106].map(|height| match watch.look(0, Some(at(height))) {
            Condition::Answers { blocks, .. } => blocks,
            other => panic!("{other:?}"),
        });
        assert_eq!(counts, [0, 7, 0, 0]);
    }

    #[test]
    fn f_liars_cannot_make_it_look_left_behind() {
        let known = |heights: &[u64], tip| {
            let peer = |height: &u64| NodeRow { reachable: true, height: Some(*height), ..NodeRow::default() };
            let me = NodeRow { me: true, reachable: true, height: Some(1_000), ..NodeRow::default() };
            let nodes = heights.iter().map(peer).chain([me]).collect();
            let status = Status { height: 5, tip, faults_tolerated: 2, validators: 7, ..Status::default() };
            Seen::of(&Snapshot { status, nodes, ..Snapshot::default() }, true).known
        };
        assert_eq!(known(&[900, 900, 5, 5, 4, 4], 5), 5);
        assert_eq!(known(&[900, 900, 6, 5, 4, 4], 5), 6);
        assert_eq!(known(&[900, 900], 5), 5);
        assert_eq!(known(&[], 7), 7);
    }
}
