use super::*;
use crate::{
    block::Block,
    genesis::{Certified, EpochLimits, Genesis, GenesisBalance, GenesisValidator, TaskLimits},
    state::State,
    tasks::{
        Lease, TICK_MS_MAX, Task, TaskState,
        order::{Claim, Output, Policy, Submission},
    },
    transaction::{Kind, SecretKey, Transaction},
    types::{Amount, Hash, Height, Nonce, Place, Signature, TaskNumber},
};
use std::sync::LazyLock;

mod model;

/// Validators are 1, 2 and so on, in the order of their keys. This one owns something and orders tasks, and the last one is
/// a stranger.
const ANNA: u8 = 20;
const STRANGER: u8 = 21;

/// Derived once, and sorted where they are validators', so that numbers and positions agree.
static KEYS: LazyLock<[PublicKey; 22]> = LazyLock::new(|| {
    let mut keys: [PublicKey; 22] = std::array::from_fn(|seed| SecretKey::from_bytes([seed as u8; 32]).public());
    keys[1..20].sort_unstable();
    keys
});

fn public(seed: u8) -> PublicKey {
    KEYS[usize::from(seed)]
}

fn seed_of(key: &PublicKey) -> u8 {
    (1..=STRANGER).find(|seed| public(*seed) == *key).expect("one of ours")
}

fn genesis(n: u8) -> Genesis {
    let validator = |seed: u8| GenesisValidator {
        name: format!("v{seed}"),
        key: public(seed),
        address: format!("host-{seed}:7000"),
        region: "local".to_owned(),
        capacity: 1,
        supervisor: None,
    };
    // Whoever writes them down in another order means the same.
    Genesis {
        version: 1,
        chain_id: "test".parse().expect("a chain id"),
        byzantine_budget: 0,
        timestamp_ms: 1_000,
        validators: (1..=n).rev().map(validator).collect(),
        balances: vec![GenesisBalance { account: public(ANNA), amount: Amount(1) }],
        tasks: TaskLimits { keep_blocks: 1_000_000, ..TaskLimits::default() },
        epochs: EpochLimits::default(),
        certified: Certified::default(),
    }
}

/// What somebody orders. Signatures are taken on trust here.
type Order = (u8, Kind);

/// A chain that validators lead in turn.
#[derive(Clone)]
struct Chain {
    state: State,
    n: u8,
    leaders: Vec<u8>,
}

impl Chain {
    fn new(n: u8) -> Self {
        Self { state: State::genesis(&genesis(n)), n, leaders: (1..=n).collect() }
    }

    /// A chain on which these suspect number 1 for that reason.
    fn after(n: u8, reason: Reason, accusers: impl IntoIterator<Item = u8>) -> Self {
        let mut chain = Self::new(n);
        let orders: Vec<Order> = accusers.into_iter().map(|accuser| chain.suspect(accuser, 1, reason)).collect();
        chain.pass(1, orders);
        chain
    }

    fn suspect(&self, accuser: u8, accused: u8, reason: Reason) -> Order {
        let sequence = self.state.next_suspicion_sequence(&public(accuser), &public(accused));
        (accuser, Kind::Suspect { node: public(accused), reason, evidence: Evidence::of(1_000, 3), sequence })
    }

    fn withdraw(&self, accuser: u8, accused: u8) -> Order {
        let sequence = self.state.next_suspicion_sequence(&public(accuser), &public(accused));
        (accuser, Kind::Withdraw { node: public(accused), sequence })
    }

    /// The answer of a validator to its last verdict.
    fn alive(&self, seed: u8) -> Order {
        (seed, Kind::Alive { verdict: self.standing(seed).verdicts })
    }

    fn drain(&self, seed: u8) -> Order {
        (seed, Kind::Drain { sequence: self.standing(seed).next_drain_sequence })
    }

    fn undrain(&self, seed: u8) -> Order {
        (seed, Kind::Undrain { sequence: self.standing(seed).next_drain_sequence })
    }

    fn submit(&self, id: &str, retries: u8) -> Order {
        self.submit_with(id, retries, Policy::Replace)
    }

    fn submit_with(&self, id: &str, retries: u8, policy: Policy) -> Order {
        let submission = Submission {
            id: id.parse().expect("a task id"),
            executor: "echo".parse().expect("an executor"),
            payload: Vec::new(),
            units: 1,
            lease_ms: 3_600_000,
            retries,
            deadline: Timestamp(u64::MAX),
            policy,
            region: None,
        };
        (ANNA, Kind::SubmitTask(submission))
    }

