//! A devnet, or one validator alone, and what it says.

use std::{fs, path::PathBuf, time::Duration};

use ledger::{Amount, ChainId, Encode as _, Hash, Height, Kind, Nonce, SecretKey, Transaction};
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    http::{self, Answer, Request},
    world::{Process, Ran, World, kill, until},
};

/// Far more than a network needs to do what it does within a second or two.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Processes that were started with `devnet up --detach`.
pub(crate) struct Devnet<'a> {
    pub(crate) world: &'a World,
    pub(crate) dir: PathBuf,
}

/// A row of `devnet status -o json`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) pid: Option<u32>,
    pub(crate) api: String,
    pub(crate) token_file: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: String,
    pub(crate) height: Option<u64>,
    pub(crate) state: String,
}

impl<'a> Devnet<'a> {
    pub(crate) fn up(world: &'a World, nodes: usize) -> Self {
        Self::up_with(world, nodes, "")
    }

    /// The same with more words for `devnet up`.
    pub(crate) fn up_with(world: &'a World, nodes: usize, more: &str) -> Self {
        let devnet = Self { world, dir: world.path("net") };
        devnet.run(&format!("up --detach -n {nodes} --port-base {} {more}", world.port)).ok();
        devnet
    }

    /// `unsplit devnet LINE --dir DIR`.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.world.unsplit(&format!("devnet {line} --dir {}", self.dir.display()))
    }

    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.run("status -o json").ok()).expect("a document")
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        serde_json::from_value(self.document()["nodes"].take()).expect("rows")
    }

    pub(crate) fn row(&self, name: &str) -> Row {
        self.rows().into_iter().find(|row| row.name == name).expect("a row for every validator, dead ones included")
    }

    /// An account with funds.
    pub(crate) fn account(&self) -> SecretKey {
        read_key(&self.dir.join("accounts/a0.key"))
    }

    /// The process that holds the validators.
    pub(crate) fn holder(&self) -> u32 {
        let holder = self.document()["holder"].as_u64().expect("somebody holds it");
        u32::try_from(holder).expect("a process id")
    }

    /// Ends a validator in good order.
    #[track_caller]
    pub(crate) fn stop(&self, name: &str) -> Row {
        let row = self.row(name);
        kill(row.pid.expect("it runs"), Signal::TERM);
        self.wait_for_all("it has ended in good order", |row| row.name != name || row.is_dead());
        row
    }

    /// Waits until every validator is in this state.
    #[track_caller]
    pub(crate) fn wait_for_all(&self, what: &str, holds: impl Fn(&Row) -> bool) -> Vec<Row> {
        until(SOON, what, || Some(self.rows()).filter(|rows| rows.iter().all(&holds)))
    }
}

impl Row {
    pub(crate) fn is_dead(&self) -> bool {
        self.state == "dead" && self.pid.is_none() && self.height.is_none()
    }

    pub(crate) fn node(&self) -> Node {
        let token = fs::read_to_string(&self.token_file).expect("a token").trim().to_owned();
        Node { api: self.api.clone(), token }
    }
}

/// One validator's API.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) api: String,
    pub(crate) token: String,
}

impl Node {
    /// Nothing if it does not answer, or with an error.
    pub(crate) fn ask(&self, path: &str) -> Option<Value> {
        http::get(&self.api, path).ok().filter(|answer| answer.status == 200).map(|answer| answer.body)
    }

    /// Nothing also while it still reads its state from disk and knows nothing.
    fn status(&self) -> Option<Value> {
        self.ask("status").filter(|status| status["validators"] != 0)
    }

    pub(crate) fn height(&self) -> Option<u64> {
        self.status()?["height"].as_u64()
    }

    pub(crate) fn duty(&self) -> Option<String> {
        Some(self.status()?["duty"].as_str()?.to_owned())
    }

    pub(crate) fn digest(&self, height: u64) -> Option<String> {
        Some(self.ask(&format!("blocks/{height}"))?["digest"].as_str()?.to_owned())
    }

    pub(crate) fn chain_id(&self) -> ChainId {
        let status = self.status().expect("it runs");
        status["chain_id"].as_str().expect("a chain id").parse().expect("its own chain id")
    }

    /// Waits until it has so many more blocks; says its height then.
    #[track_caller]
    pub(crate) fn wait_for_blocks(&self, more: u64) -> u64 {
        let before = until(SOON, "a height", || self.height());
        until(SOON, &format!("{more} blocks after {before}"), || {
            self.height().filter(|height| *height >= before + more)
        })
    }

    /// The whole block at a height, without what was true of it when it was asked for only.
    pub(crate) fn block(&self, height: u64) -> Value {
        let mut block = until(SOON, &format!("block {height}"), || self.ask(&format!("blocks/{height}")));
        for fleeting in ["age_ms", "stale"] {
            block.as_object_mut().expect("a block").remove(fleeting);
        }
        block
    }

    /// Hands in a body to `POST /api/v1/tasks`.
    pub(crate) fn submit_tasks(&self, body: &[u8], token: Option<&str>) -> Answer {
        let request = Request { method: "POST", path: "tasks", token, content: "application/json", body };
        http::send(&self.api, &request).expect("an answer, whatever was sent")
    }

