//! Who stands how, and what this validator has to say about it.

use super::{Driver, answers::pending};
use crate::{
    clock::milliseconds,
    lookout::Sight,
    roster::{Member, Roster},
};
use api::{
    Affliction, AilmentView, BalanceView, ChangeView, EventKind, Illness, LinkView, LoadView, NodeRow, NodeView,
    Refusal, RefusalClass, Standing as StandingView, SuspicionView, TransactionStatus,
};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use ledger::{Accusation, Accusers, Change, Kind, NodeId, Phase, Standing, State, Status, Turn, faults};
use sentinel::{
    health::Link,
    risk::{Advice, Moment, Risk},
    vitals::Ailment,
};
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

/// A slower disk than this is a broken one.
const DELAY_MAX: Duration = Duration::from_secs(60);

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// One validator, and why it stands as it does.
    pub(super) fn show_node(&self, name: &str) -> Result<NodeView, Refusal> {
        let index = self.settings.roster.place(name).ok_or_else(|| unknown(name))?;
        let (state, now) = (self.parts.ledger.finalized(), self.context.current());
        let status = self.parts.snapshot.borrow().status.clone();
        let node = self.row(index, now, &status, &state);
        let key = self.settings.roster.members()[index].entry.key;
        let standing = state.standing(&key).ok_or_else(|| unknown(name))?;
        Ok(NodeView {
            schema: "unsplit.node/1".into(),
            height: state.height().0,
            why: why_standing(&standing, &node, faults(state.voters().len()) + 1),
            node,
            suspicions: standing.accusations.iter().map(|accusation| self.show_suspicion(accusation)).collect(),
            changes: standing.history.iter().filter_map(|change| self.show_change(&state, change)).collect(),
            dwell_ms: match &standing.status {
                Status::Unresponsive(verdict) => Some(verdict.dwells_ms(state.lease_time())),
                Status::Active | Status::Trial { .. } => None,
            },
            diverged: standing.diverged,
            supervisor_asked_ms: self.supervisor_asked_ms(index, now),
            recovery_wanted: self.parts.desk.wish(index).map(|wish| wish.reason),
            risk: Some(self.risk.score(index, Moment(state.lease_time().0))),
            advice: self.risk.advice(index, Moment(state.lease_time().0)).map(show_advice),
        })
    }

    fn show_suspicion(&self, Accusation { accuser, suspicion }: &Accusation) -> SuspicionView {
        SuspicionView {
            accuser: self.settings.roster.name_of(accuser),
            reason: suspicion.reason.name().into(),
            silent_ms: suspicion.evidence.silent_ms(),
            height: suspicion.since.0,
        }
    }

    /// A change of how a validator stands; whether it is drained is another matter.
    pub(super) fn show_change(&self, state: &State, change: &Change) -> Option<ChangeView> {
        let mut view = ChangeView { height: change.height.0, time_ms: change.at.0, ..ChangeView::default() };
        match &change.turn {
            Turn::Unresponsive(verdict) => {
                view.standing = StandingView::Unresponsive;
                view.reason = Some(verdict.reason.name().into());
                view.accusers = self.names(state, &verdict.accusers);
                view.network_event = verdict.is_network_event;
            }
            Turn::Trial => view.standing = StandingView::Trial,
            Turn::Active => view.standing = StandingView::Active,
            Turn::Drained | Turn::Undrained => return None,
        }
        Some(view)
    }

    fn names(&self, state: &State, accusers: &Accusers) -> Vec<String> {
        let mut names: Vec<String> =
            state.accusers(accusers).map(|accuser| self.settings.roster.name_of(&accuser)).collect();
        names.sort_unstable();
        names
    }

    /// Adds what the chain says of a validator to its row.
    pub(super) fn show_standing(&self, row: &mut NodeRow, node: &NodeId, state: &State) {
        let Some(standing) = state.standing(node) else { return };
        row.standing = match standing.status.phase() {
            Phase::Active => StandingView::Active,
            Phase::Unresponsive => StandingView::Unresponsive,
            Phase::Trial => StandingView::Trial,
        };
        match &standing.status {
            Status::Active => {}
            Status::Unresponsive(verdict) => row.reason = Some(verdict.reason.name().into()),
            Status::Trial { left } => row.trial_left = Some(*left),
        }
        row.drained = standing.drained.is_some();
        row.reputation = state.worker(node).map_or(0, |worker| worker.reputation.per_mille().into());
        let accuser = |accusation: &Accusation| self.settings.roster.name_of(&accusation.accuser);
        row.suspected_by = standing.accusations.iter().map(accuser).collect();
        row.suspected_by.sort_unstable();
    }

    /// Has this validator take no more tasks, or take them again.
    pub(super) fn set_drained(&mut self, drained: bool) -> Result<TransactionStatus, Refusal> {
        let state = self.parts.ledger.finalized();
        let me = self.settings.secret.public();
        let standing = state.standing(&me).ok_or_else(|| unknown(&me.to_string()))?;
        if standing.drained.is_some() == drained {
            return Err(Refusal {
                code: "no_change",
                detail: format!("this validator is {} already", if drained { "drained" } else { "not drained" }),
                help: "see `unsplit nodes`".into(),
                class: RefusalClass::Conflict,
            });
        }
        let sequence = standing.next_drain_sequence;
        let kind = if drained { Kind::Drain { sequence } } else { Kind::Undrain { sequence } };
        let transaction = self.sign(kind, &state);
        let id = transaction.id();
        self.take(transaction)?;
        Ok(pending(id))
    }

    /// How the work is spread.
    pub(super) fn balance(&self) -> BalanceView {
        let state = self.parts.ledger.finalized();
        let statistics = state.balance_statistics();
        let of = |member: &Member| statistics.shares.iter().find(|share| share.node == member.entry.key);
        let members = self.settings.roster.members();
        let loads = members.iter().filter_map(of).map(|share| LoadView {
            node: self.settings.roster.name_of(&share.node),
            leases: share.leases,
            units: share.units,
            capacity: share.capacity,
            reputation: share.reputation.per_mille().into(),
            open: share.is_at_work,
        });
        let demand = statistics.demand;
        let room = demand.capacity.saturating_mul(ledger::tasks::balance::UNITS_MAX.into());
        BalanceView {
            schema: "unsplit.balance/1".into(),
            height: state.height().0,
            loads: loads.collect(),
            max_over_mean: per_mille(statistics.load_max, statistics.load_mean),
            pending: statistics.counts.pending,
            oldest_pending_ms: (statistics.counts.pending > 0).then_some(statistics.oldest_pending_ms),
            utilisation: per_mille(demand.units_leased, room),
            capacity: demand.capacity,
            desired_capacity: statistics.desired_capacity,
        }
    }

    /// Tells when the tasks ask for another capacity than before.
    pub(super) fn tell_scaling(&mut self, now: SystemTime) {
        let statistics = self.parts.ledger.finalized().balance_statistics();
        let (capacity, desired) = (statistics.demand.capacity, statistics.desired_capacity);
        self.gauges.capacity.set(capacity.cast_signed());
        self.gauges.desired_capacity.set(desired.cast_signed());
        self.gauges.oldest_pending.set(statistics.oldest_pending_ms.cast_signed());
        if self.scaling != (capacity, desired) {
            self.scaling = (capacity, desired);
            self.parts.events.push(milliseconds(now), EventKind::ScalingChanged { capacity, desired });
        }
    }

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

