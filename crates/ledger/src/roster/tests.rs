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

    /// Another key that is no validator's.
    fn stranger(&mut self, seed: u8) -> usize {
        self.keys.push(SecretKey::from_bytes([seed; 32]).public());
        self.keys.len() - 1
    }

    fn join(&self, who: usize) -> (usize, Kind) {
        self.ask(who, None)
    }

    fn ask(&self, who: usize, replaces: Option<usize>) -> (usize, Kind) {
        let (name, address) = (format!("v{who}"), format!("host-{who}:7000"));
        let replaces = replaces.map(|old| self.keys[old]);
        (who, Kind::Join(Request { name, address, region: "local".to_owned(), capacity: 1, replaces }))
    }

    fn candidate(&self, who: usize) -> &Candidate {
        self.state.candidate(&self.keys[who]).expect("a candidate")
    }

    fn approve(&self, voter: usize, who: usize) -> (usize, Kind) {
        (voter, Kind::Approve { node: self.keys[who], since: self.candidate(who).since })
    }

    fn approve_all(&mut self, voters: impl IntoIterator<Item = usize>, who: usize) {
        let orders = voters.into_iter().map(|voter| self.approve(voter, who)).collect();
        self.pass(orders);
    }

    fn retract(&self, who: usize) -> (usize, Kind) {
        (who, Kind::Retract { since: self.candidate(who).since })
    }

    fn caught_up(&self, who: usize) -> (usize, Kind) {
        (who, Kind::CaughtUp(self.state.newest_mark().expect("there is a learner")))
    }

    fn caught_up_at(&self, who: usize, height: Height) -> (usize, Kind) {
        (who, Kind::CaughtUp(Mark { height, root: Hash::ZERO }))
    }

    /// Asks, is approved by these and says that it is level.
    fn admit(&mut self, who: usize, voters: impl IntoIterator<Item = usize>) {
        self.pass(vec![self.join(who)]);
        self.approve_all(voters, who);
        self.level(who);
    }

    fn level(&mut self, who: usize) {
        let (since, height) = (self.candidate(who).learner.expect("a learner"), self.state.height().0);
        self.reach(height.max(since.0).next_multiple_of(MARK_BLOCKS) + 1);
        self.pass(vec![self.caught_up(who)]);
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

fn goes(chain: &Chain, who: usize, departure: Departure) -> Transition {
    Transition::Goes(chain.keys[who], departure)
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
    assert_eq!(decision.postponed, [(goes(&chain, 0, Departure::Left), obstacle)]);
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
    assert_eq!(decision.postponed, [(goes(&chain, 0, Departure::Left), obstacle)]);
    assert!(decision.going.is_empty(), "three of seven do not make a removal");
}

#[test]
fn a_floor_of_slack_is_kept() {
    let mut chain = Chain::new(7, 1, EpochLimits { slack_min: 2, ..limits() });
    chain.pass(vec![chain.leave(0)]);
    let obstacle = Postponed::Slack { answering: 6, left: 6, quorum: 5, slack_min: 2 };
    assert_eq!(chain.next_epoch().postponed, [(goes(&chain, 0, Departure::Left), obstacle)]);
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
    assert_eq!(decision.postponed, [(goes(&chain, 3, Departure::Removed), obstacle)]);
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
    let foreseen = chain.state.foresee(&[goes(&chain, 1, Departure::Left)]);
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

#[test]
fn a_proof_of_who_votes_counts_those_who_joined() {
    let mut chain = Chain::new(4, 1, limits());
    let new = chain.stranger(50);
    chain.admit(new, 0..3);
    while !chain.voters().contains(&new) {
        chain.pass(Vec::new());
        assert!(chain.state.epoch() < Epoch(9), "it never comes");
    }
    let (state, epoch) = (&chain.state, chain.state.epoch());
    let proven = proven_voters(&state.prove_voters(), state.root(), state.height(), epoch);
    assert_eq!(proven, Ok(state.voters_of(epoch)));
    assert_eq!(proven.map(|voters| voters.map(|voters| voters.len())), Ok(Some(5)));
}

#[test]
fn who_is_approved_and_level_votes_from_the_next_epoch_on_and_is_on_trial() {
    let mut chain = Chain::new(4, 1, limits());
    let new = chain.stranger(50);
    chain.pass(vec![chain.join(new)]);
    assert_eq!(chain.state.steps(), [(chain.keys[new], Step::Asked)]);
    assert_eq!(chain.state.seat(&chain.keys[new]), None, "who only asks has no seat");
    chain.approve_all([0, 1], new);
    assert_eq!(chain.candidate(new).learner, None, "two of four are no quorum");
    chain.approve_all([2], new);
    assert_eq!(chain.state.steps(), [(chain.keys[new], Step::Approved)]);
    assert_eq!(chain.seat(new), Seat { from: None, ..Seat::default() });
    let members = chain.state.members();
    assert_eq!(members.iter().map(|member| member.key).collect::<Vec<_>>(), chain.keys, "its seat is the last");
    assert_eq!((members[4].name.as_str(), members[4].address.as_str()), ("v4", "host-4:7000"));
    // It is the middle of the first epoch before a root is kept that it could name.
    let decision = chain.next_epoch();
    assert_eq!(decision.postponed, [(Transition::Comes(chain.keys[new]), Postponed::Behind)]);
    chain.level(new);
    assert_eq!(chain.state.steps(), [(chain.keys[new], Step::Level)]);
    let decision = chain.next_epoch();
    assert_eq!(decision.coming, [chain.keys[new]]);
    assert_eq!(chain.voters().len(), 5);
    assert!(chain.voters().contains(&new));
    assert_eq!(chain.state.candidates().count(), 0);
    let standing = chain.state.standing(&chain.keys[new]).expect("a validator");
    assert!(matches!(standing.status, crate::verdicts::Status::Trial { .. }));
    assert_eq!(chain.state.voters_of(Epoch(1)).map(|voters| voters.len()), Some(4));
    assert_eq!(chain.restored().root(), chain.state.root());
}

#[test]
fn what_belongs_to_somebody_is_not_given_again() {
    let mut chain = Chain::new(5, 1, limits());
    let (new, other) = (chain.stranger(50), chain.stranger(51));
    chain.pass(vec![chain.leave(4)]);
    chain.next_epoch();
    assert_eq!(chain.voters().len(), 4);
    chain.pass(vec![chain.join(new)]);
    let taken = |chain: &Chain, who: usize, change: &dyn Fn(&mut Request)| {
        let (who, Kind::Join(mut request)) = chain.join(who) else { panic!("a request") };
        change(&mut request);
        match chain.answer((who, Kind::Join(request))) {
            Err(TransactionError::Taken { field, by, .. }) => Some((field, by)),
            Ok(()) => None,
            Err(other) => panic!("{other}"),
        }
    };
    let fresh = |request: &mut Request| {
        request.name = "fresh".into();
        request.address = "fresh:7000".into();
    };
    assert_eq!(taken(&chain, 0, &fresh), Some(("key", chain.keys[0])), "it has a vote");
    assert_eq!(taken(&chain, 4, &fresh), Some(("key", chain.keys[4])), "it had one");
    assert_eq!(taken(&chain, new, &fresh), Some(("key", chain.keys[new])), "it asked already");
    assert_eq!(taken(&chain, other, &|request| request.name = "v4".into()), Some(("name", chain.keys[4])));
    assert_eq!(taken(&chain, other, &|request| request.name = format!("v{new}")), Some(("name", chain.keys[new])));
    let address = |request: &mut Request| request.address = "host-0:7000".into();
    assert_eq!(taken(&chain, other, &address), Some(("address", chain.keys[0])));
    assert_eq!(taken(&chain, other, &|_| ()), None);
}

#[test]
fn a_request_is_held_against_the_rules_of_the_genesis() {
    let mut chain = Chain::new(4, 1, limits());
    let new = chain.stranger(50);
    let field = |change: &dyn Fn(&mut Request)| {
        let (who, Kind::Join(mut request)) = chain.join(new) else { panic!("a request") };
        change(&mut request);
        match chain.answer((who, Kind::Join(request))) {
            Err(TransactionError::RequestField { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(field(&|request| request.name = "Capital".into()), "name");
    assert_eq!(field(&|request| request.address = "nowhere".into()), "address");
    assert_eq!(field(&|request| request.region = String::new()), "region");
    assert_eq!(field(&|request| request.capacity = 0), "capacity");
    let late = Transaction {
        expires: chain.state.height().after(REQUEST_BLOCKS_MAX + 2),
        ..chain.sign(chain.join(new).0, chain.join(new).1)
    };
    let answer = chain.state.check_unsigned(&late, chain.state.height().after(1));
    assert!(matches!(answer, Err(TransactionError::ExpiresTooLate { .. })), "{answer:?}");
    let mut weak = [0; 32];
    weak[0] = 1;
    let weak = Transaction { account: PublicKey(weak), ..chain.sign(chain.join(new).0, chain.join(new).1) };
    let answer = chain.state.check_unsigned(&weak, chain.state.height().after(1));
    assert!(matches!(answer, Err(TransactionError::RequestField { field: "key", .. })), "{answer:?}");
}

#[test]
fn only_voters_approve_and_only_of_the_request_that_stands() {
    let mut chain = Chain::new(4, 1, limits());
    let (new, other) = (chain.stranger(50), chain.stranger(51));
    let unknown = Kind::Approve { node: chain.keys[new], since: Height(1) };
    assert_eq!(chain.answer((0, unknown)), Err(TransactionError::NoCandidate { node: chain.keys[new] }));
    chain.pass(vec![chain.join(new), chain.join(other)]);
    let account = chain.keys[other];
    assert_eq!(chain.answer(chain.approve(other, new)), Err(TransactionError::NotAValidator { account }));
    let stale = Kind::Approve { node: chain.keys[new], since: Height(0) };
    let expected = TransactionError::RequestStale { got: Height(0), now: Height(1) };
    assert_eq!(chain.answer((0, stale)), Err(expected));
    chain.approve_all([0], new);
    assert_eq!(chain.answer(chain.approve(0, new)), Err(TransactionError::ApprovedAlready));
    assert_eq!(
        chain.answer(chain.caught_up_at(new, Height(0))),
        Err(TransactionError::NotALearner { node: chain.keys[new] })
    );
}

#[test]
fn a_learner_names_roots_that_are_right_recent_and_later_than_before() {
    let mut chain = Chain::new(4, 1, limits());
    let new = chain.stranger(50);
    chain.pass(vec![chain.join(new)]);
    chain.approve_all(0..3, new);
    chain.reach(17);
    let (who, Kind::CaughtUp(mark)) = chain.caught_up(new) else { panic!("a root") };
    assert_eq!(mark.height, Height(16));
    let wrong = Kind::CaughtUp(Mark { root: Hash::ZERO, ..mark });
    assert_eq!(chain.answer((who, wrong)), Err(TransactionError::RootWrong { height: Height(16) }));
    let unknown = |height| (who, Kind::CaughtUp(Mark { height: Height(height), ..mark }));
    assert_eq!(chain.answer(unknown(15)), Err(TransactionError::RootUnknown { height: Height(15) }));
    let ahead = chain.answer(unknown(24)).expect_err("nobody knows it yet");
    assert!(ahead.may_pass(), "{ahead}");
    chain.pass(vec![(who, Kind::CaughtUp(mark))]);
    let stale = TransactionError::LevelStale { got: Height(16), last: Height(16) };
    assert_eq!(chain.answer((who, Kind::CaughtUp(mark))), Err(stale));
    chain.next_epoch();
    let answer = chain.answer((who, Kind::CaughtUp(mark)));
    assert_eq!(answer, Err(TransactionError::NoCandidate { node: chain.keys[new] }), "it has a vote");
}

#[test]
fn the_word_of_a_learner_holds_for_a_while_and_must_be_given_again() {
    // Nobody may come, as two more must answer than a quorum of five.
    let mut chain = Chain::new(4, 1, EpochLimits { slack_min: 2, ..limits() });
    let new = chain.stranger(50);
    chain.admit(new, 0..3);
    let comes = Transition::Comes(chain.keys[new]);
    let slack = Postponed::Slack { answering: 4, left: 5, quorum: 4, slack_min: 2 };
    chain.reach(limits().last_of(chain.state.epoch()).0);
    assert_eq!(chain.next_epoch().postponed, [(comes, slack)]);
    let level = chain.candidate(new).level.expect("level");
    while chain.state.height() <= level.after(LEVEL_BLOCKS) {
        chain.next_epoch();
    }
    assert_eq!(chain.next_epoch().postponed, [(comes, Postponed::Behind)]);
    chain.level(new);
    assert_eq!(chain.next_epoch().postponed, [(comes, slack)]);
}

#[test]
fn who_is_not_approved_in_time_lapses_and_may_ask_again() {
    let mut chain = Chain::new(4, 1, limits());
    let new = chain.stranger(50);
    chain.pass(vec![chain.join(new)]);
    chain.approve_all([0], new);
    // Lease time moves by half a second a block.
    chain.reach(1 + CANDIDATE_MS / 500);
    assert_eq!(chain.candidate(new).approvals.len(), 1);
    chain.pass(Vec::new());
    chain.pass(Vec::new());
    assert_eq!(chain.state.candidates().count(), 0);
    assert_eq!(chain.answer(chain.join(new)), Ok(()));
    chain.pass(vec![chain.join(new)]);
    assert!(chain.candidate(new).approvals.is_empty(), "what was approved was the request before");
}

#[test]
fn a_learner_that_is_never_level_lapses_and_gives_back_all_but_its_number() {
    let mut chain = Chain::new(4, 1, limits());
    let new = chain.stranger(50);
    chain.pass(vec![chain.join(new)]);
    chain.approve_all(0..3, new);
    assert!(chain.state.is_peer(&chain.keys[new]));
    chain.pass(vec![chain.retract(new)]);
    assert_eq!(chain.state.steps(), [(chain.keys[new], Step::Withdrew)]);
    let expires = chain.candidate(new).expires;
    chain.reach(expires.0);
    assert_eq!(chain.state.candidates().count(), 1, "its request could still be repeated by others");
    chain.pass(Vec::new());
    assert_eq!(chain.state.candidates().count(), 0);
    assert!(!chain.state.is_peer(&chain.keys[new]));
    assert_eq!(chain.state.newest_mark(), None);
    // Another may have its name now, and it may come again with another one, to the seat that it had.
    let other = chain.stranger(51);
    let (_, Kind::Join(request)) = chain.join(new) else { panic!("a request") };
    chain.pass(vec![(other, Kind::Join(request))]);
    let (_, Kind::Join(request)) = chain.join(other) else { panic!("a request") };
    let region = "far".to_owned();
    chain.pass(vec![(new, Kind::Join(Request { region, ..request }))]);
    chain.approve_all(0..3, new);
    let members = chain.state.members();
    assert_eq!((members.len(), members[4].key, members[4].name.as_str()), (5, chain.keys[new], "v5"));
    let restored = chain.restored();
    assert_eq!(restored.members(), members);
    assert_eq!(restored.root(), chain.state.root());
}

#[test]
fn a_key_is_changed_by_the_word_of_the_old_one_alone_and_in_one_step() {
    let mut chain = Chain::new(4, 1, limits());
    let new = chain.stranger(50);
    chain.pass(vec![chain.ask(new, Some(2))]);
    let replaced = chain.keys[2];
    assert_eq!(chain.answer(chain.approve(0, new)), Err(TransactionError::NotTheReplaced { replaced }));
    chain.approve_all([2], new);
    assert!(chain.candidate(new).learner.is_some());
    chain.level(new);
    chain.reach(limits().last_of(chain.state.epoch()).0);
    let decision = chain.next_epoch();
    assert_eq!(decision.going, [(chain.keys[2], Departure::Replaced)]);
    assert_eq!(decision.coming, [chain.keys[new]]);
    let mut voters = chain.voters();
    voters.sort_unstable();
    assert_eq!(voters, [0, 1, 3, new]);
}

/// Number 2 of seven, of which two may change at once, has approved of these in its place, and they are level.
fn in_the_place_of_one_of_seven(count: u8) -> (Chain, Vec<usize>) {
    let mut chain = Chain::new(7, 1, limits());
    let new: Vec<usize> = (50..50 + count).map(|seed| chain.stranger(seed)).collect();
    for who in &new {
        chain.pass(vec![chain.ask(*who, Some(2))]);
        chain.approve_all([2], *who);
    }
    chain.level(new[0]);
    chain.pass(new[1..].iter().map(|who| chain.caught_up(*who)).collect());
    chain.reach(limits().last_of(chain.state.epoch()).0);
    (chain, new)
}

#[test]
fn a_place_is_given_to_one_only() {
    let (mut chain, new) = in_the_place_of_one_of_seven(2);
    let decision = chain.next_epoch();
    assert_eq!(decision.going, [(chain.keys[2], Departure::Replaced)]);
    assert_eq!(decision.coming, [chain.keys[new[0]]], "one voter lets one key in by its word alone, whatever it says");
    assert_eq!(chain.voters().len(), 7);
    chain.next_epoch();
    assert_eq!(chain.voters().len(), 7);
}

#[test]
fn who_leaves_and_gave_its_place_away_goes_once() {
    let (mut chain, new) = in_the_place_of_one_of_seven(1);
    chain.pass(vec![chain.leave(2)]);
    let decision = chain.next_epoch();
    assert_eq!(decision.going, [(chain.keys[2], Departure::Replaced)]);
    assert_eq!((decision.coming, decision.postponed), (vec![chain.keys[new[0]]], Vec::new()));
}

#[test]
fn who_leaves_does_not_wait_for_one_that_is_not_level() {
    let mut chain = Chain::new(7, 1, limits());
    let new = chain.stranger(50);
    chain.pass(vec![chain.ask(new, Some(2)), chain.leave(2)]);
    chain.approve_all([2], new);
    let decision = chain.next_epoch();
    assert_eq!((decision.going, decision.coming), (vec![(chain.keys[2], Departure::Left)], Vec::new()));
}

#[test]
fn who_is_removed_gives_its_place_to_nobody() {
    let (mut chain, new) = in_the_place_of_one_of_seven(1);
    chain.suspect_all([0, 1, 3, 4, 5], 2);
    let decision = chain.next_epoch();
    assert_eq!((decision.going, decision.coming), (vec![(chain.keys[2], Departure::Removed)], Vec::new()));
    chain.next_epoch();
    assert!(!chain.voters().contains(&new[0]));
}

#[test]
fn who_was_to_take_the_place_of_one_that_is_gone_lapses() {
    let mut chain = Chain::new(5, 1, limits());
    let new = chain.stranger(50);
    chain.pass(vec![chain.ask(new, Some(2)), chain.leave(2)]);
    chain.approve_all([2], new);
    chain.next_epoch();
    assert_eq!(chain.voters().len(), 4);
    chain.reach(chain.candidate(new).expires.0 + 1);
    assert_eq!(chain.state.steps(), [(chain.keys[new], Step::Lapsed)]);
    let answer = chain.answer(chain.ask(new, Some(2)));
    assert_eq!(answer, Err(TransactionError::NodeUnknown { node: chain.keys[2] }));
}

#[test]
fn a_newcomer_waits_where_it_would_make_the_quorum_too_large_for_those_that_answer() {
    let mut chain = Chain::new(4, 1, limits());
    let new = chain.stranger(50);
    chain.suspect_all(0..2, 3);
    chain.admit(new, 0..3);
    chain.reach(limits().last_of(chain.state.epoch()).0);
    let obstacle = Postponed::Slack { answering: 3, left: 5, quorum: 4, slack_min: 0 };
    assert_eq!(chain.next_epoch().postponed, [(Transition::Comes(chain.keys[new]), obstacle)]);
}

#[test]
fn a_single_validator_grows_to_four_one_by_one() {
    let mut chain = Chain::new(1, 0, limits());
    for seed in 50..53 {
        let (new, voters) = (chain.stranger(seed), chain.voters());
        chain.admit(new, voters);
        let before = chain.voters().len();
        while chain.voters().len() == before {
            chain.pass(Vec::new());
            assert!(chain.state.epoch() < Epoch(20), "it never comes");
        }
        assert_eq!(chain.voters().len(), before + 1);
    }
    assert_eq!(chain.voters().len(), 4);
}

#[test]
fn one_comes_before_another_leaves_where_the_set_is_as_small_as_it_may_be() {
    let mut chain = Chain::new(4, 1, limits());
    let new = chain.stranger(50);
    chain.admit(new, 0..3);
    chain.reach(limits().last_of(chain.state.epoch()).0);
    chain.pass(vec![chain.leave(0)]);
    let decision = chain.next_epoch();
    assert_eq!(decision.coming, [chain.keys[new]]);
    let pace = (goes(&chain, 0, Departure::Left), Postponed::Pace { max: 1 });
    assert_eq!(decision.postponed, [pace]);
    assert_eq!(chain.next_epoch().going, [(chain.keys[0], Departure::Left)]);
    assert_eq!(chain.voters().len(), 4);
}

#[test]
fn only_so_many_may_ask_at_a_time() {
    let mut chain = Chain::new(4, 1, limits());
    for seed in 50..50 + u8::try_from(CANDIDATES_MAX).expect("few") {
        let new = chain.stranger(seed);
        chain.pass(vec![chain.join(new)]);
    }
    let late = chain.stranger(200);
    let full = TransactionError::CandidatesFull { max: CANDIDATES_MAX };
    assert_eq!(chain.answer(chain.join(late)), Err(full));
}

#[test]
fn a_verdict_names_its_accusers_however_many_seats_are_given_later() {
    let mut chain = Chain::new(4, 1, limits());
    chain.suspect_all([0, 2], 3);
    let accusers = |chain: &Chain| {
        let standing = chain.state.standing(&chain.keys[3]).expect("known");
        let crate::verdicts::Status::Unresponsive(verdict) = standing.status else { panic!("a verdict") };
        chain.state.accusers(&verdict.accusers).collect::<Vec<_>>()
    };
    let before = accusers(&chain);
    assert_eq!(before, [chain.keys[0], chain.keys[2]]);
    for seed in 50..60 {
        let new = chain.stranger(seed);
        chain.pass(vec![chain.join(new)]);
        chain.approve_all(0..3, new);
    }
    assert_eq!(chain.state.members().len(), 14, "two bytes of bits by now");
    assert_eq!(accusers(&chain), before);
    assert_eq!(chain.restored().root(), chain.state.root());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever validators and strangers say, and whenever: no more change than may at once, no set has fewer than 3b + 1,
    /// no key is seated twice, f voters let nobody in, a quorum that approves of somebody always can, and a checkpoint at
    /// any height is the same state.
    #[test]
    fn every_set_keeps_the_rules_when_others_join(
        n in 4_usize..8,
        orders in proptest::collection::vec((0_usize..8, 0_usize..6, 0_u8..8), 0..150),
    ) {
        let budget = 1;
        let mut chain = Chain::new(n, budget, limits());
        let strangers: Vec<usize> = (50..56).map(|seed| chain.stranger(seed)).collect();
        // Of the first two only f voters ever approve.
        let few = faults(n);
        let unwanted = [chain.keys[strangers[0]], chain.keys[strangers[1]]];
        for (who, about, what) in orders {
            let (voter, stranger) = (who % n, strangers[about]);
            let is_candidate = chain.state.candidate(&chain.keys[stranger]).is_some();
            let order = match what {
                0 => chain.leave(voter),
                1 => chain.join(stranger),
                2 => chain.ask(stranger, Some(voter)),
                3 | 4 if is_candidate && (about > 1 || voter < few) => chain.approve(voter, stranger),
                5 if is_candidate => chain.retract(stranger),
                _ if chain.state.newest_mark().is_some() => chain.caught_up(stranger),
                _ => chain.join(stranger),
            };
            // A replacement is the old one's own business.
            let is_allowed = about > 1 || !matches!(&order.1, Kind::Join(Request { replaces: Some(_), .. }));
            let orders = if is_allowed && chain.answer(order.clone()).is_ok() { vec![order] } else { Vec::new() };
            let before = chain.voters();
            chain.pass(orders);
            let after = chain.voters();
            prop_assert!(after.len() > 3 * budget);
            let gone = before.iter().filter(|who| !after.contains(who)).count();
            let come = after.iter().filter(|who| !before.contains(who)).count();
            prop_assert!(gone.max(come) <= faults(before.len()).max(1), "{gone} went and {come} came");
            prop_assert!(after.iter().collect::<BTreeSet<_>>().len() == after.len());
            prop_assert!(unwanted.iter().all(|node| !chain.state.is_voter(node)), "f let somebody in");
            if let Some(decision) = chain.state.decision() {
                let gone: BTreeSet<_> = decision.going.iter().map(|(node, _)| *node).collect();
                prop_assert_eq!(gone.len(), decision.going.len(), "somebody goes twice");
            }
            let restored = chain.restored();
            prop_assert_eq!(restored.voters(), chain.state.voters());
            prop_assert_eq!(restored.members(), chain.state.members());
            prop_assert_eq!(restored.root(), chain.state.root());
            prop_assert_eq!(restored.newest_mark(), chain.state.newest_mark());
            for key in &chain.keys {
                prop_assert_eq!(restored.worker(key), chain.state.worker(key));
                prop_assert_eq!(restored.candidate(key), chain.state.candidate(key));
            }
        }
        // Whatever f of them did before, the others let somebody in: all but the first f approve of a new key.
        let new = chain.stranger(99);
        if chain.state.candidates().count() < CANDIDATES_MAX && chain.answer(chain.join(new)).is_ok() {
            chain.pass(vec![chain.join(new)]);
            // The block before may have been the last of an epoch: those of the next one approve.
            let voters = chain.voters();
            let honest: Vec<usize> = voters.iter().copied().skip(faults(voters.len())).collect();
            let orders: Vec<(usize, Kind)> =
                honest.iter().map(|voter| chain.approve(*voter, new)).filter(|order| chain.answer(order.clone()).is_ok()).collect();
            let approving = orders.len();
            chain.pass(orders);
            if approving == honest.len() {
                prop_assert!(chain.candidate(new).learner.is_some(), "a quorum was not enough");
            }
        }
    }
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
