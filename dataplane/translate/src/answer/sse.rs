//! Server-sent events, as the WHATWG HTML standard (§9.2) frames them: an incremental decoder, and a few encoder helpers.
//!
//! The decoder takes bytes in any pieces. A block (all lines up to and with a blank line) that lies whole inside a piece is
//! borrowed from it; only a block that is split between pieces is copied, once.

#[cfg(test)]
mod tests;

use memchr::{memchr, memchr2};

/// The most bytes that one event may have, its line ends included.
pub const MAX_EVENT: usize = 16 << 20;

/// What may lead a stream and means nothing.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One block of a stream: what stands between two blank lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The block's bytes as they came, the blank line included. All frames' `raw` together are the stream.
    pub raw: &'a [u8],
    /// The value of the last `event:` field; empty when there is none.
    pub name: &'a [u8],
    /// The values of all `data:` fields, joined by a line feed; `None` when the block has none (a comment, a blank line).
    pub data: Option<&'a [u8]>,
    /// True for a part of an event above the size limit: `raw` is a piece of it, `name` and `data` are empty.
    pub oversize: bool,
}

/// Finds frames in pieces of a stream.
#[derive(Debug)]
pub struct Decoder {
    /// The bytes of a block whose end has not come yet.
    carry: Vec<u8>,
    /// Where several `data:` lines are joined.
    joined: Vec<u8>,
    /// No byte of the current line has come yet.
    line_empty: bool,
    /// The last byte was a CR that ended a line: an LF that follows belongs to it.
    after_cr: bool,
    /// The first block has not been seen yet: a byte order mark may lead it.
    first: bool,
    /// Inside an event above the limit, whose rest is passed on unread.
    skipping: bool,
    limit: usize,
}

// === impl Decoder ===

impl Default for Decoder {
    fn default() -> Self {
        Decoder::with_limit(MAX_EVENT)
    }
}

impl Decoder {
    /// A decoder with another limit than [`MAX_EVENT`], in bytes.
    pub fn with_limit(limit: usize) -> Self {
        Decoder {
            carry: Vec::new(),
            joined: Vec::new(),
            line_empty: true,
            after_cr: false,
            first: true,
            skipping: false,
            limit,
        }
    }

    /// Takes the next piece; `on` gets each block that it completes.
    pub fn feed(&mut self, mut piece: &[u8], mut on: impl FnMut(Frame<'_>)) {
        while !piece.is_empty() {
            let Some(end) = self.block_end(piece) else {
                self.keep(piece, &mut on);
                return;
            };
            let (block, rest) = piece.split_at(end);
            piece = rest;
            self.complete(block, &mut on);
        }
    }

    /// The stream ended: `on` gets a last block that lacks its blank line. The standard discards such a block; providers'
    /// servers do leave out the last line end, and the caller knows whether a cut-off block makes sense.
    pub fn end(&mut self, mut on: impl FnMut(Frame<'_>)) {
        if !self.carry.is_empty() {
            self.complete(&[], &mut on);
        }
    }

    /// Whether the stream stands between two events: nothing of a next one has come.
    pub fn at_boundary(&self) -> bool {
        self.carry.is_empty() && !self.skipping
    }

    /// The bytes of an event that is not complete yet.
    pub fn pending(&self) -> &[u8] {
        &self.carry
    }

    /// What must be written after the bytes seen so far, so that an event written next is read as one of its own.
    ///
    /// A pending block without data needs no blank line (an `event:` field is overridden by the next one); that spares
    /// clients an event without data, which some cannot read.
    pub fn closing(&self) -> &'static [u8] {
        if self.at_boundary() {
            b""
        } else if self.skipping || lines(self.text(&self.carry)).any(|line| line.starts_with(b"data")) {
            // After a lone CR the first LF may be read as a part of that line end.
            if self.line_empty && !self.after_cr { b"\n" } else { b"\n\n" }
        } else if self.line_empty {
            b""
        } else {
            b"\n"
        }
    }

    /// A block without the byte order mark that may lead the stream.
    fn text<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        if self.first { block.strip_prefix(BYTE_ORDER_MARK).unwrap_or(block) } else { block }
    }

