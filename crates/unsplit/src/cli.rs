//! What can be asked?

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use api::EventKind;
use clap::{Args, Parser, Subcommand, ValueEnum, builder::PossibleValuesParser};
use validator::config::parse_duration;

/// A network that keeps finalizing: node, devnet, demo, simulator and client in one binary.
#[derive(Debug, Parser)]
#[command(name = "unsplit", version, propagate_version = true, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Cli {
    /// Reads the command line of this process.
    pub(crate) fn read() -> Self {
        Self::parse_from(translated(std::env::args_os()))
    }
}

/// `testnet init -v 4 -o DIR` is what people's fingers know from other chains; everywhere else these two letters are
/// ours, and clap cannot have it both ways.
fn translated(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let Some(init) = words.windows(2).position(|pair| pair[0] == "testnet" && pair[1] == "init") else { return words };
    for word in &mut words[init + 2..] {
        if word == "-v" {
            *word = "--validators".into();
        } else if word == "-o" {
            *word = "--out".into();
        }
    }
    words
}

/// Options of every verb.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// How data is written to standard output.
    #[arg(short, long, global = true, value_enum, default_value = "human", env = "UNSPLIT_OUTPUT")]
    pub(crate) output: Format,
    /// No talk on standard error, errors excepted.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// More talk; twice for still more.
    #[arg(short = 'v', long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// The validator to talk to [default: http://127.0.0.1:7700].
    #[arg(long, global = true, value_name = "URL", env = "UNSPLIT_API")]
    pub(crate) api: Option<String>,
    /// The file with that validator's token; only writes need it.
    #[arg(long, global = true, value_name = "FILE", env = "UNSPLIT_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How long to wait for an answer.
    #[arg(long, global = true, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// Yes to what would otherwise be refused.
    #[arg(long, global = true)]
    pub(crate) yes: bool,
}

/// How data is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// One document, tagged with its schema.
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Seven real validators survive a storm; takes about 2 min, ends with a verdict.
    Demo(Demo),
    /// A network of validator processes on this machine.
    #[command(subcommand)]
    Devnet(Devnet),
    /// One validator on this machine.
    #[command(subcommand)]
    Node(Node),
    /// Keep one validator on this machine alive: start it, watch that it makes progress, bring it back.
    #[command(after_long_help = SUPERVISE_HELP)]
    Supervise(Supervise),
    /// What the supervisor on this machine did to bring its validator back, and what it may still do.
    Recoveries(ConfigFile),
    /// Have a validator brought back now, whatever its cooldown. Counts as an attempt.
    #[command(after_long_help = RECOVER_HELP)]
    Recover {
        /// Another one: the validator at --api says that it should be restarted. Needs its token.
        #[arg(required_unless_present = "config")]
        node: Option<String>,
        /// Without NODE, the one on this machine, by its node.toml: its supervisor brings it back.
        #[arg(short, long, value_name = "FILE", env = "UNSPLIT_CONFIG")]
        config: Option<PathBuf>,
    },
    /// The files of a network of several machines.
    #[command(subcommand)]
    Testnet(Testnet),
    /// Check what a stopped validator keeps on its disk; changes nothing. Exit code 20 if something is damaged.
    #[command(subcommand)]
    Verify(Verify),
    /// One validator and those it hears, in one screen.
    Status(Status),
    /// Why is it stopped, and what would mend it?
    Why,
    /// How far behind is it, and how fast does it catch up?
    Sync {
        /// Show it again and again, until nothing is missing.
        #[arg(long)]
        watch: bool,
    },
    /// Who can talk to whom, what is cut, and what would mend it, as far as the validator is told.
    Partitions,
    /// Who says that it hears whom.
    Matrix,
    /// The validators as one of them sees them, unreachable ones included.
    #[command(args_conflicts_with_subcommands = true)]
    Nodes {
        /// Only this one, with why it stands as it does and what came before.
        name: Option<String>,
        #[command(subcommand)]
        change: Option<SetChange>,
    },
    /// How the tasks are spread over the validators, and how much capacity they ask for.
    Balance,
    /// Have the validator finish what it has and take no more tasks. Needs its token.
    Drain,
    /// Have a drained validator take tasks again. Needs its token.
    Undrain,
    /// Which programs and models supervisors may start, and what validators propose instead.
    Certified,
    /// Have the validator propose which programs and models supervisors may start; a quorum decides. Needs its token.
    #[command(after_long_help = CERTIFY_HELP)]
    Certify(Certify),
    /// Tasks: work that the validators do.
    #[command(subcommand)]
    Tasks(Tasks),
    /// What happened, or with -f what happens.
    #[command(after_long_help = EVENTS_HELP)]
    Events(Events),
    /// Transactions.
    #[command(subcommand)]
    Tx(Tx),
    /// A finalized block.
    Blocks {
        /// Its height, or `latest`.
        #[arg(default_value = "latest", value_name = "HEIGHT|latest")]
        at: String,
    },
    /// An account's balance and nonce.
    Account {
        /// Its public key in hex, or its key file.
        #[arg(value_name = "HEX|FILE")]
        id: String,
    },
    /// Whole networks on a simulated clock, repeatable from a seed.
    #[command(subcommand)]
    Sim(Sim),
    /// Measurements against bounds and peers, in one run.
    #[command(subcommand)]
    Bench(bench::Verb),
    /// The configuration of a validator.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// The OpenAPI document of the HTTP API.
    Openapi,
    /// A completion script, for example: unsplit completions bash > ~/.local/share/bash-completion/completions/unsplit
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// The version of this program.
    Version,
}

