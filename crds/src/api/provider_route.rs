//! `ProviderRoute`: models and the upstreams that serve them.

mod backend;

pub use backend::{
    Anthropic, AzureFoundry, AzureOpenAi, Backend, Bedrock, Credentials, Gemini, OpenAi, OpenAiCompatible,
    ProviderKind, VertexAi,
};

use super::{
    AllowedNamespaces, Span, Usd, is_default,
    quantity::TokenPrice,
    refs::{MODEL_NAME, PATTERN},
    virtual_key::ModelName,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A route to model providers. Clients ask for `<route>/<model>`: with a route named `azure`, `azure/gpt-5` is its model
/// `gpt-5`.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "ProviderRoute",
    plural = "providerroutes",
    singular = "providerroute",
    shortname = "proutes",
    category = "tollgate",
    namespaced,
    status = "ProviderRouteStatus",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name has at most 63 characters"),
    doc = "Models and the upstreams that serve them. Clients ask for route/model.",
    printcolumn(
        name = "Backends",
        type_ = "string",
        json_path = ".status.healthyBackends",
        description = "Healthy backends of all, such as 2/3"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether the route is in force"
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
pub struct ProviderRouteSpec {
    /// Namespaces whose keys may use the route: `Same` (default), `All`, or `{selector: {matchLabels: …}}` over the labels of
    /// namespaces. In a cluster it counts in platform namespaces only (the operator's --platform-namespace).
    #[serde(default, skip_serializing_if = "is_default")]
    pub allowed_namespaces: AllowedNamespaces,
    /// The models of the route. When empty, every name is passed on to the backends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub models: Vec<RouteModel>,
    /// The upstreams. Among those that serve a model and are healthy, the lowest `priority` is used, by `weight`.
    #[schemars(
        length(min = 1, max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub backends: Vec<Backend>,
    /// When the backend that has just failed is asked again, before the request goes on to another one. Only until the first byte of
    /// the answer.
    #[serde(default)]
    pub retry: Retry,
    /// Deadlines of requests to the upstream.
    #[serde(default)]
    pub timeouts: RouteTimeouts,
    /// When a failing backend is left alone for a while.
    #[serde(default)]
    pub health: Health,
    /// Models to go to, in order, when no backend of this route can answer. A key's permissions filter them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub fallbacks: Vec<Fallback>,
    /// `true`: a request with a field that the upstream's API cannot express is refused (400). `false` (default): the field
    /// is left out, and the answer and the record say so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strict: bool,
}

/// A model of the route.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteModel {
    /// The name that clients use after `route/`, or a pattern such as `claude-*`.
    #[schemars(length(min = 1, max = 256), regex(pattern = PATTERN))]
    pub name: String,
    /// The upstream's name of the model, such as an Azure deployment. The client's name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = MODEL_NAME))]
    pub upstream_name: Option<String>,
    /// Prices that replace the built-in catalogue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<ModelPrice>,
    /// The most output tokens that the model can make. The catalogue's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_output_tokens: Option<u64>,
    /// The context window in tokens. The catalogue's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub context: Option<u64>,
}

/// Prices of a model, each with at most three decimals for a million tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelPrice {
    /// US dollars for a million input tokens, such as `3`.
    #[schemars(with = "TokenPrice")]
    pub input: Usd,
    /// US dollars for a million output tokens (reasoning included), such as `15`.
    #[schemars(with = "TokenPrice")]
    pub output: Usd,
    /// US dollars for a million input tokens read from a cache. The price of input when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TokenPrice>")]
    pub cache_read: Option<Usd>,
    /// US dollars for a million input tokens written to a cache of 5 minutes. The price of input when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TokenPrice>")]
    pub cache_write: Option<Usd>,
    /// US dollars for a million input tokens written to a cache of one hour. The price of `cacheWrite` when left out.
    #[serde(default, rename = "cacheWrite1h", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TokenPrice>")]
    pub cache_write_1h: Option<Usd>,
    /// US dollars for one web search by the provider. 0 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_search: Option<Usd>,
    /// Other prices for requests with a long input. The tier with the highest `aboveInputTokens` that the request's input
    /// exceeds holds for all of its tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 4),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["aboveInputTokens"])
    )]
    pub tiers: Vec<PriceTier>,
}

/// Prices for requests with a long input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PriceTier {
    /// The tier holds for requests with more input tokens than this, cached ones included.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub above_input_tokens: u64,
    /// US dollars for a million input tokens.
    #[schemars(with = "TokenPrice")]
    pub input: Usd,
    /// US dollars for a million output tokens.
    #[schemars(with = "TokenPrice")]
    pub output: Usd,
    /// US dollars for a million input tokens read from a cache. The tier's price of input when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TokenPrice>")]
    pub cache_read: Option<Usd>,
    /// US dollars for a million input tokens written to a cache of 5 minutes. The tier's price of input when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TokenPrice>")]
    pub cache_write: Option<Usd>,
    /// US dollars for a million input tokens written to a cache of one hour. The tier's `cacheWrite` when left out.
    #[serde(default, rename = "cacheWrite1h", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TokenPrice>")]
    pub cache_write_1h: Option<Usd>,
}

