//! `make bench`: what the gateway adds. Needs release builds of `tollgate-dataplane`, `fake-provider` and `floor` beside it.

use clap::Parser;
use std::{path::PathBuf, time::Duration};
use tollgate_e2e::bench::{
    measure::{self, Plan},
    report,
};

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about = "Measures what the gateway adds, beside no gateway and a proxy that does nothing")]
struct Args {
    /// How often everything is measured; medians are reported.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of each cell in each round (36 cells).
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Another proxy (`PROGRAM LISTEN UPSTREAM`) to measure beside the floor.
    #[arg(long)]
    yardstick: Option<PathBuf>,
    /// Where the JSON goes.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let time = Duration::try_from_secs_f64(args.seconds)?;
    let plan = Plan { rounds: args.rounds.max(1), time, yardstick: args.yardstick };
    let results = measure::run(&plan, |progress| eprintln!("bench: {progress}")).await?;
    println!("{}", report::table(&results));
    std::fs::write(&args.json, serde_json::to_string_pretty(&report::json(&results))?)?;
    eprintln!("bench: all of it as JSON in {}", args.json.display());
    Ok(())
}
