//! What the wire says becomes the model, and what it must not say is refused with its field.

use super::{Invalid, Resources, model::Model, route::route, server::server, v1};
use crate::model::{Key, ObjectId, key::Content};
use tollgate_ledger::budget::{Limit, Period};
use tollgate_proto::Resource;
use tollgate_translate::Provider;

fn key(name: &str) -> v1::VirtualKey {
    v1::VirtualKey { namespace: "team".into(), name: name.into(), ..Default::default() }
}

fn backend(provider: v1::Provider) -> v1::Backend {
    v1::Backend { name: "main".into(), provider: provider.into(), ..Default::default() }
}

fn route_to(backend: v1::Backend) -> v1::ProviderRoute {
    v1::ProviderRoute {
        namespace: "team".into(),
        name: "llm".into(),
        backends: vec![backend],
        ..Default::default()
    }
}

fn mcp(url: &str) -> v1::McpServer {
    v1::McpServer { namespace: "team".into(), name: "db".into(), url: url.into(), ..Default::default() }
}

fn secret(value: &[u8]) -> v1::Secret {
    let data = [("key".to_owned(), value.to_vec())].into();
    v1::Secret { namespace: "team".into(), name: "creds".into(), data }
}

fn secret_ref() -> v1::SecretRef {
    v1::SecretRef { name: "creds".into(), key: "key".into() }
}

fn set(resources: impl IntoIterator<Item = Resource>) -> Resources {
    resources.into_iter().collect()
}

fn budget() -> v1::Budget {
    v1::Budget {
        name: "month".into(),
        limit: Some(v1::budget::Limit::NanoUsd(5)),
        window: Some(v1::budget::Window::Period(v1::Period::Month.into())),
        ..Default::default()
    }
}

#[test]
fn an_empty_key_may_do_nothing_and_an_empty_team_restricts_nothing() {
    let alone = Key::try_from(&key("k")).unwrap();
    assert!(!alone.models.allow.as_ref().unwrap().matches("anthropic/claude"));
    assert!(!alone.any_tools);
    assert!(alone.spending.strict && alone.spending.deny_unpriced && alone.spending.deny_on_store_failure);
    assert_eq!(alone.logging.content, Content::Metadata);
    let team = Key::try_from(&v1::VirtualKey { team: true, ..key("t") }).unwrap();
    assert!(team.models.allow.is_none() && team.any_tools);
    let none = Some(v1::ToolRules::default());
    assert!(!Key::try_from(&v1::VirtualKey { team: true, tools: none, ..key("t") }).unwrap().any_tools);
}

#[test]
fn a_full_key_arrives_whole() {
    let rule = v1::ToolRule { server: "db".into(), allow: vec!["*".into()], ..Default::default() };
    let wire = v1::VirtualKey {
        parent_ref: Some(v1::ObjectRef { namespace: "platform".into(), name: "org".into() }),
        token_sha256: vec![vec![7; 32]],
        default_route: "anthropic".into(),
        budgets: vec![v1::Budget { time_zone: "Europe/Berlin".into(), ..budget() }],
        limits: Some(v1::Limits { concurrent: Some(3), ..Default::default() }),
        spending: Some(v1::Spending { unpriced: v1::Unpriced::Allow.into(), ..Default::default() }),
        logging: Some(v1::Logging { content: v1::Content::Full.into(), retention: Some(1000) }),
        tools: Some(v1::ToolRules { rules: vec![rule] }),
        expires_at: Some(9),
        denied: "no parent".into(),
        ..key("k")
    };
    let key = Key::try_from(&wire).unwrap();
    assert_eq!(key.parent, Some(ObjectId::new("platform", "org")));
    assert_eq!(key.token_hashes, [[7; 32]]);
    assert_eq!(key.default_route.as_deref(), Some("anthropic"));
    let b = &key.budgets[0];
    assert_eq!((b.budget.limit, b.budget.period), (Limit::NanoUsd(5), Period::Month));
    assert_eq!(b.budget.zone.iana_name(), Some("Europe/Berlin"));
    assert!(b.models.matches("any/model"));
    assert_eq!(key.limits.concurrent, Some(3));
    assert!(!key.spending.deny_unpriced && key.spending.strict);
    assert_eq!((key.logging.content, key.logging.retention.as_secs()), (Content::Full, 1));
    assert!(key.tools[0].allow.matches("query"));
    assert_eq!((key.expires_at, key.denied.as_deref()), (Some(9), Some("no parent")));
}

