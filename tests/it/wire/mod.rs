//! Frames, versions and the order of answers.

mod api_versions;
mod golden;
mod order;
