//! Who wants to validate, and how far has it come?
//!
//! Anybody may ask for a seat, and signs that with the key that is to have it. A quorum of the validators makes it a
//! *learner*: it gets a seat without a vote, so that the others talk to it. It follows the chain, and says so by naming the
//! root of a state of the last few blocks. Until it has a vote it can ask for nothing else and cost nobody anything.
//!
//! A request may also name the validator whose place it is to take, which is how a key is changed. Then the word of that
//! validator alone is enough, since nobody comes in who was not there, and it goes when the new one comes.
//!
//! A request expires no later than [`REQUEST_BLOCKS_MAX`] blocks from the block that takes it, and stands at least until
//! then. So nobody can repeat it for whoever took it back.
//!
//! Naming a root shows that a learner is level with the chain, not that it computed that root: it is in the next block.
//! A learner that lies about it harms as much as a validator that does nothing, which is what f is for.

use super::{Seat, check_fresh};
use crate::{
    codec::{self, Decode, DecodeError, Encode, Reader, read_flag, read_option, write_option},
    genesis::{self, VALIDATORS_MAX},
    state::{StateError, TransactionError, id_of, key},
    tasks::Now,
    tree::Tree,
    types::{Hash, Height, NodeId, Timestamp},
};
use imbl::OrdMap;
use std::{collections::BTreeSet, sync::Arc};

/// The first byte of a key, beside those of `roster`.
const CANDIDATE: u8 = 12;
const MARKS: u8 = 13;

/// Candidates and learners at a time. Anybody may ask, so they must be few.
pub const CANDIDATES_MAX: usize = 32;

/// How far ahead of the next block a request may expire.
pub const REQUEST_BLOCKS_MAX: u64 = 10_000;

/// For how many milliseconds of lease time a request waits to be approved: two operators can talk about it in an hour.
pub const CANDIDATE_MS: u64 = 3_600_000;

/// For how many milliseconds of lease time a learner may take to be level, again and again.
pub const LEARNER_MS: u64 = 6 * 3_600_000;

/// For how many blocks the word of a learner that it is level holds: that of an epoch by default.
pub const LEVEL_BLOCKS: u64 = 256;

/// While there are learners, the root after every eighth block is kept for as long as it can be named.
pub const MARK_BLOCKS: u64 = 8;

const MARKS_MAX: usize = (LEVEL_BLOCKS / MARK_BLOCKS) as usize;

/// What somebody who wants to validate says of itself, as the genesis says it of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What people are to call it.
    pub name: String,
    /// Where others reach it, `host:port`.
    pub address: String,
    /// Where it stands.
    pub region: String,
    /// How much work it takes, relative to others.
    pub capacity: u32,
    /// The validator whose place it takes.
    pub replaces: Option<NodeId>,
}

/// The root of the state after a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The block.
    pub height: Height,
    /// The root.
    pub root: Hash,
}

/// Somebody who wants to validate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What it says of itself.
    pub request: Request,
    /// The block that took the request. With the key it names the request, and no other one ever.
    pub since: Height,
    /// Until when the request could be repeated.
    pub expires: Height,
    /// The lease time at which it lapses.
    pub until: Timestamp,
    /// Which validators approve of it.
    pub approvals: BTreeSet<NodeId>,
    /// Whether it took its request back. Its place is free once nobody can repeat the request.
    pub is_withdrawn: bool,
    /// The block since which it is a learner.
    pub learner: Option<Height>,
    /// The newest block after which it named the root.
    pub level: Option<Height>,
}

/// What becomes of somebody who wants to validate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It asked.
    Asked,
    /// Enough validators approve of it.
    Approved,
    /// It is level with the chain, for the first time.
    Level,
    /// It does not want to any more.
    Withdrew,
    /// It was not approved, or not level, for too long; or whom it was to replace is gone.
    Lapsed,
}

/// Who wants to validate, and the roots that a learner may name. Cloning is O(1).
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates {
    of: OrdMap<NodeId, Candidate>,
    marks: Arc<Vec<Mark>>,
    /// What the last block changed, in order. Not part of the state's root.
    steps: Arc<Vec<(NodeId, Step)>>,
}

impl Candidate {
    /// Whether it said less than [`LEVEL_BLOCKS`] before that height that it is level.
    pub fn is_level(&self, now: Height) -> bool {
        self.level.is_some_and(|level| now <= level.after(LEVEL_BLOCKS))
    }
}

