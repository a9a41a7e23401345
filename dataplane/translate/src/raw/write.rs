//! Writing JSON into one buffer, in the order of the calls: equal calls give equal bytes.

use super::{Text, text::whole_surrogates};

/// An object being written; the closing brace comes with [`Object::end`].
#[derive(Debug)]
pub(crate) struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

/// An array being written; the closing bracket comes with [`Array::end`].
#[derive(Debug)]
pub(crate) struct Array<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

/// Writes `text` as a string.
pub(crate) fn string(out: &mut Vec<u8>, text: &Text<'_>) {
    out.push(b'"');
    inner(out, text);
    out.push(b'"');
}

/// Writes `text` without the quotes around it, so that texts can be joined.
pub(crate) fn inner(out: &mut Vec<u8>, text: &Text<'_>) {
    match text {
        Text::Raw(raw) => out.extend_from_slice(whole_surrogates(raw).as_bytes()),
        Text::Plain(plain) => escape(out, plain),
    }
}

/// Copies JSON text.
pub(crate) fn raw(out: &mut Vec<u8>, json: &str) {
    out.extend_from_slice(whole_surrogates(json).as_bytes());
}

/// Writes an unsigned number.
pub(crate) fn number(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Escapes `text` for the inside of a JSON string.
pub(crate) fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (i, b) in bytes.iter().enumerate() {
        if !matches!(b, b'"' | b'\\' | 0..=0x1f) {
            continue;
        }
        out.extend_from_slice(bytes.get(from..i).unwrap_or_default());
        escape_byte(out, *b);
        from = i + 1;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

fn escape_byte(out: &mut Vec<u8>, b: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match b {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(if b < 0x10 { b"\\u000" } else { b"\\u001" });
            out.extend(HEX.get(usize::from(b & 15)));
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

// === impl Object ===

impl<'o> Object<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Object { out, first: true }
    }

    /// Writes `name` (plain ASCII of our own) and gives the buffer for its value.
    pub(crate) fn key(&mut self, name: &'static str) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn str(&mut self, name: &'static str, value: &str) -> &mut Self {
        let out = self.key(name);
        out.push(b'"');
        escape(out, value);
        out.push(b'"');
        self
    }

    pub(crate) fn text(&mut self, name: &'static str, value: &Text<'_>) -> &mut Self {
        string(self.key(name), value);
        self
    }

    pub(crate) fn raw(&mut self, name: &'static str, json: &str) -> &mut Self {
        raw(self.key(name), json);
        self
    }

    pub(crate) fn bool(&mut self, name: &'static str, value: bool) -> &mut Self {
        self.key(name).extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    pub(crate) fn number(&mut self, name: &'static str, n: u64) -> &mut Self {
        number(self.key(name), n);
        self
    }

    pub(crate) fn object(&mut self, name: &'static str) -> Object<'_> {
        Object::new(self.key(name))
    }

    pub(crate) fn array(&mut self, name: &'static str) -> Array<'_> {
        Array::new(self.key(name))
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

// === impl Array ===

impl<'o> Array<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        out.push(b'[');
        Array { out, first: true }
    }

    /// Gives the buffer for the next item.
    pub(crate) fn item(&mut self) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out
    }

    pub(crate) fn object(&mut self) -> Object<'_> {
        Object::new(self.item())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first
    }

    pub(crate) fn end(self) {
        self.out.push(b']');
    }
}
