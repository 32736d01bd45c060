//! Which votes went over the wire, and do any contradict each other?
//!
//! Two proposals notarized in one view, two finalized in one view, or one view both finalized and nullified, by one key.
//! Votes are taken from what nodes send, alone and inside certificates, over all restarts. Only a pair of votes whose
//! signatures are both good is a contradiction: anyone can write someone else's name under a vote.

use crate::electorate::Electorate;
use commonware_codec::{Encode as _, Read as _, varint::UInt};
use commonware_consensus::{
    simplex::types::{Certificate, Proposal, Vote},
    types,
};
use commonware_cryptography::{
    Verifier as _,
    ed25519::{PublicKey, Signature},
};
use commonware_runtime::IoBuf;
use commonware_utils::{Participant, sync::Mutex};
use std::{collections::BTreeMap, sync::Arc};
use validator::{chain::Digest, scheme::Scheme};

/// Views remembered. Ten minutes of the fastest network; a contradiction lies at most a restart apart.
const VIEWS_MAX: usize = 16_384;

/// Epoch and view.
pub(crate) type Round = (u64, u64);

/// The engine's name for a vote is its namespace's ending.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    Notarize,
    Nullify,
    Finalize,
}

impl Kind {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Notarize => "_NOTARIZE",
            Self::Nullify => "_NULLIFY",
            Self::Finalize => "_FINALIZE",
        }
    }
}

/// What was signed, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Ballot {
    message: Vec<u8>,
    signature: Option<Signature>,
}

/// See the module.
pub(crate) struct Ballots {
    namespace: Vec<u8>,
    electorate: Arc<Mutex<Electorate>>,
    seen: BTreeMap<Round, BTreeMap<(Participant, Kind), Ballot>>,
    /// Contradictions, each in a sentence, until they are taken.
    contradictions: Vec<String>,
    votes: u64,
    /// The newest view in which each voted to notarize or nullify.
    newest: BTreeMap<PublicKey, Round>,
}

impl Ballots {
    pub(crate) fn new(namespace: Vec<u8>, electorate: Arc<Mutex<Electorate>>) -> Self {
        Self {
            namespace,
            electorate,
            seen: BTreeMap::new(),
            contradictions: Vec::new(),
            votes: 0,
            newest: BTreeMap::new(),
        }
    }

    /// How many votes were looked at.
    pub(crate) const fn votes(&self) -> u64 {
        self.votes
    }

    /// The newest round in which `key` voted to notarize or nullify.
    pub(crate) fn newest(&self, key: &PublicKey) -> Option<Round> {
        self.newest.get(key).copied()
    }

    pub(crate) fn take_contradictions(&mut self) -> Vec<String> {
        std::mem::take(&mut self.contradictions)
    }

    /// A message on the channel of votes.
    pub(crate) fn vote(&mut self, mut message: IoBuf) {
        let Some(vote) =
            subchannel(&mut message).and_then(|_| Vote::<Scheme, Digest>::read_cfg(&mut message, &()).ok())
        else {
            return;
        };
        let (round, kind, signed, attestation) = match vote {
            Vote::Notarize(vote) => (vote.proposal.round, Kind::Notarize, vote.proposal.encode(), vote.attestation),
            Vote::Nullify(vote) => (vote.round, Kind::Nullify, vote.round.encode(), vote.attestation),
            Vote::Finalize(vote) => (vote.proposal.round, Kind::Finalize, vote.proposal.encode(), vote.attestation),
        };
        let signature = attestation.signature.get().cloned();
        let ballot = Ballot { message: signed.to_vec(), signature };
        self.note(round, kind, attestation.signer, &ballot);
        if kind != Kind::Finalize {
            self.remember(round, attestation.signer);
        }
    }

    /// A message on the channel of certificates.
    pub(crate) fn certificate(&mut self, mut message: IoBuf) {
        let certificate = subchannel(&mut message).and_then(|epoch| {
            let voters = self.electorate.lock().of(epoch).len();
            Certificate::<Scheme, Digest>::read_cfg(&mut message, &voters).ok()
        });
        let Some(certificate) = certificate else { return };
        let (round, kind, signed, certificate) = match certificate {
            Certificate::Notarization(it) => notarized(Kind::Notarize, &it.proposal, it.certificate),
            Certificate::Finalization(it) => notarized(Kind::Finalize, &it.proposal, it.certificate),
            Certificate::Nullification(it) => (it.round, Kind::Nullify, it.round.encode().to_vec(), it.certificate),
        };
        let signers: Vec<Participant> = certificate.signers.iter().collect();
        for (signer, signature) in signers.into_iter().zip(&certificate.signatures) {
            let ballot = Ballot { message: signed.clone(), signature: signature.get().cloned() };
            self.note(round, kind, signer, &ballot);
        }
    }

    fn note(&mut self, round: types::Round, kind: Kind, signer: Participant, ballot: &Ballot) {
        self.votes += 1;
        let round = numbers(round);
        let view = self.seen.entry(round).or_default();
        let rival = match kind {
            Kind::Notarize => None,
            Kind::Nullify => Some(Kind::Finalize),
            Kind::Finalize => Some(Kind::Nullify),
        };
        let same = view.get(&(signer, kind)).filter(|other| other.message != ballot.message);
        let other = rival.and_then(|rival| view.get(&(signer, rival)).map(|other| (rival, other)));
        let against = same.map(|other| (kind, other)).or(other).map(|(kind, other)| (kind, other.clone()));
        view.entry((signer, kind)).or_insert_with(|| ballot.clone());
        while self.seen.len() > VIEWS_MAX {
            self.seen.pop_first();
        }
        if let Some((rival, other)) = against
            && let Some(key) = self.key(round, signer)
            && self.is_good(&key, kind, ballot)
            && self.is_good(&key, rival, &other)
        {
            let (epoch, view) = round;
            self.contradictions
                .push(format!("{key} signed both {kind:?} and {rival:?} in view {view} of epoch {epoch}"));
        }
    }

