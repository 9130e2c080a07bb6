//! Sets of partitions.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

/// Partitions of any number of topics, by topic id. No topic has an empty set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partitions(BTreeMap<Uuid, BTreeSet<i32>>);
