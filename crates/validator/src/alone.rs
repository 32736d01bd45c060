//! Is it safe that this process votes, or does another one hold its key?
//!
//! The vote guard keeps one process from contradicting itself. It cannot keep two from contradicting each other, when a data
//! directory was copied and both copies run. So nothing is signed before one of these holds:
//! - So many peers are connected that this validator makes a quorum with them. A peer has one connection to a key, so no other
//!   process of it has a quorum. Views that begin before anybody is connected are lost to time-outs anyway.
//! - Some are connected, and for a while no more than f validators have said that they hear another process. Where not all can
//!   reach each other, a quorum may need the vote of one that is connected to a few.
//!
//! Whoever is connected to nobody waits: nobody would get its votes. This holds off a second process that is started while the
//! first runs; it is no proof against one that was cut off from all and comes back.

use crate::{boundary::Boundary, lookout::Sights};
use commonware_runtime::Clock;
use ledger::{faults, quorum};
use std::{
    future::pending,
    time::{Duration, SystemTime},
};

/// How long those that are connected have to say what others hear: the heartbeats that it takes to be sure
/// ([`crate::lookout`]), and one for the way.
pub(crate) const LISTENING: Duration = Duration::from_millis(2_500);

/// What is waited for.
pub(crate) struct Alone {
    pub(crate) boundary: Boundary,
    pub(crate) sights: Sights,
}

impl Alone {
    /// Waits until this process may vote, among so many voters.
    ///
    /// # Errors
    /// When more than f validators hear another process with this key.
    pub(crate) async fn wait<E: Clock>(self, clock: E, voters: usize) -> Result<(), String> {
        let Self { boundary, sights } = self;
        let (met, peers) = (boundary.met(), quorum(voters).saturating_sub(1) as u64);
        let mut until: Option<SystemTime> = None;
        loop {
            let doubles = sights.doubles.get();
            if doubles > faults(voters) as u64 {
                return Err(refusal(doubles));
            }
            let count = met.get();
            if count > 0 {
                until.get_or_insert(clock.current() + LISTENING);
            }
            if count >= peers || until.is_some_and(|until| until <= clock.current()) {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = sights.doubles.reach(doubles + 1) => {}
                () = met.reach(count + 1) => {}
                () = sleep(&clock, until) => {}
            }
        }
    }
}

fn refusal(doubles: u64) -> String {
    format!(
        "another process runs with this validator's key: {doubles} validators go on hearing it since this one was started. \
         Nothing was signed. Two with one key can sign votes that contradict each other, which proves the key guilty. Stop one of \
         them, and start this one again"
    )
}

async fn sleep<E: Clock>(clock: &E, until: Option<SystemTime>) {
    match until {
        Some(until) => clock.sleep_until(until).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::since, guard::Guard, progress::Progress};
    use commonware_runtime::{Runner as _, Supervisor as _, deterministic};

    /// What happens among seven voters, and after which hundreds of milliseconds the gate opens or what it says, within ten
    /// seconds.
    fn gate<F: Future<Output = ()> + Send>(
        story: impl FnOnce(deterministic::Context, Progress, Progress) -> F + Send + 'static,
    ) -> Option<(u128, Result<(), String>)> {
        deterministic::Runner::seeded(1).start(|context| async move {
            let (guard, _) = Guard::open(context.child("guard"), "", [7; 32], true).await.expect("fresh");
            let (boundary, sights) = (Boundary::new(guard, Vec::new()), Sights::new(7));
            let (met, doubles) = (boundary.met(), sights.doubles.clone());
            let start = context.current();
            let waiting = Alone { boundary, sights }.wait(context.child("gate"), 7);
            let telling = story(context.child("story"), met, doubles);
            let (waiting, telling) = (std::pin::pin!(waiting), std::pin::pin!(telling));
            let gate = async {
                let (answer, ()) = futures::join!(waiting, telling);
                answer
            };
            tokio::select! {
                biased;
                answer = gate => Some((since(context.current(), start).as_millis() / 100, answer)),
                () = context.sleep(Duration::from_secs(10)) => None,
            }
        })
    }

    #[test]
    fn a_quorum_opens_the_gate_at_once() {
        let opened = gate(|_, met, _| async move { met.raise(4) });
        assert_eq!(opened, Some((0, Ok(()))));
    }

    #[test]
    fn a_few_open_it_once_the_others_had_time_to_speak() {
        let opened = gate(|_, met, doubles| async move {
            met.raise(1);
            doubles.raise(2);
        });
        assert_eq!(opened, Some((25, Ok(()))), "two of seven may lie");
    }

    #[test]
    fn nobody_leaves_it_shut() {
        assert_eq!(gate(|_, _, _| async {}), None);
    }

    #[test]
    fn more_than_f_that_hear_another_process_shut_it_for_good() {
        let shut = gate(|clock, met, doubles| async move {
            met.raise(3);
            clock.sleep(Duration::from_secs(1)).await;
            doubles.raise(3);
        });
        let (after, answer) = shut.expect("it says so");
        assert_eq!(after, 10);
        assert!(
            answer.expect_err("refused").starts_with("another process runs with this validator's key: 3 validators")
        );
    }
}
