use super::*;
use crate::{
    block::Block,
    genesis::{Certified, Genesis, GenesisBalance, GenesisValidator},
    state::{BlockError, Share, State},
    transaction::{Kind, SecretKey, Transaction},
    types::{Amount, ChainId, Hash, Nonce, Signature},
};
use proptest::prelude::*;
use std::sync::LazyLock;

mod model;

/// Validators are 1 to 4. These two own something, and the last one nothing.
const ANNA: u8 = 5;
const BERT: u8 = 6;
const NOBODY: u8 = 7;

const KEEP_BLOCKS: u64 = 10;

/// Derived once: a property needs them a million times.
static KEYS: LazyLock<[PublicKey; 8]> =
    LazyLock::new(|| std::array::from_fn(|seed| SecretKey::from_bytes([seed as u8; 32]).public()));

fn public(seed: u8) -> PublicKey {
    KEYS[usize::from(seed)]
}

fn seed_of(key: &PublicKey) -> u8 {
    (1..=NOBODY).find(|seed| public(*seed) == *key).expect("one of ours")
}

fn limits() -> TaskLimits {
    TaskLimits {
        tasks_max: 400,
        open_per_account_max: 300,
        pending_max: 400,
        payload_bytes_max: 1 << 16,
        keep_blocks: KEEP_BLOCKS,
    }
}

fn genesis(capacities: &[u32], limits: TaskLimits) -> Genesis {
    let validator = |(capacity, seed): (&u32, u8)| GenesisValidator {
        name: format!("v{seed}"),
        key: public(seed),
        address: format!("host-{seed}:7000"),
        region: "local".to_owned(),
        capacity: *capacity,
        supervisor: None,
    };
    Genesis {
        version: 1,
        chain_id: "test".parse().expect("a chain id"),
        byzantine_budget: 0,
        timestamp_ms: 1_000,
        validators: capacities.iter().zip(1..).map(validator).collect(),
        balances: [ANNA, BERT].map(|seed| GenesisBalance { account: public(seed), amount: Amount(1) }).into(),
        tasks: limits,
        epochs: crate::genesis::EpochLimits::default(),
        certified: Certified::default(),
    }
}

/// What somebody orders. Signatures are taken on trust here: whether they are checked is the question of others.
type Order = (u8, Kind);

fn id(text: &str) -> TaskId {
    text.parse().expect("a task id")
}

/// A task of one unit, two leases of ten seconds, and no deadline.
fn task(text: &str) -> Submission {
    Submission {
        id: id(text),
        executor: "echo".parse().expect("an executor"),
        payload: text.into(),
        units: 1,
        lease_ms: 10_000,
        retries: 1,
        deadline: Timestamp(u64::MAX),
        policy: Policy::Replace,
        region: None,
    }
}

fn submit(who: u8, submission: Submission) -> Order {
    (who, Kind::SubmitTask(submission))
}

fn cancel(who: u8, text: &str) -> Order {
    (who, Kind::CancelTask { id: id(text) })
}

fn complete(who: u8, claim: Claim) -> Order {
    (who, Kind::CompleteTask { claim, output: Output::Inline(b"done".into()) })
}

fn decline(who: u8, claim: Claim) -> Order {
    (who, Kind::DeclineTask { claim, reason: "no such program".into() })
}

fn renew(who: u8, claim: Claim, renewals: u32) -> Order {
    (who, Kind::RenewLease { claim, renewals })
}

const fn place_of(block: &Block) -> Place {
    Place { height: block.height, timestamp: block.timestamp }
}

/// A chain that is led by some of its validators in turn.
#[derive(Clone)]
struct Chain {
    state: State,
    leaders: Vec<u8>,
}

impl Chain {
    fn new() -> Self {
        Self::with(&[1; 4], limits())
    }

    fn with(capacities: &[u32], limits: TaskLimits) -> Self {
        let leaders = (1..).take(capacities.len()).collect();
        Self { state: State::genesis(&genesis(capacities, limits)), leaders }
    }

    /// A chain on which these were submitted in the first block, and leased as far as there is room.
    fn after(submissions: impl IntoIterator<Item = Submission>) -> Self {
        let mut chain = Self::new();
        chain.pass(1, submissions.into_iter().map(|submission| submit(ANNA, submission)));
        chain
    }

    fn sign(&self, (who, kind): Order, sequenced_before: u64) -> Transaction {
        let nonce = match kind.is_sequenced() {
            true => self.state.account(&public(who)).nonce.0 + sequenced_before,
            false => 0,
        };
        Transaction {
            version: crate::transaction::VERSION,
            chain: self.state.chain().clone(),
            account: public(who),
            nonce: Nonce(nonce),
            expires: self.state.height().after(KEEP_BLOCKS),
            kind,
            signature: Signature::ZERO,
        }
    }

    fn block(&self, ms: u64, transactions: Vec<Transaction>) -> Block {
        let turn = usize::try_from(self.state.height().0).expect("a low height") % self.leaders.len();
        Block::on(&self.state, public(self.leaders[turn]), self.state.timestamp().after(ms), transactions)
    }

    /// The next block, so many milliseconds later, with these orders: all of them must be good.
    fn pass(&mut self, ms: u64, orders: impl IntoIterator<Item = Order>) {
        let mut sequenced = [0; 8];
        let mut transactions = Vec::new();
        for order in orders {
            let before = &mut sequenced[usize::from(order.0)];
            transactions.push(self.sign(order, *before));
            *before += 1;
        }
        self.state.apply_verified(&self.block(ms, transactions), |_| true).expect("a good block");
    }

    /// So many blocks, a millisecond apart.
    fn wait(&mut self, blocks: u64) {
        (0..blocks).for_each(|_| self.pass(1, []));
    }

    /// Lets so much lease time pass, in blocks that are as far apart as lease time goes along with.
    fn lapse(&mut self, ms: u64) {
        let until = self.state.lease_time().after(ms);
        while self.state.lease_time() < until {
            self.pass((until.0 - self.state.lease_time().0).min(TICK_MS_MAX), []);
        }
    }

    /// What is said to a transaction: the three ways to ask must agree, and a refusal must leave no mark.
    fn answer(&self, tx: &Transaction) -> Result<(), TransactionError> {
        let (mut proposer, mut follower) = (self.clone(), self.clone());
        let block = self.block(1, vec![tx.clone()]);
        let answer = self.state.check_unsigned(tx, block.height);
        assert_eq!(proposer.state.apply_transaction_verified(tx, place_of(&block)), answer);
        let wrapped =
            |error| BlockError::Transaction { height: block.height, index: 0, id: tx.id(), error: Box::new(error) };
        assert_eq!(follower.state.apply_verified(&block, |_| true), answer.clone().map_err(wrapped));
        match answer {
            Ok(()) => proposer.settle(&block),
            Err(_) => assert_eq!(proposer.picture(), self.picture(), "a refusal left its mark"),
        }
        assert_eq!(follower.picture(), proposer.picture());
        answer
    }

    /// Ends a block whose transactions took effect one by one.
    fn settle(&mut self, block: &Block) {
        self.state.settle(place_of(block), block.leader, block.parent_state_root);
    }

    fn accepts(&self, order: Order) {
        assert_eq!(self.answer(&self.sign(order, 0)), Ok(()));
    }

    fn refuses(&self, order: Order, expected: TransactionError) {
        assert_eq!(self.answer(&self.sign(order, 0)), Err(expected));
    }