#[test]
fn what_a_key_must_not_say_is_refused_with_its_field() {
    let with = |change: &dyn Fn(&mut v1::VirtualKey)| {
        let mut wire = key("k");
        wire.budgets = vec![budget()];
        change(&mut wire);
        Key::try_from(&wire).map(|_| ()).unwrap_err().field
    };
    assert_eq!(with(&|k| k.name = "a/b".into()), "metadata.name");
    assert_eq!(with(&|k| k.namespace.clear()), "metadata.namespace");
    assert_eq!(with(&|k| k.parent_ref = Some(v1::ObjectRef::default())), "spec.parentRef");
    assert_eq!(with(&|k| k.token_sha256 = vec![vec![1; 31]]), "spec.token");
    assert_eq!(with(&|k| k.budgets[0].name.clear()), "spec.budgets[0].name");
    assert_eq!(with(&|k| k.budgets[0].limit = None), "spec.budgets[0].usd");
    assert_eq!(with(&|k| k.budgets[0].window = None), "spec.budgets[0].period");
    assert_eq!(
        with(&|k| k.budgets[0].window = Some(v1::budget::Window::Period(99))),
        "spec.budgets[0].period"
    );
    assert_eq!(
        with(&|k| k.budgets[0].window = Some(v1::budget::Window::Rolling(1))),
        "spec.budgets[0].rolling"
    );
    assert_eq!(with(&|k| k.budgets[0].time_zone = "Mars/Base".into()), "spec.budgets[0].timeZone");
    let providers = v1::ProviderRules { allow: Some(v1::Providers { kinds: vec![99] }), regions: None };
    assert_eq!(with(&|k| k.providers = Some(providers.clone())), "spec.providers.allow");
    let spending = v1::Spending { enforcement: 99, ..Default::default() };
    assert_eq!(with(&|k| k.spending = Some(spending)), "spec.spending.enforcement");
    let logging = v1::Logging { content: 99, retention: None };
    assert_eq!(with(&|k| k.logging = Some(logging)), "spec.logging.content");
    // A later operator may send these; a tool must not run unapproved because this gateway does not know the word.
    let rule = |rule: v1::ToolRule| Some(v1::ToolRules { rules: vec![v1::ToolRule::default(), rule] });
    let approve = v1::ToolRule { approve: vec!["drop_*".into()], ..Default::default() };
    assert_eq!(with(&|k| k.tools = rule(approve.clone())), "spec.tools[1].approve");
    let suggested = v1::ToolRule { require_suggestion: true, ..Default::default() };
    assert_eq!(with(&|k| k.tools = rule(suggested.clone())), "spec.tools[1].requireSuggestion");
}

#[test]
fn endpoints_have_public_defaults_and_no_slash_at_the_end() {
    let endpoint = |provider, own: &str| {
        let wire = route_to(v1::Backend { endpoint: own.into(), ..backend(provider) });
        route(&wire, &Resources::default()).map(|r| r.backends[0].endpoint.to_string())
    };
    assert_eq!(endpoint(v1::Provider::Anthropic, "").unwrap(), "https://api.anthropic.com/");
    assert_eq!(endpoint(v1::Provider::OpenAi, "").unwrap(), "https://api.openai.com/v1");
    assert_eq!(
        endpoint(v1::Provider::OpenAiCompatible, "http://llm:8000/v1/").unwrap(),
        "http://llm:8000/v1"
    );
    for bad in ["", "llm:8000", "ftp://llm", "https://", "https://u:p@llm", "https://llm/?a=b", "no url"] {
        let error = endpoint(v1::Provider::OpenAiCompatible, bad).unwrap_err();
        assert_eq!(error.field, "spec.backends[0].endpoint", "{bad}");
    }
}

#[test]
fn a_missing_or_broken_secret_switches_off_its_backend_alone() {
    let with = v1::Backend { credentials: Some(secret_ref()), ..backend(v1::Provider::Anthropic) };
    let mut wire = route_to(with);
    wire.backends.push(backend(v1::Provider::OpenAi));
    let off = route(&wire, &Resources::default()).unwrap();
    assert_eq!(off.backends[0].off.as_deref(), Some("Secret team/creds with the key key does not exist"));
    assert!(off.backends[1].off.is_none());
    let on = route(&wire, &set([secret(b"sk-1\n").into()])).unwrap();
    assert_eq!(on.backends[0].credential.as_ref().unwrap().expose(), "sk-1");
    assert!(on.backends[0].off.is_none());
    for broken in [&b""[..], b"\n", b"a\nb", b"\xff\xfe", "ключ".as_bytes()] {
        let route = route(&wire, &set([secret(broken).into()])).unwrap();
        assert!(route.backends[0].off.as_deref().unwrap().contains("not plain ASCII"));
        assert!(route.backends[0].credential.is_none());
    }
}

#[test]
fn prices_are_exact_or_refused() {
    let priced = |price| {
        let model = v1::RouteModel { name: "m".into(), price: Some(price), ..Default::default() };
        let wire = v1::ProviderRoute { models: vec![model], ..route_to(backend(v1::Provider::Anthropic)) };
        route(&wire, &Resources::default()).map(|r| r.models[0].price.clone().unwrap())
    };
    let usd = 1_000_000_000;
    let full = priced(v1::Price {
        input: 3 * usd,
        output: 15 * usd,
        cache_read: Some(usd / 10 * 3),
        web_search: usd / 100,
        tiers: vec![v1::PriceTier {
            above_input_tokens: 200_000,
            price: Some(v1::Price { input: 6 * usd, output: 22_500_000_000, ..Default::default() }),
        }],
        ..Default::default()
    })
    .unwrap();
    let tier = &full.tiers[0];
    assert_eq!((tier.above, tier.price.input, tier.price.output), (200_000, 6000, 22_500));
    assert_eq!(full.web_search, 10_000_000);
    assert_eq!((full.input, full.output, full.cache_read), (3000, 15000, 300));
    assert_eq!((full.cache_write, full.cache_write_1h), (3000, 3000));
    let fine = priced(v1::Price { output: 1, ..Default::default() }).unwrap_err();
    assert_eq!(fine.field, "spec.models[0].price.output");
}

