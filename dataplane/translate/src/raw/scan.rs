//! A strict JSON scanner (RFC 8259): checks the grammar and finds where values stand, in one pass, without recursion.

use super::index::Index;
use std::ops::Range;

/// The deepest nesting of arrays and objects that is accepted.
pub(crate) const MAX_DEPTH: u32 = 128;

/// Where and how a body is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request body is not valid JSON: {what} at byte {at}")]
pub(crate) struct Fault {
    /// What is wrong.
    pub(crate) what: &'static str,
    /// The byte where it was seen.
    pub(crate) at: usize,
}

/// A cursor over bytes that were checked to be UTF-8 (the scanner itself looks at ASCII only).
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Containers open around the cursor.
    depth: u32,
    /// Where strings of [`LONG`] bytes and more stand that were passed over.
    long: Vec<Range<usize>>,
    /// Known ends of values, so that they need not be scanned again.
    index: Option<&'a Index>,
}

/// From this length on a string may be an inline image.
const LONG: usize = 4096;

/// Checks a whole document: UTF-8, one value, nothing after it.
pub(crate) fn document(body: &[u8]) -> Result<&str, Fault> {
    let text = utf8(body)?;
    let mut scanner = Scanner::new(body);
    scanner.skip()?;
    scanner.finish()?;
    Ok(text)
}

/// Checks a whole document as [`document`] does, and notes where its larger values end.
pub(crate) fn document_with_index(body: &[u8]) -> Result<(&str, Index), Fault> {
    let text = utf8(body)?;
    let mut scanner = Scanner::new(body);
    let mut index = Index::new(body);
    scanner.skip_noting(&mut index)?;
    scanner.finish()?;
    Ok((text, index))
}

/// The body as text.
pub(crate) fn utf8(body: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(body).map_err(|e| Fault { what: "invalid UTF-8", at: e.valid_up_to() })
}

/// Who is told of the values that are passed over.
pub(super) trait Notes {
    /// A string with this span inside its quotes.
    fn string(&mut self, inner: &Range<usize>);
    /// A container that is not empty begins.
    fn open(&mut self, start: usize);
    /// The innermost container has ended.
    fn close(&mut self, end: usize);
}

/// Nobody.
struct NoIndex;

// === impl NoIndex ===

impl Notes for NoIndex {
    fn string(&mut self, _: &Range<usize>) {}
    fn open(&mut self, _: usize) {}
    fn close(&mut self, _: usize) {}
}

