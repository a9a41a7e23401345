//! The bridge before the fake MCP server over standard input and output.

use super::support::Program;
use anyhow::Context;
use serde_json::{Value, json};
use tollgate_e2e::{
    client::{Answer, Http, eventually},
    gateway::{Gateway, Home, Manifests, beside},
    lab,
    provider::Provider,
};

const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");

/// A client with a session, or without one.
#[derive(Debug)]
struct Client {
    http: Http,
    url: String,
    session: Option<String>,
}

async fn bridge(more: &[&str]) -> anyhow::Result<Program> {
    let fake = beside("fake-mcp")?.display().to_string();
    let mut args = vec!["bridge", "--listen", "127.0.0.1:0"];
    args.extend(more);
    args.extend(["--", fake.as_str(), "--stdio", "--name", "stdio-db"]);
    Program::start(&args, &[]).await
}

fn call(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": params})
}

impl Client {
    fn stateless(bridge: &Program) -> Self {
        Client { http: Http::new(), url: bridge.url("/mcp"), session: None }
    }

    async fn open(bridge: &Program) -> anyhow::Result<Self> {
        let mut client = Self::stateless(bridge);
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let hello = json!({"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": params});
        let answer = client.post(&hello).await?.expect(200)?;
        anyhow::ensure!(answer.json()?["id"] == "hello", "{}", answer.text());
        client.session = answer.header("mcp-session-id").map(str::to_owned);
        let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        client.post(&note).await?.expect(202)?;
        Ok(client)
    }

    async fn post(&self, message: &Value) -> anyhow::Result<Answer> {
        let mut headers = vec![ACCEPT];
        headers.extend(self.session.as_deref().map(|s| ("mcp-session-id", s)));
        self.http.post(&self.url, &headers, message).await
    }

    /// The text that a tool answers with.
    async fn text(&self, message: &Value) -> anyhow::Result<String> {
        let answer = self.post(message).await?.expect(200)?;
        let json: Value = match answer.text().split_once("data: ") {
            Some(_) => {
                serde_json::from_str(answer.text().rsplit("data: ").next().unwrap_or_default().trim())?
            }
            None => answer.json()?,
        };
        anyhow::ensure!(json["id"] == message["id"], "{json}");
        let text = json.pointer("/result/content/0/text").and_then(Value::as_str);
        Ok(text.with_context(|| json.to_string())?.to_owned())
    }

    async fn count(&self) -> anyhow::Result<(u64, u64)> {
        let counted: Value = serde_json::from_str(&self.text(&call(1, "test_count", json!({}))).await?)?;
        Ok((counted["pid"].as_u64().context("pid")?, counted["count"].as_u64().context("count")?))
    }
}

fn lives(pid: u64) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

async fn until_gone(pid: u64) -> anyhow::Result<()> {
    eventually("the process is gone", || async move { Ok((!lives(pid)).then_some(())) }).await
}

#[tokio::test]
async fn each_session_has_its_process_and_ends_with_it() -> anyhow::Result<()> {
    let bridge = bridge(&["--max-sessions", "2"]).await?;
    let (one, two) = (Client::open(&bridge).await?, Client::open(&bridge).await?);
    let ((first, _), (second, _)) = (one.count().await?, two.count().await?);
    assert_ne!(first, second);
    assert_eq!(one.count().await?, (first, 2), "a session keeps its process");
    let page = one.post(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).await?.expect(200)?;
    assert!(page.json()?.pointer("/result/nextCursor").is_some());

    let third = Client::open(&bridge).await.expect_err("there are two");
    assert!(format!("{third:#}").contains("503"), "{third:#}");
    let session = two.session.clone().context("a session")?;
    let ended =
        two.http.call(hyper::Method::DELETE, &two.url, &[("mcp-session-id", &session)], "".into()).await?;
    assert_eq!(ended.status, 200);
    until_gone(second).await?;
    two.post(&call(3, "test_count", json!({}))).await?.expect(404)?;
    Client::open(&bridge).await?;

    // A process that dies takes its session along, and its client's request is answered.
    let died = one.post(&call("x", "test_exit", json!({}))).await?.expect(200)?;
    let words = died.text();
    assert!(words.contains("\"id\":\"x\"") && words.contains("exit status: 7"), "{words}");
    one.post(&call(4, "test_count", json!({}))).await?.expect(404)?;
    let again = Client::open(&bridge).await?;
    let (third, _) = again.count().await?;
    bridge.stop().await?;
    until_gone(third).await
}

