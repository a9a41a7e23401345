//! The list of models a key may use, in a shape that Anthropic's and OpenAI's SDKs both read.

use super::resolve;
use crate::{
    body::{Body, full},
    error::GatewayError,
    model::{Globs, Route},
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
    let value = match one {
        Some(name) if names.contains(name) => entry(name),
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
        for model in on_route(route) {
            let qualified = format!("{}/{model}", route.id.name());
            if resolve::allowed(node, &qualified).is_ok() {
                names.insert(qualified);
            }
        }
    }
    names.extend(node.path.iter().flat_map(|k| k.models.aliases.keys().cloned()));
    names
}

/// The names on a route; a glob (or a route without a list) stands for what the catalogue knows of its providers.
fn on_route(route: &Route) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        route.models.iter().filter(|m| !m.name.contains('*')).map(|m| m.name.clone()).collect();
    let globs: Vec<&Globs> =
        route.models.iter().filter(|m| m.name.contains('*')).map(|m| &m.pattern).collect();
    if globs.is_empty() && !route.models.is_empty() {
        return names;
    }
    for backend in &route.backends {
        let known = Catalogue::embedded().models(backend.provider);
        let served = known.filter(|name| backend.models.is_empty() || backend.models.matches(name));
        names.extend(
            served.filter(|n| globs.is_empty() || globs.iter().any(|g| g.matches(n))).map(str::to_owned),
        );
    }
    names
}

fn entry(name: &str) -> Value {
    json!({
        "type": "model", "id": name, "display_name": name, "created_at": EPOCH,
        "object": "model", "created": 0, "owned_by": name.split('/').next().unwrap_or(name),
    })
}

fn page(names: &BTreeSet<String>, query: &str) -> Value {
    let get = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let decode = |text: &str| text.replace("%2F", "/").replace("%2f", "/");
    let limit = get("limit").and_then(|n| n.parse().ok()).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let (after, before) = (get("after_id").map(decode), get("before_id").map(decode));
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
