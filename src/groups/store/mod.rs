//! The groups' rows: one file per kind.

pub mod classic_group;
pub mod consumer_group;
