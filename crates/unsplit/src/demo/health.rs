//! Who said of whom that it is gone, ill or back, and when?

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use api::{EventKind, Standing};

/// What the validators told about each other, as the demo heard it.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// By observer and subject: when the observer last found the subject silent.
    silent: BTreeMap<(usize, String), Instant>,
    /// Every change of standing, by who told it first: subject, what it became, when.
    standings: Vec<(String, Standing, Instant)>,
    heights: BTreeMap<(String, u64), ()>,
}

impl Health {
    /// A validator tells that something happened.
    pub(crate) fn heard(&mut self, observer: usize, event: &EventKind, now: Instant) {
        match event {
            EventKind::NodeSilent { node } => drop(self.silent.insert((observer, node.clone()), now)),
            EventKind::StandingChanged { node, standing, height, .. } => {
                // All validators tell of one change; the first one counts.
                if self.heights.insert((node.clone(), *height), ()).is_none() {
                    self.standings.push((node.clone(), *standing, now));
                }
            }
            EventKind::NodeHeard { .. }
            | EventKind::NodeAiling { .. }
            | EventKind::RecoveryWanted { .. }
            | EventKind::PartitionChanged { .. }
            | EventKind::SetDecided { .. }
            | EventKind::EpochBegan { .. }
            | EventKind::JoinRequested { .. }
            | EventKind::Learner { .. }
            | EventKind::CaughtUp { .. }
            | EventKind::JoinEnded { .. }
            | EventKind::StoreDamaged { .. }
            | EventKind::StoreRepaired { .. }
            | EventKind::StoreOutOfReach { .. }
            | EventKind::SyncChanged { .. }
            | EventKind::SnapshotTaken { .. }
            | EventKind::ScalingChanged { .. }
            | EventKind::Finalized { .. }
            | EventKind::FinalityChanged { .. }
            | EventKind::StateChanged { .. }
            | EventKind::SlackChanged { .. }
            | EventKind::DutyChanged { .. }
            | EventKind::PeerBlocked { .. }
            | EventKind::FaultInjected { .. }
            | EventKind::FaultEnded { .. }
            | EventKind::TaskChanged { .. }
            | EventKind::CommitRejected { .. } => {}
        }
    }

    /// How long it took until all these observers had found all these validators silent; nothing until then.
    pub(crate) fn noticed(&self, observers: &[usize], nodes: &[String], since: Instant) -> Option<Duration> {
        let pairs = observers.iter().flat_map(|observer| nodes.iter().map(move |node| (*observer, node.clone())));
        let times = pairs.map(|pair| self.silent.get(&pair).filter(|at| **at >= since).map(|at| *at - since));
        times.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// How long it took until the last of these had this standing for the first time since then.
    pub(crate) fn became(&self, nodes: &[String], standing: &[Standing], since: Instant) -> Option<Duration> {
        let first = |node: &String| {
            let changes = self
                .standings
                .iter()
                .filter(|(whose, what, at)| whose == node && standing.contains(what) && *at >= since);
            changes.map(|(_, _, at)| *at - since).min()
        };
        nodes.iter().map(first).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// How many verdicts there were since then.
    pub(crate) fn verdicts(&self, since: Instant) -> usize {
        self.standings.iter().filter(|(_, what, at)| *what == Standing::Unresponsive && *at >= since).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(node: &str, standing: Standing, height: u64) -> EventKind {
        EventKind::StandingChanged {
            node: node.into(),
            standing,
            reason: None,
            accusers: Vec::new(),
            network_event: false,
            height,
        }
    }

    #[test]
    fn the_last_observer_and_the_last_subject_count() {
        let (mut health, since) = (Health::default(), Instant::now());
        let at = |ms| since + Duration::from_millis(ms);
        let silent = |node: &str| EventKind::NodeSilent { node: node.into() };
        let gone = ["n5".to_owned(), "n6".to_owned()];
        health.heard(0, &silent("n5"), at(100));
        health.heard(0, &silent("n6"), at(300));
        health.heard(1, &silent("n5"), at(200));
        assert_eq!(health.noticed(&[0, 1], &gone, since), None, "n1 has not noticed n6");
        health.heard(1, &silent("n6"), at(250));
        assert_eq!(health.noticed(&[0, 1], &gone, since), Some(Duration::from_millis(300)));
    }

    #[test]
    fn a_change_is_counted_once_whoever_tells_it() {
        let (mut health, since) = (Health::default(), Instant::now());
        let at = |ms| since + Duration::from_millis(ms);
        health.heard(0, &changed("n5", Standing::Unresponsive, 7), at(100));
        health.heard(1, &changed("n5", Standing::Unresponsive, 7), at(110));
        assert_eq!(health.verdicts(since), 1);
        let five = ["n5".to_owned()];
        assert_eq!(health.became(&five, &[Standing::Unresponsive], since), Some(Duration::from_millis(100)));
        assert_eq!(health.became(&five, &[Standing::Trial, Standing::Active], since), None);
        health.heard(2, &changed("n5", Standing::Trial, 9), at(400));
        assert_eq!(health.became(&five, &[Standing::Trial, Standing::Active], since), Some(Duration::from_millis(400)));
    }
}