/// `unsplit certify`.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct Certify {
    /// A build of this program, or its SHA-256; at most two.
    #[arg(long = "program", value_name = "FILE|SHA256")]
    pub(crate) programs: Vec<String>,
    /// A model, or its SHA-256; at most two.
    #[arg(long = "model", value_name = "FILE|SHA256")]
    pub(crate) models: Vec<String>,
    /// Nothing: anything may run.
    #[arg(long, conflicts_with_all = ["programs", "models"])]
    pub(crate) any: bool,
}

/// `unsplit demo`.
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Validators.
    #[arg(short = 'n', long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(4..=25))]
    pub(crate) nodes: u16,
    /// End after the verdict even on a terminal.
    #[arg(long)]
    pub(crate) exit: bool,
    /// Keep the folder.
    #[arg(long)]
    pub(crate) keep: bool,
    /// The folder; must not exist. Default: ./unsplit-demo-XXXX.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// The first of the API ports; peers use those from 1000 above.
    #[arg(long, default_value_t = 7700, value_parser = clap::value_parser!(u16).range(1024..=64000))]
    pub(crate) port_base: u16,
    /// Transactions a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub(crate) load: u32,
    /// How many of them submit a task, about; the others are transfers.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=2000))]
    pub(crate) tasks: u32,
}

/// `unsplit devnet …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Devnet {
    /// Start one; ends with Ctrl-C unless detached.
    Up(Up),
    /// End it; its folder stays.
    Down(Held),
    /// Its validators, dead ones included.
    Status(Held),
    /// Start validators that are down; running ones are stopped first.
    Restart {
        /// Names such as n3, or `all`.
        #[arg(required = true, value_name = "NODE|all")]
        nodes: Vec<String>,
        #[command(flatten)]
        held: Held,
    },
    /// Start one more node, which becomes a validator when an epoch ends: in the place of another, or beside all.
    Add {
        /// Whose place it takes; that one gives it.
        #[arg(long, value_name = "NODE")]
        replaces: Option<String>,
        /// Written into its node.toml, as with `up`.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        sets: Vec<String>,
        #[command(flatten)]
        held: Held,
    },
    /// What its validators write.
    Logs {
        /// Only this one.
        node: Option<String>,
        /// Go on as it is written.
        #[arg(short, long)]
        follow: bool,
        /// Lines of each from the end.
        #[arg(long, default_value_t = 50)]
        lines: usize,
        #[command(flatten)]
        held: Held,
    },
    /// Hurt it. Every fault ends by itself.
    #[command(subcommand)]
    Fault(Fault),
    /// End faults before their time.
    Heal {
        /// A fault's id, or `all`.
        #[arg(default_value = "all", value_name = "ID|all")]
        id: String,
        #[command(flatten)]
        held: Held,
    },
    /// The faults in force.
    Faults(Held),
    /// The detached half of `up`.
    #[command(hide = true)]
    Hold(Held),
}

