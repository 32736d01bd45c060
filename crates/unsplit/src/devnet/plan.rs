//! Names, addresses and files of a devnet.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use executor::{Executors, Program, Settings};

use super::record::{NodeRecord, Record, State};
use ledger::Certified;

use crate::{
    cli::ChainRules,
    failure::Failure,
    files,
    testnet::{self, Member, Plan},
};

/// Peers use ports this much above the API's.
const PEER_PORTS: u16 = 1000;

/// Writes a new devnet into a folder that is new or empty, after making sure that its ports are free.
pub(crate) fn write(
    dir: &Path,
    count: usize,
    port_base: u16,
    rules: ChainRules,
    sets: &[String],
) -> Result<Record, Failure> {
    check_new_ports(count, port_base)?;
    let members = members(count, port_base, has_loopback_range());
    let chain_id = testnet::random_chain_id("devnet")?;
    let sets = own(sets);
    let plan =
        Plan { dir: dir.into(), chain_id, members, accounts: count, certified: Certified::default(), rules, sets };
    testnet::write(&plan)?;
    let record = record(&plan)?;
    record.save()?;
    Ok(record)
}

/// Writes the folder of one more node for a devnet that is there, after making sure that its ports are free.
pub(crate) fn add(devnet: &Record, sets: &[String]) -> Result<NodeRecord, Failure> {
    let first = devnet.nodes.first().ok_or_else(|| Failure::refused("the devnet has no validator", ""))?;
    let count = devnet.nodes.len() + 1;
    let member =
        members(count, address(&first.api)?.port(), has_loopback_range()).pop().expect("there is one at least");
    check_free(&member.name, member.api, member.listen)?;
    let folder = devnet.dir.join(&member.name);
    testnet::write_member(&folder, &member, &own(sets))?;
    files::write_new(&folder.join("genesis.toml"), &files::read(&devnet.dir.join("genesis.toml"))?)?;
    Ok(node_record(&devnet.dir, &member))
}

/// What is set in every node of a devnet, and what its user sets. Its logs are read by people, through `devnet logs`; whoever
/// wants JSON, or other programs, says so.
fn own(sets: &[String]) -> Vec<String> {
    let own = ["log.format=compact".to_owned(), format!("worker.commands={}", commands())];
    own.into_iter().chain(sets.iter().cloned()).collect()
}

/// Programs that harm nobody whatever they read, so that tasks have something to run. Those that this machine has.
fn commands() -> String {
    const PROGRAMS: [(&str, &str, &[&str]); 5] = [
        ("sort", "sort", &[]),
        ("wc", "wc", &[]),
        ("sha256sum", "sha256sum", &[]),
        ("tr", "tr", &["a-z", "A-Z"]),
        // A second of nothing: long enough to see a task move when its validator dies.
        ("nap", "sleep", &["1"]),
    ];
    let found = PROGRAMS.iter().filter_map(|(name, program, args)| {
        let path = path(program)?;
        let words: Vec<String> =
            std::iter::once(path.as_str()).chain(args.iter().copied()).map(|word| format!("{word:?}")).collect();
        Some(format!("{name} = [{}]", words.join(", ")))
    });
    format!("{{ {} }}", found.collect::<Vec<_>>().join(", "))
}

/// Where a program is that the validators would take: one that they would not must not keep them from starting.
fn path(name: &str) -> Option<String> {
    let paths = executor::SEARCH_PATH.split(':').map(|folder| format!("{folder}/{name}"));
    paths.into_iter().find(|path| {
        let program = Program { path: path.into(), args: Vec::new() };
        let commands = [(name.to_owned(), program)].into();
        Executors::new(Settings { launcher: vec!["any".into()], commands, ..Settings::default() }).is_ok()
    })
}

/// n0, n1, …: one address of 127.0.0.0/8 each, so that a validator can be told by its address as in a real network;
/// where there is only 127.0.0.1, one port each.
fn members(count: usize, port_base: u16, range: bool) -> Vec<Member> {
    let member = |i: u16| {
        let (host, port) = match u8::try_from(i) {
            Ok(low @ 0..=240) if range => (Ipv4Addr::new(127, 0, 0, 10 + low), port_base + PEER_PORTS),
            _ => (Ipv4Addr::LOCALHOST, port_base + PEER_PORTS + i),
        };
        let listen = SocketAddr::from((host, port));
        Member {
            name: format!("n{i}"),
            listen,
            address: listen,
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, port_base + i)),
            region: "local".into(),
        }
    };
    (0..u16::try_from(count).expect("the command line allows 100")).map(member).collect()
}

