//! The files of a network: one genesis, and for each validator its folder.
//!
//! ```text
//! DIR/genesis.toml                  the chain, the same for all
//! DIR/accounts/a0.key …             funded accounts
//! DIR/NAME/node.toml                one validator; the folder can be moved to its machine as it is
//! DIR/NAME/genesis.toml
//! DIR/NAME/data/node.key, supervisor.key, api.token mode 0600
//! ```

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use ledger::{
    Amount, Certified, ChainId, EpochLimits, Genesis, GenesisBalance, GenesisSupervisor, GenesisValidator, Hash,
    PublicKey, TaskLimits, faults, quorum,
};
use serde::Serialize;
use toml_edit::{DocumentMut, value};
use validator::Config;

use crate::{
    cli::{ChainRules, Testnet, TestnetInit},
    failure::{Exit, Failure},
    files, keys,
    output::{Output, counted},
};

/// What each funded account owns.
pub(crate) const FUNDS: u64 = 1_000_000_000;

/// One validator of a network to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Where it listens for peers.
    pub(crate) listen: SocketAddr,
    /// Where peers find it.
    pub(crate) address: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) region: String,
}

/// A network to be.
pub(crate) struct Plan {
    pub(crate) dir: PathBuf,
    pub(crate) chain_id: ChainId,
    pub(crate) members: Vec<Member>,
    /// Funded accounts.
    pub(crate) accounts: usize,
    /// What their supervisors may start.
    pub(crate) certified: Certified,
    /// What the chain holds to.
    pub(crate) rules: ChainRules,
    /// `--set` for every validator.
    pub(crate) sets: Vec<String>,
}

#[derive(Serialize)]
struct Written<'a> {
    schema: &'static str,
    chain_id: &'a str,
    dir: &'a Path,
    validators: Vec<WrittenNode<'a>>,
    quorum: usize,
    faults_tolerated: usize,
}

#[derive(Serialize)]
struct WrittenNode<'a> {
    name: &'a str,
    key: String,
    address: &'a str,
    config: PathBuf,
}

pub(crate) fn run(verb: &Testnet, output: Output) -> Result<Exit, Failure> {
    match verb {
        Testnet::Init(init) => run_init(init, output),
    }
}

fn run_init(init: &TestnetInit, output: Output) -> Result<Exit, Failure> {
    let members = match &init.hosts {
        Some(path) => parse_hosts(&files::read(path)?, path)?,
        None => local_members(usize::from(init.validators.unwrap_or_default())),
    };
    check_tolerance(members.len(), init.no_tolerance, output)?;
    let chain_id = match &init.chain_id {
        Some(id) => parse_chain_id(id)?,
        None => random_chain_id("unsplit")?,
    };
    let accounts = members.len();
    let certified = Certified { programs: hashes(&init.programs)?, models: hashes(&init.models)? };
    let (dir, rules, sets) = (init.dir.clone(), init.rules, Vec::new());
    let plan = Plan { dir, chain_id, members, accounts, certified, rules, sets };
    let genesis = write(&plan)?;
    show(&plan, &genesis, output);
    Ok(Exit::Ok)
}

fn hashes(paths: &[PathBuf]) -> Result<Vec<Hash>, Failure> {
    paths.iter().map(|path| files::sha256(path).map_err(Failure::file("read", path))).collect()
}

fn show(plan: &Plan, genesis: &Genesis, output: Output) {
    let n = plan.members.len();
    let validators = genesis.validators.iter().map(|validator| WrittenNode {
        name: &validator.name,
        key: validator.key.to_string(),
        address: &validator.address,
        config: plan.dir.join(&validator.name).join("node.toml"),
    });
    let document = Written {
        schema: "unsplit.testnet/1",
        chain_id: plan.chain_id.as_str(),
        dir: &plan.dir,
        validators: validators.collect(),
        quorum: quorum(n),
        faults_tolerated: faults(n),
    };
    let human = format!(
        "chain {} · {} · tolerates f = {} · quorum {}\n{}\n{}",
        plan.chain_id,
        counted(n, "validator"),
        faults(n),
        quorum(n),
        inventory(plan),
        next_step(plan),
    );
    output.data(&human, &document);
}

fn inventory(plan: &Plan) -> String {
    let first = &plan.members[0].name;
    let rows = [
        ("genesis.toml".to_owned(), "the chain, the same for all".to_owned()),
        (format!("{first}/ …"), "one validator each: node.toml, genesis.toml, its keys and its token".to_owned()),
        ("accounts/".to_owned(), format!("keys of funded accounts, {FUNDS} each: keep them to yourself")),
    ];
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let dir = plan.dir.display();
    rows.map(|(name, about)| format!("  {dir}/{name:<width$}  {about}")).join("\n")
}

