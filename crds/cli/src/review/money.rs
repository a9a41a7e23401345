//! What a change means in dollars: which budgets rise and fall, and by how much in all.

use super::{
    annotations::{self, Asked},
    policy::Policy,
    state::Side,
    window::Window,
};
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
    /// What they become by another window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub becomes: Option<Becomes>,
    /// How many keys or teams.
    pub count: usize,
    /// All of these keys stand below a budget in dollars as well, which holds whatever their own says.
    pub below_others: bool,
}

/// A sum over another time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Becomes {
    /// Over what time, such as `a day`.
    pub per: String,
    /// The sum of the limits.
    #[serde(serialize_with = "as_dollars")]
    pub nanos: u128,
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
    /// They hold over another time; what was spent of them counts no more.
    OtherWindow,
    /// Somebody asks for it that what was spent of them counts no more.
    Renewed,
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

/// What happens to some budgets: the same to all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    what: What,
    of: Whose,
    per: String,
    /// The other window.
    becomes: Option<String>,
}

/// The limits of some budgets, in nano-USD: as they were or what they differ by, and as they become.
type Amount = (u128, u128);

/// The sums of a change, what allows more first. What is refused comes to nothing.
pub fn sums(before: &Side, after: &Side, policy: &Policy<'_>) -> Vec<Sum> {
    let mut sums: BTreeMap<Event, (Amount, usize, bool)> = BTreeMap::new();
    let (never, refused) = (before.refused(None), after.refused(Some(before)));
    let ids = before.specs.keys().chain(after.specs.keys()).filter(|id| id.kind == Kind::VirtualKey);
    for id in ids.filter(|id| !refused.contains(id)).collect::<BTreeSet<_>>() {
        let (old, new) = (before.specs.get(id).filter(|_| !never.contains(id)), after.specs.get(id));
        let below = policy
            .path(&id.namespace, &id.name)
            .is_some_and(|path| path.keys.iter().skip(1).flat_map(|key| &key.budgets).any(is_in_dollars));
        let asked = (before.asked.get(id), after.asked.get(id));
        for (event, (nanos, becomes)) in changes(old, new, asked) {
            let sum = sums.entry(event).or_insert(((0, 0), 0, true));
            *sum = ((sum.0.0 + nanos, sum.0.1 + becomes), sum.1 + 1, sum.2 && below);
        }
    }
    let sum = |(event, ((nanos, becomes), count, below)): (Event, (Amount, usize, bool))| Sum {
        what: event.what,
        of: event.of,
        per: event.per,
        nanos,
        becomes: event.becomes.map(|per| Becomes { per, nanos: becomes }),
        count,
        below_others: below && is_more(event.what),
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
fn changes(
    old: Option<&Value>,
    new: Option<&Value>,
    asked: (Option<&Asked>, Option<&Asked>),
) -> BTreeMap<Event, Amount> {
    let (before, after) = (limits(old), limits(new));
    let of = if new.or(old).is_some_and(is_team) { Whose::Teams } else { Whose::Keys };
    let mut out: BTreeMap<Event, Amount> = BTreeMap::new();
    let mut add = |what: What, per: &str, becomes: Option<&str>, (nanos, become_nanos): Amount| {
        let event = Event { what, of, per: per.to_owned(), becomes: becomes.map(str::to_owned) };
        let sum = out.entry(event).or_default();
        *sum = (sum.0 + nanos, sum.1 + become_nanos);
    };
    for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        match (before.get(name), after.get(name)) {
            (Some(was), Some(is)) if was.window != is.window => {
                add(What::OtherWindow, &was.words(is), Some(&is.words(was)), (was.nanos, is.nanos));
            }
            (Some(was), Some(is)) if is.nanos > was.nanos => {
                add(What::Raised, &is.per, None, (is.nanos - was.nanos, 0));
            }
            (Some(was), Some(is)) if is.nanos < was.nanos => {
                add(What::Lowered, &is.per, None, (was.nanos - is.nanos, 0));
            }
            (None, Some(is)) if old.is_none() => add(What::New, &is.per, None, (is.nanos, 0)),
            (None, Some(is)) => add(What::Limited, &is.per, None, (is.nanos, 0)),
            (Some(was), None) if new.is_none() => add(What::Removed, &was.per, None, (was.nanos, 0)),
            (Some(was), None) => add(What::Dropped, &was.per, None, (was.nanos, 0)),
            _ => {}
        }
    }
    if let (Some(_), Some(new)) = (old, new) {
        let none = Asked::new();
        let renewed = annotations::renewed(asked.0.unwrap_or(&none), asked.1.unwrap_or(&none), new);
        let limits = renewed.into_iter().filter_map(limit);
        limits.for_each(|(_, is)| add(What::Renewed, &is.per, None, (is.nanos, 0)));
    }
    out
}

/// A limit in dollars.
struct Dollars {
    window: Option<Window>,
    per: String,
    zone: String,
    nanos: u128,
}

/// Limits in dollars, by the names of budgets.
fn limits(spec: Option<&Value>) -> BTreeMap<&str, Dollars> {
    let budgets = spec.and_then(|spec| spec.get("budgets")).and_then(Value::as_array);
    budgets.into_iter().flatten().filter_map(limit).collect()
}

fn limit(budget: &Value) -> Option<(&str, Dollars)> {
    let nanos = u128::from(nanos(text(budget, "usd")?)?);
    let zone = text(budget, "timeZone").unwrap_or("UTC").to_owned();
    Some((text(budget, "name")?, Dollars { window: Window::of(budget), per: per(budget)?, zone, nanos }))
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

// === impl Dollars ===

impl Dollars {
    /// Its window beside another one, such as `a month`; with the time zone where that is what differs.
    fn words(&self, other: &Dollars) -> String {
        if self.per == other.per { format!("{} ({})", self.per, self.zone) } else { self.per.clone() }
    }
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
            What::OtherWindow => {
                let new = self.becomes.iter().map(|new| format!("{} {}", dollars(new.nanos), new.per));
                let (was, new) = (dollars(self.nanos), new.collect::<String>());
                format!(
                    "Budgets of {count} {noun} begin anew by another window: {was} {per}, now {new}{in_all}."
                )
            }
            What::Renewed => format!("Budgets of {count} {noun} begin anew: {sum}."),
            What::Removed => format!("{count} removed {noun} had budgets of {sum}."),
        };
        let held = if self.below_others { " Budgets above them hold as well." } else { "" };
        format!("{told}{held}")
    }

    /// Whether more may be spent.
    pub fn is_more(&self) -> bool {
        is_more(self.what)
    }
}

fn is_more(what: What) -> bool {
    use What::{Dropped, New, OtherWindow, Raised, Renewed};
    matches!(what, Raised | New | Dropped | OtherWindow | Renewed)
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
