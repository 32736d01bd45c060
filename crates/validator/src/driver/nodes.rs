//! Who stands how, and what this validator has to say about it.

use super::Driver;
use crate::lookout::Sight;
use api::{Affliction, AilmentView, Illness, LinkView, NodeRow, Refusal, RefusalClass};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use sentinel::{health::Link, vitals::Ailment};
use std::time::Duration;

/// A slower disk than this is a broken one.
const DELAY_MAX: Duration = Duration::from_secs(60);

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// Makes this validator ill for a while.
    pub(super) fn afflict(&mut self, affliction: Affliction) -> Result<Affliction, Refusal> {
        self.check_devnet()?;
        let until = self.context.current() + Duration::from_millis(affliction.ttl_ms);
        match affliction.illness {
            Illness::WedgedExecutor => self.worker.wedge(until),
            Illness::SlowDisk => {
                let delay = Duration::from_millis(affliction.delay_ms).min(DELAY_MAX);
                self.parts.guard.drag(delay, until);
            }
            Illness::FalseAccuser => {
                let index = affliction.node.as_deref().and_then(|name| self.settings.roster.place(name));
                self.lie = Some((index.ok_or_else(|| unknown(affliction.node.as_deref().unwrap_or("")))?, until));
            }
        }
        Ok(affliction)
    }

    /// Ends every injected ailment, and says how many there were.
    pub(super) fn cure(&mut self) -> usize {
        let lied = self.lie.take().is_some();
        usize::from(lied) + usize::from(self.worker.unwedge()) + usize::from(self.parts.guard.release_drag())
    }
}

/// What the lookout sees, added to a row.
pub(super) fn show_sight(row: &mut NodeRow, sight: &Sight) {
    row.link = match sight.link {
        Link::Alive => LinkView::Alive,
        Link::Doubted => LinkView::Doubted,
        Link::Suspect => LinkView::Suspect,
    };
    row.rtt_us = sight.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX));
    row.clock_ahead_ms = sight.clock_ahead_ms;
    if let Some((said, _)) = &sight.row {
        row.disk_ms = Some(said.vitals.disk_ms.into());
        row.lag_ms = Some(said.vitals.lag_ms.into());
        row.running = Some(said.vitals.running.into());
    }
    row.ailments = sight.ailments.iter().map(|(ailment, measure)| show_ailment(*ailment, *measure)).collect();
}

pub(super) fn show_ailment(ailment: Ailment, measure: u32) -> AilmentView {
    let measured = match ailment {
        Ailment::Consensus => format!("no vote for {} s while blocks become final", measure / 1_000),
        Ailment::Executor => "work with a known answer is not done, or done wrong".into(),
        Ailment::Disk => format!("its disk takes {measure} ms to make a vote durable"),
        Ailment::Clock => format!("its clock is {measure} ms off"),
    };
    AilmentView { what: ailment.name().into(), measured }
}

pub(super) fn unknown(name: &str) -> Refusal {
    Refusal {
        code: "unknown_validator",
        detail: format!("no validator is called {name}"),
        help: "see `unsplit nodes` for the names".into(),
        class: RefusalClass::NotFound,
    }
}
