//! The fakes themselves: what the scenario tests rely on.

use anyhow::Context;
use serde_json::json;
use tollgate_e2e::{
    client::{Event, Http},
    mcp_server::{Failure, McpServer, Rule as McpRule},
    provider::{Api, DEFAULT_KEY, Options, Provider, Reply, Rule, fast::STREAM_EVENTS},
};

const MESSAGES: [(&str, &str); 2] = [("x-api-key", DEFAULT_KEY), ("anthropic-version", "2023-06-01")];

fn message(text: &str, stream: bool) -> serde_json::Value {
    json!({"model": "claude-sonnet-4-5", "max_tokens": 100, "stream": stream, "messages": [{"role": "user", "content": text}]})
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|e| e.name.as_str()).collect()
}

#[tokio::test]
async fn provider_answers_in_both_shapes() -> anyhow::Result<()> {
    let (provider, http) = (Provider::start().await?, Http::new());
    let url = format!("{}/v1/messages", provider.url());
    let whole = http.post(&url, &MESSAGES, &message("hello", false)).await?.expect(200)?.json()?;
    assert_eq!(whole["content"][0]["text"], "You said: hello");
    assert_eq!(whole["stop_reason"], "end_turn");
    let mut stream =
        http.stream(&url, &MESSAGES, &message("[[tool:Read {\"file_path\":\"/a\"}]]", true)).await?;
    let (events, clean) = stream.rest().await;
    assert!(clean);
    assert_eq!(names(&events)[..4], ["message_start", "content_block_start", "ping", "content_block_delta"]);
    assert_eq!(events[events.len() - 2].json()["delta"]["stop_reason"], "tool_use");

    let url = format!("{}/v1/chat/completions", provider.url());
    let bearer = format!("Bearer {DEFAULT_KEY}");
    let ask = json!({"model": "gpt-5", "stream": true, "stream_options": {"include_usage": true}, "messages": [{"role": "user", "content": "[[say:ok]]"}]});
    let (events, clean) = http.stream(&url, &[("authorization", &bearer)], &ask).await?.rest().await;
    assert!(clean);
    assert_eq!(events.last().context("no event")?.data, "[DONE]");
    assert!(events[events.len() - 2].json()["usage"]["prompt_tokens"].as_u64() > Some(0));
    provider.assert_clean()
}

#[tokio::test]
async fn provider_refuses_leaks_and_mistakes() -> anyhow::Result<()> {
    let (provider, http) = (Provider::start().await?, Http::new());
    let url = format!("{}/v1/messages", provider.url());
    let leak = [("x-api-key", "vk-engineering-main"), ("anthropic-version", "2023-06-01")];
    http.post(&url, &leak, &message("x", false)).await?.expect(500)?;
    let wrong = [("x-api-key", "sk-other"), ("anthropic-version", "2023-06-01")];
    http.post(&url, &wrong, &message("x", false)).await?.expect(401)?;
    http.post(&url, &MESSAGES, &json!({"model": "claude-x"})).await?.expect(400)?;
    assert_eq!(provider.leaks().len(), 1);
    assert_eq!(provider.refusals().len(), 3);
    assert!(provider.assert_clean().is_err());
    provider.reset();
    provider.assert_clean()
}

#[tokio::test]
async fn provider_follows_its_script() -> anyhow::Result<()> {
    let (provider, http) = (Provider::start().await?, Http::new());
    let url = format!("{}/v1/messages", provider.url());
    provider.script(Rule::once(Reply::error(529, "Overloaded").header("retry-after", "1")));
    let rule = json!({"api": "messages", "model": "claude-*", "reply": {"text": "one two three four", "deltas": 4, "break_after": 5}});
    http.post(&format!("{}/_control/script", provider.url()), &[], &rule).await?.expect(200)?;
    let failed = http.post(&url, &MESSAGES, &message("x", false)).await?.expect(529)?;
    assert_eq!(failed.header("retry-after"), Some("1"));
    let (events, clean) = http.stream(&url, &MESSAGES, &message("x", true)).await?.rest().await;
    assert!(!clean, "the stream must break off");
    assert_eq!(events.len(), 5);
    let seen = provider.requests_to(Api::Messages);
    assert!(seen[0].finished.get() && !seen[1].finished.get());
    let listed = http.get(&format!("{}/_control/requests", provider.url())).await?.json()?;
    assert_eq!(listed[1]["body"]["stream"], true);
    Ok(())
}

