//! `VirtualKey`: who may use what, and for how much.

mod status;

pub use status::{BudgetStatus, TokenState, TokenStatus, Unit, VirtualKeyStatus};

use super::{
    AllowedNamespaces, ObjectRef, ProviderKind, SecretSource, Span, Usd, is_default,
    refs::{DNS_LABEL, DNS_SUBDOMAIN, MODEL_NAME, PATTERN, TIME},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A virtual key: an identity for agents, with what it may use and for how much. A team is a virtual key without a token:
/// keys name it as their parent, and every charge goes up the tree. Deny by default: a key may use what it names, and a
/// child never widens what its parents allow.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "VirtualKey",
    plural = "virtualkeys",
    singular = "virtualkey",
    shortname = "vk",
    category = "tollgate",
    namespaced,
    status = "VirtualKeyStatus",
    derive = "PartialEq",
    doc = "An identity for agents: which models and tools it may use, and for how much money.",
    selectable = ".spec.parentRef.name",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name has at most 63 characters"),
    validation = Rule::new(
        "!has(self.spec.parentRef) || has(self.spec.parentRef.__namespace__) || self.spec.parentRef.name != self.metadata.name"
    )
    .message("a key cannot be its own parent: name another key or team in parentRef, or leave it out"),
    printcolumn(
        name = "Parent",
        type_ = "string",
        json_path = ".spec.parentRef.name",
        description = "Parent key or team"
    ),
    printcolumn(
        name = "Spent",
        type_ = "string",
        json_path = ".status.tightest.spent",
        description = "Spent of the budget that is nearest to its limit"
    ),
    printcolumn(
        name = "Limit",
        type_ = "string",
        json_path = ".status.tightest.limit",
        description = "Limit of the budget that is nearest to it"
    ),
    printcolumn(
        name = "Unit",
        type_ = "string",
        json_path = ".status.tightest.unit",
        description = "USD or Tokens"
    ),
    printcolumn(
        name = "Used%",
        type_ = "integer",
        json_path = ".status.tightest.percent",
        description = "Used part of the budget that is nearest to its limit"
    ),
    printcolumn(
        name = "Resets",
        type_ = "string",
        json_path = ".status.tightest.resetsAt",
        description = "When that budget starts anew"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether the key is in force"
    ),
    printcolumn(
        name = "Token",
        type_ = "string",
        json_path = ".status.token.state",
        priority = 1,
        description = "Active, Rotating or Missing"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1,
        description = "Why it is, or is not"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VirtualKeySpec {
    /// The parent: a team or another key. Permissions are the intersection of those along the path to the root, and every
    /// charge counts against the budgets of all of them. A parent in another namespace must name this one in its
    /// `allowedNamespaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_ref: Option<ObjectRef>,
    /// The token that clients present (as `x-api-key`, `Authorization: Bearer`, `x-tollgate-key` or `x-bf-vk`). In a cluster
    /// the operator generates it when the Secret does not exist. A team has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretSource>,
    /// ServiceAccounts of this namespace whose workloads are this key without any token. When two keys claim the same one,
    /// the oldest key has it and the other reports `Conflict`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub service_accounts: Vec<ServiceAccountRef>,
    /// Any credential, or none, is this key. Only on loopback listeners unless the gateway runs with `--allow-anonymous`;
    /// meant for a laptop, where clients send a dummy key.
    #[serde(default, skip_serializing_if = "is_default")]
    pub anonymous: bool,
    /// Namespaces whose keys may name this one as their parent: `Same` (default), `All`, or `{selector: {matchLabels: …}}`
    /// over the labels of namespaces.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allowed_namespaces: AllowedNamespaces,
    /// The ProviderRoute of model names without `route/`, such as Claude Code's own `claude-…`. When left out, a bare name
    /// goes to the only visible route that lists it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_SUBDOMAIN))]
    pub default_route: Option<String>,
    /// The models that the key may use. A key without this may use none; a team without this passes on what its parents
    /// allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<ModelRules>,
    /// The kinds of provider and the regions that requests may go to. All when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub providers: Option<ProviderRules>,
    /// Budgets. All of them must have room, and so must those of the parents; a request is refused, before it is sent, when
    /// one has not. Counters belong to the key's name and the budget's name: deleting and re-creating the key resets nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub budgets: Vec<Budget>,
    /// Rates. Those of the parents apply as well, to all their children together.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// How strictly money is kept. The strictest setting along the path to the root counts.
    #[serde(default)]
    pub spending: Spending,
    /// The tools of MCP servers that the key may use, a server at a time. A tool that is not allowed does not exist for the
    /// key. A key without this may use none; a team without this passes on what its parents allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["server"]))]
    pub tools: Option<Vec<ToolRule>>,
    /// How tool definitions and results are put into the model's context: `PassThrough` (default; as they come), `Filtered`,
    /// `Compact`, `Search` or `Code`. This version supports `PassThrough` only.
    #[serde(default)]
    pub context: ContextMode,
    /// What is kept of prompts and answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// The key is refused from then on (RFC 3339, such as `2027-01-01T00:00:00Z`), and so are its children. Before the year 9000: a
    /// key that never expires does without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = TIME, "maxLength" = 64))]
    pub expires_at: Option<Time>,
    /// The key is refused, and so are its children. Running streams end within seconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disabled: bool,
}

/// A ServiceAccount of the key's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccountRef {
    /// Name of the ServiceAccount.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
}

/// Models by `route/model`. `*` in a pattern stands for any run of characters, `/` included.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.allow) || self.allow.all(p, p.contains('/') || p.startsWith('*'))")
        .message("a pattern in allow is route/model, such as anthropic/* or azure/gpt-5"),
    validation = Rule::new("!has(self.deny) || self.deny.all(p, p.contains('/') || p.startsWith('*'))")
        .message("a pattern in deny is route/model, such as */o3-pro"),
    validation = Rule::new("!has(self.aliases) || self.aliases.all(a, !(self.aliases[a] in self.aliases))")
        .message("an alias stands for a model, not for another alias")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelRules {
    /// Patterns of the models that may be used, such as `anthropic/*` or `azure/gpt-5`. When left out, a key may use none
    /// and a team passes on what its parents allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), inner(length(min = 1, max = 256), regex(pattern = PATTERN)))]
    pub allow: Option<Vec<String>>,
    /// Patterns of models that are refused although `allow` names them, such as `*/o3-pro`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(min = 1, max = 256), regex(pattern = PATTERN)))]
    pub deny: Vec<String>,
    /// Names that the key may use in place of others, such as `fast: openai/gpt-5-mini`. Looked up once, before everything
    /// else; the model behind an alias must be allowed like any other.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub aliases: BTreeMap<String, ModelName>,
}

/// A model by name: `route/model`, or a bare name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ModelName(#[schemars(length(min = 1, max = 256), regex(pattern = MODEL_NAME))] pub String);

/// Where requests may go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderRules {
    /// Kinds of provider: `Anthropic`, `OpenAI`, `AzureOpenAI`, `AzureFoundry`, `VertexAI`, `Gemini`, `Bedrock`,
    /// `OpenAICompatible`. Any when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub allow: Option<Vec<ProviderKind>>,
    /// Patterns over the `region` of a route's backends, such as `eu-*`. A backend without a region does not match. Any when
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63), regex(pattern = PATTERN)))]
    pub regions: Option<Vec<String>>,
}

