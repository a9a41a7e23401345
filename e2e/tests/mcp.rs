//! `/mcp`: several servers behind one endpoint, filtered by key.

use anyhow::Context;
use serde_json::{Value, json};
use tollgate_e2e::{
    client::{Answer, Http, eventually},
    gateway::{Gateway, Home, Manifests, binary, manifests},
    mcp_server::{Failure, McpServer, Options, Rule},
    redis::Redis,
};

/// A client of `/mcp` with a session.
struct Mcp {
    http: Http,
    url: String,
    key: String,
    session: Option<String>,
}

impl Mcp {
    async fn open(url: String, key: &str) -> anyhow::Result<Self> {
        let mut mcp = Mcp { http: Http::new(), url, key: format!("Bearer {key}"), session: None };
        let info = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
        let hello = mcp.send("initialize", info).await?.expect(200)?;
        mcp.session = hello.header("mcp-session-id").map(str::to_owned);
        let version = payload(&hello)?["result"]["protocolVersion"].clone();
        anyhow::ensure!(version == "2025-11-25", "{version}");
        let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        mcp.post(&note).await?.expect(202)?;
        Ok(mcp)
    }

    async fn post(&self, message: &Value) -> anyhow::Result<Answer> {
        let accept = ("accept", "application/json, text/event-stream");
        let mut headers = vec![accept, ("authorization", self.key.as_str())];
        if let Some(session) = &self.session {
            headers.extend([("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")]);
        }
        self.http.post(&self.url, &headers, message).await
    }

    async fn send(&self, method: &str, params: Value) -> anyhow::Result<Answer> {
        self.post(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).await
    }

    async fn tools(&self) -> anyhow::Result<Vec<String>> {
        let list = payload(&self.send("tools/list", json!({})).await?)?;
        let tools = list["result"]["tools"].as_array().with_context(|| format!("no tools: {list}"))?.clone();
        Ok(tools.iter().filter_map(|t| t["name"].as_str().map(str::to_owned)).collect())
    }

    async fn call(&self, tool: &str, arguments: Value) -> anyhow::Result<Value> {
        payload(&self.send("tools/call", json!({"name": tool, "arguments": arguments})).await?)
    }
}

/// The JSON-RPC answer, from a JSON body or from the last event of a stream.
fn payload(answer: &Answer) -> anyhow::Result<Value> {
    if answer.header("content-type").is_some_and(|t| t.starts_with("text/event-stream")) {
        let last =
            answer.text().lines().filter_map(|l| l.strip_prefix("data: ").map(str::to_owned)).next_back();
        return Ok(serde_json::from_str(&last.context("no event")?)?);
    }
    answer.json()
}

fn select() -> Value {
    json!({"sql": "select * from customers"})
}

struct Lab {
    staging: McpServer,
    production: McpServer,
    home: Home,
    gateway: Gateway,
}

/// Two servers and a dead one; `vk-staging` sees one without `drop_*`, `vk-both` both and the dead one.
async fn lab() -> anyhow::Result<Lab> {
    let staging = McpServer::start("staging-db").await?;
    let options = Options {
        authorization: Some("Bearer upstream-secret".to_owned()),
        ..Options::named("production-db")
    };
    let production = McpServer::with(options).await?;
    let auth = "  auth: {header: {name: Authorization, secretRef: {name: production-mcp, key: header}}}\n";
    let with_auth = format!("{}{auth}", manifests::server("production-db", &production.url()));
    let manifests = Manifests::new()
        .server("staging-db", &staging.url())
        .file("production-db.yaml", &with_auth)
        .file("production-secret.yaml", &manifests::secret("production-mcp", "header", "Bearer upstream-secret"))
        .server("dead", "http://127.0.0.1:1/mcp")
        .key("vk-staging", "tools: [{server: staging-db, allow: [\"*\"], deny: [\"drop_*\"]}]\n")
        .key("vk-both", "tools: [{server: staging-db, allow: [query]}, {server: production-db, allow: [\"*\"]}, {server: dead, allow: [\"*\"]}]\n")
        .key("vk-none", "models: {allow: [\"*/*\"]}\n");
    let home = Home::new(&manifests)?;
    let gateway = Gateway::start(&home).await?;
    Ok(Lab { staging, production, home, gateway })
}

