//! What may an operator set?
//!
//! One file, `node.toml`, with an environment and `--set` on top: `--set key=value` wins over `UNSPLIT_<SECTION>__<KEY>`,
//! which wins over the file, which wins over the default. Overlays are applied one at a time, so that the one that does
//! not fit is named. What the chain fixes (validators, balances, the Byzantine budget) is in the genesis file and cannot
//! be set here; a quorum cannot be set anywhere.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de};

/// The version of the configuration format that this program reads.
pub const VERSION: u32 = 1;

/// The whole of `node.toml`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Version of this format.
    pub version: u32,
    /// This validator's name, as in the genesis file.
    pub name: String,
    /// Where everything is kept. Has no default: data must never end up where nobody looks for it.
    pub data_dir: PathBuf,
    /// The genesis file.
    pub genesis: PathBuf,
    /// The signing key, hex, mode 0600. Default: `node.key` in `data_dir`.
    pub key_file: PathBuf,
    /// Peers.
    pub network: Network,
    /// Agreement.
    pub consensus: Consensus,
    /// Who is there, and well.
    pub health: Health,
    /// Transactions that wait.
    pub mempool: Mempool,
    /// Tasks.
    pub worker: Worker,
    /// What is kept on disk.
    pub store: Store,
    /// The HTTP window.
    pub api: Api,
    /// What is written about what happens.
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: VERSION,
            name: String::new(),
            data_dir: PathBuf::new(),
            genesis: PathBuf::from("genesis.toml"),
            key_file: PathBuf::new(),
            network: Network::default(),
            consensus: Consensus::default(),
            health: Health::default(),
            mempool: Mempool::default(),
            worker: Worker::default(),
            store: Store::default(),
            api: Api::default(),
            log: Log::default(),
        }
    }
}

/// `[network]`: how peers are reached. Who they are is in the genesis file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Where peers connect to.
    pub listen: SocketAddr,
    /// How long to wait before a lost peer is dialled again. At most 1 s: a peer that is back must not be missed for long.
    #[serde(deserialize_with = "duration")]
    pub reconnect_cooldown: Duration,
    /// Whether peers may have private and loopback addresses.
    pub allow_private_ips: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 7601)),
            reconnect_cooldown: Duration::from_millis(250),
            allow_private_ips: true,
        }
    }
}

/// `[consensus]`: how long to wait for whom.
///
/// The time-outs are fixed; they do not adapt to the network. They are right as long as one message between two honest
/// validators takes at most Δ = `leader_timeout` / 3: the leader waits `block_time` and builds within `build_timeout`
/// (together at most half of `leader_timeout`), and its proposal needs one Δ to arrive. A notarization needs one more for
/// the votes, which `certification_timeout` covers with half as much again in reserve. With the defaults, Δ is 333 ms: round
/// the world twice. On a network slower than Δ nothing unsafe happens; views are skipped that need not have been.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Consensus {
    /// Least time between two blocks.
    #[serde(deserialize_with = "duration")]
    pub block_time: Duration,
    /// Most time that building one block may take.
    #[serde(deserialize_with = "duration")]
    pub build_timeout: Duration,
    /// How long to wait for a leader's proposal before its view is given up.
    #[serde(deserialize_with = "duration")]
    pub leader_timeout: Duration,
    /// How long to wait, from the start of a view, for its notarization and certification.
    #[serde(deserialize_with = "duration")]
    pub certification_timeout: Duration,
    /// How long a leader may be inactive before its views are skipped without waiting.
    #[serde(deserialize_with = "duration")]
    pub skip_timeout: Duration,
    /// How often a vote to give up a view is repeated while the view lasts.
    #[serde(deserialize_with = "duration")]
    pub retry: Duration,
}

impl Default for Consensus {
    fn default() -> Self {
        Self {
            block_time: Duration::from_millis(100),
            build_timeout: Duration::from_millis(200),
            leader_timeout: Duration::from_secs(1),
            certification_timeout: Duration::from_millis(1_500),
            skip_timeout: Duration::from_secs(4),
            // Also what the first block after a heal waits for: the halted view ends when nullify votes meet again, and those of
            // all are waited for twice as long (`reunion`).
            retry: Duration::from_millis(250),
        }
    }
}

/// `[health]`: how others are watched. The detector tunes itself; what is set here bounds it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// How often this validator says that it is there, and expects the others to.
    #[serde(deserialize_with = "duration")]
    pub heartbeat_interval: Duration,
    /// Silence that is too long whatever was learned: an upper bound of the detector.
    #[serde(deserialize_with = "duration")]
    pub heartbeat_timeout: Duration,
    /// Work with a known answer that is not done after so long counts as failed.
    #[serde(deserialize_with = "duration")]
    pub challenge_timeout: Duration,
    /// So many such failures in a row and the executor counts as wedged.
    pub max_consecutive_failures: u32,
    /// How many mistakes are allowed: the detector is as fast as this budget lets it be.
    pub false_suspicions_per_node_year: u32,
    /// A validator that is not well for so long is to be restarted: its supervisor does so when more than f say it. More
    /// than a supervisor needs that sees it by itself.
    #[serde(deserialize_with = "duration")]
    pub order_recovery_after: Duration,
    /// From so little slack on there is an alarm: so many more validators may fail before finality halts.
    pub slack_floor: u8,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(500),
            heartbeat_timeout: Duration::from_secs(60),
            // A small product: it is done in a millisecond by an executor that works.
            challenge_timeout: Duration::from_secs(5),
            max_consecutive_failures: 3,
            false_suspicions_per_node_year: 1,
            order_recovery_after: Duration::from_secs(90),
            // The last moment before a halt at which something can be done about it.
            slack_floor: 0,
        }
    }
}

