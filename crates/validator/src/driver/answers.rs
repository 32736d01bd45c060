//! What the API asks, answered; and the snapshot it shows.

use super::{
    Driver, GOSSIP_EVERY, SIGNED_WITHIN,
    nodes::{show_sight, unknown},
    why::{show_finality, show_why},
};
use crate::{
    boundary::{CUT_MAX, Cut},
    chain::Block,
    clock::{milliseconds, since},
    mempool::{Refused, Taken},
    roster::Roster,
};
use api::{
    AccountView, BlockAt, BlockView, CutRequest, Duty, EventKind, Finality, NetworkState, NodeRow, Refusal,
    RefusalClass, Request, Snapshot, Status, TaskCounts, TaskState, TransactionState, TransactionStatus,
    TransactionView,
};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use ledger::{Decode as _, Hash, Height, Kind, State, Submission, Transaction, TransactionError, TxId, faults, quorum};
use sentinel::why;
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// Answers one request. Whoever no longer waits for the answer has dropped its end; that is theirs to decide.
    pub(super) async fn answer(&mut self, request: Request) {
        match request {
            Request::Submit { bytes, reply } => drop(reply.send(self.submit(&bytes).map(|status| self.halted(status)))),
            Request::Block { at, reply } => drop(reply.send(self.show_block(at).await)),
            Request::Transaction { id, reply } => {
                drop(reply.send(self.transaction(TxId(Hash(id))).map(|status| self.halted(status))));
            }
            Request::Account { id, reply } => drop(reply.send(self.account(ledger::PublicKey(id)))),
            Request::SubmitTasks { transactions, reply } => {
                let answers = transactions.iter().map(|bytes| self.submit_task(bytes)).collect();
                drop(reply.send(answers));
            }
            Request::Task { id, account, reply } => drop(reply.send(self.show_task(&id, account).await)),
            Request::Tasks { query, reply } => drop(reply.send(self.list_tasks(&query))),
            Request::Node { name, reply } => drop(reply.send(self.show_node(&name))),
            Request::Validators { wanted, reply } => drop(reply.send(self.show_validators(&wanted))),
            Request::Approve { node, reply } => drop(reply.send(self.approve(&node))),
            Request::Leave { leaving, reply } => drop(reply.send(self.set_leaving(leaving))),
            Request::Drain { drained, reply } => drop(reply.send(self.set_drained(drained))),
            Request::Partitions { reply } => drop(reply.send(self.show_partitions())),
            Request::Matrix { reply } => drop(reply.send(self.show_matrix())),
            Request::Certified { reply } => drop(reply.send(self.show_certified())),
            Request::Certify { proposed, reply } => drop(reply.send(self.certify(&proposed))),
            Request::Recover { name, reply } => drop(reply.send(self.name_for_recovery(&name))),
            Request::Balance { reply } => drop(reply.send(self.balance())),
            Request::Afflict { affliction, reply } => drop(reply.send(self.afflict(affliction))),
            Request::Cure { reply } => drop(reply.send(self.cure())),
            Request::Cut { request, reply } => drop(reply.send(self.cut(&request))),
            Request::Cuts { reply } => drop(reply.send(self.cuts())),
            Request::Heal { id, reply } => drop(reply.send(self.heal(id))),
        }
    }

    fn submit(&mut self, bytes: &[u8]) -> Result<TransactionStatus, Refusal> {
        let transaction = decode(bytes)?;
        let id = transaction.id();
        if let Some(known) = self.transaction(id) {
            return Ok(known);
        }
        if let Kind::SubmitTask(submission) = &transaction.kind {
            check_work(submission)?;
        }
        self.take(transaction)?;
        Ok(pending(id))
    }

    /// Lets a transaction wait here and tells the peers.
    pub(super) fn take(&mut self, transaction: Transaction) -> Result<(), Refusal> {
        let state = self.parts.ledger.finalized();
        let taken = self.parts.ledger.mempool().offer(transaction.clone(), &state);
        if let Err(Refused::Stale(stale)) = &taken {
            self.tell_stale(stale, &state, self.context.current());
        }
        match taken.map_err(|refused| refusal(&refused))? {
            Taken::Known => {}
            Taken::New => {
                self.parts.ledger.arrivals.step();
                self.outbox.push(transaction);
                self.flush_at.get_or_insert(self.context.current() + GOSSIP_EVERY);
            }
        }
        Ok(())
    }

    /// Says of a pending transaction that it stays so, while nothing becomes final.
    fn halted(&self, status: TransactionStatus) -> TransactionStatus {
        let is_halted = self.finality == Finality::Halted && status.state == TransactionState::Pending;
        let halted = is_halted.then(|| {
            let why = self.parts.snapshot.borrow().why.sentence.clone();
            format!("it stays pending until finality is back, and is lost if this validator is restarted before. {why}")
        });
        TransactionStatus { halted, ..status }
    }

    fn transaction(&self, id: TxId) -> Option<TransactionStatus> {
        if let Some(height) = self.index.lock().height(&id) {
            return Some(status(id, TransactionState::Finalized, Some(height)));
        }
        self.parts.ledger.mempool().contains(&id).then(|| status(id, TransactionState::Pending, None))
    }

    fn account(&self, id: ledger::PublicKey) -> AccountView {
        let state = self.parts.ledger.finalized();
        let account = state.account(&id);
        let (age_ms, stale) = self.age(&state, self.finality, self.context.current());
        AccountView {
            schema: "unsplit.account/1".into(),
            id: id.to_string(),
            balance: account.balance.0,
            nonce: account.nonce.0,
            height: state.height().0,
            stale,
            age_ms,
        }
    }

    async fn show_block(&self, at: BlockAt) -> Option<BlockView> {
        let state = self.parts.ledger.finalized();
        let applied = state.height();
        let height = match at {
            BlockAt::Latest => applied,
            BlockAt::Height(height) => Height(height),
        };
        if height > applied {
            return None;
        }
        let mut shown = match height {
            Height(0) => view(&self.settings.genesis, &self.settings.roster),
            _ => view(self.block(height).await?.inner(), &self.settings.roster),
        };
        (shown.age_ms, shown.stale) = self.age(&state, self.finality, self.context.current());
        Some(shown)
    }

    fn cut(&mut self, request: &CutRequest) -> Result<api::Cut, Refusal> {
        self.check_devnet()?;
        let ttl = Duration::from_millis(request.ttl_ms);
        if ttl.is_zero() || ttl > CUT_MAX {
            return Err(Refusal {
                code: "bad_ttl",
                detail: format!("ttl_ms is {}, it must be between 1 and {}", request.ttl_ms, CUT_MAX.as_millis()),
                help: "every fault ends by itself; repeat it if one hour is too short".into(),
                class: RefusalClass::Invalid,
            });
        }
        let now = self.context.current();
        let cut =
            Cut { inbound: self.keys(&request.inbound)?, outbound: self.keys(&request.outbound)?, until: now + ttl };
        let fault = describe(&self.settings.roster, &cut);
        let Some(id) = self.parts.boundary.cut(cut.clone()) else {
            return Err(Refusal {
                code: "too_many_cuts",
                detail: "too many cuts are in force".into(),
                help: "heal some first".into(),
                class: RefusalClass::Busy,
            });
        };
        self.parts.events.push(milliseconds(now), EventKind::FaultInjected { fault });
        Ok(self.show_cut(id, &cut, now))
    }

    pub(super) fn check_devnet(&self) -> Result<(), Refusal> {
        if self.settings.chain.is_devnet() {
            return Ok(());
        }
        Err(Refusal {
            code: "not_a_devnet",
            detail: format!("chain {} takes no injected faults", self.settings.chain),
            help: "faults can only be injected on chains whose id contains `devnet`".into(),
            class: RefusalClass::Forbidden,
        })
    }

    fn keys(&self, names: &[String]) -> Result<BTreeSet<PublicKey>, Refusal> {
        let key =
            |name: &String| self.settings.roster.named(name).map(|member| member.key).ok_or_else(|| unknown(name));
        names.iter().map(key).collect()
    }

    fn cuts(&self) -> Vec<api::Cut> {
        let now = self.context.current();
        self.parts.boundary.cuts(now).iter().map(|(id, cut)| self.show_cut(*id, cut, now)).collect()
    }

    fn show_cut(&self, id: u64, cut: &Cut, now: SystemTime) -> api::Cut {
        let names = |keys: &BTreeSet<PublicKey>| keys.iter().map(|key| self.settings.roster.name(key)).collect();
        let remaining_ms = u64::try_from(since(cut.until, now).as_millis()).unwrap_or(u64::MAX);
        api::Cut { id, inbound: names(&cut.inbound), outbound: names(&cut.outbound), remaining_ms }
    }

    fn heal(&self, id: Option<u64>) -> usize {
        let now_ms = milliseconds(self.context.current());
        let healed = self.parts.boundary.heal(id);
        for (_, cut) in &healed {
            self.parts.events.push(now_ms, EventKind::FaultEnded { fault: describe(&self.settings.roster, cut) });
        }
        healed.len()
    }

    /// Everything that is shown, at one moment.
    pub(super) fn snapshot(&self, now: SystemTime) -> Snapshot {
        let state = self.parts.ledger.finalized();
        let voters = self.voters(&state);
        let scene = self.scene(now, &voters, &state);
        let explained = why::explain(&scene);
        let mut status = self.status(now, &explained);
        status.state = self.network_state(&scene, &voters, &explained, &state);
        let (ready, not_ready) = readiness(&status, self.parts.guard.observing());
        let nodes = (0..self.peers.len()).map(|index| self.row(index, now, &status, &state)).collect();
        let partitions = self.show_picture(&explained.picture, &voters, now);
        let why = show_why(&scene, explained);
        Snapshot { schema: "unsplit.snapshot/1".into(), status, nodes, why, partitions, ready, not_ready }
    }

    /// How old the state is, in milliseconds, and whether it is not to be taken for the present one.
    fn age(&self, state: &State, finality: Finality, now: SystemTime) -> (u64, bool) {
        let age_ms = milliseconds(now).saturating_sub(state.timestamp().0);
        (age_ms, finality == Finality::Halted || age_ms > why::STALLED_AFTER_MS)
    }

    fn status(&self, now: SystemTime, why: &why::Why) -> Status {
        let state = self.parts.ledger.finalized();
        let (mempool_transactions, mempool_bytes) = {
            let mempool = self.parts.ledger.mempool();
            (mempool.len(), mempool.bytes())
        };
        let n = state.voters().len();
        let (age_ms, stale) = self.age(&state, show_finality(why.finality), now);
        let elapsed = |then| u64::try_from(since(now, then).as_millis()).unwrap_or(u64::MAX);
        Status {
            schema: "unsplit.status/1".into(),
            name: self.settings.roster.name(&self.settings.me),
            key: self.settings.me.to_string(),
            chain_id: self.settings.chain.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            finality: show_finality(why.finality),
            state: NetworkState::default(),
            duty: self.duty,
            height: state.height().0,
            tip: self.tip.max(state.height().0),
            epoch: state.epoch().0,
            epoch_last_height: state.epoch_limits().last_of(state.epoch()).0,
            view: self.parts.rounds.get().1,
            state_root: state.root().to_string(),
            block_time_ms: state.timestamp().0,
            age_ms,
            stale,
            validators: n,
            quorum: quorum(n),
            faults_tolerated: faults(n),
            reachable: why.reachable.len(),
            slack: why.slack(),
            slack_floor: self.settings.slack_floor,
            mempool_transactions,
            mempool_bytes,
            task_keep_blocks: state.task_limits().keep_blocks,
            tasks: task_counts(&state),
            uptime_ms: elapsed(self.started),
            last_signed_ms_ago: self.parts.guard.last_signed().map(elapsed),
            store: self.parts.store.status(),
            sync: self.show_sync(),
            why: why.sentence.clone(),
        }
    }

    pub(super) fn row(&self, index: usize, now: SystemTime, status: &Status, state: &State) -> NodeRow {
        let (member, peer) = (&self.settings.roster.members()[index], &self.peers[index]);
        let entry = &member.entry;
        let worker = state.worker(&entry.key);
        let mut row = NodeRow {
            leases: worker.map_or(0, |worker| worker.leases),
            name: entry.name.clone(),
            key: entry.key.to_string(),
            address: entry.address.clone(),
            region: entry.region.clone(),
            me: member.key == self.settings.me,
            ..NodeRow::default()
        };
        self.show_standing(&mut row, &entry.key, state);
        let seat = state.seat(&entry.key);
        row.votes_from = seat.and_then(|seat| seat.from).map(|epoch| epoch.0);
        row.learner = state.candidate(&entry.key).is_some_and(|candidate| candidate.learner.is_some());
        row.votes_until = seat.and_then(|seat| seat.until).map(|epoch| epoch.0);
        row.leaving = seat.is_some_and(|seat| seat.leaving.is_some());
        row.gone = !state.is_voter(&entry.key) && !row.learner;
        if row.me {
            row.reachable = true;
            row.silent_ms = Some(0);
            row.duty = Some(self.duty);
            row.height = Some(status.height);
            row.version = Some(status.version.clone());
            return row;
        }
        let heard = self.parts.boundary.heard(&member.key);
        row.reachable = peer.is_heard;
        row.silent_ms = heard.map(|heard| u64::try_from(since(now, heard).as_millis()).unwrap_or(u64::MAX));
        row.missing_since_ms = peer.missing_since.map(milliseconds);
        if let Some((said, _)) = &peer.sight.row {
            row.duty = Some(if said.voting { Duty::Voting } else { Duty::Observing });
            row.height = Some(said.height.0);
            row.version = Some(said.version.clone());
        }
        show_sight(&mut row, &peer.sight);
        row.problem = self.problem(&member.key, heard.is_some(), row.reachable);
        row
    }

    fn problem(&self, key: &PublicKey, ever_heard: bool, heard: bool) -> Option<String> {
        if let Some((_, ban)) = self.parts.blocker.bans().iter().find(|(peer, _)| peer == key) {
            return Some(format!("cut off by {} ({})", ban.component, ban.grounds.name()));
        }
        match (ever_heard, heard) {
            (false, _) => Some("never heard: down, unreachable, or of another chain or protocol version".into()),
            (true, false) => Some("silent".into()),
            (true, true) => None,
        }
    }
}

