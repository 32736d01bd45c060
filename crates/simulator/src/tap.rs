//! A look at what a node sends, on its way out.

use crate::ballots::Ballots;
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
    Nothing,
}

/// The sending end of a channel, with a look at it.
#[derive(Clone)]
pub(crate) struct Tap<S> {
    pub(crate) inner: S,
    pub(crate) look: Look,
    pub(crate) ballots: Arc<Mutex<Ballots>>,
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
        Ok(Checked { inner: self.inner.check(recipients)?, look: self.look, ballots: &self.ballots })
    }
}

/// A send that passed the quotas.
pub(crate) struct Checked<'a, S: LimitedSender + 'a> {
    inner: S::Checked<'a>,
    look: Look,
    ballots: &'a Arc<Mutex<Ballots>>,
}

impl<S: LimitedSender<PublicKey = PublicKey>> CheckedSender for Checked<'_, S> {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        self.inner.recipients()
    }

    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        let message = message.into();
        match self.look {
            Look::Votes => self.ballots.lock().vote(message.clone().coalesce()),
            Look::Certificates => self.ballots.lock().certificate(message.clone().coalesce()),
            Look::Nothing => {}
        }
        self.inner.send(message, priority)
    }
}
