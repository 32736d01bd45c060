use super::*;
use crate::{chain::ledger_key, guard::Guard, wire::Vitals as Own};
use commonware_p2p::simulated;
use commonware_runtime::{Quota, Runner as _, Supervisor as _, deterministic};
use commonware_utils::{NZU32, NZUsize};
use ledger::{Amount, Certified, Genesis, GenesisBalance, GenesisValidator, TaskLimits};

const NAMESPACE: &[u8] = b"a chain";

const VALIDATORS: u64 = 4;

type Ends = simulated::Sender<PublicKey, deterministic::Context>;

fn key(seed: u64) -> PrivateKey {
    PrivateKey::from_seed(seed)
}

fn roster() -> Roster {
    let validator = |seed: u64| GenesisValidator {
        name: format!("n{seed}"),
        key: ledger_key(&key(seed).public_key()),
        address: format!("127.0.0.1:{}", seed + 1),
        region: "local".into(),
        capacity: 1,
        supervisor: None,
    };
    Roster::new(&Genesis {
        version: ledger::genesis::VERSION,
        chain_id: "devnet-lookout".parse().expect("a good chain id"),
        byzantine_budget: 1,
        timestamp_ms: 1,
        validators: (0..VALIDATORS).map(validator).collect(),
        balances: vec![GenesisBalance { account: ledger_key(&key(0).public_key()), amount: Amount(1) }],
        tasks: TaskLimits::default(),
        epochs: ledger::EpochLimits::default(),
        certified: Certified::default(),
    })
    .expect("good keys")
}

/// The lookout of n0, which nobody has said anything to.
async fn lookout(context: &deterministic::Context) -> Lookout<deterministic::Context, Ends, Ends> {
    let keys: Vec<PublicKey> = (0..VALIDATORS).map(|seed| key(seed).public_key()).collect();
    let config = simulated::Config {
        max_size: 8_192,
        max_peers_per_set: NZUsize!(4),
        disconnect_on_block: false,
        tracked_peer_sets: NZUsize!(1),
    };
    let (network, oracle) =
        simulated::Network::new_with_peers(context.child("network"), config, keys.iter().cloned()).await;
    network.start();
    let control = oracle.control(keys[0].clone());
    let quota = Quota::per_second(NZU32!(100));
    let (rows, _) = control.register(0, quota).await.expect("a new channel");
    let (probes, _) = control.register(1, quota).await.expect("a new channel");
    let (guard, _) = Guard::open(context.child("guard"), "", [7; 32], true).await.expect("fresh");
    let settings = Settings {
        key: key(0),
        roster: roster(),
        namespace: NAMESPACE.to_vec(),
        health: health::Config::default(),
        heartbeat: Duration::from_millis(500),
    };
    let boundary = Boundary::new(guard, keys[1..].to_vec());
    let sights = Sights::new(VALIDATORS as usize);
    Lookout::new(context.child("lookout"), settings, boundary, Rounds::default(), sights, (rows, probes))
}

/// A row of n2 that was sent at this moment, signed by n2.
fn row(sequence: u64, sent: SystemTime) -> Row {
    Row {
        started_ms: 1,
        sequence,
        sent_ms: milliseconds(sent),
        epoch: 0,
        height: Height(1),
        view: View(1),
        voting: true,
        vitals: Own::default(),
        version: "1".into(),
        hearings: vec![Hearing { age_ms: 5, ..Hearing::NEVER }; VALIDATORS as usize],
    }
}

fn told(about: u32, row: &Row, by: u64, held_ms: u16) -> Told {
    Told { about, held_ms, row: row.sign(&key(by), NAMESPACE) }
}

fn play<Fut: Future<Output = ()>>(story: impl FnOnce(deterministic::Context) -> Fut) {
    deterministic::Runner::seeded(1).start(story);
}

