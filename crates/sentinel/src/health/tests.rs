use super::*;

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;
const HEARTBEAT: u64 = 500 * MS;

/// What can happen to what one observer, node 0, hears.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    /// The node's timer fires.
    Beat(u32),
    /// A row arrives, with its sequence number.
    Row(u32, u64),
    /// The answer to a probe arrives.
    Answer(u32),
}

/// A small network around node 0. Whoever is down in a span says nothing in it; what it would have done in a pause it does
/// afterwards.
struct World {
    health: Health,
    now: u64,
    events: BTreeSet<(u64, u32, Event)>,
    drawn: u32,
    random: u64,
    /// When nodes are silent, from and to, and whether they are then a new process.
    silences: Vec<(u32, u64, u64, bool)>,
    /// In thousandths, each way.
    loss: u32,
    /// One way.
    delay: u64,
    /// When the observer's own loop stands still.
    asleep: Option<(u64, u64)>,
    sequences: Vec<u64>,
    probes: usize,
    said: Vec<(u64, u32, Link)>,
}

impl World {
    fn new(nodes: u32) -> Self {
        Self::with(nodes, &Config::default())
    }

    fn with(nodes: u32, config: &Config) -> Self {
        let mut world = Self {
            health: Health::new(config, 0, nodes, 1, Moment(0)),
            now: 0,
            events: BTreeSet::new(),
            drawn: 0,
            random: 1,
            silences: Vec::new(),
            loss: 0,
            delay: MS,
            asleep: None,
            sequences: vec![0; nodes as usize],
            probes: 0,
            said: Vec::new(),
        };
        for node in 1..nodes {
            world.health.expect(node, HEARTBEAT, Moment(0));
            let phase = HEARTBEAT * u64::from(node) / u64::from(nodes);
            world.push(phase, Event::Beat(node));
        }
        world
    }

    fn push(&mut self, at: u64, event: Event) {
        self.drawn += 1;
        self.events.insert((at, self.drawn, event));
    }

    fn lost(&mut self, legs: u32) -> bool {
        (0..legs).any(|_| self.draw() % 1_000 < self.loss)
    }

    /// SplitMix64.
    fn draw(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u32
    }

    /// When it can act: now, or when its silence ends.
    fn acts(&self, node: u32, at: u64) -> (u64, bool) {
        let found = self.silences.iter().find(|(who, from, to, _)| *who == node && (*from..*to).contains(&at));
        found.map_or((at, false), |(_, _, to, anew)| (*to, *anew))
    }

    fn run(&mut self, until: u64) {
        loop {
            let deadline = self.health.deadline().map_or(u64::MAX, |deadline| deadline.0);
            let event = self.events.first().map_or(u64::MAX, |(at, _, _)| *at);
            let next = self.awake(deadline.min(event));
            if next > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(next);
            while let Some((_, _, event)) = self.pop() {
                self.happen(event);
            }
            if deadline <= self.now {
                self.tick();
            }
            self.note();
        }
    }

    fn awake(&self, at: u64) -> u64 {
        self.asleep.filter(|(from, to)| (*from..*to).contains(&at)).map_or(at, |(_, to)| to)
    }

    fn pop(&mut self) -> Option<(u64, u32, Event)> {
        self.events.first().copied().filter(|(at, _, _)| *at <= self.now).and_then(|_| self.events.pop_first())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Beat(node) => self.beat(node),
            Event::Row(node, sequence) => self.health.row(node, sequence, Moment(self.now)),
            Event::Answer(node) => self.health.answered(node, Moment(self.now)),
        }
    }

    fn beat(&mut self, node: u32) {
        let (at, anew) = self.acts(node, self.now);
        if at > self.now {
            if anew {
                self.sequences[node as usize] = 0;
            }
            return self.push(at, Event::Beat(node));
        }
        self.sequences[node as usize] += 1;
        let sequence = self.sequences[node as usize];
        if !self.lost(1) {
            self.push(self.now + self.delay, Event::Row(node, sequence));
        }
        self.push(self.now + HEARTBEAT, Event::Beat(node));
    }

    fn tick(&mut self) {
        let mut probes = Vec::new();
        self.health.tick(Moment(self.now), &mut probes);
        self.probes += probes.len();
        for probe in probes {
            assert_ne!(probe.through, Some(probe.target));
            assert_ne!(probe.through, Some(0));
            let legs = if probe.through.is_some() { 2 } else { 1 };
            let (answers, anew) = self.acts(probe.target, self.now + u64::from(legs) * self.delay);
            // A new process knows nothing of what was asked.
            if !anew && answers < u64::MAX && !self.lost(2 * legs) {
                self.push(answers + u64::from(legs) * self.delay, Event::Answer(probe.target));
            }
        }
    }

    fn note(&mut self) {
        let (now, health) = (self.now, &mut self.health);
        self.said.extend(health.changes().map(|(node, link)| (now, node, link)));
    }

    fn suspicions(&self) -> Vec<(u64, u32)> {
        self.said.iter().filter(|(.., link)| *link == Link::Suspect).map(|(at, node, _)| (*at, *node)).collect()
    }
}

