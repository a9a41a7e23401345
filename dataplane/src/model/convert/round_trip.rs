//! The whole way: manifests, compiled, as bytes on the wire, to the model.

use super::model::Model;
use crate::{
    model::{Export, Key, ObjectId, key::Content},
    snapshot::Snapshot,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::{path::Path, sync::LazyLock, time::Duration};
use tollgate_crds::{
    compile::{Compiled, Input, Options, compile},
    manifest::{self, folder::scan},
};
use tollgate_ledger::budget::{Limit, Period};
use tollgate_proto::{Resource, Resources};
use tollgate_translate::Provider;

const WORLD: &str = include_str!("../../../../crds/tests/compile/world.yaml");

static WORLD_INPUT: LazyLock<Input> = LazyLock::new(|| input(WORLD));

fn input(yaml: &str) -> Input {
    let file = manifest::read("m.yaml", yaml.as_bytes(), &|_| None);
    assert_eq!(file.problems, vec![]);
    Input {
        objects: file.objects,
        namespaces: file.namespaces,
        options: Options::STANDALONE,
        ..Input::default()
    }
}

/// Over the wire: each resource as its bytes.
fn carried(compiled: &Compiled) -> Resources {
    let carry = |r: &Resource| Resource::decode(&r.kind().type_url(), &r.encode()).unwrap();
    let carried: Resources = compiled.resources.iter().map(carry).collect();
    assert_eq!(carried, compiled.resources);
    carried
}

fn snapshot(yaml: &str) -> Snapshot {
    let compiled = compile(&input(yaml));
    let problems: Vec<_> = compiled.statuses.iter().flat_map(|s| &s.problems).collect();
    assert!(problems.is_empty(), "{problems:?}");
    let (snapshot, refused) = Model::default().apply(&carried(&compiled));
    assert_eq!(refused, vec![]);
    snapshot
}

fn key<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Key {
    snapshot.key(&ObjectId::new("default", name)).unwrap().key()
}

#[test]
fn every_field_of_a_key_arrives() {
    let snapshot = snapshot(
        r#"
apiVersion: v1
kind: Secret
metadata: {name: t}
data: {token: dmstbWFpbgo=}
---
apiVersion: tollgate.dev/v1alpha1
kind: VirtualKey
metadata: {name: team}
spec: {}
---
apiVersion: tollgate.dev/v1alpha1
kind: ProviderRoute
metadata: {name: r}
spec: {backends: [{name: b, openAI: {}}]}
---
apiVersion: tollgate.dev/v1alpha1
kind: McpServer
metadata: {name: db}
spec: {streamableHttp: {url: "https://x.com/mcp"}}
---
apiVersion: tollgate.dev/v1alpha1
kind: VirtualKey
metadata: {name: k}
spec:
  parentRef: {name: team}
  token: {secretRef: {name: t, key: token}}
  anonymous: true
  defaultRoute: r
  models: {allow: ["r/*"], deny: ["*/o3-pro"], aliases: {fast: r/mini}}
  providers: {allow: [OpenAI, Anthropic], regions: ["eu-*"]}
  budgets:
  - {name: month, usd: "200.000000001", period: Month, timeZone: Europe/Berlin, models: ["r/*"]}
  - {name: rolling, tokens: 5000, rolling: 1h30m}
  limits: {requestsPerMinute: 60, tokensPerMinute: 2000000, concurrent: 10}
  spending: {enforcement: Relaxed, unpriced: Allow, nearLimit: Refuse, onStoreFailure: Allow}
  tools: [{server: db, allow: ["*"], deny: ["drop_*"]}]
  logging: {content: None, retention: 720h}
  expiresAt: "2027-01-01T00:00:00Z"
  disabled: true
"#,
    );
    let node = snapshot.key_by_token(&Sha256::digest("vk-main").into()).unwrap();
    assert_eq!(node.path.iter().map(|k| k.id.name()).collect::<Vec<_>>(), ["k", "team"]);
    let k = node.key();
    assert!(snapshot.anonymous().is_some_and(|n| n.key().id == k.id));
    assert_eq!(k.default_route.as_deref(), Some("r"));
    assert!(k.models.allow.as_ref().unwrap().matches("r/x") && k.models.deny.matches("r/o3-pro"));
    assert_eq!(k.models.aliases["fast"], "r/mini");
    assert_eq!(k.providers.allow, Some(vec![Provider::OpenAi, Provider::Anthropic]));
    assert!(k.providers.regions.as_ref().unwrap().matches("eu-west"));
    let [month, rolling] = k.budgets.as_slice() else { panic!("{:?}", k.budgets) };
    assert_eq!((month.budget.limit, month.budget.period), (Limit::NanoUsd(200_000_000_001), Period::Month));
    assert_eq!(month.budget.zone.iana_name(), Some("Europe/Berlin"));
    assert!(month.models.matches("r/x") && !month.models.matches("s/x"));
    assert_eq!((rolling.budget.limit, rolling.budget.period), (Limit::Tokens(5000), Period::Rolling(5400)));
    let limits = k.limits;
    assert_eq!(
        (limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent),
        (Some(60), Some(2_000_000), Some(10))
    );
    let s = k.spending;
    assert!(!s.strict && !s.deny_unpriced && !s.lower_output_cap && !s.deny_on_store_failure);
    let [rule] = k.tools.as_slice() else { panic!("{:?}", k.tools) };
    assert!(rule.server == "db" && rule.allow.matches("x") && rule.deny.matches("drop_all"));
    assert_eq!((k.logging.content, k.logging.retention), (Content::None, Duration::from_secs(720 * 3600)));
    assert_eq!(k.expires_at, Some(1_798_761_600_000));
    assert!(k.disabled && !k.any_tools && k.denied.is_none());
    let team = key(&snapshot, "team");
    assert!(team.any_tools && team.models.allow.is_none() && team.logging.content == Content::Full);
}

#[test]
fn every_field_of_a_route_arrives() {
    let snapshot = snapshot(
        r#"
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {k: sk-1}
---
apiVersion: tollgate.dev/v1alpha1
kind: ProviderRoute
metadata: {name: other}
spec: {backends: [{name: b, anthropic: {}}]}
---
apiVersion: tollgate.dev/v1alpha1
kind: ProviderRoute
metadata: {name: r}
spec:
  allowedNamespaces: All
  models:
  - name: "gpt-*"
    upstreamName: deployment
    maxOutputTokens: 8192
    context: 200000
    price:
      {input: "3", output: "15", cacheRead: "0.3", cacheWrite: "3.75", cacheWrite1h: "6", webSearch: "0.01",
       tiers: [{aboveInputTokens: 200000, input: "6", output: "22.5"}]}
  backends:
  - name: b
    models: ["gpt-*"]
    openAICompatible: {}
    endpoint: http://localhost:8000/v1/
    region: eu-west
    credentials: {secretRef: {name: s, key: k}}
    weight: 0
    priority: 3
  retry: {attempts: 1, when: [RateLimited]}
  timeouts: {connect: 1s, firstByte: 2s, idle: 3s}
  health: {consecutiveFailures: 9, ejectFor: 4s}
  fallbacks: [{model: other/claude}]
  strict: true
"#,
    );
    let r = snapshot.route("elsewhere", "r").unwrap();
    assert_eq!(
        (&r.export, r.strict, r.fallbacks.as_slice()),
        (&Export::All, true, &["other/claude".to_owned()][..])
    );
    let m = &r.models[0];
    assert_eq!((m.name.as_str(), m.upstream_name.as_deref()), ("gpt-*", Some("deployment")));
    assert!(m.pattern.matches("gpt-5"));
    assert_eq!((m.max_output, m.context), (Some(8192), Some(200_000)));
    let p = m.price.as_ref().unwrap();
    assert_eq!((p.input, p.output, p.cache_read), (3000, 15_000, 300));
    assert_eq!((p.cache_write, p.cache_write_1h, p.web_search), (3750, 6000, 10_000_000));
    assert_eq!((p.tiers[0].above, p.tiers[0].price.output), (200_000, 22_500));
    let b = &r.backends[0];
    assert_eq!((b.name.as_str(), b.provider), ("b", Provider::OpenAiCompatible));
    assert_eq!(b.endpoint.to_string(), "http://localhost:8000/v1");
    assert!(b.models.matches("gpt-5") && !b.models.matches("claude"));
    assert_eq!((b.region.as_deref(), b.weight, b.priority), (Some("eu-west"), 0, 3));
    assert_eq!(b.credential.as_ref().unwrap().expose(), "sk-1");
    let retry = r.retry;
    assert!(retry.attempts == 1 && retry.on_rate_limited && !retry.on_connect && !retry.on_server_error);
    let seconds = |d: Duration| d.as_secs();
    let t = r.timeouts;
    assert_eq!((seconds(t.connect), seconds(t.first_byte), seconds(t.idle)), (1, 2, 3));
    assert_eq!((r.health.consecutive_failures, seconds(r.health.eject_for)), (9, 4));
}

#[test]
fn every_field_of_a_server_arrives_and_defaults_are_those_of_the_page() {
    let snapshot = snapshot(
        r#"
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {k: Bearer x}
---
apiVersion: tollgate.dev/v1alpha1
kind: McpServer
metadata: {name: m}
spec:
  streamableHttp: {url: "https://x.com/mcp"}
  auth: {header: {name: X-Key, secretRef: {name: s, key: k}}}
  tools: {allow: ["read_*"]}
  naming: {mode: None}
  timeouts: {connect: 1s, list: 2s, call: 3s}
  failureMode: Closed
  description: About x.
---
apiVersion: tollgate.dev/v1alpha1
kind: McpServer
metadata: {name: plain}
spec: {streamableHttp: {url: "https://y.com/mcp"}}
---
apiVersion: tollgate.dev/v1alpha1
kind: ProviderRoute
metadata: {name: plain}
spec: {backends: [{name: b, anthropic: {}}]}
"#,
    );
    let m = snapshot.server("default", "m").unwrap();
    assert_eq!(m.url.to_string(), "https://x.com/mcp");
    let (name, value) = m.auth_header.as_ref().unwrap();
    assert_eq!((name.as_str(), value.expose()), ("x-key", "Bearer x"));
    assert!(m.tools.matches("read_a") && !m.tools.matches("write_a") && !m.prefix && !m.fail_open);
    let seconds = |t: crate::model::server::ServerTimeouts| [t.connect, t.list, t.call].map(|d| d.as_secs());
    assert_eq!(seconds(m.timeouts), [1, 2, 3]);
    assert_eq!(m.description.as_deref(), Some("About x."));
    let plain = snapshot.server("default", "plain").unwrap();
    assert!(plain.tools.matches("any") && plain.prefix && plain.fail_open && plain.off.is_none());
    assert_eq!(seconds(plain.timeouts), [5, 5, 120]);
    let route = snapshot.route("default", "plain").unwrap();
    // The manifests' defaults and the wire's are the same.
    assert_eq!(format!("{:?}", route.timeouts), format!("{:?}", super::route::TIMEOUTS));
    assert_eq!(format!("{:?}", route.health), format!("{:?}", super::route::HEALTH));
    assert_eq!(format!("{:?}", route.retry), format!("{:?}", super::route::RETRY));
    assert_eq!((route.backends[0].weight, route.backends[0].priority), (1, 0));
}

#[test]
fn the_samples_are_in_force_as_they_stand() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/samples");
    let mut all = Input { options: Options::STANDALONE, ..Input::default() };
    for (path, content) in scan(&folder).unwrap() {
        let file = manifest::read(&path.display().to_string(), &content.unwrap(), &|_| None);
        assert_eq!(file.problems, vec![]);
        all.objects.extend(file.objects);
    }
    let compiled = compile(&all);
    assert!(compiled.statuses.iter().all(|s| s.problems.is_empty()), "{:?}", compiled.statuses);
    let (snapshot, refused) = Model::default().apply(&carried(&compiled));
    assert_eq!(refused, vec![]);
    let main = snapshot.key_by_token(&Sha256::digest("vk-engineering-main").into()).unwrap();
    let names: Vec<_> = main.path.iter().map(|k| k.id.name()).collect();
    assert_eq!(names, ["vk-engineering-main", "team-engineering"]);
    assert_eq!(main.path[1].budgets[0].budget.limit, Limit::NanoUsd(200_000_000_000));
    assert!(main.key().tools.iter().all(|t| t.server == "staging-db"));
    assert!(snapshot.anonymous().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What the compiler makes, the data plane takes.
    #[test]
    fn whatever_compiles_converts(chosen in proptest::collection::vec(any::<bool>(), WORLD_INPUT.objects.len())) {
        let objects = WORLD_INPUT.objects.iter().zip(chosen).filter(|(_, c)| *c).map(|(o, _)| o.clone()).collect();
        let compiled = compile(&Input { objects, ..WORLD_INPUT.clone() });
        let (snapshot, refused) = Model::default().apply(&carried(&compiled));
        prop_assert_eq!(refused, vec![]);
        for node in snapshot.keys() {
            // Both sides know the tree: where the compiler denies so does the snapshot, and nowhere else.
            let wire = compiled.resources.keys().find(|k| k.name == node.id().name() && k.namespace == node.id().namespace());
            prop_assert_eq!(wire.is_some_and(|k| k.denied.is_empty()), node.denied.is_none());
        }
    }
}
