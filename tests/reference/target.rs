//! The broker that a script is played to.

use std::env;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, MutexGuard};

use kafka_protocol::messages::InitProducerIdRequest;

use super::support::{Client, TestBroker};

/// Names a running Kafka, `host:port`, that takes Tidelog's place.
const REFERENCE: &str = "TIDELOG_REFERENCE";

/// What the broker must be started with for the recordings to hold; a Kafka as well, and that one also with
/// `group.consumer.assignor.offload.enable=false`. Short timers are allowed so that scripts can wait for them, groups
/// are small so that one can be full, and a consumer group is assigned anew within the heartbeat that changed it.
pub const SETTINGS: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "false"),
    ("group.consumer.assignment.interval.ms", "0"),
    ("group.consumer.max.size", "4"),
    ("group.consumer.min.heartbeat.interval.ms", "100"),
    ("group.consumer.min.session.timeout.ms", "100"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.max.size", "4"),
    ("group.min.session.timeout.ms", "100"),
    ("node.id", "0"),
    ("offsets.topic.num.partitions", "3"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "100"),
];

/// One script at a time on a reference broker, which all of them share.
static REFERENCE_IN_USE: Mutex<()> = Mutex::new(());

/// A broker to play to.
pub enum Target {
    /// A Tidelog in this process, of this script alone.
    Tidelog(Box<TestBroker>),
    /// A Kafka that was started before.
    Reference { address: SocketAddr, _in_use: MutexGuard<'static, ()> },
}

impl Target {
    /// The broker that the environment asks for.
    pub fn start() -> Target {
        let Ok(reference) = env::var(REFERENCE) else {
            let broker = TestBroker::with(SETTINGS);
            // The first producer id is 0, which a request shows as left out. The reference has given it out long ago.
            let request = InitProducerIdRequest::default().with_transactional_id(None);
            Client::connect(broker.address()).call(4, &request);
            return Target::Tidelog(Box::new(broker));
        };
        let address = reference.to_socket_addrs().ok().and_then(|mut found| found.next());
        let address = address.unwrap_or_else(|| panic!("{REFERENCE}={reference} is no host:port"));
        // A script that failed leaves nothing behind that could disturb the next one.
        let in_use = REFERENCE_IN_USE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Target::Reference { address, _in_use: in_use }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        match self {
            Target::Tidelog(broker) => broker.address(),
            Target::Reference { address, .. } => *address,
        }
    }

    /// Whether this is Kafka.
    pub fn is_reference(&self) -> bool {
        matches!(self, Target::Reference { .. })
    }
}