fn has_loopback_range() -> bool {
    TcpListener::bind((Ipv4Addr::new(127, 0, 0, 10), 0)).is_ok()
}

fn record(plan: &Plan) -> Result<Record, Failure> {
    let dir = plan.dir.canonicalize().map_err(Failure::file("find", &plan.dir))?;
    files::make_folder(&dir)?;
    Ok(Record {
        schema: "unsplit.devnet/1".into(),
        chain_id: plan.chain_id.to_string(),
        nodes: plan.members.iter().map(|member| node_record(&dir, member)).collect(),
        dir,
        holder: 0,
        faults: Vec::new(),
    })
}

fn node_record(dir: &Path, member: &Member) -> NodeRecord {
    let folder = dir.join(&member.name);
    NodeRecord {
        name: member.name.clone(),
        pid: None,
        api: format!("http://{}", member.api),
        token_file: folder.join("data/api.token"),
        data_dir: folder.join("data"),
        config: folder.join("node.toml"),
        log: folder.join("log"),
        listen: member.listen.to_string(),
        state: State::Stopped,
        ended: None,
    }
}

/// Whether every port that a new devnet would take is free.
pub(crate) fn check_new_ports(count: usize, port_base: u16) -> Result<(), Failure> {
    let members = members(count, port_base, has_loopback_range());
    members.iter().try_for_each(|member| check_free(&member.name, member.api, member.listen))
}

/// Whether every port of an existing devnet is free.
pub(crate) fn check_ports(nodes: &[NodeRecord]) -> Result<(), Failure> {
    nodes.iter().try_for_each(|node| check_free(&node.name, address(&node.api)?, address(&node.listen)?))
}

/// An address in a record.
fn address(text: &str) -> Result<SocketAddr, Failure> {
    let address = text.strip_prefix("http://").unwrap_or(text).parse();
    address.map_err(|_| Failure::config(format!("devnet.json: {text:?} is no address"), "start anew: --reset"))
}

fn check_free(name: &str, api: SocketAddr, listen: SocketAddr) -> Result<(), Failure> {
    for (what, address) in [("API", api), ("peers", listen)] {
        let Err(error) = TcpListener::bind(address) else { continue };
        let (ip, port): (IpAddr, u16) = (address.ip(), address.port());
        let why = if error.kind() == io::ErrorKind::AddrInUse { "is taken".into() } else { error.to_string() };
        return Err(Failure::refused(
            format!("port {port} on {ip} (for {name}'s {what}): {why}"),
            "is another devnet running? choose other ports with --port-base, for example --port-base 7800",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validators_have_addresses_or_ports_of_their_own() {
        let listens =
            |range| members(3, 7700, range).iter().map(|member| member.listen.to_string()).collect::<Vec<_>>();
        assert_eq!(listens(true), ["127.0.0.10:8700", "127.0.0.11:8700", "127.0.0.12:8700"]);
        assert_eq!(listens(false), ["127.0.0.1:8700", "127.0.0.1:8701", "127.0.0.1:8702"]);
        assert_eq!(members(3, 7700, true)[2].api.to_string(), "127.0.0.1:7702");
    }

    #[test]
    fn tasks_may_run_harmless_programs_of_this_machine() {
        let commands: toml::Table = toml::from_str(&format!("commands = {}", commands())).expect("TOML");
        let sort = commands["commands"]["sort"].as_array().expect("every system has it");
        assert!(sort[0].as_str().is_some_and(|path| path.starts_with('/') && path.ends_with("/sort")), "{sort:?}");
        assert_eq!(path("no-such-program"), None);
    }

    #[test]
    fn a_taken_port_is_named_before_anything_is_written() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("bound");
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let failure = check_free("n3", address, free).expect_err("taken");
        assert_eq!(failure.message, format!("port {} on 127.0.0.1 (for n3's API): is taken", address.port()));
        assert!(failure.help.contains("--port-base"));
        assert!(check_free("n3", free, free).is_ok());
    }
}
