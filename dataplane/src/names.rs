//! Header names and other names on the wire, each written once.

use http::HeaderName;

/// A virtual key, in the gateway's own header: wins over the others.
pub const KEY: HeaderName = HeaderName::from_static("x-tollgate-key");
/// A virtual key as Bifrost's clients send it.
pub const KEY_BIFROST: HeaderName = HeaderName::from_static("x-bf-vk");
/// A virtual key where Anthropic's SDKs put an API key; also Anthropic's upstream credential.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The prefix of metadata headers: `x-tollgate-meta-project: apollo` is recorded as `project = apollo`.
pub const META_PREFIX: &str = "x-tollgate-meta-";
/// The request's id, in every answer; the record has the same id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Where a request's id stands in Anthropic's answers.
pub const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// `route/model` and the backend that answered.
pub const SERVED_BY: HeaderName = HeaderName::from_static("x-tollgate-served-by");
/// The output cap the gateway wrote because a budget is near its end.
pub const OUTPUT_CAP: HeaderName = HeaderName::from_static("x-tollgate-output-cap");
/// Fields that the target could not express.
pub const DEGRADED: HeaderName = HeaderName::from_static("x-tollgate-degraded");
/// Tells Anthropic's and OpenAI's SDKs whether to retry.
pub const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// Anthropic's API version.
pub const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// The API version sent when the client names none.
pub const ANTHROPIC_VERSION_DEFAULT: &str = "2023-06-01";
/// Claude Code's session.
pub const CLAUDE_SESSION: HeaderName = HeaderName::from_static("x-claude-code-session-id");
/// The metadata of a record whose money was held on the gateway's own allowance, because the shared account was away.
pub const META_LEDGER: &str = "tollgate.ledger";
/// The beginning of metadata that the gateway itself adds to a record; clients' headers of such names are not taken.
pub const META_OWN: &str = "tollgate.";
/// An MCP session.
pub const MCP_SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Client headers that reach an upstream of the same format: the provider's open lists, never a credential or a cookie.
pub const FORWARD_PREFIXES: [&str; 4] = ["anthropic-", "x-claude-code-", "x-stainless-", "openai-"];
/// Single headers that reach it too.
pub const FORWARD: [&str; 5] = ["accept", "user-agent", "x-app", "idempotency-key", "x-client-request-id"];
/// Under one of the prefixes, but they choose the account that pays: the gateway's credential decides that.
pub const NEVER_FORWARD: [&str; 2] = ["openai-organization", "openai-project"];

/// How long the official SDKs wait for an answer, in seconds: what they say of it in each request.
pub const CLIENT_PATIENCE: [&str; 2] = ["x-stainless-timeout", "x-stainless-read-timeout"];

/// Upstream answer headers that name the account behind the gateway's credential: nobody else's business.
pub const NEVER_RETURN: [&str; 3] = ["anthropic-organization-id", "openai-organization", "openai-project"];
/// Upstream answer headers that reach a client of the same format.
pub const RETURN_PREFIXES: [&str; 3] = ["anthropic-", "x-ratelimit-", "openai-"];
/// Single answer headers that reach it too.
pub const RETURN: [&str; 5] =
    ["content-type", "request-id", "retry-after", "retry-after-ms", "x-should-retry"];
