//! `/logs`: what happened, for people; `/logs/api`: the same as JSON.
//!
//! Pages are rendered here and work without scripts; one small script puts times into the browser's zone and follows new
//! records. Every answer forbids foreign scripts and framing. Who looks is a [`Viewer`] in the request's extensions: the
//! listener puts it there (from the headers that clients use, or from [`credential`]'s cookie), and every query is
//! narrowed to what it may see.
//!
//! # Layout
//! - [`pages`]: list, one record, spend; [`api`]: the same as JSON; [`gate`]: signing in and out
//! - [`params`]: a URL's query; [`format`], [`talk`]: amounts and conversations for eyes (pure)
//! - [`respond`]: security headers, assets, errors; [`budgets`]: the ledger's state for the spend page

mod api;
pub mod budgets;
mod format;
mod gate;
mod pages;
mod params;
mod respond;
mod talk;
#[cfg(test)]
mod tests;

pub use crate::records::Viewer;
pub use budgets::{KeySpend, SpendProvider};
pub use gate::{COOKIE, credential};

use crate::records::Store;
use axum::{
    Router, middleware,
    routing::{get, post},
};

/// What the pages need.
#[derive(Clone)]
pub struct LogsState {
    /// Reads the records.
    pub store: Store,
    /// The state of budgets now.
    pub budgets: SpendProvider,
}

/// The routes `/logs` and below. Host, Origin and the [`Viewer`] are the listener's business.
pub fn router(state: LogsState) -> Router {
    Router::new()
        .route("/logs", get(pages::list::page))
        .route("/logs/rows", get(pages::list::rows))
        .route("/logs/records/{id}", get(pages::record::page))
        .route("/logs/spend", get(pages::spend::page))
        .route("/logs/api/records", get(api::records))
        .route("/logs/api/records/{id}", get(api::record))
        .route("/logs/api/spend", get(api::spend))
        .route("/logs/api/live", get(api::live))
        .route("/logs/api/audit", get(api::audit))
        .route_layer(middleware::from_fn(gate::admit))
        .route("/logs/signin", post(gate::sign_in))
        .route("/logs/signout", post(gate::sign_out))
        .route("/logs/assets/{name}", get(respond::asset))
        .layer(middleware::from_fn(respond::guard))
        .with_state(state)
}

// === impl LogsState ===

impl std::fmt::Debug for LogsState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogsState").field("store", &self.store).finish_non_exhaustive()
    }
}
