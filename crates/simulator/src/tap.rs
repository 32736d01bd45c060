//! A look at what a node sends, on its way out.

use crate::{ballots::Ballots, machine::Machine};
use commonware_actor::{Feedback, Unreliable};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{CheckedSender, LimitedSender, Recipients};
use commonware_runtime::IoBufs;
use commonware_utils::sync::Mutex;
use std::{sync::Arc, time::SystemTime};

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
    pub(crate) look: Look,
    pub(crate) ballots: Arc<Mutex<Ballots>>,
    pub(crate) machine: Machine,
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
        Ok(Checked {
            inner,
            copy,
            channel: self.channel,
            look: self.look,
            ballots: &self.ballots,
            machine: &self.machine,
        })
    }
}

/// A send that passed the quotas.
pub(crate) struct Checked<'a, S: LimitedSender + 'a> {
    inner: S::Checked<'a>,
    copy: Option<S::Checked<'a>>,
    channel: u64,
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
        if let Some(copy) = self.copy {
            let _ = copy.send(message.clone(), priority);
        }
        self.inner.send(message, priority)
    }
}
