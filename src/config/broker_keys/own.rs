//! Keys of Tidelog's own; they start with `tidelog.`.
//!
//! One row per key: type, default, permitted values, what it does here => what it means.

use super::Effect::Acts;
use super::KeyDef;
use crate::config::validate::Check::{Any, AtLeast};
use crate::config::validate::types::ValueType::{Boolean, Int, Long, String as Text};

super::keys! {
    /// Broker keys of this area.
    pub(super) static KEYS;
    shown "tidelog.metrics.listener": Text = Some("127.0.0.1:9404"), Any, Acts
        => "The host:port on which Prometheus metrics and health are served; empty switches it off.";
    shown "tidelog.metrics.group.partitions.max": Int = Some("10000"), AtLeast(0), Acts
        => "How many partitions of consumer groups are shown one by one, with their lag; 0 shows none.";
    shown "tidelog.max.inflight.bytes": Long = Some("268435456"), AtLeast(1), Acts
        => "How many bytes of requests all connections together may have in work before sockets are no longer read.";
    shown "tidelog.max.inflight.bytes.per.connection": Long = Some("104923136"), AtLeast(1), Acts
        => "How many bytes of requests one connection may have in work; at least one request of the largest size must fit.";
    shown "tidelog.disk.reserve.bytes": Long = Some("-1"), AtLeast(-1), Acts
        => "How many bytes of the disk appends leave free for deletions, settings and the next start; -1 for a hundredth of the disk, between 4 and 256 MiB.";
    shown "tidelog.max.partitions": Int = Some("100000"), AtLeast(1), Acts
        => "How many partitions the node holds at most; a topic that would exceed it is refused.";
    shown "tidelog.max.transactional.ids": Int = Some("100000"), AtLeast(1), Acts
        => "How many transactional ids are remembered at most; a new one beyond is refused until others expire.";
    shown "tidelog.key.index.enable": Boolean = Some("true"), Any, Acts
        => "Keeps, for compacted topics, where the latest record of each key is: tidelog key get asks it, and the cleaner works from it; without it the cleaner makes a table in memory.";
    shown "tidelog.state.accept.loss": Text = Some(""), Any, Acts
        => "The name of a damaged log file in state/ (such as 000012.log) from whose damage on all changes of topics, groups and transactions are given up; without it a start refuses to lose them.";
    shown "tidelog.max.decompressed.bytes": Long = Some("67108864"), AtLeast(1), Acts
        => "How large one record batch may be once decompressed, in bytes.";
}
