//! Every rule of every CRD, refused by the API server itself with the rule's own words.

use kube::{Api, api::PostParams, core::DynamicObject, discovery::ApiResource};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tollgate_e2e::cluster::Cluster;

/// A rule's message and an object that it refuses: kind, name, spec.
struct Case(&'static str, &'static str, &'static str, &'static str);

const KEY: &str = "VirtualKey";
const ROUTE: &str = "ProviderRoute";
const SERVER: &str = "McpServer";
const LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

const CASES: &[Case] = &[
    Case("the name has at most 63 characters", KEY, LONG, "{}"),
    Case(
        "a key cannot be its own parent: name another key or team in parentRef, or leave it out",
        KEY,
        "a",
        "{parentRef: {name: a}}",
    ),
    Case(
        "a pattern in allow is route/model, such as anthropic/* or azure/gpt-5",
        KEY,
        "a",
        "{models: {allow: [gpt-5]}}",
    ),
    Case("a pattern in deny is route/model, such as */o3-pro", KEY, "a", "{models: {deny: [o3-pro]}}"),
    Case(
        "a budget has exactly one of usd and tokens",
        KEY,
        "a",
        "{budgets: [{name: m, usd: '1', tokens: 1, period: Month}]}",
    ),
    Case(
        "a budget has exactly one of period (such as Month) and rolling (such as 24h)",
        KEY,
        "a",
        "{budgets: [{name: m, usd: '1'}]}",
    ),
    Case(
        "timeZone goes with period: a rolling window has no calendar",
        KEY,
        "a",
        "{budgets: [{name: m, usd: '1', rolling: 24h, timeZone: UTC}]}",
    ),
    Case(
        "timeZone is an IANA time zone, such as Europe/Berlin",
        KEY,
        "a",
        "{budgets: [{name: m, usd: '1', period: Day, timeZone: Mars/Base}]}",
    ),
    Case(
        "rolling is at least a second, such as 24h",
        KEY,
        "a",
        "{budgets: [{name: m, usd: '1', rolling: 500ms}]}",
    ),
    Case("retention is at least a minute, such as 30d", KEY, "a", "{logging: {retention: 59s}}"),
    Case(
        "an alias stands for a model, not for another alias",
        KEY,
        "a",
        "{models: {aliases: {a: b, b: r/c}}}",
    ),
    Case(
        "a pattern in models is route/model, such as anthropic/*",
        KEY,
        "a",
        "{budgets: [{name: m, usd: '1', rolling: 1h, models: [gpt-5]}]}",
    ),
    Case(
        "deny takes away from allow, and allow names no tool: write allow: [\"*\"] to allow the others",
        KEY,
        "a",
        "{tools: [{server: db, deny: [drop_*]}]}",
    ),
    Case("the name has at most 63 characters", ROUTE, LONG, "{backends: [{name: a, gemini: {}}]}"),
    Case(
        "a backend has exactly one of anthropic, openAI, azureOpenAI, azureFoundry, vertexAI, gemini, bedrock and openAICompatible; one without fields is written with braces: anthropic: {}",
        ROUTE,
        "a",
        "{backends: [{name: a, anthropic: {}, openAI: {}}]}",
    ),
    Case(
        "azureOpenAI, azureFoundry and openAICompatible need endpoint: they have no public one",
        ROUTE,
        "a",
        "{backends: [{name: a, openAICompatible: {}}]}",
    ),
    Case(
        "endpoint of anthropic ends before /v1, such as https://api.anthropic.com: the gateway appends /v1/messages",
        ROUTE,
        "a",
        "{backends: [{name: a, anthropic: {}, endpoint: 'https://api.anthropic.com/v1'}]}",
    ),
    Case(
        "endpoint of openAI and openAICompatible mostly ends with /v1: the gateway appends /chat/completions",
        ROUTE,
        "a",
        "{backends: [{name: a, openAI: {}, endpoint: 'https://x.com/v1/chat/completions'}]}",
    ),
    Case(
        "credentials have exactly one of secretRef and ambient: true",
        ROUTE,
        "a",
        "{backends: [{name: a, gemini: {}, credentials: {ambient: false}}]}",
    ),
    Case(
        "a fallback is route/model, such as openai/gpt-5",
        ROUTE,
        "a",
        "{backends: [{name: a, gemini: {}}], fallbacks: [{model: gpt-5}]}",
    ),
    Case(
        "a price for a million tokens has at most three decimals, such as 0.075",
        ROUTE,
        "a",
        "{backends: [{name: a, gemini: {}}], models: [{name: m, price: {input: '3', output: '15', tiers: [{aboveInputTokens: 1, input: '0.0375', output: '1'}]}}]}",
    ),
    Case(
        "a timeout is longer than zero, such as 2s",
        ROUTE,
        "a",
        "{backends: [{name: a, gemini: {}}], timeouts: {firstByte: 0s}}",
    ),
    Case(
        "ejectFor is longer than zero, such as 30s",
        ROUTE,
        "a",
        "{backends: [{name: a, gemini: {}}], health: {ejectFor: 0m}}",
    ),
    Case(
        "the name is the prefix of the tools' names: at most 48 letters, digits and hyphens, and no dot",
        SERVER,
        "staging.db",
        "{sse: {url: 'http://a/sse'}}",
    ),
    Case("a server has exactly one of streamableHttp, sse and stdio", SERVER, "a", "{}"),
    Case(
        "auth is for servers over HTTP: give a stdio server its secrets in stdio.env",
        SERVER,
        "a",
        "{stdio: {image: i, command: [c]}, auth: {header: {name: x, secretRef: {name: a, key: b}}}}",
    ),
    Case(
        "HTTP or MCP itself uses this header: name one that authenticates, such as Authorization",
        SERVER,
        "a",
        "{sse: {url: 'http://a'}, auth: {header: {name: Mcp-Session-Id, secretRef: {name: a, key: b}}}}",
    ),
    Case(
        "an environment variable has exactly one of value and secretRef",
        SERVER,
        "a",
        "{stdio: {image: i, command: [c], env: [{name: A}]}}",
    ),
    Case(
        "command is missing: the bridge in the server's pod starts it, and cannot know the image's own",
        SERVER,
        "a",
        "{stdio: {image: i}}",
    ),
    Case(
        "a timeout is longer than zero, such as 5s",
        SERVER,
        "a",
        "{sse: {url: 'http://a'}, timeouts: {call: 0s}}",
    ),
];

