use super::*;
use proptest::prelude::*;

fn day(days: u64) -> Moment {
    Moment(days * DAY_MS)
}

/// Four nodes: 0 and 1 are near, 2 shares only the far group with them, 3 has nothing to do with any.
fn four() -> Risk {
    Risk::new(&[0, 0, 1, 2], &[0, 0, 0, 1]).expect("groups are in range")
}

/// Node 0 fails and is back at once on these days: what does each later look advise?
#[track_caller]
fn check(failures: &[u64], looks: &[(u64, Option<Advice>)]) {
    let mut risk = four();
    for &failure in failures {
        risk.failed(0, day(failure));
        risk.recovered(0, day(failure));
    }
    for &(at, advice) in looks {
        assert_eq!(risk.advice(0, day(at)), advice, "day {at}: {}", risk.score(0, day(at)));
    }
}

const PROBE: Option<Advice> = Some(Advice::RaiseProbeRate);
const DRAIN: Option<Advice> = Some(Advice::SuggestDrain);

#[test]
fn nothing_is_advised_of_a_node_that_never_failed() {
    check(&[], &[(0, None), (10_000, None)]);
}

#[test]
fn a_failure_asks_for_a_closer_look_for_some_days_only() {
    // One failure lets expect 0.141 failures at once, 0.107 after three days and 0.101 after four; 0.105 make a score of 100.
    check(&[0], &[(0, PROBE), (3, PROBE), (4, None), (60, None)]);
}

#[test]
fn many_failures_in_a_row_suggest_to_move_work_away() {
    // A day apart, six let expect 0.68 failures and seven 0.77; 0.693 make a score of 500.
    check(&[0, 1, 2, 3, 4, 5], &[(5, PROBE)]);
    check(&[0, 1, 2, 3, 4, 5, 6], &[(6, DRAIN), (7, DRAIN), (8, PROBE), (40, PROBE), (400, None)]);
}

#[test]
fn a_node_that_is_down_is_for_others_to_judge() {
    let mut risk = four();
    risk.failed(0, day(1));
    assert_eq!((risk.is_down(0), risk.advice(0, day(1))), (true, None));
    risk.recovered(0, day(1));
    assert_eq!((risk.is_down(0), risk.advice(0, day(1))), (false, PROBE));
}

#[test]
fn neighbours_count_less_than_oneself_and_near_ones_more_than_far_ones() {
    let mut risk = four();
    risk.failed(0, day(1));
    let [own, near, far, stranger] = [0, 1, 2, 3].map(|node| risk.expected_ppm(node, day(1)));
    assert!(own > near && near > far && far > stranger, "{own} {near} {far} {stranger}");
    assert_eq!(stranger, four().expected_ppm(3, day(1)));
}

#[test]
fn a_count_halves_after_its_half_life() {
    let mut risk = four();
    risk.failed(0, day(0));
    let at = |days| risk.signals(0, day(days));
    for (signal, half_life) in [1, 2, 3, 4].into_iter().zip(OWN_HALF_LIFE_DAYS) {
        assert_eq!(at(0)[signal], UNIT);
        assert!(at(half_life)[signal].abs_diff(UNIT / 2) <= 1, "{signal}");
        assert!(at(half_life)[signal] < at(half_life - 1)[signal], "{signal}");
        assert_eq!(at(40 * half_life)[signal], 0);
    }
}

#[test]
fn counting_often_does_not_round_a_count_away() {
    let mut risk = four();
    risk.failed(0, day(0));
    for minute in 0..24 * 60 {
        risk.errors(0, 0, Moment(minute * 60_000));
        risk.failed(1, Moment(minute * 60_000));
    }
    let (kept, fresh) = (risk.signals(0, day(1))[Signal::FailuresHalfYear as usize], UNIT * 9_962 / 10_000);
    assert!(kept.abs_diff(fresh) < UNIT / STEPS, "{kept} {fresh}");
    let others = risk.signals(0, day(1))[Signal::NearMonth as usize] / UNIT;
    assert!((1_415..=1_440).contains(&others), "{others}");
}

#[test]
fn only_drastic_errors_ask_for_a_closer_look_by_themselves() {
    let look = |errors| {
        let mut risk = four();
        risk.errors(0, errors, day(0));
        risk.advice(0, day(0))
    };
    assert_eq!([look(0), look(1), look(500), look(2_000)], [None, None, None, PROBE]);
}

#[test]
fn the_largest_drift_is_kept_capped_and_fades() {
    let mut risk = four();
    let drift = |risk: &Risk, days| risk.signals(0, day(days))[Signal::Drift as usize];
    risk.drift(0, 2_000, day(0));
    risk.drift(0, 500, day(0));
    assert_eq!(drift(&risk, 0), 2 * UNIT);
    assert_eq!(drift(&risk, 1), UNIT);
    risk.drift(0, u32::MAX, day(1));
    assert_eq!(drift(&risk, 1), 10 * UNIT);
}

#[test]
fn the_score_is_the_chance_of_at_least_one_failure() {
    let mut risk = four();
    for _ in 0..5 {
        risk.failed(3, day(0));
    }
    // 0.001 + 5 x 0.14 = 0.701 failures are expected, and 1 - exp(-0.701) is 0.5039, less a part of a step of 1/256.
    assert_eq!((risk.expected_ppm(3, day(0)), risk.score(3, day(0))), (701_000, 502));
}

#[test]
fn a_moment_before_the_last_one_counts_as_the_last_one() {
    let mut risk = four();
    risk.failed(0, day(9));
    assert_eq!(risk.signals(0, day(1)), risk.signals(0, day(9)));
    risk.failed(0, day(1));
    assert_eq!(risk.signals(0, day(9))[1], 2 * UNIT);
}

#[test]
fn a_stranger_is_nobodys_risk() {
    let mut risk = four();
    risk.failed(4, day(1));
    risk.recovered(usize::MAX, day(1));
    assert_eq!((risk.score(4, day(1)), risk.advice(4, day(1)), risk.is_down(4)), (0, None, false));
}

#[test]
fn a_group_beyond_the_nodes_is_refused_by_name() {
    let error = Risk::new(&[0, 2], &[0, 0]).expect_err("two nodes have two groups at most");
    assert_eq!(error, RiskError::Group { node: 1, group: 2, nodes: 2 });
    assert_eq!(error.to_string(), "node 1 is in group 2, but 2 nodes have groups 0 to 1 at most");
    assert!(Risk::new(&[0, 1], &[1, 1]).is_ok());
}

#[test]
fn a_node_takes_so_many_bytes_and_a_group_so_many() {
    assert_eq!((size_of::<Node>(), size_of::<Group>()), (68, 24));
}

proptest! {
    #[test]
    fn no_observations_overflow_or_leave_the_scale(
        steps in prop::collection::vec((0usize..5, 0u8..5, any::<u32>(), any::<u64>()), 0..200),
    ) {
        let mut risk = four();
        for (node, what, amount, at) in steps {
            let now = Moment(at);
            match what {
                0 | 1 => risk.failed(node, now),
                2 => risk.recovered(node, now),
                3 => risk.errors(node, amount, now),
                _ => risk.drift(node, amount, now),
            }
            prop_assert!(risk.score(node, now) <= 1_000);
            prop_assert!(risk.score(node, Moment(u64::MAX)) <= risk.score(node, now) || at == u64::MAX);
        }
    }
}
