//! Offers of snapshots, changes of the set of voters, and whether they are what they say.

use crate::{
    chain::{Block, Digest, public_key},
    scheme::Scheme,
};
use bytes::{Bytes, BytesMut};
use commonware_codec::{Read as _, Write as _};
use commonware_consensus::{Heightable as _, simplex::types::Finalization};
use commonware_cryptography::{Digestible as _, certificate::Verifier as _, ed25519::PublicKey};
use commonware_parallel::Sequential;
use commonware_utils::ordered::Set;
use ledger::{ChainId, Epoch, Hash, Height, proven_voters};
use rand_core::CryptoRng;

/// A block with the certificate that stands for it.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    pub(crate) certificate: Finalization<Scheme, Digest>,
    pub(crate) block: Block,
}

impl Certified {
    fn write(&self, out: &mut BytesMut) {
        self.certificate.write(out);
        self.block.write(out);
    }

    /// Reads one, whose certificate names the block; whether it is one is for [`Trust`] to say.
    fn read(bytes: &mut Bytes, chain: &ChainId) -> Option<Self> {
        let config = Scheme::certificate_codec_config_unbounded();
        let certificate = Finalization::<Scheme, Digest>::read_cfg(bytes, &config).ok()?;
        let block = Block::read_cfg(bytes, &()).ok()?;
        let fits = block.digest() == certificate.proposal.payload
            && block.ledger().chain == *chain
            && block.height().get() > 0;
        fits.then_some(Self { certificate, block })
    }

    /// The epoch that it was certified in.
    pub(crate) fn epoch(&self) -> u64 {
        self.certificate.proposal.round.epoch().get()
    }

    /// The height before, whose state the block names the root of.
    pub(crate) fn below(&self) -> Height {
        Height(self.block.height().get() - 1)
    }

    /// That root.
    pub(crate) fn root(&self) -> Hash {
        self.block.ledger().parent_state_root
    }
}

/// What a peer has to give: the state before this block.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) above: Certified,
    /// What the whole state takes, as the peer says. It is shown, and nothing depends on it.
    pub(crate) bytes: u64,
}

impl Offer {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.above.write(&mut out);
        self.bytes.write(&mut out);
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes, chain: &ChainId) -> Option<Self> {
        let above = Certified::read(&mut bytes, chain)?;
        let size = u64::read_cfg(&mut bytes, &()).ok()?;
        bytes.is_empty().then_some(Self { above, bytes: size })
    }
}

/// A change of the set of voters: the root that the block names proves who votes in the next epoch.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) by: Certified,
    pub(crate) proof: Vec<u8>,
}

impl Change {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.by.write(&mut out);
        out.extend_from_slice(&self.proof);
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes, chain: &ChainId) -> Option<Self> {
        let by = Certified::read(&mut bytes, chain)?;
        Some(Self { by, proof: bytes.to_vec() })
    }
}

/// What came of looking at something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Finding {
    /// It is what it says.
    Right,
    /// It is not, and whoever gave it lied.
    Wrong,
    /// It is not by those who vote as far as is known here. That may have changed.
    Unknown,
}

/// Who votes, as far as it is known here and was proven since.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    namespace: Vec<u8>,
    chain: ChainId,
    /// The newest epoch of which it is known who votes.
    through: u64,
    voters: Set<PublicKey>,
}

impl Trust {
    pub(crate) const fn new(namespace: Vec<u8>, chain: ChainId, through: u64, voters: Set<PublicKey>) -> Self {
        Self { namespace, chain, through, voters }
    }

    pub(crate) const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// The newest epoch of which it is known who votes.
    pub(crate) const fn through(&self) -> u64 {
        self.through
    }

    /// Whether a quorum of those that vote, as far as is known, stands for a block. In later epochs others may vote.
    pub(crate) fn judge<R: CryptoRng>(&self, certified: &Certified, rng: &mut R) -> Finding {
        let scheme = Scheme::verifier(&self.namespace, self.voters.clone());
        if certified.certificate.verify(rng, &scheme, &Sequential) {
            Finding::Right
        } else if certified.epoch() <= self.through {
            Finding::Wrong
        } else {
            Finding::Unknown
        }
    }

    /// Takes over a change that those who voted before it certified.
    pub(crate) fn step<R: CryptoRng>(&mut self, change: &Change, rng: &mut R) -> Finding {
        if change.by.epoch() < self.through {
            return Finding::Wrong;
        }
        match self.judge(&change.by, rng) {
            Finding::Right => {}
            finding @ (Finding::Wrong | Finding::Unknown) => return finding,
        }
        let next = change.by.epoch() + 1;
        let proven = proven_voters(&change.proof, change.by.root(), change.by.below(), Epoch(next));
        let Ok(Some(voters)) = proven else { return Finding::Wrong };
        let Some(voters) = voters.iter().map(public_key).collect::<Option<Vec<PublicKey>>>() else {
            return Finding::Wrong;
        };
        (self.through, self.voters) = (next, Set::from_iter_dedup(voters));
        Finding::Right
    }

    #[cfg(test)]
    pub(crate) const fn voters(&self) -> &Set<PublicKey> {
        &self.voters
    }
}
