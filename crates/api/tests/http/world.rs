//! A server on a real socket, a small validator behind it, and a client that writes requests out in full.

use api::{
    AccountView, Backend, BalanceView, BlockAt, BlockView, CertifiedView, Cut, EventKind, EventLog, Limits, MatrixView,
    NodeRow, NodeView, PartitionsView, Problem, RecoveryView, Refusal, RefusalClass, Request, Settings, Snapshot,
    TaskView, Tasks, TransactionState, TransactionStatus, ValidatorsView, serve,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

pub(crate) const TOKEN: &str = "correct-horse";
pub(crate) const TOKEN_FILE: &str = "/var/lib/unsplit/api.token";

/// Long enough that only a hang reaches it, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) log: EventLog,
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(crate) requests: mpsc::Sender<Request>,
    /// One permit per transaction taken.
    pub(crate) submitted: Arc<Semaphore>,
    transactions: Arc<Mutex<BTreeMap<[u8; 32], TransactionStatus>>>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<io::Result<()>>,
}

/// How the mailbox is emptied.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Node {
    Answers,
    /// Takes requests and keeps them.
    Hangs,
    /// Takes nothing; the mailbox has room for one.
    Sleeps,
    /// Has ended.
    Gone,
}

pub(crate) fn snapshot(chain_id: &str) -> Snapshot {
    let mut snapshot = Snapshot { schema: "unsplit.snapshot/1".to_string(), ready: true, ..Snapshot::default() };
    snapshot.status.schema = "unsplit.status/1".to_string();
    snapshot.status.chain_id = chain_id.to_string();
    snapshot.status.height = 7;
    snapshot.why.schema = "unsplit.why/1".to_string();
    snapshot.nodes.push(api::NodeRow { name: "n1".to_string(), ..api::NodeRow::default() });
    snapshot
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with("unsplit-devnet-1", Node::Answers, Limits::default()).await
    }

    pub(crate) async fn with(chain_id: &str, node: Node, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (snapshot, seen) = watch::channel(Arc::new(snapshot(chain_id)));
        let (requests, mailbox) = mpsc::channel(1);
        let log = EventLog::new(4);
        let backend = Backend {
            snapshot: seen,
            requests: requests.clone(),
            events: log.clone(),
            metrics: Arc::new(|| "unsplit_height 7\n# EOF\n".to_string()),
        };
        let settings = Settings { limits, ..Settings::new(TOKEN, TOKEN_FILE) };
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, backend, settings, async {
            let _ = stopped.await;
        }));
        let submitted = Arc::new(Semaphore::new(0));
        let transactions = Arc::new(Mutex::new(BTreeMap::new()));
        tokio::spawn(run(node, mailbox, transactions.clone(), submitted.clone()));
        if node == Node::Gone {
            requests.closed().await;
        }
        Self { address, log, snapshot, requests, submitted, transactions, stop, server }
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, line: &str, headers: &str, body: &[u8]) -> Reply {
        ask(self.address, line, headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path}"), "", b"").await
    }

    /// As a caller that has the token.
    pub(crate) async fn write(&self, line: &str, content: &str, body: &[u8]) -> Reply {
        let headers = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: {content}\r\n");
        self.ask(line, &headers, body).await
    }

    pub(crate) async fn post_transaction(&self, query: &str, bytes: &[u8]) -> Reply {
        self.write(&format!("POST /api/v1/tx{query}"), "application/octet-stream", bytes).await
    }

    /// Waits until so many transactions were taken.
    pub(crate) async fn taken(&self, transactions: u32) {
        patient(self.submitted.acquire_many(transactions)).await.expect("never closed").forget();
    }

    /// Makes every waiting transaction final.
    pub(crate) fn finalize(&self, height: u64) {
        let mut transactions = self.transactions.lock().expect("no test panics with it");
        for status in transactions.values_mut() {
            status.state = TransactionState::Finalized;
            status.height = Some(height);
        }
        let transactions = transactions.len();
        self.log.push(height, EventKind::Finalized { height, digest: String::new(), transactions });
    }

    /// Forgets every transaction and finalizes a block of others.
    pub(crate) fn drop_transactions(&self) {
        self.transactions.lock().expect("no test panics with it").clear();
        self.log.push(1, EventKind::Finalized { height: 1, digest: String::new(), transactions: 1 });
    }

    /// Stops the server and waits until it has ended.
    pub(crate) async fn stop(self) {
        self.stop.send(()).expect("the server runs");
        patient(self.server).await.expect("no panic").expect("no error");
    }
}

