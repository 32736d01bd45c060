//! How does foca (SWIM, in Rust) fare on the same network?
//!
//! The real crate in virtual time: its runtime trait is served by the network, its timers are the network's. Members
//! are told of each other at the start. Configuration: its own for a local network of that size.

use super::beliefs::{Beliefs, Detectors};
use crate::network::{Event, Network};
use foca::{Config, Foca, Identity, Member, NoCustomBroadcast, Notification, PostcardCodec, Runtime, Timer};
use rand::{SeedableRng, rngs::SmallRng};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;

/// The release that takes part.
pub const VERSION: &str = "foca 2.0.0";

/// A node under one of its names: who was declared down comes back under the next.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Name {
    node: u32,
    renewals: u32,
}

impl Identity for Name {
    type Addr = u32;

    fn renew(&self) -> Option<Self> {
        Some(Self { renewals: self.renewals.wrapping_add(1), ..*self })
    }

    fn addr(&self) -> u32 {
        self.node
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        self.renewals > other.renewals
    }
}

type Wire = Network<Vec<u8>, Timer<Name>>;

/// A network of foca instances.
pub struct FocaNodes {
    nodes: Vec<Foca<Name, PostcardCodec, SmallRng, NoCustomBroadcast>>,
    /// How often a node that was running was told that it is down, and took a new name.
    pub rejoins: u64,
    /// Errors that foca returned; zero, or the figures mean nothing.
    pub errors: u64,
}

impl FocaNodes {
    /// So many instances that do not know each other yet.
    pub fn new(nodes: u32, seed: u64) -> Self {
        let size = NonZeroU32::new(nodes).expect("checked with the options");
        let foca = |node: u32| {
            let random = SmallRng::seed_from_u64(seed ^ u64::from(node) << 32);
            Foca::new(Name { node, renewals: 0 }, Config::new_lan(size), random, PostcardCodec)
        };
        Self { nodes: (0..nodes).map(foca).collect(), rejoins: 0, errors: 0 }
    }
}

impl Detectors for FocaNodes {
    type Message = Vec<u8>;
    type Timer = Timer<Name>;

    fn start(&mut self, network: &mut Wire) {
        let mut beliefs = Beliefs::new(self.nodes.len() as u32);
        let members: Vec<Member<Name>> =
            (0..self.nodes.len() as u32).map(|node| Member::alive(Name { node, renewals: 0 })).collect();
        for (me, node) in (0..).zip(&mut self.nodes) {
            let others = members.iter().filter(|member| member.id().node != me).cloned();
            let mut port = Port { me, network, beliefs: &mut beliefs, rejoins: 0 };
            self.errors += u64::from(node.apply_many(others, false, &mut port).is_err());
        }
    }

    fn patience_us(&self, _: u32) -> Option<u64> {
        None
    }

    fn take(&mut self, event: Event<Vec<u8>, Timer<Name>>, network: &mut Wire, beliefs: &mut Beliefs) {
        let me = event.node();
        let mut port = Port { me, network, beliefs, rejoins: 0 };
        let node = &mut self.nodes[me as usize];
        let result = match event {
            Event::Message { message, .. } => node.handle_data(&message, &mut port),
            Event::Timer { timer, .. } => node.handle_timer(timer, &mut port),
        };
        self.rejoins += port.rejoins;
        self.errors += u64::from(result.is_err());
    }
}

/// The outside world of one instance.
struct Port<'a> {
    me: u32,
    network: &'a mut Wire,
    beliefs: &'a mut Beliefs,
    rejoins: u64,
}

impl Runtime<Name> for Port<'_> {
    fn notify(&mut self, notification: Notification<'_, Name>) {
        match notification {
            Notification::MemberDown(name) => self.beliefs.thinks_dead(self.me, name.node, self.network.now_us()),
            Notification::MemberUp(name) => self.beliefs.thinks_alive(self.me, name.node),
            Notification::Rejoin(_) => self.rejoins += 1,
            Notification::Rename(..) | Notification::Active | Notification::Idle | Notification::Defunct => {}
        }
    }

    fn send_to(&mut self, to: Name, data: &[u8]) {
        self.network.send(self.me, to.node, data.len() as u64, data.to_vec());
    }

    fn submit_after(&mut self, event: Timer<Name>, after: Duration) {
        let due_us = self.network.now_us() + after.as_micros() as u64;
        self.network.wake(self.me, due_us, event);
    }
}

#[cfg(test)]
mod tests {
    use super::super::beliefs::{Act, play};
    use super::*;
    use crate::network::Loss;

    #[test]
    fn a_crash_is_known_to_all_and_nobody_else_is_accused() {
        let loss = Loss { share: 0.0, burst_us: 0 };
        let acts = [(30_000_000, Act::Crash(3))];
        let (outcome, foca) = play(FocaNodes::new(20, 1), Network::new(20, loss, 1), 20, &acts, 90_000_000);
        assert_eq!((outcome.all_us.len(), outcome.unaware, outcome.wrong_beliefs), (19, 0, 0));
        assert_eq!((foca.errors, foca.rejoins), (0, 0));
        assert!(outcome.messages > 20 * 60, "{}", outcome.messages);
    }
}