#[tokio::test]
async fn garbage_is_skipped_size_is_bounded_and_silence_is_cancelled() -> anyhow::Result<()> {
    let bridge = bridge(&["--max-message", "20000"]).await?;
    let client = Client::open(&bridge).await?;
    assert_eq!(client.text(&call(1, "test_garbage", json!({}))).await?, "\"after garbage\"");
    assert!(bridge.log().contains("skipped a line that is no message"), "{}", bridge.log());
    assert!(bridge.log().contains("stdio-db is up"), "its standard error is in the log");
    let huge = client.post(&call(2, "test_huge", json!({"bytes": 50_000}))).await?.expect(200)?;
    assert!(huge.text().contains("cannot be used: it is too long"), "{}", huge.text());
    let large = json!({"jsonrpc": "2.0", "id": 3, "method": "ping", "params": {"a": "x".repeat(30_000)}});
    client.post(&large).await?.expect(413)?;
    assert_eq!(client.text(&call(4, "test_garbage", json!({}))).await?, "\"after garbage\"");

    // Progress comes with the client's own token, then the answer.
    let mut slow = call("s", "test_sleep", json!({"ms": 100}));
    slow["params"]["_meta"] = json!({"progressToken": "mine"});
    let answer = client.post(&slow).await?.expect(200)?;
    let text = answer.text();
    assert!(text.contains("\"progressToken\":\"mine\"") && text.contains("slept"), "{text}");

    // A cancelled call ends at once, and the server knows.
    let sleep = call("c", "test_sleep", json!({"ms": 60_000}));
    let waiting = client.post(&sleep);
    let cancel = async {
        let params = json!({"requestId": "c"});
        let note = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
        eventually("the call has begun and is cancelled", || async {
            client.post(&note).await?.expect(202)?;
            let cancelled = client.text(&call(9, "test_cancelled", json!({}))).await?;
            Ok((cancelled != "[]").then_some(()))
        })
        .await
    };
    let (waited, cancelled) = tokio::join!(waiting, cancel);
    cancelled?;
    assert!(waited?.text().contains("cancelled"));
    bridge.stop().await
}

#[tokio::test]
async fn a_shared_process_serves_clients_with_equal_ids() -> anyhow::Result<()> {
    let bridge = bridge(&["--shared"]).await?;
    let http = Http::new();
    eventually("it is ready", || async {
        Ok((http.get(&bridge.url("/readyz")).await?.status == 200).then_some(()))
    })
    .await?;
    let (one, two) = (Client::open(&bridge).await?, Client::open(&bridge).await?);
    assert_eq!(one.session, None, "there is nothing to keep");
    let ask = |client: &Client, ms: u64| {
        let (http, url) = (client.http.clone(), client.url.clone());
        async move {
            let message = call("same", "test_sleep", json!({"ms": ms}));
            http.post(&url, &[ACCEPT], &message).await?.expect(200)?.json()
        }
    };
    let (slow, quick) = tokio::join!(ask(&one, 300), ask(&two, 1));
    for answer in [slow?, quick?] {
        assert_eq!((&answer["id"], answer.pointer("/result/isError")), (&json!("same"), Some(&json!(false))));
    }
    let ((pid, _), (same, count)) = (one.count().await?, two.count().await?);
    assert_eq!((pid, count), (same, 2));

    // It dies, and is there again.
    one.post(&call(1, "test_exit", json!({}))).await?;
    until_gone(pid).await?;
    let (next, count) = eventually("it is there again", || async { Ok(two.count().await.ok()) }).await?;
    assert!(next != pid && count == 1);
    // A modern client learns that the server is not.
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    let modern = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}});
    let refused = one.post(&modern).await?.expect(400)?;
    assert_eq!(refused.json()?.pointer("/error/code"), Some(&json!(-32022)));
    bridge.stop().await?;
    until_gone(next).await
}

#[tokio::test]
async fn the_servers_own_questions_reach_its_client_or_are_answered() -> anyhow::Result<()> {
    let bridge = bridge(&[]).await?;
    let client = Client::open(&bridge).await?;
    let answered = client.text(&call(1, "test_ask", json!({}))).await?;
    assert!(answered.contains("\"result\":{}"), "a ping needs no client: {answered}");

    let mut headers = vec![ACCEPT];
    headers.extend(client.session.as_deref().map(|s| ("mcp-session-id", s)));
    let asking = call(2, "test_ask", json!({"elicit": true}));
    let mut stream = client.http.stream(&client.url, &headers, &asking).await?;
    let question = stream.next().await?.context("a question")?;
    let question: Value = serde_json::from_str(&question.data)?;
    assert_eq!(question["method"], "elicitation/create");
    let reply = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}});
    client.post(&reply).await?.expect(202)?;
    let answer = stream.next().await?.context("an answer")?;
    assert!(answer.data.contains("decline"), "{}", answer.data);

    // Without a session there is nobody to ask; web pages get nothing at all.
    let stateless = Client::stateless(&bridge);
    let answered = stateless.text(&call(1, "test_ask", json!({"elicit": true}))).await?;
    assert!(answered.contains("-32601"), "{answered}");
    let page = [ACCEPT, ("origin", "http://localhost")];
    client.http.post(&client.url, &page, &asking).await?.expect(403)?;
    bridge.stop().await
}

