//! One level of a JSON object, seen as raw text: the places of its values, and edits that leave every other byte alone.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// The most members an object that the gateway looks into may have; arguments and schemas are not looked into.
pub const MAX_MEMBERS: usize = 1000;

/// One level of a JSON object. No key occurs twice: two readers of a message with doubled keys could disagree about what was allowed.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    text: &'a str,
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// Why a text is no object the gateway looks into.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, not an object, a doubled key or too many members.
    #[error("{0}")]
    Malformed(String),
    /// A member is not of the type that it must have.
    #[error("member {0:?} is not {1}")]
    Type(&'static str, &'static str),
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);
struct Text<'a>(Cow<'a, str>);
struct MembersVisitor;
struct TextVisitor;

// === impl Object ===

impl<'a> Object<'a> {
    /// Reads one level of `text`.
    ///
    /// # Errors
    /// When it is not an object, a key is doubled or there are more than [`MAX_MEMBERS`].
    pub fn parse(text: &'a str) -> Result<Self, JsonError> {
        let members: Members<'a> =
            serde_json::from_str(text).map_err(|e| JsonError::Malformed(e.to_string()))?;
        Ok(Object { text: text.trim_matches([' ', '\t', '\r', '\n']), members: members.0 })
    }

    /// The object's own text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The raw text of a member.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.members.iter().find(|(k, _)| k == key).map(|(_, v)| v.get())
    }

    /// The members in order: decoded key and raw value.
    pub fn members(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members.iter().map(|(k, v)| (k.as_ref(), v.get()))
    }

    /// A member that must be an object when it is there.
    ///
    /// # Errors
    /// When it is something else.
    pub fn object(&self, key: &'static str) -> Result<Option<Object<'a>>, JsonError> {
        match self.get(key) {
            None => Ok(None),
            Some(text) if text.starts_with('{') => Object::parse(text).map(Some),
            Some(_) => Err(JsonError::Type(key, "an object")),
        }
    }

    /// A member that must be a string when it is there.
    ///
    /// # Errors
    /// When it is something else.
    pub fn string(&self, key: &'static str) -> Result<Option<Cow<'a, str>>, JsonError> {
        match self.get(key) {
            None => Ok(None),
            Some(text) => string(text).map(Some).ok_or(JsonError::Type(key, "a string")),
        }
    }

    /// An edit that adds a member at the front; `value` is JSON text. Only one such edit an object.
    pub fn insertion(&self, key: &str, value: &str) -> (&'a str, String) {
        let comma = if self.members.is_empty() { "" } else { "," };
        (self.text.get(..1).unwrap_or_default(), format!("{{{}:{value}{comma}", quote(key)))
    }
}

/// The string that a raw JSON text is; borrowed when it has no escapes.
pub fn string(raw: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw).ok().map(|t| t.0)
}

/// A string as JSON text.
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Replaces parts of `text` (each a slice of it, found by address) and copies the rest byte by byte. `None` when a part is no slice
/// of `text` or parts overlap.
pub fn splice(text: &str, edits: &[(&str, String)]) -> Option<String> {
    let mut places = Vec::with_capacity(edits.len());
    for (part, with) in edits {
        let start = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
        places.push((start, start.checked_add(part.len())?, with.as_str()));
    }
    places.sort_by_key(|p| p.0);
    let mut out = String::with_capacity(text.len() + places.iter().map(|p| p.2.len()).sum::<usize>());
    let mut done = 0;
    for (start, end, with) in places {
        out.push_str(text.get(done..start)?);
        text.get(start..end)?;
        out.push_str(with);
        done = end;
    }
    out.push_str(text.get(done..)?);
    Some(out)
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(|members| Members(members.0))
    }
}

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            if members.len() >= MAX_MEMBERS {
                return Err(serde::de::Error::custom("the object has too many members"));
            }
            if members.iter().any(|(k, _)| *k == key) {
                return Err(serde::de::Error::custom(format_args!("key {key:?} occurs twice")));
            }
            members.push((key, map.next_value()?));
        }
        Ok(Members(members))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(|text| Text(text.0))
    }
}

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_splice_changes_nothing_else() {
        let text = " { \"id\" : 9007199254740993123 ,\"a\":1.50, \"params\":{\"n\\u0061me\":\"x\",\"z\": [1 , 2]} } ";
        let object = Object::parse(text).unwrap();
        let params = object.object("params").unwrap().unwrap();
        let edits =
            [(params.get("name").unwrap(), quote("y\"")), (object.get("id").unwrap(), "\"c\"".into())];
        let want = " { \"id\" : \"c\" ,\"a\":1.50, \"params\":{\"n\\u0061me\":\"y\\\"\",\"z\": [1 , 2]} } ";
        assert_eq!(splice(text, &edits).unwrap(), want);
    }

    #[test]
    fn members_are_added_at_the_front() {
        for (text, want) in [("{}", "{\"k\":1}"), (" { \"a\":2}", " {\"k\":1, \"a\":2}")] {
            let edit = Object::parse(text).unwrap().insertion("k", "1");
            assert_eq!(splice(text, &[edit]).unwrap(), want);
        }
    }

    #[test]
    fn doubled_keys_and_too_many_are_refused() {
        assert!(Object::parse(r#"{"name":1,"n\u0061me":2}"#).is_err());
        assert!(
            Object::parse("[1]").is_err() && Object::parse("").is_err() && Object::parse("{} x").is_err()
        );
        let many: Vec<_> = (0..=MAX_MEMBERS).map(|n| format!("\"{n}\":0")).collect();
        assert!(Object::parse(&format!("{{{}}}", many.join(","))).is_err());
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(Object::parse(&deep).unwrap().get("a").unwrap().len(), 2_000_000);
    }

    #[test]
    fn foreign_and_overlapping_parts_are_refused() {
        let (text, other) = (String::from("abcdef"), String::from("xyz"));
        assert_eq!(splice(&text, &[(other.as_str(), String::new())]), None);
        assert_eq!(splice(&text, &[(&text[0..3], String::new()), (&text[2..4], String::new())]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,80}") {
            if let Ok(object) = Object::parse(&text) {
                let edit = object.insertion("k", "1");
                prop_assert!(splice(&text, &[edit]).is_some());
            }
        }
    }
}
