//! The Chat stream decoder: chunks to neutral events, for OpenAI and the many servers with its API.

use super::{
    tools::{Tools, WireCall, WireFunction},
    usage,
};
use crate::{
    Format,
    answer::{
        broken,
        event::{Event, Stop},
        sse,
    },
    error,
    json::{self, List, Num, Obj, Str, Text},
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Decodes one stream.
#[derive(Debug)]
pub struct Decoder {
    tools: Tools,
    started: bool,
    refused: bool,
    /// Take tool calls of further choices too (a client asked for `n` > 1 and gets the bytes as they are).
    all_choices: bool,
    only_usage: bool,
}

/// A chunk, or a whole completion: the two differ in `delta` and `message`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Wire<'a> {
    #[serde(borrow)]
    id: Str<'a>,
    #[serde(borrow)]
    model: Str<'a>,
    #[serde(borrow)]
    choices: List<Choice<'a>>,
    usage: Obj<Box<usage::Wire>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice<'a> {
    index: Num,
    #[serde(borrow)]
    delta: Obj<Delta<'a>>,
    #[serde(borrow)]
    message: Obj<Box<Delta<'a>>>,
    #[serde(borrow)]
    finish_reason: Str<'a>,
    /// vLLM's name for the stop sequence that was met.
    #[serde(borrow)]
    stop_reason: Str<'a>,
    /// OpenRouter puts an error of the provider behind it here too.
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// What a choice says: a piece in a stream, all of it in a whole body.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Text<'a, Part<'a>>,
    #[serde(borrow)]
    refusal: Str<'a>,
    #[serde(borrow)]
    reasoning_content: Str<'a>,
    #[serde(borrow)]
    reasoning: Str<'a>,
    #[serde(borrow)]
    reasoning_details: List<Part<'a>>,
    #[serde(borrow)]
    tool_calls: List<WireCall<'a>>,
    #[serde(borrow)]
    function_call: Obj<WireFunction<'a>>,
}

/// A part of a content list (Mistral), or of OpenRouter's `reasoning_details`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(borrow)]
    text: Str<'a>,
    #[serde(borrow)]
    summary: Str<'a>,
    #[serde(borrow)]
    refusal: Str<'a>,
    #[serde(borrow)]
    thinking: Text<'a, ThinkingPart<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ThinkingPart<'a> {
    #[serde(borrow)]
    text: Str<'a>,
}

// === impl Wire ===

impl Wire<'_> {
    /// Whether it answers anything.
    pub(super) fn has_choices(&self) -> bool {
        !self.choices.0.is_empty()
    }
}

// === impl Decoder ===

impl Decoder {
    /// A decoder; `all_choices` also hands out the tool calls of choices after the first.
    pub fn new(all_choices: bool) -> Self {
        Decoder { tools: Tools::default(), started: false, refused: false, all_choices, only_usage: false }
    }

    /// Decodes one frame. An error is data that is no JSON object.
    pub fn decode(
        &mut self,
        frame: &sse::Frame<'_>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), serde_json::Error> {
        self.only_usage = false;
        let Some(data) = frame.data.map(<[u8]>::trim_ascii).filter(|data| !data.is_empty()) else {
            return Ok(());
        };
        if data == b"[DONE]" {
            self.tools.end(on);
            on(Event::End);
            return Ok(());
        }
        let wire: Wire<'_> = json::parse(data)?;
        self.completion(&wire, on);
        Ok(())
    }

    /// Whether the last frame was a chunk with usage and no choices.
    pub fn only_usage(&self) -> bool {
        self.only_usage
    }

