//! What does a chain start from?
//!
//! One file that every validator holds a copy of: the chain's name, who validates, who owns what. It is written by hand
//! or by `testnet init` and read by an operator, so every refusal says what is wrong, where, and how to mend it.

use crate::{
    codec::{self, Decode, DecodeError, Encode, Reader},
    digest, tasks,
    types::{Amount, ChainId, Hash, PublicKey, Timestamp, abridged, faults, is_label},
};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The version of the genesis format.
pub const VERSION: u16 = 1;

/// The most validators of a chain: all of them vote in every view, and each vote goes to all.
pub const VALIDATORS_MAX: usize = 1024;

/// The longest name of a validator or region in bytes.
pub const NAME_BYTES_MAX: usize = 32;

/// Releases that may be certified at a time: the one that runs and the one that is rolled out.
pub const RELEASES_MAX: usize = 2;

/// The longest host name in bytes.
const HOST_BYTES_MAX: usize = 255;

/// The longest address in bytes: a host name, a colon and a port.
pub const ADDRESS_BYTES_MAX: usize = HOST_BYTES_MAX + 1 + 5;

/// What a chain starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The format, [`VERSION`].
    pub version: u16,
    /// The chain's name.
    pub chain_id: ChainId,
    /// How many lying validators every validator set must survive, at most [`faults`] of the first set.
    pub byzantine_budget: usize,
    /// When the chain starts, in milliseconds since the Unix epoch; the first block is later.
    pub timestamp_ms: u64,
    /// Who validates.
    pub validators: Vec<GenesisValidator>,
    /// Who owns what. Everything that will ever exist: the sum never changes.
    pub balances: Vec<GenesisBalance>,
    /// How many tasks there may be.
    pub tasks: TaskLimits,
    /// When the set of validators may change.
    pub epochs: EpochLimits,
    /// What may run.
    pub certified: Certified,
}

/// A validator of the first set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisValidator {
    /// What people call it: 1 to 32 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// What it signs with.
    pub key: PublicKey,
    /// Where others reach it, `host:port`.
    pub address: String,
    /// Where it stands: 1 to 32 of `a-z`, `0-9` and `-`.
    pub region: String,
    /// How much work it takes, relative to others; at least 1.
    pub capacity: u32,
    /// Who brings it back; recovery orders of other validators reach nobody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervisor: Option<GenesisSupervisor>,
}

/// `[validator.supervisor]`: the supervisor of a validator, which dials all validators and has no vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisSupervisor {
    /// What it shows to be itself.
    pub key: PublicKey,
    /// Where its connections come from: a host name or an IP address. There is no port, as nobody connects to it.
    pub address: String,
}

/// `[certified]`: SHA-256 of the programs and models that may run, of at most [`RELEASES_MAX`] releases. A supervisor starts
/// nothing else; where a list is empty, it compares nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Certified {
    /// Of `unsplit` itself.
    pub programs: Vec<Hash>,
    /// Of models.
    pub models: Vec<Hash>,
}

impl Certified {
    /// The same in ascending order, each once: the order in which a list was written means nothing.
    pub fn canonical(&self) -> Self {
        let canonical = |hashes: &[Hash]| hashes.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        Self { programs: canonical(&self.programs), models: canonical(&self.models) }
    }

    /// Whether nothing is certified, so that everything may run.
    pub const fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.models.is_empty()
    }
}

/// What an account owns at the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisBalance {
    /// The account.
    pub account: PublicKey,
    /// What it owns.
    pub amount: Amount,
}

/// `[tasks]`: how much of tasks the chain keeps. Whatever is not named has its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskLimits {
    /// Tasks in the state, open and finished ones together; at about a kilobyte of memory each.
    pub tasks_max: u64,
    /// Open tasks of one account.
    pub open_per_account_max: u32,
    /// Tasks that wait for a validator. More are refused: whoever submits learns at once that there is too much to do, and
    /// not by a deadline that passes in the queue.
    pub pending_max: u64,
    /// Bytes of payload of all open tasks.
    pub payload_bytes_max: u64,
    /// For how many blocks a finished task stays in the state, and how far ahead a submission may expire: so no id is
    /// forgotten while a submission that was signed with it may still be taken.
    pub keep_blocks: u64,
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self {
            tasks_max: 1_000_000,
            open_per_account_max: 10_000,
            pending_max: 100_000,
            payload_bytes_max: 256 << 20,
            keep_blocks: 6_000,
        }
    }
}