    /// No order of `who` under `claim` has any effect.
    fn refuses_claim(&self, who: u8, claim: Claim, expected: &TransactionError) {
        for order in [complete(who, claim), decline(who, claim), renew(who, claim, 0)] {
            self.refuses(order, expected.clone());
        }
    }

    fn find(&self, text: &str) -> Option<Task> {
        let id = id(text);
        let number = self.state.tasks_named(&id).next()?;
        Some(self.state.task(number).expect("whatever has a name is stored"))
    }

    fn task(&self, text: &str) -> Task {
        self.find(text).expect("the task is there")
    }

    fn is(&self, text: &str) -> &'static str {
        self.find(text).map_or("forgotten", |task| task.state.name())
    }

    fn claim(&self, text: &str) -> Claim {
        let task = self.task(text);
        Claim { task: task.number, token: lease_of(&task).token }
    }

    fn holder(&self, text: &str) -> u8 {
        seed_of(&lease_of(&self.task(text)).holder)
    }

    fn worker(&self, seed: u8) -> Worker {
        self.state.worker(&public(seed)).expect("a validator")
    }

    fn completion_of(&self, text: &str) -> Order {
        complete(self.holder(text), self.claim(text))
    }

    fn decline_of(&self, text: &str) -> Order {
        decline(self.holder(text), self.claim(text))
    }

    fn renewal_of(&self, text: &str) -> Order {
        renew(self.holder(text), self.claim(text), lease_of(&self.task(text)).renewals)
    }

    /// The state that its own entries lead to.
    fn restored(&self) -> Self {
        let state = self.restore(|_| {}).expect("its own entries");
        Self { state, leaders: self.leaders.clone() }
    }

    fn restore(&self, damage: impl FnOnce(&mut Tree)) -> Result<State, StateError> {
        let mut tree = self.state.clone().parts().1.clone();
        damage(&mut tree);
        let (chain, height, timestamp) = (self.state.chain(), self.state.height(), self.state.timestamp());
        State::from_entries(chain, height, self.state.digest(), timestamp, &tree)
    }

    /// All there is to tell two states of tasks apart.
    fn picture(&self) -> (Hash, Tasks) {
        (self.state.root(), self.index())
    }

    /// What follows from the entries; what changed last does not.
    fn index(&self) -> Tasks {
        let mut index = self.state.clone().parts().0.clone();
        index.begin();
        index
    }
}

fn stale(claim: Claim, now: &str) -> TransactionError {
    TransactionError::LeaseStale { claim, now: now.to_owned() }
}

// From submission to result.

#[test]
fn a_task_is_leased_in_the_block_that_holds_its_submission_and_done_by_its_holder() {
    let mut chain = Chain::after([task("a")]);
    let lease = lease_of(&chain.task("a"));
    assert_eq!(lease.until, Place { height: Height(11), timestamp: Timestamp(11_001) });
    assert_eq!(chain.state.leased_to(lease.holder).collect::<Vec<_>>(), [TaskNumber(1)]);
    assert_eq!(chain.state.payload(TaskNumber(1)), Some(b"a".as_slice()));
    chain.pass(1, [chain.completion_of("a")]);
    let expected = Done {
        by: lease.holder,
        token: lease.token,
        at: Height(2),
        sha256: digest::sha256(b"done"),
        bytes: 4,
        kept_at: None,
    };
    assert_eq!(chain.task("a").state, TaskState::Done(expected));
    assert_eq!(chain.state.leased_to(lease.holder).count(), 0);
}

#[test]
fn a_result_may_be_kept_elsewhere() {
    let mut chain = Chain::after([task("a")]);
    let output = Output::Kept { sha256: Hash([9; 32]), bytes: 1 << 40, at: "s3://results/a".into() };
    chain.pass(1, [(chain.holder("a"), Kind::CompleteTask { claim: chain.claim("a"), output })]);
    let TaskState::Done(done) = chain.task("a").state else { panic!("it is done") };
    assert_eq!((done.sha256, done.bytes, done.kept_at), (Hash([9; 32]), 1 << 40, Some("s3://results/a".into())));
}

#[test]
fn a_payload_goes_when_its_task_is_finished_and_not_before() {
    let mut chain = Chain::after(["done", "cancelled", "failed"].map(|id| Submission { retries: 0, ..task(id) }));
    let payloads = |chain: &Chain| (1..=3).filter(|n| chain.state.payload(TaskNumber(*n)).is_some()).count();
    assert_eq!(payloads(&chain), 3);
    for (order, left) in
        [(chain.completion_of("done"), 2), (cancel(ANNA, "cancelled"), 1), (chain.decline_of("failed"), 0)]
    {
        chain.pass(1, [order]);
        assert_eq!(payloads(&chain), left);
    }
    assert_eq!(["done", "cancelled", "failed"].map(|id| chain.is(id)), ["done", "cancelled", "failed"]);
}

#[test]
fn tokens_grow_over_all_tasks_and_numbers_are_given_in_order() {
    let mut chain = Chain::after([task("a"), task("b")]);
    let token = |chain: &Chain, id| chain.claim(id).token.0;
    assert_eq!([token(&chain, "a"), token(&chain, "b")], [1, 2]);
    chain.pass(1, [chain.decline_of("a"), submit(BERT, task("c"))]);
    assert_eq!([token(&chain, "a"), token(&chain, "b"), token(&chain, "c")], [3, 2, 4]);
    assert_eq!(["a", "b", "c"].map(|id| chain.task(id).number.0), [1, 2, 3]);
}

#[test]
fn counts_follow_every_task_until_it_is_forgotten() {
    // One waits behind four that fill their holders.
    let full = |id| Submission { units: balance::UNITS_MAX, retries: 0, ..task(id) };
    let mut chain = Chain::after(["a", "b", "c", "d", "e"].map(full));
    let counts = |pending, leased, done, failed, cancelled| TaskCounts { pending, leased, done, failed, cancelled };
    assert_eq!(chain.state.task_counts(), counts(1, 4, 0, 0, 0));
    chain.pass(1, [chain.completion_of("a"), chain.decline_of("b"), cancel(ANNA, "c")]);
    assert_eq!(chain.state.task_counts(), counts(0, 2, 1, 1, 1));
    chain.wait(KEEP_BLOCKS);
    assert_eq!(chain.state.task_counts(), counts(0, 2, 1, 1, 1));
    chain.wait(1);
    assert_eq!(chain.state.task_counts(), counts(0, 2, 0, 0, 0));
}

#[test]
fn a_block_tells_which_tasks_it_changed() {
    let mut chain = Chain::after([task("a"), task("b")]);
    let changes = |chain: &Chain| chain.state.task_changes().iter().map(|number| number.0).collect::<Vec<_>>();
    assert_eq!(changes(&chain), [1, 2, 1, 2], "both submitted, then both leased");
    chain.pass(1, [chain.completion_of("b")]);
    assert_eq!(changes(&chain), [2]);
    chain.pass(1, []);
    assert_eq!(changes(&chain), []);
    chain.pass(1, [chain.decline_of("a")]);
    assert_eq!(changes(&chain), [1, 1], "declined, then leased to another");
}

