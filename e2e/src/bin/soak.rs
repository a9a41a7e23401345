//! `make soak`: a long run with faults. Needs the operator and the gateway built beside it.

use clap::Parser;
use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime},
};
use tollgate_e2e::{
    results,
    soak::{self, Plan, faults::Fault},
};

#[derive(Debug, Parser)]
#[command(
    about = "Runs an installation under load while one part after the other fails, and checks what was promised"
)]
struct Args {
    /// How long faults are dealt.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Deals the same faults in the same order; another one each time when left out.
    #[arg(long)]
    seed: Option<u64>,
    /// How many clients.
    #[arg(long, default_value_t = 10)]
    clients: usize,
    /// Only these faults, such as RedisKill (repeatable); all when left out.
    #[arg(long = "only", value_name = "FAULT", value_parser = fault)]
    only: Vec<Fault>,
    /// Folder of dated results; nothing is written when left out.
    #[arg(long)]
    results: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
    let seed = args.seed.unwrap_or(now % 100_000);
    eprintln!("soak: seed {seed}, {} minutes", args.minutes);
    let mut plan = Plan::long(seed, Duration::from_secs_f64(args.minutes * 60.0), args.clients);
    if !args.only.is_empty() {
        plan.faults = args.only;
    }
    let outcome = soak::run(plan).await?;
    let page = outcome.page();
    println!("{page}");
    if let Some(folder) = &args.results {
        results::write(folder, "soak", &page)?;
    }
    Ok(if outcome.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fault(name: &str) -> Result<Fault, String> {
    let known = || Fault::ALL.map(|fault| format!("{fault:?}")).join(", ");
    let found = Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name);
    found.ok_or_else(|| format!("there are {}", known()))
}