/// `[epochs]`: when the set of validators may change, and when it must not. Whatever is not named has its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EpochLimits {
    /// Blocks of an epoch. The set changes between epochs only.
    pub length: u64,
    /// For how many milliseconds of lease time a quorum must have held a validator unresponsive before it is removed.
    pub remove_after_ms: u64,
    /// How many validators beyond a quorum must answer after one that answers has left.
    pub slack_min: usize,
}

impl Default for EpochLimits {
    fn default() -> Self {
        Self { length: 256, remove_after_ms: 600_000, slack_min: 0 }
    }
}

/// Why a genesis file is refused. Entries are counted from 1, as an operator counts them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Not TOML, or not of this shape; the text shows the line.
    #[error("{0}")]
    Toml(String),
    /// Another version than this build reads.
    #[error(
        "version {got} is not known; this build reads version {VERSION}: use a build that reads {got}, or rewrite the file"
    )]
    Version {
        /// The version found.
        got: u16,
    },
    /// Nobody validates.
    #[error("there is no validator; add at least one [[validator]] table")]
    NoValidator,
    /// Too many validate.
    #[error("there are {got} validators, at most {VALIDATORS_MAX} can vote in time; remove some [[validator]] tables")]
    TooManyValidators {
        /// How many there are.
        got: usize,
    },
    /// The budget exceeds what the set can survive.
    #[error(
        "byzantine_budget ({got}) must not exceed {max}, a third of {validators} validators less one; lower it or add validators"
    )]
    Budget {
        /// The budget found.
        got: usize,
        /// The most that the set survives.
        max: usize,
        /// The size of the set.
        validators: usize,
    },
    /// A field of a validator breaks its rule.
    #[error("[[validator]] {entry}: {field} must be {rule}, not {got:?}")]
    Field {
        /// Which validator.
        entry: usize,
        /// Which field.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
        /// What it is.
        got: String,
    },
    /// A limit makes no sense.
    #[error("[{table}]: {field} must be at least {min}, not {got}")]
    Limit {
        /// In which table.
        table: &'static str,
        /// Which field.
        field: &'static str,
        /// What it is at least.
        min: u64,
        /// What it is.
        got: u64,
    },
    /// More releases are certified than there may be.
    #[error("[certified]: {field} lists {got} releases, at most {RELEASES_MAX} may run at a time; remove the oldest")]
    Releases {
        /// Which list.
        field: &'static str,
        /// How many it holds.
        got: usize,
    },
    /// Two entries share what must be their own.
    #[error("[[{table}]] {first} and {second} have the same {field}, {value}; give each its own or remove one")]
    Duplicate {
        /// Which table.
        table: &'static str,
        /// The earlier entry.
        first: usize,
        /// The later entry.
        second: usize,
        /// What they share.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// More exists than can be counted.
    #[error("[[balance]] {entry}: the sum of all amounts exceeds {} here; lower the amounts", u64::MAX)]
    Sum {
        /// The entry at which the sum overflows.
        entry: usize,
    },
}

/// The file as it is written: the tables are named in the singular, and the budget may be left out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u16,
    chain_id: ChainId,
    byzantine_budget: Option<usize>,
    timestamp_ms: u64,
    #[serde(default, rename = "validator")]
    validators: Vec<GenesisValidator>,
    #[serde(default, rename = "balance")]
    balances: Vec<GenesisBalance>,
    #[serde(default)]
    tasks: TaskLimits,
    #[serde(default)]
    epochs: EpochLimits,
    #[serde(default, skip_serializing_if = "Certified::is_empty")]
    certified: Certified,
}

