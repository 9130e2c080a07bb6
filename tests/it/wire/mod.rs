//! Frames, versions and the order of answers.

mod api_versions;
mod golden;
mod golden_groups;
mod golden_transactions;
mod order;
