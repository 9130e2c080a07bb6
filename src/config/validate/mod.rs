//! Whether a text is a permitted value of a key. The messages are worded as Kafka words them, because tools
//! and tests of users match on them.

pub mod types;

use super::ConfigError;
use types::ValueType;

/// The permitted values of a key, beyond its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Check {
    /// Whatever the type permits.
    Any,
    /// Whole numbers from this one up.
    AtLeast(i64),
    /// Whole numbers between two bounds, both included.
    Between(i64, i64),
    /// Whole numbers between the first two, or exactly the third.
    BetweenOr(i64, i64, i64),
    /// Floating-point numbers between two bounds, both included.
    Fraction(f64, f64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words in any case.
    OneOfIgnoreCase(&'static [&'static str]),
    /// A list of distinct elements out of these words; it may be empty.
    SubsetOf(&'static [&'static str]),
    /// Any text but the empty one.
    NonEmpty,
    /// `*`, or a list of `partition:broker` (Kafka's `ThrottledReplicaListValidator`).
    ThrottledReplicas,
}

/// Checks one value of the key `name`.
///
/// # Errors
/// [`ConfigError::InvalidValue`] with the reason in Kafka's words.
pub fn value(name: &str, kind: ValueType, check: &Check, text: &str) -> Result<(), ConfigError> {
    reason(kind, check, text).map_err(|(culprit, reason)| ConfigError::InvalidValue {
        key: name.to_owned(),
        // A secret must not travel into logs and replies with its error.
        value: if kind == ValueType::Password { "[hidden]".to_owned() } else { culprit },
        reason,
    })
}

/// The part of the text that is wrong, and why.
fn reason(kind: ValueType, check: &Check, text: &str) -> Result<(), (String, String)> {
    let wrong = |reason: String| Err((text.to_owned(), reason));
    match kind {
        ValueType::Boolean => match types::boolean(text) {
            Some(_) => Ok(()),
            None => wrong("Expected value to be either true or false".to_owned()),
        },
        ValueType::Int | ValueType::Short | ValueType::Long => match types::integer(kind, text) {
            Some(number) => in_range(check, number).or_else(wrong),
            None => wrong(format!("Not a number of type {}", kind.name())),
        },
        ValueType::Double => match (types::double(text), check) {
            (None, _) => wrong("Not a number of type DOUBLE".to_owned()),
            (Some(number), Check::Fraction(low, _)) if number < *low => {
                wrong(format!("Value must be at least {low}"))
            }
            (Some(number), Check::Fraction(_, high)) if number > *high => {
                wrong(format!("Value must be no more than {high}"))
            }
            (Some(_), _) => Ok(()),
        },
        ValueType::List => list_elements(check, text),
        ValueType::String | ValueType::Class | ValueType::Password => match check {
            Check::OneOf(words) if !words.contains(&text) => {
                wrong(format!("String must be one of: {}", words.join(", ")))
            }
            Check::OneOfIgnoreCase(words) if !words.iter().any(|word| word.eq_ignore_ascii_case(text)) => {
                wrong(format!("String must be one of (case insensitive): {}", words.join(", ")))
            }
            Check::NonEmpty if text.trim().is_empty() => wrong("String must be non-empty".to_owned()),
            _ => Ok(()),
        },
    }
}

fn in_range(check: &Check, number: i64) -> Result<(), String> {
    match *check {
        Check::AtLeast(low) | Check::Between(low, _) if number < low => {
            Err(format!("Value must be at least {low}"))
        }
        Check::Between(_, high) if number > high => Err(format!("Value must be no more than {high}")),
        Check::BetweenOr(low, high, special) if number != special && !(low..=high).contains(&number) => {
            Err(format!("Value must be between {low} and {high} or equal to {special}"))
        }
        _ => Ok(()),
    }
}

fn list_elements(check: &Check, text: &str) -> Result<(), (String, String)> {
    let elements = types::list(text);
    match check {
        Check::SubsetOf(words) => {
            for (at, element) in elements.iter().enumerate() {
                if !words.contains(element) {
                    return Err((
                        (*element).to_owned(),
                        format!("String must be one of: {}", words.join(", ")),
                    ));
                }
                if elements.iter().skip(at + 1).any(|later| later == element) {
                    return Err((text.to_owned(), "values must not be duplicated.".to_owned()));
                }
            }
            Ok(())
        }
        Check::ThrottledReplicas => {
            let is_replica = |element: &&str| {
                element.split_once(':').is_some_and(|(partition, broker)| {
                    partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok()
                })
            };
            if text.trim() == "*" || elements.iter().all(is_replica) {
                Ok(())
            } else {
                Err((
                    text.to_owned(),
                    "must be the literal '*' or a list of replicas in the following format: \
                     [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                        .to_owned(),
                ))
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: ValueType, check: Check, text: &str) -> String {
        value("k", kind, &check, text).expect_err("must be refused").to_string()
    }

    #[test]
    fn words_its_refusals_as_kafka_does() {
        assert_eq!(
            message(ValueType::Int, Check::AtLeast(1_048_576), "5"),
            "Invalid value 5 for configuration k: Value must be at least 1048576"
        );
        assert_eq!(
            message(ValueType::Long, Check::Any, "abc"),
            "Invalid value abc for configuration k: Not a number of type LONG"
        );
        assert_eq!(
            message(ValueType::Int, Check::BetweenOr(1, 9, -1), "55"),
            "Invalid value 55 for configuration k: Value must be between 1 and 9 or equal to -1"
        );
        assert_eq!(
            message(ValueType::List, Check::SubsetOf(&["compact", "delete"]), "delete,foo"),
            "Invalid value foo for configuration k: String must be one of: compact, delete"
        );
        assert_eq!(
            message(ValueType::Double, Check::Fraction(0.0, 1.0), "1.5"),
            "Invalid value 1.5 for configuration k: Value must be no more than 1"
        );
    }

    #[test]
    fn bounds_are_included() {
        for text in ["1", "9", "-1"] {
            assert_eq!(value("k", ValueType::Int, &Check::BetweenOr(1, 9, -1), text), Ok(()));
        }
        for text in ["0", "1"] {
            assert_eq!(value("k", ValueType::Double, &Check::Fraction(0.0, 1.0), text), Ok(()));
        }
    }

    #[test]
    fn throttled_replicas_are_pairs_or_a_star() {
        for good in ["", "*", "0:1", "0:1,2:3"] {
            assert_eq!(value("k", ValueType::List, &Check::ThrottledReplicas, good), Ok(()), "{good}");
        }
        for bad in ["0", "a:b", "0:1:2", "-1:2"] {
            assert!(value("k", ValueType::List, &Check::ThrottledReplicas, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refused_secret_is_not_shown() {
        let refused = message(ValueType::Password, Check::NonEmpty, " ");
        assert!(refused.contains("[hidden]"), "{refused}");
    }
}
