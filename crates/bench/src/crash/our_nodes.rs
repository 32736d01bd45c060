//! What our nodes say to each other so that all know of a crash, in a network too large for rows to everyone.
//!
//! - Each node sends its row to one of its watchers each heartbeat, in turn (`sentinel::watchers`).
//! - A watcher that misses one asks, directly and through others, as `sentinel::health` says.
//! - When that makes it suspect the node, it asks the next in the order of that node's watchers to *second* it: they ask
//!   on their own, and agree or vouch for the node. One liar or one bad path alone convinces nobody.
//! - A seconded suspicion goes to everybody, and is sent again to whoever does not confirm it.
//! - Who is alive and hears of its own death refutes it the same way.
//!
//! Every message counts, those that confirm or repeat others too. Sizes are those of the fields, with a signature of 64
//! bytes where somebody else must be able to check who said it.

use super::beliefs::{Beliefs, Detectors};
use crate::network::{Event, Network};
use crate::random::Random;
use sentinel::health::{Config, Health, Link, Probe};
use sentinel::time::Moment;
use sentinel::watchers::Watchers;
use std::collections::BTreeMap;

/// Watchers of each node. Two could not outvote a mistake of one, and more learn more slowly what is usual.
pub const WATCHERS: usize = 3;
/// Asked at once to second a suspicion: the other watchers.
const SECONDS: usize = WATCHERS - 1;
/// Time between two rounds of asking for seconds, microseconds: a check and a round trip.
const SECOND_EVERY_US: u64 = 150_000;
/// Rounds of asking, each with more to ask; then the suspicion stays one watcher's own.
const SECOND_ROUNDS_MAX: u32 = 4;
/// When the second asks, microseconds after it was asked to, and how long it waits for the last answers: 1 in 10,000
/// round trips takes longer than 25 ms here.
const CHECK_EVERY_US: u64 = 25_000;
/// How often it asks.
const CHECK_WAVES: u32 = 3;
/// Through so many others each time but the first.
const CHECK_HELPERS: u32 = 3;
/// Until a message to all is sent again to who did not confirm it, microseconds; doubles after the third time.
const RESEND_US: u64 = 25_000;
/// How often it is sent at most.
const SENDS_MAX: u32 = 9;
/// A timer so much late tells of a stall of our own, microseconds.
const LATE_US: u64 = 10_000;

/// What nodes say.
#[derive(Clone, Copy, Debug)]
pub enum Message {
    /// A heartbeat.
    Row {
        /// Counts the rows to this receiver, from 1.
        sequence: u64,
    },
    /// Are you there?
    Ping {
        /// Who wants to know, if not the sender.
        origin: Option<u32>,
    },
    /// Here I am.
    Pong {
        /// As in the ping.
        origin: Option<u32>,
    },
    /// Ask this one for me.
    Relay {
        /// Whom.
        target: u32,
    },
    /// It has answered me.
    Relayed {
        /// Who.
        target: u32,
    },
    /// I suspect this one. Do you?
    Second {
        /// Whom.
        target: u32,
    },
    /// I do too.
    Seconded {
        /// Whom.
        target: u32,
    },
    /// Two suspect this one, or: it has refuted that.
    Notice(Notice),
    /// I have got that notice.
    Confirm(Notice),
}

/// What all have to know about a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Notice {
    /// Which node.
    pub target: u32,
    /// Counts refutations; a death holds for this life, a refutation begins it.
    pub life: u32,
    /// Whether it is dead.
    pub dead: bool,
}

impl Message {
    /// Fields and signatures, with a byte for the kind. A row holds: sequence, epoch, height, load,
    /// lag, version, clock offset (44 bytes), what is known of three or so others (10 bytes each), a signature.
    const fn bytes(self) -> u64 {
        match self {
            Self::Row { .. } => 1 + 44 + 30 + 64,
            Self::Ping { .. } | Self::Pong { .. } => 1 + 4 + 4,
            Self::Relay { .. } | Self::Relayed { .. } | Self::Second { .. } => 1 + 4,
            Self::Seconded { .. } => 1 + 4 + 8 + 64,
            Self::Notice(Notice { dead: true, .. }) => 1 + 4 + 4 + 2 * (4 + 8 + 64),
            Self::Notice(_) => 1 + 4 + 4 + 64,
            Self::Confirm(_) => 1 + 4 + 4,
        }
    }
}

