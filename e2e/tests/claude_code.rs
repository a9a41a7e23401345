//! The real Claude Code through the gateway: npm `@anthropic-ai/claude-code`, headless, hermetic.

use anyhow::Context;
use serde_json::json;
use tollgate_e2e::{
    client::eventually,
    clients::Claude,
    gateway::manifests,
    lab::{KEY, Lab},
    mcp_server::McpServer,
    provider::{Api, Reply, Rule, UsageSpec},
};

fn claude(lab: &Lab) -> anyhow::Result<Claude> {
    Claude::new(lab.gateway.url(), KEY)
}

/// Sends one small request that costs about `dollars` at any price the catalogue has: usage is scripted.
async fn spend(lab: &Lab, key: &str, output: u64) -> anyhow::Result<()> {
    let usage = UsageSpec { input: 1, output, ..UsageSpec::default() };
    lab.provider.script(Rule::once(Reply { usage: Some(usage), ..Reply::text("spent") }));
    let body = json!({"model": "anthropic/claude-sonnet-4-5", "max_tokens": output, "messages": [{"role": "user", "content": "spend"}]});
    lab.gateway.message(key, &body).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn answers_without_a_model() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    lab.provider.script(Rule::once(Reply::text("Hello from the provider.")));
    let said = claude(&lab)?.ask("say hello").await?;
    assert_eq!(said.ok()?, "Hello from the provider.");
    let seen = lab.provider.requests_to(Api::Messages);
    assert_eq!(seen.len(), 1);
    assert!(seen[0].model().starts_with("claude-"), "{}", seen[0].model());
    assert!(seen[0].header("anthropic-beta").is_some_and(|b| b.contains("claude-code-")));
    assert_eq!(seen[0].json()["system"][0]["type"], "text");
    lab.provider.assert_clean()
}

#[tokio::test]
async fn answers_with_a_model_of_each_route() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    for (model, api, upstream) in [
        ("anthropic/claude-sonnet-4-5", Api::Messages, "claude-sonnet-4-5"),
        ("openai/gpt-5", Api::Chat, "gpt-5"),
        ("openai/gpt-4o", Api::Chat, "gpt-4o"),
    ] {
        lab.provider.script(Rule::once(Reply::text(format!("I am {model}."))).api(api).model(upstream));
        let said = claude(&lab)?.model(model).ask("who are you?").await?;
        assert_eq!(said.ok()?, format!("I am {model}."));
        assert!(said.json["modelUsage"].get(model).is_some(), "{}", said.json["modelUsage"]);
        let used = &said.json["usage"];
        assert!(used["output_tokens"].as_u64() > Some(0), "{used}");
    }
    lab.provider.assert_clean()
}

/// The provider asks for `Read`, gets the file's text back, answers from it.
async fn tool_loop(model: &str, api: Api) -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let claude = claude(&lab)?.model(model).allow("Read");
    let note = claude.file("note.txt", "the secret word is plum\n")?;
    let other = claude.file("other.txt", "the other word is pear\n")?;
    lab.provider.script(Rule::once(Reply {
        text: Some("I will read both.".to_owned()),
        ..Reply::tool("Read", json!({"file_path": note})).and_tool("Read", json!({"file_path": other}))
    }));
    let said = claude.ask("what do the files say?").await?;
    let text = said.ok()?;
    assert!(text.contains("the secret word is plum") && text.contains("the other word is pear"), "{text}");
    assert_eq!(said.json["num_turns"], 3);
    assert_eq!(lab.provider.requests_to(api).len(), 2);
    lab.provider.assert_clean()
}

#[tokio::test]
async fn tool_loop_passed_through() -> anyhow::Result<()> {
    tool_loop("anthropic/claude-sonnet-4-5", Api::Messages).await
}

#[tokio::test]
async fn tool_loop_translated() -> anyhow::Result<()> {
    tool_loop("openai/gpt-5", Api::Chat).await
}

