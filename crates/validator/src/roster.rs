//! Who are the validators, by name, key and address?

use crate::chain::public_key;
use commonware_cryptography::ed25519::PublicKey;
use ledger::{Genesis, GenesisValidator};
use std::collections::BTreeMap;

/// The validators of the genesis file, in its order.
#[derive(Clone, Debug)]
pub struct Roster {
    members: Vec<Member>,
    by_key: BTreeMap<PublicKey, usize>,
    /// Supervisors, with the place of whom they supervise.
    supervised: BTreeMap<PublicKey, usize>,
}

/// One validator.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its key, as the engine knows it.
    pub key: PublicKey,
    /// What the genesis file says of it.
    pub entry: GenesisValidator,
}

impl Roster {
    /// `None` when a key in the genesis file is no Ed25519 public key; a validated genesis has none such.
    pub fn new(genesis: &Genesis) -> Option<Self> {
        let members: Vec<Member> = genesis
            .validators
            .iter()
            .map(|entry| Some(Member { key: public_key(&entry.key)?, entry: entry.clone() }))
            .collect::<Option<_>>()?;
        let by_key = members.iter().enumerate().map(|(index, member)| (member.key.clone(), index)).collect();
        let supervisors = members.iter().enumerate();
        let supervisors = supervisors.filter_map(|(index, member)| Some((index, member.entry.supervisor.as_ref()?)));
        let supervised = supervisors
            .map(|(index, supervisor)| Some((public_key(&supervisor.key)?, index)))
            .collect::<Option<_>>()?;
        Some(Self { members, by_key, supervised })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// All of them, in genesis order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The place of `key` in genesis order.
    pub fn index(&self, key: &PublicKey) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// The place of the validator whose supervisor has this key.
    pub fn supervised(&self, supervisor: &PublicKey) -> Option<usize> {
        self.supervised.get(supervisor).copied()
    }

    /// The supervisors, with the place of whom they supervise.
    pub fn supervisors(&self) -> impl Iterator<Item = (&PublicKey, usize)> {
        self.supervised.iter().map(|(key, index)| (key, *index))
    }

    /// The validator with this name.
    pub fn named(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.entry.name == name)
    }

    /// The place of the validator with this name in genesis order.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|member| member.entry.name == name)
    }

    /// What to call the holder of `key`.
    pub fn name(&self, key: &PublicKey) -> String {
        self.index(key).map_or_else(|| key.to_string(), |index| self.members[index].entry.name.clone())
    }

    /// The same for the key as the ledger writes it.
    pub fn name_of(&self, key: &ledger::PublicKey) -> String {
        let member = self.members.iter().find(|member| member.entry.key == *key);
        member.map_or_else(|| key.to_string(), |member| member.entry.name.clone())
    }

    /// Names by key.
    pub fn names(&self) -> BTreeMap<PublicKey, String> {
        self.members.iter().map(|member| (member.key.clone(), member.entry.name.clone())).collect()
    }
}
