//! The configuration of a validator, looked at without starting it.

use serde::Serialize;
use tracing_subscriber::EnvFilter;
use validator::Config;

use crate::{
    cli::{ConfigFile, ConfigVerb},
    failure::{Exit, Failure},
    output::Output,
};

#[derive(Serialize)]
struct Checked<'a> {
    schema: &'static str,
    config: &'a std::path::Path,
    ok: bool,
    name: &'a str,
    data_dir: &'a std::path::Path,
}

#[derive(Serialize)]
struct Default {
    schema: &'static str,
    toml: String,
}

pub(crate) fn run(verb: &ConfigVerb, output: Output) -> Result<Exit, Failure> {
    match verb {
        ConfigVerb::Check { config } => check(config, output),
        ConfigVerb::PrintDefault => {
            let toml = Config::default_toml();
            output.data(&toml, &Default { schema: "unsplit.config/1", toml: toml.clone() });
            Ok(Exit::Ok)
        }
    }
}

fn check(file: &ConfigFile, output: Output) -> Result<Exit, Failure> {
    let config = load(file)?;
    let (name, data_dir) = (config.name.as_str(), config.data_dir.as_path());
    let document = Checked { schema: "unsplit.config.check/1", config: &file.config, ok: true, name, data_dir };
    output.data(&format!("{}: fine ({name}, data in {})", file.config.display(), data_dir.display()), &document);
    Ok(Exit::Ok)
}

/// What the validator itself would load, and the log filter, which only this program can judge.
pub(crate) fn load(file: &ConfigFile) -> Result<Config, Failure> {
    let config = Config::load(&file.config, &file.sets)?;
    EnvFilter::try_new(&config.log.level).map_err(|error| {
        let level = &config.log.level;
        let help = "use error, warn, info, debug or trace, or a filter such as \"info,validator=debug\"";
        Failure::config(format!("{}: log.level ({level:?}): {error}", file.config.display()), help)
    })?;
    Ok(config)
}
