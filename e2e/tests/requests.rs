//! Requests and their refusals: what passes, what is refused, and in which words and shape.

use hyper::Method;
use serde_json::{Value, json};
use tollgate_e2e::{
    client::Answer,
    gateway::manifests,
    lab::{KEY, KEY_SPEC, Lab},
    provider::{Api, DEFAULT_KEY, Reply, Rule},
};

fn ask(model: &str) -> Value {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]})
}

fn messages_error(answer: &Answer, status: u16, kind: &str) -> anyhow::Result<String> {
    let body = answer.json()?;
    assert_eq!(answer.status, status, "{body}");
    assert_eq!(body["type"], "error", "{body}");
    assert_eq!(body["error"]["type"], kind, "{body}");
    Ok(body["error"]["message"].as_str().unwrap_or_default().to_owned())
}

fn chat_error(answer: &Answer, status: u16) -> anyhow::Result<String> {
    let body = answer.json()?;
    assert_eq!(answer.status, status, "{body}");
    assert!(body["error"].get("code").is_some() && body["error"]["type"].is_string(), "{body}");
    Ok(body["error"]["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn four_ways_to_present_a_key() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let bearer = format!("Bearer {KEY}");
    for header in [("x-api-key", KEY), ("authorization", &bearer), ("x-tollgate-key", KEY), ("x-bf-vk", KEY)]
    {
        let headers = [header, ("anthropic-version", "2023-06-01")];
        for url in [lab.messages(), lab.gateway.at("/v1/messages")] {
            lab.http.post(&url, &headers, &ask("anthropic/claude-sonnet-4-5")).await?.expect(200)?;
        }
        for path in ["/v1/chat/completions", "/openai/v1/chat/completions"] {
            lab.http.post(&lab.gateway.at(path), &[header], &ask("openai/gpt-4o")).await?.expect(200)?;
        }
    }
    lab.provider.assert_clean()
}

#[tokio::test]
async fn keys_that_are_missing_unknown_disabled_or_expired() -> anyhow::Result<()> {
    let off = format!("{KEY_SPEC}disabled: true\n");
    let old = format!("{KEY_SPEC}expiresAt: \"2020-01-01T00:00:00Z\"\n");
    let lab = Lab::with(|m, _| m.key("vk-off", &off).key("vk-old", &old)).await?;
    let model = ask("anthropic/claude-sonnet-4-5");
    let none = lab.http.post(&lab.messages(), &[("anthropic-version", "2023-06-01")], &model).await?;
    messages_error(&none, 401, "authentication_error")?;
    let unknown = lab.gateway.message("vk-nobody", &model).await?;
    messages_error(&unknown, 401, "authentication_error")?;
    assert_eq!(unknown.header("x-should-retry"), Some("false"));
    chat_error(&lab.gateway.chat("vk-nobody", &model).await?, 401)?;
    for key in ["vk-off", "vk-old"] {
        messages_error(&lab.gateway.message(key, &model).await?, 403, "permission_error")?;
        chat_error(&lab.gateway.chat(key, &model).await?, 403)?;
    }
    let mcp = [("accept", "application/json, text/event-stream")];
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}});
    let refused = lab.http.post(&lab.gateway.at("/mcp"), &mcp, &call).await?.expect(401)?;
    assert!(refused.header("www-authenticate").is_some());
    assert!(lab.provider.requests().is_empty());
    Ok(())
}

#[tokio::test]
async fn models_that_are_unknown_ambiguous_or_not_allowed() -> anyhow::Result<()> {
    let spec = "models: {allow: [\"anthropic/*\", \"openai/*\", \"other/*\"], deny: [\"*/*secret*\"], aliases: {fast: openai/gpt-4o}}\n";
    let listed = "models: [{name: shared-model}, {name: gpt-4o}]";
    let lab = Lab::with(|m, url| {
        let route = |n: &str| manifests::route(n, "openAI", &format!("{url}/v1"), listed);
        m.key("vk-many", spec).file("openai.yaml", &route("openai")).file("other.yaml", &route("other"))
    })
    .await?;
    let denied = ask("anthropic/claude-secret");
    messages_error(&lab.gateway.message("vk-many", &denied).await?, 400, "invalid_request_error")?;
    chat_error(&lab.gateway.chat("vk-many", &denied).await?, 403)?;
    let unknown = ask("openai/gpt-none");
    messages_error(&lab.gateway.message("vk-many", &unknown).await?, 404, "not_found_error")?;
    chat_error(&lab.gateway.chat("vk-many", &unknown).await?, 404)?;
    let words = messages_error(
        &lab.gateway.message("vk-many", &ask("shared-model")).await?,
        400,
        "invalid_request_error",
    )?;
    assert!(words.contains("openai/shared-model") && words.contains("other/shared-model"), "{words}");
    let alias = lab.gateway.message("vk-many", &ask("fast")).await?.expect(200)?;
    assert_eq!(alias.json()?["model"], "fast", "the client sees the name it asked for");
    assert_eq!(lab.provider.requests_to(Api::Chat)[0].model(), "gpt-4o");
    lab.provider.assert_clean()
}

