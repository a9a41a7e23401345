//! One trace of a turn of the real Claude Code, as a real OpenTelemetry Collector receives it: the client's context, the
//! gateway's spans below it, the provider and the MCP server told where they are called from.

use crate::support::{Operated, free_port, write};
use anyhow::Context;
use serde_json::{Value, json};
use std::{path::Path, process::Stdio};
use tokio::process::{Child, Command};
use tollgate_e2e::{
    client::eventually,
    clients::Claude,
    gateway::{Home, Manifests},
    lab::KEY,
    mcp_server::McpServer,
    provider::{Api, Provider, Reply, Rule},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";
const SPEC: &str = r#"models: {allow: ["anthropic/*"]}
defaultRoute: anthropic
tools: [{server: db, allow: ["*"]}]
"#;

/// A collector that writes what it gets into a file.
pub struct Collector {
    _child: Child,
    pub endpoint: String,
    file: std::path::PathBuf,
}

#[derive(Debug, Clone)]
pub struct Span {
    pub name: String,
    kind: u64,
    trace: String,
    id: String,
    parent: String,
    attributes: Value,
    /// The attributes of who made it.
    resource: Value,
    pub service: String,
}

impl Collector {
    pub async fn start(dir: &Path) -> anyhow::Result<Self> {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/install");
        let installed = Command::new(tools).arg("collector").stderr(Stdio::inherit()).output().await?;
        anyhow::ensure!(installed.status.success(), "e2e/tools/install collector: {}", installed.status);
        let folder = String::from_utf8(installed.stdout)?.trim().to_owned();
        let (port, file) = (free_port()?, dir.join("received.jsonl"));
        let config = format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\n\
             exporters: {{file: {{path: {:?}}}}}\n\
             service:\n  pipelines:\n    \
             traces: {{receivers: [otlp], exporters: [file]}}\n    metrics: {{receivers: [otlp], exporters: [file]}}\n",
            file.display().to_string()
        );
        let config = write(&dir.join("collector.yaml"), &config)?;
        let child = Command::new(Path::new(&folder).join("collector"))
            .args(["--config", &config])
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the collector")?;
        eventually("the collector listens", || async {
            Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(|_| ()))
        })
        .await?;
        Ok(Collector { _child: child, endpoint: format!("http://127.0.0.1:{port}"), file })
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub fn spans(&self) -> Vec<Span> {
        let mut all = Vec::new();
        for line in self.lines() {
            for resource in line["resourceSpans"].as_array().into_iter().flatten() {
                let resource_attributes = attributes(&resource["resource"]["attributes"]);
                let service = resource_attributes["service.name"].clone();
                for span in resource["scopeSpans"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .flat_map(|s| s["spans"].as_array())
                    .flatten()
                {
                    let text = |name: &str| span[name].as_str().unwrap_or_default().to_owned();
                    all.push(Span {
                        name: text("name"),
                        kind: span["kind"].as_u64().unwrap_or_default(),
                        trace: text("traceId"),
                        id: text("spanId"),
                        parent: text("parentSpanId"),
                        attributes: attributes(&span["attributes"]),
                        resource: resource_attributes.clone(),
                        service: service.as_str().unwrap_or_default().to_owned(),
                    });
                }
            }
        }
        all
    }

    /// The attributes of all that metrics are about.
    pub fn resources(&self) -> Vec<Value> {
        let lines = self.lines();
        let resources = lines.iter().flat_map(|line| line["resourceMetrics"].as_array()).flatten();
        resources.map(|resource| attributes(&resource["resource"]["attributes"])).collect()
    }

    pub fn metric_names(&self) -> Vec<String> {
        let lines = self.lines();
        let scopes = lines.iter().flat_map(|line| line["resourceMetrics"].as_array()).flatten();
        let scopes = scopes.flat_map(|resource| resource["scopeMetrics"].as_array()).flatten();
        let metrics = scopes.flat_map(|scope| scope["metrics"].as_array()).flatten();
        metrics.filter_map(|metric| Some(metric["name"].as_str()?.to_owned())).collect()
    }
}

fn attributes(list: &Value) -> Value {
    let pairs = list.as_array().into_iter().flatten().map(|pair| {
        let value = pair["value"].as_object().and_then(|value| value.values().next()).cloned();
        (pair["key"].as_str().unwrap_or_default().to_owned(), value.unwrap_or_default())
    });
    Value::Object(pairs.collect())
}

const SERVER_KIND: u64 = 2;
const CLIENT_KIND: u64 = 3;

/// The spans of one trace.
struct Trace(Vec<Span>);

impl Trace {
    fn parent(&self, of: &Span) -> anyhow::Result<Span> {
        self.0.iter().find(|span| span.id == of.parent).cloned().with_context(|| format!("no parent: {of:?}"))
    }

    fn named(&self, name: &str) -> Vec<Span> {
        self.0.iter().filter(|span| span.name.starts_with(name)).cloned().collect()
    }

    /// The client's span is the parent of the gateway's, which is the parent of each attempt; the provider is told which.
    fn show_requests_and_attempts(&self, provider: &Provider) -> anyhow::Result<()> {
        for server in self.named("POST /v1/messages") {
            assert_eq!((server.parent.as_str(), server.kind), (CLIENT, SERVER_KIND), "{server:?}");
            assert_eq!(server.service, "gateway-under-test");
            assert_eq!(server.resource["deployment.environment.name"], "test");
            assert_eq!(server.attributes["http.response.status_code"], "200");
            assert_eq!(server.attributes["tollgate.key"], "default/vk-lab");
        }
        let told: Vec<String> = provider
            .requests_to(Api::Messages)
            .iter()
            .filter_map(|r| r.header("traceparent").map(str::to_owned))
            .collect();
        for attempt in self.named("chat ") {
            let parent = self.parent(&attempt)?;
            assert!(parent.name == "POST /v1/messages" && attempt.kind == CLIENT_KIND, "{attempt:?}");
            assert_eq!(attempt.attributes["gen_ai.provider.name"], "anthropic");
            assert!(attempt.attributes["gen_ai.usage.output_tokens"].is_string(), "{attempt:?}");
            assert!(attempt.attributes["gen_ai.response.finish_reasons"].is_object(), "{attempt:?}");
            assert!(told.contains(&format!("00-{TRACE}-{}-01", attempt.id)), "{told:?}");
        }
        Ok(())
    }

    /// HTTP request, MCP request, the call of the server, which is told.
    fn show_a_tool_call(&self, mcp: &McpServer) -> anyhow::Result<()> {
        let called = self.named("tools/call query").pop().context("no call")?;
        let request = self.parent(&called)?;
        let http = self.parent(&request)?;
        assert_eq!((called.kind, request.kind, http.kind), (CLIENT_KIND, SERVER_KIND, SERVER_KIND));
        assert_eq!((request.name.as_str(), http.name.as_str()), ("tools/call db__query", "POST /mcp"));
        assert_eq!(http.parent, CLIENT);
        assert_eq!(called.attributes["tollgate.mcp.server"], "default/db");
        let call = mcp.calls("query").pop().context("no call")?;
        let from = format!("00-{TRACE}-{}-01", called.id);
        assert_eq!(call.header("traceparent"), Some(from.as_str()));
        let meta = &call.message["params"]["_meta"];
        assert_eq!(meta["traceparent"], from.as_str());
        assert!(meta["claudecode/toolUseId"].is_string(), "the rest of _meta is as it was");
        Ok(())
    }
}

#[tokio::test]
async fn a_turn_of_claude_code_is_one_trace() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path()).await?;
    let (provider, mcp) = (Provider::start().await?, McpServer::start("db").await?);
    let manifests = Manifests::routes(&provider.url()).server("db", &mcp.url()).key(KEY, SPEC);
    let home = Home::new(&manifests)?;
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("OTEL_SERVICE_NAME", "gateway-under-test"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "300"),
    ];
    let gateway = Operated::start(&home, &[], &env).await?;

    let tool = "mcp__tollgate__db__query";
    let traceparent = format!("traceparent: 00-{TRACE}-{CLIENT}-01");
    let claude = Claude::new(&gateway.url, KEY)?.allow(tool).env("ANTHROPIC_CUSTOM_HEADERS", &traceparent);
    let config = json!({"mcpServers": {"tollgate": {"type": "http", "url": format!("{}/mcp", gateway.url),
        "headers": {"Authorization": format!("Bearer {KEY}"), "traceparent": format!("00-{TRACE}-{CLIENT}-01")}}}});
    let config = claude.file("mcp.json", &config.to_string())?;
    provider.script(Rule::once(Reply::tool(tool, json!({"sql": "select * from customers"}))));
    let said =
        claude.ask_with("who are our customers?", &["--mcp-config", &config.display().to_string()]).await?;
    assert!(said.ok()?.contains("Ada Lovelace"), "{}", said.json);

    let spans = eventually("the whole trace is there", || async {
        let spans = collector.spans();
        let of = |name: &str| spans.iter().filter(|s| s.trace == TRACE && s.name.starts_with(name)).count();
        let whole = of("POST /v1/messages") >= 2 && of("chat ") >= 2 && of("tools/call query") == 1;
        Ok((whole && of("tools/call db__query") == 1 && of("POST /mcp") >= 1).then_some(spans))
    })
    .await
    .with_context(|| format!("{:#?}\n{}", collector.spans(), gateway.process.log.text()))?;
    let spans = Trace(spans.into_iter().filter(|span| span.trace == TRACE).collect());
    spans.show_requests_and_attempts(&provider)?;
    spans.show_a_tool_call(&mcp)?;

    // No content in any span; the record has the trace's id.
    let all = format!("{:?}", spans.0);
    assert!(!all.contains("customers") && !all.contains("Ada"), "content in a span: {all}");
    let records = gateway.http.get(&format!("{}/logs/api/records", gateway.url)).await?.json()?;
    let id = records["records"][0]["id"].as_str().context("no record")?;
    let record = gateway.http.get(&format!("{}/logs/api/records/{id}", gateway.url)).await?.expect(200)?;
    assert!(record.text().contains(TRACE), "{}", record.text());
    let names = eventually("metrics are pushed too", || async {
        let names = collector.metric_names();
        Ok(names.iter().any(|name| name == "gen_ai.client.token.usage").then_some(names))
    })
    .await?;
    assert!(names.iter().any(|name| name == "tollgate.requests.in_flight"), "{names:?}");
    gateway.stop().await
}

