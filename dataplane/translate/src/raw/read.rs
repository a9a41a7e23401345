//! A lazy reader: walks the fields and items of a body that [`super::scan::document`] has passed, copying nothing.

use super::{Scanner, Text, text::unescape};
use std::borrow::Cow;

/// One value, as the slice of the body where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value<'a>(&'a str);

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
    scanner: Option<Scanner<'a>>,
}

/// The items of an array, in order; empty for any other kind.
#[derive(Debug)]
pub(crate) struct Items<'a> {
    text: &'a str,
    scanner: Option<Scanner<'a>>,
}

// === impl Value ===

impl<'a> Value<'a> {
    /// `text`: one valid JSON value, white space around it allowed.
    pub(crate) fn new(text: &'a str) -> Self {
        Value(text.trim_matches([' ', '\n', '\r', '\t']))
    }

    /// The value as it stands in the body.
    pub(crate) fn raw(self) -> &'a str {
        self.0
    }

    pub(crate) fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
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
        self.0.strip_prefix('"')?.strip_suffix('"').map(Text::Raw)
    }

    /// The string's characters.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        self.text().map(Text::into_plain)
    }

    pub(crate) fn bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    pub(crate) fn u64(self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// Any number; only to compare with bounds (money and tokens are never floats).
    pub(crate) fn f64(self) -> Option<f64> {
        if self.kind() == Kind::Number { self.0.parse().ok() } else { None }
    }

    pub(crate) fn fields(self) -> Fields<'a> {
        let mut scanner = Scanner::new(self.0.as_bytes());
        let entered = self.kind() == Kind::Object && scanner.enter_object().unwrap_or(false);
        Fields { text: self.0, scanner: entered.then_some(scanner) }
    }

    pub(crate) fn items(self) -> Items<'a> {
        let mut scanner = Scanner::new(self.0.as_bytes());
        let entered = self.kind() == Kind::Array && scanner.enter_array().unwrap_or(false);
        Items { text: self.0, scanner: entered.then_some(scanner) }
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
        Some((unescape(self.text.get(key)?), Value(self.text.get(value)?)))
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
        Some(Value(self.text.get(value)?))
    }
}
