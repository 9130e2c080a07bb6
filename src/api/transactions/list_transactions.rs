//! ListTransactions (key 66): all transactional ids, by state, producer, age (KIP-994) and pattern (KIP-1152).

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_transactions_request::ListTransactionsRequest;
use kafka_protocol::messages::list_transactions_response::{ListTransactionsResponse, TransactionState};
use kafka_protocol::messages::{ProducerId, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use regex::{Regex, RegexBuilder};

use crate::api::context::Context;
use crate::api::error_code::ToCode;
use crate::groups::coordinator::Answering;
use crate::transactions::State;
use crate::transactions::coordinator::Listed;

/// Bytes that a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Which ids are wanted.
struct Filter {
    states: HashSet<State>,
    any_state: bool,
    producer_ids: HashSet<i64>,
    /// Only transactions that are open for longer, milliseconds; negative for all.
    longer_than_ms: i64,
    pattern: Option<Regex>,
    now_ms: i64,
}

/// Lists what passes all filters.
pub fn handle(context: &Context, request: ListTransactionsRequest) -> Answering<ListTransactionsResponse> {
    let mut unknown = Vec::new();
    let mut states = HashSet::new();
    let any_state = request.state_filters.is_empty();
    for name in request.state_filters {
        match State::by_name(&name) {
            Some(state) => drop(states.insert(state)),
            // States that Kafka has a name for, and that nothing here is ever in.
            None if matches!(name.as_str(), "Dead" | "PrepareEpochFence") => {}
            None => unknown.push(name),
        }
    }
    let pattern = request.transactional_id_pattern.filter(|pattern| !pattern.is_empty());
    let pattern = match pattern.map(|pattern| whole(&pattern)).transpose() {
        Ok(pattern) => pattern,
        Err(_) => {
            let code = ResponseError::InvalidRegularExpression.code();
            return Answering::Now(ListTransactionsResponse::default().with_error_code(code));
        }
    };
    let filter = Filter {
        states,
        any_state,
        producer_ids: request.producer_id_filters.into_iter().map(|id| id.0).collect(),
        longer_than_ms: request.duration_filter,
        pattern,
        now_ms: context.services.now_ms(),
    };
    context.services.transactions.list(move |listed| filter.admits(listed)).answer(move |result| match result
    {
        Ok(listed) => {
            let states = listed.into_iter().map(shaped).collect();
            ListTransactionsResponse::default()
                .with_unknown_state_filters(unknown)
                .with_transaction_states(states)
        }
        Err(error) => ListTransactionsResponse::default().with_error_code(error.code()),
    })
}

/// A pattern that has to match all of an id, as in Kafka.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    // By itself first: it might close the brackets that it is put into.
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build()?;
    RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build()
}

impl Filter {
    fn admits(&self, listed: &Listed) -> bool {
        (self.any_state || self.states.contains(&listed.state))
            && (self.producer_ids.is_empty() || self.producer_ids.contains(&listed.producer_id))
            && (self.longer_than_ms < 0
                || self.now_ms.saturating_sub(listed.started_at_ms) > self.longer_than_ms)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&listed.transactional_id))
    }
}

fn shaped(listed: Listed) -> TransactionState {
    let id = StrBytes::from_string(listed.transactional_id.to_string());
    TransactionState::default()
        .with_transactional_id(TransactionalId(id))
        .with_producer_id(ProducerId(listed.producer_id))
        .with_transaction_state(StrBytes::from_static_str(listed.state.name()))
}
