//! What would become of these messages on such a network?
//!
//! Virtual time: one queue of events, in order of time and then of their making. A message takes 1 ms and an exponential
//! part of 2 ms on average (a local network with queues). It may be lost, each on its own or in bursts, and nobody
//! sends it again: whoever needs it to arrive must do that, and pays for it. A node may crash, or stall: then it
//! neither sends nor takes anything in, and what arrived meanwhile is there when it goes on, late.

use crate::random::Random;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The shortest time that a message takes, in microseconds.
const DELAY_US_MIN: u64 = 1_000;
/// What it takes longer than that on average, exponentially distributed, in microseconds.
const DELAY_US_MORE: f64 = 2_000.0;

/// How messages get lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// The share of messages that is lost.
    pub share: f64,
    /// How long a burst of losses on one link is on average, in microseconds; 0: each message on its own.
    pub burst_us: u64,
}

/// What happens at a node.
#[derive(Debug)]
pub enum Event<M, T> {
    /// A message came.
    Message {
        /// The sender.
        from: u32,
        /// The receiver.
        to: u32,
        /// What it says.
        message: M,
    },
    /// It is time for what was to be done, or later than that if the node was stalled.
    Timer {
        /// Whose timer.
        node: u32,
        /// When it should have been.
        due_us: u64,
        /// What was to be done.
        timer: T,
    },
}

impl<M, T> Event<M, T> {
    /// Where it happens.
    pub const fn node(&self) -> u32 {
        match self {
            Self::Message { to, .. } => *to,
            Self::Timer { node, .. } => *node,
        }
    }
}

/// Nodes, the links between them, and all that is under way.
pub struct Network<M, T> {
    now_us: u64,
    made: u64,
    queue: BinaryHeap<Reverse<Entry<M, T>>>,
    random: Random,
    links: Links,
    crashed: Vec<bool>,
    stalled_until_us: Vec<u64>,
    messages: u64,
    bytes: u64,
}

impl<M, T> Network<M, T> {
    /// Nobody has crashed, nothing is under way, and it is 0 o'clock.
    pub fn new(nodes: u32, loss: Loss, seed: u64) -> Self {
        Self {
            now_us: 0,
            made: 0,
            queue: BinaryHeap::new(),
            random: Random::new(seed),
            links: Links::new(nodes, loss),
            crashed: vec![false; nodes as usize],
            stalled_until_us: vec![0; nodes as usize],
            messages: 0,
            bytes: 0,
        }
    }

    /// What time it is, in microseconds.
    pub const fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Messages sent so far, lost ones included.
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// Their bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a node has crashed.
    pub fn is_crashed(&self, node: u32) -> bool {
        self.crashed[node as usize]
    }

    /// Whether a node is stalled now.
    pub fn is_stalled(&self, node: u32) -> bool {
        self.stalled_until_us[node as usize] > self.now_us
    }

    /// A node is gone for good.
    pub fn crash(&mut self, node: u32) {
        self.crashed[node as usize] = true;
    }

    /// A node does nothing until then.
    pub fn stall(&mut self, node: u32, until_us: u64) {
        let until = &mut self.stalled_until_us[node as usize];
        *until = until_us.max(*until);
    }

    /// Sends a message of so many bytes.
    pub fn send(&mut self, from: u32, to: u32, bytes: u64, message: M) {
        self.messages += 1;
        self.bytes += bytes;
        if !self.links.loses(from, to, self.now_us, &mut self.random) {
            let delay_us = delay_us(&mut self.random);
            self.push(self.now_us + delay_us, Event::Message { from, to, message });
        }
    }

    /// Wakes a node at that time; at once, if it is past.
    pub fn wake(&mut self, node: u32, due_us: u64, timer: T) {
        self.push(due_us.max(self.now_us), Event::Timer { node, due_us, timer });
    }

    /// What happens next, no later than `until_us`; `None`: nothing does, and it is now that time.
    pub fn next(&mut self, until_us: u64) -> Option<Event<M, T>> {
        while self.queue.peek().is_some_and(|entry| entry.0.at_us <= until_us) {
            let Reverse(Entry { at_us, event, .. }) = self.queue.pop().expect("it was there a line before");
            self.now_us = at_us;
            let node = event.node() as usize;
            match self.stalled_until_us[node] {
                _ if self.crashed[node] => {}
                go_on_us if go_on_us > at_us => self.push(go_on_us, event),
                _ => return Some(event),
            }
        }
        self.now_us = until_us;
        None
    }

    fn push(&mut self, at_us: u64, event: Event<M, T>) {
        self.made += 1;
        self.queue.push(Reverse(Entry { at_us, made: self.made, event }));
    }
}

/// How long a message is under way, in microseconds.
pub fn delay_us(random: &mut Random) -> u64 {
    DELAY_US_MIN + random.exponential(DELAY_US_MORE) as u64
}

/// Something under way. What was made first comes first at the same time; so whatever waits for a stalled node keeps
/// its order.
struct Entry<M, T> {
    at_us: u64,
    made: u64,
    event: Event<M, T>,
}

impl<M, T> Ord for Entry<M, T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.made).cmp(&(other.at_us, other.made))
    }
}

impl<M, T> PartialOrd for Entry<M, T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<M, T> PartialEq for Entry<M, T> {
    fn eq(&self, other: &Self) -> bool {
        self.made == other.made
    }
}

impl<M, T> Eq for Entry<M, T> {}

