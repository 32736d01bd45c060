//! One consensus engine for each epoch, and who votes in which.
//!
//! Blocks and their store last; an engine lasts for an epoch, with the validators that vote in it, a journal of its own
//! and subchannels of its own: what is said in another epoch is dropped before the engine that would block its sender for
//! it. The channels of the next epoch are open half an epoch early, so that nothing is lost that somebody says who is there
//! sooner. Who follows the chain and has no vote runs an engine too, which signs nothing.
//!
//! Certificates of every epoch have to be checked from the first moment on, before the state is there to say by whom: so
//! the sets of voters are kept in a record of their own, and the state, once there, has the last word.

use crate::{
    blobs::remove,
    chain::{Block, Digest},
    guard::Guard,
    note::Note,
    scheme::Scheme,
};
use bytes::Bytes;
use commonware_codec::DecodeExt as _;
use commonware_consensus::{
    marshal::{self, core::Mailbox, standard::Standard},
    simplex,
    types::{Epoch, Epocher as _, FixedEpocher, Height},
};
use commonware_cryptography::{
    Digestible as _, certificate,
    certificate::Scoped,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_p2p::{
    Sender,
    utils::mux::{MuxHandle, SubReceiver, SubSender},
};
use commonware_runtime::{Clock, Error, Handle, Metrics, Spawner, Storage};
use commonware_utils::{channel::watch, ordered::Set, sync::Mutex};
use ledger::{Decode, DecodeError, Encode, Reader, State, codec, genesis::VALIDATORS_MAX};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tracing::{info, warn};

/// Sets of voters that are read back: one for each time that a set changed.
const SETS_MAX: usize = 1 << 20;

/// Journals that may be left to remove: each start and each epoch leave one.
const JOURNALS_MAX: usize = 1 << 16;

/// Who votes in which epoch, as far as it is decided, and how their votes are checked. Clones share it.
#[derive(Clone)]
pub struct Schemes {
    shared: Arc<Shared>,
}

struct Shared {
    namespace: Vec<u8>,
    key: PrivateKey,
    guard: Guard,
    known: Mutex<Known>,
}

struct Known {
    /// The newest epoch whose voters are known.
    through: u64,
    /// By the first epoch of each set.
    sets: BTreeMap<u64, Arc<Scheme>>,
}

impl Schemes {
    /// The voters of the first epoch are those of the genesis. What this validator signs goes past `guard`.
    pub fn new(namespace: Vec<u8>, key: PrivateKey, guard: Guard, first: Set<PublicKey>) -> Self {
        let known = Mutex::new(Known { through: 0, sets: BTreeMap::new() });
        let schemes = Self { shared: Arc::new(Shared { namespace, key, guard, known }) };
        let scheme = schemes.scheme(first);
        schemes.shared.known.lock().sets.insert(0, Arc::new(scheme));
        schemes
    }

    fn scheme(&self, voters: Set<PublicKey>) -> Scheme {
        let Shared { namespace, key, guard, .. } = &*self.shared;
        Scheme::signer(namespace, voters.clone(), key.clone(), guard.clone())
            .unwrap_or_else(|| Scheme::verifier(namespace, voters))
    }

    /// How votes of an epoch are checked, and cast by who may; nothing while its voters are not known.
    pub fn of(&self, epoch: u64) -> Option<Arc<Scheme>> {
        let known = self.shared.known.lock();
        let (_, scheme) = known.sets.range(..=epoch).next_back().filter(|_| epoch <= known.through)?;
        Some(scheme.clone())
    }

    /// The newest epoch whose voters are known.
    pub fn through(&self) -> u64 {
        self.shared.known.lock().through
    }

    /// These vote in the epoch after the newest that is known.
    fn append(&self, voters: Set<PublicKey>) {
        let through = self.through();
        let is_same = self.of(through).is_some_and(|scheme| *certificate::Scheme::participants(&*scheme) == voters);
        let scheme = (!is_same).then(|| Arc::new(self.scheme(voters)));
        let mut known = self.shared.known.lock();
        known.through = through + 1;
        if let Some(scheme) = scheme {
            known.sets.insert(through + 1, scheme);
        }
    }

    fn replace(&self, sets: &Sets) {
        let schemes: Vec<(u64, Scheme)> =
            sets.sets.iter().map(|(first, voters)| (*first, self.scheme(voters.clone()))).collect();
        let mut known = self.shared.known.lock();
        known.through = sets.through;
        known.sets = schemes.into_iter().map(|(first, scheme)| (first, Arc::new(scheme))).collect();
    }

    fn sets(&self) -> Sets {
        let known = self.shared.known.lock();
        let voters = |scheme: &Arc<Scheme>| certificate::Scheme::participants(&**scheme).clone();
        Sets {
            through: known.through,
            sets: known.sets.iter().map(|(first, scheme)| (*first, voters(scheme))).collect(),
        }
    }
}

impl certificate::Provider for Schemes {
    type Scope = Epoch;
    type Scheme = Scheme;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<Scheme>> {
        self.of(epoch.get()).map(Scoped::scheme)
    }
}

/// What is kept of [`Schemes`].
struct Sets {
    through: u64,
    sets: Vec<(u64, Set<PublicKey>)>,
}

impl Encode for Sets {
    fn write(&self, out: &mut Vec<u8>) {
        self.through.write(out);
        codec::write_count(self.sets.len(), out);
        for (first, voters) in &self.sets {
            first.write(out);
            codec::write_count(voters.len(), out);
            voters.iter().for_each(|voter| out.extend_from_slice(voter.as_ref()));
        }
    }
}

impl Decode for Sets {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let through = u64::read(r)?;
        let count = r.count("sets of voters", SETS_MAX, 8 + 4)?;
        let mut sets = Vec::with_capacity(count);
        for _ in 0..count {
            let first = u64::read(r)?;
            let voters = r.count("voters", VALIDATORS_MAX, 32)?;
            let voters: Result<Vec<PublicKey>, DecodeError> = (0..voters).map(|_| read_voter(r)).collect();
            sets.push((first, Set::from_iter_dedup(voters?)));
        }
        Ok(Self { through, sets })
    }
}

