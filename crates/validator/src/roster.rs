//! Who has a seat, by name, key and address?
//!
//! The validators of the genesis file come first, in its order, and after them those to whom the chain gave a seat, in the
//! order in which it did. Nobody ever moves or goes, so a place names the same validator for ever; only a node that has no
//! seat yet, and is its own roster's last, moves up when others get theirs.

use crate::chain::public_key;
use commonware_cryptography::ed25519::PublicKey;
use commonware_utils::sync::Mutex;
use ledger::{Genesis, GenesisValidator, State};
use std::{collections::BTreeMap, sync::Arc};

/// All that have a seat. Clones share it, and see it grow.
#[derive(Clone, Debug)]
pub struct Roster {
    /// How many the genesis file names.
    first: usize,
    /// Supervisors, with the place of whom they supervise. Only the genesis file names any.
    supervised: Arc<BTreeMap<PublicKey, usize>>,
    /// This node, if it has no seat yet.
    newcomer: Option<Member>,
    seats: Arc<Mutex<Arc<Seats>>>,
}

#[derive(Debug, Default)]
struct Seats {
    members: Vec<Member>,
    by_key: BTreeMap<PublicKey, usize>,
}

impl Seats {
    fn of(members: Vec<Member>) -> Self {
        let by_key = members.iter().enumerate().map(|(index, member)| (member.key.clone(), index)).collect();
        Self { members, by_key }
    }
}

/// One validator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Its key, as the engine knows it.
    pub key: PublicKey,
    /// What the genesis file or its own request says of it.
    pub entry: GenesisValidator,
}

impl Member {
    /// `None` when the key is no Ed25519 public key.
    fn new(entry: GenesisValidator) -> Option<Self> {
        Some(Self { key: public_key(&entry.key)?, entry })
    }
}

/// All members at one moment.
#[derive(Clone, Debug)]
pub struct Members(Arc<Seats>);

impl std::ops::Deref for Members {
    type Target = [Member];

    fn deref(&self) -> &[Member] {
        &self.0.members
    }
}

impl Roster {
    /// `None` when a key in the genesis file is no Ed25519 public key; a validated genesis has none such.
    pub fn new(genesis: &Genesis) -> Option<Self> {
        let members: Vec<Member> = genesis.validators.iter().cloned().map(Member::new).collect::<Option<_>>()?;
        let supervisors = members.iter().enumerate();
        let supervisors = supervisors.filter_map(|(index, member)| Some((index, member.entry.supervisor.as_ref()?)));
        let supervised = supervisors
            .map(|(index, supervisor)| Some((public_key(&supervisor.key)?, index)))
            .collect::<Option<_>>()?;
        let first = members.len();
        let seats = Arc::new(Mutex::new(Arc::new(Seats::of(members))));
        Some(Self { first, supervised: Arc::new(supervised), newcomer: None, seats })
    }

    /// The same as the holder of `key` sees it, who is to be called `name` while the chain does not know it.
    pub fn seen_by(self, key: &PublicKey, name: &str) -> Self {
        if self.index(key).is_some() {
            return self;
        }
        let entry = GenesisValidator {
            name: name.to_owned(),
            key: crate::chain::ledger_key(key),
            address: String::new(),
            region: String::new(),
            capacity: 1,
            supervisor: None,
        };
        let newcomer = Member { key: key.clone(), entry };
        let mut members = self.members().to_vec();
        members.push(newcomer.clone());
        *self.seats.lock() = Arc::new(Seats::of(members));
        Self { newcomer: Some(newcomer), ..self }
    }

    /// Takes over whom a state gives a seat, and says whether that changed anything.
    pub fn follow(&self, state: &State) -> bool {
        let mut members = self.members()[..self.first].to_vec();
        let joined = state.members().into_iter().skip(self.first).map(|joined| GenesisValidator {
            name: joined.name,
            key: joined.key,
            address: joined.address,
            region: joined.region,
            capacity: joined.capacity,
            supervisor: None,
        });
        members.extend(joined.map(|entry| Member::new(entry).expect("the chain gives seats to usable keys only")));
        if let Some(me) = self.newcomer.as_ref().filter(|me| members.iter().all(|other| other.key != me.key)) {
            members.push(me.clone());
        }
        let is_news = *self.members() != *members;
        if is_news {
            *self.seats.lock() = Arc::new(Seats::of(members));
        }
        is_news
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members().len()
    }

