//! What Apache Kafka 4.3.1 answered to random heartbeats, and what is answered here.
//!
//! `tests/golden/reference-heartbeats.txt` was recorded from a broker with `group.consumer.assignment.interval.ms=0` and
//! `group.consumer.max.size=7`, with topics `a` of 4, `b` of 2 and `c` of 420 partitions (which up to seven members
//! share evenly, whatever the assignor prefers). A line `group` begins a group; the others are
//!
//! ```text
//!   client  member-id  epoch  owned  topics  >  error-code  member-epoch  number of partitions told
//! ```
//!
//! Epoch and owned partitions are named by what the client knows, since two assignors need not choose the same partitions:
//! its epoch is `current`, `prev`, `greater`, `smaller`, `zero`, or it leaves or pauses; it owns what it `held` before it gave
//! anything up, the `latest` it was told, or says nothing. Clients 3 and 4 are static members.

use std::collections::HashMap;

use super::super::assign::Partitions;
use super::super::error::GroupError;
use super::super::request::ConsumerHeartbeat;
use super::LEFT_FOR_A_WHILE;
use super::testing::*;

const RECORDED: &str = include_str!("../../../tests/golden/reference-heartbeats.txt");

#[derive(Debug, Clone, Default)]
struct Client {
    id: String,
    epoch: i32,
    previous: i32,
    held: Partitions,
    latest: Partitions,
}

impl Client {
    fn lose_all(&mut self) {
        *self = Self { id: self.id.clone(), ..Self::default() };
    }

    fn owned(&self, which: &str) -> Option<Partitions> {
        match which {
            "none" => None,
            "held" => Some(self.held.clone()),
            "latest" => Some(self.latest.clone()),
            "empty" => Some(Partitions::default()),
            other => panic!("{other}"),
        }
    }

    fn epoch(&self, which: &str) -> i32 {
        match which {
            "current" => self.epoch,
            "prev" => self.previous,
            "greater" => self.epoch + 1,
            "smaller" => self.epoch - 2,
            "zero" => 0,
            "leave" => -1,
            "pause" => LEFT_FOR_A_WHILE,
            other => panic!("{other}"),
        }
    }
}

fn code(error: &GroupError) -> i16 {
    match error {
        GroupError::UnknownMemberId => 25,
        GroupError::GroupIdNotFound(_) => 69,
        GroupError::GroupMaxSizeReached => 81,
        GroupError::FencedInstanceId => 82,
        GroupError::FencedMemberEpoch(_) => 110,
        GroupError::UnreleasedInstanceId(_) => 111,
        error => panic!("{error:?}"),
    }
}

#[test]
fn heartbeats_are_answered_as_kafka_answers_them() {
    let mut tested = Tested::new();
    let mut clients: HashMap<&str, Client> = HashMap::new();
    let mut compared = 0;
    for (number, line) in RECORDED.lines().enumerate() {
        if line == "group" {
            tested = Tested::new();
            tested.limits.members_max = 7;
            tested.topics.create("c", 420);
            clients.clear();
            continue;
        }
        let (asked, answered) = line.split_once(" > ").expect("a question and an answer");
        let [client, id, epoch, owned, topics] = asked.split(' ').collect::<Vec<_>>()[..] else {
            panic!("line {number}: {line}");
        };
        let state = clients.entry(client).or_default();
        if state.id != id {
            *state = Client { id: id.to_owned(), ..Client::default() };
        }
        let topics: Option<Vec<&str>> = match topics {
            "-" => None,
            "." => Some(Vec::new()),
            topics => Some(topics.split(',').collect()),
        };
        let is_joining = epoch == "zero";
        let request = ConsumerHeartbeat {
            instance_id: matches!(client, "3" | "4").then(|| format!("i{client}")),
            rebalance_timeout_ms: if is_joining { 60_000 } else { -1 },
            topics: topics.as_deref().map(names),
            owned: state.owned(owned),
            ..beat(id, state.epoch(epoch))
        };
        let reported = request.owned.clone();
        let answer = tested.heartbeat(request);
        let shown = match &answer {
            Ok(answer) => {
                let told = answer.assignment.as_ref().map_or("-".to_owned(), |all| all.len().to_string());
                format!("0 {} {told}", answer.member_epoch)
            }
            Err(error) => format!("{} 0 -", code(error)),
        };
        assert_eq!(shown, answered, "line {}: {line}\n{state:?}", number + 1);
        compared += 1;
        match answer {
            Ok(_) if matches!(epoch, "leave" | "pause") => state.lose_all(),
            Ok(answer) => {
                if matches!(owned, "latest" | "empty") {
                    state.held = reported.unwrap_or_default();
                }
                if answer.member_epoch != state.epoch {
                    state.previous = state.epoch;
                }
                state.epoch = answer.member_epoch;
                if let Some(assignment) = answer.assignment {
                    state.held = state.held.union(&assignment);
                    state.latest = assignment;
                }
            }
            Err(
                GroupError::UnknownMemberId | GroupError::FencedMemberEpoch(_) | GroupError::FencedInstanceId,
            ) => state.lose_all(),
            Err(_) => {}
        }
    }
    assert!(compared > 500, "only {compared} answers were compared");
}
