//! A review in words, as a comment in a pull request shows it.

use super::{
    access::Access,
    merge::{Group, OWN_NAME},
    money,
    page::Page,
    report::{Change, Effect, FieldChange, Refused, Report},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    io::{self, Write},
};

/// How many names stand in a line; more of them can be unfolded.
const NAMES: usize = 5;
/// The most names that can be unfolded. All are in the JSON.
const UNFOLDED: usize = 500;
/// How many values a line has before it is cut.
const VALUES: usize = 12;
/// The most characters of one value.
const VALUE: usize = 120;

/// Writes the review.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut page = Page::default();
    page.paragraph("## Tollgate policy review");
    page.paragraph(&summary(report));
    let told = |r: &Refused| format!("{}: {}: {}", text(&r.object), r.reason, text(&r.message));
    let unreadable = report.unreadable.iter().map(|line| format!("❌ {}", text(line)));
    section(&mut page, "Refused", unreadable.chain(report.refused.iter().map(|r| format!("❌ {}", told(r)))));
    section(&mut page, "Leads nowhere", report.dangling.iter().map(|r| format!("⚠️ {}", told(r))));
    section(&mut page, "Worth knowing", report.warnings.iter().map(|line| format!("⚠️ {}", text(line))));
    let money =
        report.money.iter().map(|sum| format!("{} {}", if sum.is_more() { "🔺" } else { "🔻" }, sum.words()));
    section(&mut page, "Money", money);
    section(&mut page, "Who gains, who loses", report.access.iter().flat_map(access));
    if !report.changes.is_empty() {
        page.paragraph("### Changes");
    }
    report.changes.iter().for_each(|group| of_group(group, &mut page));
    if !report.not_read.is_empty() {
        page.line(&format!("<sub>{}</sub>", text(&report.not_read.to_string())));
    }
    out.write_all(page.finish().as_bytes())
}

fn summary(report: &Report) -> String {
    let refused: BTreeSet<&str> = report.refused.iter().map(|r| r.object.as_str()).collect();
    let refused = refused.len() + report.unreadable.len();
    let count = |test: &dyn Fn(&Access) -> bool| -> usize {
        report.access.iter().filter(|a| test(a)).map(|a| a.keys.len()).sum()
    };
    let mut parts = Vec::new();
    if refused > 0 {
        parts.push(format!("**{} refused**", counted(refused, "manifest is", "manifests are")));
    }
    for (number, one, many) in [
        (count(&|a| a.difference.widens()), "key gains access", "keys gain access"),
        (count(&|a| a.difference.narrows()), "key loses access", "keys lose access"),
        (fields(report, Effect::Widens), "setting is wider", "settings are wider"),
        (fields(report, Effect::Narrows), "setting is narrower", "settings are narrower"),
        (fields(report, Effect::Attention), "setting is worth a look", "settings are worth a look"),
    ] {
        if number > 0 {
            parts.push(counted(number, one, many));
        }
    }
    if parts.is_empty() {
        let quiet = report.changes.is_empty();
        return if quiet { "Nothing changes." } else { "Nobody gains or loses anything." }.to_owned();
    }
    format!("{}.", parts.join(", "))
}

/// How many settings of how many objects do this.
fn fields(report: &Report, effect: Effect) -> usize {
    let of = |group: &Group| group.fields.iter().filter(|f| f.effect == effect).count() * group.objects.len();
    report.changes.iter().map(of).sum()
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn section(page: &mut Page, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return;
    }
    page.paragraph(&format!("### {title}"));
    lines.for_each(|line| page.line(&format!("- {line}")));
    page.line("");
}

