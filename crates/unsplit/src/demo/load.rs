//! The demo's clients: they hand in transfers, and they listen for what is final.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use api::{Event, EventKind};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::book::{Book, Step};
use crate::client::{Client, Trouble};

/// How often a client looks whether there is something to do.
const TICK: Duration = Duration::from_millis(5);

/// A client that was turned away does not come back at once.
const NOT_TAKEN_PAUSE: Duration = Duration::from_millis(50);

/// Clients, their knowledge, and how far each validator says it is.
pub(crate) struct Load {
    book: Mutex<Book>,
    clients: Vec<Client>,
    tips: Vec<AtomicU64>,
    news: Notify,
    pace: Duration,
}

impl Load {
    /// `per_second` transactions in all.
    pub(crate) fn new(book: Book, clients: Vec<Client>, per_second: u32) -> Arc<Self> {
        let accounts = u32::try_from(book.accounts()).expect("the command line allows 25");
        let pace = Duration::from_secs(1) * accounts / per_second;
        let tips = clients.iter().map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { book: Mutex::new(book), clients, tips, news: Notify::new(), pace })
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics while holding the book")
    }

    /// Everything that runs until the set is dropped.
    pub(crate) fn start(self: &Arc<Self>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for account in 0..self.book().accounts() {
            tasks.spawn(self.clone().hand_in(account));
        }
        for node in 0..self.clients.len() {
            tasks.spawn(self.clone().listen(node));
        }
        tasks.spawn(self.clone().follow());
        tasks
    }

    /// One account's client. Its transfers go in one after the other, because they have to be taken in that order.
    async fn hand_in(self: Arc<Self>, account: usize) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            loop {
                let step = self.book().step(account, self.pace, Instant::now());
                let Step::HandIn { nonce, bytes, node } = step else { break };
                let answer = self.clients[node].submit(bytes, None).await;
                if !is_settled(&answer) {
                    self.book().not_taken(account, nonce, node);
                    sleep(NOT_TAKEN_PAUSE).await;
                    break;
                }
            }
        }
    }

    /// Hears from one validator how far it is, whenever it runs.
    async fn listen(self: Arc<Self>, node: usize) {
        loop {
            if let Ok(status) = self.clients[node].status().await {
                self.reached(node, status.height);
                // An error means that it is gone; it is asked again.
                let _ = self.read_events(node).await;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn read_events(&self, node: usize) -> Result<(), Trouble> {
        /// The events of ours are short; whoever sends more in one line is no validator of ours.
        const LINE_BYTES_MAX: usize = 1 << 16;
        /// The stream has a sign of life every 5 s.
        const SILENCE_MAX: Duration = Duration::from_secs(20);
        let mut response = self.clients[node].events().await?;
        let mut line = Vec::new();
        while let Ok(Ok(Some(chunk))) = timeout(SILENCE_MAX, response.chunk()).await {
            for &byte in &chunk {
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                match event(&line).map(|event| event.kind) {
                    Some(EventKind::Finalized { height, .. }) => self.reached(node, height),
                    Some(kind) => {
                        let (mut book, now) = (self.book(), Instant::now());
                        book.work.heard(&kind, now);
                        book.health.heard(node, &kind, now);
                    }
                    None => {}
                }
                line.clear();
            }
            if line.len() > LINE_BYTES_MAX {
                return Ok(());
            }
        }
        Ok(())
    }

    fn reached(&self, node: usize, height: u64) {
        self.tips[node].fetch_max(height, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Reads each final block once, from whichever validator has it.
    async fn follow(self: Arc<Self>) {
        loop {
            let next = self.book().height() + 1;
            let far = |node: &usize| self.tips[*node].load(Ordering::Relaxed) >= next;
            let holders: Vec<usize> = (0..self.clients.len()).filter(far).collect();
            if holders.is_empty() {
                // The time-out only covers a notice that came between looking and waiting.
                let _ = timeout(Duration::from_millis(100), self.news.notified()).await;
                continue;
            }
            let mut found = false;
            for node in holders {
                let Ok(block) = self.clients[node].block(&next.to_string()).await else { continue };
                if block.height == next {
                    self.book().told(&block, Instant::now());
                    found = true;
                    break;
                }
            }
            if !found {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Whether handing in again would change nothing. A transfer whose nonce is used is final or will be found so; one that
/// is refused for good is never final, and the verdict will show it.
fn is_settled<T>(answer: &Result<T, Trouble>) -> bool {
    match answer {
        Ok(_) => true,
        Err(Trouble::Refused(problem)) => problem.status < 500 && problem.status != 429,
        Err(Trouble::Unreachable { .. } | Trouble::Strange { .. }) => false,
    }
}

/// Reads one line of the event stream.
fn event(line: &[u8]) -> Option<Event> {
    serde_json::from_slice(line.strip_prefix(b"data:")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Problem;

    #[test]
    fn a_line_of_the_stream_is_an_event_or_nothing() {
        let kind = EventKind::Finalized { height: 17, digest: "ab".into(), transactions: 3 };
        let expected = Event { offset: 1, time_ms: 2, kind };
        let json = serde_json::to_string(&expected).expect("an event");
        assert_eq!(event(format!("data: {json}").as_bytes()), Some(expected.clone()));
        assert_eq!(event(format!("data:{json}").as_bytes()), Some(expected));
        for other in ["", ": keep-alive", "id: 1", "event: finalized", "data: {}", &json] {
            assert_eq!(event(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn only_what_may_pass_is_handed_in_again() {
        let refused =
            |status| is_settled::<()>(&Err(Trouble::Refused(Box::new(Problem { status, ..Problem::default() }))));
        for (status, settled) in [(409, true), (422, true), (429, false), (500, false), (503, false)] {
            assert_eq!(refused(status), settled, "{status}");
        }
        assert!(!is_settled::<()>(&Err(Trouble::Unreachable { base: String::new(), why: String::new() })));
        assert!(is_settled(&Ok(())));
    }
}
