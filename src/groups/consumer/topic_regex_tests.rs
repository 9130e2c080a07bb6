//! Expressions: what they match, what is refused.

use proptest::prelude::*;

use super::super::super::error::GroupError;
use super::super::testing::Topics;
use super::{compile, resolve, unquote};

fn matched(pattern: &str, names: &[&str]) -> Vec<String> {
    let mut topics = Topics::default();
    for name in names {
        topics.create(name, 1);
    }
    let regex = compile(pattern).expect("it is good");
    resolve(&regex, &topics).iter().map(|name| name.to_string()).collect()
}

#[test]
fn whole_names_are_matched() {
    let names = ["foo", "foobar", "barfoo", "fo", "FOO"];
    assert_eq!(matched("foo", &names), ["foo"]);
    assert_eq!(matched("foo.*", &names), ["foo", "foobar"]);
    assert_eq!(matched("^foo*", &names), ["fo", "foo"]);
    assert_eq!(matched("(?i)foo", &names), ["FOO", "foo"]);
    // The longer alternative is found although the shorter comes first.
    assert_eq!(matched("foo|foobar", &names), ["foo", "foobar"]);
    assert_eq!(matched("fo|bar", &names), ["fo"]);
    assert_eq!(matched("x", &names), [""; 0]);
}

#[test]
fn a_quotation_is_taken_literally() {
    let names = ["a.b", "axb", "a.bc"];
    assert_eq!(matched(r"\Qa.b\E", &names), ["a.b"]);
    assert_eq!(matched(r"\Qa.b\E.*", &names), ["a.b", "a.bc"]);
    assert_eq!(matched(r"\Qa.b", &names), ["a.b"]);
    assert_eq!(unquote(r"\\Q.\\E"), r"\\Q.\\E");
    assert_eq!(unquote(r"\.\Q.\E\."), r"\.\.\.");
    assert_eq!(unquote("ends with \\"), "ends with \\");
}

#[test]
fn the_brokers_own_topics_are_left_out() {
    let names = ["__consumer_offsets", "__transaction_state", "__share_group_state", "__mine", "a"];
    assert_eq!(matched(".*", &names), ["__mine", "a"]);
}

#[test]
fn bad_expressions_are_refused_by_name() {
    for pattern in ["(", "[", "*", "a)|(?:b", r"\C", "(?<name", "(?=look)", r"(a)\1", "a{2,1}"] {
        match compile(pattern) {
            Err(GroupError::InvalidRegularExpression(message)) => {
                let start = format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: ");
                assert!(message.starts_with(&start), "{message}");
                assert!(!message.contains('\n'), "{message}");
            }
            other => panic!("{pattern}: {other:?}"),
        }
    }
}

#[test]
fn what_would_take_too_much_is_refused() {
    let too_large =
        ["a{1000}{1000}{1000}".to_owned(), "(".repeat(1_000) + &")".repeat(1_000), "a".repeat(70_000)];
    for pattern in too_large {
        assert!(
            matches!(compile(&pattern), Err(GroupError::InvalidRegularExpression(_))),
            "{}",
            pattern.len()
        );
    }
}

proptest! {
    #[test]
    fn any_text_is_compiled_or_refused(pattern in ".{0,60}", name in "[a-z.]{0,9}") {
        match compile(&pattern) {
            // Not a part of the name only.
            Ok(regex) => prop_assert!(regex.find(&name).is_none_or(|found| found.range() == (0..name.len()))),
            Err(error) => prop_assert!(matches!(error, GroupError::InvalidRegularExpression(_))),
        }
    }

    #[test]
    fn quoted_names_match_themselves_only(name in "[a-zA-Z0-9._-]{1,40}", other in "[a-zA-Z0-9._-]{1,40}") {
        let regex = compile(&format!(r"\Q{name}\E")).expect("it is good");
        prop_assert!(regex.is_match(&name));
        prop_assert_eq!(regex.is_match(&other), name == other);
    }
}
