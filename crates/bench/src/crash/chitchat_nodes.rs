//! How does chitchat (gossip with a phi accrual detector, in Rust) fare on the same network?
//!
//! The real crate under tokio's paused clock, one thread, over a transport with the network's delays and losses.
//! chitchat draws whom to gossip with from the operating system's randomness, so its figures are not the same twice.

use super::beliefs::{Act, Beliefs, Outcome};
use crate::network::{Links, Loss, delay_us};
use crate::random::Random;
use async_trait::async_trait;
use chitchat::transport::{ChannelTransport, RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{
    ChitchatConfig, ChitchatEnvelope, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion,
    spawn_chitchat,
};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

/// The release that takes part.
pub const VERSION: &str = "chitchat 0.13.0";

/// Messages that may wait for one node. What comes on top is lost, as with the buffer of a socket.
const WAITING_MAX: usize = 10_000;

/// Runs a network to its end, with these acts in order of time.
///
/// # Errors
/// What tokio or chitchat say if they cannot start.
pub fn play(nodes: u32, loss: Loss, seed: u64, acts: &[(u64, Act)], end_us: u64) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let air = Air::new(nodes, loss, seed);
        let mut handles = Vec::new();
        for node in 0..nodes {
            let handle = spawn_chitchat(config(node), Vec::new(), &air).await?;
            tokio::spawn(watch(
                handle.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await,
                node,
                air.clone(),
            ));
            handles.push(Some(handle));
        }
        for (at_us, act) in acts {
            sleep_until(air.started + Duration::from_micros(*at_us)).await;
            if let Act::Crash(node) = act {
                crash(&air, *node, handles[*node as usize].take());
            }
        }
        sleep_until(air.started + Duration::from_micros(end_us)).await;
        Ok(air.end())
    })
}

fn crash(air: &Air, node: u32, handle: Option<ChitchatHandle>) {
    let now_us = air.now_us();
    let mut world = air.world();
    world.crashed[node as usize] = true;
    world.beliefs.crash(node, now_us);
    if let Some(handle) = handle {
        handle.abort();
    }
}

/// Notes whom a node thinks alive, whenever that changes. A node counts as known from when it was first thought alive.
async fn watch(
    mut live: tokio::sync::watch::Receiver<std::collections::BTreeMap<ChitchatId, chitchat::NodeState>>,
    me: u32,
    air: Air,
) {
    let mut before = BTreeSet::new();
    while live.changed().await.is_ok() {
        let now: BTreeSet<u32> = live.borrow_and_update().keys().map(|id| node(id.gossip_advertise_addr)).collect();
        let now_us = air.now_us();
        let mut world = air.world();
        if world.crashed[me as usize] {
            return;
        }
        before.difference(&now).for_each(|other| world.beliefs.thinks_dead(me, *other, now_us));
        now.difference(&before).for_each(|other| world.beliefs.thinks_alive(me, *other));
        before = now;
    }
}

/// Its defaults, with one gossip a second as in its own examples.
fn config(node: u32) -> ChitchatConfig {
    let address = address(node);
    ChitchatConfig {
        chitchat_id: ChitchatId::new(format!("node-{node}"), 0, address),
        cluster_id: "bench".into(),
        gossip_interval: Duration::from_secs(1),
        listen_addr: address,
        seed_nodes: vec![self::address(0).to_string(), self::address(1).to_string()],
        failure_detector_config: FailureDetectorConfig::default(),
        marked_for_deletion_grace_period: Duration::from_secs(3_600),
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}

fn address(node: u32) -> SocketAddr {
    SocketAddrV4::new(Ipv4Addr::from_bits(0x0a00_0000 + node), 7_280).into()
}

fn node(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(address) => address.ip().to_bits() - 0x0a00_0000,
        SocketAddr::V6(_) => unreachable!("only `address` makes addresses"),
    }
}

/// What is between the nodes.
#[derive(Clone)]
struct Air {
    started: Instant,
    world: Arc<Mutex<World>>,
}

struct World {
    links: Links,
    random: Random,
    inboxes: Vec<Option<mpsc::Sender<RecvOutcome>>>,
    crashed: Vec<bool>,
    beliefs: Beliefs,
    messages: u64,
    bytes: u64,
}

impl Air {
    fn new(nodes: u32, loss: Loss, seed: u64) -> Self {
        let world = World {
            links: Links::new(nodes, loss),
            random: Random::new(seed),
            inboxes: vec![None; nodes as usize],
            crashed: vec![false; nodes as usize],
            beliefs: Beliefs::new(nodes),
            messages: 0,
            bytes: 0,
        };
        Self { started: Instant::now(), world: Arc::new(Mutex::new(world)) }
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("one thread, and a panic in it ends the run")
    }

    fn end(&self) -> Outcome {
        let now_us = self.now_us();
        let mut world = self.world();
        let beliefs = std::mem::replace(&mut world.beliefs, Beliefs::new(0));
        Outcome { messages: world.messages, bytes: world.bytes, ..beliefs.finish(now_us) }
    }

    /// Sends, or loses.
    fn send(&self, to: SocketAddr, letter: RecvOutcome) -> SendOutcome {
        let (from, num_bytes_sent) = (node(letter.from_addr), letter.num_bytes_received);
        let now_us = self.now_us();
        let mut world = self.world();
        world.messages += 1;
        world.bytes += num_bytes_sent as u64;
        let World { links, random, inboxes, .. } = &mut *world;
        if !links.loses(from, node(to), now_us, random) {
            let delay = Duration::from_micros(delay_us(random));
            if let Some(inbox) = inboxes[node(to) as usize].clone() {
                tokio::spawn(deliver(inbox, delay, letter));
            }
        }
        SendOutcome { num_bytes_sent }
    }
}

async fn deliver(inbox: mpsc::Sender<RecvOutcome>, delay: Duration, letter: RecvOutcome) {
    sleep(delay).await;
    // A full buffer or a crashed node loses it, as the network would.
    let _ = inbox.try_send(letter);
}

#[async_trait]
impl Transport for Air {
    async fn open(&self, listen_addr: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let (sender, inbox) = mpsc::channel(WAITING_MAX);
        self.world().inboxes[node(listen_addr) as usize] = Some(sender);
        let scale = ChannelTransport::default().open(listen_addr).await?;
        Ok(Box::new(Port { scale, air: self.clone(), inbox }))
    }
}

struct Port {
    /// chitchat's own transport, here from the node to itself: the only public way to have a message encoded and to
    /// learn its length.
    scale: Box<dyn Socket>,
    air: Air,
    inbox: mpsc::Receiver<RecvOutcome>,
}

#[async_trait]
impl Socket for Port {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.scale.local_addr()
    }

    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        self.scale.send(self.scale.local_addr()?, envelope).await?;
        Ok(self.air.send(to, self.scale.recv().await?))
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        self.inbox.recv().await.ok_or_else(|| anyhow::anyhow!("the network is gone"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_known_to_all_and_nobody_else_is_accused() {
        let loss = Loss { share: 0.0, burst_us: 0 };
        let outcome = play(10, loss, 1, &[(60_000_000, Act::Crash(3))], 120_000_000).expect("starts");
        assert_eq!((outcome.all_us.len(), outcome.unaware, outcome.wrong_beliefs), (9, 0, 0));
        assert!(outcome.messages > 10 * 100, "{}", outcome.messages);
    }
}
