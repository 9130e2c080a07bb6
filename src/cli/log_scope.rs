//! The logs of one data directory, and what is known of each from elsewhere: checkpoints, topics, the mark of an orderly stop.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail};
use parking_lot::Mutex;

use crate::config::BrokerConfig;
use crate::import::IMPORT_MARK;
use crate::metadata::MetadataImage;
use crate::metadata::store::{self, meta_properties};
use crate::partition::producer_snapshot;
use crate::storage::StateStore;
use crate::storage::rocks::RocksState;
use crate::storage::segment::StorageErrorKind;
use crate::storage::segment::checkpoint::{
    self, CLEANER_OFFSET_FILE, LOG_START_FILE, Offsets, RECOVERY_POINT_FILE,
};
use crate::storage::segment::inspect::{Action, Facts, Finding, Inspected, Severity, inspect, repair};

/// Logs looked at at a time.
const THREADS: usize = 2;
/// Each repair may bring to light what the damage hid.
const ROUNDS_MAX: usize = 5;

/// A finding, and the partition it is of; nothing for the data directory itself.
pub(super) struct Found {
    pub partition: String,
    pub finding: Finding,
}

/// What was seen of all logs.
#[derive(Default)]
pub(super) struct Seen {
    pub found: Vec<Found>,
    pub partitions: u64,
    pub segments: u64,
    pub batches: u64,
    pub bytes: u64,
}

impl Seen {
    pub(super) fn is_damaged(&self) -> bool {
        self.found.iter().any(|found| found.finding.severity == Severity::Damage)
    }
}

/// A data directory that no broker runs on.
pub(super) struct Scope {
    data_dir: PathBuf,
    names: Vec<(String, i32)>,
    topic_ids: HashMap<String, [u8; 16]>,
    recovery_points: Offsets,
    log_starts: Offsets,
    cleaned: Offsets,
    is_clean: bool,
    max_unfolded: usize,
    index_interval: u32,
    topic: Option<String>,
    partition: Option<i32>,
    /// Of the data directory as a whole.
    findings: Vec<Finding>,
    /// Held for its lock.
    _lock: File,
}

impl Scope {
    pub(super) fn open(
        data_dir: &Path,
        config: &BrokerConfig,
        topic: Option<&str>,
        partition: Option<i32>,
    ) -> anyhow::Result<Scope> {
        if !data_dir.join(".lock").exists() {
            bail!("{} is no data directory of a broker", data_dir.display());
        }
        if data_dir.join(IMPORT_MARK).exists() {
            bail!("{} is half imported: repeat `tidelog import kafka`", data_dir.display());
        }
        let Some(lock) = checkpoint::lock(data_dir)? else {
            bail!("a broker is running on {}: stop it first", data_dir.display());
        };
        let mut scope = Scope {
            data_dir: data_dir.to_owned(),
            names: Vec::new(),
            topic_ids: HashMap::new(),
            recovery_points: Offsets::new(),
            log_starts: Offsets::new(),
            cleaned: Offsets::new(),
            is_clean: false,
            max_unfolded: config.max_decompressed_bytes,
            index_interval: config.topic_defaults.index_interval_bytes,
            topic: topic.map(str::to_owned),
            partition,
            findings: Vec::new(),
            _lock: lock,
        };
        scope.look_around()?;
        Ok(scope)
    }

    /// The same logs, with what is known of them read anew.
    pub(super) fn again(self) -> anyhow::Result<Scope> {
        let mut scope = Scope { names: Vec::new(), findings: Vec::new(), topic_ids: HashMap::new(), ..self };
        scope.look_around()?;
        Ok(scope)
    }

    fn look_around(&mut self) -> anyhow::Result<()> {
        self.is_clean = checkpoint::is_clean_shutdown(&self.data_dir);
        self.recovery_points = self.offsets(RECOVERY_POINT_FILE)?;
        self.log_starts = self.offsets(LOG_START_FILE)?;
        self.cleaned = self.offsets(CLEANER_OFFSET_FILE)?;
        let image = self.topics();
        for entry in fs::read_dir(&self.data_dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((topic, index)) = name.to_str().and_then(|name| name.rsplit_once('-')) else { continue };
            let Ok(index) = index.parse::<i32>() else { continue };
            if topic.is_empty() || !entry.path().is_dir() || !self.is_wanted(topic, index) {
                continue;
            }
            let is_known =
                |image: &MetadataImage| image.topic(topic).is_some_and(|known| index < known.partitions);
            if image.as_ref().is_some_and(|image| !is_known(image)) {
                self.note(
                    entry.path(),
                    "it belongs to no topic; the next start sets it aside",
                    Severity::Note,
                );
            }
            self.names.push((topic.to_owned(), index));
        }
        self.names.sort();
        for topic in image.iter().flat_map(MetadataImage::topics) {
            self.topic_ids.insert(topic.name.to_string(), *topic.id.as_bytes());
            let wanted = (0..topic.partitions).filter(|index| self.is_wanted(&topic.name, *index));
            for index in wanted.collect::<Vec<_>>() {
                if self.names.binary_search(&(topic.name.to_string(), index)).is_err() {
                    let path = self.data_dir.join(format!("{}-{index}", topic.name));
                    self.note(path, "the directory is missing", Severity::Damage);
                }
            }
        }
        if let Some(topic) = &self.topic
            && self.names.is_empty()
            && self.findings.is_empty()
        {
            bail!("there is no log of topic {topic} in {}", self.data_dir.display());
        }
        Ok(())
    }

