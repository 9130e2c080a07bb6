//! DescribeTransactions (key 65): the state of transactional ids (KIP-664).

use kafka_protocol::messages::describe_transactions_request::DescribeTransactionsRequest;
use kafka_protocol::messages::describe_transactions_response::{
    DescribeTransactionsResponse, TopicData, TransactionState,
};
use kafka_protocol::messages::{ProducerId, TransactionalId};
use kafka_protocol::protocol::StrBytes;

use super::shape;
use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::groups::coordinator::Answering;
use crate::metadata::MetadataImage;
use crate::transactions::coordinator::Described;
use crate::transactions::error::TransactionError;

/// Describes each id.
pub fn handle(
    context: &Context,
    request: DescribeTransactionsRequest,
) -> Answering<DescribeTransactionsResponse> {
    let image = context.services.image();
    let answers = request.transactional_ids.into_iter().map(|id| {
        let image = image.clone();
        let described = context.services.transactions.describe(&id);
        described.answer(move |result| shaped(&image, id, result))
    });
    Answering::all(answers.collect())
        .map(|states| DescribeTransactionsResponse::default().with_transaction_states(states))
}

fn shaped(
    image: &MetadataImage,
    id: TransactionalId,
    result: Result<Described, TransactionError>,
) -> TransactionState {
    let state = TransactionState::default().with_transactional_id(id);
    let described = match result {
        Ok(described) => described,
        Err(error) => return state.with_error_code(error.code()),
    };
    let topics = shape::by_topic(image, &described.enlisted)
        .into_iter()
        .map(|(name, partitions)| TopicData::default().with_topic(name).with_partitions(partitions));
    state
        .with_transaction_state(StrBytes::from_static_str(described.state))
        .with_transaction_timeout_ms(described.timeout_ms)
        .with_transaction_start_time_ms(described.started_at_ms.unwrap_or(-1))
        .with_producer_id(ProducerId(described.producer.id))
        .with_producer_epoch(described.producer.epoch)
        .with_topics(topics.collect())
}