/// What a node has set itself to do.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// Send a row.
    Row,
    /// Judge.
    Tick,
    /// Ask for seconds again.
    Second(u32),
    /// Go on with a check for somebody else.
    Check(u32),
    /// Send a notice again.
    Resend(u32),
}

type Wire = Network<Message, Timer>;

/// A suspicion that nobody has seconded yet.
struct Suspicion {
    since_us: u64,
    rounds: u32,
}

/// A node that is being asked because others suspect it.
struct Check {
    waves: u32,
    askers: Vec<u32>,
}

/// A notice on its way to all.
struct Broadcast {
    notice: Notice,
    sends: u32,
    waiting: Vec<u32>,
}

/// What a node knows.
struct Node {
    me: u32,
    health: Health,
    random: Random,
    rows: u64,
    /// When the next tick is set.
    tick_us: u64,
    dead: Vec<bool>,
    lives: Vec<u32>,
    /// Whose rows are expected, and how often.
    intervals_us: BTreeMap<u32, u64>,
    suspicions: BTreeMap<u32, Suspicion>,
    checks: BTreeMap<u32, Check>,
    broadcasts: BTreeMap<u32, Broadcast>,
}

/// A network of our nodes.
pub struct OurNodes {
    watchers: Watchers,
    nodes: Vec<Node>,
    heartbeat_us: u64,
    probes: Vec<Probe>,
    random: Random,
}

impl OurNodes {
    /// So many nodes that know of each other.
    pub fn new(nodes: u32, config: &Config, seed: u64) -> Self {
        let random = Random::new(seed);
        let node = |me: u32| Node {
            me,
            health: Health::new(config, me, nodes, random.part(2 * u64::from(me)).next(), Moment(0)),
            random: random.part(2 * u64::from(me) + 1),
            rows: 0,
            tick_us: u64::MAX,
            dead: vec![false; nodes as usize],
            lives: vec![0; nodes as usize],
            intervals_us: BTreeMap::new(),
            suspicions: BTreeMap::new(),
            checks: BTreeMap::new(),
            broadcasts: BTreeMap::new(),
        };
        Self {
            watchers: Watchers::new(seed, nodes, WATCHERS),
            nodes: (0..nodes).map(node).collect(),
            heartbeat_us: config.heartbeat_us,
            probes: Vec::new(),
            random,
        }
    }
}

impl Detectors for OurNodes {
    type Message = Message;
    type Timer = Timer;

    fn start(&mut self, network: &mut Wire) {
        for me in 0..self.nodes.len() as u32 {
            network.wake(me, self.random.below(self.heartbeat_us), Timer::Row);
            let node = &mut self.nodes[me as usize];
            for target in self.watchers.candidate_for(me) {
                node.watch(target, &self.watchers, self.heartbeat_us, 0);
            }
            node.set_tick(network);
        }
    }

    fn patience_us(&self, node: u32) -> Option<u64> {
        let watchers = self.watchers.of(node, |_| true);
        watchers.map(|watcher| self.nodes[watcher as usize].health.stall_us(node)).min()
    }

    fn take(&mut self, event: Event<Message, Timer>, network: &mut Wire, beliefs: &mut Beliefs) {
        let me = event.node();
        let mut turn = Turn {
            node: &mut self.nodes[me as usize],
            watchers: &self.watchers,
            heartbeat_us: self.heartbeat_us,
            probes: &mut self.probes,
            network,
            beliefs,
        };
        match event {
            Event::Message { from, message, .. } => turn.take(from, message),
            Event::Timer { due_us, timer, .. } => turn.wake(due_us, timer),
        }
        turn.tell_changes();
        turn.node.set_tick(turn.network);
    }
}