    fn is_wanted(&self, topic: &str, index: i32) -> bool {
        self.topic.as_ref().is_none_or(|wanted| wanted == topic)
            && self.partition.is_none_or(|wanted| wanted == index)
    }

    fn note(&mut self, path: PathBuf, what: &str, severity: Severity) {
        self.findings.push(finding(path, what, severity));
    }

    /// A checkpoint; a damaged one counts as empty.
    fn offsets(&mut self, file: &str) -> anyhow::Result<Offsets> {
        let path = self.data_dir.join(file);
        match checkpoint::read_offsets(&path) {
            Err(error) if error.kind() == StorageErrorKind::Corrupt => {
                let finding = finding(path, &error.to_string(), Severity::Damage);
                self.findings.push(Finding { action: Action::SetAside, ..finding });
                Ok(Offsets::new())
            }
            read => Ok(read?),
        }
    }

    /// The topics, if the state store can be read.
    fn topics(&mut self) -> Option<MetadataImage> {
        let path = self.data_dir.join("state");
        let written = meta_properties::read(&self.data_dir);
        if let Err(error) = &written {
            let file = self.data_dir.join(meta_properties::FILE_NAME);
            let found = finding(file, &error.to_string(), Severity::Damage);
            self.findings.push(Finding { action: Action::SetAside, ..found });
        }
        if !path.join("CURRENT").exists() {
            return None;
        }
        let read = RocksState::open(&path).map_err(|error| error.to_string()).and_then(|state| {
            let image = store::load(&state, MetadataImage::empty("", 0)).map_err(|error| error.to_string());
            state.close().map_err(|error| error.to_string())?;
            image
        });
        match read {
            Ok(image) => Some(image),
            Err(error) => {
                self.note(path, &error, Severity::Damage);
                None
            }
        }
    }

    fn facts(&self, topic: &str, index: i32) -> Facts<'static> {
        let of = |offsets: &Offsets| offsets.get(&(topic.to_owned(), index)).copied().unwrap_or(0);
        Facts {
            recovery_point: of(&self.recovery_points),
            log_start: of(&self.log_starts),
            cleaned: of(&self.cleaned),
            is_clean: self.is_clean,
            topic_id: self.topic_ids.get(topic).copied(),
            max_unfolded: self.max_unfolded,
            check_snapshot: &check_snapshot,
        }
    }

    /// Looks through all logs.
    pub(super) fn inspect(&self, progress: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Seen> {
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<(usize, anyhow::Result<Inspected>)>> = Mutex::default();
        std::thread::scope(|threads| {
            for _ in 0..THREADS {
                threads.spawn(|| {
                    while let number = next.fetch_add(1, Ordering::Relaxed)
                        && let Some((topic, index)) = self.names.get(number)
                    {
                        let name = format!("{topic}-{index}");
                        progress(&format!("{name} ({} of {})", number + 1, self.names.len()));
                        let seen = inspect(&self.data_dir.join(&name), &self.facts(topic, *index));
                        results.lock().push((number, seen.with_context(|| name)));
                    }
                });
            }
        });
        let mut results = results.into_inner();
        results.sort_by_key(|(number, _)| *number);
        let mut seen = Seen::default();
        let own = self.findings.iter().cloned();
        seen.found.extend(own.map(|finding| Found { partition: String::new(), finding }));
        for (number, inspected) in results {
            let inspected = inspected?;
            seen.partitions += 1;
            seen.segments += inspected.segments;
            seen.batches += inspected.batches;
            seen.bytes += inspected.bytes;
            let partition =
                self.names.get(number).map_or(String::new(), |(topic, index)| format!("{topic}-{index}"));
            let of = |finding| Found { partition: partition.clone(), finding };
            seen.found.extend(inspected.findings.into_iter().map(of));
        }
        Ok(seen)
    }

    /// Repairs what was found; returns the files that were kept. The next start verifies the logs, whatever the last stop was.
    pub(super) fn repair(
        &self,
        seen: &Seen,
        progress: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<Vec<PathBuf>> {
        // First of all: an interruption must not leave a changed log that is trusted.
        checkpoint::take_clean_shutdown(&self.data_dir)?;
        let mut kept = repair(&self.data_dir, &self.findings, self.index_interval)?;
        for (topic, index) in &self.names {
            let name = format!("{topic}-{index}");
            let path = self.data_dir.join(&name);
            let mut findings: Vec<Finding> = seen
                .found
                .iter()
                .filter(|found| found.partition == name)
                .map(|found| found.finding.clone())
                .collect();
            for _ in 0..ROUNDS_MAX {
                if !findings.iter().any(|finding| finding.severity == Severity::Damage) {
                    break;
                }
                progress(&format!("repairing {name}"));
                kept.extend(repair(&path, &findings, self.index_interval)?);
                findings = inspect(&path, &self.facts(topic, *index))?.findings;
            }
        }
        Ok(kept)
    }
}

fn finding(path: PathBuf, what: &str, severity: Severity) -> Finding {
    Finding { severity, path, position: None, offsets: None, what: what.to_owned(), action: Action::Nothing }
}

fn check_snapshot(bytes: &[u8]) -> Result<(), String> {
    producer_snapshot::decode(bytes, 0).map(drop).map_err(|error| error.to_string())
}
