//! What a manifest need not say: values that are the CRD's defaults, which a reviewer of a new object does not want to read.

use kube::CustomResourceExt;
use serde_json::Value;
use std::sync::LazyLock;
use tollgate_crds::api::{McpServer, ProviderRoute, VirtualKey};
use tollgate_proto::Kind;

static SCHEMAS: LazyLock<[(Kind, Value); 3]> = LazyLock::new(|| {
    [
        (Kind::VirtualKey, schema::<VirtualKey>()),
        (Kind::ProviderRoute, schema::<ProviderRoute>()),
        (Kind::McpServer, schema::<McpServer>()),
    ]
});

fn schema<T: CustomResourceExt>() -> Value {
    let crd = serde_json::to_value(T::crd()).unwrap_or_default();
    let spec = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    spec.cloned().unwrap_or_default()
}

/// A spec without what is as it would be by itself.
pub fn without(kind: Kind, spec: &Value) -> Value {
    prune(of_kind(kind), spec)
}

/// The same of a value within a spec, at a path such as `budgets[month]`.
pub fn without_at(kind: Kind, path: &str, value: &Value) -> Value {
    let mut schema = of_kind(kind);
    let mut rest = path;
    while !rest.is_empty() {
        let (step, after) = match rest.strip_prefix('[') {
            Some(inside) => ("items", inside.split_once(']').map_or("", |(_, after)| after)),
            None => {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                rest.split_at(end)
            }
        };
        schema = match step {
            "items" if rest.starts_with('[') => field(schema, "items"),
            name => field(field(schema, "properties"), name),
        };
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    prune(schema, value)
}

fn of_kind(kind: Kind) -> &'static Value {
    SCHEMAS.iter().find(|(of, _)| *of == kind).map_or(&Value::Null, |(_, schema)| schema)
}

fn field<'a>(schema: &'a Value, name: &str) -> &'a Value {
    schema.get(name).unwrap_or(&Value::Null)
}

fn prune(schema: &Value, value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let keep = |(name, value): (&String, &Value)| {
                let schema = field(field(schema, "properties"), name);
                let is_default = schema.get("default") == Some(value);
                let pruned = prune(schema, value);
                // What is empty by itself says something: `openAI: {}`, `allow: []`.
                let all_default = pruned != *value && pruned.as_object().is_some_and(|o| o.is_empty());
                (!is_default && !all_default && !value.is_null()).then(|| (name.clone(), pruned))
            };
            Value::Object(fields.iter().filter_map(keep).collect())
        }
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| prune(field(schema, "items"), item)).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_as_it_would_be_is_left_out_and_nothing_else() {
        let spec = json!({
            "spending": {"enforcement": "Strict", "unpriced": "Allow", "nearLimit": "LowerOutputCap"},
            "context": "PassThrough",
            "models": {"allow": []},
        });
        let pruned = without(Kind::VirtualKey, &spec);
        assert_eq!(pruned, json!({"spending": {"unpriced": "Allow"}, "models": {"allow": []}}));
        let backend = json!({"name": "a", "openAI": {}, "weight": 1, "priority": 0});
        assert_eq!(
            without_at(Kind::ProviderRoute, "backends[a]", &backend),
            json!({"name": "a", "openAI": {}})
        );
        assert_eq!(without_at(Kind::VirtualKey, "no.such[x].path", &json!("x")), json!("x"));
    }
}
