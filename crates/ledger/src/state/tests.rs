use super::*;
use crate::{
    genesis::{Certified, GenesisBalance, GenesisSupervisor},
    transaction::SecretKey,
    types::{Epoch, Hash, Signature, View},
};
use proptest::prelude::*;

const START: u64 = 1_000;

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_bytes([seed; 32])
}

fn public(seed: u8) -> PublicKey {
    secret(seed).public()
}

fn chain() -> ChainId {
    "test".parse().expect("a chain id")
}

/// Four validators, and accounts 1 to 3 with the given balances.
fn genesis(balances: [u64; 3]) -> Genesis {
    let validator = |seed: u8| GenesisValidator {
        name: format!("v{seed}"),
        key: public(seed),
        address: format!("host-{seed}:7000"),
        region: "local".to_owned(),
        capacity: u32::from(seed),
        supervisor: None,
    };
    let balances = balances.into_iter().zip(1..);
    Genesis {
        version: 1,
        chain_id: chain(),
        byzantine_budget: 1,
        timestamp_ms: START,
        validators: (1..=4).map(validator).collect(),
        balances: balances
            .map(|(amount, seed)| GenesisBalance { account: public(seed), amount: Amount(amount) })
            .collect(),
        tasks: TaskLimits::default(),
        epochs: crate::genesis::EpochLimits::default(),
        certified: Certified::default(),
    }
}

fn state() -> State {
    State::genesis(&genesis([100, 50, 0]))
}

/// A good transfer for one of the next blocks.
fn transfer(from: u8, nonce: u64, to: u8, amount: u64) -> Transaction {
    let kind = Kind::Transfer { to: public(to), amount: Amount(amount) };
    Transaction::sign(&secret(from), chain(), Nonce(nonce), Height(1_000), kind)
}

/// A good block on top of `state`, if its transactions are.
fn block_on(state: &State, transactions: Vec<Transaction>) -> Block {
    Block::on(state, public(1), state.timestamp().after(1), transactions)
}

/// Where a block on top of `state` stands.
fn place_on(state: &State) -> Place {
    let Block { height, timestamp, .. } = block_on(state, Vec::new());
    Place { height, timestamp }
}

/// The root after `block`, for a proposer that let its transactions take effect one by one.
fn root_after(mut proposer: State, block: &Block) -> Hash {
    let place = Place { height: block.height, timestamp: block.timestamp };
    proposer.settle(place, block.leader, block.parent_state_root);
    proposer.root()
}

/// Everything that can be seen of a state.
fn picture(state: &State) -> (Hash, Height, Hash, Timestamp, Vec<(PublicKey, Account)>) {
    (state.root(), state.height(), state.digest(), state.timestamp(), state.accounts().collect())
}

/// The answer to a block, after checking that a refusal changed nothing.
fn apply(state: &mut State, block: &Block) -> Result<(), BlockError> {
    let before = picture(state);
    let answer = state.apply(block);
    assert!(answer.is_ok() || picture(state) == before, "a refused block left its mark: {answer:?}");
    answer
}

/// One transaction on a state: the three ways to ask must agree, and a block with it is valid only if it is.
fn check_on(state: &State, tx: &Transaction, expected: Result<(), TransactionError>) {
    let (mut proposer, mut follower) = (state.clone(), state.clone());
    let place = place_on(state);
    assert_eq!(state.check(tx, place.height), expected);
    assert_eq!(proposer.apply_transaction(tx, place), expected);
    let block = block_on(state, vec![tx.clone()]);
    let wrapped =
        |error| BlockError::Transaction { height: place.height, index: 0, id: tx.id(), error: Box::new(error) };
    let reached = if expected.is_ok() { root_after(proposer, &block) } else { proposer.root() };
    assert_eq!(apply(&mut follower, &block), expected.map_err(wrapped));
    assert_eq!(reached, follower.root());
    assert_eq!(follower.total(), state.total());
}

fn check(tx: &Transaction, expected: Result<(), TransactionError>) {
    check_on(&state(), tx, expected);
}

fn account(balance: u64, nonce: u64) -> Account {
    Account { balance: Amount(balance), nonce: Nonce(nonce) }
}

