//! InitProducerId (key 22): a producer id for an idempotent producer (KIP-98), or the next epoch for a transactional one,
//! which ends what an earlier producer of the same transactional id had begun (KIP-360).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::init_producer_id_request::InitProducerIdRequest;
use kafka_protocol::messages::init_producer_id_response::InitProducerIdResponse;
use tracing::error;

use super::shape;
use crate::api::context::Context;
use crate::transactions::Producer;

/// First version whose clients know PRODUCER_FENCED.
const FENCED_FROM: i16 = 4;
/// "None" for a producer id, and for an epoch.
const NONE: i64 = -1;

/// Without a transactional id: a new producer id with epoch 0. With one: its producer id with the next epoch.
pub async fn handle(context: Context, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let services = &context.services;
    let known = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    // Versions before 3 have neither field, and read as "none".
    if (known.id == NONE) != (i64::from(known.epoch) == NONE) {
        return refused(ResponseError::InvalidRequest.code());
    }
    let Some(transactional_id) = request.transactional_id else {
        return match services.producer_ids.next().await {
            Ok(id) => given(Producer { id, epoch: 0 }),
            Err(error) => {
                error!(%error, "no producer id can be given out");
                refused(ResponseError::CoordinatorNotAvailable.code())
            }
        };
    };
    let expected = Some(known).filter(|known| known.id != NONE);
    let initialized = services
        .transactions
        .init_producer_id(&transactional_id, request.transaction_timeout_ms, expected)
        .await;
    match initialized {
        Ok(producer) => given(producer),
        Err(error) => refused(shape::code(&error, context.version, FENCED_FROM)),
    }
}

fn given(producer: Producer) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
}

fn refused(code: i16) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(code)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}
