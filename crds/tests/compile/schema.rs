//! What the API server takes, the compiler takes: else an edit that `kubectl apply` lets through would switch a live object off.
//!
//! Specs are generated from the CRDs' own schemas and sifted by their CEL rules. Left aside are what no schema can know (references,
//! which addresses and images are allowed, names of time zones, IPv6 literals) and what is not supported yet, which says so.

use kube::core::cel::{compile_schema, validate_compiled};
use proptest::{collection::vec, option, prelude::*, sample::select, string::string_regex};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tollgate_crds::{
    compile::{Body, Input, Object, Options, StdioRules, compile},
    conditions::{ACCEPTED, reasons},
    manifests::definitions,
};
use tollgate_proto::Kind;

/// Properties of which one object has exactly one. Only the first `.1` of them are supported.
const CHOICES: [(&[&str], usize); 6] = [
    (
        &[
            "anthropic",
            "openAI",
            "openAICompatible",
            "azureOpenAI",
            "azureFoundry",
            "vertexAI",
            "gemini",
            "bedrock",
        ],
        3,
    ),
    (&["usd", "tokens"], 2),
    (&["period", "rolling"], 2),
    (&["streamableHttp", "stdio", "sse"], 2),
    (&["value", "secretRef"], 2),
    (&["secretRef", "ambient"], 1),
];
/// Properties of things that are not supported yet.
const NOT_YET: [&str; 5] = ["context", "approve", "requireSuggestion", "prices", "pin"];
/// Texts at the edge of what something takes, each tried wherever its pattern lets it pass.
const EDGES: [&str; 25] = [
    "0s",
    "0h00m",
    "1ms",
    "999ms",
    "1000ms",
    "59s",
    "60s",
    "59999ms",
    "29999d9999h",
    "9999-12-31T23:59:59Z",
    "0000-01-01T00:00:00+23:59",
    "0",
    "0.0375",
    "0.0010",
    "999999999.999999999",
    "TE",
    "Host",
    "Accept",
    "Trailer",
    "Keep-Alive",
    "Content-Encoding",
    "Transfer-Encoding",
    "Last-Event-ID",
    "a*/",
    "http://a:65535",
];
/// The most entries of a list or map, and characters of a text without a pattern.
const FEW: u64 = 3;
const SHORT: usize = 12;

/// Values that a schema accepts.
fn values(name: &str, schema: &Value) -> BoxedStrategy<Value> {
    if name == "timeZone" {
        return select(vec!["UTC", "Europe/Berlin"]).prop_map(Value::from).boxed();
    }
    if name == "allowedNamespaces" {
        let words = select(vec![json!("Same"), json!("All")]);
        let selector = values("selector", &schema["properties"]["selector"]);
        return prop_oneof![words, selector.prop_map(|selector| json!({"selector": selector}))].boxed();
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return select(words.clone()).boxed();
    }
    match schema["type"].as_str().unwrap() {
        "string" => texts(schema),
        "integer" => {
            let bound = |name: &str| schema.get(name).and_then(Value::as_f64).map(|n| n as u64);
            let (least, most) = (bound("minimum").unwrap_or(0), bound("maximum").unwrap_or(1000));
            prop_oneof![Just(least), Just(most), least..=most].prop_map(Value::from).boxed()
        }
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "array" => lists(schema),
        other => {
            assert_eq!(other, "object", "{name}");
            objects(schema)
        }
    }
}

fn texts(schema: &Value) -> BoxedStrategy<Value> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64).map(|n| n as usize);
    let (least, most) = (bound("minLength").unwrap_or(0), bound("maxLength").unwrap_or(SHORT));
    let fits = move |text: &String| (least..=most).contains(&text.chars().count());
    let texts = match schema.get("pattern").and_then(Value::as_str) {
        Some(pattern) => {
            // proptest knows no anchors. An address that is none is the compiler's to tell; dates and times are by `date-time`.
            let mut inner = pattern.trim_start_matches('^').trim_end_matches('$').to_owned();
            for (all, some) in [
                (r"|\[[0-9A-Fa-f:.]+\]", ""),
                ("-[0-9]{2}-[0-9]{2}[Tt]", "-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])[Tt]"),
                ("[0-9]{2}:[0-9]{2}:[0-9]{2}", "([01][0-9]|2[0-3])(:[0-5][0-9]){2}"),
            ] {
                inner = inner.replace(all, some);
            }
            // Most prices would be finer than their rule allows.
            if schema.to_string().contains("at most three decimals") {
                inner = inner.replace("{1,9})?", "{1,3}0{0,6})?");
            }
            edges(pattern, string_regex(&inner).unwrap().boxed())
        }
        None => vec(any::<char>(), least..=SHORT.max(least)).prop_map(|c| c.into_iter().collect()).boxed(),
    };
    texts.prop_filter("a text has its length", fits).prop_map(Value::from).boxed()
}

/// The texts, and as often one of the edges that the pattern takes.
fn edges(pattern: &str, texts: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let rule = json!({"rule": format!("self.matches({})", Value::from(pattern))});
    let schema = compile_schema(&json!({"type": "string", "x-kubernetes-validations": [rule]}));
    let edges = EDGES.into_iter().filter(|edge| validate_compiled(&schema, &json!(edge), None).is_ok());
    match edges.map(str::to_owned).collect::<Vec<_>>() {
        none if none.is_empty() => texts,
        edges => prop_oneof![texts, select(edges)].boxed(),
    }
}

