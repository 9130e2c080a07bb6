//! Tiered storage.
//!
//! One row per key: type, default, permitted values, what it does here => what it means.

use super::Effect::Inert;
use super::KeyDef;
use super::reasons::{PLUG, TIER};
use crate::config::validate::Check::{Any, AtLeast, Fraction, NonEmpty};
use crate::config::validate::types::ValueType::{Boolean, Double, Int, Long, String as Text};

super::keys! {
    /// Broker keys of this area.
    pub(super) static KEYS;
    shown "follower.fetch.last.tiered.offset.enable": Boolean = Some("false"), Any, Inert(TIER)
        => "Lets an empty follower start at the last offset held remotely.";
    shown "remote.fetch.max.wait.ms": Int = Some("500"), AtLeast(1), Inert(TIER)
        => "How long a fetch waits on remote storage, in milliseconds.";
    shown "remote.list.offsets.request.timeout.ms": Long = Some("30000"), AtLeast(1), Inert(TIER)
        => "How long looking up offsets in remote storage may take, in milliseconds.";
    shown "remote.log.index.file.cache.total.size.bytes": Long = Some("1073741824"), AtLeast(1), Inert(TIER)
        => "Local disk for indexes fetched from remote storage, in bytes.";
    hidden "remote.log.index.file.cache.ttl.ms": Long = Some("900000"), AtLeast(-1), Inert(TIER)
        => "How long an unused index from remote storage is kept, in milliseconds.";
    shown "remote.log.manager.copier.thread.pool.size": Int = Some("10"), AtLeast(1), Inert(TIER)
        => "Threads that copy segments out.";
    shown "remote.log.manager.copy.max.bytes.per.second": Long = Some("9223372036854775807"), AtLeast(1), Inert(TIER)
        => "How fast segments are copied out, in bytes per second.";
    shown "remote.log.manager.copy.quota.window.num": Int = Some("11"), AtLeast(1), Inert(TIER)
        => "How many samples the copy quota looks back on.";
    shown "remote.log.manager.copy.quota.window.size.seconds": Int = Some("1"), AtLeast(1), Inert(TIER)
        => "The length of one sample of the copy quota, in seconds.";
    shown "remote.log.manager.expiration.thread.pool.size": Int = Some("10"), AtLeast(1), Inert(TIER)
        => "Threads that delete expired remote segments.";
    shown "remote.log.manager.fetch.max.bytes.per.second": Long = Some("9223372036854775807"), AtLeast(1), Inert(TIER)
        => "How fast segments are read back, in bytes per second.";
    shown "remote.log.manager.fetch.quota.window.num": Int = Some("11"), AtLeast(1), Inert(TIER)
        => "How many samples the read-back quota looks back on.";
    shown "remote.log.manager.fetch.quota.window.size.seconds": Int = Some("1"), AtLeast(1), Inert(TIER)
        => "The length of one sample of the read-back quota, in seconds.";
    shown "remote.log.manager.follower.thread.pool.size": Int = Some("2"), AtLeast(1), Inert(TIER)
        => "Threads that follow remote state for partitions led elsewhere.";
    shown "remote.log.manager.task.interval.ms": Long = Some("30000"), AtLeast(1), Inert(TIER)
        => "How often remote copying and expiry run, in milliseconds.";
    hidden "remote.log.manager.task.retry.backoff.max.ms": Long = Some("30000"), AtLeast(1), Inert(TIER)
        => "The longest pause before a remote task is tried again, in milliseconds.";
    hidden "remote.log.manager.task.retry.backoff.ms": Long = Some("500"), AtLeast(1), Inert(TIER)
        => "The first pause before a remote task is tried again, in milliseconds.";
    hidden "remote.log.manager.task.retry.jitter": Double = Some("0.2"), Fraction(0.0, 0.5), Inert(TIER)
        => "The random part of the pause before a remote task is tried again.";
    shown "remote.log.manager.thread.pool.size": Int = Some("2"), AtLeast(1), Inert(TIER)
        => "Threads shared by remote tasks.";
    shown "remote.log.metadata.custom.metadata.max.bytes": Int = Some("128"), AtLeast(0), Inert(TIER)
        => "The most bytes a storage plug-in may note with a segment.";
    shown "remote.log.metadata.manager.class.name": Text = Some("org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager"), NonEmpty, Inert(PLUG)
        => "The class that tracks remote segments.";
    shown "remote.log.metadata.manager.class.path": Text = None, Any, Inert(PLUG)
        => "Where the class that tracks remote segments is found.";
    shown "remote.log.metadata.manager.impl.prefix": Text = Some("rlmm.config."), NonEmpty, Inert(PLUG)
        => "The prefix of keys handed to the class that tracks remote segments.";
    shown "remote.log.metadata.manager.listener.name": Text = None, NonEmpty, Inert(TIER)
        => "The listener used by the class that tracks remote segments.";
    shown "remote.log.reader.max.pending.tasks": Int = Some("100"), AtLeast(1), Inert(TIER)
        => "How many remote reads may wait.";
    shown "remote.log.reader.threads": Int = Some("10"), AtLeast(1), Inert(TIER)
        => "Threads that read from remote storage.";
    shown "remote.log.storage.manager.class.name": Text = None, NonEmpty, Inert(PLUG)
        => "The class that stores remote segments.";
    shown "remote.log.storage.manager.class.path": Text = None, Any, Inert(PLUG)
        => "Where the class that stores remote segments is found.";
    shown "remote.log.storage.manager.impl.prefix": Text = Some("rsm.config."), NonEmpty, Inert(PLUG)
        => "The prefix of keys handed to the class that stores remote segments.";
    shown "remote.log.storage.system.enable": Boolean = Some("false"), Any, Inert(TIER)
        => "Switches tiered storage on.";
}
