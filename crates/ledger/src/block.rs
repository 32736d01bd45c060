//! What did we agree on at a height?
//!
//! A block binds its transactions to one place: chain, height, parent, and the state that the parent led to. Epoch, views
//! and leader are what the engine agreed under, kept as plain numbers; whether they fit the engine's own context is for
//! the validator to check, since only it knows the engine.

use crate::{
    codec::{self, Decode, DecodeError, Encode, Reader},
    digest,
    genesis::Genesis,
    state::{self, State},
    transaction::{self, Transaction, read_version},
    types::{ChainId, Epoch, Hash, Height, PublicKey, Timestamp, View},
};

/// The version of the block format.
pub const VERSION: u16 = 1;

/// The most bytes an encoded block takes: one message, sent to all within a fraction of a leader's time.
pub const BYTES_MAX: usize = 1 << 20;

/// The most transactions in a block.
pub const TRANSACTIONS_MAX: usize = 4096;

/// The most execution units in a block: a quarter of a second of one core, a fraction of a leader's time. That is 3,000
/// transfers of which no signature was known before.
pub const UNITS_MAX: u64 = 240_000;

/// The most bytes that a block takes without its transactions: a proposer fills the rest by [`Transaction::size`].
pub const HEADER_BYTES_MAX: usize = FIXED_SIZE + ChainId::BYTES_MAX;

/// Version, chain length, height, parent, epoch, view, parent view, leader, timestamp, state root, transaction count.
const FIXED_SIZE: usize = 2 + 4 + 8 + 32 + 8 + 8 + 8 + 32 + 8 + 32 + 4;

/// What was agreed on at a height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The format, [`VERSION`].
    pub version: u16,
    /// The chain it belongs to.
    pub chain: ChainId,
    /// How many blocks come before it.
    pub height: Height,
    /// The digest of the block before it.
    pub parent: Hash,
    /// The epoch in which it was proposed.
    pub epoch: Epoch,
    /// The view in which it was proposed.
    pub view: View,
    /// The view in which its parent was proposed.
    pub parent_view: View,
    /// Who proposed it.
    pub leader: PublicKey,
    /// When it was proposed, by its leader's clock; later than its parent.
    pub timestamp: Timestamp,
    /// The root of the state that its parent led to. A block cannot name its own: it is agreed on before it is applied.
    pub parent_state_root: Hash,
    /// What takes effect, in this order.
    pub transactions: Vec<Transaction>,
}

impl Block {
    /// The block that everything follows from. Nobody proposed it and nothing happens in it.
    ///
    /// # Panics
    /// If the genesis is not valid, as [`Genesis::validate`] has it.
    pub fn genesis(genesis: &Genesis) -> Self {
        Self::first(genesis, state::genesis_root(genesis))
    }

    /// As [`Self::genesis`], for a caller that has the root of the genesis state: computing it looks at every account.
    pub fn first(genesis: &Genesis, state_root: Hash) -> Self {
        Self {
            version: VERSION,
            chain: genesis.chain_id.clone(),
            height: Height(0),
            parent: Hash::ZERO,
            epoch: Epoch(0),
            view: View(0),
            parent_view: View(0),
            leader: PublicKey::ZERO,
            timestamp: genesis.timestamp(),
            parent_state_root: state_root,
            transactions: Vec::new(),
        }
    }

    /// The block on top of `state`, in the first view of its epoch: who has an engine puts its own in their place.
    pub fn on(state: &State, leader: PublicKey, timestamp: Timestamp, transactions: Vec<Transaction>) -> Self {
        Self {
            version: VERSION,
            chain: state.chain().clone(),
            height: state.height().after(1),
            parent: state.digest(),
            epoch: state.epoch(),
            view: View(1),
            parent_view: View(0),
            leader,
            timestamp,
            parent_state_root: state.root(),
            transactions,
        }
    }

    /// The hash of the whole block.
    pub fn digest(&self) -> Hash {
        digest::hash(digest::BLOCK, &[&self.encode()])
    }

    /// How many bytes the encoding takes.
    pub fn size(&self) -> usize {
        let transactions: usize = self.transactions.iter().map(Transaction::size).sum();
        FIXED_SIZE + self.chain.as_str().len() + transactions
    }

    /// What it costs to execute this block, see [`Kind::units`](transaction::Kind::units).
    pub fn units(&self) -> u64 {
        self.transactions.iter().map(|transaction| transaction.kind.units()).fold(0, u64::saturating_add)
    }
}

impl Encode for Block {
    fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.size());
        self.version.write(out);
        self.chain.write(out);
        self.height.write(out);
        self.parent.write(out);
        self.epoch.write(out);
        self.view.write(out);
        self.parent_view.write(out);
        self.leader.write(out);
        self.timestamp.write(out);
        self.parent_state_root.write(out);
        codec::write_count(self.transactions.len(), out);
        self.transactions.iter().for_each(|transaction| transaction.write(out));
    }
}

