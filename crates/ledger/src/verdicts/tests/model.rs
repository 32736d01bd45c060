//! Whatever validators say of each other, in whatever order: does everybody stand as the rules have it?
//!
//! The model is written down from the rules, as plainly as it can be, and shares no code with what it judges. It foretells
//! which words take effect and how every validator stands after every block.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Attempt {
    Suspect { who: u8, node: u8, reason: usize, ahead: u64 },
    Withdraw { who: u8, node: u8, ahead: u64 },
    Alive { who: u8, back: u64 },
    Drain { who: u8, is_drain: bool, ahead: u64 },
    Submit { retries: u8, policy: Policy },
    Complete { of: usize },
}

/// Some words, a block with what was found good, and then so many blocks in which nothing is said.
#[derive(Clone, Debug)]
struct Step {
    attempts: Vec<Attempt>,
    leader: u8,
    ms: u64,
    idle: u64,
    is_restart: bool,
}

#[derive(Clone, Debug)]
struct Stands {
    reason: Reason,
    since: u64,
    until: u64,
    has_agreed: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Now {
    Active,
    Trial(u32),
    Unresponsive { at: u64, dwell: u64, reason: Reason, accusers: Vec<u8>, is_event: bool, is_waived: bool },
}

#[derive(Clone, Debug)]
struct Node {
    now: Now,
    falls: Vec<u64>,
    turns: Vec<&'static str>,
    drained: Option<u64>,
    drains: u64,
    diverged: u64,
}

struct Model {
    n: u8,
    clock: u64,
    height: u64,
    said: BTreeMap<(u8, u8), u64>,
    /// By accused and accuser.
    stands: BTreeMap<(u8, u8), Stands>,
    nodes: BTreeMap<u8, Node>,
    submitted: u64,
    completed: BTreeSet<TaskNumber>,
}

impl Model {
    fn new(n: u8) -> Self {
        let node = Node { now: Now::Active, falls: vec![], turns: vec![], drained: None, drains: 0, diverged: 0 };
        Self {
            n,
            clock: 1_000,
            height: 0,
            said: BTreeMap::new(),
            stands: BTreeMap::new(),
            nodes: (1..=n).map(|seed| (seed, node.clone())).collect(),
            submitted: 0,
            completed: BTreeSet::new(),
        }
    }

    fn f(&self) -> usize {
        (usize::from(self.n) - 1) / 3
    }

    fn against(&self, accused: u8) -> Vec<u8> {
        self.stands.keys().filter(|(of, _)| *of == accused).map(|(_, accuser)| *accuser).collect()
    }

    fn unresponsive(&self) -> Vec<u8> {
        let is_down = |node: &Node| matches!(node.now, Now::Unresponsive { .. });
        self.nodes.iter().filter(|(_, node)| is_down(node)).map(|(seed, _)| *seed).collect()
    }

    fn node(&mut self, seed: u8) -> &mut Node {
        self.nodes.get_mut(&seed).expect("a validator")
    }

    fn end(&mut self, pair: (u8, u8)) {
        let ended = self.stands.remove(&pair).expect("it stands");
        if !ended.has_agreed {
            self.node(pair.1).diverged += 1;
        }
    }

    fn prove(&mut self, seed: u8) {
        let Some(node) = self.nodes.get_mut(&seed) else { return };
        match node.now {
            Now::Trial(1) => {
                node.now = Now::Active;
                node.turns.push("active");
            }
            Now::Trial(left) => node.now = Now::Trial(left - 1),
            Now::Active | Now::Unresponsive { .. } => {}
        }
    }

    fn bring_back(&mut self, seed: u8) {
        let node = self.node(seed);
        let Now::Unresponsive { is_waived, .. } = node.now else { panic!("it is unresponsive") };
        (node.now, _) = match is_waived {
            true => (Now::Active, node.turns.push("active")),
            false => (Now::Trial(100), node.turns.push("trial")),
        };
    }

