//! Why the transaction coordinator refuses a request.

/// A refusal, named as in Kafka's protocol; `api/error_code.rs` maps it to its code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// The state is not to be had for a moment; the client tries again.
    #[error("the transaction coordinator is not available")]
    CoordinatorNotAvailable,
    /// The state was given up after a failed write; the client looks for the coordinator again.
    #[error("this broker does not coordinate the transactional id at present")]
    NotCoordinator,
    /// The transactional id is empty, too long, or the request contradicts itself.
    #[error("the request is not valid")]
    InvalidRequest,
    /// The transaction timeout lies outside the permitted range (`transaction.max.timeout.ms`).
    #[error("the transaction timeout is not permitted")]
    InvalidTransactionTimeout,
    /// The transactional id is not known, or belongs to another producer id.
    #[error("the producer id is not the one of the transactional id")]
    InvalidProducerIdMapping,
    /// A newer producer has taken over the transactional id.
    #[error("a newer producer uses the transactional id")]
    ProducerFenced,
    /// Another step of the same transactional id is under way; the client tries again in a moment.
    #[error("another operation on the transactional id is under way")]
    ConcurrentTransactions,
    /// The transaction's state does not permit it.
    #[error("the transaction's state does not permit this")]
    InvalidTxnState,
    /// The partition or group is not part of the transaction; the client aborts and goes on (KIP-890).
    #[error("not part of the transaction; it can be aborted")]
    TransactionAbortable,
    /// There is no such transactional id (DescribeTransactions).
    #[error("the transactional id is not known")]
    TransactionalIdNotFound,
    /// No new transactional ids are taken: there are as many as `tidelog.max.transactional.ids` permits.
    #[error("there are too many transactional ids")]
    TooManyTransactionalIds,
}