/// A state with these accounts, out of reach for any chain of blocks that a test could apply.
fn restored(height: u64, timestamp: u64, accounts: &[(u8, Account)]) -> Result<State, StateError> {
    let mut tree = state().tree;
    for seed in 1..=3 {
        tree.remove(&key(ACCOUNT, &public(seed)));
    }
    accounts.iter().for_each(|(seed, account)| tree.insert(&key(ACCOUNT, &public(*seed)), &account.encode()));
    State::from_entries(&chain(), Height(height), Hash([7; 32]), Timestamp(timestamp), &tree)
}

// Genesis.

#[test]
fn a_chain_starts_as_its_genesis_says() {
    let (genesis, state) = (genesis([100, 50, 0]), state());
    let first = Block::genesis(&genesis);
    assert_eq!((state.height(), state.timestamp(), state.digest()), (Height(0), Timestamp(START), first.digest()));
    assert_eq!((first.height, first.parent, first.leader), (Height(0), Hash::ZERO, PublicKey::ZERO));
    assert_eq!((first.timestamp, first.parent_state_root), (Timestamp(START), state.root()));
    assert_eq!((state.chain(), state.genesis_hash(), state.byzantine_budget()), (&chain(), genesis.hash(), 1));
    assert_eq!((state.account(&public(1)), state.account(&public(9))), (account(100, 0), Account::default()));
    assert_eq!(state.total(), 150);
}

#[test]
fn an_account_without_anything_is_not_stored() {
    assert_eq!(state().accounts().count(), 2);
}

#[test]
fn validators_come_in_the_order_of_their_keys() {
    let validators = state().validators();
    assert_eq!(validators.len(), 4);
    assert!(validators.is_sorted_by_key(|validator| validator.key));
    for validator in validators {
        assert_eq!(validator.name, format!("v{}", validator.capacity));
        assert_eq!(state().validator(&validator.key), Some(validator));
    }
    assert_eq!(state().validator(&public(5)), None);
}

#[test]
fn everything_in_the_genesis_is_bound_by_the_first_root() {
    let base = genesis([100, 50, 0]);
    let mut supervised = base.clone();
    supervised.validators[0].supervisor = Some(GenesisSupervisor { key: public(9), address: "host-9".into() });
    let others = [
        Genesis { chain_id: "other".parse().expect("a chain id"), ..base.clone() },
        Genesis { byzantine_budget: 0, ..base.clone() },
        Genesis { timestamp_ms: START + 1, ..base.clone() },
        Genesis { balances: base.balances[1..].to_vec(), ..base.clone() },
        Genesis { tasks: TaskLimits { keep_blocks: 10, ..base.tasks }, ..base.clone() },
        Genesis { certified: Certified { programs: vec![Hash::ZERO], models: Vec::new() }, ..base.clone() },
        supervised,
    ];
    for other in others {
        assert_ne!(State::genesis(&other).root(), state().root());
        assert_ne!(Block::genesis(&other).digest(), Block::genesis(&base).digest());
    }
}

#[test]
#[should_panic(expected = "a chain starts only from a valid genesis: there is no validator")]
fn an_invalid_genesis_is_our_own_mistake() {
    State::genesis(&Genesis { validators: Vec::new(), ..genesis([0; 3]) });
}

/// The formats are stable: whoever means to change one raises its version, and then these values.
#[test]
fn the_formats_are_what_they_were() {
    let state = state();
    let block = block_on(&state, vec![transfer(1, 0, 2, 1)]);
    let seen =
        [genesis([100, 50, 0]).hash(), state.root(), state.digest(), block.transactions[0].id().0, block.digest()];
    assert_eq!(
        seen.map(|hash| hash.to_string()[..16].to_owned()),
        ["238d08498b927058", "0991749ebb5b2593", "9faebf3ee43043c1", "7160d395db6ae137", "15e0287cd8163164"]
    );
}

