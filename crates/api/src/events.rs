//! What happened, and who has not heard it yet?
//!
//! The log keeps the newest events in a ring, each under an offset that grows by one. A subscriber is nothing but the
//! offset it has come to: there is no queue per subscriber, a slow one costs nothing and holds nobody up, and one that
//! the ring has overtaken is told how many events it missed.

use crate::{Event, EventKind};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// The newest events of this process. Clones share one log.
#[derive(Clone)]
pub struct EventLog {
    shared: Arc<Shared>,
}

struct Shared {
    ring: Mutex<Ring>,
    /// Wakes in the order of waiting, where a watch channel would draw lots: simulated runs must repeat.
    pushed: Notify,
}

struct Ring {
    events: VecDeque<Event>,
    capacity: usize,
    newest: u64,
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// The next event.
    Event(Event),
    /// So many events were dropped before this subscriber took them; 0 if it had asked for an offset never reached,
    /// as after a restart.
    Missed(u64),
}

/// A reader of an [`EventLog`] and how far it has come.
pub struct Subscription {
    log: EventLog,
    seen: u64,
}

impl EventLog {
    /// An empty log that keeps the newest `capacity` events.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a log that keeps nothing tells nothing");
        let ring = Ring { events: VecDeque::new(), capacity, newest: 0 };
        Self { shared: Arc::new(Shared { ring: Mutex::new(ring), pushed: Notify::new() }) }
    }

    /// Appends an event and returns its offset; the first is 1. Never waits for a subscriber.
    pub fn push(&self, time_ms: u64, kind: EventKind) -> u64 {
        let offset = self.ring().push(time_ms, kind);
        self.shared.pushed.notify_waiters();
        offset
    }

    /// The events after `offset` that are still held, oldest first.
    pub fn since(&self, offset: u64) -> Vec<Event> {
        self.ring().events.iter().filter(|event| event.offset > offset).cloned().collect()
    }

    /// Listens to what happens from now on.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_after(self.ring().newest)
    }

    /// Listens to everything after `offset`.
    pub fn subscribe_after(&self, offset: u64) -> Subscription {
        Subscription { log: self.clone(), seen: offset }
    }

    /// No code under the lock can leave a ring half written, so a poisoned one is as good as any.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn push(&mut self, time_ms: u64, kind: EventKind) -> u64 {
        if self.events.len() == self.capacity {
            self.events.pop_front();
        }
        self.newest += 1;
        self.events.push_back(Event { offset: self.newest, time_ms, kind });
        self.newest
    }

    /// What follows `seen`, and how far the reader has then come.
    fn after(&self, seen: u64) -> Option<(Heard, u64)> {
        let dropped = self.newest - self.events.len() as u64;
        if seen > self.newest {
            return Some((Heard::Missed(dropped), dropped));
        }
        if seen < dropped {
            return Some((Heard::Missed(dropped - seen), dropped));
        }
        let event = self.events.get((seen - dropped) as usize)?;
        Some((Heard::Event(event.clone()), event.offset))
    }
}

impl Subscription {
    /// The next thing to hear, at once or when it happens. May be abandoned while it waits without losing anything.
    pub async fn next(&mut self) -> Heard {
        let shared = self.log.shared.clone();
        loop {
            // Created before looking: a push between the look and the wait still wakes us.
            let pushed = shared.pushed.notified();
            if let Some(heard) = self.try_next() {
                return heard;
            }
            pushed.await;
        }
    }

    /// The next thing to hear, if it is there already.
    pub fn try_next(&mut self) -> Option<Heard> {
        let (heard, seen) = self.log.ring().after(self.seen)?;
        self.seen = seen;
        Some(heard)
    }
}

