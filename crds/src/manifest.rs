//! Reads manifests: YAML (or JSON) of several documents, with positions.
//!
//! One broken document does not take the file's others with it: YAML's document markers stand at the start of a line and
//! nowhere else, so documents are separated before they are parsed. What can be named (kind, namespace, name) but not
//! understood becomes an object that says why; what cannot even be named is a [`FileProblem`].
//!
//! Besides the three kinds of the API there are `kind: Secret` and `kind: Namespace` (for its labels) of Kubernetes, and
//! `kind: List`. Whatever else stands there is passed over and counted ([`Others`]). In a Secret's `stringData`, and nowhere else, `${NAME}` and `${NAME:-default}` stand for environment
//! variables.
//!
//! # Layout
//! - [`folder`]: the files of a folder
//! - `documents`: where documents begin and end
//! - `document`: one document to objects
//! - `metadata`: names, and what else stands in `metadata`
//! - `others`: what is not ours
//! - `schema`: bounds that the API server checks by the CRDs' schemas
//! - `secret`: Secrets, and environment variables in them

mod document;
mod documents;
pub mod folder;
mod metadata;
mod others;
mod schema;
mod secret;

pub use others::Others;

use crate::compile::Object;
use std::{collections::BTreeMap, fmt, sync::Arc};

/// The largest file, in bytes.
pub const MAX_FILE: usize = 4 << 20;
/// The most objects of one file.
pub const MAX_OBJECTS: usize = 10_000;

/// Looks environment variables up. A parameter, so that reading depends on nothing else.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What was read from one file.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// Its objects, in their order.
    pub objects: Vec<Object>,
    /// Labels of the namespaces it describes.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// What stands there and is not ours.
    pub others: Others,
    /// What in it could not be read.
    pub problems: Vec<FileProblem>,
}

/// Something in a file that is no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    /// The file, as it is shown.
    pub file: Arc<str>,
    /// The line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// The column, from 1; 0 when it is not known.
    pub column: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Reads a file's content; `file` is its name as it will be shown.
pub fn read(file: &str, content: &[u8], environment: Environment<'_>) -> File {
    let file: Arc<str> = file.into();
    let mut out = File::default();
    let whole = |message: String| FileProblem { file: file.clone(), line: 0, column: 0, message };
    if content.len() > MAX_FILE {
        out.problems.push(whole(format!("the file is larger than {} MiB", MAX_FILE >> 20)));
        return out;
    }
    let text = match std::str::from_utf8(content) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            out.problems.push(whole(format!("the file is not UTF-8 text: {error}")));
            return out;
        }
    };
    for document in documents::split(text) {
        document::Reader { file: &file, line: document.line, environment, out: &mut out }.read(document.text);
        if out.objects.len() > MAX_OBJECTS {
            out.objects.truncate(MAX_OBJECTS);
            out.problems.push(whole(format!("the file has more than {MAX_OBJECTS} objects")));
            break;
        }
    }
    out
}

// === impl FileProblem ===

impl FileProblem {
    /// `file:line:column`, as far as they are known.
    pub fn place(&self) -> String {
        let known = [self.line, self.column].into_iter().take_while(|n| *n > 0);
        known.fold(self.file.to_string(), |place, n| format!("{place}:{n}"))
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.message)
    }
}