fn read_voter(r: &mut Reader<'_>) -> Result<PublicKey, DecodeError> {
    let key = Bytes::copy_from_slice(r.take(32)?);
    PublicKey::decode(key).map_err(|_| DecodeError::Text { what: "voter", rule: "an Ed25519 public key" })
}

/// Where the engines are to be.
#[derive(Clone, Copy, Debug, Default)]
struct Target {
    /// The newest epoch whose channels are to be open.
    open: u64,
    /// The epoch that is to be voted on; none while the state is not known.
    entered: Option<u64>,
}

/// How the driver tells in which epoch it is.
pub struct Epochs {
    schemes: Schemes,
    note: Note,
    target: watch::Sender<Target>,
}

impl Epochs {
    /// Reads what is known of voters, for whoever checks certificates from the first moment on.
    pub(crate) async fn open<E: Storage>(storage: &E, partition: &str, schemes: Schemes) -> Self {
        let (note, bytes) = Note::open(storage, format!("{partition}epochs")).await;
        match bytes.map(|bytes| Sets::decode(&bytes)) {
            Some(Ok(sets)) if sets.sets.first().is_some_and(|(first, _)| *first == 0) => schemes.replace(&sets),
            Some(Ok(_)) => warn!("the record of voters does not begin with the first epoch; it is made anew"),
            Some(Err(problem)) => warn!(%problem, "the record of voters is not understood; it is made anew"),
            None => {}
        }
        let (target, _) = watch::channel(Target::default());
        Self { schemes, note, target }
    }

    fn targets(&self) -> watch::Receiver<Target> {
        self.target.subscribe()
    }

    /// The newest epoch whose voters are known.
    pub fn through(&self) -> u64 {
        self.schemes.through()
    }

    /// Learns from a state who votes in the epochs that it decides, and opens their channels.
    ///
    /// # Errors
    /// When the storage fails.
    ///
    /// # Panics
    /// If the state holds a key that is no point of the curve, which no genesis does.
    pub(crate) async fn learn<E: Storage>(&mut self, storage: &E, state: &State) -> Result<(), Error> {
        let before = self.through();
        while let Some(voters) = state.voters_of(ledger::Epoch(self.through() + 1)) {
            let keys = voters.iter().map(|voter| crate::chain::public_key(voter).expect("a key of the genesis"));
            self.schemes.append(Set::from_iter_dedup(keys));
        }
        let through = self.through();
        if through > before {
            self.note.write(storage, &self.schemes.sets().encode()).await?;
        }
        self.target.send_if_modified(|target| std::mem::replace(&mut target.open, through) != through);
        Ok(())
    }

