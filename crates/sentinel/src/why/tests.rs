use super::*;

/// Seven validators, of which the first two are in region eu; n0 looks. All vote and hear each other.
fn whole() -> Scene {
    let n = 7;
    let mut reach = Reach::new(n);
    (0..n).for_each(|who| (0..n).for_each(|about| reach.say(who, about, Word::Hears)));
    Scene {
        looks: "n0".into(),
        me: Some(0),
        names: (0..n).map(|i| format!("n{i}")).collect(),
        regions: (0..n).map(|i| if i < 2 { "eu" } else { "us" }.to_owned()).collect(),
        nodes: vec![Node { heard: true, voting: Some(true), ..Node::default() }; n],
        reach,
        height: 42,
        now_ms: 100_000,
        started_ms: 0,
        finalized_ms: Some(99_000),
    }
}

/// Nothing of them comes here or to whom is heard here.
fn lose(scene: &mut Scene, gone: &[usize]) {
    for node in gone {
        scene.nodes[*node] = Node { missing_since_ms: Some(1_000), ..Node::default() };
        for other in 0..scene.nodes.len() {
            scene.reach.say(*node, other, Word::Unknown);
            scene.reach.say(other, *node, if gone.contains(&other) { Word::Unknown } else { Word::Deaf });
        }
    }
}

fn cut(scene: &mut Scene, side: &[usize], other: &[usize]) {
    for (a, b) in side.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
        scene.reach.say(a, b, Word::Deaf);
        scene.reach.say(b, a, Word::Deaf);
    }
}

#[track_caller]
fn check(scene: &Scene, finality: Finality, slack: i64, sentence: &str, fix: Option<&str>) {
    let why = explain(scene);
    assert_eq!((why.finality, why.slack()), (finality, slack), "{}", why.sentence);
    assert_eq!(why.sentence, sentence);
    assert_eq!(why.fix.as_deref(), fix);
}

#[test]
fn all_that_hear_each_other_are_live_with_slack_two() {
    check(
        &whole(),
        Finality::Live,
        2,
        "LIVE at height 42: 7 of 7 validators vote and hear each other, 5 needed.",
        None,
    );
}

#[test]
fn exactly_a_quorum_is_degraded_and_names_who_to_bring_back() {
    let mut scene = whole();
    lose(&mut scene, &[5, 6]);
    check(
        &scene,
        Finality::Degraded,
        0,
        "DEGRADED at height 42: 5 of 7 validators vote and hear each other, exactly the 5 needed; one more failure halts \
         finality; n5 n6 are not heard by anybody: down or cut off.",
        Some("restart or reconnect n5 n6."),
    );
}

#[test]
fn one_less_than_a_quorum_is_halted_even_if_a_block_was_final_a_moment_ago() {
    let mut scene = whole();
    lose(&mut scene, &[4, 5, 6]);
    check(
        &scene,
        Finality::Halted,
        -1,
        "HALTED (safe) at height 42 for 1 s: finality needs 5 of 7 validators that vote and all hear each other, and from n0 \
         there are 4; n4 n5 n6 are not heard by anybody: down or cut off. No fork is possible.",
        Some("bring back or reconnect 1 of n4 n5 n6; nothing has to be done on the others, they go on by themselves."),
    );
}

#[test]
fn enough_that_are_heard_and_do_not_all_hear_each_other_are_told_apart_from_enough_that_do() {
    let mut scene = whole();
    // Whoever is heard hears three others at most: a ring with one more neighbour for each.
    for (a, b) in (0..7_usize).flat_map(|a| (a + 1..7).map(move |b| (a, b))) {
        if ![1, 6].contains(&(b - a)) {
            cut(&mut scene, &[a], &[b]);
        }
    }
    check(
        &scene,
        Finality::Halted,
        -3,
        "HALTED (safe) at height 42 for 1 s: finality needs 5 of 7 validators that vote and all hear each other, and from n0 \
         there are 2; 14 of 21 links are cut: n0-n2 n0-n3 n0-n4 and 11 more. No fork is possible.",
        Some(
            "mend 6 links: n0-n2 n0-n3 n0-n4 n1-n3 n1-n4 n2-n4; nothing has to be done on the others, they go on by themselves.",
        ),
    );
}

#[test]
fn two_sides_that_only_a_bridge_joins_are_named_with_it_and_with_what_mends_it() {
    let mut scene = whole();
    cut(&mut scene, &[0, 1, 2], &[4, 5, 6]);
    check(
        &scene,
        Finality::Degraded,
        -1,
        "DEGRADED at height 42: finality needs 5 of 7 validators that vote and all hear each other, and there are 4: blocks \
         become final only while n3 leads; n0 n1 n2 and n4 n5 n6 reach each other only through n3.",
        Some("mend the links between n4 and n0 n1 n2; nothing has to be done on the others, they go on by themselves."),
    );
    scene.finalized_ms = Some(1_000);
    assert_eq!(explain(&scene).finality, Finality::Halted, "when it does not work out it says so");
}

