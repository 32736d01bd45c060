//! From a file to the chain, each task once, however often the way is interrupted.
//!
//! The chain decides what is still to be done: it has a task of an id once, and it has used the account's nonces up to
//! some number. The first tasks that are missing go in with the next nonces, in the order of the file. So it is the same
//! after an interruption as without one, a later run fills the places that an earlier one has left, and to hand in
//! something again is never wrong.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use api::{Problem, SubmittedTask, TaskState, TaskView};
use ledger::{ChainId, Encode as _, Height, Kind, Nonce, Timestamp, Transaction};
use tokio::time::sleep;

use super::{progress::Progress, signer::Account, workload::Order};
use crate::{
    client::{Client, Trouble},
    failure::Failure,
    status::span,
    testnet::now_ms,
};

/// Submissions under way at once. The mempool takes 256 of an account; the rest is for others that use its key.
const UNDER_WAY_MAX: usize = 200;

/// How many blocks a submission may take to become final before it can be forgotten: some minutes. The chain may allow
/// less.
const EXPIRES_AFTER: u64 = 1_000;

/// What is not on the chain after so long is handed in again: whoever took it may have forgotten it in a restart.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The most in one request; the API takes 256 and 4 MiB.
const BATCH_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 3 << 20;

/// Tasks on one page; the most that the API gives.
const PAGE: usize = 1_000;

/// Between two looks, at least; and so many times as long as a look takes, so that a validator has most of its time for
/// others.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(100);
const LOOK_PAUSE_FACTOR: u32 = 5;

/// How often account and tasks are read again until both are of one height.
const LOOKS_MAX: usize = 20;

/// A nonce that another transaction of the account waits with is free, or used, a few blocks later.
const TAKEN_PAUSE: Duration = Duration::from_millis(500);

/// How long a validator that does not answer is given to come back.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Some orders on their way.
pub(crate) struct Delivery<'a> {
    account: &'a Account,
    chain: ChainId,
    /// See `Status::task_keep_blocks`.
    keep_blocks: u64,
    orders: &'a [Order],
    /// One for each order.
    parcels: Vec<Parcel>,
    by_id: HashMap<&'a str, usize>,
    /// Whether to go on until all are finished.
    wait: bool,
    /// The account's next nonce, the height it was read at, and the time of the block there.
    nonce: u64,
    height: u64,
    block_time_ms: u64,
    /// The highest number of a task of the account.
    newest: u64,
    started: Instant,
}

/// Where an order is.
#[derive(Debug, Default)]
struct Parcel {
    /// What was handed in, if it may still become final.
    sent: Option<Sent>,
    /// When it was handed in first, in this run.
    first_sent: Option<Instant>,
    /// As it was signed: who hands in the same task again names the same.
    deadline: Option<Timestamp>,
    /// The task on the chain.
    task: Option<Landed>,
}

#[derive(Debug)]
struct Sent {
    nonce: u64,
    expires: u64,
    hex: String,
    at: Instant,
}

#[derive(Debug)]
struct Landed {
    number: u64,
    state: TaskState,
    reason: Option<String>,
    /// Before anything was handed in.
    is_old: bool,
    /// When it was first seen finished.
    finished: Option<Instant>,
}

/// Why it does not go on.
enum Stop {
    /// Perhaps for now.
    Trouble(Trouble),
    /// For good.
    Failure(Failure),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// How an order ended.
pub(crate) struct Outcome<'a> {
    pub(crate) order: &'a Order,
    /// Nothing if it is not on the chain.
    pub(crate) state: Option<TaskState>,
    pub(crate) reason: Option<&'a str>,
    /// Whether it was on the chain before.
    pub(crate) is_old: bool,
    /// From handing it in to seeing it finished.
    pub(crate) took: Option<Duration>,
}

