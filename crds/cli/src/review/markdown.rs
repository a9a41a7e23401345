//! A review in words, as a comment in a pull request shows it.

use super::{
    access::Access,
    report::{Change, Effect, FieldChange, Object, Report},
};
use serde_json::Value;
use std::io::{self, Write};

/// How many names a line has before it is cut.
const NAMES: usize = 8;
/// The most characters of one value.
const VALUE: usize = 120;

/// Writes the review.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "## Tollgate policy review\n\n{}\n", summary(report))?;
    section(out, "Refused", report.unreadable.iter().map(|line| format!("❌ {}", text(line))))?;
    let told =
        |r: &super::report::Refused| format!("{}: {}: {}", text(&r.object), r.reason, text(&r.message));
    let title = if report.unreadable.is_empty() { "Refused" } else { "" };
    section(out, title, report.refused.iter().map(|r| format!("❌ {}", told(r))))?;
    section(out, "Leads nowhere", report.dangling.iter().map(|r| format!("⚠️ {}", told(r))))?;
    section(out, "Worth knowing", report.warnings.iter().map(|line| format!("⚠️ {}", text(line))))?;
    section(out, "Who gains, who loses", report.access.iter().flat_map(access))?;
    if !report.changes.is_empty() {
        writeln!(out, "### Changes\n")?;
    }
    for object in &report.changes {
        of_object(object, out)?;
    }
    if !report.not_read.is_empty() {
        writeln!(out, "_{}_", text(&report.not_read.to_string()))?;
    }
    Ok(())
}

fn summary(report: &Report) -> String {
    let refused = report.refused.len() + report.unreadable.len();
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

fn fields(report: &Report, effect: Effect) -> usize {
    report.changes.iter().flat_map(|object| &object.fields).filter(|field| field.effect == effect).count()
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn section(out: &mut impl Write, title: &str, lines: impl Iterator<Item = String>) -> io::Result<()> {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return Ok(());
    }
    if !title.is_empty() {
        writeln!(out, "### {title}\n")?;
    }
    for line in lines {
        writeln!(out, "- {line}")?;
    }
    writeln!(out)
}

fn access(access: &Access) -> Vec<String> {
    let difference = &access.difference;
    let who = names(&access.keys);
    let verb = |one: &'static str, many: &'static str| if access.keys.len() == 1 { one } else { many };
    let mut out = Vec::new();
    if let Some(off) = &difference.off {
        out.push(format!("🔻 {who}: {}", text(off)));
    }
    for (mark, verb, what, list) in [
        ("🔺", verb("gains", "gain"), "", &difference.gains_models),
        ("🔺", verb("gains", "gain"), " (tools)", &difference.gains_tools),
        ("🔻", verb("loses", "lose"), "", &difference.loses_models),
        ("🔻", verb("loses", "lose"), " (tools)", &difference.loses_tools),
    ] {
        if !list.is_empty() {
            out.push(format!("{mark} {who} {verb} {}{what}", names(list)));
        }
    }
    out
}

fn of_object(object: &Object, out: &mut impl Write) -> io::Result<()> {
    let what = match object.change {
        Change::Added => " (new)",
        Change::Removed => " (removed)",
        Change::Changed => "",
    };
    writeln!(out, "#### {} {}/{}{what}\n", object.kind, object.namespace, object.name)?;
    for field in &object.fields {
        writeln!(out, "- {}", of_field(field))?;
    }
    if object.change == Change::Removed && object.kind == "VirtualKey" {
        writeln!(out, "- Its counters stay: the same name with the same budgets goes on where it was.")?;
    }
    writeln!(out)
}

fn of_field(field: &FieldChange) -> String {
    let mark = match field.effect {
        Effect::Widens => "🔺 ",
        Effect::Narrows => "🔻 ",
        Effect::Attention => "👀 ",
        Effect::Neutral => "",
    };
    let path = format!("`{}`", code(&field.path));
    match (&field.before, &field.after) {
        (None, Some(after)) => format!("{mark}{path}: {}", value(after)),
        (Some(before), None) => format!("{mark}{path}: no longer {}", value(before)),
        (before, after) => {
            let side = |v: &Option<Value>| v.as_ref().map(value).unwrap_or_default();
            format!("{mark}{path}: {} → {}{}", side(before), side(after), percent(field))
        }
    }
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

fn value(value: &Value) -> String {
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut short: String = shown.chars().take(VALUE).collect();
    if short.len() < shown.len() {
        short.push('…');
    }
    format!("`{}`", code(&short))
}

fn names(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES).map(|name| format!("`{}`", code(name))).collect();
    match names.len().checked_sub(NAMES) {
        Some(more) if more > 0 => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

/// Text that cannot end a code span or a line.
fn code(text: &str) -> String {
    text.chars().map(|c| if c == '`' || c.is_control() { ' ' } else { c }).collect()
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
