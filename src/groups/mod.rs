//! Consumer groups: who reads which partitions, and how far each group has read.
//!
//! What a group guarantees:
//!
//! * a partition has one owner at a time among the members that follow the protocol;
//! * every rebalance ends, by its members' answers or by their timeouts;
//! * a member that was declared gone changes nothing afterwards: neither membership nor committed offsets;
//! * a commit that was acknowledged is as durable as an acknowledged record.
//!
//! Decisions are pure: [`classic`] and [`consumer`] take a group, an event and the time, and answer with what changed
//! ([`effects::Effects`]).

pub mod access;
pub mod assign;
pub mod classic;
pub mod consumer;
pub mod coordinator;
pub mod effects;
pub mod error;
pub mod group;
pub mod group_offsets;
pub mod limits;
pub mod offsets;
pub mod pending;
pub mod request;
pub mod store;
pub mod topics_view;
