//! Classic groups: the members agree on an assignment among themselves (KIP-62, KIP-345, KIP-394, KIP-559, KIP-814).
