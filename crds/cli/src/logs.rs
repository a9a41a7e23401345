//! `kubectl tollgate logs`: requests and tool calls, also as they come.

use crate::{
    cluster::{Gateway, Reach, Release, Target},
    table::printable,
};
use anyhow::ensure;
use serde::Deserialize;
use serde_json::Value;
use std::{io::Write, process::ExitCode, time::Duration};

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on with what comes.
    #[arg(long, short)]
    follow: bool,
    /// Only this key and the keys below it.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = qualified)]
    key: Option<String>,
    /// Only this model (`route/model`).
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Only these: failed, 2xx, 4xx, 5xx or a status such as 429.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Only these: model or tool.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Words to search in what is kept.
    #[arg(long, short, value_name = "WORDS")]
    query: Option<String>,
    /// How far back, such as 15m, 24h or 7d.
    #[arg(long, default_value = "1h", value_name = "SPAN")]
    since: String,
    /// How many at most, the newest.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    tail: u16,
    /// Write each record as one line of JSON.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    release: Release,
    #[command(flatten)]
    target: Target,
}

/// The forms of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A line for people.
    Text,
    /// A line for programs.
    Json,
}

#[derive(Debug, Deserialize)]
struct Page {
    records: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Live {
    records: Vec<Value>,
    after: i64,
}

/// How often new records are asked for.
const EVERY: Duration = Duration::from_secs(1);
/// How many answers in a row may fail before it gives up: a gateway's pod may be replaced.
const MOST_FAILURES: u32 = 5;

/// Shows the records.
///
/// # Errors
/// When the gateway cannot be asked, or the output cannot be written.
pub async fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let gateway = Gateway::reach(&args.target, &args.release, &args.reach).await?;
    let begin: Live = gateway.get("/logs/api/live").await?;
    let filter = args.filter();
    let path = format!("/logs/api/records?limit={}&since={}{filter}", args.tail, encoded(&args.since));
    let page: Page = gateway.get(&path).await?;
    for record in page.records.iter().rev() {
        args.show(record, out)?;
    }
    if page.records.is_empty() && !args.follow && args.output == Output::Text {
        eprintln!("no records within {} (--since 24h looks further back)", args.since);
    }
    let newest = page.records.iter().filter_map(|r| r.get("seq")?.as_i64()).max();
    if args.follow {
        follow(args, gateway, newest.unwrap_or(0).max(begin.after), out).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what comes after `after`, until the gateway is gone for good.
async fn follow(
    args: &Args,
    mut gateway: Gateway,
    mut after: i64,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let filter = args.filter();
    let mut failures = 0;
    loop {
        tokio::time::sleep(EVERY).await;
        match gateway.get::<Live>(&format!("/logs/api/live?limit=200&after={after}{filter}")).await {
            Ok(live) => {
                failures = 0;
                after = live.after;
                for record in &live.records {
                    args.show(record, out)?;
                }
            }
            Err(error) => {
                failures += 1;
                ensure!(failures < MOST_FAILURES, error.context("the gateway does not answer any more"));
                if let Ok(other) = Gateway::reach(&args.target, &args.release, &args.reach).await {
                    gateway = other;
                }
            }
        }
    }
}

// === impl Args ===

impl Args {
    fn filter(&self) -> String {
        let parts = [
            ("key", &self.key),
            ("model", &self.model),
            ("status", &self.status),
            ("kind", &self.kind),
            ("q", &self.query),
        ];
        let set = parts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        set.map(|(name, value)| format!("&{name}={}", encoded(value))).collect()
    }

    fn show(&self, record: &Value, out: &mut impl Write) -> anyhow::Result<()> {
        match self.output {
            Output::Json => writeln!(out, "{record}")?,
            Output::Text => writeln!(out, "{}", line(record))?,
        }
        out.flush()?;
        Ok(())
    }
}

/// Records know keys by namespace and name: a name alone would match none of them.
fn qualified(key: &str) -> Result<String, String> {
    match key.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(key.to_owned()),
        _ => Err("a key is namespace/name, such as team-a/ada".to_owned()),
    }
}

/// One record for people: when, who, what, how it went, tokens, money, time.
fn line(record: &Value) -> String {
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| record.get(name).and_then(Value::as_u64);
    let at =
        record.get("at").and_then(Value::as_i64).and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let key = record.get("tree").and_then(|tree| tree.get(0)).and_then(Value::as_str).unwrap_or("(no key)");
    let what = match text("kind") {
        "tool" => Some(format!("{}/{}", text("server"), text("tool"))),
        _ => [text("model"), text("model_asked"), "-"]
            .into_iter()
            .find(|name| !name.is_empty())
            .map(str::to_owned),
    };
    let tokens = record.get("tokens").filter(|tokens| !tokens.is_null());
    let of = |name: &str| tokens.and_then(|t| t.get(name)).and_then(Value::as_u64).unwrap_or(0);
    let tokens = tokens.map(|_| {
        let input = of("input") + of("cache_read") + of("cache_write") + of("cache_write_1h");
        format!(" {input}→{} tokens", of("output"))
    });
    let cost = number("cost")
        .map(|nanos| format!(" ${}.{:06}", nanos / 1_000_000_000, nanos % 1_000_000_000 / 1000));
    let time = number("total_us").map(|us| format!(" {} ms", us / 1000));
    let error = Some(text("error")).filter(|error| !error.is_empty()).map(|error| format!(" {error}"));
    printable(&format!(
        "{} {} {key} {}{}{}{}{}",
        at.map(|at| at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()).unwrap_or_default(),
        number("status").unwrap_or(0),
        what.unwrap_or_default(),
        tokens.unwrap_or_default(),
        cost.unwrap_or_default(),
        time.unwrap_or_default(),
        error.unwrap_or_default(),
    ))
}

/// For a URL's query.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_has_a_namespace() {
        assert_eq!(qualified("team-a/ada"), Ok("team-a/ada".to_owned()));
        for wrong in ["ada", "/ada", "team-a/"] {
            assert!(qualified(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_record_is_one_line_whatever_is_in_it() {
        let record = json!({
            "at": 1_763_856_000_123_i64, "kind": "model", "tree": ["eng/a", "eng/team"], "status": 402, "model": "o/gpt-5",
            "tokens": {"input": 10, "cache_read": 5, "output": 7}, "cost": 1_234_567_890_u64, "total_us": 12_345,
            "error": "used\nup\u{1b}[2J",
        });
        assert_eq!(
            line(&record),
            "2025-11-23T00:00:00.123Z 402 eng/a o/gpt-5 15→7 tokens $1.234567 12 ms used up [2J"
        );
        assert_eq!(encoded("a b/ü"), "a%20b%2F%C3%BC");
    }
}
