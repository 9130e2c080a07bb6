//! `tidelog snapshot`: a copy of a data directory, from which a broker can be started.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::place;
use crate::control::snapshot::{self, Wanted};

#[derive(Debug, Args)]
pub(super) struct Snapshot {
    /// The data directory; the one that `tidelog serve` would use if it is not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The directory to make. It must be on the same file system, unless everything is copied.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Copy the records as well, instead of sharing them with the data directory: takes room and time, and can go to another
    /// file system.
    #[arg(long)]
    copy: bool,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

impl Snapshot {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let data = place::or_default(self.data)?;
        let to = std::path::absolute(&self.to).with_context(|| format!("{}", self.to.display()))?;
        let taken = snapshot::take(&data, &Wanted { to, copy: self.copy })?;
        if self.json {
            println!("{}", taken.to_json());
            return Ok(());
        }
        println!(
            "{}: {} partitions, {} bytes of records shared, {} bytes copied, in {} ms (nothing was held up for more than {} ms)",
            taken.to.display(),
            taken.partitions,
            taken.shared_bytes,
            taken.copied_bytes,
            taken.took.as_millis(),
            taken.held.as_millis(),
        );
        Ok(())
    }
}
