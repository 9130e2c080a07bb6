//! The log on disk: directories, retention, rolling, flushing, cleaning.
//!
//! One row per key: type, default, permitted values, what it does here => what it means.

use super::Effect::{Acts, Inert};
use super::KeyDef;
use super::reasons::{CHECKPOINT, JITTER, JVM, ONE, PREALLOC, TIER};
use crate::config::validate::Check::{Any, AtLeast, Between, BetweenOr, Fraction, OneOf, SubsetOf};
use crate::config::validate::types::ValueType::{Boolean, Double, Int, List, Long, String as Text};

super::keys! {
    /// Broker keys of this area.
    pub(super) static KEYS;
    shown "log.dir": List = None, Any, Acts
        => "One directory for data, used when log.dirs is not given.";
    shown "log.dirs": List = Some("./data"), Any, Acts
        => "The directories that hold the data, separated by commas.";
    shown "cordoned.log.dirs": List = Some(""), Any, Inert(ONE)
        => "Data directories that get no new partitions.";
    shown "log.dir.failure.timeout.ms": Long = Some("30000"), AtLeast(1), Inert(ONE)
        => "How long the controller may be out of reach before a failed data directory stops the node, in milliseconds.";
    shown "log.retention.ms": Long = None, Any, Acts
        => "How long records are kept, in milliseconds; -1 for ever.";
    shown "log.retention.minutes": Int = None, Any, Acts
        => "How long records are kept, in minutes, when log.retention.ms is not given.";
    shown "log.retention.hours": Int = Some("168"), Any, Acts
        => "How long records are kept, in hours, when neither milliseconds nor minutes are given.";
    shown "log.retention.bytes": Long = Some("-1"), Any, Acts
        => "How large a partition may grow before its oldest segments are deleted; -1 for no bound.";
    shown "log.retention.check.interval.ms": Long = Some("300000"), AtLeast(1), Acts
        => "How often segments are examined for deletion, in milliseconds.";
    hidden "log.initial.task.delay.ms": Long = Some("30000"), AtLeast(0), Inert(JVM)
        => "How long housekeeping waits after the start, in milliseconds.";
    shown "log.segment.bytes": Int = Some("1073741824"), AtLeast(1048576), Acts
        => "The size at which a segment is closed and the next one started.";
    shown "log.segment.delete.delay.ms": Long = Some("60000"), AtLeast(0), Acts
        => "How long a deleted segment stays on disk for readers that still use it, in milliseconds.";
    shown "log.roll.ms": Long = None, Any, Acts
        => "The age at which a segment is closed even when it is not full, in milliseconds.";
    shown "log.roll.hours": Int = Some("168"), AtLeast(1), Acts
        => "The age at which a segment is closed, in hours, when log.roll.ms is not given.";
    shown "log.roll.jitter.ms": Long = None, Any, Inert(JITTER)
        => "A random part taken off a segment's age limit, in milliseconds.";
    shown "log.roll.jitter.hours": Int = Some("0"), AtLeast(0), Inert(JITTER)
        => "A random part taken off a segment's age limit, in hours.";
    shown "log.index.interval.bytes": Int = Some("4096"), AtLeast(0), Acts
        => "How many bytes of records lie between two entries of the offset index.";
    shown "log.index.size.max.bytes": Int = Some("10485760"), AtLeast(4), Acts
        => "The largest size of one index file.";
    shown "log.preallocate": Boolean = Some("false"), Any, Inert(PREALLOC)
        => "Reserves a segment's full size on disk when it is created.";
    shown "log.flush.interval.messages": Long = Some("1"), AtLeast(1), Acts
        => "How many records may be written before they are forced to disk; 1 means that what is acknowledged survives a power cut.";
    shown "log.flush.interval.ms": Long = None, Any, Acts
        => "The longest time a record may stay unforced, in milliseconds.";
    shown "log.flush.scheduler.interval.ms": Long = Some("9223372036854775807"), Any, Acts
        => "Stands in for log.flush.interval.ms when that is not given.";
    shown "log.flush.offset.checkpoint.interval.ms": Int = Some("60000"), AtLeast(0), Acts
        => "How often the offsets known to be on disk are written down, in milliseconds; they shorten recovery.";
    shown "log.flush.start.offset.checkpoint.interval.ms": Int = Some("60000"), AtLeast(0), Inert(CHECKPOINT)
        => "How often the first offset of each log is written down, in milliseconds.";
    shown "num.recovery.threads.per.data.dir": Int = Some("2"), AtLeast(1), Acts
        => "How many threads per data directory verify logs at start.";
    shown "log.cleanup.policy": List = Some("delete"), SubsetOf(&["compact", "delete"]), Acts
        => "What happens to old segments: delete, compact, or both.";
    shown "log.cleaner.enable": Boolean = Some("true"), Any, Acts
        => "Runs the log cleaner.";
    shown "log.cleaner.threads": Int = Some("1"), AtLeast(0), Acts
        => "Threads that compact logs.";
    shown "log.cleaner.backoff.ms": Long = Some("15000"), AtLeast(0), Acts
        => "How long the cleaner rests when nothing is dirty, in milliseconds.";
    shown "log.cleaner.dedupe.buffer.size": Long = Some("134217728"), Any, Acts
        => "Memory for the cleaner's key map, in bytes.";
    shown "log.cleaner.delete.retention.ms": Long = Some("86400000"), AtLeast(0), Acts
        => "How long a deletion marker survives compaction, in milliseconds.";
    shown "log.cleaner.io.buffer.load.factor": Double = Some("0.9"), Any, Acts
        => "How full the cleaner's key map may get.";
    shown "log.cleaner.io.buffer.size": Int = Some("524288"), AtLeast(0), Acts
        => "Memory for the cleaner's reads and writes, in bytes.";
    shown "log.cleaner.io.max.bytes.per.second": Double = Some("1.7976931348623157E308"), Any, Acts
        => "How fast the cleaner may read and write together, in bytes per second.";
    shown "log.cleaner.max.compaction.lag.ms": Long = Some("9223372036854775807"), AtLeast(1), Acts
        => "The longest time a record may stay uncompacted, in milliseconds.";
    shown "log.cleaner.min.cleanable.ratio": Double = Some("0.5"), Fraction(0.0, 1.0), Acts
        => "The share of dirty bytes at which a log is worth compacting.";
    shown "log.cleaner.min.compaction.lag.ms": Long = Some("0"), AtLeast(0), Acts
        => "The shortest time a record stays uncompacted, in milliseconds.";
    shown "log.message.timestamp.type": Text = Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), Acts
        => "Whether a record carries the time its producer gave or the time it was appended.";
    shown "log.message.timestamp.before.max.ms": Long = Some("9223372036854775807"), AtLeast(0), Acts
        => "How far in the past a producer's timestamp may lie, in milliseconds.";
    shown "log.message.timestamp.after.max.ms": Long = Some("3600000"), AtLeast(0), Acts
        => "How far in the future a producer's timestamp may lie, in milliseconds.";
    shown "message.max.bytes": Int = Some("1048588"), AtLeast(0), Acts
        => "The largest record batch accepted, in bytes as sent (compressed).";
    shown "compression.type": Text = Some("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Acts
        => "The codec batches are stored with; producer keeps the one they came with.";
    shown "compression.gzip.level": Int = Some("-1"), BetweenOr(1, 9, -1), Acts
        => "The effort of gzip when the broker compresses.";
    shown "compression.lz4.level": Int = Some("9"), Between(1, 17), Acts
        => "The effort of lz4 when the broker compresses.";
    shown "compression.zstd.level": Int = Some("3"), Between(-131072, 22), Acts
        => "The effort of zstd when the broker compresses.";
    shown "min.insync.replicas": Int = Some("1"), AtLeast(1), Acts
        => "How many replicas must hold a write that asks for all; above one a single node must refuse such writes.";
    shown "producer.id.expiration.ms": Int = Some("86400000"), AtLeast(1), Acts
        => "How long a silent producer's sequence numbers are remembered, in milliseconds.";
    hidden "producer.id.expiration.check.interval.ms": Int = Some("600000"), AtLeast(1), Inert(JVM)
        => "How often forgotten producers are swept, in milliseconds.";
    shown "log.local.retention.bytes": Long = Some("-2"), AtLeast(-2), Inert(TIER)
        => "How many bytes stay on local disk once older segments are in remote storage.";
    shown "log.local.retention.ms": Long = Some("-2"), AtLeast(-2), Inert(TIER)
        => "How long segments stay on local disk once they are in remote storage, in milliseconds.";
}
