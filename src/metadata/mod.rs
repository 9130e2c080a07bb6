//! The cluster as data: which topics exist, with how many partitions and which overrides.
//!
//! ```text
//!   a request ─ Controller ─ decide (topics.rs) ─ Logs::prepare ─ Journal ─ apply (change.rs) ─ image
//!                one at a time   pure               directories     durable    pure               readers
//! ```
//!
//! Only [`Controller`] changes anything. Readers hold an [`Arc`](std::sync::Arc) of an immutable
//! [`MetadataImage`] and never wait. Invariants:
//!
//! - A topic is visible only after its record is durable, and its record is durable only after its
//!   partition directories are.
//! - A deletion is durable before the first file goes.
//! - The image's version rises by one with each journalled list of changes, across restarts.

pub mod change;
pub mod controller;
pub mod error;
pub mod image;
pub mod journal;
pub mod producer_ids;
mod sharded_map;
pub mod store;
pub mod topics;

pub use change::{Change, apply};
pub use controller::{Controller, ControllerOptions, Held, Logs, NewPartitions, TopicRef};
pub use error::{CreatePartitionsError, CreateTopicError, DeleteTopicError, LoadError, SetOverridesError};
pub use image::{MetadataImage, Overrides, Topic};
pub use journal::{Journal, StateJournal};
pub use producer_ids::{ProducerIdError, ProducerIds};
pub use store::cluster_id::{ClusterIdentity, IdentityError};
pub use topics::{NewTopic, PartitionLimit};
