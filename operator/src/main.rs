//! The control plane. Thin for now: it compiles manifests offline; watching a cluster comes with the control-plane part.
//!
//! # Layout
//! - `check`: `tollgate-operator check PATH…`

mod check;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Tollgate's control plane.
#[derive(Debug, Parser)]
#[command(name = "tollgate-operator", version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compile manifests offline and print what is said of each object; exit code 1 when one is refused.
    Check(check::Args),
}

fn main() -> anyhow::Result<ExitCode> {
    match Args::parse().command {
        Command::Check(args) => check::run(&args, &mut std::io::stdout().lock()),
    }
}
