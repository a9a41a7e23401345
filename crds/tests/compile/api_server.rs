//! What the API server checks by CEL, the compiler checks for files.

use super::{accepted, cases::GOOD, compiled};
use kube::core::cel::validate_cel_schema;
use serde_json::{Value, json};
use tollgate_crds::{
    api::{McpServer, ProviderRoute, VirtualKey},
    compile::Options,
};

/// The words of the CEL rules that the API server would refuse a spec by.
pub(crate) fn refused_by_the_api_server(kind: &str, spec: &str) -> Option<String> {
    let spec: Value = serde_yaml::from_str(spec).ok()?;
    let object =
        json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
    let outcome = match kind {
        "VirtualKey" => validate_cel_schema::<VirtualKey>(&object, None),
        "ProviderRoute" => validate_cel_schema::<ProviderRoute>(&object, None),
        _ => validate_cel_schema::<McpServer>(&object, None),
    };
    outcome.err().map(|errors| format!("{errors:?}"))
}

/// The API server's rules are the compiler's as well: what CEL refuses, files cannot say either.
#[test]
fn what_the_api_server_refuses_is_refused_in_files() {
    let backend = |inside: &str| ("ProviderRoute", format!("{{backends: [{{name: a, {inside}}}]}}"));
    let key = |spec: &str| ("VirtualKey", format!("{{{spec}}}"));
    let server = |spec: &str| ("McpServer", format!("{{{spec}}}"));
    let header = |name: &str| {
        server(&format!(
            "streamableHttp: {{url: 'https://x.com'}}, auth: {{header: {{name: {name}, secretRef: {{name: creds, key: key}}}}}}"
        ))
    };
    let mut specs = vec![
        key("parentRef: {name: x}"),
        key("models: {allow: [gpt-5]}"),
        key("models: {deny: ['gpt-*']}"),
        key("budgets: [{name: b, usd: '1', tokens: 1, period: Day}]"),
        key("budgets: [{name: b, period: Day}]"),
        key("budgets: [{name: b, usd: '1'}]"),
        key("budgets: [{name: b, usd: '1', period: Day, rolling: 1h}]"),
        key("budgets: [{name: b, usd: '1', rolling: 1h, timeZone: UTC}]"),
        key("budgets: [{name: b, usd: '1', rolling: 0h0m}]"),
        key("budgets: [{name: b, usd: '1', rolling: 500ms}]"),
        key("models: {aliases: {a: b, b: r/c}}"),
        key("logging: {retention: 30s}"),
        key("tools: [{server: tools, allow: [], deny: [a]}]"),
        key("budgets: [{name: b, usd: '1', period: Day, models: [gpt-5]}]"),
        key("tools: [{server: tools, deny: [a]}]"),
        backend("openAI: {}, anthropic: {}"),
        backend("weight: 1"),
        ("ProviderRoute", "{backends: [{name: a, openAI: {}}], timeouts: {connect: 0s}}".to_owned()),
        backend("openAICompatible: {}"),
        backend("openAI: {}, credentials: {}"),
        backend("openAI: {}, credentials: {secretRef: {name: creds, key: key}, ambient: true}"),
        ("ProviderRoute", "{backends: [{name: a, openAI: {}}], fallbacks: [{model: gpt-5}]}".to_owned()),
        (
            "ProviderRoute",
            "{backends: [{name: a, openAI: {}}], models: [{name: m, price: {input: '3', output: '0.0375'}}]}"
                .to_owned(),
        ),
        server(""),
        server("stdio: {image: i}"),
        server("streamableHttp: {url: 'https://x.com'}, timeouts: {call: 0s}"),
        server("streamableHttp: {url: 'https://x.com'}, sse: {url: 'https://x.com'}"),
    ];
    let reserved =
        ["host", "Content-Length", "content-type", "transfer-encoding", "connection", "upgrade", "te"];
    specs.extend(reserved.map(header));
    specs.extend(["content-encoding", "Keep-Alive"].map(header));
    specs
        .extend(["trailer", "accept", "mcp-session-id", "mcp-protocol-version", "last-event-id"].map(header));
    for (kind, spec) in specs {
        assert!(refused_by_the_api_server(kind, &spec).is_some(), "{spec}: no rule refuses it");
        let yaml = format!(
            "{GOOD}apiVersion: tollgate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n"
        );
        let outcome = compiled(&yaml, Options::STANDALONE);
        assert!(!accepted(&outcome).contains(&format!("{kind} default/x")), "{spec}: accepted from a file");
    }
}
