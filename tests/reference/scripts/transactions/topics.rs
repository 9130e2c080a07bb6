//! Topics that go while a transaction is in them.

use kafka_protocol::messages::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;

use super::{ended, enlist, look, producer, write};
use crate::play::play;
use crate::requests;
use crate::transaction_requests::{add, describe, end};

/// DeleteTopics of one topic by its name.
fn delete(name: &str) -> DeleteTopicsRequest {
    let state = DeleteTopicState::default().with_name(Some(requests::topic(name)));
    DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(requests::LONG_MS)
}

#[test]
fn deleted_topics() {
    play("deleted-topics", |s| {
        let (topic, other) = (s.topic("topic", 1), s.topic("other", 1));
        let (id, of) = producer(s, "a");
        write(s, &id, of, &topic, 0, 0, "a1");
        write(s, &id, of, &other, 0, 0, "a2");
        s.step("one of two topics goes");
        s.call("x", 6, &delete(&topic));
        s.repeat("x", 3, &add(&id, of, &[(&topic, &[0])]), |answer| {
            answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code == 3
        });
        s.step("the transaction is committed all the same");
        s.call("x", 5, &end(&id, of, true));
        s.until_transaction(&id, "CompleteCommit");
        s.call("x", 0, &describe(&[&id]));
        look(s, &id, &other);
        s.step("the only topic goes that was enlisted");
        let of = of.plus(1);
        enlist(s, &id, of, &[(&other, &[0])]);
        s.call("x", 6, &delete(&other));
        ended(s, &id, of, false);
        s.call("x", 0, &describe(&[&id]));
    });
}