#[test]
fn the_far_side_of_a_cut_is_a_side_where_its_word_is_known() {
    let mut scene = whole();
    cut(&mut scene, &[0, 1], &[2, 3, 4, 5, 6]);
    let why = explain(&scene);
    assert_eq!((why.finality, why.slack()), (Finality::Degraded, 0), "{}", why.sentence);
    let told = "split n2 n3 n4 n5 n6 (quorum) | n0 n1 (minority): region eu is cut off";
    assert_eq!(why.details, [told]);
    assert_eq!(why.fix.as_deref(), Some("reconnect n0 n1."));
}

#[test]
fn who_only_follows_counts_the_others_and_is_none_of_them() {
    let follows = |scene: Scene| explain(&Scene { looks: "n9".into(), me: None, ..scene });
    let why = follows(whole());
    assert_eq!((why.quorum, why.slack(), why.finality), (5, 2, Finality::Live), "{}", why.sentence);
    assert!(why.observers.is_empty() && why.missing.is_empty(), "{}", why.sentence);
    let mut scene = whole();
    lose(&mut scene, &[0, 1, 2, 3, 4, 5, 6]);
    let why = follows(Scene { finalized_ms: Some(9_000), ..scene });
    assert_eq!((why.finality, why.missing.len()), (Finality::Halted, 7), "{}", why.sentence);
    assert!(why.sentence.contains("from n9 there are 0"), "{}", why.sentence);
}

#[test]
fn a_region_that_is_away_is_named() {
    let mut scene = whole();
    scene.me = Some(2);
    lose(&mut scene, &[0, 1]);
    let why = explain(&scene);
    assert!(why.sentence.contains("n0 n1, all of region eu, are not heard by anybody"), "{}", why.sentence);
}

#[test]
fn who_hears_nobody_says_that_it_may_be_its_own_fault() {
    let mut scene = whole();
    lose(&mut scene, &[1, 2, 3, 4, 5, 6]);
    let why = explain(&scene);
    let told = "n0 hears nobody: it is cut off, all others are down, or another process runs with its key";
    assert!(why.sentence.contains(told), "{}", why.sentence);
}

#[test]
fn who_is_deaf_and_who_is_not_heard_is_told_by_the_same_words_seen_from_both_ends() {
    let mut scene = whole();
    (0..7).for_each(|other| scene.reach.say(3, other, Word::Deaf));
    let sentence = explain(&scene).sentence;
    assert!(sentence.contains("n3 does not hear n0 n1 n2 n4 n5 n6, which hear it"), "{sentence}");
    let mut scene = whole();
    (0..7).for_each(|other| scene.reach.say(other, 3, Word::Deaf));
    let why = explain(&scene);
    assert!(why.sentence.contains("n0 n1 n2 n4 n5 n6 do not hear n3, which hears them"), "{}", why.sentence);
    assert_eq!((why.finality, why.slack()), (Finality::Live, 1));
}

#[test]
fn observers_are_heard_but_do_not_count() {
    let mut scene = whole();
    scene.nodes[6].voting = Some(false);
    check(
        &scene,
        Finality::Live,
        1,
        "LIVE at height 42: 6 of 7 validators vote and hear each other, 5 needed; observing without a vote: n6.",
        Some("observers vote again by themselves once they have sat out."),
    );
}

#[test]
fn more_than_f_observers_halt_and_the_procedure_is_named() {
    let mut scene = whole();
    [0, 5, 6].into_iter().for_each(|node| scene.nodes[node].voting = Some(false));
    let why = explain(&scene);
    assert_eq!((why.finality, why.observers.as_slice()), (Finality::Halted, &[0, 5, 6][..]));
    assert!(why.fix.expect("there is one").contains("unsplit node reinstate` on 1 of them"));
}

#[test]
fn a_quorum_that_finalizes_nothing_is_halted_after_the_limit_and_not_before() {
    let at = |now_ms| explain(&Scene { finalized_ms: Some(10_000), now_ms, ..whole() });
    assert_eq!(at(10_000 + STALLED_AFTER_MS).finality, Finality::Live);
    let why = at(10_001 + STALLED_AFTER_MS);
    assert_eq!((why.finality, why.halted_since_ms), (Finality::Halted, Some(10_000)));
    assert!(why.sentence.contains("although 7 of 7 validators vote and hear each other"), "{}", why.sentence);
    assert!(why.sentence.contains("nothing that is known explains it") && why.fix.is_some(), "{}", why.sentence);
}