impl Decode for Block {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let block = Self {
            version: read_version(r, "block", VERSION)?,
            chain: ChainId::read(r)?,
            height: Height::read(r)?,
            parent: Hash::read(r)?,
            epoch: Epoch::read(r)?,
            view: View::read(r)?,
            parent_view: View::read(r)?,
            leader: PublicKey::read(r)?,
            timestamp: Timestamp::read(r)?,
            parent_state_root: Hash::read(r)?,
            transactions: read_transactions(r)?,
        };
        check_size(block.size())?;
        Ok(block)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        // Before the first field is looked at: a long block costs its reader nothing.
        check_size(bytes.len())?;
        let mut r = Reader::new(bytes);
        let block = Self::read(&mut r)?;
        r.finish()?;
        Ok(block)
    }
}

const fn check_size(got: usize) -> Result<(), DecodeError> {
    if got > BYTES_MAX {
        return Err(DecodeError::TooLong { what: "block", got, max: BYTES_MAX });
    }
    Ok(())
}

fn read_transactions(r: &mut Reader<'_>) -> Result<Vec<Transaction>, DecodeError> {
    let count = r.count("transaction list", TRANSACTIONS_MAX, transaction::SIZE_MIN)?;
    (0..count).map(|_| Transaction::read(r)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        transaction::{Kind, SIZE_MIN, SecretKey},
        types::{Amount, Nonce},
    };
    use proptest::prelude::*;

    fn block(chain: &str, transactions: usize) -> Block {
        let key = SecretKey::from_bytes([1; 32]);
        let chain: ChainId = chain.parse().expect("a chain id");
        let kind = Kind::Transfer { to: PublicKey([2; 32]), amount: Amount(1) };
        let transaction = Transaction::sign(&key, chain.clone(), Nonce(0), Height(9), kind);
        Block {
            version: VERSION,
            chain,
            height: Height(1),
            parent: Hash([3; 32]),
            epoch: Epoch(4),
            view: View(5),
            parent_view: View(6),
            leader: PublicKey([7; 32]),
            timestamp: Timestamp(8),
            parent_state_root: Hash([9; 32]),
            transactions: vec![transaction; transactions],
        }
    }

    #[test]
    fn the_header_takes_at_most_what_a_proposer_reckons_with() {
        assert_eq!(block(&"t".repeat(64), 0).encode().len(), HEADER_BYTES_MAX);
        let full = block("t", 7);
        assert_eq!(full.encode().len(), full.size());
        assert_eq!(full.units(), 7 * 80);
    }

    #[test]
    fn every_field_is_part_of_the_digest() {
        let base = block("test", 1);
        let others = [
            Block { chain: "tess".parse().expect("a chain id"), ..base.clone() },
            Block { height: Height(0), ..base.clone() },
            Block { parent: Hash::ZERO, ..base.clone() },
            Block { epoch: Epoch(0), ..base.clone() },
            Block { view: View(0), ..base.clone() },
            Block { parent_view: View(0), ..base.clone() },
            Block { leader: PublicKey::ZERO, ..base.clone() },
            Block { timestamp: Timestamp(0), ..base.clone() },
            Block { parent_state_root: Hash::ZERO, ..base.clone() },
            Block { transactions: Vec::new(), ..base.clone() },
        ];
        for other in others {
            assert_ne!(other.digest(), base.digest(), "{other:?}");
        }
    }

    #[test]
    fn a_block_holds_4096_transactions_and_not_one_more() {
        let full = block("t", TRANSACTIONS_MAX);
        assert_eq!(Block::decode(&full.encode()), Ok(full));
        let error = Block::decode(&block("t", TRANSACTIONS_MAX + 1).encode()).expect_err("one too many");
        assert_eq!(error, DecodeError::TooLong { what: "transaction list", got: 4097, max: 4096 });
    }

    #[test]
    fn a_block_of_a_mebibyte_is_looked_at_and_not_one_byte_more() {
        let at_the_limit = Block::decode(&vec![0; BYTES_MAX]).expect_err("not a block");
        assert_eq!(at_the_limit, DecodeError::Version { what: "block", expected: VERSION, got: 0 });
        let beyond = Block::decode(&vec![0; BYTES_MAX + 1]).expect_err("too long");
        assert_eq!(beyond, DecodeError::TooLong { what: "block", got: BYTES_MAX + 1, max: BYTES_MAX });
    }

    #[test]
    fn a_claimed_count_allocates_nothing_that_the_bytes_cannot_hold() {
        let mut bytes = block("t", 0).encode();
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&4096_u32.to_be_bytes());
        assert_eq!(Block::decode(&bytes), Err(DecodeError::End { needs: 4096 * SIZE_MIN, has: 0 }));
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_encodes_to_the_same_bytes(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            transactions in 0..3_usize,
        ) {
            let mut bytes = block("test", transactions).encode();
            for (at, byte) in flips {
                *at.get_mut(&mut bytes) = byte;
            }
            if let Ok(block) = Block::decode(&bytes) {
                prop_assert_eq!(block.encode(), bytes);
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_but_never_panic(bytes: Vec<u8>) {
            if let Ok(block) = Block::decode(&bytes) {
                prop_assert_eq!(block.encode(), bytes);
            }
        }

        #[test]
        fn a_truncated_or_extended_block_is_refused(cut: prop::sample::Index) {
            let mut bytes = block("test", 2).encode();
            prop_assert!(Block::decode(&bytes[..cut.index(bytes.len())]).is_err());
            bytes.push(0);
            prop_assert_eq!(Block::decode(&bytes), Err(DecodeError::Trailing { left: 1 }));
        }
    }
}
