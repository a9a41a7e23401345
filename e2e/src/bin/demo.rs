//! `make demo`.

use clap::Parser;
use tollgate_e2e::demo::{Options, run};

#[derive(Debug, Parser)]
#[command(about = "The gateway with deploy/samples, a fake provider and fake databases, on this machine")]
struct Args {
    /// End by itself; exit 0 only if all was as it should be.
    #[arg(long)]
    once: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run(Options { once: Args::parse().once }).await
}
