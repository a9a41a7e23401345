//! Conversation → Chat request.

use super::encode_messages::messages;
use super::models::{BesideTools, Family, Server, family, server};
use crate::raw::{Array, Object, Text, Value};
use crate::request::Target;
use crate::request::conversation::{Conversation, Effort, OutputFormat, Thinking, Tier, Tool, ToolChoice};
use crate::request::names::{Names, pseudonym};
use crate::request::report::{Field, Report};
use crate::request::schema;

/// The most stop sequences that Chat takes.
const STOPS: usize = 4;

/// Everything that the parts of the encoder look at.
pub(super) struct Context<'c> {
    pub(super) server: Server,
    pub(super) family: Family,
    pub(super) names: &'c Names,
}

/// Writes the request for the target.
pub(crate) fn encode(
    conversation: &Conversation<'_>,
    target: &Target<'_>,
    names: &Names,
    size_hint: usize,
    report: &mut Report,
) -> Vec<u8> {
    let context = Context { server: server(target.provider), family: family(target.model), names };
    let mut out = Vec::with_capacity(size_hint + size_hint / 8 + 512);
    let mut body = Object::new(&mut out);
    body.str("model", target.model);
    if let Some(cap) = target.output_cap.or(conversation.cap) {
        body.number(context.server.cap_field, cap);
    }
    if conversation.stream {
        body.bool("stream", true);
        let mut options = body.object("stream_options");
        options.bool("include_usage", true);
        options.end();
    }
    let effort = effort(conversation, &context, report);
    sampling(conversation, &context, effort, &mut body, report);
    if let Some(effort) = effort {
        body.str("reasoning_effort", effort.as_str());
    }
    if let Some(output) = &conversation.output {
        response_format(output, &mut body);
    }
    if context.server.own_fields {
        own_fields(conversation, &mut body);
    }
    messages(conversation, &context, body.key("messages"), report);
    tools(conversation, &context, &mut body, report);
    body.end();
    out
}

/// The value of `reasoning_effort`, if one is sent.
fn effort(conversation: &Conversation<'_>, context: &Context<'_>, report: &mut Report) -> Option<Effort> {
    let asked = asked_effort(conversation)?;
    let accepted = context.family.efforts;
    if accepted.is_empty() {
        // "Adaptive" leaves it to the model, and "disabled" is what such a model does: nothing is lost.
        if conversation.effort.is_some() {
            report.lost_field(Field::Effort, "dropped: the model takes no reasoning effort");
        } else if matches!(conversation.thinking, Some(Thinking::Budget(_))) {
            report.lost_field(Field::Thinking, "dropped: the model takes no reasoning effort");
        }
        return None;
    }
    if !conversation.tools.is_empty() {
        match context.family.beside_tools {
            BesideTools::Fine => {}
            BesideTools::Omit => {
                report.lost_field(
                    Field::Effort,
                    "dropped: this model takes no reasoning effort beside tools in Chat",
                );
                return None;
            }
            BesideTools::Off => {
                if asked != Effort::None {
                    report.lost_field(Field::Effort, "none: this model does not reason beside tools in Chat");
                }
                return Some(Effort::None);
            }
        }
    }
    if asked == Effort::None && accepted.first().is_some_and(|lowest| *lowest > Effort::Minimal) {
        report.lost_field(Field::Thinking, "dropped: the model cannot be kept from reasoning");
        return None;
    }
    let sent = asked.clamp_to(accepted)?;
    if sent < asked && conversation.effort.is_some() {
        report.lost_field(
            Field::Effort,
            format!("lowered from {} to {}: the model's highest", asked.as_str(), sent.as_str()),
        );
    }
    Some(sent)
}

/// The effort that the client's words come to (translation.md §2.6).
fn asked_effort(conversation: &Conversation<'_>) -> Option<Effort> {
    match (conversation.thinking, conversation.effort) {
        (Some(Thinking::Disabled), _) => Some(Effort::None),
        (_, Some(effort)) => Some(effort),
        (Some(Thinking::Adaptive), None) => Some(Effort::Medium),
        (Some(Thinking::Budget(tokens)), None) => Some(match tokens {
            4096.. => Effort::High,
            2048.. => Effort::Medium,
            1024.. => Effort::Low,
            _ => Effort::Minimal,
        }),
        (None, None) => None,
    }
}

fn sampling(
    conversation: &Conversation<'_>,
    context: &Context<'_>,
    effort: Option<Effort>,
    body: &mut Object<'_>,
    report: &mut Report,
) {
    let sampling = &conversation.sampling;
    let fixed = context.family.fixed_sampling && effort != Some(Effort::None);
    let numbers =
        [(Field::Temperature, "temperature", sampling.temperature), (Field::TopP, "top_p", sampling.top_p)];
    for (field, name, value) in numbers {
        match value {
            Some(_) if fixed => report.lost_field(field, "dropped: reasoning models refuse it"),
            Some(value) => {
                body.raw(name, value.raw());
            }
            None => {}
        }
    }
    if sampling.top_k.is_some() {
        report.lost_field(Field::TopK, "dropped: not in the Chat API");
    }
    if sampling.stop.is_empty() {
        return;
    }
    if context.family.fixed_sampling {
        report.lost_field(Field::Stop, "dropped: reasoning models refuse it");
        return;
    }
    if sampling.stop.len() > STOPS {
        report.lost_field(Field::Stop, "cut to the first 4: Chat takes no more");
    }
    let mut stop = body.array("stop");
    for text in sampling.stop.iter().take(STOPS) {
        crate::raw::write::string(stop.item(), text);
    }
    stop.end();
}

