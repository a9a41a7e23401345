//! Amounts as statuses show them.

use tollgate_crds::api::virtual_key::Unit;

/// Nano-USD in a dollar.
const NANOS: u64 = 1_000_000_000;

/// An amount for people: never more than it is. Dollars have cents from one dollar on, and more digits below.
pub(super) fn shown(unit: Unit, amount: u64) -> String {
    if unit == Unit::Tokens {
        return amount.to_string();
    }
    let (digits, step) = match amount {
        0 | NANOS.. => (2, 10_000_000),
        10_000_000.. => (4, 100_000),
        _ => (6, 1000),
    };
    format!("{}.{:0digits$}", amount / NANOS, amount % NANOS / step)
}

/// An amount as it is, without needless zeros.
pub(super) fn exact(unit: Unit, amount: u64) -> String {
    if unit == Unit::Tokens {
        return amount.to_string();
    }
    let decimals = format!("{:09}", amount % NANOS);
    match decimals.trim_end_matches('0') {
        "" => (amount / NANOS).to_string(),
        decimals => format!("{}.{decimals}", amount / NANOS),
    }
}

/// An amount that stands in a status; what is none is 0.
pub(super) fn parse(unit: Unit, text: &str) -> u64 {
    match unit {
        Unit::Usd => tollgate_crds::api::Usd::from(text).nanos().unwrap_or(0),
        Unit::Tokens => text.parse().unwrap_or(0),
    }
}

/// The used part in whole percent, rounded down.
pub(super) fn percent(used: u64, limit: u64) -> i64 {
    let part = u128::from(used) * 100 / u128::from(limit.max(1));
    i64::try_from(part).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short_and_never_too_much() {
        let usd = |nanos| shown(Unit::Usd, nanos);
        for (nanos, text) in [
            (0, "0.00"),
            (1, "0.000000"),
            (4_200, "0.000004"),
            (123_456_789, "0.1234"),
            (NANOS, "1.00"),
            (199_999_999_999, "199.99"),
        ] {
            assert_eq!(usd(nanos), text);
        }
        assert_eq!(
            (exact(Unit::Usd, 200 * NANOS), exact(Unit::Usd, NANOS / 2)),
            ("200".into(), "0.5".into())
        );
        assert_eq!((shown(Unit::Tokens, 1_000_001), exact(Unit::Tokens, 7)), ("1000001".into(), "7".into()));
        assert_eq!(
            (parse(Unit::Usd, "199.99"), parse(Unit::Tokens, "7"), parse(Unit::Usd, "x")),
            (199_990_000_000, 7, 0)
        );
        assert_eq!(
            (percent(199, 200), percent(200, 200), percent(401, 200), percent(1, 0)),
            (99, 100, 200, 100)
        );
        assert_eq!(percent(u64::MAX, 1), i64::MAX);
    }
}
