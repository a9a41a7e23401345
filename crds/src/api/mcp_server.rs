//! `McpServer`: tools.

use super::{
    AllowedNamespaces, SecretKeyRef, Span, Usd, is_default,
    refs::{PATTERN, URL},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An MCP server whose tools the gateway offers at `/mcp`, to the keys that may use them. Exactly one transport stands in
/// it. Its name is the prefix of its tools: `staging-db` makes `query` into `staging-db__query`.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "McpServer",
    plural = "mcpservers",
    singular = "mcpserver",
    shortname = "mcps",
    category = "tollgate",
    namespaced,
    status = "McpServerStatus",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name.size() <= 48 && !self.metadata.name.contains('.')").message(
        "the name is the prefix of the tools' names: at most 48 letters, digits and hyphens, and no dot"
    ),
    doc = "An MCP server whose tools the gateway offers at /mcp, to the keys that may use them.",
    printcolumn(
        name = "Health",
        type_ = "string",
        json_path = ".status.health",
        description = "Whether the server answers the gateways"
    ),
    printcolumn(
        name = "Tools",
        type_ = "integer",
        json_path = ".status.tools",
        description = "Tools that the server offers and that are not in quarantine"
    ),
    printcolumn(
        name = "Quarantined",
        type_ = "integer",
        json_path = ".status.quarantinedTools",
        priority = 1,
        description = "Tools whose definition has changed since it was pinned"
    ),
    printcolumn(
        name = "Era",
        type_ = "string",
        json_path = ".status.era",
        priority = 1,
        description = "Legacy or Modern"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether the server is in force"
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
#[x_kube(
    validation = Rule::new("[has(self.streamableHttp), has(self.sse), has(self.stdio)].filter(x, x).size() == 1")
        .message("a server has exactly one of streamableHttp, sse and stdio"),
    validation = Rule::new("!has(self.stdio) || !has(self.auth)")
        .message("auth is for servers over HTTP: give a stdio server its secrets in stdio.env")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpServerSpec {
    /// A server that speaks streamable HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streamable_http: Option<StreamableHttp>,
    /// A server that speaks the older HTTP with server-sent events. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse: Option<Sse>,
    /// A server that speaks over standard input and output: the operator runs it as a restricted pod, when its
    /// configuration allows the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdio: Option<Stdio>,
    /// How the gateway authenticates itself to the server. The client's own credential is never passed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ServerAuth>,
    /// Which of the server's tools exist, and on which terms.
    #[serde(default)]
    pub tools: ServerTools,
    /// How its tools are named for clients.
    #[serde(default)]
    pub naming: Naming,
    /// Deadlines of requests to the server.
    #[serde(default)]
    pub timeouts: ServerTimeouts,
    /// What happens to a list of tools when this server does not answer. `Open` (default): the others' tools are listed.
    /// `Closed`: the list fails. Calls of this server's tools fail either way.
    #[serde(default)]
    pub failure_mode: FailureMode,
    /// Namespaces whose keys may use the server: `Same` (default), `All`, or `{selector: {matchLabels: …}}` over the labels
    /// of namespaces. In a cluster it counts in platform namespaces only (the operator's --platform-namespace).
    #[serde(default, skip_serializing_if = "is_default")]
    pub allowed_namespaces: AllowedNamespaces,
    /// What the server is, in a sentence. It is part of the instructions that clients get from `/mcp`, so a model reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
}

/// A server that speaks streamable HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamableHttp {
    /// URL of the MCP endpoint, such as `https://mcp.example.com/mcp`.
    #[schemars(length(max = 512), regex(pattern = URL))]
    pub url: String,
}

/// A server that speaks HTTP with server-sent events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sse {
    /// URL of the event stream, such as `https://mcp.example.com/sse`.
    #[schemars(length(max = 512), regex(pattern = URL))]
    pub url: String,
}

/// A server that speaks over standard input and output.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.command) && self.command.size() > 0")
        .message("command is missing: the bridge in the server's pod starts it, and cannot know the image's own")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stdio {
    /// Container image of the server. The operator's configuration says which images are allowed.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Command to run in the image. The bridge between HTTP and the server's standard input and output starts it, so it must stand
    /// here even when it is the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// Arguments of the command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Vec<String>,
    /// Environment of the process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
    /// `false` (default): a process for each session. `true`: one process that all sessions share; only for servers that keep
    /// nothing between calls.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shared: bool,
}

/// An environment variable. Exactly one of `value` and `secretRef`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.value) != has(self.secretRef)")
        .message("an environment variable has exactly one of value and secretRef")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// The value of the variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32_768))]
    pub value: Option<String>,
    /// The Secret and the key within it that hold its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
}

/// How the gateway authenticates itself to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerAuth {
    /// A header with a secret value.
    pub header: AuthHeader,
}

/// A header with a secret value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthHeader {
    /// Name of the header, such as `Authorization`. Not one that HTTP or MCP itself uses.
    #[x_kube(
        validation = Rule::new(
            "!(self.lowerAscii() in ['host', 'content-length', 'content-type', 'transfer-encoding', 'connection', \
             'upgrade', 'te', 'trailer', 'accept', 'mcp-session-id', 'mcp-protocol-version', 'last-event-id', \
             'content-encoding', 'keep-alive'])"
        )
        .message("HTTP or MCP itself uses this header: name one that authenticates, such as Authorization")
    )]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub name: String,
    /// The Secret and the key within it that hold the whole value, such as `Bearer abc`.
    pub secret_ref: SecretKeyRef,
}

