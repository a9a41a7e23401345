//! The arguments of tool calls: an object in Messages, an object written as a string in Chat. In histories they are also
//! empty, cut off, or encoded twice; the conversation must stay usable all the same.

use crate::raw::{Kind, Text, Value, scan};
use std::borrow::Cow;

/// `input` as the text of a JSON object.
pub(crate) fn object(input: Option<Value<'_>>) -> Cow<'_, str> {
    match input {
        Some(value) if value.kind() == Kind::Object => Cow::Borrowed(value.raw()),
        Some(value) if value.kind() == Kind::String => from_text(value.text().unwrap_or(Text::Raw(""))),
        _ => Cow::Borrowed("{}"),
    }
}

/// Arguments that came as a string, as the text of a JSON object.
pub(crate) fn from_text(arguments: Text<'_>) -> Cow<'_, str> {
    let plain = arguments.into_plain();
    if plain.trim().is_empty() {
        return Cow::Borrowed("{}");
    }
    match kind(&plain) {
        Some(Kind::Object) => return plain,
        Some(Kind::Null) => return Cow::Borrowed("{}"),
        // Encoded twice.
        Some(Kind::String) => {
            let inner = Value::new(&plain).string().unwrap_or_default();
            if kind(&inner) == Some(Kind::Object) {
                return Cow::Owned(inner.into_owned());
            }
        }
        _ => {
            if let Some(closed) = close(&plain) {
                return Cow::Owned(closed);
            }
        }
    }
    let mut out = b"{\"_raw\":".to_vec();
    crate::raw::write::string(&mut out, &Text::from(plain.as_ref()));
    out.push(b'}');
    Cow::Owned(String::from_utf8(out).unwrap_or_else(|_| "{}".to_owned()))
}

/// The kind of `text` if it is JSON.
fn kind(text: &str) -> Option<Kind> {
    scan::document(text.as_bytes()).ok().map(|text| Value::new(text).kind())
}

/// Closes what a cut-off object left open; `None` when that does not make it JSON.
fn close(text: &str) -> Option<String> {
    let mut open = Vec::new();
    let (mut in_string, mut escaped) = (false, false);
    for b in text.bytes() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' => open.push('}'),
            b'[' => open.push(']'),
            b'}' | b']' => drop(open.pop()),
            _ => {}
        }
        if open.len() > scan::MAX_DEPTH as usize {
            return None;
        }
    }
    let mut closed = text.to_owned();
    if escaped {
        closed.pop();
    }
    if in_string {
        closed.push('"');
    }
    closed.extend(open.iter().rev());
    (kind(&closed) == Some(Kind::Object)).then_some(closed)
}
