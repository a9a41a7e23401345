//! The scan.

use super::{BadBody, Head, Images, OutputCap};
use crate::Format;
use crate::raw::{Kind, Scanner, Value, scan, text::unescape};
use memchr::memmem;
use std::borrow::Cow;
use std::ops::Range;

/// Fields by which a request is routed and paid for. Some servers match keys without regard to case (Go's `encoding/json`),
/// so another spelling of these could make an upstream see something else than the gateway did.
const DECISIVE: [&str; 9] = [
    "model",
    "max_tokens",
    "max_completion_tokens",
    "stream",
    "stream_options",
    "n",
    "service_tier",
    "speed",
    "inference_geo",
];

/// How many web searches are taken for possible where the tool sets no `max_uses`.
const WEB_SEARCHES: u64 = 16;

/// What the scan has found so far.
struct Peek<'a> {
    format: Format,
    text: &'a str,
    keys: Vec<Cow<'a, str>>,
    model: Option<Range<usize>>,
    cap: Option<Cap>,
    completion_cap: Option<Cap>,
    user: Option<&'a str>,
    safety_identifier: Option<&'a str>,
    head: Head,
}

/// A cap field: its span, and its number unless it is `null`.
struct Cap {
    tokens: Option<u64>,
    span: Range<usize>,
}

/// Reads the head of `body`. Errors name the field: not JSON, not an object, `model` missing or not a string, depth over 128.
/// The whole body is checked to be well-formed JSON; duplicates of a top-level key are refused (they mean different things
/// to different parsers, and would let a request pass under another model's name), and so are other spellings
/// (`Model`) of the fields that decide on route and price.
pub fn peek(format: Format, body: &[u8]) -> Result<Head, BadBody> {
    let text = scan::utf8(body)?;
    let mut peek = Peek::new(format, text);
    let mut scanner = Scanner::new(body);
    if !matches!(scanner.peek(), Some(b'{') | None) {
        return Err(BadBody("the request body must be a JSON object".into()));
    }
    let mut more = scanner.enter_object()?;
    peek.head.insert_at = memchr::memchr(b'{', body).map_or(0, |at| at + 1);
    while more {
        peek.field(&mut scanner)?;
        more = scanner.next_member()?;
    }
    scanner.finish()?;
    peek.finish(&scanner)
}

// === impl Peek ===

impl<'a> Peek<'a> {
    fn new(format: Format, text: &'a str) -> Self {
        let head = Head {
            model: String::new(),
            model_span: 0..0,
            stream: false,
            output_cap: None,
            shadow_cap: None,
            null_cap_span: None,
            thinking_budget: None,
            include_usage: false,
            stream_options_span: None,
            tools: 0,
            user: None,
            choices: 1,
            insert_at: 0,
            images: Images::default(),
            foreign_reasoning: false,
            modes: Vec::new(),
            web_searches: 0,
        };
        let keys = Vec::with_capacity(24);
        Peek {
            format,
            text,
            keys,
            model: None,
            cap: None,
            completion_cap: None,
            user: None,
            safety_identifier: None,
            head,
        }
    }

    fn slice(&self, span: &Range<usize>) -> &'a str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// One top-level member, the cursor at its key.
    fn field(&mut self, scanner: &mut Scanner<'a>) -> Result<(), BadBody> {
        let key = unescape(self.slice(&scanner.key()?));
        let chat = self.format == Format::Chat;
        if key == "tools" || (chat && key == "functions") {
            self.tools(scanner)?;
        } else {
            let span = scanner.span()?;
            let value = Value::new(self.slice(&span));
            match key.as_ref() {
                "model" => self.model = Some(span),
                "stream" => self.head.stream = flag(&key, value)?,
                "max_tokens" => self.cap = Some(cap(&key, value, span)?),
                "max_completion_tokens" if chat => self.completion_cap = Some(cap(&key, value, span)?),
                "n" if chat => self.head.choices = whole(&key, value)?.unwrap_or(1).max(1),
                "stream_options" if chat => self.stream_options(value, span)?,
                "user" if chat => self.user = string(value),
                "safety_identifier" if chat => self.safety_identifier = string(value),
                "service_tier" | "speed" | "inference_geo" => {
                    self.head.modes.extend(value.string().filter(|mode| mode.len() <= 32).map(Box::from));
                }
                "metadata" if !chat => self.user = value.get("user_id").and_then(string),
                "thinking" if !chat => {
                    self.head.thinking_budget = value.get("budget_tokens").and_then(Value::u64);
                }
                other => decisive(other)?,
            }
        }
        self.keys.push(key);
        Ok(())
    }

