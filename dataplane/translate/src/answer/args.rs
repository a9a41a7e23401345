//! Tool arguments as they arrive: where their JSON object ends, and repairs that cannot change what a tool does.

#[cfg(test)]
mod tests;

use serde::de::IgnoredAny;
use std::borrow::Cow;

/// Follows JSON text piece by piece, just closely enough to know where the value ends.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scan {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// A byte that is not white space has come.
    begun: bool,
    /// The value began with `{`.
    object: bool,
    /// The outermost value has ended.
    complete: bool,
    /// Something stands after the end.
    excess: bool,
}

// === impl Scan ===

impl Scan {
    /// Takes the next piece. Returns it with raw control characters inside strings escaped: models that write JSON by hand
    /// leave line breaks in strings, which JSON forbids and which can mean only one thing.
    pub(crate) fn feed<'a>(&mut self, piece: &'a str) -> Cow<'a, str> {
        let mut fixed: Option<String> = None;
        let mut copied = 0;
        for (at, byte) in piece.bytes().enumerate() {
            if self.in_string && byte < 0x20 {
                let fixed = fixed.get_or_insert_default();
                fixed.push_str(piece.get(copied..at).unwrap_or_default());
                escape(byte, fixed);
                copied = at + 1;
            }
            self.step(byte);
        }
        match fixed {
            None => Cow::Borrowed(piece),
            Some(mut fixed) => {
                fixed.push_str(piece.get(copied..).unwrap_or_default());
                Cow::Owned(fixed)
            }
        }
    }

    /// The object is whole, as far as brackets and quotes tell.
    pub(crate) fn complete_object(&self) -> bool {
        self.complete && self.object && !self.excess
    }

    /// Nothing but white space has come.
    pub(crate) fn is_empty(&self) -> bool {
        !self.begun
    }

    /// What came begins like an object.
    pub(crate) fn is_object(&self) -> bool {
        self.object
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    self.complete |= self.depth == 0;
                }
                _ => {}
            }
            return;
        }
        if byte.is_ascii_whitespace() {
            return;
        }
        self.excess |= self.complete;
        self.object |= !self.begun && byte == b'{';
        self.begun = true;
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.complete |= self.depth == 0;
            }
            _ => {}
        }
    }
}

/// Appends a control character as JSON writes it.
fn escape(byte: u8, out: &mut String) {
    match byte {
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        other => out.push_str(&format!("\\u{other:04x}")),
    }
}

/// The arguments as the JSON text of an object, or nothing when they cannot be that. Absent arguments are `{}`; an object
/// that was encoded as a string is decoded; nothing is guessed.
pub(crate) fn whole(arguments: &str) -> Option<Cow<'_, str>> {
    let trimmed = arguments.trim();
    if trimmed.is_empty() || trimmed == "null" {
        return Some(Cow::Borrowed("{}"));
    }
    if trimmed.starts_with('"') {
        let inner: String = serde_json::from_str(trimmed).ok()?;
        return object(inner.trim()).map(|text| Cow::Owned(text.into_owned()));
    }
    object(trimmed)
}

fn object(text: &str) -> Option<Cow<'_, str>> {
    let text = Scan::default().feed(text);
    (text.starts_with('{') && is_json(&text)).then_some(text)
}

/// Whether `text` is one well-formed JSON value.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}