#[test]
fn a_quorum_of_validators_certifies_a_release_and_a_checkpoint_keeps_it() {
    let mut state = state();
    let release = Certified { programs: vec![Hash([3; 32])], models: Vec::new() };
    let propose = |seed: u8, state: &State| {
        let sequence = state.next_certified_sequence(&public(seed));
        let kind = Kind::Certify { certified: release.clone(), sequence };
        Transaction::sign(&secret(seed), chain(), Nonce(0), Height(100), kind)
    };
    let stranger = propose(9, &state);
    let refused = TransactionError::NotAValidator { account: public(9) };
    assert_eq!(state.check(&stranger, Height(1)), Err(refused));
    for seed in [1, 2] {
        let block = block_on(&state, vec![propose(seed, &state)]);
        assert_eq!(apply(&mut state, &block), Ok(()));
    }
    let twice = propose(1, &state);
    assert_eq!(state.check(&twice, Height(3)), Err(TransactionError::CertifiedAlready));
    assert!(state.certification().certified.is_empty());
    assert_eq!(state.certified_proposals().len(), 2);
    let block = block_on(&state, vec![propose(4, &state)]);
    assert_eq!(apply(&mut state, &block), Ok(()));
    assert_eq!((state.certification().certified, state.certification().since), (release, Height(3)));
    let (height, digest, timestamp) = (state.height(), state.digest(), state.timestamp());
    let restored = State::from_entries(&chain(), height, digest, timestamp, state.entries()).expect("own entries");
    assert_eq!((restored.root(), restored.certification()), (state.root(), state.certification()));
}

// Transactions: each rule from both sides.

#[test]
fn a_transfer_moves_exactly_its_amount() {
    let mut state = state();
    let block = block_on(&state, vec![transfer(1, 0, 3, 30), transfer(1, 1, 2, 70), transfer(3, 0, 9, 1)]);
    assert_eq!(apply(&mut state, &block), Ok(()));
    let balances = [1, 2, 3, 9].map(|seed| state.account(&public(seed)));
    assert_eq!(balances, [account(0, 2), account(120, 0), account(29, 1), account(1, 0)]);
    assert_eq!((state.height(), state.digest()), (Height(1), block.digest()));
}

#[test]
fn a_balance_can_be_spent_to_the_end_and_not_beyond() {
    check(&transfer(1, 0, 2, 100), Ok(()));
    let error = TransactionError::BalanceTooLow { has: Amount(100), needs: Amount(101) };
    assert_eq!(error.to_string(), "the account has 100, the transfer needs 101");
    check(&transfer(1, 0, 2, 101), Err(error));
}

#[test]
fn a_transfer_to_oneself_changes_only_the_nonce() {
    let mut state = state();
    check(&transfer(1, 0, 1, 100), Ok(()));
    let too_low = TransactionError::BalanceTooLow { has: Amount(100), needs: Amount(101) };
    check(&transfer(1, 0, 1, 101), Err(too_low));
    let block = block_on(&state, vec![transfer(1, 0, 1, 100)]);
    assert_eq!(apply(&mut state, &block), Ok(()));
    assert_eq!(state.account(&public(1)), account(100, 1));
}

#[test]
fn a_transfer_gives_at_least_one() {
    check(&transfer(1, 0, 2, 1), Ok(()));
    check(&transfer(1, 0, 2, 0), Err(TransactionError::AmountZero));
    check(&transfer(9, 0, 2, 0), Err(TransactionError::AmountZero));
}

#[test]
fn nonces_are_taken_in_order() {
    let mut state = state();
    check(&transfer(1, 1, 2, 1), Err(TransactionError::NonceTooHigh { expected: Nonce(0), got: Nonce(1) }));
    let block = block_on(&state, vec![transfer(1, 0, 2, 1)]);
    assert_eq!(apply(&mut state, &block), Ok(()));
    check_on(&state, &transfer(1, 1, 2, 1), Ok(()));
    let again = TransactionError::NonceTooLow { expected: Nonce(1), got: Nonce(0) };
    check_on(&state, &transfer(1, 0, 2, 1), Err(again));
}

#[test]
fn a_transaction_takes_effect_once_even_within_a_block() {
    let mut state = state();
    let tx = transfer(1, 0, 2, 1);
    let block = block_on(&state, vec![tx.clone(), tx.clone()]);
    let error = apply(&mut state, &block);
    let twice = TransactionError::NonceTooLow { expected: Nonce(1), got: Nonce(0) };
    assert_eq!(
        error,
        Err(BlockError::Transaction { height: Height(1), index: 1, id: tx.id(), error: Box::new(twice) })
    );
}

