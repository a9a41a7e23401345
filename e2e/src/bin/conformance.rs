//! `make conformance`: the official MCP conformance suite against a gateway, which must be built beside this.

use clap::Parser;
use std::{path::PathBuf, process::ExitCode};
use tollgate_e2e::{conformance, results};

#[derive(Debug, Parser)]
#[command(about = "Runs the official MCP conformance suite against /mcp of a gateway")]
struct Args {
    /// Folder of dated results; nothing is written when left out.
    #[arg(long)]
    results: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let outcome = conformance::check().await?;
    let page = outcome.page()?;
    println!("{page}");
    if let Some(folder) = &args.results {
        results::write(folder, "conformance", &page)?;
    }
    Ok(if outcome.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
