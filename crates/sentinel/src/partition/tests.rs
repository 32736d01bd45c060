use super::*;
use proptest::prelude::*;

/// Everybody hears everybody.
fn whole(n: usize) -> Reach {
    let mut reach = Reach::new(n);
    for (a, b) in (0..n).flat_map(|a| (0..n).map(move |b| (a, b))) {
        reach.say(a, b, Word::Hears);
    }
    reach
}

fn cut(reach: &mut Reach, side: &[usize], other: &[usize]) {
    for (a, b) in side.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
        reach.say(a, b, Word::Deaf);
        reach.say(b, a, Word::Deaf);
    }
}

/// They are gone: nobody hears them, and what they say is not known.
fn lose(reach: &mut Reach, gone: &[usize]) {
    for node in gone {
        for other in 0..reach.validators() {
            reach.say(other, *node, if gone.contains(&other) { Word::Unknown } else { Word::Deaf });
            reach.say(*node, other, Word::Unknown);
        }
    }
}

fn sides(picture: &Picture) -> Vec<(&[usize], Class)> {
    picture.sides.iter().map(|side| (side.members.as_slice(), side.class)).collect()
}

#[test]
fn a_whole_network_is_one_side_without_anything_to_mend() {
    for n in [1, 4, 7, 64, 65, 200] {
        let picture = Picture::of(&whole(n));
        assert_eq!((picture.sides.len(), picture.mutual.members.len()), (1, n));
        assert_eq!(picture.mutual.is_largest, n <= EXACT_MAX);
        assert!(picture.has_quorum() && picture.damaged.is_empty() && picture.bridges.is_empty());
    }
}

#[test]
fn sides_are_named_by_what_they_can_do() {
    let mut reach = whole(10);
    cut(&mut reach, &[0, 1, 2, 3, 4, 5], &[6, 7, 8, 9]);
    let picture = Picture::of(&reach);
    let (large, small): (&[usize], &[usize]) = (&[0, 1, 2, 3, 4, 5], &[6, 7, 8, 9]);
    assert_eq!(sides(&picture), [(large, Class::Majority), (small, Class::Minority)]);
    // Seven are needed: one of the four has to hear and be heard by all six.
    let repair = picture.repair.expect("no quorum");
    assert_eq!((repair.links.len(), repair.returning, repair.is_cheapest), (6, 0, true));
    let mut reach = whole(10);
    cut(&mut reach, &[0, 1, 2, 3, 4, 5, 6], &[7, 8, 9]);
    let picture = Picture::of(&reach);
    assert_eq!(picture.sides.iter().map(|side| side.class).collect::<Vec<_>>(), [Class::Quorum, Class::Minority]);
    assert!(picture.has_quorum());
    let mut reach = whole(30);
    cut(&mut reach, &[4, 9], &(0..30).filter(|node| ![4, 9].contains(node)).collect::<Vec<_>>());
    let picture = Picture::of(&reach);
    assert_eq!(sides(&picture)[1], (&[4, 9][..], Class::Isolated));
}

#[test]
fn a_connected_side_is_no_quorum_if_its_members_do_not_all_hear_each_other() {
    // A ring of seven: connected, and nobody hears more than two others.
    let mut reach = Reach::new(7);
    for (a, b) in (0..7).flat_map(|a| (0..7).map(move |b| (a, b))) {
        let is_next = (a + 1) % 7 == b || (b + 1) % 7 == a;
        reach.say(a, b, if is_next { Word::Hears } else { Word::Deaf });
    }
    let picture = Picture::of(&reach);
    assert_eq!((picture.sides.len(), picture.sides[0].class), (1, Class::Quorum));
    assert_eq!(picture.mutual.members.len(), 2);
    // Ten links among five, of which a stretch of the ring has four.
    assert_eq!(picture.repair.expect("no quorum").links.len(), 6);
}

#[test]
fn one_way_is_a_state_of_its_own() {
    let mut reach = whole(4);
    reach.say(2, 0, Word::Deaf);
    assert_eq!(reach.link(0, 2), Link::OneWay { from: 2, to: 0 });
    let picture = Picture::of(&reach);
    assert_eq!(picture.damaged, [Damage { a: 0, b: 2, link: Link::OneWay { from: 2, to: 0 } }]);
    assert!(!picture.is_split() && picture.has_quorum());
}

#[test]
fn whose_word_is_missing_is_unknown_and_whom_nobody_hears_is_unheard() {
    let mut reach = whole(7);
    lose(&mut reach, &[3]);
    (0..7).for_each(|other| reach.say(5, other, Word::Unknown));
    let picture = Picture::of(&reach);
    assert_eq!((picture.unheard.as_slice(), picture.unknown.as_slice()), (&[3][..], &[5][..]));
    assert_eq!(picture.sides.len(), 1, "neither is a side");
    lose(&mut reach, &[1]);
    let repair = Picture::of(&reach).repair.expect("four of the five that it takes");
    assert_eq!((repair.links, repair.returning, repair.is_cheapest), (Vec::new(), 1, true));
}

