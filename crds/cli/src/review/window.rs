//! Windows of budgets compared: which of two lets more be spent over some time.

use super::{money, rules::Effect};
use serde_json::Value;
use tollgate_crds::api::Span;

/// Over what time a budget holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Its length in milliseconds, the shortest and the longest: months differ.
    shortest: u128,
    longest: u128,
    /// It slides. Of two of one length it is the narrower: a calendar lets twice its limit be spent around its own turn.
    rolling: bool,
    /// The time zone whose calendar decides; that of a rolling window says nothing.
    zone: String,
}

/// The fields that make a budget's window.
pub const FIELDS: [&str; 3] = ["period", "rolling", "timeZone"];

const HOUR: u128 = 3_600_000;
const DAY: u128 = 24 * HOUR;

/// What another window of a budget does, by its limits as well; `None`: it is the same window in other words. Whatever it does,
/// counters belong to their window: the budget begins anew.
pub fn effect(before: &Value, after: &Value) -> Option<Effect> {
    let (Some(old), Some(new)) = (Window::of(before), Window::of(after)) else {
        return Some(Effect::Attention);
    };
    if old == new {
        return None;
    }
    if (old.shortest, old.longest) == (new.shortest, new.longest) {
        return Some(match (old.rolling, new.rolling) {
            (true, false) => Effect::Widens,
            (false, true) => Effect::Narrows,
            _ => Effect::Attention,
        });
    }
    Some(match () {
        () if new.longest <= old.shortest && spends_less(&old, &new, before, after) => Effect::Narrows,
        () if new.longest <= old.shortest => Effect::Widens,
        () if old.longest <= new.shortest => Effect::Narrows,
        // Such as a month and 30 days: now the one is longer, now the other.
        () => Effect::Attention,
    })
}

/// Whether all the shorter windows that one of the longer ones meets allow no more than that one did.
fn spends_less(old: &Window, new: &Window, before: &Value, after: &Value) -> bool {
    let (length, aligned) = (new.shortest.max(1), new.rolling || (!old.rolling && old.zone == new.zone));
    let whole = old.longest / length;
    let met = if aligned && old.longest.is_multiple_of(length) { whole } else { whole + 2 };
    let limits = |of: fn(&Value) -> Option<u128>| Some((of(before)?, of(after)?));
    let limits = limits(usd).or_else(|| limits(tokens));
    limits.is_some_and(|(old, new)| new.saturating_mul(met) <= old)
}

fn usd(budget: &Value) -> Option<u128> {
    money::nanos(budget.get("usd")?.as_str()?).map(u128::from)
}

fn tokens(budget: &Value) -> Option<u128> {
    budget.get("tokens")?.as_u64().map(u128::from)
}

// === impl Window ===

impl Window {
    /// The window of a budget.
    pub fn of(budget: &Value) -> Option<Self> {
        let text = |field: &str| budget.get(field).and_then(Value::as_str);
        if let Some(rolling) = text("rolling") {
            let length = Span(rolling.to_owned()).parse().ok()?.as_millis();
            return Some(Window { shortest: length, longest: length, rolling: true, zone: String::new() });
        }
        let (shortest, longest) = match text("period")? {
            "Minute" => (60_000, 60_000),
            "Hour" => (HOUR, HOUR),
            "Day" => (DAY, DAY),
            "Week" => (7 * DAY, 7 * DAY),
            "Month" => (28 * DAY, 31 * DAY),
            "Quarter" => (90 * DAY, 92 * DAY),
            "Year" => (365 * DAY, 366 * DAY),
            _ => return None,
        };
        let zone = text("timeZone").unwrap_or("UTC").to_owned();
        Some(Window { shortest, longest, rolling: false, zone })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_shorter_window_widens_unless_its_limit_makes_up_for_it() {
        let (month, day) =
            (json!({"usd": "1000", "period": "Month"}), |usd: &str| json!({"usd": usd, "period": "Day"}));
        let rolling = |length: &str| json!({"usd": "10", "rolling": length});
        let calendar = |period: &str, zone: &str| json!({"usd": "10", "period": period, "timeZone": zone});
        for (before, after, expected) in [
            (month.clone(), day("1000"), Some(Effect::Widens)),
            // 31 days of it are more than a month's.
            (month.clone(), day("33"), Some(Effect::Widens)),
            (month.clone(), day("32"), Some(Effect::Narrows)),
            (month.clone(), json!({"tokens": 5, "period": "Day"}), Some(Effect::Widens)),
            (day("10"), month.clone(), Some(Effect::Narrows)),
            (rolling("30d"), rolling("1h"), Some(Effect::Widens)),
            (rolling("30d"), rolling("31d"), Some(Effect::Narrows)),
            (rolling("24h"), rolling("1d"), None),
            (rolling("24h"), calendar("Day", "UTC"), Some(Effect::Widens)),
            (calendar("Day", "UTC"), rolling("24h"), Some(Effect::Narrows)),
            (calendar("Month", "UTC"), rolling("30d"), Some(Effect::Attention)),
            (calendar("Month", "UTC"), calendar("Month", "Asia/Tokyo"), Some(Effect::Attention)),
            (calendar("Month", "UTC"), json!({"usd": "9", "period": "Month"}), None),
            (
                json!({"tokens": 70, "period": "Week"}),
                json!({"tokens": 10, "period": "Day"}),
                Some(Effect::Narrows),
            ),
            (
                json!({"tokens": 69, "period": "Week"}),
                json!({"tokens": 10, "period": "Day"}),
                Some(Effect::Widens),
            ),
        ] {
            assert_eq!(effect(&before, &after), expected, "{before} → {after}");
        }
    }
}
