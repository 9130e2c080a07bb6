//! Replication, the controller quorum and cluster metadata.
//!
//! One row per key: type, default, permitted values, what it does here => what it means.

use super::Effect::Inert;
use super::KeyDef;
use super::reasons::{METADATA, ONE, PLUG, QUORUM, QUOTA};
use crate::config::validate::Check::{Any, AtLeast};
use crate::config::validate::types::ValueType::{Boolean, Int, List, Long, String as Text};

super::keys! {
    /// Broker keys of this area.
    pub(super) static KEYS;
    shown "alter.log.dirs.replication.quota.window.num": Int = Some("11"), AtLeast(1), Inert(ONE)
        => "How many samples the quota on moves between directories looks back on.";
    shown "alter.log.dirs.replication.quota.window.size.seconds": Int = Some("1"), AtLeast(1), Inert(ONE)
        => "The length of one sample of the quota on moves between directories, in seconds.";
    shown "auto.leader.rebalance.enable": Boolean = Some("true"), Any, Inert(ONE)
        => "Moves leadership back to preferred replicas.";
    shown "broker.heartbeat.interval.ms": Int = Some("2000"), Any, Inert(QUORUM)
        => "How often a node reports to the controller, in milliseconds.";
    shown "broker.session.timeout.ms": Int = Some("9000"), Any, Inert(QUORUM)
        => "How long a silent node counts as alive, in milliseconds.";
    shown "controller.listener.names": List = Some(""), Any, Inert(QUORUM)
        => "The listeners that belong to the controller; Tidelog does not open them.";
    hidden "controller.performance.always.log.threshold.ms": Long = Some("2000"), AtLeast(0), Inert(QUORUM)
        => "Controller events slower than this are always logged, in milliseconds.";
    hidden "controller.performance.sample.period.ms": Long = Some("60000"), AtLeast(100), Inert(QUORUM)
        => "How often controller timings are logged, in milliseconds.";
    shown "controller.quorum.append.linger.ms": Int = Some("25"), AtLeast(0), Inert(QUORUM)
        => "How long the quorum leader gathers writes, in milliseconds.";
    shown "controller.quorum.auto.join.enable": Boolean = Some("false"), Any, Inert(QUORUM)
        => "Lets a controller join the quorum by itself.";
    shown "controller.quorum.bootstrap.servers": List = Some(""), Any, Inert(QUORUM)
        => "Addresses at which the quorum is found.";
    shown "controller.quorum.election.backoff.max.ms": Int = Some("1000"), AtLeast(0), Inert(QUORUM)
        => "The longest pause before a new election, in milliseconds.";
    shown "controller.quorum.election.timeout.ms": Int = Some("1000"), AtLeast(0), Inert(QUORUM)
        => "How long a candidate waits for votes, in milliseconds.";
    shown "controller.quorum.fetch.max.bytes": Int = Some("1048576"), AtLeast(1), Inert(QUORUM)
        => "The most metadata bytes fetched at once.";
    shown "controller.quorum.fetch.snapshot.max.bytes": Int = Some("1048576"), AtLeast(1), Inert(QUORUM)
        => "The most metadata snapshot bytes fetched at once.";
    shown "controller.quorum.fetch.timeout.ms": Int = Some("2000"), AtLeast(0), Inert(QUORUM)
        => "How long a voter goes without the leader before it calls an election, in milliseconds.";
    shown "controller.quorum.request.timeout.ms": Int = Some("2000"), AtLeast(0), Inert(QUORUM)
        => "How long a quorum request may take, in milliseconds.";
    shown "controller.quorum.retry.backoff.ms": Int = Some("20"), AtLeast(0), Inert(QUORUM)
        => "The pause before a quorum request is sent again, in milliseconds.";
    shown "controller.quorum.voters": List = Some(""), Any, Inert(QUORUM)
        => "The voters, as id@host:port.";
    shown "controller.quota.window.num": Int = Some("11"), AtLeast(1), Inert(QUOTA)
        => "How many samples the quota on topic changes looks back on.";
    shown "controller.quota.window.size.seconds": Int = Some("1"), AtLeast(1), Inert(QUOTA)
        => "The length of one sample of the quota on topic changes, in seconds.";
    shown "controller.socket.timeout.ms": Int = Some("30000"), Any, Inert(QUORUM)
        => "How long a connection to the controller may stay silent, in milliseconds.";
    shown "initial.broker.registration.timeout.ms": Int = Some("60000"), Any, Inert(QUORUM)
        => "How long a node tries to register before it gives up, in milliseconds.";
    shown "leader.imbalance.check.interval.seconds": Long = Some("300"), AtLeast(1), Inert(ONE)
        => "How often the balance of leadership is examined, in seconds.";
    shown "metadata.log.dir": Text = None, Any, Inert(METADATA)
        => "The directory of Kafka's metadata log.";
    shown "metadata.log.max.record.bytes.between.snapshots": Long = Some("20971520"), AtLeast(1), Inert(METADATA)
        => "How many metadata bytes are written between two snapshots.";
    shown "metadata.log.max.snapshot.interval.ms": Long = Some("3600000"), AtLeast(0), Inert(METADATA)
        => "The longest time between two metadata snapshots, in milliseconds.";
    shown "metadata.log.segment.bytes": Int = Some("1073741824"), AtLeast(8388608), Inert(METADATA)
        => "The segment size of the metadata log.";
    shown "metadata.log.segment.ms": Long = Some("604800000"), Any, Inert(METADATA)
        => "The age at which a segment of the metadata log is closed, in milliseconds.";
    shown "metadata.max.idle.interval.ms": Int = Some("500"), AtLeast(0), Inert(METADATA)
        => "How often an idle controller writes an empty metadata record, in milliseconds.";
    shown "metadata.max.retention.bytes": Long = Some("104857600"), Any, Inert(METADATA)
        => "How large the metadata log may grow.";
    shown "metadata.max.retention.ms": Long = Some("604800000"), Any, Inert(METADATA)
        => "How long the metadata log is kept, in milliseconds.";
    hidden "internal.metadata.delete.delay.millis": Long = Some("60000"), Any, Inert(METADATA)
        => "How long deleted metadata files stay on disk, in milliseconds.";
    hidden "internal.metadata.log.segment.bytes": Int = None, Any, Inert(METADATA)
        => "The segment size of the metadata log, for Kafka's own tests.";
    hidden "internal.metadata.max.batch.size.in.bytes": Int = Some("8388608"), Any, Inert(METADATA)
        => "The largest batch of the metadata log.";
    shown "num.replica.alter.log.dirs.threads": Int = None, Any, Inert(ONE)
        => "Threads that move replicas between data directories.";
    shown "num.replica.fetchers": Int = Some("1"), AtLeast(1), Inert(ONE)
        => "Threads that copy from each other node.";
    shown "replica.fetch.backoff.ms": Int = Some("1000"), AtLeast(0), Inert(ONE)
        => "The pause after a failed copy from a leader, in milliseconds.";
    shown "replica.fetch.max.bytes": Int = Some("1048576"), AtLeast(0), Inert(ONE)
        => "How many bytes of one partition a follower copies at once.";
    shown "replica.fetch.min.bytes": Int = Some("1"), Any, Inert(ONE)
        => "How few bytes a follower is content with.";
    shown "replica.fetch.response.max.bytes": Int = Some("10485760"), AtLeast(0), Inert(ONE)
        => "How many bytes a follower copies at once in all.";
    shown "replica.fetch.wait.max.ms": Int = Some("500"), Any, Inert(ONE)
        => "How long a leader may hold a follower's request, in milliseconds.";
    shown "replica.high.watermark.checkpoint.interval.ms": Long = Some("5000"), Any, Inert(ONE)
        => "How often high watermarks are written down, in milliseconds.";
    shown "replica.lag.time.max.ms": Long = Some("30000"), Any, Inert(ONE)
        => "How long a follower may lag before it no longer counts as in sync, in milliseconds.";
    shown "replica.selector.class": Text = None, Any, Inert(PLUG)
        => "A class that picks the replica a consumer reads from.";
    shown "replica.socket.receive.buffer.bytes": Int = Some("65536"), Any, Inert(ONE)
        => "Receive buffer of a follower's connection, in bytes.";
    shown "replica.socket.timeout.ms": Int = Some("30000"), Any, Inert(ONE)
        => "How long a follower waits on its leader, in milliseconds.";
    shown "replication.quota.window.num": Int = Some("11"), AtLeast(1), Inert(ONE)
        => "How many samples the replication quota looks back on.";
    shown "replication.quota.window.size.seconds": Int = Some("1"), AtLeast(1), Inert(ONE)
        => "The length of one sample of the replication quota, in seconds.";
    shown "unclean.leader.election.enable": Boolean = Some("false"), Any, Inert(ONE)
        => "Lets a replica that is behind become leader, at the cost of records.";
    hidden "unclean.leader.election.interval.ms": Long = Some("300000"), AtLeast(1), Inert(ONE)
        => "How often unclean elections are considered, in milliseconds.";
}