#[tokio::test]
async fn without_an_exporter_the_clients_context_is_passed_through() -> anyhow::Result<()> {
    let (provider, mcp) = (Provider::start().await?, McpServer::start("db").await?);
    let manifests = Manifests::routes(&provider.url()).server("db", &mcp.url()).key(KEY, SPEC);
    let home = Home::new(&manifests)?;
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"), ("OTEL_SDK_DISABLED", "true")];
    let gateway = Operated::start(&home, &["--log-json"], &env).await?;
    let traceparent = format!("00-{TRACE}-{CLIENT}-01");
    let headers = [("x-api-key", KEY), ("traceparent", &traceparent), ("tracestate", "congo=t61rcWkgMzE")];
    let body = json!({"model": "anthropic/claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    gateway.http.post(&format!("{}/v1/messages", gateway.url), &headers, &body).await?.expect(200)?;
    let seen = provider.requests_to(Api::Messages);
    assert_eq!(seen[0].header("traceparent"), Some(traceparent.as_str()));
    assert_eq!(seen[0].header("tracestate"), Some("congo=t61rcWkgMzE"));
    assert_eq!(
        seen[0].json(),
        json!({"model": "claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]})
    );

    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "db__query", "arguments": {"sql": "select 1"}, "_meta": {"traceparent": "00-client"}}});
    let headers = [("x-api-key", KEY), ("traceparent", &traceparent), ("accept", "application/json")];
    gateway.http.post(&format!("{}/mcp", gateway.url), &headers, &call).await?.expect(200)?;
    let call = mcp.calls("query").pop().context("no call")?;
    assert_eq!(call.message["params"]["_meta"], json!({"traceparent": "00-client"}), "not ours to touch");
    assert_eq!(call.header("traceparent"), Some(traceparent.as_str()));

    // The line of the log has the ids.
    let line = eventually("the request's line is there", || async {
        let lines = gateway.process.log.text();
        let found =
            lines.lines().find(|l| l.contains("::access") && l.contains("/v1/messages")).map(str::to_owned);
        Ok(found)
    })
    .await?;
    let line: Value = serde_json::from_str(&line)?;
    assert_eq!((&line["trace_id"], &line["span_id"]), (&TRACE.into(), &CLIENT.into()));
    assert_eq!(
        (&line["status"], &line["level"], &line["route"]),
        (&200.into(), &"DEBUG".into(), &"/v1/messages".into())
    );
    gateway.stop().await
}