/// Reads the version alone, so that a file of another version is refused for that and not for its first new field.
#[derive(Deserialize)]
struct Versioned {
    version: u16,
}

impl Genesis {
    /// Reads and validates the text of a genesis file.
    pub fn parse(text: &str) -> Result<Self, GenesisError> {
        if let Ok(Versioned { version }) = toml::from_str(text) {
            check_version(version)?;
        }
        let file: File =
            toml::from_str(text).map_err(|error| GenesisError::Toml(error.to_string().trim_end().into()))?;
        let genesis = Self::from(file);
        genesis.validate()?;
        Ok(genesis)
    }

    /// The text that [`Self::parse`] reads back to this.
    pub fn to_toml(&self) -> String {
        toml::to_string(&File::from(self.clone())).expect("strings, integers and tables are all of TOML")
    }

    /// Says what is wrong, if anything is. Fewer than four validators are allowed: they survive no fault, which is for
    /// the caller to warn of.
    pub fn validate(&self) -> Result<(), GenesisError> {
        check_version(self.version)?;
        self.validate_set()?;
        self.validators.iter().zip(1..).try_for_each(|(validator, entry)| validator.validate(entry))?;
        self.validate_distinct()?;
        self.tasks.validate()?;
        self.epochs.validate()?;
        self.certified.validate()?;
        self.validate_sum()
    }

    /// The hash of the content, however it was written: spaces, comments and the order of tables make no difference.
    pub fn hash(&self) -> Hash {
        digest::hash(digest::GENESIS, &[&self.encode()])
    }

    /// When the chain starts.
    pub const fn timestamp(&self) -> Timestamp {
        Timestamp(self.timestamp_ms)
    }

    fn validate_set(&self) -> Result<(), GenesisError> {
        let (validators, got) = (self.validators.len(), self.byzantine_budget);
        let max = faults(validators);
        match validators {
            0 => Err(GenesisError::NoValidator),
            1..=VALIDATORS_MAX if got > max => Err(GenesisError::Budget { got, max, validators }),
            1..=VALIDATORS_MAX => Ok(()),
            _ => Err(GenesisError::TooManyValidators { got: validators }),
        }
    }

    fn validate_distinct(&self) -> Result<(), GenesisError> {
        let validators = &self.validators;
        check_distinct("validator", "name", validators.iter().map(|validator| &validator.name).zip(1..))?;
        // A supervisor that shared a key with a validator would be taken for it.
        let entries = || validators.iter().zip(1..);
        let supervisors = entries().filter_map(|(validator, entry)| Some((&validator.supervisor.as_ref()?.key, entry)));
        let keys = entries().map(|(validator, entry)| (&validator.key, entry));
        check_distinct("validator", "key", keys.chain(supervisors))?;
        check_distinct("validator", "address", validators.iter().map(|validator| &validator.address).zip(1..))?;
        check_distinct("balance", "account", self.balances.iter().map(|balance| &balance.account).zip(1..))
    }

    fn validate_sum(&self) -> Result<(), GenesisError> {
        let mut sum = Amount(0);
        for (balance, entry) in self.balances.iter().zip(1..) {
            sum = sum.plus(balance.amount).ok_or(GenesisError::Sum { entry })?;
        }
        Ok(())
    }
}

impl TaskLimits {
    fn validate(&self) -> Result<(), GenesisError> {
        /// A client that is slow to hand a submission in must not find it expired.
        const KEEP_BLOCKS_MIN: u64 = 10;
        let check = |field, got: u64, min: u64| check_limit("tasks", field, got, min);
        check("tasks_max", self.tasks_max, 1)?;
        check("open_per_account_max", self.open_per_account_max.into(), 1)?;
        check("pending_max", self.pending_max, 1)?;
        check("payload_bytes_max", self.payload_bytes_max, tasks::order::PAYLOAD_BYTES_MAX as u64)?;
        check("keep_blocks", self.keep_blocks, KEEP_BLOCKS_MIN)
    }
}