/// A budget: so much money, or so many tokens, in a calendar period or in a sliding window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.usd) != has(self.tokens)")
        .message("a budget has exactly one of usd and tokens"),
    validation = Rule::new("has(self.period) != has(self.rolling)")
        .message("a budget has exactly one of period (such as Month) and rolling (such as 24h)"),
    validation = Rule::new("!has(self.timeZone) || has(self.period)")
        .message("timeZone goes with period: a rolling window has no calendar"),
    // A zone that the API server does not know is an error, which refuses as well.
    validation = Rule::new(
        "!has(self.timeZone) || self.timeZone != 'Local' && timestamp('2026-01-01T00:00:00Z').getFullYear(self.timeZone) > 0"
    )
    .message("timeZone is an IANA time zone, such as Europe/Berlin"),
    validation = Rule::new(
        "!has(self.rolling) || self.rolling.matches('[1-9][0-9]*([dhs]|m([^s]|$))|[1-9][0-9]{3,}ms')"
    )
    .message("rolling is at least a second, such as 24h"),
    validation = Rule::new("!has(self.models) || self.models.all(p, p.contains('/') || p.startsWith('*'))")
        .message("a pattern in models is route/model, such as anthropic/*")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// Name of the budget within the key. Its counter hangs on it: renaming a budget starts a new counter.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// The limit in US dollars, as a string: `200`, `0.50`. Either this or `tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<Usd>,
    /// The limit in tokens: input (without cache reads) and output. Either this or `usd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_000_u64))]
    pub tokens: Option<u64>,
    /// The calendar period after which the budget starts anew: `Minute`, `Hour`, `Day`, `Week` (from Monday), `Month`,
    /// `Quarter` or `Year`, by the calendar of `timeZone`. Either this or `rolling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Period")]
    pub period: Option<Period>,
    /// A sliding window, such as `24h`: what was spent within it counts. Either this or `period`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling: Option<Span>,
    /// The IANA time zone whose calendar decides, such as `Europe/Berlin`. `UTC` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"))]
    pub time_zone: Option<String>,
    /// Patterns over `route/model` of the models that count against this budget. All when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256), regex(pattern = PATTERN)))]
    pub models: Option<Vec<String>>,
}

