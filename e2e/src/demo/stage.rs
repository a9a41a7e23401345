//! The stage: two databases, a provider, the gateway with `deploy/samples/`.

use super::print::Print;
use crate::{
    client::{Http, eventually},
    gateway::{Gateway, Home},
    mcp_server::{McpServer, Options as McpOptions},
    provider::{Options as ProviderOptions, Provider},
};
use anyhow::Context;
use hyper::HeaderMap;
use serde_json::Value;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Instant,
};

/// Where `deploy/samples/` expects the provider.
const PROVIDER_PORT: u16 = 18081;
/// Where it expects the databases: name, port, what it demands.
const SERVERS: [(&str, u16, Option<&str>); 2] =
    [("staging-db", 18082, None), ("production-db", 18083, Some("Bearer demo-production-db"))];
/// Where the gateway should be; the next free port when it is taken.
const GATEWAY_PORT: u16 = 8080;
/// The ports tried.
const GATEWAY_PORTS: u16 = 20;

/// What is running.
#[derive(Debug)]
pub struct Stage {
    /// The provider.
    pub provider: Provider,
    /// The databases, in the order of the samples.
    pub servers: Vec<McpServer>,
    /// The gateway.
    pub gateway: Gateway,
    /// A client.
    pub http: Http,
    // Holds the gateway's records until the end.
    _data: tempfile::TempDir,
}

/// What a record says of a request.
#[derive(Debug, Clone)]
pub struct Bill {
    /// Nano-USD; `None`: not a model request, or no price.
    pub cost: Option<u64>,
    /// Input tokens of all kinds.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

// === impl Stage ===

impl Stage {
    /// Starts everything and says so.
    pub async fn set(print: &Print) -> anyhow::Result<Self> {
        let listen = local(PROVIDER_PORT);
        let provider = Provider::with(ProviderOptions { listen, ..ProviderOptions::default() }).await?;
        print.up("fake provider", &provider.url(), "Anthropic Messages and OpenAI Chat Completions");
        let mut servers = Vec::new();
        for (name, port, authorization) in SERVERS {
            let authorization = authorization.map(str::to_owned);
            let options = McpOptions { listen: local(port), authorization, ..McpOptions::named(name) };
            let server = McpServer::with(options).await?;
            print.up(
                &format!("fake {name}"),
                &server.url(),
                "an MCP server: query, list_tables, write_row, drop_table",
            );
            servers.push(server);
        }
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/samples");
        let samples = samples.canonicalize().context("deploy/samples is missing")?;
        let data = tempfile::Builder::new().prefix("tollgate-demo-").tempdir()?;
        let home = Home::of(&samples, data.path());
        let port = free_port()?;
        if port != GATEWAY_PORT {
            print.detail(&format!("port {GATEWAY_PORT} is taken: the gateway is on {port}"));
        }
        let started = Instant::now();
        let gateway = Gateway::start_on(&home, &local(port).to_string(), &[]).await?;
        let ready = format!("with deploy/samples, ready in {} ms", started.elapsed().as_millis());
        print.up("gateway", gateway.url(), &ready);
        Ok(Stage { provider, servers, gateway, http: Http::new(), _data: data })
    }

    /// What a request cost, from its record.
    pub async fn bill_of(&self, headers: &HeaderMap) -> anyhow::Result<Bill> {
        let id = headers.get("x-request-id").context("the answer names no x-request-id")?.to_str()?;
        let record = eventually("the request is recorded", || async {
            let found = self.http.get(&self.gateway.at(&format!("/logs/api/records/{id}"))).await?;
            Ok(if found.status == 200 { Some(found.json()?) } else { None })
        })
        .await?;
        Ok(Bill::read(&record))
    }

    /// What the keys have spent, as the gateway's own books say.
    pub async fn bill(&self, print: &Print) -> anyhow::Result<()> {
        print.note("");
        for budget in self.gateway.budgets().await?.iter().filter(|b| b.committed > 0) {
            let key = budget.key.trim_start_matches("default/");
            let (spent, limit) = (dollars(budget.committed), dollars(budget.limit));
            print.detail(&format!("{key} has spent {spent} of {limit} (budget {:?})", budget.budget));
        }
        Ok(())
    }

    /// How to go on by hand.
    pub fn instructions(&self, print: &Print) {
        let url = self.gateway.url();
        print.note("\nPoint Claude Code at it:\n");
        print.command(&format!("export ANTHROPIC_BASE_URL={url}/anthropic"));
        print.command("export ANTHROPIC_API_KEY=vk-engineering-main");
        print.command(&format!(
            "claude mcp add --transport http tollgate {url}/mcp --header \"Authorization: Bearer vk-engineering-main\""
        ));
        print.command(
            "claude                          # or: claude --model openai/gpt-5, claude --model fast",
        );
        print.note("\nThe provider is a fake that does as it is told: write [[tool:Read {\"file_path\":\"…\"}]] or [[status:529]] into a prompt.");
        print.note(&format!("\nSee what happened:  {url}/logs\n"));
    }

    /// Stops the gateway in order.
    pub async fn strike(self) -> anyhow::Result<()> {
        self.gateway.stop().await
    }
}

fn free_port() -> anyhow::Result<u16> {
    let free = |port: &u16| std::net::TcpListener::bind(local(*port)).is_ok();
    let mut ports = GATEWAY_PORT..GATEWAY_PORT + GATEWAY_PORTS;
    ports.find(free).with_context(|| format!("no free port from {GATEWAY_PORT} on"))
}

/// Nano-USD as dollars, as exact as small amounts need.
pub fn dollars(nano: u64) -> String {
    let text = format!("${}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
    let trimmed = text.trim_end_matches('0');
    let missing = 2usize.saturating_sub(trimmed.rsplit('.').next().map_or(0, str::len));
    format!("{trimmed}{}", "0".repeat(missing))
}

// === impl Bill ===

impl Bill {
    fn read(record: &Value) -> Self {
        let number = |p: &str| record.pointer(p).and_then(Value::as_u64);
        let input = ["input", "cache_read", "cache_write", "cache_write_1h"];
        Bill {
            cost: number("/cost"),
            input: input.iter().filter_map(|kind| number(&format!("/tokens/{kind}"))).sum(),
            output: number("/tokens/output").unwrap_or(0),
        }
    }

    /// In words.
    pub fn words(&self) -> String {
        let cost = self.cost.map_or("no price".to_owned(), dollars);
        format!("{} tokens in, {} out: {cost}", self.input, self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::dollars;

    #[test]
    fn dollars_keep_at_least_cents() {
        for (nano, want) in
            [(0, "$0.00"), (1_500_000_000, "$1.50"), (273_000, "$0.000273"), (200_000_000_000, "$200.00")]
        {
            assert_eq!(dollars(nano), want);
        }
    }
}
