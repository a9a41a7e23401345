//! Provider routes.

use super::{Row, STANDALONE, check};

/// Where requests go, and with which credentials.
const BACKENDS: &[Row] = &[
    ("{backends: [{name: a, openAI: {}}]}", &[]),
    ("{backends: [{name: a, openAICompatible: {}, endpoint: 'http://127.0.0.1:9/v1'}]}", &[]),
    ("{}", &["Accepted Invalid spec.backends: missing field `backends`"]),
    ("{backends: []}", &["Accepted Invalid spec.backends: must be at least 1 entries"]),
    ("{backends: [{name: a}]}", &["Accepted Invalid spec.backends[0]: names no provider"]),
    (
        "{backends: [{name: a, openAI: {}, anthropic: {}}]}",
        &["Accepted Invalid spec.backends[0]: names several providers: anthropic, openAI"],
    ),
    (
        "{backends: [{name: a, openai: {}}]}",
        &["Accepted Invalid spec.backends[0].openai: unknown field `openai`"],
    ),
    (
        "{backends: [{name: a, openAI: {}}, {name: a, openAI: {}}]}",
        &["Accepted Invalid spec.backends[1].name: \"a\" stands there twice"],
    ),
    ("{backends: [{name: A, openAI: {}}]}", &["Accepted Invalid spec.backends[0].name: `A` is not a name"]),
    (
        "{backends: [{name: a, gemini: {}}]}",
        &["Accepted NotSupported spec.backends[0].gemini: not supported yet"],
    ),
    (
        "{backends: [{name: a, openAICompatible: {}}]}",
        &["Accepted Invalid spec.backends[0].endpoint: is missing"],
    ),
    (
        "{backends: [{name: a, openAI: {}, endpoint: api.openai.com}]}",
        &["Accepted Invalid spec.backends[0].endpoint: `api.openai.com` must begin with https://"],
    ),
    (
        "{backends: [{name: a, openAI: {}, endpoint: 'https://u:p@x.com'}]}",
        &["Accepted Invalid spec.backends[0].endpoint: must hold no user or password"],
    ),
    (
        "{backends: [{name: a, openAI: {}, weight: -1}]}",
        &["Accepted Invalid spec.backends[0].weight: invalid type: integer `-1`"],
    ),
    (
        "{backends: [{name: a, openAI: {}, priority: 101}]}",
        &["Accepted Invalid spec.backends[0].priority: must be at most 100, not 101"],
    ),
    (
        "{backends: [{name: a, openAI: {}, credentials: {secretRef: {name: nope, key: k}}}]}",
        &[
            "ResolvedRefs SecretNotFound spec.backends[0].credentials.secretRef: Secret default/nope does not exist; backend `a` is off",
        ],
    ),
    (
        "{backends: [{name: a, openAI: {}, credentials: {}}]}",
        &["Accepted Invalid spec.backends[0].credentials: is empty"],
    ),
    (
        "{backends: [{name: a, openAI: {}, credentials: {ambient: true}}]}",
        &["Accepted NotSupported spec.backends[0].credentials.ambient: "],
    ),
];