async fn run(
    node: Node,
    mut mailbox: mpsc::Receiver<Request>,
    transactions: Arc<Mutex<BTreeMap<[u8; 32], TransactionStatus>>>,
    submitted: Arc<Semaphore>,
) {
    let mut kept = Vec::new();
    match node {
        Node::Answers => {
            while let Some(request) = mailbox.recv().await {
                answer(request, &mut transactions.lock().expect("no test panics with it"), &submitted);
            }
        }
        Node::Hangs => {
            while let Some(request) = mailbox.recv().await {
                kept.push(request);
            }
        }
        Node::Sleeps => {
            std::future::pending::<()>().await;
            drop(mailbox);
        }
        Node::Gone => drop(mailbox),
    }
}

/// Refuses what begins with a digit, as that digit says.
fn judge(bytes: &[u8]) -> Result<(), Refusal> {
    let class = match bytes.first() {
        Some(b'0') => RefusalClass::Invalid,
        Some(b'1') => RefusalClass::Conflict,
        Some(b'2') => RefusalClass::Busy,
        Some(b'3') => RefusalClass::NotFound,
        Some(b'4') => RefusalClass::Forbidden,
        _ => return Ok(()),
    };
    Err(Refusal { code: "told_to", detail: "no".into(), help: "do not".into(), class })
}

fn task(id: String, account: Option<[u8; 32]>) -> TaskView {
    let account = account.map_or_else(String::new, |key| hex(key[0]));
    TaskView { schema: "unsplit.task/1".into(), id, account, ..TaskView::default() }
}

/// A transaction's id repeats its first byte. A task is called by its whole transaction, and the only one in a list by
/// the query.
fn answer(request: Request, transactions: &mut BTreeMap<[u8; 32], TransactionStatus>, submitted: &Semaphore) {
    match request {
        Request::Submit { bytes, reply } => {
            let first = bytes.first().copied().unwrap_or_default();
            let _ = reply.send(judge(&bytes).map(|()| {
                let status = TransactionStatus { id: hex(first), ..TransactionStatus::default() };
                transactions.entry([first; 32]).or_insert(status).clone()
            }));
            submitted.add_permits(1);
        }
        Request::SubmitTasks { transactions, reply } => {
            submitted.add_permits(transactions.len());
            let name = |bytes: &[u8]| task(String::from_utf8_lossy(bytes).into_owned(), None);
            let _ = reply.send(transactions.iter().map(|bytes| judge(bytes).map(|()| name(bytes))).collect());
        }
        Request::Task { id, account, reply } => {
            let _ = reply.send(judge(id.as_bytes()).map(|()| task(id, account)));
        }
        Request::Tasks { query, reply } => {
            let tasks = vec![task(format!("{query:?}"), None)];
            let _ = reply.send(Tasks { schema: "unsplit.tasks/1".into(), tasks, next: Some(9), height: 7 });
        }
        Request::Block { at, reply } => {
            let height = match at {
                BlockAt::Latest => 7,
                BlockAt::Height(height) => height,
            };
            let _ = reply.send((height <= 7).then(|| BlockView { height, ..BlockView::default() }));
        }
        Request::Transaction { id, reply } => drop(reply.send(transactions.get(&id).cloned())),
        Request::Account { id, reply } => {
            let _ = reply.send(AccountView { id: hex(id[0]), balance: 5, ..AccountView::default() });
        }
        Request::Node { name, reply } => {
            let node = NodeRow { name: name.clone(), ..NodeRow::default() };
            let known = NodeView { schema: "unsplit.node/1".into(), node, ..NodeView::default() };
            let unknown = Refusal {
                code: "unknown_validator",
                detail: format!("no validator is called {name}"),
                help: "see `unsplit nodes`".into(),
                class: RefusalClass::NotFound,
            };
            drop(reply.send(if name == "n1" { Ok(known) } else { Err(unknown) }));
        }
        Request::Validators { wanted, reply } => {
            let (validators, foreseen, next) = (wanted.leave, wanted.remove, Some(wanted.join));
            drop(reply.send(Ok(ValidatorsView { validators, foreseen, next, ..ValidatorsView::default() })));
        }
        Request::Approve { node, reply } => {
            drop(reply.send(Ok(TransactionStatus { id: node, ..TransactionStatus::default() })));
        }
        Request::Leave { leaving, reply } => {
            let id = if leaving { "l" } else { "s" };
            drop(reply.send(Ok(TransactionStatus { id: id.into(), ..TransactionStatus::default() })));
        }
        Request::Drain { drained, reply } => {
            // The first letter tells the two apart.
            let id = if drained { "d" } else { "u" };
            drop(reply.send(Ok(TransactionStatus { id: id.into(), ..TransactionStatus::default() })));
        }
        Request::Partitions { reply } => drop(reply.send(PartitionsView::default())),
        Request::Matrix { reply } => drop(reply.send(MatrixView::default())),
        Request::Certified { reply } => drop(reply.send(CertifiedView::default())),
        Request::Certify { proposed, reply } => {
            let id = proposed.programs.concat();
            drop(reply.send(Ok(TransactionStatus { id, ..TransactionStatus::default() })));
        }
        Request::Recover { name, reply } => {
            drop(reply.send(Ok(RecoveryView { node: name, ..RecoveryView::default() })));
        }
        Request::Balance { reply } => {
            drop(reply.send(BalanceView { schema: "unsplit.balance/1".into(), ..BalanceView::default() }));
        }
        Request::Afflict { affliction, reply } => drop(reply.send(Ok(affliction))),
        Request::Cure { reply } => drop(reply.send(1)),
        Request::Cut { request, reply } => {
            let cut = Cut { id: 3, inbound: request.inbound, outbound: request.outbound, remaining_ms: request.ttl_ms };
            let _ = reply.send(Ok(cut));
        }
        Request::Cuts { reply } => drop(reply.send(vec![Cut { id: 3, ..Cut::default() }])),
        Request::Heal { id, reply } => drop(reply.send(usize::from(id.is_none_or(|id| id == 3)))),
    }
}

