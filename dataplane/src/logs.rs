//! `/logs`: what happened, for people; `/logs/api`: the same as JSON.

pub mod budgets;

pub use crate::records::Viewer;
pub use budgets::{KeySpend, SpendProvider};
