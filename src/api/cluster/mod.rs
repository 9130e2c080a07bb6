//! The broker itself.

pub mod api_versions;
pub mod describe_cluster;
pub mod describe_log_dirs;
pub mod operations;
