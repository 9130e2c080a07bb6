//! What is asked. Each test is a script, and its recording has the name that it gives itself.

mod classic;
mod find_coordinator;
mod heartbeat;
mod join_group;
mod join_refused;
mod leave_group;
mod static_members;
mod sync_group;
mod timeouts;