/// What clients may ask for, and what it costs.
const MODELS: &[Row] = &[
    (
        "{models: [{name: a}, {name: a}], backends: [{name: a, openAI: {}}]}",
        &["Accepted Invalid spec.models[1].name: \"a\" stands there twice"],
    ),
    (
        "{models: [{name: gpt-5}], backends: [{name: a, openAI: {}, models: ['claude-*']}]}",
        &["ResolvedRefs NotServed spec.models[0].name: no backend serves `gpt-5`"],
    ),
    ("{models: [{name: 'a-gpt-5b'}], backends: [{name: a, openAI: {}, models: ['a*gpt*b']}]}", &[]),
    (
        "{models: [{name: m, upstreamName: 'x*'}], backends: [{name: a, openAI: {}}]}",
        &["Accepted Invalid spec.models[0].upstreamName: `x*` must be the name of one model"],
    ),
    (
        "{models: [{name: m, maxOutputTokens: 0}], backends: [{name: a, openAI: {}}]}",
        &["Accepted Invalid spec.models[0].maxOutputTokens: must be at least 1"],
    ),
    ("{models: [{name: m, price: {input: '3', output: '15'}}], backends: [{name: a, openAI: {}}]}", &[]),
    (
        "{models: [{name: m, price: {input: '3'}}], backends: [{name: a, openAI: {}}]}",
        &["Accepted Invalid spec.models[0].price.output: missing field `output`"],
    ),
    (
        "{models: [{name: m, price: {input: '3$', output: '15'}}], backends: [{name: a, openAI: {}}]}",
        &["Accepted Invalid spec.models[0].price.input: `3$` is not an amount"],
    ),
    (
        "{models: [{name: m, price: {input: '0.0005', output: '15'}}], backends: [{name: a, openAI: {}}]}",
        &["Accepted Invalid spec.models[0].price.input: `0.0005` is too fine"],
    ),
    (
        "{models: [{name: m, price: {input: '3', output: '15', tiers: [{aboveInputTokens: 5, input: '6', output: x}]}}], backends: [{name: a, openAI: {}}]}",
        &["Accepted Invalid spec.models[0].price.tiers[0].output: `x` is not an amount"],
    ),
];

/// Retries, times, health, fallbacks, who may use it.
const BEHAVIOUR: &[Row] = &[
    (
        "{backends: [{name: a, openAI: {}}], retry: {attempts: 9}}",
        &["Accepted Invalid spec.retry.attempts: must be at most 5, not 9"],
    ),
    (
        "{backends: [{name: a, openAI: {}}], retry: {when: [Timeout]}}",
        &["Accepted Invalid spec.retry.when[0]: unknown variant `Timeout`"],
    ),
    (
        "{backends: [{name: a, openAI: {}}], retry: {when: [Connect, Connect]}}",
        &["Accepted Invalid spec.retry.when[1]: \"Connect\" stands there twice"],
    ),
    (
        "{backends: [{name: a, openAI: {}}], timeouts: {idle: 5}}",
        &["Accepted Invalid spec.timeouts.idle: must be a string: put it in quotes"],
    ),
    (
        "{backends: [{name: a, openAI: {}}], timeouts: {idle: 5x}}",
        &["Accepted Invalid spec.timeouts.idle: `5x` is not a duration"],
    ),
    (
        "{backends: [{name: a, openAI: {}}], timeouts: {connect: 0s}}",
        &["Accepted Invalid spec.timeouts.connect: `0s` is too short"],
    ),
    (
        "{backends: [{name: a, openAI: {}}], health: {consecutiveFailures: 0}}",
        &["Accepted Invalid spec.health.consecutiveFailures: must be at least 1"],
    ),
    ("{backends: [{name: a, openAI: {}}], fallbacks: [{model: good/b}]}", &[]),
    (
        "{backends: [{name: a, openAI: {}}], fallbacks: [{model: claude}]}",
        &["Accepted Invalid spec.fallbacks[0].model: `claude` is not `route/model`"],
    ),
    (
        "{backends: [{name: a, openAI: {}}], fallbacks: [{model: 'good/*'}]}",
        &["Accepted Invalid spec.fallbacks[0].model: `good/*` must be the name of one"],
    ),
    (
        "{backends: [{name: a, openAI: {}}], fallbacks: [{model: nope/b}]}",
        &["ResolvedRefs RouteNotFound spec.fallbacks[0].model: ProviderRoute default/nope does not"],
    ),
    (
        "{backends: [{name: a, openAI: {}}], allowedNamespaces: Everyone}",
        &["Accepted Invalid spec.allowedNamespaces: invalid value"],
    ),
];

#[test]
fn the_backends_of_routes() {
    check("ProviderRoute", STANDALONE, BACKENDS);
}

#[test]
fn the_models_of_routes() {
    check("ProviderRoute", STANDALONE, MODELS);
}

#[test]
fn what_routes_do_when_something_fails() {
    check("ProviderRoute", STANDALONE, BEHAVIOUR);
}
