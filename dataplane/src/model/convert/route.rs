//! A provider route from the wire.

use super::{
    Globs, Invalid, Resources, address, credential, deadline, export, invalid, object_id, provider, v1,
};
use crate::{
    client::Reach,
    model::route::{Backend, Health, Retry, Route, RouteModel, Timeouts},
};
use std::time::Duration;
use tollgate_translate::{
    Provider,
    price::{Price, Tier},
};

/// Retries of a route that does not say.
pub const RETRY: Retry =
    Retry { attempts: 2, on_connect: true, on_rate_limited: true, on_server_error: true };
/// Deadlines of a route that does not say. An answer that is not streamed has its first byte when the model is done.
pub const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    first_byte: Duration::from_secs(600),
    idle: Duration::from_secs(300),
};
/// Ejection on a route that does not say.
pub const HEALTH: Health = Health { consecutive_failures: 5, eject_for: Duration::from_secs(30) };

/// A route, with its backends' credentials out of `secrets`. A credential that is missing switches its backend off, with
/// the reason; everything else that does not fit refuses the route.
pub fn route(wire: &v1::ProviderRoute, secrets: &Resources) -> Result<Route, Invalid> {
    let backends = wire.backends.iter().enumerate();
    Ok(Route {
        id: object_id(&wire.namespace, &wire.name)?,
        export: export(wire.allowed_namespaces.as_ref()),
        models: wire.models.iter().enumerate().map(model).collect::<Result<_, _>>()?,
        backends: backends.map(|(i, b)| backend(i, b, &wire.namespace, secrets)).collect::<Result<_, _>>()?,
        retry: wire.retry.map_or(RETRY, |r| Retry {
            attempts: r.attempts,
            on_connect: r.on_connect,
            on_rate_limited: r.on_rate_limited,
            on_server_error: r.on_server_error,
        }),
        timeouts: timeouts(wire)?,
        health: health(wire)?,
        fallbacks: wire.fallbacks.clone(),
        strict: wire.strict,
        reach: Reach::private_if(wire.private_endpoints),
        off: (!wire.off.is_empty()).then(|| wire.off.clone()),
    })
}

fn model((index, wire): (usize, &v1::RouteModel)) -> Result<RouteModel, Invalid> {
    if wire.name.is_empty() {
        return Err(invalid(format!("spec.models[{index}].name"), "is missing"));
    }
    let price = wire.price.as_ref().map(|p| price(&format!("spec.models[{index}].price"), p)).transpose()?;
    Ok(RouteModel {
        name: wire.name.clone(),
        pattern: Globs::new([&wire.name]),
        upstream_name: (!wire.upstream_name.is_empty()).then(|| wire.upstream_name.clone()),
        price,
        max_output: wire.max_output_tokens,
        context: wire.context,
    })
}

/// Prices of the wire are per million tokens, those of the ledger per token; one that would have to be rounded is refused.
fn price(field: &str, wire: &v1::Price) -> Result<Price, Invalid> {
    let per_token = |name: &str, per_million: u64| match per_million % 1_000_000 {
        0 => Ok(per_million / 1_000_000),
        _ => Err(invalid(format!("{field}.{name}"), "finer than 0.001 USD per million tokens")),
    };
    let tier = |(index, wire): (usize, &v1::PriceTier)| {
        let field = format!("{field}.tiers[{index}]");
        let own = wire.price.as_ref().filter(|p| p.tiers.is_empty());
        let own = own.ok_or_else(|| invalid(&field, "has no prices, or tiers of its own"))?;
        Ok::<_, Invalid>(Tier { above: wire.above_input_tokens, price: price(&field, own)? })
    };
    let input = per_token("input", wire.input)?;
    let or_input = |name: &str, price: Option<u64>| price.map_or(Ok(input), |p| per_token(name, p));
    Ok(Price {
        input,
        cache_read: or_input("cacheRead", wire.cache_read)?,
        cache_write: or_input("cacheWrite", wire.cache_write)?,
        cache_write_1h: or_input("cacheWrite1h", wire.cache_write1h.or(wire.cache_write))?,
        output: per_token("output", wire.output)?,
        tiers: wire.tiers.iter().enumerate().map(tier).collect::<Result<_, _>>()?,
        web_search: wire.web_search,
    })
}

fn backend(
    index: usize,
    wire: &v1::Backend,
    namespace: &str,
    secrets: &Resources,
) -> Result<Backend, Invalid> {
    let field = |name: &str| format!("spec.backends[{index}].{name}");
    let provider = provider(&field("provider"), wire.provider)?;
    let endpoint = match (wire.endpoint.as_str(), public_endpoint(provider)) {
        ("", Some(public)) => public,
        ("", None) => return Err(invalid(field("endpoint"), "this kind of provider has no default")),
        (own, _) => own,
    };
    let credential = wire.credentials.as_ref().map(|c| credential(namespace, c, secrets)).transpose();
    let (credential, missing) = match credential {
        Ok(credential) => (credential, None),
        Err(reason) => (None, Some(reason)),
    };
    Ok(Backend {
        name: wire.name.clone(),
        models: Globs::new(&wire.models),
        provider,
        endpoint: address(&field("endpoint"), endpoint)?,
        region: (!wire.region.is_empty()).then(|| wire.region.clone()),
        credential,
        off: if wire.off.is_empty() { missing } else { Some(wire.off.clone()) },
        weight: wire.weight.unwrap_or(1),
        priority: wire.priority,
    })
}

/// Where a provider's public API is. An endpoint is the base to which the gateway appends `/v1/messages` for providers that
/// speak Anthropic's API, and `/chat/completions` for those that speak OpenAI's (whose endpoints therefore include `/v1`).
pub fn public_endpoint(provider: Provider) -> Option<&'static str> {
    match provider {
        Provider::Anthropic => Some("https://api.anthropic.com"),
        Provider::OpenAi => Some("https://api.openai.com/v1"),
        Provider::Gemini => Some("https://generativelanguage.googleapis.com"),
        Provider::AzureOpenAi
        | Provider::AzureFoundry
        | Provider::VertexAi
        | Provider::Bedrock
        | Provider::OpenAiCompatible => None,
    }
}

fn timeouts(wire: &v1::ProviderRoute) -> Result<Timeouts, Invalid> {
    let Some(v1::RouteTimeouts { connect, first_byte, idle }) = wire.timeouts else { return Ok(TIMEOUTS) };
    Ok(Timeouts {
        connect: deadline("spec.timeouts.connect", connect, TIMEOUTS.connect)?,
        first_byte: deadline("spec.timeouts.firstByte", first_byte, TIMEOUTS.first_byte)?,
        idle: deadline("spec.timeouts.idle", idle, TIMEOUTS.idle)?,
    })
}

fn health(wire: &v1::ProviderRoute) -> Result<Health, Invalid> {
    let Some(v1::Health { consecutive_failures, eject_for }) = wire.health else { return Ok(HEALTH) };
    Ok(Health {
        consecutive_failures: consecutive_failures.unwrap_or(HEALTH.consecutive_failures),
        eject_for: deadline("spec.health.ejectFor", eject_for, HEALTH.eject_for)?,
    })
}