fn response_format(output: &OutputFormat<'_>, body: &mut Object<'_>) {
    let mut format = body.object("response_format");
    match output {
        OutputFormat::Json => {
            format.str("type", "json_object");
        }
        OutputFormat::Schema { name, schema, .. } => {
            format.str("type", "json_schema");
            let mut inner = format.object("json_schema");
            inner.text("name", name.as_ref().unwrap_or(&Text::from("output")));
            inner.raw("schema", schema.raw());
            inner.bool("strict", schema::is_strict(*schema));
            inner.end();
        }
    }
    format.end();
}

/// Fields that only OpenAI knows. The end user and the session become pseudonyms: equal ones stay equal, none is named.
fn own_fields(conversation: &Conversation<'_>, body: &mut Object<'_>) {
    if let Some(tier) = conversation.tier {
        body.str("service_tier", if tier == Tier::Auto { "auto" } else { "default" });
    }
    let Some(user) = conversation.user.as_deref() else { return };
    let (person, session) = person_and_session(user);
    if let Some(person) = person {
        body.str("safety_identifier", &pseudonym(&person));
    }
    if let Some(session) = session {
        body.str("prompt_cache_key", &pseudonym(&session));
    }
}

/// Takes `metadata.user_id` apart: Claude Code sends a JSON object with `device_id`, `account_uuid` and `session_id`, its older
/// versions `user_…_account_…_session_…`; anything else is a person.
fn person_and_session(user: &str) -> (Option<String>, Option<String>) {
    if let Ok(text) = crate::raw::scan::document(user.as_bytes())
        && Value::new(text).kind() == crate::raw::Kind::Object
    {
        let value = Value::new(text);
        let field = |name| value.get(name).and_then(Value::string).filter(|text| !text.is_empty());
        let device = field("device_id").unwrap_or_default();
        let account = field("account_uuid").unwrap_or_default();
        let person = (!device.is_empty() || !account.is_empty()).then(|| format!("{device}:{account}"));
        return (person, field("session_id").map(|session| session.into_owned()));
    }
    match user.rsplit_once("_session_") {
        Some((person, session)) => (Some(person.to_owned()), Some(session.to_owned())),
        None => (Some(user.to_owned()), None),
    }
}

fn tools(conversation: &Conversation<'_>, context: &Context<'_>, body: &mut Object<'_>, report: &mut Report) {
    if conversation.tools.is_empty() {
        if !matches!(conversation.tool_choice, None | Some(ToolChoice::Auto | ToolChoice::None)) {
            report.lost_field(Field::ToolChoice, "dropped: there are no tools to choose from");
        }
        return;
    }
    let mut list = body.array("tools");
    for each in &conversation.tools {
        tool(each, context, &mut list);
    }
    list.end();
    if let Some(choice) = &conversation.tool_choice {
        tool_choice(choice, conversation, context, body, report);
    }
    if let Some(parallel) = conversation.parallel_tools {
        if context.family.parallel_tools {
            body.bool("parallel_tool_calls", parallel);
        } else if !parallel {
            report.lost_field(Field::ParallelTools, "dropped: the model does not know it");
        }
    }
}

fn tool(tool: &Tool<'_>, context: &Context<'_>, list: &mut Array<'_>) {
    let mut entry = list.object();
    entry.str("type", "function");
    let mut function = entry.object("function");
    function.str("name", context.names.wire(&tool.name));
    if let Some(description) = &tool.description {
        function.text("description", description);
    }
    function.raw("parameters", &schema::parameters(tool.schema, context.server.strict_schemas));
    if tool.strict && context.server.own_fields && tool.schema.is_some_and(schema::is_strict) {
        function.bool("strict", true);
    }
    function.end();
    entry.end();
}

fn tool_choice(
    choice: &ToolChoice<'_>,
    conversation: &Conversation<'_>,
    context: &Context<'_>,
    body: &mut Object<'_>,
    report: &mut Report,
) {
    match choice {
        ToolChoice::Auto => drop(body.str("tool_choice", "auto")),
        ToolChoice::Any => drop(body.str("tool_choice", "required")),
        ToolChoice::None => drop(body.str("tool_choice", "none")),
        ToolChoice::Tool(name) if conversation.tools.iter().any(|tool| tool.name == *name) => {
            let mut choice = body.object("tool_choice");
            choice.str("type", "function");
            let mut function = choice.object("function");
            function.str("name", context.names.wire(name));
            function.end();
            choice.end();
        }
        ToolChoice::Tool(_) => {
            report.lost_field(Field::ToolChoice, "dropped: it names a tool that is not sent")
        }
    }
}