/// Which messages get through.
///
/// Bursts: each direction of each link is a Markov chain in continuous time with a good and a bad state (Gilbert,
/// "Capacity of a burst-noise channel", 1960); all messages sent in the bad state are lost. It is looked at only when
/// a message is sent, with the exact probability of having changed since.
pub struct Links {
    loss: Loss,
    nodes: usize,
    states: Vec<LinkState>,
}

#[derive(Clone, Copy, Default)]
struct LinkState {
    bad: bool,
    seen_us: u64,
}

impl Links {
    /// All links are good in the beginning.
    pub fn new(nodes: u32, loss: Loss) -> Self {
        let nodes = nodes as usize;
        let count = if loss.burst_us == 0 { 0 } else { nodes * nodes };
        Self { loss, nodes, states: vec![LinkState::default(); count] }
    }

    /// Whether a message sent now is lost.
    pub fn loses(&mut self, from: u32, to: u32, now_us: u64, random: &mut Random) -> bool {
        if self.loss.burst_us == 0 {
            return self.loss.share > 0.0 && random.chance(self.loss.share);
        }
        let Loss { share, burst_us } = self.loss;
        let state = &mut self.states[from as usize * self.nodes + to as usize];
        // Bursts end at rate 1/burst, and begin so often that the share of bad time is `share`.
        let rate = 1.0 / (burst_us as f64 * (1.0 - share));
        let kept = (-((now_us - state.seen_us) as f64) * rate).exp();
        let bad = share + (f64::from(u8::from(state.bad)) - share) * kept;
        *state = LinkState { bad: random.chance(bad), seen_us: now_us };
        state.bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LOSS: Loss = Loss { share: 0.0, burst_us: 0 };

    /// Everything that happens until then, as `(time, node, number)`.
    fn happens(network: &mut Network<u32, u32>, until_us: u64) -> Vec<(u64, u32, u32)> {
        let mut seen = Vec::new();
        while let Some(event) = network.next(until_us) {
            let number = match &event {
                Event::Message { message, .. } => *message,
                Event::Timer { timer, .. } => *timer,
            };
            seen.push((network.now_us(), event.node(), number));
        }
        seen
    }

    #[test]
    fn timers_come_in_time_and_at_one_time_in_the_order_of_their_making() {
        let mut network = Network::new(2, NO_LOSS, 1);
        for (node, at, number) in [(0, 30, 1), (1, 10, 2), (0, 10, 3)] {
            network.wake(node, at, number);
        }
        assert_eq!(happens(&mut network, 29), [(10, 1, 2), (10, 0, 3)]);
        assert_eq!(network.now_us(), 29);
        assert_eq!(happens(&mut network, 30), [(30, 0, 1)]);
    }

    #[test]
    fn a_stalled_node_gets_everything_late_and_in_order() {
        let mut network = Network::new(2, NO_LOSS, 1);
        network.stall(0, 100);
        for (node, at, number) in [(0, 50, 1), (0, 40, 2), (1, 60, 3), (0, 100, 4), (0, 101, 5)] {
            network.wake(node, at, number);
        }
        assert_eq!(happens(&mut network, 200), [(60, 1, 3), (100, 0, 4), (100, 0, 2), (100, 0, 1), (101, 0, 5)]);
    }

    #[test]
    fn a_timer_of_a_stalled_node_says_when_it_was_due() {
        let mut network: Network<u32, u32> = Network::new(1, NO_LOSS, 1);
        network.wake(0, 40, 1);
        network.stall(0, 100);
        assert!(matches!(network.next(200), Some(Event::Timer { due_us: 40, .. })));
        assert_eq!(network.now_us(), 100);
    }

    #[test]
    fn nothing_happens_at_a_crashed_node() {
        let mut network = Network::new(2, NO_LOSS, 1);
        network.wake(0, 40, 1);
        network.send(1, 0, 10, 2);
        network.crash(0);
        assert_eq!(happens(&mut network, 1_000_000), []);
        assert_eq!((network.messages(), network.bytes()), (1, 10));
    }

    #[test]
    fn delays_have_the_mean_of_the_model() {
        let mut network = Network::new(2, NO_LOSS, 1);
        (0..10_000).for_each(|number| network.send(0, 1, 1, number));
        let seen = happens(&mut network, u64::MAX);
        let mean = seen.iter().map(|seen| seen.0).sum::<u64>() / 10_000;
        assert!(seen.iter().all(|seen| seen.0 >= 1_000) && (2_900..3_100).contains(&mean), "{mean}");
    }

    /// The share lost of messages 10 ms apart, and how many are lost in one run on average.
    fn losses(loss: Loss) -> (f64, f64) {
        let mut links = Links::new(2, loss);
        let mut random = Random::new(7);
        let lost: Vec<bool> = (0..400_000).map(|i| links.loses(0, 1, i * 10_000, &mut random)).collect();
        let total = lost.iter().filter(|lost| **lost).count() as f64;
        let runs = lost.windows(2).filter(|pair| pair[1] && !pair[0]).count() as f64;
        (total / lost.len() as f64, total / runs)
    }

    #[test]
    fn single_losses_are_as_many_as_asked_for_and_alone() {
        let (share, run) = losses(Loss { share: 0.1, burst_us: 0 });
        assert!((share - 0.1).abs() < 0.003 && (run - 1.11).abs() < 0.02, "{share} {run}");
    }

    #[test]
    fn bursts_lose_as_many_as_asked_for_and_last_as_long() {
        let (share, run) = losses(Loss { share: 0.1, burst_us: 300_000 });
        assert!((share - 0.1).abs() < 0.01 && (run - 30.0).abs() < 3.0, "{share} {run}");
    }
}
