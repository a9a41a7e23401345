//! Provider routes.

use super::{
    Object, Problem, Status, check,
    index::{Found, Index},
    status::Notes,
};
use crate::{
    api::{
        ProviderKind, ProviderRoute, Usd,
        provider_route::{Backend, ModelPrice, RetryOn, RouteModel},
    },
    conditions::reasons,
    support::Support,
};
use tollgate_proto::{Kind, Resources, v1};

/// Compiles all routes.
pub(super) fn compile(index: &Index<'_>, resources: &mut Resources) -> Vec<Status> {
    index
        .routes()
        .map(|(object, route)| {
            let mut status = Status::of(object);
            let wire = Compiler { index, object, problems: &mut status.problems }.route(route);
            if status.is_accepted() {
                resources.insert(wire);
            }
            status
        })
        .collect()
}

/// What stands in the place of a route that is not accepted: it serves nothing, and hides the exported routes of its name.
/// Otherwise a slip in a manifest would send a namespace's requests elsewhere.
pub(super) fn tombstone(status: &Status, allowed_namespaces: Option<v1::Export>) -> v1::ProviderRoute {
    v1::ProviderRoute {
        namespace: status.namespace.clone(),
        name: status.name.clone(),
        allowed_namespaces,
        off: status.refusal(),
        ..v1::ProviderRoute::default()
    }
}

/// Looks up what the routes fall back to. A fallback that leads nowhere is passed over.
pub(super) fn fallbacks(index: &Index<'_>, mut statuses: Vec<Status>) -> Vec<Status> {
    let accepted: Vec<_> = index.routes().collect();
    for status in statuses.iter_mut().filter(|s| s.is_accepted()) {
        let own = accepted.iter().find(|(o, _)| o.name == status.name && o.namespace == status.namespace);
        let Some((object, route)) = own else { continue };
        for (i, fallback) in route.spec.fallbacks.iter().enumerate() {
            let name = fallback.model.0.split('/').next().unwrap_or_default();
            let field = format!("spec.fallbacks[{i}].model");
            status.problems.extend(missing_route(index, &object.namespace, name, field));
        }
    }
    statuses
}

/// A problem when `namespace` sees no route of this name.
pub(super) fn missing_route(
    index: &Index<'_>,
    namespace: &str,
    name: &str,
    field: String,
) -> Option<Problem> {
    let (reason, message) = match index.find(Kind::ProviderRoute, namespace, name) {
        Found::Object(_) => return None,
        Found::NotAllowed(Some(other)) => (
            reasons::NOT_ALLOWED,
            format!(
                "ProviderRoute {0}/{name} allows {namespace}, but {0} is no platform namespace (the chart's platformNamespaces): \
                 it does not count",
                other.namespace
            ),
        ),
        Found::NotAllowed(None) => (
            reasons::NOT_ALLOWED,
            format!("ProviderRoute `{name}` exists in other namespaces only, and none allows {namespace}"),
        ),
        Found::Refused(route) => {
            (reasons::ROUTE_NOT_FOUND, format!("ProviderRoute {}/{name} is not accepted", route.namespace))
        }
        Found::Nothing => {
            (reasons::ROUTE_NOT_FOUND, format!("ProviderRoute {namespace}/{name} does not exist"))
        }
    };
    Some(Problem::reference(reason, field, message))
}

/// Compiles one route, noting what is wrong.
struct Compiler<'a, 'p> {
    index: &'a Index<'a>,
    object: &'a Object,
    problems: &'p mut Vec<Problem>,
}

// === impl Compiler ===

