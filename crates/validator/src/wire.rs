//! What validators say to each other beside consensus, and how it is written.
//!
//! Rows say who is there, how it is and whom it hears, and may be passed on; probes ask who does not; gossip carries transactions. All decode
//! from arbitrary bytes without panic and without allocating more than they were sent.

mod probe;
mod row;
mod told;

pub use probe::{Answer, PROBE_BYTES_MAX, Probe, Question};
pub use row::{Canary, Hearing, Row, RowError, Vitals, row_bytes_max};
pub use told::{Said, TOLD_MAX, Told, said_bytes_max};

use ledger::{
    Decode, DecodeError, Encode, Reader, Transaction,
    codec::write_count,
    transaction::{SIZE_MAX, SIZE_MIN},
};

/// Version of everything on the peer-to-peer channels. It is part of the handshake namespace: validators that speak
/// another version cannot connect, and are shown as missing rather than blocked.
pub const PROTOCOL_VERSION: u16 = 6;

/// Bytes of transactions in one gossip message.
pub const GOSSIP_BYTES_MAX: usize = 256 << 10;

/// Transactions in one gossip message.
pub const GOSSIP_TRANSACTIONS_MAX: usize = GOSSIP_BYTES_MAX / SIZE_MIN;

/// Transactions that wait at the sender.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gossip(pub Vec<Transaction>);

impl Gossip {
    /// Packs `transactions` into messages that keep both limits.
    pub fn pack(transactions: Vec<Transaction>) -> Vec<Self> {
        let mut messages: Vec<Self> = Vec::new();
        let mut room = 0;
        for transaction in transactions {
            let size = transaction.size();
            match messages.last_mut() {
                Some(message) if size <= room && message.0.len() < GOSSIP_TRANSACTIONS_MAX => {
                    message.0.push(transaction)
                }
                Some(_) | None => {
                    room = GOSSIP_BYTES_MAX;
                    messages.push(Self(vec![transaction]));
                }
            }
            room -= size.min(room);
        }
        messages
    }
}

impl Encode for Gossip {
    fn write(&self, out: &mut Vec<u8>) {
        write_count(self.0.len(), out);
        for transaction in &self.0 {
            transaction.write(out);
        }
    }
}

impl Decode for Gossip {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count("gossiped transactions", GOSSIP_TRANSACTIONS_MAX, SIZE_MIN)?;
        (0..count).map(|_| Transaction::read(reader)).collect::<Result<_, _>>().map(Self)
    }
}

const _: () = assert!(SIZE_MAX < GOSSIP_BYTES_MAX, "every transaction fits into a gossip message");

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::{Amount, Height, Kind, Nonce, SecretKey};

    fn transfer(nonce: u64) -> Transaction {
        let key = SecretKey::from_bytes([1; 32]);
        let kind = Kind::Transfer { to: key.public(), amount: Amount(1) };
        Transaction::sign(&key, "devnet-wire".parse().expect("good"), Nonce(nonce), Height(9), kind)
    }

    #[test]
    fn gossip_is_packed_into_messages_that_keep_the_limit_and_lose_nothing() {
        let transactions: Vec<_> = (0..3_000).map(transfer).collect();
        let messages = Gossip::pack(transactions.clone());
        assert!(messages.len() > 1);
        assert!(messages.iter().all(|message| message.encode().len() <= GOSSIP_BYTES_MAX + 4));
        let unpacked: Vec<_> =
            messages.iter().flat_map(|message| Gossip::decode(&message.encode()).expect("our own message").0).collect();
        assert_eq!(unpacked, transactions);
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        let good = Gossip(vec![transfer(1)]).encode();
        for end in 0..good.len() {
            assert!(Gossip::decode(&good[..end]).is_err(), "cut at {end}");
        }
        for byte in 0..=u8::MAX {
            let garbage = vec![byte; 300];
            assert!(Gossip::decode(&garbage).is_err());
            assert!(
                Row::decode(&garbage).is_err()
                    && Said::decode(&garbage[1..]).is_ok() == (byte == 0)
                    && Probe::decode(&garbage[..byte.into()]).is_err()
            );
        }
        assert!(Gossip::decode(&u32::MAX.to_be_bytes()).is_err(), "a count is not trusted");
    }
}
