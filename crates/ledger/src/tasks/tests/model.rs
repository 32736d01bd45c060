//! Whatever is ordered, by whomever, under whatever token: does every task come to one end?
//!
//! The model is written down from the rules, as plainly as it can be, and shares no code with what it judges. It does
//! not choose holders: after each block it looks who got what, and whether they were allowed to. All else it foretells:
//! which orders take effect, which leases end, and what becomes of every task.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const CAPACITIES: [u32; 4] = [1, 1, 1, 2];

/// So few that every limit is met.
const LIMITS: TaskLimits = TaskLimits {
    tasks_max: 14,
    open_per_account_max: 6,
    pending_max: 7,
    payload_bytes_max: 1 << 16,
    keep_blocks: KEEP_BLOCKS,
};

/// How a test goes on: what is ordered, then a block with what was found good.
#[derive(Clone, Debug)]
struct Step {
    orders: Vec<Attempt>,
    leader: u8,
    ms: u64,
    is_restart: bool,
}

/// Something that somebody tries, before it is known what there is to be named.
#[derive(Clone, Debug)]
enum Attempt {
    Submit { who: u8, submission: Submission, bytes: usize, due_in: Option<u64>, expires_in: u64 },
    Cancel { who: u8, id: TaskId },
    Claim { act: Act, lease: usize, token: TokenOf, by: Option<u8>, renewals_ahead: u32 },
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Complete,
    Decline,
    Renew,
}

/// Which token is put into a claim.
#[derive(Clone, Copy, Debug)]
enum TokenOf {
    /// The task's own, from a lease that is there now, if any is.
    Present,
    /// The task's own, from any lease there ever was.
    Past,
    /// That of any lease there ever was.
    Other(usize),
    Invented(u64),
}

#[derive(Clone, Debug)]
struct Known {
    account: u8,
    submission: Submission,
    stand: Stand,
    lost_by: Vec<u8>,
    completions: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    Pending,
    Leased(Held),
    Done { by: u8, token: u64, at: u64 },
    Failed { at: u64 },
    Cancelled { at: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    holder: u8,
    token: u64,
    /// Height and lease time.
    until: (u64, u64),
    renewals: u32,
}

/// A lease that was seen once.
#[derive(Clone, Copy, Debug)]
struct Seen {
    task: u64,
    holder: u8,
    token: u64,
}

struct Model {
    known: BTreeMap<u64, Known>,
    /// How many numbers were given.
    submitted: u64,
    seen: Vec<Seen>,
    suspects: BTreeSet<u8>,
    led: [u64; 4],
    /// The lease time.
    clock: u64,
    reputation: [u16; 4],
}

impl Known {
    const fn finished(&self) -> Option<u64> {
        match self.stand {
            Stand::Pending | Stand::Leased(_) => None,
            Stand::Done { at, .. } | Stand::Failed { at } | Stand::Cancelled { at } => Some(at),
        }
    }

    const fn is_open(&self) -> bool {
        self.finished().is_none()
    }

    /// When a lease that begins at this height and lease time ends.
    fn until(&self, height: u64, clock: u64) -> (u64, u64) {
        let lease_ms = u64::from(self.submission.lease_ms);
        (height + 4.max(lease_ms.div_ceil(1_000)), clock + lease_ms)
    }

    fn lose(&mut self, holder: u8, height: u64) {
        self.lost_by.push(holder);
        let is_last = self.lost_by.len() > usize::from(self.submission.retries);
        self.stand = if is_last { Stand::Failed { at: height } } else { Stand::Pending };
    }
}

impl Model {
    const fn new() -> Self {
        let suspects = BTreeSet::new();
        Self {
            known: BTreeMap::new(),
            submitted: 0,
            seen: Vec::new(),
            suspects,
            led: [0; 4],
            clock: 1_000,
            reputation: [1_000; 4],
        }
    }

    /// The lease time of a block at this time on a tip of that.
    fn clock_at(&self, ms: u64, tip: u64) -> u64 {
        self.clock + (ms - tip).min(1_000)
    }

    fn open(&self) -> impl Iterator<Item = &Known> + Clone {
        self.known.values().filter(|known| known.is_open())
    }

    fn named(&mut self, account: u8, id: &TaskId) -> Option<&mut Known> {
        self.known.values_mut().find(|known| known.account == account && known.submission.id == *id)
    }

