//! `allowedNamespaces`: a word or an object.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};
use serde_json::json;
use std::{borrow::Cow, collections::BTreeMap, fmt};

/// The namespaces that may use an object: `Same`, `All`, or `{selector: {matchLabels: …}}` over the labels of namespaces.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum AllowedNamespaces {
    /// Its own namespace only.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// Its own namespace and those whose labels match.
    Selector(NamespaceSelector),
}

/// A selector over the labels of namespaces, as everywhere in Kubernetes: all of it must match, and an empty one matches
/// every namespace. Ours and not k8s-openapi's, because a misspelt `matchLabels` must not silently become the empty one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSelector {
    /// Labels that the namespace must have, with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelRequirement>,
}

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelRequirement {
    /// The label.
    pub key: String,
    /// How its value relates to `values`.
    pub operator: LabelOperator,
    /// The values of `In` and `NotIn`; empty for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label's value relates to a requirement's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelOperator {
    /// The label is there and has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

// === impl NamespaceSelector ===

impl NamespaceSelector {
    /// Whether a namespace with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

// === impl LabelRequirement ===

impl LabelRequirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            LabelOperator::In => listed,
            LabelOperator::NotIn => !listed,
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

// === impl AllowedNamespaces ===

impl Serialize for AllowedNamespaces {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            AllowedNamespaces::Same => serializer.serialize_str("Same"),
            AllowedNamespaces::All => serializer.serialize_str("All"),
            AllowedNamespaces::Selector(selector) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("selector", selector)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for AllowedNamespaces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

/// Reads the word or the object.
struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = AllowedNamespaces;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`Same`, `All` or an object with `selector`")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
        match word {
            "Same" => Ok(AllowedNamespaces::Same),
            "All" => Ok(AllowedNamespaces::All),
            _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut selector = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "selector" if selector.is_none() => selector = Some(map.next_value()?),
                "selector" => return Err(de::Error::duplicate_field("selector")),
                other => return Err(de::Error::unknown_field(other, &["selector"])),
            }
        }
        selector.map(AllowedNamespaces::Selector).ok_or_else(|| de::Error::missing_field("selector"))
    }
}

impl JsonSchema for AllowedNamespaces {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AllowedNamespaces".into()
    }

    /// A structural schema has one type per field, and CEL sees no field without a type. So the field has no type, and what
    /// may stand there is said by value: one of two words, or an object with `selector`. The contradictory bounds in the
    /// second branch shut out strings, numbers, lists and booleans, to which `required` would not apply.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"selector": selector()},
            "anyOf": [
                {"enum": ["Same", "All"]},
                {
                    "required": ["selector"],
                    "maxProperties": 1,
                    "minLength": 1, "maxLength": 0,
                    "minItems": 1, "maxItems": 0,
                    "minimum": 1, "maximum": 0,
                    "not": {"enum": [true, false]},
                },
            ],
        })
    }
}

/// The schema of `NamespaceSelector`. A field that it does not know is kept, so that the number of fields gives it away and it is
/// refused: dropped, it would leave the empty selector behind, which takes every namespace.
fn selector() -> serde_json::Value {
    json!({
        "type": "object",
        "description": "Labels of the namespaces; all of it must match, and `{}` matches every namespace.",
        "x-kubernetes-preserve-unknown-fields": true,
        "anyOf": [
            {"maxProperties": 0},
            {"required": ["matchLabels"], "maxProperties": 1},
            {"required": ["matchExpressions"], "maxProperties": 1},
            {"required": ["matchLabels", "matchExpressions"], "maxProperties": 2},
        ],
        "properties": {
            "matchLabels": {
                "type": "object",
                "description": "Labels that the namespace must have, with these values.",
                "maxProperties": 64,
                "additionalProperties": {"type": "string", "maxLength": 63},
            },
            "matchExpressions": {
                "type": "array",
                "description": "Further requirements on labels.",
                "maxItems": 64,
                "x-kubernetes-list-type": "atomic",
                "items": requirement(),
            },
        },
    })
}

fn requirement() -> serde_json::Value {
    json!({
        "type": "object",
        "required": ["key", "operator"],
        "properties": {
            "key": {"type": "string", "description": "The name of the label.", "minLength": 1, "maxLength": 317},
            "operator": {
                "type": "string",
                "description": "How its value relates to `values`.",
                "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
            },
            "values": {
                "type": "array",
                "description": "The values of `In` and `NotIn`; empty for the others.",
                "maxItems": 64,
                "x-kubernetes-list-type": "atomic",
                "items": {"type": "string", "maxLength": 63},
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_selectors_round_trip() {
        for text in ["Same\n", "All\n", "selector:\n  matchLabels:\n    team: platform\n"] {
            let read: AllowedNamespaces = serde_yaml::from_str(text).unwrap();
            assert_eq!(serde_yaml::to_string(&read).unwrap(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for (text, want) in [
            ("same", "expected `Same`, `All` or an object with `selector`"),
            ("5", "expected `Same`, `All` or an object with `selector`"),
            ("[Same]", "expected `Same`, `All` or an object with `selector`"),
            ("{}", "missing field `selector`"),
            ("{selektor: {}}", "unknown field `selektor`, expected `selector`"),
            ("{selector: {matchLables: {a: b}}}", "unknown field `matchLables`"),
        ] {
            let error = serde_yaml::from_str::<AllowedNamespaces>(text).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn selectors_match_as_in_kubernetes() {
        let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        for (text, want) in [
            ("{}", true),
            ("{matchLabels: {team: a}}", true),
            ("{matchLabels: {team: a, stage: prod}}", false),
            ("{matchExpressions: [{key: team, operator: In, values: [a, b]}]}", true),
            ("{matchExpressions: [{key: team, operator: NotIn, values: [a]}]}", false),
            ("{matchExpressions: [{key: stage, operator: NotIn, values: [a]}]}", true),
            ("{matchExpressions: [{key: team, operator: Exists}]}", true),
            ("{matchLabels: {team: a}, matchExpressions: [{key: team, operator: DoesNotExist}]}", false),
        ] {
            let selector: NamespaceSelector = serde_yaml::from_str(text).unwrap();
            assert_eq!(selector.matches(&labels), want, "{text}");
        }
    }
}
