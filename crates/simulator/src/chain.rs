//! Are the blocks that nodes hold in order, certified, and without loss?
//!
//! Looks at the whole chain of every node at the end of a run, with nothing but the blocks, the finalizations and the
//! genesis to go by.

use crate::{
    Checker,
    ballots::{Kind, verify},
    book::Book,
    electorate::{Electorate, quorum},
    load::Load,
    tasks::{self, Counted, Held},
    world::World,
};
use commonware_codec::Encode as _;
use commonware_consensus::{
    marshal::{core::Mailbox, standard::Standard},
    simplex::types::Finalization,
    types::Height,
};
use commonware_cryptography::ed25519::{self, Signature};
use commonware_utils::{ordered::Set, sync::Mutex};
use ledger::{Block, Hash, PublicKey, TxId};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use validator::{chain::Digest, scheme::Scheme};

/// Blocks asked for at once.
const BATCH: u64 = 64;

/// A node's store of blocks.
pub(crate) type Marshal = Mailbox<Scheme, Standard<validator::chain::Block>>;

/// Blocks that nodes need not keep, as the first of them had them. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct History(Arc<Mutex<BTreeMap<u64, Link>>>);

impl History {
    /// A node says that this block is final.
    pub(crate) async fn note(&self, marshal: &Marshal, height: u64) {
        if !self.0.lock().contains_key(&height) {
            let link = Link::read(marshal, height).await;
            if link.block.is_some() {
                self.0.lock().insert(height, link);
            }
        }
    }

    fn get(&self, height: u64) -> Option<Link> {
        self.0.lock().get(&height).cloned()
    }
}

/// What one node holds.
pub(crate) struct Chain {
    pub(crate) name: String,
    /// Balances and state root after the newest block, as the node has them.
    pub(crate) balances: BTreeMap<PublicKey, (u64, u64)>,
    /// What the node has of tasks after it.
    tasks: Held,
    links: Vec<Link>,
}

#[derive(Clone)]
struct Link {
    height: u64,
    block: Option<Block>,
    finalization: Option<Finalization<Scheme, Digest>>,
}

impl Link {
    async fn read(marshal: &Marshal, height: u64) -> Self {
        let at = Height::new(height);
        let block = marshal.get_block(at).await.map(|block| block.inner().ledger().clone());
        Self { height, block, finalization: marshal.get_finalization(at).await }
    }
}

impl Chain {
    /// Reads all blocks up to `tip`; those that it need not keep are taken from the history.
    pub(crate) async fn read(
        name: String,
        marshal: &Marshal,
        state: &ledger::State,
        history: Option<&History>,
    ) -> Self {
        let mut links = Vec::new();
        let tip = state.height().0;
        let mut from = 1;
        while from <= tip {
            let to = tip.min(from + BATCH - 1);
            let batch = (from..=to).map(|height| Link::read(marshal, height));
            links.extend(futures::future::join_all(batch).await);
            from = to + 1;
        }
        // Only from the lowest: a hole in what is kept is one.
        for link in links.iter_mut().take_while(|link| link.block.is_none()) {
            if let Some(kept) = history.and_then(|history| history.get(link.height)) {
                *link = kept;
            }
        }
        let balances = state.accounts().map(|(key, account)| (key, (account.balance.0, account.nonce.0))).collect();
        Self { name, balances, tasks: Held::of(state), links }
    }

    /// The blocks that are there, in order.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.links.iter().filter_map(|link| link.block.as_ref())
    }

    pub(crate) fn tip(&self) -> u64 {
        self.links.last().map_or(0, |link| link.height)
    }
}

