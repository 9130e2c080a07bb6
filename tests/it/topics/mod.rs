//! What exists, and its settings.

mod alter_configs;
mod cluster;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod describe_configs;
mod describe_topic_partitions;
mod metadata;
