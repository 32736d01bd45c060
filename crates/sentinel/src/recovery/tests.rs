use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// Without jitter, so that edges are where the configuration puts them.
fn plain() -> Config {
    Config { jitter_ms: 0, ..Config::default() }
}

fn recovery(nodes: u32, config: Config) -> Recovery {
    Recovery::new(config, nodes, 7).expect("it fits")
}

fn tick(recovery: &mut Recovery, now_ms: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    recovery.tick(now_ms, &mut actions);
    actions
}

fn begun(actions: &[Action]) -> Vec<(u32, Step)> {
    let begins = actions.iter().filter_map(|action| match action {
        Action::Begin { node, step } => Some((*node, *step)),
        Action::Ended { .. } | Action::GaveUp { .. } => None,
    });
    begins.collect()
}

/// One attempt of node 0 from `now_ms` on that fails at once. Whether there was one.
fn fails(recovery: &mut Recovery, now_ms: u64) -> bool {
    recovery.down(0, "it is silent");
    let is_begun = !begun(&tick(recovery, now_ms)).is_empty();
    recovery.failed(0, "the disk is gone", now_ms);
    tick(recovery, now_ms);
    is_begun
}

/// One attempt of node 0 from `now_ms` on that succeeds within a second. Whether there was one.
fn succeeds(recovery: &mut Recovery, now_ms: u64) -> bool {
    recovery.down(0, "it is silent");
    for step in Step::ALL {
        if begun(&tick(recovery, now_ms)) != [(0, step)] {
            return false;
        }
        recovery.done(0, step, now_ms + SECOND);
    }
    tick(recovery, now_ms + SECOND);
    recovery.state(0, now_ms + SECOND) == State::Active
}

#[test]
fn a_node_is_brought_back_step_by_step_and_each_step_is_timed() {
    let mut recovery = recovery(4, plain());
    assert_eq!(tick(&mut recovery, 0), []);
    recovery.down(2, "it is silent");
    let mut now_ms = 10 * SECOND;
    for (index, step) in Step::ALL.into_iter().enumerate() {
        assert_eq!(tick(&mut recovery, now_ms), [Action::Begin { node: 2, step }]);
        assert_eq!(tick(&mut recovery, now_ms), [], "nothing is said twice");
        now_ms += (index as u64 + 1) * SECOND;
        recovery.done(2, step, now_ms);
    }
    assert_eq!(tick(&mut recovery, now_ms), [Action::Ended { node: 2, outcome: Outcome::Active }]);
    assert_eq!(recovery.state(2, now_ms), State::Active);
    let attempts = recovery.attempts(2).expect("a node").counted();
    let took: Vec<_> = attempts[0].stages.iter().map(|stage| (stage.step, stage.took_ms)).collect();
    assert_eq!(took, [1, 2, 3, 4, 5].map(|s| (Step::ALL[s as usize - 1], Some(s * SECOND))));
    assert_eq!((attempts[0].began_ms, attempts[0].by, recovery.attempts_left(2, now_ms)), (10 * SECOND, By::Itself, 2));
}

#[test]
fn news_of_another_step_is_ignored() {
    let mut recovery = recovery(4, plain());
    recovery.down(0, "it is silent");
    recovery.done(0, Step::VerifyIntegrity, 0);
    assert_eq!(begun(&tick(&mut recovery, 0)), [(0, Step::VerifyIntegrity)]);
    recovery.done(0, Step::Trial, 1);
    recovery.validated(0, 1_000, 1);
    recovery.done(9, Step::Restart, 1);
    assert_eq!(tick(&mut recovery, 1), []);
}

#[test]
fn a_step_fails_at_its_deadline_and_not_before() {
    for (reached, step) in Step::ALL.into_iter().enumerate() {
        let mut recovery = recovery(4, plain());
        recovery.down(0, "it is silent");
        for earlier in &Step::ALL[..reached] {
            tick(&mut recovery, 0);
            recovery.done(0, *earlier, 0);
        }
        tick(&mut recovery, 0);
        let deadline_ms = plain().step_max_ms(step);
        assert_eq!(recovery.deadline(0), Some(deadline_ms));
        assert_eq!(tick(&mut recovery, deadline_ms - 1), []);
        let ended = Action::Ended { node: 0, outcome: Outcome::TimedOut { step } };
        assert_eq!(tick(&mut recovery, deadline_ms), [ended]);
        let until_ms = deadline_ms + plain().cooldown_ms;
        assert_eq!(recovery.state(0, deadline_ms), State::Cooling { until_ms });
        assert_eq!(recovery.deadline(deadline_ms), Some(until_ms));
    }
}