/// A transaction that waits here.
pub(super) fn pending(id: TxId) -> TransactionStatus {
    status(id, TransactionState::Pending, None)
}

/// A cut in words.
pub(super) fn describe(roster: &Roster, cut: &Cut) -> String {
    let names = |keys: &BTreeSet<PublicKey>| keys.iter().map(|key| roster.name(key)).collect::<Vec<_>>().join(" ");
    format!("hears nothing from [{}], says nothing to [{}]", names(&cut.inbound), names(&cut.outbound))
}

fn status(id: TxId, state: TransactionState, height: Option<Height>) -> TransactionStatus {
    let height = height.map(|height| height.0);
    TransactionStatus { schema: "unsplit.transaction/1".into(), id: id.to_string(), state, height, halted: None }
}

/// Whether this validator may be counted on, or why not.
fn readiness(status: &Status, observing: Option<String>) -> (bool, Option<String>) {
    if let Some(reason) = observing {
        return (false, Some(format!("observing without a vote: {reason}")));
    }
    let limit = u64::try_from(SIGNED_WITHIN.as_millis()).unwrap_or(u64::MAX);
    match status.last_signed_ms_ago {
        Some(ago) if ago <= limit => (true, None),
        Some(ago) => (false, Some(format!("last signed a vote {ago} ms ago. {}", status.why))),
        None => (false, Some(format!("has not signed a vote since it started. {}", status.why))),
    }
}