impl EpochLimits {
    fn validate(&self) -> Result<(), GenesisError> {
        /// Half of it must be enough for everybody to learn who votes in the next.
        const LENGTH_MIN: u64 = 16;
        /// Sooner a pause would be taken for an end.
        const REMOVE_AFTER_MS_MIN: u64 = 1_000;
        check_limit("epochs", "length", self.length, LENGTH_MIN)?;
        check_limit("epochs", "remove_after_ms", self.remove_after_ms, REMOVE_AFTER_MS_MIN)
    }
}

impl Certified {
    fn validate(&self) -> Result<(), GenesisError> {
        let check = |field, got: usize| match got {
            0..=RELEASES_MAX => Ok(()),
            _ => Err(GenesisError::Releases { field, got }),
        };
        check("programs", self.programs.len())?;
        check("models", self.models.len())
    }
}

/// What of a validator breaks its rule.
pub(crate) struct FieldFault {
    pub(crate) field: &'static str,
    /// What it must be.
    pub(crate) rule: &'static str,
    /// What it is.
    pub(crate) got: String,
}

const KEY: &str = "an Ed25519 public key; `unsplit node show-id` prints it";

/// What breaks its rule of what somebody says of itself who validates, or wants to.
pub(crate) fn field_fault(
    key: &PublicKey,
    name: &str,
    address: &str,
    region: &str,
    capacity: u32,
) -> Option<FieldFault> {
    const NAME: &str = "1 to 32 of a-z, 0-9 and -";
    const ADDRESS: &str = "host:port with a port from 1 to 65535";
    const CAPACITY: &str = "at least 1";
    let fault = |field, rule, got: &dyn ToString| Some(FieldFault { field, rule, got: abridged(&got.to_string()) });
    if !is_label(name, NAME_BYTES_MAX) {
        return fault("name", NAME, &name);
    }
    if !is_label(region, NAME_BYTES_MAX) {
        return fault("region", NAME, &region);
    }
    if !is_address(address) {
        return fault("address", ADDRESS, &address);
    }
    if !is_usable(key) {
        return fault("key", KEY, key);
    }
    if capacity < 1 { fault("capacity", CAPACITY, &capacity) } else { None }
}

impl GenesisValidator {
    fn validate(&self, entry: usize) -> Result<(), GenesisError> {
        const HOST: &str = "a host name or an IP address without a port";
        let Self { name, key, address, region, capacity, .. } = self;
        if let Some(FieldFault { field, rule, got }) = field_fault(key, name, address, region, *capacity) {
            return Err(GenesisError::Field { entry, field, rule, got });
        }
        let check = |holds: bool, field, rule, got: &dyn ToString| match holds {
            true => Ok(()),
            false => Err(GenesisError::Field { entry, field, rule, got: abridged(&got.to_string()) }),
        };
        match &self.supervisor {
            Some(GenesisSupervisor { key, address }) => {
                check(is_host(address), "supervisor.address", HOST, address)?;
                check(is_usable(key), "supervisor.key", KEY, key)
            }
            None => Ok(()),
        }
    }
}

/// For the hash only. Entries are sorted by what makes them distinct, since their order in the file means nothing.
impl Encode for Genesis {
    fn write(&self, out: &mut Vec<u8>) {
        self.version.write(out);
        self.chain_id.write(out);
        codec::write_count(self.byzantine_budget, out);
        self.timestamp_ms.write(out);
        codec::write_count(self.validators.len(), out);
        let mut validators: Vec<_> = self.validators.iter().collect();
        validators.sort_by_key(|validator| validator.key);
        validators.into_iter().for_each(|validator| validator.write(out));
        codec::write_count(self.balances.len(), out);
        let mut balances: Vec<_> = self.balances.iter().collect();
        balances.sort_by_key(|balance| balance.account);
        balances.into_iter().for_each(|balance| balance.write(out));
        self.tasks.write(out);
        self.epochs.write(out);
        self.certified.canonical().write(out);
    }
}

