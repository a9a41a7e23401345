//! The list of models a key may use, in a shape that Anthropic's and OpenAI's SDKs both read.

use super::{plan, resolve};
use crate::{
    body::{Body, full},
    error::GatewayError,
    model::{Globs, Route, route::Backend},
    respond,
    snapshot::{KeyNode, Snapshot},
};
use http::{HeaderValue, Response, header};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tollgate_translate::{Format, price::Catalogue};
use uuid::Uuid;

/// The most models on one page.
const MAX_PAGE: usize = 1000;
/// When a model was made, where nobody says: both APIs require a date.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Serves `GET /v1/models` and `/v1/models/{id}`.
pub fn models(
    snapshot: &Snapshot,
    node: &KeyNode,
    format: Format,
    one: Option<&str>,
    query: Option<&str>,
    id: Uuid,
) -> Response<Body> {
    let names = names(snapshot, node);
    let value = match one.map(decoded) {
        Some(name) if names.contains(&name) => entry(&name),
        Some(name) => {
            let words = format!("model {name} does not exist for key {}", node.id());
            return respond::error(format, &GatewayError::ModelNotFound(words), id);
        }
        None => page(&names, query.unwrap_or_default()),
    };
    let mut response = Response::new(full(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    respond::identify(response.headers_mut(), format, &id.to_string());
    response
}

fn names(snapshot: &Snapshot, node: &KeyNode) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for route in snapshot.visible_routes(node.id().namespace()) {
        for model in on_route(route, node) {
            let qualified = format!("{}/{model}", route.id.name());
            if resolve::allowed(node, &qualified).is_ok() {
                names.insert(qualified);
            }
        }
    }
    let aliases = node.path.iter().flat_map(|key| key.models.aliases.keys());
    names.extend(aliases.filter(|alias| resolve::resolve(snapshot, node, alias).is_ok()).cloned());
    names
}

/// The names on a route that a backend serves which the key may use; a glob (or a route without a list) stands for what the
/// catalogue knows of the providers.
fn on_route(route: &Route, node: &KeyNode) -> BTreeSet<String> {
    let backends: Vec<&Backend> =
        route.backends.iter().filter(|backend| plan::forbidden(node, backend).is_none()).collect();
    let serves = |backend: &Backend, name: &str| backend.models.is_empty() || backend.models.matches(name);
    let exact = route.models.iter().map(|m| &m.name).filter(|name| !name.contains('*'));
    let mut names: BTreeSet<String> =
        exact.filter(|name| backends.iter().any(|b| serves(b, name))).cloned().collect();
    let globs: Vec<&Globs> =
        route.models.iter().filter(|m| m.name.contains('*')).map(|m| &m.pattern).collect();
    if globs.is_empty() && !route.models.is_empty() {
        return names;
    }
    for backend in backends {
        let known = Catalogue::embedded().models(backend.provider);
        let served = known.filter(|name| serves(backend, name));
        names.extend(
            served.filter(|n| globs.is_empty() || globs.iter().any(|g| g.matches(n))).map(str::to_owned),
        );
    }
    names
}

/// A name out of a URL, where SDKs write `/` as `%2F`. What is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn entry(name: &str) -> Value {
    json!({
        "type": "model", "id": name, "display_name": name, "created_at": EPOCH,
        "object": "model", "created": 0, "owned_by": name.split('/').next().unwrap_or(name),
    })
}

fn page(names: &BTreeSet<String>, query: &str) -> Value {
    let get = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let limit = get("limit").and_then(|n| n.parse().ok()).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let (after, before) = (get("after_id").map(decoded), get("before_id").map(decoded));
    let inside: Vec<&String> = names
        .iter()
        .filter(|n| after.as_ref().is_none_or(|a| *n > a) && before.as_ref().is_none_or(|b| *n < b))
        .collect();
    // Pages before an id are its nearest predecessors.
    let skip = if before.is_some() { inside.len().saturating_sub(limit) } else { 0 };
    let shown: Vec<&str> = inside.iter().skip(skip).take(limit).map(|n| n.as_str()).collect();
    json!({
        "object": "list",
        "data": shown.iter().map(|n| entry(n)).collect::<Vec<_>>(),
        "has_more": inside.len() > shown.len(),
        "first_id": shown.first(),
        "last_id": shown.last(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{key, route, world};
    use tollgate_translate::Provider::{Anthropic, OpenAi};

    fn ids(page: &Value) -> Vec<&str> {
        page["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect()
    }

    #[test]
    fn pages_go_both_ways() {
        let names: BTreeSet<String> = ["r/a", "r/b", "r/c", "r/d"].map(str::to_owned).into();
        for (query, shown, more) in [
            ("limit=2", vec!["r/a", "r/b"], true),
            ("limit=2&after_id=r%2fb", vec!["r/c", "r/d"], false),
            ("before_id=r%2Fd&limit=2", vec!["r/b", "r/c"], true),
            ("before_id=r/b&limit=2", vec!["r/a"], false),
            ("limit=0", vec!["r/a"], true),
            ("limit=x", vec!["r/a", "r/b", "r/c", "r/d"], false),
            ("after_id=%", vec!["r/a", "r/b", "r/c", "r/d"], false),
        ] {
            let page = page(&names, query);
            assert_eq!((ids(&page), page["has_more"].as_bool()), (shown, Some(more)), "{query}");
        }
    }

    #[tokio::test]
    async fn a_key_sees_what_it_could_use_and_nothing_else() {
        use http_body_util::BodyExt;
        let mut k = key("k").allow(["*"]).alias("fast", "openai/gpt-5").alias("lost", "nowhere/x");
        k.providers.allow = Some(vec![OpenAi]);
        let routes = vec![
            route("openai", OpenAi).lists(["gpt-5", "org/x@1"]),
            route("anthropic", Anthropic).lists(["claude-opus"]),
        ];
        let (snapshot, node) = world(vec![k], routes);
        let ask = |one: Option<&str>| models(&snapshot, &node, Format::Chat, one, None, Uuid::nil());
        let body = ask(None).into_body().collect().await.unwrap().to_bytes();
        let page: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(ids(&page), ["fast", "openai/gpt-5", "openai/org/x@1"]);
        assert_eq!(ask(Some("openai%2Forg%2Fx%401")).status(), 200, "as the SDKs write it");
        assert_eq!(ask(Some("anthropic/claude-opus")).status(), 404);
    }
}