impl Candidates {
    pub(crate) fn of(&self, node: &NodeId) -> Option<&Candidate> {
        self.of.get(node)
    }

    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeId, &Candidate)> {
        self.of.iter()
    }

    pub(crate) fn steps(&self) -> &[(NodeId, Step)] {
        &self.steps
    }

    /// The newest root that may be named, for a learner that wants to.
    pub(crate) fn newest_mark(&self) -> Option<Mark> {
        self.marks.last().copied()
    }

    /// Learners, those that were approved first before the others.
    pub(crate) fn learners(&self) -> Vec<(NodeId, &Candidate)> {
        let learners = self.of.iter().filter(|(_, candidate)| candidate.learner.is_some() && !candidate.is_withdrawn);
        let mut learners: Vec<_> = learners.map(|(node, candidate)| (*node, candidate)).collect();
        learners.sort_by_key(|(node, candidate)| (candidate.learner, *node));
        learners
    }

    fn present(&self, node: NodeId) -> Result<&Candidate, TransactionError> {
        let found = self.of.get(&node).filter(|candidate| !candidate.is_withdrawn);
        found.ok_or(TransactionError::NoCandidate { node })
    }
}

/// What may be said.
impl Candidates {
    /// Whether there is room for a request, whoever makes it.
    pub(crate) fn check_request(
        &self,
        node: NodeId,
        request: &Request,
        (expires, next): (Height, Height),
    ) -> Result<(), TransactionError> {
        let max = next.after(REQUEST_BLOCKS_MAX);
        if expires > max {
            return Err(TransactionError::ExpiresTooLate { expires, max });
        }
        let Request { name, address, region, capacity, .. } = request;
        let fault = genesis::field_fault(&node, name, address, region, *capacity);
        if let Some(genesis::FieldFault { field, rule, got }) = fault {
            return Err(TransactionError::RequestField { field, rule, got });
        }
        for (other, candidate) in &self.of {
            let asked = &candidate.request;
            check_fresh(node, request, *other, (&asked.name, &asked.address))?;
        }
        if self.of.len() >= CANDIDATES_MAX {
            return Err(TransactionError::CandidatesFull { max: CANDIDATES_MAX });
        }
        Ok(())
    }

    /// Whether a validator may approve of a request.
    pub(crate) fn check_approval(&self, voter: NodeId, node: NodeId, since: Height) -> Result<(), TransactionError> {
        let candidate = self.present(node)?;
        if candidate.since != since {
            return Err(TransactionError::RequestStale { got: since, now: candidate.since });
        }
        if let Some(replaced) = candidate.request.replaces.filter(|replaced| *replaced != voter) {
            return Err(TransactionError::NotTheReplaced { replaced });
        }
        if candidate.approvals.contains(&voter) {
            return Err(TransactionError::ApprovedAlready);
        }
        Ok(())
    }

    /// Whether a learner may say that this is the root after that block.
    pub(crate) fn check_level(&self, node: NodeId, mark: Mark) -> Result<(), TransactionError> {
        let candidate = self.present(node)?;
        if candidate.learner.is_none() {
            return Err(TransactionError::NotALearner { node });
        }
        if let Some(level) = candidate.level.filter(|level| *level >= mark.height) {
            return Err(TransactionError::LevelStale { got: mark.height, last: level });
        }
        match self.marks.iter().find(|known| known.height == mark.height) {
            Some(known) if *known == mark => Ok(()),
            Some(_) => Err(TransactionError::RootWrong { height: mark.height }),
            None if self.marks.last().is_none_or(|newest| newest.height < mark.height) => {
                Err(TransactionError::RootAhead { height: mark.height })
            }
            None => Err(TransactionError::RootUnknown { height: mark.height }),
        }
    }

    /// Whether who asked may take that back.
    pub(crate) fn check_withdrawal(&self, node: NodeId, since: Height) -> Result<(), TransactionError> {
        let candidate = self.present(node)?;
        if candidate.since != since {
            return Err(TransactionError::RequestStale { got: since, now: candidate.since });
        }
        Ok(())
    }
}

/// What is said, after it was checked.
impl Candidates {
    pub(crate) fn ask(&mut self, tree: &mut Tree, node: NodeId, request: Request, expires: Height, now: Now) {
        let candidate = Candidate {
            request,
            since: now.height,
            expires,
            until: now.lease_time.after(CANDIDATE_MS),
            approvals: BTreeSet::new(),
            is_withdrawn: false,
            learner: None,
            level: None,
        };
        self.of.insert(node, candidate);
        self.amend(tree, node, |_| ());
        self.tell(node, Step::Asked);
    }

