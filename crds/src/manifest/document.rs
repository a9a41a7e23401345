//! One document to objects.

use super::{
    Environment, File, FileProblem, documents,
    metadata::{Header, header, unknown_fields},
    others, schema, secret,
};
use crate::{
    api::{API_VERSION, AllowedNamespaces, GROUP},
    compile::{Body, Object, Problem, Source},
    guard::stated_export,
};
use kube::CustomResourceExt;
use serde::de::DeserializeOwned;
use serde_yaml::Value;
use std::{collections::BTreeMap, sync::Arc};
use tollgate_proto::Kind;

/// Reads a document into a file's objects.
pub(super) struct Reader<'a> {
    pub(super) file: &'a Arc<str>,
    /// The line that the document's text begins with.
    pub(super) line: usize,
    pub(super) environment: Environment<'a>,
    pub(super) out: &'a mut File,
}

// === impl Reader ===

impl Reader<'_> {
    /// Reads the document's text.
    pub(super) fn read(&mut self, text: &str) {
        let document: Value = match serde_yaml::from_str(text) {
            Ok(document) => document,
            Err(error) => {
                let at = error.location().map_or((0, 0), |at| (at.line().saturating_sub(1), at.column()));
                return self.problem(at.0, at.1, without_position(&error));
            }
        };
        let first = documents::first_line(text);
        match list(&document) {
            Some(Ok(items)) => {
                // Items have no positions of their own: each is shown at its list.
                for item in items {
                    self.item(first, item);
                }
            }
            Some(Err(message)) => self.problem(first, 0, message),
            None => self.object(first, &document, text, true),
        }
    }

    fn item(&mut self, line: usize, item: &Value) {
        match serde_yaml::to_string(item) {
            Ok(text) => self.object(line, item, &text, false),
            Err(error) => self.problem(line, 0, error.to_string()),
        }
    }

    /// Reads one object; `text` is what it is parsed from, and `positions` says whether it stands so in the file.
    fn object(&mut self, line: usize, document: &Value, text: &str, positions: bool) {
        if document.is_null() {
            return;
        }
        let header = match header(document) {
            Ok(header) => header,
            Err(_) if self.is_kustomization() => return self.out.others.add("Kustomization", "kustomize"),
            Err(message) => return self.problem(line, 0, message),
        };
        let known = ["VirtualKey", "ProviderRoute", "McpServer"].contains(&header.kind.as_str());
        let is_ours = match header.api_version.as_str() {
            API_VERSION => known,
            "v1" => {
                ["Secret", "Namespace"].contains(&header.kind.as_str()) && !secret::is_encrypted(document)
            }
            _ => false,
        };
        if !is_ours {
            return match others::group(&header) {
                Ok("") if header.kind == "Secret" => self.out.others.add("encrypted Secret", ""),
                Ok(group) => self.out.others.add(&header.kind, group),
                Err(message) => self.problem(line, 0, message),
            };
        }
        if header.name.is_empty() {
            return self.problem(line, 0, format!("the {} has no metadata.name", header.kind));
        }
        let base = if positions { Some(self.line) } else { None };
        let parsed = match (header.api_version.as_str(), header.kind.as_str()) {
            (API_VERSION, "VirtualKey") => (Kind::VirtualKey, typed(document, text, base, Body::VirtualKey)),
            (API_VERSION, "ProviderRoute") => {
                (Kind::ProviderRoute, typed(document, text, base, Body::ProviderRoute))
            }
            (API_VERSION, "McpServer") => (Kind::McpServer, typed(document, text, base, Body::McpServer)),
            ("v1", "Secret") => (Kind::Secret, secret::read(document, self.environment)),
            ("v1", "Namespace") => return self.namespace(&header, document),
            _ => return,
        };
        let (kind, body) = parsed;
        self.out.objects.push(Object {
            source: Some(Source {
                file: self.file.clone(),
                index: self.out.objects.len(),
                line: self.line + line,
            }),
            kind,
            namespace: header.namespace,
            name: header.name,
            created: None,
            body: body.unwrap_or_else(|problems| Body::Unreadable(problems, export(document))),
        });
    }

    fn namespace(&mut self, header: &Header, document: &Value) {
        let labels = document.get("metadata").and_then(|m| m.get("labels")).and_then(Value::as_mapping);
        let text =
            |(key, value): (&Value, &Value)| Some((key.as_str()?.to_owned(), value.as_str()?.to_owned()));
        let labels: BTreeMap<_, _> = labels.into_iter().flatten().filter_map(text).collect();
        self.out.namespaces.insert(header.name.clone(), labels);
    }

    /// Kustomize takes its own file without `apiVersion` and `kind`.
    fn is_kustomization(&self) -> bool {
        let name = self.file.rsplit(['/', '\\']).next().unwrap_or_default();
        matches!(name, "kustomization.yaml" | "kustomization.yml")
    }

    fn problem(&mut self, line: usize, column: usize, message: String) {
        let line = self.line + line;
        self.out.problems.push(FileProblem { file: self.file.clone(), line, column, message });
    }
}