#[tokio::test]
async fn bodies_that_are_too_large_or_no_json() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let key = [("x-api-key", KEY), ("anthropic-version", "2023-06-01")];
    let chat = lab.chat();
    for (url, anthropic) in [(lab.messages(), true), (chat, false)] {
        for bad in
            ["", "nonsense", "[1]", "{\"model\": 5}", "{\"model\":\"anthropic/claude-x\"", "{\"a\":\u{1}}"]
        {
            let answer = lab.http.call(Method::POST, &url, &key, bad.to_owned().into()).await?;
            match anthropic {
                true => messages_error(&answer, 400, "invalid_request_error")?,
                false => chat_error(&answer, 400)?,
            };
        }
        let mut huge = ask("anthropic/claude-sonnet-4-5");
        huge["messages"][0]["content"] = json!("x".repeat(33 << 20));
        let answer = lab.http.post(&url, &key, &huge).await?;
        match anthropic {
            true => messages_error(&answer, 413, "request_too_large")?,
            false => chat_error(&answer, 413)?,
        };
    }
    assert!(lab.provider.requests().is_empty());
    let mut large = ask("anthropic/claude-sonnet-4-5");
    large["messages"][0]["content"] = json!("x".repeat(10 << 20));
    let keyed = lab.gateway.message(KEY, &large).await?;
    assert!([200, 402].contains(&keyed.status), "{}", keyed.text());
    Ok(())
}

/// Byte for byte, outside the three splices: here only the model's name (the cap is not lowered).
#[tokio::test]
async fn same_format_is_passed_through_byte_for_byte() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let odd = |model: &str| {
        format!(
            "{{ \"max_tokens\" :100,\n\t\"model\":\"{model}\", \"messages\":[{{\"role\":\"user\",\"content\":[{{\"type\":\"text\",\"text\":\"caf\\u00e9 \\ud83d\\ude00 \u{1f600} \\/ 1e2\"}}]}}],\"temperature\":1.0 , \"metadata\":{{\"user_id\":\"u\"}}  }}"
        )
    };
    let headers =
        [("x-api-key", KEY), ("anthropic-version", "2023-06-01"), ("anthropic-beta", "new-beta-2027-01-01")];
    let body = odd("anthropic/claude-sonnet-4-5");
    lab.http.call(Method::POST, &lab.messages(), &headers, body.into()).await?.expect(200)?;
    let seen = lab.provider.requests_to(Api::Messages)[0].clone();
    assert_eq!(String::from_utf8_lossy(&seen.body), odd("claude-sonnet-4-5"));
    assert_eq!(seen.header("anthropic-beta"), Some("new-beta-2027-01-01"));
    assert_eq!(seen.header("x-api-key"), Some(DEFAULT_KEY));
    assert!(seen.path.ends_with("/v1/messages?beta=true"), "{}", seen.path);
    lab.provider.assert_clean()
}

#[tokio::test]
async fn answers_are_passed_through_byte_for_byte() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let odd = "{ \"id\":\"msg_1\", \"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\",\"content\":[{\"type\":\"text\",\"text\":\"caf\\u00e9\"}], \"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":3,\"output_tokens\":1}, \"new_field\": [1,2 ,3] }";
    lab.provider.script(Rule::once(Reply {
        body: Some(odd.to_owned()),
        content_type: Some("application/json".to_owned()),
        ..Reply::default()
    }));
    let answer = lab.gateway.message(KEY, &ask("anthropic/claude-sonnet-4-5")).await?.expect(200)?;
    assert_eq!(answer.text(), odd);
    Ok(())
}

#[tokio::test]
async fn upstream_errors_keep_their_words() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    for model in ["anthropic/claude-sonnet-4-5", "openai/gpt-5"] {
        let body = ask(model);
        lab.provider.script(Rule::once(Reply::error(400, "a very particular complaint")));
        let words = messages_error(&lab.gateway.message(KEY, &body).await?, 400, "invalid_request_error")?;
        assert!(words.contains("a very particular complaint"), "{words}");
        // The gateway's own credential is bad: no 401, on which Claude Code would ask for a login.
        lab.provider.script(Rule::once(Reply::error(401, "invalid x-api-key")));
        let answer = lab.gateway.message(KEY, &body).await?;
        assert_ne!(answer.status, 401, "{}", answer.text());
    }
    lab.provider.script(Rule::once(Reply {
        error_type: Some("invalid_request_error".to_owned()),
        ..Reply::error(400, "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.")
    }));
    let words = messages_error(
        &lab.gateway.message(KEY, &ask("openai/gpt-4o")).await?,
        400,
        "invalid_request_error",
    )?;
    assert!(words.contains("prompt is too long: 130000 tokens > 128000 maximum"), "{words}");
    Ok(())
}

