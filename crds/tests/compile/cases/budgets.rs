//! Budgets and limits of virtual keys.

use super::{Row, STANDALONE, check};

/// How much, of what.
const AMOUNTS: &[Row] = &[
    ("{budgets: [{name: b, tokens: 5, rolling: 24h, models: ['good/*']}]}", &[]),
    (
        "{budgets: [{name: b, usd: '1,5', period: Day}]}",
        &["Accepted Invalid spec.budgets[0].usd: `1,5` is not an amount of US dollars"],
    ),
    (
        "{budgets: [{name: b, usd: '-1', period: Day}]}",
        &["Accepted Invalid spec.budgets[0].usd: `-1` is not an amount"],
    ),
    (
        "{budgets: [{name: b, usd: '0.0000000001', period: Day}]}",
        &[
            "Accepted Invalid spec.budgets[0].usd: `0.0000000001` is not an amount of US dollars: write digits with at most nine decimals",
        ],
    ),
    (
        "{budgets: [{name: b, usd: '9999999999', period: Day}]}",
        &["Accepted Invalid spec.budgets[0].usd: `9999999999` US dollars is too much"],
    ),
    (
        "{budgets: [{name: b, tokens: 0, period: Day}]}",
        &["Accepted Invalid spec.budgets[0].tokens: must be at least 1"],
    ),
    (
        "{budgets: [{name: b, period: Day}]}",
        &["Accepted Invalid spec.budgets[0]: has no limit: it needs usd or tokens"],
    ),
    (
        "{budgets: [{name: b, usd: '1', tokens: 1, period: Day}]}",
        &["Accepted Invalid spec.budgets[0]: has both usd and tokens"],
    ),
    (
        "{budgets: [{name: 'b/c', usd: '1', period: Day}]}",
        &["Accepted Invalid spec.budgets[0].name: `b/c` must not contain `/`"],
    ),
    (
        "{budgets: [{name: b, usd: '1', period: Day}, {name: b, usd: '2', period: Week}]}",
        &["Accepted Invalid spec.budgets[1].name: \"b\" stands there twice"],
    ),
    (
        "{budgets: [{name: b, usd: '1', period: Day, models: [gpt-5]}]}",
        &["Accepted Invalid spec.budgets[0].models[0]: `gpt-5` names no route"],
    ),
    (
        "{budgets: [{name: b, usd: '1', period: Day, models: [nope/a]}]}",
        &["ResolvedRefs RouteNotFound spec.budgets[0].models[0]: "],
    ),
    (
        "{budgets: [{name: b, usd: '1', period: Day, models: []}]}",
        &["Accepted Invalid spec.budgets[0].models: must be at least 1 entries"],
    ),
];

/// For how long.
const WINDOWS: &[Row] = &[
    ("{budgets: [{name: b, usd: '0.000000001', period: Month, timeZone: Europe/Berlin}]}", &[]),
    (
        "{budgets: [{name: b, usd: '1'}]}",
        &["Accepted Invalid spec.budgets[0]: has no window: it needs period or rolling"],
    ),
    (
        "{budgets: [{name: b, usd: '1', period: Day, rolling: 1h}]}",
        &["Accepted Invalid spec.budgets[0]: has both period and rolling"],
    ),
    (
        "{budgets: [{name: b, usd: '1', period: Fortnight}]}",
        &["Accepted Invalid spec.budgets[0].period: unknown variant `Fortnight`"],
    ),
    (
        "{budgets: [{name: b, usd: '1', rolling: 90 minutes}]}",
        &["Accepted Invalid spec.budgets[0].rolling: `90 minutes` is not a duration"],
    ),
    (
        "{budgets: [{name: b, usd: '1', rolling: 0s}]}",
        &["Accepted Invalid spec.budgets[0].rolling: `0s` is too short"],
    ),
    (
        "{budgets: [{name: b, usd: '1', rolling: 999999d}]}",
        &["Accepted Invalid spec.budgets[0].rolling: `999999d` is too long"],
    ),
    (
        "{budgets: [{name: b, usd: '1', period: Day, timeZone: Mars/Base}]}",
        &["Accepted Invalid spec.budgets[0].timeZone: `Mars/Base` is not an IANA time zone"],
    ),
    (
        "{budgets: [{name: b, usd: '1', rolling: 1h, timeZone: UTC}]}",
        &["Accepted Invalid spec.budgets[0].timeZone: has no meaning with rolling"],
    ),
];

/// Rates, what happens near a limit, how long records are kept.
const LIMITS: &[Row] = &[
    (
        "{limits: {requestsPerMinute: 0}}",
        &["Accepted Invalid spec.limits.requestsPerMinute: must be at least 1"],
    ),
    ("{limits: {concurrent: -1}}", &["Accepted Invalid spec.limits.concurrent: invalid type: integer `-1`"]),
    (
        "{limits: {tokensPerMinute: 2M}}",
        &["Accepted Invalid spec.limits.tokensPerMinute: invalid type: string"],
    ),
    (
        "{spending: {enforcement: Loose}}",
        &["Accepted Invalid spec.spending.enforcement: unknown variant `Loose`"],
    ),
    (
        "{logging: {retention: forever}}",
        &["Accepted Invalid spec.logging.retention: `forever` is not a duration"],
    ),
];

#[test]
fn the_amounts_of_budgets() {
    check("VirtualKey", STANDALONE, AMOUNTS);
}

#[test]
fn the_windows_of_budgets() {
    check("VirtualKey", STANDALONE, WINDOWS);
}

#[test]
fn limits_and_spending() {
    check("VirtualKey", STANDALONE, LIMITS);
}
