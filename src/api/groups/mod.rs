//! Consumer groups.

pub mod find_coordinator;