    /// Where the current block ends in `bytes`: just after its blank line.
    fn block_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        if std::mem::take(&mut self.after_cr) && bytes.first() == Some(&b'\n') {
            at = 1;
            if self.carry.is_empty() && !self.skipping {
                return Some(1); // the second half of a blank line that ended the block before
            }
        }
        loop {
            let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'\n', b'\r', rest)) else {
                self.line_empty &= at >= bytes.len();
                return None;
            };
            let blank = found == 0 && self.line_empty;
            let cr = bytes.get(at + found) == Some(&b'\r');
            at += found + 1;
            if cr {
                match bytes.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            self.line_empty = true;
            if blank {
                return Some(at);
            }
        }
    }

    /// Keeps the start of a block, or passes it on unread when it is above the limit.
    fn keep(&mut self, piece: &[u8], on: &mut impl FnMut(Frame<'_>)) {
        if !self.skipping && self.carry.len() + piece.len() <= self.limit {
            self.carry.extend_from_slice(piece);
            return;
        }
        self.skipping = true;
        if !self.carry.is_empty() {
            on(Frame::oversize(&std::mem::take(&mut self.carry)));
        }
        on(Frame::oversize(piece));
    }

    /// Hands out the block of which `rest` is the last part.
    fn complete(&mut self, rest: &[u8], on: &mut impl FnMut(Frame<'_>)) {
        if self.skipping || self.carry.len() + rest.len() > self.limit {
            self.keep(rest, on);
            self.skipping = false;
            return;
        }
        if self.carry.is_empty() {
            let text = self.text(rest);
            on(parse(rest, text, &mut self.joined));
        } else {
            let mut block = std::mem::take(&mut self.carry);
            block.extend_from_slice(rest);
            let text = self.text(&block);
            on(parse(&block, text, &mut self.joined));
            block.clear();
            self.carry = block;
        }
        self.first = false;
    }
}

// === impl Frame ===

impl<'a> Frame<'a> {
    fn oversize(raw: &'a [u8]) -> Self {
        Frame { raw, name: b"", data: None, oversize: true }
    }
}

/// Reads the fields of a block; `text` is `raw` without a byte order mark.
fn parse<'a>(raw: &'a [u8], text: &'a [u8], joined: &'a mut Vec<u8>) -> Frame<'a> {
    let mut name: &[u8] = b"";
    let mut data: Option<&[u8]> = None;
    let mut several = false;
    joined.clear();
    for line in lines(text) {
        let (field, value) = field(line);
        match (field, data) {
            (b"event", _) => name = value,
            (b"data", None) => data = Some(value),
            (b"data", Some(before)) => {
                if !several {
                    joined.extend_from_slice(before);
                    several = true;
                }
                joined.push(b'\n');
                joined.extend_from_slice(value);
            }
            _ => {} // `id`, `retry`, comments and unknown fields mean nothing to us
        }
    }
    let data = if several { Some(joined.as_slice()) } else { data };
    Frame { raw, name, data, oversize: false }
}

/// The lines of a block without their ends; a CR LF gives an empty line more, which is no field.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        rest = tail.get(1..).unwrap_or_default();
        Some(line)
    })
}

/// A line's field and value: one space after the colon does not belong to the value.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(colon) = memchr(b':', line) else { return (line, b"") };
    let (name, rest) = line.split_at(colon);
    let value = rest.get(1..).unwrap_or_default();
    (name, value.strip_prefix(b" ").unwrap_or(value))
}

/// Starts a named event; its data, on one line, is written by the caller, then [`finish`].
pub fn named(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
}

/// Starts an event without a name.
pub fn data(out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
}

/// Ends an event.
pub fn finish(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\n\n");
}
