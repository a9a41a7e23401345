//! The plugin's program: `kubectl tollgate …`.

use clap::{Parser, Subcommand};
use kubectl_tollgate::{check, get, logs, review, spend, words};
use std::process::ExitCode;

/// Tollgate's objects, money and records; and what a change to manifests means.
#[derive(Debug, Parser)]
#[command(name = "kubectl-tollgate", bin_name = "kubectl tollgate", version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List keys, routes and servers with what stands in their way.
    Get(get::Args),
    /// Show what budgets have left, also as a tree.
    Spend(spend::Args),
    /// Show requests and tool calls, also as they come.
    Logs(logs::Args),
    /// Check that everything is installed and healthy.
    Check(check::Args),
    /// Say what a change to manifests means, without a cluster: for the review of a pull request.
    Review(review::Args),
}

fn main() -> ExitCode {
    let out = &mut std::io::stdout();
    let done = match Args::parse().command {
        Command::Review(args) => review::run(&args, out),
        Command::Get(args) => online(get::run(&args, out)),
        Command::Spend(args) => online(spend::run(&args, out)),
        Command::Logs(args) => online(logs::run(&args, out)),
        Command::Check(args) => online(check::run(&args, out)),
    };
    done.unwrap_or_else(|error| {
        if is_closed_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        eprintln!("error: {}", words::of(&error));
        ExitCode::from(2)
    })
}

/// Runs what speaks to a cluster.
fn online(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    // Fails only when one is installed already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// `… | head` is no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    /// Two arguments of one name make a command that nobody can run.
    #[test]
    fn the_arguments_of_every_command_fit_together() {
        Args::command().debug_assert();
        let line = ["kubectl-tollgate", "logs", "--key", "n/a", "--as", "b"];
        let Command::Logs(logs) = Args::try_parse_from(line).unwrap().command else { panic!("logs") };
        assert!(
            format!("{logs:?}").contains("key: Some(\"n/a\")")
                && format!("{logs:?}").contains("key: Some(\"b\")")
        );
    }
}
