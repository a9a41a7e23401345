//! A route to providers.

use super::{Export, Globs, ObjectId, Secret};
use crate::client::Reach;
use std::time::Duration;
use tollgate_translate::{Format, Provider, price::Price};

/// A provider route: what stands before the slash in `azure/gpt-5`.
#[derive(Debug)]
pub struct Route {
    /// Its identity; its name is the prefix of its models.
    pub id: ObjectId,
    /// Who else may see it.
    pub export: Export,
    /// The models it lists; empty: any name is passed on.
    pub models: Vec<RouteModel>,
    /// Where requests go.
    pub backends: Vec<Backend>,
    /// Retries on the same route.
    pub retry: Retry,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// When a backend is left alone for a while.
    pub health: Health,
    /// Where to go when this route fails: `route/model` names, in order.
    pub fallbacks: Vec<String>,
    /// A field that the target cannot express is a 400.
    pub strict: bool,
    /// Which addresses its backends may have.
    pub reach: Reach,
    /// Why the whole route is off: its object is not accepted. It hides the exported routes of its name all the same.
    pub off: Option<String>,
}

/// A model (or a glob of models) of a route.
#[derive(Debug)]
pub struct RouteModel {
    /// The name that clients use, or a glob.
    pub name: String,
    /// `name` as a glob.
    pub pattern: Globs,
    /// The name at the upstream; the client's when absent.
    pub upstream_name: Option<String>,
    /// Overrides the catalogue.
    pub price: Option<Price>,
    /// The most output tokens.
    pub max_output: Option<u64>,
    /// The context window in tokens.
    pub context: Option<u64>,
}

/// One upstream.
#[derive(Debug)]
pub struct Backend {
    /// Its name within the route.
    pub name: String,
    /// Which of the route's models it serves; empty: all.
    pub models: Globs,
    /// The kind of provider.
    pub provider: Provider,
    /// Scheme, authority and path prefix, without a slash at the end: `https://api.openai.com/v1`.
    pub endpoint: http::Uri,
    /// The provider's region, for `providers.regions`.
    pub region: Option<String>,
    /// The credential, and how it is sent. `None` for upstreams without one.
    pub credential: Option<Secret>,
    /// Why this backend is off (a Secret that does not exist); told in errors when no other is left.
    pub off: Option<String>,
    /// Share among backends of the same priority; 0 takes no traffic.
    pub weight: u32,
    /// Lower first.
    pub priority: u32,
}

/// Retries.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Attempts after the first.
    pub attempts: u32,
    /// On a connection that could not be made or broke before the first byte.
    pub on_connect: bool,
    /// On 429.
    pub on_rate_limited: bool,
    /// On 5xx.
    pub on_server_error: bool,
}

/// Deadlines.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// From the request to the answer's first byte.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
}

/// Ejection of failing backends.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// For how long.
    pub eject_for: Duration,
}

// === impl Backend ===

impl Backend {
    /// The wire format this kind of provider speaks; `None` for the kinds that this version cannot talk to yet.
    pub fn format(&self) -> Option<Format> {
        match self.provider {
            Provider::Anthropic => Some(Format::Messages),
            Provider::OpenAi | Provider::OpenAiCompatible => Some(Format::Chat),
            _ => None,
        }
    }
}
