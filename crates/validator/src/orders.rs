//! May others make this node restart?
//!
//! A supervisor listens for orders also while its node is down. It obeys when more than f validators of the genesis file
//! signed one: then at least one honest one wants it, and f liars together cannot restart anybody.
//!
//! The supervisor asks and the validators answer. A question holds a challenge, drawn at random and given up after a minute,
//! which an order has to name: so an order is good for one chain, one node and one minute, and one that was held back strikes
//! at nobody later, whatever any clock says and whatever the supervisor has forgotten.
//!
//! - `desk`: a validator's side: whom does it want restarted, and who asks?
//! - here: what is said, and the supervisor's side

mod desk;

pub(crate) use desk::Seal;
pub use desk::{Desk, Wish};

use crate::{
    chain::{ledger_key, public_key},
    roster::Roster,
};
use commonware_cryptography::{
    Signer as _, Verifier as _,
    ed25519::{PrivateKey, Signature},
};
use ledger::{ChainId, Decode, DecodeError, Encode, PublicKey, Reader, codec::write_bytes, faults};
use std::collections::BTreeMap;

/// What signers sign begins with this, so that nothing else they ever sign can be taken for an order.
const NAMESPACE: &[u8] = b"unsplit/recovery/order/1";

/// The longest reason in bytes.
pub const REASON_BYTES_MAX: usize = 256;

const SIGNATURE_BYTES: usize = 64;

/// The most bytes of a message: an order with the longest chain id and reason.
pub const MESSAGE_BYTES_MAX: usize = 1 + (4 + 64) + 32 + 32 + 1 + (4 + REASON_BYTES_MAX) + 32 + SIGNATURE_BYTES;

/// What an order must name to be good now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Challenge(pub [u8; 32]);

/// What a supervisor is to do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Bring the node back when its cooldown allows it: validators see that it is not well.
    Recover,
    /// Bring it back whatever its cooldown: people want it.
    RecoverNow,
}

/// What is ordered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// Of which chain.
    pub chain: ChainId,
    /// For which node.
    pub node: PublicKey,
    /// In answer to what.
    pub challenge: Challenge,
    /// What to do.
    pub action: Action,
    /// Why, for people; at most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
}

/// An order and who wants it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedOrder {
    /// What is wanted.
    pub order: Order,
    /// By whom.
    pub signer: PublicKey,
    signature: [u8; SIGNATURE_BYTES],
}

/// What goes between supervisors and validators.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// A supervisor: does anybody want my node to be restarted?
    Ask(Challenge),
    /// A validator: I do.
    Order(SignedOrder),
}

/// Why an order does not count.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OrderError {
    /// It is of another chain.
    #[error("the order is of chain {found}, this node of {expected}")]
    Chain {
        /// Of the order.
        found: ChainId,
        /// Of this node.
        expected: ChainId,
    },
    /// It is for another node.
    #[error("the order is for {found}, this node is {expected}")]
    Node {
        /// Of the order.
        found: PublicKey,
        /// Of this node.
        expected: PublicKey,
    },
    /// It answers another question than the present one.
    #[error("the order answers a question that is not asked any more")]
    Old,
    /// Somebody signed it who is no validator.
    #[error("{0} signed the order and is no validator")]
    Stranger(PublicKey),
    /// The signature is wrong.
    #[error("the signature of {0} is wrong")]
    Signature(PublicKey),
}

impl Order {
    /// Makes it the order of the holder of `key`.
    pub fn sign(self, key: &PrivateKey) -> SignedOrder {
        let signature = key.sign(NAMESPACE, &self.encode());
        let signature = signature.as_ref().try_into().expect("an Ed25519 signature has 64 bytes");
        SignedOrder { order: self, signer: ledger_key(&key.public_key()), signature }
    }
}

impl SignedOrder {
    fn is_signed(&self) -> bool {
        use commonware_codec::DecodeExt as _;
        let signature = Signature::decode(bytes::Bytes::copy_from_slice(&self.signature));
        let signed = |(key, signature): (commonware_cryptography::ed25519::PublicKey, Signature)| {
            key.verify(NAMESPACE, &self.order.encode(), &signature)
        };
        public_key(&self.signer).zip(signature.ok()).is_some_and(signed)
    }
}