impl Node {
    /// Watches a node, or no longer: as the order of its watchers says with those we know dead left out. One that is
    /// thought dead is watched on: it costs nothing, and if it comes back, its watchers learn that it had only paused.
    fn watch(&mut self, target: u32, watchers: &Watchers, heartbeat_us: u64, now_us: u64) {
        let dead = &self.dead;
        let all: Vec<u32> = watchers.of(target, |other| !dead[other as usize]).collect();
        let watched = all.contains(&self.me);
        let interval_us = if watched { all.len() as u64 * heartbeat_us } else { 0 };
        if self.intervals_us.insert(target, interval_us).unwrap_or(0) != interval_us {
            self.health.expect(target, interval_us, Moment(now_us));
        }
    }

    /// Ticks must come in time; those that come too early find nothing to do.
    fn set_tick(&mut self, network: &mut Wire) {
        let Some(Moment(deadline_us)) = self.health.deadline() else { return };
        if deadline_us < self.tick_us {
            self.tick_us = deadline_us;
            network.wake(self.me, deadline_us, Timer::Tick);
        }
    }

    /// Another than this, thought alive; `None` if chance finds none in a few draws.
    fn draw(&mut self, not: u32) -> Option<u32> {
        let nodes = self.dead.len() as u64;
        let fits = |node: &u32| *node != not && *node != self.me && !self.dead[*node as usize];
        (0..8).map(|_| self.random.below(nodes) as u32).find(fits)
    }
}

/// One node, while something happens to it.
struct Turn<'a> {
    node: &'a mut Node,
    watchers: &'a Watchers,
    heartbeat_us: u64,
    probes: &'a mut Vec<Probe>,
    network: &'a mut Wire,
    beliefs: &'a mut Beliefs,
}

