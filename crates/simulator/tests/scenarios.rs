//! Every scenario that comes with the simulator, with a few seeds each.

use simulator::{Checker, Report, Scenario, Violation, run, sweep};
use std::time::Duration;

fn scenario(name: &str) -> Scenario {
    Scenario::named(name).expect("a scenario of this name")
}

/// Plays a scenario that must go as it says, and returns what came of it.
fn check(name: &str, seeds: impl IntoIterator<Item = u64>) -> Vec<Report> {
    let reports: Vec<Report> = seeds.into_iter().map(|seed| run(&scenario(name), seed)).collect();
    for report in &reports {
        assert!(report.ok, "{name} with seed {}: {:#?}\n{:#?}", report.seed, report.violations, report.steps);
        assert!(report.blocks > 10 && report.finalized > 10, "{name} did next to nothing: {report:#?}");
    }
    reports
}

/// What do the checkers say to a scenario with these lines?
fn accusers(lines: &str) -> Vec<Checker> {
    let text = format!("name = \"x\"\nabout = \"y\"\nnodes = 4\nduration = \"30s\"\n{lines}");
    let scenario = Scenario::parse(&text).expect("a scenario");
    let mut accusers: Vec<Checker> =
        run(&scenario, 1).violations.iter().map(|Violation { checker, .. }| *checker).collect();
    accusers.dedup();
    accusers
}

#[test]
fn four_validators_finalize_what_their_clients_submit() {
    for report in check("four-nodes", 1..=2) {
        assert_eq!(report.submitted, report.finalized);
        // The first leader may have proposed before the others were there, which costs a view.
        assert!(report.gap_s < 2.5, "{report:#?}");
    }
}

#[test]
fn keeps_finalizing_with_a_third_of_nodes_down() {
    check("crash-f", 1..=2);
}

#[test]
fn halts_beyond_a_third_and_resumes_without_a_fork() {
    check("crash-beyond-f", 1..=3);
}

#[test]
fn the_side_with_a_quorum_goes_on() {
    check("split-with-quorum", 1..=2);
}

#[test]
fn no_side_goes_on_without_a_quorum_and_all_say_why() {
    check("split-without-quorum", 1..=3);
}

#[test]
fn a_validator_that_is_not_heard_or_does_not_hear_holds_nobody_up() {
    check("one-way", 1..=2);
}

/// Cuts were injected, and every node named each of them in time: the checker has accused nobody.
#[track_caller]
fn check_named(name: &str, seeds: impl IntoIterator<Item = u64>) -> Vec<Report> {
    let reports = check(name, seeds);
    for report in &reports {
        let longest = report.named_s.expect("there are cuts to name");
        println!("{name} with seed {}: named {} times, after {longest:.1} s at most", report.seed, report.named);
        assert!(report.named >= 4, "{report:#?}");
    }
    reports
}

#[test]
fn two_groups_that_only_one_validator_joins_are_named_by_all() {
    check_named("bridge", 1..=2);
}

#[test]
fn a_ring_in_which_nobody_hears_a_quorum_is_named_link_by_link() {
    check_named("ring", 1..=2);
}

#[test]
fn validators_that_hear_a_quorum_each_and_no_two_the_same_go_on() {
    for report in check_named("overlapping-majorities", 1..=2) {
        assert!(report.gap_s < 15.0, "{report:#?}");
    }
}

#[test]
fn four_of_seven_are_no_quorum_either() {
    check_named("split-four-three", 1..=2);
}

#[test]
fn links_that_are_one_way_for_good_hold_nobody_up_and_are_named() {
    check_named("one-way-forever", 1..=2);
}

#[test]
fn splits_and_one_way_cuts_are_named_within_a_second_of_when_rows_can_show_them() {
    for name in ["split-with-quorum", "split-without-quorum", "one-way"] {
        check_named(name, 3..=3);
    }
}

#[test]
fn messages_that_come_twice_do_nothing_twice() {
    for report in check("twice", 1..=3) {
        assert!(report.finalized > 60, "{report:#?}");
    }
}

#[test]
fn a_validator_with_little_bandwidth_holds_nobody_up_and_is_level_again_when_that_ends() {
    for report in check("narrow", 1..=2) {
        assert!(report.finalized > 100, "{report:#?}");
    }
}

#[test]
fn losses_hold_nobody_up_and_make_nobody_dead() {
    for report in check("loss", 1..=2) {
        // Votes are sent once: a view that loses too many ends with its time-out, and so may the next ones.
        assert!(report.blocks > 50 && report.gap_s < 15.0, "{report:#?}");
    }
}

