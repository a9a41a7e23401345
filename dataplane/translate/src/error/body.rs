//! The body of an upstream's error answer, in any of the shapes that servers send.

use serde_json::Value;

/// The most bytes of an error body that are parsed.
const PARSE_CAP: usize = 256 << 10;

/// What an error body says.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// The words for a reader.
    pub(super) message: Option<String>,
    /// `error.type`; empty when absent.
    pub(super) kind: String,
    /// `error.code`, a number as its digits; empty when absent.
    pub(super) code: String,
    /// OpenAI's `error.param`.
    pub(super) param: Option<String>,
    /// llama.cpp's numbers of a context overflow: tokens of the prompt, size of the context.
    pub(super) overflow: Option<(u64, u64)>,
}

// === impl Body ===

impl Body {
    /// Reads a whole body.
    pub(super) fn parse(body: &[u8]) -> Self {
        let body = body.trim_ascii();
        if body.is_empty() {
            return Body::default();
        }
        match (body.len() <= PARSE_CAP).then(|| serde_json::from_slice::<Value>(body)) {
            Some(Ok(value)) => Body::of_body(&value),
            _ => Body { message: text(body), ..Body::default() },
        }
    }

    /// Reads the value of an `error` field.
    pub(super) fn of_error(error: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(error) {
            Ok(value) => Body::of_value(&value),
            Err(_) => Body::default(),
        }
    }

    /// `{"error": {…}}` (Anthropic, OpenAI, Google), the same inside an array (Google), `{"error": "words"}` (Ollama), or
    /// the fields at the top (vLLM before 0.9, FastAPI, gateways).
    fn of_body(value: &Value) -> Self {
        match value {
            Value::Array(items) => items.first().map(Body::of_body).unwrap_or_default(),
            Value::Object(fields) => match fields.get("error").filter(|error| !error.is_null()) {
                Some(error) => Body::of_value(error),
                None => Body::of_value(value),
            },
            other => Body::of_value(other),
        }
    }

    fn of_value(value: &Value) -> Self {
        if let Value::String(words) = value {
            return Body { message: Some(words.clone()), ..Body::default() };
        }
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        Body {
            message: message(value),
            kind: string(value.get("type").or_else(|| value.get("status"))),
            code: string(value.get("code")),
            param: value.get("param").and_then(Value::as_str).map(str::to_owned),
            overflow: number("n_prompt_tokens").zip(number("n_ctx")),
        }
    }

    /// The words for the client, whatever came.
    pub(super) fn words(&self, status: u16) -> String {
        match &self.message {
            Some(message) => message.clone(),
            None if status == 0 => "the upstream reported an error and gave no reason".into(),
            None => format!("the upstream answered HTTP {status} and gave no reason"),
        }
    }

    /// The code where it is an HTTP status (OpenRouter); else 0.
    pub(super) fn code_as_status(&self) -> u16 {
        self.code.parse().unwrap_or(0)
    }
}

fn message(value: &Value) -> Option<String> {
    let words = ["message", "Message", "detail", "error_description", "msg"].iter().find_map(|key| {
        match value.get(key)? {
            Value::String(words) if !words.trim().is_empty() => Some(words.clone()),
            list @ Value::Array(items) if !items.is_empty() => Some(list.to_string()), // FastAPI's list of faults
            _ => None,
        }
    })?;
    // OpenRouter says "Provider returned error" and puts the provider's own words beside it.
    let raw = value.pointer("/metadata/raw").and_then(Value::as_str).filter(|raw| !raw.is_empty());
    Some(match raw {
        Some(raw) => format!("{words}: {raw}"),
        None => words,
    })
}

fn string(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// The words of a body that is no JSON: plain text as it is, a page by its title.
fn text(body: &[u8]) -> Option<String> {
    let head = body.get(..super::MESSAGE_CAP).unwrap_or(body);
    let text = String::from_utf8_lossy(head);
    if !text.trim_start().starts_with('<') {
        let printable =
            text.chars().filter(|c| *c == '\u{fffd}' || c.is_control() && !c.is_whitespace()).count();
        return (printable * 10 <= text.chars().count()).then(|| text.trim().to_owned());
    }
    let lower = text.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let end = start + lower.get(start..)?.find("</title>")?;
    let title = text.get(start..end)?.split_whitespace().collect::<Vec<_>>().join(" ");
    (!title.is_empty()).then(|| format!("the upstream answered with a web page: {title}"))
}
