//! Every name of telemetry, once, with its source.
//!
//! - GenAI: <https://github.com/open-telemetry/semantic-conventions-genai> `docs/gen-ai/{gen-ai-spans,gen-ai-metrics,gen-ai-token-metrics}.md`
//! - MCP: the same repository, `docs/gen-ai/mcp.md`
//! - HTTP, server, errors: <https://github.com/open-telemetry/semantic-conventions> `docs/http/http-spans.md`, `docs/general/attributes.md`
//! - `tollgate.*`: ours
//!
//! The GenAI and MCP conventions are in development; what changes there changes here. Content (`gen_ai.input.messages`,
//! `gen_ai.tool.call.arguments` and the like) is opt-in by the conventions and never exported.

/// Attributes.
pub mod attribute {
    // GenAI, gen-ai-spans.md
    /// What is done: [`super::operation`].
    pub const OPERATION: &str = "gen_ai.operation.name";
    /// The provider: [`super::provider`].
    pub const PROVIDER: &str = "gen_ai.provider.name";
    /// The model asked for.
    pub const REQUEST_MODEL: &str = "gen_ai.request.model";
    /// Whether a stream was asked for.
    pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
    /// The output cap.
    pub const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
    /// The id of the answer.
    pub const RESPONSE_ID: &str = "gen_ai.response.id";
    /// The model that answered.
    pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
    /// Why it ended.
    pub const RESPONSE_FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
    /// Seconds until the first piece of a stream.
    pub const RESPONSE_TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
    /// Input tokens, cached ones included.
    pub const USAGE_INPUT: &str = "gen_ai.usage.input_tokens";
    /// Output tokens.
    pub const USAGE_OUTPUT: &str = "gen_ai.usage.output_tokens";
    /// Input tokens read from the provider's cache.
    pub const USAGE_CACHE_READ: &str = "gen_ai.usage.cache_read.input_tokens";
    /// Input tokens written to it.
    pub const USAGE_CACHE_CREATION: &str = "gen_ai.usage.cache_creation.input_tokens";
    /// Output tokens that were reasoning.
    pub const USAGE_REASONING: &str = "gen_ai.usage.reasoning.output_tokens";
    /// `input` or `output`.
    pub const TOKEN_TYPE: &str = "gen_ai.token.type";
    /// The session of the client.
    pub const CONVERSATION: &str = "gen_ai.conversation.id";
    /// A tool's name.
    pub const TOOL_NAME: &str = "gen_ai.tool.name";
    /// The id of the model's suggestion that a call follows.
    pub const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";
    // MCP, mcp.md
    /// `tools/call` and so on.
    pub const MCP_METHOD: &str = "mcp.method.name";
    /// The revision spoken.
    pub const MCP_VERSION: &str = "mcp.protocol.version";
    /// The id of the JSON-RPC request.
    pub const JSONRPC_ID: &str = "jsonrpc.request.id";
    /// `tcp`.
    pub const NETWORK_TRANSPORT: &str = "network.transport";
    // HTTP and general
    /// One of few, such as `timeout` or a status.
    pub const ERROR_TYPE: &str = "error.type";
    /// The method.
    pub const HTTP_METHOD: &str = "http.request.method";
    /// The path's pattern.
    pub const HTTP_ROUTE: &str = "http.route";
    /// The status.
    pub const HTTP_STATUS: &str = "http.response.status_code";
    /// The path.
    pub const URL_PATH: &str = "url.path";
    /// The client's user agent.
    pub const USER_AGENT: &str = "user_agent.original";
    /// Which attempt at a provider this is, when not the first.
    pub const RESEND_COUNT: &str = "http.request.resend_count";
    /// Whom we call.
    pub const SERVER_ADDRESS: &str = "server.address";
    /// Its port.
    pub const SERVER_PORT: &str = "server.port";
    // Ours
    /// The request's id: `x-request-id`, and the record's.
    pub const REQUEST_ID: &str = "tollgate.request.id";
    /// The key, `namespace/name`.
    pub const KEY: &str = "tollgate.key";
    /// The route, `namespace/name`.
    pub const ROUTE: &str = "tollgate.route";
    /// The backend of the route.
    pub const BACKEND: &str = "tollgate.backend";
    /// The MCP server, `namespace/name`.
    pub const MCP_SERVER: &str = "tollgate.mcp.server";
    /// What the request cost in US dollars.
    pub const COST: &str = "tollgate.cost.usd";
    /// Why something was refused.
    pub const REASON: &str = "tollgate.reason";
    /// Which call of the ledger's store.
    pub const STORE_OPERATION: &str = "tollgate.store.operation";
}

