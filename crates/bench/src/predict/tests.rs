use super::*;
use trace::{Down, Node};

/// One node, failing for an hour at these days after the split, and a last failure elsewhere that ends the history.
fn history(days: &[f64]) -> Trace {
    let (from, until) = (trace::year(2000), trace::year(2006));
    let nodes = (0..2).map(|number| Node { system: number, number, from, until }).collect();
    let at = |days: f64, node| {
        let start = trace::year(SPLIT_YEAR) + (days * DAY as f64) as u64;
        Down { start, fixed: start + 60, node }
    };
    let failures = days.iter().map(|&day| at(day, 0)).chain([at(100.0, 1)]).collect();
    Trace { source: "made up".into(), nodes, failures, nameless: 0 }
}

/// Which of the first days after the split are said to come before a failure within a week?
fn before_failure(trace: &Trace) -> Vec<u64> {
    let first = trace::year(SPLIT_YEAR) / DAY;
    let mut replay = Replay::new(trace, 7);
    let looks: Vec<Sample> = (first..first + 30).flat_map(|day| replay.look(day, u64::MAX)).collect();
    looks.iter().filter(|look| look.node == 0 && look.failed).map(|look| look.day - first).collect()
}

#[test]
fn a_failure_is_asked_about_for_seven_days_and_not_at_its_own_minute() {
    assert_eq!(before_failure(&history(&[10.5])), [4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(before_failure(&history(&[10.0])), [3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_node_that_is_down_at_midnight_is_not_asked_about() {
    // The second failure is of an hour, over midnight.
    assert_eq!(before_failure(&history(&[9.99, 12.5])), [3, 4, 5, 6, 7, 8, 9, 11, 12]);
}

#[test]
fn nothing_is_asked_about_of_which_the_end_is_not_known() {
    let trace = history(&[]);
    let last = trace.failures[0].start / DAY;
    let mut replay = Replay::new(&trace, 7);
    assert_eq!(replay.look(last - 7, u64::MAX).len(), 2);
    assert_eq!(replay.look(last - 6, u64::MAX).len(), 0);
    assert_eq!(replay.look(last - 7, (last - 1) * DAY).len(), 0);
}

#[test]
fn lead_time_is_from_the_first_alarm_after_the_failure_before() {
    let trace = history(&[10.5, 12.0]);
    let first = trace::year(SPLIT_YEAR) / DAY;
    let looks = |alarms: &[u64]| -> Vec<Scored> {
        let score = |day| if alarms.contains(&day) { 1.0 } else { 0.0 };
        (0..20).map(|day| Scored { node: 0, day: first + day, failed: false, scores: vec![score(day)] }).collect()
    };
    let found = |alarms: &[u64]| {
        let lead = lead(&trace, 7, &looks(alarms), 0, 1.0);
        (lead.days, lead.share)
    };
    // The alarm of day 3 is more than a week before; that of day 11 is after the first failure.
    assert_eq!(found(&[3]), (None, 0.0));
    assert_eq!(found(&[3, 8, 9]), (Some(2.5), 0.5));
    assert_eq!(found(&[11]), (Some(1.0), 0.5));
    assert_eq!(found(&[8, 11]), (Some(2.5), 1.0));
}

#[test]
fn weights_are_found_again_from_what_they_brought_about() {
    let mut random = Random::new(7);
    let made: Vec<Sample> = (0..40_000)
        .map(|_| {
            let mut signals = [0; SIGNALS];
            signals[0] = UNIT;
            signals[1] = random.below(4) * UNIT;
            let expected = 0.05 + 0.2 * signals[1] as f64 / UNIT as f64;
            let failed = random.chance(1.0 - (-expected).exp());
            Sample { node: 0, day: 0, signals, expected_ppm: 0, failed }
        })
        .collect();
    let weights = fit::weights(&made);
    assert!((weights[0] - 0.05).abs() < 0.01 && (weights[1] - 0.2).abs() < 0.01, "{weights:?}");
    assert!(weights[2..].iter().all(|weight| *weight == 0.0));
}

#[test]
fn generated_data_say_that_they_are_generated_and_can_be_foreseen() {
    let options = Options { data: None, days: 7, seed: 2 };
    let report = run(&options).expect("it needs no file");
    assert!(report.notes.iter().any(|note| note.starts_with("generated data")));
    assert_eq!(report.rows[0][1], Cell::Figure(0.5));
    let Cell::Figure(ours) = report.rows[Judges::OURS][1] else { panic!("a figure") };
    assert!(ours > 0.6, "bursts can be foreseen: {ours}");
}