// === impl Scanner ===

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Scanner { bytes, at: 0, depth: 0, long: Vec::new(), index: None }
    }

    /// A scanner over a part of a document whose index is known.
    pub(crate) fn with_index(bytes: &'a [u8], index: &'a Index) -> Self {
        Scanner { index: Some(index), ..Scanner::new(bytes) }
    }

    /// The spans inside the quotes of long strings that [`Scanner::skip`] passed.
    pub(crate) fn long_strings(&self) -> &[Range<usize>] {
        &self.long
    }

    /// The next byte that is not white space, not consumed.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn fault<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault { what: if self.at >= self.bytes.len() { "unexpected end" } else { what }, at: self.at })
    }

    /// Nothing but white space may follow.
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.fault("more than one value"),
        }
    }

    /// Enters the object at the cursor. False: it is empty and already left.
    pub(crate) fn enter_object(&mut self) -> Result<bool, Fault> {
        self.enter(b'{', b'}')
    }

    /// Enters the array at the cursor. False: it is empty and already left.
    pub(crate) fn enter_array(&mut self) -> Result<bool, Fault> {
        self.enter(b'[', b']')
    }

    fn enter(&mut self, open: u8, close: u8) -> Result<bool, Fault> {
        if self.peek() != Some(open) {
            return self.fault("unexpected character");
        }
        if self.depth >= MAX_DEPTH {
            return Err(Fault { what: "nested deeper than 128 levels", at: self.at });
        }
        self.at += 1;
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        self.depth += 1;
        Ok(true)
    }

    /// After a member of an object: true when another follows, false when the object was left.
    pub(crate) fn next_member(&mut self) -> Result<bool, Fault> {
        self.next(b'}', "expected , or } ")
    }

    /// After an item of an array: true when another follows, false when the array was left.
    pub(crate) fn next_item(&mut self) -> Result<bool, Fault> {
        self.next(b']', "expected , or ] ")
    }

    fn next(&mut self, close: u8, what: &'static str) -> Result<bool, Fault> {
        let found = self.peek();
        if found == Some(b',') {
            self.at += 1;
            Ok(true)
        } else if found == Some(close) {
            self.at += 1;
            self.depth = self.depth.saturating_sub(1);
            Ok(false)
        } else {
            self.fault(what.trim_end())
        }
    }

    /// Reads a member's key and its colon; returns the key's span inside the quotes.
    pub(crate) fn key(&mut self) -> Result<Range<usize>, Fault> {
        if self.peek() != Some(b'"') {
            return self.fault("expected a key");
        }
        let key = self.string()?;
        if self.peek() != Some(b':') {
            return self.fault("expected a colon");
        }
        self.at += 1;
        Ok(key)
    }

    /// Passes over one value; returns its span.
    pub(crate) fn span(&mut self) -> Result<Range<usize>, Fault> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(start..self.at)
    }

    /// Passes over one value, checking it, without recursion: one bit per open container says which kind it is.
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        if let (Some(index), Some(b'{' | b'[' | b'"')) = (self.index, self.peek())
            && let Some(len) = self.bytes.get(self.at..).and_then(|rest| index.len_at(rest))
        {
            self.at += len;
            return Ok(());
        }
        self.skip_noting(&mut NoIndex)
    }

    fn skip_noting(&mut self, notes: &mut impl Notes) -> Result<(), Fault> {
        let mut objects: u128 = 0;
        let base = self.depth;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let span = self.string()?;
                    notes.string(&span);
                    if span.len() >= LONG {
                        self.long.push(span);
                    }
                }
                Some(b'{') => {
                    let start = self.at;
                    if self.enter_object()? {
                        notes.open(start);
                        objects = objects << 1 | 1;
                        self.key()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    let start = self.at;
                    if self.enter_array()? {
                        notes.open(start);
                        objects <<= 1;
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                _ => return self.fault("expected a value"),
            }
            loop {
                if self.depth == base {
                    return Ok(());
                }
                if objects & 1 == 1 {
                    if self.next_member()? {
                        self.key()?;
                        break;
                    }
                } else if self.next_item()? {
                    break;
                }
                notes.close(self.at);
                objects >>= 1;
            }
        }
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            Ok(())
        } else {
            self.fault("unknown literal")
        }
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { self.fault("expected a digit") } else { Ok(()) }
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Reads the string at the cursor; returns its span inside the quotes.
    pub(crate) fn string(&mut self) -> Result<Range<usize>, Fault> {
        self.at += 1;
        let start = self.at;
        loop {
            self.plain_run();
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(start..self.at - 1);
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return self.fault("control character in a string"),
                None => return self.fault("unterminated string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        match self.bytes.get(self.at + 1) {
            Some(b'n' | b'"' | b'\\' | b't' | b'/' | b'r' | b'b' | b'f') => self.at += 2,
            Some(b'u') => {
                // Half a surrogate pair passes: JavaScript clients send such when they cut a text inside an emoji.
                let hex = self.bytes.get(self.at + 2..self.at + 6);
                if !hex.is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit)) {
                    return self.fault("broken \\u escape");
                }
                self.at += 6;
            }
            _ => return self.fault("unknown escape"),
        }
        Ok(())
    }

    /// Moves to the next quote, backslash or control character, eight bytes at a time.
    fn plain_run(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let zero = |w: u64| w.wrapping_sub(ONES) & !w;
        let Some(mut rest) = self.bytes.get(self.at..) else { return };
        while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
            let w = u64::from_le_bytes(*chunk);
            let control = w.wrapping_sub(ONES * 0x20) & !w;
            let found = (zero(w ^ (ONES * 0x22)) | zero(w ^ (ONES * 0x5c)) | control) & HIGH;
            if found != 0 {
                // Borrows make false hits only above a true one: the lowest is exact.
                self.at += (found.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
            rest = tail;
        }
        self.at += rest.iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)).count();
    }
}
