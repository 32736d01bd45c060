//! Who votes in which epoch, as the nodes say, and do they all say the same?

use commonware_cryptography::ed25519::PublicKey;
use commonware_utils::ordered::Set;
use ledger::{Epoch, State};
use std::collections::BTreeMap;
use validator::chain::public_key;

/// See the module.
#[derive(Debug)]
pub(crate) struct Electorate {
    sets: BTreeMap<u64, Set<PublicKey>>,
    present: u64,
}

impl Electorate {
    /// These vote in the first epoch.
    pub(crate) fn new(first: Set<PublicKey>) -> Self {
        Self { sets: BTreeMap::from([(0, first)]), present: 0 }
    }

    /// Who votes in an epoch, or in the newest before it that is known.
    pub(crate) fn of(&self, epoch: u64) -> &Set<PublicKey> {
        let (_, set) = self.sets.range(..=epoch).next_back().expect("the first epoch is known");
        set
    }

    /// Who votes in the epoch that the furthest node is in.
    pub(crate) fn present(&self) -> &Set<PublicKey> {
        self.of(self.present)
    }

    /// The newest epoch that is known.
    pub(crate) fn newest(&self) -> u64 {
        self.sets.last_key_value().map_or(0, |(epoch, _)| *epoch)
    }

    /// Takes over what a node knows. The answer is what it says otherwise than another node did, if it does.
    pub(crate) fn learn(&mut self, state: &State) -> Option<String> {
        self.present = self.present.max(state.epoch().0);
        let from = self.newest().min(state.epoch().0);
        for epoch in from.. {
            let Some(voters) = state.voters_of(Epoch(epoch)) else { break };
            let voters = Set::from_iter_dedup(voters.iter().filter_map(public_key));
            let known = self.sets.entry(epoch).or_insert_with(|| voters.clone());
            if *known != voters {
                return Some(format!(
                    "{} vote in epoch {epoch} for one node, {} for another",
                    voters.len(),
                    known.len()
                ));
            }
        }
        None
    }
}

/// How many signatures a certificate of `n` validators needs. Written apart from the ledger's and the engine's arithmetic.
pub(crate) fn quorum(n: usize) -> usize {
    let mut faults = 0;
    while 3 * (faults + 1) < n {
        faults += 1;
    }
    n - faults
}
