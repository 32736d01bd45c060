//! Who can talk to whom, as far as this validator is told?
//!
//! What others hear they say in their rows, which came here directly or were passed on by somebody who hears them: whose rows
//! do not come is unknown and not down. Nothing follows from the picture but words.

use super::Driver;
use crate::{
    clock::{milliseconds, since},
    lookout::{ALL_MAX, SILENT_AFTER, UNWATCHED_SILENT_AFTER},
    wire::Row,
};
use api::{DamageView, EpisodeView, EventKind, MatrixView, PartitionsView, RepairView, SideView};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use ledger::{State, quorum};
use sentinel::partition::{Link, Names, Picture, Reach, Word};
use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

/// After its own start a validator has not heard everybody yet.
const STARTING: Duration = Duration::from_secs(3);

/// And for so long it says nothing of whom it has not heard yet.
const YOUNG: Duration = Duration::from_secs(2);

/// Episodes that are kept.
const HISTORY_MAX: usize = 64;

/// What the network has been like.
#[derive(Debug, Default)]
pub(super) struct Episodes {
    /// What it is like, since when, as it was told.
    present: Option<(String, SystemTime)>,
    /// What it seems to have become, at the last look: told when the next look agrees.
    next: Option<String>,
    past: VecDeque<EpisodeView>,
}

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// Notes what has changed, and tells it once two looks agree.
    pub(super) fn follow_partitions(&mut self, now: SystemTime) {
        // Among more, rows go to some only: the picture has holes that come and go.
        if self.peers.len() > ALL_MAX || since(now, self.started) < STARTING {
            return;
        }
        let voters = self.voters(&self.parts.ledger.finalized());
        let sentence = self.sentence(&Picture::of(&self.reach(now, &voters)), &voters);
        let episodes = &mut self.episodes;
        if episodes.present.as_ref().is_some_and(|(present, _)| *present == sentence) {
            episodes.next = None;
            return;
        }
        if episodes.present.is_some() && episodes.next.as_ref() != Some(&sentence) {
            episodes.next = Some(sentence);
            return;
        }
        episodes.next = None;
        if let Some((before, from)) = episodes.present.replace((sentence.clone(), now)) {
            let (since_ms, until_ms) = (milliseconds(from), milliseconds(now));
            episodes.past.push_back(EpisodeView { sentence: before, since_ms, until_ms });
            if episodes.past.len() > HISTORY_MAX {
                episodes.past.pop_front();
            }
            self.parts.events.push(milliseconds(now), EventKind::PartitionChanged { sentence });
        }
    }

    /// What is left of the network.
    pub(super) fn show_partitions(&self) -> PartitionsView {
        let now = self.context.current();
        let voters = self.voters(&self.parts.ledger.finalized());
        let shown = self.show_picture(&Picture::of(&self.reach(now, &voters)), &voters, now);
        PartitionsView { history: self.episodes.past.iter().cloned().collect(), ..shown }
    }

    /// The same without what was before.
    pub(super) fn show_picture(&self, picture: &Picture, voters: &[usize], now: SystemTime) -> PartitionsView {
        let name = |place: usize| self.node_name(voters[place]);
        let names = |places: &[usize]| places.iter().map(|place| name(*place)).collect::<Vec<_>>();
        let repair = picture.repair.as_ref().map(|repair| RepairView {
            links: repair.links.iter().map(|(a, b)| [name(*a), name(*b)]).collect(),
            returning: repair.returning as u64,
            is_cheapest: repair.is_cheapest,
        });
        let damage = |it: &sentinel::partition::Damage| {
            let (from, to, state) = match it.link {
                Link::OneWay { from, to } => (from, to, "one_way"),
                Link::Cut => (it.a, it.b, "cut"),
                Link::Broken { deaf, to } => (to, deaf, "broken"),
                Link::Usable | Link::Unknown => (it.a, it.b, "usable"),
            };
            DamageView { from: name(from), to: name(to), state: state.into() }
        };
        PartitionsView {
            schema: "unsplit.partitions/1".into(),
            sentence: self.sentence(picture, voters),
            since_ms: milliseconds(self.episodes.present.as_ref().map_or(now, |(_, since)| *since)),
            sides: picture
                .sides
                .iter()
                .map(|side| SideView { nodes: names(&side.members), class: side.class.name().into() })
                .collect(),
            unheard: names(&picture.unheard),
            unknown: names(&picture.unknown),
            bridges: names(&picture.bridges),
            damaged: picture.damaged.iter().map(damage).collect(),
            mutual: names(&picture.mutual.members),
            mutual_is_largest: picture.mutual.is_largest,
            quorum: quorum(voters.len()) as u64,
            repair,
            history: Vec::new(),
        }
    }

    /// Who says that it hears whom.
    pub(super) fn show_matrix(&self) -> MatrixView {
        let voters = self.voters(&self.parts.ledger.finalized());
        let (n, reach) = (voters.len(), self.reach(self.context.current(), &voters));
        let word = |who: usize, about: usize| match reach.word(who, about) {
            Word::Hears => "hears",
            Word::Deaf => "deaf",
            Word::Unknown => "unknown",
        };
        MatrixView {
            schema: "unsplit.matrix/1".into(),
            nodes: self.node_names(&voters),
            rows: (0..n).map(|who| (0..n).map(|about| word(who, about).to_owned()).collect()).collect(),
        }
    }

    /// Those that vote on the next block, by their places in the roster.
    pub(super) fn voters(&self, state: &State) -> Vec<usize> {
        (0..self.peers.len()).filter(|index| self.is_voter(*index, state)).collect()
    }

    /// Who of those that vote says that it hears whom of them, as the lookout sees it at this moment.
    pub(super) fn reach(&self, now: SystemTime, voters: &[usize]) -> Reach {
        let sights = self.parts.sights.all();
        // Among many, rows come seldom, and most are heard by their votes.
        let silent_after = if sights.len() > ALL_MAX { UNWATCHED_SILENT_AFTER } else { SILENT_AFTER };
        let mut reach = Reach::new(voters.len());
        for (who, index) in voters.iter().enumerate() {
            let sight = &sights[*index];
            if self.settings.roster.members()[*index].key == self.settings.me {
                for (about, other) in voters.iter().enumerate() {
                    // Directly, as the others say it in their rows: that it answered somebody else is no link of ours.
                    let silent = sights[*other].heard.map(|heard| since(now, heard));
                    reach.say(who, about, word(silent, silent_after, since(now, self.started)));
                }
                continue;
            }
            // An older row says nothing of now. What came directly is newer than what was passed on.
            let is_fresh = |it: &&(Row, SystemTime)| since(now, it.1) < silent_after;
            let row = sight.row.as_ref().filter(is_fresh).or(sight.told.as_ref().filter(is_fresh));
            let Some((row, _)) = row else { continue };
            let age = Duration::from_millis(row.sent_ms.saturating_sub(row.started_ms));
            for (about, other) in voters.iter().enumerate() {
                let Some(hearing) = row.hearings.get(*other) else { continue };
                let silent = (hearing.age_ms < u16::MAX).then(|| Duration::from_millis(hearing.age_ms.into()));
                reach.say(who, about, word(silent, silent_after, age));
            }
        }
        reach
    }

    fn sentence(&self, picture: &Picture, voters: &[usize]) -> String {
        let members = self.settings.roster.members();
        let nodes = self.node_names(voters);
        let regions: Vec<String> = voters.iter().map(|index| members[*index].entry.region.clone()).collect();
        picture.sentence(Names { nodes: &nodes, regions: &regions })
    }

    pub(super) fn node_name(&self, index: usize) -> String {
        self.settings.roster.members()[index].entry.name.clone()
    }

    pub(super) fn node_names(&self, nodes: &[usize]) -> Vec<String> {
        nodes.iter().map(|index| self.node_name(*index)).collect()
    }
}

/// What somebody of this age has to say of who was silent for so long, or was never heard.
fn word(silent: Option<Duration>, silent_after: Duration, age: Duration) -> Word {
    match silent {
        Some(silent) if silent < silent_after => Word::Hears,
        None if age < YOUNG => Word::Unknown,
        Some(_) | None => Word::Deaf,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_just_started_says_nothing_of_whom_it_has_not_heard_yet() {
        let says = |silent: Option<u64>, age: u64| {
            word(silent.map(Duration::from_millis), SILENT_AFTER, Duration::from_millis(age))
        };
        assert_eq!([says(None, 1_999), says(None, 2_000)], [Word::Unknown, Word::Deaf]);
        assert_eq!([says(Some(1_499), 10), says(Some(1_500), 1_600)], [Word::Hears, Word::Deaf]);
    }
}
