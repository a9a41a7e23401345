//! The status of a VirtualKey (pure).

use super::{
    amount::{self, percent},
    subject::{Now, Subject, Urgency, time},
};
use k8s_openapi::jiff::Timestamp;
use std::cmp::Ordering;
use tollgate_crds::{
    api::{
        VirtualKey, VirtualKeyStatus,
        virtual_key::{BudgetStatus, TokenState, TokenStatus, Unit},
    },
    conditions::{reasons, same},
};
use tollgate_proto::{Kind, Resource, ResourceId, Resources, discovery, v1};

/// The most levels that are looked up; the compiler allows no more.
const MAX_DEPTH: usize = tollgate_crds::compile::MAX_DEPTH;

/// The status after `old`, and how soon it is to be written.
pub(super) fn status(
    key: &VirtualKey,
    old: &VirtualKeyStatus,
    subject: &Subject<'_>,
) -> (VirtualKeyStatus, Urgency) {
    let generation = key.metadata.generation;
    let wire =
        subject.resource().and_then(|r| if let Resource::VirtualKey(k) = r { Some(&**k) } else { None });
    let off = wire.and_then(|wire| off(wire, subject.resources, subject.now));
    let (conditions, waits) = subject.conditions(&old.conditions, generation, off);
    let budgets = match wire {
        Some(wire) => budgets(wire, &old.budgets, subject),
        None => old.budgets.clone(),
    };
    let next = VirtualKeyStatus {
        observed_generation: generation,
        conditions,
        tightest: tightest(&budgets).cloned(),
        budgets,
        token: token(key, wire, subject.now),
    };
    let urgency = if !same(&old.conditions, &next.conditions)
        || old.observed_generation != next.observed_generation
        || old.token != next.token
    {
        if waits { Urgency::Soon } else { Urgency::Now }
    } else if is_used_up(&old.budgets, &next.budgets) {
        Urgency::Now
    } else if steps(&old.budgets) != steps(&next.budgets) {
        Urgency::Later
    } else {
        Urgency::None
    };
    (next, urgency)
}

/// The budget that is nearest to its limit; of equally used ones that with less left, as the one that will refuse first. Dollars
/// and tokens cannot be compared: of those the first.
fn tightest(budgets: &[BudgetStatus]) -> Option<&BudgetStatus> {
    let left =
        |b: &BudgetStatus| amount::parse(b.unit, &b.limit).saturating_sub(amount::parse(b.unit, &b.spent));
    let nearer = |new: &BudgetStatus, old: &BudgetStatus| match new.percent.cmp(&old.percent) {
        Ordering::Greater => true,
        Ordering::Equal => new.unit == old.unit && left(new) < left(old),
        Ordering::Less => false,
    };
    budgets.iter().reduce(|old, new| if nearer(new, old) { new } else { old })
}

/// Why a key is switched off, by itself or by a parent.
fn off(wire: &v1::VirtualKey, resources: &Resources, now: Now) -> Option<(&'static str, String)> {
    let mut here = Some(wire);
    for level in 0..MAX_DEPTH {
        let key = here?;
        let whose = match level {
            0 => String::new(),
            _ => format!("parent {}/{} ", key.namespace, key.name),
        };
        if key.disabled {
            return Some((reasons::DISABLED, format!("{whose}is disabled")));
        }
        if let Some(at) = key.expires_at.filter(|at| *at <= now.millis()) {
            return Some((reasons::EXPIRED, format!("{whose}expired at {}", shown(at))));
        }
        let parent = key.parent_ref.as_ref()?;
        let id = ResourceId::new(Kind::VirtualKey, &parent.namespace, &parent.name);
        here = match resources.get(&id) {
            Some(Resource::VirtualKey(parent)) => Some(parent),
            _ => None,
        };
    }
    None
}

fn shown(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| "an unknown time".to_owned(), |t| t.to_string())
}

/// The state of the token.
fn token(key: &VirtualKey, wire: Option<&v1::VirtualKey>, now: Now) -> Option<TokenStatus> {
    key.spec.token.as_ref()?;
    let wire = wire?;
    let until = wire.previous_token_until.filter(|until| *until > now.millis());
    let state = match (wire.token_sha256.is_empty(), until) {
        (true, _) => TokenState::Missing,
        (false, Some(_)) => TokenState::Rotating,
        (false, None) => TokenState::Active,
    };
    Some(TokenStatus { state, previous_until: until.and_then(time) })
}

/// Spend of each budget: as the gateways last said, else as it stood there.
fn budgets(wire: &v1::VirtualKey, old: &[BudgetStatus], subject: &Subject<'_>) -> Vec<BudgetStatus> {
    let key = format!("{}/{}", wire.namespace, wire.name);
    let one = |budget: &v1::Budget| {
        let (unit, limit) = match budget.limit? {
            v1::budget::Limit::NanoUsd(nanos) => (Unit::Usd, nanos),
            v1::budget::Limit::Tokens(tokens) => (Unit::Tokens, tokens),
        };
        let before = old.iter().find(|b| b.name == budget.name && b.unit == unit);
        let report = subject.fleet.budget(&key, &budget.name).filter(|r| is_current(r, unit, subject.now));
        Some(match report {
            Some(report) => reported(&budget.name, unit, limit, report),
            None => remembered(&budget.name, unit, limit, before, subject.now),
        })
    };
    wire.budgets.iter().filter_map(one).collect()
}