fn access(access: &Access) -> Vec<String> {
    let difference = &access.difference;
    let (who, unfold) = objects(&access.keys, "key", "keys");
    let verb = |one: &'static str, many: &'static str| if access.keys.len() == 1 { one } else { many };
    let mut out = Vec::new();
    if let Some(off) = &difference.off {
        out.push(format!("🔻 {who}: {}{unfold}", text(off)));
    }
    for (mark, verb, what, list) in [
        ("🔺", verb("gains", "gain"), "", &difference.gains_models),
        ("🔺", verb("gains", "gain"), " (tools)", &difference.gains_tools),
        ("🔻", verb("loses", "lose"), "", &difference.loses_models),
        ("🔻", verb("loses", "lose"), " (tools)", &difference.loses_tools),
    ] {
        if !list.is_empty() {
            let values: Vec<String> = list.iter().map(|name| format!("`{}`", code(name))).collect();
            out.push(format!("{mark} {who} {verb} {}{what}{unfold}", several(&values)));
        }
    }
    out
}

fn of_group(group: &Group, page: &mut Page) {
    let what = match (group.change, group.also_above) {
        (Change::Added, false) => " (new)",
        (Change::Added, true) => " (new; more of it above)",
        (Change::Removed, _) => " (removed)",
        (Change::Changed, false) => "",
        (Change::Changed, true) => " (more of it above)",
    };
    let kind = &group.kind;
    match group.objects.as_slice() {
        [one] => page.paragraph(&format!("#### {kind} {}{what}", text(one))),
        several if several.len() <= NAMES => {
            let names: Vec<String> = several.iter().map(|name| text(name)).collect();
            page.paragraph(&format!("#### {kind}s {}{what}", names.join(", ")));
        }
        many => {
            page.paragraph(&format!("#### {} {kind}s{what}", many.len()));
            page.paragraph(unfolded(many).trim_start());
        }
    }
    if group.has_own_names() {
        page.paragraph(&format!("`{OWN_NAME}` stands for each one's own name."));
    }
    lines(group).iter().for_each(|line| page.line(&format!("- {line}")));
    if group.change == Change::Removed && group.kind == "VirtualKey" {
        page.line("- Counters stay: the same name with the same budgets goes on where it was.");
    }
    page.line("");
}

/// A line a field; items that came to, or went from, the same list share one.
fn lines(group: &Group) -> Vec<String> {
    let mut out: Vec<(&FieldChange, Vec<String>)> = Vec::new();
    for field in &group.fields {
        let sides = |f: &FieldChange| (f.before.is_some(), f.after.is_some());
        let goes_on = out.last().is_some_and(|(last, _)| {
            last.path == field.path && last.effect == field.effect && sides(last) == sides(field)
        });
        let shown = of_field(field, group.objects.len());
        match out.last_mut() {
            Some((_, values)) if goes_on => values.push(shown),
            _ => out.push((field, vec![shown])),
        }
    }
    let line = |(field, values): &(&FieldChange, Vec<String>)| {
        let mark = match field.effect {
            Effect::Widens => "🔺 ",
            Effect::Narrows => "🔻 ",
            Effect::Attention => "👀 ",
            Effect::Neutral => "",
        };
        let gone = if field.after.is_none() { "no longer " } else { "" };
        format!("{mark}{}: {gone}{}", name(&field.path), several(values))
    };
    out.iter().map(line).collect()
}

/// `budgets[month].usd` as people say it, everything else as it is written.
fn name(path: &str) -> String {
    let budget = path.strip_prefix("budgets[").and_then(|rest| rest.split_once(']'));
    if let Some((annotation, "")) = path.strip_prefix("metadata.annotations[").and_then(|p| p.split_once(']'))
    {
        return format!("annotation `{}`", code(annotation));
    }
    match budget {
        Some((budget, "" | ".usd")) => format!("budget `{}`", code(budget)),
        _ => format!("`{}`", code(path)),
    }
}

/// What a field of `count` objects was and is.
fn of_field(field: &FieldChange, count: usize) -> String {
    let show = |v: &Value| shown(&field.path, v);
    let told = match (&field.before, &field.after) {
        (None, Some(one)) | (Some(one), None) => show(one),
        (before, after) => {
            let side = |v: &Option<Value>| v.as_ref().map(show).unwrap_or_default();
            format!("{} → {}{}{}", side(before), side(after), percent(field), in_all(field, count))
        }
    };
    let anew = if field.renews { " (begins anew: what was spent counts no more)" } else { "" };
    format!("{told}{anew}")
}

