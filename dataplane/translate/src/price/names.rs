//! Names of models: one model has many, by provider, region, version and date.

/// The steps that shorten a name, in the order in which they are tried: each leaves a name that means the same model or
/// its newest snapshot. All are slices of the name: nothing is allocated.
pub(super) const STEPS: [fn(&str) -> &str; 8] = [
    last_segment,
    base_of_tuned,
    without_region,
    without_vendor,
    without_at,
    without_version,
    without_latest,
    without_date,
];

/// Prefixes of Bedrock's inference profiles.
const REGIONS: [&str; 14] = [
    "us.", "eu.", "apac.", "global.", "us-gov.", "jp.", "au.", "ca.", "sa.", "me.", "af.", "il.", "mx.",
    "ap.",
];

/// Prefixes of Bedrock's models.
const VENDORS: [&str; 18] = [
    "anthropic.",
    "amazon.",
    "meta.",
    "mistral.",
    "cohere.",
    "ai21.",
    "deepseek.",
    "qwen.",
    "openai.",
    "google.",
    "moonshot.",
    "moonshotai.",
    "minimax.",
    "nvidia.",
    "zai.",
    "writer.",
    "xai.",
    "stability.",
];

/// The name without all that the steps take away: `claude-haiku-4-5` for `us.anthropic.claude-haiku-4-5-20251001-v1:0`.
pub(super) fn canonical(name: &str) -> &str {
    STEPS.iter().fold(name, |name, step| step(name))
}

/// `models/gemini-2.5-pro`, `publishers/…`, an ARN: what is after the last slash.
fn last_segment(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, last)| last)
}

/// `ft:gpt-4o-2024-08-06:organisation:name:id` has the price of `ft:gpt-4o-2024-08-06`.
fn base_of_tuned(name: &str) -> &str {
    let Some(rest) = name.strip_prefix("ft:") else { return name };
    let base = rest.split_once(':').map_or(rest, |(base, _)| base);
    name.get(.."ft:".len() + base.len()).unwrap_or(name)
}

fn without_region(name: &str) -> &str {
    without_prefix(name, &REGIONS)
}

fn without_vendor(name: &str) -> &str {
    without_prefix(name, &VENDORS)
}

fn without_prefix<'a>(name: &'a str, prefixes: &[&str]) -> &'a str {
    prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

/// Vertex: `claude-haiku-4-5@20251001`, `…@default`.
fn without_at(name: &str) -> &str {
    name.split_once('@').map_or(name, |(before, _)| before)
}

/// Bedrock: `…-v1:0`, `…-v1:0:200k`. A bare `-v1` is a version only of Claude: `deepseek-v3` is a model.
fn without_version(name: &str) -> &str {
    let (before, colon) = match name.split_once(':') {
        Some((before, after)) if after.starts_with(|c: char| c.is_ascii_digit()) => (before, true),
        _ => (name, false),
    };
    if !colon && !name.contains("claude") {
        return name;
    }
    match before.rsplit_once("-v") {
        Some((model, version)) if digits(version) => model,
        _ => name,
    }
}

fn without_latest(name: &str) -> &str {
    name.strip_suffix("-latest").unwrap_or(name)
}

/// `-20251001` or `-2025-08-07`.
fn without_date(name: &str) -> &str {
    let cut = |length: usize| name.split_at_checked(name.len().checked_sub(length)?);
    if let Some((model, date)) = cut("-20251001".len())
        && let Some(date) = date.strip_prefix("-20")
        && digits(date)
    {
        return model;
    }
    if let Some((model, date)) = cut("-2025-08-07".len())
        && let Some(date) = date.strip_prefix("-20")
        && let Some((year, day)) = date.split_once('-')
        && let Some((month, day)) = day.split_once('-')
        && [year, month, day].into_iter().all(|part| part.len() == 2 && digits(part))
    {
        return model;
    }
    name
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