#[test]
fn tasks_of_one_name_belong_to_different_accounts() {
    let mut chain = Chain::after([task("same"), task("sam"), task("samf")]);
    chain.pass(1, [submit(BERT, task("same"))]);
    let (name, chain) = (id("same"), chain.state);
    let mut named: Vec<_> = chain.tasks_named(&name).collect();
    named.sort();
    assert_eq!(named, [TaskNumber(1), TaskNumber(4)]);
    let of = |seed| chain.task_number(&public(seed), &name);
    assert_eq!([of(ANNA), of(BERT), of(NOBODY)], [Some(TaskNumber(1)), Some(TaskNumber(4)), None]);
    let numbers = |first| chain.tasks_from(TaskNumber(first)).map(|task| task.number.0).collect::<Vec<_>>();
    assert_eq!((numbers(0), numbers(3), numbers(5)), (vec![1, 2, 3, 4], vec![3, 4], vec![]));
}

// When a lease ends.

/// A lease of so many milliseconds; then blocks that are so far apart. Is it over by the last of them?
fn check_run_out(lease_ms: u32, gaps: &[u64], is_over: bool) {
    let mut chain = Chain::after([Submission { lease_ms, ..task("a") }]);
    let claim = chain.claim("a");
    for ms in gaps {
        assert_eq!(chain.claim("a"), claim, "over too early, with blocks {gaps:?} apart");
        chain.pass(*ms, []);
    }
    assert_eq!(chain.claim("a") != claim, is_over, "blocks {gaps:?} apart");
}

/// So many blocks of so many milliseconds each, and these after them.
fn and_then(blocks: usize, ms: u64, rest: &[u64]) -> Vec<u64> {
    [&vec![ms; blocks], rest].concat()
}

#[test]
fn a_lease_runs_out_when_its_lease_time_has_passed() {
    for (blocks, ms) in [(10, 1_000), (100, 100), (1_000, 10)] {
        check_run_out(10_000, &and_then(blocks, ms, &[]), false);
        check_run_out(10_000, &and_then(blocks, ms, &[1]), true);
        check_run_out(10_000, &and_then(blocks - 1, ms, &[ms - 1, 1]), false);
    }
}

#[test]
fn a_lease_lasts_at_least_four_blocks() {
    for lease_ms in [1_000, 1_001] {
        check_run_out(lease_ms, &[1_000, 1_000, 1_000, 1_000], false);
        check_run_out(lease_ms, &[1_000, 1_000, 1_000, 1_000, 1], true);
    }
    check_run_out(4_000, &and_then(4, 1_000, &[1]), true);
}

#[test]
fn a_gap_between_blocks_takes_a_second_from_a_lease_and_no_more() {
    for gap in [1_000, 1_001, 60_000, 3_600_000, u64::MAX / 2] {
        // Whenever the halt begins: its blocks have passed long before in all but the first.
        for before in [0, 10, 200] {
            let ms = 9_000_u64.checked_div(before as u64).unwrap_or(0);
            let rest = 9_000 - ms * before as u64;
            let others = [rest / 9; 9];
            let gaps: Vec<u64> = vec![ms; before].into_iter().chain(others.into_iter().filter(|ms| *ms > 0)).collect();
            check_run_out(10_000, &[gaps.as_slice(), &[gap]].concat(), false);
            check_run_out(10_000, &[gaps.as_slice(), &[gap, 1]].concat(), true);
        }
    }
}

#[test]
fn a_lease_says_what_is_left_of_it() {
    let mut chain = Chain::after([task("a")]);
    let left = |chain: &Chain| chain.state.lease_left_ms(&lease_of(&chain.task("a")));
    assert_eq!((chain.state.lease_time(), left(&chain)), (Timestamp(1_001), 10_000));
    chain.pass(500, []);
    assert_eq!((chain.state.lease_time(), left(&chain)), (Timestamp(1_501), 9_500));
    chain.pass(3_600_000, []);
    assert_eq!((chain.state.lease_time(), left(&chain)), (Timestamp(2_501), 8_500));
    // Its time has passed, its blocks have not.
    let mut chain = Chain::after([Submission { lease_ms: 1_000, ..task("a") }]);
    chain.lapse(2_000);
    assert_eq!(left(&chain), 0);
}

#[test]
fn a_completion_counts_in_the_block_in_which_its_lease_would_run_out_and_not_in_the_next() {
    let mut chain = Chain::after([task("a")]);
    let (holder, claim) = (chain.holder("a"), chain.claim("a"));
    chain.lapse(10_000);
    let mut late = chain.clone();
    chain.pass(1, [complete(holder, claim)]);
    assert_eq!(chain.is("a"), "done");
    late.pass(1, []);
    late.refuses_claim(holder, claim, &stale(claim, "is leased with token 2"));
}

#[test]
fn a_kept_lease_does_not_run_out_until_its_holder_is_drained() {
    let kept = || Submission { policy: Policy::Keep, ..task("kept") };
    let mut chain = Chain::after([kept(), Submission { policy: Policy::Wait, ..task("waits") }, task("moves")]);
    let (claim, holder) = (chain.claim("kept"), chain.holder("kept"));
    chain.lapse(10_001);
    assert_eq!(["kept", "waits", "moves"].map(|id| chain.task(id).lost_by.len()), [0, 1, 1]);
    chain.lapse(100_000);
    assert_eq!(chain.claim("kept"), claim);
    // It still counts, and is renewed like others.
    chain.accepts(chain.completion_of("kept"));
    let drain = |chain: &Chain| {
        let sequence = chain.state.standing(&public(holder)).expect("a validator").next_drain_sequence;
        (holder, Kind::Drain { sequence })
    };
    let mut renewed = chain.clone();
    chain.pass(1, [drain(&chain)]);
    assert_eq!(chain.task("kept").reason, "the lease ran out");
    renewed.pass(1, [drain(&renewed), renewed.renewal_of("kept")]);
    assert_eq!(renewed.restored().picture(), renewed.picture());
    renewed.lapse(10_000);
    assert_eq!(renewed.claim("kept"), claim);
    let mut undrained = renewed.clone();
    undrained.pass(1, [(holder, Kind::Undrain { sequence: crate::Sequence(1) })]);
    undrained.lapse(60_000);
    assert_eq!(undrained.claim("kept"), claim, "it is kept again");
    renewed.pass(1, []);
    assert_ne!(renewed.claim("kept"), claim);
}

#[test]
fn a_kept_lease_ends_with_the_deadline_by_a_decline_or_a_cancellation() {
    let endings: [fn(&Chain) -> Vec<Order>; 3] =
        [|_| Vec::new(), |chain| vec![chain.decline_of("a")], |_| vec![cancel(ANNA, "a")]];
    for (ending, expected) in endings.into_iter().zip(["failed", "failed", "cancelled"]) {
        let deadline = Timestamp(50_000);
        let mut chain = Chain::after([Submission { policy: Policy::Keep, retries: 0, deadline, ..task("a") }]);
        chain.pass(40_000, ending(&chain));
        chain.pass(10_000, []);
        assert_eq!(chain.is("a"), expected);
    }
}

// Which claims count.

#[test]
fn a_claim_counts_under_the_present_lease_only() {
    let mut chain = Chain::after([task("a"), task("b")]);
    let (first, loser) = (chain.claim("a"), chain.holder("a"));
    for order in [chain.completion_of("a"), chain.decline_of("a")] {
        chain.accepts(order);
    }
    chain.pass(1, [chain.decline_of("a")]);
    let (second, winner) = (chain.claim("a"), chain.holder("a"));
    assert_ne!(winner, loser);
    for who in [loser, winner, ANNA] {
        chain.refuses_claim(who, first, &stale(first, &format!("is leased with token {}", second.token)));
    }
    // A token of another task, older than every one of this.
    let other = Claim { task: second.task, token: chain.claim("b").token };
    chain.refuses_claim(winner, other, &stale(other, &format!("is leased with token {}", second.token)));
    chain.accepts(complete(winner, second));
}

