//! Why a key that Kafka knows does nothing here: the words shown to the user.

pub(super) const ONE: &str = "a single node has no other node to copy to or take over from";
pub(super) const QUORUM: &str = "a single node needs no controller quorum";
pub(super) const METADATA: &str = "cluster metadata is not kept in a Kafka metadata log";
pub(super) const SEC: &str = "authentication, authorization and TLS are not served yet";
pub(super) const TOKENS: &str = "delegation tokens are not served yet";
pub(super) const PLUG: &str = "Java classes cannot be loaded";
pub(super) const JVM: &str = "it tunes a part of Kafka that Tidelog does not have";
pub(super) const LISTEN: &str = "this limit is not enforced yet";
pub(super) const BYTES: &str = "tidelog.max.inflight.bytes bounds requests in work instead";
pub(super) const TELEM: &str = "metrics from clients are not collected yet";
pub(super) const QUOTA: &str = "quotas are not enforced yet";
pub(super) const JITTER: &str = "segments are rolled without a random part";
pub(super) const PREALLOC: &str = "segments grow as they are written";
pub(super) const CHECKPOINT: &str = "first offsets are written down when they change";
pub(super) const TIER: &str = "tiered storage is not served";
pub(super) const PACE: &str = "assignments are computed when they are needed, not in intervals";
pub(super) const SHARE: &str = "share groups are not served yet";
pub(super) const STREAMS: &str = "streams groups are not served yet";
pub(super) const OFFSETS: &str = "committed offsets are kept in the state store, not in a topic";
pub(super) const VERIFY: &str = "verifying a transaction takes no round trip here, so nothing is tried again";
pub(super) const TWOPC: &str =
    "the version of InitProducerId that asks for it is not served, as Kafka does not by default";
pub(super) const TXNLOG: &str = "transaction state is kept in the state store, not in a topic";
