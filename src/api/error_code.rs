//! The only mapping from component errors to Kafka's error codes.

use kafka_protocol::ResponseError;

use crate::groups::error::GroupError;
use crate::metadata::{CreatePartitionsError, CreateTopicError, DeleteTopicError, SetOverridesError};
use crate::partition::registry::OpenError;
use crate::partition::{AppendError, OffsetError, ReadError};
use crate::record::{InvalidBatch, InvalidKind};
use crate::transactions::error::TransactionError;

/// No error.
pub const NONE: i16 = 0;

/// Kafka's code for an error, and what to tell the client.
pub trait ToCode {
    /// The error code of the wire protocol.
    fn code(&self) -> i16;
}

impl ToCode for ResponseError {
    fn code(&self) -> i16 {
        ResponseError::code(self)
    }
}

impl ToCode for InvalidBatch {
    fn code(&self) -> i16 {
        match self.kind() {
            InvalidKind::CorruptMessage => ResponseError::CorruptMessage,
            InvalidKind::InvalidRecord => ResponseError::InvalidRecord,
            InvalidKind::MessageTooLarge => ResponseError::MessageTooLarge,
            InvalidKind::UnsupportedCompressionType => ResponseError::UnsupportedCompressionType,
            InvalidKind::InvalidTimestamp => ResponseError::InvalidTimestamp,
            InvalidKind::UnsupportedForMessageFormat => ResponseError::UnsupportedForMessageFormat,
        }
        .code()
    }
}

impl ToCode for AppendError {
    fn code(&self) -> i16 {
        match self {
            AppendError::Invalid(invalid) => return ToCode::code(invalid),
            AppendError::OutOfOrderSequence { .. } => ResponseError::OutOfOrderSequenceNumber,
            AppendError::InvalidProducerEpoch { .. } => ResponseError::InvalidProducerEpoch,
            AppendError::NotEnlisted { .. } | AppendError::InvalidTxnState { .. } => {
                ResponseError::InvalidTxnState
            }
            AppendError::CoordinatorFenced { .. } => ResponseError::TransactionCoordinatorFenced,
            AppendError::NotEnoughReplicas { .. } => ResponseError::NotEnoughReplicas,
            AppendError::DiskFull | AppendError::OutOfFiles | AppendError::Storage(_) => {
                ResponseError::KafkaStorageError
            }
            AppendError::Closed => ResponseError::NotLeaderOrFollower,
            AppendError::TimedOut => ResponseError::RequestTimedOut,
        }
        .code()
    }
}

impl ToCode for ReadError {
    fn code(&self) -> i16 {
        match self {
            ReadError::OutOfRange { .. } => ResponseError::OffsetOutOfRange,
            ReadError::FencedEpoch { .. } => ResponseError::FencedLeaderEpoch,
            ReadError::UnknownEpoch { .. } => ResponseError::UnknownLeaderEpoch,
            ReadError::Storage(_) => ResponseError::KafkaStorageError,
            ReadError::Damaged(_) => ResponseError::CorruptMessage,
            ReadError::Closed => ResponseError::NotLeaderOrFollower,
        }
        .code()
    }
}

impl ToCode for OffsetError {
    fn code(&self) -> i16 {
        match self {
            OffsetError::Read(error) => ToCode::code(error),
            OffsetError::OutOfRange(_) => ResponseError::OffsetOutOfRange.code(),
        }
    }
}

impl ToCode for OpenError {
    fn code(&self) -> i16 {
        match self {
            OpenError::Storage(_) | OpenError::Offline(_) => ResponseError::KafkaStorageError,
            OpenError::Closed => ResponseError::NotLeaderOrFollower,
        }
        .code()
    }
}

