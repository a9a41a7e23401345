//! Conversation → Messages request.

use super::encode_messages::messages;
use super::models::{Claude, SamplingStyle, ThinkingStyle, claude};
use super::reasoning::{Reasoning, decide};
use crate::raw::{Object, Text, Value, write};
use crate::request::Target;
use crate::request::conversation::{Conversation, OutputFormat, Tier, ToolChoice};
use crate::request::names::Names;
use crate::request::report::{Field, Report};
use crate::request::schema;

/// The cap where neither the client nor the gateway names one: Messages demands it.
const DEFAULT_CAP: u64 = 4096;

/// The longest `metadata.user_id`.
const USER_MAX: usize = 256;

/// Writes the request for the target.
pub(crate) fn encode(
    conversation: &Conversation<'_>,
    target: &Target<'_>,
    names: &Names,
    size_hint: usize,
    report: &mut Report,
) -> Vec<u8> {
    let claude = claude(target.model);
    let cap = target.output_cap.or(conversation.cap).unwrap_or(DEFAULT_CAP);
    let reasoning = decide(conversation, &claude, cap, report);
    let mut out = Vec::with_capacity(size_hint + size_hint / 8 + 512);
    let mut body = Object::new(&mut out);
    body.str("model", target.model).number("max_tokens", cap);
    if conversation.stream {
        body.bool("stream", true);
    }
    sampling(conversation, &claude, reasoning, &mut body, report);
    reasoning.write(&mut body);
    let instruction = output(conversation, &claude, reasoning, &mut body, report);
    metadata(conversation, &mut body);
    system(conversation, instruction, &mut body);
    tools(conversation, names, &mut body);
    tool_choice(conversation, names, &claude, reasoning, &mut body, report);
    messages(conversation, names, body.key("messages"), report);
    body.end();
    out
}

fn sampling(
    conversation: &Conversation<'_>,
    claude: &Claude,
    reasoning: Reasoning,
    body: &mut Object<'_>,
    report: &mut Report,
) {
    let sampling = &conversation.sampling;
    let refused = if claude.sampling == SamplingStyle::None {
        Some("dropped: the model refuses it")
    } else if reasoning.thinks() {
        Some("dropped: refused while the model thinks")
    } else {
        None
    };
    match (sampling.temperature, refused) {
        (Some(_), Some(why)) => report.lost_field(Field::Temperature, why),
        (Some(value), None) => temperature(value, body, report),
        (None, _) => {}
    }
    let one = claude.sampling == SamplingStyle::One && sampling.temperature.is_some();
    match (sampling.top_p, refused) {
        (Some(_), Some(why)) => report.lost_field(Field::TopP, why),
        (Some(_), None) if one => report.lost_field(Field::TopP, "dropped: refused beside temperature"),
        (Some(value), None) => drop(body.raw("top_p", value.raw())),
        (None, _) => {}
    }
    match (sampling.top_k, refused) {
        (Some(_), Some(why)) => report.lost_field(Field::TopK, why),
        (Some(value), None) => drop(body.raw("top_k", value.raw())),
        (None, _) => {}
    }
    // Anthropic refuses stop sequences without a visible character.
    let stops: Vec<_> = sampling.stop.iter().filter(|text| !text.is_blank()).collect();
    if stops.len() < sampling.stop.len() {
        report.lost_field(Field::Stop, "left out: sequences of white space only are refused");
    }
    if !stops.is_empty() {
        let mut list = body.array("stop_sequences");
        stops.iter().for_each(|text| write::string(list.item(), text));
        list.end();
    }
}

fn temperature(value: Value<'_>, body: &mut Object<'_>, report: &mut Report) {
    if value.f64().is_some_and(|t| t > 1.0) {
        report.lost_field(Field::Temperature, "lowered to 1: the highest in the Messages API");
        body.number("temperature", 1);
    } else {
        body.raw("temperature", value.raw());
    }
}

/// Writes `output_config`; where the model has no structured outputs the shape becomes an instruction.
fn output(
    conversation: &Conversation<'_>,
    claude: &Claude,
    reasoning: Reasoning,
    body: &mut Object<'_>,
    report: &mut Report,
) -> Option<Text<'static>> {
    let (schema, instruction) = match &conversation.output {
        None => (None, None),
        Some(OutputFormat::Schema { schema, .. }) if claude.structured_outputs => (Some(*schema), None),
        Some(OutputFormat::Schema { schema, .. }) => {
            report.lost_field(Field::Output, "an instruction instead: the model has no structured outputs");
            let words =
                "Answer with one JSON value only, without any words around it, that fits this JSON Schema:";
            (None, Some(Text::from(format!("{words}\n{}", schema.raw()))))
        }
        Some(OutputFormat::Json) => {
            report.lost_field(Field::Output, "an instruction instead: the Messages API has no JSON mode");
            (None, Some(Text::from("Answer with one JSON object only, without any words around it.")))
        }
    };
    if schema.is_some() || reasoning.effort.is_some() {
        let mut config = body.object("output_config");
        if let Some(effort) = reasoning.effort {
            config.str("effort", effort.as_str());
        }
        if let Some(schema) = schema {
            let mut format = config.object("format");
            format.str("type", "json_schema").raw("schema", &schema::for_structured_output(schema));
            format.end();
        }
        config.end();
    }
    instruction
}

