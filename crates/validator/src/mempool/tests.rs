use super::*;
use crate::testing::{VALIDATOR, apply, chain, key, leased, state, submission};
use ledger::{Amount, Output, Sequence, TaskNumber, Timestamp, Token};

const LIMITS: Limits = Limits { transactions_max: 8, bytes_max: 1 << 20, per_account_max: 4 };

/// Where the next block stands.
const NEXT: Place = Place { height: Height(1), timestamp: Timestamp(2) };

fn transfer(from: u8, nonce: u64, amount: u64) -> Transaction {
    transfer_until(from, nonce, amount, 1_000)
}

fn transfer_until(from: u8, nonce: u64, amount: u64, expires: u64) -> Transaction {
    let kind = Kind::Transfer { to: key(9).public(), amount: Amount(amount) };
    Transaction::sign(&key(from), chain(), Nonce(nonce), Height(expires), kind)
}

/// What the validator says about a lease.
fn order(kind: Kind) -> Transaction {
    Transaction::sign(&key(VALIDATOR), chain(), Nonce(0), Height(1_000), kind)
}

fn completion(claim: Claim, result: &[u8]) -> Transaction {
    order(Kind::CompleteTask { claim, output: Output::Inline(result.to_vec()) })
}

fn place_after(state: &State) -> Place {
    Place { height: state.height().after(1), timestamp: state.timestamp().after(1) }
}

fn offered(transactions: &[Transaction]) -> (Mempool, Vec<Result<Taken, Refused>>) {
    let (mut mempool, state) = (Mempool::new(LIMITS), state());
    let outcomes = transactions.iter().map(|transaction| mempool.offer(transaction.clone(), &state)).collect();
    (mempool, outcomes)
}

fn ids(transactions: &[Transaction]) -> Vec<TxId> {
    transactions.iter().map(Transaction::id).collect()
}

#[test]
fn the_same_transaction_twice_waits_once() {
    let (mempool, outcomes) = offered(&[transfer(1, 0, 5), transfer(1, 0, 5)]);
    assert_eq!(outcomes, [Ok(Taken::New), Ok(Taken::Known)]);
    assert_eq!(mempool.len(), 1);
}

#[test]
fn another_transaction_with_a_waiting_nonce_is_refused() {
    let (_, outcomes) = offered(&[transfer(1, 0, 5), transfer(1, 0, 6)]);
    assert_eq!(outcomes[1], Err(Refused::NonceTaken(Nonce(0))));
}

#[test]
fn nonces_may_come_out_of_order_but_not_further_ahead_than_the_account_may_have_waiting() {
    let (mut mempool, outcomes) =
        offered(&[transfer(1, 1, 5), transfer(1, 0, 6), transfer(1, 3, 7), transfer(1, 4, 8)]);
    assert!(outcomes[..3].iter().all(Result::is_ok), "{outcomes:?}");
    assert!(matches!(outcomes[3], Err(Refused::Invalid(TransactionError::NonceTooHigh { .. }))));
    let chosen = mempool.select(&state(), NEXT);
    assert_eq!(
        ids(&chosen),
        ids(&[transfer(1, 0, 6), transfer(1, 1, 5)]),
        "the gap at nonce 2 holds the last one back"
    );
}

#[test]
fn a_forged_signature_is_refused_also_behind_a_nonce_gap_or_an_empty_account() {
    for (nonce, amount) in [(0, 5), (2, 5), (0, 1_000)] {
        let mut forged = transfer(1, nonce, amount);
        forged.account = key(2).public();
        let (_, outcomes) = offered(&[forged]);
        assert!(matches!(outcomes[0], Err(Refused::Invalid(TransactionError::Signature { .. }))), "{outcomes:?}");
    }
}

