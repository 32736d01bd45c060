//! Does this validator follow the chain, or is it behind, and how does it come after?
//!
//! `sentinel::catchup` says which; [`crate::sync`] fetches a state when it says so; here it is taken over: the driver goes on
//! from it, and the engine's store begins at the block above.

use super::Driver;
use crate::{
    chain::Block,
    clock::{milliseconds, since},
    sync::{Certified, Change, Goal, Joined, Order, change_due},
};
use api::{Course, EventKind, SnapshotView, SyncView};
use commonware_consensus::types::Height;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use ledger::{State, faults};
use sentinel::{
    catchup::{self, Catchup, Look, Reason, claimed},
    time::Moment,
};
use std::time::{Duration, SystemTime};
use tracing::{error, info, warn};

/// What the driver knows of it.
pub(super) struct Following {
    catchup: Catchup,
    /// The course as it was told.
    told: catchup::Course,
    /// A state was taken over, and the block above it has not come yet: until then the engine has nowhere to begin.
    pub(super) settling: Option<ledger::Height>,
    /// Why the last attempt to fetch a state failed.
    failed: Option<String>,
}

impl Following {
    pub(super) fn new(snapshot_after: u64) -> Self {
        let config = catchup::Config { snapshot_after, ..catchup::Config::default() };
        let catchup = Catchup::new(config, Moment(0));
        Self { catchup, told: catchup::Course::Live, settling: None, failed: None }
    }
}

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// Since the start, on a clock that only goes forward.
    fn moment(&self, now: SystemTime) -> Moment {
        Moment(u64::try_from(since(now, self.started).as_micros()).unwrap_or(u64::MAX))
    }

    /// Looks at how far the others are, and asks for a state where that is the way.
    pub(super) fn follow_chain(&mut self, now: SystemTime) {
        let state = self.parts.ledger.finalized();
        let heard = self.peers.iter().filter(|peer| peer.is_heard);
        let claims = heard.filter_map(|peer| peer.sight.row.as_ref().map(|(row, _)| row.height.0)).collect();
        let claimed = claimed(claims, faults(state.voters().len()));
        let height = state.height().0;
        let look = Look { height, tip: self.tip, claimed, now: self.moment(now) };
        if let Some(reason) = self.following.catchup.look(look) {
            // Halfway to where the others are: one that is older would soon be too old again.
            let above = height + self.following.catchup.behind() / 2;
            info!(?reason, above, "a state is wanted");
            if self.parts.orders.try_send(Order { above }).is_err() {
                self.following.catchup.failed(self.moment(now));
            }
            self.set_goal();
            return self.tell_course(&why(reason), now);
        }
        let why = match self.following.catchup.course() {
            catchup::Course::Live => "nothing is missing",
            catchup::Course::Blocks => "more blocks are missing than are under way at any time",
            catchup::Course::Snapshot => "a state is being fetched",
        };
        self.tell_course(why, now);
        self.set_goal();
    }

    /// Says how far blocks are to be read in ranges.
    fn set_goal(&self) {
        let catchup = &self.following.catchup;
        let reads = catchup.course() == catchup::Course::Blocks && self.following.settling.is_none();
        let goal = reads.then(|| Goal { until: catchup.target() });
        self.parts.goal.send_if_modified(|held| std::mem::replace(held, goal) != goal);
    }

    fn tell_course(&mut self, why: &str, now: SystemTime) {
        let course = self.following.catchup.course();
        if std::mem::replace(&mut self.following.told, course) == course {
            return;
        }
        let height = self.parts.ledger.finalized().height().0;
        let target = self.following.catchup.target();
        info!(?course, height, target, "{why}");
        let kind = EventKind::SyncChanged { course: show(course), height, target, why: why.into() };
        self.parts.events.push(milliseconds(now), kind);
    }

    /// Takes over a state that was fetched and is on the disk.
    pub(super) async fn take_snapshot(&mut self, result: Result<Joined, String>) {
        let now = self.context.current();
        let present = self.parts.ledger.finalized().height();
        let joined = match result {
            Ok(joined) if joined.state.height() > present => joined,
            Ok(_) => return self.give_up("the blocks came sooner than the state".into(), now),
            Err(problem) => {
                warn!(problem, "no state was fetched");
                return self.give_up(problem, now);
            }
        };
        let Joined { state, certificate, bytes, pieces, took } = joined;
        let height = state.height();
        info!(height = height.0, bytes, pieces, root = %state.root(), "state taken over");
        // The blocks between are not known: what waits for one of them to be confirmed waits for nothing.
        self.checkpoint = None;
        self.parts.ledger.restore(state.clone());
        self.learn_epochs(&state).await;
        self.recall();
        self.following.settling = height.next();
        self.following.failed = None;
        self.following.catchup.joined(height.0, self.moment(now));
        self.parts.marshal.set_floor(certificate);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let kind = EventKind::SnapshotTaken { height: height.0, bytes, pieces: pieces as u64, took_ms };
        self.parts.events.push(milliseconds(now), kind);
        self.tell_course("the state was taken over, and blocks are followed from there", now);
        self.publish(now);
    }

    fn give_up(&mut self, problem: String, now: SystemTime) {
        self.following.catchup.failed(self.moment(now));
        self.tell_course(&problem, now);
        self.following.failed = Some(problem);
    }

    /// The engine's store has come to `height`: a snapshot below it is done with.
    pub(super) async fn settle_snapshot(&mut self, height: ledger::Height) {
        if self.following.settling.is_none_or(|settling| height < settling) {
            return;
        }
        self.following.settling = None;
        if let Err(problem) = crate::sync::clear(&self.context, &self.settings.partition).await {
            warn!(%problem, "the pieces of a state that was taken over are not removed; the next start does it");
        }
    }

    /// Has what others may fetch: the state before `block`, now and then, and who votes next where that changes.
    pub(super) async fn serve_chain(&self, before: &State, block: &Block) {
        let shelf = &self.parts.shelf;
        let (height, newest) = (before.height(), shelf.newest());
        let interval = self.settings.checkpoint_interval;
        let is_due = height.0 > 0 && newest.is_none_or(|newest| height.0 >= newest.0.saturating_add(interval));
        let changes = change_due(shelf, before) && before.epoch().0 == block.ledger().epoch.0;
        if !is_due && !changes {
            return;
        }
        // Not every block has a certificate of its own. Then the next one may do.
        let above = Height::new(height.0 + 1);
        let Some(certificate) = self.parts.marshal.get_finalization(above).await else { return };
        if changes {
            let by = Certified { certificate: certificate.clone(), block: block.clone() };
            let change = Change { by, proof: before.prove_voters() };
            if let Err(problem) = shelf.keep_change(&self.context, &change).await {
                error!(%problem, "a change of the set of validators is not kept: newcomers cannot learn of it here");
            }
        }
        if is_due && let Some(tip) = self.block(height).await {
            shelf.put(before.clone(), tip.inner(), block, certificate, self.context.current());
        }
    }

    pub(super) fn show_sync(&self) -> SyncView {
        let following = &self.following;
        let catchup = &following.catchup;
        let height = self.parts.ledger.finalized().height().0;
        let behind = catchup.target().saturating_sub(height);
        SyncView {
            schema: "unsplit.sync/1".into(),
            course: show(catchup.course()),
            height,
            target: catchup.target().max(height),
            behind,
            blocks_per_second: catchup.rate_milli() / 1_000,
            left_ms: catchup.left_ms().filter(|_| behind > 0),
            blocks_from: self.parts.store.blocks_from(),
            offers: self.parts.shelf.newest().map(|height| height.0),
            snapshot: self.parts.reporting.get().map(|report| SnapshotView {
                height: report.height,
                bytes: report.bytes,
                bytes_total: report.bytes_total,
                pieces: report.pieces as u64,
                pieces_open: report.pieces_open as u64,
                since_ms: milliseconds(report.since),
            }),
            failed: following.failed.clone(),
        }
    }
}

const fn show(course: catchup::Course) -> Course {
    match course {
        catchup::Course::Live => Course::Live,
        catchup::Course::Blocks => Course::Blocks,
        catchup::Course::Snapshot => Course::Snapshot,
    }
}

fn why(reason: Reason) -> String {
    match reason {
        Reason::Behind { blocks } => format!("{blocks} blocks are missing: the state is fetched instead"),
        Reason::Stalled { for_us } => {
            let seconds = Duration::from_micros(for_us).as_secs();
            format!(
                "no missing block has come for {seconds} s: nobody seems to have them, and the state is fetched instead"
            )
        }
    }
}
