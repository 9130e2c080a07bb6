//! What is asked. Each test is a script, and its recording has the name that it gives itself.

mod classic;
mod consumer_assignment;
mod consumer_heartbeat;
mod consumer_migration;
mod consumer_offsets;
mod consumer_static;
mod describe_groups;
mod find_coordinator;
mod group_admin;
mod group_configs;
mod heartbeat;
mod internal_topic;
mod join_group;
mod join_refused;
mod leave_group;
mod offset_commit;
mod offset_fetch;
mod static_members;
mod sync_group;
mod timeouts;
mod transactions;
