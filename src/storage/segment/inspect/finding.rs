//! What an inspection finds, and what a repair does about it.

use std::path::PathBuf;

use crate::storage::segment::AbortedTransaction;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is wrong: a left-over, or what the next start settles by itself.
    Note,
    /// The bytes are not what a log in order has.
    Damage,
}

/// A change of the bytes of a `.log` file. Positions are those of the file as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The bytes from `from` to before `to` go to a side file.
    Cut { from: u64, to: u64 },
    /// The first 17 bytes of the batch at `position`, which no checksum covers, are replaced: its records are intact.
    Head { position: u64, bytes: [u8; 17] },
    /// A batch without records is appended, so that the log ends where it did: its offsets may have been read.
    Append(Vec<u8>),
}

impl Edit {
    /// First byte it is about.
    pub fn position(&self) -> u64 {
        match self {
            Edit::Cut { from, .. } => *from,
            Edit::Head { position, .. } => *position,
            Edit::Append(_) => u64::MAX,
        }
    }
}

/// What a repair does about a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Nothing,
    /// Changes the `.log` file of the segment with this base offset.
    Log {
        base: i64,
        edit: Edit,
    },
    /// Builds the offset and the time index of the segment anew.
    Indexes {
        base: i64,
    },
    /// Writes the segment's index of aborted transactions anew.
    Aborted {
        base: i64,
        entries: Vec<AbortedTransaction>,
    },
    /// Writes down anew what the indexes of aborted transactions hold.
    AbortedSums,
    /// Moves the file aside, as `<name>.damaged`: what it says is derived from the log, or from other files.
    SetAside,
    /// Writes `partition.metadata` with this topic id.
    TopicId([u8; 16]),
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub path: PathBuf,
    /// First byte it is about.
    pub position: Option<u64>,
    /// Offsets that are affected, first and last.
    pub offsets: Option<(i64, i64)>,
    pub what: String,
    pub action: Action,
}

impl Finding {
    pub(super) fn damage(path: PathBuf, what: impl Into<String>, action: Action) -> Finding {
        let (position, offsets) = (None, None);
        Finding { severity: Severity::Damage, path, position, offsets, what: what.into(), action }
    }

    pub(super) fn note(path: PathBuf, what: impl Into<String>) -> Finding {
        Finding { severity: Severity::Note, ..Finding::damage(path, what, Action::Nothing) }
    }

    pub(super) fn at(self, position: u64) -> Finding {
        Finding { position: Some(position), ..self }
    }

    pub(super) fn of(self, first: i64, last: i64) -> Finding {
        Finding { offsets: Some((first, last)), ..self }
    }

    /// What a repair does, in a few words.
    pub fn remedy(&self) -> String {
        match &self.action {
            Action::Nothing => "nothing is done".to_owned(),
            Action::Log { edit: Edit::Cut { from, to }, .. } => {
                format!("{} bytes are moved to a side file, their offsets stay unused", to - from)
            }
            Action::Log { edit: Edit::Head { .. }, .. } => {
                "the unprotected part of the header is corrected, the records stay".to_owned()
            }
            Action::Log { edit: Edit::Append(_), .. } => {
                "a batch without records is appended, so that no offset is used twice".to_owned()
            }
            Action::Indexes { .. } => "both indexes are built anew".to_owned(),
            Action::Aborted { .. } => "the index of aborted transactions is written anew".to_owned(),
            Action::AbortedSums => "the file is written anew from the .txnindex files".to_owned(),
            Action::SetAside => {
                "the file is set aside as .damaged and made anew by the next start".to_owned()
            }
            Action::TopicId(_) => "the file is written anew with the topic's id".to_owned(),
        }
    }
}
