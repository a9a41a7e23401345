//! The wire between operator and data plane: one message per resource.