fn view(block: &Block, roster: &Roster) -> BlockView {
    let inner = block.ledger();
    let members = roster.members();
    let leader = members.iter().find(|member| member.entry.key == inner.leader);
    BlockView {
        schema: "unsplit.block/1".into(),
        height: inner.height.0,
        digest: inner.digest().to_string(),
        parent: inner.parent.to_string(),
        epoch: inner.epoch.0,
        view: inner.view.0,
        leader: leader.map_or_else(|| "genesis".into(), |member| member.entry.name.clone()),
        timestamp_ms: inner.timestamp.0,
        parent_state_root: inner.parent_state_root.to_string(),
        bytes: block.size(),
        transactions: inner.transactions.iter().map(|transaction| show_transaction(transaction, roster)).collect(),
        ..BlockView::default()
    }
}

fn show_transaction(transaction: &Transaction, roster: &Roster) -> TransactionView {
    let mut view = TransactionView {
        id: transaction.id().to_string(),
        account: transaction.account.to_string(),
        nonce: transaction.nonce.0,
        kind: transaction.kind.name().into(),
        ..TransactionView::default()
    };
    if let Some(claim) = transaction.kind.claim() {
        (view.number, view.token) = (Some(claim.task.0), Some(claim.token.0));
    }
    match &transaction.kind {
        Kind::Transfer { to, amount } => (view.to, view.amount) = (Some(to.to_string()), Some(amount.0)),
        Kind::SubmitTask(submission) => view.task = Some(submission.id.to_string()),
        Kind::CancelTask { id } => view.task = Some(id.to_string()),
        Kind::CompleteTask { output, .. } => view.result_sha256 = Some(output.sha256().to_string()),
        Kind::Suspect { node, reason, .. } => {
            (view.node, view.reason) = (Some(roster.name_of(node)), Some(reason.name().into()));
        }
        Kind::Withdraw { node, .. } | Kind::Approve { node, .. } => view.node = Some(roster.name_of(node)),
        Kind::Join(request) => view.node = Some(request.name.clone()),
        Kind::Alive { .. }
        | Kind::Drain { .. }
        | Kind::Undrain { .. }
        | Kind::Certify { .. }
        | Kind::Leave { .. }
        | Kind::Stay { .. }
        | Kind::CaughtUp(_)
        | Kind::Retract { .. } => {
            view.node = Some(roster.name_of(&transaction.account));
        }
        Kind::DeclineTask { .. } | Kind::RenewLease { .. } => {}
    }
    view
}

