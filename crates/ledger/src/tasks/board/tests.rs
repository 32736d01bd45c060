use super::*;
use crate::{
    tasks::balance::{self, UNITS_MAX, Worker},
    types::{Height, NodeId, PublicKey, TaskNumber},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

const NOW: Height = Height(1_000);

/// Index and key sort alike.
fn id(index: u32) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&index.to_be_bytes());
    PublicKey(bytes)
}

fn index(id: &NodeId) -> u32 {
    u32::from_be_bytes(id.0[..4].try_into().expect("four bytes"))
}

/// What happens to a world of workers; workers are meant modulo how many there are.
#[derive(Clone, Debug)]
enum Change {
    Choose { units: u32, lost_by: Vec<u32>, groups: u8 },
    Complete { nth: usize },
    Open(u32, bool),
    Missed(u32, bool),
    Weight(u32, u32),
    Keep { units: u32 },
    Release,
}

fn change() -> impl Strategy<Value = Change> {
    // Few sizes, so that there are ties, and some that do not fit a window.
    let units = || prop_oneof![1u32..4, Just(UNITS_MAX / 2), Just(UNITS_MAX), Just(UNITS_MAX + 1)];
    prop_oneof![
        8 => (units(), prop::collection::vec(any::<u32>(), 0..4), any::<u8>())
            .prop_map(|(units, lost_by, groups)| Change::Choose { units, lost_by, groups }),
        3 => any::<usize>().prop_map(|nth| Change::Complete { nth }),
        1 => (any::<u32>(), any::<bool>()).prop_map(|(worker, is_open)| Change::Open(worker, is_open)),
        1 => (any::<u32>(), any::<bool>()).prop_map(|(worker, has_missed)| Change::Missed(worker, has_missed)),
        1 => (any::<u32>(), 0u32..5).prop_map(|(worker, weight)| Change::Weight(worker, weight)),
        1 => units().prop_map(|units| Change::Keep { units }),
        1 => Just(Change::Release),
    ]
}

/// The board, and the same world as `balance` takes it.
struct World {
    board: Board,
    workers: Vec<Worker>,
    groups: Vec<u32>,
    kept: BTreeSet<u32>,
    /// Who holds how many units.
    leases: Vec<(u32, u32)>,
}

impl World {
    fn new(workers: &[(u32, u32)]) -> Self {
        let worker = |(capacity, _): &(u32, u32)| Worker { capacity: *capacity, led: NOW, ..Worker::default() };
        Self {
            board: Board::new(UNITS_MAX, workers.iter().copied()),
            workers: workers.iter().map(worker).collect(),
            groups: workers.iter().map(|(_, group)| *group).collect(),
            kept: BTreeSet::new(),
            leases: Vec::new(),
        }
    }

    /// What `balance` says, looking at everybody of these groups.
    fn expected(&self, units: u32, lost_by: &[u32], groups: u8) -> Choice {
        let seen = |(index, worker): (u32, &Worker)| {
            let mut worker = *worker;
            if self.kept.contains(&index) {
                worker.keep();
            }
            // Who is in no such group is as good as away.
            if groups >> self.groups[index as usize] & 1 == 0 {
                worker.led = Height(0);
            }
            (id(index), worker)
        };
        let workers: BTreeMap<NodeId, Worker> = (0..).zip(&self.workers).map(seen).collect();
        let lost_by: Vec<NodeId> = lost_by.iter().map(|index| id(*index)).collect();
        match balance::choose(&workers, units, &lost_by, &|_| true, NOW) {
            balance::Choice::Now(id) => Choice::Now(index(&id)),
            balance::Choice::Later(id) => Choice::Later(index(&id)),
            balance::Choice::Nobody => Choice::Nobody,
        }
    }

    fn some(&self, worker: u32) -> u32 {
        worker % self.workers.len() as u32
    }

    fn choose(&mut self, units: u32, lost_by: &[u32], groups: u8) -> Choice {
        let lost_by: Vec<u32> = lost_by.iter().map(|worker| self.some(*worker)).collect();
        let choice = self.board.choose_among(units, &lost_by, |group| groups >> group & 1 == 1);
        assert_eq!(choice, self.expected(units, &lost_by, groups), "{:?}", self.workers);
        choice
    }