    fn sign(&self, (who, kind): Order, sequenced_before: u64) -> Transaction {
        let nonce = if kind.is_sequenced() { self.state.account(&public(who)).nonce.0 + sequenced_before } else { 0 };
        Transaction {
            version: crate::transaction::VERSION,
            chain: self.state.chain().clone(),
            account: public(who),
            nonce: Nonce(nonce),
            expires: self.state.height().after(100),
            kind,
            signature: Signature::ZERO,
        }
    }

    fn block(&self, ms: u64, transactions: Vec<Transaction>) -> Block {
        let turn = usize::try_from(self.state.height().0).expect("a low height") % self.leaders.len();
        Block::on(&self.state, public(self.leaders[turn]), self.state.timestamp().after(ms), transactions)
    }

    /// The next block, with these orders: all of them must be good, to who proposes and to who follows alike.
    fn pass(&mut self, ms: u64, orders: impl IntoIterator<Item = Order>) {
        let mut sequenced = 0;
        let mut transactions = Vec::new();
        for order in orders {
            let is_sequenced = order.1.is_sequenced();
            transactions.push(self.sign(order, sequenced));
            sequenced += u64::from(is_sequenced);
        }
        let block = self.block(ms, transactions);
        let mut proposer = self.state.clone();
        let place = Place { height: block.height, timestamp: block.timestamp };
        for tx in &block.transactions {
            proposer.apply_transaction_verified(tx, place).expect("a good transaction");
        }
        proposer.settle(place, block.leader, block.parent_state_root);
        self.state.apply_verified(&block, |_| true).expect("a good block");
        assert_eq!(proposer.root(), self.state.root(), "proposer and follower differ");
    }

    fn wait(&mut self, blocks: u64) {
        (0..blocks).for_each(|_| self.pass(1, []));
    }

    /// Lets so much lease time pass.
    fn lapse(&mut self, ms: u64) {
        let until = self.state.lease_time().after(ms);
        while self.state.lease_time() < until {
            self.pass((until.0 - self.state.lease_time().0).min(TICK_MS_MAX), []);
        }
    }

    /// What is said to an order for the next block.
    fn answer(&self, order: Order) -> Result<(), TransactionError> {
        self.state.check_unsigned(&self.sign(order, 0), self.state.height().after(1))
    }

    fn refuses(&self, order: Order, expected: TransactionError) {
        assert_eq!(self.answer(order), Err(expected));
    }

    fn standing(&self, seed: u8) -> Standing {
        self.state.standing(&public(seed)).expect("a validator")
    }

    fn phase(&self, seed: u8) -> Phase {
        self.standing(seed).status.phase()
    }

    fn verdict(&self, seed: u8) -> Verdict {
        match self.standing(seed).status {
            Status::Unresponsive(verdict) => verdict,
            other => panic!("{seed} is {other:?}"),
        }
    }

    fn task(&self, id: &str) -> Task {
        let number = self.state.task_number(&public(ANNA), &id.parse().expect("a task id")).expect("it is known");
        self.state.task(number).expect("it is stored")
    }

    fn lease(&self, id: &str) -> Lease {
        match self.task(id).state {
            TaskState::Leased(lease) => lease,
            other => panic!("{id} is {}", other.name()),
        }
    }

    fn completion_of(&self, id: &str) -> Order {
        let (lease, task) = (self.lease(id), self.task(id).number);
        let claim = Claim { task, token: lease.token };
        (seed_of(&lease.holder), Kind::CompleteTask { claim, output: Output::Inline(Vec::new()) })
    }

    fn leases(&self, seed: u8) -> usize {
        self.state.leased_to(public(seed)).count()
    }

    fn restore(&self, damage: impl FnOnce(&mut Tree)) -> Result<State, StateError> {
        let mut tree = self.state.clone().parts().1.clone();
        damage(&mut tree);
        let (chain, height, timestamp) = (self.state.chain(), self.state.height(), self.state.timestamp());
        State::from_entries(chain, height, self.state.digest(), timestamp, &tree)
    }
}

/// What follows from the entries; what changed last does not.
fn picture(state: &State) -> (Hash, Verdicts) {
    let mut verdicts = state.verdicts().clone();
    verdicts.begin();
    (state.root(), verdicts)
}

fn turns(chain: &Chain, seed: u8) -> Vec<&'static str> {
    chain.standing(seed).history.iter().map(|change| change.turn.name()).collect()
}

// When a verdict comes.

