//! InitProducerId (key 22): a producer id for an idempotent producer (KIP-98, KIP-360).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::init_producer_id_request::InitProducerIdRequest;
use kafka_protocol::messages::init_producer_id_response::InitProducerIdResponse;
use tracing::error;

use crate::api::context::Context;

/// Gives out a new id with epoch 0, never given before. Transactional producers are refused: transactions are not
/// served, and an id without their guarantees would lie to them.
pub async fn handle(context: Context, request: InitProducerIdRequest) -> InitProducerIdResponse {
    if request.transactional_id.as_ref().is_some_and(|id| id.is_empty()) {
        return refused(ResponseError::InvalidRequest);
    }
    if request.transactional_id.is_some() {
        return refused(ResponseError::TransactionalIdAuthorizationFailed);
    }
    match context.services.producer_ids.next().await {
        Ok(producer_id) => {
            InitProducerIdResponse::default().with_producer_id(ProducerId(producer_id)).with_producer_epoch(0)
        }
        Err(error) => {
            error!(%error, "no producer id can be given out");
            refused(ResponseError::CoordinatorNotAvailable)
        }
    }
}

fn refused(error: ResponseError) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(error.code())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}