    /// Names what there is. The last number says until which height the order holds.
    fn order(&self, attempt: &Attempt, next: u64, now: u64) -> (Order, u64) {
        match attempt {
            Attempt::Submit { who, submission, bytes, due_in, expires_in } => {
                let payload = vec![submission.id.as_str().as_bytes()[1]; *bytes];
                let deadline = Timestamp(due_in.map_or(u64::MAX, |ms| now + ms));
                (submit(*who, Submission { deadline, payload, ..submission.clone() }), next + expires_in - 1)
            }
            Attempt::Cancel { who, id } => ((*who, Kind::CancelTask { id: id.clone() }), next),
            Attempt::Claim { act, lease, token, by, renewals_ahead } => {
                let (order, renewals) = self.claim(*lease, *token);
                let (who, claim) =
                    (by.unwrap_or(order.holder), Claim { task: TaskNumber(order.task), token: Token(order.token) });
                let order = match act {
                    Act::Complete => complete(who, claim),
                    Act::Decline => decline(who, claim),
                    Act::Renew => renew(who, claim, renewals + renewals_ahead),
                };
                (order, next)
            }
        }
    }

    fn claim(&self, lease: usize, token: TokenOf) -> (Seen, u32) {
        let present: Vec<(Seen, u32)> = self
            .known
            .iter()
            .filter_map(|(number, known)| match known.stand {
                Stand::Leased(held) => {
                    Some((Seen { task: *number, holder: held.holder, token: held.token }, held.renewals))
                }
                Stand::Pending | Stand::Done { .. } | Stand::Failed { .. } | Stand::Cancelled { .. } => None,
            })
            .collect();
        let nothing = Seen { task: 1, holder: 1, token: 1 };
        let any = |at: usize| self.seen.get(at % self.seen.len().max(1)).copied().unwrap_or(nothing);
        match token {
            TokenOf::Present => present.get(lease % present.len().max(1)).copied().unwrap_or((any(lease), 0)),
            TokenOf::Past => (any(lease), 0),
            TokenOf::Other(other) => (Seen { token: any(other).token, ..any(lease) }, 0),
            TokenOf::Invented(token) => (Seen { token, ..any(lease) }, 0),
        }
    }

    /// Whether an order takes effect; it does then. `tip` is the time of the last block.
    fn take(&mut self, (who, kind): &Order, expires: u64, height: u64, ms: u64, tip: u64) -> bool {
        match kind {
            Kind::Transfer { .. }
            | Kind::Suspect { .. }
            | Kind::Withdraw { .. }
            | Kind::Alive { .. }
            | Kind::Drain { .. }
            | Kind::Undrain { .. }
            | Kind::Certify { .. }
            | Kind::Leave { .. }
            | Kind::Stay { .. }
            | Kind::Join(_)
            | Kind::Approve { .. }
            | Kind::CaughtUp(_)
            | Kind::Retract { .. } => panic!("nobody says this here"),
            Kind::SubmitTask(submission) => {
                let is_good = self.is_room(*who, submission)
                    && [ANNA, BERT].contains(who)
                    && self.named(*who, &submission.id).is_none()
                    && (height..=height + KEEP_BLOCKS).contains(&expires)
                    && (1..=64).contains(&submission.units)
                    && submission.deadline.0 > tip;
                if is_good {
                    self.submitted += 1;
                    let (account, submission, stand) = (*who, submission.clone(), Stand::Pending);
                    let known = Known { account, submission, stand, lost_by: Vec::new(), completions: 0 };
                    self.known.insert(self.submitted, known);
                }
                is_good
            }
            Kind::CancelTask { id } => {
                let Some(known) = self.named(*who, id).filter(|known| known.is_open()) else { return false };
                known.stand = Stand::Cancelled { at: height };
                true
            }
            Kind::CompleteTask { claim, .. } | Kind::DeclineTask { claim, .. } | Kind::RenewLease { claim, .. } => {
                self.take_claim(*who, kind, *claim, height, ms, tip)
            }
        }
    }