fn metadata(conversation: &Conversation<'_>, body: &mut Object<'_>) {
    if let Some(tier) = conversation.tier {
        body.str("service_tier", if tier == Tier::Auto { "auto" } else { "standard_only" });
    }
    if let Some(user) = conversation.user.as_deref() {
        let mut metadata = body.object("metadata");
        if user.len() <= USER_MAX {
            metadata.str("user_id", user);
        } else {
            metadata.str("user_id", &crate::request::names::pseudonym(user));
        }
        metadata.end();
    }
}

fn system(conversation: &Conversation<'_>, instruction: Option<Text<'_>>, body: &mut Object<'_>) {
    let blocks = conversation.system.iter().filter(|block| !block.text.is_blank());
    let blocks = blocks.map(|block| (&block.text, block.cache));
    let mut blocks = blocks.chain(instruction.as_ref().map(|text| (text, None))).peekable();
    if blocks.peek().is_none() {
        return;
    }
    let mut list = body.array("system");
    for (text, cache) in blocks {
        let mut block = list.object();
        block.str("type", "text").text("text", text);
        if let Some(cache) = cache {
            block.raw("cache_control", cache);
        }
        block.end();
    }
    list.end();
}

/// Tools; where the client sends none but its history has calls, stand-ins for those: Anthropic refuses such a history otherwise.
fn tools(conversation: &Conversation<'_>, names: &Names, body: &mut Object<'_>) {
    let mut stand_ins: Vec<&str> = Vec::new();
    if conversation.tools.is_empty() {
        stand_ins = conversation.tool_uses().map(|call| names.wire(&call.name)).collect();
        stand_ins.sort_unstable();
        stand_ins.dedup();
        if stand_ins.is_empty() {
            return;
        }
    }
    let mut list = body.array("tools");
    for tool in &conversation.tools {
        let mut entry = list.object();
        entry.str("name", names.wire(&tool.name));
        if let Some(description) = &tool.description {
            entry.text("description", description);
        }
        entry.raw("input_schema", &schema::parameters(tool.schema, true));
        if let Some(cache) = tool.cache {
            entry.raw("cache_control", cache);
        }
        entry.end();
    }
    for name in stand_ins {
        let mut entry = list.object();
        entry.str("name", name).raw("input_schema", &schema::parameters(None, true));
        entry.end();
    }
    list.end();
}

fn tool_choice(
    conversation: &Conversation<'_>,
    names: &Names,
    claude: &Claude,
    reasoning: Reasoning,
    body: &mut Object<'_>,
    report: &mut Report,
) {
    let single = conversation.parallel_tools == Some(false);
    let mut choice = conversation.tool_choice.as_ref();
    if conversation.tools.is_empty() {
        if matches!(choice, Some(ToolChoice::Any | ToolChoice::Tool(_))) {
            report.lost_field(Field::ToolChoice, "dropped: there are no tools to choose from");
        }
        // Stand-ins are there to be read, not to be called.
        if conversation.tool_uses().next().is_some() {
            let mut out = body.object("tool_choice");
            out.str("type", "none");
            out.end();
        }
        return;
    }
    if let Some(ToolChoice::Tool(name)) = choice
        && !conversation.tools.iter().any(|tool| tool.name == *name)
    {
        report.lost_field(Field::ToolChoice, "dropped: it names a tool that is not sent");
        choice = None;
    }
    let forced = matches!(choice, Some(ToolChoice::Any | ToolChoice::Tool(_)));
    if forced && (reasoning.thinks() || claude.thinking == ThinkingStyle::Always) {
        report.lost_field(Field::ToolChoice, "auto: the model chooses itself while it thinks");
        choice = Some(&ToolChoice::Auto);
    }
    let choice = match choice {
        None if single => &ToolChoice::Auto,
        None => return,
        Some(choice) => choice,
    };
    let mut out = body.object("tool_choice");
    match choice {
        ToolChoice::Auto => drop(out.str("type", "auto")),
        ToolChoice::Any => drop(out.str("type", "any")),
        ToolChoice::None => drop(out.str("type", "none")),
        ToolChoice::Tool(name) => drop(out.str("type", "tool").str("name", names.wire(name))),
    }
    if single && *choice != ToolChoice::None {
        out.bool("disable_parallel_tool_use", true);
    }
    out.end();
}