    /// Hands out a chunk or a whole completion.
    pub(super) fn completion(&mut self, wire: &Wire<'_>, on: &mut impl FnMut(Event<'_>)) {
        if let Some(error) = wire.error {
            on(Event::Error(error::inside(Format::Chat, error.get())));
            return;
        }
        // Azure's first chunk has neither id nor model; the next one has.
        if !self.started && (wire.id.some().is_some() || wire.model.some().is_some()) {
            self.started = true;
            on(Event::Start { id: wire.id.some(), model: wire.model.some() });
        }
        for choice in &wire.choices.0 {
            self.choice(choice, on);
        }
        if let Some(usage) = &wire.usage.0 {
            self.only_usage = wire.choices.0.is_empty();
            on(Event::Usage(usage.usage()));
        }
    }

    fn choice(&mut self, choice: &Choice<'_>, on: &mut impl FnMut(Event<'_>)) {
        let first = choice.index.get() == 0;
        if let Some(delta) = choice.delta.0.as_ref().or(choice.message.0.as_deref()) {
            if first {
                self.delta(delta, on);
            } else {
                self.aside(choice.index.get(), delta, on);
            }
        }
        if !first {
            return;
        }
        if let Some(error) = choice.error {
            on(Event::Error(error::inside(Format::Chat, error.get())));
        } else if let Some(reason) = choice.finish_reason.some() {
            self.finish(reason, choice.stop_reason.some(), on);
        }
    }

    fn delta(&mut self, delta: &Delta<'_>, on: &mut impl FnMut(Event<'_>)) {
        each_text(delta, &mut |event| on(event));
        if let Some(refusal) = refusal(delta) {
            self.refused = true;
            on(Event::Text(refusal));
        }
        for call in &delta.tool_calls.0 {
            self.tools.call(0, call, on);
        }
        if let Some(function) = &delta.function_call.0 {
            self.tools.function(0, function, on);
        }
    }

    /// A choice that is not the first.
    fn aside(&mut self, choice: u64, delta: &Delta<'_>, on: &mut impl FnMut(Event<'_>)) {
        let mut bytes = 0;
        each_text(delta, &mut |event| {
            if let Event::Text(text) | Event::Thinking(text) = event {
                bytes += text.len() as u64;
            }
        });
        for call in &delta.tool_calls.0 {
            if self.all_choices {
                self.tools.call(choice, call, on);
            } else {
                bytes += call.function().map_or(0, |function| function.arguments().len() as u64);
            }
        }
        if bytes > 0 {
            on(Event::Aside(bytes));
        }
    }

    fn finish(&mut self, reason: &str, sequence: Option<&str>, on: &mut impl FnMut(Event<'_>)) {
        let reason = match reason {
            "error" => {
                on(Event::Error(broken("the upstream ended the answer with an error and gave no reason")));
                return;
            }
            "length" | "max_tokens" | "model_length" => Stop::MaxTokens,
            "content_filter" => Stop::Refusal,
            _ if self.refused => Stop::Refusal,
            "tool_calls" | "function_call" => Stop::ToolUse,
            "stop" if sequence.is_some() => Stop::StopSequence,
            _ => Stop::EndTurn, // "stop", and the words of other servers for the same ("eos", "end_turn", …)
        };
        if reason == Stop::MaxTokens {
            self.tools.cut_off();
        } else {
            self.tools.end(on);
        }
        let sequence = if reason == Stop::StopSequence { sequence } else { None };
        on(Event::Stop { reason, sequence });
    }
}

/// The reasoning and the text of a delta, in this order.
fn each_text<'a>(delta: &'a Delta<'_>, on: &mut impl FnMut(Event<'a>)) {
    // OpenRouter sends the same reasoning in two forms, DeepSeek's and its own: the first form that says something counts.
    if let Some(text) = delta.reasoning_content.some().or(delta.reasoning.some()) {
        on(Event::Thinking(text));
    } else {
        for part in &delta.reasoning_details.0 {
            for text in [part.text.some(), part.summary.some()].into_iter().flatten() {
                on(Event::Thinking(text));
            }
        }
    }
    match &delta.content {
        Text::Absent => {}
        Text::Whole(text) if text.is_empty() => {}
        Text::Whole(text) => on(Event::Text(text)),
        Text::Parts(parts) => parts.iter().for_each(|part| each_part(part, on)),
    }
}

fn each_part<'a>(part: &'a Part<'_>, on: &mut impl FnMut(Event<'a>)) {
    match &part.thinking {
        Text::Absent => {}
        Text::Whole(text) if text.is_empty() => {}
        Text::Whole(text) => on(Event::Thinking(text)),
        Text::Parts(parts) => {
            for text in parts.iter().filter_map(|part| part.text.some()) {
                on(Event::Thinking(text));
            }
        }
    }
    if let Some(text) = part.text.some().filter(|_| part.kind.get() != "reasoning") {
        on(Event::Text(text));
    }
}

/// The words of a refusal, in their own field or as a part of the content.
fn refusal<'a>(delta: &'a Delta<'_>) -> Option<&'a str> {
    if let Some(refusal) = delta.refusal.some() {
        return Some(refusal);
    }
    let Text::Parts(parts) = &delta.content else { return None };
    parts.iter().find_map(|part| part.refusal.some())
}
