//! The fake model provider on its own: `fake-provider --listen 127.0.0.1:18081`.
//! Magic words in a prompt steer it (see `tollgate_e2e::provider::magic`), and so does `POST /_control/script`.

use clap::Parser;
use std::net::SocketAddr;
use tollgate_e2e::provider::{DEFAULT_KEY, Options, Provider};

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about = "A fake model provider: Anthropic Messages and OpenAI Chat Completions")]
struct Args {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:18081")]
    listen: SocketAddr,
    /// A credential it accepts; several times for several; `any` for all.
    #[arg(long, default_value = DEFAULT_KEY)]
    key: Vec<String>,
    /// Canned answers without checks or records, for benchmarks.
    #[arg(long)]
    fast: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let keys = if args.key.iter().any(|k| k == "any") { Vec::new() } else { args.key };
    let provider = Provider::with(Options { listen: args.listen, keys, fast: args.fast }).await?;
    println!("listening on {}", provider.url());
    provider.forever().await;
    Ok(())
}
