//! What the API server itself takes and what it does not, where no rule of CEL speaks: patterns, the shape of selectors, times. What it
//! took and the operator then refused would switch a live object off.

use anyhow::ensure;
use serde_json::{Value, json};
use std::path::Path;
use tollgate_e2e::{cluster::Cluster, helm::repository};

const KEY: &str = "VirtualKey";
const ROUTE: &str = "ProviderRoute";
const SERVER: &str = "McpServer";

/// What stands in the error, and a spec: a field that is refused.
const REFUSED: &[(&str, &str, &str)] = &[
    ("models.allow[0]", KEY, "{models: {allow: ['a/b c']}}"),
    ("models.deny[0]", KEY, "{models: {deny: ['a/[bc]']}}"),
    ("models.aliases.fast", KEY, "{models: {aliases: {fast: 'a/*'}}}"),
    ("models.aliases.fast", KEY, "{models: {aliases: {fast: a/}}}"),
    ("providers.regions[0]", KEY, "{providers: {regions: ['eu-?']}}"),
    ("budgets[0].models[0]", KEY, "{budgets: [{name: m, usd: '1', period: Day, models: ['a/\u{a0}b']}]}"),
    ("budgets[0].rolling", KEY, "{budgets: [{name: m, usd: '1', rolling: 30000d}]}"),
    ("tools[0].allow[0]", KEY, "{tools: [{server: db, allow: ['{a,b}']}]}"),
    ("expiresAt", KEY, "{expiresAt: '9999-12-31T23:59:59Z'}"),
    ("expiresAt", KEY, "{expiresAt: '2027-01-01T00:00:00x5Z'}"),
    ("expiresAt", KEY, "{expiresAt: '2027-01-01T00:00:00+99:00'}"),
    ("expiresAt", KEY, "{expiresAt: '2027-02-30T00:00:00Z'}"),
    ("allowedNamespaces", KEY, "{allowedNamespaces: same}"),
    ("allowedNamespaces", KEY, "{allowedNamespaces: {selector: {matchLables: {a: b}}}}"),
    ("allowedNamespaces", KEY, "{allowedNamespaces: {selector: {matchLabels: {a: b}, matchLables: {a: b}}}}"),
    ("allowedNamespaces", KEY, "{allowedNamespaces: {selector: {}, more: {}}}"),
    ("allowedNamespaces.selector", KEY, "{allowedNamespaces: {selector: [a]}}"),
    ("matchLabels", KEY, "{allowedNamespaces: {selector: {matchLabels: a}}}"),
    ("matchLabels.a", KEY, "{allowedNamespaces: {selector: {matchLabels: {a: 1}}}}"),
    (
        "operator",
        KEY,
        "{allowedNamespaces: {selector: {matchExpressions: [{key: a, operator: in, values: [b]}]}}}",
    ),
    ("key", KEY, "{allowedNamespaces: {selector: {matchExpressions: [{operator: Exists}]}}}"),
    ("models[0].name", ROUTE, "{backends: [{name: a, anthropic: {}}], models: [{name: 'a b'}]}"),
    (
        "models[0].upstreamName",
        ROUTE,
        "{backends: [{name: a, anthropic: {}}], models: [{name: a, upstreamName: 'b*'}]}",
    ),
    ("backends[0].models[0]", ROUTE, "{backends: [{name: a, anthropic: {}, models: ['a\\']}]}"),
    ("fallbacks[0].model", ROUTE, "{backends: [{name: a, anthropic: {}}], fallbacks: [{model: 'a/*'}]}"),
    ("endpoint", ROUTE, "{backends: [{name: a, anthropic: {}, endpoint: 'https://a b.example.com'}]}"),
    ("endpoint", ROUTE, "{backends: [{name: a, anthropic: {}, endpoint: 'https://u:p@example.com'}]}"),
    ("endpoint", ROUTE, "{backends: [{name: a, anthropic: {}, endpoint: 'https://example.com:65536'}]}"),
    ("endpoint", ROUTE, "{backends: [{name: a, anthropic: {}, endpoint: 'https://example.com/a?b=c'}]}"),
    ("endpoint", ROUTE, "{backends: [{name: a, anthropic: {}, endpoint: 'https://exämple.com'}]}"),
    ("timeouts.connect", ROUTE, "{backends: [{name: a, anthropic: {}}], timeouts: {connect: 2}}"),
    ("streamableHttp.url", SERVER, "{streamableHttp: {url: 'mcp.example.com'}}"),
    ("tools.allow[0]", SERVER, "{streamableHttp: {url: 'https://a.b'}, tools: {allow: ['a[b]']}}"),
];