/// Which devnet.
#[derive(Args, Clone, Debug)]
pub(crate) struct Held {
    /// Its folder.
    #[arg(long, default_value = "./unsplit-devnet")]
    pub(crate) dir: PathBuf,
}

/// `unsplit devnet up`.
#[derive(Args, Debug)]
pub(crate) struct Up {
    /// Validators.
    #[arg(short = 'n', long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) nodes: u16,
    /// Go on in the background; `unsplit devnet down` ends it.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Go on with the chain that is in the folder.
    #[arg(long, conflicts_with_all = ["reset", "nodes"])]
    pub(crate) resume: bool,
    /// Delete what is in the folder and start a new chain.
    #[arg(long)]
    pub(crate) reset: bool,
    /// The first of the API ports; peers use those from 1000 above. A resumed devnet keeps its own.
    #[arg(long, default_value_t = 7700, conflicts_with = "resume", value_parser = clap::value_parser!(u16).range(1024..=64000))]
    pub(crate) port_base: u16,
    /// Configuration of every validator, as in `node start`.
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "resume")]
    pub(crate) sets: Vec<String>,
    /// Allow fewer than four validators, which tolerate no failure.
    #[arg(long)]
    pub(crate) no_tolerance: bool,
    #[command(flatten)]
    pub(crate) rules: ChainRules,
    #[command(flatten)]
    pub(crate) held: Held,
}

/// `unsplit nodes …`: what changes the set of validators, between two epochs.
#[derive(Debug, Subcommand)]
pub(crate) enum SetChange {
    /// Have the validator leave the set when an epoch ends, if enough others are left; or a node that asked for a seat take
    /// that back. Needs its token.
    Leave,
    /// Have a validator that wants to leave stay, while its leaving is not decided. Needs its token.
    Stay,
    /// Ask for a seat for a new node: from its folder, through any validator (--api). Needs the token of that one.
    Join {
        #[command(flatten)]
        config: ConfigFile,
        /// Where the others reach it [default: where it listens].
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
        /// Where it stands.
        #[arg(long, default_value = "local")]
        region: String,
        /// How much work it takes, relative to others.
        #[arg(long, default_value_t = 1)]
        capacity: u32,
        /// The validator whose place it is to take, which has to say so: `nodes rotate`.
        #[arg(long, value_name = "NAME")]
        replaces: Option<String>,
    },
    /// Have the validator approve of a node that asks for a seat; a quorum has to. Needs its token.
    Approve {
        /// The name that it asks for, or its key.
        node: String,
    },
    /// Have the validator give its place to a node that asks for it: that is how a key is changed. Needs its token.
    Rotate {
        /// The name of the new one, or its key.
        node: String,
    },
    /// Who asks for a seat or is a learner, who approves, and what each waits for.
    Candidates,
    /// Who votes now and next, and what would be decided if this were to happen as well. Changes nothing.
    SimulateChange {
        /// Nodes that would get a vote: a name of one that asks, or any key.
        #[arg(long, value_name = "NAME_OR_KEY", value_delimiter = ',')]
        join: Vec<String>,
        /// Validators whose place another would take, each with that.
        #[arg(long, value_name = "NAME:NAME_OR_KEY", value_delimiter = ',')]
        rotate: Vec<String>,
        /// Validators that would leave by their own wish.
        #[arg(long, value_name = "NAME", value_delimiter = ',')]
        leave: Vec<String>,
        /// Validators that would be removed.
        #[arg(long, value_name = "NAME", value_delimiter = ',')]
        remove: Vec<String>,
    },
}