/// Checks the chains of all nodes against each other, the book and what clients were told. Gives what went wrong with tasks
/// on the node where it is worst.
pub(crate) fn check(
    (world, electorate): (&World, &Electorate),
    chains: &[Chain],
    load: &Load,
    book: &mut Book,
    at_ms: u64,
) -> Counted {
    let mut verified = BTreeSet::new();
    let mut counted = Counted::default();
    for chain in chains {
        let mut wrong = Vec::new();
        let mut accuse = |checker, what: String| wrong.push((checker, what));
        let blocks = blocks(chain, &mut accuse).unwrap_or_default();
        if !blocks.is_empty() {
            check_certificates((world, electorate), chain, &mut verified, &mut accuse);
            check_sum(world, chain, &blocks, &mut accuse);
            check_reports(chain, &blocks, load, &mut accuse);
            counted = counted.max(tasks::check(world, &blocks, &chain.tasks, load, book, &mut accuse));
        }
        for (checker, what) in wrong {
            book.accuse(checker, at_ms, format!("{}: {what}", chain.name));
        }
        for block in blocks {
            // Digests are computed anew from the blocks' content, and every block names the state before it.
            book.finalized(&chain.name, block.height.0, &block.digest().to_string(), at_ms);
            book.state(&chain.name, block.height.0 - 1, &block.parent_state_root.to_string(), at_ms);
        }
    }
    let reached = chains.iter().map(Chain::tip).max().unwrap_or(0);
    if let Some((id, (height, who))) = load.finalized.iter().find(|(_, (height, _))| *height > reached) {
        let what = format!("{who} reported {id} final in block {height}, but no node has come further than {reached}");
        book.accuse(Checker::Durability, at_ms, what);
    }
    counted
}

/// All blocks in order, or none if one is missing.
fn blocks<'a>(chain: &'a Chain, accuse: &mut impl FnMut(Checker, String)) -> Option<Vec<&'a Block>> {
    let mut blocks = Vec::new();
    for link in &chain.links {
        let Some(block) = &link.block else {
            accuse(Checker::Durability, format!("block {} is missing below its height {}", link.height, chain.tip()));
            return None;
        };
        if block.height.0 != link.height {
            accuse(Checker::Agreement, format!("the block at {} says that it is at {}", link.height, block.height));
        }
        blocks.push(block);
    }
    Some(blocks)
}

/// From the tip down: each block has a certificate of its own, or is the parent of one that is covered.
fn check_certificates(
    (world, electorate): (&World, &Electorate),
    chain: &Chain,
    verified: &mut BTreeSet<(usize, Vec<u8>, Vec<u8>)>,
    accuse: &mut impl FnMut(Checker, String),
) {
    let mut covered: Option<Hash> = None;
    for link in chain.links.iter().rev() {
        let Some(block) = &link.block else { return };
        let digest = block.digest();
        match &link.finalization {
            Some(finalization) if finalization.proposal.payload.0 != digest.0 => {
                let what = format!("block {} is {digest}, its certificate is for another", link.height);
                accuse(Checker::Certificates, what);
            }
            Some(finalization) => {
                let voters = electorate.of(block.epoch.0);
                let signers = signers((world, voters), finalization, verified);
                let needed = quorum(voters.len());
                if signers < needed {
                    let what = format!("block {} has {signers} valid signatures, {needed} are needed", link.height);
                    accuse(Checker::Certificates, what);
                }
            }
            None if covered == Some(digest) => {}
            None => accuse(Checker::Certificates, format!("nothing certifies block {}", link.height)),
        }
        covered = Some(block.parent);
    }
}

/// How many distinct validators signed. `verified` remembers good signatures: nodes hold much the same ones.
fn signers(
    (world, participants): (&World, &Set<ed25519::PublicKey>),
    finalization: &Finalization<Scheme, Digest>,
    verified: &mut BTreeSet<(usize, Vec<u8>, Vec<u8>)>,
) -> usize {
    let namespace = validator::validator::namespace(&world.genesis);
    let message = finalization.proposal.encode().to_vec();
    let certificate = &finalization.certificate;
    let mut distinct = BTreeSet::new();
    for (signer, signature) in certificate.signers.iter().zip(&certificate.signatures) {
        let index = usize::from(signer);
        let (Some(key), Some(signature)) = (participants.iter().nth(index), signature.get()) else { continue };
        let fingerprint = (index, message.clone(), bytes(signature));
        if verified.contains(&fingerprint) || verify(&namespace, key, Kind::Finalize, &message, signature) {
            verified.insert(fingerprint);
            distinct.insert(index);
        }
    }
    distinct.len()
}