#[test]
fn a_verdict_comes_in_the_block_of_the_suspicion_after_the_fth_and_not_before() {
    for (n, f) in [(4, 1), (5, 1), (6, 1), (7, 2), (10, 3)] {
        let mut chain = Chain::after(n, Reason::Process, 2..2 + f);
        assert_eq!(chain.phase(1), Phase::Active, "{f} of {n}");
        chain.pass(1, [chain.suspect(2 + f, 1, Reason::Process)]);
        let verdict = chain.verdict(1);
        assert_eq!((verdict.number, verdict.height, verdict.reason), (VerdictNumber(1), Height(2), Reason::Process));
        let accusers: Vec<u8> = chain.state.accusers(&verdict.accusers).map(|key| seed_of(&key)).collect();
        assert_eq!(accusers, (2..=2 + f).collect::<Vec<_>>());
        assert_eq!(verdict.accusers.count(), usize::from(f) + 1);
        assert!(chain.state.validators_unresponsive().eq([public(1)]));
    }
}

#[test]
fn suspicions_of_one_validator_count_once_and_withdrawn_ones_not_at_all() {
    let mut chain = Chain::after(7, Reason::Link, [2, 3]);
    for _ in 0..5 {
        chain.pass(1, [chain.suspect(2, 1, Reason::Disk)]);
    }
    chain.pass(1, [chain.withdraw(3, 1)]);
    chain.pass(1, [chain.suspect(4, 1, Reason::Link)]);
    assert_eq!((chain.phase(1), chain.standing(1).accusations.len()), (Phase::Active, 2));
    chain.pass(1, [chain.suspect(3, 1, Reason::Link)]);
    assert_eq!(chain.phase(1), Phase::Unresponsive);
}

#[test]
fn one_who_suspects_and_withdraws_within_a_block_has_said_nothing() {
    let mut chain = Chain::after(4, Reason::Link, [2]);
    let [first, second] = [0, 1].map(Sequence);
    let (node, reason, evidence) = (public(1), Reason::Link, Evidence::default());
    let suspect = (3, Kind::Suspect { node, reason, evidence, sequence: first });
    chain.pass(1, [suspect, (3, Kind::Withdraw { node, sequence: second })]);
    assert_eq!((chain.phase(1), chain.standing(3).diverged), (Phase::Active, 1));
}

#[test]
fn a_suspicion_lapses_after_ten_minutes_unless_it_is_repeated() {
    let mut chain = Chain::after(4, Reason::Link, [2]);
    chain.lapse(STANDS_MS);
    assert_eq!(chain.standing(1).accusations.len(), 1);
    let mut repeated = chain.clone();
    chain.pass(1, []);
    assert_eq!((chain.standing(1).accusations.len(), chain.standing(2).diverged), (0, 1));
    repeated.pass(1, [repeated.suspect(2, 1, Reason::Disk)]);
    let [accusation] = repeated.standing(1).accusations[..] else { panic!("one stands") };
    assert_eq!((accusation.accuser, accusation.suspicion.reason), (public(2), Reason::Disk));
    assert_eq!(accusation.suspicion.since, Height(1), "it stands since it was first said");
    assert_eq!(repeated.standing(2).diverged, 0);
}

#[test]
fn a_quorum_of_suspicions_names_a_candidate_for_removal_and_does_nothing_more() {
    let mut chain = Chain::after(7, Reason::Link, 2..=5);
    assert!(!chain.state.is_candidate_for_removal(&public(1)));
    chain.pass(1, [chain.suspect(6, 1, Reason::Link)]);
    assert!(chain.state.is_candidate_for_removal(&public(1)));
    chain.pass(1, [chain.withdraw(6, 1)]);
    assert!(!chain.state.is_candidate_for_removal(&public(1)));
    assert_eq!(turns(&chain, 1), ["unresponsive"]);
}

// Who may say what.

#[test]
fn only_validators_speak_and_each_of_others_only() {
    let chain = Chain::new(4);
    for order in [
        chain.suspect(STRANGER, 1, Reason::Link),
        chain.withdraw(STRANGER, 1),
        (STRANGER, Kind::Alive { verdict: VerdictNumber(1) }),
        (STRANGER, Kind::Drain { sequence: Sequence(0) }),
        (STRANGER, Kind::Undrain { sequence: Sequence(0) }),
    ] {
        let expected = TransactionError::NotAValidator { account: public(STRANGER) };
        assert!(!expected.may_pass());
        chain.refuses(order, expected);
    }
    chain.refuses(chain.suspect(1, 1, Reason::Link), TransactionError::AboutOneself);
    chain.refuses(chain.withdraw(1, 1), TransactionError::AboutOneself);
    let unknown = TransactionError::NodeUnknown { node: public(STRANGER) };
    assert!(!unknown.may_pass());
    chain.refuses(chain.suspect(1, STRANGER, Reason::Link), unknown.clone());
    chain.refuses(chain.withdraw(1, STRANGER), unknown);
}