impl Turn<'_> {
    fn now(&self) -> Moment {
        Moment(self.network.now_us())
    }

    fn send(&mut self, to: u32, message: Message) {
        self.network.send(self.node.me, to, message.bytes(), message);
    }

    fn wake_in(&mut self, us: u64, timer: Timer) {
        self.network.wake(self.node.me, self.network.now_us() + us, timer);
    }

    fn wake(&mut self, due_us: u64, timer: Timer) {
        let late_us = self.network.now_us() - due_us;
        if late_us > LATE_US {
            self.node.health.stalled(late_us, self.now());
        }
        match timer {
            Timer::Row => self.send_row(due_us),
            Timer::Tick => self.tick(),
            Timer::Second(target) => self.ask_for_seconds(target),
            Timer::Check(target) if late_us > LATE_US => drop(self.node.checks.remove(&target)),
            Timer::Check(target) => self.check(target),
            Timer::Resend(target) => self.resend(target),
        }
    }

    fn take(&mut self, from: u32, message: Message) {
        let now = self.now();
        match message {
            Message::Row { sequence } => self.node.health.row(from, sequence, now),
            Message::Ping { origin } => self.send(from, Message::Pong { origin }),
            Message::Pong { origin: Some(origin) } => self.send(origin, Message::Relayed { target: from }),
            Message::Pong { origin: None } => self.answered(from),
            Message::Relay { target } => self.send(target, Message::Ping { origin: Some(from) }),
            Message::Relayed { target } => self.answered(target),
            Message::Second { target } => self.second(from, target),
            Message::Seconded { target } => self.seconded(target),
            Message::Notice(notice) => self.noticed(from, notice),
            Message::Confirm(notice) => self.confirmed(from, notice),
        }
        if !matches!(message, Message::Row { .. } | Message::Pong { origin: None }) {
            self.node.health.heard(from, now);
        }
    }

    /// Rows keep their rhythm; after a stall it begins anew.
    fn send_row(&mut self, due_us: u64) {
        let (me, row) = (self.node.me, self.node.rows);
        self.node.rows += 1;
        let dead = &self.node.dead;
        let turn = self.watchers.turn(me, row, |other| !dead[other as usize]);
        if let Some(watcher) = turn {
            self.send(watcher, Message::Row { sequence: 1 + row / WATCHERS as u64 });
        }
        let (next_us, now_us) = (due_us + self.heartbeat_us, self.network.now_us());
        self.network.wake(me, if next_us > now_us { next_us } else { now_us + self.heartbeat_us }, Timer::Row);
    }

    fn tick(&mut self) {
        self.node.tick_us = u64::MAX;
        let mut probes = std::mem::take(self.probes);
        self.node.health.tick(self.now(), &mut probes);
        probes.drain(..).for_each(|probe| self.probe(probe));
        *self.probes = probes;
    }

    fn probe(&mut self, probe: Probe) {
        let target = probe.target;
        let Some(helper) = probe.through else { return self.probe_directly(target, probe.wave) };
        let helper = if self.node.dead[helper as usize] { self.node.draw(target) } else { Some(helper) };
        if let Some(helper) = helper {
            self.send(helper, Message::Relay { target });
        }
    }

    /// From the second wave on another is asked as well how it is: do we hear anybody at all?
    fn probe_directly(&mut self, target: u32, wave: u8) {
        self.send(target, Message::Ping { origin: None });
        if let Some(other) = self.node.draw(target).filter(|_| wave > 1) {
            self.send(other, Message::Ping { origin: None });
        }
    }

    fn answered(&mut self, target: u32) {
        self.node.health.answered(target, self.now());
        for asker in self.node.checks.remove(&target).into_iter().flat_map(|check| check.askers) {
            self.send(asker, Message::Relayed { target });
        }
    }

    fn tell_changes(&mut self) {
        for (target, link) in self.node.health.changes() {
            match link {
                Link::Suspect => self.suspect(target),
                Link::Alive => drop(self.node.suspicions.remove(&target)),
                Link::Doubted => {}
            }
        }
    }

    fn suspect(&mut self, target: u32) {
        self.beliefs.suspects(self.node.me, target, self.network.now_us());
        if !self.node.dead[target as usize] {
            self.node.suspicions.insert(target, Suspicion { since_us: self.network.now_us(), rounds: 0 });
            self.ask_for_seconds(target);
        }
    }

    /// Asks the first in order, and with every round some more.
    fn ask_for_seconds(&mut self, target: u32) {
        let Some(suspicion) = self.node.suspicions.get_mut(&target) else { return };
        suspicion.rounds += 1;
        let rounds = suspicion.rounds;
        let (me, dead) = (self.node.me, &self.node.dead);
        let fits = |other: &u32| *other != me && !dead[*other as usize];
        let seconds: Vec<u32> = self.watchers.candidates(target).filter(fits).take(SECONDS * rounds as usize).collect();
        seconds.into_iter().for_each(|second| self.send(second, Message::Second { target }));
        if rounds < SECOND_ROUNDS_MAX {
            self.wake_in(SECOND_EVERY_US, Timer::Second(target));
        }
    }

    fn second(&mut self, asker: u32, target: u32) {
        if target == self.node.me {
            return self.send(asker, Message::Pong { origin: None });
        }
        if self.node.dead[target as usize] || self.node.health.link(target) == Link::Suspect {
            return self.send(asker, Message::Seconded { target });
        }
        let check = self.node.checks.entry(target).or_insert(Check { waves: 0, askers: Vec::new() });
        let begins = check.askers.is_empty();
        if !check.askers.contains(&asker) {
            check.askers.push(asker);
        }
        if begins {
            self.check(target);
        }
    }

    /// Asks, or has asked often enough without an answer.
    fn check(&mut self, target: u32) {
        let Some(check) = self.node.checks.get_mut(&target) else { return };
        if check.waves == CHECK_WAVES {
            let check = self.node.checks.remove(&target).expect("it was there a line before");
            let agreed = !self.node.health.excused(self.now());
            let askers = check.askers.into_iter().filter(|_| agreed);
            return askers.for_each(|asker| self.send(asker, Message::Seconded { target }));
        }
        check.waves += 1;
        let helpers = if check.waves == 1 { 0 } else { CHECK_HELPERS };
        self.send(target, Message::Ping { origin: None });
        for _ in 0..helpers {
            if let Some(helper) = self.node.draw(target) {
                self.send(helper, Message::Relay { target });
            }
        }
        self.wake_in(CHECK_EVERY_US, Timer::Check(target));
    }

    /// Agreement that comes late, because we were stalled meanwhile, says nothing about now.
    fn seconded(&mut self, target: u32) {
        let oldest_us = self.network.now_us().saturating_sub(u64::from(SECOND_ROUNDS_MAX + 1) * SECOND_EVERY_US);
        if self.node.suspicions.remove(&target).is_some_and(|suspicion| suspicion.since_us >= oldest_us) {
            let notice = Notice { target, life: self.node.lives[target as usize], dead: true };
            self.learn(notice);
            self.broadcast(notice);
        }
    }

    fn broadcast(&mut self, notice: Notice) {
        let (me, dead) = (self.node.me, &self.node.dead);
        // The accused is told too: it knows best.
        let wanted = |node: &u32| *node != me && (!dead[*node as usize] || *node == notice.target);
        let waiting = (0..dead.len() as u32).filter(wanted).collect();
        self.node.broadcasts.insert(notice.target, Broadcast { notice, sends: 0, waiting });
        self.resend(notice.target);
    }

    fn resend(&mut self, target: u32) {
        let Some(broadcast) = self.node.broadcasts.get_mut(&target) else { return };
        if broadcast.waiting.is_empty() || broadcast.sends == SENDS_MAX {
            self.node.broadcasts.remove(&target);
            return;
        }
        broadcast.sends += 1;
        let (notice, sends, waiting) = (broadcast.notice, broadcast.sends, broadcast.waiting.clone());
        waiting.into_iter().for_each(|node| self.send(node, Message::Notice(notice)));
        self.wake_in(RESEND_US << sends.saturating_sub(3), Timer::Resend(target));
    }

    fn noticed(&mut self, from: u32, notice: Notice) {
        self.send(from, Message::Confirm(notice));
        if notice.dead && notice.target == self.node.me {
            self.refute(notice.life);
        } else {
            self.learn(notice);
        }
    }

    fn refute(&mut self, life: u32) {
        let me = self.node.me;
        let mine = &mut self.node.lives[me as usize];
        if life >= *mine {
            *mine = life.saturating_add(1);
            let notice = Notice { target: me, life: *mine, dead: false };
            self.broadcast(notice);
        }
    }

    fn confirmed(&mut self, from: u32, notice: Notice) {
        let broadcast = self.node.broadcasts.get_mut(&notice.target).filter(|broadcast| broadcast.notice == notice);
        if let Some(broadcast) = broadcast {
            broadcast.waiting.retain(|node| *node != from);
        }
    }

    /// A death counts in its own life or a later one, a refutation only if it begins a later one.
    fn learn(&mut self, notice: Notice) {
        let target = notice.target as usize;
        let (life, dead) = (self.node.lives[target], self.node.dead[target]);
        if notice.life < life || (notice.life == life && (dead || !notice.dead)) {
            return;
        }
        self.node.lives[target] = notice.life;
        self.node.dead[target] = notice.dead;
        let now_us = self.network.now_us();
        match notice.dead {
            true => self.beliefs.thinks_dead(self.node.me, notice.target, now_us),
            false => self.beliefs.thinks_alive(self.node.me, notice.target),
        }
        self.node.suspicions.remove(&notice.target);
        self.rewatch(notice.target, now_us);
    }

    /// Who watches whom changes with who is there.
    fn rewatch(&mut self, changed: u32, now_us: u64) {
        let me = self.node.me;
        for target in self.watchers.candidate_for(changed) {
            if self.watchers.candidates(target).any(|other| other == me) {
                self.node.watch(target, self.watchers, self.heartbeat_us, now_us);
            }
        }
    }
}
