//! Subscriptions by regular expression: checked, resolved to topics, refreshed.
//!
//! Kafka uses RE2/J and matches whole names. The `regex` crate is of the same family (linear time, no back-references); a
//! quotation (`\Q…\E`), which RE2/J has and the crate has not, is translated.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::super::effects::{Effects, Now, RowKey};
use super::super::error::GroupError;
use super::super::limits::ConsumerLimits;
use super::super::topics_view::TopicsView;
use super::group::ConsumerGroup;

/// An expression longer than this is refused; topic names have at most 249 characters.
const PATTERN_BYTES_MAX: usize = 64 * 1024;
/// What a compiled expression may take. A larger one is refused, since it is compiled at every refresh.
const COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// How deeply an expression may be nested.
const NESTING_MAX: u32 = 200;
/// Kafka looks for new topics at most this often, in milliseconds
/// (`GroupMetadataManager.REGEX_BATCH_REFRESH_MIN_INTERVAL_MS`); a new expression is resolved at once.
const REFRESH_MIN_MS: u64 = 10_000;
/// Topics of the brokers' own, which no expression subscribes to.
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// Compiles an expression so that it matches whole names only.
///
/// # Errors
/// [`GroupError::InvalidRegularExpression`].
pub(super) fn compile(pattern: &str) -> Result<Regex, GroupError> {
    let refuse = |why: &str| {
        let message = format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {why}.");
        GroupError::InvalidRegularExpression(message)
    };
    if pattern.len() > PATTERN_BYTES_MAX {
        let message = format!(
            "SubscribedTopicRegex of {} bytes is longer than the permitted {PATTERN_BYTES_MAX}.",
            pattern.len()
        );
        return Err(GroupError::InvalidRegularExpression(message));
    }
    let translated = unquote(pattern);
    let build = |pattern: &str| {
        let mut builder = RegexBuilder::new(pattern);
        builder.size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).nest_limit(NESTING_MAX);
        builder.build().map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => refuse("it is too large"),
            error => refuse(&in_a_line(&error)),
        })
    };
    // By itself first: `a)|(?:b` is made valid by what goes around it.
    build(&translated)?;
    build(&format!("^(?:{translated})$"))
}

/// The last line of the crate's message; those before it are a drawing of the place.
fn in_a_line(error: &regex::Error) -> String {
    let message = error.to_string();
    let last = message.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// Replaces each `\Q…\E` by its text with everything escaped; an end that is missing is the end of the pattern.
fn unquote(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        if let Some(quoted) = escape.strip_prefix(r"\Q") {
            let (text, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            out.push_str(&regex::escape(text));
            rest = after;
        } else {
            // A backslash and what it escapes, which may be another backslash.
            let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
            out.push_str(&escape[..length]);
            rest = &escape[length..];
        }
    }
    out.push_str(rest);
    out
}

/// The topics that an expression matches.
pub(super) fn resolve(regex: &Regex, topics: &dyn TopicsView) -> BTreeSet<Arc<str>> {
    let mut matched = BTreeSet::new();
    topics.each_name(&mut |name| {
        if regex.is_match(name) && !INTERNAL_TOPICS.contains(&&**name) {
            matched.insert(Arc::clone(name));
        }
    });
    matched
}

/// When the expressions of a group were last resolved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refreshed {
    at: u64,
    topics_version: u64,
}

impl ConsumerGroup {
    /// Whether the expressions are to be resolved again: some time after topics changed, and when they have not been for
    /// `group.consumer.regex.refresh.interval.ms`. After a restart it is not known when they were.
    pub(super) fn regexes_are_due(&self, topics: &dyn TopicsView, limits: &ConsumerLimits, now: Now) -> bool {
        if self.subscriptions.regexes().len() == 0 {
            return false;
        }
        let Some(last) = self.regexes_refreshed else { return true };
        let age = now.ticks_ms.saturating_sub(last.at);
        (age > REFRESH_MIN_MS && last.topics_version != topics.version())
            || age > limits.regex_refresh_interval_ms
    }

    /// Resolves all expressions. Says whether any of them matches other topics than before.
    pub(super) fn refresh_regexes(
        &mut self,
        topics: &dyn TopicsView,
        now: Now,
        effects: &mut Effects,
    ) -> bool {
        let patterns: Vec<Arc<str>> =
            self.subscriptions.regexes().map(|(pattern, _)| pattern.clone()).collect();
        let mut has_changed = false;
        for pattern in patterns {
            // It was accepted once. Should it no longer be after an update of the broker, it keeps what it had.
            let Ok(regex) = compile(&pattern) else { continue };
            has_changed |= self.subscriptions.set_resolved(&pattern, resolve(&regex, topics));
        }
        if has_changed {
            effects.changed(RowKey::Head);
        }
        self.note_refreshed(topics, now);
        has_changed
    }

    pub(super) fn note_refreshed(&mut self, topics: &dyn TopicsView, now: Now) {
        self.regexes_refreshed = Some(Refreshed { at: now.ticks_ms, topics_version: topics.version() });
    }
}

#[cfg(test)]
#[path = "topic_regex_tests.rs"]
mod tests;
