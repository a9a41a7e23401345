//! JSON schemas of tools and outputs, changed as little as a target's rules demand (reference: translation.md §2.15).

use crate::raw::{Kind, Value};
use memchr::memmem;
use serde_json::{Map, Value as Tree, json};
use std::borrow::Cow;

/// What a tool without parameters takes.
const EMPTY: &str = r#"{"type":"object","properties":{}}"#;

/// Keywords that OpenAI and Anthropic refuse at the top of a tool's schema.
const COMBINATORS: [&str; 5] = ["anyOf", "oneOf", "allOf", "enum", "not"];

/// How much a schema has to be changed.
struct Look {
    has_type: bool,
    has_properties: bool,
    has_dialect: bool,
    has_combinator: bool,
}

/// A tool's schema for a target that wants an object with properties at the top and `items` in every array. The bytes stay as
/// they are but for `$schema`, which only costs tokens and which some servers refuse.
/// `strict`: the target refuses combinators at the top and arrays without `items`.
pub(crate) fn parameters(schema: Option<Value<'_>>, strict: bool) -> Cow<'_, str> {
    let Some(schema) = schema.filter(|schema| schema.kind() == Kind::Object) else {
        return Cow::Borrowed(EMPTY);
    };
    let look = look(schema);
    let unfinished = || look.has_combinator || (!look.has_properties && schema.get("$ref").is_some());
    if strict && (unfinished() || lacks_items(schema.raw())) {
        return rebuild(schema);
    }
    if look.has_type && look.has_properties && !look.has_dialect {
        return Cow::Borrowed(schema.raw());
    }
    Cow::Owned(patch(schema, &look))
}

fn look(schema: Value<'_>) -> Look {
    let mut look = Look { has_type: false, has_properties: false, has_dialect: false, has_combinator: false };
    for (key, value) in schema.fields() {
        match key.as_ref() {
            "type" => look.has_type = value.raw() == "\"object\"",
            "properties" => look.has_properties = value.kind() == Kind::Object,
            "$schema" => look.has_dialect = true,
            other => look.has_combinator |= COMBINATORS.contains(&other),
        }
    }
    look
}

/// A cheap guess that errs to the side of a closer look: fewer `items` than arrays.
fn lacks_items(schema: &str) -> bool {
    let count = |word: &[u8]| memmem::find_iter(schema.as_bytes(), word).count();
    let arrays = count(b"\"array\"");
    arrays > 0 && arrays > count(b"\"items\"")
}

/// Copies the members but for `$schema`, adding what is missing.
fn patch(schema: Value<'_>, look: &Look) -> String {
    let mut out = String::with_capacity(schema.raw().len() + 40);
    out.push('{');
    if !look.has_type {
        out.push_str("\"type\":\"object\",");
    }
    if !look.has_properties {
        out.push_str("\"properties\":{},");
    }
    for (key, value) in schema.fields() {
        let replaced = (key == "type" && !look.has_type) || (key == "properties" && !look.has_properties);
        if key != "$schema" && !replaced {
            out.push_str(&Tree::from(key.as_ref()).to_string());
            out.push(':');
            out.push_str(value.raw());
            out.push(',');
        }
    }
    out.pop();
    if out.is_empty() { EMPTY.to_owned() } else { out + "}" }
}

/// The rare cases: merges combinators at the top into one object, gives arrays their `items`.
fn rebuild(schema: Value<'_>) -> Cow<'_, str> {
    // Too deep or a number out of range: the upstream may judge.
    let Ok(Tree::Object(mut tree)) = serde_json::from_str(schema.raw()) else {
        return Cow::Borrowed(schema.raw());
    };
    tree.remove("$schema");
    merge(&mut tree);
    let mut tree = Tree::Object(tree);
    walk(&mut tree, &mut |object| {
        if object.get("type").is_some_and(|kind| kind == "array") && !object.contains_key("items") {
            object.insert("items".into(), json!({}));
        }
    });
    Cow::Owned(tree.to_string())
}

/// Merges the branches of combinators into the object around them: their properties become optional ones.
fn merge(tree: &mut Map<String, Tree>) {
    let mut properties = match tree.remove("properties") {
        Some(Tree::Object(properties)) => properties,
        _ => Map::new(),
    };
    if let Some(target) = referenced(tree) {
        tree.remove("$ref");
        absorb(&mut properties, &target);
        tree.extend(target.into_iter().filter(|(key, _)| key != "properties"));
    }
    for key in COMBINATORS {
        let branches = tree.remove(key).unwrap_or_default();
        for branch in branches.as_array().into_iter().flatten().filter_map(Tree::as_object) {
            absorb(&mut properties, branch);
            if key == "allOf" {
                require(tree, branch);
            }
        }
    }
    tree.insert("type".into(), json!("object"));
    tree.insert("properties".into(), Tree::Object(properties));
}

/// The definition that a `$ref` at the top names.
fn referenced(tree: &Map<String, Tree>) -> Option<Map<String, Tree>> {
    let name = tree.get("$ref")?.as_str()?.rsplit('/').next()?;
    let defs = tree.get("$defs").or_else(|| tree.get("definitions"))?;
    defs.get(name)?.as_object().cloned()
}

fn absorb(properties: &mut Map<String, Tree>, branch: &Map<String, Tree>) {
    for (name, schema) in branch.get("properties").and_then(Tree::as_object).into_iter().flatten() {
        properties.entry(name.clone()).or_insert_with(|| schema.clone());
    }
}

fn require(tree: &mut Map<String, Tree>, branch: &Map<String, Tree>) {
    let Some(more) = branch.get("required").and_then(Tree::as_array) else { return };
    let required = tree.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        for name in more {
            if !required.contains(name) {
                required.push(name.clone());
            }
        }
    }
}

/// Visits every object of a schema (depth is bounded by the body's).
fn walk(tree: &mut Tree, visit: &mut impl FnMut(&mut Map<String, Tree>)) {
    match tree {
        Tree::Object(object) => {
            visit(object);
            object.values_mut().for_each(|value| walk(value, visit));
        }
        Tree::Array(items) => items.iter_mut().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

/// Whether OpenAI would take the schema as a strict one: every object closed, every property required.
pub(crate) fn is_strict(schema: Value<'_>) -> bool {
    let Ok(mut tree) = serde_json::from_str::<Tree>(schema.raw()) else { return false };
    let mut strict = tree.get("type").is_some_and(|kind| kind == "object");
    walk(&mut tree, &mut |object| strict &= is_strict_object(object));
    strict
}

fn is_strict_object(object: &Map<String, Tree>) -> bool {
    let Some(properties) = object.get("properties").and_then(Tree::as_object) else {
        return object.get("type").is_none_or(|kind| kind != "object");
    };
    // A property that is itself called "properties" is no schema keyword: without a type there is nothing to check.
    if !object.contains_key("type") && !object.contains_key("additionalProperties") {
        return true;
    }
    let required = object.get("required").and_then(Tree::as_array);
    let all =
        properties.keys().all(|name| required.is_some_and(|names| names.iter().any(|n| n == name.as_str())));
    all && object.get("additionalProperties") == Some(&Tree::Bool(false))
}

/// An output schema as Anthropic's structured outputs take it: objects closed, limits on values left out.
pub(crate) fn for_structured_output(schema: Value<'_>) -> Cow<'_, str> {
    const LIMITS: [&str; 12] = [
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
    ];
    let Ok(mut tree) = serde_json::from_str::<Tree>(schema.raw()) else { return Cow::Borrowed(schema.raw()) };
    walk(&mut tree, &mut |object| {
        let kind = object.get("type").and_then(Tree::as_str).map(str::to_owned);
        if kind.as_deref() == Some("object") && object.get("properties").is_none_or(Tree::is_object) {
            object.insert("additionalProperties".into(), Tree::Bool(false));
        }
        if kind.is_some() {
            object.retain(|key, value| !LIMITS.contains(&key.as_str()) || value.is_object());
        }
    });
    if let Some(object) = tree.as_object_mut() {
        object.remove("$schema");
    }
    Cow::Owned(tree.to_string())
}
