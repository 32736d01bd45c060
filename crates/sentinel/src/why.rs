//! Why is the network in the state it is in, and what would mend it?
//!
//! One function explains; the API, the command line, the log, the metrics and the events print what it says. It knows what
//! one validator knows: what that hears itself, and what the rows of others say, which came directly or were passed on.
//!
//! For finality it takes a quorum of validators that *vote and all hear each other*: then every view can succeed. Where
//! there is none, but somebody hears a quorum, blocks may still become final now and then, while such a one leads and
//! collects: certificates are passed on, votes are not. Where nobody hears a quorum nothing becomes final.
//!
//! - `causes`: what is not as it should be, as a list
//! - `words`: the same in a sentence, and what would mend it

mod causes;
mod words;

pub use causes::Cause;

use crate::{
    partition::{Mutual, Names, Picture, Reach, Repair, Word},
    vitals::Ailment,
};
use ledger::{faults, quorum};

/// Without a new finalized block for so long, finality counts as halted even if enough validators are heard. Several
/// times the longest round that a dead leader can cost.
pub const STALLED_AFTER_MS: u64 = 5_000;

/// How long after its start a validator may be without a finalized block before that means anything.
pub const STARTING_MS: u64 = 10_000;

/// Whether blocks become final.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finality {
    /// It is too early to say more: nothing was finalized since this validator started, or it has yet to hear those that
    /// made the blocks.
    Starting,
    /// Yes.
    Live,
    /// Yes, and one more failure would stop it.
    Degraded,
    /// No. No fork is possible.
    Halted,
}

/// A validator, as the one that looks sees it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Node {
    /// Whether it was heard within the silence limit, by whichever way.
    pub heard: bool,
    /// Since when it is missing, milliseconds since the Unix epoch; `None` when it was never heard.
    pub missing_since_ms: Option<u64>,
    /// Whether it says that it signs votes; `None` when it never said.
    pub voting: Option<bool>,
    /// What ails it, with what was measured.
    pub ailments: Vec<(Ailment, u32)>,
}

/// What there is to explain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scene {
    /// What the one that looks is called.
    pub looks: String,
    /// Its place among those that vote; `None` when it only follows.
    pub me: Option<usize>,
    /// What those are called that vote in this epoch, in the order of their places.
    pub names: Vec<String>,
    /// Where each stands.
    pub regions: Vec<String>,
    /// How each is.
    pub nodes: Vec<Node>,
    /// Who says that it hears whom.
    pub reach: Reach,
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
    /// How many validators there are.
    pub validators: usize,
    /// Validators needed: n - f.
    pub quorum: usize,
    /// Validators that vote and are heard or known of, this one included.
    pub reachable: Vec<usize>,
    /// The most of these that all hear each other.
    pub mutual: Mutual,
    /// Validators of which nothing is heard or known.
    pub missing: Vec<usize>,
    /// Validators that are heard and sign nothing.
    pub observers: Vec<usize>,
    /// What is not as it should be, the gravest first.
    pub causes: Vec<Cause>,
    /// The same in words, one for each.
    pub details: Vec<String>,
    /// Who can talk to whom.
    pub picture: Picture,
}

impl Why {
    /// How many more of those that vote and all hear each other may be lost before finality stops; negative when they are
    /// too few already.
    pub fn slack(&self) -> i64 {
        signed(self.mutual.members.len()) - signed(self.quorum)
    }

    /// How many may fail: f.
    pub const fn faults(&self) -> usize {
        self.validators - self.quorum
    }
}