#[test]
fn every_word_counts_once_and_in_its_order() {
    let mut chain = Chain::after(4, Reason::Link, [2]);
    let withdraw = |sequence| (2, Kind::Withdraw { node: public(1), sequence: Sequence(sequence) });
    let suspect = |sequence| {
        let (reason, evidence) = (Reason::Link, Evidence::default());
        (2, Kind::Suspect { node: public(1), reason, evidence, sequence: Sequence(sequence) })
    };
    let too_low = |expected, got| TransactionError::SequenceTooLow { expected: Sequence(expected), got: Sequence(got) };
    let too_high =
        |expected, got| TransactionError::SequenceTooHigh { expected: Sequence(expected), got: Sequence(got) };
    assert!(!too_low(1, 0).may_pass() && too_high(1, 2).may_pass());
    for of in [&suspect as &dyn Fn(u64) -> Order, &withdraw] {
        chain.refuses(of(0), too_low(1, 0));
        chain.refuses(of(2), too_high(1, 2));
        assert_eq!(chain.answer(of(1)), Ok(()));
    }
    chain.pass(1, [withdraw(1)]);
    let nothing = TransactionError::NothingToWithdraw { node: public(1) };
    assert!(!nothing.may_pass());
    chain.refuses(withdraw(2), nothing);
    chain.refuses(suspect(1), too_low(2, 1));
    // The numbers of one pair are not those of another, and outlast what was said.
    assert_eq!(chain.state.next_suspicion_sequence(&public(2), &public(1)), Sequence(2));
    assert_eq!(chain.state.next_suspicion_sequence(&public(2), &public(3)), Sequence(0));
    assert_eq!(chain.state.next_suspicion_sequence(&public(1), &public(2)), Sequence(0));
}

#[test]
fn what_validators_say_carries_no_nonce() {
    let chain = Chain::after(4, Reason::Link, [2, 3]);
    for order in [chain.suspect(4, 1, Reason::Link), chain.withdraw(2, 1), chain.alive(1), chain.drain(1)] {
        let tx = Transaction { nonce: Nonce(1), ..chain.sign(order, 0) };
        let answer = chain.state.check_unsigned(&tx, chain.state.height().after(1));
        assert_eq!(answer, Err(TransactionError::NonceUnused { got: Nonce(1) }));
    }
}

// What becomes of tasks.

#[test]
fn leases_move_in_the_very_block_of_the_verdict_and_use_up_a_retry() {
    let mut chain = Chain::new(4);
    chain.pass(1, [chain.submit("a", 1), chain.submit("b", 0), chain.submit("c", 1), chain.submit("d", 1)]);
    for (id, retries) in [("a", 1), ("b", 0)] {
        let mut chain = chain.clone();
        let (holder, completion) = (seed_of(&chain.lease(id).holder), chain.completion_of(id));
        let others: Vec<u8> = (1..=4).filter(|seed| *seed != holder).collect();
        chain.pass(1, [chain.suspect(others[0], holder, Reason::Link)]);
        assert_eq!(chain.lease(id).holder, public(holder));
        chain.pass(1, [chain.suspect(others[1], holder, Reason::Link)]);
        assert_eq!((chain.phase(holder), chain.leases(holder)), (Phase::Unresponsive, 0));
        let task = chain.task(id);
        assert_eq!((task.reason.as_str(), &task.lost_by), ("its holder was found unresponsive", &vec![public(holder)]));
        assert_eq!(task.state.name(), if retries == 0 { "failed" } else { "leased" });
        assert!(matches!(chain.answer(completion), Err(TransactionError::LeaseStale { .. })));
    }
}

#[test]
fn a_verdict_moves_no_lease_that_waits_or_is_kept() {
    let mut chain = Chain::new(4);
    let tasks = Policy::ALL.into_iter().flat_map(|policy| (0..4).map(move |n| (format!("{policy}-{n}"), policy)));
    chain.pass(1, tasks.clone().map(|(id, policy)| chain.submit_with(&id, 1, policy)).collect::<Vec<_>>());
    let of_first = |chain: &Chain| {
        let held = tasks.clone().filter(|(id, _)| chain.lease(id).holder == public(1));
        held.map(|(_, policy)| policy).collect::<Vec<_>>()
    };
    assert_eq!(of_first(&chain), Policy::ALL);
    chain.pass(1, [2, 3].map(|seed| chain.suspect(seed, 1, Reason::Link)));
    assert_eq!((chain.phase(1), of_first(&chain)), (Phase::Unresponsive, vec![Policy::Wait, Policy::Keep]));
    // Under the lease that it still has, the holder may complete.
    chain.pass(1, [chain.completion_of("wait-0")]);
    assert_eq!(chain.task("wait-0").state.name(), "done");
}