/// What the object says of its export, as far as that can be read.
fn export(document: &Value) -> AllowedNamespaces {
    let stated = document.get("spec").and_then(|spec| spec.get("allowedNamespaces"));
    stated_export(stated)
}

/// The items of a `kind: List` (or `VirtualKeyList`, …); `None`: it is none. A kind of another group that only ends so is no list.
fn list(document: &Value) -> Option<Result<&Vec<Value>, String>> {
    let kind = document.get("kind").and_then(Value::as_str).filter(|kind| kind.ends_with("List"))?;
    let items = document.get("items").and_then(Value::as_sequence);
    if items.is_none() && kind != "List" {
        let version = document.get("apiVersion").and_then(Value::as_str)?;
        version.starts_with(GROUP).then_some(())?;
    }
    Some(items.ok_or_else(|| format!("the {kind} has no items")))
}

/// Reads a kind of ours: by its type (which refuses unknown fields), then by its schema's bounds.
fn typed<T: DeserializeOwned + CustomResourceExt>(
    document: &Value,
    text: &str,
    base: Option<usize>,
    body: impl Fn(Arc<T>) -> Body,
) -> Result<Body, Vec<Problem>> {
    let mut problems = unknown_fields(document, &["apiVersion", "kind", "metadata", "spec", "status"]);
    let object: T = match serde_yaml::from_str(text) {
        Ok(object) => object,
        Err(error) => {
            // The parser ends at its first mistake, and knows its line; the schema knows the others.
            let first = field_problem(&error, base);
            let others = schema::check::<T>(document).into_iter().filter(|p| p.field != first.field);
            problems.push(first.clone());
            problems.extend(others);
            return Err(problems);
        }
    };
    problems.extend(schema::check::<T>(document));
    if problems.is_empty() { Ok(body(Arc::new(object))) } else { Err(problems) }
}

/// A parser's error as a problem of a field. Its words are `path: what at line L column C`, the path absent at the root.
fn field_problem(error: &serde_yaml::Error, base: Option<usize>) -> Problem {
    let words = without_strings(&without_position(error));
    let is_path = |text: &str| !text.is_empty() && !text.contains([' ', '`']);
    let (path, what) = match words.split_once(": ") {
        Some((path, what)) if is_path(path) => (path, what),
        _ => ("", words.as_str()),
    };
    let named = ["unknown field `", "missing field `", "duplicate field `", "duplicate entry with key \""]
        .iter()
        .find_map(|start| what.strip_prefix(start)?.split(['`', '"']).next());
    let field = match (path, named) {
        ("" | ".", Some(name)) => name.to_owned(),
        (path, Some(name)) => format!("{path}.{name}"),
        (path, None) => path.to_owned(),
    };
    let line = error.location().zip(base).map(|(at, base)| base + at.line().saturating_sub(1));
    Problem::invalid(field, line.map_or(what.to_owned(), |line| format!("{what} (line {line})")))
}

/// A parser's words without positions, which are relative to its document.
fn without_position(error: &serde_yaml::Error) -> String {
    let words = error.to_string();
    let mut out = String::with_capacity(words.len());
    for (i, part) in words.split(" at line ").enumerate() {
        // Each part after the first begins with `L column C`, or is the manifest's own text.
        let digits = |c: char| c.is_ascii_digit();
        let rest = part.trim_start_matches(digits).strip_prefix(" column ");
        match rest.map(|rest| rest.trim_start_matches(digits)) {
            Some(rest) if i > 0 => out.push_str(rest),
            _ if i > 0 => out.extend([" at line ", part]),
            _ => out.push_str(part),
        }
    }
    out
}

/// Words without the string that stood in the wrong place: it may be a credential that belongs in a Secret.
fn without_strings(words: &str) -> String {
    let quoted = ["invalid type: string \"", "invalid value: string \""];
    let cut = quoted.iter().find_map(|start| {
        let (before, rest) = words.split_at_checked(words.find(start)? + start.len() - 2)?;
        Some(format!("{before}{}", rest.get(rest.rfind(", expected ")?..)?))
    });
    cut.unwrap_or_else(|| words.to_owned())
}
