//! This machine's sockets: who may connect, from where, and how much they may say.
//!
//! Validators and supervisors are on one network. Supervisors dial and are not dialled: to the engine they are secondary
//! peers, and the only channel they have is that of orders.

use super::StartError;
use crate::{
    blocker::UNEXPLAINED_FOR,
    driver::CLOCK_SKEW_MAX,
    roster::Roster,
    validator::{self, Track, message_bytes_max},
};
use commonware_cryptography::{
    ChaCha20Poly1305,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_p2p::{Address, AddressableManager as _, AddressableTrackedPeers, Ingress, authenticated::lookup};
use commonware_runtime::{Quota, Supervisor as _};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{NZU32, NZUsize, ordered::Map};
use ledger::Genesis;
use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};
use tracing::warn;

use super::steady::Steady;
use crate::config;

/// A connection over which nothing comes for so long is given up. The system would keep it, and wait longer and longer before it
/// sends again what was lost: after a minute without packets, up to another minute. In so much time the waits have come to 1.6 s.
pub(super) const SILENT_CONNECTION: Duration = Duration::from_secs(4);

/// Something is said on each connection so often.
const PING_EVERY: Duration = Duration::from_secs(1);

/// To connect takes five messages one after another, of at most a third of a second each. While somebody is dialled, a
/// connection from there is refused, so whoever does not answer must not be waited for.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Dials are at least so far apart.
const DIAL_EVERY_MIN: Duration = Duration::from_millis(10);

/// How the two ends of a connection make sure of each other.
type Handshake = Cups<Sake<PrivateKey>, ChaCha20Poly1305>;

/// So many more than the genesis file names may come to have seats while this process runs. The network sets memory aside
/// for each.
const NEWCOMERS_MAX: usize = 64;

/// A name that could not be resolved is tried again after so long.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);

/// The network, before channels are registered, and who decides about its peers.
pub(crate) type Opened = (lookup::Network<Steady, Handshake>, lookup::Oracle<PublicKey>);

/// Opens the network for the holder of `key`, who listens at `listen`.
pub(crate) fn open(
    context: &Steady,
    key: PrivateKey,
    listen: SocketAddr,
    genesis: &Genesis,
    roster: &Roster,
    config: &config::Network,
) -> Result<Opened, StartError> {
    let members = roster.members();
    let primary =
        members.iter().map(|member| Ok((member.key.clone(), dialled(&member.entry.name, &member.entry.address)?)));
    let peers = AddressableTrackedPeers::new(
        Map::from_iter_dedup(primary.collect::<Result<Vec<_>, StartError>>()?),
        Map::from_iter_dedup(supervisors(roster)?),
    );
    let handshake = Cups::<_, ChaCha20Poly1305>::new(
        Sake {
            signer: key,
            // Peers whose clocks are further ahead of ours cannot connect.
            synchrony_bound: CLOCK_SKEW_MAX,
            max_handshake_age: Duration::from_secs(10),
            version: sake::Version::V1,
        },
        cups::Version::V1,
    );
    let mut settings = lookup::Config::local(
        handshake,
        &validator::namespace(genesis),
        listen,
        NZUsize!(room(roster)),
        message_bytes_max(),
        NZUsize!(1_024),
    );
    settings.allow_private_ips = config.allow_private_ips;
    settings.peer_connection_cooldown = config.reconnect_cooldown;
    // One at a time: everybody once within a cooldown.
    let everybody = u32::try_from(members.len()).unwrap_or(u32::MAX);
    settings.dial_frequency = (config.reconnect_cooldown / everybody).max(DIAL_EVERY_MIN);
    settings.dial_timeout = DIAL_TIMEOUT;
    settings.ping_frequency = PING_EVERY;
    settings.tracked_peer_sets = NZUsize!(1);
    settings.block_duration = UNEXPLAINED_FOR;
    // A devnet's validators all come from one address and all come back at once.
    settings.allowed_handshake_rate_per_ip = Quota::per_second(NZU32!(64));
    let (network, mut oracle) = lookup::Network::new(context.child("network"), settings);
    oracle.track(0, peers);
    Ok((network, oracle))
}