#[test]
fn a_bridge_is_named() {
    // Two groups that hear each other only through 3, and 6 that hangs on 5.
    let mut reach = whole(7);
    cut(&mut reach, &[0, 1, 2], &[4, 5, 6]);
    cut(&mut reach, &[6], &[3, 4]);
    let picture = Picture::of(&reach);
    assert_eq!((picture.sides.len(), picture.bridges), (1, vec![3, 5]));
}

#[test]
fn what_a_liar_says_harms_its_own_links_only() {
    let mut reach = whole(7);
    cut(&mut reach, &[0, 1, 2], &[4, 5, 6]);
    let honest = Picture::of(&reach);
    // It claims to hear those that it is cut off from, and not to hear its friends.
    for other in 0..6 {
        reach.say(6, other, if other < 3 { Word::Hears } else { Word::Deaf });
    }
    let picture = Picture::of(&reach);
    let without_it = |picture: &Picture| -> Vec<Damage> {
        picture.damaged.iter().filter(|it| it.a != 6 && it.b != 6).copied().collect()
    };
    assert_eq!(without_it(&picture), without_it(&honest));
    assert_eq!(picture.sides.last().map(|side| side.members.as_slice()), Some(&[6][..]), "nobody else moves");
}

#[track_caller]
fn says(reach: &Reach, expected: &str) {
    let names: Vec<String> = (0..reach.validators()).map(|i| format!("n{i}")).collect();
    let regions: Vec<String> = (0..reach.validators()).map(|i| if i < 2 { "eu" } else { "us" }.to_owned()).collect();
    assert_eq!(Picture::of(reach).sentence(Names { nodes: &names, regions: &regions }), expected);
}

#[test]
fn the_sentence_says_who_is_where_and_what_to_mend() {
    says(&whole(4), "no link is broken between those that are heard");
    let mut reach = whole(7);
    cut(&mut reach, &[0, 1], &[2, 3, 4, 5, 6]);
    says(&reach, "split: n2 n3 n4 n5 n6 (quorum) | n0 n1 (minority); region eu is cut off");
    let mut reach = whole(4);
    lose(&mut reach, &[3]);
    says(&reach, "no link is broken between those that are heard; n3 is not heard by anybody");
    reach.say(1, 2, Word::Deaf);
    says(
        &reach,
        "partial: n1 does not hear n2; n3 is not heard by anybody; only n0 holds a side together; 2 hear each other, which is \
         no quorum: mend the link between n1 and n2",
    );
    let mut reach = whole(4);
    (0..4).for_each(|other| reach.say(2, other, Word::Unknown));
    reach.say(0, 2, Word::Deaf);
    says(&reach, "partial: n0 does not hear n2; of n2 nothing is known");
    let mut reach = whole(7);
    lose(&mut reach, &[4, 5, 6]);
    says(
        &reach,
        "no link is broken between those that are heard; n4 n5 n6 are not heard by anybody; 4 hear each other, which is no \
         quorum: bring one more validator back",
    );
}

#[test]
fn a_chain_and_a_star_of_a_hundred_thousand_have_the_bridges_that_they_should() {
    let n = 100_000_u32;
    let chain = Links::new(n as usize, &(1..n).map(|node| (node - 1, node)).collect::<Vec<_>>());
    assert!(chain.sides().iter().all(|side| *side == 0));
    assert_eq!(chain.bridges(), (1..n - 1).collect::<Vec<_>>());
    let star = Links::new(n as usize, &(1..n).map(|node| (0, node)).collect::<Vec<_>>());
    assert_eq!(star.bridges(), [0]);
    let apart = Links::new(5, &[(3, 1)]);
    assert_eq!((apart.sides(), apart.bridges()), (vec![0, 1, 2, 1, 3], vec![]));
}

#[test]
fn a_search_that_takes_too_long_says_that_it_may_have_missed_something() {
    // Links that hold for about nine in ten pairs, without any order: the hardest there are.
    let n = 64;
    let mut reach = whole(n);
    let mut lot = 1_u64;
    for (a, b) in (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))) {
        lot = lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if lot >> 33 & 0xff < 20 {
            cut(&mut reach, &[a], &[b]);
        }
    }
    let picture = Picture::of(&reach);
    let members = &picture.mutual.members;
    assert!(members.len() > 20, "{}", members.len());
    assert!(members.iter().all(|a| members.iter().all(|b| a == b || reach.link(*a, *b) == Link::Usable)));
    let repair = picture.repair.expect("no quorum");
    assert!(!repair.links.is_empty() && !repair.is_cheapest);
}

/// Written apart from what it checks: reachability by repeated squaring of sets, sets by trying all.
mod naive {
    use super::*;

    pub(super) fn usable(reach: &Reach, a: usize, b: usize) -> bool {
        a != b && reach.word(a, b) == Word::Hears && reach.word(b, a) == Word::Hears
    }

    pub(super) fn known(reach: &Reach) -> Vec<usize> {
        let n = reach.validators();
        (0..n).filter(|a| (0..n).any(|b| a != &b && reach.word(*a, b) != Word::Unknown)).collect()
    }