#[test]
fn a_step_that_comes_nearer_gets_its_time_anew() {
    let mut recovery = recovery(4, plain());
    recovery.down(0, "it is silent");
    for step in [Step::VerifyIntegrity, Step::Restart] {
        tick(&mut recovery, 0);
        recovery.done(0, step, 0);
    }
    tick(&mut recovery, 0);
    let deadline_ms = plain().catch_up_max_ms;
    recovery.moved(0, deadline_ms - 1);
    assert_eq!(tick(&mut recovery, 2 * deadline_ms - 2), []);
    assert_eq!(tick(&mut recovery, 2 * deadline_ms - 1).len(), 1);
}

#[test]
fn a_trial_takes_a_hundred_validations() {
    let mut recovery = recovery(4, plain());
    recovery.down(0, "it is silent");
    for step in &Step::ALL[..4] {
        tick(&mut recovery, 0);
        recovery.done(0, *step, 0);
    }
    tick(&mut recovery, 0);
    recovery.validated(0, 99, 1);
    assert_eq!(tick(&mut recovery, 1), []);
    recovery.validated(0, 1, 2);
    assert_eq!(tick(&mut recovery, 2), [Action::Ended { node: 0, outcome: Outcome::Active }]);
}

#[test]
fn attempts_are_apart_by_a_cooldown_from_the_end_of_the_last() {
    let mut recovery = recovery(4, plain());
    assert!(fails(&mut recovery, 0));
    assert!(!fails(&mut recovery, 300 * SECOND - 1));
    assert!(fails(&mut recovery, 300 * SECOND));
}

#[test]
fn jitter_only_adds_to_a_cooldown_and_differs_between_nodes() {
    let mut recovery = recovery(100, Config::default());
    let mut ends = Vec::new();
    for node in 0..30 {
        recovery.down(node, "a power cut");
        tick(&mut recovery, 0);
        recovery.failed(node, "still no power", 0);
        let State::Cooling { until_ms } = recovery.state(node, 0) else { panic!("it has failed") };
        ends.push(until_ms);
    }
    assert!(ends.iter().all(|end| (300 * SECOND..=330 * SECOND).contains(end)), "{ends:?}");
    ends.sort_unstable();
    ends.dedup();
    assert!(ends.len() >= 29, "{ends:?}");
}

#[test]
fn after_three_attempts_a_node_has_failed_until_the_first_is_a_day_old() {
    let mut recovery = recovery(4, plain());
    for attempt in 0..3 {
        assert!(fails(&mut recovery, attempt * HOUR));
    }
    let reason = "verify_integrity failed: the disk is gone".to_owned();
    assert_eq!(recovery.state(0, 2 * HOUR), State::Failed { until_ms: DAY, reason });
    assert_eq!(recovery.attempts_left(0, 2 * HOUR), 0);
    assert!(!fails(&mut recovery, DAY - 1));
    assert!(fails(&mut recovery, DAY));
    assert!(!fails(&mut recovery, DAY + HOUR - 1));
    assert!(fails(&mut recovery, DAY + HOUR));
}

#[test]
fn people_are_told_once_that_a_node_has_failed() {
    let mut recovery = recovery(4, plain());
    for attempt in 0..3 {
        recovery.down(0, "it is silent");
        tick(&mut recovery, attempt * HOUR);
        recovery.failed(0, "no", attempt * HOUR);
    }
    let told = tick(&mut recovery, 2 * HOUR);
    let reason = "verify_integrity failed: no".to_owned();
    assert_eq!(told[1..], [Action::GaveUp { node: 0, until_ms: DAY, reason }]);
    assert_eq!(tick(&mut recovery, 3 * HOUR), []);
}

#[test]
fn a_node_that_flaps_gets_no_fresh_attempts() {
    let mut recovery = recovery(4, plain());
    for attempt in 0..3 {
        assert!(succeeds(&mut recovery, attempt * HOUR), "{attempt}");
    }
    assert!(!succeeds(&mut recovery, 4 * HOUR));
    recovery.back(0);
    assert_eq!(recovery.state(0, 4 * HOUR), State::Active);
    assert_eq!(recovery.next_ms(0, 4 * HOUR), Some(DAY));
    assert!(!fails(&mut recovery, 5 * HOUR));
}

