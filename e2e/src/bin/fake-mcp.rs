//! The fake MCP server on its own: `fake-mcp --name staging-db --listen 127.0.0.1:18082`.

use clap::Parser;
use std::net::SocketAddr;
use tollgate_e2e::mcp_server::{McpServer, Options, stdio};

#[derive(Debug, Parser)]
#[command(about = "A fake MCP server: a small database")]
struct Args {
    /// Its name.
    #[arg(long, default_value = "staging-db")]
    name: String,
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:18082")]
    listen: SocketAddr,
    /// Speak over standard input and output instead.
    #[arg(long)]
    stdio: bool,
    /// The `Authorization` header it demands.
    #[arg(long)]
    authorization: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.stdio {
        return stdio::run(&args.name);
    }
    let (listen, authorization) = (args.listen, args.authorization);
    let options = Options { listen, authorization, ..Options::named(&args.name) };
    let server = McpServer::with(options).await?;
    println!("listening on {}", server.url());
    server.forever().await;
    Ok(())
}