/// An id that repeats one byte.
pub(crate) fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Self { status: status.unwrap_or_else(|| panic!("no answer: {text:?}")), head: head.into(), body: body.into() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The code of the problem, which must be complete.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.body);
        let problem: Problem = serde_json::from_str(&self.body).expect("a problem document");
        assert_eq!(problem.status, self.status);
        for text in [problem.kind, problem.title, problem.detail, problem.help] {
            assert!(!text.is_empty(), "{}", self.body);
        }
        problem.code
    }

    /// Fails unless the answer is this problem.
    pub(crate) fn expect_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.problem().as_str()), (status, code), "{}", self.body);
    }
}

pub(crate) async fn ask(address: SocketAddr, line: &str, headers: &str, body: &[u8]) -> Reply {
    let host =
        if headers.to_ascii_lowercase().contains("host:") { String::new() } else { format!("Host: {address}\r\n") };
    let length = body.len();
    let head =
        format!("{line} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n").into_bytes();
    exchange(address, &[&head, body].concat()).await
}

/// Sends these bytes and reads until the server closes.
pub(crate) async fn exchange(address: SocketAddr, bytes: &[u8]) -> Reply {
    Reply::parse(&read_all(send(address, bytes).await).await)
}

pub(crate) async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(bytes).await.expect("the server reads");
    stream
}

/// Everything until the server closes, however it closes.
pub(crate) async fn read_all(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = patient(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) async fn patient<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it hangs")
}

/// An open event stream.
pub(crate) struct Events {
    stream: TcpStream,
    read: String,
}

impl Events {
    pub(crate) async fn open(address: SocketAddr, query: &str, headers: &str) -> Self {
        let head = format!("GET /api/v1/events{query} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
        let mut events = Self { stream: send(address, head.as_bytes()).await, read: String::new() };
        let head = events.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        events
    }

    /// The next frame that is an event or a comment, without the chunk lengths between.
    pub(crate) async fn next(&mut self) -> String {
        let _length = self.until("\r\n").await;
        let frame = self.until("\n\n").await;
        self.until("\r\n").await;
        frame
    }

    /// Fails unless the next frame is this event under this offset.
    pub(crate) async fn expect(&mut self, offset: u64, name: &str) {
        let frame = self.next().await;
        let line = |start: &str| frame.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
        assert_eq!((line("id: "), line("event: ")), (offset.to_string().as_str(), name), "{frame}");
        let event: api::Event = serde_json::from_str(line("data: ")).expect("an event");
        assert_eq!((event.offset, event.kind.name()), (offset, name));
    }

    async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.find(end) {
                let rest = self.read.split_off(at + end.len());
                return std::mem::replace(&mut self.read, rest);
            }
            let mut bytes = [0; 4096];
            let count = patient(self.stream.read(&mut bytes)).await.expect("an open stream");
            assert!(count > 0, "the stream ended");
            self.read.push_str(std::str::from_utf8(&bytes[..count]).expect("text"));
        }
    }

    /// What is left until the server ends the stream.
    pub(crate) async fn rest(self) -> String {
        self.read + &read_all(self.stream).await
    }
}