#[tokio::test]
async fn a_gateway_offers_a_stdio_server_by_way_of_the_bridge() -> anyhow::Result<()> {
    let (provider, bridge) = (Provider::start().await?, bridge(&[]).await?);
    let spec = format!("{}\ntools: [{{server: stdio-db, allow: ['*']}}]\n", lab::KEY_SPEC);
    let manifests =
        Manifests::routes(&provider.url()).key(lab::KEY, &spec).server("stdio-db", &bridge.url("/mcp"));
    let gateway = Gateway::start(&Home::new(&manifests)?).await?;
    let http = Http::new();
    let bearer = format!("Bearer {}", lab::KEY);
    let post = |message: Value| {
        let (http, url, bearer) = (http.clone(), gateway.at("/mcp"), bearer.clone());
        async move { http.post(&url, &[ACCEPT, ("authorization", &bearer)], &message).await }
    };
    let listed = post(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await?.expect(200)?;
    assert!(listed.text().contains("stdio-db__query"), "{}", listed.text());
    let called = post(call(2, "stdio-db__list_tables", json!({}))).await?.expect(200)?;
    assert!(called.text().contains("\"isError\":false"), "{}", called.text());
    gateway.stop().await?;
    bridge.stop().await
}

#[tokio::test]
async fn a_gateway_that_stands_alone_runs_commands_only_when_it_may() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    let fake = beside("fake-mcp")?.display().to_string();
    let spec = format!("{}\ntools: [{{server: local-db, allow: ['*']}}]\n", lab::KEY_SPEC);
    let server = |shared: bool| {
        format!(
            "apiVersion: tollgate.dev/v1alpha1\nkind: McpServer\nmetadata: {{name: local-db}}\nspec:\n  \
             stdio: {{image: none, command: ['{fake}'], args: [--stdio, --name, local-db], shared: {shared}}}\n"
        )
    };
    let manifests =
        Manifests::routes(&provider.url()).key(lab::KEY, &spec).file("local.yaml", &server(false));
    let home = Home::new(&manifests)?;
    let http = Http::new();
    let bearer = format!("Bearer {}", lab::KEY);
    let post = |url: String, message: Value| {
        let (http, bearer) = (http.clone(), bearer.clone());
        async move { http.post(&url, &[ACCEPT, ("authorization", &bearer)], &message).await?.expect(200) }
    };
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let count = call(2, "local-db__test_count", json!({}));

    let gateway = Gateway::start_on(&home, "127.0.0.1:0", &[]).await?;
    assert!(!post(gateway.at("/mcp"), list.clone()).await?.text().contains("local-db__"));
    assert!(gateway.log().find("--allow-local-stdio").is_some(), "the reason is in the log");
    gateway.stop().await?;

    let gateway = Gateway::start_on(&home, "127.0.0.1:0", &["--allow-local-stdio"]).await?;
    let listed = post(gateway.at("/mcp"), list).await?;
    assert!(listed.text().contains("local-db__query"), "{}", listed.text());
    let pid = |answer: &Answer| -> anyhow::Result<u64> {
        let text =
            answer.json()?.pointer("/result/content/0/text").and_then(Value::as_str).map(str::to_owned);
        let counted: Value = serde_json::from_str(&text.with_context(|| answer.text())?)?;
        counted["pid"].as_u64().context("a pid")
    };
    let first = pid(&post(gateway.at("/mcp"), count.clone()).await?)?;
    assert!(lives(first));
    // Another command line is another process; the old one ends.
    home.write("local.yaml", &server(true))?;
    until_gone(first).await?;
    let second = eventually("the new one answers", || {
        let asked = post(gateway.at("/mcp"), count.clone());
        async move { Ok(asked.await.ok().and_then(|answer| pid(&answer).ok())) }
    })
    .await?;
    assert_ne!(first, second);
    gateway.stop().await?;
    until_gone(second).await
}