#[test]
fn messages_that_are_late_and_overtake_each_other_hold_nobody_up() {
    check("latency", 1..=2);
}

#[test]
fn a_validator_a_hundred_times_as_slow_as_the_others_does_not_slow_them_down() {
    for report in check("gray", 1..=2) {
        assert!(report.gap_s < 4.0, "{report:#?}");
    }
}

#[test]
fn whoever_leads_may_be_cut_off_and_the_others_go_on() {
    check("leaders-cut-off", 1..=2);
}

#[test]
fn links_that_flap_hold_nobody_up() {
    check("flapping-link", 1..=2);
}

#[test]
fn links_that_go_and_come_back_one_by_one_are_named_at_every_step() {
    check_named("links-one-by-one", 1..=2);
}

#[test]
fn when_all_links_are_back_after_ten_minutes_blocks_are_final_within_seconds() {
    for report in check_named("blackout", 1..=1) {
        assert!(report.resumed_s.is_some() && report.gap_s < 10.0 + 600.0, "{report:#?}");
    }
}

/// How long it takes from the healing to the first block, with the time-outs of production and no load, for each seed.
fn resumed(outage_s: u64, seeds: impl IntoIterator<Item = u64>) -> Vec<f64> {
    let text = format!(
        "name = \"outage\"\nabout = \"no link works for a while\"\nnodes = 4\nduration = \"{}s\"\nblock_time = \"100ms\"\n\
         expect = [\"agreement\", \"certificates\", \"no_conflicting_votes\", \"no_bans\", \"halts\", \"progress_after_heal\"]\n\
         [load]\ntransfers_per_second = 0\ntasks_per_second = 0\n\
         [[fault]]\nat = \"6s\"\nkind = \"partition\"\ngroups = [[\"n0\"], [\"n1\"], [\"n2\"], [\"n3\"]]\n",
        6 + outage_s
    );
    let scenario = Scenario::parse(&text).expect("a scenario");
    let mut took: Vec<f64> = seeds
        .into_iter()
        .map(|seed| {
            let report = run(&scenario, seed);
            assert!(report.ok, "{outage_s} s, seed {seed}: {:#?}", report.violations);
            report.resumed_s.expect("it was waited for")
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "outage of {outage_s} s: heal to first block, {} runs: median {median:.1} s, longest {longest:.1} s",
        took.len()
    );
    took
}

#[test]
fn the_first_block_after_an_outage_comes_as_soon_whatever_its_length() {
    for (outage_s, seeds) in [(1, 20), (10, 20), (60, 10), (600, 4), (3_600, 1)] {
        let took = resumed(outage_s, 1..=seeds);
        assert!(took.iter().all(|took| *took <= 2.0), "{outage_s} s: {took:?}");
    }
}

/// A day without links takes minutes to simulate.
#[test]
#[ignore = "takes minutes"]
fn the_first_block_after_a_day_without_links_comes_as_soon() {
    assert!(resumed(86_400, 1..=1).iter().all(|took| *took <= 2.0));
}

#[test]
fn a_cut_that_is_not_named_is_caught() {
    // Messages that take two seconds look like a cut, and are none: the topology is clear only without such weather.
    let text = "name = \"x\"\nabout = \"y\"\nnodes = 4\nduration = \"20s\"\nexpect = [\"cut_named\"]\n\
        [links]\nlatency = \"20ms\"\nloss = 0.97\n";
    let report = run(&Scenario::parse(text).expect("a scenario"), 1);
    assert!(report.violations.iter().any(|it| it.checker == Checker::CutNamed), "{:#?}", report.violations);
}

#[test]
fn a_validator_without_its_vote_guard_observes_and_votes_again() {
    check("lose-guard", 1..=3);
}

#[test]
fn lost_guards_beyond_f_halt_and_the_procedure_is_named() {
    check("lose-guards-beyond-f", 1..=3);
}

#[test]
fn validators_that_all_lost_their_journals_contradict_nothing_and_go_on() {
    // Seeds in which no view was left undecided for good, as ARCHITECTURE.md says can be: one in fifteen.
    check("lose-journals", 3..=5);
}

#[test]
fn rot_in_blocks_is_found_and_repaired_from_peers() {
    for report in check("rot-blocks", 1..=3) {
        assert!(report.damage_found >= 5 && report.repaired >= 5, "{report:#?}");
    }
}

#[test]
fn rot_in_certificates_is_found_and_repaired_from_peers() {
    for report in check("rot-certificates", 1..=3) {
        assert!(report.damage_found >= 4 && report.repaired >= 3, "{report:#?}");
    }
}

#[test]
fn rot_in_what_the_engine_keeps_ends_no_validator() {
    for report in check("rot-engine", 1..=4) {
        assert!(report.damage_found >= 5, "{report:#?}");
    }
}

#[test]
fn other_blocks_rotten_on_each_validator_all_come_back() {
    for report in check("rot-everywhere", 1..=2) {
        assert!(report.repaired >= 4, "{report:#?}");
    }
    for report in check("rot-together", 1..=3) {
        assert!(report.repaired >= 4, "{report:#?}");
    }
}

#[test]
fn lost_and_truncated_files_are_fetched_and_never_taken_for_a_fresh_start() {
    for report in check("store-lost", 1..=3) {
        assert!(report.damage_found >= 4 && report.repaired >= 30, "{report:#?}");
    }
}

#[test]
fn the_same_block_rotten_on_all_validators_forks_nothing_and_is_told() {
    for report in check("rot-beyond-repair", 1..=3) {
        assert!(report.damage_found >= 4 && report.repaired == 0, "{report:#?}");
    }
}

/// Five minutes, each time after one to three seconds.
#[test]
fn a_validator_that_is_killed_every_few_seconds_holds_nobody_up_and_catches_up_when_that_ends() {
    let kill = |index: u64| {
        let at = 8_000 + 2_000 * index + 700 * (index % 3);
        format!("[[fault]]\nat = \"{at}ms\"\nkind = \"crash\"\nnodes = [\"n1\"]\nfor = \"400ms\"\n")
    };
    let text = format!(
        "name = \"crash-loop\"\nabout = \"n1 is killed again and again\"\nnodes = 4\nduration = \"320s\"\nblock_time = \"1s\"\n\
         expect = [\"agreement\", \"certificates\", \"durability\", \"conservation\", \"no_conflicting_votes\", \"no_bans\",\n\
         \"progress_throughout\", \"progress_after_heal\", \"votes_again\", \"tasks\", \"tasks_finish\", \"verdicts\"]\n\
         [load]\ntransfers_per_second = 2\ntasks_per_second = 1\n{}",
        (0..150).map(kill).collect::<String>()
    );
    let report = run(&Scenario::parse(&text).expect("a scenario"), 1);
    assert!(report.ok, "{:#?}\n{:#?}", report.violations, report.falls);
    let kills = report.steps.iter().filter(|step| step.contains("n1")).count();
    assert!(kills >= 150 && report.finalized > 500, "{kills} kills: {report:#?}");
}

#[test]
fn nothing_final_is_lost_when_the_power_fails_everywhere() {
    check("power-loss", 1..=3);
}

#[test]
fn others_do_the_tasks_of_a_validator_that_is_gone_for_good() {
    for report in check("tasks-move", 1..=3) {
        assert!(report.tasks.moved > 0 && report.tasks.evicted > 0, "{report:#?}");
        check_all_finished(&report);
    }
}

#[test]
fn a_completion_after_the_lease_went_to_another_changes_nothing() {
    for report in check("late-completion", 1..=3) {
        assert!(report.tasks.moved > 0 && report.tasks.stale > 0, "{report:#?}");
        check_all_finished(&report);
    }
}

#[test]
fn a_halt_takes_no_task_from_a_validator_that_does_it() {
    for report in check("halted-leases", 1..=3) {
        assert!(report.gap_s > 50.0 && report.tasks.outlived > 0, "{report:#?}");
        check_all_finished(&report);
    }
}

/// Everything takes so long that a halt comes while validators are at work, and nobody has anything to say when it is over.
#[test]
fn a_halt_takes_no_lease_from_a_validator_that_is_still_at_work() {
    let text = "name = \"x\"\nabout = \"y\"\nnodes = 4\nduration = \"45s\"\nexpect = [\"tasks\", \"tasks_finish\"]\n\
        [[fault]]\nat = \"5s\"\nkind = \"slow_worker\"\nnodes = [\"n0\", \"n1\", \"n2\", \"n3\"]\n\
        [[fault]]\nat = \"15s\"\nkind = \"partition\"\ngroups = [[\"n0\", \"n1\"], [\"n2\", \"n3\"]]\nfor = \"12s\"\n";
    let report = run(&Scenario::parse(text).expect("a scenario"), 1);
    assert!(report.ok, "{:#?}", report.violations);
    assert_eq!(report.tasks.halted, 0, "{report:#?}");
}

#[test]
fn a_validator_that_crashes_is_found_out_its_tasks_move_and_it_says_itself_that_it_is_back() {
    for report in check("crash-verdict", 1..=3) {
        assert_eq!(report.tasks.verdicts, 1, "{report:#?}");
        check_all_finished(&report);
    }
}

#[test]
fn as_many_as_may_lie_have_nobody_found_unresponsive() {
    check("false-accuser", 1..=3);
}

#[test]
fn a_validator_that_does_no_work_is_found_out_and_is_back_when_it_works() {
    for report in check("wedged-executor", 1..=3) {
        assert!(report.tasks.verdicts > 0 && report.tasks.evicted > 0, "{report:#?}");
        check_all_finished(&report);
    }
}

#[test]
fn a_validator_whose_disk_is_far_slower_than_the_others_is_found_out() {
    for report in check("slow-disk", 1..=3) {
        assert!(report.tasks.verdicts > 0, "{report:#?}");
    }
}

#[test]
fn a_validator_that_crashes_again_and_again_gets_no_task_lost_and_none_done_twice() {
    for report in check("flapping", 1..=3) {
        assert!(report.tasks.verdicts > 1, "{report:#?}");
        check_all_finished(&report);
    }
}

#[test]
fn a_validator_that_wants_to_leave_is_gone_with_the_epoch_and_its_tasks_are_done_by_others() {
    for report in check("leave", 1..=3) {
        assert_eq!(report.tasks.verdicts, 0, "{report:#?}");
        check_all_finished(&report);
    }
}

#[test]
fn ten_that_are_lost_one_by_one_are_removed_and_four_go_on() {
    for report in check("gradual-loss", 1..=2) {
        // Without the removals the fourth loss would have been the end.
        assert!(report.blocks > 300, "{report:#?}");
    }
}

#[test]
fn two_nodes_join_one_after_the_other_vote_and_then_one_may_be_lost() {
    for report in check("join", 1..=2) {
        check_all_finished(&report);
    }
}

/// N25 of the catalogue of faults: a split while the set of validators changes.
#[test]
fn a_split_while_a_node_joins_halts_the_network_and_loses_nobody() {
    check("join-split", 1..=3);
}

#[test]
fn a_key_is_changed_under_load_in_one_step() {
    for report in check("replace", 1..=2) {
        check_all_finished(&report);
    }
}

#[test]
fn a_rolling_restart_under_load_loses_nothing() {
    for report in check("rolling-restart", 1..=3) {
        check_all_finished(&report);
    }
}

#[test]
fn among_many_a_crash_that_three_watch_for_becomes_a_verdict_of_more_than_f() {
    for report in check("watchers", 1..=1) {
        assert!(report.tasks.verdicts > 0, "{report:#?}");
    }
}

#[test]
fn a_validator_that_is_stopped_for_long_is_found_out_and_is_back_by_its_own_word() {
    for report in check("stall", 1..=3) {
        assert!(fell(&report, "n1"), "{report:#?}");
        check_all_finished(&report);
    }
}

#[test]
fn a_validator_that_pauses_again_and_again_is_not_called_crashed_again_and_again() {
    for report in check("stall-short", 1..=3) {
        assert!(report.tasks.verdicts <= 1, "{report:#?}");
        check_all_finished(&report);
    }
}

#[test]
fn a_validator_that_is_stopped_for_ten_minutes_catches_up_and_votes_again() {
    for report in check("stall-long", 1..=1) {
        // Once, and not again because it had not voted while it was away.
        assert!(report.falls.len() == 1 && fell(&report, "n1") && report.simulated_s > 600.0, "{report:#?}");
        check_all_finished(&report);
    }
}

#[test]
fn a_leader_that_is_stopped_between_its_block_and_its_vote_holds_nobody_up() {
    for report in check("stall-leader", 1..=3) {
        for node in 0..4 {
            let stopped = format!("n{node} fails (Stall) before message on channel 3");
            assert!(report.steps.iter().any(|step| step.ends_with(&stopped)), "{stopped}: {:#?}", report.steps);
        }
        check_all_finished(&report);
    }
}

#[test]
fn halts_while_more_than_a_third_are_stopped_and_resumes_without_a_fork() {
    check("stall-beyond-f", 1..=3);
}

#[test]
fn clocks_that_are_an_hour_off_are_named_and_hold_nobody_up() {
    for report in check("wrong-clocks", 1..=2) {
        let named: Vec<&str> =
            report.falls.iter().filter(|it| it.reason == "clock").map(|it| it.node.as_str()).collect();
        assert!(named.contains(&"n2") && named.contains(&"n5"), "{:#?}", report.falls);
        check_all_finished(&report);
    }
}

/// Up to half a second a timestamp is voted for at once, and a second is the least that a clock is accused of.
#[test]
fn a_clock_that_is_off_is_named_from_a_second_on_and_never_holds_the_others_up() {
    let cases = [("400ms", false), ("1500ms", true), ("4s", true), ("6s", true), ("90s", true)];
    for (direction, (by, named)) in ["ahead", "behind"].into_iter().flat_map(|it| cases.map(|case| (it, case))) {
        let text = format!(
            "name = \"x\"\nabout = \"y\"\nnodes = 4\nduration = \"30s\"\n\
             expect = [\"agreement\", \"certificates\", \"durability\", \"no_conflicting_votes\", \"no_bans\",\n\
             \"progress_throughout\", \"progress_after_heal\", \"votes_again\", \"tasks\", \"tasks_finish\", \"verdicts\"]\n\
             [[fault]]\nat = \"4s\"\nkind = \"wrong_clock\"\nnodes = [\"n2\"]\n{direction} = \"{by}\"\nfor = \"300ms\"\n"
        );
        let report = run(&Scenario::parse(&text).expect("a scenario"), 1);
        assert!(report.ok, "{by} {direction}: {:#?}\n{:#?}", report.violations, report.steps);
        let falls = report.falls.iter().any(|fall| fall.node == "n2" && fall.reason == "clock");
        assert_eq!(falls, named, "{by} {direction}: {:#?}", report.falls);
    }
}

fn fell(report: &Report, node: &str) -> bool {
    report.falls.iter().any(|fall| fall.node == node)
}

#[test]
fn tasks_are_forgotten_a_while_after_they_were_finished_and_never_before() {
    for report in check("forgotten-tasks", 1..=2) {
        assert!(report.tasks.forgotten > 50, "{report:#?}");
        check_all_finished(&report);
    }
}

fn check_all_finished(report: &Report) {
    let tasks = report.tasks;
    assert_eq!(tasks.done + tasks.failed + tasks.cancelled, tasks.submitted, "{report:#?}");
    assert_eq!((tasks.lost, tasks.doubled, tasks.open), (0, 0, 0), "{report:#?}");
}

#[test]
fn the_canary_is_caught() {
    for seed in 1..=3 {
        let report = run(&scenario("canary"), seed);
        assert!(report.ok, "{:#?}", report.violations);
        for checker in [Checker::Agreement, Checker::NoConflictingVotes] {
            assert!(report.violations.iter().any(|violation| violation.checker == checker), "{checker:?}");
        }
    }
}

#[test]
fn a_network_that_never_recovers_is_caught() {
    let lines = "expect = [\"progress_after_heal\", \"votes_again\"]\n\
        [[fault]]\nat = \"5s\"\nkind = \"lose_guard\"\nnodes = [\"n1\", \"n2\"]\nfor = \"1s\"\n";
    assert_eq!(accusers(lines), [Checker::ProgressAfterHeal, Checker::VotesAgain]);
}

#[test]
fn tasks_that_are_never_finished_are_caught() {
    let lines = "left_down = [\"n1\", \"n2\"]\nexpect = [\"tasks\", \"tasks_finish\"]\n\
        [[fault]]\nat = \"5s\"\nkind = \"crash\"\nnodes = [\"n1\", \"n2\"]\n";
    assert_eq!(accusers(lines), [Checker::TasksFinish]);
}

#[test]
fn workers_that_are_slow_or_stuck_for_a_while_keep_no_task_from_being_done() {
    let text = "name = \"x\"\nabout = \"y\"\nnodes = 4\nduration = \"30s\"\nexpect = [\"tasks\", \"tasks_finish\"]\n\
        [[fault]]\nat = \"5s\"\nkind = \"slow_worker\"\nnodes = [\"n1\"]\nfor = \"15s\"\n\
        [[fault]]\nat = \"8s\"\nkind = \"stuck_worker\"\nnodes = [\"n2\"]\nfor = \"15s\"\n";
    let report = run(&Scenario::parse(text).expect("a scenario"), 1);
    assert!(report.ok, "{:#?}", report.violations);
    check_all_finished(&report);
}

#[test]
fn a_long_gap_between_blocks_is_caught() {
    let lines = "expect = [\"progress_throughout\"]\n\
        [[fault]]\nat = \"5s\"\nkind = \"crash\"\nnodes = [\"n1\", \"n2\"]\nfor = \"10s\"\n";
    assert_eq!(accusers(lines), [Checker::ProgressThroughout]);
}

#[test]
fn a_scenario_that_does_not_show_what_it_says_is_caught() {
    assert_eq!(accusers("expect = [\"halts\"]\n"), [Checker::Halts]);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let mut scenario = scenario("swarm");
    scenario.duration = Duration::from_secs(12);
    let play = |seed| {
        let report = run(&scenario, seed);
        (report.digest, report.steps, report.blocks, report.votes)
    };
    for seed in 1..=3 {
        assert_eq!(play(seed), play(seed));
    }
    assert_ne!(play(1), play(2));
}

/// Plays some seeds and prints a line for each: `SIM=swarm:0..150 cargo test ... -- look --ignored --nocapture`, with
/// another length in seconds as a third word, or a file instead of a name.
#[test]
#[ignore = "a tool, not a test"]
fn look() {
    let wish = std::env::var("SIM").unwrap_or_else(|_| "swarm:0..4:12".into());
    let words: Vec<&str> = wish.split(':').collect();
    let (first, end) = words[1].split_once("..").expect("a range of seeds");
    let mut scenario = match std::fs::read_to_string(words[0]) {
        Ok(text) => Scenario::parse(&text).expect("a scenario"),
        Err(_) => scenario(words[0]),
    };
    if let Some(seconds) = words.get(2) {
        scenario.duration = Duration::from_secs(seconds.parse().expect("seconds"));
    }
    for seed in first.parse::<u64>().expect("a seed")..end.parse().expect("a seed") {
        let report = run(&scenario, seed);
        let falls: Vec<String> = report.falls.iter().map(|fall| format!("{} {}", fall.node, fall.reason)).collect();
        println!(
            "{seed}: ok {} blocks {} sim {:.0} wall {:.1} = {:.1}/s final {}/{} replaced {} {:?} converged {:?} finished {:?} gap {} falls {falls:?}",
            report.ok,
            report.blocks,
            report.simulated_s,
            report.wall_s,
            report.simulated_s / report.wall_s,
            report.finalized,
            report.submitted,
            report.replaced,
            report.tasks,
            report.converged_s,
            report.tasks_finished_s,
            report.gap_s,
        );
        if !report.ok {
            println!("{:#?}\n{:#?}", report.violations, report.steps);
        }
    }
}

#[test]
fn a_wiped_validator_comes_back_by_snapshot_while_the_others_have_pruned() {
    check("snapshot-join", 1..=2);
}

#[test]
fn who_was_away_for_long_gets_ranges_of_blocks_whoever_lies_or_is_silent() {
    check("catch-up", 1..=2);
}

#[test]
fn a_line_that_holds_everything_back_and_lets_it_go_at_once_holds_nobody_up() {
    check("clog", 1..=2);
}

#[test]
fn a_disk_that_lies_about_its_syncs_harms_nobody_but_its_validator() {
    check("lying-disk", 1..=3);
}

#[test]
fn a_disk_whose_reads_are_slow_holds_nobody_up() {
    check("slow-reads", 1..=2);
}

#[test]
fn a_short_overload_passes_and_loses_nothing() {
    check("overload", 1..=2);
}

#[test]
fn a_peer_that_gives_wrong_pieces_of_the_state_holds_nobody_up() {
    check("snapshot-liar", 1..=2);
}

/// Plays the swarm with storms of this length.
fn storm(name: &str, length: Duration, seeds: u64) {
    let mut scenario = scenario(name);
    scenario.duration = length;
    let report = sweep(&scenario, 0..seeds, 2);
    println!("{}", serde_json::to_string_pretty(&report).expect("a report can be written"));
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert_eq!(report.seeds as u64, seeds);
}

#[test]
fn a_hundred_seeds_of_the_swarm_are_clean() {
    storm("swarm", Duration::from_secs(12), 100);
}

#[test]
fn seven_validators_weather_the_swarm() {
    storm("swarm-seven", Duration::from_secs(12), 6);
}

#[test]
fn sets_of_validators_that_change_weather_the_swarm() {
    storm("swarm-sets", Duration::from_secs(40), 10);
}

/// About ten minutes: `cargo test --release -p simulator --test scenarios -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes; run it before a release"]
fn five_hundred_seeds_of_the_swarm_are_clean() {
    storm("swarm", Duration::from_secs(30), 500);
}
