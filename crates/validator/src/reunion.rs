//! After a silence, the engine hears all of the others before it judges who leads.
//!
//! The engine skips the view of a leader that it has not heard for `skip_timeout`, once it heard a quorum in that time. When
//! links come back after an outage, the message that completes the quorum also ends the halted view. If the next leader's own
//! is there at some validators and still on its way to others, some vote for its block and some skip its view, neither are a
//! quorum, and the view is lost to its time-out. So the message that completes the quorum waits, and all after it, until
//! everybody was heard; not for long, as some may be down. Messages are late by that, as they may be at any time.

use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, SystemTime},
};

use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Message, Receiver};
use commonware_runtime::Clock;
use commonware_utils::{channel::watch, ordered::Set, sync::Mutex};
use ledger::quorum;

/// Who was heard when, by whatever channel of whichever epoch's engine.
#[derive(Clone)]
pub(crate) struct Reunion(Arc<Mutex<Roll>>);

struct Roll {
    /// Who was not heard for so long is silent.
    silent_after: Duration,
    /// For how long messages wait at most.
    patience: Duration,
    /// The other voters, and when they were heard.
    heard: BTreeMap<PublicKey, Option<SystemTime>>,
    /// How many of them make a quorum, with this validator if it votes.
    quorum: usize,
    /// Whether a quorum was heard before. Who has just started joins those that go on, and holds up nobody.
    has_met: bool,
    /// Since when messages wait.
    waiting: watch::Sender<Option<SystemTime>>,
}

impl Reunion {
    pub(crate) fn new(silent_after: Duration, patience: Duration) -> Self {
        let waiting = watch::Sender::new(None);
        Self(Arc::new(Mutex::new(Roll {
            silent_after,
            patience,
            heard: BTreeMap::new(),
            quorum: 0,
            has_met: false,
            waiting,
        })))
    }

    /// These vote from now on, `me` perhaps among them. Those of them who did before were heard when they were.
    pub(crate) fn convene(&self, voters: &Set<PublicKey>, me: &PublicKey) {
        let mut roll = self.0.lock();
        let before = std::mem::take(&mut roll.heard);
        let others = voters.iter().filter(|voter| *voter != me);
        roll.heard = others.map(|voter| (voter.clone(), before.get(voter).copied().flatten())).collect();
        roll.quorum = quorum(voters.len()) - (voters.len() - roll.heard.len());
    }

    /// A channel of the engine.
    pub(crate) fn of<E: Clock, R: Receiver<PublicKey = PublicKey>>(&self, clock: E, inner: R) -> Gathered<E, R> {
        let waiting = self.0.lock().waiting.subscribe();
        Gathered { clock, inner, roll: self.0.clone(), waiting, kept: VecDeque::new() }
    }
}

impl Roll {
    fn active(&self, now: SystemTime) -> usize {
        let is_active = |at: &SystemTime| now.duration_since(*at).map_or(true, |silence| silence < self.silent_after);
        self.heard.values().flatten().filter(|at| is_active(at)).count()
    }

    fn hear(&mut self, from: &PublicKey, now: SystemTime) {
        let before = self.active(now);
        let Some(heard) = self.heard.get_mut(from) else { return };
        *heard = Some(now);
        let after = self.active(now);
        let (was_quorum, is_quorum) = (before >= self.quorum, after >= self.quorum);
        if after == self.heard.len() {
            self.waiting.send_if_modified(|since| since.take().is_some());
        } else if is_quorum && !was_quorum && self.has_met {
            self.waiting.send_replace(Some(now));
        }
        self.has_met |= is_quorum;
    }

    /// Until when messages wait. Whatever is not within `patience` of its beginning is over, also when the clock was set.
    fn until(&self, now: SystemTime) -> Option<SystemTime> {
        let since = (*self.waiting.borrow())?;
        now.duration_since(since).is_ok_and(|passed| passed < self.patience).then(|| since + self.patience)
    }
}

/// The receiving end of a channel on which messages wait for each other.
pub(crate) struct Gathered<E, R> {
    clock: E,
    inner: R,
    roll: Arc<Mutex<Roll>>,
    waiting: watch::Receiver<Option<SystemTime>>,
    kept: VecDeque<Message<PublicKey>>,
}