/// Crashes node 1 at many phases of its heartbeat: how long until it is suspect, milliseconds, in order?
fn crashes(nodes: u32, loss: u32, delay: u64) -> Vec<u64> {
    let mut took = Vec::new();
    for crash in 0..100 {
        let mut world = World::new(nodes);
        (world.loss, world.delay) = (loss, delay);
        let at = 60 * SECOND + crash * 5 * MS;
        world.silences.push((1, at, u64::MAX, false));
        world.run(at + 10 * SECOND);
        let suspicions = world.suspicions();
        assert!(suspicions.iter().all(|(_, node)| *node == 1), "{suspicions:?}");
        assert_eq!(suspicions.len(), 1, "{nodes} nodes, loss {loss}, crash at {at}: {:?}", world.said);
        took.push((suspicions[0].0 - at) / MS);
    }
    took.sort_unstable();
    took
}

#[test]
fn a_crash_is_known_within_a_second_or_so_and_nobody_else_is_suspected() {
    for (nodes, loss, delay) in
        [(4, 0, MS), (10, 0, MS), (10, 50, MS), (10, 100, MS), (50, 100, 40 * MS), (4, 0, 40 * MS)]
    {
        let took = crashes(nodes, loss, delay);
        let (half, most) = (took[50], took[98]);
        assert!(half <= 700 && most <= 1_300, "{nodes} nodes, loss {loss}, delay {delay}: {half}, {most}");
    }
}

#[test]
fn nobody_is_suspected_while_everybody_is_there() {
    for (loss, hours) in [(0, 10), (50, 5), (100, 5), (200, 2)] {
        let mut world = World::new(5);
        world.loss = loss;
        world.run(hours * 3_600 * SECOND);
        assert_eq!(world.suspicions(), [], "loss {loss}");
        assert!(loss == 0 || world.probes > 0);
    }
}

#[test]
fn punctual_rows_cost_no_probes() {
    let mut world = World::new(5);
    world.run(3_600 * SECOND);
    assert_eq!((world.probes, world.said.len()), (0, 0));
}

/// Node 1 pauses for so many milliseconds again and again: how often is it suspected, and when last?
fn pauses(ms: u64, times: u64) -> (usize, u64) {
    let mut world = World::new(5);
    for n in 1..=times {
        let from = n * 20 * SECOND;
        world.silences.push((1, from, from + ms * MS, false));
    }
    world.run((times + 1) * 20 * SECOND);
    let suspicions = world.suspicions();
    assert_eq!(world.health.link(1), Link::Alive);
    (suspicions.len(), suspicions.last().map_or(0, |(at, _)| at / SECOND))
}

#[test]
fn who_comes_later_is_watched_like_the_others_and_what_was_known_of_those_stays() {
    let mut health = Health::new(&Config::default(), 1, 2, 1, Moment(0));
    health.expect(0, HEARTBEAT, Moment(0));
    // Node 2 was no node yet, and this one moves up for it.
    health.expect(2, HEARTBEAT, Moment(0));
    health.row(2, 1, Moment(0));
    let end = 10 * SECOND;
    let mut probes = Vec::new();
    let mut beat = |health: &mut Health, node: Option<u32>, from: u64, to: u64| {
        for now in (from..to).step_by(usize::try_from(HEARTBEAT / 10).expect("small")) {
            if let Some(node) = node.filter(|_| now.is_multiple_of(HEARTBEAT)) {
                health.row(node, now / HEARTBEAT + 1, Moment(now));
            }
            health.tick(Moment(now), &mut probes);
        }
    };
    beat(&mut health, Some(0), 0, end);
    beat(&mut health, None, end, 2 * end);
    assert_eq!(health.link(0), Link::Suspect);
    health.grow(3, 2, Moment(2 * end));
    assert_eq!((health.link(0), health.link(1)), (Link::Suspect, Link::Alive));
    health.expect(1, HEARTBEAT, Moment(2 * end));
    beat(&mut health, Some(1), 2 * end, 3 * end);
    assert_eq!(health.link(1), Link::Alive);
    beat(&mut health, None, 3 * end, 4 * end);
    assert_ne!(health.link(1), Link::Alive, "it is looked after");
}

