//! The pure decision over counters, shared by every store.