#[test]
fn one_account_cannot_fill_the_mempool_and_all_together_cannot_overfill_it() {
    let of_one: Vec<_> = (0..4).map(|nonce| transfer(1, nonce, 1)).collect();
    let (_, outcomes) = offered(&of_one);
    assert!(outcomes.iter().all(Result::is_ok));
    let many: Vec<_> = (1..=9).map(|from| transfer(from, 0, 1)).collect();
    let (mempool, outcomes) = offered(&many);
    assert_eq!(mempool.len(), 8);
    assert!(matches!(outcomes[8], Err(Refused::Full(8, _))));
}

#[test]
fn accounts_take_turns_and_each_comes_first_in_turn() {
    let (mut mempool, _) = offered(&[transfer(1, 0, 1), transfer(1, 1, 1), transfer(2, 0, 1), transfer(2, 1, 1)]);
    let order = |chosen: &[Transaction]| chosen.iter().map(|tx| tx.account).collect::<Vec<_>>();
    let first = order(&mempool.select(&state(), NEXT));
    let second = order(&mempool.select(&state(), NEXT));
    assert_eq!(first[0], first[2], "one transaction a turn");
    assert_ne!(first[0], second[0], "the other account comes first next time");
}

#[test]
fn what_the_balance_does_not_cover_waits_without_holding_up_others() {
    let (mut mempool, outcomes) = offered(&[transfer(1, 0, 101), transfer(2, 0, 100)]);
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(ids(&mempool.select(&state(), NEXT)), ids(&[transfer(2, 0, 100)]));
}

#[test]
fn settling_drops_what_is_in_the_chain_and_what_expired() {
    let mut state = state();
    let mut mempool = Mempool::new(LIMITS);
    let kind = Kind::Transfer { to: key(9).public(), amount: Amount(1) };
    let expiring = Transaction::sign(&key(2), chain(), Nonce(0), Height(1), kind);
    for transaction in [transfer(1, 0, 1), transfer(1, 1, 1), expiring] {
        mempool.offer(transaction, &state).expect("fits");
    }
    apply(&mut state, vec![transfer(1, 0, 1)], 1);
    mempool.settle(&state);
    assert_eq!(mempool.len(), 1);
    assert!(mempool.contains(&transfer(1, 1, 1).id()));
    assert_eq!(mempool.bytes(), transfer(1, 1, 1).size());
}

#[test]
fn a_transaction_that_expires_a_good_deal_later_replaces_the_one_with_its_nonce() {
    let first = transfer_until(1, 0, 5, 1_000);
    let too_soon = transfer_until(1, 0, 6, 1_099);
    let late_enough = transfer_until(1, 0, 7, 1_100);
    let (mempool, outcomes) = offered(&[first.clone(), too_soon, late_enough.clone()]);
    assert_eq!(outcomes, [Ok(Taken::New), Err(Refused::NonceTaken(Nonce(0))), Ok(Taken::New)]);
    assert_eq!((mempool.len(), mempool.bytes()), (1, late_enough.size()));
    assert!(mempool.contains(&late_enough.id()) && !mempool.contains(&first.id()));
    // In the other order the same one stays.
    let (mempool, outcomes) = offered(&[late_enough.clone(), first]);
    assert_eq!(outcomes[1], Err(Refused::NonceTaken(Nonce(0))));
    assert!(mempool.contains(&late_enough.id()));
}

#[test]
fn replacing_comes_to_an_end() {
    let last = 1 + REPLACE_UNTIL;
    let (_, outcomes) = offered(&[transfer(1, 0, 5), transfer_until(1, 0, 6, last + 1), transfer_until(1, 0, 6, last)]);
    assert_eq!(outcomes[1..], [Err(Refused::NonceTaken(Nonce(0))), Ok(Taken::New)]);
}

#[test]
fn a_full_mempool_still_takes_a_replacement() {
    let mut full: Vec<_> = (1..=8).map(|from| transfer(from, 0, 1)).collect();
    full.push(transfer_until(3, 0, 2, 2_000));
    let (mempool, outcomes) = offered(&full);
    assert_eq!((outcomes[8].clone(), mempool.len()), (Ok(Taken::New), 8));
}

