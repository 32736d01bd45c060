//! Which rows are passed on, to whom?
//!
//! Where two do not hear each other, somebody may hear both. The newest row of each validator is kept, whoever brought it, and
//! goes to every neighbour that says that it does not hear that validator; once to each, and only while it says something of
//! now. In a whole network nothing is passed on. What is passed on tells who can talk to whom, and nothing else: a validator is
//! heard by what it says itself.

use crate::{
    clock::since,
    lookout::SILENT_AFTER,
    wire::{Row, TOLD_MAX, Told},
};
use std::time::{Duration, SystemTime};

/// A neighbour that has not heard somebody for so long will soon say that it does not: two heartbeats.
const TELL_AFTER: Duration = Duration::from_millis(1_000);

/// One run of a validator, and a row in it.
type Place = (u64, u64);

struct Held {
    row: Row,
    signed: Vec<u8>,
    /// When it was sent, by how long those that brought it had it.
    at: SystemTime,
}

/// The newest row of each, and to whom it went.
pub(super) struct Relay {
    held: Vec<Option<Held>>,
    /// By whose row, then by who got it.
    sent: Vec<Vec<Option<Place>>>,
}

impl Relay {
    /// Among so many validators.
    pub(super) fn new(validators: usize) -> Self {
        Self { held: (0..validators).map(|_| None).collect(), sent: vec![vec![None; validators]; validators] }
    }

    /// There are so many validators from now on.
    pub(super) fn grow(&mut self, validators: usize) {
        self.held.resize_with(validators, || None);
        self.sent.iter_mut().for_each(|sent| sent.resize(validators, None));
        self.sent.resize(validators, vec![None; validators]);
    }

    /// Whether a row is later than the one that is kept: later in one run of its sender, or sent later in another.
    pub(super) fn is_news(&self, about: usize, row: &Row) -> bool {
        self.held[about].as_ref().is_none_or(|held| {
            if held.row.started_ms == row.started_ms {
                row.sequence > held.row.sequence
            } else {
                row.sent_ms > held.row.sent_ms
            }
        })
    }

    /// Keeps a row that its sender signed.
    pub(super) fn keep(&mut self, about: usize, row: Row, signed: Vec<u8>, at: SystemTime) {
        if self.is_news(about, &row) {
            self.held[about] = Some(Held { row, signed, at });
        }
    }

    /// What each of `neighbours` is to be told now.
    pub(super) fn due(&mut self, me: usize, neighbours: &[usize], now: SystemTime) -> Vec<(usize, Vec<Told>)> {
        let mut due = Vec::new();
        for to in neighbours {
            let Some(said) = self.held[*to].as_ref().filter(|held| since(now, held.at) < SILENT_AFTER) else {
                continue;
            };
            let is_silent = |about: &usize| {
                let age_ms = said.row.hearings.get(*about).map_or(0, |hearing| hearing.age_ms);
                Duration::from_millis(age_ms.into()) >= TELL_AFTER
            };
            let about = (0..self.held.len()).filter(|about| about != to && *about != me).filter(is_silent);
            let told: Vec<Told> = about.filter_map(|about| self.told(about, *to, now)).take(TOLD_MAX).collect();
            for it in &told {
                let about = it.about as usize;
                self.sent[about][*to] = self.held[about].as_ref().map(|held| place(&held.row));
            }
            if !told.is_empty() {
                due.push((*to, told));
            }
        }
        due
    }

    fn told(&self, about: usize, to: usize, now: SystemTime) -> Option<Told> {
        let held = self.held[about].as_ref()?;
        let age = since(now, held.at);
        let is_due = age < SILENT_AFTER && self.sent[about][to] != Some(place(&held.row));
        is_due.then(|| Told {
            about: u32::try_from(about).expect("validator counts are small"),
            held_ms: u16::try_from(age.as_millis()).unwrap_or(u16::MAX),
            row: held.signed.clone(),
        })
    }
}

const fn place(row: &Row) -> Place {
    (row.started_ms, row.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Canary, Hearing, Vitals};
    use ledger::{Height, View};

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    /// The row of somebody among four that has heard each so long ago.
    fn row(sequence: u64, ages_ms: [u16; 4]) -> Row {
        Row {
            started_ms: 1,
            sequence,
            sent_ms: sequence * 500,
            epoch: 0,
            height: Height(1),
            view: View(1),
            voting: true,
            vitals: Vitals { executor: Canary::Well, ..Vitals::default() },
            version: "1".into(),
            hearings: ages_ms.map(|age_ms| Hearing { age_ms, ..Hearing::NEVER }).to_vec(),
        }
    }

    /// n0 bridges: n1 has not heard n3 for so long, and both say so to n0.
    fn bridge(age_ms: u16) -> Relay {
        let mut relay = Relay::new(4);
        relay.keep(1, row(1, [0, 0, 0, age_ms]), b"n1".to_vec(), at(0));
        relay.keep(2, row(1, [0; 4]), b"n2".to_vec(), at(0));
        relay.keep(3, row(1, [0, age_ms, 0, 0]), b"n3".to_vec(), at(0));
        relay
    }

    fn told(due: &[(usize, Vec<Told>)]) -> Vec<(usize, Vec<u32>)> {
        due.iter().map(|(to, told)| (*to, told.iter().map(|told| told.about).collect())).collect()
    }

    #[test]
    fn in_a_whole_network_nothing_is_passed_on() {
        assert_eq!(bridge(999).due(0, &[1, 2, 3], at(10)), []);
    }

    #[test]
    fn each_row_goes_once_to_each_neighbour_that_does_not_hear_its_sender() {
        let mut relay = bridge(1_000);
        assert_eq!(told(&relay.due(0, &[1, 2, 3], at(10))), [(1, vec![3]), (3, vec![1])]);
        assert_eq!(relay.due(0, &[1, 2, 3], at(20)), []);
        relay.keep(3, row(2, [0, 1_500, 0, 0]), b"n3 again".to_vec(), at(500));
        let due = relay.due(0, &[1, 2, 3], at(600));
        assert_eq!(due, [(1, vec![Told { about: 3, held_ms: 100, row: b"n3 again".to_vec() }])]);
    }

    #[test]
    fn an_old_row_is_not_passed_on_and_a_late_one_not_kept() {
        let mut relay = bridge(1_000);
        relay.keep(1, row(4, [0, 0, 0, 2_000]), b"n1".to_vec(), at(1_499));
        assert_eq!(told(&relay.due(0, &[1], at(1_499))), [(1, vec![3])]);
        let mut relay = bridge(1_000);
        relay.keep(1, row(4, [0, 0, 0, 2_000]), b"n1".to_vec(), at(1_500));
        assert_eq!(relay.due(0, &[1], at(1_500)), []);
        relay.keep(1, row(3, [0; 4]), b"earlier".to_vec(), at(1_600));
        assert!(relay.held[1].as_ref().is_some_and(|held| held.row.sequence == 4));
    }

    #[test]
    fn another_run_counts_by_when_it_was_sent() {
        let relay = bridge(0);
        let of = |sent_ms| Row { started_ms: 9, sent_ms, ..row(1, [0; 4]) };
        assert!(!relay.is_news(1, &of(500)) && relay.is_news(1, &of(501)));
    }

    #[test]
    fn who_is_no_neighbour_and_oneself_get_nothing() {
        assert_eq!(bridge(2_000).due(0, &[2], at(10)), []);
        let mut relay = bridge(2_000);
        relay.keep(2, row(2, [2_000, 0, 0, 0]), b"n2".to_vec(), at(0));
        assert_eq!(relay.due(0, &[2], at(10)), [], "one's own row is not told again");
    }
}