/// `[mempool]`: bounds of what waits. Beyond them a submission is refused, never queued.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Mempool {
    /// Most transactions.
    pub transactions_max: usize,
    /// Most bytes.
    #[serde(deserialize_with = "bytes")]
    pub bytes_max: usize,
    /// Most transactions of one account, so that one sender cannot crowd out the others.
    pub per_account_max: usize,
}

impl Default for Mempool {
    fn default() -> Self {
        // 20,000 is what 200 transfers a second pile up during a halt of 100 s.
        Self { transactions_max: 20_000, bytes_max: 16 << 20, per_account_max: 256 }
    }
}

/// `[worker]`: how this validator does the tasks that are leased to it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    /// Tasks done at the same time.
    pub slots: usize,
    /// How long a program may run.
    #[serde(deserialize_with = "duration")]
    pub time_max: Duration,
    /// How much memory a program may use.
    #[serde(deserialize_with = "bytes")]
    pub memory_max: usize,
    /// How many processes a program may have.
    pub processes_max: u64,
    /// The programs that tasks may name, each with its path and arguments. Submitters give them input, never arguments.
    pub commands: BTreeMap<String, Vec<String>>,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            slots: 2,
            time_max: Duration::from_secs(30),
            memory_max: 512 << 20,
            processes_max: 16,
            commands: BTreeMap::new(),
        }
    }
}

/// `[store]`: what is kept on disk.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Blocks from one checkpoint to the next. A restart replays at most about this many.
    pub checkpoint_interval: u64,
    /// Checkpoints kept. At least two, so that a damaged one has a predecessor.
    pub checkpoints_kept: usize,
    /// Finalized blocks kept; 0 keeps all. Pruning never passes the oldest kept checkpoint.
    pub blocks_kept: u64,
    /// A node that is so many blocks behind fetches the state instead of them; 0: only if nobody has the blocks any more.
    pub snapshot_after: u64,
    /// Newest transactions that can be asked for by id.
    pub indexed_transactions: usize,
    /// Bytes of blocks read in a second to find damage before they are asked for; 0 turns this off.
    pub scrub_bytes_per_second: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            checkpoint_interval: 1_000,
            checkpoints_kept: 2,
            blocks_kept: 0,
            snapshot_after: sentinel::catchup::Config::default().snapshot_after,
            indexed_transactions: 200_000,
            // A hundredth of what a slow disk gives: 10 GiB are read through in three hours.
            scrub_bytes_per_second: 1 << 20,
        }
    }
}

/// `[api]`: the HTTP window.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Where it listens. Loopback only: other machines reach it through a reverse proxy, which brings TLS and accounts.
    pub listen: SocketAddr,
    /// The token that writes need, mode 0600. Default: `api.token` in `data_dir`.
    pub token_file: PathBuf,
}

impl Default for Api {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 7700)), token_file: PathBuf::new() }
    }
}

/// `[log]`: what is written to standard error.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or a filter such as `info,validator=debug`. `UNSPLIT_LOG` and then `RUST_LOG` win over it.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info,commonware=warn".into(), format: LogFormat::Auto }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Compact on a terminal, JSON otherwise.
    Auto,
    /// One short line for people.
    Compact,
    /// One JSON object a line.
    Json,
}

/// Why a configuration cannot be used: what, where, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file's text is not a configuration. The message has the line and a caret.
    #[error("{}: {message}{hint}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and caret.
        message: String,
        /// Perhaps what was meant.
        hint: Hint,
    },
    /// One `--set` or environment variable does not fit.
    #[error("{origin}: {message}{hint}")]
    Overlay {
        /// The overlay as the operator wrote it.
        origin: String,
        /// What does not fit.
        message: String,
        /// Perhaps what was meant.
        hint: Hint,
    },
    /// The values do not fit each other or are out of bounds.
    #[error("{}{problem}", file.as_ref().map(|file| format!("{}: ", file.display())).unwrap_or_default())]
    Invalid {
        /// The file, when the configuration came from one.
        file: Option<PathBuf>,
        /// What does not fit, and how to mend it.
        problem: String,
    },
}

/// A known key close to an unknown one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hint(Option<String>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(key) => write!(f, "; did you mean `{key}`?"),
            None => Ok(()),
        }
    }
}