/// The orders that answer one challenge: at most one of each validator.
#[derive(Clone, Debug)]
pub struct Gathering {
    chain: ChainId,
    roster: Roster,
    node: PublicKey,
    challenge: Challenge,
    orders: BTreeMap<PublicKey, (Action, String)>,
}

/// What enough validators want.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// What to do: no more than f + 1 of them want at least this.
    pub action: Action,
    /// Who wants it, by name, each with its reason.
    pub wanted: Vec<(String, String)>,
}

impl Gathering {
    /// For the supervisor of `node`. The challenge must be random, and new for each gathering.
    pub const fn new(chain: ChainId, roster: Roster, node: PublicKey, challenge: Challenge) -> Self {
        Self { chain, roster, node, challenge, orders: BTreeMap::new() }
    }

    /// Asks anew: what was gathered counts no more.
    pub fn renew(&mut self, challenge: Challenge) {
        self.challenge = challenge;
        self.orders.clear();
    }

    /// What to ask.
    pub const fn question(&self) -> Message {
        Message::Ask(self.challenge)
    }

    /// Counts an order; a later one of the same validator takes the place of the earlier.
    ///
    /// # Errors
    /// Names the first thing that is wrong. What is cheap is looked at before the signature is.
    pub fn take(&mut self, signed: SignedOrder) -> Result<(), OrderError> {
        let Order { chain, node, challenge, .. } = &signed.order;
        if *challenge != self.challenge {
            return Err(OrderError::Old);
        }
        if *chain != self.chain {
            return Err(OrderError::Chain { found: chain.clone(), expected: self.chain.clone() });
        }
        if *node != self.node {
            return Err(OrderError::Node { found: *node, expected: self.node });
        }
        if self.roster.members().iter().all(|member| member.entry.key != signed.signer) {
            return Err(OrderError::Stranger(signed.signer));
        }
        if !signed.is_signed() {
            return Err(OrderError::Signature(signed.signer));
        }
        self.orders.insert(signed.signer, (signed.order.action, signed.order.reason));
        Ok(())
    }

    /// What more than f validators want, if they do.
    pub fn command(&self) -> Option<Command> {
        let needed = faults(self.roster.len()) + 1;
        let enough = |least: Action| self.orders.values().filter(|(action, _)| *action >= least).count() >= needed;
        let action = [Action::RecoverNow, Action::Recover].into_iter().find(|action| enough(*action))?;
        let wanted = self.orders.iter().map(|(key, (_, reason))| (self.roster.name_of(key), reason.clone()));
        Some(Command { action, wanted: wanted.collect() })
    }
}

impl Encode for Order {
    fn write(&self, out: &mut Vec<u8>) {
        self.chain.write(out);
        self.node.write(out);
        out.extend_from_slice(&self.challenge.0);
        out.push(match self.action {
            Action::Recover => 0,
            Action::RecoverNow => 1,
        });
        write_bytes(self.reason.as_bytes(), out);
    }
}

impl Decode for Order {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (chain, node) = (ChainId::read(reader)?, PublicKey::read(reader)?);
        let challenge = Challenge(reader.array()?);
        let [tag] = reader.array()?;
        let action = match tag {
            0 => Action::Recover,
            1 => Action::RecoverNow,
            got => return Err(DecodeError::Tag { what: "order", got }),
        };
        let reason = reader.text("the reason of an order", REASON_BYTES_MAX)?.to_owned();
        Ok(Self { chain, node, challenge, action, reason })
    }
}

impl Encode for Message {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ask(Challenge(challenge)) => {
                out.push(0);
                out.extend_from_slice(challenge);
            }
            Self::Order(SignedOrder { order, signer, signature }) => {
                out.push(1);
                order.write(out);
                signer.write(out);
                out.extend_from_slice(signature);
            }
        }
    }
}

impl Decode for Message {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [tag] = reader.array()?;
        match tag {
            0 => reader.array().map(|challenge| Self::Ask(Challenge(challenge))),
            1 => {
                let (order, signer) = (Order::read(reader)?, PublicKey::read(reader)?);
                Ok(Self::Order(SignedOrder { order, signer, signature: reader.array()? }))
            }
            got => Err(DecodeError::Tag { what: "message of supervisors", got }),
        }
    }
}

#[cfg(test)]
mod tests;
