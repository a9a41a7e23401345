//! What a change means in dollars: which budgets rise and fall, and by how much in all.

use super::{policy::Policy, state::Side};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tollgate_crds::api::Usd;
use tollgate_proto::{Kind, v1};

/// One sum over budgets in US dollars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sum {
    /// What happens to the budgets.
    pub what: What,
    /// Whose they are.
    pub of: Whose,
    /// Over what time, such as `a month`.
    pub per: String,
    /// The sum, of the changes where they rise or fall, else of the limits.
    #[serde(serialize_with = "as_dollars")]
    pub nanos: u128,
    /// How many keys or teams.
    pub count: usize,
    /// All of these keys stand below a budget in dollars as well, which holds whatever their own says.
    pub below_others: bool,
}

/// What happens to budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// They are higher.
    Raised,
    /// Keys or teams that are new bring them.
    New,
    /// They are taken away from keys or teams that stay.
    Dropped,
    /// They are lower.
    Lowered,
    /// Keys or teams that stay get them.
    Limited,
    /// Their keys or teams go.
    Removed,
}

/// Whose budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Whose {
    /// Keys that clients present.
    Keys,
    /// Keys that are only parents.
    Teams,
}

/// The sums of a change, what allows more first.
pub fn sums(before: &Side, after: &Side, policy: &Policy<'_>) -> Vec<Sum> {
    let mut sums: BTreeMap<(What, Whose, String), (u128, usize, bool)> = BTreeMap::new();
    let ids = before.specs.keys().chain(after.specs.keys()).filter(|id| id.kind == Kind::VirtualKey);
    for id in ids.collect::<BTreeSet<_>>() {
        let (old, new) = (before.specs.get(id), after.specs.get(id));
        let Some(spec) = new.or(old) else { continue };
        let whose = if is_team(spec) { Whose::Teams } else { Whose::Keys };
        let below = policy
            .path(&id.namespace, &id.name)
            .is_some_and(|path| path.keys.iter().skip(1).flat_map(|key| &key.budgets).any(is_in_dollars));
        for (what, per, nanos) in changes(old, new) {
            let sum = sums.entry((what, whose, per)).or_insert((0, 0, true));
            *sum = (sum.0 + nanos, sum.1 + 1, sum.2 && below);
        }
    }
    let sum = |((what, whose, per), (nanos, count, below))| Sum {
        what,
        of: whose,
        per,
        nanos,
        count,
        below_others: below && matches!(what, What::Raised | What::New | What::Dropped),
    };
    sums.into_iter().map(sum).collect()
}

fn is_in_dollars(budget: &v1::Budget) -> bool {
    matches!(budget.limit, Some(v1::budget::Limit::NanoUsd(_)))
}

fn is_team(spec: &Value) -> bool {
    ["token", "anonymous", "serviceAccounts"].iter().all(|field| spec.get(field).is_none_or(is_nothing))
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || *value == Value::Bool(false) || value.as_array().is_some_and(Vec::is_empty)
}

/// What happens to one key's budgets: one entry for each kind of change and window.
fn changes(old: Option<&Value>, new: Option<&Value>) -> Vec<(What, String, u128)> {
    let (before, after) = (limits(old), limits(new));
    let mut out: BTreeMap<(What, String), u128> = BTreeMap::new();
    for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let (what, per, nanos) = match (before.get(name), after.get(name)) {
            (Some((per, was)), Some((now_per, is))) if per == now_per && is > was => {
                (What::Raised, per, is - was)
            }
            (Some((per, was)), Some((now_per, is))) if per == now_per && is < was => {
                (What::Lowered, per, was - is)
            }
            (None, Some((per, is))) if old.is_none() => (What::New, per, *is),
            (None, Some((per, is))) => (What::Limited, per, *is),
            (Some((per, was)), None) if new.is_none() => (What::Removed, per, *was),
            (Some((per, was)), None) => (What::Dropped, per, *was),
            // The same, or another window: the two are not to be compared.
            _ => continue,
        };
        *out.entry((what, per.clone())).or_default() += nanos;
    }
    out.into_iter().map(|((what, per), nanos)| (what, per, nanos)).collect()
}

/// Windows and limits in nano-USD, by the names of budgets.
fn limits(spec: Option<&Value>) -> BTreeMap<&str, (String, u128)> {
    let budgets = spec.and_then(|spec| spec.get("budgets")).and_then(Value::as_array);
    let limit =
        |budget| Some((text(budget, "name")?, (per(budget)?, u128::from(nanos(text(budget, "usd")?)?))));
    budgets.into_iter().flatten().filter_map(limit).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str)
}

/// Dollars as a manifest writes them, in nano-USD.
pub fn nanos(usd: &str) -> Option<u64> {
    Usd(usd.to_owned()).nanos().ok()
}

/// The window of a budget in words, such as `a month`.
pub fn per(budget: &Value) -> Option<String> {
    match (text(budget, "period"), text(budget, "rolling")) {
        (Some("Hour"), _) => Some("an hour".to_owned()),
        (Some(period), _) => Some(format!("a {}", period.to_lowercase())),
        (None, Some(rolling)) => Some(format!("in any {rolling}")),
        (None, None) => None,
    }
}

/// `$2,000`, `$0.50`, `$0.125`.
pub fn dollars(nanos: u128) -> String {
    let (whole, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let fraction = format!("{rest:09}");
    let fraction = fraction.trim_end_matches('0');
    match fraction.len() {
        0 => format!("${}", thousands(whole)),
        _ => format!("${}.{fraction:0<2}", thousands(whole)),
    }
}

/// `2,000,000`.
pub fn thousands(number: u128) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn as_dollars<S: Serializer>(nanos: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&dollars(*nanos))
}

// === impl Sum ===

impl Sum {
    /// The sum in words: `Budgets of 20 keys rise by $2,000 a month in all.`
    pub fn words(&self) -> String {
        let Sum { count, per, .. } = self;
        let (noun, verb) = match (self.of, *count == 1) {
            (Whose::Keys, true) => ("key", "s"),
            (Whose::Keys, false) => ("keys", ""),
            (Whose::Teams, true) => ("team", "s"),
            (Whose::Teams, false) => ("teams", ""),
        };
        let in_all = if *count == 1 { "" } else { " in all" };
        let sum = format!("{} {per}{in_all}", dollars(self.nanos));
        let told = match self.what {
            What::Raised => format!("Budgets of {count} {noun} rise by {sum}."),
            What::Lowered => format!("Budgets of {count} {noun} fall by {sum}."),
            What::New => format!("{count} new {noun} bring{verb} budgets of {sum}."),
            What::Limited => format!("{count} {noun} get{verb} a new budget of {sum}."),
            What::Dropped => format!(
                "{count} {noun} no longer ha{} a budget of {sum}.",
                if *count == 1 { "s" } else { "ve" }
            ),
            What::Removed => format!("{count} removed {noun} had budgets of {sum}."),
        };
        let held = if self.below_others { " Budgets above them hold as well." } else { "" };
        format!("{told}{held}")
    }

    /// Whether more may be spent.
    pub fn is_more(&self) -> bool {
        matches!(self.what, What::Raised | What::New | What::Dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_written_as_people_do() {
        for (nanos, words) in [
            (0, "$0"),
            (500_000_000, "$0.50"),
            (125_000_000, "$0.125"),
            (2_000_000_000_000, "$2,000"),
            (1_234_567_890_000_000, "$1,234,567.89"),
        ] {
            assert_eq!(dollars(nanos), words);
        }
    }
}
