//! The fakes themselves: what the scenario tests rely on.

use anyhow::Context;
use serde_json::json;
use tollgate_e2e::{
    client::{Event, Http},
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