    pub(super) fn connected(reach: &Reach, without: Option<usize>) -> Vec<Vec<bool>> {
        let n = reach.validators();
        let is_there = |node: usize| Some(node) != without;
        let mut connected: Vec<Vec<bool>> = (0..n)
            .map(|a| (0..n).map(|b| is_there(a) && is_there(b) && (a == b || usable(reach, a, b))).collect())
            .collect();
        for via in 0..n {
            for a in 0..n {
                for b in 0..n {
                    connected[a][b] |= connected[a][via] && connected[via][b];
                }
            }
        }
        connected
    }

    /// The size of the largest mutual set: each is in it or not.
    pub(super) fn mutual(reach: &Reach, chosen: &mut Vec<usize>, left: &[usize]) -> usize {
        let Some((first, rest)) = left.split_first() else { return chosen.len() };
        let without = mutual(reach, chosen, rest);
        if chosen.iter().any(|member| !usable(reach, *member, *first)) {
            return without;
        }
        chosen.push(*first);
        let with = mutual(reach, chosen, rest);
        chosen.pop();
        with.max(without)
    }

    /// What the cheapest quorum costs, of all there are.
    pub(super) fn repair(reach: &Reach, needed: usize) -> usize {
        let (n, known) = (reach.validators(), known(reach));
        let sets = (0_u32..1 << n).filter(|set| set.count_ones() as usize == needed);
        let cost = |set: u32| {
            let members: Vec<usize> = (0..n).filter(|i| set >> i & 1 == 1).collect();
            let (there, away): (Vec<usize>, Vec<usize>) = members.into_iter().partition(|it| known.contains(it));
            let pairs = there.iter().enumerate().flat_map(|(i, a)| there[i + 1..].iter().map(move |b| (*a, *b)));
            pairs.filter(|(a, b)| !usable(reach, *a, *b)).count() + away.len()
        };
        sets.map(cost).min().expect("a quorum is at most all")
    }
}

/// Directed graphs of 3 to `max` validators, from nearly whole to nearly empty; some say nothing.
fn reaches(max: usize) -> impl Strategy<Value = Reach> {
    (3..=max, 0_u32..=100, 0_u32..=30).prop_flat_map(|(n, density, silent)| {
        let words = prop::collection::vec(0_u32..100, n * n);
        (words, prop::collection::vec(0_u32..100, n)).prop_map(move |(words, silence)| {
            let mut reach = Reach::new(n);
            for (a, b) in (0..n).flat_map(|a| (0..n).map(move |b| (a, b))).filter(|(a, _)| silence[*a] >= silent) {
                reach.say(a, b, if words[a * n + b] < density { Word::Hears } else { Word::Deaf });
            }
            reach
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn sides_are_those_of_a_naive_search(reach in reaches(40)) {
        let (picture, connected, known) = (Picture::of(&reach), naive::connected(&reach, None), naive::known(&reach));
        let mut on_sides: Vec<usize> = picture.sides.iter().flat_map(|side| side.members.clone()).collect();
        on_sides.sort_unstable();
        prop_assert_eq!(&on_sides, &known);
        for side in &picture.sides {
            for a in &side.members {
                let expected: Vec<usize> = known.iter().copied().filter(|b| connected[*a][*b]).collect();
                prop_assert_eq!(&side.members, &expected);
            }
        }
        let members = &picture.mutual.members;
        prop_assert!(members.iter().all(|a| members.iter().all(|b| a == b || naive::usable(&reach, *a, *b))));
    }

    #[test]
    fn who_is_heard_by_anybody_is_never_called_unheard(reach in reaches(40)) {
        let picture = Picture::of(&reach);
        for node in picture.unheard {
            prop_assert!((0..reach.validators()).all(|who| reach.word(who, node) != Word::Hears));
            prop_assert!((0..reach.validators()).all(|about| reach.word(node, about) == Word::Unknown));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn bridges_are_those_whose_loss_splits_their_side(reach in reaches(20)) {
        let (picture, connected, known) = (Picture::of(&reach), naive::connected(&reach, None), naive::known(&reach));
        for node in &known {
            let without = naive::connected(&reach, Some(*node));
            let others = || known.iter().filter(|other| *other != node && connected[**other][*node]);
            let splits = others().any(|a| others().any(|b| !without[*a][*b]));
            prop_assert_eq!(picture.bridges.contains(node), splits, "{}", node);
        }
    }

    #[test]
    fn the_largest_mutual_set_is_the_largest(reach in reaches(18)) {
        let picture = Picture::of(&reach);
        let known = naive::known(&reach);
        prop_assert!(picture.mutual.is_largest);
        prop_assert_eq!(picture.mutual.members.len(), naive::mutual(&reach, &mut Vec::new(), &known));
    }

    #[test]
    fn a_repair_that_is_called_the_cheapest_is(reach in reaches(11)) {
        let (picture, needed) = (Picture::of(&reach), ledger::quorum(reach.validators()));
        match picture.repair {
            None => prop_assert!(picture.mutual.members.len() >= needed),
            Some(repair) => {
                prop_assert!(repair.is_cheapest);
                prop_assert_eq!(repair.cost(), naive::repair(&reach, needed));
            }
        }
    }
}