fn bytes(signature: &Signature) -> Vec<u8> {
    signature.encode().to_vec()
}

/// Moves balances by the blocks alone and compares the sum at every block, and all of it at the end.
fn check_sum(world: &World, chain: &Chain, blocks: &[&Block], accuse: &mut impl FnMut(Checker, String)) {
    let mut accounts: BTreeMap<PublicKey, (i128, u64)> =
        world.genesis.balances.iter().map(|entry| (entry.account, (i128::from(entry.amount.0), 0))).collect();
    let sum = |accounts: &BTreeMap<PublicKey, (i128, u64)>| accounts.values().map(|(balance, _)| balance).sum::<i128>();
    let supply = sum(&accounts);
    for block in blocks {
        for transaction in &block.transactions {
            let given = match &transaction.kind {
                ledger::Kind::Transfer { to, amount } => Some((*to, i128::from(amount.0))),
                ledger::Kind::SubmitTask(_) | ledger::Kind::CancelTask { .. } => None,
                // These are of validators, about leases and each other; numbers of their own order them.
                ledger::Kind::CompleteTask { .. }
                | ledger::Kind::DeclineTask { .. }
                | ledger::Kind::RenewLease { .. }
                | ledger::Kind::Suspect { .. }
                | ledger::Kind::Withdraw { .. }
                | ledger::Kind::Alive { .. }
                | ledger::Kind::Drain { .. }
                | ledger::Kind::Undrain { .. }
                | ledger::Kind::Certify { .. }
                | ledger::Kind::Leave { .. }
                | ledger::Kind::Stay { .. }
                | ledger::Kind::Join(_)
                | ledger::Kind::Approve { .. }
                | ledger::Kind::CaughtUp(_)
                | ledger::Kind::Retract { .. } => continue,
            };
            let sender = accounts.entry(transaction.account).or_default();
            if sender.1 != transaction.nonce.0 {
                let what = format!("block {} has nonce {} where {} is due", block.height, transaction.nonce, sender.1);
                accuse(Checker::Conservation, what);
            }
            sender.1 += 1;
            let Some((to, amount)) = given else { continue };
            sender.0 -= amount;
            if sender.0 < 0 {
                accuse(Checker::Conservation, format!("block {} overdraws {}", block.height, transaction.account));
            }
            accounts.entry(to).or_default().0 += amount;
        }
        if sum(&accounts) != supply {
            accuse(Checker::Conservation, format!("block {} changes the sum of all balances", block.height));
        }
    }
    let held: BTreeMap<PublicKey, (i128, u64)> =
        chain.balances.iter().map(|(key, (balance, nonce))| (*key, (i128::from(*balance), *nonce))).collect();
    accounts.retain(|_, account| *account != (0, 0));
    if held != accounts {
        accuse(
            Checker::Conservation,
            format!("the balances after block {} do not follow from the blocks", chain.tip()),
        );
    }
}

fn check_reports(chain: &Chain, blocks: &[&Block], load: &Load, accuse: &mut impl FnMut(Checker, String)) {
    let mut found: BTreeMap<TxId, u64> = BTreeMap::new();
    for block in blocks {
        for transaction in &block.transactions {
            if let Some(earlier) = found.insert(transaction.id(), block.height.0) {
                let what = format!("{} is in block {earlier} and again in {}", transaction.id(), block.height);
                accuse(Checker::Durability, what);
            }
        }
    }
    for (id, (height, who)) in load.finalized.iter().filter(|(_, (height, _))| *height <= chain.tip()) {
        match found.get(id) {
            Some(at) if at == height => {}
            Some(at) => {
                accuse(Checker::Durability, format!("{id} is in block {at}, but {who} reported it in {height}"));
            }
            None => accuse(Checker::Durability, format!("{id} is lost; {who} reported it final in block {height}")),
        }
    }
}