/// Whether a sample is of the unit and of a window that is still running.
fn is_current(report: &discovery::v1::BudgetReport, unit: Unit, now: Now) -> bool {
    let same_unit = match report.unit() {
        discovery::v1::Unit::NanoUsd => unit == Unit::Usd,
        discovery::v1::Unit::Tokens => unit == Unit::Tokens,
        discovery::v1::Unit::Unspecified => false,
    };
    same_unit && (report.resets_at == 0 || report.resets_at > now.millis())
}

fn reported(name: &str, unit: Unit, limit: u64, report: &discovery::v1::BudgetReport) -> BudgetStatus {
    let positive = |amount: u64| (amount > 0).then(|| amount::shown(unit, amount));
    BudgetStatus {
        name: name.to_owned(),
        unit,
        spent: amount::shown(unit, report.committed),
        limit: amount::exact(unit, limit),
        held: positive(report.held),
        overrun: positive(report.overrun),
        percent: percent(report.committed, limit),
        since: (report.since != 0).then_some(report.since).and_then(time),
        resets_at: (report.resets_at != 0).then_some(report.resets_at).and_then(time),
    }
}

/// What is known of a budget that no gateway has touched since it started: what stood there, unless its window is over.
fn remembered(name: &str, unit: Unit, limit: u64, before: Option<&BudgetStatus>, now: Now) -> BudgetStatus {
    let over = before.and_then(|b| b.resets_at.clone()).filter(|at| at.0 <= now.time);
    let running = before.filter(|_| over.is_none());
    let spent = running.map_or(0, |b| amount::parse(unit, &b.spent));
    BudgetStatus {
        name: name.to_owned(),
        unit,
        spent: running.map_or_else(|| amount::shown(unit, 0), |b| b.spent.clone()),
        limit: amount::exact(unit, limit),
        held: None,
        overrun: running.and_then(|b| b.overrun.clone()),
        percent: percent(spent, limit),
        since: over.or_else(|| running.and_then(|b| b.since.clone())),
        resets_at: running.and_then(|b| b.resets_at.clone()),
    }
}

/// Whether a budget is used up that was not.
fn is_used_up(old: &[BudgetStatus], new: &[BudgetStatus]) -> bool {
    let percent = |name: &str| old.iter().find(|b| b.name == name).map_or(0, |b| b.percent);
    new.iter().any(|b| b.percent >= 100 && percent(&b.name) < 100)
}

/// What makes a status worth writing, of one budget.
#[derive(PartialEq)]
struct Step<'b> {
    name: &'b str,
    unit: Unit,
    limit: &'b str,
    percent: i64,
    /// Below one percent: how much, to an eighth.
    little: u64,
    overrun: Option<&'b str>,
    resets_at: Option<Timestamp>,
}

fn steps(budgets: &[BudgetStatus]) -> Vec<Step<'_>> {
    budgets.iter().map(Step::of).collect()
}

impl<'b> Step<'b> {
    fn of(budget: &'b BudgetStatus) -> Self {
        let BudgetStatus { name, unit, limit, percent, spent, overrun, resets_at, .. } = budget;
        let (overrun, resets_at) = (overrun.as_deref(), resets_at.as_ref().map(|t| t.0));
        let little = if *percent == 0 { rounded(amount::parse(*unit, spent)) } else { 0 };
        Step { name, unit: *unit, limit, percent: *percent, little, overrun, resets_at }
    }
}

/// An amount by its four highest binary digits: it is another one when it has grown by a part between a fifteenth and an eighth. One
/// percent of a large budget is a lot of money, and somebody who has begun to spend wants to see it.
fn rounded(amount: u64) -> u64 {
    let low = amount.checked_ilog2().unwrap_or(0).saturating_sub(3);
    amount >> low << low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(name: &str, unit: Unit, spent: &str, limit: &str) -> BudgetStatus {
        let percent = percent(amount::parse(unit, spent), amount::parse(unit, limit));
        BudgetStatus {
            name: name.into(),
            unit,
            spent: spent.into(),
            limit: limit.into(),
            percent,
            ..Default::default()
        }
    }

    #[test]
    fn the_tightest_budget_is_the_one_that_refuses_first() {
        let name = |budgets: &[BudgetStatus]| tightest(budgets).map(|b| b.name.clone()).unwrap_or_default();
        let month = budget("month", Unit::Usd, "0.00", "300");
        let day = budget("day", Unit::Usd, "0.00", "40");
        // Fresh keys, in either order.
        assert_eq!(
            (name(&[day.clone(), month.clone()]), name(&[month.clone(), day.clone()])),
            ("day".into(), "day".into())
        );
        let month = budget("month", Unit::Usd, "290.00", "300");
        assert_eq!(name(&[day.clone(), month]), "month");
        let tokens = budget("tokens", Unit::Tokens, "0", "7");
        assert_eq!(
            (name(&[day.clone(), tokens.clone()]), name(&[tokens, day])),
            ("day".into(), "tokens".into())
        );
        assert_eq!(name(&[]), "");
    }
}
