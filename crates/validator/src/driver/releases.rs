//! Which programs and models may run, and what does this validator propose?

use super::{Driver, answers::pending};
use api::{CertifiedView, ProposalView, Refusal, RefusalClass, Releases, TransactionStatus};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use ledger::{Certified, Hash, Kind, genesis::RELEASES_MAX, quorum};

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// What may run by agreement, and what else is proposed.
    pub(super) fn show_certified(&self) -> CertifiedView {
        let state = self.parts.ledger.finalized();
        let certification = state.certification();
        let proposal =
            |(node, proposed)| ProposalView { node: self.settings.roster.name_of(&node), proposed: show(&proposed) };
        CertifiedView {
            schema: "unsplit.certified/1".into(),
            height: state.height().0,
            certified: show(&certification.certified),
            since_height: certification.since.0,
            proposals: state.certified_proposals().into_iter().map(proposal).collect(),
            needed: quorum(state.voters().len()) as u64,
        }
    }

    /// Has this validator propose what may run from now on.
    pub(super) fn certify(&mut self, proposed: &Releases) -> Result<TransactionStatus, Refusal> {
        let certified = Certified {
            programs: hashes("programs", &proposed.programs)?,
            models: hashes("models", &proposed.models)?,
        };
        let state = self.parts.ledger.finalized();
        let sequence = state.next_certified_sequence(&self.settings.secret.public());
        let transaction = self.sign(Kind::Certify { certified, sequence }, &state);
        let id = transaction.id();
        self.take(transaction)?;
        Ok(pending(id))
    }
}

fn show(certified: &Certified) -> Releases {
    let text = |hashes: &[Hash]| hashes.iter().map(Hash::to_string).collect();
    Releases { programs: text(&certified.programs), models: text(&certified.models) }
}

fn hashes(field: &str, texts: &[String]) -> Result<Vec<Hash>, Refusal> {
    let invalid = |detail| Refusal {
        code: "bad_releases",
        detail,
        help: "send the SHA-256 of at most two releases, 64 hex digits each".into(),
        class: RefusalClass::Invalid,
    };
    if texts.len() > RELEASES_MAX {
        return Err(invalid(format!("`{field}` lists {} releases, at most {RELEASES_MAX} may run", texts.len())));
    }
    let parse = |text: &String| text.parse().map_err(|problem| invalid(format!("`{field}`: {problem}")));
    texts.iter().map(parse).collect()
}
