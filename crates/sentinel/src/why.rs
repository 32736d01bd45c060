//! Why is the network in the state it is in, and what would mend it?
//!
//! One function explains; the API, the command line, the log and the events print what it says. Finality needs a quorum of
//! *voting* validators that hear each other. This validator sees only whom it hears itself, so it speaks of those.

use ledger::{faults, quorum};

/// Without a new finalized block for so long, finality counts as halted even if enough validators are heard. Several
/// times the longest round that a dead leader can cost.
pub const STALLED_AFTER_MS: u64 = 5_000;

/// How long after its start a validator may be without a finalized block before that means anything.
pub const STARTING_MS: u64 = 10_000;

/// Whether blocks become final.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finality {
    /// Nothing was finalized since this validator started, and it is too early to say more.
    Starting,
    /// Yes.
    Live,
    /// Yes, and one more failure would stop it.
    Degraded,
    /// No. No fork is possible.
    Halted,
}

/// Another validator, as this one sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Whether it was heard within the silence limit.
    pub heard: bool,
    /// Since when it is missing, milliseconds since the Unix epoch; `None` when it was never heard.
    pub missing_since_ms: Option<u64>,
    /// Whether it says that it signs votes; `None` when it never said.
    pub voting: Option<bool>,
}

/// What there is to explain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scene {
    /// This validator's name.
    pub me: String,
    /// Why this validator signs nothing; `None` while it votes.
    pub observing: Option<String>,
    /// Whether it is no validator any more, and only follows.
    pub is_gone: bool,
    /// All others.
    pub peers: Vec<Peer>,
    /// The newest finalized height.
    pub height: u64,
    /// Now, milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// When this validator started.
    pub started_ms: u64,
    /// When it last saw a block become final; `None` if not since it started.
    pub finalized_ms: Option<u64>,
}

/// The explanation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Why {
    /// The verdict.
    pub finality: Finality,
    /// One sentence.
    pub sentence: String,
    /// What would mend it; `None` when nothing is wrong.
    pub fix: Option<String>,
    /// Since when finality is halted.
    pub halted_since_ms: Option<u64>,
    /// Validators needed: n - f.
    pub quorum: usize,
    /// Validators that vote and are heard, this one included.
    pub reachable: Vec<String>,
    /// Validators that are not heard, with since when.
    pub missing: Vec<(String, Option<u64>)>,
    /// Validators that are heard and sign nothing.
    pub observers: Vec<String>,
}

impl Why {
    /// How many more voting validators may be lost before finality stops; negative when too many are.
    pub fn slack(&self) -> i64 {
        signed(self.reachable.len()) - signed(self.quorum)
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).expect("validator counts are small")
}

/// Explains `scene`.
pub fn explain(scene: &Scene) -> Why {
    let n = scene.peers.len() + usize::from(!scene.is_gone);
    let mut why = Why {
        finality: Finality::Live,
        sentence: String::new(),
        fix: None,
        halted_since_ms: None,
        quorum: quorum(n),
        reachable: reachable(scene),
        missing: missing(scene),
        observers: observers(scene),
    };
    let silent_ms = scene.now_ms.saturating_sub(scene.finalized_ms.unwrap_or(scene.started_ms));
    let stalled = silent_ms > if scene.finalized_ms.is_some() { STALLED_AFTER_MS } else { STARTING_MS };
    let short = why.slack() < 0;
    why.finality = match (short, stalled) {
        (_, false) if scene.finalized_ms.is_none() => Finality::Starting,
        // Blocks that were on their way still become final for a moment; the missing quorum is the news.
        (true, _) | (false, true) => Finality::Halted,
        (false, false) if why.slack() == 0 && faults(n) > 0 => Finality::Degraded,
        (false, false) => Finality::Live,
    };
    if why.finality == Finality::Halted {
        why.halted_since_ms = Some(scene.finalized_ms.unwrap_or(scene.started_ms));
    }
    why.sentence = sentence(scene, &why, n);
    why.fix = fix(&why, n);
    why
}