#[tokio::test]
async fn tools_are_merged_prefixed_and_filtered() -> anyhow::Result<()> {
    let lab = lab().await?;
    let url = || lab.gateway.at("/mcp");
    let mut tools = Mcp::open(url(), "vk-staging").await?.tools().await?;
    tools.sort();
    assert_eq!(
        tools,
        ["staging-db__list_tables", "staging-db__query", "staging-db__write_row"],
        "all pages, no drop"
    );
    let mut both = Mcp::open(url(), "vk-both").await?.tools().await?;
    both.sort();
    assert_eq!(both[0], "production-db__drop_table");
    assert_eq!(both.len(), 5, "the dead server hides nobody: {both:?}");
    assert!(Mcp::open(url(), "vk-none").await?.tools().await?.is_empty(), "deny by default");
    let one = Mcp::open(lab.gateway.at("/mcp/staging-db"), "vk-both").await?.tools().await?;
    assert_eq!(one.len(), 1, "{one:?}");
    Ok(())
}

#[tokio::test]
async fn calls_reach_the_right_server() -> anyhow::Result<()> {
    let lab = lab().await?;
    let both = Mcp::open(lab.gateway.at("/mcp"), "vk-both").await?;
    for server in ["staging-db", "production-db"] {
        let answer = both.call(&format!("{server}__query"), select()).await?;
        assert_eq!(answer["result"]["structuredContent"]["rows"][0]["database"], server, "{answer}");
    }
    let row = json!({"table": "orders", "row": {"id": 12}});
    let written = both.call("production-db__write_row", row).await?;
    assert_eq!(written["result"]["structuredContent"]["rows"], 3, "an SSE answer: {written}");
    let seen = [lab.staging.seen(), lab.production.seen()].concat();
    assert!(seen.iter().all(|s| s.headers.iter().all(|(_, v)| !v.contains("vk-"))), "a key reached a server");
    assert!(!lab.gateway.log().text().contains("upstream-secret"));
    Ok(())
}

#[tokio::test]
async fn a_tool_that_is_not_allowed_does_not_exist() -> anyhow::Result<()> {
    let lab = lab().await?;
    let staging = Mcp::open(lab.gateway.at("/mcp"), "vk-staging").await?;
    for tool in ["staging-db__drop_table", "production-db__query", "nobody__nothing"] {
        let refused = staging.call(tool, json!({"table": "orders"})).await?;
        assert_eq!(refused["error"]["code"], -32602, "{tool}: {refused}");
    }
    assert!(lab.staging.calls("drop_table").is_empty() && lab.production.calls("query").is_empty());
    Ok(())
}

#[tokio::test]
async fn a_restarted_server_is_called_again() -> anyhow::Result<()> {
    let lab = lab().await?;
    let staging = Mcp::open(lab.gateway.at("/mcp"), "vk-staging").await?;
    staging.call("staging-db__query", select()).await?;
    lab.staging.forget_sessions();
    let again = staging.call("staging-db__query", select()).await?;
    assert!(again["result"]["structuredContent"].is_object(), "{again}");
    Ok(())
}

#[tokio::test]
async fn failures_of_a_server_are_told_and_stay_its_own() -> anyhow::Result<()> {
    let lab = lab().await?;
    let both = Mcp::open(lab.gateway.at("/mcp"), "vk-both").await?;
    let dead = both.call("dead__anything", json!({})).await?;
    assert!(dead["error"].is_object() || dead["result"]["isError"] == true, "{dead}");
    for failure in [
        Failure { status: Some(503), ..Failure::default() },
        Failure { garbage: true, ..Failure::default() },
        Failure { drop: true, ..Failure::default() },
        Failure { error: Some((-32000, "database is locked".to_owned())), ..Failure::default() },
    ] {
        lab.staging.script(Rule::call("query", failure));
        let failed = both.call("staging-db__query", select()).await?;
        assert!(failed["error"].is_object() || failed["result"]["isError"] == true, "{failed}");
    }
    lab.staging.script(Rule::call(
        "query",
        Failure { tool_error: Some("no such table".to_owned()), ..Failure::default() },
    ));
    let own = both.call("staging-db__query", select()).await?;
    assert_eq!(own["result"]["content"][0]["text"], "no such table", "a tool's own error is a result");
    lab.staging.script(Rule::always("tools/list", Failure { status: Some(500), ..Failure::default() }));
    let listed = Mcp::open(lab.gateway.at("/mcp"), "vk-both").await?.tools().await?;
    assert!(listed.iter().any(|t| t == "production-db__query"), "{listed:?}");
    Ok(())
}

