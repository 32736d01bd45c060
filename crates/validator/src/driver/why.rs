//! Why are things as they are, and is that worth an alarm?
//!
//! What the sentinel explains is put together here from what the driver knows, shown on every surface, and told as events when
//! it changes. Nothing follows from it.

use super::{Driver, Gauges};
use crate::clock::milliseconds;
use api::{CauseView, Duty, EventKind, Finality, Missing, NetworkState, Snapshot, Why};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{
    Clock, Metrics, Spawner, Storage,
    telemetry::metrics::{GaugeFamily, MetricsExt as _},
};
use ledger::{Phase, State};
use sentinel::{
    network::{self, BEHIND, Signs},
    why::{self, Node, Scene},
};
use std::time::SystemTime;
use tracing::{info, warn};

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Outlook {
    state: NetworkState,
    /// When the network was last partitioned no more.
    healed: Option<SystemTime>,
    /// What slack was, once there was any to tell of.
    slack: Option<i64>,
}

/// One gauge for each state: 1 for the present one.
pub(super) struct States(GaugeFamily<Vec<(String, String)>>);

impl States {
    pub(super) fn new<E: Metrics>(context: &E) -> Self {
        Self(context.family("state", "1 for the state that the network is in"))
    }

    fn set(&self, present: NetworkState) {
        for state in network::State::ALL {
            let labels = vec![("state".to_owned(), state.name().to_owned())];
            self.0.get_or_create(&labels).set(i64::from(show_state(state) == present));
        }
    }
}

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// What there is to explain: how those are that vote, by their places in the roster.
    pub(super) fn scene(&self, now: SystemTime, voters: &[usize], state: &State) -> Scene {
        let members = self.settings.roster.members();
        let me = self.settings.roster.index(&self.settings.me).expect("this validator is in the roster");
        let node = |index: usize| {
            let peer = &self.peers[index];
            let row = peer.sight.row.as_ref().or(peer.sight.told.as_ref());
            Node {
                heard: index == me || peer.is_heard,
                missing_since_ms: peer.missing_since.map(milliseconds),
                voting: if index == me { Some(self.duty == Duty::Voting) } else { row.map(|(row, _)| row.voting) },
                ailments: peer.sight.ailments.clone(),
            }
        };
        Scene {
            looks: self.node_name(me),
            me: voters.iter().position(|index| *index == me),
            names: self.node_names(voters),
            regions: voters.iter().map(|index| members[*index].entry.region.clone()).collect(),
            nodes: voters.iter().map(|index| node(*index)).collect(),
            reach: self.reach(now, voters),
            height: state.height().0,
            now_ms: milliseconds(now),
            started_ms: milliseconds(self.started),
            finalized_ms: self.finalized_at.map(milliseconds),
        }
    }

    /// What state the network is in.
    pub(super) fn network_state(&self, scene: &Scene, voters: &[usize], why: &why::Why, state: &State) -> NetworkState {
        let healed = if self.outlook.state == NetworkState::Partitioned {
            Some(scene.now_ms)
        } else {
            self.outlook.healed.map(milliseconds)
        };
        let is_behind = |place: usize| {
            let index = voters[place];
            let key = &self.settings.roster.members()[index].entry.key;
            let is_on_trial = state.standing(key).is_some_and(|it| it.status.phase() == Phase::Trial);
            let row = self.peers[index].sight.row.as_ref();
            let is_late = row.is_some_and(|(row, _)| row.height.0 + BEHIND < scene.height);
            scene.nodes[place].heard && (is_on_trial || (is_late && scene.me != Some(place)))
        };
        let missing = why.missing.iter().map(|node| scene.nodes[*node].missing_since_ms);
        let signs = Signs {
            proved_ms: self.parts.blocker.proved().map(milliseconds),
            is_anybody_behind: self.tip > scene.height + BEHIND || (0..voters.len()).any(is_behind),
            healed_ms: healed,
            missing_since_ms: missing.collect(),
            now_ms: scene.now_ms,
        };
        show_state(network::state(&signs, why))
    }

    /// Tells what has changed since the last snapshot.
    pub(super) fn tell_outlook(&mut self, snapshot: &Snapshot, now: SystemTime) {
        let (status, why) = (&snapshot.status, snapshot.why.sentence.clone());
        let at = milliseconds(now);
        if status.finality != self.finality {
            self.finality = status.finality;
            info!(finality = ?self.finality, "{why}");
            self.parts.events.push(at, EventKind::FinalityChanged { finality: self.finality, why: why.clone() });
        }
        if status.state != self.outlook.state {
            if self.outlook.state == NetworkState::Partitioned {
                self.outlook.healed = Some(now);
            }
            self.outlook.state = status.state;
            info!(state = ?status.state, "{why}");
            self.parts.events.push(at, EventKind::StateChanged { state: status.state, why: why.clone() });
        }
        if status.finality != Finality::Starting {
            self.tell_slack(status.slack, why, now);
        }
        self.gauges.states.set(status.state);
        self.gauges.show_finality(self.finality, status.slack, self.settings.slack_floor);
    }

    /// An alarm for each step at or below the floor, and the end of it: a halt is never the first that is heard of it.
    fn tell_slack(&mut self, slack: i64, why: String, now: SystemTime) {
        let floor = self.settings.slack_floor;
        let before = self.outlook.slack.replace(slack);
        let (is_alarm, was_alarm) = (slack <= floor, before.is_some_and(|before| before <= floor));
        if before == Some(slack) || !(is_alarm || was_alarm) || !self.has_tolerance() {
            return;
        }
        if is_alarm {
            warn!(slack, floor, "{why}");
        }
        let kind = EventKind::SlackChanged { slack, floor, alarm: is_alarm, why };
        self.parts.events.push(milliseconds(now), kind);
    }

    /// Where none may fail, no slack is how things are.
    fn has_tolerance(&self) -> bool {
        ledger::faults(self.parts.ledger.finalized().voters().len()) > 0
    }
}

