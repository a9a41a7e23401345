use super::*;
use crate::model::{
    Export,
    fixtures::{key, route, world},
};
use tollgate_translate::Provider::{Anthropic, OpenAi};

fn outcome(keys: Vec<crate::model::Key>, routes: Vec<Route>, asked: &str) -> Result<String, GatewayError> {
    let (snapshot, node) = world(keys, routes);
    resolve(&snapshot, &node, asked).map(|r| r.qualified.to_string())
}

fn routes() -> Vec<Route> {
    vec![
        route("anthropic", Anthropic).lists(["claude-*"]),
        route("openai", OpenAi).lists(["gpt-5", "gpt-5-mini"]),
        route("local", OpenAi),
    ]
}

#[test]
fn a_prefix_is_split_off_only_when_it_is_a_visible_route() {
    let any = || vec![key("k").allow(["*"])];
    assert_eq!(outcome(any(), routes(), "openai/gpt-5").unwrap(), "openai/gpt-5");
    assert_eq!(outcome(any(), routes(), "local/org/model").unwrap(), "local/org/model");
    let default = || vec![key("k").allow(["*"]).default_route("local")];
    assert_eq!(outcome(default(), routes(), "meta/llama").unwrap(), "local/meta/llama");
    assert_eq!(
        outcome(any(), routes(), "openai/gpt-5[1m]").unwrap(),
        "openai/gpt-5",
        "the suffix is the client's own"
    );
}

#[test]
fn bare_names_go_to_the_default_route_else_to_the_only_route_that_lists_them() {
    let any = || vec![key("k").allow(["*"])];
    assert_eq!(outcome(any(), routes(), "claude-haiku-4-5").unwrap(), "anthropic/claude-haiku-4-5");
    let two = vec![route("a", OpenAi).lists(["m"]), route("b", OpenAi).lists(["m"])];
    let error = outcome(any(), two, "m").unwrap_err();
    assert!(matches!(&error, GatewayError::BadRequest(w) if w.contains("a/m, b/m")), "{error}");
    let one_allowed = vec![key("k").allow(["b/*"])];
    let two = vec![route("a", OpenAi).lists(["m"]), route("b", OpenAi).lists(["m"])];
    assert_eq!(outcome(one_allowed, two, "m").unwrap(), "b/m", "only what the key may use can be ambiguous");
    assert!(matches!(outcome(any(), routes(), "nothing"), Err(GatewayError::ModelNotFound(_))));
}

#[test]
fn permissions_intersect_along_the_path_and_a_child_never_widens() {
    let team = || key("team").allow(["openai/*", "anthropic/*"]).deny(["*/gpt-5"]);
    let child = |k: crate::model::Key| vec![k.parent("team"), team()];
    assert!(outcome(child(key("k").allow(["*"])), routes(), "openai/gpt-5-mini").is_ok());
    for (keys, model) in [
        (child(key("k").allow(["*"])), "openai/gpt-5"),
        (child(key("k").allow(["*"])), "local/x"),
        (child(key("k")), "openai/gpt-5-mini"),
        (vec![key("k")], "openai/gpt-5-mini"),
    ] {
        let error = outcome(keys, routes(), model).unwrap_err();
        assert!(matches!(&error, GatewayError::NotAllowed(w) if w.contains(model)), "{error}");
    }
    let open_team = vec![key("k").allow(["openai/*"]).parent("team"), key("team")];
    assert!(outcome(open_team, routes(), "openai/gpt-5").is_ok(), "a team without rules restricts nothing");
}

#[test]
fn aliases_stand_for_one_name_and_grant_nothing() {
    let keys = |allow: &'static str| vec![key("k").allow([allow]).alias("fast", "openai/gpt-5-mini")];
    assert_eq!(outcome(keys("openai/*"), routes(), "fast").unwrap(), "openai/gpt-5-mini");
    assert!(matches!(outcome(keys("anthropic/*"), routes(), "fast"), Err(GatewayError::NotAllowed(_))));
}

#[test]
fn aliases_of_a_team_serve_its_keys_and_a_keys_own_come_first() {
    let team = || key("team").alias("fast", "openai/gpt-5-mini").alias("deep", "openai/gpt-5");
    let child = || key("k").allow(["*"]).parent("team").alias("deep", "anthropic/claude-opus");
    assert_eq!(outcome(vec![child(), team()], routes(), "fast").unwrap(), "openai/gpt-5-mini");
    assert_eq!(outcome(vec![child(), team()], routes(), "deep").unwrap(), "anthropic/claude-opus");
    let chain = key("k").allow(["*"]).alias("a", "b").alias("b", "openai/gpt-5");
    assert!(outcome(vec![chain], routes(), "a").is_err(), "looked up once");
}

#[test]
fn a_name_that_no_model_can_have_is_refused_in_few_words() {
    let error = outcome(vec![key("k").allow(["*"])], routes(), &"m".repeat(513)).unwrap_err();
    assert!(matches!(&error, GatewayError::BadRequest(w) if w.len() < 100), "{error}");
}

#[test]
fn the_own_namespace_hides_an_exported_route_of_the_same_name() {
    let exported = route("openai", OpenAi).in_namespace("platform", Export::All);
    let (snapshot, node) = world(vec![key("k").allow(["*"])], vec![exported, route("openai", OpenAi)]);
    assert_eq!(resolve(&snapshot, &node, "openai/m").unwrap().route.id.namespace(), "default");
    let exported = route("openai", OpenAi).in_namespace("platform", Export::All);
    let (snapshot, node) = world(vec![key("k").allow(["*"])], vec![exported]);
    assert_eq!(resolve(&snapshot, &node, "openai/m").unwrap().route.id.namespace(), "platform");
    let closed = route("openai", OpenAi).in_namespace("platform", Export::Same);
    let (snapshot, node) = world(vec![key("k").allow(["*"])], vec![closed]);
    assert!(resolve(&snapshot, &node, "openai/m").is_err());
}