/// What a new chain is to hold to, whoever runs it. It is in the genesis file, and never changes.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct ChainRules {
    /// Blocks of an epoch; the set of validators changes between two of them. By default 256.
    #[arg(long, value_name = "BLOCKS")]
    pub(crate) epoch_length: Option<u64>,
    /// Remove a validator that a quorum has held unresponsive for so long. By default 10 minutes.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) remove_after: Option<Duration>,
    /// How many liars every set of validators has to survive; none gets smaller than three times that and one. By default
    /// as many as the first set survives, so that it never shrinks much.
    #[arg(long, value_name = "COUNT")]
    pub(crate) byzantine_budget: Option<usize>,
}

/// `unsplit devnet fault …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Fault {
    /// Kill validators (SIGKILL). Without --for they stay dead until `devnet restart`.
    Crash {
        /// Names such as n3.
        #[arg(required = true)]
        nodes: Vec<String>,
        /// Start them again after this.
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
        duration: Option<Duration>,
        #[command(flatten)]
        held: Held,
    },
    /// Stop validators in their tracks (SIGSTOP) and let them go on (SIGCONT).
    Pause {
        /// Names such as n3.
        #[arg(required = true)]
        nodes: Vec<String>,
        #[command(flatten)]
        ttl: Ttl,
        #[command(flatten)]
        held: Held,
    },
    /// Cut every link between groups: 0-3/4-6. Validators in no group keep all of theirs.
    Partition {
        /// For example 0-3/4-6 or n0,n2/n1,n3-n6.
        groups: String,
        /// Only the second group stops hearing the first.
        #[arg(long)]
        one_way: bool,
        #[command(flatten)]
        ttl: Ttl,
        #[command(flatten)]
        held: Held,
    },
    /// Hang up the executors of validators: they vote, and do no work.
    Wedge {
        /// Names such as n3.
        #[arg(required = true)]
        nodes: Vec<String>,
        #[command(flatten)]
        ttl: Ttl,
        #[command(flatten)]
        held: Held,
    },
    /// Make the disks of validators slow.
    SlowDisk {
        /// Names such as n3.
        #[arg(required = true)]
        nodes: Vec<String>,
        /// How much longer each write of the vote guard takes.
        #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = parse_duration)]
        delay: Duration,
        #[command(flatten)]
        ttl: Ttl,
        #[command(flatten)]
        held: Held,
    },
    /// Have validators say on the chain that another one is not there.
    Accuse {
        /// Of whom, such as n0.
        about: String,
        /// Who says so, such as n5 n6.
        #[arg(long = "by", required = true, num_args = 1.., value_name = "NODE")]
        nodes: Vec<String>,
        #[command(flatten)]
        ttl: Ttl,
        #[command(flatten)]
        held: Held,
    },
    /// Cut every link of one validator.
    Isolate {
        /// A name such as n3.
        node: String,
        #[command(flatten)]
        ttl: Ttl,
        #[command(flatten)]
        held: Held,
    },
}

/// When a fault ends by itself.
#[derive(Args, Clone, Debug)]
pub(crate) struct Ttl {
    /// How long; at most 1h.
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub(crate) duration: Duration,
}

