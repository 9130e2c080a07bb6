//! The snapshot of a running broker.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::logs::{Logs, Staged, check_room};
use super::target::{Target, copy_tree, tree_bytes};
use super::{SnapshotError, Taken, Wanted};
use crate::api::services::Services;
use crate::metadata::{MetadataImage, Topic};
use crate::partition::copy::{CopyError, Cut};
use crate::partition::{Partition, PartitionId};
use crate::storage::StateStore;
use crate::storage::segment::copy::{Copied, Pinned, pin_closed};

/// A last segment above this size is sealed before it is pinned, so that no more than this, and what is appended until the
/// cut, has to be copied of a log. Smaller ones are not: a snapshot every minute is not to leave a segment every minute.
const ROLL_ABOVE_BYTES: u64 = 1 << 20;

/// Takes a snapshot. Blocks, as long as it takes; ends early when `stopping` says so. Only one may be taken at a time.
///
/// # Errors
/// [`SnapshotError`].
pub fn take(
    services: &Services,
    state: &dyn StateStore,
    wanted: &Wanted,
    stopping: &dyn Fn() -> bool,
) -> Result<Taken, SnapshotError> {
    let began = Instant::now();
    let data_dir = services.partitions.data_dir();
    let target = Target::prepare(&wanted.to, data_dir)?;
    let live = Live { services, state, stopping };
    let collected = if wanted.copy {
        // What is shared holds still while it is copied.
        let staging = Target::staging(data_dir)?;
        staging.try_linking(data_dir)?;
        let collected = live.collect(staging.dir())?;
        check_room(target.dir(), tree_bytes(staging.dir())?, None)?;
        copy_tree(staging.dir(), target.dir(), stopping)?;
        let Copied { shared_bytes, copied_bytes } = collected.copied;
        Collected {
            copied: Copied { shared_bytes: 0, copied_bytes: shared_bytes + copied_bytes },
            ..collected
        }
    } else {
        target.try_linking(data_dir)?;
        live.collect(target.dir())?
    };
    let to = target.publish()?;
    let Collected { partitions, held, copied: Copied { shared_bytes, copied_bytes } } = collected;
    Ok(Taken { to, partitions, shared_bytes, copied_bytes, held, took: began.elapsed() })
}

struct Collected {
    partitions: usize,
    held: Duration,
    copied: Copied,
}

struct Live<'a> {
    services: &'a Services,
    state: &'a dyn StateStore,
    stopping: &'a dyn Fn() -> bool,
}

