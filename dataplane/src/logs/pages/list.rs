//! `/logs`: the list, with filters, live.

use super::{PERIODS, Row, notice, now};
use crate::{
    logs::{
        LogsState, Viewer,
        format::{duration, grouped, usd},
        params::Params,
        respond::{Failure, Frame, html},
    },
    records::{Cursor, Period, Spend},
};
use askama::Template;
use axum::{
    Extension,
    extract::{Query, State},
    http::{HeaderMap, HeaderName, header},
    response::{Html, IntoResponse, Response},
};
use std::sync::Arc;

#[derive(Template)]
#[template(path = "list.html")]
struct ListPage {
    frame: Frame,
    params: Params,
    statuses: &'static [(&'static str, &'static str)],
    periods: &'static [(&'static str, &'static str)],
    keys: Vec<Arc<str>>,
    models: Vec<String>,
    more_open: bool,
    filtered: bool,
    /// What is not as it should be with the records themselves.
    notice: Option<String>,
    problem: Option<String>,
    day: Day,
    rows: Vec<Row>,
    count: String,
    /// This page's query without its place.
    query: String,
    /// The next page's.
    older: Option<String>,
    /// Whether this is not the first page.
    newest: bool,
    /// Where the live view begins; only on the first page.
    live: Option<i64>,
    /// Nothing was ever recorded.
    empty: bool,
    /// The gateway's address as this browser reaches it.
    base: String,
}

#[derive(Template)]
#[template(path = "rows.html")]
struct Rows {
    rows: Vec<Row>,
}

/// The last 24 hours in words.
struct Day {
    requests: String,
    failed: String,
    cost: String,
    latency: String,
    gateway: String,
}

const STATUSES: &[(&str, &str)] = &[
    ("", "any"),
    ("2xx", "succeeded"),
    ("failed", "failed"),
    ("4xx", "4xx refused"),
    ("402", "402 budget"),
    ("429", "429 limit"),
    ("499", "499 left"),
    ("5xx", "5xx"),
];

/// `GET /logs`
pub(crate) async fn page(
    State(state): State<LogsState>,
    Extension(viewer): Extension<Viewer>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Html<String>, Failure> {
    let now = now();
    let store = &state.store;
    // Before the list, so that nothing written in between is missed.
    let newest = store.newest().await?;
    let (filter, problem) = match params.filter(now) {
        Ok(filter) => (filter, None),
        Err(error) => (Default::default(), Some(error.to_string())),
    };
    let cursor: Option<Cursor> = params.cursor()?;
    let page = store.list(&viewer, &filter, cursor, params.limit()?).await?;
    let (keys, models) = store.names(&viewer, now / 3_600_000 - 30 * 24).await?;
    let day = store.spend(&viewer, Period::last(now, 24, 0), None).await?;
    let filtered = !filter.is_empty() || problem.is_some();
    let query = params.link(&[]);
    let rows: Vec<Row> = page.records.iter().map(Row::new).collect();
    let more = [&params.kind, &params.from, &params.to, &params.session];
    html(&ListPage {
        frame: Frame::new("records", &viewer, &headers),
        statuses: STATUSES,
        periods: PERIODS,
        keys,
        models,
        more_open: more.iter().any(|value| !value.is_empty()),
        filtered,
        notice: notice(store),
        problem,
        day: Day::new(&day),
        count: count(rows.len(), page.next.is_some(), cursor.is_some()),
        older: page.next.map(|next| params.link(&[("cursor", &next.to_string())])),
        newest: cursor.is_some(),
        live: (cursor.is_none() && params.to.is_empty()).then_some(newest),
        empty: rows.is_empty() && !filtered && cursor.is_none(),
        base: base(&headers),
        rows,
        query,
        params,
    })
}

/// `GET /logs/rows`: rows written since `after`, the newest first, for the live view. `x-tollgate-after` says where to go on.
pub(crate) async fn rows(
    State(state): State<LogsState>,
    Extension(viewer): Extension<Viewer>,
    Query(params): Query<Params>,
) -> Result<Response, Failure> {
    const NEXT: HeaderName = HeaderName::from_static("x-tollgate-after");
    const MOST: usize = 100;
    let newest = state.store.newest().await?;
    let after = params.after()?.unwrap_or(newest);
    let records = state.store.after(&viewer, &params.filter(now())?, after, MOST).await?;
    let next = records.last().filter(|_| records.len() >= MOST).map_or(newest.max(after), |last| last.seq);
    let rows = Rows { rows: records.iter().rev().map(Row::new).collect() };
    Ok(([(NEXT, next.to_string())], html(&rows)?).into_response())
}

fn count(rows: usize, more: bool, later: bool) -> String {
    let page = if later { "older " } else { "" };
    match (rows, more) {
        (0, _) => "No records".to_owned(),
        (1, false) => format!("1 {page}record"),
        (_, false) => format!("{rows} {page}records"),
        (_, true) => format!("{rows} {page}records, and more"),
    }
}

/// The gateway's address from the Host header, which the listener has checked.
fn base(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost:8080");
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    format!("{}://{host}", if secure { "https" } else { "http" })
}

// === impl Day ===

impl Day {
    fn new(spend: &Spend) -> Self {
        let pair = |times: Option<(u64, u64)>| match times {
            Some((p50, p95)) => format!("{} / {}", duration(p50), duration(p95)),
            None => "–".to_owned(),
        };
        Day {
            requests: grouped(spend.total.requests + spend.tool_calls.requests),
            failed: grouped(spend.total.failed + spend.tool_calls.failed),
            cost: usd(spend.total.cost),
            latency: pair(spend.latency.total),
            gateway: spend.latency.gateway.map_or_else(|| "–".to_owned(), |(p50, _)| duration(p50)),
        }
    }
}
