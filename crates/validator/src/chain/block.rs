//! The ledger's block, dressed for the engine.
//!
//! [`ledger::Block`] knows no engine; the orphan rule demands a newtype to implement the engine's traits on.

use bytes::BufMut;
use commonware_codec::{Buf, DecodeExt as _, EncodeSize, Error, Read, Write};
use commonware_consensus::{
    BoundedBlock, CertifiableBlock, Heightable,
    simplex::types::Context,
    types::{Epoch, Height, Round, View},
};
use commonware_cryptography::{Digestible, ed25519, sha256};
use ledger::codec::{Decode as _, Encode as _};

/// The digest of a block, as the engine knows it.
pub type Digest = sha256::Digest;

/// A [`ledger::Block`] with its canonical encoding and digest, computed once.
#[derive(Clone, Debug)]
pub struct Block {
    inner: ledger::Block,
    encoded: Vec<u8>,
    digest: Digest,
}

impl Block {
    /// Wraps a block that this node built or decoded.
    pub fn new(inner: ledger::Block) -> Self {
        let encoded = inner.encode();
        let digest = digest(inner.digest());
        Self { inner, encoded, digest }
    }

    /// The ledger's view of the block.
    pub const fn ledger(&self) -> &ledger::Block {
        &self.inner
    }

    /// Size of the canonical encoding in bytes.
    pub const fn size(&self) -> usize {
        self.encoded.len()
    }
}

/// The engine's form of a ledger hash.
pub fn digest(hash: ledger::Hash) -> Digest {
    sha256::Digest(hash.0)
}

/// The ledger's form of an engine digest.
pub const fn hash(digest: &Digest) -> ledger::Hash {
    ledger::Hash(digest.0)
}

/// The engine's form of a validator key, or `None` when the bytes are no curve point.
pub fn public_key(key: &ledger::PublicKey) -> Option<ed25519::PublicKey> {
    ed25519::PublicKey::decode(bytes::Bytes::copy_from_slice(&key.0)).ok()
}

/// The ledger's form of an engine key.
pub fn ledger_key(key: &ed25519::PublicKey) -> ledger::PublicKey {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(key.as_ref());
    ledger::PublicKey(bytes)
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Block {}

impl Write for Block {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_u32(u32::try_from(self.encoded.len()).expect("blocks are far smaller than 4 GiB"));
        buf.put_slice(&self.encoded);
    }
}

impl EncodeSize for Block {
    fn encode_size(&self) -> usize {
        4 + self.encoded.len()
    }
}

impl Read for Block {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &Self::Cfg) -> Result<Self, Error> {
        if buf.remaining() < 4 {
            return Err(Error::EndOfBuffer);
        }
        let length = buf.get_u32() as usize;
        if length > ledger::block::BYTES_MAX {
            return Err(Error::InvalidLength(length));
        }
        if buf.remaining() < length {
            return Err(Error::EndOfBuffer);
        }
        let encoded = buf.copy_to_bytes(length).to_vec();
        let inner =
            ledger::Block::decode(&encoded).map_err(|_| Error::Invalid("block", "not a canonical ledger block"))?;
        // The engine identifies leaders by curve points; a block that names no point could not express its context.
        if public_key(&inner.leader).is_none() {
            return Err(Error::Invalid("block", "leader is not a public key"));
        }
        let digest = digest(inner.digest());
        Ok(Self { inner, encoded, digest })
    }
}

impl Digestible for Block {
    type Digest = Digest;

    fn digest(&self) -> Digest {
        self.digest
    }
}

impl Heightable for Block {
    fn height(&self) -> Height {
        Height::new(self.inner.height.0)
    }
}

impl commonware_consensus::Block for Block {
    fn parent(&self) -> Digest {
        digest(self.inner.parent)
    }
}

impl CertifiableBlock for Block {
    type Context = Context<Digest, ed25519::PublicKey>;

    fn context(&self) -> Self::Context {
        Context {
            round: Round::new(Epoch::new(self.inner.epoch.0), View::new(self.inner.view.0)),
            leader: public_key(&self.inner.leader).expect("checked when the block was decoded or built"),
            parent: (View::new(self.inner.parent_view.0), digest(self.inner.parent)),
        }
    }
}

impl BoundedBlock for Block {
    fn max_encode_size((): &Self::Cfg) -> usize {
        4 + ledger::block::BYTES_MAX
    }
}