    fn is_room(&self, who: u8, submission: &Submission) -> bool {
        let own = self.open().filter(|known| known.account == who).count();
        let bytes: usize = self.open().map(|known| known.submission.payload.len()).sum();
        let pending = self.known.values().filter(|known| known.stand == Stand::Pending).count();
        self.known.len() < LIMITS.tasks_max as usize
            && pending < LIMITS.pending_max as usize
            && own < LIMITS.open_per_account_max as usize
            && bytes + submission.payload.len() <= LIMITS.payload_bytes_max as usize
    }

    fn take_claim(&mut self, who: u8, kind: &Kind, claim: Claim, height: u64, ms: u64, tip: u64) -> bool {
        let begins = self.clock_at(ms, tip);
        let Some(known) = self.known.get_mut(&claim.task.0) else { return false };
        let Stand::Leased(held) = known.stand else { return false };
        if (held.token, held.holder) != (claim.token.0, who) {
            return false;
        }
        match kind {
            Kind::CompleteTask { .. } => {
                known.completions += 1;
                let reputation = &mut self.reputation[usize::from(who) - 1];
                *reputation = (*reputation + 2).min(1_000);
                known.stand = Stand::Done { by: who, token: held.token, at: height };
            }
            Kind::DeclineTask { .. } => known.lose(who, height),
            Kind::RenewLease { renewals, .. } => {
                let left = held.until.1.saturating_sub(self.clock);
                if *renewals != held.renewals || 4 * left > 3 * u64::from(known.submission.lease_ms) {
                    return false;
                }
                let until = known.until(height, begins);
                known.stand = Stand::Leased(Held { until, renewals: renewals + 1, ..held });
            }
            Kind::Transfer { .. }
            | Kind::SubmitTask(_)
            | Kind::CancelTask { .. }
            | Kind::Suspect { .. }
            | Kind::Withdraw { .. }
            | Kind::Alive { .. }
            | Kind::Drain { .. }
            | Kind::Undrain { .. }
            | Kind::Certify { .. }
            | Kind::Leave { .. }
            | Kind::Stay { .. }
            | Kind::Join(_)
            | Kind::Approve { .. }
            | Kind::CaughtUp(_)
            | Kind::Retract { .. } => panic!("they claim nothing"),
        }
        self.suspects.remove(&who);
        true
    }

    /// What the end of a block changes, but for new leases.
    fn end_block(&mut self, height: u64, ms: u64, tip: u64, leader: u8) {
        self.clock = self.clock_at(ms, tip);
        if let Some(led) = self.led.get_mut(usize::from(leader) - 1) {
            *led = height;
        }
        for known in self.known.values_mut() {
            if let Stand::Leased(held) = known.stand
                && known.submission.policy != Policy::Keep
                && held.until.0 < height
                && held.until.1 < self.clock
            {
                self.suspects.insert(held.holder);
                let reputation = &mut self.reputation[usize::from(held.holder) - 1];
                *reputation = (*reputation - 50).max(100);
                known.lose(held.holder, height);
            }
            if known.is_open() && known.submission.deadline.0 < ms {
                if let Stand::Leased(held) = known.stand {
                    self.suspects.insert(held.holder);
                }
                known.stand = Stand::Failed { at: height };
            }
        }
        self.known.retain(|_, known| known.finished().is_none_or(|at| height <= at + KEEP_BLOCKS));
    }

    /// Compares every task with what the state says of it, and takes over the leases that the block began.
    fn compare(&mut self, state: &State) {
        let (height, clock) = (state.height().0, state.lease_time().0);
        assert_eq!(clock, self.clock);
        let tasks: Vec<Task> = state.tasks_from(TaskNumber(0)).collect();
        let numbers = tasks.iter().map(|task| task.number.0);
        assert!(numbers.eq(self.known.keys().copied()), "a task was lost, or came from nowhere");
        let mut begun = Vec::new();
        for (task, (number, known)) in tasks.iter().zip(&mut self.known) {
            compare_order(state, task, known);
            let stand = stand_of(task);
            if let (Stand::Pending, Stand::Leased(held)) = (known.stand, stand) {
                let expected = Held { until: known.until(height, clock), renewals: 0, ..held };
                assert_eq!(held, expected, "a lease begins in full");
                begun.push(Seen { task: *number, holder: held.holder, token: held.token });
                known.stand = stand;
            }
            assert_eq!(stand, known.stand, "task {number}");
            assert!(known.completions <= 1);
            let is_done = matches!(known.stand, Stand::Done { .. });
            assert_eq!(known.completions, u32::from(is_done), "task {number} is done by what took effect");
        }
        self.compare_begun(&begun, height);
        self.compare_workers(state);
        self.compare_waiting(state);
        self.compare_counts(state);
    }

