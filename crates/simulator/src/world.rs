//! Who takes part, and with which keys?

use crate::{Scenario, plan::Plan};
use commonware_codec::Encode as _;
use commonware_cryptography::{
    Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_utils::ordered::Set;
use ledger::{
    Amount, Certified, ChainId, EpochLimits, Genesis, GenesisBalance, GenesisValidator, Request, SecretKey, TaskLimits,
};
use rand::{SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use validator::{Config, chain::ledger_key};

/// When simulated time begins, in milliseconds since the Unix epoch: 2027-01-01.
const START_MS: u64 = 1_798_761_600_000;

/// What each client owns at first.
const FUNDS: u64 = 1_000_000_000;

/// One running (or stopped) copy of a node; there are two of a twin.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) node: usize,
    /// In which network it is.
    pub(crate) side: usize,
    /// Prefix of its storage partitions.
    pub(crate) partition: String,
}

/// What does not change during a run.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    pub(crate) genesis: Genesis,
    pub(crate) config: Config,
    pub(crate) keys: Vec<PrivateKey>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) accounts: Vec<SecretKey>,
}

impl World {
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let derive = |what: &str, index: usize| derive(seed, what, &[index as u64]);
        let keys: Vec<PrivateKey> = (0..scenario.everybody())
            .map(|index| {
                let bytes = derive("node", index);
                PrivateKey::from_seed(u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes")))
            })
            .collect();
        let accounts: Vec<SecretKey> =
            (0..scenario.load.accounts).map(|index| SecretKey::from_bytes(derive("account", index))).collect();
        let mut config = Config::default();
        config.consensus.block_time = scenario.block_time;
        // Short enough that a run of a minute writes, prunes and restores some.
        config.store.checkpoint_interval = 20 + u64::from(derive("checkpoints", 0)[0]);
        let keeping = &scenario.store;
        if let Some(interval) = keeping.checkpoint_interval {
            config.store.checkpoint_interval = interval;
        }
        (config.store.blocks_kept, config.store.snapshot_after) = (keeping.blocks_kept, keeping.snapshot_after);
        Self {
            plan: Plan::new(scenario, seed),
            genesis: genesis(&keys[..scenario.nodes], &accounts, scenario),
            config,
            instances: instances(scenario),
            keys,
            accounts,
            scenario: scenario.clone(),
            seed,
        }
    }

    pub(crate) fn start_time() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(START_MS)
    }

    pub(crate) fn chain(&self) -> ChainId {
        self.genesis.chain_id.clone()
    }

    /// What a newcomer says of itself.
    pub(crate) fn request(&self, node: usize, replaces: Option<usize>) -> Request {
        Request {
            name: format!("n{node}"),
            address: format!("10.0.0.{}:7601", node + 1),
            region: "simulation".into(),
            capacity: 1,
            replaces: replaces.map(|old| ledger_key(&self.public(old))),
        }
    }

    /// The key that a node signs orders with.
    pub(crate) fn secret(&self, node: usize) -> SecretKey {
        SecretKey::from_bytes(self.keys[node].encode().as_ref().try_into().expect("an Ed25519 key has 32 bytes"))
    }

    pub(crate) fn public(&self, node: usize) -> PublicKey {
        self.keys[node].public_key()
    }

    /// The first validators in the order in which certificates number them.
    pub(crate) fn participants(&self) -> Set<PublicKey> {
        Set::from_iter_dedup(self.keys[..self.scenario.nodes].iter().map(PrivateKey::public_key))
    }
}

/// Lots that follow from the seed, the matter and these numbers, whatever else happens in a run.
pub(crate) fn draw(seed: u64, matter: &str, numbers: &[u64]) -> StdRng {
    StdRng::from_seed(derive(seed, matter, numbers))
}

fn derive(seed: u64, matter: &str, numbers: &[u64]) -> [u8; 32] {
    let mut hasher = Sha256::new().chain_update(matter).chain_update(seed.to_be_bytes());
    numbers.iter().for_each(|number| hasher.update(number.to_be_bytes()));
    hasher.finalize().into()
}

fn genesis(keys: &[PrivateKey], accounts: &[SecretKey], scenario: &Scenario) -> Genesis {
    let validators = keys.iter().enumerate().map(|(index, key)| GenesisValidator {
        name: format!("n{index}"),
        key: ledger_key(&key.public_key()),
        address: format!("10.0.0.{}:7601", index + 1),
        region: "simulation".into(),
        capacity: 1,
        supervisor: None,
    });
    let balances = accounts.iter().map(|key| GenesisBalance { account: key.public(), amount: Amount(FUNDS) });
    let genesis = Genesis {
        version: ledger::genesis::VERSION,
        chain_id: "simulation-devnet".parse().expect("a chain id"),
        byzantine_budget: scenario.byzantine_budget.unwrap_or_else(|| ledger::faults(keys.len())),
        timestamp_ms: START_MS,
        validators: validators.collect(),
        balances: balances.collect(),
        tasks: TaskLimits { keep_blocks: scenario.load.keep_blocks, ..TaskLimits::default() },
        epochs: EpochLimits {
            length: scenario.epoch_length,
            remove_after_ms: u64::try_from(scenario.remove_after.as_millis()).unwrap_or(u64::MAX),
            ..EpochLimits::default()
        },
        certified: Certified::default(),
    };
    genesis.validate().expect("a genesis made here is valid");
    genesis
}

fn instances(scenario: &Scenario) -> Vec<Instance> {
    let twins = scenario.twins();
    let make = |node: usize, side: usize, mark: &str| Instance {
        name: format!("n{node}{mark}"),
        node,
        side,
        partition: format!("n{node}-{side}-"),
    };
    let mut instances = Vec::new();
    let mut honest = 0;
    for node in 0..scenario.everybody() {
        if twins.contains(&node) {
            instances.extend([make(node, 0, ""), make(node, 1, "'")]);
        } else {
            instances.push(make(node, if twins.is_empty() { 0 } else { honest % 2 }, ""));
            honest += 1;
        }
    }
    instances
}
