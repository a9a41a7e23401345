//! Virtual keys but for their money: fields, references, patterns.

use super::{Row, STANDALONE, check};

/// Unknown fields, wrong types, lists with an entry twice.
const FIELDS: &[Row] = &[
    ("{}", &[]),
    ("{parentRef: {name: team}, token: {secretRef: {name: creds, key: token}}}", &[]),
    ("{modls: {}}", &["Accepted Invalid spec.modls: unknown field `modls`, expected one of `parentRef`"]),
    ("{models: {alow: []}}", &["Accepted Invalid spec.models.alow: unknown field `alow`"]),
    ("{disabled: maybe}", &["Accepted Invalid spec.disabled: invalid type"]),
    ("{logging: {content: All}}", &["Accepted Invalid spec.logging.content: unknown variant `All`"]),
    ("{providers: {allow: [Antropic]}}", &["Accepted Invalid spec.providers.allow[0]: unknown variant"]),
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
    (
        "{serviceAccounts: [{name: devbox}, {name: devbox}]}",
        &["Accepted Invalid spec.serviceAccounts[1].name: \"devbox\" stands there twice"],
    ),
];

/// What is named and is not there, or may not be named.
const REFERENCES: &[Row] = &[
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
    ("{parentRef: {name: a/b}}", &["Accepted Invalid spec.parentRef.name: `a/b` must not contain `/`"]),
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
];

/// What `*` may stand for, and what stands for nothing.
const PATTERNS: &[Row] = &[
    ("{models: {allow: ['*', '*/a', 'good/*', 'g*d/a']}}", &[]),
    (
        "{models: {allow: [gpt-5]}}",
        &["Accepted Invalid spec.models.allow[0]: `gpt-5` names no route: write `ROUTE/gpt-5`, or `*/gpt-5`"],
    ),
    ("{models: {deny: ['o3-*']}}", &["Accepted Invalid spec.models.deny[0]: `o3-*` names no route"]),
    (
        "{models: {allow: ['good/?']}}",
        &["Accepted Invalid spec.models.allow[0]: `good/?` contains `?`: only `*`"],
    ),
    ("{models: {allow: ['good/a b']}}", &["Accepted Invalid spec.models.allow[0]: `good/a b` contains ' '"]),
    ("{models: {allow: ['']}}", &["Accepted Invalid spec.models.allow[0]: must be at least 1 characters"]),
    (
        "{providers: {regions: ['eu-[12]']}}",
        &["Accepted Invalid spec.providers.regions[0]: `eu-[12]` contains `[`"],
    ),
];

/// Other names of models.
const ALIASES: &[Row] = &[
    ("{models: {aliases: {fast: good/a}}}", &[]),
    (
        "{models: {aliases: {fast: 'good/*'}}}",
        &["Accepted Invalid spec.models.aliases.fast: `good/*` must be the name of one model"],
    ),
    (
        "{models: {aliases: {'f*': good/a}}}",
        &[
            "ResolvedRefs Invalid spec.models.aliases.f*: an alias is taken letter by letter: `f*` must be the name of one model",
        ],
    ),
    (
        "{models: {aliases: {a: b, b: good/c}}}",
        &["Accepted Invalid spec.models.aliases.a: `b` is an alias itself"],
    ),
    ("{models: {aliases: {a: a}}}", &["Accepted Invalid spec.models.aliases.a: `a` is an alias itself"]),
    ("{models: {aliases: {a: nope/c}}}", &["ResolvedRefs RouteNotFound spec.models.aliases.a: "]),
    ("{defaultRoute: good, models: {aliases: {a: meta/llama}}}", &[]),
];

/// Tools of MCP servers.
const TOOLS: &[Row] = &[
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
];

/// Fields that are known and not enforced yet: refused, never ignored.
const UNSUPPORTED: &[Row] = &[
    ("{context: Search}", &["Accepted NotSupported spec.context: not supported yet"]),
    (
        "{tools: [{server: tools, approve: ['*']}]}",
        &["Accepted NotSupported spec.tools[0].approve: not supported yet"],
    ),
    (
        "{tools: [{server: tools, requireSuggestion: true}]}",
        &["Accepted NotSupported spec.tools[0].requireSuggestion: "],
    ),
];

/// Several mistakes are told at once.
const SEVERAL: &[Row] = &[(
    "{budgets: [{name: b, usd: '1,5', period: Day, timeZone: Mars/Base}], tools: [{server: tools, approve: [a]}]}",
    &[
        "Accepted NotSupported spec.tools[0].approve: ",
        "Accepted Invalid spec.budgets[0].timeZone: ",
        "Accepted Invalid spec.budgets[0].usd: ",
    ],
)];

#[test]
fn the_fields_of_keys() {
    check("VirtualKey", STANDALONE, FIELDS);
    check("VirtualKey", STANDALONE, UNSUPPORTED);
    check("VirtualKey", STANDALONE, SEVERAL);
}

#[test]
fn what_keys_name() {
    check("VirtualKey", STANDALONE, REFERENCES);
}

#[test]
fn the_patterns_of_keys() {
    check("VirtualKey", STANDALONE, PATTERNS);
    check("VirtualKey", STANDALONE, ALIASES);
    check("VirtualKey", STANDALONE, TOOLS);
}