#[test]
fn what_has_become_impossible_at_the_head_is_dropped_and_its_nonce_can_be_used_again() {
    let mut state = state();
    let mut mempool = Mempool::new(LIMITS);
    let submit = |nonce, expires| {
        Transaction::sign(&key(1), chain(), Nonce(nonce), Height(expires), Kind::SubmitTask(submission("a")))
    };
    // The second of one name can never be: the first has it.
    for transaction in [submit(0, 900), submit(1, 900)] {
        mempool.offer(transaction, &state).expect("could be");
    }
    apply(&mut state, vec![submit(0, 900)], 1);
    assert_eq!(mempool.settle(&state), []);
    assert!(mempool.is_empty(), "its own and the impossible one are gone");
    assert_eq!(mempool.offer(transfer(1, 1, 1), &state), Ok(Taken::New));
}

#[test]
fn a_submission_waits_while_the_account_has_no_room_for_another_task() {
    let (mut state, _) = leased(&["a"]);
    let mut mempool = Mempool::new(Limits { per_account_max: 100, transactions_max: 100, ..LIMITS });
    for index in 0..10 {
        let kind = Kind::SubmitTask(submission(&format!("b{index}")));
        let transaction = Transaction::sign(&key(1), chain(), Nonce(1 + index), Height(500), kind);
        mempool.offer(transaction, &state).expect("may pass");
    }
    let chosen = mempool.select(&state, place_after(&state));
    assert_eq!(chosen.len(), 7, "the chain of this test takes eight open tasks of an account");
    apply(&mut state, chosen, 1);
    mempool.settle(&state);
    assert_eq!(mempool.len(), 3, "the rest waits");
}

#[test]
fn what_is_said_about_a_lease_needs_no_nonce_and_goes_first() {
    let (state, claims) = leased(&["a", "b"]);
    let mut mempool = Mempool::new(LIMITS);
    let (of_a, of_b) = (completion(claims[0], b"1"), completion(claims[1], b"2"));
    for transaction in [transfer(2, 0, 1), of_b.clone(), of_a.clone()] {
        assert_eq!(mempool.offer(transaction, &state), Ok(Taken::New));
    }
    let chosen = mempool.select(&state, place_after(&state));
    assert_eq!(ids(&chosen), ids(&[of_a, of_b, transfer(2, 0, 1)]));
}

#[test]
fn one_thing_of_each_kind_is_said_about_a_lease() {
    let (state, claims) = leased(&["a"]);
    let mut mempool = Mempool::new(LIMITS);
    let decline = order(Kind::DeclineTask { claim: claims[0], reason: "no".into() });
    assert_eq!(mempool.offer(completion(claims[0], b"1"), &state), Ok(Taken::New));
    assert_eq!(mempool.offer(completion(claims[0], b"2"), &state), Err(Refused::OrderTaken));
    assert_eq!(mempool.offer(decline, &state), Ok(Taken::New));
    // Only one of them takes effect.
    assert_eq!(mempool.select(&state, place_after(&state)).len(), 1);
}

#[test]
fn only_validators_speak_of_leases() {
    let (state, claims) = leased(&["a"]);
    let mut mempool = Mempool::new(LIMITS);
    let ahead = Claim { task: TaskNumber(1), token: Token(99) };
    for claim in [claims[0], ahead] {
        let kind = Kind::DeclineTask { claim, reason: "mine".into() };
        let stranger = Transaction::sign(&key(1), chain(), Nonce(0), Height(500), kind);
        let refused = mempool.offer(stranger, &state);
        assert!(matches!(refused, Err(Refused::Invalid(TransactionError::NotTheHolder { .. }))), "{refused:?}");
    }
}

#[test]
fn a_lease_that_is_not_known_here_yet_may_be_spoken_of() {
    let (before, claims) = (state(), leased(&["a"]).1);
    let mut mempool = Mempool::new(LIMITS);
    let early = completion(claims[0], b"1");
    assert_eq!(mempool.offer(early.clone(), &before), Ok(Taken::New));
    assert!(mempool.select(&before, NEXT).is_empty());
    let (state, _) = leased(&["a"]);
    assert_eq!(mempool.settle(&state), []);
    assert_eq!(ids(&mempool.select(&state, place_after(&state))), ids(&[early]));
}

