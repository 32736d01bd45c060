//! Whom does this validator want restarted, and which supervisor asks?
//!
//! The driver says what is wanted; this answers each supervisor that asks with an order, if one is wanted for its node.
//! Nobody else is answered, and nothing is sent to who does not ask.

use super::{Action, Challenge, Message, Order, REASON_BYTES_MAX};
use crate::roster::Roster;
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::{Clock, IoBuf};
use commonware_utils::sync::Mutex;
use ledger::{ChainId, Decode as _, Encode as _};
use std::{collections::BTreeMap, sync::Arc, time::SystemTime};
use tracing::debug;

/// That a node be restarted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wish {
    /// How urgently.
    pub action: Action,
    /// Why, for people.
    pub reason: String,
}

#[derive(Debug, Default)]
struct Shared {
    wishes: BTreeMap<usize, Wish>,
    asked: BTreeMap<usize, SystemTime>,
}

/// What the driver and the one who answers supervisors share. Nodes are named by their place in the roster.
#[derive(Clone, Debug, Default)]
pub struct Desk(Arc<Mutex<Shared>>);

impl Desk {
    /// From now on exactly these restarts are wanted.
    pub fn want(&self, wishes: BTreeMap<usize, Wish>) {
        self.0.lock().wishes = wishes;
    }

    /// Why a node is to be restarted, if it is.
    pub fn wish(&self, index: usize) -> Option<Wish> {
        self.0.lock().wishes.get(&index).cloned()
    }

    /// When the supervisor of a node asked last.
    pub fn asked(&self, index: usize) -> Option<SystemTime> {
        self.0.lock().asked.get(&index).copied()
    }

    /// The order that the supervisor of node `index` gets now.
    fn answer(&self, index: usize, challenge: Challenge, now: SystemTime, seal: &Seal) -> Option<Message> {
        let mut shared = self.0.lock();
        shared.asked.insert(index, now);
        let Wish { action, reason } = shared.wishes.get(&index)?;
        let order = Order {
            chain: seal.chain.clone(),
            node: seal.roster.members()[index].entry.key,
            challenge,
            action: *action,
            reason: reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned(),
        };
        Some(Message::Order(order.sign(&seal.key)))
    }

    /// Answers those who ask, for as long as the network is there.
    pub(crate) async fn run<E, S, R>(self, clock: E, seal: Seal, (mut sender, mut receiver): (S, R))
    where
        E: Clock,
        S: Sender<PublicKey = PublicKey>,
        R: Receiver<PublicKey = PublicKey>,
    {
        while let Ok((from, message)) = receiver.recv().await {
            let Some(index) = seal.roster.supervised(&from) else { continue };
            match Message::decode(message.as_ref()) {
                Ok(Message::Ask(challenge)) => {
                    if let Some(answer) = self.answer(index, challenge, clock.current(), &seal) {
                        sender.send(Recipients::One(from), IoBuf::from(answer.encode()), false);
                    }
                }
                Ok(Message::Order(_)) => {
                    debug!(node = seal.roster.members()[index].entry.name, "a supervisor orders nothing")
                }
                Err(problem) => {
                    debug!(node = seal.roster.members()[index].entry.name, %problem, "supervisor not understood");
                }
            }
        }
    }
}

/// What orders are made with.
pub(crate) struct Seal {
    pub(crate) key: PrivateKey,
    pub(crate) chain: ChainId,
    pub(crate) roster: Roster,
}
