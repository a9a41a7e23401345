//! What a changed field means: wider, narrower, worth a look, or neither.

use super::{fields::Field, window};
use serde::Serialize;
use serde_json::Value;
use tollgate_crds::api::{Span, Usd};
use tollgate_proto::Kind;

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Effect {
    /// Somebody may do or spend more.
    Widens,
    /// Where requests and credentials go, or what is recorded, is another.
    Attention,
    /// Somebody may do or spend less.
    Narrows,
    /// None of these.
    Neutral,
}

/// Which way more of a thing points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// A larger amount, or none at all, allows more.
    Limit,
    /// A larger amount allows more; none at all is the default.
    More,
    /// A later time, or none, allows more.
    Deadline,
    /// An item added allows more, one taken away less; a list that comes or goes as a whole may do either.
    Grant,
    /// An item added allows less.
    Restriction,
    /// A list that restricts by being there: an item added allows more, but the first one less.
    Filter,
    /// The words from the narrowest to the widest; absent is the first.
    Scale(&'static [&'static str]),
    /// A lower price lets a budget pay for more.
    Price,
    /// A budget's window, by the limits as well; see [`window::effect`].
    Window,
    /// A list of what counts against a budget: an item added counts more, and without the list all counts.
    Counted,
    /// Always worth a look.
    Look,
}

/// What a changed field does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// From now on.
    pub effect: Effect,
    /// At once: a budget begins anew, what was spent of it counts no more.
    pub renews: bool,
}

/// Which rule holds for a field: kinds, and the path with names left out. The first that matches counts.
const RULES: &[(Kind, &str, Rule)] = &[
    (Kind::VirtualKey, "budgets[].usd", Rule::Limit),
    (Kind::VirtualKey, "budgets[].tokens", Rule::Limit),
    (Kind::VirtualKey, "budgets[]", Rule::Restriction),
    (Kind::VirtualKey, "budgets[].period", Rule::Window),
    (Kind::VirtualKey, "budgets[].rolling", Rule::Window),
    (Kind::VirtualKey, "budgets[].timeZone", Rule::Window),
    (Kind::VirtualKey, "budgets[].models[]", Rule::Counted),
    (Kind::VirtualKey, "budgets[].*", Rule::Look),
    (Kind::VirtualKey, "limits.*", Rule::Limit),
    (Kind::VirtualKey, "models.allow[]", Rule::Grant),
    (Kind::VirtualKey, "models.deny[]", Rule::Restriction),
    (Kind::VirtualKey, "models", Rule::Look),
    (Kind::VirtualKey, "providers.allow[]", Rule::Filter),
    (Kind::VirtualKey, "providers.regions[]", Rule::Filter),
    (Kind::VirtualKey, "providers", Rule::Restriction),
    (Kind::VirtualKey, "tools[]", Rule::Grant),
    (Kind::VirtualKey, "tools[].allow[]", Rule::Grant),
    (Kind::VirtualKey, "tools[].deny[]", Rule::Restriction),
    (Kind::VirtualKey, "tools[].approve[]", Rule::Look),
    (Kind::VirtualKey, "tools[].requireSuggestion", Rule::Scale(&["true", "false"])),
    (Kind::VirtualKey, "disabled", Rule::Scale(&["true", "false"])),
    (Kind::VirtualKey, "anonymous", Rule::Scale(&["false", "true"])),
    (Kind::VirtualKey, "expiresAt", Rule::Deadline),
    (Kind::VirtualKey, "serviceAccounts[]", Rule::Grant),
    (Kind::VirtualKey, "token*", Rule::Look),
    (Kind::VirtualKey, "parentRef*", Rule::Look),
    (Kind::VirtualKey, "allowedNamespaces", Rule::Scale(&["Same", "All"])),
    (Kind::VirtualKey, "allowedNamespaces*", Rule::Look),
    (Kind::VirtualKey, "spending.enforcement", Rule::Scale(&["Strict", "Relaxed"])),
    (Kind::VirtualKey, "spending.unpriced", Rule::Scale(&["Deny", "Allow"])),
    (Kind::VirtualKey, "spending.onStoreFailure", Rule::Scale(&["Deny", "Allow"])),
    (Kind::VirtualKey, "logging*", Rule::Look),
    (Kind::ProviderRoute, "models[].price.tiers*", Rule::Look),
    (Kind::ProviderRoute, "models[].price", Rule::Look),
    (Kind::ProviderRoute, "models[].price.*", Rule::Price),
    (Kind::ProviderRoute, "models[].upstreamName", Rule::Look),
    (Kind::ProviderRoute, "backends[]", Rule::Look),
    (Kind::ProviderRoute, "backends[].weight", Rule::More),
    (Kind::ProviderRoute, "backends[].*", Rule::Look),
    (Kind::ProviderRoute, "fallbacks*", Rule::Look),
    (Kind::ProviderRoute, "allowedNamespaces", Rule::Scale(&["Same", "All"])),
    (Kind::ProviderRoute, "allowedNamespaces*", Rule::Look),
    (Kind::McpServer, "streamableHttp*", Rule::Look),
    (Kind::McpServer, "sse*", Rule::Look),
    (Kind::McpServer, "stdio*", Rule::Look),
    (Kind::McpServer, "auth*", Rule::Look),
    (Kind::McpServer, "tools.allow[]", Rule::Filter),
    (Kind::McpServer, "tools.pin", Rule::Scale(&["Strict", "TrustOnFirstUse", "Warn", "Off"])),
    (Kind::McpServer, "description", Rule::Look),
    (Kind::McpServer, "allowedNamespaces", Rule::Scale(&["Same", "All"])),
    (Kind::McpServer, "allowedNamespaces*", Rule::Look),
];

