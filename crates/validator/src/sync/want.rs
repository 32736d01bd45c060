//! What is asked for, and of whom?
//!
//! One channel serves all of it.

use super::shelf::Requests;
use crate::asking::{self, Peers};
use bytes::{BufMut, Bytes};
use commonware_codec::{Buf, EncodeSize, Error, Read, Write};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_resolver::{Consumer, Delivery, Fetch, Outcome, Resolver as _, p2p};
use commonware_runtime::{Clock, Metrics, Spawner};
use commonware_utils::{
    Span,
    channel::{mpsc, oneshot},
};
use ledger::{Decode as _, Path, Reader};
use rand_core::CryptoRng;
use std::{fmt, time::Duration};

/// No path is longer, and nothing else is as long.
const BYTES_MAX: usize = 1 + 8 + 2 + 256;

/// What a peer is asked for.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Want {
    /// The newest snapshot, if it is above this height: the block above it, with its certificate.
    Offer { above: u64 },
    /// The block that the snapshot at this height is the state after.
    Tip { height: u64 },
    /// A piece of the snapshot at this height.
    Piece { height: u64, path: Path },
    /// The first change of the set of voters that was decided in this epoch or later.
    Change { from: u64 },
}

impl Want {
    fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let (tag, number) = match self {
            Self::Offer { above } => (0, above),
            Self::Tip { height } => (1, height),
            Self::Piece { height, .. } => (2, height),
            Self::Change { from } => (3, from),
        };
        out.push(tag);
        ledger::Encode::write(number, &mut out);
        if let Self::Piece { path, .. } = self {
            ledger::Encode::write(path, &mut out);
        }
        out
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader::new(bytes);
        let (tag, number) = (u8::read(&mut r).ok()?, u64::read(&mut r).ok()?);
        let want = match tag {
            0 => Self::Offer { above: number },
            1 => Self::Tip { height: number },
            2 => Self::Piece { height: number, path: Path::read(&mut r).ok()? },
            3 => Self::Change { from: number },
            _ => return None,
        };
        r.finish().ok()?;
        Some(want)
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Span for Want {}

impl Write for Want {
    fn write(&self, buf: &mut impl BufMut) {
        let bytes = self.encoded();
        buf.put_u16(u16::try_from(bytes.len()).expect("a path is short"));
        buf.put_slice(&bytes);
    }
}

impl EncodeSize for Want {
    fn encode_size(&self) -> usize {
        2 + self.encoded().len()
    }
}

impl Read for Want {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        if buf.remaining() < 2 {
            return Err(Error::EndOfBuffer);
        }
        let length = usize::from(buf.get_u16());
        if length > BYTES_MAX {
            return Err(Error::InvalidLength(length));
        }
        if buf.remaining() < length {
            return Err(Error::EndOfBuffer);
        }
        Self::parse(&buf.copy_to_bytes(length)).ok_or(Error::Invalid("want", "not a canonical request"))
    }
}

/// What a peer answered.
pub(crate) struct Answer {
    pub(crate) want: Want,
    pub(crate) bytes: Bytes,
    /// What became of it: a wrong one has its peer cut off.
    pub(crate) verdict: oneshot::Sender<Outcome>,
}

/// Asks peers until one answers rightly.
#[derive(Clone)]
pub(crate) struct Fetcher(p2p::Mailbox<Want, PublicKey, ()>);

impl Fetcher {
    pub(crate) fn ask(&mut self, want: Want) {
        self.0.fetch(Fetch { key: want, subscriber: (), span: tracing::Span::none() });
    }

    /// Asks for nothing any more.
    pub(crate) fn forget_all(&mut self) {
        self.0.retain(|_, ()| false);
    }
}

/// Hands answers to who asked, of which there are as many as questions.
#[derive(Clone)]
struct Answers(mpsc::UnboundedSender<Answer>);

impl Consumer for Answers {
    type Key = Want;
    type Value = Bytes;
    type Subscriber = ();
    type Outcome = Outcome;

    fn deliver(&mut self, delivery: Delivery<Want, ()>, bytes: Bytes) -> oneshot::Receiver<Outcome> {
        let (verdict, receiver) = oneshot::channel();
        let _ = self.0.send(Answer { want: delivery.key, bytes, verdict });
        receiver
    }
}

/// The asking end.
pub(crate) struct Asking {
    pub(crate) fetcher: Fetcher,
    pub(crate) answers: mpsc::UnboundedReceiver<Answer>,
}

/// Starts asking and answering on a channel. Peers are given what `requests` leads to.
pub(crate) fn start<E, B, P, S, R>(context: &E, peers: Peers<B, P>, requests: Requests, channel: (S, R)) -> Asking
where
    E: CryptoRng + Spawner + Clock + Metrics,
    B: Blocker<PublicKey = PublicKey>,
    P: Provider<PublicKey = PublicKey>,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    let (sender, answers) = mpsc::unbounded_channel();
    let mailbox = asking::start(context, peers, (Answers(sender), requests), PATIENCE, channel);
    Asking { fetcher: Fetcher(mailbox), answers }
}

/// A piece on a line of a megabit a second takes four seconds.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_codec::{DecodeExt, Encode as _};

    #[test]
    fn a_want_is_what_it_was_written_as_and_other_bytes_are_none() {
        for want in [
            Want::Offer { above: 7 },
            Want::Tip { height: u64::MAX },
            Want::Piece { height: 3, path: Path::root() },
            Want::Change { from: 0 },
        ] {
            let bytes = want.encode();
            assert_eq!(<Want as DecodeExt<()>>::decode(bytes.clone()).ok(), Some(want));
            assert!(<Want as DecodeExt<()>>::decode(bytes.slice(..bytes.len() - 1)).is_err());
        }
        assert!(<Want as DecodeExt<()>>::decode(Bytes::from_static(&[0, 9, 4, 0, 0, 0, 0, 0, 0, 0, 1])).is_err());
        assert!(<Want as DecodeExt<()>>::decode(Bytes::from_static(&[0xff, 0xff])).is_err());
    }
}
