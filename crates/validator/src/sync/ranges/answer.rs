//! What a peer gives, and whether it is right.

use crate::{
    archive::Archives,
    asking::Questions,
    chain::{Block, Digest},
    scheme::Scheme,
};
use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use commonware_codec::{Buf, Encode as _, Error as CodecError, FixedSize, Read, Write};
use commonware_consensus::{Block as _, Heightable as _, simplex::types::Finalization};
use commonware_cryptography::{Digestible as _, certificate::Verifier as _};
use commonware_runtime::{Error, Storage};
use commonware_utils::{
    Span,
    channel::{mpsc, oneshot},
};
use sentinel::catchup::{RANGE_MAX, Range};
use std::fmt;
use tracing::warn;

/// An answer holds blocks until they take so many bytes, or one block that takes more.
const BYTES: usize = 512 << 10;
/// Questions that wait.
const WAITING_MAX: usize = 64;

/// Blocks that a peer is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Wanted(pub(crate) Range);

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.0.from, self.0.to)
    }
}

impl Span for Wanted {}

impl FixedSize for Wanted {
    const SIZE: usize = 16;
}

impl Write for Wanted {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_u64(self.0.from);
        buf.put_u64(self.0.to);
    }
}

impl Read for Wanted {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, CodecError> {
        if buf.remaining() < Self::SIZE {
            return Err(CodecError::EndOfBuffer);
        }
        let (from, to) = (buf.get_u64(), buf.get_u64());
        if from == 0 || to < from || to - from >= RANGE_MAX {
            return Err(CodecError::Invalid("range", "not a range of blocks that may be asked for"));
        }
        Ok(Self(Range { from, to }))
    }
}

/// A range of final blocks.
#[derive(Debug)]
pub(super) struct Batch {
    /// Stands for the last block, and so for all of them.
    pub(super) certificate: Finalization<Scheme, Digest>,
    /// From the lowest on, each with its digest and its bytes.
    pub(super) blocks: Vec<(Digest, Bytes)>,
    /// The last block's height.
    pub(super) top: u64,
}

impl Batch {
    /// Reads an answer to `wanted`: blocks from its first height on, each of which names the one before, and a certificate
    /// that names the last. Whether that is one is for the caller to say.
    pub(super) fn read(mut bytes: Bytes, wanted: Range) -> Option<Self> {
        let config = Scheme::certificate_codec_config_unbounded();
        let certificate = Finalization::<Scheme, Digest>::read_cfg(&mut bytes, &config).ok()?;
        let mut blocks: Vec<(Digest, Bytes)> = Vec::new();
        let mut height = wanted.from;
        while !bytes.is_empty() {
            if bytes.len() < 4 || height > wanted.to {
                return None;
            }
            let length = usize::try_from(bytes.get_u32()).ok().filter(|length| *length <= bytes.len())?;
            let own = bytes.split_to(length);
            let block = <Block as commonware_codec::Decode>::decode_cfg(own.clone(), &()).ok()?;
            let follows = blocks.last().is_none_or(|(digest, _)| block.parent() == *digest);
            if block.height().get() != height || !follows {
                return None;
            }
            blocks.push((block.digest(), own));
            height += 1;
        }
        let (last, _) = blocks.last()?;
        (*last == certificate.proposal.payload).then_some(Self { certificate, blocks, top: height - 1 })
    }

    /// The last block with its certificate.
    pub(super) fn certified(&self) -> Bytes {
        let (_, block) = self.blocks.last().expect("a batch has a block");
        let mut out = BytesMut::new();
        self.certificate.write(&mut out);
        out.extend_from_slice(block);
        out.freeze()
    }
}

/// What is given of `range`: as many blocks from the first on as there are, up to one that has a certificate.
///
/// # Errors
/// When the storage fails.
pub(super) async fn give<E: Storage>(archives: &Archives<E>, range: Range) -> Result<Option<Bytes>, Error> {
    let Archives { blocks, certificates } = archives;
    let certified_below = |height| certificates.held_below(height).filter(|height| *height >= range.from);
    let Some(mut top) = certified_below(range.to) else { return Ok(None) };
    let mut given = BytesMut::new();
    let mut ends = Vec::new();
    let mut height = range.from;
    while height <= top {
        let Some((_, block)) = blocks.read(height).await? else {
            // What is there below it may do.
            let Some(below) = certified_below(height - 1) else { return Ok(None) };
            top = below;
            break;
        };
        let bytes = block.encode();
        given.put_u32(u32::try_from(bytes.len()).expect("blocks are small"));
        given.extend_from_slice(&bytes);
        ends.push(given.len());
        if given.len() >= BYTES {
            top = certified_below(height).unwrap_or(top);
        }
        if given.len() > ledger::block::BYTES_MAX + 4 {
            // Too much for one message, and no certificate below.
            return Ok(None);
        }
        height += 1;
    }
    let index = usize::try_from(top - range.from).expect("a range is short");
    given.truncate(ends[index]);
    let Some((_, certificate)) = certificates.read(top).await? else { return Ok(None) };
    let mut out = BytesMut::from(certificate.encode().as_ref());
    out.unsplit(given);
    Ok(Some(out.freeze()))
}

/// Answers the questions of peers, one after the other: whoever asks much waits, and the node does not.
pub(crate) struct Answering<E: Storage> {
    archives: Archives<E>,
    inbox: mpsc::Receiver<(Wanted, oneshot::Sender<Bytes>)>,
}

impl<E: Storage> Answering<E> {
    pub(crate) fn new(archives: Archives<E>) -> (Self, Questions<Wanted>) {
        let (questions, inbox) = Questions::new(WAITING_MAX);
        (Self { archives, inbox }, questions)
    }

    /// Runs until nobody can ask any more.
    pub(crate) async fn run(mut self) {
        while let Some((Wanted(range), reply)) = self.inbox.recv().await {
            match give(&self.archives, range).await {
                Ok(Some(bytes)) => drop(reply.send(bytes)),
                // Who has nothing says so, and is not blamed: dropping the reply tells.
                Ok(None) => {}
                Err(problem) => warn!(%problem, from = range.from, to = range.to, "blocks cannot be read for a peer"),
            }
        }
    }
}