    fn compare_begun(&mut self, begun: &[Seen], height: u64) {
        let mut tokens: Vec<u64> = begun.iter().map(|seen| seen.token).collect();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), begun.len(), "two leases with one token");
        let greatest = self.seen.iter().map(|seen| seen.token).max().unwrap_or(0);
        assert!(tokens.iter().all(|token| *token > greatest), "{tokens:?} do not grow from {greatest}");
        for seen in begun {
            let (known, holder) = (&self.known[&seen.task], seen.holder);
            assert!(self.is_there(holder, height), "{holder} led last at {:?}", self.led);
            let better = (1..=4).find(|other| {
                self.is_there(*other, height) && !self.suspects.contains(other) && !known.lost_by.contains(other)
            });
            assert!(!known.lost_by.contains(&holder) || better.is_none(), "{seen:?} went back, not to {better:?}");
            let leases = self.leases_of(holder).count();
            assert!(!self.suspects.contains(&holder) || leases == 1, "{holder} did not answer and has {leases}");
        }
        self.seen.extend_from_slice(begun);
    }

    fn is_there(&self, node: u8, height: u64) -> bool {
        height - self.led[usize::from(node) - 1] <= 4 * 4 + 8
    }

    fn leases_of(&self, node: u8) -> impl Iterator<Item = (u64, u64)> {
        self.known.iter().filter_map(move |(number, known)| {
            matches!(known.stand, Stand::Leased(held) if held.holder == node)
                .then_some((*number, u64::from(known.submission.units)))
        })
    }

    fn compare_workers(&self, state: &State) {
        for (node, capacity) in (1..).zip(CAPACITIES) {
            let worker = state.worker(&public(node)).expect("a validator");
            let (leases, units) =
                (self.leases_of(node).count() as u64, self.leases_of(node).map(|(_, units)| units).sum());
            assert_eq!((worker.capacity, worker.leases, worker.units), (capacity, leases, units), "{node}");
            assert!(units <= u64::from(capacity) * 64, "{node} holds {units}");
            assert_eq!(worker.reputation.per_mille(), self.reputation[usize::from(node) - 1], "{node}");
            assert_eq!(
                (worker.missed > 0, worker.led.0),
                (self.suspects.contains(&node), self.led[usize::from(node) - 1])
            );
            assert!(
                state.leased_to(public(node)).map(|number| number.0).eq(self.leases_of(node).map(|(number, _)| number))
            );
        }
    }

    /// The oldest task that waits has nobody to go to.
    fn compare_waiting(&self, state: &State) {
        let Some(known) = self.known.values().find(|known| known.stand == Stand::Pending) else { return };
        let units = u64::from(known.submission.units);
        for (node, capacity) in (1..).zip(CAPACITIES).filter(|(node, _)| !known.lost_by.contains(node)) {
            let held: u64 = self.leases_of(node).map(|(_, units)| units).sum();
            let has_room = match self.suspects.contains(&node) {
                true => held == 0,
                false => held + units <= u64::from(capacity) * 64,
            };
            assert!(!(has_room && self.is_there(node, state.height().0)), "{known:?} waits, {node} has room");
        }
    }

    fn compare_counts(&self, state: &State) {
        let count = |of: fn(&Stand) -> bool| self.known.values().filter(|known| of(&known.stand)).count() as u64;
        let expected = TaskCounts {
            pending: count(|stand| matches!(stand, Stand::Pending)),
            leased: count(|stand| matches!(stand, Stand::Leased(_))),
            done: count(|stand| matches!(stand, Stand::Done { .. })),
            failed: count(|stand| matches!(stand, Stand::Failed { .. })),
            cancelled: count(|stand| matches!(stand, Stand::Cancelled { .. })),
        };
        assert_eq!(state.task_counts(), expected);
        let open = |account| self.open().filter(|known| known.account == account).count();
        assert!([ANNA, BERT].into_iter().all(|account| open(account) <= LIMITS.open_per_account_max as usize));
        assert!(
            self.open().map(|known| known.submission.payload.len() as u64).sum::<u64>() <= LIMITS.payload_bytes_max
        );
        assert!(self.known.len() as u64 <= LIMITS.tasks_max);
    }
}