#[test]
fn a_transaction_can_be_included_up_to_its_expiry() {
    let until = |height| {
        let kind = Kind::Transfer { to: public(2), amount: Amount(1) };
        Transaction::sign(&secret(1), chain(), Nonce(0), Height(height), kind)
    };
    check(&until(1), Ok(()));
    check(&until(0), Err(TransactionError::Expired { expires: Height(0), next: Height(1) }));
}

#[test]
fn a_transaction_counts_on_one_chain_and_in_one_version() {
    let other: ChainId = "other".parse().expect("a chain id");
    let kind = Kind::Transfer { to: public(2), amount: Amount(1) };
    let foreign = Transaction::sign(&secret(1), other.clone(), Nonce(0), Height(9), kind);
    check(&foreign, Err(TransactionError::Chain { expected: chain(), got: other }));
    let newer = Transaction { version: 2, ..transfer(1, 0, 2, 1) };
    check(&newer, Err(TransactionError::Version { expected: 1, got: 2 }));
}

#[test]
fn only_the_account_itself_can_order() {
    let forged = Transaction { account: public(2), ..transfer(1, 0, 3, 1) };
    check(&forged, Err(TransactionError::Signature { account: public(2) }));
    let unsigned = Transaction { signature: Signature::ZERO, ..transfer(1, 0, 3, 1) };
    check(&unsigned, Err(TransactionError::Signature { account: public(1) }));
}

#[test]
fn the_last_nonce_that_can_be_counted_is_never_used() {
    let near = restored(0, START, &[(1, account(5, u64::MAX - 1))]).expect("a state");
    check_on(&near, &transfer(1, u64::MAX - 1, 2, 1), Ok(()));
    let at = restored(0, START, &[(1, account(5, u64::MAX))]).expect("a state");
    check_on(&at, &transfer(1, u64::MAX, 2, 1), Err(TransactionError::NonceUsedUp { nonce: Nonce(u64::MAX) }));
}

#[test]
fn the_largest_sum_can_move_at_once() {
    let rich = State::genesis(&genesis([u64::MAX - 1, 1, 0]));
    check_on(&rich, &transfer(1, 0, 2, u64::MAX - 1), Ok(()));
    check_on(&rich, &transfer(2, 0, 1, 1), Ok(()));
}

// Blocks: each rule from both sides.

#[test]
fn a_failed_transaction_makes_the_block_invalid_and_leaves_the_state_untouched() {
    let mut state = state();
    let (good, bad) = (transfer(1, 0, 2, 1), transfer(2, 0, 3, 52));
    let error = Box::new(TransactionError::BalanceTooLow { has: Amount(51), needs: Amount(52) });
    let expected = BlockError::Transaction { height: Height(1), index: 1, id: bad.id(), error };
    let block = block_on(&state, vec![good.clone(), bad, transfer(1, 1, 2, 1)]);
    assert_eq!(apply(&mut state, &block), Err(expected));
    let block = block_on(&state, vec![good]);
    assert_eq!(apply(&mut state, &block), Ok(()));
}

#[test]
fn a_block_out_of_place_is_refused_with_both_sides() {
    let mut state = state();
    let next = block_on(&state, Vec::new());
    assert_eq!(apply(&mut state, &next), Ok(()));
    let good = block_on(&state, Vec::new());
    let (height, other) = (good.height, Hash([9; 32]));
    let cases = [
        (Block { version: 2, ..good.clone() }, BlockError::Version { expected: 1, got: 2 }),
        (
            Block { chain: "other".parse().expect("a chain id"), ..good.clone() },
            BlockError::Chain { expected: chain(), got: "other".parse().expect("a chain id") },
        ),
        (Block { height: Height(1), ..good.clone() }, BlockError::Height { tip: Height(1), got: Height(1) }),
        (Block { height: Height(3), ..good.clone() }, BlockError::Height { tip: Height(1), got: Height(3) }),
        (Block { parent: other, ..good.clone() }, BlockError::Parent { height, expected: state.digest(), got: other }),
        (
            Block { timestamp: state.timestamp(), ..good.clone() },
            BlockError::Timestamp { height, parent: state.timestamp(), got: state.timestamp() },
        ),
        (
            Block { parent_state_root: other, ..good.clone() },
            BlockError::StateRoot { height, expected: state.root(), got: other },
        ),
    ];
    for (block, expected) in cases {
        assert_eq!(apply(&mut state, &block), Err(expected));
    }
    assert_eq!(apply(&mut state, &good), Ok(()));
}