/// A calendar period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Period {
    /// Calendar minute.
    Minute,
    /// Calendar hour.
    Hour,
    /// Calendar day.
    Day,
    /// ISO week, from Monday.
    Week,
    /// Calendar month.
    Month,
    /// Calendar quarter.
    Quarter,
    /// Calendar year.
    Year,
}

/// Rates. What is left out is not limited at this level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Model requests and tool calls a minute, also of tools that do not exist; `count_tokens` where a provider is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute: the estimated input at once, the real output afterwards. Cache reads do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub tokens_per_minute: Option<u64>,
    /// Model requests, tool calls and counts of tokens at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrent: Option<u64>,
}

/// How strictly money is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spending {
    /// `Strict` (default): the worst price of a request is held before it is sent, so that requests at the same time cannot
    /// overspend together. `Relaxed`: a request is refused only when the budget is used up already, and charged afterwards.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// What happens to a request for a model without a known price when a budget in US dollars applies. `Deny` (default):
    /// refused. `Allow`: it costs nothing, and its record says so.
    #[serde(default)]
    pub unpriced: DenyOrAllow,
    /// What happens when a request fits its budget only with fewer output tokens. `LowerOutputCap` (default): its output cap
    /// is lowered, and the answer says so in a header. `Refuse`: it is refused.
    #[serde(default)]
    pub near_limit: NearLimit,
    /// What happens when the shared store of budgets and limits is away. `Deny` (default): requests are refused. `Allow`:
    /// they go through and are charged later.
    #[serde(default)]
    pub on_store_failure: DenyOrAllow,
}

/// When a budget is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Enforcement {
    /// Hold before the call, settle after it.
    #[default]
    Strict,
    /// Only refuse when used up already; charge afterwards.
    Relaxed,
}

/// A choice whose safe side is `Deny`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DenyOrAllow {
    /// Refuse.
    #[default]
    Deny,
    /// Let through.
    Allow,
}

/// What happens when a request fits only with fewer output tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
pub enum NearLimit {
    /// Lower the output cap to what is left.
    #[default]
    LowerOutputCap,
    /// Refuse.
    Refuse,
}

/// What a key may do with the tools of one MCP server. Names are the server's own, without prefix; `*` in a pattern stands
/// for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(
        "!has(self.deny) || self.deny.size() == 0 || (has(self.allow) && self.allow.size() > 0) || \
         (has(self.approve) && self.approve.size() > 0)"
    )
        .message("deny takes away from allow, and allow names no tool: write allow: [\"*\"] to allow the others")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolRule {
    /// Name of the McpServer.
    #[schemars(length(min = 1, max = 48), regex(pattern = DNS_LABEL))]
    pub server: String,
    /// Patterns of the tools that may be used. None when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(min = 1, max = 128), regex(pattern = PATTERN)))]
    pub allow: Vec<String>,
    /// Patterns of tools that are refused although `allow` names them, such as `drop_*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(min = 1, max = 128), regex(pattern = PATTERN)))]
    pub deny: Vec<String>,
    /// Patterns of tools that run only after a person has approved exactly that call. Not supported yet: leave it out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(min = 1, max = 128), regex(pattern = PATTERN)))]
    pub approve: Vec<String>,
    /// A call runs only when a model suggested it in an answer that came through this gateway. Not supported yet: leave it
    /// out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub require_suggestion: bool,
}

/// How tool definitions and results are put into the model's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ContextMode {
    /// As they come.
    #[default]
    PassThrough,
    /// Only tools that match the request.
    Filtered,
    /// Shortened definitions.
    Compact,
    /// A search tool in place of definitions.
    Search,
    /// A code-execution tool in place of definitions.
    Code,
}

/// What is kept of prompts and answers. Along the path to the root, the least counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(
        "!has(self.retention) || self.retention.matches('[1-9][0-9]*([dh]|m([^s]|$))|([6-9][0-9]|[1-9][0-9]{2,})s|([6-9][0-9]{4}|[1-9][0-9]{5,})ms')"
    )
    .message("retention is at least a minute, such as 30d")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Logging {
    /// `Full`: prompts, answers and tool calls. `Metadata`: who, when, which model, tokens, cost and status, but no content.
    /// `None`: only what billing needs. When left out: `Metadata` in a cluster, `Full` in standalone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ContentLevel")]
    pub content: Option<ContentLevel>,
    /// How long records are kept, such as `720h` or `30d`. 30 days when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Span>,
}

/// How much of prompts and answers is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ContentLevel {
    /// Only what billing needs.
    None,
    /// No content.
    Metadata,
    /// Prompts, answers and tool calls.
    Full,
}
