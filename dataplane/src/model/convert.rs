//! Wire resources to validated configuration: one `TryFrom` per resource.