    pub(crate) fn approve(&mut self, tree: &mut Tree, voter: NodeId, node: NodeId) {
        self.amend(tree, node, |candidate| {
            candidate.approvals.insert(voter);
        });
    }

    pub(crate) fn level(&mut self, tree: &mut Tree, node: NodeId, mark: Mark, now: Now) {
        let is_first = self.of[&node].level.is_none();
        self.amend(tree, node, |candidate| {
            candidate.level = Some(mark.height);
            candidate.until = now.lease_time.after(LEARNER_MS);
        });
        if is_first {
            self.tell(node, Step::Level);
        }
    }

    pub(crate) fn withdraw(&mut self, tree: &mut Tree, node: NodeId) {
        self.amend(tree, node, |candidate| candidate.is_withdrawn = true);
        self.tell(node, Step::Withdrew);
    }
}

/// What follows at the end of a block.
impl Candidates {
    pub(crate) fn begin(&mut self) {
        self.steps = Arc::default();
    }

    /// Notes the root after the block before this one, if a learner may want to name it.
    pub(crate) fn mark(&mut self, tree: &mut Tree, mark: Mark) {
        if self.learners().is_empty() {
            if !self.marks.is_empty() {
                self.marks = Arc::default();
                tree.remove(&[MARKS]);
            }
            return;
        }
        if mark.height.0.is_multiple_of(MARK_BLOCKS) {
            let marks = Arc::make_mut(&mut self.marks);
            if marks.len() == MARKS_MAX {
                marks.remove(0);
            }
            marks.push(mark);
            tree.insert(&[MARKS], &encode_marks(marks));
        }
    }

    /// Enough approve of it.
    pub(crate) fn promote(&mut self, tree: &mut Tree, node: NodeId, now: Now) {
        self.amend(tree, node, |candidate| {
            candidate.learner = Some(now.height);
            candidate.until = now.lease_time.after(LEARNER_MS);
        });
        self.tell(node, Step::Approved);
    }

    /// It is decided when it votes: that it asked is over.
    pub(crate) fn seat(&mut self, tree: &mut Tree, node: NodeId) {
        self.of.remove(&node);
        tree.remove(&key(CANDIDATE, &node));
    }

    /// Forgets those whose time is over, and those whom nobody can let in any more: `can_come` says of a request whether
    /// somebody can.
    pub(crate) fn lapse(&mut self, tree: &mut Tree, now: Now, can_come: impl Fn(&Request) -> bool) {
        let is_over = |candidate: &Candidate| candidate.until < now.lease_time || !can_come(&candidate.request);
        let due = self.of.iter().filter(|(_, candidate)| candidate.expires < now.height);
        let due = due.filter(|(_, candidate)| candidate.is_withdrawn || is_over(candidate));
        let due: Vec<(NodeId, bool)> = due.map(|(node, candidate)| (*node, candidate.is_withdrawn)).collect();
        for (node, is_withdrawn) in due {
            self.seat(tree, node);
            if !is_withdrawn {
                self.tell(node, Step::Lapsed);
            }
        }
    }

    fn amend(&mut self, tree: &mut Tree, node: NodeId, change: impl FnOnce(&mut Candidate)) {
        let candidate = self.of.get_mut(&node).expect("checked to be a candidate");
        change(candidate);
        tree.insert(&key(CANDIDATE, &node), &candidate.encode());
    }

    fn tell(&mut self, node: NodeId, step: Step) {
        Arc::make_mut(&mut self.steps).push((node, step));
    }
}