/// In words; `enough` suspicions make a verdict.
fn why_standing(standing: &Standing, node: &NodeRow, enough: usize) -> String {
    let mut why = match &standing.status {
        Status::Active if standing.accusations.is_empty() => "active: no suspicion stands against it".into(),
        Status::Active => format!(
            "active: {} of the {enough} suspicions that a verdict takes stand against it",
            standing.accusations.len(),
        ),
        Status::Unresponsive(verdict) => {
            let end = if verdict.reason.is_refuted_by_speaking() {
                "until it says on the chain that it is there".into()
            } else {
                format!("until fewer than {enough} validators say so")
            };
            let event = if verdict.is_network_event { " (so many at once that it is the network's doing)" } else { "" };
            format!(
                "unresponsive since block {} ({}){event}: it has no tasks {end}",
                verdict.height,
                verdict.reason.name()
            )
        }
        Status::Trial { left } => format!(
            "on trial: it takes one task at a time until it has led blocks or done tasks, {left} of {} to go",
            ledger::verdicts::TRIAL
        ),
    };
    if let Some(height) = standing.drained {
        why += &format!("; drained since block {height}: it finishes what it has and takes nothing more");
    }
    if let Some(problem) = &node.problem {
        why += &format!("; seen from here: {problem}");
    }
    for ailment in &node.ailments {
        why += &format!("; seen from here: {}", ailment.measured);
    }
    why
}

fn show_advice(advice: Advice) -> String {
    match advice {
        Advice::RaiseProbeRate => "it failed before and may again: look at it more often".into(),
        Advice::SuggestDrain => "it is likely to fail again soon: drain it while that is still orderly".into(),
    }
}

/// Neighbours are those of one region, and then everybody.
///
/// # Panics
/// Never: there are no more groups than validators.
pub(super) fn risk_of(roster: &Roster) -> Risk {
    let members = roster.members();
    let regions: BTreeSet<&str> = members.iter().map(|member| member.entry.region.as_str()).collect();
    let place = |region: &str| regions.iter().position(|other| *other == region).unwrap_or(0);
    let near = members.iter().map(|member| u32::try_from(place(&member.entry.region)).unwrap_or(0));
    let near: Vec<u32> = near.collect();
    Risk::new(&near, &vec![0; near.len()]).expect("there are no more groups than validators")
}

/// One as thousandths of another; 0 of nothing.
fn per_mille(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1_000).checked_div(whole).unwrap_or(0)
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
