//! Producer ids and transactions.

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod describe_producers;
pub mod describe_transactions;
pub mod end_txn;
pub mod init_producer_id;
pub mod list_transactions;
pub(in crate::api) mod shape;
pub mod txn_offset_commit;
pub mod write_txn_markers;