/// `unsplit node …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Make a validator's folder, key and token. Never overwrites.
    Init {
        /// The folder for node.toml and data.
        #[arg(long)]
        dir: PathBuf,
        /// The validator's name.
        #[arg(long)]
        name: String,
        /// Its genesis file; copied in.
        #[arg(long)]
        genesis: Option<PathBuf>,
        /// Where peers connect to.
        #[arg(long, default_value = "0.0.0.0:7601")]
        listen: SocketAddr,
        /// Where its API listens.
        #[arg(long, default_value = "127.0.0.1:7700")]
        api_listen: SocketAddr,
    },
    /// Be a validator until SIGTERM.
    Start {
        #[command(flatten)]
        config: ConfigFile,
        /// End when standard input does: how a devnet's validators end with it.
        #[arg(long, hide = true)]
        exit_with_stdin: bool,
    },
    /// The public key, for the genesis file.
    ShowId {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Let a validator vote again whose vote guard is lost. Read what it prints before you add --yes.
    Reinstate {
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `unsplit verify`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verify {
    /// The blocks, certificates, checkpoints, journals and vote guard in a data directory.
    Store {
        /// The data directory.
        dir: PathBuf,
    },
}

/// `unsplit supervise`.
#[derive(Args, Debug)]
pub(crate) struct Supervise {
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// A program that is told of each change; words are split and quotes read, but no shell runs it.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) hook: Option<String>,
    /// An address that each change is posted to as JSON.
    #[arg(long, value_name = "URL")]
    pub(crate) webhook: Option<String>,
    /// SHA-256 of a program or model that may run here, beside those that the chain certifies; may be repeated.
    #[arg(long, value_name = "SHA256")]
    pub(crate) certified: Vec<String>,
    /// A model whose hash has to be certified too; may be repeated.
    #[arg(long = "model", value_name = "FILE")]
    pub(crate) models: Vec<PathBuf>,
    /// Where what the validator says is kept, 16 MiB and as much again of the past; standard error if left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Attempts in any --window to bring it back.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) attempts_max: u8,
    /// How long an attempt counts.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub(crate) window: Duration,
    /// Least time from the end of an attempt to the next; up to a tenth is added at random.
    #[arg(long, value_name = "DURATION", default_value = "300s", value_parser = parse_duration)]
    pub(crate) cooldown: Duration,
    /// It is stuck when its API does not answer for so long.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(crate) silent_after: Duration,
    /// It is stuck when others finalize for so long and it does not follow, or follows and does not vote.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub(crate) stuck_after: Duration,
    /// How long it may take to read its state from disk at a start.
    #[arg(long, value_name = "DURATION", default_value = "300s", value_parser = parse_duration)]
    pub(crate) start_max: Duration,
}

/// A configuration and what is laid over it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigFile {
    /// The validator's node.toml.
    #[arg(short, long, value_name = "FILE", env = "UNSPLIT_CONFIG")]
    pub(crate) config: PathBuf,
    /// Lay a value over the file's; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
}

/// `unsplit testnet …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Testnet {
    /// Write genesis, and for each validator its configuration, key and token.
    Init(TestnetInit),
}

/// `unsplit testnet init`.
#[derive(Args, Debug)]
pub(crate) struct TestnetInit {
    /// Validators; also -v N. With --hosts, as many as there are lines.
    #[arg(long, value_name = "N", required_unless_present = "hosts", conflicts_with = "hosts", value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(crate) validators: Option<u16>,
    /// The folder to write, which must be new or empty; also -o DIR. The output's format is --output here.
    #[arg(long = "out", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// One validator a line: NAME IP:PORT [REGION].
    #[arg(long, value_name = "FILE")]
    pub(crate) hosts: Option<PathBuf>,
    /// The chain's id; random when left out.
    #[arg(long, value_name = "ID")]
    pub(crate) chain_id: Option<String>,
    /// A build of this program that supervisors may start, by its SHA-256; at most two. Without one they start any.
    #[arg(long = "program", value_name = "FILE")]
    pub(crate) programs: Vec<PathBuf>,
    /// A model that may be used, by its SHA-256; at most two.
    #[arg(long = "model", value_name = "FILE")]
    pub(crate) models: Vec<PathBuf>,
    /// Allow fewer than four validators, which tolerate no failure.
    #[arg(long)]
    pub(crate) no_tolerance: bool,
    #[command(flatten)]
    pub(crate) rules: ChainRules,
}

