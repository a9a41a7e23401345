//! The keys: a tree whose keys are refused while the ledger is away, with budgets of which some are used up again and again,
//! and a tree of its own whose keys go on.

use crate::provider::DEFAULT_KEY;
use std::fmt::Write as _;

/// A key that clients use.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its parent.
    parent: Option<&'static str>,
    /// Further fields of its spec.
    spec: &'static str,
    /// A budget or a limit on its path may refuse it.
    pub tight: bool,
    /// It goes on while the ledger is away.
    pub allow: bool,
    /// How many clients of a hundred use it.
    pub share: u64,
}

/// The key that nothing but the ledger refuses: by it one sees whether a gateway serves. Each tree has one.
pub const STEADY: &str = "steady";
/// See [`STEADY`].
pub const STEADY_ALLOW: &str = "going-on";
/// The key that is revoked and comes back.
pub const REVOKED: &str = "revoked";
/// The key whose token is changed. The operator makes its Secret.
pub const ROTATED: &str = "rotated";
/// The key whose budget is changed.
pub const CHANGED: &str = "changed";
/// Who reads all records and the audit.
pub const AUDITOR: &str = "auditor";
/// What the MCP server wants after `Bearer`.
pub const MCP_TOKEN: &str = "mcp-credential-89abcdef0123456789abcdef01234567";
/// The model of the route with two backends, and what a token of it costs in nano-USD.
pub const MAIN: Model = Model { name: "main/claude-sonnet-4-5", input: 3_000, output: 15_000 };
/// The model of the route that speaks Chat Completions.
pub const CHAT: Model = Model { name: "gpt/gpt-5", input: 1_000, output: 10_000 };

/// A model and its prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// `route/model`.
    pub name: &'static str,
    /// Nano-USD a token.
    pub input: u64,
    /// Nano-USD a token.
    pub output: u64,
}

/// Those that clients use. `changed`'s limit is [`LIMITS`]' first.
pub const KEYS: [Key; 10] = [
    Key { share: 22, ..key(STEADY, Some("team-wide"), "") },
    Key { share: 8, ..key(REVOKED, Some("team-wide"), "") },
    Key { share: 8, ..key(ROTATED, Some("team-wide"), "") },
    // Used up within seconds, and new with each minute.
    Key {
        tight: true,
        share: 12,
        ..key("minute", Some("team-tight"), "budgets: [{name: minute, usd: '0.05', period: Minute}]")
    },
    // Used up for good.
    Key {
        tight: true,
        share: 6,
        ..key("hour", Some("team-tight"), "budgets: [{name: year, usd: '0.4', period: Year}]")
    },
    Key {
        tight: true,
        share: 8,
        ..key("tokens", Some("team-tight"), "budgets: [{name: rolling, tokens: 4000, rolling: 1m}]")
    },
    Key {
        tight: true,
        share: 8,
        ..key("limited", Some("team-wide"), "limits: {requestsPerMinute: 120, concurrent: 2}")
    },
    Key {
        tight: true,
        share: 8,
        ..key(CHANGED, Some("team-wide"), "budgets: [{name: minute, usd: '0.1', period: Minute}]")
    },
    Key {
        allow: true,
        share: 12,
        ..key(STEADY_ALLOW, Some("org-allow"), "spending: {onStoreFailure: Allow}")
    },
    Key {
        allow: true,
        tight: true,
        share: 8,
        ..key(
            "going-on-minute",
            Some("org-allow"),
            "spending: {onStoreFailure: Allow}, budgets: [{name: minute, usd: '0.1', period: Minute}]",
        )
    },
];

/// The parents: name, parent, spec.
const PARENTS: [(&str, Option<&str>, &str); 4] = [
    (
        "org",
        None,
        "models: {allow: ['*/*']}, budgets: [{name: year, usd: '5000', period: Year}, {name: minute, usd: '900', period: Minute}]",
    ),
    ("team-wide", Some("org"), "budgets: [{name: month, usd: '2000', period: Month}]"),
    (
        "team-tight",
        Some("org"),
        "budgets: [{name: minute, usd: '0.12', period: Minute}, {name: day, usd: '900', period: Day}]",
    ),
    (
        "org-allow",
        None,
        "models: {allow: ['*/*']}, spending: {onStoreFailure: Allow}, budgets: [{name: year, usd: '3000', period: Year}]",
    ),
];

