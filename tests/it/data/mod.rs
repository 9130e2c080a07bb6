//! Records in and out.

mod compaction;
mod damage;
mod delete_records;
mod fetch;
mod fetch_sessions;
mod idempotence;
mod list_offsets;
mod offset_for_leader_epoch;
mod produce;
mod refused_batches;
mod retention;