    /// A vote may be older than one before it: to repeat one that was signed before a crash is allowed, and whether it had
    /// left by then cannot be told from the wire.
    fn remember(&mut self, round: types::Round, signer: Participant) {
        let round = numbers(round);
        if let Some(key) = self.key(round, signer) {
            let newest = self.newest.entry(key).or_default();
            *newest = round.max(*newest);
        }
    }

    fn key(&self, (epoch, _): Round, signer: Participant) -> Option<PublicKey> {
        self.electorate.lock().of(epoch).iter().nth(usize::from(signer)).cloned()
    }

    fn is_good(&self, key: &PublicKey, kind: Kind, ballot: &Ballot) -> bool {
        ballot
            .signature
            .as_ref()
            .is_some_and(|signature| verify(&self.namespace, key, kind, &ballot.message, signature))
    }
}

fn numbers(round: types::Round) -> Round {
    (round.epoch().get(), round.view().get())
}

fn notarized<C>(kind: Kind, proposal: &Proposal<Digest>, certificate: C) -> (types::Round, Kind, Vec<u8>, C) {
    (proposal.round, kind, proposal.encode().to_vec(), certificate)
}

/// Whether `key` signed `message` as a vote of this kind.
pub(crate) fn verify(namespace: &[u8], key: &PublicKey, kind: Kind, message: &[u8], signature: &Signature) -> bool {
    let namespace = [namespace, kind.suffix().as_bytes()].concat();
    key.verify(&namespace, message, signature)
}

/// Reads the number of the epoch's subchannel.
fn subchannel(message: &mut IoBuf) -> Option<u64> {
    UInt::<u64>::read_cfg(message, &()).ok().map(|UInt(epoch)| epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_consensus::{
        simplex::types::{Finalize, Notarize, Nullify},
        types::{Epoch, View},
    };
    use commonware_cryptography::{Signer as _, certificate::Attestation, ed25519::PrivateKey, sha256};
    use commonware_utils::ordered::Set;

    const NAMESPACE: &[u8] = b"test";

    fn proposal(content: u8) -> Proposal<Digest> {
        Proposal::new(round(), View::new(6), sha256::Digest([content; 32]))
    }

    fn round() -> types::Round {
        types::Round::new(Epoch::new(0), View::new(7))
    }

    fn attest(kind: Kind, message: &[u8], by: u64) -> Attestation<Scheme> {
        let namespace = [NAMESPACE, kind.suffix().as_bytes()].concat();
        Attestation {
            signer: Participant::new(0),
            signature: PrivateKey::from_seed(by).sign(&namespace, message).into(),
        }
    }

    /// The first validator's vote on a proposal with this content, signed by key number `by`.
    fn vote(kind: Kind, content: u8, by: u64) -> Vote<Scheme, Digest> {
        let proposal = proposal(content);
        match kind {
            Kind::Notarize => {
                let attestation = attest(kind, &proposal.encode(), by);
                Vote::Notarize(Notarize { proposal, attestation })
            }
            Kind::Finalize => {
                let attestation = attest(kind, &proposal.encode(), by);
                Vote::Finalize(Finalize { proposal, attestation })
            }
            Kind::Nullify => {
                Vote::Nullify(Nullify { round: round(), attestation: attest(kind, &round().encode(), by) })
            }
        }
    }

    fn contradictions(votes: &[Vote<Scheme, Digest>]) -> usize {
        let keys = Set::from_iter_dedup([PrivateKey::from_seed(1).public_key()]);
        let mut ballots = Ballots::new(NAMESPACE.to_vec(), Arc::new(Mutex::new(Electorate::new(keys))));
        for vote in votes {
            let mut message = UInt(0u64).encode().to_vec();
            message.extend(vote.encode().as_ref());
            ballots.vote(message.into());
        }
        assert_eq!(ballots.votes(), votes.len() as u64);
        ballots.take_contradictions().len()
    }

    #[test]
    fn two_proposals_in_one_view_contradict_each_other_and_repeats_do_not() {
        for kind in [Kind::Notarize, Kind::Finalize] {
            assert_eq!(contradictions(&[vote(kind, 1, 1), vote(kind, 1, 1)]), 0);
            assert_eq!(contradictions(&[vote(kind, 1, 1), vote(kind, 2, 1)]), 1);
        }
    }

    #[test]
    fn a_view_is_finalized_or_nullified_but_may_be_notarized_before() {
        let (notarize, nullify, finalize) =
            (vote(Kind::Notarize, 1, 1), vote(Kind::Nullify, 0, 1), vote(Kind::Finalize, 1, 1));
        assert_eq!(contradictions(&[notarize.clone(), nullify.clone()]), 0);
        assert_eq!(contradictions(&[notarize, finalize.clone()]), 0);
        assert_eq!(contradictions(&[nullify.clone(), finalize.clone()]), 1);
        assert_eq!(contradictions(&[finalize, nullify]), 1);
    }

    #[test]
    fn what_someone_else_signed_is_held_against_nobody() {
        assert_eq!(contradictions(&[vote(Kind::Notarize, 1, 1), vote(Kind::Notarize, 2, 9)]), 0);
    }
}