#[test]
fn a_verdict_costs_reputation_and_a_network_event_beyond_the_first_f_does_not() {
    let mut chain = Chain::new(7);
    let orders: Vec<Order> = (1..=4)
        .flat_map(|accused| [5, 6, 7].map(|seed| (seed, accused)))
        .map(|(seed, accused)| chain.suspect(seed, accused, Reason::Link))
        .collect();
    chain.pass(1, orders);
    let reputation = |seed| chain.state.worker(&public(seed)).expect("a validator").reputation.per_mille();
    assert_eq!((1..=7).map(reputation).collect::<Vec<_>>(), [900, 900, 1_000, 1_000, 1_000, 1_000, 1_000]);
}

#[test]
fn a_completion_counts_in_the_block_of_the_verdict() {
    let mut chain = Chain::new(4);
    chain.pass(1, [chain.submit("a", 1)]);
    let holder = seed_of(&chain.lease("a").holder);
    let others: Vec<u8> = (1..=4).filter(|seed| *seed != holder).collect();
    let accusations: Vec<Order> = others.iter().map(|seed| chain.suspect(*seed, holder, Reason::Link)).collect();
    chain.pass(1, accusations.into_iter().chain([chain.completion_of("a")]));
    assert_eq!((chain.task("a").state.name(), chain.phase(holder)), ("done", Phase::Unresponsive));
}

#[test]
fn who_is_unresponsive_is_leased_nothing_until_it_is_back() {
    let mut chain = Chain::after(4, Reason::Link, [2, 3]);
    let tasks =
        |chain: &Chain, prefix: &str| (0..8).map(|n| chain.submit(&format!("{prefix}{n}"), 1)).collect::<Vec<_>>();
    chain.pass(1, tasks(&chain, "early-"));
    assert_eq!((1..=4).map(|seed| chain.leases(seed)).collect::<Vec<_>>(), [0, 3, 3, 2]);
    chain.lapse(u64::from(DWELL_MS_MIN));
    chain.pass(1, tasks(&chain, "late-").into_iter().chain([chain.alive(1)]));
    assert_eq!(chain.leases(1), 1, "on trial it gets one");
}

#[test]
fn who_is_drained_keeps_its_leases_and_gets_no_new_ones() {
    let mut chain = Chain::new(4);
    chain.pass(1, ["a", "b", "c", "d"].map(|id| chain.submit(id, 1)));
    chain.pass(1, [chain.drain(1)]);
    assert_eq!((chain.standing(1).drained, chain.state.is_drained(&public(1))), (Some(Height(2)), true));
    chain.pass(1, ["e", "f", "g", "h"].map(|id| chain.submit(id, 1)));
    assert_eq!((chain.leases(1), (2..=4).map(|seed| chain.leases(seed)).sum::<usize>()), (1, 7));
    let drained = TransactionError::DrainedAlready { since: Height(2) };
    chain.refuses(chain.drain(1), drained);
    chain.refuses(chain.undrain(2), TransactionError::NotDrained);
    let again = (1, Kind::Drain { sequence: Sequence(0) });
    chain.refuses(again, TransactionError::SequenceTooLow { expected: Sequence(1), got: Sequence(0) });
    chain.pass(1, [chain.undrain(1), chain.submit("i", 1)]);
    assert_eq!((chain.leases(1), chain.standing(1).drained), (2, None));
}

// How a validator comes back.

#[test]
fn its_own_word_brings_back_who_was_said_to_be_gone_and_clears_what_was_said() {
    for reason in [Reason::Link, Reason::Process, Reason::Consensus] {
        let mut chain = Chain::after(4, reason, [2, 3, 4]);
        chain.lapse(u64::from(DWELL_MS_MIN) - 1);
        let early = TransactionError::AliveTooEarly { got: VerdictNumber(1), left: 1 };
        assert!(early.may_pass());
        chain.refuses(chain.alive(1), early);
        // Nobody else's word, and no other verdict.
        let stale = TransactionError::AliveStale { got: VerdictNumber(0), last: VerdictNumber(0), now: "active" };
        chain.refuses((2, Kind::Alive { verdict: VerdictNumber(0) }), stale);
        let ahead = TransactionError::AliveAhead { got: VerdictNumber(2) };
        assert!(ahead.may_pass());
        chain.refuses((1, Kind::Alive { verdict: VerdictNumber(2) }), ahead);
        chain.pass(1, []);
        let alive = chain.alive(1);
        chain.pass(1, [alive.clone()]);
        assert_eq!((chain.phase(1), chain.standing(1).accusations.len()), (Phase::Trial, 0));
        assert_eq!([2, 3, 4].map(|seed| chain.standing(seed).diverged), [0; 3], "they agreed with others");
        let stale = TransactionError::AliveStale { got: VerdictNumber(1), last: VerdictNumber(1), now: "trial" };
        assert!(!stale.may_pass());
        chain.refuses(alive, stale);
    }
}