    /// The order that an attempt comes to, and whether it takes effect; it does then, in a block that brings the lease
    /// time to `clock`.
    fn take(&mut self, chain: &Chain, attempt: &Attempt, clock: u64) -> Option<(Order, bool)> {
        let is_validator = |seed: u8| (1..=self.n).contains(&seed);
        let height = self.height + 1;
        Some(match *attempt {
            Attempt::Suspect { who, node, reason, ahead } => {
                let next = self.said.get(&(node, who)).copied().unwrap_or(0);
                let (reason, sequence) = (Reason::ALL[reason], Sequence(next + ahead));
                let kind = Kind::Suspect { node: public(node), reason, evidence: Evidence::default(), sequence };
                let is_good = is_validator(who) && is_validator(node) && who != node && ahead == 0;
                if is_good {
                    self.said.insert((node, who), next + 1);
                    let is_down = self.unresponsive().contains(&node);
                    let before = self.stands.remove(&(node, who));
                    let since = before.as_ref().map_or(height, |before| before.since);
                    let has_agreed = is_down || before.is_some_and(|before| before.has_agreed);
                    self.stands.insert((node, who), Stands { reason, since, until: clock + 600_000, has_agreed });
                }
                ((who, kind), is_good)
            }
            Attempt::Withdraw { who, node, ahead } => {
                let next = self.said.get(&(node, who)).copied().unwrap_or(0);
                let is_good = ahead == 0 && self.stands.contains_key(&(node, who));
                if is_good {
                    self.said.insert((node, who), next + 1);
                    self.end((node, who));
                }
                ((who, Kind::Withdraw { node: public(node), sequence: Sequence(next + ahead) }), is_good)
            }
            Attempt::Alive { who, back } => {
                let falls = self.nodes.get(&who).map_or(0, |node| node.falls.len() as u64);
                let number = falls.checked_sub(back)?;
                let is_good = back == 0
                    && self.nodes.get(&who).is_some_and(|node| match node.now {
                        Now::Unresponsive { at, dwell, reason, .. } => {
                            [Reason::Link, Reason::Process, Reason::Consensus].contains(&reason)
                                && self.clock >= at + dwell
                        }
                        Now::Active | Now::Trial(_) => false,
                    });
                if is_good {
                    self.against(who).into_iter().for_each(|accuser| self.end((who, accuser)));
                    self.bring_back(who);
                }
                ((who, Kind::Alive { verdict: VerdictNumber(number) }), is_good)
            }
            Attempt::Drain { who, is_drain, ahead } => {
                let drains = self.nodes.get(&who).map_or(0, |node| node.drains);
                let sequence = Sequence(drains + ahead);
                let kind = if is_drain { Kind::Drain { sequence } } else { Kind::Undrain { sequence } };
                let is_good = ahead == 0 && self.nodes.get(&who).is_some_and(|node| node.drained.is_some() != is_drain);
                if is_good {
                    let node = self.node(who);
                    node.drained = is_drain.then_some(height);
                    node.drains += 1;
                }
                ((who, kind), is_good)
            }
            Attempt::Submit { retries, policy } => {
                self.submitted += 1;
                (chain.submit_with(&format!("t{}", self.submitted), retries, policy), true)
            }
            Attempt::Complete { of } => {
                let leased: Vec<Task> = chain
                    .state
                    .tasks_from(TaskNumber(0))
                    .filter(|task| matches!(task.state, TaskState::Leased(_)) && !self.completed.contains(&task.number))
                    .collect();
                let task = leased.get(of % leased.len().max(1))?;
                let order = chain.completion_of(task.id.as_str());
                self.completed.insert(task.number);
                self.prove(order.0);
                (order, true)
            }
        })
    }