    fn take(&mut self, worker: u32, units: u32) {
        let seat = &mut self.workers[worker as usize];
        (seat.units, seat.leases) = (seat.units + u64::from(units), seat.leases + 1);
        self.leases.push((worker, units));
    }

    fn apply(&mut self, change: Change) {
        // Room is kept while one block leases its tasks, and in between nothing ends and nobody changes. `balance` would
        // give a task to a worker that missed one even if its room is kept, and never meets one.
        if !matches!(change, Change::Choose { .. } | Change::Keep { .. }) {
            self.board.release();
            self.kept.clear();
        }
        match change {
            Change::Choose { units, lost_by, groups } => {
                let choice = self.choose(units, &lost_by, groups);
                if lost_by.is_empty() {
                    let given = self.board.assign_among(units, |group| groups >> group & 1 == 1);
                    assert_eq!(given.map(Choice::Now), matches!(choice, Choice::Now(_)).then_some(choice));
                } else if let Choice::Now(worker) = choice {
                    self.board.take(worker, units);
                }
                if let Choice::Now(worker) = choice {
                    self.take(worker, units);
                }
            }
            Change::Complete { nth } if !self.leases.is_empty() => {
                let (worker, units) = self.leases.swap_remove(nth % self.leases.len());
                self.board.complete(worker, units);
                let seat = &mut self.workers[worker as usize];
                (seat.units, seat.leases) = (seat.units - u64::from(units), seat.leases - 1);
            }
            Change::Complete { .. } => {}
            Change::Open(worker, is_open) => {
                let worker = self.some(worker);
                self.board.set_open(worker, is_open);
                self.workers[worker as usize].led = if is_open { NOW } else { Height(0) };
            }
            Change::Missed(worker, has_missed) => {
                let worker = self.some(worker);
                self.board.set_missed(worker, has_missed);
                self.workers[worker as usize].missed = has_missed.into();
            }
            Change::Weight(worker, weight) => {
                let worker = self.some(worker);
                self.board.set_weight(worker, weight);
                self.workers[worker as usize].capacity = weight;
            }
            Change::Keep { units } => {
                if let Choice::Later(worker) = self.choose(units, &[], u8::MAX) {
                    self.board.keep(worker);
                    self.kept.insert(worker);
                }
            }
            Change::Release => {}
        }
        (0..).zip(&self.workers).for_each(|(index, worker)| assert_eq!(self.board.units(index), worker.units));
    }
}

