//! Every topic key of Apache Kafka 4.3 (`LogConfig`) and our own, with what each does here.

use super::broker_keys::Effect::{self, Acts, Inert, Refused};
use super::broker_keys::KeyDef;
use super::validate::Check::{
    self, Any, AtLeast, Between, BetweenOr, Fraction, OneOf, SubsetOf, ThrottledReplicas,
};
use super::validate::types::ValueType::{self, Boolean, Double, Int, List, Long, String as Text};

/// A broker key that gives a topic key its value when the topic has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerSynonym {
    /// The broker key.
    pub key: &'static str,
    /// How many of the topic key's units one of the broker key's makes: 3,600,000 for hours.
    pub factor: i64,
}

/// One topic key.
#[derive(Debug)]
pub struct TopicKey {
    /// The key itself. Its default holds where no synonym has one.
    pub def: KeyDef,
    /// Broker keys that stand in for it, first one first.
    pub synonyms: &'static [BrokerSynonym],
}

const REPLICAS: Effect = Inert("a single node has no other node to copy to or take over from");
const TIERED: Effect = Inert("tiered storage is not served");
const MINUTES: i64 = 60 * 1000;
const HOURS: i64 = 60 * MINUTES;

const fn same(key: &'static str) -> BrokerSynonym {
    BrokerSynonym { key, factor: 1 }
}

const fn times(key: &'static str, factor: i64) -> BrokerSynonym {
    BrokerSynonym { key, factor }
}

const fn key(
    name: &'static str,
    kind: ValueType,
    default: &'static str,
    check: Check,
    effect: Effect,
    synonyms: &'static [BrokerSynonym],
    doc: &'static str,
) -> TopicKey {
    TopicKey {
        def: KeyDef { name, kind, default: Some(default), check, effect, hidden: false, doc },
        synonyms,
    }
}