    fn end_block(&mut self, leader: u8, clock: u64) {
        self.clock = clock;
        self.height += 1;
        self.prove(leader);
        let lapsed: Vec<(u8, u8)> =
            self.stands.iter().filter(|(_, stands)| stands.until < clock).map(|(pair, _)| *pair).collect();
        lapsed.into_iter().for_each(|pair| self.end(pair));
        for seed in 1..=self.n {
            if self.against(seed).len() > self.f() && !self.unresponsive().contains(&seed) {
                self.fall(seed);
            }
        }
        for seed in self.unresponsive() {
            let Now::Unresponsive { at, dwell, reason, .. } = self.nodes[&seed].now else { panic!("it is") };
            let is_sick = [Reason::Executor, Reason::Disk, Reason::Clock].contains(&reason);
            if is_sick && clock >= at + dwell && self.against(seed).len() <= self.f() {
                self.bring_back(seed);
            }
        }
    }

    fn fall(&mut self, seed: u8) {
        let (clock, accusers) = (self.clock, self.against(seed));
        let count =
            |reason: Reason| accusers.iter().filter(|accuser| self.stands[&(seed, **accuser)].reason == reason).count();
        let most = Reason::ALL.map(count).into_iter().max().expect("six");
        let reason = Reason::ALL.into_iter().find(|reason| count(*reason) == most).expect("one of six");
        let recent = self.nodes[&seed].falls.iter().filter(|at| **at + 600_000 >= clock).count();
        let dwell = (2_000 << recent.min(10)).min(60_000);
        let is_event = self.unresponsive().len() >= self.f();
        for accuser in &accusers {
            self.stands.get_mut(&(seed, *accuser)).expect("it stands").has_agreed = true;
        }
        let node = self.node(seed);
        node.falls.push(clock);
        node.turns.push("unresponsive");
        node.now = Now::Unresponsive { at: clock, dwell, reason, accusers, is_event, is_waived: is_event };
        for node in self.nodes.values_mut().filter(|_| is_event) {
            if let Now::Unresponsive { is_waived, .. } = &mut node.now {
                *is_waived = true;
            }
        }
    }

    fn compare(&self, chain: &Chain) {
        let state = &chain.state;
        assert_eq!((state.height().0, state.lease_time().0), (self.height, self.clock));
        assert!(state.validators_unresponsive().eq(self.unresponsive().into_iter().map(public)));
        assert_eq!(state.is_network_event(), self.unresponsive().len() > self.f());
        for (seed, node) in &self.nodes {
            let standing = chain.standing(*seed);
            assert_eq!(now_of(state, &standing.status), node.now, "{seed}");
            assert_eq!(standing.verdicts.0, node.falls.len() as u64);
            assert_eq!((standing.drained.map(|at| at.0), standing.diverged), (node.drained, node.diverged), "{seed}");
            assert_eq!(standing.next_drain_sequence.0, node.drains);
            let kept = node.turns.len().saturating_sub(16);
            assert!(turns(chain, *seed).iter().eq(&node.turns[kept..]), "{seed}");
            let is_down = matches!(node.now, Now::Unresponsive { .. });
            let held = state.leased_to(public(*seed)).map(|number| state.task(number).expect("it is stored"));
            let moved = held.filter(|task| task.policy == Policy::Replace).count();
            assert!(!is_down || moved == 0, "{seed} is unresponsive and holds leases");
            let quorum = usize::from(self.n) - self.f();
            assert_eq!(state.is_candidate_for_removal(&public(*seed)), self.against(*seed).len() >= quorum);
            assert!(standing.accusations.iter().map(|it| seed_of(&it.accuser)).eq(self.against(*seed)));
            for Accusation { accuser, suspicion } in standing.accusations {
                let stands = &self.stands[&(*seed, seed_of(&accuser))];
                assert_eq!(
                    (suspicion.reason, suspicion.since.0, suspicion.until.0, suspicion.has_agreed),
                    (stands.reason, stands.since, stands.until, stands.has_agreed)
                );
            }
        }
        self.compare_tasks(state);
    }

