//! Who can talk to whom, and what does that leave of the network?
//!
//! Every validator says whom it hears. "`a` hears `b`" is `a`'s word, so a liar harms only links of its own: it can call
//! them dead, and cannot call a dead one alive, since a link is *usable* only where both ends say so. Where the ends
//! contradict each other the link is one-way, which is a state of its own and no contradiction. Whose word is missing is
//! not down: it is unknown, and called unheard only if nobody whose word is known hears it.
//!
//! What matters for finality is not who can reach whom through others: votes are not passed on. It takes a quorum whose
//! members *all hear each other*. The largest such set is a maximum clique of the usable links, found exactly up to
//! [`EXACT_MAX`] validators (branch and bound with greedy colouring: Tomita and Seki, "An efficient branch-and-bound
//! algorithm for finding a maximum clique", DMTCS 2003) and greedily beyond, which the answer says.
//!
//! - `cliques`: the largest mutual set
//! - `repair`: what is the least that has to be mended?
//! - `structure`: sides and bridges
//! - `words`: the picture in one sentence

mod cliques;
mod repair;
mod structure;
mod words;

pub use repair::Repair;
pub use structure::Links;
pub use words::Names;

use ledger::quorum;

/// Up to so many validators sets are found exactly.
pub const EXACT_MAX: usize = 64;

/// Fewer than one in so many are isolated, however many that is.
const ISOLATED_ONE_IN: usize = 10;

/// What one validator says of another.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Word {
    /// Nothing that is known here.
    #[default]
    Unknown,
    /// It hears it.
    Hears,
    /// It does not.
    Deaf,
}

/// What is known of the link between two validators.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Link {
    /// Both hear each other.
    Usable,
    /// Only what `from` says arrives.
    OneWay {
        /// Who is heard.
        from: usize,
        /// Who is not.
        to: usize,
    },
    /// Neither hears the other.
    Cut,
    /// One does not hear the other, whose word is not known.
    Broken {
        /// Who does not hear.
        deaf: usize,
        /// Whom.
        to: usize,
    },
    /// Nobody says that it is broken, and not both that it works.
    Unknown,
}

/// What all of them say: row by row, who says it, then about whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reach {
    validators: usize,
    words: Vec<Word>,
}

impl Reach {
    /// Of so many validators nothing is known.
    pub fn new(validators: usize) -> Self {
        Self { validators, words: vec![Word::Unknown; validators * validators] }
    }

    /// How many validators there are.
    pub const fn validators(&self) -> usize {
        self.validators
    }

    /// `who` says this of `about`. Of itself nobody says anything, and nobody says anything of who is not there.
    pub fn say(&mut self, who: usize, about: usize, word: Word) {
        if who != about && who < self.validators && about < self.validators {
            self.words[who * self.validators + about] = word;
        }
    }

    /// What `who` says of `about`.
    pub fn word(&self, who: usize, about: usize) -> Word {
        self.words[who * self.validators + about]
    }

    /// What is known of the link between two.
    pub fn link(&self, a: usize, b: usize) -> Link {
        match (self.word(a, b), self.word(b, a)) {
            (Word::Hears, Word::Hears) => Link::Usable,
            (Word::Hears, Word::Deaf) => Link::OneWay { from: b, to: a },
            (Word::Deaf, Word::Hears) => Link::OneWay { from: a, to: b },
            (Word::Deaf, Word::Deaf) => Link::Cut,
            (Word::Deaf, Word::Unknown) => Link::Broken { deaf: a, to: b },
            (Word::Unknown, Word::Deaf) => Link::Broken { deaf: b, to: a },
            (Word::Unknown, _) | (_, Word::Unknown) => Link::Unknown,
        }
    }

    fn is_usable(&self, a: usize, b: usize) -> bool {
        self.link(a, b) == Link::Usable
    }

    /// The largest set of these that all hear each other.
    pub fn mutual(&self, among: &[usize]) -> Mutual {
        cliques::largest(self, among)
    }

    /// What would let `needed` of these hear each other; whoever is not among them may come back instead.
    pub fn repair(&self, among: &[usize], needed: usize) -> Repair {
        repair::cheapest(self, among, needed)
    }

    /// These by usable links between them, each side in ascending order.
    pub fn sides(&self, among: &[usize]) -> Vec<Vec<usize>> {
        structure::sides(self, among)
    }