const LONG_MAX: &str = "9223372036854775807";
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// All topic keys, by name.
#[rustfmt::skip]
pub static KEYS: &[TopicKey] = &[
    key("cleanup.policy", List, "delete", SubsetOf(&["compact", "delete"]), Acts, &[same("log.cleanup.policy")],
        "What happens to old segments: delete removes them, compact keeps the latest record of each key, nothing keeps them."),
    key("compression.gzip.level", Int, "-1", BetweenOr(1, 9, -1), Acts, &[same("compression.gzip.level")],
        "The effort of gzip when the broker compresses."),
    key("compression.lz4.level", Int, "9", Between(1, 17), Acts, &[same("compression.lz4.level")],
        "The effort of lz4 when the broker compresses."),
    key("compression.type", Text, "producer", OneOf(CODECS), Acts, &[same("compression.type")],
        "The codec batches are stored with; producer keeps the one they came with."),
    key("compression.zstd.level", Int, "3", Between(-131_072, 22), Acts, &[same("compression.zstd.level")],
        "The effort of zstd when the broker compresses."),
    key("delete.retention.ms", Long, "86400000", AtLeast(0), Acts, &[same("log.cleaner.delete.retention.ms")],
        "How long a deletion marker survives compaction, in milliseconds."),
    key("file.delete.delay.ms", Long, "60000", AtLeast(0), Acts, &[same("log.segment.delete.delay.ms")],
        "How long a deleted segment stays on disk for readers that still use it, in milliseconds."),
    key("flush.messages", Long, "1", AtLeast(1), Acts, &[same("log.flush.interval.messages")],
        "How many records may be written before they are forced to disk; 1 means that what is acknowledged survives a power cut."),
    key("flush.ms", Long, LONG_MAX, AtLeast(0), Acts,
        &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        "The longest time a record may stay unforced, in milliseconds."),
    key("follower.replication.throttled.replicas", List, "", ThrottledReplicas, REPLICAS, &[],
        "The replicas that copy at a limited rate, as partition:broker pairs, or * for all."),
    key("index.interval.bytes", Int, "4096", AtLeast(0), Acts, &[same("log.index.interval.bytes")],
        "How many bytes of records lie between two entries of the offset index."),
    TopicKey {
        def: KeyDef {
            name: "internal.segment.bytes", kind: Int, default: None, check: Any, hidden: true,
            effect: Refused("it exists for the tests of Kafka itself; use segment.bytes"),
            doc: "A segment size below the permitted minimum.",
        },
        synonyms: &[],
    },
    key("leader.replication.throttled.replicas", List, "", ThrottledReplicas, REPLICAS, &[],
        "The replicas that are copied from at a limited rate, as partition:broker pairs, or * for all."),
    key("local.retention.bytes", Long, "-2", AtLeast(-2), TIERED, &[same("log.local.retention.bytes")],
        "How many bytes stay on local disk once older segments are in remote storage; -2 follows retention.bytes."),
    key("local.retention.ms", Long, "-2", AtLeast(-2), TIERED, &[same("log.local.retention.ms")],
        "How long segments stay on local disk once they are in remote storage; -2 follows retention.ms."),
    key("max.compaction.lag.ms", Long, LONG_MAX, AtLeast(1), Acts, &[same("log.cleaner.max.compaction.lag.ms")],
        "The longest time a record may stay uncompacted, in milliseconds."),
    key("max.message.bytes", Int, "1048588", AtLeast(0), Acts, &[same("message.max.bytes")],
        "The largest record batch accepted, in bytes as sent (compressed)."),
    key("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), Acts, &[same("log.message.timestamp.after.max.ms")],
        "How far in the future a producer's timestamp may lie, in milliseconds."),
    key("message.timestamp.before.max.ms", Long, LONG_MAX, AtLeast(0), Acts, &[same("log.message.timestamp.before.max.ms")],
        "How far in the past a producer's timestamp may lie, in milliseconds."),
    key("message.timestamp.type", Text, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), Acts,
        &[same("log.message.timestamp.type")],
        "Whether a record carries the time its producer gave or the time it was appended."),
    key("min.cleanable.dirty.ratio", Double, "0.5", Fraction(0.0, 1.0), Acts, &[same("log.cleaner.min.cleanable.ratio")],
        "The share of dirty bytes at which a log is worth compacting."),
    key("min.compaction.lag.ms", Long, "0", AtLeast(0), Acts, &[same("log.cleaner.min.compaction.lag.ms")],
        "The shortest time a record stays uncompacted, in milliseconds."),
    key("min.insync.replicas", Int, "1", AtLeast(1), Acts, &[same("min.insync.replicas")],
        "How many replicas must hold a write that asks for all; above one a single node must refuse such writes."),
    key("preallocate", Boolean, "false", Any, Inert("segments grow as they are written"), &[same("log.preallocate")],
        "Reserves a segment's full size on disk when it is created."),
    key("remote.log.copy.disable", Boolean, "false", Any, TIERED, &[],
        "Stops copying to remote storage and keeps what is there readable."),
    key("remote.log.delete.on.disable", Boolean, "false", Any, TIERED, &[],
        "Deletes remote data when remote storage is switched off for the topic."),
    key("remote.storage.enable", Boolean, "false", Any, TIERED, &[],
        "Moves older segments to remote storage; true is refused."),
    key("retention.bytes", Long, "-1", Any, Acts, &[same("log.retention.bytes")],
        "How large a partition may grow before its oldest segments are deleted; -1 for no bound."),
    key("retention.ms", Long, "604800000", AtLeast(-1), Acts,
        &[same("log.retention.ms"), times("log.retention.minutes", MINUTES), times("log.retention.hours", HOURS)],
        "How long records are kept, in milliseconds; -1 for ever."),
    key("segment.bytes", Int, "1073741824", AtLeast(1_048_576), Acts, &[same("log.segment.bytes")],
        "The size at which a segment is closed and the next one started."),
    key("segment.index.bytes", Int, "10485760", AtLeast(4), Acts, &[same("log.index.size.max.bytes")],
        "The largest size of one index file."),
    key("segment.jitter.ms", Long, "0", AtLeast(0), Inert("segments are rolled without a random part"),
        &[same("log.roll.jitter.ms"), times("log.roll.jitter.hours", HOURS)],
        "A random part taken off a segment's age limit, in milliseconds."),
    key("segment.ms", Long, "604800000", AtLeast(1), Acts, &[same("log.roll.ms"), times("log.roll.hours", HOURS)],
        "The age at which a segment is closed even when it is not full, in milliseconds."),
    key("tidelog.key.index.enable", Boolean, "true", Any, Acts, &[same("tidelog.key.index.enable")],
        "Keeps, for a compacted topic, where the latest record of each key is: tidelog key get asks it, and the cleaner works from it; without it the cleaner makes a table in memory."),
    key("unclean.leader.election.enable", Boolean, "false", Any, REPLICAS, &[same("unclean.leader.election.enable")],
        "Lets a replica that is behind become leader, at the cost of records."),
];

/// The row of `name`.
pub fn find(name: &str) -> Option<&'static TopicKey> {
    KEYS.binary_search_by(|key| key.def.name.cmp(name)).ok().and_then(|at| KEYS.get(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{broker_keys, validate};

    #[test]
    fn rows_are_sorted_complete_and_consistent() {
        assert!(KEYS.is_sorted_by(|a, b| a.def.name < b.def.name));
        assert_eq!(KEYS.len(), 35, "Kafka 4.3.1's LogConfig has 33 keys and one internal; one is our own");
        for key in KEYS {
            if let Some(default) = key.def.default {
                assert_eq!(validate::value(key.def.name, key.def.kind, &key.def.check, default), Ok(()));
            }
            for synonym in key.synonyms {
                assert!(broker_keys::find(synonym.key).is_some(), "{}", synonym.key);
            }
        }
    }

    #[test]
    fn topic_and_broker_defaults_agree() {
        for key in KEYS {
            let defaults: Vec<i64> = key
                .synonyms
                .iter()
                .filter_map(|s| broker_keys::find(s.key)?.default?.parse::<i64>().ok()?.checked_mul(s.factor))
                .collect();
            // Where several synonyms stand in, a default only counts when it is the last resort.
            if key.def.name != "flush.ms"
                && let Some(own) = key.def.default.and_then(|d| d.parse::<i64>().ok())
                && let Some(last) = defaults.last()
            {
                assert_eq!(own, *last, "{}", key.def.name);
            }
        }
    }
}
