use super::*;
use crate::Scenario;
use api::{Content, TaskResult};
use commonware_codec::Encode as _;
use ledger::{Height, NodeId, Nonce, Policy, SecretKey, Timestamp, Token, View};

/// What happened, and what one node and all others say about it. The tasks are, in this order: one that was done at once,
/// one that was renewed before, one that was cancelled, one that was declined and failed, and one that is open.
struct Story {
    world: World,
    blocks: Vec<Block>,
    held: Held,
    load: Load,
    book: Book,
}

const DONE: u64 = 1;
const RENEWED: u64 = 2;
const CANCELLED: u64 = 3;
const FAILED: u64 = 4;
const OPEN: u64 = 5;

fn submission(id: &str, program: Option<&str>, retries: u8) -> Submission {
    let (executor, payload) = match program {
        None => ("matmul", r#"{"seed":7,"n":2}"#.to_owned()),
        Some(program) => ("command", format!(r#"{{"program":"{program}","input":"b\na\n"}}"#)),
    };
    Submission {
        id: id.parse().expect("an id"),
        executor: executor.parse().expect("an executor"),
        payload: payload.into_bytes(),
        units: 3,
        lease_ms: 4_000,
        retries,
        deadline: Timestamp(u64::MAX),
        policy: Policy::Replace,
        region: None,
    }
}

/// A chain that grows by what the ledger takes.
struct Builder {
    world: World,
    state: State,
    blocks: Vec<Block>,
    nonce: u64,
}

impl Builder {
    fn ordered(&mut self, kind: Kind) -> Transaction {
        let (key, nonce) = (&self.world.accounts[0], Nonce(self.nonce));
        self.nonce += 1;
        Transaction::sign(key, self.world.chain(), nonce, Height(5_000), kind)
    }

    /// What the holder of a task's lease says about it.
    fn said(&self, number: u64, kind: impl FnOnce(Claim) -> Kind) -> Transaction {
        let task = self.state.task(TaskNumber(number)).expect("submitted");
        let TaskState::Leased(lease) = task.state else { panic!("not leased: {task:?}") };
        let claim = Claim { task: task.number, token: lease.token };
        said(&self.world, lease.holder, kind(claim))
    }

    /// A block of two seconds later.
    fn block(&mut self, transactions: Vec<Transaction>) {
        let first = Block::genesis(&self.world.genesis);
        let parent = self.blocks.last().unwrap_or(&first);
        let height = parent.height.0 + 1;
        let leader = self.world.genesis.validators[0].key;
        let block = Block {
            height: Height(height),
            parent: parent.digest(),
            parent_state_root: self.state.root(),
            view: View(height),
            leader,
            timestamp: Timestamp(parent.timestamp.0 + 2_000),
            transactions,
            ..first.clone()
        };
        self.state.apply(&block).expect("a block that the ledger takes");
        self.blocks.push(block);
    }
}

fn said(world: &World, holder: NodeId, kind: Kind) -> Transaction {
    let secrets = world
        .keys
        .iter()
        .map(|key| SecretKey::from_bytes(key.encode().as_ref().try_into().expect("an Ed25519 key has 32 bytes")));
    let key = secrets.into_iter().find(|key| key.public() == holder).expect("a validator's");
    Transaction::sign(&key, world.chain(), Nonce(0), Height(5_000), kind)
}

fn complete(result: Vec<u8>) -> impl FnOnce(Claim) -> Kind {
    |claim| Kind::CompleteTask { claim, output: Output::Inline(result) }
}

fn decline(claim: Claim) -> Kind {
    Kind::DeclineTask { claim, reason: "not in the mood".into() }
}

fn renew(renewals: u32) -> impl FnOnce(Claim) -> Kind {
    move |claim| Kind::RenewLease { claim, renewals }
}

fn product() -> Vec<u8> {
    executor::matmul::result(7, 2)
}

fn story() -> Story {
    let world = World::new(&Scenario::named("four-nodes").expect("there is one"), 1);
    let state = State::genesis(&world.genesis);
    let mut chain = Builder { state, world, blocks: Vec::new(), nonce: 0 };
    let ordered = [
        submission("done", None, 3),
        submission("renewed", Some("sort"), 3),
        submission("cancelled", None, 3),
        submission("failed", Some("unwilling"), 0),
        submission("open", None, 3),
    ]
    .map(|submission| chain.ordered(Kind::SubmitTask(submission)));
    chain.block(ordered.to_vec());
    // Renewals are judged by the time of the block before.
    chain.block(Vec::new());
    let second = vec![
        chain.said(DONE, complete(product())),
        chain.said(RENEWED, renew(0)),
        chain.ordered(Kind::CancelTask { id: "cancelled".parse().expect("an id") }),
        chain.said(FAILED, decline),
        chain.said(OPEN, renew(0)),
    ];
    chain.block(second);
    let third = vec![chain.said(RENEWED, complete(b"a\nb\n".to_vec()))];
    chain.block(third);
    let Builder { world, state, blocks, .. } = chain;
    let mut story = Story { held: Held::of(&state), world, blocks, load: Load::new(2), book: Book::default() };
    for (id, number) in [("done", DONE), ("renewed", RENEWED), ("cancelled", CANCELLED), ("failed", FAILED)] {
        let task = &story.held.tasks[&number];
        story.load.finished.insert((0, id.into()), (view(task), "n3".into()));
        if let TaskState::Done(done) = &task.state {
            story.book.completed("n3", (number, done.token.0), done.at.0, 0);
        }
    }
    story
}

fn view(task: &Task) -> TaskView {
    let mut view = TaskView {
        finished_height: task.state.finished().map(|height| height.0),
        reason: Some(task.reason.clone()).filter(|reason| !reason.is_empty()),
        ..TaskView::default()
    };
    match &task.state {
        TaskState::Done(done) => {
            view.state = Shown::Done;
            view.token = Some(done.token.0);
            view.result = Some(TaskResult { sha256: done.sha256.to_string(), ..TaskResult::default() });
        }
        TaskState::Failed { .. } => view.state = Shown::Failed,
        TaskState::Cancelled { .. } => view.state = Shown::Cancelled,
        TaskState::Pending | TaskState::Leased(_) => {}
    }
    view
}

impl Story {
    fn held(&mut self, number: u64) -> &mut Task {
        self.held.tasks.get_mut(&number).expect("held")
    }

    /// The lease of which the block at this height speaks.
    fn claim(&self, height: usize, number: u64) -> (PublicKey, Claim) {
        let orders = self.blocks[height - 1].transactions.iter();
        let mut claims = orders.filter_map(|tx| Some((tx.account, tx.kind.claim()?)));
        claims.find(|(_, claim)| claim.task.0 == number).expect("spoken of")
    }

    /// The holder of the lease that the block at `height` speaks of says something in the last block.
    fn says(&mut self, height: usize, number: u64, kind: impl FnOnce(Claim) -> Kind) {
        let (holder, claim) = self.claim(height, number);
        self.include(said(&self.world, holder, kind(claim)));
    }

    /// The last block holds this too.
    fn include(&mut self, transaction: Transaction) {
        self.blocks.last_mut().expect("some").transactions.push(transaction);
    }

    fn judged(&self) -> (Vec<String>, Counted) {
        let mut wrong = Vec::new();
        let mut accuse = |checker, what| {
            assert_eq!(checker, Checker::Tasks);
            wrong.push(what);
        };
        let blocks: Vec<&Block> = self.blocks.iter().collect();
        let counted = check(&self.world, &blocks, &self.held, &self.load, &self.book, &mut accuse);
        (wrong, counted)
    }
}

/// What does the checker say to a story that was changed like this?
fn says(change: impl FnOnce(&mut Story), expected: &str) -> Counted {
    let mut story = story();
    change(&mut story);
    let (wrong, counted) = story.judged();
    assert!(wrong.iter().any(|what| what.contains(expected)), "{expected:?} is not in {wrong:#?}");
    counted
}

#[test]
fn an_honest_story_is_not_accused() {
    assert_eq!(story().judged(), (Vec::new(), Counted::default()));
}

#[test]
fn a_second_completion_is_noticed_and_counted() {
    let counted = says(|story| story.says(3, DONE, complete(product())), "comes after it was finished in block 3");
    assert_eq!(counted, Counted { lost: 0, doubled: 1 });
}

#[test]
fn nothing_comes_after_a_cancellation() {
    let claim = Claim { task: TaskNumber(CANCELLED), token: Token(3) };
    let change = |story: &mut Story| {
        let holder = story.world.genesis.validators[0].key;
        let late = said(&story.world, holder, complete(product())(claim));
        story.include(late);
    };
    says(change, "comes after it was finished in block 3");
    says(|story| story.include(story_cancel("done")), "cancels task 1, which was finished in block 3");
    says(|story| story.include(story_cancel("nobody")), "which was never submitted");
}

fn story_cancel(id: &str) -> Transaction {
    let world = World::new(&Scenario::named("four-nodes").expect("there is one"), 1);
    let kind = Kind::CancelTask { id: id.parse().expect("an id") };
    Transaction::sign(&world.accounts[0], world.chain(), Nonce(9), Height(5_000), kind)
}

#[test]
fn tokens_never_go_back_and_belong_to_one_task_and_one_validator() {
    let newer = |story: &mut Story| {
        let (holder, claim) = story.claim(3, OPEN);
        let ahead = Claim { token: Token(77), ..claim };
        story.blocks[2].transactions.push(said(&story.world, holder, renew(0)(ahead)));
        story.says(3, OPEN, renew(1));
    };
    says(newer, "comes after token 77");
    let stolen = |story: &mut Story| {
        let (holder, other) = story.claim(3, RENEWED);
        let claim = Claim { task: TaskNumber(OPEN), ..other };
        story.include(said(&story.world, holder, renew(0)(claim)));
    };
    says(stolen, "for task 2");
    let foreign = |story: &mut Story| {
        let (holder, claim) = story.claim(3, OPEN);
        let other = story.world.genesis.validators.iter().find(|other| other.key != holder).expect("four").key;
        story.include(said(&story.world, other, complete(product())(claim)));
    };
    says(foreign, "has the token of");
}

#[test]
fn an_order_needs_a_task_that_was_submitted_earlier_a_validator_and_a_lease_that_is_not_over() {
    says(|story| story.says(3, FAILED, renew(0)), "comes after it was declined");
    says(|story| story.says(3, FAILED, decline), "comes after it was declined");
    let unknown = |story: &mut Story| {
        let holder = story.world.genesis.validators[0].key;
        let claim = Claim { task: TaskNumber(9), token: Token(9) };
        story.include(said(&story.world, holder, renew(0)(claim)));
    };
    says(unknown, "is of a task that was never submitted");
    let client = |story: &mut Story| {
        let (_, claim) = story.claim(3, OPEN);
        let kind = complete(product())(claim);
        let order = Transaction::sign(&story.world.accounts[0], story.world.chain(), Nonce(0), Height(9), kind);
        story.include(order);
    };
    says(client, "is not of a validator");
    let at_once = |story: &mut Story| {
        let order = story.blocks[2].transactions.remove(0);
        story.blocks[0].transactions.push(order);
    };
    says(at_once, "comes before anybody could lease it");
    says(|story| story.says(3, OPEN, renew(0)), "as if it had been renewed 0 times, not 1");
}

#[test]
fn a_task_is_leased_once_more_than_it_may_be_retried_and_no_more() {
    let often = |story: &mut Story| {
        let holder = story.world.genesis.validators[0].key;
        for token in 100..104 {
            let claim = Claim { task: TaskNumber(OPEN), token: Token(token) };
            let order = said(&story.world, holder, renew(0)(claim));
            story.include(order);
        }
    };
    says(often, "is of lease number 5");
    says(|story| story.held(OPEN).lost_by = vec![PublicKey([1; 32]); 4], "it is open after 4 leases");
}

#[test]
fn a_wrong_result_is_noticed_and_so_is_declining_what_can_be_done() {
    let wrong = |story: &mut Story| {
        let (holder, claim) = story.claim(3, DONE);
        story.blocks[2].transactions[0] = said(&story.world, holder, complete(b"2".to_vec())(claim));
    };
    says(wrong, "completes task 1 with a wrong result");
    says(|story| story.says(3, OPEN, decline), "declines task 5, which can be done");
}

#[test]
fn a_task_that_vanishes_is_lost_and_one_out_of_nowhere_is_noticed() {
    let counted = says(|story| drop(story.held.tasks.remove(&OPEN)), "it is lost");
    assert_eq!(counted, Counted { lost: 1, doubled: 0 });
    let forgets = |story: &mut Story| drop(story.held.tasks.remove(&DONE));
    assert_eq!(says(forgets, "it is lost"), Counted { lost: 1, doubled: 0 });
    let more = |story: &mut Story| {
        let task = story.held.tasks[&OPEN].clone();
        story.held.tasks.insert(6, Task { number: TaskNumber(6), ..task });
    };
    says(more, "task 6 is in the state and was never submitted");
}

#[test]
fn what_was_finished_long_ago_may_be_forgotten() {
    let mut story = story();
    story.world.genesis.tasks.keep_blocks = 0;
    story.held.tasks.remove(&DONE);
    let (wrong, counted) = story.judged();
    assert_eq!(counted, Counted::default());
    assert!(wrong.iter().all(|what| what.contains("outlasts")), "{wrong:#?}");
    // The one that was done a block later may not be forgotten yet.
    story.held.tasks.remove(&RENEWED);
    assert_eq!(story.judged().1, Counted { lost: 1, doubled: 0 });
}

#[test]
fn the_same_task_twice_is_noticed() {
    let again = |story: &mut Story| {
        let first = story.blocks[0].transactions[4].clone();
        story.include(first);
    };
    says(again, "submits task open again, which is number 5");
}

#[test]
fn the_state_follows_from_the_blocks() {
    let result = |story: &mut Story| {
        let TaskState::Done(done) = &mut story.held(DONE).state else { panic!("done") };
        done.sha256 = Hash([1; 32]);
    };
    says(result, "it was not completed like this");
    let holder = |story: &mut Story| {
        let TaskState::Done(done) = &mut story.held(DONE).state else { panic!("done") };
        done.by = PublicKey([1; 32]);
    };
    says(holder, "it was not completed like this");
    says(|story| story.blocks[2].transactions.truncate(0), "it is done, and nobody completed it");
    says(|story| story.held(DONE).state = TaskState::Pending, "though the blocks finished it in block Some(3)");
    says(|story| drop(story.blocks[2].transactions.remove(2)), "it is cancelled since block 3, and nobody did so");
    says(|story| story.held(OPEN).state = TaskState::Cancelled { at: Height(4) }, "and nobody did so there");
    says(|story| story.held(OPEN).state = TaskState::Failed { at: Height(4) }, "it failed after 0 of 4 leases");
    says(|story| story.held(FAILED).reason.clear(), "it failed after 1 of 1 leases");
    says(|story| story.held(FAILED).lost_by.clear(), "it was declined by others");
    says(|story| story.held(OPEN).units = 4, "it was not ordered like this");
    says(|story| story.held(OPEN).deadline = Timestamp(9), "it was not ordered like this");
    says(|story| drop(story.held.payloads.remove(&OPEN)), "the payload is not kept just as long as it is needed");
    let stale = |story: &mut Story| {
        let TaskState::Leased(lease) = &mut story.held(OPEN).state else { panic!("leased") };
        lease.token = Token(0);
    };
    says(stale, "is over");
}

#[test]
fn a_deadline_ends_a_task_and_nothing_else_comes_after_it() {
    let late = |story: &mut Story| {
        let start = story.world.genesis.timestamp_ms;
        let Kind::SubmitTask(submission) = &mut story.blocks[0].transactions[4].kind else { panic!("submitted") };
        submission.deadline = Timestamp(start + 5_000);
        story.held(OPEN).deadline = Timestamp(start + 5_000);
    };
    says(late, "it is open after its deadline");
    let later = |story: &mut Story| {
        late(story);
        let mut fifth = story.blocks[3].clone();
        fifth.height = Height(5);
        fifth.transactions.clear();
        story.blocks.push(fifth);
        story.says(3, OPEN, renew(1));
    };
    says(later, "comes after the deadline");
    let at_once = |story: &mut Story| {
        let Kind::SubmitTask(submission) = &mut story.blocks[0].transactions[4].kind else { panic!("submitted") };
        submission.deadline = Timestamp(1);
    };
    says(at_once, "takes task 5 after its deadline");
}

#[test]
fn what_is_leased_adds_up_and_fits() {
    let TaskState::Leased(lease) = story().held.tasks[&OPEN].state.clone() else { panic!("leased") };
    says(|story| story.held.workers.get_mut(&lease.holder).expect("a validator").units += 1, "does not add up");
    says(|story| story.held.workers.get_mut(&lease.holder).expect("a validator").leases = 0, "does not add up");
    says(|story| story.held.workers.get_mut(&lease.holder).expect("a validator").tasks.clear(), "does not add up");
    let heavy = |story: &mut Story| {
        story.held(OPEN).units = 65;
        story.held.workers.get_mut(&lease.holder).expect("a validator").units = 65;
    };
    says(heavy, "is leased 65 units");
}

#[test]
fn what_clients_were_told_is_in_the_blocks() {
    let told = |id: &'static str, change: fn(&mut TaskView)| {
        move |story: &mut Story| {
            let (view, _) = story.load.finished.get_mut(&(0, id.to_owned())).expect("told");
            change(view);
        }
    };
    let result = |view: &mut TaskView| view.result.as_mut().expect("a result").sha256 = "0".repeat(64);
    says(told("done", result), "n3 told that task done is Done, which is not in the blocks");
    let content = |view: &mut TaskView| view.result.as_mut().expect("a result").content = Some(Content::of(b"another"));
    says(told("done", content), "n3 told that task done is Done");
    says(told("done", |view| view.finished_height = Some(1)), "n3 told that task done is Done");
    says(told("done", |view| view.token = Some(9)), "n3 told that task done is Done");
    says(told("done", |view| view.state = Shown::Failed), "n3 told that task done is Failed");
    says(told("cancelled", |view| view.finished_height = Some(4)), "n3 told that task cancelled is Cancelled");
    says(told("failed", |view| view.reason = None), "n3 told that task failed is Failed");
    let another = |story: &mut Story| {
        let view = view(&story.held.tasks[&DONE]);
        story.load.finished.insert((0, "never".into()), (view, "n3".into()));
    };
    says(another, "n3 told that task never is Done");
}

#[test]
fn what_nodes_told_is_in_the_blocks() {
    let elsewhere = |story: &mut Story| story.book.completed("n2", (OPEN, 5), 4, 0);
    says(elsewhere, "n2 saw task 5 done in block 4 under token 5, and it was not");
    let refused = |story: &mut Story| {
        let (_, claim) = story.claim(3, DONE);
        story.book.rejected(DONE, claim.token.0, "n1");
    };
    says(refused, "the completion of task 1 by n1 counts");
}

#[test]
fn a_late_completion_may_be_rejected() {
    let mut story = story();
    story.book.rejected(DONE, 0, "n1");
    assert_eq!(story.judged().0, Vec::<String>::new());
}
