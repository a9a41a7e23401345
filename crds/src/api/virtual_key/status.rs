//! What the operator reports of a key.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator reports of a key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualKeyStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`, `ResolvedRefs`, `Programmed` and `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Spend of each budget. Written when its whole percent changes (below one percent, when it has grown by an eighth), at most
    /// once a minute, and at once when it is used up; the records have every request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub budgets: Vec<BudgetStatus>,
    /// The budget that is nearest to its limit, for `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tightest: Option<BudgetStatus>,
    /// The state of the key's token. Absent when the key has none by design.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenStatus>,
}

/// The state of a key's token. The token itself stands in its Secret and nowhere else.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenStatus {
    /// `Active`, `Rotating` (the token before the last rotation is valid too), or `Missing`.
    pub state: TokenState,
    /// Until when the token before the last rotation is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_until: Option<Time>,
}

/// The state of a key's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TokenState {
    /// It is there.
    Active,
    /// It is there, and the one before it is still valid.
    Rotating,
    /// Its Secret, or the entry in it, is not there (yet).
    #[default]
    Missing,
}

/// Spend of one budget in its current window.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetStatus {
    /// Name of the budget.
    pub name: String,
    /// The unit of the amounts below: `USD` or `Tokens`.
    pub unit: Unit,
    /// Settled charges of the window, as a decimal string.
    pub spent: String,
    /// The limit, as a decimal string.
    pub limit: String,
    /// Held for requests that are running, as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// By how much actual costs were above what had been held for them, as a decimal string. Expected to be 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrun: Option<String>,
    /// Spent part of the limit in whole percent, rounded down.
    #[schemars(range(min = 0))]
    pub percent: i64,
    /// When the window began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When the budget starts anew. Absent for a sliding window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Time>,
}

/// The unit of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Unit {
    /// US dollars.
    #[default]
    #[serde(rename = "USD")]
    Usd,
    /// Tokens.
    Tokens,
}
