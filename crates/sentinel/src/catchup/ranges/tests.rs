use super::*;

const SECOND: u64 = 1_000_000;

fn reach(applied: u64, until: u64, second: u64) -> Reach {
    Reach { applied, until, now: Moment(second * SECOND) }
}

/// Asks where nothing is held and no epoch ends.
fn ask(ranges: &mut Ranges, reach: Reach) -> Vec<(u64, u64)> {
    pairs(&ranges.ask(reach, |_| u64::MAX, |_| false))
}

fn pairs(ranges: &[Range]) -> Vec<(u64, u64)> {
    ranges.iter().map(|range| (range.from, range.to)).collect()
}

#[test]
fn ranges_follow_each_other_and_end_where_they_have_to() {
    let mut ranges = Ranges::default();
    let asked = ask(&mut ranges, reach(5, 40, 0));
    assert_eq!(asked, [(6, 15), (16, 31), (32, 40)]);
    assert!(ask(&mut ranges, reach(5, 40, 0)).is_empty());
    // What is wanted anew follows.
    assert_eq!(ask(&mut ranges, reach(5, 42, 0)), [(41, 42)]);

    // At multiples of the greatest range, at the end of an epoch, and around what is held.
    let mut ranges = Ranges::default();
    let asked = ranges.ask(reach(119, 140, 0), |height| if height <= 122 { 122 } else { 200 }, |height| height == 124);
    assert_eq!(pairs(&asked), [(120, 122), (123, 127), (128, 140)]);
    let mut ranges = Ranges::default();
    let asked = ranges.ask(reach(119, 140, 0), |_| 200, |height| height < 125);
    assert_eq!(pairs(&asked), [(125, 127), (128, 140)]);
}

#[test]
fn what_comes_lets_more_be_under_way_up_to_a_bound() {
    let mut ranges = Ranges::default();
    let mut open: Vec<Range> = ranges.ask(reach(0, 1 << 20, 0), |_| u64::MAX, |_| false);
    assert_eq!(ranges.under_way(), WINDOW - 1);
    let mut applied = 0;
    for _ in 0..200 {
        let range = open.remove(0);
        ranges.came(range, range.to);
        applied = applied.max(range.to);
        open.extend(ranges.ask(reach(applied, 1 << 20, 0), |_| u64::MAX, |_| false));
        assert!(ranges.open() <= OPEN_MAX && ranges.under_way() <= WINDOW_MAX);
    }
    assert_eq!((ranges.open(), ranges.under_way()), (OPEN_MAX, WINDOW_MAX));
    assert!(open.iter().all(|range| range.to % RANGE_MAX == RANGE_MAX - 1), "{open:?}");
}

#[test]
fn nothing_far_beyond_what_took_effect_is_asked_for() {
    let mut ranges = Ranges::default();
    let mut farthest = 0;
    loop {
        let asked = ranges.ask(reach(0, 1 << 20, 0), |_| u64::MAX, |_| false);
        let Some(last) = asked.last() else { break };
        farthest = last.to;
        asked.iter().for_each(|range| ranges.came(*range, range.to));
    }
    assert_eq!(farthest, AHEAD_MAX);
}

#[test]
fn the_rest_of_a_range_is_asked_for_first() {
    let mut ranges = Ranges::default();
    let asked = ranges.ask(reach(0, 32, 0), |_| u64::MAX, |_| false);
    ranges.came(asked[0], 4);
    assert!(ranges.is_open_below(6) && !ranges.is_open_below(5));
    assert_eq!(ask(&mut ranges, reach(0, 32, 0)), [(5, 15)]);
    // What was not asked for means nothing.
    let before = ranges.window;
    ranges.came(Range { from: 77, to: 80 }, 80);
    assert_eq!(ranges.window, before);
}

#[test]
fn what_is_late_is_asked_for_again_in_smaller_ranges() {
    let mut ranges = Ranges::default();
    assert_eq!(ask(&mut ranges, reach(0, 256, 0)).len(), OPEN_MAX);
    assert!(ranges.late(Moment(LATE_AFTER_US - 1)).is_empty());
    assert_eq!(ranges.late(Moment(LATE_AFTER_US)).len(), OPEN_MAX);
    assert_eq!(ask(&mut ranges, reach(0, 256, 3))[..2], [(1, 7), (8, 15)]);
    assert_eq!(ranges.late(Moment(6 * SECOND)).len(), OPEN_MAX);
    assert_eq!(ask(&mut ranges, reach(0, 256, 6))[..2], [(1, 3), (4, 7)]);
}

#[test]
fn where_no_range_comes_there_is_a_rest_that_grows_and_then_another_attempt() {
    let mut ranges = Ranges::default();
    let (mut second, mut rests) = (0, Vec::new());
    while rests.len() < 7 {
        let asked = ask(&mut ranges, reach(0, 256, second));
        assert!(!asked.is_empty());
        second += 3;
        ranges.late(Moment(second * SECOND));
        let began = second;
        while ranges.rests(Moment(second * SECOND)) {
            assert!(ask(&mut ranges, reach(0, 256, second)).is_empty());
            second += 1;
        }
        if second > began {
            rests.push(second - began);
        }
    }
    assert_eq!(rests, [10, 20, 40, 80, 160, 300, 300]);
    // One that comes is a new beginning.
    let asked = ranges.ask(reach(0, 256, second), |_| u64::MAX, |_| false);
    ranges.came(asked[0], asked[0].to);
    assert_eq!(ranges.rests, 0);
}

#[test]
fn what_took_effect_some_other_way_is_not_wanted_any_more() {
    let mut ranges = Ranges::default();
    assert_eq!(ask(&mut ranges, reach(0, 64, 0)).len(), 4 + 1);
    assert_eq!(ask(&mut ranges, reach(64, 70, 0)), [(65, 70)]);
    assert_eq!(ranges.open(), 1);
}

#[test]
fn everything_comes_whatever_is_late_or_cut_short() {
    for seed in 0..200_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let (mut ranges, mut held) = (Ranges::default(), std::collections::BTreeSet::new());
        let (mut open, mut applied, mut now): (Vec<Range>, u64, u64) = (Vec::new(), 0, 0);
        let until = 3_000 + draw(3_000);
        let mut rounds = 0;
        while applied < until {
            rounds += 1;
            assert!(rounds < 200_000, "seed {seed}: stuck at {applied} of {until}");
            let reach = Reach { applied, until, now: Moment(now) };
            open.extend(ranges.ask(reach, |height| height | 255, |height| held.contains(&height)));
            open.retain(|range| ranges.is_asked(*range));
            now += 10_000;
            if !open.is_empty() && draw(4) > 0 {
                let range = open.swap_remove(draw(open.len() as u64) as usize);
                if draw(50) > 0 {
                    let top = range.from + draw(range.len());
                    ranges.came(range, top);
                    held.extend(range.from..=top);
                }
            }
            ranges.late(Moment(now));
            while held.contains(&(applied + 1)) {
                applied += 1;
            }
        }
    }
}
