//! The data directory that a command is about.

use std::path::PathBuf;

use anyhow::bail;

use crate::config::{BrokerConfig, Sources};

/// The directory that was named, or else the one that `tidelog serve` uses in the same environment.
pub(super) fn or_default(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = named {
        return Ok(dir);
    }
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let sources = Sources { environment, ..Sources::default() };
    match <[PathBuf; 1]>::try_from(BrokerConfig::load(&sources)?.config.log_dirs) {
        Ok([dir]) => Ok(dir),
        Err(several) => bail!("log.dirs names {} directories: say which one with --data", several.len()),
    }
}
