//! What `kubectl apply` says is in force at every gateway.

use crate::support::{BOUND, Installation, ask, key, route, token, until};
use serde_json::json;
use std::time::{Duration, Instant};
use tollgate_e2e::{
    gateway::Manifests,
    mcp_server::McpServer,
    provider::{Reply, Rule},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_reach_every_gateway() {
    let installation = Installation::start().await;
    let url = installation.provider.url();
    // Tokens must be long in a cluster, and nothing expands ${NAME} there.
    let replace = [
        ("http://127.0.0.1:18081", url),
        ("token: vk-engineering-main", format!("token: {}", token("vk-engineering-main"))),
        ("${ANTHROPIC_API_KEY:-sk-fake-provider-credential}", "sk-fake-provider-credential".to_owned()),
        ("${OPENAI_API_KEY:-sk-fake-provider-credential}", "sk-fake-provider-credential".to_owned()),
    ];
    let samples = Manifests::samples(&replace).unwrap();
    let mut all: Vec<_> = samples.files().filter(|(name, _)| name.ends_with(".yaml")).collect();
    // The operator makes the token of a key whose Secret is not there yet, and then kubectl cannot.
    all.sort_by_key(|(name, _)| *name != "secrets.yaml");
    let all: Vec<_> = all.into_iter().map(|(_, yaml)| yaml).collect();
    installation.apply(&all.join("\n---\n")).await;
    installation.every_gateway("vk-engineering-main", "claude-sonnet-4-5", 200).await;
    installation.provider.assert_clean().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_budgets_and_models_change_without_a_restart() {
    let installation = Installation::start().await;
    installation.basics().await;
    let model = "main/claude-sonnet-4-5";
    // A budget that is too small for any request, then one that is not.
    let with = |usd: &str| {
        key(
            "spender",
            &format!(
                "models: {{allow: [main/*]}}, budgets: [{{name: all, usd: {usd:?}, period: Year}}], spending: {{nearLimit: Refuse}}"
            ),
        )
    };
    installation.apply(&with("0.000001")).await;
    let refused = installation.every_gateway("spender", model, 402).await;
    assert!(refused[0].text().contains("budget"), "{}", refused[0].text());
    installation.apply(&with("5")).await;
    installation.every_gateway("spender", model, 200).await;
    // A model is added to a route that lists its models.
    installation.apply(&route("listed", &installation.provider.url(), "models: [{name: claude-a}]")).await;
    installation.apply(&key("lister", "models: {allow: [listed/*]}")).await;
    installation.every_gateway("lister", "listed/claude-haiku-4-5", 404).await;
    let two = "models: [{name: claude-a}, {name: claude-haiku-4-5}]";
    installation.apply(&route("listed", &installation.provider.url(), two)).await;
    installation.every_gateway("lister", "listed/claude-haiku-4-5", 200).await;
    // A token is rotated by its Secret.
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: k}}\nstringData: {{token: {}}}\n",
        token("fresh")
    );
    installation.apply(&secret).await;
    installation.every_gateway("fresh", model, 200).await;
    installation.every_gateway("k", model, 401).await;
    // And a key goes.
    installation.kubectl(&["delete", "virtualkey", "k"]).await;
    installation.every_gateway("fresh", model, 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_keys_running_stream_ends() {
    let installation = Installation::start().await;
    installation.basics().await;
    let endless = Reply { every_ms: 50, deltas: Some(4_000), ..Reply::text("x".repeat(4_000)) };
    installation.provider.script(Rule::once(endless));
    let mut body = ask("main/claude-sonnet-4-5");
    body["stream"] = json!(true);
    let token = token("k");
    let headers = [("x-api-key", token.as_str()), ("anthropic-version", "2023-06-01")];
    let url = installation.plane.gateway(1).unwrap().at("/anthropic/v1/messages");
    let mut stream = installation.http.stream(&url, &headers, &body).await.unwrap();
    stream.next().await.unwrap();
    let started = Instant::now();
    installation
        .kubectl(&["patch", "virtualkey", "k", "--type=merge", "-p", r#"{"spec":{"disabled":true}}"#])
        .await;
    let (events, _) = stream.rest().await;
    println!("the stream ended {:?} after kubectl began", started.elapsed());
    assert!(!events.iter().any(|e| e.name == "message_stop"), "a revoked key's stream must end");
    assert!(started.elapsed() < Duration::from_secs(100), "200 s is the whole stream");
    installation.every_gateway("k", "main/claude-sonnet-4-5", 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_by_the_api_server_with_the_reason() {
    let installation = Installation::start().await;
    let namespace = installation.plane.namespace();
    for (yaml, words) in [
        (key("bad", "budgets: [{name: a, usd: \"1\"}]"), "period"),
        (key("bad", "parentRef: {name: bad}"), "its own parent"),
        (key("bad", "colour: red"), "colour"),
        (route("bad", "ftp://example.com", ""), "endpoint"),
    ] {
        let error = installation.apply_in(namespace, &yaml).await.unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_gateways_cannot_use_harms_no_other() {
    let installation = Installation::start().await;
    installation.basics().await;
    // No Secret: that backend is off, everything else goes on; then it comes.
    let lonely = route("lonely", &installation.provider.url(), "")
        .replace("kind: Secret\nmetadata: {name: lonely}", "kind: Secret\nmetadata: {name: other}");
    installation.apply(&lonely).await;
    installation.apply(&key("l", "models: {allow: [lonely/*]}")).await;
    let off = installation.every_gateway("l", "lonely/claude-sonnet-4-5", 503).await;
    assert!(off[0].text().contains("does not exist"), "{}", off[0].text());
    installation.every_gateway("k", "main/claude-sonnet-4-5", 200).await;
    installation.apply(&route("lonely", &installation.provider.url(), "")).await;
    installation.every_gateway("l", "lonely/claude-sonnet-4-5", 200).await;
    // A parent goes: its child is denied, and told why; nobody else notices.
    let family =
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: parent}\nspec: {}\n---\n"
            .to_owned()
            + &key("child", "parentRef: {name: parent}, models: {allow: [main/*]}");
    installation.apply(&family).await;
    installation.every_gateway("child", "main/claude-sonnet-4-5", 200).await;
    installation.kubectl(&["delete", "virtualkey", "parent"]).await;
    let denied = installation.every_gateway("child", "main/claude-sonnet-4-5", 403).await;
    assert!(denied[0].text().contains("does not exist"), "{}", denied[0].text());
    installation.every_gateway("k", "main/claude-sonnet-4-5", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_change_again_and_again() {
    let installation = Installation::start().await;
    installation.basics().await;
    let mut times = Vec::new();
    for round in 0..20 {
        // Each round's request is refused by one version and let through by the next.
        let (allow, status) = if round % 2 == 0 { ("none/*", 400) } else { ("main/*", 200) };
        let patch = format!(r#"{{"spec":{{"models":{{"allow":["{allow}"]}}}}}}"#);
        installation.kubectl(&["patch", "virtualkey", "k", "--type=merge", "-p", &patch]).await;
        let started = Instant::now();
        installation.every_gateway("k", "main/claude-sonnet-4-5", status).await;
        times.push(started.elapsed());
    }
    times.sort();
    println!(
        "from kubectl's end to enforced on both gateways (debug builds): {:?} median, {:?} longest",
        times[10], times[19]
    );
    until("all of it within the bound", || async {
        times.last().filter(|t| **t < BOUND).map(|_| ()).ok_or_else(|| format!("{times:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mcp_session_is_at_home_at_every_gateway() {
    let installation = Installation::start().await;
    let server = McpServer::start("db").await.unwrap();
    let object = format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: McpServer\nmetadata: {{name: db}}\nspec: {{streamableHttp: {{url: {:?}}}}}\n---\n",
        server.url()
    );
    installation.apply(&(object + &key("tools", "tools: [{server: db, allow: ['*']}]"))).await;
    let token = format!("Bearer {}", token("tools"));
    let info = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": info});
    let accept = ("accept", "application/json, text/event-stream");
    let mut session = String::new();
    until("a session begins", async || {
        let url = installation.plane.gateway(0).unwrap().at("/mcp");
        let headers = [accept, ("authorization", token.as_str())];
        let answer = installation.http.post(&url, &headers, &hello).await.map_err(|e| e.to_string())?;
        session = answer.header("mcp-session-id").ok_or_else(|| answer.text())?.to_owned();
        Ok(())
    })
    .await;
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}});
    let headers = [
        accept,
        ("authorization", token.as_str()),
        ("mcp-session-id", session.as_str()),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    until("the other gateway knows the session", || async {
        let url = installation.plane.gateway(1).unwrap().at("/mcp");
        let answer = installation.http.post(&url, &headers, &list).await.map_err(|e| e.to_string())?;
        match answer.status == 200 && answer.text().contains("db__") {
            true => Ok(()),
            false => Err(format!("{} {}", answer.status, answer.text())),
        }
    })
    .await;
}
