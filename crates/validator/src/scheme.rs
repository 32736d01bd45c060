//! The signing scheme: the engine's Ed25519 scheme with the vote guard in front of every signature.
//!
//! Attributable (each certificate names its signers), so that conflicting votes are evidence that anyone can check.

use crate::guard::{Guard, Vote};
use commonware_consensus::simplex::{scheme::Namespace, types::Subject};
use commonware_cryptography::{
    Digest,
    certificate::{
        AssemblyError, Attestation, Membership, Namespace as _, Verification, Verifier, verify_then_assemble,
    },
    ed25519::{
        PrivateKey, PublicKey, Signature,
        certificate::{Certificate, Generic},
    },
};
use commonware_parallel::Strategy;
use commonware_utils::{N3f1, iter::NonEmpty, ordered::Set};
use rand_core::CryptoRng;

/// Verifies like the engine's Ed25519 scheme; signs only what the [`Guard`] admits.
#[derive(Clone, Debug)]
pub struct Scheme {
    generic: Generic<Namespace>,
    guard: Option<Guard>,
}

impl Scheme {
    /// A validator's scheme. `None` when `key` belongs to no participant.
    pub fn signer(namespace: &[u8], participants: Set<PublicKey>, key: PrivateKey, guard: Guard) -> Option<Self> {
        Some(Self { generic: Generic::signer(namespace, participants, key)?, guard: Some(guard) })
    }

    /// Checks signatures, signs nothing.
    pub fn verifier(namespace: &[u8], participants: Set<PublicKey>) -> Self {
        Self { generic: Generic { participants, signer: None, namespace: Namespace::derive(namespace) }, guard: None }
    }
}

impl Verifier for Scheme {
    type Subject<'a, D: Digest> = Subject<'a, D>;
    type Faults = N3f1;
    type PublicKey = PublicKey;
    type Certificate = Certificate;

    fn verify_certificate<R: CryptoRng, D: Digest>(
        &self,
        rng: &mut R,
        subject: Self::Subject<'_, D>,
        certificate: &Self::Certificate,
        strategy: &impl Strategy,
    ) -> bool {
        self.generic.verify_certificate::<Self, _>(rng, subject, certificate, strategy)
    }

    fn verify_certificates<'a, R: CryptoRng, D: Digest, I>(
        &self,
        rng: &mut R,
        certificates: NonEmpty<I>,
        strategy: &impl Strategy,
    ) -> bool
    where
        I: Iterator<Item = (Self::Subject<'a, D>, &'a Self::Certificate)>,
    {
        self.generic.verify_certificates::<Self, _, _, _>(rng, certificates, strategy)
    }

    fn is_batchable() -> bool {
        Generic::<Namespace>::is_batchable()
    }

    fn max_certificate_size(participants: u32) -> usize {
        Generic::<Namespace>::max_certificate_size(participants)
    }

    fn certificate_codec_config(&self) -> <Self::Certificate as commonware_codec::Read>::Cfg {
        self.generic.certificate_codec_config()
    }

    fn certificate_codec_config_unbounded() -> <Self::Certificate as commonware_codec::Read>::Cfg {
        Generic::<Namespace>::certificate_codec_config_unbounded()
    }
}

impl commonware_cryptography::certificate::Scheme for Scheme {
    type Signature = Signature;

    fn me(&self) -> Option<Membership> {
        self.generic.signer_index().map(Membership::Signer)
    }

    fn participants(&self) -> &Set<Self::PublicKey> {
        &self.generic.participants
    }

    fn sign<D: Digest>(&self, subject: Self::Subject<'_, D>) -> Option<Attestation<Self>> {
        let guard = self.guard.as_ref()?;
        guard.admit(&Vote::of(&subject)).then(|| self.generic.sign(subject)).flatten()
    }

    fn verify_attestation<R: CryptoRng, D: Digest>(
        &self,
        _rng: &mut R,
        subject: Self::Subject<'_, D>,
        attestation: &Attestation<Self>,
        _strategy: &impl Strategy,
    ) -> bool {
        self.generic.verify_attestation(subject, attestation)
    }

    fn verify_attestations<R: CryptoRng, D: Digest, I>(
        &self,
        rng: &mut R,
        subject: Self::Subject<'_, D>,
        attestations: I,
        strategy: &impl Strategy,
    ) -> Verification<Self>
    where
        I: IntoIterator<Item = Attestation<Self>>,
        I::IntoIter: Send,
    {
        self.generic.verify_attestations(rng, subject, attestations, strategy)
    }

    fn optimistic_assemble<'a, R: CryptoRng, D: Digest, I, J>(
        &self,
        rng: &mut R,
        subject: Self::Subject<'_, D>,
        pending: I,
        verified: J,
        strategy: &impl Strategy,
    ) -> Result<Self::Certificate, Verification<Self>>
    where
        I: IntoIterator<Item = Attestation<Self>>,
        I::IntoIter: ExactSizeIterator + Send,
        J: IntoIterator<Item = &'a Attestation<Self>>,
        J::IntoIter: Send,
    {
        verify_then_assemble::<Self, _, D, _, _>(self, rng, subject, pending, verified, strategy)
    }

    fn assemble<I>(
        &self,
        attestations: NonEmpty<I>,
        _strategy: &impl Strategy,
    ) -> Result<Self::Certificate, AssemblyError>
    where
        I: Iterator<Item = Attestation<Self>> + Send,
    {
        self.generic.assemble::<Self, _>(attestations)
    }

    fn is_attributable() -> bool {
        Generic::<Namespace>::is_attributable()
    }
}
