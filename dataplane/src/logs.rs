//! `/logs`: what happened, for people; `/logs/api`: the same as JSON.

pub mod viewer;

pub use viewer::{KeySpend, SpendProvider, Viewer};
