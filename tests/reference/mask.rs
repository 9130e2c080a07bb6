//! What differs from run to run is given a name: member ids, topic ids, ports, the run's own suffix.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::{Buf, Bytes};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ConsumerProtocolSubscription;
use kafka_protocol::protocol::Decodable;

use super::records;
use super::requests::SUBSCRIPTION_VERSION;
use super::support::batch;
use super::value::Value;

/// Length of a UUID with hyphens.
const UUID_LEN: usize = 36;
/// Length of a UUID as Kafka writes it, in URL-safe Base64. Names in scripts have another length.
const BASE64_LEN: usize = 22;
/// Topics of coordinators that no script is about. They are there once somebody has asked for them.
const NOT_SHOWN: [&str; 2] = ["__transaction_state", "__share_group_state"];
/// The UUID of no topic.
const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// The names of one script's run.
pub struct Mask {
    prefix: String,
    suffix: String,
    topics: HashMap<String, String>,
    members: Vec<(String, String)>,
    producers: Vec<String>,
}

impl Mask {
    /// `run` is in every name that the script gives, so that a broker can be asked more than once.
    pub fn new(script: &str, run: &str) -> Mask {
        // Before anything that a broker does.
        script_time_ms();
        Mask {
            prefix: format!("{script}."),
            suffix: format!("--{run}"),
            topics: HashMap::new(),
            members: Vec::new(),
            producers: Vec::new(),
        }
    }

    /// What a topic or a group of the script is really called.
    pub fn real_name(&self, name: &str) -> String {
        format!("{}{name}{}", self.prefix, self.suffix)
    }

    /// From now on this UUID reads as the topic.
    pub fn know_topic(&mut self, id: uuid::Uuid, name: &str) {
        self.topics.insert(id.to_string(), format!("<topic:{name}>"));
    }

    /// From now on this producer id has a name.
    pub fn know_producer(&mut self, id: i64) {
        self.producer(&id.to_string(), true);
    }

    /// A message to be shown: what is random has a name, and error messages are taken out into `messages`.
    /// The order of an answer's lists means nothing to a client.
    pub fn message(&mut self, value: Value, is_answer: bool, messages: &mut Vec<String>) -> Value {
        self.field("", value, is_answer, messages)
    }

    fn field(&mut self, name: &str, value: Value, is_answer: bool, messages: &mut Vec<String>) -> Value {
        match (name, value) {
            (_, Value::Struct(fields)) => {
                // Which one a group is in depends on its name, and that on the run.
                let is_of_groups =
                    fields.contains(&("topic".to_owned(), Value::Text("__consumer_offsets".into())));
                let fields =
                    fields.into_iter().map(|(name, value)| match name == "partitions" && is_of_groups {
                        true => (name, Value::Word("<a partition of groups>".into())),
                        false => (name, value),
                    });
                let fields =
                    fields.filter(|(name, _)| name != "unknown_tagged_fields" && name != "throttle_time_ms");
                let fields = fields
                    .map(|(name, value)| {
                        let value = self.field(&name, value, is_answer, messages);
                        (name, value)
                    })
                    .collect();
                Value::Struct(fields)
            }
            (_, Value::List(mut values)) => {
                values.retain(|value| !is_answer || self.is_of_this_script(value));
                let masked = values.into_iter().map(|value| self.field(name, value, is_answer, messages));
                let mut values: Vec<Value> = masked.collect();
                if is_answer {
                    values.sort();
                }
                Value::List(values)
            }
            (name, Value::Word(code)) if name.ends_with("error_code") => Value::Word(error_name(&code)),
            (name, Value::Word(id)) if name.contains("producer_id") => {
                Value::Word(self.producer(&id, is_answer))
            }
            (
                "transaction_start_time_ms" | "timestamp" | "last_timestamp" | "log_append_time_ms",
                Value::Word(time),
            ) => Value::Word(time_name(time)),
            ("records", Value::Bytes(bytes)) => {
                let named = |id: i64| self.known_producer(&id.to_string());
                Value::Word(records::shown(&unescaped(&bytes), named))
            }
            // An empty message is none to some clients.
            ("error_message", Value::Text(text)) if !text.is_empty() => {
                messages.push(self.text(&text));
                Value::Word("<message>".into())
            }
            ("port", Value::Word(port)) if is_answer && port != "-1" && port != "0" => {
                Value::Word("<port>".into())
            }
            ("cluster_id", Value::Text(_)) => Value::Word("<cluster>".into()),
            ("member_id", Value::Text(id)) if is_base64_uuid(&id) => {
                self.member(&id);
                Value::Text(self.text(&id))
            }
            (_, Value::Text(text)) if is_filling(&text) => Value::Word(format!(
                "<{} times {}>",
                text.chars().count(),
                text.chars().next().unwrap_or_default()
            )),
            (_, Value::Text(text)) => Value::Text(self.text(&text)),
            ("metadata" | "member_metadata", Value::Bytes(bytes)) => match subscription(&bytes) {
                Some(subscription) => Value::Word(self.text(&subscription)),
                None => Value::Bytes(self.text(&bytes)),
            },
            (_, Value::Bytes(bytes)) => Value::Bytes(self.text(&bytes)),
            (_, Value::Word(word)) if word == NIL => Value::Word("<nil>".into()),
            (_, Value::Word(word)) if is_uuid(word.as_bytes()) => {
                let known = self.topics.get(&word).cloned();
                Value::Word(known.unwrap_or_else(|| "<unknown id>".into()))
            }
            (_, other) => other,
        }
    }