#[test]
fn only_the_holder_speaks_for_a_lease() {
    let chain = Chain::after([task("a")]);
    let (claim, holder) = (chain.claim("a"), chain.holder("a"));
    for who in (1..=NOBODY).filter(|who| *who != holder) {
        let expected = TransactionError::NotTheHolder { claim, holder: public(holder), got: public(who) };
        assert!(!expected.may_pass());
        chain.refuses_claim(who, claim, &expected);
    }
}

#[test]
fn a_claim_to_a_task_that_is_finished_or_forgotten_says_so() {
    let tasks = ["done", "failed", "cancelled"].map(|id| Submission { retries: 0, ..task(id) });
    let mut chain = Chain::after(tasks);
    let claims = ["done", "failed", "cancelled"].map(|id| (id, chain.holder(id), chain.claim(id)));
    chain.pass(1, [chain.completion_of("done"), chain.decline_of("failed"), cancel(ANNA, "cancelled")]);
    for (id, holder, claim) in claims {
        let expected = stale(claim, &format!("is {id}"));
        assert!(!expected.may_pass());
        chain.refuses_claim(holder, claim, &expected);
    }
    chain.wait(KEEP_BLOCKS + 1);
    for (_, holder, claim) in claims {
        chain.refuses_claim(holder, claim, &stale(claim, "is not known any more"));
    }
}

#[test]
fn a_claim_to_a_task_that_waits_again_says_so() {
    let mut chain = Chain::after([task("a")]);
    let (holder, claim) = (chain.holder("a"), chain.claim("a"));
    // Nobody leads, so nobody is there to take it again.
    chain.leaders = vec![NOBODY];
    chain.wait(24);
    chain.pass(1, [chain.decline_of("a")]);
    chain.refuses_claim(holder, claim, &stale(claim, "is pending"));
}

#[test]
fn a_token_that_was_not_given_yet_may_be_of_a_block_to_come() {
    let mut chain = Chain::after([task("a")]);
    let holder = chain.holder("a");
    for (task, token) in [(1, 2), (1, u64::MAX), (2, 2)] {
        let claim = Claim { task: TaskNumber(task), token: Token(token) };
        let ahead = TransactionError::LeaseAhead { claim };
        assert!(ahead.may_pass());
        chain.refuses_claim(holder, claim, &ahead);
    }
    // Once the token was given, to another task, it is known to be wrong.
    chain.pass(1, [submit(ANNA, task("b"))]);
    for (number, now) in [(1, "is leased with token 1"), (3, "is not known any more")] {
        let claim = Claim { task: TaskNumber(number), token: Token(2) };
        chain.refuses_claim(holder, claim, &stale(claim, now));
    }
}

#[test]
fn what_speaks_of_a_lease_carries_no_nonce_and_the_rest_needs_one() {
    let chain = Chain::after([task("a")]);
    for order in [chain.completion_of("a"), chain.decline_of("a"), chain.renewal_of("a")] {
        let tx = Transaction { nonce: Nonce(1), ..chain.sign(order, 0) };
        assert_eq!(chain.answer(&tx), Err(TransactionError::NonceUnused { got: Nonce(1) }));
    }
    for order in [submit(ANNA, task("b")), cancel(ANNA, "a")] {
        let tx = Transaction { nonce: Nonce(0), ..chain.sign(order.clone(), 0) };
        assert_eq!(chain.answer(&tx), Err(TransactionError::NonceTooLow { expected: Nonce(1), got: Nonce(0) }));
        let tx = chain.sign(order, 1);
        assert_eq!(chain.answer(&tx), Err(TransactionError::NonceTooHigh { expected: Nonce(1), got: Nonce(2) }));
    }
}

#[test]
fn a_task_is_completed_once_even_within_a_block() {
    let chain = Chain::after([task("a")]);
    let twice = vec![chain.sign(chain.completion_of("a"), 0), chain.sign(chain.completion_of("a"), 0)];
    let mut refused = chain.clone();
    let error = refused.state.apply_verified(&chain.block(1, twice), |_| true).expect_err("the second has no effect");
    assert!(error.to_string().contains("has no effect: the task is done"), "{error}");
    assert_eq!(refused.picture(), chain.picture());
}

#[test]
fn orders_about_tasks_are_signed_like_all_others() {
    let chain = Chain::after([task("a")]);
    for order in [submit(ANNA, task("b")), cancel(ANNA, "a"), chain.completion_of("a"), chain.decline_of("a")] {
        let unsigned = chain.sign(order, 0);
        let error = TransactionError::Signature { account: unsigned.account };
        assert_eq!(chain.state.check(&unsigned, chain.state.height().after(1)), Err(error));
        let secret = (1..=ANNA).map(|seed| SecretKey::from_bytes([seed; 32]));
        let secret = secret.into_iter().find(|secret| secret.public() == unsigned.account).expect("one of ours");
        let Transaction { chain: name, nonce, expires, kind, .. } = unsigned;
        let signed = Transaction::sign(&secret, name, nonce, expires, kind);
        assert_eq!(chain.state.clone().apply(&chain.block(1, vec![signed])), Ok(()));
    }
}

// How a task that nobody gets done ends.

#[test]
fn declined_and_run_out_leases_use_up_the_retries_and_then_the_task_fails_with_the_reason() {
    for retries in 0..4 {
        for (by_decline, reason) in [(true, "no such program"), (false, "the lease ran out")] {
            let mut chain = Chain::after([Submission { retries, ..task("a") }]);
            for lost in 0..=usize::from(retries) {
                assert_eq!((chain.is("a"), chain.task("a").lost_by.len()), ("leased", lost));
                if by_decline {
                    chain.pass(1, [chain.decline_of("a")]);
                } else {
                    chain.lapse(10_001);
                }
                assert_eq!(chain.task("a").reason, reason);
            }
            assert_eq!(chain.task("a").state, TaskState::Failed { at: chain.state.height() });
            assert_eq!(chain.task("a").lost_by.len(), usize::from(retries) + 1);
        }
    }
}

#[test]
fn a_task_does_not_go_back_to_who_lost_it_while_another_can_take_it() {
    let mut chain = Chain::after([Submission { retries: 15, ..task("a") }]);
    let mut holders = Vec::new();
    for _ in 0..8 {
        holders.push(chain.holder("a"));
        chain.pass(1, [chain.decline_of("a")]);
    }
    let mut first = holders[..4].to_vec();
    first.sort_unstable();
    assert_eq!(first, [1, 2, 3, 4], "each has its turn: {holders:?}");
    assert!(holders.windows(2).all(|pair| pair[0] != pair[1]), "the last one comes last: {holders:?}");
}

