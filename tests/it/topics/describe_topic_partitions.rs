//! DescribeTopicPartitions: topics in pages, and where the next page begins.

use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use crate::support::{TestBroker, request};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_TOPIC_EXCEPTION: i16 = 17;

fn ask(names: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> DescribeTopicPartitionsRequest {
    let topics = names.iter().map(|name| TopicRequest::default().with_name(request::name(name)));
    let cursor = cursor.map(|(topic, index)| {
        Cursor::default().with_topic_name(request::name(topic)).with_partition_index(index)
    });
    DescribeTopicPartitionsRequest::default()
        .with_topics(topics.collect())
        .with_response_partition_limit(limit)
        .with_cursor(cursor)
}

fn told(response: &DescribeTopicPartitionsResponse) -> Vec<(String, Vec<i32>)> {
    response
        .topics
        .iter()
        .map(|topic| {
            let name = topic.name.as_ref().expect("a name").to_string();
            (name, topic.partitions.iter().map(|partition| partition.partition_index).collect())
        })
        .collect()
}

fn next(response: &DescribeTopicPartitionsResponse) -> Option<(String, i32)> {
    response.next_cursor.as_ref().map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index))
}

#[test]
fn pages_follow_each_other_without_gap_or_repeat() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for (name, partitions) in [("c", 2), ("a", 3), ("b", 4)] {
        client.create_topic(name, partitions, &[]);
    }
    for names in [&[][..], &["b", "c", "a"]] {
        for limit in 1..=10 {
            let mut cursor: Option<(String, i32)> = None;
            let mut all = Vec::new();
            for _page in 0..9 {
                let from = cursor.as_ref().map(|(topic, index)| (topic.as_str(), *index));
                let response = client.call(0, &ask(names, limit, from));
                let page: Vec<_> = told(&response)
                    .into_iter()
                    .flat_map(|(name, indexes)| indexes.into_iter().map(move |index| (name.clone(), index)))
                    .collect();
                assert!(
                    !page.is_empty() && page.len() <= limit as usize,
                    "limit {limit} from {cursor:?}: {page:?}"
                );
                all.extend(page);
                cursor = next(&response);
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(cursor, None, "limit {limit}");
            let expected: Vec<_> = [("a", 3), ("b", 4), ("c", 2)]
                .into_iter()
                .flat_map(|(name, count)| (0..count).map(move |index| (name.to_owned(), index)))
                .collect();
            assert_eq!(all, expected, "limit {limit}");
        }
    }
}

#[test]
fn the_brokers_limit_holds_over_the_clients() {
    let broker = TestBroker::with(&[("max.request.partition.size.limit", "2")]);
    let mut client = broker.client();
    client.create_topic("t", 5, &[]);
    let response = client.call(0, &ask(&["t"], 1_000, None));
    assert_eq!(
        (told(&response), next(&response)),
        (vec![("t".to_owned(), vec![0, 1])], Some(("t".to_owned(), 2)))
    );
}

#[test]
fn what_does_not_exist_is_told_in_its_place() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("m", 1, &[]);
    let response = client.call(0, &ask(&["nowhere", "m", "a/b"], 10, None));
    let codes: Vec<_> = response
        .topics
        .iter()
        .map(|topic| (topic.name.as_ref().expect("a name").to_string(), topic.error_code))
        .collect();
    let expected = [("a/b", INVALID_TOPIC_EXCEPTION), ("m", 0), ("nowhere", UNKNOWN_TOPIC_OR_PARTITION)];
    assert_eq!(codes, expected.map(|(name, code)| (name.to_owned(), code)));
}

#[test]
fn cursors_that_point_nowhere() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    client.create_topic("b", 2, &[]);
    client.create_topic("d", 2, &[]);
    let page = |client: &mut crate::support::Client, topic: &str, index: i32| {
        told(&client.call(0, &ask(&[], 10, Some((topic, index)))))
            .into_iter()
            .filter(|(_, indexes)| !indexes.is_empty())
            .collect::<Vec<_>>()
    };
    // A topic that was deleted between two pages: the page begins behind it.
    assert_eq!(page(&mut client, "c", 1), [("d".to_owned(), vec![0, 1])]);
    assert_eq!(page(&mut client, "b", 7), [("d".to_owned(), vec![0, 1])]);
    assert_eq!(page(&mut client, "z", 0), []);
}