pub(super) fn decode(bytes: &[u8]) -> Result<Transaction, Refusal> {
    Transaction::decode(bytes).map_err(|problem| Refusal {
        code: "malformed",
        detail: format!("not a transaction: {problem}"),
        help: "send the bytes that `unsplit tx transfer` or the ledger's encoder makes".into(),
        class: RefusalClass::Invalid,
    })
}

/// A task that nobody could do is refused here, where its submitter hears of it.
pub(super) fn check_work(submission: &Submission) -> Result<(), Refusal> {
    executor::check(submission.executor.as_str(), &submission.payload).map_err(|problem| Refusal {
        code: "unfit_task",
        detail: format!("task {}: {problem}", submission.id),
        help: "mend the task and sign it again".into(),
        class: RefusalClass::Invalid,
    })
}

fn task_counts(state: &State) -> TaskCounts {
    let ledger::TaskCounts { pending, leased, done, failed, cancelled } = state.task_counts();
    TaskCounts { pending, leased, done, failed, cancelled }
}

pub(super) const fn task_state(state: &ledger::TaskState) -> TaskState {
    match state {
        ledger::TaskState::Pending => TaskState::Pending,
        ledger::TaskState::Leased(_) => TaskState::Leased,
        ledger::TaskState::Done(_) => TaskState::Done,
        ledger::TaskState::Failed { .. } => TaskState::Failed,
        ledger::TaskState::Cancelled { .. } => TaskState::Cancelled,
    }
}