impl Live<'_> {
    /// Fills a directory with everything a snapshot consists of.
    fn collect(&self, to: &Path) -> Result<Collected, SnapshotError> {
        let data_dir = self.services.partitions.data_dir();
        let mut logs = Logs::new(data_dir, to);
        self.pin_all(&mut logs)?;
        let held = self.cut(&mut logs, &to.join("state"))?;
        logs.check_room(self.services.config.disk_reserve_bytes)?;
        let copied = logs.finish(self.stopping)?;
        logs.write_files(data_dir)?;
        Ok(Collected { partitions: logs.staged.len(), held, copied })
    }

    /// Pins all logs beforehand. Topics come and go meanwhile.
    fn pin_all(&self, logs: &mut Logs) -> Result<(), SnapshotError> {
        let image = self.services.image();
        for (topic, id) in partitions(&image) {
            if (self.stopping)() {
                return Err(SnapshotError::Stopping);
            }
            match self.pin(logs, topic, &id) {
                // Its topic was deleted; that is looked at once more when nothing can be deleted.
                Err(_) if self.services.image().topic_by_id(topic.id).is_none() => logs.clear(&id)?,
                pinned => pinned?,
            }
        }
        Ok(())
    }

    /// Cuts everything at one moment. Returns how long that held anybody up.
    fn cut(&self, logs: &mut Logs, state_to: &Path) -> Result<Duration, SnapshotError> {
        let _unchanged = self.services.controller.hold();
        let began = Instant::now();
        let image = self.services.image();
        let gone: Vec<(Uuid, i32)> =
            logs.staged.keys().copied().filter(|(topic, _)| image.topic_by_id(*topic).is_none()).collect();
        for key in gone {
            logs.forget(key)?;
        }
        // What came since, and what began a segment since, is dealt with before writes of the state store are held up.
        for (topic, id) in partitions(&image) {
            let key = (id.topic_id, id.index);
            let is_pinned = logs.staged.get(&key).is_some_and(|staged| {
                let open = self.services.partitions.opened(topic.id, id.index);
                open.is_none_or(|open| open.cut().is_ok_and(|cut| cut.last == staged.pinned.last))
            });
            if !is_pinned {
                self.pin(logs, topic, &id)?;
            }
        }
        // From here on nothing may be opened: whoever opens a log may have to write to the state store, and waits.
        let mut outcome = Ok(());
        self.state.checkpoint(state_to, &mut || outcome = self.cut_logs(logs))?;
        outcome?;
        Ok(began.elapsed())
    }

    fn cut_logs(&self, logs: &mut Logs) -> Result<(), SnapshotError> {
        for ((topic_id, index), staged) in &mut logs.staged {
            // What is not open ends where it did when it was pinned.
            let Some(open) = self.services.partitions.opened(*topic_id, *index) else { continue };
            let cut = self.cut_log(&open, &mut staged.pinned).map_err(|error| failed(open.id(), error))?;
            staged.last_bytes = cut.last_bytes;
            staged.log_start_offset = cut.log_start_offset;
            staged.recovery_point = cut.last;
        }
        Ok(())
    }

    fn cut_log(&self, open: &Arc<Partition>, pinned: &mut Pinned) -> Result<Cut, CopyError> {
        loop {
            let cut = open.cut()?;
            if cut.last == pinned.last {
                return Ok(cut);
            }
            // A segment was begun at this very moment.
            *pinned = open.pin(&pinned.to, u64::MAX, self.services.now_ms())?;
        }
    }

    fn pin(&self, logs: &mut Logs, topic: &Topic, id: &PartitionId) -> Result<(), SnapshotError> {
        let staged = self.pinned(logs, topic, id).map_err(|error| failed(id, error))?;
        logs.staged.insert((id.topic_id, id.index), staged);
        Ok(())
    }

    fn pinned(&self, logs: &Logs, topic: &Topic, id: &PartitionId) -> Result<Staged, CopyError> {
        let (partitions, to) = (&self.services.partitions, logs.dir(id));
        // After an unclean stop only opening a log tells what of it is whole.
        if partitions.was_clean()
            && let Some(pinned) = partitions.while_closed(id, |from| pin_closed(from, &to))
        {
            let pinned = pinned?;
            if pinned.last_bytes <= ROLL_ABOVE_BYTES {
                let start = partitions.checkpoint_at_start(&id.topic, id.index).log_start_offset;
                return Ok(Staged::whole(id.topic.clone(), pinned, start));
            }
        }
        let open = self.services.open_partition(topic, id.index);
        let open = open.map_err(|error| CopyError::Offline(error.to_string()))?;
        let pinned = open.pin(&to, ROLL_ABOVE_BYTES, self.services.now_ms())?;
        Ok(Staged::whole(id.topic.clone(), pinned, open.log_start_offset()))
    }
}

fn failed(id: &PartitionId, error: CopyError) -> SnapshotError {
    SnapshotError::Partition { partition: id.to_string(), error }
}

/// All partitions of an image.
pub(super) fn partitions(image: &MetadataImage) -> impl Iterator<Item = (&Arc<Topic>, PartitionId)> {
    image.topics().flat_map(|topic| {
        (0..topic.partitions)
            .map(move |index| (topic, PartitionId { topic: topic.name.clone(), topic_id: topic.id, index }))
    })
}
