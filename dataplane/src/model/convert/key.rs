//! A virtual key from the wire.

use super::{Globs, Invalid, globs_or_all, invalid, object_id, provider};
use crate::model::{
    ObjectId,
    key::{Content, Key, KeyBudget, Limits, Logging, ModelRules, ProviderRules, Reset, Spending, ToolRule},
};
use std::time::Duration;
use tollgate_ledger::budget::{Budget, Limit, Period};
use tollgate_proto::v1;

impl TryFrom<&v1::VirtualKey> for Key {
    type Error = Invalid;

    fn try_from(wire: &v1::VirtualKey) -> Result<Self, Invalid> {
        let id = object_id(&wire.namespace, &wire.name)?;
        Ok(Key {
            parent: parent(wire)?,
            token_hashes: token_hashes(wire)?,
            previous_token: token_hashes(wire)?.get(1).copied().zip(wire.previous_token_until),
            service_accounts: service_accounts(wire)?,
            anonymous: wire.anonymous,
            default_route: (!wire.default_route.is_empty()).then(|| wire.default_route.clone()),
            models: models(wire),
            providers: providers(wire)?,
            budgets: wire.budgets.iter().enumerate().map(budget).collect::<Result<_, _>>()?,
            limits: limits(wire),
            spending: spending(wire)?,
            tools: wire
                .tools
                .iter()
                .flat_map(|t| &t.rules)
                .enumerate()
                .map(tool_rule)
                .collect::<Result<_, _>>()?,
            any_tools: wire.team && wire.tools.is_none(),
            logging: logging(wire)?,
            resets: wire
                .resets
                .iter()
                .map(|r| Reset { budget: r.budget.clone(), id: r.id.clone() })
                .collect(),
            expires_at: wire.expires_at,
            disabled: wire.disabled,
            denied: (!wire.denied.is_empty()).then(|| wire.denied.clone()),
            ..Key::new(id)
        })
    }
}

fn parent(wire: &v1::VirtualKey) -> Result<Option<crate::model::ObjectId>, Invalid> {
    let Some(parent) = &wire.parent_ref else { return Ok(None) };
    object_id(&parent.namespace, &parent.name).map(Some).map_err(|e| invalid("spec.parentRef", e.reason))
}

fn token_hashes(wire: &v1::VirtualKey) -> Result<Vec<[u8; 32]>, Invalid> {
    let hash = |bytes: &Vec<u8>| {
        <[u8; 32]>::try_from(bytes.as_slice())
            .map_err(|_| invalid("spec.token", "not the SHA-256 of a token"))
    };
    wire.token_sha256.iter().map(hash).collect()
}

fn service_accounts(wire: &v1::VirtualKey) -> Result<Vec<ObjectId>, Invalid> {
    let account = |account: &v1::ObjectRef| object_id(&account.namespace, &account.name);
    wire.service_accounts
        .iter()
        .map(account)
        .collect::<Result<_, _>>()
        .map_err(|e| invalid("spec.serviceAccounts", e.reason))
}

/// A key without `allow` may use nothing; a team without one restricts nothing.
fn models(wire: &v1::VirtualKey) -> ModelRules {
    let none = v1::ModelRules::default();
    let rules = wire.models.as_ref().unwrap_or(&none);
    let allow = match &rules.allow {
        Some(globs) => Some(Globs::new(&globs.patterns)),
        None if wire.team => None,
        None => Some(Globs::default()),
    };
    ModelRules { allow, deny: Globs::new(&rules.deny), aliases: rules.aliases.clone() }
}

fn providers(wire: &v1::VirtualKey) -> Result<ProviderRules, Invalid> {
    let Some(rules) = &wire.providers else { return Ok(ProviderRules::default()) };
    let allow = match &rules.allow {
        None => None,
        Some(list) => Some(
            list.kinds
                .iter()
                .map(|kind| provider("spec.providers.allow", *kind))
                .collect::<Result<Vec<_>, _>>()?,
        ),
    };
    Ok(ProviderRules { allow, regions: rules.regions.as_ref().map(|g| Globs::new(&g.patterns)) })
}

