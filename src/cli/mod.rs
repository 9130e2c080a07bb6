//! What an operator types.

mod import;
mod json;
mod key;
mod log;
mod log_scope;
mod place;
mod serve;
mod snapshot;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A Kafka-wire-compatible event-streaming broker.
#[derive(Debug, Parser)]
#[command(name = "tidelog", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker until SIGINT or SIGTERM.
    Serve(serve::Serve),
    /// Look through the logs of a stopped broker, and repair them.
    Log(log::Log),
    /// Move in from another broker's data directory.
    Import(import::Import),
    /// Copy a data directory as of one moment, whether a broker runs on it or not.
    Snapshot(snapshot::Snapshot),
    /// Look at the latest record of a key.
    #[command(subcommand)]
    Key(key::Key),
}

/// Parses the process's arguments and runs the command.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Import(import) => import.run(),
        Command::Snapshot(snapshot) => snapshot.run(),
        Command::Key(key) => return key.run(),
        Command::Log(log) => return log.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidelog: {error:#}");
            ExitCode::FAILURE
        }
    }
}