impl<'a> Delivery<'a> {
    /// Reads what the chain has already. An id that stands for another task there is a mistake in the file.
    pub(crate) async fn begin(account: &'a Account, orders: &'a [Order], wait: bool) -> Result<Self, Failure> {
        let status = ready(&account.client).await?;
        account.check_chain(&status.chain_id)?;
        let chain = status.chain_id.parse();
        let chain = chain.map_err(|error: ledger::TextError| Failure::unexpected(error.to_string()))?;
        let mut delivery = Self {
            account,
            chain,
            keep_blocks: status.task_keep_blocks,
            orders,
            parcels: orders.iter().map(|_| Parcel::default()).collect(),
            by_id: orders.iter().enumerate().map(|(index, order)| (order.id.as_str(), index)).collect(),
            wait,
            nonce: 0,
            height: 0,
            block_time_ms: status.block_time_ms,
            newest: 0,
            started: Instant::now(),
        };
        match delivery.look().await {
            Ok(()) => {}
            Err(Stop::Trouble(trouble)) => return Err(trouble.into()),
            Err(Stop::Failure(failure)) => return Err(failure),
        }
        delivery.parcels.iter_mut().filter_map(|parcel| parcel.task.as_mut()).for_each(|task| task.is_old = true);
        Ok(delivery)
    }

    /// Goes on until all are on the chain, or finished if that is to be waited for. Nothing is lost if this is dropped.
    pub(crate) async fn run(&mut self, wait_max: Duration, progress: &mut Progress) -> Result<(), Failure> {
        let mut silent_since = None;
        loop {
            let began = Instant::now();
            let pause = match self.step().await {
                Ok(pause) => {
                    if silent_since.take().is_some() {
                        progress.say("it answers again");
                    }
                    pause
                }
                Err(Stop::Failure(failure)) => return Err(failure),
                Err(Stop::Trouble(trouble)) => {
                    if silent_since.is_none() && trouble.may_pass() {
                        progress.say(&format!("{trouble}; trying again for {} s", SILENCE_MAX.as_secs()));
                    }
                    let since = *silent_since.get_or_insert(began);
                    if !trouble.may_pass() || since.elapsed() > SILENCE_MAX {
                        return Err(self.interrupted(trouble));
                    }
                    Some(Duration::from_millis(500))
                }
            };
            progress.tell(self.count(), self.describe());
            if self.is_over() {
                return Ok(());
            }
            let left = wait_max.saturating_sub(self.started.elapsed());
            if left.is_zero() {
                return Err(self.out_of_time(wait_max).await);
            }
            let own_pause = LOOK_PAUSE_MIN.max(began.elapsed() * LOOK_PAUSE_FACTOR);
            sleep(pause.unwrap_or_default().max(own_pause).min(left)).await;
        }
    }

