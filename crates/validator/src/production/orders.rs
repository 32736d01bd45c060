//! The supervisor's end of the network: orders to bring its validator back.
//!
//! It runs in the supervisor's process, which goes on while the validator is down, and has a key of its own.

use super::{StartError, folder, network, steady::Steady};
use crate::{
    config::Config,
    orders::{Challenge, Command, Gathering, Message},
    roster::Roster,
    validator::{CHANNELS, ORDERS},
};
use commonware_cryptography::{Signer as _, ed25519::PrivateKey};
use commonware_p2p::{Receiver as _, Recipients, Sender as _};
use commonware_runtime::{Clock as _, IoBuf, Runner as _, tokio};
use commonware_utils::channel::mpsc;
use ledger::{Decode as _, Encode as _, Genesis};
use rand_core::Rng as _;
use std::{net::SocketAddr, thread, time::Duration};
use tracing::debug;

/// The file with the supervisor's key, in the data directory.
pub const SUPERVISOR_KEY: &str = "supervisor.key";

/// How often the validators are asked.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How long one question stands, and with it the orders that answer it.
const QUESTION_STANDS: Duration = Duration::from_secs(60);

/// Where commands of the validators come from, for the supervisor of the validator that `config` describes. Nothing if the
/// genesis names no supervisor for it. When the network ends, so do the commands.
///
/// # Errors
/// When the supervisor's key cannot be used.
pub fn receive_orders(config: &Config, genesis: Genesis) -> Result<Option<mpsc::Receiver<Command>>, StartError> {
    let entry = genesis.validators.iter().find(|entry| entry.name == config.name);
    let Some(supervisor) = entry.and_then(|entry| entry.supervisor.as_ref()) else { return Ok(None) };
    let path = config.data_dir.join(SUPERVISOR_KEY);
    let key = folder::key(&path)?;
    if crate::chain::ledger_key(&key.public_key()) != supervisor.key {
        return Err(StartError::Config(format!(
            "{} is not the key of {}'s supervisor in {}; put the right one there, or no order is believed to be for it",
            path.display(),
            config.name,
            config.genesis.display()
        )));
    }
    // One is acted on at a time, and more of the same say nothing new.
    let (told, commands) = mpsc::channel(1);
    let config = config.clone();
    let listening = thread::Builder::new().name("orders".into()).spawn(move || {
        let runtime = tokio::Config::new().with_worker_threads(1).with_storage_directory(&config.data_dir);
        tokio::Runner::new(runtime).start(|context| async move {
            let ended = listen(Steady::new(context), key, &genesis, &config, told).await;
            if let Err(problem) = ended {
                tracing::error!(%problem, "no orders can be received");
            }
        });
    });
    listening.map_err(|problem| StartError::Failed(format!("no thread to listen for orders: {problem}")))?;
    Ok(Some(commands))
}

/// Asks all validators again and again, until nobody wants to know what they say.
async fn listen(
    mut context: Steady,
    key: PrivateKey,
    genesis: &Genesis,
    config: &Config,
    told: mpsc::Sender<Command>,
) -> Result<(), StartError> {
    let bad_key = || StartError::Config("the genesis file holds a key that is no Ed25519 public key".into());
    let roster = Roster::new(genesis).ok_or_else(bad_key)?;
    let node = roster.named(&config.name).ok_or_else(bad_key)?.entry.key;
    // It dials; nobody has to find it.
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let (mut network, _oracle) = network::open(&context, key, nowhere, genesis, &roster, &config.network)?;
    let channel = CHANNELS.into_iter().find(|channel| channel.id == ORDERS).expect("it is one of them");
    let (mut sender, mut receiver) = network.register(channel.id, channel.quota());
    network.start();
    let mut gathering = Gathering::new(genesis.chain_id.clone(), roster, node, challenge(&mut context));
    let mut renew_at = context.current() + QUESTION_STANDS;
    let mut ask_at = context.current();
    loop {
        ::tokio::select! {
            biased;
            () = told.closed() => return Ok(()),
            () = context.sleep_until(ask_at) => {
                let now = context.current();
                if renew_at <= now {
                    gathering.renew(challenge(&mut context));
                    renew_at = now + QUESTION_STANDS;
                }
                sender.send(Recipients::All, IoBuf::from(gathering.question().encode()), true);
                ask_at = now + ASK_EVERY;
            }
            message = receiver.recv() => {
                let Ok((_, message)) = message else { return Ok(()) };
                let Ok(Message::Order(order)) = Message::decode(message.as_ref()) else { continue };
                let signer = order.signer;
                if let Err(problem) = gathering.take(order) {
                    debug!(%signer, %problem, "order not counted");
                }
            }
        }
        if let Some(command) = gathering.command() {
            // If the one before still waits, this one would say nothing new.
            let _ = told.try_send(command);
            gathering.renew(challenge(&mut context));
            renew_at = context.current() + QUESTION_STANDS;
        }
    }
}

fn challenge(context: &mut Steady) -> Challenge {
    let mut bytes = [0; 32];
    context.fill_bytes(&mut bytes);
    Challenge(bytes)
}