fn resource(kind: &str) -> ApiResource {
    let plural = format!("{}s", kind.to_lowercase());
    ApiResource {
        group: "tollgate.dev".into(),
        version: "v1alpha1".into(),
        api_version: "tollgate.dev/v1alpha1".into(),
        kind: kind.into(),
        plural,
    }
}

#[tokio::test]
async fn each_refuses_with_its_message() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("rules").await?;
    let client = cluster.client().await?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for Case(message, kind, name, spec) in CASES {
        let spec: Value = serde_yaml::from_str(spec)?;
        let object = json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name}, "spec": spec});
        let objects = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource(kind));
        let refused = objects.create(&dry, &serde_json::from_value(object)?).await;
        let refused = refused.expect_err(message).to_string();
        assert!(refused.contains(message), "{kind} {spec}: {refused}");
    }
    Ok(())
}

/// The list above has every rule of `crds/manifests`.
#[test]
fn all_of_them() -> anyhow::Result<()> {
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/manifests"))? {
        let crd: Value = serde_yaml::from_str(&std::fs::read_to_string(file?.path())?)?;
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        messages(&crd, &mut |message| {
            found.insert((kind.clone(), message.to_owned()));
        });
    }
    let tested = CASES.iter().map(|Case(message, kind, ..)| ((*kind).to_owned(), (*message).to_owned()));
    assert_eq!(found, tested.collect());
    Ok(())
}

fn messages(node: &Value, found: &mut impl FnMut(&str)) {
    match node {
        Value::Object(map) => {
            for rule in map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                found(rule["message"].as_str().unwrap());
            }
            map.values().for_each(|value| messages(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| messages(value, found)),
        _ => {}
    }
}