/// Values of [`attribute::OPERATION`].
pub mod operation {
    /// A model's answer to a conversation.
    pub const CHAT: &str = "chat";
    /// A tool's call.
    pub const EXECUTE_TOOL: &str = "execute_tool";
}

/// Values of [`attribute::PROVIDER`], gen-ai-spans.md.
pub fn provider(provider: tollgate_translate::Provider) -> &'static str {
    use tollgate_translate::Provider;
    match provider {
        Provider::Anthropic => "anthropic",
        Provider::OpenAi => "openai",
        Provider::AzureOpenAi => "azure.ai.openai",
        Provider::AzureFoundry => "azure.ai.inference",
        Provider::VertexAi => "gcp.vertex_ai",
        Provider::Gemini => "gcp.gemini",
        Provider::Bedrock => "aws.bedrock",
        // Whoever it is: the conventions let others be named as one likes.
        Provider::OpenAiCompatible => "openai_compatible",
    }
}

/// Metrics of the conventions.
pub mod metric {
    // gen-ai-metrics.md
    /// Histogram, `{token}`.
    pub const CLIENT_TOKEN_USAGE: &str = "gen_ai.client.token.usage";
    /// Histogram, s: one attempt at a provider.
    pub const CLIENT_DURATION: &str = "gen_ai.client.operation.duration";
    /// Histogram, s: until the first piece of a provider's stream.
    pub const CLIENT_FIRST_CHUNK: &str = "gen_ai.client.operation.time_to_first_chunk";
    /// Histogram, s: a request as the gateway's client sees it.
    pub const SERVER_DURATION: &str = "gen_ai.server.request.duration";
    /// Histogram, s.
    pub const SERVER_FIRST_TOKEN: &str = "gen_ai.server.time_to_first_token";
    /// Histogram, s.
    pub const SERVER_PER_TOKEN: &str = "gen_ai.server.time_per_output_token";
    // gen-ai-token-metrics.md: counters, `{token}`
    /// All input tokens.
    pub const INPUT_TOKENS: &str = "gen_ai.client.inference.usage.input_tokens";
    /// All output tokens.
    pub const OUTPUT_TOKENS: &str = "gen_ai.client.inference.usage.output_tokens";
    /// Of the input, what the provider read from its cache.
    pub const CACHE_READ_TOKENS: &str = "gen_ai.client.inference.usage.cache_read.input_tokens";
    /// Of the input, what it wrote to it.
    pub const CACHE_WRITE_TOKENS: &str = "gen_ai.client.inference.usage.cache_write.input_tokens";
    /// Of the output, what was reasoning.
    pub const REASONING_TOKENS: &str = "gen_ai.client.inference.usage.reasoning.output_tokens";
    // mcp.md: histograms, s
    /// A request of the gateway's to an MCP server.
    pub const MCP_CLIENT_DURATION: &str = "mcp.client.operation.duration";
    /// A request of a client's to the gateway.
    pub const MCP_SERVER_DURATION: &str = "mcp.server.operation.duration";