/// `unsplit status`.
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Tell health by exit code: 0, 10 degraded, 11 partitioned or in a minority, 12 halted, 13 under attack, 4 unreachable;
    /// `nagios` maps them to 0/1/2/3.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "plain")]
    pub(crate) check: Option<Check>,
}

/// Which exit codes `--check` uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Check {
    /// Ours.
    Plain,
    /// Those of Nagios plugins.
    Nagios,
}

/// `unsplit tx …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Tx {
    /// Move an amount to another account.
    Transfer {
        /// The sender's key file.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The recipient: its public key in hex, or its key file.
        #[arg(long, value_name = "HEX|FILE")]
        to: String,
        /// How much.
        #[arg(long)]
        amount: u64,
        /// The sender's nonce; the first that is not used in a final block when left out.
        #[arg(long, value_name = "N")]
        nonce: Option<u64>,
        /// Wait until it is final, at most --timeout.
        #[arg(long)]
        wait: bool,
    },
    /// Whether a transaction waits or is final.
    Show {
        /// Its id, hex.
        id: String,
    },
}

/// `unsplit tasks …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Tasks {
    /// Submit the tasks of a file; the same file again does none of them twice.
    #[command(after_long_help = FILE_HELP)]
    Submit {
        /// JSON lines, one task each; - for standard input. See examples/workload.jsonl, and below with --help.
        file: PathBuf,
        #[command(flatten)]
        signer: Signer,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// The tasks on the chain, without their payloads and results.
    List {
        /// Only those that stand here.
        #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(STATES))]
        state: Option<String>,
        /// Only those leased to this validator, or done by it.
        #[arg(long, value_name = "NODE")]
        holder: Option<String>,
        /// Only those of this account: its public key in hex, or its key file.
        #[arg(long, value_name = "HEX|FILE")]
        account: Option<String>,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        limit: u64,
        /// However many there are.
        #[arg(long, conflicts_with = "limit")]
        all: bool,
    },
    /// One task with its payload and its result.
    Show {
        /// What its submitter calls it.
        id: String,
        /// Whose task, if several accounts have one of this id: a public key in hex, or a key file.
        #[arg(long, value_name = "HEX|FILE")]
        account: Option<String>,
    },
    /// Want a task no more.
    Cancel {
        /// What its submitter calls it.
        id: String,
        #[command(flatten)]
        signer: Signer,
        #[command(flatten)]
        waiting: Waiting,
    },
}