fn lists(schema: &Value) -> BoxedStrategy<Value> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    let least = bound("minItems").unwrap_or(0);
    let most = bound("maxItems").unwrap_or(FEW).min(least.max(FEW));
    let keys = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("map") => schema["x-kubernetes-list-map-keys"].as_array().cloned(),
        Some("set") => Some(Vec::new()),
        _ => None,
    };
    let items = vec(values("", &schema["items"]), least as usize..=most as usize);
    items.prop_map(move |items| Value::Array(distinct(items, keys.as_deref()))).boxed()
}

/// The items without those whose keys stand there already.
fn distinct(items: Vec<Value>, keys: Option<&[Value]>) -> Vec<Value> {
    let Some(keys) = keys else { return items };
    let mut seen = Vec::new();
    let identity = |item: &Value| match keys {
        [] => item.clone(),
        keys => keys.iter().map(|key| item[key.as_str().unwrap()].clone()).collect(),
    };
    items
        .into_iter()
        .filter(|item| {
            !seen.contains(&identity(item)) && {
                seen.push(identity(item));
                true
            }
        })
        .collect()
}

fn objects(schema: &Value) -> BoxedStrategy<Value> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        let Some(of) = schema.get("additionalProperties") else { return Just(json!({})).boxed() };
        let entries = vec((any::<String>(), values("", of)), 0..=FEW as usize);
        return entries.prop_map(|entries| Value::Object(entries.into_iter().collect())).boxed();
    };
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let has = |group: &[&str]| group.iter().all(|name| properties.contains_key(*name));
    let choices: Vec<_> = CHOICES.into_iter().filter(|(group, _)| has(group)).collect();
    let chosen: Vec<_> = choices.iter().map(|(group, of)| select(group[..*of].to_vec())).collect();
    let fields: Vec<_> = properties
        .iter()
        .filter(|(name, _)| !NOT_YET.contains(&name.as_str()))
        .map(|(name, schema)| {
            let is_chosen = choices.iter().any(|(group, _)| group.contains(&name.as_str()));
            let there = is_chosen || required.iter().any(|r| r == name);
            let value = values(name, schema);
            let value =
                if there { value.prop_map(Some).boxed() } else { option::weighted(0.4, value).boxed() };
            (Just(name.clone()), value)
        })
        .collect();
    (fields, chosen)
        .prop_map(move |(fields, chosen)| {
            let other = |name: &str| {
                let of_group = choices.iter().zip(&chosen).find(|((group, _), _)| group.contains(&name));
                of_group.is_some_and(|(_, chosen)| *chosen != name)
            };
            let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
            Value::Object(fields.filter(|(name, _)| !other(name)).collect::<Map<_, _>>())
        })
        .boxed()
}

/// Objects that the API server accepts, as far as its schema and its rules say.
fn accepted_by_the_api_server(kind: &'static str) -> BoxedStrategy<Value> {
    let crds = definitions().unwrap();
    let crd = crds.iter().find(|crd| crd["spec"]["names"]["kind"] == kind).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let rules = compile_schema(schema);
    objects(&schema["properties"]["spec"])
        .prop_map(move |spec| {
            json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec})
        })
        .prop_filter("the rules hold", move |object| validate_compiled(&rules, object, None).is_ok())
        .boxed()
}

/// Why the compiler does not accept it.
fn refusals<T: DeserializeOwned>(object: &Value, kind: Kind, body: fn(Arc<T>) -> Body) -> Vec<String> {
    let typed: T = match serde_json::from_value(object.clone()) {
        Ok(typed) => typed,
        Err(error) => return vec![format!("it cannot be read: {error}")],
    };
    let (namespace, name) = ("n".to_owned(), "x".to_owned());
    let object =
        Object { source: None, kind, namespace, name, created: Some(0), body: body(Arc::new(typed)) };
    let input = Input {
        objects: vec![object],
        options: Options { allow_private_endpoints: true, ..Options::CLUSTER },
        stdio: StdioRules { images: vec!["*".to_owned()], local: None },
        ..Input::default()
    };
    let statuses = compile(&input).statuses;
    let problems = statuses.iter().flat_map(|status| status.of_condition(ACCEPTED));
    problems.filter(|p| p.reason != reasons::NOT_SUPPORTED).map(ToString::to_string).collect()
}

/// 256, or as many as `PROPTEST_CASES` says.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(256, |cases| cases.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_local_rejects: 1 << 20, ..ProptestConfig::default() })]

    #[test]
    fn of_keys(object in accepted_by_the_api_server("VirtualKey")) {
        prop_assert_eq!(refusals(&object, Kind::VirtualKey, Body::VirtualKey), Vec::<String>::new(), "{}", object);
    }

    #[test]
    fn of_routes(object in accepted_by_the_api_server("ProviderRoute")) {
        prop_assert_eq!(refusals(&object, Kind::ProviderRoute, Body::ProviderRoute), Vec::<String>::new(), "{}", object);
    }

    #[test]
    fn of_servers(object in accepted_by_the_api_server("McpServer")) {
        prop_assert_eq!(refusals(&object, Kind::McpServer, Body::McpServer), Vec::<String>::new(), "{}", object);
    }
}
