//! The requests of the demo, each with what it must show.

use super::{print::Print, stage::Stage};
use anyhow::{Context, ensure};
use hyper::HeaderMap;
use serde_json::{Value, json};

/// The team's key.
const TEAM_KEY: &str = "vk-engineering-main";
/// The key of the production database.
const PRODUCTION_KEY: &str = "vk-production";
/// The key that has run out.
const EXHAUSTED_KEY: &str = "vk-exhausted";

/// A scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Anthropic's API to Anthropic's model.
    Messages,
    /// OpenAI's API to OpenAI's model.
    Chat,
    /// Anthropic's API to OpenAI's model: what Claude Code does with `--model openai/gpt-5`.
    Across,
    /// A tool of the staging database.
    Tool,
    /// A tool of the production database with the team's key, and with its own.
    RefusedTool,
    /// A key that has run out.
    Exhausted,
}

// === impl Scene ===

impl Scene {
    /// All, in order.
    pub const ALL: [Scene; 6] =
        [Scene::Messages, Scene::Chat, Scene::Across, Scene::Tool, Scene::RefusedTool, Scene::Exhausted];

    /// The headline.
    pub fn title(self) -> &'static str {
        match self {
            Scene::Messages => "A request in Anthropic's API",
            Scene::Chat => "A request in OpenAI's API",
            Scene::Across => "Anthropic's API, OpenAI's model: translated, streamed",
            Scene::Tool => "A tool of the staging database",
            Scene::RefusedTool => "A tool of the production database",
            Scene::Exhausted => "A key that has run out",
        }
    }

    /// Who asks for what.
    pub fn who(self) -> &'static str {
        match self {
            Scene::Messages => "vk-engineering-main, anthropic/claude-sonnet-4-5",
            Scene::Chat | Scene::Across => "vk-engineering-main, openai/gpt-5",
            Scene::Tool => "vk-engineering-main, staging-db__query",
            Scene::RefusedTool => "vk-engineering-main and vk-production, production-db__query",
            Scene::Exhausted => "vk-exhausted, anthropic/claude-sonnet-4-5",
        }
    }

    /// Plays it; fails when it does not show what it must.
    pub async fn play(self, stage: &Stage, print: &Print) -> anyhow::Result<()> {
        match self {
            Scene::Messages => messages(stage, print).await,
            Scene::Chat => chat(stage, print).await,
            Scene::Across => across(stage, print).await,
            Scene::Tool => tool(stage, print).await,
            Scene::RefusedTool => refused_tool(stage, print).await,
            Scene::Exhausted => exhausted(stage, print).await,
        }
    }
}

fn body(model: &str, prompt: &str) -> Value {
    json!({"model": model, "max_tokens": 500, "messages": [{"role": "user", "content": prompt}]})
}

async fn billed(stage: &Stage, print: &Print, headers: &HeaderMap) -> anyhow::Result<()> {
    let bill = stage.bill_of(headers).await?;
    ensure!(bill.cost.is_some_and(|c| c > 0), "a request must cost something: {bill:?}");
    print.detail(&bill.words());
    Ok(())
}

