//! What the demo's clients know: which transactions they made, and which they were told are final.
//!
//! Most are transfers; every so many an account submits a task instead. A client keeps the bytes of a transaction until it is final, and hands the same bytes in again, elsewhere, when the
//! validator it used has died or when block after block passes the transfer over. Nothing here touches a socket.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use api::BlockView;
use ledger::{Amount, ChainId, Encode as _, Height, Kind, Nonce, SecretKey, Transaction};

use super::{
    health::Health,
    work::{Work, Workload},
};
use crate::testnet::now_ms;

/// A transfer that so many blocks in a row leave out is handed in again. At the usual pace that is a second; while
/// nothing becomes final no block passes it over, and nothing is repeated.
const PASSED_OVER_MAX: u64 = 10;

/// And never sooner than this: right after a heal, blocks come in a burst.
const RESUBMIT_AFTER: Duration = Duration::from_secs(1);

/// Most transfers of one account on the way; below what a mempool keeps for one account. Reached only in a halt.
const ON_THE_WAY_MAX: usize = 128;

/// Transfers must not expire within a demo, whatever happens to it.
const EXPIRES_AFTER: u64 = 1_000_000;

/// Everything the clients know.
pub(crate) struct Book {
    chain: ChainId,
    /// Which validators are believed to run.
    live: Vec<bool>,
    accounts: Vec<Account>,
    /// Transfers on the way, by id: account and nonce.
    on_the_way: HashMap<String, (usize, u64)>,
    /// Transfers that are final: id and in which block.
    told: BTreeMap<String, u64>,
    /// Final blocks in order, the first at height 1.
    blocks: Vec<Seen>,
    timings: Vec<Timing>,
    pub(crate) submitted: u64,
    pub(crate) resubmitted: u64,
    /// Whether new transactions are made.
    pub(crate) is_open: bool,
    /// Every so many transactions of an account are tasks; 0 for none.
    task_every: u64,
    workload: Workload,
    pub(crate) work: Work,
    pub(crate) health: Health,
}

struct Account {
    key: SecretKey,
    next_nonce: u64,
    /// Tasks it still makes at once.
    burst: u64,
    /// The validator that this account's client uses.
    home: usize,
    on_the_way: BTreeMap<u64, Transfer>,
    due: Instant,
}

struct Transfer {
    id: String,
    bytes: Vec<u8>,
    made: Instant,
    /// When it was handed in last, and how many blocks were final then; absent when it has to be handed in.
    handed_in: Option<(Instant, u64)>,
    times: u32,
}

/// A final block, as it was first heard of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) digest: String,
    pub(crate) at: Instant,
}

/// A final transfer: when it was made, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    made: Instant,
    took: Duration,
}

/// The kinds of tasks that accounts make.
#[derive(Clone, Copy, Debug)]
enum Task {
    /// The next one of the repository's example.
    Example,
    /// One that takes a second.
    Nap,
}

/// What a client is to do next.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Hand this in there.
    HandIn { nonce: u64, bytes: Vec<u8>, node: usize },
    /// Nothing now.
    Rest,
}

impl Book {
    pub(crate) fn new(chain: ChainId, keys: Vec<SecretKey>, nodes: usize, task_every: u64, now: Instant) -> Self {
        let account = |(i, key): (usize, SecretKey)| Account {
            key,
            next_nonce: 0,
            burst: 0,
            home: i % nodes,
            on_the_way: BTreeMap::new(),
            due: now,
        };
        Self {
            chain,
            live: vec![true; nodes],
            accounts: keys.into_iter().enumerate().map(account).collect(),
            on_the_way: HashMap::new(),
            told: BTreeMap::new(),
            blocks: Vec::new(),
            timings: Vec::new(),
            submitted: 0,
            resubmitted: 0,
            is_open: false,
            task_every,
            workload: Workload::new(),
            work: Work::default(),
            health: Health::default(),
        }
    }

    pub(crate) fn accounts(&self) -> usize {
        self.accounts.len()
    }

    pub(crate) fn account_id(&self, account: usize) -> String {
        self.accounts[account].key.public().to_string()
    }

