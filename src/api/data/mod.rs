//! Records in and out.

pub mod delete_records;
pub mod fetch;
pub mod fetch_session;
pub mod list_offsets;
pub mod offset_for_leader_epoch;
pub mod produce;
