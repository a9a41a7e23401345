//! One row a mistake: what the compiler says to it, with file, object and field; and that the good objects beside it
//! compile all the same.

use super::{accepted, api_server::refused_by_the_api_server, compiled, told};
use tollgate_crds::compile::Options;
use tollgate_proto::Resource;

/// What stands beside every case, and must not suffer by it.
pub(crate) const GOOD: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: creds}
stringData: {key: sk-upstream, token: "0123456789abcdef0123456789abcdef", short: vk-short, bad: "a b"}
---
apiVersion: tollgate.dev/v1alpha1
kind: ProviderRoute
metadata: {name: good}
spec: {backends: [{name: main, anthropic: {}, credentials: {secretRef: {name: creds, key: key}}}]}
---
apiVersion: tollgate.dev/v1alpha1
kind: McpServer
metadata: {name: tools}
spec: {streamableHttp: {url: "https://mcp.example.com/mcp"}}
---
apiVersion: tollgate.dev/v1alpha1
kind: VirtualKey
metadata: {name: team}
spec: {models: {allow: ["good/*"]}, tools: [{server: tools, allow: ["*"]}]}
---
"#;

/// `(spec, what is said)`; nothing said: the spec is good.
pub(crate) type Row = (&'static str, &'static [&'static str]);

pub(crate) fn check(kind: &str, options: Options, rows: &[Row]) {
    let failures: Vec<String> = rows.iter().filter_map(|row| wrong(kind, options, row)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// How a row is not as it should be.
fn wrong(kind: &str, options: Options, (spec, expected): &Row) -> Option<String> {
    let yaml = format!(
        "{GOOD}apiVersion: tollgate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n"
    );
    let outcome = compiled(&yaml, options);
    let said = told(&outcome);
    let start = |expected: &&str| format!("case.yaml:22: {kind} default/x: {expected}");
    let as_expected = said.len() == expected.len()
        && said.iter().zip(*expected).all(|(said, expected)| said.starts_with(&start(expected)));
    if !as_expected {
        return Some(format!("{spec}\n  said:     {said:#?}\n  expected: {expected:#?}"));
    }
    let is_accepted = !expected.iter().any(|e| e.starts_with("Accepted"));
    if is_accepted && let Some(errors) = refused_by_the_api_server(kind, spec) {
        return Some(format!("{spec}: accepted, but the API server would refuse it: {errors}"));
    }
    let accepted = accepted(&outcome);
    let good = ["Secret default/creds", "VirtualKey default/team", "ProviderRoute default/good"];
    for good in good.into_iter().chain(["McpServer default/tools"]) {
        if !accepted.contains(&good.to_owned()) {
            return Some(format!("{spec}: {good} suffers"));
        }
    }
    let id = format!("{kind} default/x");
    let emitted = outcome.resources.iter().any(|r| r.id().to_string() == id && !is_tombstone(r));
    let denies = outcome.resources.keys().any(|k| k.name == "x" && !k.denied.is_empty());
    (emitted != is_accepted && !denies).then(|| format!("{spec}: makes a resource: {emitted}"))
}

/// Whether a resource only stands in the place of an object that is not accepted.
fn is_tombstone(resource: &Resource) -> bool {
    match resource {
        Resource::ProviderRoute(route) => !route.off.is_empty() && route.backends.is_empty(),
        Resource::McpServer(server) => !server.off.is_empty() && server.url.is_empty(),
        _ => false,
    }
}

const STANDALONE: Options = Options::STANDALONE;
const CLUSTER: Options = Options::CLUSTER;

#[test]
fn keys() {
    check(
        "VirtualKey",
        STANDALONE,
        &[
            ("{}", &[]),
            ("{parentRef: {name: team}, token: {secretRef: {name: creds, key: token}}}", &[]),
            // Unknown fields, wrong types.
            (
                "{modls: {}}",
                &["Accepted Invalid spec.modls: unknown field `modls`, expected one of `parentRef`"],
            ),
            ("{models: {alow: []}}", &["Accepted Invalid spec.models.alow: unknown field `alow`"]),
            ("{disabled: maybe}", &["Accepted Invalid spec.disabled: invalid type"]),
            ("{logging: {content: All}}", &["Accepted Invalid spec.logging.content: unknown variant `All`"]),
            (
                "{providers: {allow: [Antropic]}}",
                &["Accepted Invalid spec.providers.allow[0]: unknown variant"],
            ),
            ("{expiresAt: tomorrow}", &["Accepted Invalid spec.expiresAt: "]),
            ("{budgets: [{usd: '5'}]}", &["Accepted Invalid spec.budgets[0].name: missing field `name`"]),
            (
                "{budgets: [{name: b, usd: 5, period: Day}]}",
                &["Accepted Invalid spec.budgets[0].usd: must be a string: put it in quotes"],
            ),
            // What may be a credential in the wrong place is not shown.
            (
                "{token: 'sk-hush, expected \"more'}",
                &["Accepted Invalid spec.token: invalid type: string, expected struct SecretSource"],
            ),
            // References.
            (
                "{parentRef: {name: nobody}}",
                &[
                    "ResolvedRefs ParentNotFound spec.parentRef: VirtualKey default/nobody does not exist; the key is denied",
                ],
            ),
            (
                "{parentRef: {name: x}}",
                &["Accepted ParentCycle spec.parentRef: the parents form a circle: default/x → default/x"],
            ),
            (
                "{parentRef: {name: a/b}}",
                &["Accepted Invalid spec.parentRef.name: `a/b` must not contain `/`"],
            ),
            (
                "{parentRef: {name: team, namespace: other}}",
                &["ResolvedRefs ParentNotFound spec.parentRef: VirtualKey other/team does not exist"],
            ),
            (
                "{token: {secretRef: {name: nope, key: token}}}",
                &["ResolvedRefs SecretNotFound spec.token.secretRef: Secret default/nope does not exist"],
            ),
            (
                "{token: {secretRef: {name: creds, key: nope}}}",
                &["ResolvedRefs SecretNotFound spec.token.secretRef: Secret default/creds has no key `nope`"],
            ),
            (
                "{token: {secretRef: {name: creds, key: bad}}}",
                &["Accepted Invalid spec.token.secretRef: the token is empty, or"],
            ),
            ("{token: {secretRef: {name: creds, key: short}}}", &[]),
            (
                "{defaultRoute: nope}",
                &["ResolvedRefs RouteNotFound spec.defaultRoute: ProviderRoute default/nope does not exist"],
            ),
            (
                "{models: {allow: [good/a, nope/a]}}",
                &["ResolvedRefs RouteNotFound spec.models.allow[1]: ProviderRoute default/nope"],
            ),
            ("{models: {deny: [nope/a]}}", &["ResolvedRefs RouteNotFound spec.models.deny[0]: "]),
            (
                "{tools: [{server: nope, allow: ['*']}]}",
                &[
                    "ResolvedRefs ServerNotFound spec.tools[0].server: McpServer default/nope does not exist; the key has no tools of it",
                ],
            ),
            // Patterns and aliases.
            ("{models: {allow: ['*', '*/a', 'good/*', 'g*d/a']}}", &[]),
            (
                "{models: {allow: [gpt-5]}}",
                &[
                    "Accepted Invalid spec.models.allow[0]: `gpt-5` names no route: write `ROUTE/gpt-5`, or `*/gpt-5`",
                ],
            ),
            ("{models: {deny: ['o3-*']}}", &["Accepted Invalid spec.models.deny[0]: `o3-*` names no route"]),
            (
                "{models: {allow: ['good/?']}}",
                &["Accepted Invalid spec.models.allow[0]: `good/?` contains `?`: only `*`"],
            ),
            (
                "{models: {allow: ['good/a b']}}",
                &["Accepted Invalid spec.models.allow[0]: `good/a b` contains ' '"],
            ),
            (
                "{models: {allow: ['']}}",
                &["Accepted Invalid spec.models.allow[0]: must be at least 1 characters"],
            ),
            (
                "{providers: {regions: ['eu-[12]']}}",
                &["Accepted Invalid spec.providers.regions[0]: `eu-[12]` contains `[`"],
            ),
            ("{models: {aliases: {fast: good/a}}}", &[]),
            (
                "{models: {aliases: {fast: 'good/*'}}}",
                &["Accepted Invalid spec.models.aliases.fast: `good/*` must be the name of one model"],
            ),
            (
                "{models: {aliases: {'f*': good/a}}}",
                &["Accepted Invalid spec.models.aliases.f*: `f*` must be the name of one model"],
            ),
            (
                "{models: {aliases: {a: b, b: good/c}}}",
                &["Accepted Invalid spec.models.aliases.a: `b` is an alias itself"],
            ),
            (
                "{models: {aliases: {a: a}}}",
                &["Accepted Invalid spec.models.aliases.a: `a` is an alias itself"],
            ),
            ("{models: {aliases: {a: nope/c}}}", &["ResolvedRefs RouteNotFound spec.models.aliases.a: "]),
            ("{defaultRoute: good, models: {aliases: {a: meta/llama}}}", &[]),
            (
                "{tools: [{server: tools, allow: ['{a,b}']}]}",
                &["Accepted Invalid spec.tools[0].allow[0]: `{a,b}` contains `{`"],
            ),
            (
                "{tools: [{server: tools}, {server: tools}]}",
                &["Accepted Invalid spec.tools[1].server: \"tools\" stands there twice"],
            ),
            (
                "{tools: [{server: tools, deny: [a]}]}",
                &["Accepted Invalid spec.tools[0].deny: takes away from allow, which names no tool"],
            ),
            // Not supported yet.
            (
                "{serviceAccounts: [{name: devbox}, {name: devbox}]}",
                &["Accepted Invalid spec.serviceAccounts[1].name: \"devbox\" stands there twice"],
            ),
            ("{context: Search}", &["Accepted NotSupported spec.context: not supported yet"]),
            (
                "{tools: [{server: tools, approve: ['*']}]}",
                &["Accepted NotSupported spec.tools[0].approve: not supported yet"],
            ),
            (
                "{tools: [{server: tools, requireSuggestion: true}]}",
                &["Accepted NotSupported spec.tools[0].requireSuggestion: "],
            ),
            // Several mistakes are told at once.
            (
                "{budgets: [{name: b, usd: '1,5', period: Day, timeZone: Mars/Base}], tools: [{server: tools, approve: [a]}]}",
                &[
                    "Accepted NotSupported spec.tools[0].approve: ",
                    "Accepted Invalid spec.budgets[0].timeZone: ",
                    "Accepted Invalid spec.budgets[0].usd: ",
                ],
            ),
        ],
    );
}

#[test]
fn budgets_and_limits() {
    check(
        "VirtualKey",
        STANDALONE,
        &[
            ("{budgets: [{name: b, usd: '0.000000001', period: Month, timeZone: Europe/Berlin}]}", &[]),
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
            (
                "{limits: {requestsPerMinute: 0}}",
                &["Accepted Invalid spec.limits.requestsPerMinute: must be at least 1"],
            ),
            (
                "{limits: {concurrent: -1}}",
                &["Accepted Invalid spec.limits.concurrent: invalid type: integer `-1`"],
            ),
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
        ],
    );
}

#[test]
fn routes() {
    check(
        "ProviderRoute",
        STANDALONE,
        &[
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
            (
                "{backends: [{name: A, openAI: {}}]}",
                &["Accepted Invalid spec.backends[0].name: `A` is not a name"],
            ),
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
            (
                "{models: [{name: a}, {name: a}], backends: [{name: a, openAI: {}}]}",
                &["Accepted Invalid spec.models[1].name: \"a\" stands there twice"],
            ),
            (
                "{models: [{name: gpt-5}], backends: [{name: a, openAI: {}, models: ['claude-*']}]}",
                &["Accepted Invalid spec.models[0].name: no backend serves `gpt-5`"],
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
            (
                "{models: [{name: m, price: {input: '3', output: '15'}}], backends: [{name: a, openAI: {}}]}",
                &[],
            ),
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
        ],
    );
}

#[test]
fn servers() {
    check(
        "McpServer",
        STANDALONE,
        &[
            ("{streamableHttp: {url: 'http://localhost:9000/mcp'}, description: Staging database}", &[]),
            ("{}", &["Accepted Invalid spec: names no transport"]),
            (
                "{streamableHttp: {url: 'https://x.com/mcp'}, sse: {url: 'https://x.com/sse'}}",
                &[
                    "Accepted NotSupported spec.sse: ",
                    "Accepted Invalid spec: names several transports: streamableHttp, sse",
                ],
            ),
            ("{stdio: {image: example/mcp}}", &["ResolvedRefs NotRun spec.stdio: commands are not run"]),
            (
                "{streamableHttp: {url: mcp.example.com}}",
                &["Accepted Invalid spec.streamableHttp.url: `mcp.example.com` must begin"],
            ),
            (
                "{streamableHttp: {uri: 'https://x.com'}}",
                &[
                    "Accepted Invalid spec.streamableHttp.uri: unknown field `uri`",
                    "Accepted Invalid spec.streamableHttp.url: missing field `url`",
                ],
            ),
            (
                "{streamableHttp: {url: 'https://x.com'}, auth: {header: {name: 'X Y', secretRef: {name: creds, key: key}}}}",
                &["Accepted Invalid spec.auth.header.name: `X Y` is not the name of a header"],
            ),
            (
                "{streamableHttp: {url: 'https://x.com'}, auth: {header: {name: Host, secretRef: {name: creds, key: key}}}}",
                &["Accepted Invalid spec.auth.header.name: `Host` is set by the gateway itself"],
            ),
            (
                "{streamableHttp: {url: 'https://x.com'}, auth: {header: {name: Authorization, secretRef: {name: no, key: key}}}}",
                &[
                    "ResolvedRefs SecretNotFound spec.auth.header.secretRef: Secret default/no does not exist; the server is off",
                ],
            ),
            (
                "{streamableHttp: {url: 'https://x.com'}, tools: {allow: ['a[b]']}}",
                &["Accepted Invalid spec.tools.allow[0]: `a[b]` contains `[`"],
            ),
            (
                "{streamableHttp: {url: 'https://x.com'}, tools: {pin: Strict}}",
                &["Accepted NotSupported spec.tools.pin: "],
            ),
            (
                "{streamableHttp: {url: 'https://x.com'}, tools: {prices: [{tool: a, usd: '1'}]}}",
                &["Accepted NotSupported spec.tools.prices: "],
            ),
            (
                "{streamableHttp: {url: 'https://x.com'}, timeouts: {call: soon}}",
                &["Accepted Invalid spec.timeouts.call: `soon` is not a duration"],
            ),
            (
                "{streamableHttp: {url: 'https://x.com'}, failureMode: open}",
                &["Accepted Invalid spec.failureMode: unknown variant `open`"],
            ),
            ("{streamableHttp: {url: 'https://x.com'}, naming: {mode: None}}", &[]),
        ],
    );
}

#[test]
fn a_cluster_is_stricter() {
    check(
        "VirtualKey",
        CLUSTER,
        &[
            (
                "{token: {secretRef: {name: creds, key: short}}}",
                &["Accepted TokenTooShort spec.token.secretRef: the token has fewer than 32 characters"],
            ),
            ("{token: {secretRef: {name: creds, key: token}}}", &[]),
        ],
    );
    check(
        "ProviderRoute",
        CLUSTER,
        &[
            (
                "{backends: [{name: a, openAI: {}, endpoint: 'http://169.254.169.254/v1'}]}",
                &[
                    "Accepted Invalid spec.backends[0].endpoint: `http://169.254.169.254/v1` leads to a private or cluster address",
                ],
            ),
            (
                "{backends: [{name: a, openAI: {}, endpoint: 'http://redis.tollgate.svc:6379'}]}",
                &["Accepted Invalid spec.backends[0].endpoint: "],
            ),
        ],
    );
    check(
        "McpServer",
        CLUSTER,
        &[(
            "{streamableHttp: {url: 'http://localhost/mcp'}}",
            &["Accepted Invalid spec.streamableHttp.url: "],
        )],
    );
}
