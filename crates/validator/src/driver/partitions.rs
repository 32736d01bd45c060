//! Who can talk to whom, as far as this validator is told?
//!
//! What others hear they say in their rows, and only those that came here directly count: whose rows do not come is unknown
//! and not down. Nothing follows from the picture but words.

use super::Driver;
use crate::{
    clock::{milliseconds, since},
    lookout::{ALL_MAX, SILENT_AFTER},
};
use api::{DamageView, EpisodeView, EventKind, MatrixView, PartitionsView, RepairView, SideView};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use ledger::quorum;
use sentinel::partition::{Link, Names, Picture, Reach, Word};
use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

/// After its own start a validator has not heard everybody yet.
const STARTING: Duration = Duration::from_secs(3);

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
        let sentence = self.sentence(&Picture::of(&self.reach(now)));
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
        let picture = Picture::of(&self.reach(now));
        let (name, names) = (|index: usize| self.node_name(index), |nodes: &[usize]| self.node_names(nodes));
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
            sentence: self.sentence(&picture),
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
            quorum: quorum(self.peers.len()) as u64,
            repair,
            history: self.episodes.past.iter().cloned().collect(),
        }
    }

    /// Who says that it hears whom.
    pub(super) fn show_matrix(&self) -> MatrixView {
        let (n, reach) = (self.peers.len(), self.reach(self.context.current()));
        let word = |who: usize, about: usize| match reach.word(who, about) {
            Word::Hears => "hears",
            Word::Deaf => "deaf",
            Word::Unknown => "unknown",
        };
        MatrixView {
            schema: "unsplit.matrix/1".into(),
            nodes: (0..n).map(|index| self.node_name(index)).collect(),
            rows: (0..n).map(|who| (0..n).map(|about| word(who, about).to_owned()).collect()).collect(),
        }
    }

    fn reach(&self, now: SystemTime) -> Reach {
        let mut reach = Reach::new(self.peers.len());
        for (who, peer) in self.peers.iter().enumerate() {
            if self.settings.roster.members()[who].key == self.settings.me {
                for (about, other) in self.peers.iter().enumerate() {
                    // Directly, as the others say it in their rows: that it answered somebody else is no link of ours.
                    let hears = other.sight.heard.is_some_and(|heard| since(now, heard) < SILENT_AFTER);
                    reach.say(who, about, if hears { Word::Hears } else { Word::Deaf });
                }
                continue;
            }
            // An older row says nothing of now.
            let row = peer.sight.row.as_ref().filter(|(_, at)| since(now, *at) < SILENT_AFTER);
            for (about, hearing) in row.iter().flat_map(|(row, _)| row.hearings.iter().enumerate()) {
                let hears = Duration::from_millis(hearing.age_ms.into()) < SILENT_AFTER;
                reach.say(who, about, if hears { Word::Hears } else { Word::Deaf });
            }
        }
        reach
    }

    fn sentence(&self, picture: &Picture) -> String {
        let members = self.settings.roster.members();
        let nodes: Vec<String> = members.iter().map(|member| member.entry.name.clone()).collect();
        let regions: Vec<String> = members.iter().map(|member| member.entry.region.clone()).collect();
        picture.sentence(Names { nodes: &nodes, regions: &regions })
    }

    fn node_name(&self, index: usize) -> String {
        self.settings.roster.members()[index].entry.name.clone()
    }

    fn node_names(&self, nodes: &[usize]) -> Vec<String> {
        nodes.iter().map(|index| self.node_name(*index)).collect()
    }
}