async fn messages(stage: &Stage, print: &Print) -> anyhow::Result<()> {
    let prompt = "Say hello. [[say:Hello from the model, through Tollgate.]]";
    print.sent("POST /anthropic/v1/messages  Say hello.");
    let answer =
        stage.gateway.message(TEAM_KEY, &body("anthropic/claude-sonnet-4-5", prompt)).await?.expect(200)?;
    let text = answer.json()?["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    print.answered(&text);
    ensure!(text == "Hello from the model, through Tollgate.", "another answer was expected");
    billed(stage, print, &answer.headers).await
}

async fn chat(stage: &Stage, print: &Print) -> anyhow::Result<()> {
    let prompt = "Say hello. [[say:Hello from the other model.]]";
    print.sent("POST /v1/chat/completions  Say hello.");
    let mut ask = body("openai/gpt-5", prompt);
    ask["max_completion_tokens"] = ask["max_tokens"].take();
    if let Some(object) = ask.as_object_mut() {
        object.remove("max_tokens");
    }
    let answer = stage.gateway.chat(TEAM_KEY, &ask).await?.expect(200)?;
    let text = answer.json()?["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
    print.answered(&text);
    ensure!(text == "Hello from the other model.", "another answer was expected");
    billed(stage, print, &answer.headers).await
}

async fn across(stage: &Stage, print: &Print) -> anyhow::Result<()> {
    let mut ask =
        body("openai/gpt-5", "Which tool? [[say:I look it up.]][[tool:search {\"words\": \"tollgate\"}]]");
    ask["stream"] = json!(true);
    ask["tools"] = json!([{"name": "search", "description": "Searches", "input_schema": {"type": "object", "properties": {"words": {"type": "string"}}}}]);
    print.sent("POST /anthropic/v1/messages  (stream, one tool)  Which tool?");
    let headers = [("x-api-key", TEAM_KEY), ("anthropic-version", "2023-06-01")];
    let mut stream = stage.http.stream(&stage.gateway.at("/anthropic/v1/messages"), &headers, &ask).await?;
    ensure!(stream.status == 200, "status {}", stream.status);
    let (events, clean) = stream.rest().await;
    ensure!(clean, "the stream broke off");
    let names: Vec<&str> = events.iter().map(|e| e.name.as_str()).collect();
    ensure!(names.first() == Some(&"message_start") && names.last() == Some(&"message_stop"), "{names:?}");
    let all: Vec<Value> = events.iter().map(|e| e.json()).collect();
    let tool = all.iter().find_map(|e| e.pointer("/content_block/name")?.as_str()).context("no tool call")?;
    let said: String = all.iter().filter_map(|e| e.pointer("/delta/text")?.as_str()).collect();
    print.answered(&format!("{said} → calls {tool}"));
    print.detail(&format!("{} events of Anthropic's stream, made from OpenAI's chunks", events.len()));
    ensure!(tool == "search" && said == "I look it up.", "another answer was expected");
    billed(stage, print, &stream.headers).await
}

async fn call(stage: &Stage, key: &str, server: &str) -> anyhow::Result<Value> {
    let bearer = format!("Bearer {key}");
    let accept = ("accept", "application/json, text/event-stream");
    let url = stage.gateway.at("/mcp");
    let info = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "demo", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": info});
    let opened = stage.http.post(&url, &[accept, ("authorization", &bearer)], &hello).await?.expect(200)?;
    let session = opened.header("mcp-session-id").unwrap_or_default().to_owned();
    let arguments = json!({"sql": "select * from customers"});
    let params = json!({"name": format!("{server}__query"), "arguments": arguments});
    let message = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params});
    let headers = [
        accept,
        ("authorization", &bearer),
        ("mcp-session-id", &session),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    stage.http.post(&url, &headers, &message).await?.json()
}

fn rows(answer: &Value) -> String {
    let rows = answer.pointer("/result/structuredContent/rows").and_then(Value::as_array);
    let name = |r: &Value| r.get("name").and_then(Value::as_str).map(str::to_owned);
    rows.into_iter().flatten().filter_map(name).collect::<Vec<_>>().join(", ")
}

async fn tool(stage: &Stage, print: &Print) -> anyhow::Result<()> {
    print.sent("POST /mcp  tools/call staging-db__query {\"sql\": \"select * from customers\"}");
    let answer = call(stage, TEAM_KEY, "staging-db").await?;
    print.answered(&rows(&answer));
    ensure!(rows(&answer).starts_with("Ada Lovelace"), "rows were expected: {answer}");
    Ok(())
}

async fn refused_tool(stage: &Stage, print: &Print) -> anyhow::Result<()> {
    print.sent("POST /mcp  tools/call production-db__query, with vk-engineering-main");
    let refused = call(stage, TEAM_KEY, "production-db").await?;
    let code = refused
        .pointer("/error/code")
        .and_then(Value::as_i64)
        .with_context(|| format!("not refused: {refused}"))?;
    let words = refused.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    print.refused(&code.to_string(), words);
    print.detail("team-engineering allows the tools of staging-db only: for its keys no other exists");
    let reached = |server: usize| stage.servers.get(server).map_or(0, |s| s.calls("query").len());
    ensure!(code == -32602 && reached(1) == 0, "the production database must not be reached");
    print.sent("the same with vk-production");
    let answer = call(stage, PRODUCTION_KEY, "production-db").await?;
    print.answered(&rows(&answer));
    ensure!(!rows(&answer).is_empty() && reached(1) == 1, "rows were expected: {answer}");
    Ok(())
}

async fn exhausted(stage: &Stage, print: &Print) -> anyhow::Result<()> {
    let before = stage.provider.requests().len();
    print.sent("POST /anthropic/v1/messages  Say hello.");
    let answer =
        stage.gateway.message(EXHAUSTED_KEY, &body("anthropic/claude-sonnet-4-5", "Say hello.")).await?;
    let words = answer.json()?["error"]["message"].as_str().unwrap_or_default().to_owned();
    print.refused(&answer.status.to_string(), &words);
    print.detail("refused before it was sent: the provider saw nothing, and it cost nothing");
    ensure!(answer.status == 402, "402 was expected");
    ensure!(words.contains(EXHAUSTED_KEY), "the words must name the key");
    ensure!(stage.provider.requests().len() == before, "the provider must not be asked");
    Ok(())
}