/// What a changed field of an object does, whose specs were and are these.
pub fn meaning(kind: Kind, field: &Field, before: &Value, after: &Value) -> Meaning {
    let path = without_names(&field.path);
    let rule = RULES.iter().find(|(of, pattern, _)| *of == kind && matches(pattern, &path));
    let plain = |effect: Effect| Meaning { effect, renews: false };
    match rule {
        None => plain(Effect::Neutral),
        Some((_, _, Rule::Window)) => {
            let effect = budget(before, &field.path).zip(budget(after, &field.path));
            let effect = effect.map_or(Some(Effect::Attention), |(old, new)| window::effect(old, new));
            Meaning { effect: effect.unwrap_or(Effect::Neutral), renews: effect.is_some() }
        }
        Some((_, _, rule)) => plain(effect(*rule, field)),
    }
}

/// The budget of a spec that a path such as `budgets[month].period` lies in.
pub fn budget<'s>(spec: &'s Value, path: &str) -> Option<&'s Value> {
    let (name, _) = path.strip_prefix("budgets[")?.split_once(']')?;
    let budgets = spec.get("budgets")?.as_array()?;
    budgets.iter().find(|budget| budget.get("name").and_then(Value::as_str) == Some(name))
}

fn effect(rule: Rule, field: &Field) -> Effect {
    match rule {
        Rule::Limit => amounts(field, Absent::Unlimited),
        Rule::More => Effect::Neutral,
        Rule::Deadline => deadline(field),
        Rule::Grant if field.whole && field.path.contains("allow") => Effect::Attention,
        Rule::Grant => added(field, Effect::Widens, Effect::Narrows),
        Rule::Restriction => added(field, Effect::Narrows, Effect::Widens),
        Rule::Filter => Effect::Attention,
        Rule::Scale(words) => scale(words, field),
        Rule::Price => match amounts(field, Absent::Default) {
            Effect::Widens => Effect::Narrows,
            Effect::Narrows => Effect::Widens,
            other => other,
        },
        Rule::Counted if field.whole => added(field, Effect::Widens, Effect::Narrows),
        Rule::Counted => added(field, Effect::Narrows, Effect::Widens),
        Rule::Window | Rule::Look => Effect::Attention,
    }
}

/// What the absence of an amount means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    Unlimited,
    Default,
}

fn amounts(field: &Field, absent: Absent) -> Effect {
    let (before, after) = (field.before.as_ref(), field.after.as_ref());
    match (before.and_then(amount), after.and_then(amount), absent) {
        (Some(before), Some(after), _) if after > before => Effect::Widens,
        (Some(before), Some(after), _) if after < before => Effect::Narrows,
        (Some(_), None, Absent::Unlimited) if after.is_none() => Effect::Widens,
        (None, Some(_), Absent::Unlimited) if before.is_none() => Effect::Narrows,
        _ => Effect::Attention,
    }
}

/// A number, or dollars as manifests write them (in nano-USD).
fn amount(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => Usd(text.clone()).nanos().ok().or_else(|| {
            Some(u64::try_from(Span(text.clone()).parse().ok()?.as_millis()).unwrap_or(u64::MAX))
        }),
        _ => None,
    }
}

fn deadline(field: &Field) -> Effect {
    let time = |value: &Option<Value>| value.as_ref()?.as_str()?.parse::<jiff::Timestamp>().ok();
    match (time(&field.before), time(&field.after)) {
        (Some(before), Some(after)) if after > before => Effect::Widens,
        (Some(_), Some(_)) | (None, Some(_)) => Effect::Narrows,
        (_, None) => Effect::Widens,
    }
}

fn added(field: &Field, came: Effect, went: Effect) -> Effect {
    match (&field.before, &field.after) {
        (None, Some(_)) => came,
        (Some(_), None) => went,
        _ => Effect::Attention,
    }
}

fn scale(words: &[&str], field: &Field) -> Effect {
    let place = |value: &Option<Value>| match value {
        // An absent word is its default: the narrow end, but for switches that stand at false.
        None => words.iter().position(|word| *word == "false").or(Some(0)),
        Some(value) => {
            let said = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            words.iter().position(|word| *word == said)
        }
    };
    match (place(&field.before), place(&field.after)) {
        (Some(before), Some(after)) if after > before => Effect::Widens,
        (Some(before), Some(after)) if after < before => Effect::Narrows,
        (Some(_), Some(_)) => Effect::Neutral,
        _ => Effect::Attention,
    }
}

/// `budgets[month].usd` as `budgets[].usd`.
fn without_names(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut depth = 0_usize;
    for letter in path.chars() {
        match letter {
            '[' => {
                depth += 1;
                out.push('[');
            }
            ']' => {
                depth = depth.saturating_sub(1);
                out.push(']');
            }
            other if depth == 0 => out.push(other),
            _ => {}
        }
    }
    out
}

/// A star at the end stands for any rest.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == pattern,
    }
}
