//! The status of a ProviderRoute (pure).

use super::subject::{Subject, Urgency};
use tollgate_crds::{
    api::{
        ProviderRoute, ProviderRouteStatus,
        provider_route::{BackendHealth, BackendStatus},
    },
    conditions::same,
};
use tollgate_proto::{Resource, v1};

/// The longest message of a backend, in bytes.
const MAX_MESSAGE: usize = 1000;

/// The status after `old`, and how soon it is to be written.
pub(super) fn status(
    route: &ProviderRoute,
    old: &ProviderRouteStatus,
    subject: &Subject<'_>,
) -> (ProviderRouteStatus, Urgency) {
    let generation = route.metadata.generation;
    let (conditions, waits) = subject.conditions(&old.conditions, generation, None);
    let wire =
        subject.resource().and_then(|r| if let Resource::ProviderRoute(p) = r { Some(&**p) } else { None });
    let backends = match wire {
        Some(wire) => wire.backends.iter().map(|b| backend(b, &old.backends, subject)).collect(),
        None => old.backends.clone(),
    };
    let next = ProviderRouteStatus {
        observed_generation: generation,
        conditions,
        healthy_backends: (!backends.is_empty()).then(|| summary(&backends)),
        backends,
    };
    let urgency =
        if !same(&old.conditions, &next.conditions) || old.observed_generation != next.observed_generation {
            if waits { Urgency::Soon } else { Urgency::Now }
        } else if health(&old.backends) != health(&next.backends) {
            Urgency::Later
        } else {
            Urgency::None
        };
    (next, urgency)
}

fn backend(wire: &v1::Backend, old: &[BackendStatus], subject: &Subject<'_>) -> BackendStatus {
    let before = old.iter().find(|b| b.name == wire.name);
    let id = subject.compiled.id();
    let (serving, ejected) = subject.fleet.backend(&id, &wire.name, subject.now.millis());
    let (health, message) = match (serving, ejected.len()) {
        _ if !wire.off.is_empty() => (BackendHealth::Disabled, Some(wire.off.as_str())),
        // Not all gateways are known yet: what stands there stays.
        _ if !subject.fleet.is_settled() && before.is_some() => {
            return before.cloned().unwrap_or_default();
        }
        (0, _) => (BackendHealth::Unknown, None),
        (_, 0) => (BackendHealth::Healthy, None),
        (all, some) if some < all => (BackendHealth::Degraded, ejected.last().map(|e| e.error.as_str())),
        _ => (BackendHealth::Ejected, ejected.last().map(|e| e.error.as_str())),
    };
    let since = before.filter(|b| b.health == health).and_then(|b| b.since.clone());
    BackendStatus {
        name: wire.name.clone(),
        health,
        ejected_by: i32::try_from(ejected.len()).ok().filter(|n| *n > 0),
        message: message.filter(|m| !m.is_empty()).map(shortened),
        since: since.or_else(|| Some(subject.now.written())),
    }
}

fn shortened(message: &str) -> String {
    message.get(..message.floor_char_boundary(MAX_MESSAGE)).unwrap_or_default().to_owned()
}

/// `2/3`: in use, of all.
fn summary(backends: &[BackendStatus]) -> String {
    let usable = |b: &&BackendStatus| matches!(b.health, BackendHealth::Healthy | BackendHealth::Degraded);
    match backends.iter().all(|b| b.health == BackendHealth::Unknown) {
        true => format!("?/{}", backends.len()),
        false => format!("{}/{}", backends.iter().filter(usable).count(), backends.len()),
    }
}

/// What makes a status worth writing.
fn health(backends: &[BackendStatus]) -> Vec<(&str, BackendHealth)> {
    backends.iter().map(|b| (b.name.as_str(), b.health)).collect()
}