    /// Counts the tools of the array at the cursor (none for any other value), and the web searches they allow.
    fn tools(&mut self, scanner: &mut Scanner<'a>) -> Result<(), BadBody> {
        if scanner.peek() != Some(b'[') {
            return Ok(scanner.skip()?);
        }
        let mut more = scanner.enter_array()?;
        while more {
            let tool = self.slice(&scanner.span()?);
            self.head.tools += 1;
            if self.format == Format::Messages && memmem::find(tool.as_bytes(), b"web_search").is_some() {
                let searches = web_searches(Value::new(tool));
                self.head.web_searches = self.head.web_searches.saturating_add(searches);
            }
            more = scanner.next_item()?;
        }
        Ok(())
    }

    fn stream_options(&mut self, value: Value<'a>, span: Range<usize>) -> Result<(), BadBody> {
        self.head.include_usage = match value.get("include_usage") {
            Some(asked) => flag("stream_options.include_usage", asked)?,
            None => false,
        };
        self.head.stream_options_span = Some(span);
        Ok(())
    }

    /// Judges what was found.
    fn finish(mut self, scanner: &Scanner<'a>) -> Result<Head, BadBody> {
        self.no_duplicates()?;
        self.caps();
        let span = self.model.clone().ok_or_else(|| {
            BadBody("`model` is missing from the request body: send the model's name as a string".into())
        })?;
        let model = Value::new(self.slice(&span));
        self.head.model = match model.string() {
            Some(name) if !name.trim().is_empty() => name.into_owned(),
            Some(_) => return Err(BadBody("`model` is empty: send the model's name".into())),
            None => return Err(BadBody("`model` must be a string with the model's name".into())),
        };
        self.head.model_span = span;
        self.head.user = self.safety_identifier.or(self.user).map(|raw| unescape(raw).into_owned());
        self.head.images = self.images(scanner.long_strings());
        self.head.foreign_reasoning = self.format == Format::Messages && has_foreign_reasoning(self.text);
        Ok(self.head)
    }

    fn no_duplicates(&mut self) -> Result<(), BadBody> {
        self.keys.sort_unstable();
        match self.keys.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first()) {
            Some(key) => {
                Err(BadBody(format!("`{}` is in the request body twice: send it once", excerpt(key))))
            }
            None => Ok(()),
        }
    }

    fn caps(&mut self) {
        let known = |cap: Option<&Cap>| {
            cap.and_then(|c| c.tokens.map(|tokens| OutputCap { tokens, span: c.span.clone() }))
        };
        let (plain, completion) = (known(self.cap.as_ref()), known(self.completion_cap.as_ref()));
        if completion.is_some() {
            self.head.shadow_cap = plain;
            self.head.output_cap = completion;
        } else {
            self.head.output_cap = plain;
        }
        if self.head.output_cap.is_none() {
            self.head.null_cap_span = self.completion_cap.take().or(self.cap.take()).map(|c| c.span);
        }
    }

    /// Which of the long strings are images, and what other images are mentioned.
    fn images(&self, long: &[Range<usize>]) -> Images {
        let mut images = Images::default();
        for span in long.iter().filter(|span| is_image(self.format, self.text, span)) {
            images.count += 1;
            images.bytes += span.len();
        }
        // Inside a text these words would have a backslash before the quote.
        let count = |word: &str| memmem::find_iter(self.text.as_bytes(), word).count() as u64;
        let mentioned = match self.format {
            Format::Messages => count("\"image\"") + count("\"document\""),
            Format::Chat => count("\"image_url\"").div_ceil(2) + count("\"file_id\""),
        };
        images.others = mentioned.saturating_sub(images.count);
        images
    }
}