impl EventKind {
    /// What [`EventKind::name`] may say, in the order of the kinds.
    pub const NAMES: [&str; 28] = [
        "finalized",
        "finality_changed",
        "state_changed",
        "slack_changed",
        "node_heard",
        "node_silent",
        "duty_changed",
        "peer_blocked",
        "fault_injected",
        "fault_ended",
        "node_ailing",
        "recovery_wanted",
        "partition_changed",
        "store_damaged",
        "store_repaired",
        "store_out_of_reach",
        "sync_changed",
        "snapshot_taken",
        "standing_changed",
        "set_decided",
        "epoch_began",
        "join_requested",
        "learner",
        "caught_up",
        "join_ended",
        "scaling_changed",
        "task_changed",
        "commit_rejected",
    ];

    /// The tag of the kind, as in the field `event` of its JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Finalized { .. } => "finalized",
            Self::FinalityChanged { .. } => "finality_changed",
            Self::StateChanged { .. } => "state_changed",
            Self::SlackChanged { .. } => "slack_changed",
            Self::NodeHeard { .. } => "node_heard",
            Self::NodeSilent { .. } => "node_silent",
            Self::DutyChanged { .. } => "duty_changed",
            Self::PeerBlocked { .. } => "peer_blocked",
            Self::FaultInjected { .. } => "fault_injected",
            Self::FaultEnded { .. } => "fault_ended",
            Self::NodeAiling { .. } => "node_ailing",
            Self::RecoveryWanted { .. } => "recovery_wanted",
            Self::PartitionChanged { .. } => "partition_changed",
            Self::StoreDamaged { .. } => "store_damaged",
            Self::StoreRepaired { .. } => "store_repaired",
            Self::StoreOutOfReach { .. } => "store_out_of_reach",
            Self::SyncChanged { .. } => "sync_changed",
            Self::SnapshotTaken { .. } => "snapshot_taken",
            Self::StandingChanged { .. } => "standing_changed",
            Self::SetDecided { .. } => "set_decided",
            Self::EpochBegan { .. } => "epoch_began",
            Self::JoinRequested { .. } => "join_requested",
            Self::Learner { .. } => "learner",
            Self::CaughtUp { .. } => "caught_up",
            Self::JoinEnded { .. } => "join_ended",
            Self::ScalingChanged { .. } => "scaling_changed",
            Self::TaskChanged { .. } => "task_changed",
            Self::CommitRejected { .. } => "commit_rejected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Course, Duty, Finality, NetworkState, Standing, TaskState};
    use futures::FutureExt as _;

    fn log(capacity: usize, events: u64) -> EventLog {
        let log = EventLog::new(capacity);
        for number in 1..=events {
            assert_eq!(log.push(number, EventKind::NodeHeard { node: "n1".to_string() }), number);
        }
        log
    }

    /// A ring of three after so many pushes: what does a reader that has come to `seen` hear?
    fn check(pushes: u64, seen: u64, missed: Option<u64>, offsets: &[u64]) {
        let mut reader = log(3, pushes).subscribe_after(seen);
        if let Some(missed) = missed {
            assert_eq!(reader.try_next(), Some(Heard::Missed(missed)));
        }
        for offset in offsets {
            assert!(matches!(reader.try_next(), Some(Heard::Event(event)) if event.offset == *offset));
        }
        assert_eq!(reader.try_next(), None);
    }

    #[test]
    fn a_reader_within_the_ring_hears_every_event_once() {
        check(0, 0, None, &[]);
        check(2, 0, None, &[1, 2]);
        check(3, 0, None, &[1, 2, 3]);
        check(5, 2, None, &[3, 4, 5]);
        check(5, 5, None, &[]);
    }

    #[test]
    fn a_reader_overtaken_by_the_ring_is_told_how_many_it_missed() {
        check(4, 0, Some(1), &[2, 3, 4]);
        check(5, 1, Some(1), &[3, 4, 5]);
        check(9, 2, Some(4), &[7, 8, 9]);
    }

    #[test]
    fn a_reader_from_before_a_restart_hears_the_new_log_from_its_start() {
        check(2, 7, Some(0), &[1, 2]);
        check(0, 7, Some(0), &[]);
        check(5, u64::MAX, Some(2), &[3, 4, 5]);
    }