#[tokio::test]
async fn thinking_comes_through_and_goes_back() -> anyhow::Result<()> {
    for (model, api) in [("anthropic/claude-sonnet-4-5", Api::Messages), ("openai/gpt-5", Api::Chat)] {
        let lab = Lab::start().await?;
        let claude = claude(&lab)?.model(model).allow("Read");
        let note = claude.file("note.txt", "42\n")?;
        lab.provider.script(Rule::once(Reply {
            thinking: Some("I should read the file first.".to_owned()),
            ..Reply::tool("Read", json!({"file_path": note}))
        }));
        let said = claude.ask("what is in the file?").await?;
        assert!(said.ok()?.contains("42"), "{}", said.json);
        // The strict provider checks the signature of its own thinking, and refuses reasoning it does not know.
        assert_eq!(lab.provider.requests_to(api).len(), 2);
        lab.provider.assert_clean()?;
    }
    Ok(())
}

#[tokio::test]
async fn mcp_tool_through_claude_mcp_add() -> anyhow::Result<()> {
    let server = McpServer::start("staging-db").await?;
    let tools = "models: {allow: [\"anthropic/*\", \"openai/*\"]}\ndefaultRoute: anthropic\ntools: [{server: staging-db, allow: [\"*\"], deny: [\"drop_*\"]}]\n";
    let lab = Lab::with(|m, _| m.server("staging-db", &server.url()).key("vk-tools", tools)).await?;
    for model in ["anthropic/claude-sonnet-4-5", "openai/gpt-5"] {
        let tool = "mcp__tollgate__staging-db__query";
        let claude = Claude::new(lab.gateway.url(), "vk-tools")?.model(model).allow(tool);
        claude.mcp_add("tollgate", &lab.gateway.at("/mcp"), "Authorization: Bearer vk-tools").await?;
        lab.provider.script(Rule::once(Reply::tool(tool, json!({"sql": "select * from customers"}))));
        let said = claude.ask("who are the customers?").await?;
        assert!(said.ok()?.contains("Ada Lovelace"), "{}", said.json);
    }
    let calls = server.calls("query");
    assert_eq!(calls.len(), 2);
    assert!(
        calls[0].message.pointer("/params/_meta/claudecode~1toolUseId").is_some(),
        "{}",
        calls[0].message
    );
    assert!(
        calls.iter().all(|c| c.headers.iter().all(|(_, v)| !v.contains("vk-"))),
        "the key reached the server"
    );
    let offered = lab.provider.requests_to(Api::Messages)[0].body.clone();
    let offered = String::from_utf8_lossy(&offered).into_owned();
    assert!(offered.contains("mcp__tollgate__staging-db__write_row"));
    assert!(!offered.contains("drop_table"), "a tool that is not allowed does not exist");
    lab.provider.assert_clean()
}

#[tokio::test]
async fn provider_529_then_success() -> anyhow::Result<()> {
    for model in ["anthropic/claude-sonnet-4-5", "openai/gpt-5"] {
        let lab = Lab::start().await?;
        let status = if model.starts_with("openai") { 503 } else { 529 };
        lab.provider.script(Rule::once(Reply::error(status, "Overloaded")));
        lab.provider.script(Rule::once(Reply::text("Now it worked.")));
        let said = claude(&lab)?.model(model).ask("try").await?;
        assert_eq!(said.ok()?, "Now it worked.");
        assert_eq!(lab.provider.requests().len(), 2, "the client retried");
    }
    Ok(())
}

#[tokio::test]
async fn broken_stream_is_retried_by_the_client() -> anyhow::Result<()> {
    for model in ["anthropic/claude-sonnet-4-5", "openai/gpt-5"] {
        let lab = Lab::start().await?;
        let text = "This sentence will break off in the middle of the stream, long before its end.";
        lab.provider.script(Rule::once(Reply { break_after: Some(4), ..Reply::text(text) }));
        lab.provider.script(Rule::once(Reply::text("The second attempt is whole.")));
        let said = claude(&lab)?.model(model).ask("try").await?;
        assert_eq!(said.ok()?, "The second attempt is whole.", "{model}");
        lab.provider.assert_clean()?;
    }
    Ok(())
}

