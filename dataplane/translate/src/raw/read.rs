//! A lazy reader: walks the fields and items of a body that [`super::scan::document`] has passed, copying nothing.

use super::{Index, Scanner, Text, text::unescape};
use std::borrow::Cow;

/// One value, as the slice of the body where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    text: &'a str,
    index: Option<&'a Index>,
}

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// The members of an object, in order; empty for any other kind.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    text: &'a str,
    index: Option<&'a Index>,
    scanner: Option<Scanner<'a>>,
}

/// The items of an array, in order; empty for any other kind.
#[derive(Debug)]
pub(crate) struct Items<'a> {
    text: &'a str,
    index: Option<&'a Index>,
    scanner: Option<Scanner<'a>>,
}

// === impl Value ===

impl<'a> Value<'a> {
    /// `text`: one valid JSON value, white space around it allowed.
    pub(crate) fn new(text: &'a str) -> Self {
        Value { text: text.trim_matches([' ', '\n', '\r', '\t']), index: None }
    }

    /// The same value, read with the help of its document's index.
    pub(crate) fn with_index(self, index: &'a Index) -> Self {
        Value { index: Some(index), ..self }
    }

    fn scanner(self) -> Scanner<'a> {
        match self.index {
            Some(index) => Scanner::with_index(self.text.as_bytes(), index),
            None => Scanner::new(self.text.as_bytes()),
        }
    }

    /// The value as it stands in the body.
    pub(crate) fn raw(self) -> &'a str {
        self.text
    }

    pub(crate) fn kind(self) -> Kind {
        match self.text.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            _ => Kind::Null,
        }
    }

    pub(crate) fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// The string, still escaped.
    pub(crate) fn text(self) -> Option<Text<'a>> {
        self.text.strip_prefix('"')?.strip_suffix('"').map(Text::Raw)
    }

    /// The string's characters.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        self.text().map(Text::into_plain)
    }

    pub(crate) fn bool(self) -> Option<bool> {
        match self.text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    pub(crate) fn u64(self) -> Option<u64> {
        self.text.parse().ok()
    }

    /// Any number; only to compare with bounds (money and tokens are never floats).
    pub(crate) fn f64(self) -> Option<f64> {
        if self.kind() == Kind::Number { self.text.parse().ok() } else { None }
    }

    pub(crate) fn fields(self) -> Fields<'a> {
        let mut scanner = self.scanner();
        let entered = self.kind() == Kind::Object && scanner.enter_object().unwrap_or(false);
        Fields { text: self.text, index: self.index, scanner: entered.then_some(scanner) }
    }

    pub(crate) fn items(self) -> Items<'a> {
        let mut scanner = self.scanner();
        let entered = self.kind() == Kind::Array && scanner.enter_array().unwrap_or(false);
        Items { text: self.text, index: self.index, scanner: entered.then_some(scanner) }
    }

    /// The field `name` of an object; the last one counts, as in most parsers.
    pub(crate) fn get(self, name: &str) -> Option<Value<'a>> {
        self.fields().filter(|(key, _)| key == name).last().map(|(_, value)| value)
    }

    /// `type` of a block.
    pub(crate) fn type_name(self) -> Cow<'a, str> {
        self.get("type").and_then(Value::string).unwrap_or_default()
    }
}

// === impl Fields ===

impl<'a> Iterator for Fields<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let scanner = self.scanner.as_mut()?;
        let key = scanner.key().ok()?;
        let value = scanner.span().ok()?;
        if !scanner.next_member().unwrap_or(false) {
            self.scanner = None;
        }
        Some((unescape(self.text.get(key)?), Value { text: self.text.get(value)?, index: self.index }))
    }
}

// === impl Items ===

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let scanner = self.scanner.as_mut()?;
        let value = scanner.span().ok()?;
        if !scanner.next_item().unwrap_or(false) {
            self.scanner = None;
        }
        Some(Value { text: self.text.get(value)?, index: self.index })
    }
}