impl Hint {
    /// Reads serde's own words: ``unknown field `a`, expected one of `b`, `c` ``.
    fn from_message(message: &str) -> Self {
        let Some(unknown) = message.find("unknown field").or_else(|| message.find("unknown variant")) else {
            return Self(None);
        };
        let mut words = message[unknown..].split('`').skip(1).step_by(2);
        let Some(wrong) = words.next() else { return Self(None) };
        let nearest = words.map(|known| (edits(wrong, known), known)).min();
        // A third of the letters wrong is a slip; more is another word.
        Self(nearest.filter(|(edits, _)| edits * 3 <= wrong.len().max(3)).map(|(_, known)| known.into()))
    }
}

impl Config {
    /// Reads `path`, applies the environment and then `sets` (each `key=value`), resolves relative paths against the
    /// folder of `path`, and checks the result.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::resolve(path, &text, std::env::vars_os(), sets)
    }

    fn resolve(
        path: &Path,
        text: &str,
        environment: impl Iterator<Item = (OsString, OsString)>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| parse_error(path, &error.to_string()))?;
        let mut table: toml::Table = toml::from_str(text).map_err(|error| parse_error(path, &error.to_string()))?;
        for overlay in Overlay::of_environment(environment).into_iter().chain(Overlay::of_flags(sets)?) {
            config = overlay.apply(&mut table)?;
        }
        config.resolve_paths(path.parent().unwrap_or(Path::new("")));
        config.check().map_err(|error| error.in_file(path))?;
        Ok(config)
    }

    fn resolve_paths(&mut self, folder: &Path) {
        if self.data_dir.as_os_str().is_empty() {
            return; // `check` says so.
        }
        self.data_dir = folder.join(&self.data_dir);
        self.genesis = folder.join(&self.genesis);
        self.key_file = or_default(folder, &self.key_file, &self.data_dir, "node.key");
        self.api.token_file = or_default(folder, &self.api.token_file, &self.data_dir, "api.token");
    }

    /// Whether the values are within bounds and fit each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        let problem = self.problem_at_top().or_else(|| self.network.problem()).or_else(|| self.consensus.problem());
        let problem = problem.or_else(|| self.health.problem()).or_else(|| self.mempool.problem());
        let problem =
            problem.or_else(|| self.store.problem()).or_else(|| self.worker.problem()).or_else(|| self.api.problem());
        let problem = problem.or_else(|| self.problem_between());
        problem.map_or(Ok(()), |problem| Err(ConfigError::Invalid { file: None, problem }))
    }

    fn problem_at_top(&self) -> Option<String> {
        if self.version != VERSION {
            let found = self.version;
            return Some(format!(
                "version {found} is not {VERSION}, the one this program reads: use a matching unsplit"
            ));
        }
        if !is_name(&self.name) {
            let found = &self.name;
            return Some(format!(
                "name ({found:?}) must be 1 to 32 of a-z, 0-9 and -: set it to this validator's name in the genesis file"
            ));
        }
        if self.data_dir.as_os_str().is_empty() {
            return Some("data_dir is missing: name the folder that keeps this validator's data".into());
        }
        None
    }

    fn problem_between(&self) -> Option<String> {
        (self.network.listen == self.api.listen).then(|| {
            let address = self.api.listen;
            format!("api.listen and network.listen are both {address}: give each its own port")
        })
    }

    /// What `config print-default` writes: every key, its default, and what it is for.
    pub fn default_toml() -> String {
        DEFAULT_TOML.into()
    }
}

impl Network {
    fn problem(&self) -> Option<String> {
        if self.listen.port() == 0 {
            return Some("network.listen needs a port: peers look for the one in the genesis file".into());
        }
        within("network.reconnect_cooldown", self.reconnect_cooldown, "1ms", "1s")
    }
}

impl Consensus {
    fn problem(&self) -> Option<String> {
        let each = [
            ("consensus.block_time", self.block_time),
            ("consensus.build_timeout", self.build_timeout),
            ("consensus.leader_timeout", self.leader_timeout),
            ("consensus.certification_timeout", self.certification_timeout),
            ("consensus.skip_timeout", self.skip_timeout),
            ("consensus.retry", self.retry),
        ];
        if let Some(problem) = each.into_iter().find_map(|(key, value)| within(key, value, "1ms", "10m")) {
            return Some(problem);
        }
        let building = self.block_time + self.build_timeout;
        if building > self.leader_timeout / 2 {
            return Some(format!(
                "consensus.block_time + build_timeout ({}) must be at most half of leader_timeout ({}): the other half \
                 is for the proposal to arrive",
                friendly(building),
                friendly(self.leader_timeout)
            ));
        }
        None.or_else(|| {
            below("leader_timeout", self.leader_timeout, "certification_timeout", self.certification_timeout)
        })
        .or_else(|| below("certification_timeout", self.certification_timeout, "skip_timeout", self.skip_timeout))
        .or_else(|| below("retry", self.retry, "skip_timeout", self.skip_timeout))
    }
}

impl Health {
    /// How the detector is set.
    pub fn detector(&self) -> sentinel::health::Config {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let defaults = sentinel::health::Config::default();
        let silence_us_max = us(self.heartbeat_timeout);
        sentinel::health::Config {
            heartbeat_us: us(self.heartbeat_interval),
            false_suspicions_per_node_year_milli: u64::from(self.false_suspicions_per_node_year) * 1_000,
            stall_us_max: defaults.stall_us_max.min(silence_us_max),
            silence_us_max,
            ..defaults
        }
    }