#[tokio::test]
async fn exhausted_budget_is_said_once_and_in_words() -> anyhow::Result<()> {
    let spec = "models: {allow: [\"anthropic/*\"]}\ndefaultRoute: anthropic\nbudgets: [{name: month, usd: \"0.16\", period: Month}]\n";
    let lab = Lab::with(|m, _| m.key("vk-spent", spec)).await?;
    spend(&lab, "vk-spent", 10_000).await?; // 10,000 output tokens at $15 a million: $0.15
    let before = lab.provider.requests().len();
    let said = Claude::new(lab.gateway.url(), "vk-spent")?.ask("one more").await?;
    assert!(said.is_error(), "{}", said.json);
    let text = said.text();
    assert!(text.contains("402"), "{text}");
    for part in ["vk-spent", "month", "0.15", "0.16", "reset"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    assert_eq!(lab.provider.requests().len(), before, "the provider must not be asked");
    let records = eventually("the refusal is recorded", || async {
        let records = lab.gateway.records("vk-spent").await?;
        Ok((records.len() >= 2).then_some(records))
    })
    .await?;
    assert_eq!(records.len(), 2, "the client asked once: {records:#?}");
    Ok(())
}

#[tokio::test]
async fn model_that_the_key_may_not_use() -> anyhow::Result<()> {
    let spec = "models: {allow: [\"anthropic/*\"], deny: [\"*/claude-opus-*\"]}\ndefaultRoute: anthropic\n";
    let lab = Lab::with(|m, _| m.key("vk-narrow", spec)).await?;
    for model in ["openai/gpt-5", "anthropic/claude-opus-4-5"] {
        let said = Claude::new(lab.gateway.url(), "vk-narrow")?.model(model).ask("hello").await?;
        assert!(said.is_error(), "{}", said.json);
        assert!(said.text().contains("400") && said.text().contains(model), "{}", said.text());
    }
    assert!(lab.provider.requests().is_empty());
    Ok(())
}

#[tokio::test]
async fn unknown_key_is_said_at_once() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let started = std::time::Instant::now();
    let said = Claude::new(lab.gateway.url(), "vk-nobody")?.ask("hello").await?;
    assert!(said.is_error(), "{}", said.json);
    assert!(said.text().contains("401"), "{}", said.text());
    assert!(started.elapsed().as_secs() < 20, "the client must not retry for a minute");
    assert!(lab.provider.requests().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_dummy_key_works_where_a_key_is_anonymous() -> anyhow::Result<()> {
    let spec = "anonymous: true\nmodels: {allow: [\"anthropic/*\"]}\ndefaultRoute: anthropic\n";
    let lab = Lab::with(|m, _| m.file("anonymous.yaml", &manifests::team("vk-laptop", spec))).await?;
    let said = Claude::new(lab.gateway.url(), "dummy-key")?.ask("hello").await?;
    assert_eq!(said.ok()?, "You said: hello");
    lab.provider.assert_clean()
}

#[tokio::test]
async fn the_session_is_recorded_with_its_conversation() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let said = claude(&lab)?.model("openai/gpt-5").ask("remember the word quince").await?;
    said.ok()?;
    let session = said.json["session_id"].as_str().context("no session id")?.to_owned();
    let record = eventually("the request is recorded", || async {
        Ok(lab.gateway.records(KEY).await?.into_iter().find(|r| r["session"] == session.as_str()))
    })
    .await?;
    assert_eq!(record["model"], "openai/gpt-5");
    assert_eq!(record["status"], 200);
    Ok(())
}
