//! Groups over the wire: members of both protocols, committed offsets, and what administrators ask.

pub mod ask;
pub mod code;
pub mod member;

mod admin;
mod configs;
mod consumer;
mod hostile;
mod membership;
mod migration;
mod offsets;
mod offsets_topic;
mod restart;
mod static_members;