fn budget((index, wire): (usize, &v1::Budget)) -> Result<KeyBudget, Invalid> {
    let field = |name: &str| format!("spec.budgets[{index}].{name}");
    if wire.name.is_empty() {
        return Err(invalid(field("name"), "is missing"));
    }
    let limit = match wire.limit {
        Some(v1::budget::Limit::NanoUsd(nanos)) => Limit::NanoUsd(nanos),
        Some(v1::budget::Limit::Tokens(tokens)) => Limit::Tokens(tokens),
        None => return Err(invalid(field("usd"), "neither usd nor tokens is known to this version")),
    };
    let period = match wire.window {
        Some(v1::budget::Window::Period(period)) => calendar(period)
            .ok_or_else(|| invalid(field("period"), format!("period {period} is unknown to this version")))?,
        Some(v1::budget::Window::Rolling(millis)) if millis >= 1000 => Period::Rolling(millis / 1000),
        Some(v1::budget::Window::Rolling(_)) => {
            return Err(invalid(field("rolling"), "must be at least 1s"));
        }
        None => return Err(invalid(field("period"), "neither period nor rolling is known to this version")),
    };
    let zone = match wire.time_zone.as_str() {
        "" => jiff::tz::TimeZone::UTC,
        name => jiff::tz::TimeZone::get(name)
            .map_err(|_| invalid(field("timeZone"), format!("time zone {name:?} does not exist")))?,
    };
    let budget = Budget::new(wire.name.clone(), limit, period, zone);
    Ok(KeyBudget { budget, models: globs_or_all(&wire.models) })
}

fn calendar(period: i32) -> Option<Period> {
    Some(match v1::Period::try_from(period).ok()? {
        v1::Period::Unspecified => return None,
        v1::Period::Minute => Period::Minute,
        v1::Period::Hour => Period::Hour,
        v1::Period::Day => Period::Day,
        v1::Period::Week => Period::Week,
        v1::Period::Month => Period::Month,
        v1::Period::Quarter => Period::Quarter,
        v1::Period::Year => Period::Year,
    })
}

fn limits(wire: &v1::VirtualKey) -> Limits {
    let Some(v1::Limits { requests_per_minute, tokens_per_minute, concurrent }) = wire.limits else {
        return Limits::default();
    };
    Limits { requests_per_minute, tokens_per_minute, concurrent }
}

/// A word that this version does not know is refused: guessing could be laxer than what was meant.
fn spending(wire: &v1::VirtualKey) -> Result<Spending, Invalid> {
    let Some(wire) = wire.spending else { return Ok(Spending::default()) };
    let unknown = |field: &'static str| move |_| invalid(field, "unknown to this version");
    let enforcement =
        v1::Enforcement::try_from(wire.enforcement).map_err(unknown("spec.spending.enforcement"))?;
    let unpriced = v1::Unpriced::try_from(wire.unpriced).map_err(unknown("spec.spending.unpriced"))?;
    let near_limit = v1::NearLimit::try_from(wire.near_limit).map_err(unknown("spec.spending.nearLimit"))?;
    let store = v1::OnStoreFailure::try_from(wire.on_store_failure)
        .map_err(unknown("spec.spending.onStoreFailure"))?;
    Ok(Spending {
        strict: enforcement == v1::Enforcement::Strict,
        deny_unpriced: unpriced == v1::Unpriced::Deny,
        lower_output_cap: near_limit == v1::NearLimit::LowerOutputCap,
        deny_on_store_failure: store == v1::OnStoreFailure::Deny,
    })
}

/// What this version does not enforce is refused: a tool that somebody wants to approve first must not run meanwhile.
fn tool_rule((index, wire): (usize, &v1::ToolRule)) -> Result<ToolRule, Invalid> {
    let unknown = |name: &str| invalid(format!("spec.tools[{index}].{name}"), "not enforced by this version");
    if !wire.approve.is_empty() {
        return Err(unknown("approve"));
    }
    if wire.require_suggestion {
        return Err(unknown("requireSuggestion"));
    }
    Ok(ToolRule { server: wire.server.clone(), allow: Globs::new(&wire.allow), deny: Globs::new(&wire.deny) })
}

fn logging(wire: &v1::VirtualKey) -> Result<Logging, Invalid> {
    let default = Logging::default();
    let Some(wire) = wire.logging else { return Ok(default) };
    let content = match v1::Content::try_from(wire.content) {
        Ok(v1::Content::Unspecified) => default.content,
        Ok(v1::Content::None) => Content::None,
        Ok(v1::Content::Metadata) => Content::Metadata,
        Ok(v1::Content::Full) => Content::Full,
        Err(_) => return Err(invalid("spec.logging.content", "unknown to this version")),
    };
    Ok(Logging { content, retention: wire.retention.map_or(default.retention, Duration::from_millis) })
}