/// Stands for all that was finalized.
pub(crate) fn digest(book: &Book) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for (height, digest) in book.digests() {
        hasher.update(height.to_be_bytes());
        hasher.update(digest);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scenario, Violation};
    use commonware_consensus::{
        simplex::types::Proposal,
        types::{Epoch, Round, View},
    };
    use commonware_cryptography::{
        Signer as _,
        certificate::Signers,
        ed25519::{PrivateKey, certificate::Certificate},
    };
    use commonware_utils::Participant;
    use ledger::{Amount, Nonce, Timestamp, Transaction};

    fn world() -> World {
        World::new(&Scenario::named("four-nodes").expect("there is one"), 1)
    }

    fn transfer(world: &World, nonce: u64, amount: u64) -> Transaction {
        let kind = ledger::Kind::Transfer { to: world.accounts[1].public(), amount: Amount(amount) };
        Transaction::sign(&world.accounts[0], world.chain(), Nonce(nonce), ledger::Height(u64::MAX), kind)
    }

    /// Three blocks with a transfer of 5 each, certified by three of four, as an honest node would hold them.
    fn honest(world: &World) -> Chain {
        let genesis = Block::genesis(&world.genesis);
        let mut blocks = vec![genesis];
        for height in 1..=3 {
            let parent = blocks.last().expect("begins with the genesis");
            let block = Block {
                height: ledger::Height(height),
                parent: parent.digest(),
                view: ledger::View(height),
                timestamp: Timestamp(parent.timestamp.0 + 1),
                transactions: vec![transfer(world, height - 1, 5)],
                ..parent.clone()
            };
            blocks.push(block);
        }
        let link = |block: Block| Link {
            height: block.height.0,
            finalization: Some(certify(world, &block, &[0, 1, 2])),
            block: Some(block),
        };
        let links = blocks.into_iter().skip(1).map(link).collect();
        let mut balances: BTreeMap<PublicKey, (u64, u64)> =
            world.genesis.balances.iter().map(|entry| (entry.account, (entry.amount.0, 0))).collect();
        let mut change = |account: usize, by: i64, nonces: u64| {
            let entry = balances.get_mut(&world.accounts[account].public()).expect("every client is funded");
            *entry = (entry.0.checked_add_signed(by).expect("funds suffice"), entry.1 + nonces);
        };
        change(0, -15, 3);
        change(1, 15, 0);
        Chain { name: "n0".into(), balances, tasks: Held::none(world), links }
    }

    fn certify(world: &World, block: &Block, signers: &[u32]) -> Finalization<Scheme, Digest> {
        let round = Round::new(Epoch::new(0), View::new(block.view.0));
        let payload = validator::chain::digest(block.digest());
        let proposal = Proposal::new(round, View::new(block.view.0 - 1), payload);
        let namespace = [validator::validator::namespace(&world.genesis).as_slice(), b"_FINALIZE"].concat();
        let participants: Vec<_> = world.participants().iter().cloned().collect();
        let sign = |signer: &u32| {
            let key = &participants[*signer as usize];
            let secret: &PrivateKey = world.keys.iter().find(|secret| secret.public_key() == *key).expect("ours");
            secret.sign(&namespace, &proposal.encode()).into()
        };
        let signatures = signers.iter().map(sign).collect();
        let signers = Signers::new(4, signers.iter().map(|signer| Participant::new(*signer))).expect("distinct");
        Finalization { proposal, certificate: Certificate { signers, signatures } }
    }

    /// Who accuses a chain that was changed like this, given what clients were told?
    fn accusers(change: impl FnOnce(&World, &mut Chain, &mut Load)) -> Vec<Checker> {
        let world = world();
        let (mut chain, mut load) = (honest(&world), Load::new(2));
        load.finalized.insert(transfer(&world, 1, 5).id(), (2, "n3".into()));
        change(&world, &mut chain, &mut load);
        let mut book = Book::default();
        let electorate = Electorate::new(world.participants());
        check((&world, &electorate), &[chain], &load, &mut book, 0);
        let mut accusers: Vec<Checker> = book.violations().iter().map(|Violation { checker, .. }| *checker).collect();
        accusers.dedup();
        accusers
    }

    #[test]
    fn an_honest_chain_is_not_accused() {
        assert_eq!(accusers(|_, _, _| {}), []);
    }

    #[test]
    fn a_block_without_a_certificate_is_covered_by_its_child_and_the_newest_by_nothing() {
        assert_eq!(accusers(|_, chain, _| chain.links[1].finalization = None), []);
        assert_eq!(accusers(|_, chain, _| chain.links[2].finalization = None), [Checker::Certificates]);
    }

    #[test]
    fn a_certificate_needs_a_quorum_of_good_signatures_for_this_very_block() {
        let two = |world: &World, chain: &mut Chain, _: &mut Load| {
            let block = chain.links[2].block.clone().expect("held");
            chain.links[2].finalization = Some(certify(world, &block, &[0, 1]));
        };
        assert_eq!(accusers(two), [Checker::Certificates]);
        let forged = |world: &World, chain: &mut Chain, _: &mut Load| {
            let block = chain.links[2].block.clone().expect("held");
            let mut certificate = certify(world, &block, &[0, 1, 2]);
            certificate.certificate.signatures[2] = certificate.certificate.signatures[1].clone();
            chain.links[2].finalization = Some(certificate);
        };
        assert_eq!(accusers(forged), [Checker::Certificates]);
        let stolen = |_: &World, chain: &mut Chain, _: &mut Load| {
            chain.links[2].finalization = chain.links[1].finalization.clone();
        };
        assert_eq!(accusers(stolen), [Checker::Certificates]);
    }

    #[test]
    fn a_hole_in_the_chain_is_a_loss() {
        assert_eq!(accusers(|_, chain, _| chain.links[0].block = None), [Checker::Durability]);
    }

    #[test]
    fn a_report_must_be_found_where_it_says() {
        let lost = |world: &World, _: &mut Chain, load: &mut Load| {
            load.finalized.insert(transfer(world, 0, 6).id(), (1, "n2".into()));
        };
        assert_eq!(accusers(lost), [Checker::Durability]);
        let moved = |world: &World, _: &mut Chain, load: &mut Load| {
            load.finalized.insert(transfer(world, 0, 5).id(), (2, "n2".into()));
        };
        assert_eq!(accusers(moved), [Checker::Durability]);
        let ahead = |world: &World, _: &mut Chain, load: &mut Load| {
            load.finalized.insert(transfer(world, 3, 5).id(), (4, "n2".into()));
        };
        assert_eq!(accusers(ahead), [Checker::Durability]);
    }

    #[test]
    fn money_out_of_nowhere_is_noticed() {
        let richer = |world: &World, chain: &mut Chain, _: &mut Load| {
            chain.balances.get_mut(&world.accounts[1].public()).expect("funded").0 += 1;
        };
        assert_eq!(accusers(richer), [Checker::Conservation]);
    }

    /// The newest block holds these transfers instead of its own.
    fn accusers_of_last(transfers: &[(u64, u64)]) -> Vec<Checker> {
        accusers(|world, chain, _| {
            let block = chain.links[2].block.as_mut().expect("held");
            block.transactions = transfers.iter().map(|(nonce, amount)| transfer(world, *nonce, *amount)).collect();
            let certificate = certify(world, &block.clone(), &[0, 1, 2]);
            chain.links[2].finalization = Some(certificate);
        })
    }

    #[test]
    fn an_overdraft_a_wrong_nonce_and_a_repetition_are_noticed() {
        assert_eq!(accusers_of_last(&[(2, 5)]), []);
        assert_eq!(accusers_of_last(&[(2, u64::MAX)]), [Checker::Conservation]);
        assert_eq!(accusers_of_last(&[(7, 5)]), [Checker::Conservation]);
        assert_eq!(accusers_of_last(&[(2, 5), (1, 5)]), [Checker::Conservation, Checker::Durability]);
    }
}