impl ToCode for GroupError {
    fn code(&self) -> i16 {
        match self {
            GroupError::CoordinatorNotAvailable => ResponseError::CoordinatorNotAvailable,
            GroupError::NotCoordinator => ResponseError::NotCoordinator,
            GroupError::InvalidGroupId => ResponseError::InvalidGroupId,
            GroupError::GroupIdNotFound(_) => ResponseError::GroupIdNotFound,
            GroupError::UnknownMemberId => ResponseError::UnknownMemberId,
            GroupError::MemberIdRequired => ResponseError::MemberIdRequired,
            GroupError::IllegalGeneration => ResponseError::IllegalGeneration,
            GroupError::FencedInstanceId => ResponseError::FencedInstanceId,
            GroupError::UnreleasedInstanceId(_) => ResponseError::UnreleasedInstanceId,
            GroupError::FencedMemberEpoch(_) => ResponseError::FencedMemberEpoch,
            GroupError::StaleMemberEpoch => ResponseError::StaleMemberEpoch,
            GroupError::RebalanceInProgress => ResponseError::RebalanceInProgress,
            GroupError::InconsistentGroupProtocol => ResponseError::InconsistentGroupProtocol,
            GroupError::InvalidSessionTimeout => ResponseError::InvalidSessionTimeout,
            GroupError::GroupMaxSizeReached => ResponseError::GroupMaxSizeReached,
            GroupError::UnsupportedAssignor(_) => ResponseError::UnsupportedAssignor,
            GroupError::InvalidRegularExpression(_) => ResponseError::InvalidRegularExpression,
            GroupError::InvalidRequest(_) => ResponseError::InvalidRequest,
            GroupError::UnsupportedVersion(_) => ResponseError::UnsupportedVersion,
            GroupError::NonEmptyGroup => ResponseError::NonEmptyGroup,
            GroupError::GroupSubscribedToTopic => ResponseError::GroupSubscribedToTopic,
            GroupError::InvalidProducerEpoch => ResponseError::InvalidProducerEpoch,
            GroupError::OffsetMetadataTooLarge => ResponseError::OffsetMetadataTooLarge,
        }
        .code()
    }
}

impl ToCode for TransactionError {
    fn code(&self) -> i16 {
        match self {
            TransactionError::CoordinatorNotAvailable => ResponseError::CoordinatorNotAvailable,
            TransactionError::NotCoordinator => ResponseError::NotCoordinator,
            TransactionError::InvalidRequest => ResponseError::InvalidRequest,
            TransactionError::InvalidTransactionTimeout => ResponseError::InvalidTransactionTimeout,
            TransactionError::InvalidProducerIdMapping => ResponseError::InvalidProducerIdMapping,
            TransactionError::ProducerFenced => ResponseError::ProducerFenced,
            TransactionError::ConcurrentTransactions => ResponseError::ConcurrentTransactions,
            TransactionError::InvalidTxnState => ResponseError::InvalidTxnState,
            TransactionError::TransactionAbortable => ResponseError::TransactionAbortable,
            TransactionError::TransactionalIdNotFound => ResponseError::TransactionalIdNotFound,
            // Final for the client, and it names no other cause.
            TransactionError::TooManyTransactionalIds => ResponseError::PolicyViolation,
        }
        .code()
    }
}

impl ToCode for CreateTopicError {
    fn code(&self) -> i16 {
        match self {
            CreateTopicError::Name(_) | CreateTopicError::NameCollision { .. } => {
                ResponseError::InvalidTopicException
            }
            CreateTopicError::Exists { .. } => ResponseError::TopicAlreadyExists,
            CreateTopicError::PartitionCount { .. } => ResponseError::InvalidPartitions,
            CreateTopicError::TooManyPartitions { .. } => ResponseError::InvalidPartitions,
            CreateTopicError::OverridesTooLarge => ResponseError::InvalidConfig,
            CreateTopicError::Logs { .. } | CreateTopicError::Journal(_) => ResponseError::KafkaStorageError,
        }
        .code()
    }
}

impl ToCode for DeleteTopicError {
    fn code(&self) -> i16 {
        match self {
            DeleteTopicError::UnknownName(_) => ResponseError::UnknownTopicOrPartition,
            DeleteTopicError::UnknownId(_) => ResponseError::UnknownTopicId,
            DeleteTopicError::Journal(_) => ResponseError::KafkaStorageError,
        }
        .code()
    }
}

impl ToCode for CreatePartitionsError {
    fn code(&self) -> i16 {
        match self {
            CreatePartitionsError::UnknownName(_) => ResponseError::UnknownTopicOrPartition,
            CreatePartitionsError::NotMore { .. } | CreatePartitionsError::TooManyPartitions { .. } => {
                ResponseError::InvalidPartitions
            }
            CreatePartitionsError::Logs { .. } | CreatePartitionsError::Journal(_) => {
                ResponseError::KafkaStorageError
            }
        }
        .code()
    }
}

impl ToCode for SetOverridesError {
    fn code(&self) -> i16 {
        match self {
            SetOverridesError::UnknownName(_) => ResponseError::UnknownTopicOrPartition,
            SetOverridesError::UnknownId(_) => ResponseError::UnknownTopicId,
            SetOverridesError::TooLarge => ResponseError::InvalidConfig,
            SetOverridesError::Journal(_) => ResponseError::KafkaStorageError,
        }
        .code()
    }
}