#[tokio::test]
async fn a_narrowed_key_loses_its_tools_in_an_open_session() -> anyhow::Result<()> {
    let lab = lab().await?;
    let staging = Mcp::open(lab.gateway.at("/mcp"), "vk-staging").await?;
    staging.call("staging-db__query", select()).await?;
    lab.home.write(
        "vk-staging.yaml",
        &manifests::key("vk-staging", "tools: [{server: staging-db, allow: [list_tables]}]\n"),
    )?;
    eventually("the tool is gone", || async {
        let answer = staging.call("staging-db__query", select()).await?;
        Ok((answer["error"]["code"] == -32602).then_some(()))
    })
    .await?;
    assert_eq!(staging.tools().await?, ["staging-db__list_tables"]);
    Ok(())
}

#[tokio::test]
async fn get_is_405_and_a_foreign_session_404() -> anyhow::Result<()> {
    let lab = lab().await?;
    let (http, url) = (Http::new(), lab.gateway.at("/mcp"));
    let headers = [("authorization", "Bearer vk-staging"), ("accept", "text/event-stream")];
    let get = http.call(hyper::Method::GET, &url, &headers, bytes::Bytes::new()).await?;
    assert_eq!(get.status, 405);
    let mut stolen = Mcp::open(url, "vk-both").await?;
    stolen.key = "Bearer vk-staging".to_owned();
    if stolen.session.is_some() {
        assert_eq!(stolen.send("tools/list", json!({})).await?.status, 404, "a session is bound to its key");
    }
    Ok(())
}

/// What a key may call with three requests a minute, asking by turns at these gateways.
async fn spends_its_rate(gateways: &[&Gateway]) -> anyhow::Result<()> {
    let mut clients = Vec::new();
    for gateway in gateways {
        clients.push(Mcp::open(gateway.at("/mcp"), "vk-few").await?);
    }
    for n in 0..4 {
        let answer = clients[n % clients.len()].call("staging-db__query", select()).await?;
        let refused = answer["result"]["isError"] == true;
        assert_eq!(refused, n == 3, "call {n}: {answer}");
        let words = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(refused, words.contains("limited to 3 requests a minute"), "{words}");
    }
    Ok(())
}

#[tokio::test]
async fn calls_count_as_requests_here_and_at_all_gateways_together() -> anyhow::Result<()> {
    let staging = McpServer::start("staging-db").await?;
    let few = "tools: [{server: staging-db, allow: [\"*\"]}]\nlimits: {requestsPerMinute: 3}\n";
    let home = || Home::new(&Manifests::new().server("staging-db", &staging.url()).key("vk-few", few));
    let alone = home()?;
    let gateway = Gateway::start(&alone).await?;
    spends_its_rate(&[&gateway]).await?;
    gateway.stop().await?;
    let redis = Redis::start(&["--save", ""])?;
    let founded =
        std::process::Command::new(binary()?).args(["ledger", "found", "--redis", &redis.url()]).status()?;
    assert!(founded.success());
    let (url, homes) = (redis.url(), [home()?, home()?]);
    let flags = ["--redis", url.as_str(), "--redis-timeout", "500"];
    let one = Gateway::start_on(&homes[0], "127.0.0.1:0", &flags).await?;
    let two = Gateway::start_on(&homes[1], "127.0.0.1:0", &flags).await?;
    spends_its_rate(&[&one, &two]).await
}
