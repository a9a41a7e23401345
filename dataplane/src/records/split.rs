//! Splits a request's body into the pieces that repeat from turn to turn. Pure; runs on the writer's side only.

use memchr::memmem::Finder;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::{borrow::Cow, fmt, io::Read as _};

/// The id of a block or node: the first 16 bytes of a SHA-256.
pub(crate) type Id = [u8; 16];

/// A body (Anthropic Messages or OpenAI Chat) by the parts that repeat.
#[derive(Debug, Default)]
pub(crate) struct Parts<'a> {
    /// Messages' `system`: a string or an array of blocks.
    pub(crate) system: Option<&'a RawValue>,
    /// The whole tools array.
    pub(crate) tools: Option<&'a RawValue>,
    /// The conversation.
    pub(crate) messages: Vec<&'a RawValue>,
    /// All other fields, in their order.
    pub(crate) rest: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// The most bytes of one stored block; longer strings inside (images, files) are replaced by a note of their size.
pub(crate) const BLOCK_MAX: usize = 256 << 10;
/// The longest string that is kept whole in a block over [`BLOCK_MAX`].
const STRING_MAX: usize = 16 << 10;

// === impl Parts ===

impl<'a> Parts<'a> {
    /// Reads a body; fails when it is not a JSON object.
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// The system prompt's blocks: the array's elements, or the one string.
    pub(crate) fn system_blocks(&self) -> Vec<&'a RawValue> {
        let Some(raw) = self.system else { return Vec::new() };
        if raw.get().starts_with('[') { list(raw) } else { vec![raw] }
    }

    /// The other fields as a JSON object's text.
    pub(crate) fn params(&self) -> String {
        let mut out = String::from("{");
        for (name, value) in &self.rest {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&serde_json::Value::from(&**name).to_string());
            out.push(':');
            out.push_str(value.get());
        }
        out.push('}');
        out
    }
}

fn list(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a request object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Parts<'de>, M::Error> {
                let mut parts = Parts::default();
                while let Some(name) = map.next_key::<Name<'de>>()? {
                    let value: &'de RawValue = map.next_value()?;
                    match &*name.0 {
                        "system" => parts.system = Some(value),
                        "tools" => parts.tools = Some(value),
                        "messages" => parts.messages = list(value),
                        _ => parts.rest.push((name.0, value)),
                    }
                }
                Ok(parts)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A key that borrows where it can (serde's own `Cow` always copies map keys).
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }

            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(v)))
            }

            fn visit_str<E>(self, v: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(v.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

// === Identity ===

/// A block's id: over the namespace and the bytes, so that nothing is shared, or can be probed, across namespaces.
pub(crate) fn block_id(namespace: &str, body: &str) -> Id {
    let mut hash = Sha256::new();
    hash.update((namespace.len() as u64).to_le_bytes());
    hash.update(namespace);
    hash.update(body);
    first(hash)
}

/// A node's id: over its parent and its block.
pub(crate) fn node_id(parent: Option<&Id>, block: &Id) -> Id {
    let mut hash = Sha256::new();
    hash.update(parent.map_or(&[][..], |p| &p[..]));
    hash.update(block);
    first(hash)
}

fn first(hash: Sha256) -> Id {
    let digest: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id
}

// === What differs between turns without meaning anything ===

/// Removes `cache_control` members: clients move these marks along from turn to turn, so that a message would otherwise be
/// new twice. A quoted name directly followed by a colon is a member's name, never a string's inside.
pub(crate) fn without_cache_marks(raw: &str) -> Cow<'_, str> {
    const NAME: &str = "\"cache_control\"";
    let mut out = String::new();
    let mut kept = 0;
    for at in Finder::new(NAME).find_iter(raw.as_bytes()) {
        if at < kept {
            continue;
        }
        let Some(end) = mark_end(raw, at + NAME.len()) else { continue };
        let before = raw[kept..at].trim_end();
        let (start, end) = if before.ends_with(',') {
            (kept + before.len() - 1, end)
        } else {
            let after = raw[end..].trim_start();
            (at, if after.starts_with(',') { raw.len() - after.len() + 1 } else { end })
        };
        out.push_str(&raw[kept..start]);
        kept = end;
    }
    if kept == 0 {
        return Cow::Borrowed(raw);
    }
    out.push_str(&raw[kept..]);
    Cow::Owned(out)
}

/// The end of `: {…}` (no nested objects) at `from`.
fn mark_end(raw: &str, from: usize) -> Option<usize> {
    let rest = raw[from..].trim_start().strip_prefix(':')?.trim_start();
    let inner = rest.strip_prefix('{')?;
    let close = inner.find(['{', '}'])?;
    inner[close..].starts_with('}').then(|| raw.len() - inner.len() + close + 1)
}

/// Bounds a block: in one over [`BLOCK_MAX`] long strings become notes of their size; text that is no JSON is cut.
pub(crate) fn bounded(raw: &str) -> Cow<'_, str> {
    if raw.len() <= BLOCK_MAX {
        return Cow::Borrowed(raw);
    }
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(raw) else {
        return Cow::Owned(note(raw, BLOCK_MAX));
    };
    shorten(&mut value, STRING_MAX);
    let text = value.to_string();
    if text.len() <= 4 * BLOCK_MAX {
        return Cow::Owned(text);
    }
    Cow::Owned(serde_json::json!({"not_kept": format!("{} bytes", raw.len())}).to_string())
}

