//! `Programmed` and `Ready` (pure).

use super::fleet::{Fleet, Standing};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tollgate_crds::{
    compile::Status,
    conditions::{PROGRAMMED, READY, State, Truth, reasons},
};

/// The version of a resource that gateways should have.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its hash; `None`: the object makes no resource.
    pub version: Option<&'a str>,
    /// Since when it is that one.
    pub since: Instant,
}

/// What is known of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This.
    Say(State),
    /// Not enough yet to say anything else than what stands there.
    Keep,
}

/// A gateway may lag behind for so long before it is told of.
pub const LAG: Duration = Duration::from_secs(30);
/// The most gateways that a message names.
const NAMED: usize = 5;

/// Whether all gateways have it: `Programmed`. False only when one rejects it, or lacks it after [`LAG`].
pub fn programmed(
    old: Option<&Condition>,
    generation: Option<i64>,
    compiled: &Status,
    wanted: Wanted<'_>,
    fleet: &Fleet,
    now: Instant,
) -> Verdict {
    let id = compiled.id();
    let Some(version) = wanted.version else {
        let accepted = &compiled.conditions()[0];
        return Verdict::Say(State::unknown(PROGRAMMED, accepted.reason, "the object is not accepted"));
    };
    let current = old.is_some_and(|c| c.observed_generation == generation);
    if current && !fleet.is_settled() {
        return Verdict::Keep;
    }
    let standing = fleet.standing(&id, version);
    if !standing.rejected.is_empty() {
        return Verdict::Say(State::no(PROGRAMMED, reasons::REJECTED, rejected(&standing)));
    }
    if standing.expected == 0 {
        return keep_or(old, "no gateway has reported yet");
    }
    if standing.lacking.is_empty() {
        return Verdict::Say(State::yes(PROGRAMMED, reasons::PROGRAMMED, ""));
    }
    let late: Vec<_> = standing
        .lacking
        .iter()
        .filter(|(_, entered)| now.saturating_duration_since(wanted.since.max(*entered)) > LAG)
        .map(|(name, _)| *name)
        .collect();
    match late.is_empty() {
        true => keep_or(old, "waiting for the gateways"),
        false => Verdict::Say(State::no(PROGRAMMED, reasons::PENDING, lagging(&standing, &late))),
    }
}

fn keep_or(old: Option<&Condition>, words: &str) -> Verdict {
    match old {
        Some(_) => Verdict::Keep,
        None => Verdict::Say(State::unknown(PROGRAMMED, reasons::PENDING, words)),
    }
}

/// `2 of 3 gateways reject it: a, b: spec.x is wrong (the version before stays in force)`.
fn rejected(standing: &Standing<'_>) -> String {
    let mut by_reason: BTreeMap<(&str, bool), Vec<&str>> = BTreeMap::new();
    for (name, rejection) in &standing.rejected {
        by_reason.entry((&rejection.error, rejection.kept.is_some())).or_default().push(name);
    }
    let reasons: Vec<_> = by_reason
        .into_iter()
        .map(|((error, kept), names)| {
            let outcome =
                if kept { "the version before stays in force" } else { "nothing of it is in force" };
            format!("{}: {error} ({outcome})", listed(&names))
        })
        .collect();
    let (count, all) = (standing.rejected.len(), standing.expected);
    format!("{count} of {all} gateways reject it: {}", reasons.join("; "))
}

fn lagging(standing: &Standing<'_>, late: &[&str]) -> String {
    let (count, all, seconds) = (late.len(), standing.expected, LAG.as_secs());
    format!("{count} of {all} gateways do not have it after {seconds} s: {}", listed(late))
}

fn listed(names: &[&str]) -> String {
    let shown = names.get(..NAMED).unwrap_or(names).join(", ");
    match names.len().checked_sub(NAMED) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// The summary: `Ready`. `off`: why it is switched off, where it is. While `Programmed` is kept, so is this, unless the object
/// itself says otherwise.
pub fn ready(
    old: &[Condition],
    compiled: &Status,
    programmed: &Verdict,
    off: Option<(&'static str, String)>,
) -> Verdict {
    let [accepted, resolved] = compiled.conditions();
    if accepted.truth == Truth::False {
        return Verdict::Say(State::no(READY, accepted.reason, accepted.message));
    }
    if let Some((reason, message)) = off {
        return Verdict::Say(State::no(READY, reason, message));
    }
    if resolved.truth == Truth::False {
        return Verdict::Say(State::no(READY, resolved.reason, resolved.message));
    }
    match programmed {
        Verdict::Say(state) if state.truth == Truth::True => {
            Verdict::Say(State::yes(READY, reasons::READY, ""))
        }
        Verdict::Say(state) if state.truth == Truth::False => {
            Verdict::Say(State::no(READY, state.reason, state.message.clone()))
        }
        Verdict::Say(state) => Verdict::Say(State::unknown(READY, state.reason, state.message.clone())),
        Verdict::Keep => kept(old),
    }
}

/// What `Ready` is while nothing new is known of `Programmed`: as it was, unless what made it false is over.
fn kept(old: &[Condition]) -> Verdict {
    let find = |kind: &str| old.iter().find(|c| c.type_ == kind);
    let (Some(ready), Some(programmed)) = (find(READY), find(PROGRAMMED)) else {
        return Verdict::Say(State::unknown(READY, reasons::PENDING, "waiting for the gateways"));
    };
    match ready.status == programmed.status {
        true => Verdict::Keep,
        false => Verdict::Say(State::unknown(READY, reasons::PENDING, "waiting for the gateways")),
    }
}
