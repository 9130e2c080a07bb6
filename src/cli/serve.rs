//! `tidelog serve`: load the configuration, start the broker, wait for a signal.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::place;
use crate::broker::Broker;
use crate::config::{BrokerConfig, Loaded, Sources};
use crate::telemetry;

/// Worker threads at most: on small machines one per core, and no more where more would only add memory.
const WORKERS_MAX: usize = 8;
/// Stack of a worker or blocking thread, bytes. Only touched pages cost memory.
const STACK_BYTES: usize = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// A server.properties file with Kafka's own keys.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, over the file and the KAFKA_* environment. May be repeated.
    #[arg(long = "override", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected key=value")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        telemetry::logging::init();
        telemetry::memory::tune_allocator();
        let properties = match &self.config {
            Some(path) => Some(
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
            ),
            None => None,
        };
        let environment = place::environment();
        let Loaded { config, inert_named } =
            BrokerConfig::load(&Sources { properties, environment, overrides: self.overrides })?;
        for line in inert_named {
            warn!("{line}");
        }
        let workers = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, WORKERS_MAX);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        runtime.block_on(serve(config))
    }
}

async fn serve(config: BrokerConfig) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let broker = Broker::start(config).await?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    info!("stopping: finishing requests, then flushing; a second signal exits at once");
    tokio::select! {
        () = broker.stop() => info!("stopped"),
        _ = interrupt.recv() => hard_exit(),
        _ = terminate.recv() => hard_exit(),
    }
    Ok(())
}

/// Leaves without the clean-shutdown mark: the next start verifies the logs.
fn hard_exit() -> ! {
    warn!("second signal: exiting at once; the next start will verify the logs");
    std::process::exit(130)
}