impl Compiler<'_, '_> {
    fn route(&mut self, route: &ProviderRoute) -> v1::ProviderRoute {
        let spec = &route.spec;
        self.problems.extend(spec.not_supported_yet().into_iter().map(Problem::from));
        self.problems.extend(self.index.vain_export(self.object));
        let models = spec.models.iter().enumerate().map(|(i, m)| self.model(i, m)).collect();
        let backends = spec.backends.iter().enumerate().map(|(i, b)| self.backend(i, b)).collect();
        self.problems.unique("models", "name", spec.models.iter().map(|m| m.name.as_str()));
        self.problems.unique("backends", "name", spec.backends.iter().map(|b| b.name.as_str()));
        if spec.backends.is_empty() {
            self.problems.invalid("spec.backends", "is empty: a route needs at least one");
        }
        self.unserved(&spec.models, &spec.backends);
        for (i, fallback) in spec.fallbacks.iter().enumerate() {
            self.fallback(&format!("spec.fallbacks[{i}].model"), &fallback.model.0);
        }
        v1::ProviderRoute {
            namespace: self.object.namespace.clone(),
            name: self.object.name.clone(),
            allowed_namespaces: self.index.export(&self.object.namespace, &spec.allowed_namespaces),
            models,
            backends,
            retry: Some(v1::Retry {
                attempts: spec.retry.attempts,
                on_connect: spec.retry.when.contains(&RetryOn::Connect),
                on_rate_limited: spec.retry.when.contains(&RetryOn::RateLimited),
                on_server_error: spec.retry.when.contains(&RetryOn::ServerError),
            }),
            timeouts: Some(v1::RouteTimeouts {
                connect: self
                    .problems
                    .checked("spec.timeouts.connect", check::span(&spec.timeouts.connect, 1)),
                first_byte: self
                    .problems
                    .checked("spec.timeouts.firstByte", check::span(&spec.timeouts.first_byte, 1)),
                idle: self.problems.checked("spec.timeouts.idle", check::span(&spec.timeouts.idle, 1)),
            }),
            health: Some(v1::Health {
                consecutive_failures: Some(spec.health.consecutive_failures),
                eject_for: self
                    .problems
                    .checked("spec.health.ejectFor", check::span(&spec.health.eject_for, 1)),
            }),
            fallbacks: spec.fallbacks.iter().map(|f| f.model.0.clone()).collect(),
            strict: spec.strict,
            off: String::new(),
            private_endpoints: self.index.allow_private_endpoints(),
        }
    }

    fn model(&mut self, i: usize, model: &RouteModel) -> v1::RouteModel {
        let field = format!("spec.models[{i}]");
        self.problems.checked(format!("{field}.name"), check::plain_pattern(&model.name));
        if let Some(name) = &model.upstream_name {
            self.problems.checked(format!("{field}.upstreamName"), check::model_name(name));
        }
        v1::RouteModel {
            name: model.name.clone(),
            upstream_name: model.upstream_name.clone().unwrap_or_default(),
            price: model.price.as_ref().map(|price| self.price(&format!("{field}.price"), price)),
            max_output_tokens: self
                .problems
                .positive(format!("{field}.maxOutputTokens"), model.max_output_tokens),
            context: self.problems.positive(format!("{field}.context"), model.context),
        }
    }

    fn price(&mut self, field: &str, price: &ModelPrice) -> v1::Price {
        let mut above = 0;
        let mut tiers = Vec::with_capacity(price.tiers.len());
        let mut ordered: Vec<_> = price.tiers.iter().enumerate().collect();
        ordered.sort_by_key(|(_, tier)| tier.above_input_tokens);
        for (i, tier) in ordered {
            let field = format!("{field}.tiers[{i}]");
            if tier.above_input_tokens <= above {
                self.problems.invalid(format!("{field}.aboveInputTokens"), "is 0, or another tier's as well");
            }
            above = tier.above_input_tokens;
            let price = v1::Price {
                input: self.usd(&field, "input", &tier.input),
                output: self.usd(&field, "output", &tier.output),
                cache_read: tier.cache_read.as_ref().map(|p| self.usd(&field, "cacheRead", p)),
                cache_write: tier.cache_write.as_ref().map(|p| self.usd(&field, "cacheWrite", p)),
                cache_write1h: tier.cache_write_1h.as_ref().map(|p| self.usd(&field, "cacheWrite1h", p)),
                ..v1::Price::default()
            };
            tiers.push(v1::PriceTier { above_input_tokens: above, price: Some(price) });
        }
        let web_search = price.web_search.as_ref().map(|p| p.nanos().map_err(|e| e.to_string()));
        v1::Price {
            input: self.usd(field, "input", &price.input),
            output: self.usd(field, "output", &price.output),
            cache_read: price.cache_read.as_ref().map(|p| self.usd(field, "cacheRead", p)),
            cache_write: price.cache_write.as_ref().map(|p| self.usd(field, "cacheWrite", p)),
            cache_write1h: price.cache_write_1h.as_ref().map(|p| self.usd(field, "cacheWrite1h", p)),
            tiers,
            web_search: web_search
                .and_then(|p| self.problems.checked(format!("{field}.webSearch"), p))
                .unwrap_or_default(),
        }
    }

    fn usd(&mut self, parent: &str, name: &str, usd: &Usd) -> u64 {
        self.problems.checked(format!("{parent}.{name}"), check::price(usd)).unwrap_or_default()
    }

