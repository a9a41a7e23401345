use super::*;

crate::store_suite!(MemoryStore::new());