#[test]
fn providers_keep_their_kind() {
    for (wire, want) in [
        (v1::Provider::Anthropic, Provider::Anthropic),
        (v1::Provider::OpenAi, Provider::OpenAi),
        (v1::Provider::AzureOpenAi, Provider::AzureOpenAi),
        (v1::Provider::AzureFoundry, Provider::AzureFoundry),
        (v1::Provider::VertexAi, Provider::VertexAi),
        (v1::Provider::Gemini, Provider::Gemini),
        (v1::Provider::Bedrock, Provider::Bedrock),
        (v1::Provider::OpenAiCompatible, Provider::OpenAiCompatible),
    ] {
        let backend = v1::Backend { endpoint: "https://x".into(), ..backend(wire) };
        let route = route(&route_to(backend), &Resources::default()).unwrap();
        assert_eq!(route.backends[0].provider, want);
    }
    let error = route(&route_to(backend(v1::Provider::Unspecified)), &Resources::default()).unwrap_err();
    assert_eq!(error.field, "spec.backends[0].provider");
}

#[test]
fn a_server_has_its_header_or_is_off() {
    let auth = v1::AuthHeader { name: "Authorization".into(), secret_ref: Some(secret_ref()) };
    let wire = v1::McpServer { auth: Some(auth), ..mcp("https://mcp.example.com/mcp") };
    let on = server(&wire, &set([secret(b"Bearer x").into()])).unwrap();
    let (name, value) = on.auth_header.unwrap();
    assert_eq!((name.as_str(), value.expose()), ("authorization", "Bearer x"));
    assert!(on.tools.matches("anything") && on.fail_open && on.prefix && on.off.is_none());
    let off = server(&wire, &Resources::default()).unwrap();
    assert!(off.auth_header.is_none() && off.off.unwrap().contains("team/creds"));
    let bad = v1::AuthHeader { name: "not a header".into(), secret_ref: Some(secret_ref()) };
    let error = server(&v1::McpServer { auth: Some(bad), ..wire.clone() }, &Resources::default());
    assert_eq!(error.unwrap_err().field, "spec.auth.header.name");
    let zero = v1::ServerTimeouts { call: Some(0), ..Default::default() };
    let error = server(&v1::McpServer { timeouts: Some(zero), ..wire }, &Resources::default()).unwrap_err();
    assert_eq!(error.field, "spec.timeouts.call");
}

#[test]
fn a_refused_resource_stays_as_it_last_was_and_hurts_no_other() {
    let mut model = Model::default();
    let good = set([key("a").into(), key("b").into(), mcp("https://x/mcp").into()]);
    let (first, refused) = model.apply(&good);
    assert_eq!((first.generation, refused, model.counts()), (1, vec![], (2, 0, 1)));
    let bad = v1::VirtualKey { token_sha256: vec![vec![]], ..key("a") };
    let changed = v1::VirtualKey { disabled: true, ..key("b") };
    let never = v1::VirtualKey { token_sha256: vec![vec![]], ..key("c") };
    let (second, refused) = model.apply(&set([bad.into(), changed.into(), never.into()]));
    let invalid = Invalid { field: "spec.token".into(), reason: "not the SHA-256 of a token".into() };
    let told: Vec<_> = refused.iter().map(|r| (r.resource.to_string(), &r.invalid, r.kept)).collect();
    assert_eq!(
        told,
        [("VirtualKey team/a".to_owned(), &invalid, true), ("VirtualKey team/c".to_owned(), &invalid, false)]
    );
    let id = |name| ObjectId::new("team", name);
    assert!(std::ptr::eq(first.key(&id("a")).unwrap().key(), second.key(&id("a")).unwrap().key()));
    assert!(second.key(&id("b")).unwrap().key().disabled);
    assert!(second.key(&id("c")).is_none() && second.server("team", "db").is_none());
}

#[test]
fn a_rotated_secret_changes_its_route_and_no_key() {
    let mut model = Model::default();
    let with = v1::Backend { credentials: Some(secret_ref()), ..backend(v1::Provider::Anthropic) };
    let state = |value: &[u8]| set([key("a").into(), route_to(with.clone()).into(), secret(value).into()]);
    let (first, _) = model.apply(&state(b"one"));
    let (second, _) = model.apply(&state(b"two"));
    let credential = |s: &crate::snapshot::Snapshot| {
        s.route("team", "llm").unwrap().backends[0].credential.as_ref().unwrap().expose().to_owned()
    };
    assert_eq!((credential(&first), credential(&second)), ("one".to_owned(), "two".to_owned()));
    let id = ObjectId::new("team", "a");
    assert!(std::ptr::eq(first.key(&id).unwrap().key(), second.key(&id).unwrap().key()));
    assert!(!format!("{model:?}").contains("two"));
}
