//! `kubectl tollgate check`: whether everything is installed and healthy, a line each, with what to do.
//!
//! # Layout
//! - [`outcome`]: a check and how it went
//! - [`before`]: what a cluster must have before Tollgate comes
//! - [`installed`]: definitions, certificates, policies; `programs`: what runs, and who leads
//! - [`objects`]: keys, routes and servers

pub mod before;
pub mod installed;
pub mod objects;
pub mod outcome;
mod programs;

use crate::cluster::{Cluster, Release, Target};
use outcome::{Outcome, Report};
use std::{io::Write, process::ExitCode};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Check what a cluster must have before Tollgate is installed.
    #[arg(long)]
    pre: bool,
    /// How to write it.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    release: Release,
    #[command(flatten)]
    target: Target,
}

/// The forms of the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Lines for people.
    Text,
    /// For programs.
    Json,
}

/// Runs the checks; the exit code is 1 when one fails.
///
/// # Errors
/// When no cluster can be reached at all, or the output cannot be written.
pub async fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(&args.target).await?;
    let mut report = Report::default();
    before::server(&cluster, &mut report).await;
    // Without an API server everything else fails for the same reason.
    if report.failed() == 0 {
        match args.pre {
            true => before::permissions(&cluster, &args.release.tollgate_namespace, &mut report).await,
            false => {
                installed::all(&cluster, &args.release.tollgate_namespace, &mut report).await;
                objects::all(&cluster, &mut report).await;
            }
        }
    }
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        Output::Text => report.write(out)?,
    }
    let failed = report.checks.iter().any(|check| matches!(check.outcome, Outcome::Failed { .. }));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
