//! `/logs/records/{id}`: one record in full.

use super::{Row, cost, no_content, record_id};
use crate::{
    logs::{
        LogsState, Viewer,
        format::{amount, duration, grouped, usd},
        params::Params,
        respond::{Failure, Frame, html},
        talk::{self, Kind, Part},
    },
    records::{Full, Unit},
};
use askama::Template;
use axum::{
    Extension,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Html,
};
use uuid::Uuid;

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage {
    frame: Frame,
    title: String,
    r: Row,
    reason: &'static str,
    /// The keys up to the root, each with the list it leads to.
    tree: Vec<(String, String)>,
    usage: Option<UsageView>,
    latency: Vec<LatencyPart>,
    latency_words: String,
    facts: Vec<Fact>,
    charges: Vec<(String, String)>,
    metadata: Vec<(String, String)>,
    attempts: Vec<String>,
    degradations: Vec<(String, String)>,
    talk: Option<Talk>,
    no_content: &'static str,
    previous: Option<Uuid>,
    following: Option<Uuid>,
}

/// What was used, in words.
struct UsageView {
    cost: String,
    tokens: Vec<(&'static str, String)>,
    notes: Vec<String>,
}

/// One part of the latency's bar.
struct LatencyPart {
    name: &'static str,
    class: &'static str,
    time: String,
    x: String,
    width: String,
}

/// One line about the request.
struct Fact {
    name: &'static str,
    value: String,
    link: Option<String>,
}

/// The conversation.
struct Talk {
    system: Vec<Part>,
    system_size: String,
    tools: Vec<String>,
    request: String,
    earlier: Vec<Said>,
    messages: Vec<Said>,
    missing: usize,
}

/// One message with its tone.
struct Said {
    role: String,
    tone: &'static str,
    parts: Vec<Part>,
}

/// Messages that are shown at once; earlier ones are folded.
const MESSAGES_SHOWN: usize = 12;

/// `GET /logs/records/{id}`
pub(crate) async fn page(
    State(state): State<LogsState>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Html<String>, Failure> {
    let id = record_id(&id).ok_or(Failure::NotFound)?;
    let full = state.store.record(&viewer, id).await?.ok_or(Failure::NotFound)?;
    html(&RecordPage::new(Frame::new("records", &viewer, &headers), full))
}

// === impl RecordPage ===

impl RecordPage {
    fn new(frame: Frame, full: Full) -> Self {
        let r = Row::new(&full.listed);
        let link = |key: &str| Params { key: key.to_owned(), ..Params::default() }.link(&[]);
        let (latency, latency_words) = latency(&full);
        RecordPage {
            frame,
            title: format!("{} {}", full.listed.status, r.what),
            reason: reason(full.listed.status, full.listed.is_error),
            tree: full.listed.tree.iter().map(|key| (key.to_string(), link(key))).collect(),
            usage: usage(&full),
            latency,
            latency_words,
            facts: facts(&full),
            charges: charges(&full),
            talk: full.conversation.as_ref().map(|_| Talk::new(&full)),
            no_content: no_content(full.listed.content),
            metadata: full.metadata,
            attempts: full.attempts,
            degradations: full.degradations,
            previous: full.previous,
            following: full.following,
            r,
        }
    }
}

fn reason(status: u16, is_error: bool) -> &'static str {
    match status {
        200 if is_error => "tool error",
        200 => "OK",
        402 => "budget used up",
        429 => "limit reached",
        499 => "client left",
        529 => "overloaded",
        other => StatusCode::from_u16(other).ok().and_then(|s| s.canonical_reason()).unwrap_or(""),
    }
}

fn usage(full: &Full) -> Option<UsageView> {
    let listed = &full.listed;
    let tokens = listed.tokens?;
    let rows = [
        ("Input", tokens.input),
        ("Read from cache", tokens.cache_read),
        ("Written to cache", tokens.cache_write),
        ("Written to 1 h cache", tokens.cache_write_1h),
        ("Output", tokens.output),
        ("of it reasoning", tokens.reasoning),
        ("Web searches", tokens.web_searches),
    ];
    let shown = rows.into_iter().filter(|(name, count)| *count > 0 || matches!(*name, "Input" | "Output"));
    let mut notes = Vec::new();
    if listed.usage_estimated {
        notes.push("Estimated: the upstream gave no usage.".to_owned());
    }
    if listed.cost.is_none() {
        notes.push("The price catalogue has no price of this model.".to_owned());
    }
    if full.overrun > 0 {
        notes.push(format!("{} over what was held.", usd(full.overrun)));
    }
    if let Some(cap) = full.output_cap {
        notes.push(format!("The gateway set the output cap to {} tokens.", grouped(cap)));
    }
    let cost = Some(cost(listed)).filter(|c| !c.is_empty()).unwrap_or_else(|| "$0".to_owned());
    Some(UsageView { cost, tokens: shown.map(|(name, count)| (name, grouped(count))).collect(), notes })
}

fn latency(full: &Full) -> (Vec<LatencyPart>, String) {
    let (total, gateway) = (full.listed.total_us, full.listed.gateway_us);
    let first = full.listed.first_byte_us.unwrap_or(total).clamp(gateway.min(total), total);
    let parts = [
        ("In the gateway", "p1", 0, gateway.min(total)),
        ("Until the first byte", "p2", gateway.min(total), first),
        ("Until the last byte", "p3", first, total),
    ];
    let mut out = Vec::new();
    let mut words = Vec::new();
    for (name, class, from, to) in parts {
        if name.starts_with("Until the last") && full.listed.first_byte_us.is_none() {
            continue;
        }
        let time = duration(to - from);
        words.push(format!("{}: {time}", name.to_lowercase()));
        out.push(LatencyPart { name, class, time, x: share(from, total), width: share(to - from, total) });
    }
    (out, words.join(", "))
}

/// Per cent with one decimal, for a bar.
fn share(part: u64, whole: u64) -> String {
    let tenths = u128::from(part) * 1000 / u128::from(whole.max(1));
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn facts(full: &Full) -> Vec<Fact> {
    let listed = &full.listed;
    let mut facts = Vec::new();
    let mut fact = |name, value: Option<String>| {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            facts.push(Fact { name, value, link: None });
        }
    };
    let asked = listed.model_asked.clone().filter(|asked| Some(asked) != listed.model.as_ref());
    let streamed = if listed.stream { ", streamed" } else { "" };
    fact("API", listed.api.as_ref().map(|api| format!("{api}{streamed}")));
    fact("Model asked for", asked);
    fact("Model that answered", full.answer_model.clone());
    fact("Provider", listed.provider.clone());
    fact("Route", full.route.clone());
    fact("Backend", full.backend.clone());
    fact("Ended by", listed.stop.clone());
    fact("Server", listed.server.clone());
    fact("Method", full.method.clone());
    let suggested =
        |yes: bool| if yes { "yes, by an answer" } else { "no: no answer suggested it" }.to_owned();
    fact("Suggested", full.suggested.filter(|_| full.suggested_by.is_none()).map(suggested));
    fact("Client", full.user_agent.clone());
    fact("Trace", full.trace_id.clone());
    fact("Upstream’s id", full.answer_id.clone());
    if let Some(session) = &listed.session {
        let link = Params { session: session.clone(), ..Params::default() }.link(&[]);
        facts.push(Fact { name: "Session", value: session.clone(), link: Some(format!("/logs{link}")) });
    }
    if let Some(id) = full.suggested_by {
        let (value, link) = ("this answer".to_owned(), Some(format!("/logs/records/{id}")));
        facts.push(Fact { name: "Suggested by", value, link });
    }
    facts
}

fn charges(full: &Full) -> Vec<(String, String)> {
    let charge = |c: &crate::records::Charge| {
        (format!("{} · {}", c.key, c.budget), amount(c.amount, c.unit == Unit::Tokens))
    };
    full.postings.iter().map(charge).collect()
}

// === impl Talk ===

impl Talk {
    fn new(full: &Full) -> Self {
        let Some(said) = &full.conversation else { return Talk::empty() };
        if full.listed.kind == "tool" {
            let said_by = |role: &str, tone, parts| Said { role: role.to_owned(), tone, parts };
            let messages = vec![
                said_by("arguments", "", vec![talk::arguments(&said.request)]),
                said_by("result", "answer", talk::result(&said.answer)),
            ];
            return Talk { messages, missing: said.missing, ..Talk::empty() };
        }
        let system = talk::system(said);
        let plain = |m: talk::Message| Said { role: m.role, tone: "", parts: m.parts };
        let mut earlier: Vec<Said> = talk::messages(said).into_iter().map(plain).collect();
        let shown = earlier.len().saturating_sub(MESSAGES_SHOWN);
        // Folding away one or two messages would hide more than it saves.
        let mut messages = earlier.split_off(if shown > 2 { shown } else { 0 });
        let answer = talk::answer(said, &full.tool_calls);
        if !answer.parts.is_empty() {
            messages.push(Said { role: "answer".to_owned(), tone: "answer", parts: answer.parts });
        }
        let request = match &said.request {
            serde_json::Value::Object(fields) if fields.is_empty() => String::new(),
            other => talk::pretty(other),
        };
        Talk {
            system_size: talk::characters(system.iter().map(|part| part.chars).sum()),
            system,
            tools: talk::tool_names(said),
            request,
            earlier,
            messages,
            missing: said.missing,
        }
    }

    fn empty() -> Self {
        Talk {
            system: Vec::new(),
            system_size: String::new(),
            tools: Vec::new(),
            request: String::new(),
            earlier: Vec::new(),
            messages: Vec::new(),
            missing: 0,
        }
    }
}