    fn problem(&self) -> Option<String> {
        let interval = self.heartbeat_interval;
        if let Some(problem) = within("health.heartbeat_interval", interval, "100ms", "10s") {
            return Some(problem);
        }
        if self.heartbeat_timeout < 3 * interval {
            let (timeout, interval) = (friendly(self.heartbeat_timeout), friendly(interval));
            return Some(format!(
                "health.heartbeat_timeout ({timeout}) must be at least three times heartbeat_interval ({interval}): it bounds \
                 the detector and does not replace it"
            ));
        }
        let each = [
            ("max_consecutive_failures", self.max_consecutive_failures),
            ("false_suspicions_per_node_year", self.false_suspicions_per_node_year),
        ];
        if let Some((key, _)) = each.into_iter().find(|(_, value)| *value == 0) {
            return Some(format!("health.{key} (0) must be at least 1: without any mistake nothing can be detected"));
        }
        within("health.challenge_timeout", self.challenge_timeout, "1s", "120s")
            .or_else(|| within("health.order_recovery_after", self.order_recovery_after, "5s", "24h"))
            .or_else(|| within("health.heartbeat_timeout", self.heartbeat_timeout, "1s", "1h"))
            .or_else(|| self.detector().check().err().map(|problem| format!("health: {problem}")))
    }
}

impl Mempool {
    /// One block's worth. A mempool that cannot fill a block would throttle the chain.
    const BYTES_MIN: usize = 1 << 20;

    fn problem(&self) -> Option<String> {
        if self.per_account_max == 0 || self.per_account_max > self.transactions_max {
            let (account, all) = (self.per_account_max, self.transactions_max);
            return Some(format!("mempool.per_account_max ({account}) must be from 1 to transactions_max ({all})"));
        }
        (self.bytes_max < Self::BYTES_MIN)
            .then(|| format!("mempool.bytes_max ({} bytes) must be at least 1MiB, one block", self.bytes_max))
    }
}

impl Worker {
    /// More at once than any machine has cores for.
    const SLOTS_MAX: usize = 1_024;

    /// The launcher itself has to fit.
    const MEMORY_MIN: usize = 64 << 20;

    fn problem(&self) -> Option<String> {
        if self.slots == 0 || self.slots > Self::SLOTS_MAX {
            let slots = self.slots;
            return Some(format!(
                "worker.slots ({slots}) must be from 1 to {}: a validator that takes no tasks would only lose them",
                Self::SLOTS_MAX
            ));
        }
        if self.memory_max < Self::MEMORY_MIN {
            return Some(format!("worker.memory_max ({} bytes) must be at least 64MiB", self.memory_max));
        }
        if self.processes_max == 0 {
            return Some("worker.processes_max (0) must be at least 1: the program itself is one".into());
        }
        let bad = self.commands.iter().find(|(name, command)| !is_name(name) || command.is_empty());
        bad.map(|(name, _)| {
            format!(
                "worker.commands.{name} must be named with 1 to 32 of a-z, 0-9 and -, and be a list that starts with a \
                 program: {name} = [\"/usr/bin/sort\", \"-n\"]"
            )
        })
        .or_else(|| within("worker.time_max", self.time_max, "10ms", "1h"))
    }
}

impl Store {
    fn problem(&self) -> Option<String> {
        if self.checkpoint_interval == 0 {
            return Some("store.checkpoint_interval (0) must be at least 1 block".into());
        }
        if self.checkpoints_kept < 2 {
            let kept = self.checkpoints_kept;
            return Some(format!(
                "store.checkpoints_kept ({kept}) must be at least 2: a damaged one needs a predecessor"
            ));
        }
        let needed = self.checkpoint_interval.saturating_mul(self.checkpoints_kept as u64);
        (self.blocks_kept != 0 && self.blocks_kept < needed).then(|| {
            let kept = self.blocks_kept;
            format!(
                "store.blocks_kept ({kept}) must be 0 (all) or at least checkpoint_interval * checkpoints_kept ({needed}): \
                 a restart replays the blocks after a checkpoint"
            )
        })
    }
}

impl Api {
    fn problem(&self) -> Option<String> {
        if self.listen.port() == 0 {
            return Some("api.listen needs a port: clients have to know it".into());
        }
        (!self.listen.ip().is_loopback()).then(|| {
            let address = self.listen;
            format!("api.listen ({address}) can be reached from other machines: use 127.0.0.1, and a reverse proxy for others")
        })
    }
}

impl ConfigError {
    fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Invalid { problem, .. } => Self::Invalid { file: Some(path.into()), problem },
            other @ (Self::Read { .. } | Self::Parse { .. } | Self::Overlay { .. }) => other,
        }
    }
}

/// One value laid over the file's.
struct Overlay {
    /// As the operator wrote it, for the error.
    origin: String,
    /// Section and key, or a key alone.
    path: Vec<String>,
    value: String,
}