/// What was submitted stays what it was.
fn compare_order(state: &State, task: &Task, known: &Known) {
    let ordered = &known.submission;
    assert_eq!((&task.id, &task.executor, task.units), (&ordered.id, &ordered.executor, ordered.units));
    assert_eq!((task.lease_ms, task.retries, task.deadline), (ordered.lease_ms, ordered.retries, ordered.deadline));
    assert_eq!((task.policy, &task.region), (ordered.policy, &ordered.region));
    assert_eq!(task.account, public(known.account));
    assert_eq!(state.task_number(&task.account, &task.id), Some(task.number));
    assert!(state.tasks_named(&task.id).any(|number| number == task.number));
    assert_eq!(state.payload(task.number), known.is_open().then_some(ordered.payload.as_slice()));
    assert!(task.lost_by.iter().copied().eq(known.lost_by.iter().map(|node| public(*node))));
    assert_eq!(task.reason.is_empty(), task.lost_by.is_empty() && !matches!(task.state, TaskState::Failed { .. }));
}

fn stand_of(task: &Task) -> Stand {
    match &task.state {
        TaskState::Pending => Stand::Pending,
        TaskState::Leased(lease) => Stand::Leased(Held {
            holder: seed_of(&lease.holder),
            token: lease.token.0,
            until: (lease.until.height.0, lease.until.timestamp.0),
            renewals: lease.renewals,
        }),
        TaskState::Done(done) => Stand::Done { by: seed_of(&done.by), token: done.token.0, at: done.at.0 },
        TaskState::Failed { at } => Stand::Failed { at: at.0 },
        TaskState::Cancelled { at } => Stand::Cancelled { at: at.0 },
    }
}

/// Lets a block pass, and holds everything that is known of it against the model.
fn play(chain: &mut Chain, model: &mut Model, step: &Step) {
    chain.leaders = vec![step.leader];
    let tip = chain.state.timestamp().0;
    let (height, ms) = (chain.state.height().0 + 1, tip + step.ms);
    let place = Place { height: Height(height), timestamp: Timestamp(ms) };
    let (mut draft, mut good, mut bad) = (chain.clone(), Vec::new(), None);
    for attempt in &step.orders {
        let (order, expires) = model.order(attempt, height, tip);
        let tx = Transaction { expires: Height(expires), ..draft.sign(order.clone(), 0) };
        let expected = model.take(&order, expires, height, ms, tip);
        assert_eq!(draft.state.check_unsigned(&tx, place.height).is_ok(), expected, "{attempt:?}");
        assert_eq!(draft.state.apply_transaction_verified(&tx, place).is_ok(), expected, "{attempt:?}");
        if expected {
            good.push(tx);
        } else {
            bad = Some((good.len(), tx));
        }
    }
    if let Some((at, tx)) = bad {
        let mut transactions = good.clone();
        transactions.insert(at, tx);
        let mut refused = chain.clone();
        assert!(refused.state.apply_verified(&chain.block(step.ms, transactions), |_| true).is_err());
        assert_eq!(refused.picture(), chain.picture(), "it left a mark");
    }
    let (before, block) = (chain.state.clone(), chain.block(step.ms, good));
    chain.state.apply_verified(&block, |_| true).expect("what a proposer took is good");
    draft.settle(&block);
    assert_eq!(draft.picture(), chain.picture(), "proposer and follower differ");

    model.end_block(height, ms, tip, step.leader);
    model.compare(&chain.state);
    let changes = chain.state.task_changes();
    let is_told = |task: &Task| changes.contains(&task.number) || before.task(task.number).as_ref() == Some(task);
    assert!(chain.state.tasks_from(TaskNumber(0)).all(|task| is_told(&task)));
    let restored = chain.restored();
    assert_eq!(restored.picture(), chain.picture());
    if step.is_restart {
        *chain = restored;
    }
}

