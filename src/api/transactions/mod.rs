//! Producer ids; transactions.

pub mod init_producer_id;
