//! How long an upstream asks to wait.

/// Seconds, rounded up. Dates are passed over: this crate has no clock. Without a word from the upstream there is no answer:
/// a client's own backoff is better than an invented number.
pub(super) fn after<'h>(header: &dyn Fn(&str) -> Option<&'h str>, words: Option<&str>) -> Option<u64> {
    let milliseconds = header("retry-after-ms").and_then(|value| value.trim().parse::<f64>().ok());
    let seconds = || header("retry-after").and_then(|value| value.trim().parse::<f64>().ok());
    milliseconds
        .map(|milliseconds| milliseconds / 1000.0)
        .or_else(seconds)
        .or_else(|| words.and_then(in_words))
        .or_else(|| exhausted(header))
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
        .map(|seconds| seconds.ceil() as u64)
}

/// OpenAI's limits: the time to the reset of the one that is used up.
fn exhausted<'h>(header: &dyn Fn(&str) -> Option<&'h str>) -> Option<f64> {
    let limits = [
        ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ];
    let resets = limits.into_iter().filter(|(remaining, _)| header(remaining).map(str::trim) == Some("0"));
    resets.filter_map(|(_, reset)| duration(header(reset)?.trim())).reduce(f64::max)
}

/// "Please try again in 1m30.5s." (OpenAI), "retry in 39.2s" (Google), "retry after 3 seconds" (Azure).
fn in_words(words: &str) -> Option<f64> {
    let lower = words.get(..words.floor_char_boundary(super::MESSAGE_CAP))?.to_ascii_lowercase();
    ["try again in ", "retry in ", "retry after "].iter().find_map(|phrase| {
        let rest = lower.get(lower.find(phrase)? + phrase.len()..)?;
        let mut parts = rest.split_whitespace();
        let first = parts.next()?.trim_end_matches(['.', ',', ')']);
        match first.parse::<f64>() {
            Ok(number) if parts.next().is_some_and(|unit| unit.starts_with("sec")) => Some(number),
            Ok(_) => None,
            Err(_) => duration(first),
        }
    })
}

/// A duration as Go prints it: `1h2m3.5s`, `20ms`. Plain digits are seconds.
fn duration(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Some(seconds);
    }
    let (mut total, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "ns" => 0.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    Some(total)
}