fn reachable(scene: &Scene) -> Vec<String> {
    let me = scene.observing.is_none().then(|| scene.me.clone());
    // A peer that is heard and has not said otherwise yet is counted: it is most likely voting.
    let peers =
        scene.peers.iter().filter(|peer| peer.heard && peer.voting != Some(false)).map(|peer| peer.name.clone());
    sorted(me.into_iter().chain(peers))
}

fn observers(scene: &Scene) -> Vec<String> {
    let me = (scene.observing.is_some() && !scene.is_gone).then(|| scene.me.clone());
    let peers =
        scene.peers.iter().filter(|peer| peer.heard && peer.voting == Some(false)).map(|peer| peer.name.clone());
    sorted(me.into_iter().chain(peers))
}

fn missing(scene: &Scene) -> Vec<(String, Option<u64>)> {
    let mut missing: Vec<_> =
        scene.peers.iter().filter(|peer| !peer.heard).map(|peer| (peer.name.clone(), peer.missing_since_ms)).collect();
    missing.sort();
    missing
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn sentence(scene: &Scene, why: &Why, n: usize) -> String {
    let seconds = scene.now_ms.saturating_sub(scene.finalized_ms.unwrap_or(scene.started_ms)) / 1_000;
    let (here, quorum) = (why.reachable.len(), why.quorum);
    let absent = absent(why);
    match why.finality {
        Finality::Starting => {
            format!("STARTING: {here} of {n} validators reachable from {}, {quorum} needed{absent}.", scene.me)
        }
        Finality::Live => {
            format!("LIVE at height {}: {here} of {n} validators vote, {quorum} needed{absent}.", scene.height)
        }
        Finality::Degraded => format!(
            "DEGRADED at height {}: {here} of {n} validators vote, exactly the {quorum} needed; one more failure halts finality{absent}.",
            scene.height
        ),
        Finality::Halted if why.slack() < 0 => format!(
            "HALTED (safe) at height {} for {seconds} s: finality needs {quorum} of {n} validators, voting and reachable from {}: {here}{absent}. No fork is possible.",
            scene.height, scene.me
        ),
        Finality::Halted => format!(
            "HALTED (safe) at height {} for {seconds} s although {} hears {here} of {n} validators and {quorum} are needed: they may not all hear each other{absent}. No fork is possible.",
            scene.height, scene.me
        ),
    }
}

/// Who is missing and who only observes, as the end of a sentence.
fn absent(why: &Why) -> String {
    let missing: Vec<&str> = why.missing.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = String::new();
    if !missing.is_empty() {
        text += &format!("; not heard: {}", missing.join(" "));
    }
    if !why.observers.is_empty() {
        text += &format!("; observing without a vote: {}", why.observers.join(" "));
    }
    text
}

fn fix(why: &Why, n: usize) -> Option<String> {
    let needed = usize::try_from(-why.slack()).unwrap_or(0);
    let missing: Vec<&str> = why.missing.iter().map(|(name, _)| name.as_str()).collect();
    match why.finality {
        Finality::Starting | Finality::Live if missing.is_empty() && why.observers.is_empty() => None,
        Finality::Halted if why.observers.len() > faults(n) => Some(format!(
            "{} validators lost their vote guard, more than f = {}: they cannot sit out, because nothing becomes final without them. Find out what destroyed the guards, then run `unsplit node reinstate` on {} of them, one at a time, and start them again; it explains the risk before it acts.",
            why.observers.len(),
            faults(n),
            why.observers.len().min(needed.max(1)),
        )),
        Finality::Halted if needed > 0 => Some(format!(
            "bring back or reconnect {needed} of {}; nothing has to be done on the others, they go on by themselves.",
            missing.join(" ")
        )),
        Finality::Halted => {
            Some("restore the links between the validators that are up; see `unsplit nodes` on each.".into())
        }
        Finality::Starting | Finality::Live | Finality::Degraded if missing.is_empty() => {
            Some("nothing to do: observers vote again by themselves once they have sat out.".into())
        }
        Finality::Starting | Finality::Live | Finality::Degraded => {
            Some(format!("restart or reconnect {}.", missing.join(" ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seven validators of which n0 looks: the numbers are heard and voting, or heard and observing.
    fn scene(voting: &[usize], observing: &[usize], finalized_ms: Option<u64>, now_ms: u64) -> Scene {
        let peers = (1..7)
            .map(|i| {
                let heard = voting.contains(&i) || observing.contains(&i);
                Peer {
                    name: format!("n{i}"),
                    heard,
                    missing_since_ms: (!heard).then_some(1_000),
                    voting: heard.then(|| voting.contains(&i)),
                }
            })
            .collect();
        let lost = observing.contains(&0).then(|| "guard-a is missing".to_owned());
        let (is_gone, height, started_ms) = (false, 42, 0);
        Scene { me: "n0".into(), observing: lost, is_gone, peers, height, now_ms, started_ms, finalized_ms }
    }

    fn check(voting: &[usize], observing: &[usize], finality: Finality, slack: i64, says: &str) {
        let why = explain(&scene(voting, observing, Some(99_000), 100_000));
        assert_eq!((why.finality, why.slack()), (finality, slack), "{}", why.sentence);
        let text = format!("{} {}", why.sentence, why.fix.unwrap_or_default());
        assert!(text.contains(says), "{text}");
    }

    #[test]
    fn all_heard_is_live_with_slack_two() {
        check(&[1, 2, 3, 4, 5, 6], &[], Finality::Live, 2, "LIVE at height 42: 7 of 7");
    }

    #[test]
    fn exactly_a_quorum_is_degraded_and_names_who_to_bring_back() {
        check(&[1, 2, 3, 4], &[], Finality::Degraded, 0, "restart or reconnect n5 n6");
    }

    #[test]
    fn one_less_than_a_quorum_is_halted_even_if_a_block_was_final_a_moment_ago() {
        check(
            &[1, 2, 3],
            &[],
            Finality::Halted,
            -1,
            "finality needs 5 of 7 validators, voting and reachable from n0: 4",
        );
        check(&[1, 2, 3], &[], Finality::Halted, -1, "bring back or reconnect 1 of n4 n5 n6");
    }

    #[test]
    fn observers_are_heard_but_do_not_count() {
        check(&[1, 2, 3, 4, 5], &[6], Finality::Live, 1, "observing without a vote: n6");
        check(&[1, 2, 3, 4], &[5, 6], Finality::Degraded, 0, "sat out");
    }

    #[test]
    fn who_is_no_validator_any_more_counts_the_others_only() {
        let gone = Some("gone".to_owned());
        let scene = Scene { is_gone: true, observing: gone, ..scene(&[1, 2, 3, 4, 5, 6], &[], Some(99_000), 100_000) };
        let why = explain(&scene);
        assert_eq!((why.quorum, why.slack()), (5, 1), "{}", why.sentence);
        assert!(why.sentence.contains("6 of 6") && why.observers.is_empty(), "{}", why.sentence);
    }

    #[test]
    fn more_than_f_observers_halt_and_the_procedure_is_named() {
        check(&[1, 2, 3], &[4, 5, 6], Finality::Halted, -1, "unsplit node reinstate` on 1 of them");
    }

    #[test]
    fn own_lost_guard_counts_against_the_quorum() {
        check(&[1, 2, 3, 4], &[0], Finality::Halted, -1, "observing without a vote: n0");
    }

    #[test]
    fn a_quorum_that_finalizes_nothing_is_halted_after_the_limit_and_not_before() {
        let all = [1, 2, 3, 4, 5, 6];
        let at = |now| explain(&scene(&all, &[], Some(10_000), now)).finality;
        assert_eq!(at(10_000 + STALLED_AFTER_MS), Finality::Live);
        assert_eq!(at(10_001 + STALLED_AFTER_MS), Finality::Halted);
    }

    #[test]
    fn a_young_validator_is_starting_until_it_should_have_seen_a_block() {
        let at = |now| explain(&scene(&[1], &[], None, now)).finality;
        assert_eq!(at(STARTING_MS), Finality::Starting);
        assert_eq!(at(STARTING_MS + 1), Finality::Halted);
    }
}
