//! `/logs`: what happened, for people; `/logs/api`: the same as JSON.