#[tokio::test]
async fn provider_has_a_prompt_cache() -> anyhow::Result<()> {
    let (provider, http) = (Provider::start().await?, Http::new());
    let url = format!("{}/v1/messages", provider.url());
    let mut ask = message("x", false);
    ask["system"] =
        json!([{"type": "text", "text": "long ".repeat(500), "cache_control": {"type": "ephemeral"}}]);
    let first = http.post(&url, &MESSAGES, &ask).await?.expect(200)?.json()?;
    let second = http.post(&url, &MESSAGES, &ask).await?.expect(200)?.json()?;
    assert!(first["usage"]["cache_creation_input_tokens"].as_u64() > Some(500));
    assert_eq!(first["usage"]["cache_creation_input_tokens"], second["usage"]["cache_read_input_tokens"]);
    Ok(())
}

#[tokio::test]
async fn fast_provider_streams_fifty_events() -> anyhow::Result<()> {
    let (provider, http) = (Provider::with(Options::fast()).await?, Http::new());
    for path in ["/v1/messages", "/v1/chat/completions"] {
        let url = format!("{}{path}", provider.url());
        let (events, clean) = http.stream(&url, &[], &message("x", true)).await?.rest().await;
        assert!(clean);
        assert_eq!(events.len(), STREAM_EVENTS, "{path}");
        http.post(&url, &[], &message("x", false)).await?.expect(200)?;
    }
    Ok(())
}

const MCP: [(&str, &str); 1] = [("accept", "application/json, text/event-stream")];

fn rpc(method: &str, params: serde_json::Value) -> serde_json::Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

#[tokio::test]
async fn mcp_server_keeps_sessions_and_pages() -> anyhow::Result<()> {
    let (server, http) = (McpServer::start("staging-db").await?, Http::new());
    let url = server.url();
    http.post(&url, &MCP, &rpc("tools/list", json!({}))).await?.expect(400)?;
    http.post(&url, &[], &rpc("initialize", json!({}))).await?.expect(406)?;
    let version = json!({"protocolVersion": "2025-06-18"});
    let hello = http.post(&url, &MCP, &rpc("initialize", version)).await?.expect(200)?;
    assert_eq!(hello.json()?["result"]["protocolVersion"], "2025-06-18");
    let session = hello.header("mcp-session-id").context("no session")?.to_owned();
    let with = [MCP[0], ("mcp-session-id", session.as_str())];
    let first = http.post(&url, &with, &rpc("tools/list", json!({}))).await?.json()?;
    assert_eq!(first["result"]["tools"][0]["name"], "query");
    let cursor = json!({"cursor": first["result"]["nextCursor"]});
    let second = http.post(&url, &with, &rpc("tools/list", cursor)).await?.json()?;
    assert_eq!(second["result"]["tools"][1]["name"], "drop_table");
    let call = json!({"name": "query", "arguments": {"sql": "select * from customers"}});
    let rows = http.post(&url, &with, &rpc("tools/call", call)).await?.json()?;
    assert_eq!(rows["result"]["structuredContent"]["rows"][0]["database"], "staging-db");
    let row = json!({"name": "write_row", "arguments": {"table": "orders", "row": {"id": 12}}, "_meta": {"progressToken": 7}});
    let (events, clean) = http.stream(&url, &with, &rpc("tools/call", row)).await?.rest().await;
    assert!(clean);
    assert_eq!(events[0].json()["params"]["progressToken"], 7);
    assert_eq!(events[1].json()["result"]["structuredContent"]["rows"], 3);
    server.script(McpRule::call("query", Failure { status: Some(503), ..Failure::default() }));
    let call = || rpc("tools/call", json!({"name": "query", "arguments": {"sql": "select 1"}}));
    http.post(&url, &with, &call()).await?.expect(503)?;
    assert_eq!(http.post(&url, &with, &call()).await?.json()?["result"]["isError"], true);
    server.forget_sessions();
    http.post(&url, &with, &call()).await?.expect(404)?;
    assert_eq!(server.calls("query").len(), 4);
    Ok(())
}
