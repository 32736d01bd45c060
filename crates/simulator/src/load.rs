//! Clients that want their transfers to become final and their tasks to be done.
//!
//! One client an account. It signs orders at a steady pace and in one sequence of nonces, submits each to some node, keeps
//! the bytes, asks what became of them and submits the same bytes again, elsewhere, until a node says that they are final.
//! An order that cannot take effect any more (a cancellation of a task that was finished meanwhile) leaves a gap that holds
//! up all that follow: the client sees that its account's nonce stays behind and signs something else with it. Of a task
//! that is on the chain it asks until a node says how it ended.

use crate::{orders, world::World};
use api::{AccountView, Refusal, RefusalClass, Request, TaskState, TaskView, TransactionState};
use commonware_runtime::{Clock, deterministic::Context};
use commonware_utils::sync::Mutex;
use futures::future::{Either, select};
use ledger::{Amount, Encode as _, Height, Kind, Nonce, TaskId, Timestamp, Transaction, TxId};
use std::{
    collections::{BTreeMap, VecDeque},
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{mpsc, oneshot};
use validator::mempool::REPLACE_AHEAD;

/// A client waits so long for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What is not final after so long is submitted again; and whoever said nothing new for so long is not asked next time.
const PATIENCE: Duration = Duration::from_secs(3);

/// A client with so many orders under way signs no more until some are final.
const PENDING_MAX: usize = 64;

/// Tasks asked after in one go.
const ASKED_MAX: usize = 4;

/// The mailboxes of the nodes that are up.
pub(crate) type Directory = Arc<Mutex<Vec<Option<mpsc::Sender<Request>>>>>;

/// What clients have done.
#[derive(Default)]
pub(crate) struct Load {
    /// Orders, one for each nonce.
    pub(crate) submitted: u64,
    pub(crate) resubmitted: u64,
    /// Orders that something else was signed instead of.
    pub(crate) replaced: u64,
    /// What nodes reported final: at which height, and who said so.
    pub(crate) finalized: BTreeMap<TxId, (u64, String)>,
    /// Tasks that nodes reported finished, by client and id, and who said so.
    pub(crate) finished: BTreeMap<(usize, String), (TaskView, String)>,
    /// Nothing new is signed any more.
    pub(crate) closing: bool,
    /// How many times as much clients want, by the fault that has them do it.
    pub(crate) spikes: BTreeMap<usize, u32>,
    clients: Vec<Client>,
}

#[derive(Clone, Default)]
struct Client {
    nonce: u64,
    /// The newest height it heard of.
    height: u64,
    /// Orders about tasks so far.
    orders: u64,
    /// Grows by the share of tasks with each order; a whole one is spent on an order about tasks.
    credit: u32,
    /// Which node it asks next.
    home: usize,
    pending: VecDeque<Pending>,
    /// Its tasks on the chain that are not finished, as far as it knows; who is asked after next comes first.
    open: VecDeque<TaskId>,
    /// When somebody last said that one of these is finished, or another node was chosen.
    news: Option<SystemTime>,
}

/// What was signed with one nonce.
#[derive(Clone)]
struct Pending {
    nonce: u64,
    /// At first, and instead of it; at most one of them takes effect.
    versions: Vec<Signed>,
    sent: SystemTime,
}

#[derive(Clone)]
struct Signed {
    id: TxId,
    expires: u64,
    bytes: Vec<u8>,
    /// The task that it submits.
    task: Option<TaskId>,
}

/// What became of an order, as a node sees it.
enum Fate {
    Final {
        signed: Signed,
        height: u64,
        who: String,
    },
    /// Or nobody says otherwise.
    Waits,
    /// It was never here, or it cannot take effect any more.
    Unknown,
}

impl Load {
    pub(crate) fn new(accounts: usize) -> Self {
        let client = |home| Client { home, credit: u32::try_from(home).unwrap_or(0), ..Client::default() };
        Self { clients: (0..accounts).map(client).collect(), ..Self::default() }
    }

    /// Orders that no node has called final yet.
    pub(crate) fn pending(&self) -> usize {
        self.clients.iter().map(|client| client.pending.len()).sum()
    }

    /// Tasks that no node has called finished yet.
    pub(crate) fn open(&self) -> usize {
        self.clients.iter().map(|client| client.open.len()).sum()
    }
}

/// Runs the client of one account until the world ends.
pub(crate) async fn client(
    context: Context,
    world: Arc<World>,
    account: usize,
    load: Arc<Mutex<Load>>,
    directory: Directory,
) {
    let rate = world.scenario.load.transfers_per_second + world.scenario.load.tasks_per_second;
    if rate == 0 {
        return;
    }
    let accounts = u32::try_from(world.accounts.len()).unwrap_or(u32::MAX);
    let pause = Duration::from_secs(1) * accounts / rate;
    let desk = Desk { context, world, account, load, directory };
    // Not all at once.
    let first = pause * u32::try_from(account).unwrap_or(0) / accounts;
    desk.context.sleep(first).await;
    loop {
        desk.settle().await;
        desk.follow().await;
        desk.sign().await;
        let times = desk.load.lock().spikes.values().copied().max().unwrap_or(1);
        desk.context.sleep(pause / times).await;
    }
}

struct Desk {
    context: Context,
    world: Arc<World>,
    account: usize,
    load: Arc<Mutex<Load>>,
    directory: Directory,
}

impl Desk {
    async fn sign(&self) {
        let signed = {
            let mut load = self.load.lock();
            let closing = load.closing;
            let client = &mut load.clients[self.account];
            if closing || client.pending.len() >= PENDING_MAX {
                return;
            }
            let kind = self.wish(client);
            let nonce = client.nonce;
            let signed = self.version(nonce, client.height + self.lifetime(), kind);
            client.nonce += 1;
            let versions = vec![signed.clone()];
            client.pending.push_back(Pending { nonce, versions, sent: self.context.current() });
            load.submitted += 1;
            signed
        };
        // A refusal is not the end of it: the bytes are kept and submitted again.
        self.submit(signed).await;
    }

    /// A transfer or, as often as the scenario says, something about tasks.
    fn wish(&self, client: &mut Client) -> Kind {
        let rates = &self.world.scenario.load;
        client.credit += rates.tasks_per_second;
        let whole = rates.transfers_per_second + rates.tasks_per_second;
        if client.credit < whole {
            return self.transfer(client.nonce);
        }
        client.credit -= whole;
        client.orders += 1;
        let since = self.context.current().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        orders::about_tasks(self.world.seed, self.account, client.orders, now, client.open.make_contiguous())
    }

    /// For how many blocks an order may take effect: fewer than the chain allows, for who heard of a height long ago.
    fn lifetime(&self) -> u64 {
        self.world.genesis.tasks.keep_blocks * 5 / 6
    }

    fn transfer(&self, nonce: u64) -> Kind {
        let accounts = &self.world.accounts;
        let to = accounts[(self.account + 1 + usize::try_from(nonce).unwrap_or(0)) % accounts.len()].public();
        Kind::Transfer { to, amount: Amount(1 + nonce % 7) }
    }

    fn version(&self, nonce: u64, expires: u64, kind: Kind) -> Signed {
        let task = if let Kind::SubmitTask(submission) = &kind { Some(submission.id.clone()) } else { None };
        let key = &self.world.accounts[self.account];
        let transaction = Transaction::sign(key, self.world.chain(), Nonce(nonce), Height(expires), kind);
        Signed { id: transaction.id(), expires, bytes: transaction.encode(), task }
    }

    /// Asks after the oldest order, takes off what is final, and submits again what nobody has or what has waited too long.
    async fn settle(&self) {
        while let Some(oldest) = self.oldest() {
            match self.fate(&oldest).await {
                Fate::Final { signed, height, who } => self.take_off(signed, height, who),
                Fate::Unknown => {
                    self.insist(oldest).await;
                    break;
                }
                Fate::Waits => break,
            }
        }
        let now = self.context.current();
        if self.oldest().is_some_and(|oldest| is_over(Some(oldest.sent), now)) {
            self.resubmit(now).await;
        }
    }

    fn take_off(&self, signed: Signed, height: u64, who: String) {
        let mut load = self.load.lock();
        load.finalized.insert(signed.id, (height, who));
        let client = &mut load.clients[self.account];
        client.pending.pop_front();
        client.height = client.height.max(height);
        client.open.extend(signed.task);
    }

    async fn fate(&self, pending: &Pending) -> Fate {
        let mut fate = Fate::Unknown;
        for signed in pending.versions.iter().rev() {
            let (reply, answer) = oneshot::channel();
            let asked = self.ask(Request::Transaction { id: signed.id.0.0, reply }, answer).await;
            let Some((who, status)) = asked else { return Fate::Waits };
            let Some(status) = status else { continue };
            match (status.state, status.height) {
                (TransactionState::Finalized, Some(height)) => {
                    return Fate::Final { signed: signed.clone(), height, who };
                }
                (TransactionState::Finalized | TransactionState::Pending, _) => fate = Fate::Waits,
            }
        }
        fate
    }

    /// Submits all that is not final again, to the next node.
    async fn resubmit(&self, now: SystemTime) {
        let again: Vec<Pending> = {
            let mut load = self.load.lock();
            let client = &mut load.clients[self.account];
            client.home += 1;
            client.pending.iter_mut().for_each(|pending| pending.sent = now);
            client.pending.iter().cloned().collect()
        };
        let mut again = again.into_iter();
        let Some(oldest) = again.next() else { return };
        if !self.insist(oldest).await {
            return;
        }
        for newest in again.filter_map(|pending| pending.versions.last().cloned()) {
            self.load.lock().resubmitted += 1;
            // Those behind the first are judged when their turn comes.
            if self.submit(newest).await.is_none() {
                return;
            }
        }
    }

    /// Submits the oldest order again; `false` when nobody answered. It waits for no other, so a refusal means something.
    async fn insist(&self, oldest: Pending) -> bool {
        let Some(newest) = oldest.versions.last().cloned() else { return true };
        self.load.lock().resubmitted += 1;
        match self.submit(newest).await {
            Some(Err(refusal)) if refusal.class != RefusalClass::Busy => self.replace().await,
            Some(Ok(()) | Err(_)) => {}
            None => return false,
        }
        true
    }

    /// The oldest order was refused. If no other took its nonce, it never takes effect.
    async fn replace(&self) {
        let Some(account) = self.see_account().await else { return };
        let signed = {
            let mut load = self.load.lock();
            let client = &mut load.clients[self.account];
            client.height = client.height.max(account.height);
            let height = client.height;
            let Some(oldest) = client.pending.front_mut().filter(|oldest| oldest.nonce == account.nonce) else {
                return;
            };
            // It may still wait somewhere: what expires a good deal later takes its place there.
            let last = oldest.versions.iter().map(|signed| signed.expires).max().unwrap_or(0);
            let expires = (last + REPLACE_AHEAD).max(height + self.lifetime());
            let signed = self.version(oldest.nonce, expires, self.transfer(oldest.nonce));
            oldest.versions.push(signed.clone());
            load.replaced += 1;
            signed
        };
        self.submit(signed).await;
    }

    async fn see_account(&self) -> Option<AccountView> {
        let id = self.world.accounts[self.account].public().0;
        let (reply, answer) = oneshot::channel();
        Some(self.ask(Request::Account { id, reply }, answer).await?.1)
    }

    fn oldest(&self) -> Option<Pending> {
        self.load.lock().clients[self.account].pending.front().cloned()
    }

    /// Asks after some of the tasks that are not finished. A node may be far behind: when nothing new is heard for a while,
    /// another is asked.
    async fn follow(&self) {
        let now = self.context.current();
        let ids: Vec<TaskId> = {
            let mut load = self.load.lock();
            let client = &mut load.clients[self.account];
            if is_over(client.news, now) {
                client.home += 1;
                client.news = Some(now);
            }
            client.news = if client.open.is_empty() { None } else { client.news.or(Some(now)) };
            client.open.iter().take(ASKED_MAX).cloned().collect()
        };
        for id in ids {
            let Some((who, answer)) = self.see_task(&id).await else { return };
            let mut load = self.load.lock();
            let client = &mut load.clients[self.account];
            client.open.pop_front();
            match answer.ok().filter(|view| is_finished(view.state)) {
                Some(view) => {
                    client.news = Some(now);
                    client.height = client.height.max(view.finished_height.unwrap_or(0));
                    load.finished.insert((self.account, id.to_string()), (view, who));
                }
                None => client.open.push_back(id),
            }
        }
    }

    async fn see_task(&self, id: &TaskId) -> Option<(String, Result<TaskView, Refusal>)> {
        let account = Some(self.world.accounts[self.account].public().0);
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Task { id: id.to_string(), account, reply }, answer).await
    }

    /// `None` when nobody answered.
    async fn submit(&self, signed: Signed) -> Option<Result<(), Refusal>> {
        if signed.task.is_some() {
            let (reply, answer) = oneshot::channel();
            let request = Request::SubmitTasks { transactions: vec![signed.bytes], reply };
            return self.ask(request, answer).await?.1.pop().map(|taken| taken.map(drop));
        }
        let (reply, answer) = oneshot::channel();
        Some(self.ask(Request::Submit { bytes: signed.bytes, reply }, answer).await?.1.map(drop))
    }

    /// Asks the node this client is used to, or the next one that is up. `None` when there is no answer in time.
    async fn ask<T>(&self, request: Request, answer: oneshot::Receiver<T>) -> Option<(String, T)> {
        let (index, mailbox) = {
            let home = self.load.lock().clients[self.account].home;
            let directory = self.directory.lock();
            let count = directory.len();
            (0..count).map(|step| (home + step) % count).find_map(|index| Some((index, directory[index].clone()?)))?
        };
        let patience = pin!(self.context.sleep(ANSWER_WITHIN));
        let exchange = pin!(async {
            mailbox.send(request).await.ok()?;
            answer.await.ok()
        });
        let answer = match select(exchange, patience).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => None,
        };
        if answer.is_none() {
            self.load.lock().clients[self.account].home += 1;
        }
        answer.map(|answer| (self.world.instances[index].name.clone(), answer))
    }
}

fn is_over(since: Option<SystemTime>, now: SystemTime) -> bool {
    since.is_some_and(|since| now.duration_since(since).is_ok_and(|waited| waited >= PATIENCE))
}

/// Whether nothing more can happen to a task.
pub(crate) const fn is_finished(state: TaskState) -> bool {
    match state {
        TaskState::Pending | TaskState::Leased => false,
        TaskState::Done | TaskState::Failed | TaskState::Cancelled => true,
    }
}