/// Which of the server's tools exist, and on which terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerTools {
    /// Patterns of the tools that exist at all, such as `read_*`. All when left out. What a key may use of them is said by the
    /// key.
    #[serde(default = "all")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 128), regex(pattern = PATTERN)))]
    pub allow: Vec<String>,
    /// What happens when the definition of a tool changes. `None`: nothing. `Warn`: the status says so. `TrustOnFirstUse`: the
    /// changed tool is in quarantine until somebody accepts it. `Strict`: so is every new one. This version does not pin:
    /// only `None` is supported, and it is what leaving it out means for now. Set it explicitly if you rely on it, because a
    /// later version will pin by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PinMode")]
    pub pin: Option<PinMode>,
    /// Prices of calls, which count against the budgets of the key that calls. Not supported yet: leave it out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["tool"]))]
    pub prices: Vec<ToolPrice>,
}

/// What happens when the definition of a tool changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PinMode {
    /// Nothing.
    None,
    /// The status says so.
    Warn,
    /// The changed tool is in quarantine.
    TrustOnFirstUse,
    /// So is every new one.
    Strict,
}

/// Price of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolPrice {
    /// Pattern of tools, such as `search_*`. The first one that matches counts.
    #[schemars(length(min = 1, max = 128))]
    pub tool: String,
    /// US dollars for one call, such as `0.01`.
    pub usd: Usd,
}

/// How tools are named for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Naming {
    /// `Prefix` (default): `<server>__<tool>`. `None`: the server's own names; when two servers offer the same name, the one
    /// that the key names first has it.
    #[serde(default)]
    pub mode: NamingMode,
}

/// How tools are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
pub enum NamingMode {
    /// `<server>__<tool>`.
    #[default]
    Prefix,
    /// The server's own names.
    None,
}

/// Deadlines of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(
        "(!has(self.connect) || self.connect.matches('[1-9]')) && \
         (!has(self.list) || self.list.matches('[1-9]')) && \
         (!has(self.call) || self.call.matches('[1-9]'))"
    )
    .message("a timeout is longer than zero, such as 5s")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerTimeouts {
    /// To connect to the server. 5s when left out.
    #[serde(default = "five_seconds")]
    pub connect: Span,
    /// For a whole list of tools, all pages. 5s when left out.
    #[serde(default = "five_seconds")]
    pub list: Span,
    /// For a call, between two signs of life (progress counts). 120s when left out.
    #[serde(default = "call")]
    pub call: Span,
}

/// What happens to a list when the server does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FailureMode {
    /// The others' tools are listed.
    #[default]
    Open,
    /// The list fails.
    Closed,
}

/// What the operator reports of a server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct McpServerStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`, `ResolvedRefs`, `Programmed` and `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// `Healthy`, `Degraded` (some gateways get no answer), `Unreachable` (none does), or `Unknown` (no gateway has asked).
    #[serde(default)]
    pub health: ServerHealth,
    /// Why it is not healthy, in words. Never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The era of the protocol that the server speaks: `Legacy` (sessions, to 2025-11-25) or `Modern` (stateless, from
    /// 2026-07-28).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Era")]
    pub era: Option<Era>,
    /// The version of the protocol that was agreed upon, such as `2025-11-25`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub protocol_version: Option<String>,
    /// Tools that the server offers and that are not in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tools: Option<i32>,
    /// Tools in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub quarantined_tools: Option<i32>,
    /// The first 64 tools in quarantine, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub quarantine: Vec<QuarantinedTool>,
    /// When the server's list of tools was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_at: Option<Time>,
}

/// Health of a server over all gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ServerHealth {
    /// It answers.
    Healthy,
    /// Some gateways get no answer.
    Degraded,
    /// No gateway gets an answer.
    Unreachable,
    /// No gateway has asked.
    #[default]
    Unknown,
}

/// The era of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Era {
    /// Sessions, to 2025-11-25.
    Legacy,
    /// Stateless, from 2026-07-28.
    Modern,
}

/// A tool in quarantine: it does not exist for clients until its definition is accepted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuarantinedTool {
    /// Name of the tool.
    #[schemars(length(max = 256))]
    pub name: String,
    /// What has changed, in words.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Since when the tool is in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

// === defaults ===

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

fn five_seconds() -> Span {
    Span::from("5s")
}

fn call() -> Span {
    Span::from("120s")
}

// === impl ServerTools ===

impl Default for ServerTools {
    fn default() -> Self {
        ServerTools { allow: all(), pin: None, prices: Vec::new() }
    }
}

// === impl ServerTimeouts ===

impl Default for ServerTimeouts {
    fn default() -> Self {
        ServerTimeouts { connect: five_seconds(), list: five_seconds(), call: call() }
    }
}

// === impl McpServerSpec ===

impl McpServerSpec {
    /// Field names of the transports that stand in this server. A valid one has exactly one; the API server refuses others by
    /// CEL, and the compiler does for files.
    pub fn transports(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.streamable_http.is_some(), "streamableHttp"),
            (self.sse.is_some(), "sse"),
            (self.stdio.is_some(), "stdio"),
        ]
        .into_iter()
        .filter_map(|(present, field)| present.then_some(field))
    }
}
