//! Clients that want their transfers to become final.
//!
//! One client an account. It signs transfers at a steady pace, submits each to some node, keeps the bytes, asks what became
//! of them and submits the same bytes again, elsewhere, until a node says that they are final.

use crate::world::World;
use api::{Request, TransactionState};
use commonware_runtime::{Clock, deterministic::Context};
use commonware_utils::sync::Mutex;
use futures::future::{Either, select};
use ledger::{Amount, Encode as _, Height, Kind, Nonce, Transaction, TxId};
use std::{
    collections::{BTreeMap, VecDeque},
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::{mpsc, oneshot};

/// A client waits so long for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What is not final after so long is submitted again.
const RESUBMIT_AFTER: Duration = Duration::from_secs(3);

/// A client with so many transfers under way signs no more until some are final.
const PENDING_MAX: usize = 64;

/// The mailboxes of the nodes that are up.
pub(crate) type Directory = Arc<Mutex<Vec<Option<mpsc::Sender<Request>>>>>;

/// What clients have done.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) submitted: u64,
    pub(crate) resubmitted: u64,
    /// What nodes reported final: at which height, and who said so.
    pub(crate) finalized: BTreeMap<TxId, (u64, String)>,
    /// Nothing new is signed any more.
    pub(crate) closing: bool,
    clients: Vec<Client>,
}

#[derive(Clone, Default)]
struct Client {
    nonce: u64,
    /// Which node it asks next.
    home: usize,
    pending: VecDeque<Pending>,
}

#[derive(Clone)]
struct Pending {
    id: TxId,
    bytes: Vec<u8>,
    sent: SystemTime,
}

impl Load {
    pub(crate) fn new(accounts: usize) -> Self {
        let clients = (0..accounts).map(|home| Client { home, ..Client::default() }).collect();
        Self { clients, ..Self::default() }
    }

    /// Transfers that no node has called final yet.
    pub(crate) fn pending(&self) -> usize {
        self.clients.iter().map(|client| client.pending.len()).sum()
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
    let rate = world.scenario.load.transfers_per_second;
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
        desk.sign().await;
        desk.context.sleep(pause).await;
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
        let bytes = {
            let mut load = self.load.lock();
            let closing = load.closing;
            let client = &mut load.clients[self.account];
            if closing || client.pending.len() >= PENDING_MAX {
                return;
            }
            let accounts = &self.world.accounts;
            let to =
                accounts[(self.account + 1 + usize::try_from(client.nonce).unwrap_or(0)) % accounts.len()].public();
            let kind = Kind::Transfer { to, amount: Amount(1 + client.nonce % 7) };
            let nonce = Nonce(client.nonce);
            let key = &accounts[self.account];
            let transaction = Transaction::sign(key, self.world.chain(), nonce, Height(u64::MAX), kind);
            let (id, bytes) = (transaction.id(), transaction.encode());
            client.nonce += 1;
            client.pending.push_back(Pending { id, bytes: bytes.clone(), sent: self.context.current() });
            load.submitted += 1;
            bytes
        };
        self.submit(bytes).await;
    }

    /// Asks after the oldest, takes off what is final, and submits again what has waited too long.
    async fn settle(&self) {
        while let Some(oldest) = self.oldest() {
            let (reply, answer) = oneshot::channel();
            let asked = self.ask(Request::Transaction { id: oldest.id.0.0, reply }, answer).await;
            let Some((who, status)) = asked else { break };
            let Some(height) =
                status.filter(|status| status.state == TransactionState::Finalized).and_then(|status| status.height)
            else {
                break;
            };
            let mut load = self.load.lock();
            load.finalized.insert(oldest.id, (height, who));
            load.clients[self.account].pending.pop_front();
        }
        let now = self.context.current();
        let late = |oldest: Pending| now.duration_since(oldest.sent).is_ok_and(|waited| waited >= RESUBMIT_AFTER);
        if self.oldest().is_some_and(late) {
            self.resubmit(now).await;
        }
    }

    async fn resubmit(&self, now: SystemTime) {
        let again: Vec<Vec<u8>> = {
            let mut load = self.load.lock();
            let client = &mut load.clients[self.account];
            client.home += 1;
            client.pending.iter_mut().for_each(|pending| pending.sent = now);
            let again: Vec<_> = client.pending.iter().map(|pending| pending.bytes.clone()).collect();
            load.resubmitted += again.len() as u64;
            again
        };
        for bytes in again {
            if !self.submit(bytes).await {
                return;
            }
        }
    }

    fn oldest(&self) -> Option<Pending> {
        self.load.lock().clients[self.account].pending.front().cloned()
    }

    /// `false` when nobody answered.
    async fn submit(&self, bytes: Vec<u8>) -> bool {
        let (reply, answer) = oneshot::channel();
        // A refusal is not the end of it: the bytes are kept and submitted again.
        self.ask(Request::Submit { bytes, reply }, answer).await.is_some()
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