/// Retries within the route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// Further attempts at a backend that has just failed, in all for a request. 2 when left out; 0: none. Going on to another
    /// backend or a fallback does not count: it happens after every failure that another backend may not have.
    #[serde(default = "retry_attempts")]
    #[schemars(range(min = 0, max = 5))]
    pub attempts: u32,
    /// After what the same backend is asked again: `Connect` (no connection came about: nothing was sent), `RateLimited` (429),
    /// `ServerError` (5xx, and Anthropic's 529). All three when left out. A deadline, or a connection that broke under the
    /// request, is never repeated there.
    #[serde(default = "retry_on")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub when: Vec<RetryOn>,
}

/// After what the same backend is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RetryOn {
    /// No connection came about: nothing was sent.
    Connect,
    /// 429.
    RateLimited,
    /// 5xx.
    ServerError,
}

/// Deadlines of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(
        "(!has(self.connect) || self.connect.matches('[1-9]')) && \
         (!has(self.firstByte) || self.firstByte.matches('[1-9]')) && \
         (!has(self.idle) || self.idle.matches('[1-9]'))"
    )
    .message("a timeout is longer than zero, such as 2s")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteTimeouts {
    /// To connect to a backend. 2s when left out.
    #[serde(default = "connect")]
    pub connect: Span,
    /// From the request to the first byte of the answer. An answer that is not streamed has its first byte when the model is
    /// done, so keep it long. 600s when left out.
    #[serde(default = "first_byte")]
    pub first_byte: Span,
    /// Between two pieces of a streamed answer. 300s when left out.
    #[serde(default = "idle")]
    pub idle: Span,
}

/// When a failing backend is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(
        "(!has(self.ejectFor) || self.ejectFor.matches('[1-9]'))"
    )
    .message("ejectFor is longer than zero, such as 30s")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Health {
    /// Failures in a row after which the backend is left alone. 5 when left out.
    #[serde(default = "consecutive_failures")]
    #[schemars(range(min = 1, max = 1000))]
    pub consecutive_failures: u32,
    /// For how long it is left alone. 30s when left out.
    #[serde(default = "eject_for")]
    pub eject_for: Span,
}

/// A model to go to when the route fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fallback {
    /// The model as `route/model`, such as `anthropic/claude-sonnet-4-5`.
    #[x_kube(validation = Rule::new("self.contains('/')").message("a fallback is route/model, such as openai/gpt-5"))]
    pub model: ModelName,
}

/// What the operator reports of a route.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderRouteStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`, `ResolvedRefs`, `Programmed` and `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Healthy backends of all, such as `2/3`, for `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_backends: Option<String>,
    /// Health of each backend as the gateways see it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub backends: Vec<BackendStatus>,
}

/// Health of one backend.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// Name of the backend.
    pub name: String,
    /// `Healthy`, `Degraded` (some gateways leave it alone), `Ejected` (all of them do), `Disabled` (its Secret is missing), or
    /// `Unknown` (no gateway has reported).
    pub health: BackendHealth,
    /// Gateways that leave the backend alone at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ejected_by: Option<i32>,
    /// The last failure in words. Never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Since when the health is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// Health of a backend over all gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
pub enum BackendHealth {
    /// In use.
    Healthy,
    /// Some gateways leave it alone.
    Degraded,
    /// All gateways leave it alone.
    Ejected,
    /// It cannot be used: its Secret is missing.
    Disabled,
    /// No gateway has reported.
    #[default]
    Unknown,
}

// === defaults ===

fn retry_attempts() -> u32 {
    2
}

fn retry_on() -> Vec<RetryOn> {
    vec![RetryOn::Connect, RetryOn::RateLimited, RetryOn::ServerError]
}

fn connect() -> Span {
    Span::from("2s")
}

fn first_byte() -> Span {
    Span::from("600s")
}

fn idle() -> Span {
    Span::from("300s")
}

fn consecutive_failures() -> u32 {
    5
}

fn eject_for() -> Span {
    Span::from("30s")
}

// === impl Retry ===

impl Default for Retry {
    fn default() -> Self {
        Retry { attempts: retry_attempts(), when: retry_on() }
    }
}

// === impl RouteTimeouts ===

impl Default for RouteTimeouts {
    fn default() -> Self {
        RouteTimeouts { connect: connect(), first_byte: first_byte(), idle: idle() }
    }
}

// === impl Health ===

impl Default for Health {
    fn default() -> Self {
        Health { consecutive_failures: consecutive_failures(), eject_for: eject_for() }
    }
}
