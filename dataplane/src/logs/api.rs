//! `/logs/api`: what the pages show, as JSON. Times are Unix milliseconds, latencies microseconds, money nano-USD.

use super::{
    LogsState, Viewer,
    pages::{now, record_id},
    params::Params,
    respond::{ApiFailure, Failure},
};
use crate::records::{Full, Listed, Page, Period, Spend, Unit, audit::Audit};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use serde::Serialize;
use tollgate_ledger::{budget::Limit, charge::BudgetState};

type Answer<T> = Result<Json<T>, ApiFailure>;

/// New records, and where to go on.
#[derive(Debug, Serialize)]
pub(super) struct Live {
    /// The oldest first.
    records: Vec<Listed>,
    /// Send it as `after` next time.
    after: i64,
}

/// Spend and the state of budgets.
#[derive(Debug, Serialize)]
pub(super) struct SpendAnswer {
    period: Period,
    #[serde(flatten)]
    spend: Spend,
    budgets: Vec<Budget>,
}

/// One budget now.
#[derive(Debug, Serialize)]
struct Budget {
    key: String,
    budget: String,
    unit: Unit,
    limit: u64,
    committed: u64,
    held: u64,
    resets_at: i64,
}

/// `GET /logs/api/records`
pub(super) async fn records(
    State(state): State<LogsState>,
    Extension(viewer): Extension<Viewer>,
    Query(params): Query<Params>,
) -> Answer<Page> {
    let filter = params.filter(now())?;
    Ok(Json(state.store.list(&viewer, &filter, params.cursor()?, params.limit()?).await?))
}

/// `GET /logs/api/records/{id}`
pub(super) async fn record(
    State(state): State<LogsState>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
) -> Answer<Full> {
    let found = match record_id(&id) {
        Some(id) => state.store.record(&viewer, id).await?,
        None => None,
    };
    Ok(Json(found.ok_or(Failure::NotFound)?))
}

/// `GET /logs/api/spend`
pub(super) async fn spend(
    State(state): State<LogsState>,
    Extension(viewer): Extension<Viewer>,
    Query(params): Query<Params>,
) -> Answer<SpendAnswer> {
    let period = Period::last(now(), params.spend_hours()?, params.offset());
    let key = params.filter(now())?.key;
    let spend = state.store.spend(&viewer, period, key.as_deref()).await?;
    let seen = (state.budgets)(viewer).await.into_iter();
    let budgets = seen.flat_map(|b| {
        let key = b.tree.first().map_or_else(String::new, |key| key.to_string());
        b.budgets.into_iter().map(move |state| Budget::new(key.clone(), state)).collect::<Vec<_>>()
    });
    Ok(Json(SpendAnswer { period, spend, budgets: budgets.collect() }))
}

/// `GET /logs/api/live`: records written since `after`; without it, only where to begin.
pub(super) async fn live(
    State(state): State<LogsState>,
    Extension(viewer): Extension<Viewer>,
    Query(params): Query<Params>,
) -> Answer<Live> {
    let filter = params.filter(now())?;
    let newest = state.store.newest().await?;
    let Some(after) = params.after()? else { return Ok(Json(Live { records: Vec::new(), after: newest })) };
    let limit = params.limit()?;
    let records = state.store.after(&viewer, &filter, after, limit).await?;
    // A full page may be followed by more; else all up to the newest has been looked at.
    let after = records.last().filter(|_| records.len() >= limit).map_or(newest.max(after), |last| last.seq);
    Ok(Json(Live { records, after }))
}

/// `GET /logs/api/audit`: whether the ledger, its streams and PostgreSQL add up; for administrators.
pub(super) async fn audit(
    State(state): State<LogsState>,
    Extension(viewer): Extension<Viewer>,
) -> Answer<Audit> {
    match viewer {
        Viewer::All => Ok(Json(state.store.audit_now().await?)),
        _ => Err(Failure::Forbidden.into()),
    }
}

// === impl Budget ===

impl Budget {
    fn new(key: String, state: BudgetState) -> Self {
        let (unit, limit) = match state.limit {
            Limit::NanoUsd(limit) => (Unit::NanoUsd, limit),
            Limit::Tokens(limit) => (Unit::Tokens, limit),
        };
        let BudgetState { budget, committed, held, resets_at, .. } = state;
        Budget { key, budget, unit, limit, committed, held, resets_at }
    }
}