const FILE_HELP: &str = "\
The file holds one JSON object a line. Empty lines and lines that start with # do not count.

  {\"id\": \"sum-1\", \"executor\": \"matmul\", \"payload\": {\"seed\": 7, \"n\": 64}}
  {\"id\": \"sort-1\", \"executor\": \"command\", \"payload\": {\"program\": \"sort\", \"input\": \"b\\na\\n\"}, \"retries\": 1}

  id        what you call it: 1 to 64 of A-Z a-z 0-9 . _ : and -; within an account, a task is done once per id
  executor  matmul or command
  payload   what the executor is given, as JSON of at most 64 KiB
  units     how much of a validator's capacity it takes, 1 to 64 [default: 1]
  lease     how long a validator has before others may take over, 1s to 1h [default: 10s]
  retries   how many more leases there are after the first one ends without a result, 0 to 15 [default: 5]
  deadline  after which the result is of no use, from when it is submitted [default: 24h]
  policy    while its holder is cut off: replace (others take over), wait (for its lease) or keep [default: replace]
  region    where it is rather done, while a validator there can take it [default: anywhere]

All lines are checked before anything is sent: with one bad line, nothing is submitted. Tasks that the account has on the
chain already are not submitted again. The command ends when all tasks are on the chain, with --wait when all are finished.
If it is interrupted, the same command goes on where it stopped.

Ends with 0 (with --wait: all are done), 3 bad file, 4 validator unreachable or time up, 5 refused, 20 (with --wait) not
all are done.";

/// In the API's words.
const STATES: [&str; 5] = ["pending", "leased", "done", "failed", "cancelled"];

/// Who orders, and through which validator.
#[derive(Args, Clone, Debug)]
pub(crate) struct Signer {
    /// The key file of the account that orders, through the validator of --api and --token-file.
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    pub(crate) key: Option<PathBuf>,
    /// Order as the first account of this devnet, through its first running validator or the one that --api names. Taken
    /// when there is no --key [default: ./unsplit-devnet].
    #[arg(long, value_name = "DEVNET")]
    pub(crate) dir: Option<PathBuf>,
}

/// Whether to see it through.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// Wait until it is finished.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long all of it may take; --timeout is for a single answer.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    pub(crate) wait_max: Duration,
}

/// `unsplit events`.
#[derive(Args, Debug)]
pub(crate) struct Events {
    /// Go on as things happen, over lost connections, until Ctrl-C.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only these, separated by commas.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = PossibleValuesParser::new(EventKind::NAMES))]
    pub(crate) kinds: Vec<String>,
    /// Only those after this one; 0 for all that the validator still has.
    #[arg(long, value_name = "OFFSET|now", default_value = "0", value_parser = parse_offset)]
    pub(crate) after: After,
    /// A program that is told of each, one after another; words are split and quotes read, but no shell runs it.
    #[arg(long, value_name = "COMMAND", requires = "follow")]
    pub(crate) hook: Option<String>,
}

/// An offset; none for what happens from now on.
pub(crate) type After = Option<u64>;

/// `unsplit sim …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Sim {
    /// Run one scenario once.
    Run {
        /// A scenario's file, or the name of a built-in one.
        #[arg(value_name = "SCENARIO|FILE")]
        scenario: String,
        /// The seed: 42 or 0x2a.
        #[arg(long, default_value = "0", value_parser = parse_seed)]
        seed: u64,
    },
    /// Run one scenario with many seeds.
    Sweep {
        /// A scenario's file, or the name of a built-in one.
        #[arg(value_name = "SCENARIO|FILE")]
        scenario: String,
        /// How many seeds.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value = "0", value_parser = parse_seed)]
        first: u64,
        /// Runs at a time; as many as there are cores when left out.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
        jobs: Option<u16>,
    },
    /// Run one seed again, and show what was done in it step by step.
    Replay {
        /// A scenario's file, or the name of a built-in one.
        #[arg(value_name = "SCENARIO|FILE")]
        scenario: String,
        /// The seed: 42 or 0x2a.
        #[arg(long, value_parser = parse_seed)]
        seed: u64,
        /// The digest that it gave; another one is a failure.
        #[arg(long)]
        digest: Option<String>,
    },
    /// The built-in scenarios.
    List,
}

/// `unsplit config …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Read a configuration as `node start` would, and say what does not fit.
    Check {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Every key with its default and what it is for.
    PrintDefault,
}

fn parse_offset(text: &str) -> Result<After, String> {
    match text {
        "now" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| "write an event's offset, or `now`".into()),
    }
}

/// `42` or `0x2a`: as reports write seeds, and as people do.
fn parse_seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "write 42 or 0x2a".into())
}

const CERTIFY_HELP: &str = "\
This is the whole list, not an addition to it. A release is rolled out in three steps: certify it beside the one that runs, \
replace the program on one machine after another, certify it alone. Each is final when n - f validators propose the same.";

const EVENTS_HELP: &str = "\
A hook finds what the JSON of the event says in its environment: UNSPLIT_EVENT is the kind, and each field has its own name, as \
UNSPLIT_NODE or UNSPLIT_DESIRED. It has 30 s; the next event waits for it, and one that fails is told of and not repeated. An \
autoscaler: unsplit events -f --after now --kinds scaling_changed --hook '/usr/local/bin/scale'";