/// A task with a deadline so many milliseconds after its submission; then a block so many milliseconds after it.
fn check_deadline(submission: Submission, deadline: u64, ms: u64, expected: &str) {
    let mut chain = Chain::new();
    // Whoever waits, waits behind these.
    chain.pass(1, ["v", "x", "y", "z"].map(|id| submit(BERT, Submission { units: 63, ..task(id) })));
    let deadline = chain.state.timestamp().after(1 + deadline);
    chain.pass(1, [submit(ANNA, Submission { deadline, ..submission })]);
    chain.pass(ms, []);
    assert_eq!(chain.is("a"), expected);
    let is_failed = expected == "failed";
    assert_eq!(chain.task("a").reason, if is_failed { "the deadline passed" } else { "" });
    assert_eq!(chain.state.payload(chain.task("a").number).is_none(), is_failed);
    assert_eq!(chain.index().deadlines.len(), if is_failed { 4 } else { 5 });
}

#[test]
fn a_task_fails_in_the_first_block_after_its_deadline() {
    for (units, open) in [(1, "leased"), (2, "pending")] {
        let submission = || Submission { units, ..task("a") };
        check_deadline(submission(), 500, 500, open);
        check_deadline(submission(), 500, 501, "failed");
    }
}

#[test]
fn who_lets_a_deadline_pass_missed_a_lease_and_who_only_waited_did_not() {
    let mut chain = Chain::with(&[1], limits());
    let due = |id, units| submit(ANNA, Submission { units, deadline: Timestamp(2_000), ..task(id) });
    chain.pass(1, [due("held", 64), due("waits", 1)]);
    chain.pass(2_000, []);
    assert_eq!([chain.is("held"), chain.is("waits")], ["failed"; 2]);
    assert_eq!((chain.worker(1).missed, chain.worker(1).leases), (1, 0));
}

#[test]
fn a_completion_counts_in_the_block_that_passes_the_deadline() {
    let mut chain = Chain::after([Submission { deadline: Timestamp(2_000), ..task("a") }]);
    chain.pass(3_600_000, [chain.completion_of("a")]);
    assert_eq!(chain.is("a"), "done");
}

#[test]
fn a_deadline_that_passed_already_is_refused_and_one_that_passes_with_the_block_fails_at_once() {
    let mut chain = Chain::new();
    let with = |deadline| submit(ANNA, Submission { deadline: Timestamp(deadline), ..task("a") });
    let expected = TransactionError::TaskDeadline { deadline: Timestamp(1_000), now: Timestamp(1_000) };
    assert!(!expected.may_pass());
    chain.refuses(with(1_000), expected);
    chain.accepts(with(1_001));
    chain.pass(2, [with(1_001)]);
    assert_eq!((chain.is("a"), chain.task("a").reason.as_str()), ("failed", "the deadline passed"));
}

// Who may take a task back.

#[test]
fn a_task_can_be_cancelled_while_it_is_open() {
    let full = |id| Submission { units: balance::UNITS_MAX, ..task(id) };
    let mut chain = Chain::after(["a", "b", "c", "d", "e"].map(full));
    assert_eq!((chain.is("a"), chain.is("e")), ("leased", "pending"));
    let (holder, claim) = (chain.holder("a"), chain.claim("a"));
    chain.pass(1, [cancel(ANNA, "e")]);
    assert_eq!(chain.task("e").state, TaskState::Cancelled { at: Height(2) });
    chain.pass(1, [cancel(ANNA, "a"), submit(ANNA, full("f"))]);
    assert_eq!(chain.task("a").state, TaskState::Cancelled { at: Height(3) });
    assert_eq!(chain.holder("f"), holder, "who held it has room again");
    chain.refuses_claim(holder, claim, &stale(claim, "is cancelled"));
}

#[test]
fn only_the_submitter_cancels_and_only_once() {
    let mut chain = Chain::after([task("a"), task("b")]);
    for (who, name) in [(BERT, "a"), (1, "a"), (NOBODY, "a"), (ANNA, "c")] {
        chain.refuses(cancel(who, name), TransactionError::TaskUnknown { id: id(name) });
    }
    chain.pass(1, [cancel(ANNA, "a"), chain.completion_of("b")]);
    for (name, state) in [("a", "cancelled"), ("b", "done")] {
        chain.refuses(cancel(ANNA, name), TransactionError::TaskFinished { id: id(name), state });
    }
}

// Renewals.

#[test]
fn a_lease_is_renewed_when_a_quarter_of_it_is_over_and_not_before() {
    let mut chain = Chain::after([task("a")]);
    chain.lapse(2_499);
    let early = TransactionError::RenewalTooEarly { claim: chain.claim("a"), left: 7_501 };
    assert!(early.may_pass());
    chain.refuses(chain.renewal_of("a"), early);
    chain.pass(1, []);
    chain.accepts(chain.renewal_of("a"));
}

#[test]
fn a_renewal_begins_the_lease_anew_under_the_same_token() {
    let mut chain = Chain::after([task("a")]);
    let claim = chain.claim("a");
    chain.lapse(9_000);
    // What a halt before it takes from the lease, it takes from no renewed one.
    chain.pass(60_000, [chain.renewal_of("a")]);
    let lease = lease_of(&chain.task("a"));
    let until = Place { height: chain.state.height().after(10), timestamp: chain.state.lease_time().after(10_000) };
    assert_eq!((chain.claim("a"), lease.renewals, lease.until), (claim, 1, until));
    chain.lapse(10_000);
    assert_eq!(chain.claim("a"), claim);
    chain.wait(1);
    assert_ne!(chain.claim("a"), claim);
}

#[test]
fn a_renewal_counts_once() {
    let mut chain = Chain::after([task("a")]);
    let (holder, claim) = (chain.holder("a"), chain.claim("a"));
    chain.lapse(5_000);
    chain.refuses(renew(holder, claim, 1), TransactionError::LeaseAhead { claim });
    chain.pass(1, [renew(holder, claim, 0)]);
    chain.lapse(5_000);
    chain.refuses(renew(holder, claim, 0), stale(claim, "was renewed 1 times already"));
    chain.refuses(renew(holder, claim, 2), TransactionError::LeaseAhead { claim });
    chain.accepts(renew(holder, claim, 1));
}

#[test]
fn a_renewed_lease_does_not_outlive_the_deadline() {
    let mut chain = Chain::after([Submission { deadline: Timestamp(20_000), ..task("a") }]);
    for _ in 0..4 {
        chain.lapse(4_500);
        chain.pass(1, [chain.renewal_of("a")]);
    }
    assert_eq!((chain.is("a"), lease_of(&chain.task("a")).until.timestamp > Timestamp(20_000)), ("leased", true));
    chain.pass(20_000 - chain.state.timestamp().0, []);
    assert_eq!(chain.is("a"), "leased");
    chain.pass(1, []);
    assert_eq!(chain.is("a"), "failed");
}

// How much there may be.

#[test]
fn every_field_of_a_submission_has_its_bounds() {
    let chain = Chain::new();
    let with = |change: &dyn Fn(&mut Submission)| {
        let mut submission = task("a");
        change(&mut submission);
        submit(ANNA, submission)
    };
    let check = |field, min: u64, max: u64, of: &dyn Fn(u64) -> Order| {
        for good in [min, max] {
            chain.accepts(of(good));
        }
        for got in [min.wrapping_sub(1), max + 1].into_iter().filter(|got| *got < u64::MAX) {
            let expected = TransactionError::TaskField { field, got, min, max };
            assert!(!expected.may_pass());
            chain.refuses(of(got), expected);
        }
    };
    check("units", 1, 64, &|got| with(&|submission| submission.units = got as u32));
    check("lease_ms", 1_000, 3_600_000, &|got| with(&|submission| submission.lease_ms = got as u32));
    check("retries", 0, 15, &|got| with(&|submission| submission.retries = got as u8));
    check("bytes of payload", 0, 65_536, &|got| with(&|submission| submission.payload = vec![0; got as usize]));
}