    /// How each order ended, in their order.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = Outcome<'_>> {
        self.orders.iter().zip(&self.parcels).map(|(order, parcel)| {
            let task = parcel.task.as_ref();
            let took = task.and_then(|task| task.finished).zip(parcel.first_sent);
            Outcome {
                order,
                state: task.map(|task| task.state),
                reason: task.and_then(|task| task.reason.as_deref()),
                is_old: task.is_some_and(|task| task.is_old),
                took: took.map(|(finished, sent)| finished.saturating_duration_since(sent)),
            }
        })
    }

    pub(crate) fn took(&self) -> Duration {
        self.started.elapsed()
    }

    /// `120 of 300 tasks are on the chain, 80 are finished`.
    pub(crate) fn describe(&self) -> String {
        let landed = self.parcels.iter().filter(|parcel| parcel.task.is_some()).count();
        let text = format!("{landed} of {} tasks are on the chain", self.orders.len());
        if !self.wait {
            return text;
        }
        let (finished, failed) = (self.finished(|_| true), self.finished(|state| state != TaskState::Done));
        let failed = if failed == 0 { String::new() } else { format!(", {failed} of them not done") };
        format!("{text}, {finished} finished{failed}")
    }

    fn finished(&self, which: impl Fn(TaskState) -> bool) -> usize {
        let tasks = self.parcels.iter().filter_map(|parcel| parcel.task.as_ref());
        tasks.filter(|task| is_finished(task.state) && which(task.state)).count()
    }

    /// How many are as far as they are to go.
    fn count(&self) -> usize {
        if self.wait {
            self.finished(|_| true)
        } else {
            self.parcels.iter().filter(|parcel| parcel.task.is_some()).count()
        }
    }

    fn is_over(&self) -> bool {
        self.count() == self.orders.len()
    }

    /// Looks how far it is, and hands in what is due. Says how long to leave the validator alone, if it asked for that.
    async fn step(&mut self) -> Result<Option<Duration>, Stop> {
        self.look().await?;
        self.hand_in().await
    }

    /// Reads the account's nonce and its tasks as of one height: of different heights, they would not fit each other.
    async fn look(&mut self) -> Result<(), Stop> {
        for _ in 0..LOOKS_MAX {
            let account = self.account.client.account(&self.account.id).await?;
            let height = self.read_tasks().await?;
            (self.nonce, self.height) = (account.nonce, account.height);
            if height == account.height {
                break;
            }
        }
        Ok(())
    }

    /// Reads what may have changed.
    async fn read_tasks(&mut self) -> Result<u64, Stop> {
        let mut after = self.first_open().map_or(self.newest, |number| number - 1);
        loop {
            let query =
                [("account", self.account.id.clone()), ("after", after.to_string()), ("limit", PAGE.to_string())];
            let page = self.account.client.tasks(&query).await?;
            for task in &page.tasks {
                self.note(task)?;
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(page.height),
            }
        }
    }

    /// The lowest number of a task that is to be followed.
    fn first_open(&self) -> Option<u64> {
        let tasks = self.parcels.iter().filter_map(|parcel| parcel.task.as_ref()).filter(|_| self.wait);
        tasks.filter(|task| !is_finished(task.state)).map(|task| task.number).min()
    }

    /// Takes note of a task that is on the chain.
    fn note(&mut self, task: &TaskView) -> Result<(), Failure> {
        self.newest = self.newest.max(task.number);
        let Some(&index) = self.by_id.get(task.id.as_str()) else { return Ok(()) };
        if !self.orders[index].is(task) {
            return Err(another(&self.orders[index]));
        }
        let parcel = &mut self.parcels[index];
        let finished = parcel.task.as_ref().and_then(|task| task.finished);
        let is_old = parcel.task.as_ref().is_some_and(|task| task.is_old);
        parcel.sent = None;
        parcel.task = Some(Landed {
            number: task.number,
            state: task.state,
            reason: task.reason.clone(),
            is_old,
            finished: finished.or_else(|| is_finished(task.state).then(Instant::now)),
        });
        Ok(())
    }

    async fn hand_in(&mut self) -> Result<Option<Duration>, Stop> {
        let due = self.due();
        let mut due = due.as_slice();
        let mut pause = None;
        while !due.is_empty() {
            let (batch, rest) = due.split_at(self.batch(due));
            due = rest;
            let now = Instant::now();
            for &index in batch {
                self.parcels[index].first_sent.get_or_insert(now);
            }
            let transactions = batch.iter().filter_map(|&index| Some(self.parcels[index].sent.as_ref()?.hex.clone()));
            let handed = self.account.client.submit_tasks(transactions.collect()).await?;
            if handed.tasks.is_empty() {
                return Ok(handed.pause);
            }
            for (&index, answer) in batch.iter().zip(handed.tasks) {
                pause = pause.max(self.judge(index, answer).await?);
            }
            if handed.pause.is_some() {
                return Ok(pause.max(handed.pause));
            }
        }
        Ok(pause)
    }

    /// Signs what is to go in now, and says which orders that are.
    fn due(&mut self) -> Vec<usize> {
        let missing = (0..self.orders.len()).filter(|&index| self.parcels[index].task.is_none());
        let missing: Vec<usize> = missing.take(UNDER_WAY_MAX).collect();
        let mut due = Vec::new();
        for (nonce, index) in (self.nonce..).zip(missing) {
            let sent = self.parcels[index].sent.as_ref();
            let is_valid = sent.is_some_and(|sent| sent.nonce == nonce && sent.expires > self.height);
            if !is_valid {
                self.sign(index, nonce);
            } else if sent.is_none_or(|sent| sent.at.elapsed() < AGAIN_AFTER) {
                continue;
            }
            due.push(index);
        }
        due
    }

    fn sign(&mut self, index: usize, nonce: u64) {
        let (order, parcel) = (&self.orders[index], &mut self.parcels[index]);
        // A network that stood still has old blocks, and one whose clocks are ahead has new ones.
        let now = now_ms().max(self.block_time_ms);
        let deadline = *parcel.deadline.get_or_insert_with(|| order.deadline(now));
        let expires = self.height.saturating_add(EXPIRES_AFTER.min(self.keep_blocks));
        let kind = Kind::SubmitTask(order.submission(deadline));
        let transaction = Transaction::sign(&self.account.key, self.chain.clone(), Nonce(nonce), Height(expires), kind);
        let hex = hex(&transaction.encode());
        parcel.sent = Some(Sent { nonce, expires, hex, at: Instant::now() });
    }

    /// How many of these fit into one request.
    fn batch(&self, due: &[usize]) -> usize {
        let mut bytes = 0;
        let fits = |index: &&usize| {
            // Quotes and a comma around each.
            bytes += self.parcels[**index].sent.as_ref().map_or(0, |sent| sent.hex.len() + 3);
            bytes <= BATCH_BYTES_MAX
        };
        due.iter().take(BATCH_MAX).take_while(fits).count().max(1)
    }

    /// What became of one order.
    async fn judge(&mut self, index: usize, answer: SubmittedTask) -> Result<Option<Duration>, Stop> {
        match answer {
            SubmittedTask { task: Some(task), .. } => self.taken(index, &task)?,
            SubmittedTask { task: None, problem: Some(problem) } => return self.not_taken(index, problem).await,
            SubmittedTask { task: None, problem: None } => {
                let why = format!("nothing about task {}", self.orders[index].id);
                return Err(Failure::unexpected(format!("the validator says {why}")).into());
            }
        }
        Ok(None)
    }

    /// It waits at the validator, or is on the chain already.
    fn taken(&mut self, index: usize, task: &TaskView) -> Result<(), Failure> {
        if task.number > 0 {
            return self.note(task);
        }
        if let Some(sent) = &mut self.parcels[index].sent {
            sent.at = Instant::now();
        }
        Ok(())
    }

    async fn not_taken(&mut self, index: usize, problem: Problem) -> Result<Option<Duration>, Stop> {
        let parcel = &mut self.parcels[index];
        match problem.code.as_str() {
            // Somebody else uses the account, or time went on; it is signed anew when that is settled.
            "nonce_taken" | "nonce_too_low" | "nonce_too_high" | "expired" | "expires_too_late" => parcel.sent = None,
            "deadline_passed" => (parcel.sent, parcel.deadline) = (None, None),
            "task_exists" => return self.look_at(index).await.map(|()| None),
            _ if problem.status == 503 => parcel.sent = None,
            _ => return Err(refused(&self.orders[index], &problem).into()),
        }
        Ok(Some(if problem.status == 503 { Duration::from_secs(1) } else { TAKEN_PAUSE }))
    }

    /// A submission of this id waits already that is not the same to the last byte: as a rule one of an earlier run.
    async fn look_at(&mut self, index: usize) -> Result<(), Stop> {
        let order = &self.orders[index];
        match self.account.client.task(order.id.as_str(), Some(&self.account.id)).await {
            Ok(task) if !order.is(&task) => Err(another(order).into()),
            Ok(task) => Ok(self.taken(index, &task)?),
            Err(Trouble::Refused(problem)) if problem.status == 404 => {
                self.parcels[index].sent = None;
                Ok(())
            }
            Err(trouble) => Err(trouble.into()),
        }
    }

    fn interrupted(&self, trouble: Trouble) -> Failure {
        let may_pass = trouble.may_pass();
        let Failure { message, help, exit } = trouble.into();
        if !may_pass {
            return Failure::new(exit, message, help);
        }
        let help = "the same command goes on where this one stopped; name another validator with --api URL";
        Failure::new(exit, format!("{message}; {}", self.describe()), help)
    }

    async fn out_of_time(&self, wait_max: Duration) -> Failure {
        let why = match self.account.client.why().await {
            Ok(why) => why.sentence,
            Err(trouble) => trouble.to_string(),
        };
        let waited = span(u64::try_from(wait_max.as_millis()).unwrap_or(u64::MAX));
        let message = format!("not over after {waited}: {}", self.describe());
        Failure::unreachable(
            message,
            format!("{why} The same command goes on where this one stopped; --wait-max waits longer"),
        )
    }
}

