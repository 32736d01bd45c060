//! What is a node's machine like: does it run, what time does it show, and when does it fail?
//!
//! [`Hosted`] is the runtime as a node on that machine has it. While the process is stopped none of its tasks goes on, as
//! after SIGSTOP: what it signed stays signed, its input piles up outside, and timers that came due meanwhile are all there
//! at once when it is resumed. A [`Fuse`] stops it, or ends it, exactly at some operation: a change of its storage, or a
//! message that it sends; or has its disk fail there, and then it is for the process to end. The network is not part of the
//! machine.

use commonware_runtime::{
    Blob, BlobVersion, Clock, Error, Handle, IoBufs, IoBufsMut, Metrics, Name, ReadOptions, Spawner, Storage,
    Supervisor, WriteOptions,
    deterministic::Context,
    signal::Signal,
    telemetry::metrics::{Metric, Registered},
};
use commonware_utils::sync::Mutex;
use futures::{FutureExt as _, StreamExt as _};
use governor::clock::{Clock as GovernorClock, ReasonablyRealtime};
use rand_core::{TryCryptoRng, TryRng};
use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    future::poll_fn,
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, resume_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
    time::{Duration, SystemTime},
};

/// How far a machine's wall clock is off.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Skew {
    /// It is right.
    #[default]
    None,
    /// It shows a later time.
    Ahead(Duration),
    /// It shows an earlier time.
    Behind(Duration),
}

impl Skew {
    /// What the machine shows at this time.
    pub(crate) fn show(self, time: SystemTime) -> SystemTime {
        match self {
            Self::None => time,
            Self::Ahead(by) => time + by,
            Self::Behind(by) => time - by,
        }
    }

    /// When the machine shows this time.
    fn read(self, shown: SystemTime) -> SystemTime {
        match self {
            Self::None => shown,
            Self::Ahead(by) => shown - by,
            Self::Behind(by) => shown + by,
        }
    }
}

/// What is counted towards a [`Fuse`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Point {
    /// Changes of the storage and messages that are sent.
    Operation,
    /// Blocks that are sent.
    Block,
}

/// What becomes of the process when a [`Fuse`] blows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It is gone, with what it had not synced.
    Crash,
    /// It does not go on for the time being.
    Stall,
    /// It is told that the change of its storage failed. A message is no such change.
    Fail {
        /// Whether all later changes succeed; otherwise none does until the process is started again.
        once: bool,
    },
}

/// Stops or ends a process at one of its operations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fuse {
    /// What is counted.
    pub point: Point,
    /// At which one it blows, from 1.
    pub number: u64,
    /// Whether the operation takes effect. Nobody hears of it in either case, and of a disk that fails the process hears
    /// the opposite. A message that is followed by a stall always leaves.
    pub after: bool,
    /// What then.
    pub fate: Fate,
    /// For how long.
    pub lasts: Duration,
}

/// What is wrong with a disk that does not fail.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Disk {
    /// It says that it has synced, and has not.
    pub(crate) lies: bool,
    /// So long each read takes.
    pub(crate) read_delay: Duration,
}

/// A fuse that blew, and at what.
#[derive(Clone, Debug)]
pub(crate) struct Blown {
    pub(crate) fuse: Fuse,
    pub(crate) at: String,
}

/// The machine that one incarnation of a node runs on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    skew: Skew,
    /// Whether the process is stopped or gone.
    halted: Arc<AtomicBool>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    gone: bool,
    fuse: Option<(Fuse, u64)>,
    blown: Option<Blown>,
    /// How the disk failed, until that is told.
    ill: Option<Blown>,
    /// The same, until the process is gone.
    failed: Option<Blown>,
    /// No change of the storage succeeds.
    read_only: bool,
    /// Every other message goes out twice, of so many.
    twice: Option<u64>,
    disk: Disk,
    tasks: u64,
    /// Tasks that would go on if the process were not stopped.
    held: BTreeMap<u64, Waker>,
    watcher: Option<Waker>,
}

impl Machine {
    pub(crate) fn new(skew: Skew) -> Self {
        Self { skew, ..Self::default() }
    }

    pub(crate) const fn skew(&self) -> Skew {
        self.skew
    }

