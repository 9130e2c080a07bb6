//! Where Tidelog means to answer otherwise than Apache Kafka.

/// A step in which the answers differ, and why they should.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    /// The script's name.
    pub script: &'static str,
    /// The step's title.
    pub step: &'static str,
    /// The reason, as a user is told it in COMPAT.md.
    pub why: &'static str,
}

const ANSWERED: &str = "A request that waits is answered when the member's next one replaces it or the member is taken out; Kafka leaves it without an answer.";
const SERVER_ERROR: &str =
    "Where Kafka answers UNKNOWN_SERVER_ERROR to a client's mistake, the mistake is named.";
const REGEX: &str = "A subscription by pattern is resolved in the heartbeat that brings it; Kafka resolves it afterwards, one epoch later.";
const OFFSETS: &str = "The parts of __consumer_offsets are opened when they are first used, and it has 50 of them whatever the settings say.";
const GONE: &str = "A group that was known by its offsets alone goes with the last of them.";
const STALE: &str = "InitProducerId with an epoch that was fenced is refused while the present producer has a transaction; Kafka aborts that transaction.";
const REPEATED: &str = "EndTxn with the epoch before counts as a repetition only if the last transaction ended with that epoch; Kafka takes a producer that was fenced for it.";
const NOTHING: &str =
    "A request for no transaction is answered; Kafka leaves AddPartitionsToTxn of none without an answer.";

const WORDS: &str = "A refused batch is told why, and where the log begins; Kafka says so for some errors.";
const TWICE: &str =
    "Produce answers a topic twice that a request names twice; Kafka puts its partitions together.";

/// All of them. One that does not occur any more fails its script.
pub const MEANT: &[Difference] = &[
    meant("end-txn-2", "v5 after v4 with the epoch before", REPEATED),
    meant("init-in-a-transaction", "with an epoch that was fenced before", STALE),
    meant("init-in-a-transaction", "whether the transaction is still there", STALE),
    meant("produce-enlists", "v12 a sequence that does not begin at 0", WORDS),
    meant("produce-enlists", "v13 a sequence that does not begin at 0", WORDS),
    meant("produce-in-a-transaction", "v5 after the end", WORDS),
    meant("produce-in-a-transaction", "v6 after the end", WORDS),
    meant("produce-in-a-transaction", "v7 after the end", WORDS),
    meant("produce-in-a-transaction", "v8 with a wrong sequence", WORDS),
    meant("produce-in-a-transaction", "v8 what is not transactional, within", WORDS),
    meant("produce-in-a-transaction", "v8 after the end", WORDS),
    meant("produce-in-a-transaction", "v9 with a wrong sequence", WORDS),
    meant("produce-in-a-transaction", "v9 what is not transactional, within", WORDS),
    meant("produce-in-a-transaction", "v9 after the end", WORDS),
    meant("produce-in-a-transaction", "v10 with a wrong sequence", WORDS),
    meant("produce-in-a-transaction", "v10 what is not transactional, within", WORDS),
    meant("produce-in-a-transaction", "v10 after the end", WORDS),
    meant("produce-in-a-transaction", "v11 with a wrong sequence", WORDS),
    meant("produce-in-a-transaction", "v11 what is not transactional, within", WORDS),
    meant("produce-in-a-transaction", "v11 after the end", WORDS),
    meant("produce-in-a-transaction", "v12 with a wrong sequence", WORDS),
    meant("produce-in-a-transaction", "v12 what is not transactional, within", WORDS),
    meant("produce-in-a-transaction", "v12 after the end", WORDS),
    meant("produce-in-a-transaction", "v13 with a wrong sequence", WORDS),
    meant("produce-in-a-transaction", "v13 what is not transactional, within", WORDS),
    meant("produce-in-a-transaction", "v13 after the end", WORDS),
    meant("produce-of-two-producers", "v8 two producer ids in one request", TWICE),
    meant("produce-of-two-producers", "v8 one of them not transactional", TWICE),
    meant("produce-of-two-producers", "v8 two partitions, one of them not enlisted", TWICE),
    meant("produce-of-two-producers", "v11 two producer ids in one request", TWICE),
    meant("produce-of-two-producers", "v11 one of them not transactional", TWICE),
    meant("produce-of-two-producers", "v11 two partitions, one of them not enlisted", TWICE),
    meant("produce-of-two-producers", "v12 two producer ids in one request", TWICE),
    meant("produce-of-two-producers", "v12 one of them not transactional", TWICE),
    meant("produce-of-two-producers", "v12 two partitions, one of them not enlisted", TWICE),
    meant("produce-without-a-transaction", "after a takeover", WORDS),
    meant("overdue-transactions", "what its producer is told", WORDS),
    meant("overdue-transactions", "what its producer is told, in the second protocol", WORDS),
    meant("add-partitions-in-batches", "v5 nothing", NOTHING),
    meant("write-txn-markers", "of no epoch", SERVER_ERROR),
    meant("epochs-run-out", "InitProducerId with the last epoch", SERVER_ERROR),
    meant(
        "consumer-in-classic-group",
        "a classic group with an assignment that the broker cannot read",
        SERVER_ERROR,
    ),
    meant("consumer-offsets", "fetch v9", SERVER_ERROR),
    meant("consumer-regex", "one that names a topic", REGEX),
    meant("consumer-regex", "the whole name must match", REGEX),
    meant("consumer-regex", "beside names", REGEX),
    meant("consumer-regex", "a member turns to an invalid expression, and from names to a valid one", REGEX),
    meant("consumer-regex", "two members of one expression", REGEX),
    meant("offset-delete", "the last offset goes, and the group with it", GONE),
    meant("group-configs", "alter v0 null, twice, and odd operations", SERVER_ERROR),
    meant("group-configs", "alter v1 null, twice, and odd operations", SERVER_ERROR),
    meant("internal-topic", "Metadata by name", OFFSETS),
    meant("internal-topic", "Metadata of all topics", OFFSETS),
    meant("join-rebalance", "preparing: the other one joins", ANSWERED),
    meant("leave-group", "one leaves that waits for its sync", ANSWERED),
    meant("sync-group", "a follower's assignments do not count", ANSWERED),
    meant("sync-group", "the leader assigns, to a stranger too, and not to the follower", ANSWERED),
];

const fn meant(script: &'static str, step: &'static str, why: &'static str) -> Difference {
    Difference { script, step, why }
}

/// A name that no script has would excuse nothing and never fail.
#[test]
fn every_meant_difference_is_of_a_script() {
    for difference in MEANT {
        assert!(super::transcript::path(difference.script).exists(), "{difference:?}");
    }
}
