//! Settings.

pub mod alter_configs;
pub mod describe_configs;
pub mod incremental_alter_configs;
pub mod list_config_resources;
pub mod shape;