    /// Whether the process is stopped, or gone.
    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// No task of the process goes on.
    pub(crate) fn stop(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    /// They all go on; a process that is gone does not.
    pub(crate) fn resume(&self) {
        let mut state = self.state.lock();
        if state.gone {
            return;
        }
        self.halted.store(false, Ordering::Relaxed);
        std::mem::take(&mut state.held).into_values().for_each(Waker::wake);
    }

    /// Puts a fuse in, or takes it out.
    pub(crate) fn arm(&self, fuse: Option<Fuse>) {
        self.state.lock().fuse = fuse.map(|fuse| (fuse, 0));
    }

    /// The fuse that blew since this was asked last.
    pub(crate) fn take_blown(&self) -> Option<Blown> {
        self.state.lock().blown.take()
    }

    /// How the disk failed, since this was asked last.
    pub(crate) fn take_ill(&self) -> Option<Blown> {
        self.state.lock().ill.take()
    }

    /// The process has ended. Gives the failure of its disk if that was why.
    pub(crate) fn died(&self) -> Option<Blown> {
        let failed = self.state.lock().failed.take()?;
        self.stop();
        self.state.lock().gone = true;
        Some(failed)
    }

    /// A task of the process has panicked. Gives whether that is what comes of a failing disk: then the process is gone.
    fn is_ended_by_panic(&self) -> bool {
        let Some(failed) = self.died() else { return self.state.lock().gone };
        let mut state = self.state.lock();
        state.blown = Some(failed);
        if let Some(watcher) = state.watcher.take() {
            watcher.wake();
        }
        true
    }

    /// Every other message goes out twice from now on, or no more.
    pub(crate) fn send_twice(&self, twice: bool) {
        let mut state = self.state.lock();
        state.twice = twice.then(|| state.twice.unwrap_or_default());
    }

    /// Whether the next message goes out twice.
    pub(crate) fn is_twice(&self) -> bool {
        let mut state = self.state.lock();
        let Some(counted) = &mut state.twice else { return false };
        *counted += 1;
        *counted % 2 == 0
    }

    /// The disk is like this from now on.
    pub(crate) fn set_disk(&self, disk: Disk) {
        self.state.lock().disk = disk;
    }

    fn disk(&self) -> Disk {
        self.state.lock().disk
    }

    /// Waits until the process is gone.
    pub(crate) async fn fails(&self) {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if state.gone {
                return Poll::Ready(());
            }
            state.watcher = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Something is about to be sent, in vain when the process is gone.
    pub(crate) fn sends(&self, channel: u64, is_block: bool) -> bool {
        let Some(fuse) = self.count(true, is_block) else { return !self.state.lock().gone };
        self.blow(fuse, format!("message on channel {channel}"));
        fuse.after || fuse.fate == Fate::Stall
    }

    /// The fuse, if it blows at the operation that is about to begin.
    fn count(&self, is_message: bool, is_block: bool) -> Option<Fuse> {
        let mut state = self.state.lock();
        let (fuse, counted) = state.fuse.as_mut()?;
        if is_message && matches!(fuse.fate, Fate::Fail { .. }) {
            return None;
        }
        *counted += u64::from(fuse.point == Point::Operation || is_block);
        if *counted < fuse.number {
            return None;
        }
        state.fuse.take().map(|(fuse, _)| fuse)
    }

    fn blow(&self, fuse: Fuse, at: String) {
        self.stop();
        let mut state = self.state.lock();
        state.gone |= fuse.fate == Fate::Crash;
        state.blown = Some(Blown { fuse, at });
        if let Some(watcher) = state.watcher.take().filter(|_| state.gone) {
            watcher.wake();
        }
    }

    /// A change of the storage; and what it gives when it fails.
    async fn perform<T>(
        &self,
        what: &str,
        partition: &str,
        operation: impl Future<Output = T>,
        failure: impl FnOnce() -> T,
    ) -> T {
        self.runs().await;
        let fuse = self.count(false, false);
        let at = || format!("{what} of {partition}");
        if let Some(fuse @ Fuse { fate: Fate::Fail { once }, after, .. }) = fuse {
            {
                let mut state = self.state.lock();
                let blown = Blown { fuse, at: at() };
                (state.ill, state.failed, state.read_only) = (Some(blown.clone()), Some(blown), !once);
            }
            if after {
                operation.await;
            }
            return failure();
        }
        if self.state.lock().read_only {
            return failure();
        }
        if let Some(fuse) = fuse.filter(|fuse| !fuse.after) {
            self.blow(fuse, at());
            self.runs().await;
        }
        let outcome = operation.await;
        if let Some(fuse) = fuse.filter(|fuse| fuse.after) {
            self.blow(fuse, at());
            self.runs().await;
        }
        outcome
    }

    async fn runs(&self) {
        self.host(std::future::ready(())).await;
    }

    /// The same, while the process runs.
    async fn host<F: Future>(&self, future: F) -> F::Output {
        let task = {
            let mut state = self.state.lock();
            state.tasks += 1;
            state.tasks
        };
        let mut future = pin!(future);
        poll_fn(|context| {
            if self.is_halted() {
                self.state.lock().held.insert(task, context.waker().clone());
                return Poll::Pending;
            }
            future.as_mut().poll(context)
        })
        .await
    }
}

/// The runtime, on a machine.
pub(crate) struct Hosted {
    inner: Context,
    machine: Machine,
}

impl Hosted {
    pub(crate) const fn new(inner: Context, machine: Machine) -> Self {
        Self { inner, machine }
    }
}

impl Clock for Hosted {
    fn current(&self) -> SystemTime {
        self.machine.skew.show(self.inner.current())
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.inner.sleep(duration)
    }

    fn sleep_until(&self, deadline: SystemTime) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.inner.sleep_until(self.machine.skew.read(deadline))
    }
}

impl GovernorClock for Hosted {
    type Instant = SystemTime;