#[tokio::test]
async fn retries_and_other_backends() -> anyhow::Result<()> {
    // Nobody listens on port 1; the second backend and the fallback do.
    let spec = "retry: {attempts: 2, when: [Connect, RateLimited, ServerError]}\nfallbacks: [{model: openai/gpt-4o}]";
    let lab = Lab::with(|m, url| {
        let dead = "http://127.0.0.1:1";
        let two = manifests::route("two", "anthropic", dead, spec).replace(
            "  - name: main\n",
            &format!("  - {{name: alive, priority: 1, anthropic: {{}}, endpoint: {url:?}, credentials: {{secretRef: {{name: provider, key: apiKey}}}}}}\n  - name: main\n"),
        );
        let lost = manifests::route("lost", "anthropic", dead, spec);
        m.file("two.yaml", &two).file("lost.yaml", &lost).key("vk-two", "models: {allow: [\"*/*\"]}\n")
    })
    .await?;
    let answer = lab.gateway.message("vk-two", &ask("two/claude-sonnet-4-5")).await?.expect(200)?;
    assert_eq!(answer.json()?["content"][0]["text"], "You said: hello");
    lab.provider.reset();
    lab.provider.script(Rule::once(Reply::error(529, "Overloaded")));
    lab.gateway.message("vk-two", &ask("two/claude-sonnet-4-5")).await?.expect(200)?;
    assert_eq!(lab.provider.requests().len(), 2, "retried by the gateway");
    lab.provider.reset();
    lab.gateway.message("vk-two", &ask("lost/claude-sonnet-4-5")).await?.expect(200)?;
    assert_eq!(lab.provider.requests_to(Api::Chat).len(), 1, "the fallback answered");
    lab.provider.assert_clean()
}

#[tokio::test]
async fn web_pages_are_kept_out() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let key = ("x-api-key", KEY);
    let evil =
        lab.http.post(&lab.messages(), &[key, ("host", "evil.example")], &ask("anthropic/claude-x")).await?;
    assert!([403, 421].contains(&evil.status), "{}", evil.status);
    for path in ["/anthropic/v1/messages", "/mcp", "/logs"] {
        let headers =
            [key, ("origin", "https://evil.example"), ("accept", "application/json, text/event-stream")];
        let page = lab.http.post(&lab.gateway.at(path), &headers, &ask("anthropic/claude-x")).await?;
        assert_eq!(page.status, 403, "{path}");
    }
    assert!(lab.provider.requests().is_empty());
    Ok(())
}

#[tokio::test]
async fn the_small_endpoints() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let none = bytes::Bytes::new;
    lab.http.call(Method::HEAD, &lab.gateway.at("/anthropic"), &[], none()).await?.expect(200)?;
    lab.http.get(&lab.gateway.at("/readyz")).await?.expect(200)?;
    let key = [("x-api-key", KEY), ("anthropic-version", "2023-06-01")];
    for path in ["/anthropic/v1/models?limit=1000", "/v1/models"] {
        let list =
            lab.http.call(Method::GET, &lab.gateway.at(path), &key, none()).await?.expect(200)?.json()?;
        assert!(list["data"].is_array(), "{list}");
    }
    for model in ["anthropic/claude-sonnet-4-5", "openai/gpt-5"] {
        let url = lab.gateway.at("/anthropic/v1/messages/count_tokens?beta=true");
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
        let count = lab.http.post(&url, &key, &body).await?.expect(200)?.json()?;
        assert!(count["input_tokens"].as_u64() > Some(0), "{model}: {count}");
    }
    let lost = lab.http.call(Method::GET, &lab.gateway.at("/nothing/here"), &key, none()).await?;
    assert_eq!(lost.status, 404);
    let wrong = lab.http.call(Method::DELETE, &lab.messages(), &key, none()).await?;
    assert_eq!(wrong.status, 405);
    lab.provider.assert_clean()
}

#[tokio::test]
async fn secrets_stay_out_of_the_log() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    lab.gateway.message(KEY, &ask("anthropic/claude-sonnet-4-5")).await?.expect(200)?;
    lab.gateway.message("vk-typed-wrong", &ask("anthropic/claude-sonnet-4-5")).await?.expect(401)?;
    let log = lab.gateway.log().text();
    assert!(!log.contains(DEFAULT_KEY) && !log.contains("vk-typed-wrong"), "{log}");
    Ok(())
}