    fn backend(&mut self, i: usize, backend: &Backend) -> v1::Backend {
        let field = format!("spec.backends[{i}]");
        self.problems.checked(format!("{field}.name"), check::dns_label(&backend.name));
        for (j, pattern) in backend.models.iter().flatten().enumerate() {
            self.problems.checked(format!("{field}.models[{j}]"), check::plain_pattern(pattern));
        }
        if backend.models.as_ref().is_some_and(Vec::is_empty) {
            self.problems.invalid(format!("{field}.models"), "is empty: leave it out to serve all models");
        }
        let provider = self.provider(&field, backend);
        if let Some(endpoint) = &backend.endpoint {
            let url = check::url(endpoint, self.index.allow_private_endpoints());
            let base = url.and_then(|()| check::base_url(provider, endpoint));
            self.problems.checked(format!("{field}.endpoint"), base);
        }
        let (credentials, off) = self.credentials(&field, backend);
        v1::Backend {
            name: backend.name.clone(),
            models: backend.models.clone().unwrap_or_default(),
            provider: provider.map_or(v1::Provider::Unspecified, super::provider).into(),
            endpoint: backend.endpoint.clone().unwrap_or_default(),
            region: backend.region.clone().unwrap_or_default(),
            credentials,
            weight: (backend.weight != 1).then_some(backend.weight),
            priority: backend.priority,
            off,
        }
    }

    fn provider(&mut self, field: &str, backend: &Backend) -> Option<ProviderKind> {
        let named: Vec<_> = backend.providers().map(|(_, name)| name).collect();
        match named.as_slice() {
            [] => self
                .problems
                .invalid(field, "names no provider: one of anthropic, openAI, openAICompatible, …, with `{}` after it when it has no fields"),
            [_] => {}
            several => {
                self.problems.invalid(field, format!("names several providers: {}", several.join(", ")))
            }
        }
        let provider = backend.provider();
        let needs_endpoint = matches!(
            provider,
            Some(ProviderKind::OpenAiCompatible | ProviderKind::AzureOpenAi | ProviderKind::AzureFoundry)
        );
        if needs_endpoint && backend.endpoint.is_none() {
            self.problems
                .invalid(format!("{field}.endpoint"), "is missing: this kind of provider has no default");
        }
        provider
    }

    /// The reference for the wire, and why the backend is off when it leads nowhere.
    fn credentials(&mut self, field: &str, backend: &Backend) -> (Option<v1::SecretRef>, String) {
        let Some(credentials) = &backend.credentials else {
            return (None, self.no_credentials(field, backend));
        };
        let field = format!("{field}.credentials");
        let Some(secret) = &credentials.secret_ref else {
            if !credentials.ambient {
                self.problems.invalid(field, "is empty: it needs secretRef");
            }
            return (None, String::new());
        };
        if credentials.ambient {
            self.problems.invalid(&field, "has both secretRef and ambient: only one of them");
        }
        let missing = self.index.secret(&self.object.namespace, secret).err();
        let off = missing.map(|message| {
            let field = format!("{field}.secretRef");
            let told = format!("{message}; backend `{}` is off", backend.name);
            self.problems.push(Problem::reference(reasons::SECRET_NOT_FOUND, field, told));
            message
        });
        (Some(v1::SecretRef { name: secret.name.clone(), key: secret.key.clone() }), off.unwrap_or_default())
    }

    /// Why a backend without a credential is off: the providers' own addresses refuse every request. A server of one's own may take it.
    /// On one machine the caller sees the provider's words and can mend it at once.
    fn no_credentials(&mut self, field: &str, backend: &Backend) -> String {
        let own = match backend.provider() {
            Some(ProviderKind::Anthropic) => "https://api.anthropic.com",
            Some(ProviderKind::OpenAi) => "https://api.openai.com",
            _ => return String::new(),
        };
        if self.index.standalone() || backend.endpoint.as_ref().is_some_and(|url| !url.starts_with(own)) {
            return String::new();
        }
        let message = format!("is missing: {own} takes no request without a key");
        let told = format!("{message}; backend `{}` is off", backend.name);
        let field = format!("{field}.credentials");
        self.problems.push(Problem::reference(reasons::CREDENTIALS_MISSING, field, told));
        format!("spec.credentials {message}")
    }

    /// A listed model that no backend serves fails on every request. No rule of the API server can say so, so the others stay in force.
    fn unserved(&mut self, models: &[RouteModel], backends: &[Backend]) {
        for (i, model) in models.iter().enumerate().filter(|(_, m)| !m.name.contains('*')) {
            let serves = |b: &Backend| {
                b.models.as_ref().is_none_or(|patterns| patterns.iter().any(|p| matches(p, &model.name)))
            };
            if !backends.is_empty() && !backends.iter().any(serves) {
                let message = format!("no backend serves `{}`: see spec.backends[*].models", model.name);
                let field = format!("spec.models[{i}].name");
                self.problems.push(Problem::reference(reasons::NOT_SERVED, field, message));
            }
        }
    }

    fn fallback(&mut self, field: &str, model: &str) {
        if self.problems.checked(field, check::model_name(model)).is_some() && !model.contains('/') {
            self.problems.invalid(field, format!("`{model}` is not `route/model`"));
        }
    }
}

/// Whether a pattern matches: `*` stands for any run of characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}