proptest! {
    #[test]
    fn the_board_chooses_what_a_look_at_everybody_chooses(
        workers in prop::collection::vec((0u32..5, 0u32..8), 1..24),
        changes in prop::collection::vec(change(), 1..150),
    ) {
        let mut world = World::new(&workers);
        changes.into_iter().for_each(|change| world.apply(change));
    }

    #[test]
    fn equal_workers_differ_by_one_at_most_while_nothing_is_completed(n in 1u32..200, tasks in 0u32..5_000) {
        let mut board = Board::new(UNITS_MAX, (0..n).map(|_| (1, 0)));
        (0..tasks.min(n * UNITS_MAX)).for_each(|_| assert!(board.assign(1).is_some()));
        let units = || (0..n).map(|index| board.units(index));
        prop_assert!(units().max().expect("some") - units().min().expect("some") <= 1);
    }

    #[test]
    fn no_task_is_lost_or_doubled_and_none_goes_to_a_failed_worker(
        weights in prop::collection::vec(1u32..4, 2..20),
        tasks in prop::collection::vec((any::<u64>(), 1u32..UNITS_MAX), 0..300),
        ended in prop::collection::vec(any::<prop::sample::Index>(), 0..50),
        failed in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let board = Board::new(UNITS_MAX, weights.iter().map(|weight| (*weight, 0)));
        let mut leases = Leases::new(board, 200);
        let mut slots = Vec::new();
        for (task, units) in tasks.iter().map(|(task, units)| (TaskNumber(*task), *units)) {
            match leases.lease(task, units, &[]) {
                Ok(slot) => slots.push((task, units, slot)),
                Err(Refusal::Full { max }) => prop_assert_eq!(leases.count(), max as usize),
                Err(Refusal::Later { worker }) => prop_assert!((worker as usize) < weights.len()),
                Err(Refusal::Nobody) => prop_assert!(false, "all are open"),
            }
        }
        for end in ended.into_iter().filter(|_| !tasks.is_empty()) {
            if slots.is_empty() {
                break;
            }
            let (_, _, slot) = slots.swap_remove(end.index(slots.len()));
            prop_assert!(leases.end(slot).is_some());
            prop_assert_eq!(leases.end(slot), None);
        }
        let failed: Vec<u32> = failed.iter().map(|failed| failed.index(weights.len()) as u32).collect();
        let held = |leases: &Leases, worker| -> Vec<TaskNumber> {
            leases.held_by(worker).map(|slot| leases.get(slot).expect("it is listed").0).collect()
        };
        let lost: BTreeSet<u32> = failed.iter().copied().collect();
        let mut expected: Vec<TaskNumber> = lost.iter().flat_map(|worker| held(&leases, *worker)).collect();
        expected.sort();
        let again = leases.clone().redistribute(&failed);
        let moved = leases.redistribute(&failed);
        prop_assert_eq!(&again, &moved, "the same every time");

        // Moved or waiting, each once, the oldest first.
        prop_assert!(moved.leased.is_sorted_by_key(|relet| relet.task));
        prop_assert!(moved.waiting.is_sorted_by_key(|evicted| evicted.task));
        let mut found: Vec<TaskNumber> = moved.leased.iter().map(|relet| relet.task).collect();
        found.extend(moved.waiting.iter().map(|evicted| evicted.task));
        found.sort();
        prop_assert_eq!(found, expected);
        for Relet { task, slot, holder: given } in &moved.leased {
            let (at, holder) = leases.get(*slot).expect("it is leased");
            prop_assert!(at == *task && holder == *given && !lost.contains(&holder));
        }
        // All lists and the board agree with what there should be.
        let waiting: BTreeSet<TaskNumber> = moved.waiting.iter().map(|evicted| evicted.task).collect();
        let mut all: Vec<TaskNumber> = (0..weights.len() as u32).flat_map(|worker| held(&leases, worker)).collect();
        let mut remaining: Vec<_> = slots.iter().map(|(task, ..)| *task).filter(|task| !waiting.contains(task)).collect();
        all.sort();
        remaining.sort();
        prop_assert_eq!(&all, &remaining);
        prop_assert_eq!(leases.count(), all.len());
        for worker in 0..weights.len() as u32 {
            let units_of = |task: TaskNumber| slots.iter().find(|(other, ..)| *other == task).expect("ours").1;
            let units: u64 = held(&leases, worker).into_iter().map(|task| u64::from(units_of(task))).sum();
            prop_assert_eq!(leases.board().units(worker), units);
            prop_assert!(units <= u64::from(weights[worker as usize] * UNITS_MAX));
        }
    }
}

#[test]
fn the_greatest_weight_is_compared_exactly() {
    let mut board = Board::new(WINDOW_MAX, [(u32::MAX, 0), (u32::MAX - 1, 0)]);
    // One unit weighs less on the greater one, by one part in 2^64.
    assert_eq!(board.choose(1, &[]), Choice::Now(0));
    board.take(0, 1);
    assert_eq!(board.choose(1, &[]), Choice::Now(1));
    (0..3).for_each(|_| board.take(0, u32::MAX));
    assert_eq!((board.units(0), board.choose(u32::MAX, &[1])), (3 * u64::from(u32::MAX) + 1, Choice::Now(0)));
}

#[test]
fn a_region_is_preferred_by_asking_for_it_first() {
    let mut board = Board::new(1, [(1, 0), (1, 1), (1, 1)]);
    assert_eq!(board.assign_among(1, |group| group == 1), Some(1));
    assert_eq!(board.assign_among(1, |group| group == 1), Some(2));
    assert_eq!(board.assign_among(1, |group| group == 1), None);
    assert_eq!(board.assign(1), Some(0));
}

#[test]
#[should_panic(expected = "worker 0 would hold 65 units of 64")]
fn no_worker_holds_more_than_its_window() {
    let mut board = Board::new(UNITS_MAX, [(1, 0)]);
    board.take(0, UNITS_MAX);
    board.take(0, 1);
}

#[test]
#[should_panic(expected = "worker 0 holds no lease of 2 units")]
fn more_than_was_leased_cannot_be_completed() {
    let mut board = Board::new(UNITS_MAX, [(1, 0)]);
    board.take(0, 1);
    board.complete(0, 2);
}