/// By how much an amount changed.
fn percent(field: &FieldChange) -> String {
    let number = |value: &Option<Value>| match value {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.parse::<f64>().ok(),
        _ => None,
    };
    match (number(&field.before), number(&field.after)) {
        (Some(before), Some(after)) if before > 0.0 => {
            format!(" ({:+.0} %)", (after - before) / before * 100.0)
        }
        _ => String::new(),
    }
}

/// What the change of a budget comes to over all who have it.
fn in_all(field: &FieldChange, count: usize) -> String {
    let nanos =
        |value: &Option<Value>| value.as_ref().and_then(Value::as_str).and_then(money::nanos).map(u128::from);
    let (Some(per), Some(before), Some(after)) = (&field.per, nanos(&field.before), nanos(&field.after))
    else {
        return String::new();
    };
    if count < 2 {
        return String::new();
    }
    let many = u128::try_from(count).unwrap_or(u128::MAX);
    let sign = if after > before { '+' } else { '−' };
    format!(": {sign}{} {per} in all", money::dollars(before.abs_diff(after).saturating_mul(many)))
}

/// A value; budgets in words.
fn shown(path: &str, value: &Value) -> String {
    let of_budget = path.starts_with("budgets[");
    if of_budget && path.ends_with("].usd") {
        let nanos = value.as_str().and_then(money::nanos);
        return nanos.map_or_else(|| plain(value), |nanos| money::dollars(nanos.into()));
    }
    let words = (of_budget && path.ends_with(']')).then(|| budget(value)).flatten();
    words.unwrap_or_else(|| plain(value))
}

/// `$200 a month`, `2,000,000 tokens in any 24h (only anthropic/*)`.
fn budget(value: &Value) -> Option<String> {
    let fields = value.as_object()?;
    let limit = match (fields.get("usd"), fields.get("tokens")) {
        (Some(usd), None) => money::dollars(money::nanos(usd.as_str()?)?.into()),
        (None, Some(tokens)) => format!("{} tokens", money::thousands(tokens.as_u64()?.into())),
        _ => return None,
    };
    let zone = fields.get("timeZone").and_then(Value::as_str).map(|zone| format!(" ({})", text(zone)));
    let models = fields.get("models").map(|models| format!(", only {}", plain(models)));
    Some(format!(
        "{limit} {}{}{}",
        text(&money::per(value)?),
        zone.unwrap_or_default(),
        models.unwrap_or_default()
    ))
}

fn plain(value: &Value) -> String {
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut short: String = shown.chars().take(VALUE).collect();
    if short.len() < shown.len() {
        short.push('…');
    }
    format!("`{}`", code(&short))
}

/// The first values, and how many more there are.
fn several(values: &[String]) -> String {
    let shown = values.get(..VALUES).unwrap_or(values).join(", ");
    match values.len().saturating_sub(VALUES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Few names as they are; of many the number, and the names to unfold.
fn objects(names: &[String], one: &str, many: &str) -> (String, String) {
    if names.len() > NAMES {
        return (format!("**{}**", counted(names.len(), one, many)), unfolded(names));
    }
    let shown: Vec<String> = names.iter().map(|name| format!("`{}`", code(name))).collect();
    (shown.join(", "), String::new())
}

/// Names that show when somebody asks.
fn unfolded(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(UNFOLDED).map(|name| html(name)).collect();
    let more = match names.len().saturating_sub(UNFOLDED) {
        0 => String::new(),
        more => format!(" and {more} more (all: <code>--output json</code>)"),
    };
    format!(" <details><summary>names</summary>{}{more}</details>", shown.join(", "))
}

/// Text that cannot end a code span or a line.
fn code(text: &str) -> String {
    text.chars().map(|c| if c == '`' || c.is_control() { ' ' } else { c }).collect()
}

/// Text that is no markup within HTML either.
fn html(name: &str) -> String {
    text(&name.replace('&', "&amp;"))
}

/// Text that is no markup: manifests of a pull request are anybody's words.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '@' => {
                out.push('\\');
                out.push(letter);
            }
            c if c.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}