impl Encode for TaskLimits {
    fn write(&self, out: &mut Vec<u8>) {
        self.tasks_max.write(out);
        self.open_per_account_max.write(out);
        self.pending_max.write(out);
        self.payload_bytes_max.write(out);
        self.keep_blocks.write(out);
    }
}

impl Decode for TaskLimits {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            tasks_max: u64::read(r)?,
            open_per_account_max: u32::read(r)?,
            pending_max: u64::read(r)?,
            payload_bytes_max: u64::read(r)?,
            keep_blocks: u64::read(r)?,
        })
    }
}

impl Encode for EpochLimits {
    fn write(&self, out: &mut Vec<u8>) {
        self.length.write(out);
        self.remove_after_ms.write(out);
        codec::write_count(self.slack_min, out);
    }
}

impl Decode for EpochLimits {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            length: u64::read(r)?,
            remove_after_ms: u64::read(r)?,
            slack_min: r.count("slack", VALIDATORS_MAX, 0)?,
        })
    }
}

impl Encode for GenesisValidator {
    fn write(&self, out: &mut Vec<u8>) {
        codec::write_bytes(self.name.as_bytes(), out);
        self.key.write(out);
        codec::write_bytes(self.address.as_bytes(), out);
        codec::write_bytes(self.region.as_bytes(), out);
        self.capacity.write(out);
        codec::write_count(usize::from(self.supervisor.is_some()), out);
        if let Some(GenesisSupervisor { key, address }) = &self.supervisor {
            key.write(out);
            codec::write_bytes(address.as_bytes(), out);
        }
    }
}

impl Encode for GenesisBalance {
    fn write(&self, out: &mut Vec<u8>) {
        self.account.write(out);
        self.amount.write(out);
    }
}

impl From<File> for Genesis {
    fn from(file: File) -> Self {
        let budget = file.byzantine_budget.unwrap_or_else(|| faults(file.validators.len()));
        Self {
            version: file.version,
            chain_id: file.chain_id,
            byzantine_budget: budget,
            timestamp_ms: file.timestamp_ms,
            validators: file.validators,
            balances: file.balances,
            tasks: file.tasks,
            epochs: file.epochs,
            certified: file.certified,
        }
    }
}

impl From<Genesis> for File {
    fn from(genesis: Genesis) -> Self {
        Self {
            version: genesis.version,
            chain_id: genesis.chain_id,
            byzantine_budget: Some(genesis.byzantine_budget),
            timestamp_ms: genesis.timestamp_ms,
            validators: genesis.validators,
            balances: genesis.balances,
            tasks: genesis.tasks,
            epochs: genesis.epochs,
            certified: genesis.certified,
        }
    }
}

fn check_limit(table: &'static str, field: &'static str, got: u64, min: u64) -> Result<(), GenesisError> {
    if got >= min { Ok(()) } else { Err(GenesisError::Limit { table, field, min, got }) }
}

const fn check_version(got: u16) -> Result<(), GenesisError> {
    if got != VERSION {
        return Err(GenesisError::Version { got });
    }
    Ok(())
}

fn check_distinct<T: Ord + ToString>(
    table: &'static str,
    field: &'static str,
    values: impl Iterator<Item = (T, usize)>,
) -> Result<(), GenesisError> {
    let mut seen = BTreeMap::new();
    for (value, second) in values {
        if let Some(&first) = seen.get(&value) {
            return Err(GenesisError::Duplicate { table, first, second, field, value: value.to_string() });
        }
        seen.insert(value, second);
    }
    Ok(())
}

fn is_host(text: &str) -> bool {
    // The colons of a port and of IPv6 are told apart by whether it is one.
    text.parse::<IpAddr>().is_ok()
        || !text.is_empty()
            && text.len() <= HOST_BYTES_MAX
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    let port_is_number =
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    text.len() <= ADDRESS_BYTES_MAX && printable && !host.is_empty() && port_is_number
}

