//! The orderly end: streams and tool calls under way finish, and are settled and recorded; a second signal cuts them off.

use crate::support::Operated;
use serde_json::{Value, json};
use tollgate_e2e::{
    client::{Http, Streaming, eventually},
    gateway::{Gateway, Home, Manifests},
    lab::KEY,
    mcp_server::{Failure, McpServer, Rule as McpRule},
    provider::{Provider, Reply, Rule},
};

const SPEC: &str = r#"models: {allow: ["anthropic/*"]}
defaultRoute: anthropic
budgets: [{name: month, usd: "200", period: Month}]
tools: [{server: db, allow: ["*"]}]
"#;

struct World {
    provider: Provider,
    mcp: McpServer,
    home: Home,
}

impl World {
    async fn start() -> anyhow::Result<Self> {
        let (provider, mcp) = (Provider::start().await?, McpServer::start("db").await?);
        let manifests = Manifests::routes(&provider.url()).server("db", &mcp.url()).key(KEY, SPEC);
        let home = Home::new(&manifests)?;
        Ok(World { provider, mcp, home })
    }

    /// The records and what was spent, as the next process of this home tells them.
    async fn afterwards(&self) -> anyhow::Result<(Vec<Value>, Vec<tollgate_e2e::gateway::Budget>)> {
        let next = Gateway::start(&self.home).await?;
        let told = (next.records(KEY).await?, next.budgets().await?);
        next.stop().await?;
        Ok(told)
    }
}

async fn stream(gateway: &Operated) -> anyhow::Result<Streaming> {
    let body = json!({"model": "anthropic/claude-sonnet-4-5", "max_tokens": 1000, "stream": true,
        "messages": [{"role": "user", "content": "tell me"}]});
    let headers = [("x-api-key", KEY), ("anthropic-version", "2023-06-01")];
    let mut stream = Http::new().stream(&format!("{}/v1/messages", gateway.url), &headers, &body).await?;
    let first = stream.next().await?;
    anyhow::ensure!(first.is_some_and(|e| e.name == "message_start"), "no beginning");
    Ok(stream)
}

async fn call(url: String) -> anyhow::Result<Value> {
    let bearer = format!("Bearer {KEY}");
    let headers = [("authorization", bearer.as_str()), ("accept", "application/json, text/event-stream")];
    let params = json!({"name": "db__query", "arguments": {"sql": "select * from customers"}});
    let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    let answer = Http::new().post(&format!("{url}/mcp"), &headers, &message).await?.expect(200)?;
    answer.json()
}

fn long() -> Reply {
    Reply {
        deltas: Some(20),
        every_ms: 100,
        ..Reply::text("one two three four five six seven eight nine ten")
    }
}

#[tokio::test]
async fn streams_and_tool_calls_end_before_the_process_does() -> anyhow::Result<()> {
    let world = World::start().await?;
    let mut gateway = Operated::start(&world.home, &["--drain", "30"], &[]).await?;
    world.provider.script(Rule::once(long()));
    world.mcp.script(McpRule::call("query", Failure { delay_ms: 1500, ..Failure::default() }));
    let mut streaming = stream(&gateway).await?;
    let calling = tokio::spawn(call(gateway.url.clone()));
    eventually("the call is under way", || async { Ok((world.mcp.calls("query").len() == 1).then_some(())) })
        .await?;

    gateway.process.signal("-TERM").await?;
    let readyz = eventually("readiness is off", || async {
        let (status, words) = gateway.probe("/readyz").await?;
        Ok((status == 503).then_some(words))
    })
    .await?;
    assert_eq!(readyz, "draining\n");
    assert_eq!(gateway.probe("/healthz").await?.0, 200, "it lives");
    eventually("nobody is let in any more", || async {
        let address = gateway.url.trim_start_matches("http://");
        Ok(tokio::net::TcpStream::connect(address).await.is_err().then_some(()))
    })
    .await?;

    let (events, clean) = streaming.rest().await;
    assert!(clean && events.iter().any(|e| e.name == "message_stop"), "{events:?}");
    let called = calling.await??;
    assert!(called["result"]["structuredContent"]["rows"].is_array(), "{called}");
    let status = gateway.process.ended().await?;
    assert!(status.success(), "{status}\n{}", gateway.process.log.text());

    let (records, budgets) = world.afterwards().await?;
    let whole = |r: &&Value| r["status"] == 200 && r["error"].is_null();
    assert_eq!((records.len(), records.iter().filter(whole).count()), (2, 2), "{records:#?}");
    assert!(budgets[0].committed > 0 && budgets[0].held == 0, "{budgets:?}");
    Ok(())
}

#[tokio::test]
async fn a_second_signal_cuts_off_and_what_was_used_is_charged() -> anyhow::Result<()> {
    let world = World::start().await?;
    let mut gateway = Operated::start(&world.home, &["--drain", "600"], &[]).await?;
    let silent = Reply { pause_after: Some(6), pause_ms: 600_000, ..long() };
    world.provider.script(Rule::once(silent));
    world.mcp.script(McpRule::call("query", Failure { delay_ms: 600_000, ..Failure::default() }));
    let mut streaming = stream(&gateway).await?;
    let calling = tokio::spawn(call(gateway.url.clone()));
    eventually("the call is under way", || async { Ok((world.mcp.calls("query").len() == 1).then_some(())) })
        .await?;

    gateway.process.signal("-TERM").await?;
    eventually("it drains", || async { Ok((gateway.probe("/readyz").await?.0 == 503).then_some(())) })
        .await?;
    assert!(!gateway.process.has_ended()?, "it waits for what is under way");
    gateway.process.signal("-TERM").await?;
    let status = gateway.process.ended().await?;
    assert!(status.success(), "{status}\n{}", gateway.process.log.text());
    assert!(!streaming.rest().await.1, "a stream that was cut off must not look whole");
    assert!(calling.await?.is_err());

    let (records, budgets) = world.afterwards().await?;
    assert_eq!(records.len(), 2, "both are recorded: {records:#?}");
    assert!(records.iter().all(|r| r["status"] == 499), "{records:#?}");
    assert!(budgets[0].committed > 0 && budgets[0].held == 0, "what was used is charged: {budgets:?}");
    Ok(())
}

#[tokio::test]
async fn while_others_learn_of_it_new_connections_are_still_served() -> anyhow::Result<()> {
    let world = World::start().await?;
    let mut gateway = Operated::start(&world.home, &["--min-drain", "2", "--drain", "30"], &[]).await?;
    gateway.process.signal("-TERM").await?;
    eventually("it drains", || async { Ok((gateway.probe("/readyz").await?.0 == 503).then_some(())) })
        .await?;
    // A new client, which learns at once that it should go elsewhere.
    let body = json!({"model": "anthropic/claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    let url = format!("{}/v1/messages", gateway.url);
    let answer = Http::new().post(&url, &[("x-api-key", KEY)], &body).await?.expect(200)?;
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(gateway.process.ended().await?.success());
    Ok(())
}
