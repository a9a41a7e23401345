//! The beginning of what was said, for lists, and the words that searches find. Pure.

use super::split::Parts;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use tollgate_translate::answer::{Block, Summary};

/// The most bytes of a preview.
pub(crate) const PREVIEW_MAX: usize = 320;
/// The most bytes of a prompt or an answer that are indexed for search.
pub(crate) const WORDS_MAX: usize = 1500;

/// Text of one side: what lists show and searches find.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// For lists: one line, at most [`PREVIEW_MAX`] bytes.
    pub(crate) line: Option<String>,
    /// For the search index: at most [`WORDS_MAX`] bytes.
    pub(crate) words: String,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

/// What the newest user turn says: its text without the harness's reminders, else the tool results it carries.
pub(crate) fn of_request(parts: &Parts<'_>) -> Said {
    let mut text = String::new();
    for raw in parts.messages.iter().rev().take(8) {
        let Ok(message) = serde_json::from_str::<Message<'_>>(raw.get()) else { continue };
        match &*message.role {
            "user" | "tool" => message_text(&message, &mut text),
            "assistant" => break,
            _ => continue,
        }
        if !text.trim().is_empty() {
            break;
        }
    }
    Said::new(&text)
}

/// What the answer says: its text, else the calls it suggests.
pub(crate) fn of_answer(answer: &Summary) -> Said {
    let mut text = String::new();
    for block in &answer.content {
        if let Block::Text(t) = block {
            push(&mut text, t);
        }
    }
    for call in &answer.tool_calls {
        push(&mut text, &call.name);
        push(&mut text, &call.arguments);
    }
    Said::new(&text)
}

/// What a tool's arguments or its result say: a result's texts, else the JSON as it is.
pub(crate) fn of_tool(json: &str) -> Said {
    #[derive(Deserialize)]
    struct Outcome<'a> {
        #[serde(borrow)]
        content: Vec<Part<'a>>,
    }
    let Ok(outcome) = serde_json::from_str::<Outcome<'_>>(json) else { return Said::new(json) };
    let mut text = String::new();
    outcome.content.iter().filter_map(|part| part.text.as_deref()).for_each(|t| push(&mut text, t));
    Said::new(if text.is_empty() { json } else { &text })
}

/// The largest character start at or below `at`.
pub(crate) fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn message_text(message: &Message<'_>, out: &mut String) {
    let Some(content) = message.content else { return };
    content_text(content.get(), out, message.role == "tool", 0);
}

/// The text of a `content` value: a string, or an array of parts (tool results nest one deeper).
fn content_text(raw: &str, out: &mut String, result: bool, depth: u8) {
    if raw.starts_with('"') {
        if let Ok(text) = serde_json::from_str::<Cow<'_, str>>(raw) {
            push_spoken(out, &text, result);
        }
        return;
    }
    let Ok(parts) = serde_json::from_str::<Vec<Part<'_>>>(raw) else { return };
    for part in parts {
        match (&*part.kind, part.text, part.content) {
            ("text" | "input_text", Some(text), _) => push_spoken(out, &text, result),
            ("tool_result", _, Some(content)) if depth == 0 => content_text(content.get(), out, true, 1),
            _ => {}
        }
    }
}

fn push_spoken(out: &mut String, text: &str, result: bool) {
    let mut spoken = without_reminders(text).into_owned();
    if result && out.is_empty() && !spoken.trim().is_empty() {
        spoken.insert_str(0, "[tool result] ");
    }
    push(out, &spoken);
}

fn push(out: &mut String, text: &str) {
    let text = text.trim();
    if text.is_empty() || out.len() >= WORDS_MAX {
        return;
    }
    if !out.is_empty() {
        out.push(' ');
    }
    out.push_str(&text[..floor_char(text, WORDS_MAX)]);
}

/// Drops `<system-reminder>…</system-reminder>`: the harness wrote them, not the person.
fn without_reminders(text: &str) -> Cow<'_, str> {
    const OPEN: &str = "<system-reminder>";
    const CLOSE: &str = "</system-reminder>";
    if !text.contains(OPEN) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(OPEN) {
        out.push_str(&rest[..start]);
        rest = rest[start..].find(CLOSE).map_or("", |end| &rest[start + end + CLOSE.len()..]);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

// === impl Said ===

impl Said {
    /// From a text: cut, and its white space made single spaces for the line.
    pub(crate) fn new(text: &str) -> Self {
        let words = &text[..floor_char(text, WORDS_MAX)];
        if words.trim().is_empty() {
            return Said::default();
        }
        let mut line = String::with_capacity(PREVIEW_MAX.min(words.len()) + 4);
        for word in words.split_whitespace() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
            if line.len() > PREVIEW_MAX {
                line.truncate(floor_char(&line, PREVIEW_MAX));
                line.push('…');
                break;
            }
        }
        Said { line: Some(line), words: words.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(body: serde_json::Value) -> String {
        let text = body.to_string();
        of_request(&Parts::read(text.as_bytes()).unwrap()).line.unwrap_or_default()
    }

    #[test]
    fn the_newest_user_text_without_reminders() {
        let body = serde_json::json!({"messages": [
            {"role": "user", "content": "old"},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>\nsecret files\n</system-reminder>"},
                {"type": "text", "text": "fix   the\nbug", "cache_control": {"type": "ephemeral"}}]},
            {"role": "system", "content": "mid-conversation"}]});
        assert_eq!(prompt(body), "fix the bug");
    }

    #[test]
    fn tool_results_are_named_as_such() {
        let body = serde_json::json!({"messages": [
            {"role": "user", "content": "old"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Read", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "line 1"}]}]}]});
        assert_eq!(prompt(body), "[tool result] line 1");
        let chat = serde_json::json!({"messages": [{"role": "tool", "tool_call_id": "t", "content": "42"}]});
        assert_eq!(prompt(chat), "[tool result] 42");
    }

    #[test]
    fn a_tools_result_is_its_text() {
        let json = r#"{"content":[{"type":"text","text":"one\nrow"},{"type":"image"}],"isError":false}"#;
        assert_eq!(of_tool(json).line.unwrap(), "one row");
        assert_eq!(of_tool(r#"{"sql":"select 1"}"#).line.unwrap(), r#"{"sql":"select 1"}"#);
    }

    #[test]
    fn cuts_at_characters() {
        let said = Said::new(&"ä".repeat(5000));
        assert!(said.words.len() <= WORDS_MAX && said.line.unwrap().len() <= PREVIEW_MAX + 4);
    }
}