    // Ours
    /// Gauge: requests under way on all listeners.
    pub const IN_FLIGHT: &str = "tollgate.requests.in_flight";
    /// Counter, US dollars: what was charged.
    pub const COST: &str = "tollgate.cost.usd";
    /// Counter, US dollars: what was charged over a hold (expected 0).
    pub const OVERRUN: &str = "tollgate.budget.overrun.usd";
    /// Counter: requests that a budget or limit refused, by [`super::attribute::REASON`].
    pub const REFUSALS: &str = "tollgate.budget.refusals";
    /// Gauge: holds of requests under way, where this process keeps the ledger.
    pub const HOLDS: &str = "tollgate.budget.holds";
    /// Gauge: 1 while the ledger answers, 0 while it does not.
    pub const LEDGER_UP: &str = "tollgate.ledger.up";
    /// Histogram, s: calls of the ledger's shared store.
    pub const STORE_DURATION: &str = "tollgate.ledger.store.duration";
    /// Counter: those that failed.
    pub const STORE_ERRORS: &str = "tollgate.ledger.store.errors";
    /// Gauge: records that wait to be written.
    pub const RECORDS_QUEUED: &str = "tollgate.records.queued";
    /// Counter: records written.
    pub const RECORDS_WRITTEN: &str = "tollgate.records.written";
    /// Counter: records whose billing part went to the spill file.
    pub const RECORDS_SPILLED: &str = "tollgate.records.spilled";
    /// Gauge: spilled records that are not written yet.
    pub const RECORDS_SPILL_PENDING: &str = "tollgate.records.spill.pending";
    /// Counter: records that lost their content.
    pub const RECORDS_CONTENT_DROPPED: &str = "tollgate.records.content_dropped";
    /// Counter: records that are lost altogether (expected 0).
    pub const RECORDS_LOST: &str = "tollgate.records.lost";
    /// Gauge: billing records that wait in the ledger's streams, as the gateway sees them whose turn it is to drain.
    pub const BILLING_WAITING: &str = "tollgate.billing.waiting";
    /// Gauge, seconds: how old the oldest of them is.
    pub const BILLING_LAG: &str = "tollgate.billing.lag";
    /// Counter: billing records that this gateway wrote to PostgreSQL.
    pub const BILLING_WRITTEN: &str = "tollgate.billing.written";
    /// Counter: billing records that it set aside (expected 0).
    pub const BILLING_SET_ASIDE: &str = "tollgate.billing.set_aside";
    /// Gauge, 0 or 1: the operator's stream is open.
    pub const XDS_CONNECTED: &str = "tollgate.xds.connected";
    /// Gauge, s: since the operator was last heard or connected.
    pub const XDS_AGE: &str = "tollgate.xds.config.age";
    /// Gauge: the configuration in force.
    pub const XDS_GENERATION: &str = "tollgate.xds.config.generation";
    /// Gauge: resources that are rejected.
    pub const XDS_REJECTED: &str = "tollgate.xds.rejected";
    /// Counter: backends that were ejected.
    pub const EJECTIONS: &str = "tollgate.backend.ejections";
    /// Counter: measurements that nobody took in time.
    pub const DROPPED: &str = "tollgate.telemetry.dropped";
}

/// Bounds of histograms, as the conventions say where they do.
pub mod bounds {
    /// gen-ai-metrics.md: `gen_ai.client.operation.duration`, `gen_ai.server.request.duration`.
    pub const DURATION: [f64; 14] =
        [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
    /// gen-ai-metrics.md: `gen_ai.server.time_to_first_token`; the client's first piece as well.
    pub const FIRST_TOKEN: [f64; 16] =
        [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
    /// gen-ai-metrics.md: `gen_ai.server.time_per_output_token`.
    pub const PER_TOKEN: [f64; 12] = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0];
    /// gen-ai-metrics.md: `gen_ai.client.token.usage`.
    pub const TOKENS: [f64; 14] = [
        1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0,
        16777216.0, 67108864.0,
    ];
    /// mcp.md: both durations of operations.
    pub const MCP: [f64; 14] =
        [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
    /// A round trip to a store in the same cluster.
    pub const STORE: [f64; 12] =
        [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0];
}