#[test]
fn who_owns_nothing_cannot_submit() {
    let chain = Chain::new();
    chain.accepts(submit(BERT, task("a")));
    assert!(TransactionError::AccountEmpty.may_pass(), "somebody may give it something");
    chain.refuses(submit(NOBODY, task("a")), TransactionError::AccountEmpty);
}

/// The ways for a task to be finished.
fn endings() -> [fn(&mut Chain, &str); 4] {
    [
        |chain, id| chain.pass(1, [chain.completion_of(id)]),
        |chain, id| chain.pass(1, [chain.decline_of(id)]),
        |chain, id| chain.pass(1, [cancel(ANNA, id)]),
        |chain, _| chain.pass(1_000_000, []),
    ]
}

/// On a chain with these limits, these tasks are taken and one more is not, whoever submits it unless the limit is
/// each account's own. `frees` says whether room is made by the end of the first, or only when it is forgotten.
fn check_quota(limits: TaskLimits, taken: &[Submission], one_more: &Submission, expected: &TransactionError) {
    assert!(expected.may_pass());
    let is_own = matches!(expected, TransactionError::AccountTasksFull { .. });
    let frees_at_once = !matches!(expected, TransactionError::TasksFull { what: "tasks", .. });
    for end in endings() {
        let mut chain = Chain::with(&[1; 4], limits);
        let deadline = Timestamp(100_000);
        for submission in taken {
            let first = Submission { deadline, retries: 0, ..submission.clone() };
            let is_first = submission.id == taken[0].id;
            chain.pass(1, [submit(ANNA, if is_first { first } else { submission.clone() })]);
        }
        chain.refuses(submit(ANNA, one_more.clone()), expected.clone());
        if is_own {
            chain.accepts(submit(BERT, one_more.clone()));
        } else {
            chain.refuses(submit(BERT, one_more.clone()), expected.clone());
        }
        end(&mut chain, taken[0].id.as_str());
        if frees_at_once {
            chain.accepts(submit(ANNA, one_more.clone()));
            continue;
        }
        chain.wait(KEEP_BLOCKS);
        chain.refuses(submit(ANNA, one_more.clone()), expected.clone());
        chain.wait(1);
        chain.accepts(submit(ANNA, one_more.clone()));
    }
}

#[test]
fn an_account_has_only_so_many_open_tasks() {
    let limits = TaskLimits { open_per_account_max: 2, ..limits() };
    check_quota(limits, &[task("a"), task("b")], &task("c"), &TransactionError::AccountTasksFull { max: 2 });
}

#[test]
fn the_chain_keeps_only_so_many_tasks_and_finished_ones_count_until_they_are_forgotten() {
    let limits = TaskLimits { tasks_max: 2, ..limits() };
    let full = TransactionError::TasksFull { what: "tasks", max: 2 };
    check_quota(limits, &[task("a"), task("b")], &task("c"), &full);
}

#[test]
fn what_waits_is_bounded_and_a_refusal_says_how_much_and_for_how_long() {
    let mut chain = Chain::with(&[1], TaskLimits { pending_max: 2, ..limits() });
    let full = |id| submit(ANNA, Submission { units: balance::UNITS_MAX, ..task(id) });
    chain.pass(1, [full("leased")]);
    chain.pass(1, [full("a")]);
    chain.pass(1_000, [full("b")]);
    chain.lapse(3_000);
    let refused = TransactionError::PendingFull { pending: 2, max: 2, waited: 4_000 };
    assert!(refused.may_pass());
    let text = "2 tasks wait for a validator, 2 may, and the oldest has waited for 4000 ms: try again later";
    assert_eq!(refused.to_string(), text);
    chain.refuses(full("c"), refused);
    chain.pass(1, [chain.completion_of("leased")]);
    chain.accepts(full("c"));
    // What waits again waits anew.
    chain.pass(1, [cancel(ANNA, "b"), chain.decline_of("a")]);
    assert_eq!((chain.is("a"), chain.state.balance_statistics().oldest_pending_ms), ("leased", 0));
    chain.lapse(1_000);
    chain.leaders = vec![NOBODY];
    chain.wait(20);
    chain.pass(1, [full("c")]);
    chain.pass(500, [cancel(ANNA, "a")]);
    assert_eq!((chain.is("c"), chain.state.balance_statistics().oldest_pending_ms), ("pending", 500));
}

#[test]
fn open_payloads_take_only_so_many_bytes() {
    let of = |id, bytes| Submission { payload: vec![0; bytes], ..task(id) };
    let full = TransactionError::TasksFull { what: "bytes of payload", max: 65_536 };
    check_quota(limits(), &[of("a", 32_768), of("b", 32_768)], &of("c", 1), &full);
    check_quota(limits(), &[of("a", 65_535)], &of("c", 2), &full);
    // To the very limit there is room.
    let mut chain = Chain::new();
    chain.pass(1, [submit(ANNA, of("a", 65_535)), submit(BERT, of("b", 1)), submit(BERT, of("c", 0))]);
    chain.refuses(submit(ANNA, of("d", 1)), full);
}

#[test]
fn a_name_is_taken_until_its_task_is_forgotten() {
    for end in endings() {
        let mut chain = Chain::after([Submission { deadline: Timestamp(100_000), retries: 0, ..task("a") }]);
        let taken = TransactionError::TaskExists { id: id("a"), number: TaskNumber(1) };
        assert!(!taken.may_pass());
        chain.refuses(submit(ANNA, task("a")), taken.clone());
        end(&mut chain, "a");
        chain.refuses(submit(ANNA, task("a")), taken.clone());
        chain.wait(KEEP_BLOCKS);
        chain.refuses(submit(ANNA, task("a")), taken);
        chain.wait(1);
        assert_eq!(chain.is("a"), "forgotten");
        chain.pass(1, [submit(ANNA, task("a"))]);
        assert_eq!(chain.task("a").number, TaskNumber(2));
    }
}

#[test]
fn a_submission_expires_before_the_name_of_its_task_could_be_forgotten() {
    let chain = Chain::after([task("a")]);
    let until = |height| Transaction { expires: Height(height), ..chain.sign(submit(ANNA, task("b")), 0) };
    assert_eq!(chain.answer(&until(2)), Ok(()));
    assert_eq!(chain.answer(&until(2 + KEEP_BLOCKS)), Ok(()));
    let (expires, max) = (Height(3 + KEEP_BLOCKS), Height(2 + KEEP_BLOCKS));
    assert_eq!(chain.answer(&until(expires.0)), Err(TransactionError::ExpiresTooLate { expires, max }));
    let (expires, next) = (Height(1), Height(2));
    assert_eq!(chain.answer(&until(1)), Err(TransactionError::Expired { expires, next }));
}

// Who gets a task.