    fn now(&self) -> SystemTime {
        self.current()
    }
}

impl ReasonablyRealtime for Hosted {}

impl Clone for Hosted {
    fn clone(&self) -> Self {
        self.child("clone")
    }
}

impl Supervisor for Hosted {
    fn name(&self) -> Name {
        self.inner.name()
    }

    fn child(&self, label: &'static str) -> Self {
        Self { inner: self.inner.child(label), machine: self.machine.clone() }
    }

    fn with_attribute(self, key: &'static str, value: impl Display) -> Self {
        Self { inner: self.inner.with_attribute(key, value), ..self }
    }
}

impl Spawner for Hosted {
    fn shared(self, blocking: bool) -> Self {
        Self { inner: self.inner.shared(blocking), ..self }
    }

    fn dedicated(self) -> Self {
        Self { inner: self.inner.dedicated(), ..self }
    }

    fn spawn<F, Fut, T>(self, f: F) -> Handle<T>
    where
        F: FnOnce(Self) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let machine = self.machine;
        self.inner.spawn(move |inner| {
            let future = f(Self { inner, machine: machine.clone() });
            async move {
                match machine.host(AssertUnwindSafe(future).catch_unwind()).await {
                    Ok(output) => output,
                    Err(_) if machine.is_ended_by_panic() => std::future::pending().await,
                    Err(panic) => resume_unwind(panic),
                }
            }
        })
    }

    async fn stop(self, value: i32, timeout: Option<Duration>) -> Result<(), Error> {
        self.inner.stop(value, timeout).await
    }

    fn stopped(&self) -> Signal {
        self.inner.stopped()
    }
}

impl Metrics for Hosted {
    fn register<N: Into<String>, H: Into<String>, M: Metric>(&self, name: N, help: H, metric: M) -> Registered<M> {
        self.inner.register(name, help, metric)
    }

    fn encode(&self) -> String {
        self.inner.encode()
    }
}

impl TryRng for Hosted {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.inner.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.inner.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.inner.try_fill_bytes(bytes)
    }
}

impl TryCryptoRng for Hosted {}

impl Storage for Hosted {
    type Blob = HostedBlob<<Context as Storage>::Blob>;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(Self::Blob, u64, BlobVersion), Error> {
        let opening = self.inner.open_versioned(partition, name, versions);
        let (inner, length, version) =
            self.machine.perform("open", partition, opening, || Err(failed(partition))).await?;
        let clock = self.inner.child("disk");
        let blob =
            HostedBlob { inner, clock: Arc::new(clock), machine: self.machine.clone(), partition: partition.into() };
        Ok((blob, length, version))
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        self.machine.perform("remove", partition, self.inner.remove(partition, name), || Err(failed(partition))).await
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.inner.scan(partition).await
    }
}