    /// Other scripts' groups and topics may be on the same broker.
    fn is_of_this_script(&self, value: &Value) -> bool {
        let names = ["group_id", "resource_name", "transactional_id", "name"];
        let named = names.iter().find_map(|name| match value.field(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        });
        named.is_none_or(|name| {
            if NOT_SHOWN.contains(&name.as_str()) {
                return false;
            }
            !name.contains("--") || (name.starts_with(&self.prefix) && name.ends_with(&self.suffix))
        })
    }

    /// A text in which what is random has a name.
    fn text(&mut self, text: &str) -> String {
        let bytes = text.as_bytes();
        for at in 0..bytes.len() {
            if let Some(candidate) = bytes.get(at..at + UUID_LEN)
                && is_uuid(candidate)
                && candidate != NIL.as_bytes()
            {
                let id = String::from_utf8_lossy(candidate).into_owned();
                if !self.topics.contains_key(&id) {
                    self.member(&id);
                }
            }
        }
        let mut masked = text.replace(&self.suffix, "");
        for (id, name) in self.topics.iter().chain(self.members.iter().map(|m| (&m.0, &m.1))) {
            masked = masked.replace(id.as_str(), name);
        }
        masked
    }

    /// The name of a producer id. One that no answer gave out was made up by the script, and has none.
    fn producer(&mut self, id: &str, is_answer: bool) -> String {
        let is_id = id.parse().is_ok_and(|id: i64| id >= 0);
        if is_answer && is_id && !self.producers.iter().any(|known| known == id) {
            self.producers.push(id.to_owned());
        }
        self.known_producer(id)
    }

    fn known_producer(&self, id: &str) -> String {
        let at = self.producers.iter().position(|known| known == id);
        at.map_or(id.to_owned(), |at| format!("<producer-{}>", at + 1))
    }

    fn member(&mut self, id: &str) {
        if !self.members.iter().any(|(known, _)| known == id) {
            self.members.push((id.to_owned(), format!("<member-{}>", self.members.len() + 1)));
        }
    }
}

/// One character over and over, to make a text too long.
fn is_filling(text: &str) -> bool {
    const LONG: usize = 100;
    let mut chars = text.chars();
    let first = chars.next();
    text.len() > LONG && chars.all(|next| Some(next) == first)
}

/// The code's name in Kafka.
fn error_name(code: &str) -> String {
    let number: i16 = code.parse().unwrap_or(i16::MAX);
    if number == 0 {
        return "NONE".into();
    }
    let name = ResponseError::try_from_code(number).map_or(code.to_owned(), |error| format!("{error:?}"));
    let mut upper = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !upper.is_empty() {
            upper.push('_');
        }
        upper.push(letter.to_ascii_uppercase());
    }
    upper
}

/// The time of all records that scripts send, milliseconds since the epoch. A broker would soon remove old ones.
pub fn script_time_ms() -> i64 {
    static AT: LazyLock<i64> = LazyLock::new(batch::now_ms);
    *AT
}

/// Times that brokers and scripts take from the clock have names. Others have a meaning.
fn time_name(time: String) -> String {
    match time.parse().map(|at: i64| at.cmp(&script_time_ms())) {
        Ok(Ordering::Equal) => "<script's time>".into(),
        Ok(Ordering::Greater) => "<time>".into(),
        _ => time,
    }
}

/// What a consumer says of itself in the classic protocol, when it says that.
fn subscription(escaped: &str) -> Option<String> {
    let mut bytes = Bytes::from(unescaped(escaped));
    if bytes.len() < 2 || bytes.get_i16() != SUBSCRIPTION_VERSION {
        return None;
    }
    let subscription = ConsumerProtocolSubscription::decode(&mut bytes, SUBSCRIPTION_VERSION).ok()?;
    let topics: Vec<_> = subscription.topics.iter().map(|topic| topic.as_str()).collect();
    let owned = subscription.owned_partitions.iter();
    let owned: String =
        owned.map(|topic| format!(", owns {} {:?}", topic.topic.as_str(), topic.partitions)).collect();
    Some(format!("<subscribes to {}{owned}>", topics.join(", ")))
}

