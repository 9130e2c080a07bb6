//! Changes to a topic's configs (IncrementalAlterConfigs, KIP-339), decided without touching anything.

use std::collections::BTreeSet;

use super::topic::{TopicConfig, TopicOverrides};
use super::topic_keys::{self, TopicKey};
use super::validate::types::{self, ValueType};
use super::{ConfigError, suggest};

/// What to do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterKind {
    /// Give it a value.
    Set,
    /// Go back to the broker's value.
    Delete,
    /// Add elements to a list.
    Append,
    /// Take elements from a list.
    Subtract,
}

impl AlterKind {
    /// The operation with this number on the wire (`AlterConfigOp.OpType`).
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterOp {
    /// The topic key.
    pub name: String,
    /// What to do with it.
    pub op: AlterKind,
    /// The value or the list elements; not looked at for a deletion.
    pub value: Option<String>,
}

/// The overrides after all changes, or none of them.
///
/// As in Kafka: a list that has no value of its own starts from the key's default; appending what is there
/// and subtracting what is not change nothing; deleting any key succeeds. The caller resolves the result,
/// which finds contradictions between keys.
///
/// # Errors
/// A key altered twice, a missing value, append or subtract on a key that is no list, and whatever
/// [`TopicConfig::validate`] refuses.
pub fn alter(overrides: &TopicOverrides, ops: &[AlterOp]) -> Result<TopicOverrides, ConfigError> {
    let mut seen = BTreeSet::new();
    if !ops.iter().all(|op| seen.insert(op.name.as_str())) {
        return Err(ConfigError::DuplicateKeys);
    }
    let mut altered = overrides.clone();
    for op in ops {
        let value = match op.op {
            AlterKind::Delete => {
                altered.0.remove(&op.name);
                continue;
            }
            AlterKind::Set => given(op)?.to_owned(),
            AlterKind::Append => {
                let mut elements = current(overrides, list_key(op, "APPEND")?);
                for element in types::list(given(op)?) {
                    if !elements.iter().any(|present| present == element) {
                        elements.push(element.to_owned());
                    }
                }
                elements.join(",")
            }
            AlterKind::Subtract => {
                let mut elements = current(overrides, list_key(op, "SUBTRACT")?);
                let gone = types::list(given(op)?);
                elements.retain(|present| !gone.contains(&present.as_str()));
                elements.join(",")
            }
        };
        TopicConfig::validate(&op.name, &value)?;
        altered.0.insert(op.name.clone(), value);
    }
    Ok(altered)
}

fn given(op: &AlterOp) -> Result<&str, ConfigError> {
    op.value.as_deref().ok_or_else(|| ConfigError::NullValue(op.name.clone()))
}

fn list_key(op: &AlterOp, operation: &'static str) -> Result<&'static TopicKey, ConfigError> {
    match topic_keys::find(&op.name) {
        Some(key) if key.def.kind == ValueType::List => Ok(key),
        Some(_) => Err(ConfigError::NotAList { operation, key: op.name.clone() }),
        None => Err(ConfigError::UnknownTopicKey {
            key: op.name.clone(),
            suggestion: suggest::nearest(&op.name, topic_keys::KEYS.iter().map(|key| key.def.name))
                .map(str::to_owned),
        }),
    }
}

fn current(overrides: &TopicOverrides, key: &TopicKey) -> Vec<String> {
    let text = overrides.0.get(key.def.name).map(String::as_str).or(key.def.default).unwrap_or("");
    types::list(text).into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn op(name: &str, op: AlterKind, value: Option<&str>) -> AlterOp {
        AlterOp { name: name.to_owned(), op, value: value.map(str::to_owned) }
    }

    fn overrides(pairs: &[(&str, &str)]) -> TopicOverrides {
        TopicOverrides(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn sets_and_deletes() {
        let before = overrides(&[("retention.ms", "1"), ("segment.ms", "5")]);
        let ops = [
            op("retention.ms", AlterKind::Delete, None),
            op("segment.ms", AlterKind::Set, Some("6")),
            op("never.heard.of", AlterKind::Delete, None),
        ];
        assert_eq!(alter(&before, &ops), Ok(overrides(&[("segment.ms", "6")])));
    }

    #[test]
    fn lists_grow_and_shrink_from_their_default() {
        let none = overrides(&[]);
        let policy = "cleanup.policy";
        assert_eq!(
            alter(&none, &[op(policy, AlterKind::Append, Some("delete"))]),
            Ok(overrides(&[(policy, "delete")]))
        );
        assert_eq!(
            alter(&none, &[op(policy, AlterKind::Subtract, Some("delete"))]),
            Ok(overrides(&[(policy, "")]))
        );
        let throttled = "leader.replication.throttled.replicas";
        let one = alter(&none, &[op(throttled, AlterKind::Append, Some("0:1"))]).expect("valid");
        let two = alter(&one, &[op(throttled, AlterKind::Append, Some("1:1,0:1"))]).expect("valid");
        assert_eq!(two, overrides(&[(throttled, "0:1,1:1")]));
        let back = alter(&two, &[op(throttled, AlterKind::Subtract, Some("0:1, 9:9"))]);
        assert_eq!(back, Ok(overrides(&[(throttled, "1:1")])));
    }

    #[test]
    fn refuses_as_kafka_does() {
        let none = overrides(&[]);
        for (ops, message, is_request) in [
            (
                vec![op("retention.ms", AlterKind::Append, Some("1"))],
                "Can't APPEND to key retention.ms because its type is not LIST.",
                false,
            ),
            (
                vec![op("retention.ms", AlterKind::Set, None)],
                "Null value not supported for : retention.ms",
                true,
            ),
            (
                vec![
                    op("retention.ms", AlterKind::Set, Some("1")),
                    op("retention.ms", AlterKind::Delete, None),
                ],
                "Error due to duplicate config keys",
                true,
            ),
            (vec![op("no.such", AlterKind::Set, Some("1"))], "Unknown topic config name: no.such", false),
            (
                vec![op("segment.ms", AlterKind::Set, Some("0"))],
                "Invalid value 0 for configuration segment.ms: Value must be at least 1",
                false,
            ),
        ] {
            let refused = alter(&none, &ops).expect_err("must be refused");
            assert_eq!((refused.to_string().as_str(), refused.is_invalid_request()), (message, is_request));
        }
    }

    #[test]
    fn operations_have_kafkas_numbers() {
        assert_eq!(AlterKind::from_code(1), Some(AlterKind::Delete));
        assert_eq!(AlterKind::from_code(3), Some(AlterKind::Subtract));
        assert_eq!(AlterKind::from_code(4), None);
        assert_eq!(AlterKind::from_code(-1), None);
    }

    proptest! {
        #[test]
        fn appending_then_subtracting_new_elements_changes_nothing(
            start in proptest::collection::btree_set(0u8..20, 0..5),
            added in proptest::collection::btree_set(20u8..40, 0..5),
        ) {
            let join = |set: &BTreeSet<u8>| set.iter().map(|n| format!("{n}:0")).collect::<Vec<_>>().join(",");
            let key = "follower.replication.throttled.replicas";
            let before = overrides(&[(key, &join(&start))]);
            let grown = alter(&before, &[op(key, AlterKind::Append, Some(&join(&added)))]).expect("valid");
            let after = alter(&grown, &[op(key, AlterKind::Subtract, Some(&join(&added)))]).expect("valid");
            prop_assert_eq!(after, before);
        }
    }
}
