//! Amounts as people read them. Integers only.

/// Nano-USD as dollars with sensible digits: cents from a dollar on, else up to three digits that count.
pub(crate) fn usd(nano: u64) -> String {
    const DOLLAR: u64 = 1_000_000_000;
    if nano == 0 {
        return "$0".to_owned();
    }
    // As many decimals as leave three digits; two for dollars.
    let decimals: u32 = match nano {
        DOLLAR.. => 2,
        10_000_000.. => 4,
        1_000_000.. => 5,
        100_000.. => 6,
        10_000.. => 7,
        _ => 9,
    };
    let unit = 10u64.pow(9 - decimals);
    let rounded = nano / unit + u64::from(nano % unit * 2 >= unit.max(2));
    let scale = 10u64.pow(decimals);
    format!("${}.{:0width$}", grouped(rounded / scale), rounded % scale, width = decimals as usize)
}

/// An amount of a budget in its unit.
pub(crate) fn amount(amount: u64, tokens: bool) -> String {
    if tokens { format!("{} tokens", grouped(amount)) } else { usd(amount) }
}

/// A count with its thousands apart: `12,345`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count in short: `940`, `12.3k`, `4.56M`.
pub(crate) fn short(count: u64) -> String {
    let (unit, letter) = match count {
        0..1_000 => return count.to_string(),
        1_000..999_500 => (1_000, 'k'),
        999_500..999_500_000 => (1_000_000, 'M'),
        _ => (1_000_000_000, 'G'),
    };
    format!("{}{letter}", three_digits(count, unit))
}

/// A time in microseconds: `340 µs`, `12.3 ms`, `1.24 s`, `2 min 3 s`.
pub(crate) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..999_500 => format!("{} ms", three_digits(us, 1_000)),
        999_500..60_000_000 => format!("{} s", three_digits(us, 1_000_000)),
        _ => format!("{} min {} s", us / 60_000_000, us / 1_000_000 % 60),
    }
}

/// `count / unit` with three digits that count.
fn three_digits(count: u64, unit: u64) -> String {
    let decimals = match count / unit {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    let step = unit / 10u64.pow(decimals);
    let rounded = (count + step / 2) / step;
    let scale = 10u64.pow(decimals);
    match decimals {
        0 => grouped(rounded),
        _ => format!("{}.{:0width$}", rounded / scale, rounded % scale, width = decimals as usize),
    }
}

/// Per cent of a whole, rounded; at most 999.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    u64::try_from((u128::from(part) * 100 + u128::from(whole) / 2) / u128::from(whole))
        .unwrap_or(999)
        .min(999)
}

/// Unix milliseconds as an instant for `<time datetime>`: `2026-11-23T05:00:01.250Z`.
pub(crate) fn instant(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |t| format!("{t:.3}"))
}

/// The same for eyes, when no script puts it in the browser's zone: `2026-11-23 05:00:01 UTC`.
pub(crate) fn utc(ms: i64) -> String {
    let text = instant(ms);
    match (text.get(..10), text.get(11..19)) {
        (Some(date), Some(time)) => format!("{date} {time} UTC"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_have_sensible_digits() {
        let cases = [
            (0, "$0"),
            (1, "$0.000000001"),
            (12_345, "$0.0000123"),
            (123_456, "$0.000123"),
            (1_234_567, "$0.00123"),
            (12_345_678, "$0.0123"),
            (999_999_999, "$1.0000"),
            (1_000_000_000, "$1.00"),
            (1_234_567_890_000, "$1,234.57"),
            (u64::MAX, "$18,446,744,073.71"),
        ];
        for (nano, want) in cases {
            assert_eq!(usd(nano), want);
        }
    }

    #[test]
    fn counts_and_times_are_short() {
        assert_eq!(
            [999, 1_000, 12_345, 999_499, 999_500, 4_560_000].map(short),
            ["999", "1.00k", "12.3k", "999k", "1.00M", "4.56M"]
        );
        assert_eq!(
            [0, 999, 1_000, 12_340, 999_499, 1_240_000, 59_990_000, 123_000_000].map(duration),
            ["0 µs", "999 µs", "1.00 ms", "12.3 ms", "999 ms", "1.24 s", "60.0 s", "2 min 3 s"]
        );
        assert_eq!((percent(1, 3), percent(5, 0), percent(u64::MAX, 1)), (33, 0, 999));
        assert_eq!(utc(1_795_176_000_250), "2026-11-20 12:00:00 UTC");
        assert_eq!(instant(1_795_176_000_250), "2026-11-20T12:00:00.250Z");
        assert_eq!(instant(i64::MAX), "");
    }
}