fn supervisors(roster: &Roster) -> Result<Vec<(PublicKey, Address)>, StartError> {
    let members = roster.members();
    let supervisors = roster.supervisors().map(|(supervisor, index)| {
        let entry = &members[index].entry;
        let from = entry.supervisor.as_ref().map_or("", |supervisor| supervisor.address.as_str());
        Ok((supervisor.clone(), dialling(&entry.name, from)?))
    });
    supervisors.collect()
}

/// How many peers the network has room for, this node included.
fn room(roster: &Roster) -> usize {
    roster.first() + roster.supervisors().count() + NEWCOMERS_MAX
}

/// Lets those onto the network that are told from now on, beside the supervisors of the genesis. Names are looked up by a
/// thread of their own, since that may take long; who cannot be found is tried again until the next are told.
pub(super) fn tracker(mut oracle: lookup::Oracle<PublicKey>, roster: &Roster) -> std::io::Result<Track> {
    let secondary = supervisors(roster).map_err(|problem| std::io::Error::other(problem.to_string()))?;
    let room = room(roster) - secondary.len() - 1;
    let (told, asked) = mpsc::channel::<Vec<(PublicKey, String)>>();
    let run = move || {
        let mut present = Vec::new();
        // The set that the network was opened with has the number 0.
        let mut number = 1;
        let mut is_whole = true;
        loop {
            let next = if is_whole {
                asked.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                asked.recv_timeout(RESOLVE_EVERY)
            };
            match next {
                Ok(peers) => present = peers,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if present.len() > room {
                warn!(
                    peers = present.len(),
                    room, "more peers than there is room for: those that are gone are left out first, then the newest"
                );
                present.truncate(room);
            }
            let found: Vec<_> = present.iter().filter_map(|(key, address)| resolved(key, address)).collect();
            is_whole = found.len() == present.len();
            let secondary = Map::from_iter_dedup(secondary.iter().cloned());
            oracle.track(number, AddressableTrackedPeers::new(Map::from_iter_dedup(found), secondary));
            number += 1;
        }
    };
    thread::Builder::new().name("peers".into()).spawn(run)?;
    // Whoever tells it has nothing to do about a thread that is gone: that is so when the process ends.
    Ok(Arc::new(move |peers| drop(told.send(peers))))
}

fn resolved(key: &PublicKey, address: &str) -> Option<(PublicKey, Address)> {
    match dialled(&key.to_string(), address) {
        Ok(address) => Some((key.clone(), address)),
        Err(problem) => {
            warn!(%problem, "a peer is left out for now");
            None
        }
    }
}

/// Where to dial a validator and which address its connections come from.
fn dialled(name: &str, text: &str) -> Result<Address, StartError> {
    let resolved = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    let resolved = resolved.ok_or_else(|| unresolved(&format!("address {text} of {name}"), "ip:port"))?;
    let egress = SocketAddr::new(egress(resolved.ip()), resolved.port());
    Ok(Address::Asymmetric { ingress: Ingress::Socket(resolved), egress })
}

/// Which address the connections of a supervisor come from. It has no port, as nobody dials it.
fn dialling(name: &str, host: &str) -> Result<Address, StartError> {
    const NO_PORT: u16 = 1;
    let resolved = (host, NO_PORT).to_socket_addrs().ok().and_then(|mut found| found.next());
    let resolved =
        resolved.ok_or_else(|| unresolved(&format!("address {host} of the supervisor of {name}"), "an ip"))?;
    Ok(Address::Symmetric(SocketAddr::new(egress(resolved.ip()), NO_PORT)))
}

/// Whatever loopback address somebody listens on, its own connections leave from 127.0.0.1.
fn egress(ip: IpAddr) -> IpAddr {
    if ip.is_loopback() { [127, 0, 0, 1].into() } else { ip }
}

fn unresolved(what: &str, form: &str) -> StartError {
    StartError::Config(format!("the {what} cannot be resolved; write it as {form}"))
}