    /// How many the genesis file names.
    pub const fn first(&self) -> usize {
        self.first
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    /// All of them, by their places.
    pub fn members(&self) -> Members {
        Members(self.seats.lock().clone())
    }

    /// The place of `key`.
    pub fn index(&self, key: &PublicKey) -> Option<usize> {
        self.seats.lock().by_key.get(key).copied()
    }

    /// The place of the validator whose supervisor has this key.
    pub fn supervised(&self, supervisor: &PublicKey) -> Option<usize> {
        self.supervised.get(supervisor).copied()
    }

    /// The supervisors, with the place of whom they supervise.
    pub fn supervisors(&self) -> impl Iterator<Item = (&PublicKey, usize)> {
        self.supervised.iter().map(|(key, index)| (key, *index))
    }

    /// The validator with this name. A name that a learner gave up may be another's since: the newest has it.
    pub fn named(&self, name: &str) -> Option<Member> {
        self.place(name).map(|place| self.members()[place].clone())
    }

    /// The place of the validator with this name.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.members().iter().rposition(|member| member.entry.name == name)
    }

    /// What to call the holder of `key`.
    pub fn name(&self, key: &PublicKey) -> String {
        self.index(key).map_or_else(|| key.to_string(), |index| self.members()[index].entry.name.clone())
    }

    /// The same for the key as the ledger writes it.
    pub fn name_of(&self, key: &ledger::PublicKey) -> String {
        let members = self.members();
        let member = members.iter().find(|member| member.entry.key == *key);
        member.map_or_else(|| key.to_string(), |member| member.entry.name.clone())
    }

    /// Names by key.
    pub fn names(&self) -> BTreeMap<PublicKey, String> {
        self.members().iter().map(|member| (member.key.clone(), member.entry.name.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{VALIDATOR, apply, chain, genesis, key, state};
    use commonware_cryptography::{Signer as _, ed25519::PrivateKey};
    use ledger::{Height, Kind, Nonce, Request, SecretKey, Transaction};

    /// Gives a seat to the holder of that key: it asks, and the only validator approves.
    fn seat(state: &mut State, who: &SecretKey, name: &str) {
        let sign = |key: &SecretKey, kind| Transaction::sign(key, chain(), Nonce(0), Height(500), kind);
        let request = Request {
            name: name.into(),
            address: format!("{name}:1"),
            region: "local".into(),
            capacity: 1,
            replaces: None,
        };
        apply(state, vec![sign(who, Kind::Join(request))], 1);
        let since = state.height();
        apply(state, vec![sign(&key(VALIDATOR), Kind::Approve { node: who.public(), since })], 1);
        assert!(state.seat(&who.public()).is_some());
    }

    fn names(roster: &Roster) -> Vec<String> {
        roster.members().iter().map(|member| member.entry.name.clone()).collect()
    }

    #[test]
    fn whoever_gets_a_seat_comes_last_and_all_clones_see_it() {
        let (mut state, roster) = (state(), Roster::new(&genesis()).expect("good keys"));
        let clone = roster.clone();
        assert!(!roster.follow(&state), "nobody new");
        seat(&mut state, &key(50), "n1");
        assert!(roster.follow(&state) && !roster.follow(&state));
        seat(&mut state, &key(51), "n2");
        assert!(roster.follow(&state));
        assert_eq!(names(&clone), ["n0", "n1", "n2"]);
        let named = clone.named("n2").expect("it has a seat");
        assert_eq!((named.entry.key, clone.index(&named.key)), (key(51).public(), Some(2)));
        assert_eq!((clone.len(), clone.first()), (3, 1));
    }

    #[test]
    fn a_node_without_a_seat_is_its_own_last_until_it_has_one() {
        let mut state = state();
        let private = PrivateKey::from_seed(7);
        let secret = SecretKey::from_bytes(
            commonware_codec::Encode::encode(&private).as_ref().try_into().expect("an Ed25519 key has 32 bytes"),
        );
        let roster = Roster::new(&genesis()).expect("good keys").seen_by(&private.public_key(), "me");
        assert_eq!(names(&roster), ["n0", "me"]);
        seat(&mut state, &key(50), "n1");
        assert!(roster.follow(&state));
        assert_eq!(
            (names(&roster), roster.index(&private.public_key())),
            (vec!["n0".into(), "n1".into(), "me".into()], Some(2))
        );
        seat(&mut state, &secret, "called");
        assert!(roster.follow(&state));
        assert_eq!(names(&roster), ["n0", "n1", "called"], "as it asked to be called");
    }
}
