//! One folder per wire format, each with the same set of files.

pub mod anthropic;
pub mod openai;