#[test]
fn a_completion_that_came_too_late_is_told_and_one_that_is_in_the_chain_is_not() {
    let (mut state, claims) = leased(&["a", "b"]);
    let mut mempool = Mempool::new(LIMITS);
    for claim in &claims {
        mempool.offer(completion(*claim, b"1"), &state).expect("in time");
    }
    // The first is done by other bytes under the same lease; the second is given up, and leased anew.
    let decline = order(Kind::DeclineTask { claim: claims[1], reason: "tired".into() });
    apply(&mut state, vec![completion(claims[0], b"another"), decline], 1);
    let stale = mempool.settle(&state);
    assert_eq!(stale.iter().map(|stale| stale.claim).collect::<Vec<_>>(), [claims[1]]);
    assert!(stale[0].reason.contains("token 3"), "{}", stale[0].reason);
    assert!(mempool.is_empty() && mempool.bytes() == 0);
    // Nor is it taken when it comes later still.
    assert!(matches!(mempool.offer(completion(claims[1], b"1"), &state), Err(Refused::Stale(_))));
}

#[test]
fn a_peer_that_is_back_hears_of_leases_too() {
    let (state, claims) = leased(&["a"]);
    let mut mempool = Mempool::new(LIMITS);
    mempool.offer(completion(claims[0], b"1"), &state).expect("in time");
    assert_eq!(ids(&mempool.sample(1 << 20)), ids(&[completion(claims[0], b"1")]));
}

#[test]
fn the_last_word_of_a_validator_waits_also_where_there_is_no_room() {
    let transfers: Vec<Transaction> = (0..8).map(|i| transfer(1 + i as u8 / 4, i % 4, 5)).collect();
    let (mut mempool, outcomes) = offered(&transfers);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let drain = |who, expires| {
        let kind = Kind::Drain { sequence: Sequence(0) };
        Transaction::sign(&key(who), chain(), Nonce(0), Height(expires), kind)
    };
    let mut offer = |transaction: Transaction| mempool.offer(transaction, &state());
    assert_eq!(offer(drain(VALIDATOR, 500)), Ok(Taken::New));
    assert_eq!(offer(drain(VALIDATOR, 400)), Err(Refused::OrderTaken), "an older word");
    assert_eq!(offer(drain(VALIDATOR, 600)), Ok(Taken::New));
    let stranger = offer(drain(1, 500));
    assert!(matches!(stranger, Err(Refused::Invalid(TransactionError::NotAValidator { .. }))), "{stranger:?}");
    let expected: usize = transfers.iter().chain([&drain(VALIDATOR, 600)]).map(Transaction::size).sum();
    assert_eq!((mempool.len(), mempool.bytes()), (9, expected));
    assert_eq!(ids(&mempool.select(&state(), NEXT))[0], drain(VALIDATOR, 600).id(), "it goes first");
}

#[test]
fn requests_for_a_seat_are_anybodys_and_so_only_some_may_wait() {
    let (mut mempool, state) = (Mempool::new(LIMITS), state());
    let request = |seed: u8| {
        let request = ledger::Request {
            name: format!("n{seed}"),
            address: format!("n{seed}:1"),
            region: "local".into(),
            capacity: 1,
            replaces: None,
        };
        Transaction::sign(&key(seed), chain(), Nonce(0), Height(500), Kind::Join(request))
    };
    let taken = (101..=255).filter(|seed| mempool.offer(request(*seed), &state).is_ok()).count();
    assert_eq!(taken, REQUESTS_MAX);
    let refused = mempool.offer(request(20), &state);
    assert!(matches!(refused, Err(Refused::Full(..))), "{refused:?}");
    // The block takes as many as the chain does.
    let place = Place { height: Height(1), timestamp: state.timestamp().after(1) };
    assert_eq!(mempool.select(&state, place).len(), ledger::roster::CANDIDATES_MAX);
}
