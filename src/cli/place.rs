//! Which data directory a command works on: named by itself, or by the broker's configuration.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::config::{BrokerConfig, Sources};

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Place {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A server.properties file; log.dirs in it names the data directory, unless --data does.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    /// The data directory, and the settings of the broker that runs on it: as `serve` would find them.
    pub(super) fn find(&self) -> anyhow::Result<(PathBuf, BrokerConfig)> {
        let properties = match &self.config {
            Some(path) => Some(
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
            ),
            None => None,
        };
        let environment = environment();
        let mut overrides = Vec::new();
        if let Some(data) = &self.data {
            let data = data.to_str().context("the data directory's name is not UTF-8")?;
            overrides.push(("log.dirs".to_owned(), data.to_owned()));
        }
        let config = BrokerConfig::load(&Sources { properties, environment, overrides })?.config;
        match config.log_dirs.as_slice() {
            [path] => Ok((path.clone(), config)),
            several => anyhow::bail!("log.dirs names {} directories; one is served", several.len()),
        }
    }
}

/// The directory that was named, or else the one that `tidelog serve` uses in the same environment.
pub(super) fn or_default(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = named {
        return Ok(dir);
    }
    let sources = Sources { environment: environment(), ..Sources::default() };
    match <[PathBuf; 1]>::try_from(BrokerConfig::load(&sources)?.config.log_dirs) {
        Ok([dir]) => Ok(dir),
        Err(several) => {
            anyhow::bail!("log.dirs names {} directories: say which one with --data", several.len())
        }
    }
}

/// The variables of this process that are text.
pub(super) fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