#[test]
fn slow_disks_explain_a_halt_in_which_all_hear_each_other() {
    let mut scene = Scene { finalized_ms: Some(1_000), ..whole() };
    (3..6).for_each(|node| scene.nodes[node].ailments = vec![(Ailment::Disk, 2_000)]);
    let why = explain(&scene);
    assert!(why.sentence.contains("n3 has a slow disk: 2000 ms"), "{}", why.sentence);
    assert_eq!(why.fix.as_deref(), Some("look at the disk of n3 n4 n5."));
}

#[test]
fn a_clock_that_differs_from_most_others_is_ones_own() {
    let mut scene = whole();
    scene.nodes[2].ailments = vec![(Ailment::Clock, 90_000)];
    assert!(explain(&scene).sentence.contains("n2 has a wrong clock: 90 s off"));
    (1..5).for_each(|node| scene.nodes[node].ailments = vec![(Ailment::Clock, 90_000)]);
    assert!(explain(&scene).sentence.contains("n0 has a wrong clock: 90 s off"));
}

#[test]
fn a_young_validator_is_starting_until_it_should_have_seen_a_block() {
    let at = |now_ms| explain(&Scene { finalized_ms: None, now_ms, ..whole() }).finality;
    assert_eq!(at(STARTING_MS), Finality::Starting);
    assert_eq!(at(STARTING_MS + 1), Finality::Halted);
}

#[test]
fn a_young_validator_that_has_blocks_and_has_yet_to_hear_their_makers_calls_no_halt() {
    let mut scene = whole();
    (1..7).for_each(|node| (0..7).for_each(|about| scene.reach.say(node, about, Word::Unknown)));
    (3..7).for_each(|node| {
        scene.nodes[node] = Node::default();
        scene.reach.say(0, node, Word::Unknown);
    });
    let at =
        |scene: &Scene, now_ms| explain(&Scene { now_ms, finalized_ms: Some(now_ms - 100), ..scene.clone() }).finality;
    assert_eq!(at(&scene, STARTING_MS), Finality::Starting);
    assert_eq!(at(&scene, STARTING_MS + 1), Finality::Halted);
    // One that it heard and hears no more is news.
    scene.nodes[3].missing_since_ms = Some(1_000);
    assert_eq!(at(&scene, STARTING_MS), Finality::Halted);
}

#[test]
fn who_is_heard_and_has_said_nothing_yet_counts_as_if_it_heard_everybody() {
    let mut scene = whole();
    (1..7).for_each(|node| {
        (0..7).for_each(|about| scene.reach.say(node, about, Word::Unknown));
        scene.nodes[node].voting = None;
    });
    let why = explain(&scene);
    assert_eq!((why.slack(), why.causes.as_slice()), (2, &[][..]));
}

#[test]
fn where_somebody_has_not_said_yet_whom_it_hears_nothing_is_called_a_bridge_or_a_side() {
    let mut scene = whole();
    // n6 hears n5 already; of the others it says nothing yet.
    (0..5).for_each(|about| scene.reach.say(6, about, Word::Unknown));
    assert_eq!(explain(&scene).causes, []);
    (0..6).for_each(|about| scene.reach.say(6, about, Word::Unknown));
    cut(&mut scene, &[0], &[1]);
    scene.reach.say(6, 0, Word::Deaf);
    scene.reach.say(0, 6, Word::Deaf);
    let cuts = vec![(vec![0], vec![1, 6])];
    assert_eq!(explain(&scene).causes, [Cause::Cut { groups: cuts, links: 2, of: 21 }]);
}

#[test]
fn whom_only_others_hear_and_of_whom_nothing_is_known_is_named() {
    let mut scene = whole();
    lose(&mut scene, &[6]);
    scene.reach.say(1, 6, Word::Hears);
    let why = explain(&scene);
    assert_eq!(why.causes, [Cause::Unknown { nodes: vec![6] }], "{}", why.sentence);
    assert_eq!(why.fix.as_deref(), Some("look at the links of n6."));
}

#[test]
fn without_tolerance_all_that_there_are_is_no_alarm() {
    let mut scene =
        Scene { nodes: vec![Node { voting: Some(true), ..Node::default() }], reach: Reach::new(1), ..whole() };
    scene.names.truncate(1);
    scene.regions.truncate(1);
    assert_eq!((explain(&scene).finality, explain(&scene).slack()), (Finality::Live, 0));
}
