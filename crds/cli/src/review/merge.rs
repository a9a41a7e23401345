//! Equal changes of many objects told once.
//!
//! A pull request for twenty keys says one thing twenty times, with each key's own name in it. Fields are merged, not objects, so
//! that what nineteen share is not told twenty times because one has something more.

use super::report::{Change, FieldChange, Object};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Stands in a merged value for each object's own name.
pub const OWN_NAME: &str = "‹name›";

/// Objects with the changes that they share.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Their kind.
    pub kind: String,
    /// Whether they came, went or changed.
    pub change: Change,
    /// `namespace/name` of each.
    pub objects: Vec<String>,
    /// Some of them have other changes too, in a group before this one.
    pub also_above: bool,
    /// The changed fields; of new objects those that they set. `‹name›` stands for each one's own name.
    pub fields: Vec<FieldChange>,
}

/// A field of some objects.
struct Shared {
    field: FieldChange,
    /// As the first of them has it, and whether the others have it so to the letter.
    first: FieldChange,
    alike: bool,
    objects: Vec<usize>,
}

/// Merges what objects of one kind share.
pub fn merge(objects: &[Object]) -> Vec<Group> {
    let mut shared: Vec<Shared> = Vec::new();
    let mut known: HashMap<(String, Change, String), usize> = HashMap::new();
    // In the order of the objects, and the fields of the first that has them.
    let mut groups: BTreeMap<(String, Change, Vec<usize>), Vec<FieldChange>> = BTreeMap::new();
    for (i, object) in objects.iter().enumerate() {
        if object.fields.is_empty() {
            shared_without_fields(&mut groups, object, i);
        }
        for field in &object.fields {
            let normal = normalised(field, &object.name);
            let key =
                (object.kind.clone(), object.change, serde_json::to_string(&normal).unwrap_or_default());
            match known.get(&key).and_then(|at| shared.get_mut(*at)) {
                Some(before) => {
                    before.alike &= before.first == *field;
                    before.objects.push(i);
                }
                None => {
                    known.insert(key, shared.len());
                    shared.push(Shared {
                        field: normal,
                        first: field.clone(),
                        alike: true,
                        objects: vec![i],
                    });
                }
            }
        }
    }
    for Shared { field, first, alike, objects: members } in shared {
        let Some(object) = members.first().and_then(|i| objects.get(*i)) else { continue };
        let key = (object.kind.clone(), object.change, members);
        groups.entry(key).or_default().push(if alike { first } else { field });
    }
    ordered(groups, objects)
}

/// An object that has no field to tell stands beside the others of its kind that have none.
fn shared_without_fields(
    groups: &mut BTreeMap<(String, Change, Vec<usize>), Vec<FieldChange>>,
    object: &Object,
    i: usize,
) {
    let is_same =
        |(kind, change, _): &(String, Change, Vec<usize>)| *kind == object.kind && *change == object.change;
    let before = groups.keys().find(|key| is_same(key)).cloned();
    let mut key = before.unwrap_or_else(|| (object.kind.clone(), object.change, Vec::new()));
    groups.remove(&key);
    key.2.push(i);
    groups.insert(key, Vec::new());
}

/// By kind, and what concerns most objects first.
fn ordered(
    groups: BTreeMap<(String, Change, Vec<usize>), Vec<FieldChange>>,
    objects: &[Object],
) -> Vec<Group> {
    let mut groups: Vec<_> = groups.into_iter().collect();
    let order = |kind: &str| ["VirtualKey", "ProviderRoute", "McpServer"].iter().position(|k| *k == kind);
    groups.sort_by_key(|((kind, change, members), _)| {
        (order(kind), *change, std::cmp::Reverse(members.len()), members.clone())
    });
    let mut told = vec![false; objects.len()];
    let mut out = Vec::new();
    for ((kind, change, members), fields) in groups {
        let also_above = members.iter().any(|i| told.get(*i).copied().unwrap_or_default());
        members.iter().for_each(|i| told.iter_mut().skip(*i).take(1).for_each(|t| *t = true));
        let names = members.iter().filter_map(|i| objects.get(*i));
        let objects = names.map(|o| format!("{}/{}", o.namespace, o.name)).collect();
        out.push(Group { kind, change, objects, also_above, fields });
    }
    out
}

/// The field with a placeholder where the object's own name stands.
fn normalised(field: &FieldChange, name: &str) -> FieldChange {
    FieldChange {
        path: field.path.replace(&format!("[{name}]"), &format!("[{OWN_NAME}]")),
        before: field.before.as_ref().map(|value| value_without(value, name)),
        after: field.after.as_ref().map(|value| value_without(value, name)),
        ..field.clone()
    }
}

fn value_without(value: &Value, name: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text_without(text, name)),
        Value::Array(items) => items.iter().map(|item| value_without(item, name)).collect(),
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| (key.clone(), value_without(value, name));
            Value::Object(fields.iter().map(field).collect())
        }
        other => other.clone(),
    }
}

/// Where the name stands as a word of its own, as in `alice-token`.
fn text_without(text: &str, name: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = (!name.is_empty()).then(|| rest.find(name)).flatten() {
        let (before, found) = rest.split_at(at);
        let (word, after) = found.split_at(name.len());
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let starts = before.chars().next_back().or(out.chars().next_back());
        out.push_str(before);
        out.push_str(if inside(starts) || inside(after.chars().next()) { word } else { OWN_NAME });
        rest = after;
    }
    out.push_str(rest);
    out
}

// === impl Group ===

impl Group {
    /// Whether a value of it stands for each object's own name.
    pub fn has_own_names(&self) -> bool {
        let in_value =
            |value: &Option<Value>| value.as_ref().is_some_and(|v| v.to_string().contains(OWN_NAME));
        self.fields.iter().any(|f| f.path.contains(OWN_NAME) || in_value(&f.before) || in_value(&f.after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word_of_its_own() {
        assert_eq!(text_without("alice", "alice"), "‹name›");
        assert_eq!(text_without("vk-alice-token", "alice"), "vk-‹name›-token");
        assert_eq!(text_without("malice", "alice"), "malice");
        assert_eq!(text_without("a/aa/a", "a"), "‹name›/aa/‹name›");
        assert_eq!(text_without("ab", ""), "ab");
    }
}