/// A weak key would let one signature stand for many messages.
fn is_usable(key: &PublicKey) -> bool {
    VerifyingKey::from_bytes(&key.0).is_ok_and(|key| !key.is_weak())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::SecretKey;

    fn validator(seed: u8) -> GenesisValidator {
        GenesisValidator {
            name: format!("v{seed}"),
            key: SecretKey::from_bytes([seed; 32]).public(),
            address: format!("127.0.0.{seed}:7000"),
            region: "local".to_owned(),
            capacity: 1,
            supervisor: None,
        }
    }

    fn supervisor(seed: u8) -> GenesisSupervisor {
        GenesisSupervisor { key: validator(seed).key, address: format!("127.0.0.{seed}") }
    }

    fn balance(seed: u8, amount: u64) -> GenesisBalance {
        GenesisBalance { account: PublicKey([seed; 32]), amount: Amount(amount) }
    }

    fn genesis() -> Genesis {
        Genesis {
            version: VERSION,
            chain_id: "test-devnet".parse().expect("a chain id"),
            byzantine_budget: 1,
            timestamp_ms: 1_700_000_000_000,
            validators: (1..=4).map(validator).collect(),
            balances: vec![balance(1, 100), balance(2, 50)],
            tasks: TaskLimits::default(),
            epochs: EpochLimits::default(),
            certified: Certified::default(),
        }
    }

    /// What does validation say after this change? The file's text must meet the same answer.
    fn check(change: impl FnOnce(&mut Genesis), expected: Option<&str>) {
        let mut genesis = genesis();
        change(&mut genesis);
        let error = genesis.validate().err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), expected);
        assert_eq!(Genesis::parse(&genesis.to_toml()).err().map(|error| error.to_string()), error);
    }

    #[test]
    fn the_text_reads_back_to_the_same_genesis() {
        let text = genesis().to_toml();
        assert!(text.starts_with("version = 1\nchain_id = \"test-devnet\"\nbyzantine_budget = 1\n"), "{text}");
        assert!(text.contains("\n[[validator]]\nname = \"v1\"\n") && text.contains("\n[[balance]]\n"), "{text}");
        assert_eq!(Genesis::parse(&text), Ok(genesis()));
    }

    #[test]
    fn the_largest_amount_can_be_written_and_read() {
        let mut genesis = genesis();
        (genesis.timestamp_ms, genesis.balances) = (u64::MAX, vec![balance(1, u64::MAX)]);
        assert_eq!(Genesis::parse(&genesis.to_toml()), Ok(genesis));
    }

    #[test]
    fn a_budget_that_is_left_out_is_all_that_the_set_survives() {
        let text = genesis().to_toml().replace("byzantine_budget = 1\n", "");
        assert_eq!(Genesis::parse(&text), Ok(genesis()));
    }

    #[test]
    fn a_typo_is_shown_with_line_and_caret() {
        let text = genesis().to_toml().replacen("region", "regoin", 1);
        let error = Genesis::parse(&text).expect_err("no such field").to_string();
        assert!(error.contains("line 10") && error.contains("^^^^^^") && error.contains("`regoin`"), "{error}");
        let text = genesis().to_toml().replace("test-devnet", "Test");
        let error = Genesis::parse(&text).expect_err("no chain id").to_string();
        assert!(error.contains("line 2") && error.contains("1 to 64 of a-z"), "{error}");
    }

    #[test]
    fn a_newer_file_is_refused_for_its_version_and_not_for_its_fields() {
        let error = Genesis::parse("version = 2\nshards = 3\n").expect_err("newer");
        assert_eq!(error, GenesisError::Version { got: 2 });
    }

    #[test]
    fn a_small_set_survives_no_fault_and_is_allowed() {
        for n in 1..=3 {
            check(|genesis| (genesis.validators.truncate(n), genesis.byzantine_budget = 0).0, None);
        }
        check(
            |genesis| genesis.validators.clear(),
            Some("there is no validator; add at least one [[validator]] table"),
        );
    }

    #[test]
    fn a_budget_up_to_a_third_is_allowed() {
        check(|genesis| genesis.byzantine_budget = 0, None);
        check(
            |genesis| genesis.byzantine_budget = 2,
            Some(
                "byzantine_budget (2) must not exceed 1, a third of 4 validators less one; lower it or add validators",
            ),
        );
    }

    #[test]
    fn what_must_be_distinct_is_named_with_both_places() {
        check(
            |genesis| genesis.validators[2].name = "v1".to_owned(),
            Some("[[validator]] 1 and 3 have the same name, v1; give each its own or remove one"),
        );
        check(
            |genesis| genesis.validators[3].address = "127.0.0.2:7000".to_owned(),
            Some("[[validator]] 2 and 4 have the same address, 127.0.0.2:7000; give each its own or remove one"),
        );
        let key = validator(1).key;
        check(
            |genesis| genesis.validators[1].key = key,
            Some(&format!("[[validator]] 1 and 2 have the same key, {key}; give each its own or remove one")),
        );
        let account = PublicKey([1; 32]);
        check(
            |genesis| genesis.balances[1].account = account,
            Some(&format!("[[balance]] 1 and 2 have the same account, {account}; give each its own or remove one")),
        );
    }

    #[test]
    fn a_sum_that_can_be_counted_is_allowed() {
        check(|genesis| genesis.balances[1].amount = Amount(u64::MAX - 100), None);
        check(
            |genesis| genesis.balances[1].amount = Amount(u64::MAX - 99),
            Some("[[balance]] 2: the sum of all amounts exceeds 18446744073709551615 here; lower the amounts"),
        );
    }

    #[test]
    fn a_field_that_breaks_its_rule_is_named() {
        check(|genesis| genesis.validators[0].name = "x".repeat(32), None);
        check(
            |genesis| genesis.validators[1].name = "Node 2".to_owned(),
            Some(r#"[[validator]] 2: name must be 1 to 32 of a-z, 0-9 and -, not "Node 2""#),
        );
        check(
            |genesis| genesis.validators[0].region = String::new(),
            Some(r#"[[validator]] 1: region must be 1 to 32 of a-z, 0-9 and -, not """#),
        );
        check(
            |genesis| genesis.validators[3].capacity = 0,
            Some(r#"[[validator]] 4: capacity must be at least 1, not "0""#),
        );
        let weak = PublicKey::ZERO;
        check(
            |genesis| genesis.validators[0].key = weak,
            Some(&format!(
                "[[validator]] 1: key must be an Ed25519 public key; `unsplit node show-id` prints it, not \"{weak}\""
            )),
        );
    }

    #[test]
    fn limits_of_tasks_have_defaults_and_a_least_value() {
        let text = genesis().to_toml();
        let (before, _) = text.split_once("[tasks]").expect("written out");
        assert_eq!(Genesis::parse(before), Ok(genesis()));
        check(|genesis| genesis.tasks.keep_blocks = 10, None);
        check(|genesis| genesis.tasks.pending_max = 1, None);
        check(|genesis| genesis.tasks.pending_max = 0, Some("[tasks]: pending_max must be at least 1, not 0"));
        check(|genesis| genesis.tasks.keep_blocks = 9, Some("[tasks]: keep_blocks must be at least 10, not 9"));
        check(
            |genesis| genesis.tasks.payload_bytes_max = 65_535,
            Some("[tasks]: payload_bytes_max must be at least 65536, not 65535"),
        );
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["node-1.example:1", "10.0.0.1:65535", "[::1]:7000"] {
            check(|genesis| genesis.validators[0].address = good.to_owned(), None);
        }
        for bad in ["", "host", ":7000", "host:", "host:0", "host:+80", "host:65536", "ho st:80", &"h".repeat(262)] {
            let expected = abridged(bad);
            check(
                |genesis| genesis.validators[0].address = bad.to_owned(),
                Some(&format!(
                    "[[validator]] 1: address must be host:port with a port from 1 to 65535, not {expected:?}"
                )),
            );
        }
    }

    #[test]
    fn a_supervisor_is_nobody_else() {
        check(|genesis| genesis.validators[3].supervisor = Some(supervisor(8)), None);
        let key = validator(2).key;
        check(
            |genesis| genesis.validators[3].supervisor = Some(GenesisSupervisor { key, ..supervisor(8) }),
            Some(&format!("[[validator]] 2 and 4 have the same key, {key}; give each its own or remove one")),
        );
        let key = validator(8).key;
        check(
            |genesis| genesis.validators.iter_mut().take(2).for_each(|entry| entry.supervisor = Some(supervisor(8))),
            Some(&format!("[[validator]] 1 and 2 have the same key, {key}; give each its own or remove one")),
        );
    }

    #[test]
    fn a_supervisor_has_a_host_and_no_port() {
        let at = |address: &str| Some(GenesisSupervisor { address: address.into(), ..supervisor(8) });
        for good in ["node-1.example", "10.0.0.1", "::1"] {
            check(|genesis| genesis.validators[0].supervisor = at(good), None);
        }
        for bad in ["", "host:1", "10.0.0.1:1", "[::1]:1", "ho st", &"h".repeat(256)] {
            let expected = abridged(bad);
            check(
                |genesis| genesis.validators[0].supervisor = at(bad),
                Some(&format!(
                    "[[validator]] 1: supervisor.address must be a host name or an IP address without a port, not {expected:?}"
                )),
            );
        }
    }

    #[test]
    fn two_releases_may_be_certified_and_no_more() {
        let hashes = |count: u8| (0..count).map(|seed| Hash([seed; 32])).collect();
        check(|genesis| genesis.certified = Certified { programs: hashes(2), models: hashes(2) }, None);
        check(
            |genesis| genesis.certified.models = hashes(3),
            Some("[certified]: models lists 3 releases, at most 2 may run at a time; remove the oldest"),
        );
    }

    #[test]
    fn the_set_is_bounded() {
        let mut genesis = genesis();
        genesis.validators = vec![validator(1); VALIDATORS_MAX + 1];
        assert_eq!(genesis.validate(), Err(GenesisError::TooManyValidators { got: 1025 }));
        genesis.validators.pop();
        assert!(matches!(genesis.validate(), Err(GenesisError::Duplicate { .. })));
    }

    #[test]
    fn the_hash_is_of_the_content_and_not_of_the_text() {
        let mut shuffled = genesis();
        shuffled.validators.reverse();
        shuffled.balances.reverse();
        let text = format!("# a comment\n\n{}", shuffled.to_toml());
        assert_eq!(Genesis::parse(&text).expect("valid").hash(), genesis().hash());
    }

    #[test]
    fn every_field_is_part_of_the_hash() {
        let changes: [fn(&mut Genesis); 18] = [
            |genesis| genesis.chain_id = "other".parse().expect("a chain id"),
            |genesis| genesis.byzantine_budget = 0,
            |genesis| genesis.timestamp_ms += 1,
            |genesis| genesis.validators[0].name.push('x'),
            |genesis| genesis.validators[0].key = validator(9).key,
            |genesis| genesis.validators[0].address = "elsewhere:1".to_owned(),
            |genesis| genesis.validators[0].region.push('x'),
            |genesis| genesis.validators[0].capacity += 1,
            |genesis| genesis.balances[0].amount = Amount(99),
            |genesis| genesis.tasks.tasks_max += 1,
            |genesis| genesis.tasks.open_per_account_max += 1,
            |genesis| genesis.tasks.pending_max += 1,
            |genesis| genesis.tasks.payload_bytes_max += 1,
            |genesis| genesis.tasks.keep_blocks += 1,
            |genesis| genesis.validators[0].supervisor = Some(supervisor(8)),
            |genesis| genesis.validators[1].supervisor = Some(supervisor(8)),
            |genesis| genesis.certified.programs = vec![Hash::ZERO],
            |genesis| genesis.certified.models = vec![Hash::ZERO],
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut other = genesis();
            change(&mut other);
            assert_ne!(other.hash(), genesis().hash(), "change {index}");
        }
    }
}