impl<E, R> std::fmt::Debug for Gathered<E, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gathered").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}

impl<E: Clock, R: Receiver<PublicKey = PublicKey>> Receiver for Gathered<E, R> {
    type Error = R::Error;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, R::Error> {
        loop {
            let until = self.roll.lock().until(self.clock.current());
            // What has waited comes first. When there is no room for more, nothing waits any longer.
            if (until.is_none() || self.kept.len() >= self.inner.capacity().get())
                && let Some(message) = self.kept.pop_front()
            {
                return Ok(message);
            }
            // Nothing is lost when this future is dropped: what was received is kept before anything is waited for.
            let Some(until) = until else {
                let message = self.inner.recv().await?;
                self.keep(message);
                continue;
            };
            tokio::select! {
                biased;
                message = self.inner.recv() => self.keep(message?),
                _ = self.waiting.changed() => {}
                () = self.clock.sleep_until(until) => {}
            }
        }
    }

    fn capacity(&self) -> NonZeroUsize {
        self.inner.capacity()
    }
}

impl<E: Clock, R> Gathered<E, R> {
    fn keep(&mut self, message: Message<PublicKey>) {
        self.roll.lock().hear(&message.0, self.clock.current());
        self.kept.push_back(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_cryptography::{Signer as _, ed25519::PrivateKey};
    use commonware_runtime::{IoBuf, Runner as _, Supervisor as _, deterministic};
    use commonware_utils::{NZUsize, channel::mpsc};
    use futures::FutureExt as _;

    const SILENT_AFTER: Duration = Duration::from_secs(4);
    const PATIENCE: Duration = Duration::from_millis(500);
    const ROOM: NonZeroUsize = NZUsize!(5);

    #[derive(Debug)]
    struct Line(mpsc::UnboundedReceiver<Message<PublicKey>>);

    #[derive(Debug, thiserror::Error)]
    #[error("the line is closed")]
    struct Closed;

    impl Receiver for Line {
        type Error = Closed;
        type PublicKey = PublicKey;

        async fn recv(&mut self) -> Result<Message<PublicKey>, Closed> {
            self.0.recv().await.ok_or(Closed)
        }

        fn capacity(&self) -> NonZeroUsize {
            ROOM
        }
    }

    fn key(seed: u64) -> PublicKey {
        PrivateKey::from_seed(seed).public_key()
    }

    fn voters(count: u64) -> Set<PublicKey> {
        Set::from_iter_dedup((0..count).map(key))
    }

    /// What one of a few voters, number 0, hears of the others.
    struct Ear {
        context: deterministic::Context,
        reunion: Reunion,
        sender: mpsc::UnboundedSender<Message<PublicKey>>,
        channel: Gathered<deterministic::Context, Line>,
    }

    impl Ear {
        fn says(&self, who: u64) {
            self.sender.send((key(who), IoBuf::default())).expect("it is open");
        }

        /// Whose messages come through now.
        fn hears(&mut self) -> Vec<u64> {
            let mut heard = Vec::new();
            while let Some(message) = self.channel.recv().now_or_never() {
                let (from, _) = message.expect("the line is open");
                heard.push((0..10).find(|seed| key(*seed) == from).expect("one of ours"));
            }
            heard
        }

        /// All others are heard.
        fn meet(&mut self) {
            (1..4).for_each(|who| self.says(who));
            assert_eq!(self.hears(), [1, 2, 3]);
        }

        /// All were heard, and then nobody was.
        async fn part(&mut self) {
            self.meet();
            self.context.sleep(SILENT_AFTER).await;
        }
    }

    fn check<Fut: Future<Output = ()>>(story: impl FnOnce(Ear) -> Fut) {
        deterministic::Runner::default().start(|context| {
            let reunion = Reunion::new(SILENT_AFTER, PATIENCE);
            reunion.convene(&voters(4), &key(0));
            let (sender, line) = mpsc::unbounded_channel();
            let channel = reunion.of(context.child("clock"), Line(line));
            story(Ear { context, reunion, sender, channel })
        });
    }

    #[test]
    fn what_completes_a_quorum_waits_until_all_were_heard() {
        check(|mut ear| async move {
            ear.part().await;
            ear.says(1);
            assert_eq!(ear.hears(), [1], "one other is no quorum of four");
            ear.says(2);
            ear.says(1);
            assert_eq!(ear.hears(), [0; 0]);
            ear.says(3);
            assert_eq!(ear.hears(), [2, 1, 3]);
        });
    }

    #[test]
    fn nobody_waits_longer_than_patience_for_who_may_be_down() {
        check(|mut ear| async move {
            ear.part().await;
            ear.says(1);
            ear.says(2);
            assert_eq!(ear.hears(), [1]);
            let began = ear.context.current();
            assert_eq!(ear.channel.recv().await.expect("it is open").0, key(2));
            assert_eq!(ear.context.current(), began + PATIENCE);
            ear.says(2);
            ear.says(1);
            assert_eq!(ear.hears(), [2, 1], "once is enough");
        });
    }

    #[test]
    fn a_channel_that_waits_hears_at_once_what_another_heard() {
        check(|mut ear| async move {
            ear.part().await;
            let (sender, line) = mpsc::unbounded_channel();
            let mut other = ear.reunion.of(ear.context.child("other"), Line(line));
            ear.says(1);
            ear.says(2);
            assert_eq!(ear.hears(), [1]);
            let began = ear.context.current();
            let waits = ear.channel.recv();
            let tells = async {
                sender.send((key(3), IoBuf::default())).expect("it is open");
                other.recv().await.expect("it is open")
            };
            let (first, second) = futures::future::join(waits, tells).await;
            assert_eq!((first.expect("it is open").0, second.0), (key(2), key(3)));
            assert!(ear.context.current() < began + PATIENCE);
        });
    }

    #[test]
    fn while_a_quorum_talks_nothing_waits_whoever_comes_or_goes() {
        check(|mut ear| async move {
            ear.meet();
            for _ in 0..10 {
                ear.context.sleep(SILENT_AFTER / 2).await;
                ear.says(1);
                ear.says(2);
                assert_eq!(ear.hears(), [1, 2]);
            }
            ear.says(3);
            assert_eq!(ear.hears(), [3]);
        });
    }

    #[test]
    fn who_has_just_started_waits_for_nobody() {
        check(|mut ear| async move {
            ear.says(1);
            ear.says(2);
            assert_eq!(ear.hears(), [1, 2]);
        });
    }

    #[test]
    fn a_new_set_of_voters_is_no_silence() {
        check(|mut ear| async move {
            ear.meet();
            ear.reunion.convene(&voters(5), &key(0));
            ear.says(1);
            ear.says(2);
            assert_eq!(ear.hears(), [1, 2], "three others of five are a quorum with this one, and were heard");
        });
    }

    #[test]
    fn whoever_has_no_vote_counts_for_nothing() {
        check(|mut ear| async move {
            ear.part().await;
            ear.says(1);
            ear.says(7);
            assert_eq!(ear.hears(), [1, 7]);
        });
    }

    #[test]
    fn where_there_is_no_room_for_more_nothing_waits() {
        check(|mut ear| async move {
            ear.part().await;
            ear.says(1);
            (0..ROOM.get()).for_each(|_| ear.says(2));
            assert_eq!(ear.hears(), [1, 2]);
        });
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_waiting() {
        let reunion = Reunion::new(SILENT_AFTER, PATIENCE);
        reunion.convene(&voters(4), &key(0));
        let mut roll = reunion.0.lock();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(7_200);
        (1..4).for_each(|who| roll.hear(&key(who), SystemTime::UNIX_EPOCH));
        roll.hear(&key(1), now);
        roll.hear(&key(2), now);
        assert_eq!(roll.until(now), Some(now + PATIENCE));
        assert_eq!(roll.until(now - Duration::from_secs(3_600)), None);
        assert_eq!(roll.until(now + Duration::from_secs(3_600)), None);
    }
}
