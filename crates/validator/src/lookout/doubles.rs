//! Does another process run with this key?
//!
//! A peer keeps one connection to a key: as long as one process holds it, another gets none. So whoever is connected to a
//! quorum is the only one of its key that can be, and whoever is connected to a few only may be the second. Those that the
//! first is connected to then go on hearing it, and their rows, which come over others ([`super::relay`]), say so: they
//! echo newer and newer rows of this key that this process never sent.

use crate::wire::Row;
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

/// A peer may have read the last rows of a process that has just ended while this one began. It is taken at its word when it
/// has read so many new ones since.
const ECHOES: u8 = 2;

/// What a peer's rows echo of this key.
#[derive(Clone, Copy, Debug)]
struct Echoed {
    /// The peer's run.
    run: u64,
    /// The newest row of this key that it has read, and that this process did not send.
    newest: u32,
    /// How many newer ones came since the first.
    newer: u8,
}

/// Who hears another process with this key.
#[derive(Debug)]
pub(super) struct Doubles {
    /// This process's start.
    started: SystemTime,
    echoed: Vec<Option<Echoed>>,
    claims: BTreeSet<usize>,
}

impl Doubles {
    /// Among so many validators.
    pub(super) fn new(validators: usize, started: SystemTime) -> Self {
        Self { started, echoed: vec![None; validators], claims: BTreeSet::new() }
    }

    /// There are so many validators from now on.
    pub(super) fn grow(&mut self, validators: usize) {
        self.echoed.resize(validators, None);
    }

    /// Takes in what `row`, sent by `who` at `sent` as far as is known, echoes of the validator at `me`, which has sent rows up to
    /// `sequence` in this run. Gives how many hear another process, if that is news.
    pub(super) fn follow(
        &mut self,
        who: usize,
        row: &Row,
        sent: SystemTime,
        me: usize,
        sequence: u64,
    ) -> Option<usize> {
        let hearing = row.hearings.get(me)?;
        let is_ours = u64::from(hearing.echo) <= sequence;
        if sent <= self.started + Duration::from_millis(hearing.age_ms.into()) || is_ours {
            return None;
        }
        match &mut self.echoed[who] {
            Some(echoed) if echoed.run == row.started_ms => {
                if hearing.echo > echoed.newest {
                    echoed.newest = hearing.echo;
                    echoed.newer = echoed.newer.saturating_add(1);
                }
                (echoed.newer >= ECHOES && self.claims.insert(who)).then_some(self.claims.len())
            }
            echoed => {
                *echoed = Some(Echoed { run: row.started_ms, newest: hearing.echo, newer: 0 });
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Canary, Hearing, Vitals};
    use ledger::{Height, View};

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    /// A row of a peer, in which it has read this row of n0, so long ago.
    fn row(run: u64, echo: u32, age_ms: u16) -> Row {
        Row {
            started_ms: run,
            sequence: 1,
            sent_ms: 0,
            epoch: 0,
            height: Height(1),
            view: View(1),
            voting: true,
            vitals: Vitals { executor: Canary::Well, ..Vitals::default() },
            version: "1".into(),
            hearings: vec![Hearing { age_ms, echo, ..Hearing::NEVER }; 4],
        }
    }

    /// Whether a peer that echoes these, one every half second after the start, is taken to hear another process.
    fn claims(echoes: &[u32]) -> bool {
        let mut doubles = Doubles::new(4, at(1_000));
        let mut follow = |(i, echo): (u64, &u32)| doubles.follow(1, &row(1, *echo, 50), at(1_100 + i * 500), 0, 9);
        (0..).zip(echoes).any(|it| follow(it).is_some())
    }

    #[test]
    fn a_peer_that_goes_on_reading_rows_of_this_key_that_it_did_not_send_hears_another_process() {
        assert!(claims(&[5_000, 5_001, 5_002]));
        assert!(!claims(&[5_000, 5_001]), "the last rows of the process before this one");
        assert!(!claims(&[5_000, 5_000, 5_000, 5_000]), "that process is gone");
        assert!(!claims(&[7, 8, 9]), "those are ours");
    }

    #[test]
    fn what_was_read_before_the_start_says_nothing() {
        let mut doubles = Doubles::new(4, at(1_000));
        let row = |echo| row(1, echo, 500);
        assert!((0..9).all(|i| doubles.follow(1, &row(5_000 + i), at(1_500), 0, 9).is_none()));
    }

    #[test]
    fn peers_are_counted_once_each_and_another_run_of_one_begins_anew() {
        let mut doubles = Doubles::new(4, at(0));
        let mut follow = |who, run, echo| doubles.follow(who, &row(run, echo, 0), at(9_000), 0, 9);
        let told = [
            (1, 1, 10),
            (1, 1, 11),
            (1, 1, 12),
            (1, 1, 13),
            (2, 1, 10),
            (2, 1, 11),
            (2, 2, 12),
            (2, 2, 13),
            (2, 2, 14),
        ]
        .map(|(who, run, echo)| follow(who, run, echo));
        assert_eq!(told, [None, None, Some(1), None, None, None, None, None, Some(2)]);
    }
}