/// The limits, in US dollars and nano-USD, that [`CHANGED`]'s budget goes through.
pub const LIMITS: [(&str, u64); 3] = [("0.1", 100_000_000), ("0.25", 250_000_000), ("0.05", 50_000_000)];

const fn key(name: &'static str, parent: Option<&'static str>, spec: &'static str) -> Key {
    Key { name, parent, spec, tight: false, allow: false, share: 0 }
}

/// A token that a person has chosen.
pub fn token(name: &str) -> String {
    format!("{name}-0123456789abcdef0123456789abcdef")
}

/// All objects, for a fake provider at two addresses and an MCP server.
pub fn manifests(providers: [&str; 2], server: &str) -> String {
    let mut out = String::new();
    let head = |kind: &str, name: &str| {
        format!("apiVersion: tollgate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n")
    };
    let secret = |name: &str, entry: &str, value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{{entry}: {value:?}}}\n---\n"
        )
    };
    out += &secret("provider", "apiKey", DEFAULT_KEY);
    out += &secret("db", "header", &format!("Bearer {MCP_TOKEN}"));
    let rest = "retry: {attempts: 1}, health: {consecutiveFailures: 5, ejectFor: 2s}, timeouts: {connect: 2s, firstByte: 20s, idle: 5s}";
    let credentials = "credentials: {secretRef: {name: provider, key: apiKey}}";
    let [a, b] = providers;
    line(
        &mut out,
        format_args!(
            "{}spec: {{models: [{{name: 'claude-*', price: {{input: '3', output: '15'}}}}], {rest}, backends: [\
         {{name: a, anthropic: {{}}, endpoint: {a:?}, weight: 3, {credentials}}}, {{name: b, anthropic: {{}}, endpoint: {b:?}, weight: 1, {credentials}}}]}}\n---",
            head("ProviderRoute", "main")
        ),
    );
    line(
        &mut out,
        format_args!(
            "{}spec: {{models: [{{name: gpt-5, price: {{input: '1', output: '10'}}}}], {rest}, backends: [\
         {{name: a, openAI: {{}}, endpoint: \"{a}/v1\", {credentials}}}]}}\n---",
            head("ProviderRoute", "gpt")
        ),
    );
    line(
        &mut out,
        format_args!(
            "{}spec: {{streamableHttp: {{url: {server:?}}}, auth: {{header: {{name: Authorization, secretRef: {{name: db, key: header}}}}}}, timeouts: {{connect: 2s, list: 5s, call: 10s}}}}\n---",
            head("McpServer", "db")
        ),
    );
    for (name, parent, spec) in PARENTS {
        line(
            &mut out,
            format_args!("{}spec: {{{}{spec}}}\n---", head("VirtualKey", name), parent_of(parent)),
        );
    }
    for key in KEYS {
        if key.name != ROTATED {
            out += &secret(key.name, "token", &token(key.name));
        }
        let spec = if key.spec.is_empty() { String::new() } else { format!(", {}", key.spec) };
        line(
            &mut out,
            format_args!(
                "{}spec: {{{}token: {{secretRef: {{name: {}, key: token}}}}, models: {{allow: ['main/*', 'gpt/*']}}, \
             tools: [{{server: db, allow: ['*'], deny: ['drop_*']}}]{spec}}}\n---",
                head("VirtualKey", key.name),
                parent_of(key.parent),
                key.name,
            ),
        );
    }
    out += &secret(AUDITOR, "token", &token(AUDITOR));
    line(
        &mut out,
        format_args!(
            "{}spec: {{token: {{secretRef: {{name: {AUDITOR}, key: token}}}}}}",
            head("VirtualKey", AUDITOR)
        ),
    );
    out
}

fn parent_of(parent: Option<&str>) -> String {
    parent.map_or_else(String::new, |parent| format!("parentRef: {{name: {parent}}}, "))
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    writeln!(out, "{text}").ok();
}
