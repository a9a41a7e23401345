//! JSON at the byte level: a strict scanner that builds no tree, a lazy reader over text that the scanner has passed,
//! strings that stay escaped as the client wrote them, and a writer.
//!
//! Request bodies are tens of kilobytes of which a handful of bytes matter. `serde_json` would unescape and escape
//! every text on the way; here a text is copied from one body to the other as it stands.
//!
//! # Layout
//! - [`scan`]: strict validation and spans
//! - [`index`]: where values end, noted by a scan
//! - [`read`]: [`Value`], fields and items of a validated body
//! - [`text`]: [`Text`], a string still escaped or ours
//! - [`write`]: objects, arrays, strings into one buffer

mod index;
pub(crate) mod read;
pub(crate) mod scan;
pub(crate) mod text;
pub(crate) mod write;

pub(crate) use index::Index;
pub(crate) use read::{Kind, Value};
pub(crate) use scan::Scanner;
pub(crate) use text::Text;
pub(crate) use write::{Array, Object};

#[cfg(test)]
mod tests;