    /// What the client of `account` does now, when it makes a transfer every `pace`.
    pub(crate) fn step(&mut self, account: usize, pace: Duration, now: Instant) -> Step {
        self.move_if_passed_over(account, now);
        let own = &mut self.accounts[account];
        if own.burst > 0 {
            own.burst -= 1;
            self.make(account, Some(Task::Nap), now);
        } else if self.is_open && now >= own.due {
            // Transactions that were not made in time are not made up for: the load stays even.
            own.due = (own.due + pace).max(now);
            let is_task = self.task_every > 0 && own.next_nonce.is_multiple_of(self.task_every);
            self.make(account, is_task.then_some(Task::Example), now);
        }
        let blocks = self.blocks.len() as u64;
        if !self.live[self.accounts[account].home] {
            self.move_home(account);
        }
        let (own, live) = (&mut self.accounts[account], &self.live);
        let (home, mut waiting) = (own.home, own.on_the_way.iter_mut());
        let Some((&nonce, transfer)) = waiting.find(|(_, transfer)| transfer.handed_in.is_none()) else {
            return Step::Rest;
        };
        if !live[home] {
            return Step::Rest; // Nobody runs.
        }
        transfer.handed_in = Some((now, blocks));
        transfer.times += 1;
        if transfer.times == 1 {
            self.submitted += 1;
        } else {
            self.resubmitted += 1;
        }
        Step::HandIn { nonce, bytes: transfer.bytes.clone(), node: home }
    }

    /// The validator did not take it: hand it in again, elsewhere.
    pub(crate) fn not_taken(&mut self, account: usize, nonce: u64, node: usize) {
        let own = &mut self.accounts[account];
        if let Some(transfer) = own.on_the_way.get_mut(&nonce) {
            transfer.handed_in = None;
        }
        if own.home == node {
            self.move_home(account);
        }
    }

    /// Every account makes so many naps at once.
    pub(crate) fn burst(&mut self, tasks: u64) {
        self.accounts.iter_mut().for_each(|account| account.burst += tasks);
    }

    /// A transfer, if no task is asked for.
    fn make(&mut self, account: usize, task: Option<Task>, now: Instant) {
        let to = self.accounts[(account + 1) % self.accounts.len()].key.public();
        let height = self.blocks.len() as u64;
        let own = &mut self.accounts[account];
        if own.on_the_way.len() >= ON_THE_WAY_MAX {
            return;
        }
        let nonce = own.next_nonce;
        own.next_nonce += 1;
        let id = format!("demo-{account}-{nonce}");
        let task = task.map(|task| match task {
            Task::Example => self.workload.next(&id, now_ms()),
            Task::Nap => self.workload.nap(&id, now_ms()),
        });
        let (kind, expires) = match task {
            Some((line, submission)) => {
                self.work.made(&id, line, now);
                (Kind::SubmitTask(submission), Workload::expires(height))
            }
            None => (Kind::Transfer { to, amount: Amount(1) }, Height(height + EXPIRES_AFTER)),
        };
        let transaction = Transaction::sign(&own.key, self.chain.clone(), Nonce(nonce), expires, kind);
        let (id, bytes) = (transaction.id().to_string(), transaction.encode());
        let transfer = Transfer { id: id.clone(), bytes, made: now, handed_in: None, times: 0 };
        own.on_the_way.insert(nonce, transfer);
        self.on_the_way.insert(id, (account, nonce));
    }

    /// Only the oldest counts: the later ones wait for it.
    fn move_if_passed_over(&mut self, account: usize, now: Instant) {
        let blocks = self.blocks.len() as u64;
        let oldest = self.accounts[account].on_the_way.first_key_value();
        let Some((at, height)) = oldest.and_then(|(_, transfer)| transfer.handed_in) else { return };
        if blocks - height >= PASSED_OVER_MAX && now - at >= RESUBMIT_AFTER {
            self.move_home(account);
        }
    }

    /// To the next validator that runs, with everything that is on the way.
    fn move_home(&mut self, account: usize) {
        let nodes = self.live.len();
        let own = &mut self.accounts[account];
        let next = (1..=nodes).map(|step| (own.home + step) % nodes).find(|&node| self.live[node]);
        own.home = next.unwrap_or(own.home);
        own.on_the_way.values_mut().for_each(|transfer| transfer.handed_in = None);
    }