#[test]
fn who_comes_back_by_itself_needs_no_attempt() {
    let mut recovery = recovery(4, plain());
    recovery.down(0, "it is silent");
    recovery.back(0);
    assert_eq!(tick(&mut recovery, 0), []);
    assert_eq!(recovery.attempts_left(0, 0), 3);
}

#[test]
fn an_order_waits_for_no_cooldown_and_counts() {
    let mut recovery = recovery(4, plain());
    assert_eq!(recovery.recover(0, 0), Err(Refusal::NotDown));
    assert!(fails(&mut recovery, 0));
    assert_eq!(recovery.recover(0, SECOND), Ok(()));
    assert_eq!(begun(&tick(&mut recovery, SECOND)), [(0, Step::VerifyIntegrity)]);
    assert_eq!(recovery.recover(0, SECOND), Err(Refusal::UnderWay));
    recovery.failed(0, "no", 2 * SECOND);
    let by: Vec<By> = recovery.attempts(0).expect("a node").counted().iter().map(|attempt| attempt.by).collect();
    assert_eq!(by, [By::Itself, By::Order]);
    assert_eq!(tick(&mut recovery, 3 * SECOND).len(), 1, "the next one waits again");
    assert_eq!(recovery.recover(0, 3 * SECOND), Ok(()));
    tick(&mut recovery, 3 * SECOND);
    recovery.failed(0, "no", 3 * SECOND);
    assert_eq!(recovery.recover(0, 4 * SECOND), Err(Refusal::Exhausted { until_ms: DAY }));
    assert_eq!(recovery.recover(9, 0), Err(Refusal::NotDown));
}

#[test]
fn those_who_fail_together_come_back_in_order_and_f_at_a_time() {
    let mut recovery = recovery(7, plain());
    for node in [5, 1, 4, 0] {
        recovery.down(node, "a power cut");
    }
    assert_eq!(begun(&tick(&mut recovery, 0)), [(1, Step::VerifyIntegrity), (5, Step::VerifyIntegrity)]);
    assert_eq!((recovery.state(4, 0), recovery.state(0, 0)), (State::Queued, State::Queued));
    recovery.failed(5, "no", SECOND);
    assert_eq!(begun(&tick(&mut recovery, SECOND)), [(4, Step::VerifyIntegrity)]);
    recovery.failed(1, "no", 2 * SECOND);
    assert_eq!(begun(&tick(&mut recovery, 2 * SECOND)), [(0, Step::VerifyIntegrity)]);
}

#[test]
fn a_process_that_ends_again_goes_through_the_same_attempt_but_not_for_ever() {
    let mut recovery = recovery(4, Config { passes_max: 3, ..plain() });
    recovery.down(0, "it ended");
    for pass in 1..=3 {
        assert_eq!(begun(&tick(&mut recovery, 0)), [(0, Step::VerifyIntegrity)], "{pass}");
        recovery.done(0, Step::VerifyIntegrity, 0);
        assert_eq!(begun(&tick(&mut recovery, 0)), [(0, Step::Restart)]);
        recovery.again(0, "exit code 1", 0);
    }
    let outcome = Outcome::Failed { step: Step::Restart, reason: "exit code 1".into() };
    assert_eq!(tick(&mut recovery, 0), [Action::Ended { node: 0, outcome }]);
    assert_eq!(recovery.attempts_left(0, 0), 2);
}

#[test]
fn a_process_that_ends_during_its_trial_has_used_the_attempt() {
    let mut recovery = recovery(4, plain());
    recovery.down(0, "it ended");
    for step in &Step::ALL[..4] {
        tick(&mut recovery, 0);
        recovery.done(0, *step, 0);
    }
    tick(&mut recovery, 0);
    recovery.again(0, "exit code 1", SECOND);
    let outcome = Outcome::Failed { step: Step::Trial, reason: "exit code 1".into() };
    assert_eq!(tick(&mut recovery, SECOND), [Action::Ended { node: 0, outcome }]);
    assert_eq!(recovery.state(0, SECOND), State::Cooling { until_ms: 301 * SECOND });
}