    /// Whether anything that `who` says is known. Who is alone has nobody to speak of.
    pub fn has_spoken(&self, who: usize) -> bool {
        self.validators == 1 || (0..self.validators).any(|about| self.word(who, about) != Word::Unknown)
    }

    /// Whether nobody whose word is known hears `about`, and somebody's is.
    fn is_unheard(&self, about: usize) -> bool {
        let mut words = (0..self.validators).map(|who| self.word(who, about)).filter(|word| *word != Word::Unknown);
        words.next().is_some_and(|first| first == Word::Deaf) && words.all(|word| word == Word::Deaf)
    }
}

/// How much a side can do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// Enough for finality, if its members all hear each other.
    Quorum,
    /// More than half, and not enough.
    Majority,
    /// At most half.
    Minority,
    /// One alone, or fewer than a tenth.
    Isolated,
}

/// Validators that are connected by usable links, perhaps through others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Side {
    /// In ascending order.
    pub members: Vec<usize>,
    /// By their number.
    pub class: Class,
}

/// A set of validators that all hear each other.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mutual {
    /// In ascending order.
    pub members: Vec<usize>,
    /// Whether there is none larger, or only none was found.
    pub is_largest: bool,
}

/// What is left of the network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Picture {
    /// Validators by usable links, the largest side first. Whose word is not known is on none.
    pub sides: Vec<Side>,
    /// Those whom nobody hears and of whom nothing is known: down, or cut off from all that are known.
    pub unheard: Vec<usize>,
    /// Those of whom nothing is known although somebody hears them, or nobody can say.
    pub unknown: Vec<usize>,
    /// Those without whom their side would fall apart.
    pub bridges: Vec<usize>,
    /// Links that are not usable, between validators whose word is known, and those to unknown ones that are broken.
    pub damaged: Vec<Damage>,
    /// The largest set of validators that all hear each other.
    pub mutual: Mutual,
    /// The least that would let a quorum hear each other again; nothing if one does.
    pub repair: Option<Repair>,
}

/// A link that is not usable, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Damage {
    /// One end, the smaller.
    pub a: usize,
    /// The other.
    pub b: usize,
    /// How it is.
    pub link: Link,
}

impl Picture {
    /// Looks at all that is said.
    pub fn of(reach: &Reach) -> Self {
        let n = reach.validators;
        let (known, silent): (Vec<usize>, Vec<usize>) = (0..n).partition(|node| reach.has_spoken(*node));
        let (unheard, unknown): (Vec<usize>, Vec<usize>) = silent.into_iter().partition(|node| reach.is_unheard(*node));
        let mut sides: Vec<Side> = structure::sides(reach, &known)
            .into_iter()
            .map(|members| Side { class: class(members.len(), n), members })
            .collect();
        sides.sort_by_key(|side| (std::cmp::Reverse(side.members.len()), side.members[0]));
        let heard: Vec<usize> = (0..n).filter(|node| !unheard.contains(node)).collect();
        let pairs = heard.iter().enumerate().flat_map(|(i, a)| heard[i + 1..].iter().map(move |b| (*a, *b)));
        let links = pairs.map(|(a, b)| Damage { a, b, link: reach.link(a, b) });
        let damaged = links.filter(|it| !matches!(it.link, Link::Usable | Link::Unknown)).collect();
        let mutual = cliques::largest(reach, &known);
        let repair = (mutual.members.len() < quorum(n)).then(|| repair::cheapest(reach, &known, quorum(n)));
        Self { bridges: structure::bridges(reach, &known), sides, unheard, unknown, damaged, mutual, repair }
    }

    /// Whether those whose word is known are on more than one side.
    pub fn is_split(&self) -> bool {
        self.sides.len() > 1
    }

    /// Whether a quorum whose members all hear each other is known.
    pub fn has_quorum(&self) -> bool {
        self.repair.is_none()
    }
}

/// By number: how much can so many of `n` do?
fn class(members: usize, n: usize) -> Class {
    match members {
        _ if members >= quorum(n) => Class::Quorum,
        _ if 2 * members > n => Class::Majority,
        0 | 1 => Class::Isolated,
        _ if members * ISOLATED_ONE_IN < n => Class::Isolated,
        _ => Class::Minority,
    }
}

#[cfg(test)]
mod tests;