    /// The next block to become final is of this epoch.
    pub(crate) fn enter(&self, epoch: u64) {
        self.target.send_if_modified(|target| target.entered.replace(epoch) != Some(epoch));
    }
}

/// An engine's ends of the network: votes, certificates, and what it asks for.
pub(crate) type Channels<S> = [(SubSender<S>, SubReceiver<PublicKey>); 3];

/// What an engine is started with.
pub(crate) struct Launch<S: Sender> {
    pub(crate) epoch: Epoch,
    pub(crate) scheme: Scheme,
    pub(crate) floor: simplex::Floor<Scheme, Digest>,
    /// Where it keeps its journal.
    pub(crate) partition: String,
    pub(crate) channels: Channels<S>,
}

/// What engines are started on.
pub(crate) struct Ground<S: Sender> {
    pub(crate) marshal: Mailbox<Scheme, Standard<Block>>,
    pub(crate) genesis: Digest,
    pub(crate) epocher: FixedEpocher,
    /// Prefix of the partitions.
    pub(crate) partition: String,
    pub(crate) muxes: [MuxHandle<S>; 3],
}

/// Runs the engine of the epoch at hand.
pub(crate) struct Engines<E, S: Sender, L> {
    context: E,
    ground: Ground<S>,
    schemes: Schemes,
    targets: watch::Receiver<Target>,
    launch: L,
    open: BTreeMap<u64, Channels<S>>,
    active: Option<(u64, Handle<()>)>,
}