/// The addresses in the genesis file decide where the folders belong.
fn next_step(plan: &Plan) -> String {
    let (dir, first) = (plan.dir.display(), &plan.members[0].name);
    if plan.members.iter().all(|member| member.listen.ip().is_loopback()) {
        return format!(
            "next: start each on this machine: unsplit node start -c {dir}/{first}/node.toml\n\
             (for several machines, give their addresses: --hosts FILE)"
        );
    }
    format!(
        "next: move each folder to its machine, and there: unsplit node start -c {first}/node.toml\n\
         the folders hold secrets: move them by a safe way, and leave no copy behind"
    )
}

/// Fewer than four validators cannot lose one: allowed only by those who say that they know.
pub(crate) fn check_tolerance(validators: usize, allowed: bool, output: Output) -> Result<(), Failure> {
    if validators >= 4 {
        return Ok(());
    }
    let message = format!("fewer than four validators ({validators}) tolerate no failure: f = 0, and one halts all");
    if !allowed {
        return Err(Failure::refused(message, "use at least 4, or add --no-tolerance"));
    }
    output.talk(&format!("warning: {message}"));
    Ok(())
}

/// Writes everything into a folder that is new or empty.
pub(crate) fn write(plan: &Plan) -> Result<Genesis, Failure> {
    check_empty(&plan.dir)?;
    let genesis = write_into(plan);
    if genesis.is_err() {
        // Nothing half made is left behind; the folder was empty before.
        let _ = fs::remove_dir_all(&plan.dir);
    }
    genesis
}

fn write_into(plan: &Plan) -> Result<Genesis, Failure> {
    let mut validators = Vec::new();
    for member in &plan.members {
        let Keys { validator: key, supervisor } = write_member(&plan.dir.join(&member.name), member, &plan.sets)?;
        let region = if member.region.is_empty() { "local" } else { member.region.as_str() };
        validators.push(GenesisValidator {
            name: member.name.clone(),
            key,
            address: member.address.to_string(),
            region: region.into(),
            capacity: 1,
            // On the same host, so its connections come from there.
            supervisor: Some(GenesisSupervisor { key: supervisor, address: member.address.ip().to_string() }),
        });
    }
    let genesis = Genesis {
        version: ledger::genesis::VERSION,
        chain_id: plan.chain_id.clone(),
        byzantine_budget: plan.rules.byzantine_budget.unwrap_or_else(|| faults(validators.len())),
        timestamp_ms: now_ms(),
        validators,
        balances: write_accounts(&plan.dir.join("accounts"), plan.accounts)?,
        tasks: TaskLimits::default(),
        epochs: epochs(plan.rules),
        certified: plan.certified.clone(),
    };
    genesis.validate().map_err(|error| Failure::config(error.to_string(), "mend the hosts file"))?;
    let text = genesis.to_toml();
    for folder in plan.members.iter().map(|member| plan.dir.join(&member.name)).chain([plan.dir.clone()]) {
        files::write_new(&folder.join("genesis.toml"), &text)?;
    }
    Ok(genesis)
}

/// Who a new validator and its supervisor are.
pub(crate) struct Keys {
    pub(crate) validator: PublicKey,
    pub(crate) supervisor: PublicKey,
}

/// Writes one validator's folder, all but the genesis.
pub(crate) fn write_member(folder: &Path, member: &Member, sets: &[String]) -> Result<Keys, Failure> {
    let config = folder.join("node.toml");
    files::make_folder(&folder.join("data"))?;
    files::write_new(&config, &member_toml(member))?;
    if !sets.is_empty() {
        lay_over(&config, sets)?;
    }
    // What was just written is read as `node start` will read it; a bad --set or name shows now.
    if let Err(error) = Config::load(&config, &[]) {
        let _ = fs::remove_file(&config);
        return Err(error.into());
    }
    let (key, data_dir) = (keys::generate()?, folder.join("data"));
    validator::initialize(&data_dir, &key.to_bytes(), &keys::token()?)?;
    let supervisor = keys::generate_into(&data_dir.join(validator::SUPERVISOR_KEY))?;
    Ok(Keys { validator: key.public(), supervisor })
}

/// The commented default with this validator's own values.
fn member_toml(member: &Member) -> String {
    let text = Config::default_toml();
    let mut document: DocumentMut = text.parse().expect("the default parses, a test of validator shows it");
    set(&mut document, &["name"], value(&member.name));
    set(&mut document, &["data_dir"], value("data"));
    set(&mut document, &["network", "listen"], value(member.listen.to_string()));
    set(&mut document, &["api", "listen"], value(member.api.to_string()));
    document.to_string()
}

