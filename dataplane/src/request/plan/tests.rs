use super::*;
use crate::{
    model::{
        Globs, Key,
        fixtures::{backend, key, route, world},
    },
    upstream::health::Health,
};
use tollgate_translate::Provider;

fn order(key: Key, routes: Vec<Route>, health: &Health, draw: u64) -> Result<Vec<String>, GatewayError> {
    let name = format!("{}/m", routes[0].id.name());
    let (snapshot, node) = world(vec![key], routes);
    let first = resolve::resolve(&snapshot, &node, &name)?;
    let head = asked("{}");
    let asked = Asked { format: Format::Chat, head: &head, now: 0, draw };
    let all = plan(&snapshot, &node, &first, health, asked)?;
    Ok(all.iter().map(|c| format!("{}:{}", c.route().id.name(), c.backend().unwrap().name)).collect())
}

/// The head of a request with these fields.
fn asked(fields: &str) -> Head {
    let body = fields.replacen('{', r#"{"model":"m","#, 1).replace(",}", "}");
    tollgate_translate::head::peek(Format::Chat, body.as_bytes()).unwrap()
}

fn b(name: &str, priority: u32, weight: u32) -> Backend {
    Backend { priority, weight, ..backend(name, Provider::OpenAi) }
}

#[test]
fn priority_decides_first_and_weight_inside_it() {
    let routes =
        || vec![route("r", Provider::OpenAi).backends(vec![b("late", 1, 9), b("x", 0, 80), b("y", 0, 20)])];
    let first = |draw| order(key("k").allow(["*"]), routes(), &Health::default(), draw).unwrap();
    assert_eq!(first(0), ["r:x", "r:y", "r:late"]);
    assert_eq!(first(79), ["r:x", "r:y", "r:late"]);
    assert_eq!(first(80), ["r:y", "r:x", "r:late"]);
    let share = (0..1000).filter(|d| first(*d)[0] == "r:x").count();
    assert_eq!(share, 800);
}

#[test]
fn ejected_backends_come_last_but_are_still_tried() {
    let health = Health::default();
    let world = route("r", Provider::OpenAi).backends(vec![b("x", 0, 1), b("y", 1, 1)]);
    let rules =
        crate::model::route::Health { consecutive_failures: 1, eject_for: std::time::Duration::from_secs(1) };
    health.failed(&world.id, "x", &rules, 0, "");
    assert_eq!(order(key("k").allow(["*"]), vec![world], &health, 0).unwrap(), ["r:y", "r:x"]);
}

#[test]
fn fallbacks_follow_under_the_keys_own_permissions() {
    let routes = || {
        let mut first = route("r", Provider::OpenAi);
        first.fallbacks = vec!["s/m2".into(), "t/m3".into(), "absent/m".into()];
        vec![first, route("s", Provider::Anthropic), route("t", Provider::OpenAi)]
    };
    let all = order(key("k").allow(["*"]), routes(), &Health::default(), 0).unwrap();
    assert_eq!(all, ["r:one", "s:one", "t:one"]);
    let some = order(key("k").allow(["r/*", "t/*"]), routes(), &Health::default(), 0).unwrap();
    assert_eq!(some, ["r:one", "t:one"]);
}

#[test]
fn providers_and_regions_of_the_key_leave_backends_out_with_a_reason() {
    let mut eu = b("eu", 0, 1);
    eu.region = Some("eu-west".into());
    let routes = || {
        vec![route("r", Provider::OpenAi).backends(vec![
            Backend { region: Some("us-east".into()), ..b("us", 0, 1) },
            Backend { region: eu.region.clone(), ..b("eu", 0, 1) },
        ])]
    };
    let mut only_eu = key("k").allow(["*"]);
    only_eu.providers.regions = Some(Globs::new(["eu-*"]));
    assert_eq!(order(only_eu, routes(), &Health::default(), 0).unwrap(), ["r:eu"]);
    let mut anthropic = key("k").allow(["*"]);
    anthropic.providers.allow = Some(vec![Provider::Anthropic]);
    let error = order(anthropic, routes(), &Health::default(), 0).unwrap_err();
    assert!(matches!(&error, GatewayError::NotAllowed(w) if w.contains("OpenAI")), "{error}");
}

#[test]
fn a_backend_of_weight_0_takes_nothing_even_when_it_is_the_last() {
    let routes = |weight| vec![route("r", Provider::OpenAi).backends(vec![b("x", 0, 1), b("y", 1, weight)])];
    assert_eq!(order(key("k").allow(["*"]), routes(0), &Health::default(), 0).unwrap(), ["r:x"]);
    assert_eq!(order(key("k").allow(["*"]), routes(1), &Health::default(), 0).unwrap(), ["r:x", "r:y"]);
}

#[test]
fn the_price_is_that_of_the_way_the_client_asks_to_be_served() {
    let output = |provider, model: &str, fields: &str, own: Option<Price>| {
        let mut r = route("r", provider).lists([model]);
        r.models[0].price = own;
        let (snapshot, node) = world(vec![key("k").allow(["*"])], vec![r]);
        let first = resolve::resolve(&snapshot, &node, &format!("r/{model}")).unwrap();
        let head = asked(fields);
        let format = backend("x", provider).format().unwrap();
        let price = |format| {
            let asked = Asked { format, head: &head, now: 0, draw: 0 };
            plan(&snapshot, &node, &first, &Health::default(), asked).unwrap()[0].price().unwrap().output
        };
        let other = if format == Format::Chat { Format::Messages } else { Format::Chat };
        (price(format), price(other))
    };
    assert_eq!(output(Provider::OpenAi, "gpt-5", "{}", None), (10_000, 10_000));
    let priority = r#"{"service_tier":"priority"}"#;
    assert_eq!(
        output(Provider::OpenAi, "gpt-5", priority, None),
        (20_000, 10_000),
        "dropped by a translation"
    );
    assert_eq!(output(Provider::OpenAi, "gpt-5", r#"{"service_tier":"flex"}"#, None).0, 10_000);
    let us = r#"{"inference_geo":"us","service_tier":"auto"}"#;
    assert_eq!(output(Provider::Anthropic, "claude-opus-4-6", us, None), (27_500, 25_000));
    let own = Price { output: 7, ..Price::default() };
    assert_eq!(output(Provider::OpenAi, "gpt-5", priority, Some(own)), (7, 7), "the route's own price wins");
}

#[test]
fn a_backend_that_is_off_says_why_when_no_other_is_left() {
    let off = Backend { off: Some("secret default/openai does not exist".into()), ..b("x", 0, 1) };
    let error = order(
        key("k").allow(["*"]),
        vec![route("r", Provider::OpenAi).backends(vec![off])],
        &Health::default(),
        0,
    )
    .unwrap_err();
    assert!(matches!(&error, GatewayError::NoBackend(w) if w.contains("secret default/openai")), "{error}");
}
