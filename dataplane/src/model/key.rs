//! A virtual key.

use super::{Globs, ObjectId};
use std::{collections::BTreeMap, time::Duration};
use tollgate_ledger::budget::Budget;
use tollgate_translate::Provider;

/// A virtual key, or a team (a key without a token).
#[derive(Debug)]
pub struct Key {
    /// Its identity; also the first part of its counters' identity.
    pub id: ObjectId,
    /// Its parent: every charge goes up the tree.
    pub parent: Option<ObjectId>,
    /// SHA-256 of the tokens that are this key (several during a rotation).
    pub token_hashes: Vec<[u8; 32]>,
    /// The token before a rotation, one of the above, and until when it is valid, Unix milliseconds.
    pub previous_token: Option<([u8; 32], i64)>,
    /// ServiceAccounts whose workloads are this key.
    pub service_accounts: Vec<ObjectId>,
    /// Any or no credential is this key, on listeners that allow it.
    pub anonymous: bool,
    /// Route of bare model names.
    pub default_route: Option<String>,
    /// Models by `route/model`.
    pub models: ModelRules,
    /// Providers and regions.
    pub providers: ProviderRules,
    /// Budgets with the models that count against each.
    pub budgets: Vec<KeyBudget>,
    /// Rates.
    pub limits: Limits,
    /// How strictly money is kept.
    pub spending: Spending,
    /// MCP tools by server. Deny by default, except where `any_tools` is set.
    pub tools: Vec<ToolRule>,
    /// This level does not restrict tools (a team that says nothing of them): only the other levels' rules count.
    pub any_tools: bool,
    /// What is kept of content.
    pub logging: Logging,
    /// Resets that were asked for; each is carried out once.
    pub resets: Vec<Reset>,
    /// Not valid from then on, Unix milliseconds.
    pub expires_at: Option<i64>,
    /// Switched off.
    pub disabled: bool,
    /// A reason for which the key denies everything (a parent that does not exist, a cycle): told to the client.
    pub denied: Option<String>,
}

/// A budget that somebody asked to begin anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// Its name; `*`: all of the key's.
    pub budget: String,
    /// What tells this reset from others.
    pub id: String,
}

/// Models that a key may use. Deny by default: an empty `allow` allows nothing on a key; a team without rules passes all on.
#[derive(Debug, Default)]
pub struct ModelRules {
    /// Globs over `route/model`; `None`: no restriction at this level (teams only).
    pub allow: Option<Globs>,
    /// Globs over `route/model` that are refused all the same.
    pub deny: Globs,
    /// Names the key may use in place of others.
    pub aliases: BTreeMap<String, String>,
}

/// Providers and regions that a key may use; `None`: any.
#[derive(Debug, Default)]
pub struct ProviderRules {
    /// Kinds of provider.
    pub allow: Option<Vec<Provider>>,
    /// Globs over the backend's region; a backend without a region does not match.
    pub regions: Option<Globs>,
}

/// A budget and the models that count against it.
#[derive(Debug)]
pub struct KeyBudget {
    /// The ledger's part.
    pub budget: Budget,
    /// Globs over `route/model`.
    pub models: Globs,
}

/// Rates of a key; `None`: no limit at this level.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Requests a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute.
    pub tokens_per_minute: Option<u64>,
    /// Requests at once.
    pub concurrent: Option<u64>,
}

/// How strictly money is kept. The strictest along the path to the root counts.
#[derive(Debug, Clone, Copy)]
pub struct Spending {
    /// Hold before the call (Strict) or only charge afterwards.
    pub strict: bool,
    /// Refuse models without a price when a USD budget applies.
    pub deny_unpriced: bool,
    /// Near the end of a budget lower the output cap instead of refusing.
    pub lower_output_cap: bool,
    /// Refuse when the shared store is away.
    pub deny_on_store_failure: bool,
}

/// What a key may do with one server's tools.
#[derive(Debug, Default)]
pub struct ToolRule {
    /// The server's name, resolved from the key's namespace.
    pub server: String,
    /// Globs over tool names (without prefix).
    pub allow: Globs,
    /// Globs that are refused all the same.
    pub deny: Globs,
}

/// How much of prompts and answers is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// Not even metadata beyond what billing needs.
    None,
    /// No content.
    Metadata,
    /// Prompts, answers and tool calls.
    Full,
}

/// Logging of a key.
#[derive(Debug, Clone, Copy)]
pub struct Logging {
    /// What is kept; the least along the path to the root counts.
    pub content: Content,
    /// For how long.
    pub retention: Duration,
}

// === impl Key ===

impl Key {
    /// A key that has nothing and may do nothing: the start of every conversion (and of tests).
    pub fn new(id: ObjectId) -> Self {
        Key {
            id,
            parent: None,
            token_hashes: Vec::new(),
            previous_token: None,
            service_accounts: Vec::new(),
            anonymous: false,
            default_route: None,
            models: ModelRules { allow: Some(Globs::default()), ..ModelRules::default() },
            providers: ProviderRules::default(),
            budgets: Vec::new(),
            limits: Limits::default(),
            spending: Spending::default(),
            tools: Vec::new(),
            any_tools: false,
            logging: Logging::default(),
            resets: Vec::new(),
            expires_at: None,
            disabled: false,
            denied: None,
        }
    }

    /// Whether one of its tokens, known by its hash, is still valid at `now` (Unix milliseconds).
    pub fn accepts(&self, token: &[u8; 32], now: i64) -> bool {
        self.previous_token.is_none_or(|(previous, until)| previous != *token || now < until)
    }
}

// === impl Spending ===

impl Default for Spending {
    /// The strictest.
    fn default() -> Self {
        Spending { strict: true, deny_unpriced: true, lower_output_cap: true, deny_on_store_failure: true }
    }
}

// === impl Logging ===

impl Default for Logging {
    /// Metadata for 30 days.
    fn default() -> Self {
        Logging { content: Content::Metadata, retention: Duration::from_secs(30 * 24 * 3600) }
    }
}