#[test]
fn a_pause_is_called_a_crash_once_and_then_learned() {
    assert_eq!(pauses(150, 20).0, 0);
    for ms in [500, 1_000, 3_000, 4_500] {
        let (suspicions, last) = pauses(ms, 20);
        assert!(suspicions <= 1 && last < 40, "{ms} ms: {suspicions} suspicions, the last at {last} s");
    }
}

#[test]
fn an_outage_is_not_learned_as_a_pause() {
    let mut world = World::new(5);
    world.silences.push((1, 60 * SECOND, 70 * SECOND, false));
    world.run(90 * SECOND);
    assert_eq!(world.suspicions().len(), 1);
    assert!(world.health.stall_us(1) < 250 * MS, "{}", world.health.stall_us(1));
}

#[test]
fn a_restart_is_not_learned_as_a_pause_and_its_rows_count_at_once() {
    let mut world = World::new(5);
    world.silences.push((1, 60 * SECOND, 62 * SECOND, true));
    world.run(90 * SECOND);
    assert_eq!(world.suspicions().len(), 1);
    assert_eq!(world.health.link(1), Link::Alive);
    assert!(world.health.stall_us(1) < 250 * MS, "{}", world.health.stall_us(1));
    world.silences.push((1, 90 * SECOND, u64::MAX, false));
    world.run(92 * SECOND);
    assert_eq!(world.health.link(1), Link::Suspect);
}

#[test]
fn who_hears_nobody_accuses_nobody() {
    for nodes in [4, 10, 50] {
        let mut world = World::new(nodes);
        (1..nodes).for_each(|node| world.silences.push((node, 60 * SECOND, 64 * SECOND, false)));
        world.run(120 * SECOND);
        assert_eq!(world.suspicions(), [], "{nodes}");
        assert!(world.said.iter().any(|(.., link)| *link == Link::Doubted));
        assert!((1..nodes).all(|node| world.health.link(node) == Link::Alive));
    }
}

#[test]
fn up_to_a_third_may_be_accused_at_once_and_not_more() {
    for (down, suspicions) in [(1, 1), (3, 3), (4, 0)] {
        let mut world = World::new(10);
        (1..=down).for_each(|node| world.silences.push((node, 60 * SECOND, u64::MAX, false)));
        world.health.now = Moment(0);
        world.run(63 * SECOND);
        assert_eq!(world.suspicions().len(), suspicions, "{down} of 9: {:?}", world.said);
    }
}

#[test]
fn who_slept_itself_accuses_nobody() {
    for sleep in [200 * MS, SECOND, 20 * SECOND] {
        let mut world = World::new(4);
        world.asleep = Some((60 * SECOND, 60 * SECOND + sleep));
        world.run(120 * SECOND);
        assert_eq!(world.suspicions(), [], "{sleep}");
    }
}

#[test]
fn who_is_told_that_it_slept_waits_for_as_long_and_a_heartbeat() {
    let health = |now: u64| {
        let mut health = Health::new(&Config::default(), 0, 4, 1, Moment(0));
        health.stalled(300 * MS, Moment(SECOND));
        health.excused(Moment(now))
    };
    assert!(health(SECOND + 800 * MS - 1));
    assert!(!health(SECOND + 800 * MS));
}

#[test]
fn silence_has_an_end_even_for_a_peer_that_was_seen_to_pause_for_long() {
    let config = Config { stall_us_max: 3 * SECOND, silence_us_max: 3 * SECOND, ..Config::default() };
    let mut world = World::with(5, &config);
    world.health.nodes[1].wait = stalls::step(20 * SECOND);
    world.silences.push((1, 60 * SECOND, u64::MAX, false));
    world.run(63 * SECOND + HEARTBEAT);
    assert_eq!(world.health.link(1), Link::Suspect);
}

#[test]
fn who_was_never_heard_is_waited_for_longer() {
    let mut world = World::new(5);
    world.silences.push((1, 0, u64::MAX, false));
    world.run(5 * SECOND);
    assert_eq!(world.health.link(1), Link::Doubted);
    world.run(7 * SECOND);
    assert_eq!(world.health.link(1), Link::Suspect);
}

