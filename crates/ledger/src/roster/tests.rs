use super::*;
use crate::{
    block::Block,
    genesis::{Certified, Genesis, GenesisValidator, TaskLimits},
    state::{BlockError, ProofError, State, proven_voters},
    transaction::{Kind, SecretKey, Transaction},
    types::{Hash, Nonce, PublicKey, Signature},
    verdicts::{Evidence, Reason},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

const LENGTH: u64 = 16;
const REMOVE_AFTER_MS: u64 = 4_000;

fn limits() -> EpochLimits {
    EpochLimits { length: LENGTH, remove_after_ms: REMOVE_AFTER_MS, slack_min: 0 }
}

/// A chain of validators 0, 1 and so on in the order of their keys. The first that has a vote leads.
struct Chain {
    state: State,
    keys: Vec<PublicKey>,
}

impl Chain {
    fn new(n: usize, budget: usize, epochs: EpochLimits) -> Self {
        let mut keys: Vec<PublicKey> =
            (1..=n).map(|seed| SecretKey::from_bytes([u8::try_from(seed).expect("few"); 32]).public()).collect();
        keys.sort_unstable();
        let validator = |(number, key): (usize, &PublicKey)| GenesisValidator {
            name: format!("v{number}"),
            key: *key,
            address: format!("host-{number}:7000"),
            region: "local".to_owned(),
            capacity: 1,
            supervisor: None,
        };
        let genesis = Genesis {
            version: 1,
            chain_id: "test".parse().expect("a chain id"),
            byzantine_budget: budget,
            timestamp_ms: 1_000,
            validators: keys.iter().enumerate().map(validator).collect(),
            balances: Vec::new(),
            tasks: TaskLimits::default(),
            epochs,
            certified: Certified::default(),
        };
        Self { state: State::genesis(&genesis), keys }
    }

    fn sign(&self, who: usize, kind: Kind) -> Transaction {
        Transaction {
            version: crate::transaction::VERSION,
            chain: self.state.chain().clone(),
            account: self.keys[who],
            nonce: Nonce(0),
            expires: self.state.height().after(100),
            kind,
            signature: Signature::ZERO,
        }
    }

    /// The next block, half a second after the one before.
    fn pass(&mut self, orders: Vec<(usize, Kind)>) {
        let transactions = orders.into_iter().map(|(who, kind)| self.sign(who, kind)).collect();
        let block = Block::on(&self.state, self.state.voters()[0], self.state.timestamp().after(500), transactions);
        self.state.apply_verified(&block, |_| true).expect("a good block");
    }

    fn reach(&mut self, height: u64) {
        while self.state.height().0 < height {
            self.pass(Vec::new());
        }
    }

    /// To the first block of the next epoch, and what was decided on the way.
    fn next_epoch(&mut self) -> Decision {
        let epoch = self.state.epoch();
        let decides = limits().decides_in(epoch);
        assert!(self.state.height() < decides, "the decision is past");
        self.reach(decides.0);
        let decision = self.state.decision().expect("the middle of an epoch").clone();
        self.reach(limits().last_of(epoch).0);
        assert_eq!(self.state.epoch(), epoch.after());
        decision
    }

    fn suspect(&self, accuser: usize, accused: usize) -> (usize, Kind) {
        let node = self.keys[accused];
        let sequence = self.state.next_suspicion_sequence(&self.keys[accuser], &node);
        (accuser, Kind::Suspect { node, reason: Reason::Link, evidence: Evidence::of(1_000, 3), sequence })
    }

    fn suspect_all(&mut self, accusers: impl IntoIterator<Item = usize>, accused: usize) {
        let orders = accusers.into_iter().map(|accuser| self.suspect(accuser, accused)).collect();
        self.pass(orders);
    }

    fn leave(&self, who: usize) -> (usize, Kind) {
        (who, Kind::Leave { sequence: self.seat(who).next })
    }

    fn stay(&self, who: usize) -> (usize, Kind) {
        (who, Kind::Stay { sequence: self.seat(who).next })
    }

    fn answer(&self, (who, kind): (usize, Kind)) -> Result<(), TransactionError> {
        self.state.check_unsigned(&self.sign(who, kind), self.state.height().after(1))
    }

    fn seat(&self, who: usize) -> Seat {
        *self.state.seat(&self.keys[who]).expect("a validator")
    }

    fn voters(&self) -> Vec<usize> {
        let place = |key| self.keys.iter().position(|other| other == key).expect("one of ours");
        self.state.voters().iter().map(place).collect()
    }

    /// The same state from its entries.
    fn restored(&self) -> State {
        let entries: Vec<(Vec<u8>, Vec<u8>)> =
            self.state.entries().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        let (height, digest, timestamp) = (self.state.height(), self.state.digest(), self.state.timestamp());
        State::from_entries(self.state.chain(), height, digest, timestamp, entries).expect("our own entries")
    }
}

#[test]
fn epochs_divide_heights_and_the_middle_decides() {
    let limits = limits();
    assert_eq!([0, 15, 16, 31].map(|height| limits.epoch_of(Height(height)).0), [0, 0, 1, 1]);
    assert_eq!((limits.decides_in(Epoch(0)), limits.last_of(Epoch(0))), (Height(8), Height(15)));
    assert_eq!((limits.decides_in(Epoch(1)), limits.last_of(Epoch(1))), (Height(24), Height(31)));
}

#[test]
fn a_block_of_another_epoch_than_its_height_is_refused() {
    let mut chain = Chain::new(4, 1, limits());
    chain.reach(LENGTH - 1);
    let block = Block::on(&chain.state, chain.keys[0], chain.state.timestamp().after(1), Vec::new());
    assert_eq!(block.epoch, Epoch(1));
    let expected = BlockError::Epoch { height: block.height, expected: Epoch(1), got: Epoch(0) };
    assert_eq!(chain.state.apply_verified(&Block { epoch: Epoch(0), ..block }, |_| true), Err(expected));
}

#[test]
fn who_wants_to_leave_votes_until_the_epoch_ends_and_is_known_for_ever() {
    let mut chain = Chain::new(5, 1, limits());
    chain.pass(vec![chain.leave(2)]);
    assert_eq!(chain.state.voters_of(Epoch(1)), None, "not decided yet");
    chain.reach(8);
    let decision = chain.state.decision().expect("the middle of the epoch").clone();
    assert_eq!(decision.going, [(chain.keys[2], Departure::Left)]);
    assert_eq!(chain.state.voters_of(Epoch(1)), Some(decision.voters));
    assert_eq!(chain.state.voters_of(Epoch(2)), None);
    chain.reach(14);
    assert_eq!(chain.voters(), [0, 1, 2, 3, 4]);
    chain.reach(15);
    assert_eq!(chain.voters(), [0, 1, 3, 4], "on the first block of the next epoch it has no vote");
    chain.reach(70);
    assert_eq!(chain.state.voters_of(Epoch(0)).map(|voters| voters.len()), Some(5));
    assert_eq!(chain.state.voters_of(Epoch(1)).map(|voters| voters.len()), Some(4));
}

#[test]
fn a_wish_to_leave_is_taken_back_until_it_is_decided() {
    let mut chain = Chain::new(5, 1, limits());
    assert_eq!(chain.answer(chain.stay(2)), Err(TransactionError::LeavesNot));
    chain.pass(vec![chain.leave(2)]);
    assert_eq!(chain.answer(chain.leave(2)), Err(TransactionError::LeavesAlready { since: Height(1) }));
    chain.pass(vec![chain.stay(2)]);
    assert!(chain.next_epoch().going.is_empty());
    chain.pass(vec![chain.leave(2)]);
    chain.reach(limits().decides_in(Epoch(1)).0);
    assert_eq!(chain.answer(chain.stay(2)), Err(TransactionError::GoesAlready { epoch: Epoch(2) }));
    chain.reach(limits().last_of(Epoch(1)).0);
    let node = chain.keys[2];
    assert_eq!(chain.answer(chain.stay(2)), Err(TransactionError::NotAValidator { account: node }));
    assert_eq!(chain.answer(chain.suspect(2, 0)), Err(TransactionError::NotAValidator { account: node }));
    assert_eq!(chain.answer(chain.suspect(0, 2)), Err(TransactionError::NodeUnknown { node }));
}

#[test]
fn nobody_leaves_whom_the_declared_liars_would_outnumber_the_rest_without() {
    let mut chain = Chain::new(4, 1, limits());
    chain.pass(vec![chain.leave(0)]);
    let decision = chain.next_epoch();
    let obstacle = Postponed::Budget { left: 3, needed: 4, budget: 1 };
    assert_eq!(decision.postponed, [(chain.keys[0], Departure::Left, obstacle)]);
    assert_eq!(chain.voters().len(), 4);
}

#[test]
fn no_more_leave_at_once_than_may_fail_and_the_rest_follows() {
    let mut chain = Chain::new(10, 1, limits());
    let orders = (0..5).map(|who| chain.leave(who)).collect();
    chain.pass(orders);
    // Of 10, of 7 (where f is 2) and of 6 or 5 (where it is 1) so many go: 3, then 2, then no more than slack allows.
    assert_eq!(chain.next_epoch().going.len(), 3);
    assert_eq!(chain.voters().len(), 7);
    let decision = chain.next_epoch();
    assert_eq!(decision.going.len(), 2);
    assert!(decision.postponed.is_empty());
    assert_eq!(chain.voters(), [5, 6, 7, 8, 9]);
}

#[test]
fn nobody_leaves_who_is_needed_for_a_quorum_of_those_that_answer() {
    let mut chain = Chain::new(7, 1, limits());
    // Two do not answer: the five others are a quorum of seven, and none of them is to spare; of six it still takes five.
    for gone in [5, 6] {
        chain.suspect_all(0..3, gone);
    }
    chain.pass(vec![chain.leave(0)]);
    let decision = chain.next_epoch();
    let obstacle = Postponed::Slack { answering: 4, left: 6, quorum: 5, slack_min: 0 };
    assert_eq!(decision.postponed, [(chain.keys[0], Departure::Left, obstacle)]);
    assert!(decision.going.is_empty(), "three of seven do not make a removal");
}

#[test]
fn a_floor_of_slack_is_kept() {
    let mut chain = Chain::new(7, 1, EpochLimits { slack_min: 2, ..limits() });
    chain.pass(vec![chain.leave(0)]);
    let obstacle = Postponed::Slack { answering: 6, left: 6, quorum: 5, slack_min: 2 };
    assert_eq!(chain.next_epoch().postponed, [(chain.keys[0], Departure::Left, obstacle)]);
}

#[test]
fn it_takes_a_quorum_for_long_enough_to_remove_a_validator() {
    let mut chain = Chain::new(7, 1, limits());
    // Four are more than f and no quorum: an unresponsive validator, and not a removed one.
    chain.suspect_all(0..4, 6);
    assert!(chain.next_epoch().going.is_empty());
    assert_eq!(chain.seat(6).condemned, None);
    chain.reach(limits().decides_in(Epoch(1)).0 - 3);
    chain.suspect_all([4], 6);
    assert!(chain.seat(6).condemned.is_some());
    assert!(chain.next_epoch().going.is_empty(), "two blocks are a second");
    assert_eq!(chain.next_epoch().going, [(chain.keys[6], Departure::Removed)]);
    assert_eq!(chain.state.validators_unresponsive().count(), 0);
    assert!(chain.state.standing(&chain.keys[6]).expect("known").accusations.is_empty());
}

#[test]
fn who_speaks_in_time_is_not_removed() {
    let mut chain = Chain::new(4, 1, limits());
    chain.suspect_all(0..3, 3);
    assert!(chain.seat(3).condemned.is_some());
    chain.reach(6);
    let verdict = chain.state.standing(&chain.keys[3]).expect("known").verdicts;
    chain.pass(vec![(3, Kind::Alive { verdict })]);
    assert_eq!(chain.seat(3).condemned, None);
    assert!(chain.next_epoch().going.is_empty());
}

#[test]
fn ten_that_are_lost_one_by_one_are_four_in_the_end_and_every_set_had_its_quorum() {
    let mut chain = Chain::new(10, 1, limits());
    for lost in (4..10).rev() {
        chain.suspect_all(0..lost, lost);
        // It takes four seconds of eight blocks to be condemned for long enough.
        while chain.voters().len() > lost {
            chain.next_epoch();
            assert!(chain.state.epoch() < Epoch(20), "{lost} is never removed");
        }
        assert!(lost >= quorum(chain.voters().len()));
    }
    assert_eq!(chain.voters(), [0, 1, 2, 3]);
    // A fifth loss is one too many for b = 1, and leaves three of four, which decide.
    chain.suspect_all(0..3, 3);
    let obstacle = Postponed::Budget { left: 3, needed: 4, budget: 1 };
    let mut decision = chain.next_epoch();
    decision = if decision.postponed.is_empty() { chain.next_epoch() } else { decision };
    assert_eq!(decision.postponed, [(chain.keys[3], Departure::Removed, obstacle)]);
}

#[test]
fn what_a_gone_validator_said_counts_no_more() {
    let mut chain = Chain::new(7, 1, limits());
    // Two say of 6 that it is gone, one short of a verdict. One of them leaves, and a third says it then.
    chain.suspect_all([0, 1], 6);
    chain.pass(vec![chain.leave(0)]);
    chain.next_epoch();
    assert_eq!(chain.voters(), [1, 2, 3, 4, 5, 6]);
    let accusers = |chain: &Chain| chain.state.standing(&chain.keys[6]).expect("known").accusations.len();
    assert_eq!(accusers(&chain), 1);
    chain.suspect_all([2], 6);
    assert_eq!(accusers(&chain), 2, "of six, f is 1, so two are enough");
    assert_eq!(chain.state.validators_unresponsive().count(), 1);
}

#[test]
fn foreseeing_changes_nothing_and_tells_what_will_be_decided() {
    let mut chain = Chain::new(5, 1, limits());
    chain.pass(Vec::new());
    let root = chain.state.root();
    let foreseen = chain.state.foresee(&[(chain.keys[1], Departure::Left)]);
    assert_eq!((foreseen.epoch, foreseen.going.clone()), (Epoch(1), vec![(chain.keys[1], Departure::Left)]));
    assert_eq!(chain.state.root(), root);
    assert!(chain.state.foresee(&[]).going.is_empty());
    chain.pass(vec![chain.leave(1)]);
    assert_eq!(chain.next_epoch(), foreseen);
    // Past the decision it is about the epoch after the next.
    chain.reach(limits().decides_in(Epoch(1)).0);
    assert_eq!(chain.state.foresee(&[]).epoch, Epoch(3));
}

#[test]
fn entries_that_could_not_have_become_are_refused() {
    let mut chain = Chain::new(5, 1, limits());
    chain.pass(vec![chain.leave(2)]);
    let entries: Vec<(Vec<u8>, Vec<u8>)> =
        chain.state.entries().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    let at = entries.iter().position(|(key, _)| key[0] == SEAT).expect("a wish to leave is stored");
    let restore = |value: Vec<u8>| {
        let mut entries = entries.clone();
        entries[at].1 = value;
        State::from_entries(chain.state.chain(), Height(1), Hash::ZERO, Timestamp(1), entries)
    };
    assert!(restore(Seat::default().encode()).is_err());
    assert!(restore(Seat { until: Some(Epoch(0)), ..Seat::default() }.encode()).is_err());
    assert!(restore(entries[at].1[1..].to_vec()).is_err());
    assert!(restore(entries[at].1.clone()).is_ok());
}

#[test]
fn a_proof_of_who_votes_fits_its_root_only_and_no_byte_of_it_can_change() {
    let mut chain = Chain::new(5, 1, limits());
    chain.pass(vec![chain.leave(2)]);
    let (state, epoch) = (&chain.state, chain.state.epoch());
    let (proof, root) = (state.prove_voters(), state.root());
    let prove = |proof: &[u8], root| proven_voters(proof, root, state.height(), epoch);
    assert_eq!(prove(&proof, root), Ok(state.voters_of(epoch)));
    assert!(matches!(prove(&proof, Hash::ZERO), Err(ProofError::Root { .. })));
    for at in 0..proof.len() {
        let mut bad = proof.clone();
        bad[at] ^= 1;
        assert!(prove(&bad, root).is_err(), "byte {at}");
    }
    // The right root, and nothing below it.
    let stub = [&[2], root.0.as_slice()].concat();
    assert_eq!(prove(&stub, root), Err(ProofError::Incomplete));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever validators say, and whenever: no set has fewer than 3b + 1, none loses more than f (or one) at once, who
    /// answers is never let go below a quorum, f liars remove nobody, and a checkpoint at any height is the same state.
    #[test]
    fn every_set_keeps_the_rules(
        n in 4_usize..12,
        orders in proptest::collection::vec((0_usize..12, 0_usize..12, 0_u8..4), 0..120),
    ) {
        let budget = faults(n);
        let mut chain = Chain::new(n, budget.min(1), limits());
        // The last f only ever lie about number 0, who is never accused by others.
        let liars: BTreeSet<usize> = (n - faults(n)..n).collect();
        for (who, about, what) in orders {
            let (who, about) = (who % n, about % n);
            let order = match what {
                0 => chain.leave(who),
                1 => chain.stay(who),
                _ if liars.contains(&who) => chain.suspect(who, 0),
                _ if about == 0 => chain.leave(who),
                _ => chain.suspect(who, about),
            };
            let keeps_zero = order.0 != 0 || !matches!(order.1, Kind::Leave { .. });
            let orders = if keeps_zero && chain.answer(order.clone()).is_ok() { vec![order] } else { Vec::new() };
            let (before, unresponsive) = (chain.voters(), chain.state.validators_unresponsive().count());
            chain.pass(orders);
            let after = chain.voters();
            prop_assert!(after.len() > 3 * budget.min(1));
            prop_assert!(before.len() - after.len() <= faults(before.len()).max(1));
            prop_assert!(after.contains(&0), "f liars removed one that answers");
            if unresponsive == 0 {
                prop_assert!(after.len() >= quorum(after.len()));
            }
            let state = &chain.state;
            for epoch in [state.epoch(), state.epoch().after(), state.epoch().after().after()] {
                let proven = proven_voters(&state.prove_voters(), state.root(), state.height(), epoch);
                prop_assert_eq!(proven, Ok(state.voters_of(epoch)));
            }
            let restored = chain.restored();
            prop_assert_eq!(restored.voters(), chain.state.voters());
            prop_assert_eq!(restored.root(), chain.state.root());
            prop_assert_eq!(restored.is_network_event(), chain.state.is_network_event());
            for key in &chain.keys {
                prop_assert_eq!(restored.worker(key), chain.state.worker(key));
            }
        }
    }
}
