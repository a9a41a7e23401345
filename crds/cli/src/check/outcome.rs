//! A check and how it went.

use crate::table::printable;
use serde::Serialize;
use std::io::{self, Write};

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// It works, but somebody should look at it.
    Warned {
        /// What was found.
        found: String,
        /// What to do.
        hint: String,
    },
    /// It does not work.
    Failed {
        /// What was found.
        found: String,
        /// What to do.
        hint: String,
    },
}

/// A check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The section it stands in.
    pub section: &'static str,
    /// What is checked, as a sentence that holds when it passes.
    pub what: String,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// All checks, in their order.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

/// Of many that fail alike, so many are told.
pub const SHOWN: usize = 5;

// === impl Outcome ===

impl Outcome {
    /// It does not work.
    pub fn failed(found: impl ToString, hint: impl Into<String>) -> Self {
        Outcome::Failed { found: found.to_string(), hint: hint.into() }
    }

    /// Somebody should look at it.
    pub fn warned(found: impl ToString, hint: impl Into<String>) -> Self {
        Outcome::Warned { found: found.to_string(), hint: hint.into() }
    }
}

// === impl Report ===

impl Report {
    /// Notes a check.
    pub fn note(&mut self, section: &'static str, what: impl Into<String>, outcome: Outcome) {
        self.checks.push(Check { section, what: what.into(), outcome });
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|check| matches!(check.outcome, Outcome::Failed { .. })).count()
    }

    /// Writes lines for people.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut section = "";
        for check in &self.checks {
            if check.section != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                section = check.section;
                writeln!(out, "{gap}{section}\n{}", "-".repeat(section.chars().count()))?;
            }
            let (mark, more) = match &check.outcome {
                Outcome::Passed => ("√", None),
                Outcome::Warned { found, hint } => ("‼", Some((found, hint))),
                Outcome::Failed { found, hint } => ("×", Some((found, hint))),
            };
            writeln!(out, "{mark} {}", printable(&check.what))?;
            if let Some((found, hint)) = more {
                writeln!(out, "    {}\n    → {}", printable(found), printable(hint))?;
            }
        }
        let warned = self.checks.iter().filter(|c| matches!(c.outcome, Outcome::Warned { .. })).count();
        writeln!(out, "\n{} checks, {warned} to look at, {} failed", self.checks.len(), self.failed())
    }
}