#[test]
fn nobody_comes_back_by_fewer_suspicions_who_was_said_to_be_gone() {
    let mut chain = Chain::after(4, Reason::Link, [2, 3]);
    chain.pass(1, [chain.withdraw(2, 1), chain.withdraw(3, 1)]);
    chain.lapse(120_000);
    assert_eq!((chain.phase(1), chain.standing(1).accusations.len()), (Phase::Unresponsive, 0));
    assert_eq!(chain.answer(chain.alive(1)), Ok(()));
}

#[test]
fn who_was_said_to_be_sick_comes_back_when_no_more_than_f_say_so_and_the_dwell_is_over() {
    for reason in [Reason::Executor, Reason::Disk, Reason::Clock] {
        let mut chain = Chain::after(7, reason, [2, 3, 4]);
        chain.lapse(10_000);
        let of_no_use = TransactionError::AliveOfNoUse { reason: reason.name() };
        assert!(!of_no_use.may_pass());
        chain.refuses(chain.alive(1), of_no_use);
        assert_eq!(chain.phase(1), Phase::Unresponsive, "three still say so");
        chain.pass(1, [chain.withdraw(2, 1)]);
        assert_eq!((chain.phase(1), chain.standing(1).accusations.len()), (Phase::Trial, 2));
        // What others still say stands, and one more makes the next verdict.
        chain.pass(1, [chain.suspect(5, 1, Reason::Disk)]);
        assert_eq!(chain.verdict(1).number, VerdictNumber(2));

        let mut early = Chain::after(7, reason, [2, 3, 4]);
        early.pass(1, [early.withdraw(2, 1)]);
        early.lapse(u64::from(DWELL_MS_MIN) - 2);
        assert_eq!(early.phase(1), Phase::Unresponsive);
        early.pass(1, []);
        assert_eq!(early.phase(1), Phase::Trial);
    }
}

