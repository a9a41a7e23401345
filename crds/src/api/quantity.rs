//! Durations and money as manifests write them: strings, kept as they were written and parsed on demand, so that a bad one
//! is reported with its field and does not keep the rest of the object from being read.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{borrow::Cow, fmt, time::Duration};

/// A duration: a whole number and a unit, or several from the largest unit down: `500ms`, `2s`, `24h`, `1h30m`, `30d`.
/// Units are `ms`, `s`, `m`, `h`, `d` (24 hours).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub String);

/// An amount of US dollars as a decimal string of up to nine decimals: `200`, `0.50`. A string, because floats lose cents.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(pub String);

/// The schema of a price for a million tokens: an amount of US dollars of which a single token's part is whole nano-USD. It is a type
/// for the schema only: the values are `Usd`.
#[derive(Debug)]
pub(crate) enum TokenPrice {}

/// A duration or an amount that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a duration.
    #[error(
        "`{0}` is not a duration: write a whole number and a unit (ms, s, m, h, d), such as `2s`, `24h` or `1h30m`"
    )]
    Span(String),
    /// A duration of more than 100 years.
    #[error("`{0}` is too long: at most 100 years")]
    SpanTooLong(String),
    /// Not an amount.
    #[error(
        "`{0}` is not an amount of US dollars: write digits with at most nine decimals, such as `200` or `0.50`"
    )]
    Usd(String),
    /// An amount that does not fit.
    #[error("`{0}` US dollars is too much: at most 999999999")]
    UsdTooMuch(String),
}

/// Nano-USD in a US dollar.
const NANOS: u64 = 1_000_000_000;
/// Digits before the point: 10^9 USD in nano-USD is a tenth of what a `u64` holds.
const USD_DIGITS: usize = 9;
/// No duration in a manifest is longer.
const MAX_SPAN_MS: u64 = 100 * 366 * 24 * 3_600_000;
/// Units from the largest down, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

// === impl Span ===

impl Span {
    /// The duration, in whole milliseconds.
    pub fn parse(&self) -> Result<Duration, QuantityError> {
        let millis = self.millis().ok_or_else(|| QuantityError::Span(self.0.clone()))?;
        if millis > MAX_SPAN_MS {
            return Err(QuantityError::SpanTooLong(self.0.clone()));
        }
        Ok(Duration::from_millis(millis))
    }

    /// Milliseconds (saturating), or `None` when the text is not a duration.
    fn millis(&self) -> Option<u64> {
        let mut rest = self.0.as_str();
        let mut units = UNITS.iter();
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, after) = rest.split_at_checked(digits)?;
            let letters = after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len());
            let (unit, next) = after.split_at_checked(letters)?;
            // Units only get smaller, so each stands at most once.
            let (_, scale) = units.find(|(name, _)| *name == unit)?;
            let number = match number.parse::<u64>() {
                Ok(number) => number,
                Err(_) if number.is_empty() => return None,
                Err(_) => u64::MAX,
            };
            total = total.saturating_add(number.saturating_mul(*scale));
            rest = next;
        }
        (!self.0.is_empty()).then_some(total)
    }
}

impl From<&str> for Span {
    fn from(text: &str) -> Self {
        Span(text.to_owned())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 2,
            "maxLength": 32,
            // So many digits that the sum is less than 100 years.
            "pattern": r"^(([0-9]{1,4}|[12][0-9]{4})d)?([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?([0-9]{1,10}ms)?$",
        })
    }
}

// === impl Usd ===

impl Usd {
    /// The amount in nano-USD (1 USD = 1,000,000,000), exact.
    pub fn nanos(&self) -> Result<u64, QuantityError> {
        let bad = || QuantityError::Usd(self.0.clone());
        let (whole, decimals) = match self.0.split_once('.') {
            Some((whole, decimals)) if !decimals.is_empty() => (whole, decimals),
            Some(_) => return Err(bad()),
            None => (self.0.as_str(), ""),
        };
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(decimals) || decimals.len() > 9 {
            return Err(bad());
        }
        if whole.trim_start_matches('0').len() > USD_DIGITS {
            return Err(QuantityError::UsdTooMuch(self.0.clone()));
        }
        let whole: u64 = whole.parse().map_err(|_| bad())?;
        let nanos: u64 = format!("{decimals:0<9}").parse().map_err(|_| bad())?;
        Ok(whole * NANOS + nanos)
    }
}

impl From<&str> for Usd {
    fn from(text: &str) -> Self {
        Usd(text.to_owned())
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Usd {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Usd".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        usd_schema()
    }
}

// === impl TokenPrice ===

impl JsonSchema for TokenPrice {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TokenPrice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = usd_schema();
        let decimals = json!([{
            "rule": "!self.matches('[.][0-9]{3}[0-9]*[1-9]')",
            "message": "a price for a million tokens has at most three decimals, such as 0.075",
        }]);
        schema.insert("x-kubernetes-validations".to_owned(), decimals);
        schema
    }
}

/// An amount of US dollars as the API server knows it.
fn usd_schema() -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 19, "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_from_the_largest_unit_down() {
        for (text, want) in [
            ("2s", 2000),
            ("500ms", 500),
            ("24h", 86_400_000),
            ("1h30m", 5_400_000),
            ("30d", 2_592_000_000),
            ("1m1ms", 60_001),
            ("0s", 0),
        ] {
            assert_eq!(Span::from(text).parse(), Ok(Duration::from_millis(want)), "{text}");
        }
        for text in ["", "5", "s", "2 s", "-2s", "1.5s", "30m1h", "1s1s", "2sec", "1y", "２s", "2s3"] {
            assert_eq!(Span::from(text).parse(), Err(QuantityError::Span(text.to_owned())), "{text}");
        }
        for text in ["40000d", "99999999999999999999999999d", "18446744073709551615ms"] {
            assert_eq!(Span::from(text).parse(), Err(QuantityError::SpanTooLong(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn usd_is_exact_to_the_nano() {
        for (text, want) in [
            ("200", 200 * NANOS),
            ("0.50", NANOS / 2),
            ("0.000000001", 1),
            ("0", 0),
            ("999999999.999999999", 999_999_999_999_999_999),
            ("000000000200", 200 * NANOS),
        ] {
            assert_eq!(Usd::from(text).nanos(), Ok(want), "{text}");
        }
        for text in ["", ".5", "5.", "1,5", "-1", "+1", "1e3", "$5", "0.0000000001", "1.2.3", " 1"] {
            assert_eq!(Usd::from(text).nanos(), Err(QuantityError::Usd(text.to_owned())), "{text}");
        }
        let much = "1000000000";
        assert_eq!(Usd::from(much).nanos(), Err(QuantityError::UsdTooMuch(much.to_owned())));
    }
}
