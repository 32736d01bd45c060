//! May others make this node restart?
//!
//! A supervisor listens for orders while its node is down. It obeys an order only if more than f validators of the genesis
//! file signed it: then at least one honest one wants it, and f liars together cannot restart anybody. An order names its
//! chain, its node and a number that only grows for that node, so none can be used elsewhere or twice; and it is good for a
//! few minutes only, so none that was held back strikes at a moment of somebody's choosing.

use crate::{
    chain::{ledger_key, public_key},
    roster::Roster,
};
use commonware_cryptography::{
    Signer as _, Verifier as _,
    ed25519::{PrivateKey, Signature},
};
use ledger::{ChainId, Decode, DecodeError, Encode, PublicKey, Reader, codec::write_count, faults};
use std::collections::BTreeSet;

/// What signers sign begins with this, so that nothing else they ever sign can be taken for an order.
const NAMESPACE: &[u8] = b"unsplit/recovery/order/1";

/// How old an order may be. Enough for a supervisor that dials again every few seconds.
pub const AGE_MAX_MS: u64 = 10 * 60_000;

/// How far an order may be ahead of the supervisor's clock.
pub const AHEAD_MAX_MS: u64 = 60_000;

/// Signatures of one order. More than there may be validators.
pub const SIGNATURES_MAX: usize = 256;

const SIGNATURE_BYTES: usize = 64;
const SIGNED_BYTES: usize = 32 + SIGNATURE_BYTES;

/// What a supervisor is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// End the node if it runs, and bring it back.
    Recover,
}

/// What is ordered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// Of which chain.
    pub chain: ChainId,
    /// For which node.
    pub node: PublicKey,
    /// Greater than that of every order for this node before.
    pub number: u64,
    /// When it was given, milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// What to do.
    pub action: Action,
}

/// An order and those who want it.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedOrder {
    /// What they want.
    pub order: Order,
    /// Who, each with a signature.
    pub signatures: Vec<(PublicKey, [u8; SIGNATURE_BYTES])>,
}

/// Why an order is not obeyed.
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
    /// It was obeyed before, or a newer one was.
    #[error("order {found} is not newer than order {known}, the last that was obeyed")]
    Old {
        /// Of the order.
        found: u64,
        /// The last that was obeyed.
        known: u64,
    },
    /// It was given too long ago.
    #[error("the order is {age_ms} ms old, at most {AGE_MAX_MS} ms are allowed")]
    Stale {
        /// How old it is.
        age_ms: u64,
    },
    /// It is of the future.
    #[error("the order is {ahead_ms} ms ahead of this clock, at most {AHEAD_MAX_MS} ms are allowed")]
    Ahead {
        /// How far.
        ahead_ms: u64,
    },
    /// Somebody signed it who is no validator.
    #[error("{0} signed the order and is no validator")]
    Stranger(PublicKey),
    /// Somebody is counted twice.
    #[error("{0} signed the order twice")]
    Twice(PublicKey),
    /// A signature is wrong.
    #[error("the signature of {0} is wrong")]
    Signature(PublicKey),
    /// Too few want it.
    #[error("{found} validators signed the order, {needed} are needed")]
    TooFew {
        /// How many did.
        found: usize,
        /// How many must: f + 1.
        needed: usize,
    },
}

/// Who is asked to obey.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// The chain of the genesis file.
    pub chain: &'a ChainId,
    /// The validators of the genesis file.
    pub roster: &'a Roster,
    /// The node.
    pub node: &'a PublicKey,
    /// The number of the last order that was obeyed; 0 when none was.
    pub known: u64,
    /// The supervisor's clock, milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl Order {
    /// One validator's signature.
    pub fn sign(&self, key: &PrivateKey) -> (PublicKey, [u8; SIGNATURE_BYTES]) {
        let signature = key.sign(NAMESPACE, &self.encode());
        let bytes = commonware_codec::Encode::encode(&signature);
        let bytes = <[u8; SIGNATURE_BYTES]>::try_from(bytes.as_ref()).expect("an Ed25519 signature has 64 bytes");
        (ledger_key(&key.public_key()), bytes)
    }
}

