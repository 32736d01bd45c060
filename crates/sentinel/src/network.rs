//! What state is the network in?
//!
//! One word for all of it, computed from what is known now and never stored: the gravest of what holds. Whether blocks become
//! final is another matter: see [`crate::why`].

use crate::why::{Cause, Finality, Why};

/// A proof of misbehaviour counts for so long after it was found: as long as a statement stands on the chain.
pub const ATTACK_MS: u64 = 600_000;

/// So long after a cut has healed the network is still recovering: those that were away catch up and vote again.
pub const HEALED_MS: u64 = 10_000;

/// A validator that is so many blocks behind catches up; less is a block on its way.
pub const BEHIND: u64 = 10;

/// Those that fell silent within so much of each other did so together: the time between two rows, and a second for the rest.
const TOGETHER_MS: u64 = 1_500;

/// The state, the least grave first.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// Nothing of the below.
    #[default]
    Normal,
    /// Somebody catches up or is on trial, or a cut has just healed.
    Recovering,
    /// Not all that are there hear each other, or several fell silent together, or so many that this may be the smaller side.
    Partitioned,
    /// Somebody was proved to have lied, not long ago.
    UnderAttack,
}

impl State {
    /// All of them, the least grave first.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Recovering, Self::Partitioned, Self::UnderAttack];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Recovering => "recovering",
            Self::Partitioned => "partitioned",
            Self::UnderAttack => "under_attack",
        }
    }
}

/// What decides, besides the explanation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Signs {
    /// When a proof of misbehaviour was found last, milliseconds since the Unix epoch.
    pub proved_ms: Option<u64>,
    /// Whether anybody that is heard catches up, or is on trial.
    pub is_anybody_behind: bool,
    /// When the last cut healed.
    pub healed_ms: Option<u64>,
    /// Since when each of those is missing that is not heard, in no order; `None` for who was never heard.
    pub missing_since_ms: Vec<Option<u64>>,
    /// Now.
    pub now_ms: u64,
}

/// The gravest state that holds.
pub fn state(signs: &Signs, why: &Why) -> State {
    let within = |at: Option<u64>, window_ms: u64| at.is_some_and(|at| signs.now_ms.saturating_sub(at) < window_ms);
    if within(signs.proved_ms, ATTACK_MS) {
        State::UnderAttack
    } else if is_partitioned(signs, why) {
        State::Partitioned
    } else if signs.is_anybody_behind || !why.observers.is_empty() || within(signs.healed_ms, HEALED_MS) {
        State::Recovering
    } else {
        State::Normal
    }
}

/// Whom nobody hears may be down or cut off, which look the same from here. One alone is taken to be down; several that fell
/// silent together, to be cut off; and more than may fail, too, as this side cannot tell whether it is the smaller one.
fn is_partitioned(signs: &Signs, why: &Why) -> bool {
    if why.finality == Finality::Starting {
        return false;
    }
    let unheard: usize =
        why.causes.iter().map(|it| if let Cause::Unheard { nodes, .. } = it { nodes.len() } else { 0 }).sum();
    why.causes.iter().any(Cause::is_a_cut) || unheard > why.faults() || (unheard > 1 && fell_silent_together(signs))
}

fn fell_silent_together(signs: &Signs) -> bool {
    let mut since: Vec<u64> = signs.missing_since_ms.iter().flatten().copied().collect();
    since.sort_unstable();
    since.windows(2).any(|pair| pair[1] - pair[0] <= TOGETHER_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        partition::{Reach, Word},
        why::{Node, Scene, explain},
    };

    /// Seven validators as n0 sees them, of which these are not heard and this pair does not hear each other.
    fn why(unheard: &[usize], cut: Option<(usize, usize)>) -> Why {
        let mut reach = Reach::new(7);
        let is_there = |node: &usize| !unheard.contains(node);
        for who in (0..7).filter(is_there) {
            (0..7).for_each(|about| reach.say(who, about, if is_there(&about) { Word::Hears } else { Word::Deaf }));
        }
        if let Some((a, b)) = cut {
            reach.say(a, b, Word::Deaf);
            reach.say(b, a, Word::Deaf);
        }
        let node = |node| Node { heard: is_there(&node), ..Node::default() };
        explain(&Scene {
            looks: "n0".into(),
            me: Some(0),
            names: (0..7).map(|i| format!("n{i}")).collect(),
            regions: vec!["eu".into(); 7],
            nodes: (0..7).map(node).collect(),
            reach,
            height: 1,
            now_ms: 1_000_000,
            started_ms: 0,
            finalized_ms: Some(1_000_000),
        })
    }

    #[track_caller]
    fn check(expected: State, why: &Why, signs: Signs) {
        assert_eq!(state(&Signs { now_ms: 1_000_000, ..signs }, why), expected, "{}", why.sentence);
    }

    fn silent(since: &[u64]) -> Signs {
        Signs { missing_since_ms: since.iter().copied().map(Some).collect(), ..Signs::default() }
    }

    #[test]
    fn a_whole_network_is_normal_and_so_is_one_with_a_validator_down() {
        check(State::Normal, &why(&[], None), Signs::default());
        check(State::Normal, &why(&[6], None), silent(&[5_000]));
    }

    #[test]
    fn several_that_fell_silent_together_are_a_cut_and_one_after_another_are_not() {
        check(State::Partitioned, &why(&[5, 6], None), silent(&[6_500, 5_000]));
        check(State::Normal, &why(&[5, 6], None), silent(&[6_501, 5_000]));
    }

    #[test]
    fn more_missing_than_may_fail_may_mean_that_this_is_the_smaller_side() {
        check(State::Partitioned, &why(&[4, 5, 6], None), silent(&[1, 5_000, 20_000]));
    }

    #[test]
    fn a_cut_between_those_that_are_there_is_a_partition_however_small() {
        check(State::Partitioned, &why(&[], Some((1, 2))), Signs::default());
    }

    #[test]
    fn who_catches_up_or_observes_and_what_has_just_healed_is_recovery() {
        check(State::Recovering, &why(&[], None), Signs { is_anybody_behind: true, ..Signs::default() });
        let healed = |ago| Signs { healed_ms: Some(1_000_000 - ago), ..Signs::default() };
        check(State::Recovering, &why(&[], None), healed(HEALED_MS - 1));
        check(State::Normal, &why(&[], None), healed(HEALED_MS));
        check(State::Recovering, &Why { observers: vec![3], ..why(&[], None) }, Signs::default());
    }

    #[test]
    fn a_proof_outranks_everything_and_lapses() {
        let proved = |ago| Signs { proved_ms: Some(1_000_000 - ago), is_anybody_behind: true, ..silent(&[1, 2]) };
        check(State::UnderAttack, &why(&[5, 6], Some((1, 2))), proved(ATTACK_MS - 1));
        check(State::Partitioned, &why(&[5, 6], Some((1, 2))), proved(ATTACK_MS));
    }

    #[test]
    fn the_states_are_in_the_order_of_their_gravity() {
        assert!(State::ALL.is_sorted() && State::default() == State::ALL[0]);
    }
}