#[test]
fn a_block_may_come_any_time_after_its_parent() {
    for timestamp in [START + 1, u64::MAX] {
        let mut state = state();
        let block = Block { timestamp: Timestamp(timestamp), ..block_on(&state, Vec::new()) };
        assert_eq!(apply(&mut state, &block), Ok(()));
        assert_eq!(state.timestamp(), Timestamp(timestamp));
    }
}

#[test]
fn nothing_follows_the_last_height_or_the_last_moment() {
    let mut last = restored(u64::MAX, START, &[]).expect("a state");
    let block = block_on(&last, Vec::new());
    let tip = Height(u64::MAX);
    assert_eq!(apply(&mut last, &block), Err(BlockError::Height { tip, got: tip }));
    let mut last = restored(0, u64::MAX, &[]).expect("a state");
    let block = block_on(&last, Vec::new());
    assert!(matches!(apply(&mut last, &block), Err(BlockError::Timestamp { .. })));
}

#[test]
fn a_block_keeps_to_its_execution_units() {
    let state = state();
    let template = transfer(1, 0, 1, 1);
    // Signatures are taken on trust here: thousands of them would only show that the machine is patient.
    let answer = |count: u64| {
        let transactions = (0..count).map(|nonce| Transaction { nonce: Nonce(nonce), ..template.clone() }).collect();
        state.clone().apply_verified(&block_on(&state, transactions), |_| true)
    };
    let most = block::UNITS_MAX / template.kind.units();
    assert_eq!(answer(most), Ok(()));
    let too_many = |what, got, max| Err(BlockError::TooMany { height: Height(1), what, got, max });
    assert_eq!(answer(most + 1), too_many("execution units", 240_080, 240_000));
    assert_eq!(answer(4096), too_many("execution units", 327_680, 240_000));
    assert_eq!(answer(4097), too_many("transactions", 4097, 4096));
}

#[test]
fn signatures_are_checked_but_for_those_the_caller_vouches_for() {
    let forged = Transaction { signature: Signature::ZERO, ..transfer(1, 0, 3, 1) };
    let id = forged.id();
    let block = block_on(&state(), vec![forged]);
    assert!(state().apply(&block).is_err());
    assert!(state().apply_verified(&block, |_| false).is_err());
    assert!(state().apply_verified(&block, |other| *other != id).is_err());
    assert_eq!(state().apply_verified(&block, |other| *other == id), Ok(()));
}

#[test]
fn a_state_that_was_copied_stays_what_it_was() {
    let mut state = state();
    let (copy, before) = (state.clone(), picture(&state));
    let block = block_on(&state, vec![transfer(1, 0, 2, 1)]);
    assert_eq!(apply(&mut state, &block), Ok(()));
    assert_eq!(picture(&copy), before);
    assert_ne!(picture(&state), before);
}

// Checkpoints.

#[test]
fn a_restored_state_goes_on_like_the_original() {
    let mut original = state();
    let block = block_on(&original, vec![transfer(1, 0, 3, 5)]);
    assert_eq!(apply(&mut original, &block), Ok(()));
    let mut restored = State::from_entries(
        &chain(),
        original.height(),
        original.digest(),
        original.timestamp(),
        original.entries().map(|(key, value)| (key.to_vec(), value.to_vec())),
    )
    .expect("the original's own entries");
    assert_eq!(picture(&restored), picture(&original));
    assert_eq!(restored.validators(), original.validators());
    assert_eq!(restored.genesis_hash(), original.genesis_hash());
    let block = block_on(&original, vec![transfer(3, 0, 1, 5)]);
    assert_eq!((restored.apply(&block), original.apply(&block)), (Ok(()), Ok(())));
    assert_eq!(picture(&restored), picture(&original));
}