#[test]
fn on_whom_a_lease_ran_out_gets_one_lease_at_a_time_until_it_answers() {
    let answers: [fn(&Chain, &str) -> Order; 3] = [Chain::completion_of, Chain::decline_of, Chain::renewal_of];
    for answer in answers {
        let mut chain = Chain::with(&[1], limits());
        chain.pass(1, [submit(ANNA, Submission { retries: 15, ..task("lost") })]);
        chain.lapse(10_000);
        chain.pass(1, ["a", "b", "c"].map(|id| submit(ANNA, task(id))));
        assert_eq!(chain.worker(1).missed, 1);
        let leased = |chain: &Chain| {
            ["lost", "a", "b", "c"].into_iter().filter(|id| chain.is(id) == "leased").collect::<Vec<_>>()
        };
        assert_eq!(leased(&chain), ["lost"], "it is the only one there is");
        chain.lapse(5_000);
        assert_eq!(leased(&chain), ["lost"]);
        chain.pass(1, [answer(&chain, "lost")]);
        assert_eq!(chain.worker(1).missed, 0);
        assert!(leased(&chain).ends_with(&["a", "b", "c"]), "{:?}", leased(&chain));
    }
}

#[test]
fn who_leads_no_blocks_is_leased_nothing_until_it_leads() {
    let mut chain = Chain::new();
    chain.leaders = vec![2, 3, 4];
    // Four rounds of four, and eight.
    chain.wait(23);
    let burst = |prefix: &str| (0..8).map(|n| submit(ANNA, task(&format!("{prefix}{n}")))).collect::<Vec<_>>();
    chain.pass(1, burst("early-"));
    assert_eq!((1..=4).map(|seed| chain.worker(seed).leases).collect::<Vec<_>>(), [2; 4]);
    chain.pass(1, burst("late-"));
    assert_eq!((chain.worker(1).leases, chain.state.task_counts().leased), (2, 16));
    chain.leaders = vec![1, 2, 3, 4];
    chain.wait(4);
    chain.pass(1, burst("again-"));
    assert_eq!((1..=4).map(|seed| chain.worker(seed).leases).collect::<Vec<_>>(), [6; 4]);
}

#[test]
fn tasks_are_leased_by_capacity_and_never_beyond_the_window() {
    let mut chain = Chain::with(&[1, 2, 1], limits());
    chain.pass(1, (0..300).map(|n| submit(ANNA, task(&format!("t{n}")))));
    assert_eq!([1, 2, 3].map(|seed| chain.worker(seed).units), [64, 128, 64]);
    assert_eq!(chain.state.task_counts().pending, 44);
    chain.pass(1, [cancel(ANNA, "t0")]);
    assert_eq!([1, 2, 3].map(|seed| chain.worker(seed).units), [64, 128, 64]);
    assert_eq!((chain.is("t256"), chain.is("t257")), ("leased", "pending"), "the oldest comes first");
}

#[test]
fn who_stands_in_the_region_that_a_task_names_comes_first_while_there_is_room() {
    let mut genesis = genesis(&[1; 4], limits());
    genesis.validators[2].region = "west".to_owned();
    let mut chain = Chain { state: State::genesis(&genesis), leaders: vec![1, 2, 3, 4] };
    let in_region = |id: &str, region: &str| {
        submit(ANNA, Submission { region: Some(region.parse().expect("a region")), units: 32, ..task(id) })
    };
    chain.pass(1, ["a", "b", "c"].map(|id| in_region(id, "west")));
    let holders = ["a", "b", "c"].map(|id| chain.holder(id));
    assert_eq!(&holders[..2], [3, 3]);
    assert_ne!(holders[2], 3, "it is full, and nobody waits");
    chain.pass(1, [in_region("d", "nowhere"), in_region("e", "local")]);
    assert_eq!(["d", "e"].map(|id| chain.is(id)), ["leased"; 2]);
    assert_ne!(chain.holder("e"), 3);
    assert_eq!(chain.restored().picture(), chain.picture());
}

#[test]
fn reputation_follows_outcomes_and_weighs_who_gets_what() {
    let mut chain = Chain::after([Submission { retries: 0, ..task("lost") }]);
    let (loser, reputation) = (chain.holder("lost"), |chain: &Chain, seed| chain.worker(seed).reputation.per_mille());
    chain.lapse(10_001);
    assert_eq!((1..=4).map(|seed| reputation(&chain, seed)).min(), Some(950));
    assert_eq!(reputation(&chain, loser), 950);
    // It gets one, and answers.
    chain.pass(1, ["a", "b", "c", "d"].map(|id| submit(ANNA, task(id))));
    let id = ["a", "b", "c", "d"].into_iter().find(|id| chain.holder(id) == loser).expect("it has one of four");
    chain.pass(1, [chain.completion_of(id)]);
    assert_eq!(reputation(&chain, loser), 952);
    chain.pass(1, (0..120).map(|n| submit(ANNA, task(&format!("t{n}")))));
    let leases = (1..=4).map(|seed| chain.worker(seed).leases).collect::<Vec<_>>();
    let least = chain.worker(loser).leases;
    assert!(leases.iter().all(|other| *other >= least) && leases.iter().sum::<u64>() == 123, "{leases:?}");
    assert!(leases.iter().any(|other| *other > least), "{leases:?}");
}

#[test]
fn statistics_say_how_work_is_spread_and_what_would_serve_it() {
    let mut chain = Chain::with(&[1, 3], limits());
    let empty = chain.state.balance_statistics();
    assert_eq!((empty.load_max, empty.load_mean, empty.oldest_pending_ms, empty.desired_capacity), (0, 0, 0, 2));
    chain.pass(1, (0..128).map(|n| submit(ANNA, task(&format!("t{n}")))));
    let half = chain.state.balance_statistics();
    let of = |seed: u8, share: &Share| share.node == public(seed);
    let share = |seed| *half.shares.iter().find(|share| of(seed, share)).expect("a validator");
    assert_eq!(
        [share(1), share(2)].map(|share| (share.units, share.units_max, share.load())),
        [(32, 64, 500), (96, 192, 500)]
    );
    assert_eq!((share(2).weight, share(2).reputation.per_mille(), share(2).is_at_work), (3_000, 1_000, true));
    assert_eq!((half.load_max, half.load_mean, half.desired_capacity), (500, 500, 4));
    assert_eq!((half.demand.capacity, half.demand.units_leased, half.demand.units_pending), (4, 128, 0));
    chain.pass(1, (128..296).map(|n| submit(ANNA, task(&format!("t{n}")))));
    chain.lapse(5_000);
    let full = chain.state.balance_statistics();
    assert_eq!((full.load_max, full.load_mean, full.oldest_pending_ms), (1_000, 1_000, 5_000));
    assert_eq!((full.counts.pending, full.demand.units_pending), (40, 40));
    // 296 of 256 units, aimed at 0.7 of them.
    assert_eq!(full.desired_capacity, 7);
}

#[test]
fn a_large_task_gets_its_turn_while_small_ones_keep_coming() {
    let mut chain = Chain::with(&[1], limits());
    chain.pass(1, [submit(ANNA, task("small-0"))]);
    chain.pass(1, [submit(ANNA, Submission { units: balance::UNITS_MAX, ..task("large") })]);
    // At any time one that is small is under way: each is done only after the next one was leased.
    let mut under_way = vec!["small-0".to_owned()];
    for n in 1..10 {
        let done: Vec<String> = under_way.drain(..usize::from(n > 1 && !under_way.is_empty())).collect();
        let done = done.iter().map(|id| chain.completion_of(id)).collect::<Vec<_>>();
        let small = format!("small-{n}");
        chain.pass(1, done.into_iter().chain([submit(ANNA, task(&small))]));
        under_way.extend(Some(small).filter(|small| chain.is(small) == "leased"));
    }
    assert_eq!(chain.is("large"), "leased");
}

// Checkpoints.

