//! What pages and their API read.
