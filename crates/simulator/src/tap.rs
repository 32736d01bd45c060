//! A look at what a node sends, on its way out.

use crate::{ballots::Ballots, machine::Machine};
use commonware_actor::{Feedback, Unreliable};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{CheckedSender, LimitedSender, Recipients};
use commonware_runtime::IoBufs;
use commonware_utils::sync::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};
use validator::validator::{RANGES, SNAPSHOTS};

/// What is shorter is a question, or says that there is nothing.
const ANSWER_BYTES_MIN: usize = 128;

/// What a node does when others want to catch up from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lie {
    /// It changes a byte.
    Wrong,
    /// It takes the question, and says nothing.
    Silence,
}

/// Which nodes give wrong answers or none, by the fault that has them do it. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Liars(Arc<Mutex<Lies>>);

#[derive(Debug, Default)]
struct Lies {
    present: BTreeMap<usize, (Lie, Vec<usize>)>,
    /// Who ever gave a wrong answer.
    told: BTreeSet<usize>,
}

impl Liars {
    pub(crate) fn begin(&self, id: usize, lie: Lie, nodes: Vec<usize>) {
        self.0.lock().present.insert(id, (lie, nodes));
    }

    pub(crate) fn end(&self, id: usize) {
        self.0.lock().present.remove(&id);
    }

    pub(crate) fn heal(&self) {
        self.0.lock().present.clear();
    }

    /// Who ever gave a wrong answer.
    pub(crate) fn told(&self) -> BTreeSet<usize> {
        self.0.lock().told.clone()
    }

    fn lie_of(&self, node: usize) -> Option<Lie> {
        self.0.lock().present.values().find(|(_, nodes)| nodes.contains(&node)).map(|(lie, _)| *lie)
    }

    /// What becomes of an answer; nothing if it is not given.
    fn twist(&self, node: usize, lie: Lie, message: IoBufs) -> Option<IoBufs> {
        let mut bytes = message.coalesce().as_ref().to_vec();
        if bytes.len() >= ANSWER_BYTES_MIN {
            match lie {
                Lie::Silence => return None,
                // No hash fits any more.
                Lie::Wrong => {
                    bytes.last_mut().into_iter().for_each(|last| *last ^= 1);
                    self.0.lock().told.insert(node);
                }
            }
        }
        Some(IoBufs::from(bytes))
    }
}

/// What is looked for on a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look {
    Votes,
    Certificates,
    Blocks,
    Nothing,
}

/// The sending end of a channel, with a look at it.
#[derive(Clone)]
pub(crate) struct Tap<S> {
    pub(crate) inner: S,
    /// The same, for what goes out twice.
    pub(crate) copy: S,
    pub(crate) channel: u64,
    pub(crate) node: usize,
    pub(crate) look: Look,
    pub(crate) ballots: Arc<Mutex<Ballots>>,
    pub(crate) machine: Machine,
    pub(crate) liars: Liars,
}

impl<S> std::fmt::Debug for Tap<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("look", &self.look).finish_non_exhaustive()
    }
}

impl<S: commonware_p2p::Sender<PublicKey = PublicKey>> LimitedSender for Tap<S> {
    type PublicKey = PublicKey;
    type Checked<'a> = Checked<'a, S>;

    fn check(&mut self, recipients: Recipients<PublicKey>) -> Result<Self::Checked<'_>, SystemTime> {
        // When the quota allows it is told by the node's own clock.
        let copy = if self.machine.is_twice() { self.copy.check(recipients.clone()).ok() } else { None };
        let inner = self.inner.check(recipients).map_err(|at| self.machine.skew().show(at))?;
        let answers = [SNAPSHOTS, RANGES].contains(&self.channel);
        let lie = self.liars.lie_of(self.node).filter(|_| answers).map(|lie| (lie, self.node, &self.liars));
        let (channel, look, ballots, machine) = (self.channel, self.look, &self.ballots, &self.machine);
        Ok(Checked { inner, copy, channel, lie, look, ballots, machine })
    }
}

/// A send that passed the quotas.
pub(crate) struct Checked<'a, S: LimitedSender + 'a> {
    inner: S::Checked<'a>,
    copy: Option<S::Checked<'a>>,
    channel: u64,
    lie: Option<(Lie, usize, &'a Liars)>,
    look: Look,
    ballots: &'a Arc<Mutex<Ballots>>,
    machine: &'a Machine,
}

impl<S: LimitedSender<PublicKey = PublicKey>> CheckedSender for Checked<'_, S> {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        self.inner.recipients()
    }

    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        if !self.machine.sends(self.channel, matches!(self.look, Look::Blocks)) {
            return Unreliable::Rejected;
        }
        let message = message.into();
        match self.look {
            Look::Votes => self.ballots.lock().vote(message.clone().coalesce()),
            Look::Certificates => self.ballots.lock().certificate(message.clone().coalesce()),
            Look::Blocks | Look::Nothing => {}
        }
        let message = match self.lie {
            None => message,
            Some((lie, node, liars)) => match liars.twist(node, lie, message) {
                Some(message) => message,
                None => return Unreliable::Rejected,
            },
        };
        if let Some(copy) = self.copy {
            let _ = copy.send(message.clone(), priority);
        }
        self.inner.send(message, priority)
    }
}