const RECOVER_HELP: &str = "\
A supervisor on another machine obeys when more than f validators say the same, each by the word of its own operator or \
because it saw for long that the validator is not well. So this is to be run against several validators; the word of each \
stands for 15 minutes. On the validator's own machine, -c FILE is enough.";

const SUPERVISE_HELP: &str = "\
A validator that ends or stands still is started again. One that ends in the same way three times without doing anything \
between is given up: the evidence is kept in DATA_DIR/evidence, and the exit code is 7. After --attempts-max attempts it \
counts as failed until the oldest is a --window old; --yes starts it by hand before. A validator is never restarted because \
the network is halted. What it does, and how many attempts are left, is in DATA_DIR/supervisor.json.

A hook finds UNSPLIT_NODE, UNSPLIT_CHANGE, UNSPLIT_REASON and UNSPLIT_ATTEMPT in its environment and has 30 s. A webhook has \
5 s and is tried twice. Neither can hold anything up.

Exit codes: 0 the validator was asked to end, 2 and 3 its configuration is wrong, 5 a hash is not certified, 7 given up.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn a_seed_is_decimal_or_says_that_it_is_not() {
        for (text, seed) in [("42", Ok(42)), ("0x2a", Ok(42)), ("0x5eed", Ok(0x5eed))] {
            assert_eq!(parse_seed(text), seed);
        }
        for text in ["2a", "-1", "0x", "", "99999999999999999999"] {
            assert!(parse_seed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_task_stands_where_the_api_says() {
        for word in STATES {
            let state: Result<api::TaskState, _> = serde_json::from_value(word.into());
            assert!(state.is_ok(), "{word}");
        }
    }

    #[test]
    fn events_begin_after_an_offset_or_now() {
        assert_eq!(parse_offset("0"), Ok(Some(0)));
        assert_eq!(parse_offset("now"), Ok(None));
        assert!(parse_offset("yesterday").is_err() && parse_offset("-1").is_err());
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Whether clap takes the words.
    fn accepts(line: &str) -> bool {
        Cli::try_parse_from(translated(line.split_whitespace().map(OsString::from))).is_ok()
    }

    #[test]
    fn edges_of_the_command_line() {
        for (line, accepted) in [
            ("unsplit demo -n 4 --exit -o json", true),
            ("unsplit demo -n 3", false),
            ("unsplit -o json devnet status --dir D", true),
            ("unsplit devnet fault crash n5 n6", true),
            ("unsplit devnet fault crash", false),
            ("unsplit devnet fault partition 0-3/4-6 --for 30s --one-way", true),
            ("unsplit devnet fault partition 0-3/4-6 --for soon", false),
            ("unsplit devnet up --resume --reset", false),
            ("unsplit devnet up -n 100", true),
            ("unsplit devnet up -n 101", false),
            ("unsplit status --check", true),
            ("unsplit status --check=nagios", true),
            ("unsplit testnet init -v 4 -o D", true),
            ("unsplit testnet init -v 4 -o D --output json", true),
            ("unsplit testnet init --validators 4 --out D", true),
            ("unsplit testnet init -o D", false),
            ("unsplit status -q -v", false),
            ("unsplit tasks submit - --key K --wait --wait-max 1m", true),
            ("unsplit tasks submit F --key K --dir D", false),
            ("unsplit tasks submit", false),
            ("unsplit tasks list --state leased --holder n1 --all", true),
            ("unsplit tasks list --state lost", false),
            ("unsplit tasks list --limit 0", false),
            ("unsplit tasks list --limit 5 --all", false),
            ("unsplit tasks cancel a --dir D --wait", true),
            ("unsplit events -f --kinds task_changed,finalized --after 7", true),
            ("unsplit events --kinds tasks", false),
            ("unsplit completions fish", true),
            ("unsplit completions csh", false),
            ("unsplit openapi", true),
        ] {
            assert_eq!(accepts(line), accepted, "{line}");
        }
    }
}