/// Whatever went before: once validators lead and answer, every task comes to an end and is forgotten.
fn come_to_an_end(chain: &mut Chain, model: &mut Model) {
    const BLOCKS_MAX: usize = 64;
    let completion =
        Attempt::Claim { act: Act::Complete, lease: 0, token: TokenOf::Present, by: None, renewals_ahead: 0 };
    for leader in (1..=4).cycle().take(BLOCKS_MAX) {
        let leased = chain.state.task_counts().leased as usize;
        play(chain, model, &Step { orders: vec![completion.clone(); leased], leader, ms: 1, is_restart: false });
    }
    assert_eq!(chain.state.task_counts(), TaskCounts::default());
    assert!(chain.state.entries().all(|(key, _)| ![TASK, PAYLOAD].contains(&key[0])));
}

fn steps() -> impl Strategy<Value = Step> {
    let ms = prop_oneof![3 => 1..10_u64, 6 => 500..1_500_u64, 1 => 10_000..60_000_u64, 1 => Just(3_600_000)];
    let restart = prop::bool::weighted(0.1);
    (prop::collection::vec(attempts(), 0..7), 1..5_u8, ms, restart).prop_map(|(orders, leader, ms, is_restart)| Step {
        orders,
        leader,
        ms,
        is_restart,
    })
}

fn attempts() -> impl Strategy<Value = Attempt> {
    let account = || prop::sample::select(vec![ANNA, ANNA, ANNA, BERT, BERT, NOBODY, 1]);
    let expires_in = prop_oneof![1 => Just(0), 20 => 1..=KEEP_BLOCKS + 1, 1 => Just(KEEP_BLOCKS + 2)];
    let bytes = prop::sample::select(vec![0, 1, 60, 60, 60, 200, 30_000, 65_000]);
    let due_in = prop::option::weighted(0.3, 0..20_000_u64);
    prop_oneof![
        6 => (account(), submissions(), bytes, due_in, expires_in)
            .prop_map(|(who, submission, bytes, due_in, expires_in)| Attempt::Submit { who, submission, bytes, due_in, expires_in }),
        1 => (account(), names()).prop_map(|(who, name)| Attempt::Cancel { who, id: id(&name) }),
        8 => claims(),
    ]
}

fn names() -> impl Strategy<Value = String> {
    (0..9_u8).prop_map(|n| format!("t{n}"))
}

fn submissions() -> impl Strategy<Value = Submission> {
    let units = prop::sample::select(vec![0, 1, 1, 1, 2, 20, 32, 40, 63, 64, 64, 65]);
    let lease_ms = prop::sample::select(vec![1_000, 1_001, 3_000, 5_000, 60_000, 3_600_000]);
    let region = prop::sample::select(vec![None, Some("local"), Some("elsewhere")]);
    let policy = prop::sample::select(Policy::ALL.to_vec());
    (names(), units, lease_ms, 0..4_u8, policy, region).prop_map(|(name, units, lease_ms, retries, policy, region)| {
        Submission {
            units,
            lease_ms,
            retries,
            policy,
            region: region.map(|region| region.parse().expect("a region")),
            ..task(&name)
        }
    })
}

fn claims() -> impl Strategy<Value = Attempt> {
    let act = prop::sample::select(vec![Act::Complete, Act::Decline, Act::Decline, Act::Renew, Act::Renew]);
    let token = prop_oneof![
        8 => Just(TokenOf::Present),
        3 => Just(TokenOf::Past),
        1 => (0..64_usize).prop_map(TokenOf::Other),
        1 => prop_oneof![0..40_u64, Just(u64::MAX)].prop_map(TokenOf::Invented),
    ];
    let by = prop::option::weighted(0.15, 1..=NOBODY);
    let ahead = prop::sample::select(vec![0, 0, 0, 0, 1]);
    (act, 0..64_usize, token, by, ahead).prop_map(|(act, lease, token, by, renewals_ahead)| Attempt::Claim {
        act,
        lease,
        token,
        by,
        renewals_ahead,
    })
}

proptest! {
    #[test]
    fn every_task_comes_to_one_end_whatever_is_ordered_and_whoever_leads(steps in prop::collection::vec(steps(), 1..40)) {
        let (mut chain, mut model) = (Chain::with(&CAPACITIES, LIMITS), Model::new());
        steps.iter().for_each(|step| play(&mut chain, &mut model, step));
        come_to_an_end(&mut chain, &mut model);
    }
}
