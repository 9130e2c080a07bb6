//! Consumer groups: the broker assigns partitions and reconciles the members with the assignment (KIP-848).