#[test]
fn what_was_known_before_a_restart_counts() {
    let mut before = recovery(1, plain());
    assert!(fails(&mut before, HOUR));
    before.down(0, "again");
    tick(&mut before, 2 * HOUR);
    let known = before.attempts(0).expect("a node").counted().to_vec();
    let mut after = recovery(1, plain());
    after.restore(0, known, 3 * HOUR);
    let outcomes = |recovery: &Recovery| {
        let attempts = recovery.attempts(0).expect("a node").counted().iter();
        attempts.map(|attempt| attempt.ended.clone().expect("ended").1).collect::<Vec<_>>()
    };
    assert_eq!(outcomes(&after)[1], Outcome::Interrupted);
    assert_eq!(after.attempts_left(0, 3 * HOUR), 1);
    assert_eq!(after.next_ms(0, 3 * HOUR), Some(3 * HOUR + plain().cooldown_ms));
}

#[test]
fn attempts_from_a_clock_that_was_ahead_count_from_now_and_too_many_are_cut() {
    let mut recovery = recovery(1, plain());
    let attempt = Attempt { ended: Some((99 * DAY, Outcome::Active)), ..Attempt::new(By::Itself, 99 * DAY) };
    recovery.restore(0, vec![attempt; 50], HOUR);
    assert_eq!(recovery.attempts(0).expect("a node").counted().len(), 3);
    assert_eq!(recovery.next_ms(0, HOUR), Some(HOUR + DAY));
}

#[test]
fn reasons_are_cut_between_characters() {
    assert_eq!(short(&"ä".repeat(200)), "ä".repeat(128));
    assert_eq!(short(&format!("a{}", "ä".repeat(200))).len(), 255);
}

/// Anything that can happen to a network of nodes.
#[derive(Clone, Debug)]
enum Event {
    Down(u32),
    Back(u32),
    Recover(u32),
    Done(u32),
    Failed(u32),
    Again(u32),
    Moved(u32),
    Validated(u32, u64),
    Restore(u32),
    Wait(u64),
}

fn event(nodes: u32) -> impl Strategy<Value = Event> {
    let node = 0..nodes;
    prop_oneof![
        4 => node.clone().prop_map(Event::Down),
        1 => node.clone().prop_map(Event::Back),
        2 => node.clone().prop_map(Event::Recover),
        6 => node.clone().prop_map(Event::Done),
        2 => node.clone().prop_map(Event::Failed),
        1 => node.clone().prop_map(Event::Again),
        1 => node.clone().prop_map(Event::Moved),
        1 => (node.clone(), 0..200u64).prop_map(|(node, count)| Event::Validated(node, count)),
        1 => node.prop_map(Event::Restore),
        4 => prop_oneof![Just(1), 0..120 * SECOND, 0..2 * HOUR, Just(12 * HOUR)].prop_map(Event::Wait),
    ]
}

/// When the attempts of one node began and ended, and whether by order, as the caller saw it.
#[derive(Clone, Debug, Default)]
struct Seen {
    begun: Vec<(u64, By)>,
    last_end_ms: Option<u64>,
    under_way: bool,
}