impl SignedOrder {
    /// Whether `recipient` is to obey. The number of the order is known to it from then on and has to be durable *before* it
    /// acts, or a crash would let the order be used again.
    ///
    /// # Errors
    /// Names the first thing that is wrong. What is cheap is looked at before signatures are.
    pub fn check(&self, recipient: &Recipient<'_>) -> Result<Action, OrderError> {
        self.order.check(recipient)?;
        let mut signers = BTreeSet::new();
        for (signer, _) in &self.signatures {
            if !recipient.roster.members().iter().any(|member| member.entry.key == *signer) {
                return Err(OrderError::Stranger(*signer));
            }
            if !signers.insert(signer) {
                return Err(OrderError::Twice(*signer));
            }
        }
        let (found, needed) = (signers.len(), faults(recipient.roster.len()) + 1);
        if found < needed {
            return Err(OrderError::TooFew { found, needed });
        }
        let message = self.order.encode();
        let wrong = self.signatures.iter().find(|(signer, signature)| !is_signed(&message, signer, signature));
        wrong.map_or(Ok(self.order.action), |(signer, _)| Err(OrderError::Signature(*signer)))
    }
}

impl Order {
    fn check(&self, recipient: &Recipient<'_>) -> Result<(), OrderError> {
        let Recipient { chain, node, known, now_ms, .. } = *recipient;
        if self.chain != *chain {
            return Err(OrderError::Chain { found: self.chain.clone(), expected: chain.clone() });
        }
        if self.node != *node {
            return Err(OrderError::Node { found: self.node, expected: *node });
        }
        if self.number <= known {
            return Err(OrderError::Old { found: self.number, known });
        }
        let (age_ms, ahead_ms) = (now_ms.saturating_sub(self.issued_ms), self.issued_ms.saturating_sub(now_ms));
        if age_ms > AGE_MAX_MS {
            return Err(OrderError::Stale { age_ms });
        }
        if ahead_ms > AHEAD_MAX_MS { Err(OrderError::Ahead { ahead_ms }) } else { Ok(()) }
    }
}

fn is_signed(message: &[u8], signer: &PublicKey, signature: &[u8; SIGNATURE_BYTES]) -> bool {
    use commonware_codec::DecodeExt as _;
    let signature = Signature::decode(bytes::Bytes::copy_from_slice(signature));
    public_key(signer).zip(signature.ok()).is_some_and(|(key, signature)| key.verify(NAMESPACE, message, &signature))
}

impl Encode for Order {
    fn write(&self, out: &mut Vec<u8>) {
        self.chain.write(out);
        self.node.write(out);
        self.number.write(out);
        self.issued_ms.write(out);
        out.push(match self.action {
            Action::Recover => 0,
        });
    }
}

impl Decode for Order {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (chain, node) = (ChainId::read(reader)?, PublicKey::read(reader)?);
        let (number, issued_ms) = (u64::read(reader)?, u64::read(reader)?);
        let [tag] = reader.array()?;
        let action = match tag {
            0 => Action::Recover,
            got => return Err(DecodeError::Tag { what: "order", got }),
        };
        Ok(Self { chain, node, number, issued_ms, action })
    }
}

impl Encode for SignedOrder {
    fn write(&self, out: &mut Vec<u8>) {
        self.order.write(out);
        write_count(self.signatures.len(), out);
        for (signer, signature) in &self.signatures {
            signer.write(out);
            out.extend_from_slice(signature);
        }
    }
}