/// From entries to what follows from them.
impl Candidates {
    /// Takes over one entry of a checkpoint, if it is of this module; `None` if it is not. The seats are there already.
    pub(crate) fn restore(
        &mut self,
        entry: usize,
        (entry_key, value): (&[u8], &[u8]),
        seats: &OrdMap<NodeId, Seat>,
    ) -> Option<Result<(), StateError>> {
        let wrong = |error| StateError::Value { entry, error };
        match (entry_key.first(), entry_key.len()) {
            (Some(&CANDIDATE), 33) => {
                let node = id_of(entry_key);
                let candidate = match Candidate::decode(value) {
                    Ok(candidate) => candidate,
                    Err(error) => return Some(Err(wrong(error))),
                };
                let seat = seats.get(&node);
                let fits = match candidate.learner {
                    Some(_) => seat.is_some_and(|seat| seat.from.is_none()),
                    None => candidate.level.is_none() && seat.is_none_or(|seat| seat.from.is_none()),
                };
                let are_known = candidate.approvals.iter().all(|approver| seats.contains_key(approver));
                if !fits || !are_known || self.of.len() == CANDIDATES_MAX {
                    return Some(Err(StateError::Standing { node, what: "asked for a seat as it could not have" }));
                }
                self.of.insert(node, candidate);
                Some(Ok(()))
            }
            (Some(&MARKS), 1) => Some(read_marks(value).map_err(wrong).map(|marks| self.marks = Arc::new(marks))),
            _ => None,
        }
    }
}

impl Request {
    /// The bytes of a request without its texts.
    pub(crate) const FIXED_SIZE: usize = 3 * 4 + 4 + 1;

    pub(crate) fn size(&self) -> usize {
        let texts = self.name.len() + self.address.len() + self.region.len();
        Self::FIXED_SIZE + texts + if self.replaces.is_some() { 32 } else { 0 }
    }
}

impl Encode for Request {
    fn write(&self, out: &mut Vec<u8>) {
        codec::write_bytes(self.name.as_bytes(), out);
        codec::write_bytes(self.address.as_bytes(), out);
        codec::write_bytes(self.region.as_bytes(), out);
        self.capacity.write(out);
        write_option(self.replaces.as_ref(), out);
    }
}

impl Decode for Request {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: r.text("name", genesis::NAME_BYTES_MAX)?.to_owned(),
            address: r.text("address", genesis::ADDRESS_BYTES_MAX)?.to_owned(),
            region: r.text("region", genesis::NAME_BYTES_MAX)?.to_owned(),
            capacity: u32::read(r)?,
            replaces: read_option(r, "whether a validator is replaced")?,
        })
    }
}

impl Encode for Mark {
    fn write(&self, out: &mut Vec<u8>) {
        self.height.write(out);
        self.root.write(out);
    }
}

impl Decode for Mark {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { height: Height::read(r)?, root: Hash::read(r)? })
    }
}

fn encode_marks(marks: &[Mark]) -> Vec<u8> {
    let mut out = Vec::new();
    codec::write_count(marks.len(), &mut out);
    marks.iter().for_each(|mark| mark.write(&mut out));
    out
}

fn read_marks(bytes: &[u8]) -> Result<Vec<Mark>, DecodeError> {
    const RULE: &str = "in the order of heights, and of one block at least";
    let mut r = Reader::new(bytes);
    let count = r.count("roots", MARKS_MAX, 8 + 32)?;
    let marks = (0..count).map(|_| Mark::read(&mut r)).collect::<Result<Vec<_>, _>>()?;
    r.finish()?;
    if marks.is_empty() || !marks.is_sorted_by(|one, next| one.height < next.height) {
        return Err(DecodeError::Text { what: "roots", rule: RULE });
    }
    Ok(marks)
}

impl Encode for Candidate {
    fn write(&self, out: &mut Vec<u8>) {
        self.request.write(out);
        self.since.write(out);
        self.expires.write(out);
        self.until.write(out);
        codec::write_count(self.approvals.len(), out);
        self.approvals.iter().for_each(|approver| approver.write(out));
        u8::from(self.is_withdrawn).write(out);
        write_option(self.learner.as_ref(), out);
        write_option(self.level.as_ref(), out);
    }
}

impl Decode for Candidate {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let request = Request::read(r)?;
        let (since, expires, until) = (Height::read(r)?, Height::read(r)?, Timestamp::read(r)?);
        let count = r.count("approvals", VALIDATORS_MAX, 32)?;
        let approvals: Vec<NodeId> = (0..count).map(|_| NodeId::read(r)).collect::<Result<_, _>>()?;
        if !approvals.is_sorted_by(|one, next| one < next) {
            return Err(DecodeError::Text { what: "approvals", rule: "in the order of keys, each once" });
        }
        Ok(Self {
            request,
            since,
            expires,
            until,
            approvals: approvals.into_iter().collect(),
            is_withdrawn: read_flag(r, "whether a request was taken back")?,
            learner: read_option(r, "whether a candidate is a learner")?,
            level: read_option(r, "whether a learner was level")?,
        })
    }
}
