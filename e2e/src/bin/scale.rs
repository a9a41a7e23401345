//! `make bench-scale`: a large installation. Needs release builds of the operator and the gateway beside it. Fails when an aim is
//! missed, after the page is written.

use clap::Parser;
use std::{path::PathBuf, process::ExitCode};
use tollgate_e2e::{
    results,
    scale::{
        Size,
        measure::{self, Plan},
        report,
    },
};

#[derive(Debug, Parser)]
#[command(about = "Measures starts, memory and changes of an installation of 5,000 keys")]
struct Args {
    /// How many keys.
    #[arg(long, default_value_t = Size::LARGE.keys)]
    keys: usize,
    /// How many routes.
    #[arg(long, default_value_t = Size::LARGE.routes)]
    routes: usize,
    /// How many MCP servers.
    #[arg(long, default_value_t = Size::LARGE.servers)]
    servers: usize,
    /// How often operator and gateway are started.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How often each kind of object is changed.
    #[arg(long, default_value_t = 5)]
    changes: usize,
    /// Folder of dated results; nothing is written when left out.
    #[arg(long)]
    results: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let size = Size { keys: args.keys, routes: args.routes, servers: args.servers };
    let plan = Plan { size, rounds: args.rounds, changes: args.changes };
    let measured = measure::run(plan, |progress| eprintln!("scale: {progress}")).await?;
    let page = report::page(&measured);
    println!("{page}");
    if let Some(folder) = &args.results {
        results::write(folder, "scale", &page)?;
    }
    Ok(if report::is_missed(&page) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