impl Overlay {
    /// Variables named `UNSPLIT_<SECTION>__<KEY>`, in order of name; `UNSPLIT__<KEY>` is a key outside of any section.
    fn of_environment(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<Self> {
        let mut overlays: Vec<_> = variables.filter_map(|(name, value)| Self::of_variable(&name, &value)).collect();
        overlays.sort_by(|a, b| a.origin.cmp(&b.origin));
        overlays
    }

    fn of_variable(name: &OsString, value: &OsString) -> Option<Self> {
        let (name, value) = (name.to_str()?, value.to_string_lossy());
        let (section, key) = name.strip_prefix("UNSPLIT_")?.split_once("__").or_else(|| {
            let key = name.strip_prefix("UNSPLIT__")?;
            Some(("", key))
        })?;
        let path = [section, key].into_iter().filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
        Some(Self { origin: format!("{name}={value}"), path, value: value.into_owned() })
    }

    fn of_flags(sets: &[String]) -> Result<Vec<Self>, ConfigError> {
        sets.iter().map(|set| Self::of_flag(set)).collect()
    }

    fn of_flag(set: &str) -> Result<Self, ConfigError> {
        let origin = format!("--set {set}");
        let Some((key, value)) = set.split_once('=') else {
            let message = "has no `=`: write --set section.key=value".into();
            return Err(ConfigError::Overlay { origin, message, hint: Hint(None) });
        };
        let path = key.trim().split('.').map(str::to_owned).collect();
        Ok(Self { origin, path, value: value.trim().to_owned() })
    }

    /// Tries the value as TOML (a number, `true`, a quoted string) and then as the bare text, because nobody quotes
    /// `2s` twice for a shell.
    fn apply(&self, table: &mut toml::Table) -> Result<Config, ConfigError> {
        let typed = toml::from_str::<toml::Table>(&format!("value = {}", self.value)).ok();
        let typed = typed.and_then(|mut table| table.remove("value"));
        let bare = toml::Value::String(self.value.clone());
        let mut last = String::new();
        for value in typed.into_iter().chain([bare]) {
            let mut candidate = table.clone();
            let outcome = insert(&mut candidate, &self.path, value)
                .and_then(|()| Config::deserialize(candidate.clone()).map_err(|error| error.to_string()));
            match outcome {
                Ok(config) => {
                    *table = candidate;
                    return Ok(config);
                }
                // The first complaint is about what was written; the second only about our second guess.
                Err(message) if last.is_empty() => last = message,
                Err(_) => {}
            }
        }
        let message = last.lines().next().unwrap_or_default().to_owned();
        let hint = Hint::from_message(&message);
        Err(ConfigError::Overlay { origin: self.origin.clone(), message, hint })
    }
}

fn insert(table: &mut toml::Table, path: &[String], value: toml::Value) -> Result<(), String> {
    match path {
        [] => Err("names no key".into()),
        [key] => {
            table.insert(key.clone(), value);
            Ok(())
        }
        [section, rest @ ..] => {
            let inner = table.entry(section.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let inner = inner.as_table_mut().ok_or_else(|| format!("`{section}` is a key, not a section"))?;
            insert(inner, rest, value)
        }
    }
}

fn parse_error(path: &Path, message: &str) -> ConfigError {
    let hint = Hint::from_message(message);
    ConfigError::Parse { path: path.into(), message: message.trim_end().into(), hint }
}

fn or_default(folder: &Path, given: &Path, data_dir: &Path, name: &str) -> PathBuf {
    if given.as_os_str().is_empty() { data_dir.join(name) } else { folder.join(given) }
}

/// The rule of the genesis file.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(allowed)
}

fn within(key: &str, value: Duration, least: &str, most: &str) -> Option<String> {
    let (min, max) = (parse_duration(least).ok()?, parse_duration(most).ok()?);
    (value < min || value > max).then(|| format!("{key} ({}) must be from {least} to {most}", friendly(value)))
}

fn below(key: &str, value: Duration, other: &str, limit: Duration) -> Option<String> {
    (value >= limit).then(|| {
        let (value, limit) = (friendly(value), friendly(limit));
        format!("consensus.{key} ({value}) must be less than {other} ({limit})")
    })
}

/// `1500ms` rather than `1s 500ms` is not what people write; jiff's friendly form is.
fn friendly(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration).map_or_else(|_| format!("{duration:?}"), |span| format!("{span:#}"))
}

/// Reads `200ms`, `1s`, `2m 30s`. Negative and sign-less numbers without a unit are refused.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.trim().parse().map_err(|_| format!("{text:?} is not a duration such as \"200ms\" or \"1s\""))?;
    Duration::try_from(span).map_err(|_| format!("{text:?} is negative"))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(de::Error::custom)
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected bytes such as 1048576 or \"16MiB\"")]
    enum Size {
        Number(usize),
        Text(String),
    }
    match Size::deserialize(deserializer)? {
        Size::Number(bytes) => Ok(bytes),
        Size::Text(text) => parse_bytes(&text)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is not a size such as 1048576 or \"16MiB\""))),
    }
}