/// Applies `event`, as a caller would.
fn apply(recovery: &mut Recovery, event: &Event, now_ms: &mut u64) {
    match *event {
        Event::Down(node) => recovery.down(node, "it is silent"),
        Event::Back(node) => recovery.back(node),
        Event::Recover(node) => drop(recovery.recover(node, *now_ms)),
        Event::Done(node) => {
            if let State::Recovering { step, .. } = recovery.state(node, *now_ms) {
                recovery.done(node, step, *now_ms);
            }
        }
        Event::Failed(node) => recovery.failed(node, "no", *now_ms),
        Event::Again(node) => recovery.again(node, "no", *now_ms),
        Event::Moved(node) => recovery.moved(node, *now_ms),
        Event::Validated(node, count) => recovery.validated(node, count, *now_ms),
        Event::Restore(node) => {
            let known = recovery.attempts(node).expect("a node").counted().to_vec();
            if !matches!(recovery.state(node, *now_ms), State::Recovering { .. }) {
                recovery.restore(node, known, *now_ms);
            }
        }
        Event::Wait(wait_ms) => *now_ms += wait_ms,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_limits_hold_whatever_happens(
        nodes in 1..11u32,
        seed in any::<u64>(),
        events in prop::collection::vec(event(10), 1..300),
    ) {
        let config = Config::default();
        let mut recovery = Recovery::new(config, nodes, seed).expect("it fits");
        let mut seen = vec![Seen::default(); nodes as usize];
        let mut now_ms = 0;
        for event in events.iter().filter(|event| of(event).is_none_or(|node| node < nodes)) {
            apply(&mut recovery, event, &mut now_ms);
            for action in tick(&mut recovery, now_ms) {
                see(&mut seen, &recovery, &action, now_ms);
            }
            let under_way = seen.iter().filter(|seen| seen.under_way).count();
            prop_assert!(under_way <= faults(nodes as usize).max(1), "{under_way} at once");
            for node in 0..nodes {
                check_bounds(&recovery, node, &config)?;
                check_waiting(&recovery, node, now_ms)?;
            }
        }
        for seen in &seen {
            check_spacing(seen, &config)?;
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_run(seed in any::<u64>(), events in prop::collection::vec(event(4), 1..100)) {
        let run = || {
            let (mut recovery, mut now_ms) = (Recovery::new(Config::default(), 4, seed).expect("it fits"), 0);
            let mut all = Vec::new();
            for event in &events {
                apply(&mut recovery, event, &mut now_ms);
                recovery.tick(now_ms, &mut all);
            }
            all
        };
        prop_assert_eq!(run(), run());
    }
}

fn of(event: &Event) -> Option<u32> {
    match event {
        Event::Down(node)
        | Event::Back(node)
        | Event::Recover(node)
        | Event::Done(node)
        | Event::Failed(node)
        | Event::Again(node)
        | Event::Moved(node)
        | Event::Validated(node, _)
        | Event::Restore(node) => Some(*node),
        Event::Wait(_) => None,
    }
}

fn see(seen: &mut [Seen], recovery: &Recovery, action: &Action, now_ms: u64) {
    match action {
        Action::Begin { node, step: Step::VerifyIntegrity } => {
            let seen = &mut seen[*node as usize];
            // Another pass of the same attempt is no new attempt.
            if !seen.under_way {
                let attempts = recovery.attempts(*node).expect("a node").counted();
                seen.begun.push((now_ms, attempts.last().expect("it has begun").by));
                check_cooled(seen, recovery.config(), now_ms);
            }
            seen.under_way = true;
        }
        Action::Ended { node, .. } => {
            let seen = &mut seen[*node as usize];
            (seen.under_way, seen.last_end_ms) = (false, Some(now_ms));
        }
        Action::Begin { .. } | Action::GaveUp { .. } => {}
    }
}

/// One that nobody ordered begins a whole cooldown after the end of the last.
fn check_cooled(seen: &Seen, config: &Config, now_ms: u64) {
    if let (Some((_, By::Itself)), Some(ended_ms)) = (seen.begun.last(), seen.last_end_ms) {
        assert!(now_ms >= ended_ms + config.cooldown_ms, "{now_ms} is too soon after {ended_ms}");
    }
}

/// No window holds more attempts than may be, ordered ones included.
fn check_spacing(seen: &Seen, config: &Config) -> Result<(), TestCaseError> {
    for window in seen.begun.windows(config.attempts_max + 1) {
        let (first, last) = (window[0].0, window[config.attempts_max].0);
        prop_assert!(last - first >= config.window_ms, "{:?}", window);
    }
    Ok(())
}

/// The memory of a node is bounded.
fn check_bounds(recovery: &Recovery, node: u32, config: &Config) -> Result<(), TestCaseError> {
    let attempts = recovery.attempts(node).expect("a node").counted();
    prop_assert!(attempts.len() <= config.attempts_max);
    prop_assert!(attempts.iter().all(|attempt| attempt.stages.len() <= Step::ALL.len()));
    prop_assert!(attempts.iter().all(|attempt| attempt.passes <= config.passes_max));
    Ok(())
}

/// Whoever waits, waits until a time that is to come, or for somebody who does.
fn check_waiting(recovery: &Recovery, node: u32, now_ms: u64) -> Result<(), TestCaseError> {
    match recovery.state(node, now_ms) {
        State::Active => {}
        State::Queued => prop_assert!(recovery.deadline(now_ms).is_some()),
        State::Cooling { until_ms } | State::Failed { until_ms, .. } => prop_assert!(until_ms > now_ms),
        State::Recovering { deadline_ms, .. } => prop_assert!(deadline_ms > now_ms),
    }
    Ok(())
}