fn shorten(value: &mut serde_json::Value, most: usize) {
    use serde_json::Value;
    match value {
        Value::String(text) if text.len() > most => *text = note(text, most),
        Value::Array(list) => list.iter_mut().for_each(|v| shorten(v, most)),
        Value::Object(map) => map.values_mut().for_each(|v| shorten(v, most)),
        _ => {}
    }
}

fn note(text: &str, most: usize) -> String {
    let start = &text[..super::preview::floor_char(text, most)];
    format!("{start}… [{} bytes more, not kept]", text.len() - start.len())
}

// === Packing ===

/// Packs a text for storage: a first byte (0 as it is, 1 zstd), then the bytes.
pub(crate) fn pack(zstd: &mut zstd::bulk::Compressor<'_>, text: &str) -> Vec<u8> {
    if text.len() >= 200
        && let Ok(small) = zstd.compress(text.as_bytes())
        && small.len() < text.len()
    {
        return [&[1], small.as_slice()].concat();
    }
    [&[0], text.as_bytes()].concat()
}

/// The reverse of [`pack`]; what cannot be read becomes a note instead of an error.
pub(crate) fn unpack(packed: &[u8]) -> String {
    const MOST: u64 = 64 << 20;
    let mut bytes = Vec::new();
    match packed.split_first() {
        Some((0, plain)) => bytes.extend_from_slice(plain),
        Some((1, small)) => {
            let whole = zstd::stream::Decoder::new(small).and_then(|d| d.take(MOST).read_to_end(&mut bytes));
            if whole.is_err() {
                return "\"[unreadable]\"".to_owned();
            }
        }
        _ => {}
    }
    String::from_utf8(bytes).unwrap_or_else(|_| "\"[unreadable]\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_marks_go_and_nothing_else() {
        let cases = [
            (r#"{"a":1,"cache_control":{"type":"ephemeral"}}"#, r#"{"a":1}"#),
            (r#"{"cache_control":{"type":"ephemeral","ttl":"1h"},"a":1}"#, r#"{"a":1}"#),
            (r#"{ "cache_control" : { } , "a":1}"#, r#"{  "a":1}"#),
            (r#"[{"x":1, "cache_control":{}},{"cache_control":{}}]"#, r#"[{"x":1},{}]"#),
            (r#"{"t":"\"cache_control\":{}"}"#, r#"{"t":"\"cache_control\":{}"}"#),
            (r#"{"t":"cache_control"}"#, r#"{"t":"cache_control"}"#),
            (r#"{"cache_control":{"a":{}}}"#, r#"{"cache_control":{"a":{}}}"#),
        ];
        for (raw, want) in cases {
            assert_eq!(without_cache_marks(raw), want);
            serde_json::from_str::<serde_json::Value>(want).unwrap();
        }
    }

    #[test]
    fn splits_and_keeps_the_rest() {
        let body = br#"{"model":"m","system":[{"text":"a"},{"text":"b"}],"tools":[1],"messages":[{"role":"user"}],"max\u005ftokens":3}"#;
        let parts = Parts::read(body).unwrap();
        assert_eq!(parts.system_blocks().len(), 2);
        assert_eq!(parts.tools.unwrap().get(), "[1]");
        assert_eq!(parts.messages.len(), 1);
        assert_eq!(parts.params(), r#"{"model":"m","max_tokens":3}"#);
        assert!(Parts::read(b"[]").is_err());
        assert!(Parts::read(b"{\"a\":").is_err());
    }

    #[test]
    fn packs_both_ways() {
        let mut zstd = zstd::bulk::Compressor::new(3).unwrap();
        for text in ["", "short", &"long ".repeat(1000)] {
            let packed = pack(&mut zstd, text);
            assert_eq!(unpack(&packed), text);
            assert!(packed.len() <= text.len() + 1);
        }
        assert_eq!(unpack(&[9, 9]), "");
    }

    #[test]
    fn large_blocks_are_bounded_and_stay_json() {
        let body =
            serde_json::json!({"role": "user", "content": [{"source": {"data": "A".repeat(BLOCK_MAX)}}]})
                .to_string();
        let short = bounded(&body);
        assert!(short.len() < STRING_MAX + 200);
        let value: serde_json::Value = serde_json::from_str(&short).unwrap();
        assert_eq!(value["role"], "user");
    }

    #[test]
    fn namespaces_do_not_share() {
        assert_ne!(block_id("a", "bc"), block_id("ab", "c"));
        assert_eq!(block_id("a", "b"), block_id("a", "b"));
    }

    proptest::proptest! {
        #[test]
        fn stripping_marks_keeps_json(text in "\\PC{0,40}", ttl in "[a-z0-9]{0,4}") {
            let value = serde_json::json!([{"type": "text", "text": text, "cache_control": {"ttl": ttl}}, text]);
            let clean: serde_json::Value = serde_json::from_str(&without_cache_marks(&value.to_string())).unwrap();
            proptest::prop_assert_eq!(clean, serde_json::json!([{"type": "text", "text": text}, text]));
        }
    }
}