impl Decode for SignedOrder {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let order = Order::read(reader)?;
        let count = reader.count("signatures of an order", SIGNATURES_MAX, SIGNED_BYTES)?;
        let signature = |_| Ok((PublicKey::read(reader)?, reader.array()?));
        Ok(Self { order, signatures: (0..count).map(signature).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::{Genesis, GenesisValidator, TaskLimits};

    const NOW_MS: u64 = 1_800_000_000_000;

    fn key(seed: u64) -> PrivateKey {
        PrivateKey::from_seed(seed)
    }

    fn public(seed: u64) -> PublicKey {
        ledger_key(&key(seed).public_key())
    }

    /// Seven validators with the seeds 0 to 6: f is 2.
    fn roster() -> Roster {
        let validator = |seed: u64| GenesisValidator {
            name: format!("n{seed}"),
            key: public(seed),
            address: format!("127.0.0.1:{}", 1 + seed),
            region: "local".into(),
            capacity: 1,
        };
        let genesis = Genesis {
            version: ledger::genesis::VERSION,
            chain_id: chain("devnet-orders"),
            byzantine_budget: 2,
            timestamp_ms: 1,
            validators: (0..7).map(validator).collect(),
            balances: Vec::new(),
            tasks: TaskLimits::default(),
        };
        Roster::new(&genesis).expect("good keys")
    }

    fn chain(id: &str) -> ChainId {
        id.parse().expect("a good chain id")
    }

    fn order() -> Order {
        let (chain, node) = (chain("devnet-orders"), public(6));
        Order { chain, node, number: 5, issued_ms: NOW_MS, action: Action::Recover }
    }

    fn signed(order: Order, signers: &[u64]) -> SignedOrder {
        let signatures = signers.iter().map(|signer| order.sign(&key(*signer))).collect();
        SignedOrder { order, signatures }
    }

    /// What node 6 says, whose last order was number 4.
    fn answer(signed: &SignedOrder) -> Result<Action, OrderError> {
        let (chain, roster, node) = (chain("devnet-orders"), roster(), public(6));
        signed.check(&Recipient { chain: &chain, roster: &roster, node: &node, known: 4, now_ms: NOW_MS })
    }

    #[test]
    fn f_plus_one_validators_are_enough_and_f_are_not() {
        assert_eq!(answer(&signed(order(), &[0, 3, 5])), Ok(Action::Recover));
        assert_eq!(answer(&signed(order(), &[0, 1, 2, 3, 4, 5, 6])), Ok(Action::Recover));
        assert_eq!(answer(&signed(order(), &[0, 3])), Err(OrderError::TooFew { found: 2, needed: 3 }));
        assert_eq!(answer(&signed(order(), &[])), Err(OrderError::TooFew { found: 0, needed: 3 }));
    }

    #[test]
    fn nobody_counts_twice_and_strangers_do_not_count() {
        assert_eq!(answer(&signed(order(), &[0, 3, 0])), Err(OrderError::Twice(public(0))));
        assert_eq!(answer(&signed(order(), &[0, 3, 7])), Err(OrderError::Stranger(public(7))));
    }

    #[test]
    fn a_signature_is_for_one_order_of_one_signer() {
        let mut forged = signed(order(), &[0, 3, 5]);
        forged.order.number = 6;
        assert_eq!(answer(&forged), Err(OrderError::Signature(public(0))));
        let mut borrowed = signed(order(), &[0, 3, 5]);
        borrowed.signatures[2].0 = public(4);
        assert_eq!(answer(&borrowed), Err(OrderError::Signature(public(4))));
        let mut garbage = signed(order(), &[0, 3, 5]);
        garbage.signatures[1].1 = [0xff; SIGNATURE_BYTES];
        assert_eq!(answer(&garbage), Err(OrderError::Signature(public(3))));
    }

    #[test]
    fn an_order_is_good_for_one_chain_one_node_and_one_time() {
        let check = |change: &dyn Fn(&mut Order), error: OrderError| {
            let mut order = order();
            change(&mut order);
            assert_eq!(answer(&signed(order, &[0, 3, 5])), Err(error));
        };
        let (found, expected) = (chain("devnet-other"), chain("devnet-orders"));
        check(&|order| order.chain = chain("devnet-other"), OrderError::Chain { found, expected });
        let (found, expected) = (public(1), public(6));
        check(&|order| order.node = public(1), OrderError::Node { found, expected });
        check(&|order| order.number = 4, OrderError::Old { found: 4, known: 4 });
        check(&|order| order.number = 0, OrderError::Old { found: 0, known: 4 });
        let age_ms = AGE_MAX_MS + 1;
        check(&|order| order.issued_ms = NOW_MS - age_ms, OrderError::Stale { age_ms });
        let ahead_ms = AHEAD_MAX_MS + 1;
        check(&|order| order.issued_ms = NOW_MS + ahead_ms, OrderError::Ahead { ahead_ms });
    }

    #[test]
    fn the_oldest_and_the_earliest_that_are_allowed_are_obeyed() {
        for issued_ms in [NOW_MS - AGE_MAX_MS, NOW_MS + AHEAD_MAX_MS] {
            assert_eq!(answer(&signed(Order { issued_ms, ..order() }, &[0, 3, 5])), Ok(Action::Recover));
        }
    }

    #[test]
    fn an_order_reads_back_and_more_signatures_than_there_may_be_do_not() {
        let order = signed(order(), &[0, 3, 5]);
        assert_eq!(SignedOrder::decode(&order.encode()), Ok(order.clone()));
        let many = SignedOrder { signatures: vec![order.signatures[0]; SIGNATURES_MAX + 1], ..order };
        assert!(SignedOrder::decode(&many.encode()).is_err());
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let bytes = signed(order(), &[0, 3, 5]).encode();
        for end in 0..bytes.len() {
            assert!(SignedOrder::decode(&bytes[..end]).is_err(), "{end}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x11;
            if let Ok(order) = SignedOrder::decode(&damaged) {
                assert!(answer(&order).is_err(), "{at}");
            }
        }
    }
}