    /// Hands in bytes as a transaction.
    pub(crate) fn submit(&self, bytes: &[u8], token: Option<&str>) -> Answer {
        let content = "application/octet-stream";
        let request = Request { method: "POST", path: "tx?wait=finalized&timeout=4s", token, content, body: bytes };
        http::send(&self.api, &request).expect("an answer, whatever was sent")
    }

    /// `POST /api/v1/devnet/cuts`.
    pub(crate) fn cut(&self, body: &str, token: Option<&str>) -> Answer {
        self.post("devnet/cuts", body, token)
    }

    /// Hands in a document.
    pub(crate) fn post(&self, path: &str, body: &str, token: Option<&str>) -> Answer {
        let request = Request { method: "POST", path, token, content: "application/json", body: body.as_bytes() };
        http::send(&self.api, &request).expect("an answer")
    }
}

/// A transfer of 1 that never expires, to an account of nobody.
pub(crate) fn transfer(key: &SecretKey, chain: ChainId, nonce: u64) -> Transaction {
    transfer_until(key, chain, nonce, u64::MAX)
}

pub(crate) fn transfer_until(key: &SecretKey, chain: ChainId, nonce: u64, expires: u64) -> Transaction {
    let to = SecretKey::from_bytes([7; 32]).public();
    Transaction::sign(key, chain, Nonce(nonce), Height(expires), Kind::Transfer { to, amount: Amount(1) })
}

pub(crate) fn encoded(transaction: &Transaction) -> Vec<u8> {
    transaction.encode()
}

fn read_key(path: &std::path::Path) -> SecretKey {
    let bytes: Hash = fs::read_to_string(path).expect("a key file").trim().parse().expect("64 digits");
    SecretKey::from_bytes(bytes.0)
}

/// A chain of one validator, started as an operator would: the shortest way to a validator that runs.
pub(crate) struct Solo<'a> {
    pub(crate) world: &'a World,
    pub(crate) dir: PathBuf,
}

impl<'a> Solo<'a> {
    /// Writes its files into a folder of the world.
    pub(crate) fn write(world: &'a World, folder: &str, chain: &str) -> Self {
        let hosts = world.path(&format!("{chain}.hosts"));
        fs::write(&hosts, format!("solo 127.0.0.1:{}\n", world.port + 1_000)).expect("our own folder");
        let dir = world.path(folder);
        let line = format!("--no-tolerance --chain-id {chain} --hosts {}", hosts.display());
        let written = world.unsplit(&format!("testnet init --out {} {line}", dir.display()));
        assert!(written.err.contains("warning: ") && written.err.contains("f = 0"), "{}", written.err);
        written.ok();
        Self { world, dir }
    }

    /// Its files are there already.
    pub(crate) fn at(world: &'a World, folder: &str) -> Self {
        Self { world, dir: world.path(folder) }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join("solo").join(name)
    }

    pub(crate) fn node(&self) -> Node {
        let token = fs::read_to_string(self.file("data/api.token")).expect("a token").trim().to_owned();
        Node { api: format!("http://127.0.0.1:{}", self.world.port), token }
    }

    pub(crate) fn account(&self) -> SecretKey {
        read_key(&self.dir.join("accounts/a0.key"))
    }

    /// `node start` with what follows it.
    pub(crate) fn line(&self, more: &str) -> String {
        let (config, api) = (self.file("node.toml"), self.world.port);
        let listen = format!("--set api.listen=127.0.0.1:{api} --set network.listen=127.0.0.1:{}", api + 1_000);
        format!("node start -c {} --set log.format=compact {listen} {more}", config.display())
    }

    /// Starts it and waits until it finalizes.
    pub(crate) fn start(&self) -> Process {
        self.start_with(&[])
    }

    /// The same with more `--set`, which may hold spaces.
    pub(crate) fn start_with(&self, sets: &[&str]) -> Process {
        let line = self.line("");
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let words: Vec<&str> = line.split_whitespace().chain(sets).collect();
        let process = self.world.spawn_words(&words);
        self.node().wait_for_blocks(1);
        process
    }

    /// What lets a command order as the chain's first account.
    pub(crate) fn signer(&self) -> String {
        let (key, token) = (self.dir.join("accounts/a0.key"), self.file("data/api.token"));
        format!("--key {} --api {} --token-file {}", key.display(), self.node().api, token.display())
    }

    /// A start that must fail: with this code, saying these words.
    #[track_caller]
    pub(crate) fn refuses(&self, more: &str, code: i32, words: &[&str]) {
        self.world.unsplit(&self.line(more)).refused(code, words);
    }

    /// Ends it in good order; it must do so within 5 s and with 0.
    #[track_caller]
    pub(crate) fn stop(&self, process: &mut Process) {
        process.signal(Signal::TERM);
        let status = process.wait(Duration::from_secs(5)).expect("a validator ends within 5 s of SIGTERM");
        assert_eq!(status.code(), Some(0), "{}", process.err());
    }
}