/// Specs that people write, and that are good.
const TAKEN: &[(&str, &str)] = &[
    (
        KEY,
        "{models: {allow: ['*', '*/claude-*', 'together/meta-llama/Llama-3.3-70B-Instruct'], deny: ['*-preview']}}",
    ),
    (
        KEY,
        "{models: {aliases: {fast: 'bedrock/us.anthropic.claude-3-5-haiku-20241022-v1:0', 'odd name*': a/b}}}",
    ),
    (
        KEY,
        "{budgets: [{name: a, usd: '0.000000001', rolling: 1000ms}, {name: b, usd: '1', rolling: 1m500ms}]}",
    ),
    (KEY, "{budgets: [{name: a, tokens: 2e6, period: Day, timeZone: America/Argentina/Buenos_Aires}]}"),
    (KEY, "{budgets: [{name: a, tokens: 1, period: Day, timeZone: Etc/GMT+5}]}"),
    (KEY, "{logging: {retention: 60000ms}, expiresAt: '2027-01-01t00:00:00.123456789+01:00'}"),
    (KEY, "{allowedNamespaces: {selector: {}}}"),
    (KEY, "{allowedNamespaces: {selector: {matchLabels: {a: b}}}}"),
    (
        KEY,
        "{allowedNamespaces: {selector: {matchLabels: {}, matchExpressions: [{key: a, operator: Exists}]}}}",
    ),
    (KEY, "{allowedNamespaces: {selector: {matchLabels: null}}, timeouts: null}"),
    (ROUTE, "{backends: [{name: a, openAICompatible: {}, endpoint: 'http://vllm:8000/v1/'}]}"),
    (ROUTE, "{backends: [{name: a, openAICompatible: {}, endpoint: 'https://[2001:db8::1]:8443/v1'}]}"),
    (
        ROUTE,
        "{backends: [{name: a, anthropic: {}, models: ['claude-*']}], models: [{name: gpt-5, price: {input: '3.000000', output: '15', webSearch: '0.0105'}}]}",
    ),
    (SERVER, "{streamableHttp: {url: 'https://mcp.example.com/mcp/v1_0'}, timeouts: {call: 1h30m}}"),
];

fn object(kind: &str, spec: &str) -> Value {
    let spec: Value = serde_yaml::from_str(spec).unwrap();
    json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": spec})
}

/// Whether the API server takes all of them. It does not drop what it does not know, as it would for most of its clients.
async fn create(cluster: &Cluster, namespace: &str, objects: Vec<Value>) -> anyhow::Result<String> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let arguments = ["create", "-n", namespace, "--dry-run=server", "--validate=ignore", "-f", "-"];
    cluster.kubectl_as(cluster.kubeconfig(), arguments, &list).await
}

#[tokio::test]
async fn what_the_operator_would_refuse_is_refused() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("edits").await?;
    for (field, kind, spec) in REFUSED {
        let refused = create(cluster, &namespace, vec![object(kind, spec)]).await;
        let refused = format!("{:#}", refused.expect_err(spec));
        ensure!(refused.contains(&format!("spec.{field}")) || refused.contains(field), "{spec}: {refused}");
    }
    for (kind, spec) in TAKEN {
        let taken = create(cluster, &namespace, vec![object(kind, spec)]).await;
        ensure!(taken.is_ok(), "{spec}: {:#}", taken.unwrap_err());
    }
    Ok(())
}

/// The documents of our kinds in a text of YAML.
fn ours(yaml: &str) -> Vec<Value> {
    use serde::Deserialize;
    let documents = serde_yaml::Deserializer::from_str(yaml).map(|d| Value::deserialize(d).unwrap());
    documents.filter(|d| d["apiVersion"] == "tollgate.dev/v1alpha1").collect()
}

/// The manifests in a file: its documents, or the examples of a page.
fn manifests(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    match path.extension().and_then(|e| e.to_str()) {
        Some("yaml") if text.contains("tollgate.dev/v1alpha1") => ours(&text),
        Some("md") => {
            let blocks = text.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap());
            blocks.flat_map(ours).collect()
        }
        _ => Vec::new(),
    }
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Every manifest that somebody may copy from us, and the one with every field.
#[tokio::test]
async fn the_examples_of_all_pages_are_taken() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("pages").await?;
    let root = repository();
    let mut paths = vec![root.join("README.md"), root.join("crds/src/manifests/tests/design.yaml")];
    files(&root.join("docs"), &mut paths);
    files(&root.join("deploy"), &mut paths);
    let mut pages = 0;
    for path in paths {
        let mut objects = manifests(&path);
        if objects.is_empty() {
            continue;
        }
        pages += 1;
        objects.iter_mut().for_each(|object| object["metadata"]["namespace"] = json!(namespace));
        let taken = create(cluster, &namespace, objects).await;
        ensure!(taken.is_ok(), "{}: {:#}", path.display(), taken.unwrap_err());
    }
    ensure!(pages >= 14, "{pages} files with manifests");
    Ok(())
}
