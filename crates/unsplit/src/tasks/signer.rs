//! Who orders, and through which validator?

use std::path::Path;

use ledger::SecretKey;

use crate::{
    cli::{Global, Signer},
    client::{Client, read_token},
    devnet::record::{NodeRecord, Record, State},
    failure::Failure,
    keys,
};

/// An account that orders, and a validator that takes its orders.
pub(crate) struct Account {
    pub(crate) key: SecretKey,
    /// Its public key, hex.
    pub(crate) id: String,
    pub(crate) client: Client,
    /// The chain that the key belongs to, if that is known.
    chain: Option<String>,
}

/// The folder of a devnet unless somebody says otherwise.
const DEVNET_DEFAULT: &str = "./unsplit-devnet";

impl Account {
    /// The account that the command line names. Key, token and validator come from one place: either all are named, or
    /// all are those of a devnet, so that a devnet's key never signs for another chain.
    pub(crate) fn open(signer: &Signer, global: &Global) -> Result<Self, Failure> {
        match (&signer.key, &signer.dir) {
            (Some(key), _) => Self::named(key, global),
            (None, Some(dir)) => Self::of_devnet(Record::load(dir)?, global),
            (None, None) => {
                let record = Record::load(Path::new(DEVNET_DEFAULT)).map_err(|_| {
                    let help = "name a key file with --key FILE, or the folder of a devnet with --dir DEVNET";
                    Failure::usage(format!("whose task? there is no --key, and no devnet in {DEVNET_DEFAULT}"), help)
                })?;
                Self::of_devnet(record, global)
            }
        }
    }

    fn named(key: &Path, global: &Global) -> Result<Self, Failure> {
        let key = keys::load(key)?;
        if global.token_file.is_none() {
            let help = "name the validator's api.token with --token-file FILE or UNSPLIT_TOKEN_FILE";
            return Err(Failure::refused("an order is a write and needs the validator's token", help));
        }
        Ok(Self::of(key, Client::of(global)?))
    }

    /// The account of a key, through this validator.
    pub(crate) fn of(key: SecretKey, client: Client) -> Self {
        Self { id: key.public().to_string(), key, client, chain: None }
    }

    fn of_devnet(record: Record, global: &Global) -> Result<Self, Failure> {
        let node = choose(&record, global.api.as_deref())?;
        let token = read_token(global.token_file.as_deref().unwrap_or(&node.token_file))?;
        let client = Client::at(&node.api, global)?.with_token(token);
        let key = keys::load(&record.dir.join("accounts/a0.key"))?;
        Ok(Self { chain: Some(record.chain_id), ..Self::of(key, client) })
    }

    /// Whether the key may sign for this chain.
    pub(crate) fn check_chain(&self, chain: &str) -> Result<(), Failure> {
        match &self.chain {
            Some(own) if own != chain => {
                let message = format!("the validator serves chain {chain}, and the key belongs to {own}");
                Err(Failure::refused(message, "name the folder of the devnet that runs with --dir DEVNET"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The validator that `--api` names, or the first that runs.
fn choose<'a>(record: &'a Record, api: Option<&str>) -> Result<&'a NodeRecord, Failure> {
    let dir = record.dir.display();
    if let Some(api) = api {
        let node = record.nodes.iter().find(|node| node.api == api.trim_end_matches('/'));
        return node.ok_or_else(|| {
            let help =
                format!("leave out --api, or name one of `unsplit devnet status --dir {dir}`; other chains need --key");
            Failure::usage(format!("--api {api} is no validator of the devnet in {dir}"), help)
        });
    }
    record.nodes.iter().find(|node| node.state == State::Running).ok_or_else(|| {
        let help = format!("start one: unsplit devnet up --resume --dir {dir}");
        Failure::unreachable(format!("no validator of the devnet in {dir} runs"), help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    fn record() -> Record {
        let node = |i: u16| NodeRecord {
            name: format!("n{i}"),
            pid: None,
            api: format!("http://127.0.0.1:{}", 7800 + i),
            token_file: "t".into(),
            data_dir: "d".into(),
            config: "c".into(),
            log: "l".into(),
            listen: "127.0.0.10:8800".into(),
            state: if i == 0 { State::Dead } else { State::Running },
            ended: None,
        };
        Record {
            schema: "unsplit.devnet/1".into(),
            chain_id: "devnet-1".into(),
            dir: "/d".into(),
            holder: 1,
            nodes: (0..3).map(node).collect(),
            faults: Vec::new(),
        }
    }

    #[test]
    fn orders_go_to_a_validator_of_the_devnet_and_to_no_other() {
        let record = record();
        let chosen = |api| choose(&record, api).map(|node| node.name.as_str()).map_err(|failure| failure.exit);
        assert_eq!(chosen(None), Ok("n1"));
        assert_eq!(chosen(Some("http://127.0.0.1:7802/")), Ok("n2"));
        assert_eq!(chosen(Some("http://127.0.0.1:7700")), Err(Exit::Usage));
        let mut dead = record.clone();
        dead.nodes.truncate(1);
        assert_eq!(choose(&dead, None).expect_err("nobody runs").exit, Exit::Unreachable);
    }
}