/// Writes `--set` values into the file, so that a restart has them too.
fn lay_over(path: &Path, sets: &[String]) -> Result<(), Failure> {
    Config::load(path, sets)?;
    let mut document: DocumentMut =
        files::read(path)?.parse().map_err(|error| Failure::unexpected(format!("{}: {error}", path.display())))?;
    for assignment in sets {
        let (key, text) = assignment.split_once('=').expect("Config::load took it");
        let typed = text.trim().parse::<toml_edit::Value>().ok();
        let keys: Vec<&str> = key.trim().split('.').collect();
        set(&mut document, &keys, toml_edit::Item::Value(typed.unwrap_or_else(|| text.trim().into())));
    }
    files::replace(path, &document.to_string())
}

/// Replaces a value and keeps the comment behind it.
fn set(document: &mut DocumentMut, path: &[&str], new: toml_edit::Item) {
    let mut item = document.as_item_mut();
    for key in path {
        item = &mut item[*key];
    }
    let old = item.as_value().cloned();
    *item = new;
    let (Some(old), Some(value)) = (old, item.as_value_mut()) else { return };
    let comment = old.decor().suffix().and_then(|suffix| suffix.as_str()).unwrap_or_default().trim_start();
    if comment.is_empty() {
        return;
    }
    // The comments stay below each other as far as the values allow.
    let column = old.to_string().len() - comment.len();
    *value.decor_mut() = toml_edit::Decor::new(" ", "");
    let gap = column.saturating_sub(value.to_string().len()).max(2);
    value.decor_mut().set_suffix(format!("{}{comment}", " ".repeat(gap)));
}

fn write_accounts(folder: &Path, accounts: usize) -> Result<Vec<GenesisBalance>, Failure> {
    files::make_folder(folder)?;
    (0..accounts)
        .map(|i| {
            let account = keys::generate_into(&folder.join(format!("a{i}.key")))?;
            Ok(GenesisBalance { account, amount: Amount(FUNDS) })
        })
        .collect()
}

fn check_empty(dir: &Path) -> Result<(), Failure> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::file("look into", dir)(error)),
        Ok(mut entries) => entries.next().map_or(Ok(()), |_| {
            Err(Failure::refused(
                format!("{} is not empty and is not overwritten", dir.display()),
                "choose another folder, or empty it if you are sure",
            ))
        }),
    }
}

/// Distinct ports on this machine, for those who try it here first.
fn local_members(count: usize) -> Vec<Member> {
    let address = |base: u16, i: usize| SocketAddr::from(([127, 0, 0, 1], base + u16::try_from(i).unwrap_or(u16::MAX)));
    let member = |i| Member {
        name: format!("node{i}"),
        listen: address(8701, i),
        address: address(8701, i),
        api: address(7701, i),
        region: String::new(),
    };
    (0..count).map(member).collect()
}

/// One validator a line: `NAME IP:PORT [REGION]`. Empty lines and what follows `#` do not count.
fn parse_hosts(text: &str, path: &Path) -> Result<Vec<Member>, Failure> {
    let lines = text.lines().enumerate();
    let lines = lines.map(|(i, line)| (i + 1, line.split('#').next().unwrap_or_default().trim()));
    let members: Vec<_> = lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            parse_host(line).map_err(|why| {
                let help = "one validator a line: NAME IP:PORT [REGION], for example: berlin 203.0.113.7:7601 eu";
                Failure::config(format!("{}:{number}: {why}", path.display()), help)
            })
        })
        .collect::<Result<_, _>>()?;
    if members.is_empty() {
        return Err(Failure::config(format!("{} names no validator", path.display()), "one a line: NAME IP:PORT"));
    }
    Ok(members)
}

fn parse_host(line: &str) -> Result<Member, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, address, region) = match words[..] {
        [name, address] => (name, address, ""),
        [name, address, region] => (name, address, region),
        _ => return Err(format!("{line:?} has {} words, not 2 or 3", words.len())),
    };
    let address: SocketAddr = address.parse().map_err(|_| format!("{address:?} is not IP:PORT"))?;
    Ok(Member {
        name: name.into(),
        // A machine behind a translated address cannot bind it; peers still dial the one they were given.
        listen: SocketAddr::from(([0, 0, 0, 0], address.port())),
        address,
        api: SocketAddr::from(([127, 0, 0, 1], 7700)),
        region: region.into(),
    })
}

