//! Every broker key that Apache Kafka 4.3 knows, and our own (`tidelog.*`), with what each does here.
//!
//! The rows live in one file per area. A key that is in no row is unknown to both and refused at start.

mod cluster;
mod groups;
mod log;
mod network;
mod own;
mod reasons;
mod remote;
mod security;

use super::validate::Check;
use super::validate::types::ValueType;

/// What setting a key does in Tidelog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The value changes behaviour.
    Acts,
    /// The value is accepted and echoed and changes nothing; the reason is shown to the user.
    Inert(&'static str),
    /// Setting the key is an error; the reason is shown to the user.
    Refused(&'static str),
}

/// One configuration key.
#[derive(Debug)]
pub struct KeyDef {
    /// The name as written in `server.properties`.
    pub name: &'static str,
    /// The type of the value (`ConfigDef.Type` in Kafka).
    pub kind: ValueType,
    /// The default as text; `None` when there is none.
    pub default: Option<&'static str>,
    /// The permitted values.
    pub check: Check,
    /// What setting it does here.
    pub effect: Effect,
    /// Kafka keeps the key to itself: it is not described unless it is set.
    pub hidden: bool,
    /// One sentence for the user.
    pub doc: &'static str,
}

impl KeyDef {
    /// The sentence shown in DescribeConfigs: what the key means, and that it does nothing here if so.
    pub fn documentation(&self) -> String {
        match self.effect {
            Effect::Acts => self.doc.to_owned(),
            Effect::Inert(reason) => format!("{} Accepted without effect: {reason}.", self.doc),
            Effect::Refused(reason) => format!("{} Cannot be set: {reason}.", self.doc),
        }
    }
}

/// Builds a table of keys. A macro only so that each key stays two lines.
macro_rules! keys {
    (@hidden hidden) => { true };
    (@hidden shown) => { false };
    ($(#[$meta:meta])* $vis:vis static $table:ident;
     $($shown:ident $name:literal: $kind:ident = $default:expr, $check:expr, $effect:expr => $doc:literal;)*) => {
        $(#[$meta])*
        $vis static $table: &[KeyDef] = &[$(KeyDef {
            name: $name,
            kind: $kind,
            default: $default,
            check: $check,
            effect: $effect,
            hidden: $crate::config::broker_keys::keys!(@hidden $shown),
            doc: $doc,
        }),*];
    };
}
pub(super) use keys;

/// Prefixes under which Kafka takes keys with free names. All are accepted without effect.
const FREE_PREFIXES: &[&str] = &["listener.name.", "config.providers.", "rlmm.config.", "rsm.config."];

/// All keys, area by area.
pub fn all() -> impl Iterator<Item = &'static KeyDef> {
    [network::KEYS, log::KEYS, groups::KEYS, cluster::KEYS, security::KEYS, remote::KEYS, own::KEYS]
        .into_iter()
        .flatten()
}

/// The row of `name`, if anybody knows it.
pub fn find(name: &str) -> Option<&'static KeyDef> {
    all().find(|key| key.name == name)
}

/// Whether `name` belongs to a family of keys whose names are not fixed, such as
/// `listener.name.<listener>.<key>`.
pub fn is_free_form(name: &str) -> bool {
    FREE_PREFIXES.iter().any(|prefix| name.len() > prefix.len() && name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn knows_every_key_of_kafka_once() {
        let names: BTreeSet<_> = all().map(|key| key.name).collect();
        assert_eq!(names.len(), all().count(), "a key is listed twice");
        // Kafka 4.3.1's broker ConfigDef has 360; its authorizer reads two more.
        assert_eq!(names.iter().filter(|name| !name.starts_with("tidelog.")).count(), 362);
    }

    #[test]
    fn every_default_is_a_permitted_value() {
        for key in all() {
            if let Some(default) = key.default {
                // "" stands for "not given" where Kafka's default is the empty string.
                if !default.is_empty() {
                    assert_eq!(
                        crate::config::validate::value(key.name, key.kind, &key.check, default),
                        Ok(())
                    );
                }
            }
            assert!(key.doc.ends_with('.'), "{} has no sentence", key.name);
        }
    }

    #[test]
    fn free_form_needs_a_name_after_the_prefix() {
        assert!(is_free_form("listener.name.external.ssl.keystore.location"));
        assert!(!is_free_form("listener.name."));
        assert!(!is_free_form("listener.names.x"));
    }
}
