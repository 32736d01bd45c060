//! What does a supervisor begin with?

use std::collections::VecDeque;

use sentinel::recovery::{self, Attempt, By, Outcome, Recovery, crashes};
use validator::Config;

use super::{
    ME,
    clock::{Clock, millis},
    event::Event,
    record::{AttemptRecord, Before},
};
use crate::{cli::Supervise, failure::Failure, files::Lock, output::Output};

pub(super) fn bounds(verb: &Supervise) -> recovery::Config {
    let (cooldown_ms, window_ms) = (millis(verb.cooldown), millis(verb.window));
    recovery::Config {
        attempts_max: usize::from(verb.attempts_max),
        window_ms,
        cooldown_ms,
        jitter_ms: cooldown_ms / 10,
        restart_max_ms: millis(verb.start_max).saturating_add(crashes::Config::default().pause_max_ms),
        // The watch is the first to see that it stands still, and says why.
        catch_up_max_ms: millis(verb.stuck_after).saturating_mul(2),
        responsive_max_ms: millis(verb.stuck_after).saturating_mul(2),
        trial_max_ms: millis(verb.stuck_after).saturating_mul(2),
        ..recovery::Config::default()
    }
}

pub(super) fn misfit(error: &recovery::ConfigError) -> Failure {
    Failure::usage(error.to_string(), "see the defaults: unsplit supervise --help")
}

/// Each supervisor has delays of its own: those that were felled together must not come back together.
pub(super) fn seed() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    let filled = getrandom::fill(&mut bytes);
    filled.map(|()| u64::from_le_bytes(bytes)).map_err(|error| Failure::unexpected(format!("no randomness: {error}")))
}

pub(super) fn take_lock(config: &Config) -> Result<Lock, Failure> {
    let data_dir = &config.data_dir;
    if !data_dir.is_dir() {
        let help = "`unsplit node init` makes one, with a new key; or name another with data_dir in node.toml";
        return Err(Failure::config(format!("there is no folder {}", data_dir.display()), help));
    }
    Lock::take(&data_dir.join("supervisor.lock"))?.ok_or_else(|| {
        let help = format!("look at {}", data_dir.join("supervisor.json").display());
        Failure::refused(format!("{} is supervised already", config.name), help)
    })
}

/// What an earlier supervisor knew: its events, and whether it had used all attempts.
pub(super) fn take_up(
    recovery: &mut Recovery,
    before: Before,
    clock: &Clock,
    output: Output,
) -> (VecDeque<Event>, bool) {
    let now_ms = clock.now_ms();
    match before {
        Before::Nothing => (VecDeque::new(), false),
        Before::Known(record) => {
            recovery.restore(ME, record.attempts.iter().map(AttemptRecord::attempt).collect(), now_ms);
            (record.history, record.state == "failed")
        }
        Before::Damaged(aside) => {
            // Fewer attempts than there may be is a nuisance; more would be a way to get fresh ones.
            let used = Attempt {
                by: By::Itself,
                began_ms: now_ms,
                ended: Some((now_ms, Outcome::Interrupted)),
                passes: 1,
                stages: Vec::new(),
            };
            recovery.restore(ME, vec![used; recovery.config().attempts_max], now_ms);
            output.talk(&format!("{} is damaged: all attempts count as used", aside.display()));
            (VecDeque::new(), false)
        }
    }
}