#[test]
fn a_row_that_is_passed_on_is_shown_and_makes_nobody_heard() {
    play(|context| async move {
        let mut lookout = lookout(&context).await;
        let before = format!("{:?}", lookout.health);
        for sequence in 1..=20 {
            let now = context.current();
            let message = Said::Others(vec![told(2, &row(sequence, now), 2, 100)]).encode();
            lookout.take_row((key(1).public_key(), IoBuf::from(message)));
            assert_eq!(format!("{:?}", lookout.health), before, "the detector has not noticed");
            let sight = lookout.sights.all()[2].clone();
            let (shown, at) = sight.told.clone().expect("it is shown");
            assert_eq!((shown.sequence, at), (sequence, now - Duration::from_millis(100)));
            assert!(!sight.is_heard(now));
            assert_eq!((sight.heard, sight.row, sight.rtt), (None, None, None));
            context.sleep(Duration::from_millis(500)).await;
        }
    });
}

#[test]
fn what_is_passed_on_is_taken_only_if_its_sender_signed_it_just_now() {
    play(|context| async move {
        let mut lookout = lookout(&context).await;
        let now = context.current() + Duration::from_secs(100);
        context.sleep(Duration::from_secs(100)).await;
        let good = row(7, now);
        let mut take = |it: Told| {
            let before = lookout.sights.all();
            lookout.take_told(it);
            let is_shown = |sights: &[Sight]| sights.iter().map(|it| it.told.clone()).collect::<Vec<_>>();
            is_shown(&before) != is_shown(&lookout.sights.all())
        };
        let of_others = Row { hearings: vec![Hearing::NEVER; 3], ..good.clone() };
        let long_ago = |seconds| row(7, now - Duration::from_secs(seconds));
        for (why, refused) in [
            ("n1 signed it", told(2, &good, 1, 0)),
            ("it is told as another's", told(3, &good, 2, 0)),
            ("it is one's own", told(0, &good, 0, 0)),
            ("there is no such validator", told(99, &good, 2, 0)),
            ("it was held for too long", told(2, &good, 2, 1_500)),
            ("it knows of fewer than the genesis names", told(2, &of_others, 2, 0)),
            ("it was sent long ago, whatever is said of it", told(2, &long_ago(8), 2, 0)),
            ("it is from the future", told(2, &row(7, now + Duration::from_secs(8)), 2, 0)),
            ("it is none", Told { about: 2, held_ms: 0, row: vec![1; 40] }),
        ] {
            assert!(!take(refused), "{why}");
        }
        let wrong_chain = Told { about: 2, held_ms: 0, row: good.sign(&key(2), b"another") };
        assert!(!take(wrong_chain), "it is of another chain");
        assert!(take(told(2, &good, 2, 1_499)));
        assert!(!take(told(2, &good, 2, 0)), "once is enough");
        assert!(!take(told(2, &row(6, now), 2, 0)), "an earlier one says nothing new");
        assert!(take(told(2, &row(8, now), 2, 0)));
    });
}

#[test]
fn a_row_that_is_replayed_when_its_senders_clock_is_known_has_to_be_newer_still() {
    play(|context| async move {
        let lookout = lookout(&context).await;
        context.sleep(Duration::from_secs(100)).await;
        let now = context.current();
        lookout.sights.shared.lock().nodes[2].clock_ahead_ms = Some(3_600_000);
        let hour = Duration::from_secs(3_600);
        assert!(!lookout.is_of_now(2, &row(1, now), now), "an hour old by that clock");
        assert!(lookout.is_of_now(2, &row(1, now + hour), now));
        assert!(lookout.is_of_now(2, &row(1, now + hour - Duration::from_millis(2_500)), now));
        assert!(!lookout.is_of_now(2, &row(1, now + hour - Duration::from_millis(2_501)), now));
    });
}

#[test]
fn rows_that_are_passed_on_tell_of_another_process_with_the_same_key() {
    play(|context| async move {
        let mut lookout = lookout(&context).await;
        for (sequence, heard) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
            context.sleep(Duration::from_millis(500)).await;
            let mut row = row(sequence, context.current());
            row.hearings[0] = Hearing { age_ms: 20, echo: 70_000 + sequence as u32, ..Hearing::NEVER };
            lookout.take_told(told(2, &row, 2, 0));
            assert_eq!(lookout.sights.doubles.get(), heard, "after {sequence} rows");
        }
    });
}
