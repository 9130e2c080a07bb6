//! The snapshot of a data directory that no broker runs on.

use std::path::Path;
use std::time::{Duration, Instant};

use super::live::partitions;
use super::logs::{Logs, Staged, check_room};
use super::target::{Target, copy_tree, tree_bytes};
use super::{SnapshotError, Taken, Wanted};
use crate::metadata::MetadataImage;
use crate::metadata::store::{self, meta_properties};
use crate::partition::copy::CopyError;
use crate::storage::StateStore;
use crate::storage::rocks::RocksState;
use crate::storage::segment::checkpoint::{self, LOG_START_FILE, RECOVERY_POINT_FILE};
use crate::storage::segment::copy::{Copied, pin_closed};

/// Takes a snapshot, holding the directory's lock. After a stop that was not orderly the copy is what the crash left: the
/// start from it does the recovery, as a start of the directory itself does.
///
/// # Errors
/// [`SnapshotError`]; `InUse` when a broker holds the lock.
pub fn take(data_dir: &Path, wanted: &Wanted) -> Result<Taken, SnapshotError> {
    let began = Instant::now();
    let data_dir = &data_dir.canonicalize().map_err(SnapshotError::io("open", data_dir))?;
    for missing in [meta_properties::FILE_NAME, "state"] {
        if !data_dir.join(missing).exists() {
            return Err(SnapshotError::NoDataDir { path: data_dir.clone(), missing });
        }
    }
    let _lock = checkpoint::lock(data_dir)?.ok_or_else(|| SnapshotError::InUse(data_dir.clone()))?;
    let target = Target::prepare(&wanted.to, data_dir)?;
    let (partitions, copied) = if wanted.copy {
        let staging = Target::staging(data_dir)?;
        staging.try_linking(data_dir)?;
        let (partitions, Copied { shared_bytes, copied_bytes }) = collect(data_dir, staging.dir())?;
        check_room(target.dir(), tree_bytes(staging.dir())?, None)?;
        copy_tree(staging.dir(), target.dir(), &|| false)?;
        (partitions, Copied { shared_bytes: 0, copied_bytes: shared_bytes + copied_bytes })
    } else {
        target.try_linking(data_dir)?;
        collect(data_dir, target.dir())?
    };
    let to = target.publish()?;
    let Copied { shared_bytes, copied_bytes } = copied;
    Ok(Taken { to, partitions, shared_bytes, copied_bytes, held: Duration::ZERO, took: began.elapsed() })
}

fn collect(data_dir: &Path, to: &Path) -> Result<(usize, Copied), SnapshotError> {
    let is_clean = checkpoint::is_clean_shutdown(data_dir);
    let recovery_points = checkpoint::read_offsets(&data_dir.join(RECOVERY_POINT_FILE))?;
    let log_starts = checkpoint::read_offsets(&data_dir.join(LOG_START_FILE))?;
    let state = RocksState::open(&data_dir.join("state"))?;
    let properties =
        meta_properties::read(data_dir).map_err(|error| SnapshotError::Metadata(error.to_string()))?;
    let (cluster_id, node_id) =
        properties.map_or_else(Default::default, |read| (read.cluster_id, read.node_id));
    let image = store::load(&state, MetadataImage::empty(cluster_id, node_id))
        .map_err(|error| SnapshotError::Metadata(error.to_string()))?;
    let mut logs = Logs::new(data_dir, to);
    for (_, id) in partitions(&image) {
        let pinned = pin_closed(&data_dir.join(id.to_string()), &logs.dir(&id)).map_err(|error| {
            SnapshotError::Partition { partition: id.to_string(), error: CopyError::Storage(error) }
        })?;
        let key = (id.topic.to_string(), id.index);
        let offset = |of: &checkpoint::Offsets| of.get(&key).copied().unwrap_or(0);
        let mut staged = Staged::whole(id.topic.clone(), pinned, offset(&log_starts));
        if !is_clean {
            let durable = offset(&recovery_points);
            staged.shared_below = durable;
            staged.recovery_point = durable.min(staged.pinned.last);
        }
        logs.staged.insert((id.topic_id, id.index), staged);
    }
    state.checkpoint(&to.join("state"), &mut || ())?;
    state.close()?;
    logs.check_room(None)?;
    let copied = logs.finish(&|| false)?;
    logs.write_files(data_dir)?;
    Ok((logs.staged.len(), copied))
}