fn refusal(refused: &Refused) -> Refusal {
    use RefusalClass::{Busy, Conflict, Invalid, NotFound};
    let (code, class, help) = match refused {
        Refused::Invalid(problem) => match problem {
            TransactionError::Version { .. } => ("wrong_version", Invalid, "use a client of this release"),
            TransactionError::Chain { .. } => {
                ("wrong_chain", Invalid, "sign for the chain id that /api/v1/status names")
            }
            TransactionError::Expired { .. } => ("expired", Conflict, "sign again with a later expiry height"),
            TransactionError::NonceTooLow { .. } => {
                ("nonce_too_low", Conflict, "read the account's nonce and sign again")
            }
            TransactionError::NonceTooHigh { .. } => {
                ("nonce_too_high", Conflict, "submit the transactions before it first")
            }
            TransactionError::NonceUsedUp { .. } => ("nonce_used_up", Invalid, "use another account"),
            TransactionError::AmountZero => ("amount_zero", Invalid, "transfer at least 1"),
            TransactionError::BalanceTooLow { .. } => ("balance_too_low", Conflict, "fund the account first"),
            TransactionError::BalanceOverflow { .. } => ("balance_overflow", Conflict, "choose another recipient"),
            TransactionError::Signature { .. } => ("bad_signature", Invalid, "sign with the account's own key"),
            TransactionError::NonceUnused { .. } => ("nonce_unused", Invalid, "sign it with nonce 0"),
            TransactionError::AccountEmpty => ("account_empty", Conflict, "fund the account first"),
            TransactionError::TaskField { .. } => ("bad_task", Invalid, "mend that field and sign again"),
            TransactionError::ExpiresTooLate { .. } => {
                ("expires_too_late", Invalid, "sign again with an earlier expiry")
            }
            TransactionError::TaskDeadline { .. } => ("deadline_passed", Conflict, "sign again with a later deadline"),
            TransactionError::TaskExists { .. } => {
                ("task_exists", Conflict, "choose another id; the same task is not done twice")
            }
            TransactionError::AccountTasksFull { .. } => {
                ("account_tasks_full", Busy, "wait until some of them are finished")
            }
            TransactionError::PendingFull { .. } => (
                "pending_full",
                Busy,
                "submit the same bytes again when validators have caught up; see `unsplit balance`",
            ),
            TransactionError::TasksFull { .. } => ("tasks_full", Busy, "submit the same bytes again later"),
            TransactionError::TaskUnknown { .. } => ("task_not_found", NotFound, "see `unsplit tasks list`"),
            TransactionError::TaskFinished { .. } => ("task_finished", Conflict, "there is nothing left to cancel"),
            TransactionError::LeaseStale { .. } => ("stale_lease", Conflict, "drop it: the lease is over"),
            TransactionError::LeaseAhead { .. } => ("lease_ahead", Conflict, "submit it again in a moment"),
            TransactionError::NotTheHolder { .. } => {
                ("not_the_holder", Conflict, "only the holder of a lease speaks of it")
            }
            TransactionError::RenewalTooEarly { .. } => ("renewal_too_early", Conflict, "renew it later"),
            TransactionError::NotAValidator { .. } => ("not_a_validator", Invalid, "sign with a validator's key"),
            TransactionError::AboutOneself => ("about_oneself", Invalid, "speak of another validator"),
            TransactionError::NodeUnknown { .. } => ("unknown_validator", NotFound, "see `unsplit nodes`"),
            TransactionError::SequenceTooLow { .. } => {
                ("sequence_too_low", Conflict, "read the next sequence and sign again")
            }
            TransactionError::SequenceTooHigh { .. } => {
                ("sequence_too_high", Conflict, "submit what was said before it first")
            }
            TransactionError::NothingToWithdraw { .. } => ("nothing_to_withdraw", Conflict, "drop it: nothing stands"),
            TransactionError::AliveStale { .. } => ("alive_stale", Conflict, "drop it: the verdict is over"),
            TransactionError::AliveAhead { .. } => ("alive_ahead", Conflict, "submit it again in a moment"),
            TransactionError::AliveTooEarly { .. } => ("alive_too_early", Conflict, "wait until the verdict has stood"),
            TransactionError::AliveOfNoUse { .. } => {
                ("alive_of_no_use", Invalid, "mend what the verdict names; the others see it and take it back")
            }
            TransactionError::DrainedAlready { .. } => ("drained_already", Conflict, "there is nothing to do"),
            TransactionError::NotDrained => ("not_drained", Conflict, "there is nothing to do"),
            TransactionError::CertifiedAlready => ("certified_already", Conflict, "there is nothing to do"),
            TransactionError::LeavesAlready { .. } => ("leaves_already", Conflict, "there is nothing to do"),
            TransactionError::LeavesNot => ("leaves_not", Conflict, "there is nothing to do"),
            TransactionError::GoesAlready { .. } => {
                ("goes_already", Conflict, "what is decided is not taken back; it may come back under a new key")
            }
            TransactionError::RequestField { .. } => ("bad_request", Invalid, "mend that field and ask again"),
            TransactionError::Taken { .. } => {
                ("taken", Conflict, "ask with another one: a seat, and what belongs to it, is taken once")
            }
            TransactionError::CandidatesFull { .. } => {
                ("candidates_full", Busy, "ask again later; a request that nobody approves of lapses within an hour")
            }
            TransactionError::SeatsFull { .. } => ("seats_full", Conflict, "this chain takes no more validators"),
            TransactionError::NoCandidate { .. } => (
                "no_candidate",
                NotFound,
                "see `unsplit nodes candidates`; the new node asks with `unsplit nodes join`",
            ),
            TransactionError::RequestStale { .. } => ("request_stale", Conflict, "read the request that stands first"),
            TransactionError::NotTheReplaced { .. } => {
                ("not_the_replaced", Invalid, "have the validator say so whose place it is: `unsplit nodes rotate`")
            }
            TransactionError::ApprovedAlready => ("approved_already", Conflict, "there is nothing to do"),
            TransactionError::NotALearner { .. } => {
                ("not_a_learner", Conflict, "have validators approve of it first: `unsplit nodes approve`")
            }
            TransactionError::LevelStale { .. } => ("level_stale", Conflict, "drop it: a later block was named"),
            TransactionError::RootAhead { .. } => ("root_ahead", Conflict, "submit it again in a moment"),
            TransactionError::RootUnknown { .. } => ("root_unknown", Conflict, "name a newer block"),
            TransactionError::RootWrong { .. } => {
                ("root_wrong", Invalid, "the learner's state is another one: `unsplit verify store` on its machine")
            }
        },
        Refused::Stale(_) => ("stale_lease", Conflict, "drop it: the lease is over"),
        Refused::OrderTaken => ("order_taken", Conflict, "wait until it is final"),
        Refused::NonceTaken(_) => {
            ("nonce_taken", Conflict, "use the next nonce, or wait for the other to become final")
        }
        Refused::AccountFull(_) => ("account_full", Busy, "wait until some of them are final"),
        Refused::Full(..) => ("mempool_full", Busy, "submit the same bytes again later"),
    };
    Refusal { code, detail: refused.to_string(), help: help.into(), class }
}
