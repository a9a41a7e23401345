//! `kubectl tollgate review`: what a change to manifests means, for the person who reviews it.
//!
//! Offline: both sides are compiled by the function that the operator uses, and who may use what is computed by the rules that
//! the gateway enforces, over the same patterns. Nothing is asked of a cluster, so a pipeline needs no access to one.
//!
//! # Layout
//! - [`state`]: one side: manifests of a folder or of a Git revision, compiled
//! - [`policy`]: what a key may use, along its path to the root
//! - [`access`]: who gains and who loses what
//! - [`fields`]: what changed in a spec, field by field
//! - [`rules`]: what a changed field means: wider, narrower, or worth a look; [`window`]: of budgets over another time;
//!   [`annotations`]: of what keys ask for by them
//! - [`defaults`]: what need not be said; [`money`]: sums of dollars; [`merge`]: equal changes told once
//! - [`report`]: all of it together; [`markdown`]: in words; [`page`]: as many of them as a comment takes

pub mod access;
pub mod annotations;
pub mod defaults;
pub mod fields;
pub mod markdown;
pub mod merge;
pub mod money;
pub mod page;
pub mod policy;
pub mod report;
pub mod rules;
pub mod state;
pub mod window;

#[cfg(test)]
mod tests;

use report::{Effect, Report};
use state::{Paths, Rules, Side};
use std::{io::Write, path::PathBuf, process::ExitCode};

/// The exit code when a manifest is refused.
const REFUSED: u8 = 1;
/// The exit code when `--fail-on` names what the change does.
const RULE: u8 = 3;

/// Arguments of `review`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files or folders of manifests; all together are one configuration.
    #[arg(default_value = ".", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Compare with the same paths where the branch left this Git revision, such as origin/main.
    #[arg(long, value_name = "REV", conflicts_with = "base_path")]
    base: Option<String>,
    /// Compare with these files or folders instead (repeatable), such as what a chart rendered before.
    #[arg(long, value_name = "PATH")]
    base_path: Vec<PathBuf>,
    /// How to write it.
    #[arg(long, short, value_enum, default_value = "markdown")]
    output: Output,
    /// End with exit code 3 when the change does this (repeatable). Refused manifests always end with 1.
    #[arg(long, value_enum, value_name = "EFFECT")]
    fail_on: Vec<FailOn>,
    /// Compile by the rules of standalone mode: short tokens, private endpoints.
    #[arg(long)]
    standalone: bool,
    /// Allow endpoints at private and cluster addresses, as the operator was told to.
    #[arg(long)]
    allow_private_endpoints: bool,
    /// A platform namespace (repeatable): Tollgate's own and those of the chart's `platformNamespaces`. Then what only they may do, such as a
    /// key without a parent or an export, is refused elsewhere, as the API server will.
    #[arg(long, value_name = "NAMESPACE")]
    platform_namespace: Vec<String>,
}

/// The forms of a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For a comment in a pull request.
    Markdown,
    /// For programs.
    Json,
}

/// What may fail a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// Somebody may do or spend more.
    Widens,
    /// Somebody may do or spend less.
    Narrows,
    /// Something that a person should look at: where requests and credentials go, what is recorded.
    Attention,
    /// Any change at all.
    Any,
}

/// Runs the review: writes it, and returns the exit code.
///
/// # Errors
/// When a path cannot be read, Git does not know the revision, or the output cannot be written.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let rules = Rules::new(args.standalone, args.allow_private_endpoints, &args.platform_namespace);
    let after = Side::read(&Paths::Files(&args.paths), &rules)?;
    let before = match &args.base {
        Some(revision) => Side::read(&Paths::Git { revision, paths: &args.paths }, &rules)?,
        None if args.base_path.is_empty() => Side::empty(),
        None => Side::read(&Paths::Files(&args.base_path), &rules)?,
    };
    let report = Report::new(&before, &after, jiff::Timestamp::now().as_millisecond());
    match args.output {
        Output::Markdown => markdown::write(&report, out)?,
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, &report)?;
            writeln!(out)?;
        }
    }
    Ok(ExitCode::from(code(&report, &args.fail_on)))
}

/// The exit code of a report.
pub fn code(report: &Report, fail_on: &[FailOn]) -> u8 {
    let fails = |rule: &FailOn| match rule {
        FailOn::Widens => report.does(Effect::Widens),
        FailOn::Narrows => report.does(Effect::Narrows),
        FailOn::Attention => report.does(Effect::Attention),
        FailOn::Any => !report.changes.is_empty() || !report.access.is_empty(),
    };
    match () {
        () if !report.refused.is_empty() || !report.unreadable.is_empty() => REFUSED,
        () if fail_on.iter().any(fails) => RULE,
        () => 0,
    }
}