    /// These validators are gone, with all that they had not made final.
    pub(crate) fn died(&mut self, nodes: &[usize]) {
        nodes.iter().for_each(|&node| self.live[node] = false);
        for account in 0..self.accounts.len() {
            if nodes.contains(&self.accounts[account].home) {
                self.move_home(account);
            }
        }
    }

    /// These run again; the accounts spread over all again.
    pub(crate) fn returned(&mut self, nodes: &[usize]) {
        nodes.iter().for_each(|&node| self.live[node] = true);
        self.spread();
    }

    /// Each account uses its own validator again, for what it makes from now on.
    pub(crate) fn spread(&mut self) {
        for (i, account) in self.accounts.iter_mut().enumerate() {
            let home = i % self.live.len();
            if self.live[home] {
                account.home = home;
            }
        }
    }

    /// A validator says that this block is final. Blocks come in order.
    pub(crate) fn told(&mut self, block: &BlockView, now: Instant) {
        assert_eq!(block.height, self.blocks.len() as u64 + 1, "blocks are read in order");
        self.blocks.push(Seen { digest: block.digest.clone(), at: now });
        for transaction in &block.transactions {
            let Some((account, nonce)) = self.on_the_way.remove(&transaction.id) else { continue };
            let transfer = self.accounts[account].on_the_way.remove(&nonce).expect("both maps hold the same");
            debug_assert_eq!(transfer.id, transaction.id);
            self.told.insert(transfer.id, block.height);
            self.timings.push(Timing { made: transfer.made, took: now - transfer.made });
        }
    }

    pub(crate) fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub(crate) fn blocks(&self) -> &[Seen] {
        &self.blocks
    }

    /// The transfers that a client was told are final.
    pub(crate) fn told_final(&self) -> &BTreeMap<String, u64> {
        &self.told
    }

    pub(crate) fn on_the_way(&self) -> usize {
        self.on_the_way.len()
    }

    /// Whether a transfer that was made before `end` is still on the way.
    pub(crate) fn is_waiting_for_older_than(&self, end: Instant) -> bool {
        let oldest = |account: &Account| account.on_the_way.first_key_value().map(|(_, transfer)| transfer.made);
        self.accounts.iter().filter_map(oldest).any(|made| made < end)
    }

    /// What happened to transfers made and blocks heard of between two moments.
    pub(crate) fn window(&self, start: Instant, end: Instant) -> Window {
        let within = |at: Instant| at >= start && at < end;
        let mut took: Vec<Duration> =
            self.timings.iter().filter(|timing| within(timing.made)).map(|timing| timing.took).collect();
        took.sort_unstable();
        let on_the_way = self.accounts.iter().flat_map(|account| account.on_the_way.values());
        let open = on_the_way.filter(|transfer| within(transfer.made)).count();
        let blocks: Vec<Instant> = self.blocks.iter().map(|seen| seen.at).filter(|at| within(*at)).collect();
        let mut edges = vec![start];
        edges.extend(&blocks);
        edges.push(end);
        let longest_gap = edges.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        Window { took, open, blocks: blocks.len(), longest_gap, length: end - start }
    }
}

/// A stretch of the demo in figures.
#[derive(Debug)]
pub(crate) struct Window {
    /// How long each transfer took that became final, shortest first.
    took: Vec<Duration>,
    /// Transfers that are not final yet.
    pub(crate) open: usize,
    pub(crate) blocks: usize,
    /// The longest time without a final block.
    pub(crate) longest_gap: Duration,
    length: Duration,
}