impl From<scan::Fault> for BadBody {
    fn from(fault: scan::Fault) -> Self {
        BadBody(fault.to_string())
    }
}

/// Whether a history holds reasoning of a translated answer (see [`crate::request::carrier`]).
fn has_foreign_reasoning(text: &str) -> bool {
    memmem::find(text.as_bytes(), b"\"gw1.").is_some()
        || memmem::find(text.as_bytes(), b"\"signature\":\"\"").is_some()
}

/// The most searches of a tool, if it is the provider's own search (`web_search_20250305` and its successors).
fn web_searches(tool: Value<'_>) -> u64 {
    if !tool.type_name().starts_with("web_search") {
        return 0;
    }
    tool.get("max_uses").and_then(Value::u64).unwrap_or(WEB_SEARCHES)
}

fn string(value: Value<'_>) -> Option<&str> {
    value.raw().strip_prefix('"')?.strip_suffix('"')
}

fn flag(name: &str, value: Value<'_>) -> Result<bool, BadBody> {
    match value.kind() {
        Kind::Bool => Ok(value.bool() == Some(true)),
        Kind::Null => Ok(false),
        _ => Err(BadBody(format!("`{name}` must be true or false"))),
    }
}

fn whole(name: &str, value: Value<'_>) -> Result<Option<u64>, BadBody> {
    if value.is_null() {
        return Ok(None);
    }
    let number = if value.kind() == Kind::Number { value.u64() } else { None };
    match number {
        Some(n) => Ok(Some(n)),
        None => Err(BadBody(format!(
            "`{name}` must be a whole number of 0 or more, not {}",
            excerpt(value.raw())
        ))),
    }
}

fn cap(name: &str, value: Value<'_>, span: Range<usize>) -> Result<Cap, BadBody> {
    Ok(Cap { tokens: whole(name, value)?, span })
}

/// Refuses another spelling of a field that decides.
fn decisive(key: &str) -> Result<(), BadBody> {
    // No decisive field is longer, not even with its letters in three bytes each.
    if key.len() > 64 {
        return Ok(());
    }
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212A}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    if "models".chars().eq(key.chars().map(fold)) {
        // OpenRouter would answer with any of them, whatever the key may use.
        return Err(BadBody(
            "`models` is not taken: which models may stand in for another is the route's to say (fallbacks)"
                .to_owned(),
        ));
    }
    match DECISIVE.iter().find(|name| **name != key && name.chars().eq(key.chars().map(fold))) {
        Some(name) => Err(BadBody(format!("`{}` is not a field: write `{name}`", excerpt(key)))),
        None => Ok(()),
    }
}

/// The beginning of a client's text, for an error message.
fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Whether the long string at `span` is an inline image: a `data:image/` URL, or `data` beside a `media_type` of `image/`.
fn is_image(format: Format, text: &str, span: &Range<usize>) -> bool {
    let Some(string) = text.get(span.clone()) else { return false };
    let data = match format {
        Format::Chat if string.starts_with("data:image/") => {
            string.split_once(";base64,").map_or("", |(_, data)| data)
        }
        Format::Messages if beside_media_type(text.as_bytes(), span) => string,
        _ => return false,
    };
    !data.is_empty() && data.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
}

fn beside_media_type(text: &[u8], span: &Range<usize>) -> bool {
    let before = text.get(span.start.saturating_sub(80)..span.start.saturating_sub(1)).unwrap_or_default();
    let after = text.get(span.end..text.len().min(span.end + 80)).unwrap_or_default();
    let key = before.trim_ascii_end().strip_suffix(b":").map(<[u8]>::trim_ascii_end);
    let near = |near: &[u8]| {
        memmem::find(near, b"\"media_type\"").is_some() && memmem::find(near, b"\"image/").is_some()
    };
    key.is_some_and(|key| key.ends_with(b"\"data\"")) && (near(before) || near(after))
}