#[test]
fn the_dwell_doubles_with_each_verdict_and_forgets_after_ten_minutes() {
    let mut chain = Chain::new(4);
    let mut dwells = Vec::new();
    for _ in 0..7 {
        chain.pass(1, [2, 3].map(|seed| chain.suspect(seed, 1, Reason::Link)));
        let verdict = chain.verdict(1);
        dwells.push(verdict.dwell_ms);
        chain.lapse(u64::from(verdict.dwell_ms));
        chain.pass(1, [chain.alive(1)]);
    }
    assert_eq!(dwells, [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    assert_eq!(chain.standing(1).history.len(), 14);
    chain.lapse(DWELL_MEMORY_MS + 1);
    chain.pass(1, [2, 3].map(|seed| chain.suspect(seed, 1, Reason::Link)));
    assert_eq!(chain.verdict(1).dwell_ms, 2_000);
}

#[test]
fn a_trial_is_over_after_a_hundred_blocks_and_completions_together() {
    let mut chain = Chain::after(4, Reason::Link, [2, 3]);
    chain.lapse(u64::from(DWELL_MS_MIN));
    chain.leaders = vec![2];
    chain.pass(1, [chain.alive(1), chain.submit("a", 1)]);
    assert_eq!(chain.standing(1).status, Status::Trial { left: TRIAL });
    chain.leaders = vec![1];
    chain.wait(10);
    assert_eq!(chain.standing(1).status, Status::Trial { left: TRIAL - 10 });
    chain.leaders = vec![2];
    let mut left = TRIAL - 10;
    for n in 0..10 {
        chain.pass(1, (0..4).map(|of| chain.submit(&format!("t{n}-{of}"), 1)).collect::<Vec<_>>());
        assert_eq!(chain.leases(1), 1, "one at a time");
        let number = chain.state.leased_to(public(1)).next().expect("it has one");
        let id = chain.state.task(number).expect("it is stored").id;
        chain.pass(1, [chain.completion_of(id.as_str())]);
        left -= 1;
        assert_eq!(chain.standing(1).status, Status::Trial { left });
    }
    chain.leaders = vec![1];
    chain.wait(u64::from(left) - 1);
    assert_eq!(chain.standing(1).status, Status::Trial { left: 1 });
    chain.wait(1);
    assert_eq!(chain.phase(1), Phase::Active);
    assert_eq!(turns(&chain, 1), ["unresponsive", "trial", "active"]);
    chain.pass(1, (0..8).map(|of| chain.submit(&format!("last-{of}"), 1)).collect::<Vec<_>>());
    assert!(chain.leases(1) > 1);
}

// When the network is at fault.

#[test]
fn more_than_f_at_once_are_a_network_event_with_no_trial_for_anybody() {
    let mut chain = Chain::new(7);
    let fall = |chain: &mut Chain, accused: u8| {
        let accusers = [5, 6, 7].map(|seed| chain.suspect(seed, accused, Reason::Link));
        chain.pass(1, accusers);
    };
    for (accused, is_event) in [(1, false), (2, false), (3, true), (4, true)] {
        fall(&mut chain, accused);
        assert_eq!(chain.verdict(accused).is_network_event, is_event, "{accused}");
        assert_eq!(chain.state.is_network_event(), is_event);
    }
    chain.lapse(u64::from(DWELL_MS_MIN));
    for accused in 1..=4 {
        assert!(chain.verdict(accused).is_trial_waived);
        chain.pass(1, [chain.alive(accused)]);
        assert_eq!((chain.phase(accused), turns(&chain, accused)), (Phase::Active, vec!["unresponsive", "active"]));
    }
    assert!(!chain.state.is_network_event());
    // It is over, and the next one is like any other.
    fall(&mut chain, 1);
    assert!(!chain.verdict(1).is_network_event && !chain.verdict(1).is_trial_waived);
}

#[test]
fn of_several_verdicts_in_a_block_the_first_f_by_key_are_their_own_fault() {
    let mut chain = Chain::new(7);
    let orders: Vec<Order> = (1..=4)
        .flat_map(|accused| [5, 6, 7].map(|seed| (seed, accused)))
        .map(|(seed, accused)| chain.suspect(seed, accused, Reason::Link))
        .collect();
    chain.pass(1, orders);
    assert_eq!([1, 2, 3, 4].map(|seed| chain.verdict(seed).is_network_event), [false, false, true, true]);
    assert!([1, 2, 3, 4].iter().all(|seed| chain.verdict(*seed).is_trial_waived));
    assert!(chain.state.verdict_changes().iter().map(|(node, _)| *node).eq((1..=4).map(public)));
}

// What is kept.

#[test]
fn the_reason_of_a_verdict_is_the_most_frequent_one() {
    let mut chain = Chain::after(7, Reason::Disk, [2]);
    chain.pass(1, [3, 4].map(|seed| chain.suspect(seed, 1, Reason::Clock)));
    assert_eq!(chain.verdict(1).reason, Reason::Clock);
}

#[test]
fn accusers_with_whom_nobody_agrees_are_counted_and_weigh_as_much_as_others() {
    let mut chain = Chain::new(4);
    for times in 1..=3 {
        chain.pass(1, [chain.suspect(2, 1, Reason::Link)]);
        chain.pass(1, [chain.withdraw(2, 1)]);
        assert_eq!(chain.standing(2).diverged, times);
    }
    chain.pass(1, [2, 3].map(|seed| chain.suspect(seed, 1, Reason::Link)));
    assert_eq!(chain.phase(1), Phase::Unresponsive);
    // Who joins later agrees as well.
    chain.pass(1, [chain.suspect(4, 1, Reason::Link)]);
    chain.pass(1, [chain.withdraw(2, 1), chain.withdraw(4, 1)]);
    assert_eq!([2, 4].map(|seed| chain.standing(seed).diverged), [3, 0]);
}

#[test]
fn a_block_tells_what_it_changed_and_only_that() {
    let mut chain = Chain::after(4, Reason::Link, [2, 3]);
    let told = |chain: &Chain| {
        chain
            .state
            .verdict_changes()
            .iter()
            .map(|(node, change)| (seed_of(node), change.turn.name()))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&chain), [(1, "unresponsive")]);
    chain.pass(1, [chain.drain(2)]);
    assert_eq!(told(&chain), [(2, "drained")]);
    chain.lapse(u64::from(DWELL_MS_MIN));
    assert_eq!(told(&chain), []);
    chain.pass(1, [chain.undrain(2), chain.alive(1)]);
    assert_eq!(told(&chain), [(2, "undrained"), (1, "trial")]);
}

#[test]
fn the_history_keeps_the_last_sixteen_changes_and_no_drain_pushes_them_out() {
    let mut chain = Chain::new(4);
    for round in 0..10 {
        chain.pass(1, [2, 3].map(|seed| chain.suspect(seed, 1, Reason::Link)));
        chain.lapse(u64::from(DWELL_MS_MAX));
        chain.pass(1, [chain.alive(1), chain.drain(1)]);
        chain.pass(1, [chain.undrain(1)]);
        assert_eq!(chain.standing(1).history.len(), CHANGES_MAX.min(2 * round + 2));
    }
    let history = chain.standing(1).history;
    assert!(history.is_sorted_by_key(|change| change.height));
    let Turn::Unresponsive(verdict) = &history[0].turn else { panic!("falls and returns take turns") };
    assert_eq!(verdict.number, VerdictNumber(3));
}

// Checkpoints.

/// A chain with a validator in every status, statements of every kind, and a history.
fn eventful() -> Chain {
    let mut chain = Chain::after(7, Reason::Link, [2, 3, 4]);
    chain.lapse(u64::from(DWELL_MS_MIN));
    chain.pass(1, [chain.alive(1), chain.drain(5), chain.submit("a", 1), chain.submit("b", 1)]);
    chain.pass(1, [3, 4, 5].map(|seed| chain.suspect(seed, 2, Reason::Disk)));
    chain.pass(1, [chain.suspect(6, 3, Reason::Clock), chain.suspect(7, 3, Reason::Clock)]);
    chain.pass(1, [chain.withdraw(7, 3), chain.withdraw(3, 2), chain.suspect(6, 2, Reason::Executor)]);
    chain
}

#[test]
fn a_restored_state_equals_the_original_and_goes_on_like_it() {
    let mut original = eventful();
    assert_eq!([1, 2, 3].map(|seed| original.phase(seed)), [Phase::Trial, Phase::Unresponsive, Phase::Active]);
    let state = original.restore(|_| {}).expect("its own entries");
    let mut restored = Chain { state, ..original.clone() };
    for step in 0..40 {
        assert_eq!(picture(&restored.state), picture(&original.state), "step {step}");
        for chain in [&mut original, &mut restored] {
            match step {
                0 => chain.pass(1, [chain.suspect(7, 2, Reason::Disk), chain.undrain(5)]),
                2 => chain.pass(1, [chain.withdraw(4, 2), chain.withdraw(5, 2), chain.submit("c", 0)]),
                _ => chain.pass(1_000, []),
            }
        }
        assert_eq!(restored.state.verdict_changes(), original.state.verdict_changes(), "step {step}");
        assert!((1..=7).all(|seed| restored.state.worker(&public(seed)) == original.state.worker(&public(seed))));
    }
}

#[test]
fn records_that_could_not_have_become_are_refused() {
    let chain = eventful();
    let record = |seed| Record::clone(&chain.state.verdicts().records[&public(seed)]);
    let check = |seed, change: &dyn Fn(&mut Record), what| {
        let mut damaged = record(seed);
        change(&mut damaged);
        let answer = chain.restore(|tree| tree.insert(&record_key(&public(seed)), &damaged.encode()));
        assert_eq!(answer.err(), Some(StateError::Standing { node: public(seed), what }));
    };
    let foreign = "has accusers that are no validators";
    let with = |accusers: &Accusers| {
        let verdict = Verdict { accusers: accusers.clone(), ..chain.verdict(2) };
        move |record: &mut Record| record.status = Status::Unresponsive(verdict.clone())
    };
    check(2, &with(&Accusers::of(8, [7].into_iter())), foreign);
    check(2, &with(&Accusers::of(9, [3].into_iter())), foreign);
    let turn = Turn::Unresponsive(Verdict { accusers: Accusers::of(8, [7].into_iter()), ..chain.verdict(2) });
    let change = Change { height: Height(1), at: Timestamp(1), turn };
    check(1, &|record| record.remember(change.clone()), foreign);
    check(2, &|record| record.verdicts = VerdictNumber(2), "has a verdict that is not its last");
    let too_long = chain.restore(|tree| {
        let mut damaged = record(1);
        damaged.history = vec![Change { height: Height(1), at: Timestamp(1), turn: Turn::Trial }; CHANGES_MAX + 1];
        tree.insert(&record_key(&public(1)), &damaged.encode());
    });
    assert!(matches!(too_long.err(), Some(StateError::Value { .. })));
}

#[test]
fn words_of_and_about_who_is_no_validator_and_about_oneself_are_refused() {
    let chain = eventful();
    let statement = Statement { next: Sequence(1), standing: None }.encode();
    for pair in [(1, STRANGER), (STRANGER, 1), (1, 1)].map(|(accused, accuser)| (public(accused), public(accuser))) {
        let answer = chain.restore(|tree| tree.insert(&statement_key(&pair), &statement));
        assert!(matches!(answer.err(), Some(StateError::Key { .. })), "{pair:?}");
    }
    let answer = chain.restore(|tree| tree.insert(&record_key(&public(STRANGER)), &Record::default().encode()));
    assert!(matches!(answer.err(), Some(StateError::Key { .. })));
}

/// The formats are stable: whoever means to change one raises its version, and then this value.
#[test]
fn the_format_of_a_state_with_verdicts_is_what_it_was() {
    assert_eq!(eventful().state.root().to_string()[..16], *"0e42c31b2e42e415");
}
