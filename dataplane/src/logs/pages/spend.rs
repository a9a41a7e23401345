//! `/logs/spend`: what was spent, by whom, on what, and the state of budgets.

use super::{notice, now};
use crate::{
    logs::{
        KeySpend, LogsState, Viewer,
        format::{amount, duration, grouped, instant, percent, short, usd, utc},
        params::Params,
        respond::{Failure, Frame, html},
    },
    records::{Named, Period, Spend, Sum},
};
use askama::Template;
use axum::{
    Extension,
    extract::{Query, State},
    http::HeaderMap,
    response::Html,
};
use std::sync::Arc;
use tollgate_ledger::{budget::Limit, charge::BudgetState};

#[derive(Template)]
#[template(path = "spend.html")]
struct SpendPage {
    frame: Frame,
    params: Params,
    since: String,
    periods: &'static [(&'static str, &'static str)],
    keys: Vec<Arc<str>>,
    notice: Option<String>,
    problem: Option<String>,
    /// Name, figure, note.
    tiles: Vec<(&'static str, String, String)>,
    budgets: Vec<BudgetRow>,
    chart: Chart,
    days_words: String,
    days: Vec<Day>,
    tables: Vec<Table>,
}

/// A budget's row.
struct BudgetRow {
    key: String,
    name: String,
    used: String,
    limit: String,
    held: String,
    percent: u64,
    width: u64,
    /// `near` from 80 %, `over` from 100 %.
    tone: &'static str,
    resets: String,
    resets_utc: String,
}

/// The days as bars.
struct Chart {
    width: usize,
    bars: Vec<Bar>,
    first: String,
    last: String,
    most: String,
}

struct Bar {
    x: usize,
    y: u64,
    width: usize,
    height: u64,
    label: String,
}

/// A sum in words.
struct Words {
    cost: String,
    requests: String,
    failed: String,
    input: String,
    cached: String,
    output: String,
}

struct Day {
    name: String,
    requests: String,
    failed: String,
    input: String,
    output: String,
    cost: String,
}

/// A table of sums by name.
struct Table {
    id: &'static str,
    title: &'static str,
    column: &'static str,
    money: bool,
    timed: bool,
    rows: Vec<SumRow>,
}

struct SumRow {
    name: String,
    link: Option<String>,
    share: u64,
    sum: Words,
    p50: String,
    p95: String,
}

const PERIODS: &[(&str, &str)] =
    &[("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days"), ("90d", "90 days"), ("365d", "a year")];

/// `GET /logs/spend`
pub(crate) async fn page(
    State(state): State<LogsState>,
    Extension(viewer): Extension<Viewer>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Html<String>, Failure> {
    let (hours, problem) = match params.spend_hours() {
        Ok(hours) => (hours, None),
        Err(error) => (7 * 24, Some(error.to_string())),
    };
    let period = Period::last(now(), hours, params.offset());
    let key = Some(params.key.trim()).filter(|key| !key.is_empty());
    let spend = state.store.spend(&viewer, period, key).await?;
    let (keys, _) = state.store.names(&viewer, period.from).await?;
    let wanted = |b: &KeySpend| key.is_none_or(|key| b.tree.iter().any(|k| **k == *key));
    let budgets =
        (state.budgets)(viewer.clone()).await.into_iter().filter(wanted).flat_map(rows_of).collect();
    html(&SpendPage {
        frame: Frame::new("spend", &viewer, &headers),
        since: if params.since.trim().is_empty() { "7d".to_owned() } else { params.since.trim().to_owned() },
        periods: PERIODS,
        keys,
        notice: notice(&state.store),
        problem,
        tiles: tiles(&spend),
        budgets,
        days_words: format!("Spend by day: {} in all", usd(spend.total.cost)),
        chart: Chart::new(&spend.by_day, period.offset),
        days: spend.by_day.iter().rev().map(|(day, sum)| Day::new(*day, period.offset, sum)).collect(),
        tables: tables(&spend),
        params,
    })
}

fn tiles(spend: &Spend) -> Vec<(&'static str, String, String)> {
    let total = &spend.total;
    let time = |times: Option<(u64, u64)>, at: fn((u64, u64)) -> u64| {
        times.map_or("–".to_owned(), |t| duration(at(t)))
    };
    let unpriced = match total.unpriced {
        0 => format!("{} tokens in, {} out", short(total.total_input()), short(total.output)),
        count => format!("{} requests without a price", grouped(count)),
    };
    let cached = percent(total.cache_read, total.total_input());
    vec![
        ("Spent", usd(total.cost), unpriced),
        ("Model requests", grouped(total.requests), format!("{} failed", grouped(total.failed))),
        (
            "Tool calls",
            grouped(spend.tool_calls.requests),
            format!("{} failed", grouped(spend.tool_calls.failed)),
        ),
        ("Input from cache", format!("{cached} %"), format!("{} tokens", short(total.cache_read))),
        (
            "Latency p50",
            time(spend.latency.total, |t| t.0),
            format!(
                "p95 {}, first byte p50 {}",
                time(spend.latency.total, |t| t.1),
                time(spend.latency.first_byte, |t| t.0)
            ),
        ),
        (
            "In the gateway p50",
            time(spend.latency.gateway, |t| t.0),
            format!("p95 {}", time(spend.latency.gateway, |t| t.1)),
        ),
    ]
}

fn tables(spend: &Spend) -> Vec<Table> {
    let by_cost = |sum: &Sum| sum.cost;
    let rows = |list: &[Named], of: fn(&Sum) -> u64, link: fn(&str) -> Params| {
        let all: u64 = list.iter().map(|named| of(&named.sum)).fold(0, u64::saturating_add);
        list.iter().map(|named| SumRow::new(named, percent(of(&named.sum), all), link)).collect()
    };
    vec![
        Table {
            id: "by-key",
            title: "By key",
            column: "Key",
            money: true,
            timed: false,
            rows: rows(&spend.by_key, by_cost, |key| Params { key: key.to_owned(), ..Params::default() }),
        },
        Table {
            id: "by-model",
            title: "By model",
            column: "Model",
            money: true,
            timed: true,
            rows: rows(&spend.by_model, by_cost, |model| Params {
                model: model.to_owned(),
                ..Params::default()
            }),
        },
        Table {
            id: "by-tool",
            title: "By tool",
            column: "Tool",
            money: false,
            timed: true,
            rows: rows(
                &spend.by_tool,
                |sum| sum.requests,
                |tool| Params {
                    q: tool.rsplit(':').next().unwrap_or("").to_owned(),
                    kind: "tool".to_owned(),
                    ..Params::default()
                },
            ),
        },
    ]
}

fn rows_of(of: KeySpend) -> Vec<BudgetRow> {
    let key = of.tree.first().map_or_else(String::new, |key| key.to_string());
    of.budgets.into_iter().map(|state| BudgetRow::new(key.clone(), state)).collect()
}

/// A day's name, from its first millisecond.
fn day_name(day: i64, offset: i64) -> String {
    instant(day + offset * 60_000).get(..10).unwrap_or_default().to_owned()
}

// === Parts ===

impl BudgetRow {
    fn new(key: String, state: BudgetState) -> Self {
        let (limit, tokens) = match state.limit {
            Limit::NanoUsd(limit) => (limit, false),
            Limit::Tokens(limit) => (limit, true),
        };
        let percent = if limit == 0 { 100 } else { percent(state.committed, limit) };
        BudgetRow {
            key,
            name: state.budget,
            used: amount(state.committed, tokens),
            limit: amount(limit, tokens),
            held: amount(state.held, tokens),
            percent,
            width: percent.min(100),
            tone: match percent {
                100.. => "over",
                80.. => "near",
                _ => "",
            },
            resets: instant(state.resets_at),
            resets_utc: utc(state.resets_at),
        }
    }
}

impl Chart {
    fn new(days: &[(i64, Sum)], offset: i64) -> Self {
        const STEP: usize = 20;
        const HEIGHT: u64 = 132;
        let most = days.iter().map(|(_, sum)| sum.cost).max().unwrap_or(0);
        let bar = |(n, (day, sum)): (usize, &(i64, Sum))| {
            let scaled = u128::from(sum.cost) * u128::from(HEIGHT) / u128::from(most.max(1));
            let height = u64::try_from(scaled).unwrap_or(HEIGHT).max(u64::from(sum.cost > 0) * 2);
            let label =
                format!("{}: {}, {} requests", day_name(*day, offset), usd(sum.cost), grouped(sum.requests));
            Bar { x: n * STEP + 2, y: 139 - height, width: STEP - 4, height, label }
        };
        Chart {
            width: days.len().max(1) * STEP,
            bars: days.iter().enumerate().map(bar).collect(),
            first: days.first().map_or_else(String::new, |(day, _)| day_name(*day, offset)),
            last: days.last().map_or_else(String::new, |(day, _)| day_name(*day, offset)),
            most: usd(most),
        }
    }
}

impl Words {
    fn new(sum: &Sum) -> Self {
        Words {
            cost: usd(sum.cost),
            requests: grouped(sum.requests),
            failed: grouped(sum.failed),
            input: short(sum.total_input()),
            cached: format!("{} %", percent(sum.cache_read, sum.total_input())),
            output: short(sum.output),
        }
    }
}

impl Day {
    fn new(day: i64, offset: i64, sum: &Sum) -> Self {
        let Words { cost, requests, failed, input, output, .. } = Words::new(sum);
        Day { name: day_name(day, offset), requests, failed, input, output, cost }
    }
}

impl SumRow {
    fn new(named: &Named, share: u64, link: fn(&str) -> Params) -> Self {
        let times = named.latency.and_then(|l| l.total);
        SumRow {
            name: if named.name.is_empty() { "(none)".to_owned() } else { named.name.clone() },
            link: (!named.name.is_empty()).then(|| format!("/logs{}", link(&named.name).link(&[]))),
            share: share.min(100),
            sum: Words::new(&named.sum),
            p50: times.map_or_else(|| "–".to_owned(), |(p50, _)| duration(p50)),
            p95: times.map_or_else(|| "–".to_owned(), |(_, p95)| duration(p95)),
        }
    }
}
