//! Token estimates without a tokenizer.

use super::RequestError;
use crate::Format;
use crate::raw::{Kind, Value, scan};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// What an image costs whose size cannot be read.
const IMAGE: u64 = 1_500;

/// A safe (never too low) estimate of a request's input tokens from its bytes alone, for holds: no tokenizer runs on the
/// hot path. Tokenizers of all providers work on bytes, so a text never has more tokens than bytes, and less will not do:
/// base64 has 1.5 bytes a token with o200k, a lock file 2.7, and Claude's newer tokenizers make 1.4 times as many tokens. The
/// constant covers what a provider adds on its own (the prompt for tool use). See
/// [`Head::input_tokens_upper`](crate::head::Head::input_tokens_upper) for bodies with images.
pub fn estimate_input_tokens_upper(body_len: usize) -> u64 {
    body_len as u64 + 512
}

/// The likely number of a request's input tokens, for rates: 3.6 bytes a token, what a Claude Code body comes to with o200k.
/// Prose is up to a third below it, code and JSON within a fifth, dense data (lock files, tables, base64) above; never for money.
pub fn estimate_input_tokens(body_len: usize) -> u64 {
    (body_len as u64).saturating_mul(10) / 36 + 1
}

/// The answer to `count_tokens` for providers without such an endpoint: parses the body, counts text by a calibrated
/// factor, images by size, tools with overhead; biased upward (Claude Code decides by it when to compact: too low is worse
/// than too high); monotone in content. Never fails on a well-formed body.
pub fn count_tokens(from: Format, body: &[u8]) -> Result<u64, RequestError> {
    let (text, index) = scan::document_with_index(body).map_err(|fault| RequestError(fault.to_string()))?;
    let root = Value::new(text).with_index(&index);
    if root.kind() != Kind::Object {
        return Err(RequestError("the request body must be a JSON object".into()));
    }
    let mut count = Count::default();
    for (key, value) in root.fields() {
        match key.as_ref() {
            "system" if from == Format::Messages => count.system(value),
            "messages" => count.messages(value),
            "tools" | "functions" => count.tools(value),
            "output_config" | "output_format" | "response_format" => count.value(value),
            _ => {}
        }
    }
    Ok(count.total())
}

/// Fifths of a token: finer than tokens, and whole numbers.
#[derive(Default)]
struct Count {
    fifths: u64,
    tools: u64,
}

// === impl Count ===

impl Count {
    fn total(&self) -> u64 {
        let tool_prompt = if self.tools > 0 { 350 } else { 0 };
        // Fifths to tokens, and a seventh on top.
        self.fifths.saturating_mul(23).div_ceil(100) + tool_prompt + self.tools * 8 + 8
    }

    fn add(&mut self, tokens: u64) {
        self.fifths = self.fifths.saturating_add(tokens.saturating_mul(5));
    }

    fn system(&mut self, value: Value<'_>) {
        self.value(value);
    }

    fn messages(&mut self, value: Value<'_>) {
        for message in value.items() {
            self.add(4);
            self.value(message);
        }
    }

    fn tools(&mut self, value: Value<'_>) {
        for tool in value.items() {
            self.tools += 1;
            self.value(tool);
        }
    }

    /// Counts all texts in a value. The depth of the recursion is bounded by the scanner's.
    fn value(&mut self, value: Value<'_>) {
        match value.kind() {
            Kind::String => self.text(value.raw()),
            Kind::Number => self.fifths += value.raw().len() as u64 * 2,
            Kind::Bool | Kind::Null => self.fifths += 5,
            Kind::Array => value.items().for_each(|item| self.value(item)),
            Kind::Object => self.object(value),
        }
    }

    fn object(&mut self, object: Value<'_>) {
        if self.is_media(object) {
            return;
        }
        for (key, value) in object.fields() {
            match key.as_ref() {
                // Opaque state and bookkeeping: the model does not read it.
                "cache_control" | "signature" | "data" | "id" | "tool_use_id" | "tool_call_id"
                | "is_error" => {}
                "type" if value.kind() == Kind::String => self.fifths += 5,
                _ => {
                    self.text(&key);
                    self.fifths += 5;
                    self.value(value);
                }
            }
        }
    }