/// What is said to the original's entries after this change?
fn check_entries(change: impl FnOnce(&mut Vec<(Vec<u8>, Vec<u8>)>), expected: &StateError) {
    let mut entries: Vec<_> = state().entries().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    change(&mut entries);
    let answer = State::from_entries(&chain(), Height(0), Hash::ZERO, Timestamp(0), entries);
    assert_eq!(answer.err().as_ref(), Some(expected));
}

#[test]
fn entries_that_no_state_has_are_refused() {
    check_entries(Vec::clear, &StateError::NoParameters);
    check_entries(|entries| entries.swap(1, 2), &StateError::Order { entry: 2 });
    check_entries(|entries| entries.insert(1, entries[0].clone()), &StateError::Order { entry: 1 });
    check_entries(|entries| drop(entries.pop()), &StateError::NoCounters);
    check_entries(|entries| entries.push((vec![200; 33], Vec::new())), &StateError::Key { entry: 8 });
    check_entries(|entries| entries.push((vec![2; 34], Vec::new())), &StateError::Order { entry: 8 });
    check_entries(|entries| entries[6].0.push(0), &StateError::Key { entry: 6 });
    check_entries(|entries| entries[1].1 = vec![0; 16], &StateError::EmptyAccount { entry: 1 });
    check_entries(
        |entries| entries[1].1.push(0),
        &StateError::Value { entry: 1, error: DecodeError::Trailing { left: 1 } },
    );
    check_entries(
        |entries| entries.iter_mut().skip(1).take(2).for_each(|(_, value)| value[0] = 0x80),
        &StateError::Sum { entry: 2 },
    );
}

#[test]
fn entries_of_another_chain_are_refused() {
    let other: ChainId = "other".parse().expect("a chain id");
    let answer = State::from_entries(&other, Height(0), Hash::ZERO, Timestamp(0), state().entries());
    assert_eq!(answer.err(), Some(StateError::Chain { expected: other, got: chain() }));
}

// Any input.

/// An order as anybody might give it: some good, most of them bad in one way or another.
#[derive(Clone, Debug)]
struct Order {
    from: u8,
    to: u8,
    amount: u64,
    nonce_ahead: u64,
    expires: u64,
    forged: bool,
}

fn orders() -> impl Strategy<Value = Order> {
    let amount = prop_oneof![8 => 0..60_u64, 1 => Just(u64::MAX), 1 => any::<u64>()];
    let rare = prop::bool::weighted(0.05);
    (1..5_u8, 1..5_u8, amount, rare, rare, rare).prop_map(|(from, to, amount, ahead, late, forged)| Order {
        from,
        to,
        amount,
        nonce_ahead: u64::from(ahead),
        expires: if late { 0 } else { u64::MAX },
        forged,
    })
}

impl Order {
    fn sign(&self, state: &State) -> Transaction {
        let nonce = state.account(&public(self.from)).nonce.0 + self.nonce_ahead;
        let kind = Kind::Transfer { to: public(self.to), amount: Amount(self.amount) };
        let mut tx = Transaction::sign(&secret(self.from), chain(), Nonce(nonce), Height(self.expires), kind);
        tx.signature.0[40] ^= u8::from(self.forged);
        tx
    }
}

/// Lets a proposer select from the orders, and makes a block of what it took.
fn propose(state: &State, orders: &[Order]) -> (Block, State) {
    let mut selection = state.clone();
    let place = place_on(state);
    let mut transactions = Vec::new();
    for order in orders {
        let tx = order.sign(&selection);
        let (promise, answer) = (selection.check(&tx, place.height), selection.apply_transaction(&tx, place));
        assert_eq!(promise, answer);
        transactions.extend(answer.is_ok().then_some(tx));
    }
    (block_on(state, transactions), selection)
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![0..3_u64, Just(START + 1), Just(u64::MAX), any::<u64>()]
}

fn hashes() -> impl Strategy<Value = Hash> {
    prop_oneof![8 => Just(state().digest()), 8 => Just(state().root()), 1 => any::<[u8; 32]>().prop_map(Hash)]
}

