//! The changed body of a pass-through.

use super::{Head, Splices};
use crate::Format;
use crate::raw::{Kind, Value, write};
use crate::request::carrier;
use std::ops::Range;

/// Replacements of parts of a body.
struct Edits(Vec<(Range<usize>, Vec<u8>)>);

/// Applies `splices`; every byte outside them is the client's. Besides what `splices` asks for, only two things change, and
/// only where they must: [`Head::shadow_cap`] is lowered to the cap that counts, [`Head::foreign_reasoning`] is taken out.
pub fn splice(format: Format, body: &[u8], head: &Head, splices: &Splices<'_>) -> Vec<u8> {
    let mut edits = Edits(Vec::new());
    let mut insert = Vec::new();
    if let Some(model) = splices.model {
        let mut value = vec![b'"'];
        write::escape(&mut value, model);
        value.push(b'"');
        edits.replace(head.model_span.clone(), value);
    }
    cap(format, head, splices, &mut edits, &mut insert);
    if splices.include_usage && format == Format::Chat && head.stream && !head.include_usage {
        include_usage(body, head, &mut edits, &mut insert);
    }
    if head.foreign_reasoning && format == Format::Messages {
        foreign_reasoning(body, &mut edits);
    }
    edits.replace(head.insert_at..head.insert_at, insert);
    edits.apply(body)
}

fn cap(format: Format, head: &Head, splices: &Splices<'_>, edits: &mut Edits, insert: &mut Vec<u8>) {
    if let Some(tokens) = splices.output_cap {
        let span = head.output_cap.as_ref().map(|cap| &cap.span).or(head.null_cap_span.as_ref());
        match span {
            Some(span) => edits.replace(span.clone(), tokens.to_string().into_bytes()),
            None => {
                let own = match format {
                    Format::Messages => "max_tokens",
                    Format::Chat => "max_completion_tokens",
                };
                let field = splices.cap_field.unwrap_or(own);
                insert.extend_from_slice(format!("\"{field}\":{tokens},").as_bytes());
            }
        }
    }
    let counts = splices.output_cap.or(head.output_cap.as_ref().map(|cap| cap.tokens));
    if let (Some(shadow), Some(counts)) = (&head.shadow_cap, counts)
        && shadow.tokens > counts
    {
        edits.replace(shadow.span.clone(), counts.to_string().into_bytes());
    }
}

/// Sets `stream_options.include_usage`, leaving the other options as they are.
fn include_usage(body: &[u8], head: &Head, edits: &mut Edits, insert: &mut Vec<u8>) {
    let Some(span) = head.stream_options_span.clone() else {
        insert.extend_from_slice(b"\"stream_options\":{\"include_usage\":true},");
        return;
    };
    let options = Value::new(text_of(body, &span));
    if options.kind() != Kind::Object {
        edits.replace(span, b"{\"include_usage\":true}".to_vec());
        return;
    }
    let mut value = Vec::with_capacity(span.len() + 24);
    let mut object = b"{\"include_usage\":true".to_vec();
    for (key, option) in options.fields().filter(|(key, _)| key != "include_usage") {
        value.clear();
        write::escape(&mut value, &key);
        object.extend_from_slice(b",\"");
        object.extend_from_slice(&value);
        object.extend_from_slice(b"\":");
        object.extend_from_slice(option.raw().as_bytes());
    }
    object.push(b'}');
    edits.replace(span, object);
}

/// Takes reasoning blocks that another provider's answer left in the history out of it; all other blocks stay as they are.
fn foreign_reasoning(body: &[u8], edits: &mut Edits) {
    let whole = text_of(body, &(0..body.len()));
    let Some(messages) = Value::new(whole).get("messages") else { return };
    for content in messages.items().filter_map(|message| message.get("content")) {
        if !content.items().any(carrier::is_foreign_block) {
            continue;
        }
        let mut kept = vec![b'['];
        for block in content.items().filter(|block| !carrier::is_foreign_block(*block)) {
            if kept.len() > 1 {
                kept.push(b',');
            }
            kept.extend_from_slice(block.raw().as_bytes());
        }
        if kept.len() == 1 {
            kept.extend_from_slice(b"{\"type\":\"text\",\"text\":\"(reasoning only)\"}");
        }
        kept.push(b']');
        edits.replace(span_in(whole, content.raw()), kept);
    }
}

fn text_of<'b>(body: &'b [u8], span: &Range<usize>) -> &'b str {
    body.get(span.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Where `part`, a slice of `whole`, stands in it.
fn span_in(whole: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

// === impl Edits ===

impl Edits {
    fn replace(&mut self, span: Range<usize>, with: Vec<u8>) {
        if !(span.is_empty() && with.is_empty()) {
            self.0.push((span, with));
        }
    }

    fn apply(mut self, body: &[u8]) -> Vec<u8> {
        self.0.sort_by_key(|(span, _)| (span.start, span.end));
        let added: usize = self.0.iter().map(|(_, with)| with.len()).sum();
        let mut out = Vec::with_capacity(body.len() + added);
        let mut at = 0;
        for (span, with) in self.0 {
            out.extend_from_slice(body.get(at..span.start).unwrap_or_default());
            out.extend_from_slice(&with);
            at = span.end;
        }
        out.extend_from_slice(body.get(at..).unwrap_or_default());
        out
    }
}
