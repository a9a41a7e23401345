//! Problems of objects, and the conditions made of them.

use super::input::{Object, Source};
use crate::{
    conditions::{ACCEPTED, RESOLVED_REFS, State, reasons},
    support::FieldError,
};
use std::{collections::BTreeSet, fmt};
use tollgate_proto::{Kind, ResourceId};

/// One thing that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The condition that does not hold because of it: [`ACCEPTED`] or [`RESOLVED_REFS`].
    pub condition: &'static str,
    /// One of [`reasons`].
    pub reason: &'static str,
    /// The field, as a path from the object's root.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// What there is to say of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it was read.
    pub source: Option<Source>,
    /// What is wrong, in the order of its fields.
    pub problems: Vec<Problem>,
}

/// How compilers note problems.
pub(super) trait Notes {
    /// Notes a problem.
    fn note(&mut self, problem: Problem);

    /// A field that is wrong.
    fn invalid(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.note(Problem::invalid(field, message));
    }

    /// The value, or `None` and a note that the field is wrong.
    fn checked<T>(&mut self, field: impl Into<String>, result: Result<T, String>) -> Option<T> {
        result.map_err(|reason| self.invalid(field, reason)).ok()
    }

    /// Notes a number that is 0.
    fn positive(&mut self, field: impl Into<String>, number: Option<u64>) -> Option<u64> {
        if number == Some(0) {
            self.invalid(field, "must be at least 1");
        }
        number
    }

    /// Notes names that stand twice in `spec.<list>`, by their field `key`.
    fn unique<'s>(&mut self, list: &str, key: &str, names: impl Iterator<Item = &'s str>) {
        let mut seen = BTreeSet::new();
        for (i, name) in names.enumerate() {
            if !seen.insert(name) {
                self.invalid(format!("spec.{list}[{i}].{key}"), format!("`{name}` stands there twice"));
            }
        }
    }
}

impl Notes for Vec<Problem> {
    fn note(&mut self, problem: Problem) {
        self.push(problem);
    }
}

// === impl Problem ===

impl Problem {
    /// A field that is wrong.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Problem::accepted(reasons::INVALID, field, message)
    }

    /// A reason not to accept the object.
    pub fn accepted(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { condition: ACCEPTED, reason, field: field.into(), message: message.into() }
    }

    /// A reference that leads nowhere.
    pub fn reference(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { condition: RESOLVED_REFS, reason, field: field.into(), message: message.into() }
    }
}

impl From<FieldError> for Problem {
    fn from(FieldError { path, message }: FieldError) -> Self {
        Problem::accepted(reasons::NOT_SUPPORTED, path, message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.field, self.message)
    }
}

// === impl Status ===

impl Status {
    /// Nothing wrong so far.
    pub(super) fn of(object: &Object) -> Self {
        Status {
            kind: object.kind,
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            source: object.source.clone(),
            problems: Vec::new(),
        }
    }

    /// Which object it is about.
    pub fn id(&self) -> ResourceId {
        ResourceId::new(self.kind, &self.namespace, &self.name)
    }

    /// Whether the object is valid, so that it has an effect.
    pub fn is_accepted(&self) -> bool {
        self.of_condition(ACCEPTED).next().is_none()
    }

    /// Why the object is not accepted, in words for whoever would use it; empty: it is.
    pub(super) fn refusal(&self) -> String {
        let words: Vec<_> = self.of_condition(ACCEPTED).map(ToString::to_string).collect();
        match words.is_empty() {
            true => String::new(),
            false => format!("{} is not accepted: {}", self.id(), words.join("; ")),
        }
    }

    /// Whether another object of its kind and name was there first.
    pub fn is_duplicate(&self) -> bool {
        self.problems.iter().any(|p| p.reason == reasons::CONFLICT && p.field == "metadata.name")
    }

    /// The problems by which a condition does not hold.
    pub fn of_condition(&self, condition: &'static str) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(move |p| p.condition == condition)
    }

    /// The conditions `Accepted` and `ResolvedRefs`. The latter is not known of an object that is not accepted.
    pub fn conditions(&self) -> [State; 2] {
        let accepted = match self.state(ACCEPTED) {
            Some(state) => state,
            None => State::yes(ACCEPTED, reasons::ACCEPTED, ""),
        };
        let resolved = match self.state(RESOLVED_REFS) {
            Some(state) => state,
            None if self.is_accepted() => State::yes(RESOLVED_REFS, reasons::RESOLVED, ""),
            None => State::unknown(RESOLVED_REFS, accepted.reason, "the object is not accepted"),
        };
        [accepted, resolved]
    }

    /// The condition when it does not hold: the first problem's reason, all problems' words.
    fn state(&self, condition: &'static str) -> Option<State> {
        let first = self.of_condition(condition).next()?;
        let words: Vec<_> = self.of_condition(condition).map(ToString::to_string).collect();
        Some(State::no(condition, first.reason, words.join("; ")))
    }

    /// By kind, namespace, name and source.
    pub(super) fn order(&self) -> (Kind, String, String, Option<Source>) {
        (self.kind, self.namespace.clone(), self.name.clone(), self.source.clone())
    }
}

impl fmt::Display for Status {
    /// `keys.yaml:3: VirtualKey default/k`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
        write!(f, "{}", self.id())
    }
}