/// A validator that was just started knows nothing yet; it gets as long as one that does not answer.
pub(crate) async fn ready(client: &Client) -> Result<api::Status, Failure> {
    let deadline = Instant::now() + SILENCE_MAX;
    loop {
        let status = client.status().await?;
        if status.validators > 0 {
            return Ok(status);
        }
        if Instant::now() > deadline {
            let help = "`unsplit status` says what it is waiting for";
            return Err(Failure::unreachable(format!("{} is still starting", status.name), help));
        }
        sleep(LOOK_PAUSE_MIN).await;
    }
}

pub(crate) const fn is_finished(state: TaskState) -> bool {
    match state {
        TaskState::Pending | TaskState::Leased => false,
        TaskState::Done | TaskState::Failed | TaskState::Cancelled => true,
    }
}

fn another(order: &Order) -> Failure {
    let (line, id) = (order.line, &order.id);
    let help = format!("give it another id; the one that is there: unsplit tasks show {id}");
    Failure::refused(format!("line {line}: the account has another task {id} already"), help)
}

fn refused(order: &Order, problem: &Problem) -> Failure {
    let Problem { detail, help, .. } = problem;
    Failure::refused(format!("line {}: {detail}", order.line), help)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes all that is written to it");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keys, tasks::workload};
    use std::path::PathBuf;

    /// So many orders, on a chain that has nothing yet.
    struct World {
        account: Account,
        orders: Vec<Order>,
        file: PathBuf,
    }

    impl World {
        fn new(name: &str, orders: usize, input: usize) -> Self {
            let file = std::env::temp_dir().join(format!("unsplit-delivery-{name}-{}", std::process::id()));
            let payload = format!(r#"{{"program": "wc", "input": "{}"}}"#, "x".repeat(input));
            let line = |i| format!(r#"{{"id": "t{i}", "executor": "command", "payload": {payload}}}"#);
            std::fs::write(&file, (0..orders).map(line).collect::<Vec<_>>().join("\n")).expect("a temporary file");
            let client = Client::new("http://127.0.0.1:1", None, Duration::from_secs(1)).expect("a client");
            let account = Account::of(keys::generate().expect("randomness"), client);
            Self { account, orders: workload::read(&file).expect("good lines"), file }
        }

        fn delivery(&self, nonce: u64) -> Delivery<'_> {
            let by_id = self.orders.iter().enumerate().map(|(index, order)| (order.id.as_str(), index));
            Delivery {
                account: &self.account,
                chain: "test".parse().expect("a chain id"),
                keep_blocks: 6_000,
                orders: &self.orders,
                parcels: self.orders.iter().map(|_| Parcel::default()).collect(),
                by_id: by_id.collect(),
                wait: true,
                nonce,
                height: 10,
                block_time_ms: 0,
                newest: 0,
                started: Instant::now(),
            }
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.file);
        }
    }

    fn nonces(delivery: &Delivery<'_>) -> Vec<Option<u64>> {
        delivery.parcels.iter().map(|parcel| parcel.sent.as_ref().map(|sent| sent.nonce)).collect()
    }

    /// The task of an order as the chain would have it.
    fn landed(order: &Order, number: u64, state: TaskState) -> TaskView {
        let payload = order.submission(Timestamp(0)).payload;
        TaskView {
            number,
            id: order.id.to_string(),
            executor: "command".into(),
            payload_sha256: ledger::Hash::of(&payload).to_string(),
            units: 1,
            lease_ms: 10_000,
            retries: 5,
            policy: "replace".into(),
            state,
            ..TaskView::default()
        }
    }

    #[test]
    fn what_is_missing_goes_in_with_the_next_nonces_in_the_order_of_the_file() {
        let world = World::new("order", 5, 0);
        let mut delivery = world.delivery(7);
        delivery.note(&landed(&world.orders[1], 3, TaskState::Leased)).expect("the same task");
        assert_eq!(delivery.due(), [0, 2, 3, 4]);
        assert_eq!(nonces(&delivery), [Some(7), None, Some(8), Some(9), Some(10)]);
        assert!(delivery.due().is_empty(), "it was handed in a moment ago");

        // The first two of them become final: nobody changes its place.
        let before: Vec<String> =
            [3, 4].map(|i: usize| delivery.parcels[i].sent.as_ref().expect("sent").hex.clone()).into();
        delivery.note(&landed(&world.orders[0], 4, TaskState::Done)).expect("the same task");
        delivery.note(&landed(&world.orders[2], 5, TaskState::Done)).expect("the same task");
        delivery.nonce = 9;
        assert!(delivery.due().is_empty());
        let after: Vec<String> =
            [3, 4].map(|i: usize| delivery.parcels[i].sent.as_ref().expect("sent").hex.clone()).into();
        assert_eq!(before, after);

        // Somebody else uses a nonce: all move on, and ask for the same as before.
        let deadline = delivery.parcels[3].deadline;
        delivery.nonce = 10;
        assert_eq!(delivery.due(), [3, 4]);
        assert_eq!((nonces(&delivery)[3], delivery.parcels[3].deadline), (Some(10), deadline));

        // What would be refused as too old is signed anew.
        delivery.height = 10 + EXPIRES_AFTER;
        assert_eq!(delivery.due(), [3, 4]);
        assert_eq!(delivery.describe(), "3 of 5 tasks are on the chain, 2 finished");
    }

    #[test]
    fn only_so_many_are_under_way() {
        let world = World::new("window", UNDER_WAY_MAX + 50, 0);
        let mut delivery = world.delivery(0);
        assert_eq!(delivery.due().len(), UNDER_WAY_MAX);
        for (number, order) in (1..).zip(&world.orders[..20]) {
            delivery.note(&landed(order, number, TaskState::Pending)).expect("the same task");
        }
        delivery.nonce = 20;
        assert_eq!(delivery.due(), (UNDER_WAY_MAX..UNDER_WAY_MAX + 20).collect::<Vec<_>>());
        assert_eq!(delivery.first_open(), Some(1));
    }

    #[test]
    fn a_request_holds_as_much_as_the_api_takes() {
        let world = World::new("batch", 60, 60_000);
        let mut delivery = world.delivery(0);
        let due = delivery.due();
        let first = delivery.batch(&due);
        let bytes = |count: usize| -> usize {
            due[..count].iter().map(|&index| delivery.parcels[index].sent.as_ref().expect("sent").hex.len() + 3).sum()
        };
        assert!(bytes(first) <= BATCH_BYTES_MAX && bytes(first + 1) > BATCH_BYTES_MAX, "{first}");
        assert!(bytes(first) + 64 < api::SUBMISSIONS_BYTES_MAX && BATCH_MAX <= api::SUBMISSIONS_MAX);
    }

    #[test]
    fn an_id_of_another_task_is_no_success() {
        let world = World::new("other", 2, 0);
        let mut delivery = world.delivery(0);
        let other = TaskView { units: 2, ..landed(&world.orders[1], 1, TaskState::Done) };
        let failure = delivery.note(&other).expect_err("another task");
        assert!(failure.message.starts_with("line 2: the account has another task t1"), "{}", failure.message);
    }

    #[tokio::test]
    async fn only_what_may_pass_is_tried_again() {
        let world = World::new("problems", 1, 0);
        for (status, code, expected) in [
            (503, "account_full", Some(true)),
            (503, "tasks_full", Some(true)),
            (409, "nonce_taken", Some(true)),
            (409, "deadline_passed", Some(true)),
            (409, "account_empty", None),
            (422, "unfit_task", None),
        ] {
            let mut delivery = world.delivery(0);
            delivery.due();
            let problem = Problem { status, code: code.into(), ..Problem::default() };
            let answer = SubmittedTask { task: None, problem: Some(problem) };
            let again = delivery.judge(0, answer).await.ok().map(|pause| pause.is_some());
            assert_eq!(again, expected, "{code}");
        }
    }
}