/// A chain with a task in every state, retries, renewals and validators that missed or led.
fn eventful() -> Chain {
    let mut chain = Chain::after(
        ["done", "failed", "cancelled", "lost", "renewed"].map(|id| Submission { retries: 0, ..task(id) }),
    );
    chain.lapse(8_000);
    chain.pass(1, [chain.renewal_of("renewed"), chain.decline_of("failed"), cancel(ANNA, "cancelled")]);
    chain.pass(1, [chain.completion_of("done"), submit(BERT, Submission { units: 64, ..task("retried") })]);
    chain.pass(1_000, [chain.decline_of("retried")]);
    chain.pass(1, ["p", "q", "r", "s"].map(|id| submit(BERT, Submission { units: 64, ..task(id) })));
    chain.pass(1_000, []);
    chain.wait(1);
    chain
}

#[test]
fn a_restored_state_equals_the_original_and_goes_on_like_it() {
    let mut original = eventful();
    let names = ["done", "failed", "cancelled", "lost", "renewed", "retried", "s"];
    let states = ["done", "failed", "cancelled", "failed", "leased", "leased", "pending"];
    assert_eq!(names.map(|id| original.is(id)), states);
    assert!((1..=4).any(|seed| original.worker(seed).missed > 0));
    let mut restored = original.restored();
    for step in 0..30 {
        assert_eq!(restored.state.root(), original.state.root(), "step {step}");
        assert_eq!(restored.index(), original.index(), "step {step}");
        for chain in [&mut original, &mut restored] {
            match step {
                0 => chain.pass(1, [chain.completion_of("renewed"), chain.decline_of("retried")]),
                1 => chain.pass(1, [submit(ANNA, task("new")), cancel(BERT, "p")]),
                _ => chain.pass(1_000, []),
            }
        }
        assert_eq!(restored.state.task_changes(), original.state.task_changes(), "step {step}");
    }
}

#[test]
fn numbers_that_were_given_in_a_block_that_leased_nothing_are_stored() {
    let full = |id| Submission { units: balance::UNITS_MAX, ..task(id) };
    let mut chain = Chain::after(["a", "b", "c", "d"].map(full));
    chain.pass(1, [submit(ANNA, full("waits"))]);
    let mut restored = chain.restored();
    for chain in [&mut chain, &mut restored] {
        chain.pass(1, [submit(ANNA, full("waits-too"))]);
        assert_eq!(chain.task("waits-too").number, TaskNumber(6));
    }
    assert_eq!(restored.state.root(), chain.state.root());
}

#[test]
fn tasks_that_could_not_have_become_are_refused() {
    let chain = eventful();
    let wrong = |number, what| StateError::Task { number: TaskNumber(number), what };
    let check = |damage: &dyn Fn(&mut Tree), expected: StateError| {
        assert_eq!(chain.restore(damage).err(), Some(expected));
    };
    let renewed = chain.task("renewed");
    let put = |tree: &mut Tree, task: &Task| tree.insert(&key(TASK, task.number), &task.encode());
    let no_payload = || wrong(renewed.number.0, "has no payload or another");

    check(&|tree| assert!(tree.remove(&key(PAYLOAD, renewed.number))), no_payload());
    check(&|tree| tree.insert(&key(PAYLOAD, renewed.number), b"other"), no_payload());
    let long = Task { payload_bytes: renewed.payload_bytes + 1, ..renewed.clone() };
    check(&|tree| put(tree, &long), no_payload());
    // One that is finished has none, and one too many is found wherever it is.
    let of = |id| chain.task(id).number;
    check(&|tree| tree.insert(&key(PAYLOAD, of("done")), b"done"), no_payload());
    check(&|tree| tree.insert(&key(PAYLOAD, TaskNumber(99)), b""), wrong(99, "has a payload and no record"));

    let counters =
        |number, token| Counters { number: TaskNumber(number), token: Token(token), lease_time: Timestamp(0) }.encode();
    let Counters { number, token, .. } = chain.index().counters;
    check(
        &|tree| tree.insert(&[COUNTERS], &counters(number.0 - 1, token.0)),
        wrong(number.0 - 1, "has a number that was not given yet"),
    );
    let newest = chain.state.tasks_from(TaskNumber(0)).filter(|task| matches!(task.state, TaskState::Leased(_)));
    let newest = newest.max_by_key(|task| lease_of(task).token).expect("some are leased");
    check(
        &|tree| tree.insert(&[COUNTERS], &counters(number.0, token.0 - 1)),
        wrong(newest.number.0, "has a token that was not given yet"),
    );
    check(&|tree| assert!(tree.remove(&[COUNTERS])), StateError::NoCounters);

    let twin = Task { id: id("renewed"), ..chain.task("done") };
    check(&|tree| put(tree, &twin), wrong(twin.number.0, "has the name of another"));
    assert!(chain.restore(|tree| put(tree, &Task { account: public(BERT), ..twin })).is_ok(), "another's name is free");
}

#[test]
fn a_worker_that_is_no_validator_is_refused() {
    let chain = eventful();
    let mut damaged = chain.state.clone();
    let (_, tree) = damaged.parts();
    store_worker(tree, &public(NOBODY), &Worker::default());
    let entry = tree.iter().position(|(key, _)| key == [&[WORKER], public(NOBODY).as_ref()].concat());
    let entry = entry.expect("it was stored a moment ago");
    let answer = chain.restore(|tree| store_worker(tree, &public(NOBODY), &Worker::default()));
    assert_eq!(answer.err(), Some(StateError::Key { entry }));
}

#[test]
fn a_lease_of_who_is_no_validator_is_refused() {
    let chain = eventful();
    let renewed = chain.task("renewed");
    let lease = Lease { holder: public(NOBODY), ..lease_of(&renewed) };
    let foreign = Task { state: TaskState::Leased(lease), ..renewed };
    let answer = chain.restore(|tree| tree.insert(&key(TASK, foreign.number), &foreign.encode()));
    assert_eq!(answer.err(), Some(StateError::Task { number: foreign.number, what: "is leased to no validator" }));
}

/// The formats are stable: whoever means to change one raises its version, and then this value.
#[test]
fn the_format_of_a_state_with_tasks_is_what_it_was() {
    assert_eq!(eventful().state.root().to_string()[..16], *"ffd2a1ff8e34a419");
}

proptest! {
    #[test]
    fn damaged_entries_are_refused_or_restored_but_never_panic(
        at in any::<prop::sample::Index>(),
        (in_key, byte, flipped) in any::<(bool, prop::sample::Index, u8)>(),
    ) {
        let chain = eventful();
        let mut entries: Vec<_> = chain.state.entries().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        let entry = at.get_mut(&mut entries);
        let bytes = if in_key || entry.1.is_empty() { &mut entry.0 } else { &mut entry.1 };
        let damaged = byte.get_mut(bytes);
        let same = *damaged == flipped;
        *damaged = flipped;
        let chain_id: &ChainId = chain.state.chain();
        let answer = State::from_entries(chain_id, chain.state.height(), Hash::ZERO, chain.state.timestamp(), entries);
        if let Ok(restored) = answer {
            prop_assert_eq!(restored.root() == chain.state.root(), same);
            // Whatever was taken can be read, and goes on.
            let mut restored = Chain { state: restored, leaders: vec![1, 2, 3, 4] };
            restored.state.tasks_from(TaskNumber(0)).for_each(drop);
            restored.pass(3_600_000, []);
            restored.wait(12);
        }
    }
}
