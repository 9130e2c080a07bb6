//! A broker in this process, a raw client of its wire, and the bytes they exchange.

pub mod alone;
pub mod batch;
pub mod broker;
pub mod client;
pub mod golden;
pub mod request;

pub use broker::TestBroker;
pub use client::Client;
