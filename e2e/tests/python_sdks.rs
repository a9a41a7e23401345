//! The official Python SDKs through the gateway, on the route of their own format and on the other one.

use serde_json::{Value, json};
use tollgate_e2e::{clients::python, gateway::manifests, lab::Lab};

const KEY: &str = "vk-sdk";
const SPEC: &str = "models: {allow: [\"anthropic/*\", \"openai/*\"], deny: [\"*/*not-allowed\"]}\nbudgets: [{name: month, usd: \"50\", period: Month}]\n";

/// The lab, with a route that lists its models.
async fn lab() -> anyhow::Result<Lab> {
    let listed = "models: [{name: claude-sonnet-4-5}, {name: \"claude-*\"}]\nretry: {attempts: 0}";
    let route = |url: &str| manifests::route("anthropic", "anthropic", url, listed);
    Lab::with(|m, url| m.file("anthropic.yaml", &route(url)).key(KEY, SPEC)).await
}

fn check_tools(said: &Value, stop: &str) {
    for way in ["tools", "tools_streamed"] {
        let tools = &said[way];
        assert_eq!(tools["stop"], stop, "{way}: {tools}");
        let calls = json!([["weather", {"city": "Berlin"}], ["weather", {"city": "Oslo"}]]);
        assert_eq!(tools["calls"], calls, "{way}");
        let answer = tools["answer"].as_str().unwrap_or_default();
        assert!(answer.contains("Berlin") && answer.contains("Oslo"), "{way}: {answer}");
    }
}

async fn anthropic_sdk(model: &str) -> anyhow::Result<()> {
    let lab = lab().await?;
    let said = python::script("anthropic_sdk.py", lab.gateway.url(), KEY, &[model]).await?;
    assert_eq!(said["whole"]["text"], "You said: hello");
    assert_eq!(said["whole"]["stop"], "end_turn");
    assert_eq!(said["streamed"]["text"], "You said: hello");
    assert_eq!(said["streamed"]["final"], "You said: hello");
    assert!(said["streamed"]["input"].as_u64() > Some(0), "{}", said["streamed"]);
    check_tools(&said, "tool_use");
    assert_eq!(said["tools"]["text"], "Let me look.");
    assert!(said["count"].as_u64() > Some(0));
    let models = said["models"].to_string();
    assert!(models.contains("anthropic/claude-sonnet-4-5"), "{models}");
    assert_eq!(said["refused"]["status"], 400);
    assert_eq!(said["refused"]["type"], "invalid_request_error");
    lab.provider.assert_clean()
}

#[tokio::test]
async fn anthropic_sdk_passed_through() -> anyhow::Result<()> {
    anthropic_sdk("anthropic/claude-sonnet-4-5").await
}

#[tokio::test]
async fn anthropic_sdk_translated() -> anyhow::Result<()> {
    anthropic_sdk("openai/gpt-5").await
}

async fn openai_sdk(model: &str) -> anyhow::Result<()> {
    let lab = lab().await?;
    let said = python::script("openai_sdk.py", lab.gateway.url(), KEY, &[model]).await?;
    assert_eq!(said["whole"]["text"], "You said: hello");
    assert_eq!(said["whole"]["stop"], "stop");
    assert!(said["whole"]["total"].as_u64() > Some(0));
    assert_eq!(said["streamed"]["text"], "You said: hello");
    assert!(said["streamed"]["total"].as_u64() > Some(0), "{}", said["streamed"]);
    assert_eq!(said["streamed_without_usage"]["text"], "You said: hello");
    assert_eq!(said["streamed_without_usage"]["usage"], false, "usage only for who asks for it");
    check_tools(&said, "tool_calls");
    assert!(said["models"].to_string().contains("anthropic/claude-sonnet-4-5"));
    assert_eq!(said["refused"]["status"], 403, "{}", said["refused"]);
    lab.provider.assert_clean()
}

#[tokio::test]
async fn openai_sdk_passed_through() -> anyhow::Result<()> {
    openai_sdk("openai/gpt-5").await
}

#[tokio::test]
async fn openai_sdk_translated() -> anyhow::Result<()> {
    openai_sdk("anthropic/claude-sonnet-4-5").await
}