impl Gauges {
    fn show_finality(&self, finality: Finality, slack: i64, floor: i64) {
        self.slack.set(slack);
        self.slack_low.set(i64::from(slack <= floor));
        self.live.set(i64::from(matches!(finality, Finality::Live | Finality::Degraded)));
    }
}

pub(super) const fn show_finality(finality: why::Finality) -> Finality {
    match finality {
        why::Finality::Starting => Finality::Starting,
        why::Finality::Live => Finality::Live,
        why::Finality::Degraded => Finality::Degraded,
        why::Finality::Halted => Finality::Halted,
    }
}

const fn show_state(state: network::State) -> NetworkState {
    match state {
        network::State::Normal => NetworkState::Normal,
        network::State::Recovering => NetworkState::Recovering,
        network::State::Partitioned => NetworkState::Partitioned,
        network::State::UnderAttack => NetworkState::UnderAttack,
    }
}

pub(super) fn show_why(scene: &Scene, why: why::Why) -> Why {
    let names = |nodes: &[usize]| -> Vec<String> {
        let mut names: Vec<String> = nodes.iter().map(|node| scene.names[*node].clone()).collect();
        names.sort();
        names
    };
    let missing = |node: &usize| {
        let since_ms = scene.nodes[*node].missing_since_ms;
        let silent_ms = scene.now_ms.saturating_sub(since_ms.unwrap_or(scene.started_ms));
        Missing { name: scene.names[*node].clone(), since_ms, silent_ms }
    };
    let mut missing: Vec<Missing> = why.missing.iter().map(missing).collect();
    missing.sort_by(|a, b| a.name.cmp(&b.name));
    let cause = |(cause, text): (&why::Cause, &String)| CauseView {
        kind: cause.name().into(),
        nodes: names(&cause.nodes()),
        text: text.clone(),
    };
    Why {
        schema: "unsplit.why/1".into(),
        finality: show_finality(why.finality),
        height: scene.height,
        halted_since_ms: why.halted_since_ms,
        quorum: why.quorum,
        reachable: names(&why.reachable),
        mutual: names(&why.mutual.members),
        mutual_is_largest: why.mutual.is_largest,
        missing,
        observers: names(&why.observers),
        causes: why.causes.iter().zip(&why.details).map(cause).collect(),
        sentence: why.sentence,
        fix: why.fix,
    }
}
