use super::*;
use ledger::{Certified, Genesis, GenesisValidator, TaskLimits};

const NOW: Challenge = Challenge([7; 32]);

fn key(seed: u64) -> PrivateKey {
    PrivateKey::from_seed(seed)
}

fn public(seed: u64) -> PublicKey {
    ledger_key(&key(seed).public_key())
}

/// Seven validators with the seeds 0 to 6: f is 2.
fn roster() -> Roster {
    let validator = |seed: u64| GenesisValidator {
        name: format!("n{seed}"),
        key: public(seed),
        address: format!("127.0.0.1:{}", 1 + seed),
        region: "local".into(),
        capacity: 1,
        supervisor: None,
    };
    let genesis = Genesis {
        version: ledger::genesis::VERSION,
        chain_id: chain("devnet-orders"),
        byzantine_budget: 2,
        timestamp_ms: 1,
        validators: (0..7).map(validator).collect(),
        balances: Vec::new(),
        tasks: TaskLimits::default(),
        epochs: ledger::EpochLimits::default(),
        certified: Certified::default(),
    };
    Roster::new(&genesis).expect("good keys")
}

fn chain(id: &str) -> ChainId {
    id.parse().expect("a good chain id")
}

fn order() -> Order {
    let (chain, node) = (chain("devnet-orders"), public(6));
    Order { chain, node, challenge: NOW, action: Action::Recover, reason: "silent".into() }
}

/// The supervisor of node 6, which has asked.
fn gathering() -> Gathering {
    Gathering::new(chain("devnet-orders"), roster(), public(6), NOW)
}

/// What the supervisor of node 6 is to do after the same order of these validators.
fn wanted_by(signers: &[u64], action: Action) -> Option<Action> {
    let mut gathering = gathering();
    for signer in signers {
        gathering.take(Order { action, ..order() }.sign(&key(*signer))).expect("a good order");
    }
    gathering.command().map(|command| command.action)
}

#[test]
fn f_plus_one_validators_are_enough_and_f_are_not() {
    for action in [Action::Recover, Action::RecoverNow] {
        assert_eq!(wanted_by(&[0, 3, 5], action), Some(action));
        assert_eq!(wanted_by(&[0, 1, 2, 3, 4, 5, 6], action), Some(action));
        assert_eq!(wanted_by(&[0, 3], action), None);
        assert_eq!(wanted_by(&[], action), None);
    }
}

#[test]
fn nobody_counts_twice_and_strangers_do_not_count() {
    assert_eq!(wanted_by(&[0, 3, 0, 0, 3], Action::Recover), None);
    assert_eq!(gathering().take(order().sign(&key(7))), Err(OrderError::Stranger(public(7))));
}

#[test]
fn f_liars_make_no_order_more_urgent_than_an_honest_validator_does() {
    let mut gathering = gathering();
    for liar in [0, 1] {
        gathering.take(Order { action: Action::RecoverNow, ..order() }.sign(&key(liar))).expect("a good order");
    }
    assert_eq!(gathering.command(), None);
    gathering.take(order().sign(&key(2))).expect("a good order");
    let command = gathering.command().expect("three of seven");
    assert_eq!(command.action, Action::Recover);
    let names: Vec<&str> = command.wanted.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 3);
    assert!(["n0", "n1", "n2"].iter().all(|name| names.contains(name)), "{names:?}");
}

#[test]
fn an_order_is_good_for_one_chain_one_node_and_one_question() {
    let refused = |order: Order| gathering().take(order.sign(&key(0))).expect_err("not for us, not now");
    let (found, expected) = (chain("devnet-other"), chain("devnet-orders"));
    assert_eq!(refused(Order { chain: found.clone(), ..order() }), OrderError::Chain { found, expected });
    let (found, expected) = (public(1), public(6));
    assert_eq!(refused(Order { node: found, ..order() }), OrderError::Node { found, expected });
    assert_eq!(refused(Order { challenge: Challenge([8; 32]), ..order() }), OrderError::Old);
}

#[test]
fn what_was_gathered_for_one_question_does_not_answer_the_next() {
    let mut gathering = gathering();
    let orders: Vec<SignedOrder> = [0, 3, 5].map(|signer| order().sign(&key(signer))).into();
    orders.iter().for_each(|order| gathering.take(order.clone()).expect("a good order"));
    assert!(gathering.command().is_some());
    gathering.renew(Challenge([8; 32]));
    assert_eq!(gathering.command(), None);
    assert!(orders.into_iter().all(|order| gathering.take(order) == Err(OrderError::Old)));
}

#[test]
fn a_signature_is_for_one_order_of_one_signer() {
    let mut forged = order().sign(&key(0));
    forged.order.action = Action::RecoverNow;
    assert_eq!(gathering().take(forged), Err(OrderError::Signature(public(0))));
    let mut borrowed = order().sign(&key(0));
    borrowed.signer = public(4);
    assert_eq!(gathering().take(borrowed), Err(OrderError::Signature(public(4))));
    let mut garbage = order().sign(&key(3));
    garbage.signature = [0xff; SIGNATURE_BYTES];
    assert_eq!(gathering().take(garbage), Err(OrderError::Signature(public(3))));
}

#[test]
fn messages_read_back_and_the_longest_fits() {
    let longest = Order {
        chain: chain(&"c".repeat(64)),
        action: Action::RecoverNow,
        reason: "r".repeat(REASON_BYTES_MAX),
        ..order()
    };
    for message in [Message::Ask(NOW), Message::Order(order().sign(&key(1))), Message::Order(longest.sign(&key(1)))] {
        let bytes = message.encode();
        assert!(bytes.len() <= MESSAGE_BYTES_MAX, "{}", bytes.len());
        assert_eq!(Message::decode(&bytes), Ok(message));
    }
    let longer = Order { reason: "r".repeat(REASON_BYTES_MAX + 1), ..order() };
    assert!(Message::decode(&Message::Order(longer.sign(&key(1))).encode()).is_err());
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let bytes = Message::Order(order().sign(&key(0))).encode();
    for end in 0..bytes.len() {
        assert!(Message::decode(&bytes[..end]).is_err(), "{end}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x11;
        if let Ok(Message::Order(order)) = Message::decode(&damaged) {
            assert!(gathering().take(order).is_err(), "{at}");
        }
    }
}