    /// None is lost, and each is done by the one completion that took effect.
    fn compare_tasks(&self, state: &State) {
        assert_eq!(state.tasks_from(TaskNumber(0)).count() as u64, self.submitted);
        let is_done = |task: &Task| matches!(task.state, TaskState::Done(_));
        let done = state.tasks_from(TaskNumber(0)).filter(is_done).map(|task| task.number);
        assert!(done.eq(self.completed.iter().copied()));
        let counts = state.task_counts();
        assert_eq!(counts.pending + counts.leased + counts.done + counts.failed, self.submitted);
    }
}

fn now_of(state: &State, status: &Status) -> Now {
    match status {
        Status::Active => Now::Active,
        Status::Trial { left } => Now::Trial(*left),
        Status::Unresponsive(verdict) => Now::Unresponsive {
            at: verdict.at.0,
            dwell: verdict.dwell_ms.into(),
            reason: verdict.reason,
            accusers: state.accusers(&verdict.accusers).map(|key| seed_of(&key)).collect(),
            is_event: verdict.is_network_event,
            is_waived: verdict.is_trial_waived,
        },
    }
}

fn play(chain: &mut Chain, model: &mut Model, step: &Step) {
    chain.leaders = vec![step.leader];
    let clock = model.clock + step.ms.min(1_000);
    let place = Place { height: chain.state.height().after(1), timestamp: chain.state.timestamp().after(step.ms) };
    let (mut draft, mut good) = (chain.clone(), Vec::new());
    for attempt in &step.attempts {
        let Some((order, expected)) = model.take(&draft, attempt, clock) else { continue };
        let tx = draft.sign(order, 0);
        assert_eq!(draft.state.check_unsigned(&tx, place.height).is_ok(), expected, "{attempt:?}");
        assert_eq!(draft.state.apply_transaction_verified(&tx, place).is_ok(), expected, "{attempt:?}");
        good.extend(expected.then_some(tx));
    }
    let block = chain.block(step.ms, good);
    let before: Vec<Status> = (1..=chain.n).map(|seed| chain.standing(seed).status).collect();
    chain.state.apply_verified(&block, |_| true).expect("what a proposer took is good");
    draft.state.settle(place, block.leader, block.parent_state_root);
    assert_eq!(picture(&draft.state), picture(&chain.state), "proposer and follower differ");
    model.end_block(step.leader, clock);
    model.compare(chain);
    for (seed, before) in (1..).zip(before) {
        let is_told = chain.state.verdict_changes().iter().any(|(node, _)| *node == public(seed));
        assert!(is_told || chain.phase(seed) == before.phase(), "{seed} changed and nobody was told");
    }
    for _ in 0..step.idle {
        chain.pass(1_000, []);
        model.end_block(step.leader, model.clock + 1_000);
    }
    model.compare(chain);
    let restored = chain.restore(|_| {}).expect("its own entries");
    assert_eq!(picture(&restored), picture(&chain.state));
    // A word for each pair, a record for each validator: nothing grows beyond that.
    let n = usize::from(chain.n);
    assert!(chain.state.entries().filter(|(key, _)| key[0] == STATEMENT).count() <= n * (n - 1));
    assert!(chain.state.entries().filter(|(key, _)| key[0] == RECORD).count() <= n);
    if step.is_restart {
        chain.state = restored;
    }
}

fn attempts(accusers: Vec<u8>, n: u8) -> impl Strategy<Value = Attempt> {
    let ahead = || prop_oneof![20 => Just(0_u64), 1 => Just(1)];
    let accuser = move || prop::sample::select(accusers.clone());
    let node = move || prop_oneof![20 => 1..=n.min(3), 5 => 1..=n, 1 => Just(STRANGER)];
    prop_oneof![
        8 => (accuser(), node(), 0..6_usize, ahead())
            .prop_map(|(who, node, reason, ahead)| Attempt::Suspect { who, node, reason, ahead }),
        4 => (accuser(), node(), ahead()).prop_map(|(who, node, ahead)| Attempt::Withdraw { who, node, ahead }),
        4 => (node(), ahead()).prop_map(|(who, back)| Attempt::Alive { who, back }),
        1 => (node(), any::<bool>(), ahead())
            .prop_map(|(who, is_drain, ahead)| Attempt::Drain { who, is_drain, ahead }),
        2 => (0..4_u8, prop::sample::select(Policy::ALL.to_vec()))
            .prop_map(|(retries, policy)| Attempt::Submit { retries, policy }),
        1 => (0..64_usize).prop_map(|of| Attempt::Complete { of }),
    ]
}

fn steps(accusers: Vec<u8>, n: u8) -> impl Strategy<Value = Vec<Step>> {
    let ms = prop_oneof![2 => 1..20_u64, 4 => 500..1_500_u64, 1 => Just(3_600_000)];
    let idle = prop_oneof![12 => Just(0_u64), 4 => 1..5_u64, 2 => 30..130_u64, 1 => 590..620_u64];
    let step = (prop::collection::vec(attempts(accusers, n), 0..8), 1..=n, ms, idle, prop::bool::weighted(0.1));
    let step =
        step.prop_map(|(attempts, leader, ms, idle, is_restart)| Step { attempts, leader, ms, idle, is_restart });
    prop::collection::vec(step, 1..24)
}

/// A set of validators, f of them who lie, and what they say. All others hold their peace about each other.
fn lies() -> impl Strategy<Value = (u8, Vec<Step>)> {
    let sets = prop::sample::select(vec![4_u8, 5, 6, 7, 10, 13]);
    let liars = sets.prop_flat_map(|n| {
        let liars = prop::sample::subsequence((1..=n).collect::<Vec<_>>(), (usize::from(n) - 1) / 3);
        (Just(n), liars)
    });
    liars.prop_flat_map(|(n, liars)| (Just(n), steps(liars, n)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn everybody_stands_as_the_rules_have_it_whatever_is_said(
        (n, steps) in prop::sample::select(vec![4_u8, 5, 7]).prop_flat_map(|n| (Just(n), steps((1..=n).chain([STRANGER]).collect(), n))),
    ) {
        let (mut chain, mut model) = (Chain::new(n), Model::new(n));
        steps.iter().for_each(|step| play(&mut chain, &mut model, step));
    }

    #[test]
    fn f_liars_bring_nobody_down_whatever_they_say((n, steps) in lies()) {
        let (mut chain, mut model) = (Chain::new(n), Model::new(n));
        for step in steps {
            play(&mut chain, &mut model, &step);
            prop_assert_eq!(chain.state.validators_unresponsive().count(), 0);
            prop_assert!((1..=n).all(|seed| chain.standing(seed).verdicts == VerdictNumber(0)));
        }
    }

    #[test]
    fn damaged_entries_are_refused_or_restored_but_never_panic(
        at in any::<prop::sample::Index>(),
        (in_key, byte, flipped) in any::<(bool, prop::sample::Index, u8)>(),
    ) {
        let chain = eventful();
        let mut entries: Vec<_> = chain.state.entries().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        // Those of verdicts come last, and are what is in question here.
        let first = entries.iter().position(|(key, _)| key[0] >= RECORD).expect("there are some");
        let entry = at.get_mut(&mut entries[first..]);
        let damaged = byte.get_mut(if in_key { &mut entry.0 } else { &mut entry.1 });
        let same = *damaged == flipped;
        *damaged = flipped;
        let answer = State::from_entries(chain.state.chain(), chain.state.height(), Hash::ZERO, chain.state.timestamp(), entries);
        if let Ok(state) = answer {
            prop_assert_eq!(state.root() == chain.state.root(), same);
            // Whatever was taken can be read, and goes on.
            let mut restored = Chain { state, ..chain };
            (1..=7).for_each(|seed| drop(restored.standing(seed)));
            restored.pass(1, [restored.suspect(6, 1, Reason::Link), restored.suspect(7, 4, Reason::Link)]);
            restored.wait(12);
        }
    }
}
