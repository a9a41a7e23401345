//! The mission's scenario, with the manifests that users get (`deploy/samples/`) and the real Claude Code: team
//! engineering has $200 a month and the staging database; the production database hangs on a separate key.

use anyhow::Context;
use serde_json::json;
use tollgate_e2e::{
    client::eventually,
    clients::{Claude, Said},
    gateway::{Gateway, Home, Manifests},
    mcp_server::{McpServer, Options},
    provider::{Api, Provider, Reply, Rule, UsageSpec},
};

struct Mission {
    provider: Provider,
    staging: McpServer,
    production: McpServer,
    gateway: Gateway,
    _home: Home,
}

impl Mission {
    async fn start() -> anyhow::Result<Self> {
        let provider = Provider::start().await?;
        let staging = McpServer::start("staging-db").await?;
        let authorization = Some("Bearer demo-production-db".to_owned());
        let production =
            McpServer::with(Options { authorization, ..Options::named("production-db") }).await?;
        let manifests = Manifests::samples(&[
            ("http://127.0.0.1:18081", provider.url()),
            ("http://127.0.0.1:18082/mcp", staging.url()),
            ("http://127.0.0.1:18083/mcp", production.url()),
        ])?;
        let home = Home::new(&manifests)?;
        let gateway = Gateway::start(&home).await?;
        Ok(Mission { provider, staging, production, gateway, _home: home })
    }

    /// Claude Code with a key and the tools behind `/mcp`, told by the model to query a database.
    async fn query(&self, key: &str, server: &str) -> anyhow::Result<Said> {
        let tool = format!("mcp__tollgate__{server}__query");
        let claude = Claude::new(self.gateway.url(), key)?.allow(&tool);
        let header = format!("Authorization: Bearer {key}");
        claude.mcp_add("tollgate", &self.gateway.at("/mcp"), &header).await?;
        self.provider.script(Rule::once(Reply::tool(&tool, json!({"sql": "select * from customers"}))));
        claude.ask("who are our customers?").await
    }

    /// The tools that the last model request offered.
    fn offered(&self) -> Vec<String> {
        let body = self.provider.requests_to(Api::Messages).last().map(|s| s.json()).unwrap_or_default();
        let tools = body["tools"].as_array().cloned().unwrap_or_default();
        tools
            .iter()
            .filter_map(|t| t["name"].as_str())
            .filter(|n| n.starts_with("mcp__"))
            .map(str::to_owned)
            .collect()
    }
}

#[tokio::test]
async fn engineering_uses_the_staging_database_and_no_other() -> anyhow::Result<()> {
    let mission = Mission::start().await?;
    let said = mission.query("vk-engineering-main", "staging-db").await?;
    assert!(said.ok()?.contains("Ada Lovelace"), "{}", said.json);
    let offered = mission.offered();
    assert!(offered.contains(&"mcp__tollgate__staging-db__query".to_owned()), "{offered:?}");
    assert!(offered.iter().all(|t| !t.contains("production") && !t.contains("drop")), "{offered:?}");
    // A model that asks for a tool of production all the same does not get there.
    let refused = mission.query("vk-engineering-main", "production-db").await?;
    assert!(!refused.text().contains("Ada"), "{}", refused.json);
    assert_eq!(mission.production.calls("query").len(), 0);
    assert_eq!(mission.staging.calls("query").len(), 1);
    Ok(())
}

#[tokio::test]
async fn production_hangs_on_its_own_key() -> anyhow::Result<()> {
    let mission = Mission::start().await?;
    let said = mission.query("vk-production", "production-db").await?;
    assert!(said.ok()?.contains("Ada Lovelace"), "{}", said.json);
    let offered = mission.offered();
    assert!(offered.iter().all(|t| t.contains("production-db") && !t.contains("write")), "{offered:?}");
    // This key's data goes to Anthropic only.
    let other =
        Claude::new(mission.gateway.url(), "vk-production")?.model("openai/gpt-5").ask("hello").await?;
    assert!(other.is_error() && other.text().contains("openai/gpt-5"), "{}", other.json);
    assert!(mission.provider.requests_to(Api::Chat).is_empty());
    Ok(())
}

#[tokio::test]
async fn engineering_shares_200_dollars_a_month() -> anyhow::Result<()> {
    let mission = Mission::start().await?;
    let usage = UsageSpec { input: 1_000, output: 10_000, ..UsageSpec::default() };
    for model in ["anthropic/claude-sonnet-4-5", "openai/gpt-5"] {
        mission.provider.script(Rule::once(Reply { usage: Some(usage), ..Reply::text("Done.") }));
        let said =
            Claude::new(mission.gateway.url(), "vk-engineering-main")?.model(model).ask("work").await?;
        assert_eq!(said.ok()?, "Done.");
    }
    mission.provider.script(Rule::once(Reply { usage: Some(usage), ..Reply::text("Done.") }));
    let laptop = Claude::new(mission.gateway.url(), "dummy-key")?.ask("work").await?;
    laptop.ok()?;
    let budgets = eventually("the team is charged", || async {
        let charged = mission.gateway.spent("team-engineering").await? > 0;
        Ok(if charged { Some(mission.gateway.budgets().await?) } else { None })
    })
    .await?;
    let of = |key: &str| budgets.iter().find(|b| b.key == format!("default/{key}")).cloned();
    let team = of("team-engineering").context("no team")?;
    assert_eq!((team.budget.as_str(), team.limit), ("month", 200_000_000_000));
    let own = of("vk-engineering-main").context("no key")?.committed;
    assert!(own > 0 && team.committed > own, "the team pays for its key and the laptop: {budgets:?}");
    Ok(())
}

#[tokio::test]
async fn an_exhausted_key_is_told_why() -> anyhow::Result<()> {
    let mission = Mission::start().await?;
    let said = Claude::new(mission.gateway.url(), "vk-exhausted")?.ask("hello").await?;
    assert!(
        said.is_error() && said.text().contains("vk-exhausted") && said.text().contains("402"),
        "{}",
        said.json
    );
    assert!(mission.provider.requests().is_empty());
    Ok(())
}

#[tokio::test]
async fn the_samples_need_no_correction() -> anyhow::Result<()> {
    let mission = Mission::start().await?;
    let log = mission.gateway.log().text();
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
    Ok(())
}