impl<E, S, L> Engines<E, S, L>
where
    E: Spawner + Clock + Metrics + Storage,
    S: Sender<PublicKey = PublicKey>,
    L: FnMut(Launch<S>) -> Handle<()>,
{
    pub(crate) fn new(context: E, ground: Ground<S>, epochs: &Epochs, launch: L) -> Self {
        let (schemes, targets) = (epochs.schemes.clone(), epochs.targets());
        Self { context, ground, schemes, targets, launch, open: BTreeMap::new(), active: None }
    }

    /// Runs until an engine ends by itself, or the driver is gone. Before the first one starts, `gate` is waited for, which is
    /// told how many vote.
    ///
    /// # Errors
    /// What ended, or what the storage lacks, or why the gate stays shut.
    pub(crate) async fn run<F>(mut self, gate: impl FnOnce(usize) -> F) -> Result<(), String>
    where
        F: Future<Output = Result<(), String>>,
    {
        let mut gate = Some(gate);
        let mut journals = Journals::open(&self.context, &self.ground.partition).await;
        loop {
            let target = *self.targets.borrow_and_update();
            if let Some(entered) = target.entered {
                for epoch in entered..=target.open.min(entered + 1) {
                    self.open(epoch).await?;
                }
                if self.active.as_ref().is_none_or(|(epoch, _)| *epoch != entered) {
                    if let Some(gate) = gate.take() {
                        let voters = self.schemes.of(entered).map(|it| certificate::Scheme::participants(&*it).len());
                        gate(voters.unwrap_or_default()).await?;
                    }
                    self.enter(entered, &mut journals).await?;
                }
            }
            let ended = async {
                match &mut self.active {
                    Some((_, handle)) => drop(handle.await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = self.targets.changed() => if changed.is_err() { return Ok(()) },
                () = ended => return Err("the consensus engine ended".into()),
            }
        }
    }

    async fn open(&mut self, epoch: u64) -> Result<(), String> {
        if self.open.contains_key(&epoch) || self.active.as_ref().is_some_and(|(active, _)| *active >= epoch) {
            return Ok(());
        }
        let mut channels = Vec::with_capacity(self.ground.muxes.len());
        for mux in &mut self.ground.muxes {
            channels.push(mux.register(epoch).await.map_err(|problem| format!("the network ended: {problem}"))?);
        }
        if let Ok(channels) = channels.try_into() {
            self.open.insert(epoch, channels);
        }
        Ok(())
    }

    async fn enter(&mut self, epoch: u64, journals: &mut Journals) -> Result<(), String> {
        let scheme = self.schemes.of(epoch).ok_or_else(|| format!("nobody knows who votes in epoch {epoch}"))?;
        let floor = self.floor(epoch).await?;
        self.open(epoch).await?;
        let channels = self.open.remove(&epoch).ok_or("the network ended")?;
        self.open.retain(|open, _| *open > epoch);
        let ended = self.active.take().map(|(ended, handle)| {
            handle.abort();
            ended
        });
        journals.begin(&self.context, epoch).await;
        let partition = journals.name(epoch);
        let is_voter = certificate::Scheme::me(&*scheme).is_some();
        info!(epoch, voters = certificate::Scheme::participants(&*scheme).len(), is_voter, "epoch entered");
        let scheme = (*scheme).clone();
        let launch = Launch { epoch: Epoch::new(epoch), scheme, floor, partition, channels };
        self.active = Some((epoch, (self.launch)(launch)));
        journals.end_all_but(&self.context, [Some(epoch), ended]).await;
        Ok(())
    }

    /// Where the engine of an epoch begins: at its newest finalized block, or else at the last block of the epoch before.
    /// Its journal goes on from there, and says no more if it is lost: from the beginning of the epoch the engine would wait
    /// for certificates that nobody repeats, while the guard refuses votes on old views.
    async fn floor(&self, epoch: u64) -> Result<simplex::Floor<Scheme, Digest>, String> {
        let Ground { marshal, genesis, epocher, .. } = &self.ground;
        let span = (epocher.first(Epoch::new(epoch)), epocher.last(Epoch::new(epoch)));
        let (Some(first), Some(last)) = span else { return Err(format!("no height is in epoch {epoch}")) };
        if let Some((newest, _)) = marshal.get_info(marshal::Identifier::Latest).await
            && let Some(finalization) = marshal.get_finalization(newest.min(last)).await
            && newest >= first
        {
            return Ok(simplex::Floor::Finalized(finalization));
        }
        let Some(before) = first.get().checked_sub(1) else { return Ok(simplex::Floor::Genesis(*genesis)) };
        match marshal.get_block(Height::new(before)).await {
            Some(block) => Ok(simplex::Floor::Genesis(block.inner().digest())),
            None => Err(format!("block {before}, from which epoch {epoch} begins, is missing from the store")),
        }
    }
}

/// The partitions of the journals that may be there.
pub(crate) async fn journals<E: Storage>(storage: &E, prefix: &str) -> Vec<String> {
    let journals = Journals::open(storage, prefix).await;
    journals.left.iter().map(|epoch| journals.name(*epoch)).collect()
}

/// The journals of engines that are not removed yet.
struct Journals {
    note: Note,
    prefix: String,
    left: BTreeSet<u64>,
}

impl Journals {
    async fn open<E: Storage>(storage: &E, prefix: &str) -> Self {
        let (note, bytes) = Note::open(storage, format!("{prefix}journals")).await;
        let left = bytes.and_then(|bytes| read_journals(&mut Reader::new(&bytes)).ok()).unwrap_or_default();
        Self { note, prefix: prefix.into(), left }
    }

    fn name(&self, epoch: u64) -> String {
        format!("{}votes-{epoch}", self.prefix)
    }

    /// An engine is about to make one.
    async fn begin<E: Storage>(&mut self, storage: &E, epoch: u64) {
        if self.left.insert(epoch) {
            self.keep(storage).await;
        }
    }

    /// Removes all but those of these epochs: an engine that was just ended may still be writing to its own. What cannot
    /// be removed is tried again at the next epoch.
    async fn end_all_but<E: Storage>(&mut self, storage: &E, kept: [Option<u64>; 2]) {
        for old in self.left.clone().into_iter().filter(|old| !kept.contains(&Some(*old))) {
            match remove(storage, &self.name(old)).await {
                Ok(()) => drop(self.left.remove(&old)),
                Err(problem) => warn!(epoch = old, %problem, "an old journal cannot be removed"),
            }
        }
        self.keep(storage).await;
    }

    async fn keep<E: Storage>(&mut self, storage: &E) {
        let mut bytes = Vec::new();
        codec::write_count(self.left.len(), &mut bytes);
        self.left.iter().for_each(|epoch| epoch.write(&mut bytes));
        if let Err(problem) = self.note.write(storage, &bytes).await {
            warn!(%problem, "the list of journals is not written: one may be left behind");
        }
    }
}

fn read_journals(r: &mut Reader<'_>) -> Result<BTreeSet<u64>, DecodeError> {
    let count = r.count("journals", JOURNALS_MAX, 8)?;
    (0..count).map(|_| u64::read(r)).collect()
}
