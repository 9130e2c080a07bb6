//! Identity, listeners, sockets and request limits.
//!
//! One row per key: type, default, permitted values, what it does here => what it means.

use super::Effect::{Acts, Inert};
use super::KeyDef;
use super::reasons::{BYTES, JVM, LISTEN, ONE, PLUG, QUORUM, QUOTA, SEC, TELEM};
use crate::config::validate::Check::{Any, AtLeast, SubsetOf};
use crate::config::validate::types::ValueType::{Boolean, Class, Int, List, Long, String as Text};

super::keys! {
    /// Broker keys of this area.
    pub(super) static KEYS;
    shown "node.id": Int = Some("1"), AtLeast(0), Acts
        => "The number by which clients know this node.";
    shown "broker.id": Int = Some("-1"), Any, Acts
        => "The older name of node.id; the two must agree when both are given.";
    shown "broker.rack": Text = None, Any, Acts
        => "The rack or zone this node reports to clients, so that consumers can prefer a near replica.";
    shown "process.roles": List = Some("broker"), SubsetOf(&["broker", "controller"]), Inert(QUORUM)
        => "The roles of this process; it must contain broker.";
    shown "listeners": List = Some("PLAINTEXT://127.0.0.1:9092"), Any, Acts
        => "The sockets to accept connections on, as NAME://host:port; an empty host means every interface.";
    shown "advertised.listeners": List = None, Any, Acts
        => "The addresses told to clients, one per listener; without it a listener's own address is told.";
    shown "listener.security.protocol.map": Text = Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"), Any, Acts
        => "Which security protocol each listener name speaks.";
    shown "inter.broker.listener.name": Text = None, Any, Inert(ONE)
        => "The listener that nodes of a cluster use among themselves.";
    shown "early.start.listeners": List = None, Any, Inert(QUORUM)
        => "Listeners opened before authorization data is loaded.";
    shown "socket.request.max.bytes": Int = Some("104857600"), AtLeast(1), Acts
        => "The largest request frame accepted, in bytes; a larger one closes the connection.";
    shown "socket.send.buffer.bytes": Int = Some("-1"), AtLeast(-1), Acts
        => "Size in bytes of each connection's kernel send buffer; -1, the default here, lets the system adapt it to the connection.";
    shown "socket.receive.buffer.bytes": Int = Some("-1"), AtLeast(-1), Acts
        => "Size in bytes of each connection's kernel receive buffer; -1, the default here, lets the system adapt it to the connection.";
    shown "socket.listen.backlog.size": Int = Some("1024"), AtLeast(1), Acts
        => "How many connections may wait in the kernel to be accepted; the system may bound it further.";
    shown "socket.connection.setup.timeout.ms": Long = Some("10000"), Any, Inert(ONE)
        => "First wait for an outgoing connection to be established, in milliseconds.";
    shown "socket.connection.setup.timeout.max.ms": Long = Some("30000"), Any, Inert(ONE)
        => "Longest wait for an outgoing connection to be established, in milliseconds.";
    shown "connections.max.idle.ms": Long = Some("600000"), Any, Acts
        => "A connection silent for this many milliseconds is closed; a negative value never closes it.";
    shown "connections.max.reauth.ms": Long = Some("0"), Any, Inert(SEC)
        => "How long an authenticated session lives before it must authenticate again, in milliseconds; 0 means forever.";
    shown "connection.failed.authentication.delay.ms": Int = Some("100"), AtLeast(0), Inert(SEC)
        => "How long a failed authentication waits before the connection is closed, in milliseconds.";
    shown "max.connections": Int = Some("2147483647"), AtLeast(0), Acts
        => "How many connections the node holds at once.";
    shown "max.connections.per.ip": Int = Some("2147483647"), AtLeast(0), Acts
        => "How many connections one client address may hold at once.";
    shown "max.connections.per.ip.overrides": Text = Some(""), Any, Inert(LISTEN)
        => "Exceptions to max.connections.per.ip, as host:count pairs.";
    shown "max.connection.creation.rate": Int = Some("2147483647"), AtLeast(0), Inert(LISTEN)
        => "How many new connections per second are accepted.";
    shown "num.network.threads": Int = Some("3"), AtLeast(1), Inert(JVM)
        => "Threads that read requests from and write replies to the network.";
    shown "num.io.threads": Int = Some("8"), AtLeast(1), Inert(JVM)
        => "Threads that work on requests.";
    shown "background.threads": Int = Some("10"), AtLeast(1), Inert(JVM)
        => "Threads for scheduled housekeeping.";
    shown "queued.max.requests": Int = Some("500"), AtLeast(1), Inert(BYTES)
        => "How many requests may wait to be worked on before sockets are no longer read.";
    shown "queued.max.request.bytes": Long = Some("-1"), Any, Inert(BYTES)
        => "How many bytes of requests may wait before sockets are no longer read; -1 for no bound.";
    shown "request.timeout.ms": Int = Some("30000"), Any, Inert(ONE)
        => "How long this node waits for another node's answer, in milliseconds.";
    shown "fetch.max.bytes": Int = Some("57671680"), AtLeast(1024), Acts
        => "The most bytes one fetch reply carries.";
    shown "max.incremental.fetch.session.cache.slots": Int = Some("1000"), AtLeast(0), Acts
        => "How many incremental fetch sessions are remembered.";
    shown "max.request.partition.size.limit": Int = Some("2000"), AtLeast(1), Acts
        => "The most partitions one describe-topic-partitions reply lists.";
    shown "telemetry.max.bytes": Int = Some("1048576"), AtLeast(1), Inert(TELEM)
        => "The largest metrics report accepted from a client, in bytes.";
    hidden "unstable.api.versions.enable": Boolean = Some("false"), Any, Inert(JVM)
        => "Offers request versions that are still being designed.";
    hidden "unstable.feature.versions.enable": Boolean = Some("false"), Any, Inert(JVM)
        => "Offers feature levels that are still being designed.";
    hidden "server.max.startup.time.ms": Long = Some("9223372036854775807"), AtLeast(0), Inert(JVM)
        => "How long the start may last before the process gives up, in milliseconds.";
    shown "controlled.shutdown.enable": Boolean = Some("true"), Any, Inert(ONE)
        => "Moves partition leadership to other nodes before stopping.";
    shown "config.providers": List = Some(""), Any, Inert(PLUG)
        => "Names of plug-ins that fetch configuration values from elsewhere.";
    shown "metric.reporters": List = Some("org.apache.kafka.common.metrics.JmxReporter"), Any, Inert(PLUG)
        => "Classes that publish metrics.";
    shown "metrics.num.samples": Int = Some("2"), AtLeast(1), Inert(JVM)
        => "How many samples a windowed metric keeps.";
    shown "metrics.recording.level": Text = Some("INFO"), Any, Inert(JVM)
        => "The finest level of detail at which metrics are recorded.";
    shown "metrics.sample.window.ms": Long = Some("30000"), AtLeast(1), Inert(JVM)
        => "The length of one metric sample, in milliseconds.";
    shown "kafka.metrics.reporters": List = Some(""), Any, Inert(PLUG)
        => "Classes that publish the older kind of metrics.";
    shown "kafka.metrics.polling.interval.secs": Int = Some("10"), AtLeast(1), Inert(JVM)
        => "How often metric reporters poll, in seconds.";
    shown "quota.window.num": Int = Some("11"), AtLeast(1), Inert(QUOTA)
        => "How many samples client quotas look back on.";
    shown "quota.window.size.seconds": Int = Some("1"), AtLeast(1), Inert(QUOTA)
        => "The length of one quota sample, in seconds.";
    shown "client.quota.callback.class": Class = None, Any, Inert(PLUG)
        => "A class that decides the quota of each client.";
    shown "auto.create.topics.enable": Boolean = Some("true"), Any, Acts
        => "Creates a topic when a client first asks for it by name.";
    shown "num.partitions": Int = Some("1"), AtLeast(1), Acts
        => "How many partitions a topic gets when its creator does not say.";
    shown "default.replication.factor": Int = Some("1"), Any, Acts
        => "How many replicas a topic gets when its creator does not say.";
    shown "delete.topic.enable": Boolean = Some("true"), Any, Acts
        => "Permits topics to be deleted.";
    shown "create.topic.policy.class.name": Class = None, Any, Inert(PLUG)
        => "A class that may veto new topics.";
    shown "alter.config.policy.class.name": Class = None, Any, Inert(PLUG)
        => "A class that may veto configuration changes.";
    shown "delete.records.purgatory.purge.interval.requests": Int = Some("1"), Any, Inert(JVM)
        => "How many finished delete-records requests pile up before they are swept.";
    shown "fetch.purgatory.purge.interval.requests": Int = Some("1000"), Any, Inert(JVM)
        => "How many finished fetch requests pile up before they are swept.";
    shown "producer.purgatory.purge.interval.requests": Int = Some("1000"), Any, Inert(JVM)
        => "How many finished produce requests pile up before they are swept.";
    shown "share.fetch.purgatory.purge.interval.requests": Int = Some("1000"), Any, Inert(JVM)
        => "How many finished share-fetch requests pile up before they are swept.";
}