impl Scene {
    /// What people call the validators.
    pub fn called(&self) -> Names<'_> {
        Names { nodes: &self.names, regions: &self.regions }
    }

    /// Whether this is the one that looks.
    fn is_me(&self, node: usize) -> bool {
        self.me == Some(node)
    }

    fn is_voting(&self, node: usize) -> bool {
        // One that has not said otherwise yet is counted: it is most likely voting.
        self.nodes[node].voting != Some(false)
    }

    /// Whether none of those that are missing was ever heard, so soon after the start.
    fn has_yet_to_hear(&self, missing: &[usize]) -> bool {
        let is_young = self.now_ms.saturating_sub(self.started_ms) <= STARTING_MS;
        is_young && !missing.is_empty() && missing.iter().all(|node| self.nodes[*node].missing_since_ms.is_none())
    }

    /// How long nothing has become final, and whether that is too long.
    fn silence(&self) -> (u64, bool) {
        let silent_ms = self.now_ms.saturating_sub(self.finalized_ms.unwrap_or(self.started_ms));
        let limit_ms = if self.finalized_ms.is_some() { STALLED_AFTER_MS } else { STARTING_MS };
        (silent_ms, silent_ms > limit_ms)
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).expect("validator counts are small")
}

/// Explains `scene`.
pub fn explain(scene: &Scene) -> Why {
    let n = scene.nodes.len();
    let picture = Picture::of(&scene.reach);
    let assumed = assumed(scene);
    let there: Vec<usize> = (0..n).filter(|node| scene.is_me(*node) || assumed.has_spoken(*node)).collect();
    let (reachable, observers): (Vec<usize>, Vec<usize>) = there.iter().partition(|node| scene.is_voting(**node));
    let mutual = assumed.mutual(&reachable);
    let causes = causes::of(scene, &picture, &observers);
    let mut why = Why {
        finality: Finality::Live,
        sentence: String::new(),
        fix: None,
        halted_since_ms: None,
        validators: n,
        quorum: quorum(n),
        missing: (0..n).filter(|node| !there.contains(node)).collect(),
        details: causes.iter().map(|cause| cause.words(scene)).collect(),
        reachable,
        mutual,
        observers,
        causes,
        picture,
    };
    why.finality = finality(scene, &why, &assumed);
    if why.finality == Finality::Halted {
        why.halted_since_ms = Some(scene.finalized_ms.unwrap_or(scene.started_ms));
    }
    why.sentence = words::sentence(scene, &why, &assumed);
    why.fix = words::fix(scene, &why, &assumed);
    why
}

fn finality(scene: &Scene, why: &Why, assumed: &Reach) -> Finality {
    let (_, stalled) = scene.silence();
    // Blocks that were on their way still become final for a moment; the missing quorum is the news.
    let impossible = collectors(assumed, why).is_empty();
    let is_early = scene.finalized_ms.is_none() || impossible && scene.has_yet_to_hear(&why.missing);
    match why.slack() {
        _ if is_early && !stalled => Finality::Starting,
        _ if impossible || stalled => Finality::Halted,
        slack if slack < 0 || (slack == 0 && faults(scene.nodes.len()) > 0) => Finality::Degraded,
        _ => Finality::Live,
    }
}

/// Those that hear a quorum of voters, themselves included: only they can make a certificate.
fn collectors(assumed: &Reach, why: &Why) -> Vec<usize> {
    let hears = |node: usize| why.reachable.iter().filter(|voter| assumed.word(node, **voter) == Word::Hears).count();
    why.reachable.iter().copied().filter(|node| hears(*node) + 1 >= why.quorum).collect()
}

/// What is told, and of those that are heard the best where they have said nothing yet: that they hear whoever is there.
fn assumed(scene: &Scene) -> Reach {
    let mut reach = scene.reach.clone();
    let is_there = |node: &usize| scene.is_me(*node) || scene.nodes[*node].heard;
    let is_known = |node: &usize| is_there(node) || scene.reach.has_spoken(*node);
    for who in (0..scene.nodes.len()).filter(is_there) {
        for about in (0..scene.nodes.len()).filter(is_known) {
            if scene.reach.word(who, about) == Word::Unknown {
                reach.say(who, about, Word::Hears);
            }
        }
    }
    reach
}

/// What would let a quorum that votes hear each other again; nothing if one does.
fn repair(assumed: &Reach, why: &Why) -> Option<Repair> {
    (why.slack() < 0).then(|| assumed.repair(&why.reachable, why.quorum))
}

#[cfg(test)]
mod campaign;
#[cfg(test)]
mod tests;