fn epochs(rules: ChainRules) -> EpochLimits {
    let default = EpochLimits::default();
    EpochLimits {
        length: rules.epoch_length.unwrap_or(default.length),
        remove_after_ms: rules
            .remove_after
            .map_or(default.remove_after_ms, |after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        ..default
    }
}

pub(crate) fn random_chain_id(prefix: &str) -> Result<ChainId, Failure> {
    parse_chain_id(&format!("{prefix}-{}", keys::random_word(8)?))
}

fn parse_chain_id(id: &str) -> Result<ChainId, Failure> {
    id.parse().map_err(|error: ledger::TextError| Failure::usage(error.to_string(), "choose another --chain-id"))
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_has_one_validator_a_line() {
        let text = "# ours\nberlin 203.0.113.7:7601 eu\n\ntokyo 198.51.100.1:7601 # no region\n";
        let members = parse_hosts(text, Path::new("hosts")).expect("two lines");
        assert_eq!(members.len(), 2);
        assert_eq!((members[0].name.as_str(), members[0].region.as_str()), ("berlin", "eu"));
        assert_eq!(members[1].address.to_string(), "198.51.100.1:7601");
        assert_eq!(members[1].listen.to_string(), "0.0.0.0:7601");
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, words) in [
            ("a 1.2.3.4:1\nb", "hosts:2: \"b\" has 1 words"),
            ("a b c d", "hosts:1: "),
            ("a host", "hosts:1: \"host\" is not IP:PORT"),
            ("# nobody\n", "hosts names no validator"),
        ] {
            let failure = parse_hosts(text, Path::new("hosts")).expect_err(text);
            assert!(failure.message.starts_with(words), "{text:?}: {}", failure.message);
            assert_eq!(failure.exit, Exit::Config);
        }
    }

    #[test]
    fn a_member_file_keeps_the_comments_and_says_its_own() {
        let text = member_toml(&local_members(2)[1]);
        assert!(text.contains("name = \"node1\"                     # this validator's name"), "{text}");
        assert!(text.contains("data_dir = \"data\"                  # everything"), "{text}");
        assert!(text.contains("listen = \"127.0.0.1:8702\""), "{text}");
        assert!(text.contains("listen = \"127.0.0.1:7702\""), "{text}");
    }

    #[test]
    fn a_network_is_written_once() {
        let dir = std::env::temp_dir().join(format!("unsplit-testnet-{}", std::process::id()));
        let chain_id = parse_chain_id("test-devnet").expect("a chain id");
        let sets = vec!["consensus.retry=1s".to_owned(), "mempool.transactions_max=300".to_owned()];
        let plan = Plan {
            dir: dir.clone(),
            chain_id,
            members: local_members(4),
            accounts: 2,
            certified: Certified::default(),
            rules: ChainRules::default(),
            sets,
        };
        let genesis = write(&plan).expect("a new folder");
        assert_eq!(Genesis::parse(&files::read(&dir.join("genesis.toml")).expect("written")), Ok(genesis.clone()));
        assert_eq!((genesis.validators.len(), genesis.balances.len(), genesis.byzantine_budget), (4, 2, 1));
        let config = Config::load(&dir.join("node3/node.toml"), &[]).expect("a good configuration");
        assert_eq!((config.consensus.retry.as_secs(), config.mempool.transactions_max), (1, 300));
        assert_eq!(keys::load(&config.key_file).expect("a key").public(), genesis.validators[3].key);
        let supervisor = genesis.validators[3].supervisor.as_ref().expect("each has one");
        let key = keys::load(&config.data_dir.join(validator::SUPERVISOR_KEY)).expect("a key");
        assert_eq!((key.public(), "127.0.0.1"), (supervisor.key, supervisor.address.as_str()));
        assert_eq!(write(&plan).expect_err("not empty").exit, Exit::Refused);
        fs::remove_dir_all(dir).expect("our own folder");
    }

    #[test]
    fn what_could_not_be_written_whole_is_not_left_behind() {
        let dir = std::env::temp_dir().join(format!("unsplit-testnet-bad-{}", std::process::id()));
        let chain_id = parse_chain_id("test").expect("a chain id");
        let sets = vec!["consensus.rtry=1s".to_owned()];
        let plan = Plan {
            dir: dir.clone(),
            chain_id,
            members: local_members(4),
            accounts: 2,
            certified: Certified::default(),
            rules: ChainRules::default(),
            sets,
        };
        let failure = write(&plan).expect_err("a typo");
        assert!(failure.message.contains("did you mean `retry`"), "{}", failure.message);
        assert!(!dir.exists());
    }

    #[test]
    fn fewer_than_four_need_a_word() {
        let output = Output::new(crate::cli::Format::Human, true);
        assert!(check_tolerance(4, false, output).is_ok());
        assert_eq!(check_tolerance(3, false, output).expect_err("f = 0").exit, Exit::Refused);
        assert!(check_tolerance(3, true, output).is_ok());
    }
}
