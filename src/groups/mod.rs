//! Consumer groups: who reads which partition.

pub mod assign;