fn parse_bytes(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: usize = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

/// Levenshtein's distance. Keys are short, so one row is enough.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

const DEFAULT_TOML: &str = r#"# One validator of Unsplit. A key that is left out has the value shown here; only `name` and `data_dir` must be given.
# `--set section.key=value` wins over UNSPLIT_<SECTION>__<KEY>, which wins over this file.
# Relative paths start at this file's folder. Check with: unsplit config check -c FILE

version = 1                        # of this format
name = "node0"                     # this validator's name in the genesis file
data_dir = "/var/lib/unsplit"      # everything is kept here; one process at a time
genesis = "genesis.toml"           # chain id, validators, Byzantine budget, balances: the same on every machine
# key_file = "node.key"            # default: node.key in data_dir; hex, mode 0600

[network]
listen = "0.0.0.0:7601"            # for peers; the only key that is not loopback by default
reconnect_cooldown = "250ms"       # before a lost peer is dialled again; at most 1s
allow_private_ips = true           # peers with private or loopback addresses

# Fixed time-outs. They assume that one message takes at most a third of leader_timeout (333ms with the defaults).
# On a slower network nothing unsafe happens, but views are skipped that need not have been.
[consensus]
block_time = "100ms"               # least time between two blocks
build_timeout = "200ms"            # most time to build one; block_time + build_timeout <= leader_timeout / 2
leader_timeout = "1s"              # without a proposal for so long, the view is given up
certification_timeout = "1500ms"   # from the start of a view to its notarization; more than leader_timeout
skip_timeout = "4s"                # a leader inactive for so long is skipped at once; more than certification_timeout
retry = "250ms"                    # a vote to give up a view is repeated so often; less than skip_timeout

# Others are watched by a detector that tunes itself to a budget of mistakes; the rest bounds it.
[health]
heartbeat_interval = "500ms"       # how often validators say that they are there
heartbeat_timeout = "60s"          # silence that is too long whatever was learned
challenge_timeout = "5s"           # for work with a known answer, which a validator gives itself; at most 120s
max_consecutive_failures = 3       # of such work, and the executor counts as wedged
false_suspicions_per_node_year = 1 # the detector is as fast as this budget lets it be
order_recovery_after = "90s"       # its supervisor restarts a validator that is ill for so long, if more than f say so
slack_floor = 0                    # an alarm when no more validators than so many may fail before finality halts

[mempool]
transactions_max = 20000
bytes_max = "16MiB"
per_account_max = 256              # so that one sender cannot crowd out the others

# Tasks run here under limits that a program cannot lift; a task that breaks one is given back with the reason.
[worker]
slots = 2                          # tasks done at the same time
time_max = "30s"                   # for a program
memory_max = "512MiB"              # for a program
processes_max = 16                 # for a program
commands = {}                      # what `command` tasks may run, e.g. { sort = ["/usr/bin/sort", "-n"] }

[store]
checkpoint_interval = 1000         # blocks between checkpoints; a restart replays about this many at most
checkpoints_kept = 2               # at least 2
blocks_kept = 0                    # 0 keeps all; otherwise at least checkpoint_interval * checkpoints_kept
snapshot_after = 50000             # this many blocks behind, the state is fetched instead; 0: only if nobody has the blocks
indexed_transactions = 200000      # newest ones that can be asked for by id
scrub_bytes_per_second = 1048576   # read in a second to find damage before it is asked for; 0 turns this off

[api]
listen = "127.0.0.1:7700"          # REST, events, metrics
# token_file = "api.token"         # default: api.token in data_dir; writes need it; mode 0600

[log]
level = "info,commonware=warn"     # a level, or a filter; this one leaves out the engine's own chatter
format = "auto"                    # auto (compact on a terminal, json otherwise) | compact | json
"#;

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "name = \"n0\"\ndata_dir = \"data\"\n";

    fn resolve(text: &str, environment: &[(&str, &str)], sets: &[&str]) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
        Config::resolve(Path::new("/etc/unsplit/node.toml"), text, environment, &sets)
    }

    /// What the operator reads when `sets` are laid over a good file; empty when all is well.
    fn complaint(sets: &[&str]) -> String {
        resolve(LEAST, &[], sets).err().map(|error| error.to_string()).unwrap_or_default()
    }

    /// Both sides of an edge: the first value is accepted, the second is refused with words that include the third.
    fn check_edge(accepted: &[&str], refused: &[&str], words: &str) {
        assert_eq!(complaint(accepted), "", "{accepted:?}");
        let complaint = complaint(refused);
        assert!(complaint.contains(words), "{refused:?}: {complaint:?}");
        assert!(complaint.starts_with("/etc/unsplit/node.toml: "), "{complaint:?}");
    }

    #[test]
    fn the_printed_defaults_are_the_defaults() {
        let printed: Config = toml::from_str(&Config::default_toml()).expect("the default parses");
        let defaults = Config { name: "node0".into(), data_dir: "/var/lib/unsplit".into(), ..Config::default() };
        assert_eq!(printed, defaults);
        assert!(resolve(&Config::default_toml(), &[], &[]).is_ok());
    }

    #[test]
    fn every_key_is_printed() {
        let text = Config::default_toml();
        let table: toml::Table = toml::from_str(&text).expect("the default parses");
        let unknown = toml::from_str::<Config>("nothing = 1").expect_err("unknown key").to_string();
        for key in unknown.split('`').skip(3).step_by(2) {
            assert!(table.contains_key(key) || text.contains(&format!("# {key} = ")), "{key} is not printed");
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
        let text = format!("{LEAST}[consensus]\nretry = \"1100ms\"\n");
        let environment = [("UNSPLIT_CONSENSUS__RETRY", "1200ms")];
        let flag = ["consensus.retry=1300ms"];
        let retry = |text: &str, environment: &[(&str, &str)], sets: &[&str]| {
            resolve(text, environment, sets).expect("a good configuration").consensus.retry.as_millis()
        };
        assert_eq!(retry(LEAST, &[], &[]), 250);
        assert_eq!(retry(&text, &[], &[]), 1100);
        assert_eq!(retry(&text, &environment, &[]), 1200);
        assert_eq!(retry(&text, &environment, &flag), 1300);
    }

    #[test]
    fn paths_start_at_the_folder_of_the_file() {
        let config = resolve(LEAST, &[], &["genesis=../genesis.toml"]).expect("good");
        assert_eq!(config.data_dir, Path::new("/etc/unsplit/data"));
        assert_eq!(config.key_file, Path::new("/etc/unsplit/data/node.key"));
        assert_eq!(config.api.token_file, Path::new("/etc/unsplit/data/api.token"));
        assert_eq!(config.genesis, Path::new("/etc/unsplit/../genesis.toml"));
        let config = resolve(LEAST, &[("UNSPLIT__KEY_FILE", "/run/key")], &["data_dir=/d"]).expect("good");
        assert_eq!(config.key_file, Path::new("/run/key"));
        assert_eq!(config.api.token_file, Path::new("/d/api.token"));
    }

    #[test]
    fn a_typo_is_shown_with_line_and_caret_and_what_was_meant() {
        let text = format!("{LEAST}[consensus]\nleader_timout = \"1s\"\n");
        let message = resolve(&text, &[], &[]).expect_err("a typo").to_string();
        assert!(message.starts_with("/etc/unsplit/node.toml: TOML parse error at line 4, column 1"), "{message}");
        assert!(message.contains("^^^^^^^^^^^^^"), "{message}");
        assert!(message.ends_with("did you mean `leader_timeout`?"), "{message}");
    }

    #[test]
    fn a_wrong_value_is_shown_where_it_stands() {
        let text = format!("{LEAST}[consensus]\nretry = \"soon\"\n");
        let message = resolve(&text, &[], &[]).expect_err("no duration").to_string();
        assert!(message.contains("line 4") && message.contains("\"soon\" is not a duration"), "{message}");
    }

    #[test]
    fn the_overlay_that_does_not_fit_is_named() {
        let error = |environment: &[(&str, &str)], sets: &[&str]| {
            resolve(LEAST, environment, sets).expect_err("does not fit").to_string()
        };
        let message = error(&[("UNSPLIT_API__LISTN", "127.0.0.1:1")], &["log.level=debug"]);
        assert!(message.starts_with("UNSPLIT_API__LISTN=127.0.0.1:1: unknown field `listn`"), "{message}");
        assert!(message.ends_with("did you mean `listen`?"), "{message}");
        let message = error(&[], &["log.level=debug", "consensus.retry=soon"]);
        assert!(message.starts_with("--set consensus.retry=soon: \"soon\" is not a duration"), "{message}");
        assert!(error(&[], &["retry"]).contains("has no `=`"));
        assert!(error(&[], &["name.first=x"]).contains("`name` is a key, not a section"));
    }

    #[test]
    fn other_variables_of_ours_are_no_overlays() {
        let environment = [("UNSPLIT_API", "http://127.0.0.1:1"), ("UNSPLIT_LOG", "debug"), ("HOME", "/root")];
        assert!(resolve(LEAST, &environment, &[]).is_ok());
    }

    #[test]
    fn a_value_may_be_bare_quoted_or_a_number() {
        let config = resolve(LEAST, &[], &["name=7", "log.level=\"warn\"", "mempool.bytes_max=2MiB"]).expect("good");
        assert_eq!((config.name.as_str(), config.log.level.as_str()), ("7", "warn"));
        assert_eq!(config.mempool.bytes_max, 2 << 20);
        assert_eq!(resolve(LEAST, &[], &["mempool.bytes_max=2097152"]).expect("good").mempool.bytes_max, 2 << 20);
    }

    #[test]
    fn name_data_directory_and_version_are_needed() {
        assert!(resolve("name = \"n0\"", &[], &[]).expect_err("no folder").to_string().contains("data_dir is missing"));
        assert!(resolve("name = \"n0\"", &[], &["data_dir=x"]).is_ok());
        check_edge(&["name=n"], &["name="], "name (\"\") must be");
        let long = |length| format!("name={}", "n".repeat(length));
        check_edge(&[&long(32)], &[&long(33)], "must be 1 to 32");
        check_edge(&["version=1"], &["version=2"], "version 2 is not 1");
    }

    #[test]
    fn time_outs_follow_each_other() {
        let leader = "at most half of leader_timeout (1s)";
        check_edge(&["consensus.block_time=300ms"], &["consensus.block_time=301ms"], leader);
        check_edge(&["consensus.build_timeout=400ms"], &["consensus.build_timeout=401ms"], leader);
        let words = "consensus.leader_timeout (1s 500ms) must be less than certification_timeout (1s 500ms)";
        check_edge(&["consensus.leader_timeout=1499ms"], &["consensus.leader_timeout=1500ms"], words);
        let words = "must be less than skip_timeout (4s)";
        check_edge(&["consensus.certification_timeout=3999ms"], &["consensus.certification_timeout=4s"], words);
        check_edge(&["consensus.retry=3999ms"], &["consensus.retry=4s"], words);
        check_edge(&["consensus.retry=1ms"], &["consensus.retry=0s"], "must be from 1ms to 10m");
        check_edge(&["consensus.skip_timeout=10m"], &["consensus.skip_timeout=601s"], "must be from 1ms to 10m");
    }

    #[test]
    fn a_lost_peer_is_dialled_again_within_a_second() {
        let key = "network.reconnect_cooldown";
        check_edge(&[&format!("{key}=1s")], &[&format!("{key}=1001ms")], "from 1ms to 1s");
        check_edge(&[&format!("{key}=1ms")], &[&format!("{key}=0ms")], "from 1ms to 1s");
    }

    #[test]
    fn the_mempool_has_sensible_bounds() {
        check_edge(&["mempool.per_account_max=1"], &["mempool.per_account_max=0"], "must be from 1 to");
        check_edge(&["mempool.per_account_max=20000"], &["mempool.per_account_max=20001"], "must be from 1 to");
        check_edge(&["mempool.bytes_max=1MiB"], &["mempool.bytes_max=1023KiB"], "at least 1MiB");
    }

    #[test]
    fn the_bounds_of_health_leave_room_for_the_detector() {
        check_edge(&["health.heartbeat_interval=100ms"], &["health.heartbeat_interval=99ms"], "100ms");
        check_edge(&["health.heartbeat_timeout=1500ms"], &["health.heartbeat_timeout=1499ms"], "three times");
        check_edge(&["health.challenge_timeout=120s"], &["health.challenge_timeout=121s"], "120s");
        check_edge(&["health.max_consecutive_failures=1"], &["health.max_consecutive_failures=0"], "at least 1");
        let budget = |n| format!("health.false_suspicions_per_node_year={n}");
        check_edge(&[&budget(1)], &[&budget(0)], "at least 1");
    }

    #[test]
    fn a_worker_has_slots_limits_and_named_programs() {
        check_edge(&["worker.slots=1"], &["worker.slots=0"], "worker.slots (0) must be from 1 to 1024");
        check_edge(&["worker.memory_max=64MiB"], &["worker.memory_max=63MiB"], "at least 64MiB");
        check_edge(&["worker.processes_max=1"], &["worker.processes_max=0"], "at least 1");
        check_edge(&["worker.time_max=1h"], &["worker.time_max=2h"], "from 10ms to 1h");
        check_edge(
            &["worker.commands={ wc = [\"wc\"] }"],
            &["worker.commands={ wc = [] }"],
            "worker.commands.wc must be",
        );
        check_edge(&[], &["worker.commands={ \"a b\" = [\"wc\"] }"], "1 to 32 of a-z");
    }

    #[test]
    fn pruning_leaves_the_blocks_after_a_checkpoint() {
        check_edge(&["store.checkpoints_kept=2"], &["store.checkpoints_kept=1"], "at least 2");
        check_edge(&["store.checkpoint_interval=1"], &["store.checkpoint_interval=0"], "at least 1");
        check_edge(&["store.blocks_kept=2000"], &["store.blocks_kept=1999"], "at least checkpoint_interval");
        check_edge(&["store.blocks_kept=0"], &["store.blocks_kept=1"], "(2000)");
    }

    #[test]
    fn the_window_is_local() {
        check_edge(&["api.listen=127.0.0.2:7700"], &["api.listen=0.0.0.0:7700"], "a reverse proxy for others");
        check_edge(&["api.listen=[::1]:7700"], &["api.listen=[::]:7700"], "other machines");
        check_edge(&["api.listen=127.0.0.1:1"], &["api.listen=127.0.0.1:0"], "needs a port");
        check_edge(&["network.listen=0.0.0.0:1"], &["network.listen=0.0.0.0:0"], "needs a port");
        check_edge(&[], &["network.listen=127.0.0.1:7700"], "both 127.0.0.1:7700");
    }

    #[test]
    fn sizes_and_distances() {
        assert_eq!(parse_bytes("16MiB"), Some(16 << 20));
        assert_eq!(parse_bytes("16 KiB"), Some(16 << 10));
        for wrong in ["", "MiB", "16MB", "1.5MiB", "-1", "99999999999999999999", "18446744073709551615KiB"] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
        assert_eq!((edits("", "abc"), edits("abc", "abc"), edits("leader", "laeder")), (3, 0, 2));
        assert_eq!(parse_duration("2m 30s"), Ok(Duration::from_secs(150)));
        assert!(parse_duration("5").is_err() && parse_duration("-5s").is_err());
    }
}