    #[test]
    fn a_new_subscriber_hears_only_what_happens_from_now_on() {
        let log = log(3, 2);
        let mut reader = log.subscribe();
        assert_eq!(reader.next().now_or_never(), None);
        log.push(7, EventKind::NodeSilent { node: "n1".to_string() });
        assert!(matches!(reader.next().now_or_never(), Some(Heard::Event(Event { offset: 3, time_ms: 7, .. }))));
    }

    #[test]
    fn a_waiting_subscriber_is_woken_by_a_push() {
        let log = log(3, 0);
        let mut reader = log.subscribe();
        let mut next = Box::pin(reader.next());
        assert_eq!((&mut next).now_or_never(), None);
        log.push(1, EventKind::NodeHeard { node: "n1".to_string() });
        assert!(next.now_or_never().is_some());
    }

    #[test]
    fn since_gives_what_is_still_held() {
        let offsets = |offset| log(3, 5).since(offset).iter().map(|event| event.offset).collect::<Vec<_>>();
        assert_eq!(offsets(0), [3, 4, 5]);
        assert_eq!(offsets(4), [5]);
        assert_eq!(offsets(5), [0; 0]);
    }

    #[test]
    fn every_kind_is_called_the_same_in_its_json() {
        let text = String::new;
        let kinds = [
            EventKind::Finalized { height: 1, digest: text(), transactions: 0 },
            EventKind::FinalityChanged { finality: Finality::Live, why: text() },
            EventKind::StateChanged { state: NetworkState::Partitioned, why: text() },
            EventKind::SlackChanged { slack: 0, floor: 0, alarm: true, why: text() },
            EventKind::NodeHeard { node: text() },
            EventKind::NodeSilent { node: text() },
            EventKind::DutyChanged { duty: Duty::Voting, reason: text() },
            EventKind::PeerBlocked { node: text(), component: text(), grounds: text(), ttl_ms: 1 },
            EventKind::FaultInjected { fault: text() },
            EventKind::FaultEnded { fault: text() },
            EventKind::NodeAiling { node: text(), ailments: vec![] },
            EventKind::RecoveryWanted { node: text(), reason: text() },
            EventKind::PartitionChanged { sentence: text() },
            EventKind::StoreDamaged { part: text(), damage: text(), from: None, to: None, kept: None, what: text() },
            EventKind::StoreRepaired { part: text(), from: 1, to: 2, count: 2 },
            EventKind::StoreOutOfReach { height: 1 },
            EventKind::SyncChanged { course: Course::Live, height: 1, target: 1, why: text() },
            EventKind::SnapshotTaken { height: 1, bytes: 1, pieces: 1, took_ms: 1 },
            EventKind::StandingChanged {
                node: text(),
                standing: Standing::Trial,
                reason: None,
                accusers: vec![],
                network_event: false,
                height: 1,
            },
            EventKind::SetDecided { epoch: 1, validators: 4, going: vec![], coming: vec![], postponed: vec![] },
            EventKind::EpochBegan { epoch: 1, validators: 4, gone: vec![], came: vec![] },
            EventKind::JoinRequested { node: text(), key: text() },
            EventKind::Learner { node: text(), key: text() },
            EventKind::CaughtUp { node: text(), key: text() },
            EventKind::JoinEnded { node: text(), key: text(), reason: text() },
            EventKind::ScalingChanged { capacity: 1, desired: 2 },
            EventKind::TaskChanged {
                number: 1,
                id: text(),
                account: text(),
                state: TaskState::Leased,
                holder: Some(text()),
                token: Some(1),
                attempts: 0,
                height: 1,
                reason: None,
            },
            EventKind::CommitRejected { number: 1, id: None, node: text(), token: 1, reason: text() },
        ];
        assert_eq!(kinds.each_ref().map(EventKind::name), EventKind::NAMES);
        for kind in kinds {
            let json = serde_json::to_value(&kind).expect("an event is JSON");
            assert_eq!(json["event"], kind.name());
        }
    }
}