/// The bytes of a Rust byte string.
fn unescaped(escaped: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = escaped.chars();
    while let Some(next) = chars.next() {
        bytes.push(match next {
            '\\' => match chars.next() {
                Some('x') => {
                    let digits: String = chars.by_ref().take(2).collect();
                    u8::from_str_radix(&digits, 16).expect("two digits follow \\x")
                }
                Some('0') => 0,
                Some('n') => b'\n',
                Some('r') => b'\r',
                Some('t') => b'\t',
                Some(other) => other as u8,
                None => b'\\',
            },
            other => other as u8,
        });
    }
    bytes
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == UUID_LEN
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_base64_uuid(text: &str) -> bool {
    text.len() == BASE64_LEN
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, text: &str) -> Value {
        Value::Struct(vec![(name.to_owned(), Value::Text(text.to_owned()))])
    }

    #[test]
    fn generated_ids_are_named_in_the_order_of_their_appearance() {
        let mut mask = Mask::new("s", "run");
        let (a, b) = ("5f0c1a44-38a4-4d8e-8f5b-3b0a52b6d0f1", "5f0c1a44-38a4-4d8e-8f5b-3b0a52b6d0f2");
        let mut shown = |value| mask.message(value, true, &mut Vec::new()).to_string();
        assert_eq!(shown(text("member_id", &format!("it-{b}"))), "{member_id: \"it-<member-1>\"}");
        assert_eq!(shown(text("leader", &format!("it-{a}"))), "{leader: \"it-<member-2>\"}");
        assert_eq!(shown(text("member_id", "AAECAwQFBgcICQoLDA0ODw")), "{member_id: \"<member-3>\"}");
        assert_eq!(shown(text("leader", &format!("it-{b}"))), "{leader: \"it-<member-1>\"}");
    }

    #[test]
    fn a_consumers_metadata_is_read() {
        let bytes = crate::requests::subscription(&["s.a--1", "s.b--1"], &[("s.a--1", &[0, 258])]);
        let metadata = Value::Struct(vec![("metadata".to_owned(), Value::of(&bytes))]);
        let shown = Mask::new("s", "1").message(metadata, true, &mut Vec::new()).to_string();
        assert_eq!(shown, "{metadata: <subscribes to s.a, s.b, owns s.a [0, 258]>}");
    }

    #[test]
    fn producer_ids_have_names_once_a_broker_gave_them_out() {
        let mut mask = Mask::new("s", "1");
        let id = |id: &str| Value::Struct(vec![("producer_id".to_owned(), Value::Word(id.to_owned()))]);
        let mut shown = |id, is_answer| mask.message(id, is_answer, &mut Vec::new()).to_string();
        assert_eq!(shown(id("4000"), false), "{producer_id: 4000}");
        assert_eq!(shown(id("4001"), true), "{producer_id: <producer-1>}");
        assert_eq!(shown(id("4000"), true), "{producer_id: <producer-2>}");
        assert_eq!(shown(id("4000"), false), "{producer_id: <producer-2>}");
        assert_eq!(shown(id("-1"), true), "{producer_id: -1}");
    }

    #[test]
    fn lists_show_what_the_script_made_and_nothing_of_others() {
        let mut mask = Mask::new("s", "1");
        let names = ["t.g--1", "s.b--1", "s.a--1", "s.a--2", "__consumer_offsets"];
        let list = Value::List(names.iter().map(|name| text("name", name)).collect());
        let shown = mask.message(list, true, &mut Vec::new()).to_string();
        assert_eq!(shown, "[{name: \"__consumer_offsets\"}, {name: \"s.a\"}, {name: \"s.b\"}]");
    }

    #[test]
    fn error_codes_have_kafkas_names_and_messages_stand_apart() {
        let mut mask = Mask::new("s", "1");
        let fields = vec![
            ("error_code".to_owned(), Value::Word("25".into())),
            ("error_message".to_owned(), Value::Text("no s.a--1".into())),
        ];
        let mut messages = Vec::new();
        let shown = mask.message(Value::Struct(fields), true, &mut messages).to_string();
        assert_eq!(shown, "{error_code: UNKNOWN_MEMBER_ID, error_message: <message>}");
        assert_eq!(messages, ["no s.a"]);
    }
}