impl Window {
    /// So many of a hundred transfers took no longer. Nothing when there are none, or when some are still open: then
    /// nobody knows yet.
    pub(crate) fn percentile(&self, percent: usize) -> Option<Duration> {
        if self.open > 0 {
            return None;
        }
        let rank = (self.took.len() * percent).div_ceil(100);
        self.took.get(rank.checked_sub(1)?).copied()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.took.len() as f64 / self.length.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::TransactionView;

    const PACE: Duration = Duration::from_millis(100);

    struct Demo {
        book: Book,
        start: Instant,
    }

    impl Demo {
        fn new(nodes: usize) -> Self {
            let keys = (0..nodes).map(|i| SecretKey::from_bytes([u8::try_from(i).expect("few") + 1; 32])).collect();
            let start = Instant::now();
            let mut book = Book::new("devnet-1".parse().expect("a chain id"), keys, nodes, 0, start);
            book.is_open = true;
            Self { book, start }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        /// What account 0 does at `ms`: the nonce and where it goes.
        fn step(&mut self, ms: u64) -> Option<(u64, usize)> {
            let now = self.at(ms);
            match self.book.step(0, PACE, now) {
                Step::HandIn { nonce, node, .. } => Some((nonce, node)),
                Step::Rest => None,
            }
        }

        /// A block with these nonces of account 0.
        fn block(&mut self, nonces: &[u64], ms: u64) {
            let id = |nonce: &u64| self.book.accounts[0].on_the_way[nonce].id.clone();
            let view = |nonce| TransactionView { id: id(nonce), ..TransactionView::default() };
            let transactions = nonces.iter().map(view).collect();
            let height = self.book.height() + 1;
            let block = BlockView { height, digest: format!("d{height}"), transactions, ..BlockView::default() };
            let now = self.at(ms);
            self.book.told(&block, now);
        }
    }

    #[test]
    fn a_transfer_is_made_at_its_pace_and_handed_in_once() {
        let mut demo = Demo::new(4);
        assert_eq!(demo.step(0), Some((0, 0)));
        assert_eq!(demo.step(99), None);
        assert_eq!(demo.step(100), Some((1, 0)));
        assert_eq!((demo.book.submitted, demo.book.resubmitted), (2, 0));
    }

    #[test]
    fn what_is_passed_over_is_handed_in_elsewhere() {
        let mut demo = Demo::new(4);
        demo.step(0);
        demo.book.is_open = false;
        (0..9).for_each(|i| demo.block(&[], i));
        assert_eq!(demo.step(1_500), None);
        demo.block(&[], 10);
        assert_eq!(demo.step(999), None);
        assert_eq!(demo.step(1_000), Some((0, 1)));
        assert_eq!((demo.book.submitted, demo.book.resubmitted), (1, 1));
        assert_eq!(demo.step(60_000), None);
    }

    #[test]
    fn when_a_validator_dies_its_clients_go_on_with_another() {
        let mut demo = Demo::new(4);
        demo.step(0);
        demo.book.is_open = false;
        demo.book.died(&[0, 1]);
        assert_eq!(demo.step(1), Some((0, 2)));
        demo.book.died(&[2, 3]);
        assert_eq!(demo.step(2), None);
        demo.book.returned(&[0, 1, 2, 3]);
        assert_eq!(demo.step(3), Some((0, 0)));
        assert_eq!(demo.book.resubmitted, 2);
    }

    #[test]
    fn what_was_not_taken_is_handed_in_elsewhere() {
        let mut demo = Demo::new(4);
        assert_eq!(demo.step(0), Some((0, 0)));
        demo.book.not_taken(0, 0, 0);
        assert_eq!(demo.step(1), Some((0, 1)));
    }

    #[test]
    fn an_account_has_a_bounded_number_on_the_way() {
        let mut demo = Demo::new(4);
        for i in 0..1_000 {
            demo.step(i * 100);
        }
        assert_eq!(demo.book.on_the_way(), ON_THE_WAY_MAX);
    }

    #[test]
    fn a_window_knows_its_transfers_blocks_and_gaps() {
        let mut demo = Demo::new(4);
        for i in 0..4 {
            demo.step(i * 100);
        }
        demo.block(&[0, 1], 300);
        demo.block(&[2], 700);
        let window = demo.book.window(demo.at(0), demo.at(400));
        assert_eq!((window.open, window.blocks, window.percentile(50)), (1, 1, None));
        let window = demo.book.window(demo.at(0), demo.at(250));
        assert_eq!((window.open, window.blocks), (0, 0));
        assert_eq!(window.percentile(50), Some(Duration::from_millis(300)));
        assert_eq!(window.percentile(99), Some(Duration::from_millis(500)));
        let window = demo.book.window(demo.at(0), demo.at(1_000));
        assert_eq!(window.longest_gap, Duration::from_millis(400));
        assert!(demo.book.is_waiting_for_older_than(demo.at(301)));
        assert!(!demo.book.is_waiting_for_older_than(demo.at(300)));
        assert_eq!(demo.book.told_final().len(), 3);
    }
}
