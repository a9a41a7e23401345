//! Strings that stay as the client escaped them, until somebody must look inside.

use std::borrow::Cow;

/// A string of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text<'a> {
    /// The inside of a JSON string literal, still escaped.
    Raw(&'a str),
    /// Plain text of our own making.
    Plain(Cow<'a, str>),
}

/// Unescapes the inside of a JSON string literal. Half a surrogate pair becomes U+FFFD.
pub(crate) fn unescape(raw: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', raw.as_bytes()) else { return Cow::Borrowed(raw) };
    let mut out = String::with_capacity(raw.len());
    let (head, mut rest) = raw.split_at_checked(first).unwrap_or((raw, ""));
    out.push_str(head);
    while let Some(escape) = rest.strip_prefix('\\') {
        let (found, tail) = unescape_one(escape);
        out.push(found);
        let plain = memchr::memchr(b'\\', tail.as_bytes()).unwrap_or(tail.len());
        let (head, next) = tail.split_at_checked(plain).unwrap_or((tail, ""));
        out.push_str(head);
        rest = next;
    }
    Cow::Owned(out)
}

/// One escape without its backslash: the character and what follows it.
fn unescape_one(escape: &str) -> (char, &str) {
    let mut chars = escape.chars();
    let found = match chars.next() {
        Some('n') => '\n',
        Some('t') => '\t',
        Some('r') => '\r',
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('u') => return unescape_unicode(chars.as_str()),
        Some(other) => other,
        None => char::REPLACEMENT_CHARACTER,
    };
    (found, chars.as_str())
}

fn unescape_unicode(hex: &str) -> (char, &str) {
    let Some((high, rest)) = four_hex(hex) else { return (char::REPLACEMENT_CHARACTER, hex) };
    if let (0xD800..0xDC00, Some((low @ 0xDC00..0xE000, tail))) =
        (high, rest.strip_prefix("\\u").and_then(four_hex))
    {
        let code = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), tail);
    }
    (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), rest)
}

fn four_hex(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

/// JSON text with every half of a surrogate pair replaced by `\ufffd`: strict parsers refuse the whole body otherwise.
pub(crate) fn whole_surrogates(json: &str) -> Cow<'_, str> {
    if !memchr::memmem::find_iter(json.as_bytes(), b"\\u").any(|i| is_surrogate(json, i)) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(i) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (head, tail) = rest.split_at_checked(i).unwrap_or((rest, ""));
        out.push_str(head);
        let (piece, next) = one_escape(tail);
        out.push_str(piece);
        rest = next;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn is_surrogate(json: &str, at: usize) -> bool {
    json.as_bytes().get(at + 2).is_some_and(|b| b.eq_ignore_ascii_case(&b'd'))
}

/// The escape (or proper pair) that `tail` starts with, made whole, and the rest.
fn one_escape(tail: &str) -> (&str, &str) {
    let code = |t: &str| t.strip_prefix("\\u").and_then(four_hex).map(|(code, _)| code);
    let (len, whole) = match code(tail) {
        Some(0xD800..0xDC00) => match tail.get(6..).and_then(code) {
            Some(0xDC00..0xE000) => (12, true),
            _ => (6, false),
        },
        Some(0xDC00..0xE000) => (6, false),
        Some(_) => (6, true),
        None => (2, true),
    };
    let (escape, rest) = tail.split_at_checked(len).unwrap_or((tail, ""));
    (if whole { escape } else { "\\ufffd" }, rest)
}

// === impl Text ===

impl<'a> Text<'a> {
    /// The characters.
    pub(crate) fn plain(&self) -> Cow<'_, str> {
        match self {
            Text::Raw(raw) => unescape(raw),
            Text::Plain(text) => Cow::Borrowed(text),
        }
    }

    /// The characters, for as long as the body lives.
    pub(crate) fn into_plain(self) -> Cow<'a, str> {
        match self {
            Text::Raw(raw) => unescape(raw),
            Text::Plain(text) => text,
        }
    }

    /// No characters at all.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Text::Raw(raw) => raw.is_empty(),
            Text::Plain(text) => text.is_empty(),
        }
    }

    /// Nothing but white space.
    pub(crate) fn is_blank(&self) -> bool {
        match self {
            // A long text with a visible first character is the rule: do not unescape it to find out.
            Text::Raw(raw) => match raw.as_bytes().first() {
                None => true,
                Some(b'\\' | b' ') => unescape(raw).trim().is_empty(),
                Some(b) if b.is_ascii() => false,
                Some(_) => raw.trim().is_empty(),
            },
            Text::Plain(text) => text.trim().is_empty(),
        }
    }

    /// Whether the text begins with `prefix`.
    pub(crate) fn starts_with(&self, prefix: &str) -> bool {
        match self {
            Text::Raw(raw) if !raw.starts_with('\\') => {
                raw.starts_with(prefix) || (raw.contains('\\') && unescape(raw).starts_with(prefix))
            }
            other => other.plain().starts_with(prefix),
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Text::Plain(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text::Plain(Cow::Owned(text))
    }
}