#[test]
fn any_sign_of_life_ends_a_doubt_and_a_suspicion_at_once() {
    let signs: [fn(&mut Health, Moment); 3] = [
        |health, now| health.row(1, 1_000, now),
        |health, now| health.heard(1, now),
        |health, now| health.answered(1, now),
    ];
    for sign in signs {
        for (after, link) in [(250 * MS, Link::Doubted), (2 * SECOND, Link::Suspect)] {
            let mut world = World::new(5);
            world.silences.push((1, 60 * SECOND, u64::MAX, false));
            world.run(60 * SECOND + after);
            assert_eq!(world.health.link(1), link);
            sign(&mut world.health, Moment(world.now));
            assert_eq!(world.health.link(1), Link::Alive);
            assert_eq!(world.health.changes().collect::<Vec<_>>(), [(1, Link::Alive)]);
            assert_eq!(world.health.silence_us(1, Moment(world.now)), 0);
        }
    }
}

#[test]
fn a_doubted_peer_is_asked_directly_and_through_others_that_differ() {
    let mut health = Health::new(&Config::default(), 0, 20, 1, Moment(0));
    (1..20).for_each(|node| health.expect(node, HEARTBEAT, Moment(0)));
    let mut probes = Vec::new();
    let mut now = 0;
    while probes.iter().filter(|probe: &&Probe| probe.target == 1).count() < 18 {
        now = health.deadline().expect("watches").0.max(now + 1);
        (2..20).for_each(|node| health.row(node, now / HEARTBEAT + 1, Moment(now)));
        health.tick(Moment(now), &mut probes);
    }
    let helpers: Vec<u32> = probes.iter().filter_map(|probe| probe.through).collect();
    let distinct: BTreeSet<u32> = helpers.iter().copied().collect();
    assert_eq!((helpers.len(), distinct.len()), (15, 15));
    assert_eq!(
        probes.iter().filter(|probe| probe.through.is_none()).map(|probe| probe.wave).collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

#[test]
fn rows_that_come_together_count_like_single_ones() {
    let after = |together: bool| {
        let mut health = Health::new(&Config::default(), 0, 100, 1, Moment(0));
        (1..100).for_each(|node| health.expect(node, HEARTBEAT, Moment(0)));
        let rows: Vec<(u32, u64)> = (1..100).chain([777]).map(|node| (node, 1)).collect();
        let now = Moment(HEARTBEAT + 3 * MS);
        match together {
            true => health.rows(&rows, now),
            false => rows.iter().for_each(|(node, sequence)| health.row(*node, *sequence, now)),
        }
        format!("{health:?}")
    };
    assert_eq!(after(true), after(false));
}

#[test]
fn who_is_not_watched_is_alive_and_costs_nothing() {
    let mut health = Health::new(&Config::default(), 0, 4, 1, Moment(0));
    assert_eq!(health.deadline(), None);
    health.expect(1, HEARTBEAT, Moment(0));
    health.expect(1, 0, Moment(0));
    let mut probes = Vec::new();
    while let Some(deadline) = health.deadline() {
        health.tick(deadline, &mut probes);
    }
    assert_eq!((probes.len(), health.link(1), health.link(99)), (0, Link::Alive, Link::Alive));
    health.expect(0, HEARTBEAT, Moment(0));
    assert_eq!(health.deadline(), None, "nobody watches itself");
}

#[test]
fn days_of_silence_are_told_from_days_of_life() {
    let mut world = World::new(4);
    world.silences.push((1, 60 * SECOND, u64::MAX, false));
    world.run(70 * SECOND);
    // Only ticks and single rows from here on, for five days.
    for hour in 1..120 {
        let now = Moment(hour * 3_600 * SECOND);
        world.health.stalled(0, now);
        world.health.row(2, hour * 7_200, now);
        world.health.tick(now, &mut Vec::new());
        assert_eq!(world.health.link(1), Link::Suspect, "hour {hour}");
        assert!(world.health.silence_us(1, now) >= 9 * 3_600 * SECOND || hour < 10, "hour {hour}");
        assert_eq!(world.health.silence_us(2, now), 0);
    }
}

#[test]
fn answers_that_take_longer_are_waited_for_longer() {
    let mut world = World::new(10);
    (world.loss, world.delay) = (200, 90 * MS);
    world.run(3_600 * SECOND);
    assert_eq!(world.suspicions(), []);
    assert!(u64::from(world.health.patience.us()) >= 150 * MS, "{}", world.health.patience.us());
}

mod any_order {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Call {
        Expect(u32, u64),
        Row(u32, u64),
        Heard(u32),
        Answered(u32),
        Stalled(u64),
        Tick,
        Changes,
    }

    fn call() -> impl Strategy<Value = Call> {
        let node = 0u32..9;
        prop_oneof![
            1 => (node.clone(), prop_oneof![Just(0u64), Just(HEARTBEAT), any::<u64>()]).prop_map(|(n, us)| Call::Expect(n, us)),
            8 => (node.clone(), prop_oneof![0u64..40, any::<u64>()]).prop_map(|(n, s)| Call::Row(n, s)),
            4 => node.clone().prop_map(Call::Heard),
            4 => node.prop_map(Call::Answered),
            1 => prop_oneof![0..SECOND, any::<u64>()].prop_map(Call::Stalled),
            16 => Just(Call::Tick),
            2 => Just(Call::Changes),
        ]
    }

    fn step() -> impl Strategy<Value = u64> {
        prop_oneof![8 => 0..300 * MS, 1 => 0..100 * SECOND, 1 => 0..100_000 * SECOND]
    }

    fn apply(health: &mut Health, call: &Call, now: Moment, probes: &mut Vec<Probe>) {
        match *call {
            Call::Expect(node, us) => health.expect(node, us, now),
            Call::Row(node, sequence) => health.row(node, sequence, now),
            Call::Heard(node) => health.heard(node, now),
            Call::Answered(node) => health.answered(node, now),
            Call::Stalled(us) => health.stalled(us, now),
            Call::Tick => health.tick(now, probes),
            Call::Changes => health.changes().for_each(|(node, _)| assert!(node < 8)),
        }
    }

    /// What must hold after whatever was called.
    fn sound(health: &Health) {
        let count = |flag| health.nodes.iter().filter(|record| record.is(flag)).count();
        assert_eq!(health.doubted as usize, count(DOUBTED));
        assert_eq!(health.doubts.len(), count(DOUBTED) + count(SUSPECT));
        assert_eq!(health.agenda.len(), count(DOUBTED));
        assert_eq!(health.changed.len(), count(CHANGED));
        assert_eq!(health.pauses.len(), count(PAUSED));
        assert_eq!(health.watched as usize, health.nodes.iter().filter(|record| record.watched()).count());
        assert_eq!(health.rate, health.nodes.iter().map(rate).sum::<u64>());
        let asleep = health.nodes.iter().filter(|r| r.watched() && !r.is(ARMED | DOUBTED | SUSPECT)).count();
        assert_eq!(asleep, 0, "watched, and nobody looks");
    }

    proptest! {
        #[test]
        fn nothing_panics_and_everything_stays_bounded(calls in proptest::collection::vec((step(), call()), 1..400)) {
            let mut health = Health::new(&Config::default(), 0, 8, 1, Moment(0));
            let (mut now, mut probes) = (Moment(0), Vec::new());
            for (us, call) in &calls {
                now = now.after(*us);
                probes.clear();
                apply(&mut health, call, now, &mut probes);
                sound(&health);
                prop_assert!(probes.len() <= 7 * 8);
                prop_assert!(probes.iter().all(|probe| probe.target != 0 && probe.target < 8));
            }
        }

        #[test]
        fn a_clock_that_goes_back_is_taken_to_stand_still(calls in proptest::collection::vec((0..5 * SECOND, call()), 1..200)) {
            let run = |back: bool| {
                let mut health = Health::new(&Config::default(), 0, 8, 1, Moment(0));
                let (mut latest, mut probes) = (Moment(0), Vec::new());
                for (at, call) in &calls {
                    if !matches!(call, Call::Changes) {
                        latest = latest.max(Moment(*at));
                    }
                    apply(&mut health, call, if back { Moment(*at) } else { latest }, &mut probes);
                }
                (probes, (0..8).map(|node| health.link(node)).collect::<Vec<_>>(), health.deadline())
            };
            prop_assert_eq!(run(true), run(false));
        }

        #[test]
        fn who_was_heard_within_the_margin_is_never_suspect(calls in proptest::collection::vec((0..200 * MS, call()), 1..600)) {
            let mut health = Health::new(&Config::default(), 0, 8, 1, Moment(0));
            let (mut now, mut probes) = (Moment(0), Vec::new());
            for (us, call) in &calls {
                now = now.after(*us);
                apply(&mut health, call, now, &mut probes);
                for node in 0..8 {
                    let heard = health.silence_us(node, now) < MS;
                    prop_assert!(!heard || now.0 < MS || health.link(node) == Link::Alive, "{node} at {now:?}");
                }
            }
        }

        #[test]
        fn the_same_calls_have_the_same_outcome(calls in proptest::collection::vec((step(), call()), 1..200)) {
            let run = || {
                let mut health = Health::new(&Config::default(), 0, 8, 7, Moment(0));
                let (mut now, mut probes) = (Moment(0), Vec::new());
                for (us, call) in &calls {
                    now = now.after(*us);
                    apply(&mut health, call, now, &mut probes);
                }
                (probes, health.changes().collect::<Vec<_>>())
            };
            prop_assert_eq!(run(), run());
        }
    }
}