/// What a disk that fails says.
fn failed(partition: &str) -> Error {
    let problem = std::io::Error::other("input/output error, by the simulation");
    Error::BlobSyncFailed(partition.into(), String::new(), Arc::new(problem))
}

/// A file on a machine's disk.
pub(crate) struct HostedBlob<B> {
    inner: B,
    clock: Arc<Context>,
    machine: Machine,
    partition: Arc<str>,
}

impl<B> fmt::Debug for HostedBlob<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostedBlob").field("partition", &self.partition).finish_non_exhaustive()
    }
}

impl<B> HostedBlob<B> {
    /// As long as a read takes.
    fn turns(&self) -> impl Future<Output = ()> + Send + 'static + use<B> {
        let delay = self.machine.disk().read_delay;
        let sleep = (!delay.is_zero()).then(|| self.clock.sleep(delay));
        async move {
            if let Some(sleep) = sleep {
                sleep.await;
            }
        }
    }
}

impl<B: Blob> Blob for HostedBlob<B> {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.turns().await;
        self.inner.read_at_buf(offset, len, bufs, options).await
    }

    async fn read_at(&self, offset: u64, len: usize, options: ReadOptions) -> Result<IoBufsMut, Error> {
        self.turns().await;
        self.inner.read_at(offset, len, options).await
    }

    fn read_many(
        &self,
        ranges: &[(u64, usize)],
        options: ReadOptions,
    ) -> impl futures::Stream<Item = Result<(usize, IoBufsMut), Error>> + Send {
        let turns = futures::stream::once(self.turns()).filter_map(|()| std::future::ready(None));
        turns.chain(self.inner.read_many(ranges, options))
    }

    async fn start_read_many(&self, ranges: &[(u64, usize)], options: ReadOptions) -> Handle<Vec<IoBufsMut>> {
        self.turns().await;
        self.inner.start_read_many(ranges, options).await
    }

    async fn write_at(&self, offset: u64, bufs: impl Into<IoBufs> + Send, options: WriteOptions) -> Result<(), Error> {
        let options = if self.machine.disk().lies { options.without(WriteOptions::SYNC) } else { options };
        let writing = self.inner.write_at(offset, bufs, options);
        self.machine.perform("write", &self.partition, writing, || Err(failed(&self.partition))).await
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        self.machine.perform("resize", &self.partition, self.inner.resize(len), || Err(failed(&self.partition))).await
    }

    async fn sync(&self) -> Result<(), Error> {
        if self.machine.disk().lies {
            return Ok(());
        }
        self.machine.perform("sync", &self.partition, self.inner.sync(), || Err(failed(&self.partition))).await
    }

    async fn start_sync(&self) -> Handle<()> {
        if self.machine.disk().lies {
            return Handle::ready(Ok(()));
        }
        let failure = || Handle::ready(Err(failed(&self.partition)));
        self.machine.perform("sync", &self.partition, self.inner.start_sync(), failure).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, deterministic};
    use std::sync::atomic::AtomicU64;

    const SECOND: Duration = Duration::from_secs(1);

    fn fuse(number: u64, after: bool) -> Fuse {
        Fuse { point: Point::Operation, number, after, fate: Fate::Crash, lasts: SECOND }
    }

    #[test]
    fn a_stopped_process_does_nothing_and_its_timers_are_all_there_when_it_is_resumed() {
        deterministic::Runner::default().start(|context| async move {
            let machine = Machine::default();
            let beats = Arc::new(AtomicU64::new(0));
            let host = Hosted::new(context.child("host"), machine.clone());
            let counted = beats.clone();
            let _task = host.spawn(|host| async move {
                // A child of a child, with three timers that come due while the process is stopped.
                let timers = (1..=3).map(|seconds| {
                    let (counted, timer) = (counted.clone(), host.child("timer"));
                    timer.spawn(move |timer| async move {
                        timer.sleep(SECOND * seconds).await;
                        counted.fetch_add(1, Ordering::Relaxed);
                    })
                });
                futures::future::join_all(timers).await;
            });
            context.sleep(SECOND / 2).await;
            machine.stop();
            context.sleep(SECOND * 5).await;
            assert_eq!(beats.load(Ordering::Relaxed), 0);
            machine.resume();
            context.sleep(Duration::from_millis(20)).await;
            assert_eq!(beats.load(Ordering::Relaxed), 3);
        });
    }

    /// A process writes and syncs a byte with a fuse on the operation of this number. Is the byte there after the crash?
    fn survives(number: u64, after: bool) -> bool {
        deterministic::Runner::default().start(|context| async move {
            let machine = Machine::default();
            machine.arm(Some(fuse(number, after)));
            let host = Hosted::new(context.child("host"), machine.clone());
            let process = host.spawn(|host| async move {
                let (blob, _) = host.open("p", b"f").await.expect("opens");
                blob.write_at(0, vec![7], WriteOptions::default()).await.expect("writes");
                blob.sync().await.expect("syncs");
                unreachable!("the fuse blows before");
            });
            machine.fails().await;
            machine.resume();
            context.sleep(SECOND).await;
            process.abort();
            context.sleep(SECOND).await;
            assert!(machine.take_blown().is_some());
            context.open("p", b"f").await.expect("opens").1 == 1
        })
    }

    #[test]
    fn a_crash_before_or_after_an_operation_leaves_what_was_synced() {
        assert!(!survives(2, true));
        assert!(!survives(3, false));
        assert!(survives(3, true));
    }

    /// What a process is told of a write, a sync and another write, with a disk that fails at the second.
    fn told(once: bool, after: bool) -> ([bool; 3], u64) {
        deterministic::Runner::default().start(|context| async move {
            let machine = Machine::default();
            let host = Hosted::new(context.child("host"), machine.clone());
            let (blob, _) = host.open("p", b"f").await.expect("opens");
            machine.arm(Some(Fuse { fate: Fate::Fail { once }, ..fuse(2, after) }));
            let first = blob.write_at(0, vec![7], WriteOptions::default()).await.is_ok();
            let second = blob.sync().await.is_ok();
            let third = blob.write_at(1, vec![7], WriteOptions::default()).await.is_ok();
            assert!(machine.take_ill().is_some_and(|blown| blown.at == "sync of p") && machine.take_blown().is_none());
            drop(blob);
            ([first, second, third], context.open("p", b"f").await.expect("opens").1)
        })
    }

    #[test]
    fn a_disk_fails_once_or_for_good() {
        assert_eq!(
            told(true, false),
            ([true, false, true], 0),
            "what was written is not there: nothing says that it was synced"
        );
        assert_eq!(told(false, true), ([true, false, false], 1));
    }

    #[test]
    fn a_panic_over_a_failed_disk_ends_the_process_and_not_the_world() {
        deterministic::Runner::default().start(|context| async move {
            let machine = Machine::default();
            machine.arm(Some(Fuse { fate: Fate::Fail { once: true }, ..fuse(1, false) }));
            let host = Hosted::new(context.child("host"), machine.clone());
            let _process = host.spawn(|host| async move { drop(host.open("p", b"f").await.expect("opens")) });
            machine.fails().await;
            assert!(machine.take_blown().is_some() && machine.is_halted());
        });
    }

    #[test]
    fn a_process_that_is_gone_sends_nothing_more() {
        let machine = Machine::default();
        machine.arm(Some(fuse(2, true)));
        let sent: Vec<bool> = (0..4).map(|_| machine.sends(0, false)).collect();
        assert_eq!(sent, [true, true, false, false]);
        machine.resume();
        assert!(machine.is_halted());
    }

    #[test]
    fn a_clock_that_is_off_shows_another_time_and_sleeps_as_long() {
        for skew in [Skew::Ahead(SECOND * 3_600), Skew::Behind(SECOND * 3_600)] {
            let start = SystemTime::UNIX_EPOCH + SECOND * 1_000_000;
            let config = deterministic::Config::default().with_start_time(start);
            deterministic::Runner::new(config).start(|context| async move {
                let host = Hosted::new(context.child("host"), Machine::new(skew));
                assert_eq!(host.current(), skew.show(start));
                host.sleep_until(host.current() + SECOND).await;
                let passed = context.current().duration_since(start).expect("later");
                assert!((SECOND..SECOND * 2).contains(&passed), "{passed:?}");
            });
        }
    }
}