prop_compose! {
    /// A block with any values, near enough to a good one that every rule gets its turn.
    fn blocks()(
        numbers in [numbers(), numbers(), numbers(), numbers(), numbers()],
        near in any::<[bool; 5]>(),
        parent in hashes(),
        root in hashes(),
        orders in prop::collection::vec(orders(), 0..4),
        nonces in prop::collection::vec(numbers(), 4),
    ) -> Block {
        let good = block_on(&state(), Vec::new());
        let transactions = orders.iter().zip(nonces).map(|(order, nonce)| {
            let nonce = Nonce(if near[4] { 0 } else { nonce });
            Transaction { nonce, ..order.sign(&state()) }
        });
        Block {
            height: if near[0] { good.height } else { Height(numbers[0]) },
            parent: if near[1] { good.parent } else { parent },
            epoch: Epoch(numbers[1]),
            view: View(numbers[2]),
            parent_view: View(numbers[3]),
            timestamp: if near[2] { good.timestamp } else { Timestamp(numbers[4]) },
            parent_state_root: if near[3] { good.parent_state_root } else { root },
            transactions: transactions.collect(),
            ..good
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_a_proposer_selects_is_valid_for_everyone_and_conserves_the_sum(
        blocks in prop::collection::vec(prop::collection::vec(orders(), 0..12), 1..4),
    ) {
        let mut state = state();
        let total = state.total();
        for orders in blocks {
            let (block, selection) = propose(&state, &orders);
            prop_assert_eq!(apply(&mut state, &block), Ok(()));
            prop_assert_eq!(state.root(), root_after(selection, &block));
            prop_assert_eq!(state.total(), total);
        }
    }

    #[test]
    fn the_same_blocks_lead_to_the_same_state(orders in prop::collection::vec(orders(), 0..24)) {
        let (mut one, mut other) = (state(), state());
        for orders in orders.chunks(6) {
            let block = propose(&one, orders).0;
            let sent = Block::decode(&block.encode()).expect("our own encoding");
            prop_assert_eq!(one.apply(&block), Ok(()));
            // The other never keeps a hash from one block to the next, and vouches for every signature.
            prop_assert_eq!(other.apply_verified(&sent, |_| true), Ok(()));
            let (height, digest, timestamp) = (other.height(), other.digest(), other.timestamp());
            other = State::from_entries(&chain(), height, digest, timestamp, other.entries()).expect("own entries");
            prop_assert_eq!(picture(&one), picture(&other));
        }
    }

    #[test]
    fn a_block_with_any_bad_transaction_is_refused_as_a_whole(
        orders in prop::collection::vec(orders(), 1..12),
        at: prop::sample::Index,
    ) {
        let mut state = state();
        let (mut block, selection) = propose(&state, &orders);
        let bad = Order { from: 1, to: 2, amount: u64::MAX, nonce_ahead: 0, expires: u64::MAX, forged: false };
        block.transactions.insert(at.index(block.transactions.len() + 1), bad.sign(&selection));
        prop_assert!(apply(&mut state, &block).is_err());
    }
}

proptest! {
    #[test]
    fn apply_never_panics_on_any_decodable_block(
        block in blocks(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        extreme: bool,
    ) {
        let rich = [(1, account(u64::MAX - 3, u64::MAX)), (2, account(3, u64::MAX - 1))];
        let mut state = if extreme { restored(u64::MAX - 1, START, &rich).expect("a state") } else { state() };
        let mut bytes = block.encode();
        for (at, byte) in flips {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Ok(block) = Block::decode(&bytes) {
            let total = state.total();
            let answer = apply(&mut state, &block);
            // With every place check passed by force, the transactions get their turn as well.
            let fitted = block_on(&state, block.transactions);
            let _ = (answer, apply(&mut state, &fitted));
            prop_assert_eq!(state.total(), total);
        }
    }

    #[test]
    fn damaged_entries_are_refused_or_restored_but_never_panic(
        at: prop::sample::Index,
        flip in any::<(bool, prop::sample::Index, u8)>(),
    ) {
        let mut entries: Vec<_> = state().entries().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        let entry = at.get_mut(&mut entries);
        let bytes = if flip.0 { &mut entry.0 } else { &mut entry.1 };
        let damaged = flip.1.get_mut(bytes);
        let same = *damaged == flip.2;
        *damaged = flip.2;
        if let Ok(restored) = State::from_entries(&chain(), Height(0), Hash::ZERO, Timestamp(0), entries) {
            prop_assert_eq!(restored.root() == state().root(), same);
            restored.validators();
            restored.total();
        }
    }
}
