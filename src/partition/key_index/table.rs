//! The newest offset of each key in a part of a log, in memory: what the cleaner works from where no index is kept
//! (`Cleaner.buildOffsetMap`).

use std::ops::{ControlFlow, Range};

use super::access::read_into;
use super::catch_up::{CatchUp, CatchUpError};
use super::run::{BatchDamage, Fed, RunBuilder};
use crate::partition::handle::Partition;
use crate::record::Batches;
use crate::storage::key_index::{KeyHasher, OffsetMap};
use crate::storage::segment::ReadError;

/// Reads the keys of `range` into a table of at most `settings.run_bytes`. Returns it with the offset below which it is
/// complete, which is above the start of the range: the table may be full earlier than at its end. `None` if `go_on` ended
/// the work.
///
/// # Errors
/// [`CatchUpError`].
pub fn fill_table(
    partition: &Partition,
    range: Range<i64>,
    settings: &CatchUp,
    go_on: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<(OffsetMap, i64)>, CatchUpError> {
    let CatchUp { run_bytes, load_factor, read_bytes, decompressed_max, .. } = *settings;
    let mut builder = RunBuilder::new(KeyHasher::random(), run_bytes, load_factor, decompressed_max);
    let (mut at, mut buffer) = (range.start, Vec::new());
    while at < range.end {
        let Some(read) = partition.read_for_index(at, read_bytes, range.end)? else { break };
        read_into(&read.slice, &mut buffer).map_err(ReadError::from)?;
        let mut batches = Batches::new(&buffer);
        loop {
            let position = read.slice.position + batches.position() as u64;
            let Some(batch) = batches.next() else { break };
            let fed = batch.map_err(BatchDamage::from).and_then(|(header, batch)| {
                builder.feed(&header, batch, at, &read.aborted).map(|fed| (fed, header.last_offset() + 1))
            });
            match fed {
                Ok((Fed::Whole, next)) => at = at.max(next),
                // Room for one key is always there.
                Ok((Fed::Below(full), _)) => return Ok(Some((builder.into_table(), full))),
                Err(source) => {
                    let path = read.slice.file.path();
                    return Err(CatchUpError::Damaged { offset: at, path, position, source });
                }
            }
        }
        at = at.max(read.slice.next_offset.min(range.end));
        if go_on(buffer.len()).is_break() {
            return Ok(None);
        }
    }
    Ok(Some((builder.into_table(), range.end)))
}