    /// Counts an image or document as such; false: `object` is none.
    fn is_media(&mut self, object: Value<'_>) -> bool {
        match object.type_name().as_ref() {
            "image" => self.add(object.get("source").map_or(IMAGE, image)),
            "image_url" => self.add(IMAGE),
            "document" | "file" => {
                let source = object.get("source").or_else(|| object.get("file"));
                let Some(source) = source else { return false };
                if matches!(source.type_name().as_ref(), "text" | "content") {
                    source.fields().for_each(|(_, part)| self.value(part));
                } else {
                    // A page is about 2,000 tokens and, compressed, rarely under 15 kB with its fonts.
                    self.add(2_000 * (source.raw().len() as u64 / 20_000 + 1));
                }
            }
            _ => return false,
        }
        true
    }

    /// Counts a text by runs of characters of one kind. Escapes count as the character they stand for.
    fn text(&mut self, raw: &str) {
        let mut chars = raw.trim_matches('"').chars();
        let mut run = Run::None;
        let mut len = 0u64;
        while let Some(mut c) = chars.next() {
            if c == '\\' {
                c = escaped(&mut chars);
            }
            let kind = Run::of(c);
            if kind != run {
                // A capital belongs to the word that it begins.
                len = u64::from(run == Run::Upper && kind == Run::Lower);
                run = kind;
            }
            len += 1;
            self.fifths += run.fifths(len);
        }
    }
}

/// The character that an escape stands for, near enough to count it.
fn escaped(chars: &mut std::str::Chars<'_>) -> char {
    match chars.next() {
        Some('n' | 'r' | 't') => '\n',
        Some('u') => {
            chars.by_ref().take(4).for_each(drop);
            '\u{fffd}'
        }
        Some(other) => other,
        None => ' ',
    }
}

/// A run of characters of one kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    None,
    Lower,
    Upper,
    Digits,
    Space,
    Break,
    Sign,
    Other,
}

// === impl Run ===

impl Run {
    fn of(c: char) -> Run {
        match c {
            'a'..='z' => Run::Lower,
            'A'..='Z' => Run::Upper,
            '0'..='9' => Run::Digits,
            ' ' => Run::Space,
            '\n' => Run::Break,
            c if c.is_ascii() => Run::Sign,
            _ => Run::Other,
        }
    }

    /// What the `n`th character of a run adds, in fifths of a token. Never negative: more text is never fewer tokens. The numbers
    /// are fitted to o200k on prose, Markdown, Rust, Python, JSON, a lock file, Chinese and UUIDs: 0.96 to 1.23 of its count,
    /// before the margin that [`Count::total`] adds. Base64 among the text is the exception (0.73).
    fn fifths(self, n: u64) -> u64 {
        // The first of a run, then each further so many characters.
        let (first, again, every) = match self {
            Run::None => (0, 0, 1),
            Run::Lower => (5, 5, 8),
            Run::Upper => (5, 5, 3),
            Run::Digits => (5, 5, 3),
            // One space belongs to the word after it; indentation is a token.
            Run::Space => (0, 4, 16),
            Run::Break => (4, 1, 1),
            Run::Sign => (4, 3, 1),
            Run::Other => (4, 4, 1),
        };
        match n {
            1 => first,
            2 if self == Run::Space => again,
            n if (n - 1).is_multiple_of(every) => again,
            _ => 0,
        }
    }
}

/// Width × height / 750 where the header can be read, at most 1,600 (Anthropic's rule).
fn image(source: Value<'_>) -> u64 {
    let Some(data) = source.get("data").and_then(Value::string) else { return IMAGE };
    let head = data.get(..data.len().min(64) / 4 * 4).unwrap_or_default();
    let bytes = BASE64_STANDARD.decode(head).unwrap_or_default();
    match dimensions(&bytes) {
        Some((width, height)) => (u64::from(width) * u64::from(height) / 750).clamp(1, 1_600),
        None => IMAGE,
    }
}

/// The size of a PNG or GIF from its first bytes.
fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    let be = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk::<4>()?));
    let le = |at: usize| Some(u32::from(u16::from_le_bytes(*bytes.get(at..)?.first_chunk::<2>()?)));
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some((be(16)?, be(20)?))
    } else if bytes.starts_with(b"GIF8") {
        Some((le(6)?, le(8)?))
    } else {
        None
    }
}
