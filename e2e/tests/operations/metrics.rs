//! `/metrics` after some requests: what the conventions name, and what is the gateway's own; bounded labels, no content, no key.

use crate::support::Operated;
use serde_json::json;
use tollgate_e2e::{
    client::eventually,
    gateway::{Home, Manifests},
    lab::{KEY, KEY_SPEC},
    mcp_server::McpServer,
    provider::{Provider, Reply, Rule, UsageSpec},
};

const SECRET: &str = "the customer's secret prompt";

async fn gateway(more: &[&str]) -> anyhow::Result<(Provider, McpServer, Home, Operated)> {
    let (provider, mcp) = (Provider::start().await?, McpServer::start("db").await?);
    let spec = format!("{KEY_SPEC}tools: [{{server: db, allow: [\"*\"]}}]\n");
    let poor = "models: {allow: [\"anthropic/*\"]}\nbudgets: [{name: day, usd: \"0.000001\", period: Day}]\n";
    let manifests =
        Manifests::routes(&provider.url()).server("db", &mcp.url()).key(KEY, &spec).key("vk-poor", poor);
    let home = Home::new(&manifests)?;
    let gateway = Operated::start(&home, more, &[]).await?;
    Ok((provider, mcp, home, gateway))
}

async fn ask(gateway: &Operated, key: &str, model: &str, stream: bool) -> anyhow::Result<u16> {
    let body = json!({"model": model, "max_tokens": 100, "stream": stream, "messages": [{"role": "user", "content": SECRET}]});
    let headers = [("x-api-key", key), ("anthropic-version", "2023-06-01")];
    Ok(gateway.http.post(&format!("{}/v1/messages", gateway.url), &headers, &body).await?.status)
}

#[tokio::test]
async fn requests_tokens_cost_and_refusals_are_counted() -> anyhow::Result<()> {
    let (provider, _mcp, _home, gateway) = gateway(&[]).await?;
    let usage = UsageSpec { input: 100, cache_read: 40, output: 20, ..UsageSpec::default() };
    let model = "anthropic/claude-sonnet-4-5";
    for stream in [false, true] {
        provider.script(Rule::once(Reply { usage: Some(usage), ..Reply::text("Hello there.") }));
        assert_eq!(ask(&gateway, KEY, model, stream).await?, 200);
    }
    provider.script(Rule::once(Reply { status: Some(400), ..Reply::default() }));
    assert_eq!(ask(&gateway, KEY, model, false).await?, 400);
    assert_eq!(ask(&gateway, "vk-poor", model, false).await?, 402);
    let bearer = format!("Bearer {KEY}");
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "db__query", "arguments": {"sql": "select * from customers"}}});
    let headers = [("authorization", bearer.as_str()), ("accept", "application/json")];
    gateway.http.post(&format!("{}/mcp", gateway.url), &headers, &call).await?.expect(200)?;

    // What ends is handed to a thread: it is there a moment later.
    let chat = [("gen_ai_operation_name", "chat")];
    let metrics = eventually("all is counted", || async {
        let metrics = gateway.metrics().await?;
        let served = metrics.sum("gen_ai_server_request_duration_seconds_count", &chat);
        let tools = metrics.sum("mcp_server_operation_duration_seconds_count", &[]);
        Ok((served == 4.0 && tools == 1.0).then_some(metrics))
    })
    .await?;

    let sonnet = [("gen_ai_provider_name", "anthropic"), ("gen_ai_request_model", "claude-sonnet-4-5")];
    let attempts = "gen_ai_client_operation_duration_seconds_count";
    assert_eq!(metrics.sum(attempts, &sonnet), 3.0, "the refused one never left");
    assert_eq!(metrics.sum(attempts, &[sonnet[0], ("error_type", "400")]), 1.0);
    assert_eq!(metrics.sum("gen_ai_client_inference_usage_input_tokens_total", &sonnet), 280.0);
    assert_eq!(metrics.sum("gen_ai_client_inference_usage_cache_read_input_tokens_total", &sonnet), 80.0);
    assert_eq!(metrics.sum("gen_ai_client_inference_usage_output_tokens_total", &sonnet), 40.0);
    let input = [sonnet[0], ("gen_ai_token_type", "input")];
    assert_eq!(metrics.sum("gen_ai_client_token_usage_sum", &input), 280.0);
    assert_eq!(metrics.sum("gen_ai_client_token_usage_bucket", &[input[0], input[1], ("le", "256")]), 2.0);
    assert_eq!(metrics.sum("gen_ai_client_operation_time_to_first_chunk_seconds_count", &sonnet), 1.0);
    assert_eq!(metrics.sum("gen_ai_server_time_to_first_token_seconds_count", &chat), 1.0);
    let failed =
        |class| metrics.sum("gen_ai_server_request_duration_seconds_count", &[("error_type", class)]);
    assert_eq!((failed("400"), failed("402")), (1.0, 1.0));
    assert!(metrics.sum("tollgate_cost_usd_total", &[]) > 0.0);
    assert_eq!(metrics.sum("tollgate_budget_overrun_usd_total", &[]), 0.0);
    assert_eq!(
        metrics.sum("tollgate_budget_refusals_total", &[("tollgate_reason", "budget_exhausted")]),
        1.0
    );
    assert_eq!(metrics.sum("tollgate_requests_in_flight", &[]), 0.0);
    assert_eq!(metrics.sum("tollgate_budget_holds", &[]), 0.0);
    assert_eq!(metrics.sum("tollgate_records_lost_total", &[]), 0.0);
    let tool = [("gen_ai_tool_name", "db__query"), ("mcp_method_name", "tools/call")];
    assert_eq!(metrics.sum("mcp_server_operation_duration_seconds_count", &tool), 1.0);
    let server = [("tollgate_mcp_server", "default/db"), ("gen_ai_tool_name", "query")];
    assert_eq!(metrics.sum("mcp_client_operation_duration_seconds_count", &server), 1.0);
    for sample in metrics.samples() {
        for (name, value) in &sample.labels {
            assert!(!value.contains("secret") && !value.contains("vk-"), "{sample:?}");
            assert!(!name.contains("key"), "keys are no labels unless asked for: {sample:?}");
        }
    }
    gateway.stop().await
}

#[tokio::test]
async fn keys_are_told_apart_when_asked_for_and_no_more_than_so_many() -> anyhow::Result<()> {
    let (_provider, _mcp, _home, gateway) = gateway(&["--metrics-keys", "1"]).await?;
    let model = "anthropic/claude-sonnet-4-5";
    assert_eq!(ask(&gateway, KEY, model, false).await?, 200);
    eventually("the first key is counted", || async {
        let of = [("tollgate_key", "default/vk-lab")];
        let metrics = gateway.metrics().await?;
        Ok((metrics.sum("gen_ai_server_request_duration_seconds_count", &of) == 1.0).then_some(()))
    })
    .await?;
    assert_eq!(ask(&gateway, "vk-poor", model, false).await?, 402);
    eventually("the second one is among the others", || async {
        let of = [("tollgate_key", "_OTHER")];
        let metrics = gateway.metrics().await?;
        Ok((metrics.sum("gen_ai_server_request_duration_seconds_count", &of) == 1.0).then_some(()))
    })
    .await?;
    gateway.stop().await
}
