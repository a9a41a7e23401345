//! One row a mistake: what the compiler says to it, with file, object and field; and that the good objects beside it
//! compile all the same.
//!
//! # Layout
//! - here: how a row is checked; what only a cluster refuses
//! - `keys`, `budgets`, `routes`, `servers`: the rows

#[path = "cases/budgets.rs"]
mod budgets;
#[path = "cases/keys.rs"]
mod keys;
#[path = "cases/routes.rs"]
mod routes;
#[path = "cases/servers.rs"]
mod servers;

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
