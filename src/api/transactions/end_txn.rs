//! EndTxn (key 26): commits or aborts a transaction. From version 5 on the epoch rises with every transaction, so that no
//! straggler of one can fall into the next (KIP-890).

use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::end_txn_request::EndTxnRequest;
use kafka_protocol::messages::end_txn_response::EndTxnResponse;

use super::shape;
use crate::api::context::Context;
use crate::groups::coordinator::Answering;
use crate::record::TransactionOutcome;
use crate::transactions::Producer;
use crate::transactions::Protocol;

/// First version of the second transaction protocol.
const SECOND_PROTOCOL_FROM: i16 = 5;
/// First version whose clients know PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;

/// Answers when the outcome is decided for good and its markers are written.
pub fn handle(context: &Context, request: EndTxnRequest) -> Answering<EndTxnResponse> {
    let version = context.version;
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let outcome = match request.committed {
        true => TransactionOutcome::Commit,
        false => TransactionOutcome::Abort,
    };
    let protocol = if version >= SECOND_PROTOCOL_FROM { Protocol::Second } else { Protocol::First };
    let ended = context.services.transactions.end(&request.transactional_id, producer, outcome, protocol);
    ended.answer(move |result| match result {
        Ok(next) => {
            EndTxnResponse::default().with_producer_id(ProducerId(next.id)).with_producer_epoch(next.epoch)
        }
        Err(error) => EndTxnResponse::default()
            .with_error_code(shape::code(&error, version, FENCED_FROM))
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    })
}
