//! AddOffsetsToTxn (key 25): enlists a group in a transaction before its offsets are sent. Clients of the second transaction
//! protocol do without it (KIP-890).

use kafka_protocol::messages::add_offsets_to_txn_request::AddOffsetsToTxnRequest;
use kafka_protocol::messages::add_offsets_to_txn_response::AddOffsetsToTxnResponse;

use super::shape;
use crate::api::context::Context;
use crate::api::error_code::NONE;
use crate::groups::coordinator::Answering;
use crate::transactions::Producer;

/// First version whose clients know PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;

/// Enlists the group.
pub fn handle(context: &Context, request: AddOffsetsToTxnRequest) -> Answering<AddOffsetsToTxnResponse> {
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let version = context.version;
    let added =
        context.services.transactions.add_offsets(&request.transactional_id, producer, &request.group_id);
    added.answer(move |result| {
        let code = result.map_or_else(|error| shape::code(&error, version, FENCED_FROM), |()| NONE);
        AddOffsetsToTxnResponse::default().with_error_code(code)
    })
}
