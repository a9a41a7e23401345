//! The compiler by tables: manifests in, conditions out.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "compile/api_server.rs"]
mod api_server;
#[path = "compile/cases.rs"]
mod cases;
#[path = "compile/documents.rs"]
mod documents;
#[path = "compile/outcomes.rs"]
mod outcomes;
#[path = "compile/platforms.rs"]
mod platforms;
#[path = "compile/properties.rs"]
mod properties;
#[path = "compile/remedies.rs"]
mod remedies;
#[path = "compile/schema.rs"]
mod schema;

use tollgate_crds::{
    compile::{Compiled, Input, Options, compile},
    conditions::ACCEPTED,
    manifest,
};

/// Reads manifests as the file `case.yaml`; nothing is set in the environment but `SET`.
fn input(yaml: &str, options: Options) -> (Input, Vec<String>) {
    let environment = |name: &str| (name == "SET").then(|| "from-the-environment".to_owned());
    let file = manifest::read("case.yaml", yaml.as_bytes(), &environment);
    let problems = file.problems.iter().map(ToString::to_string).collect();
    (Input { objects: file.objects, namespaces: file.namespaces, options, ..Input::default() }, problems)
}

/// Compiles manifests.
fn compiled(yaml: &str, options: Options) -> Compiled {
    let (input, problems) = input(yaml, options);
    assert_eq!(problems, Vec::<String>::new(), "{yaml}");
    compile(&input)
}

/// Everything that is wrong, a line a problem: `case.yaml:1: VirtualKey default/k: Accepted Invalid spec.x: what`.
fn told(compiled: &Compiled) -> Vec<String> {
    let lines = compiled.statuses.iter().flat_map(|status| {
        status.problems.iter().map(move |p| format!("{status}: {} {} {p}", p.condition, p.reason))
    });
    lines.collect()
}

/// The objects that are accepted.
fn accepted(compiled: &Compiled) -> Vec<String> {
    let accepted = compiled.statuses.iter().filter(|s| s.of_condition(ACCEPTED).next().is_none());
    accepted.map(|s| s.id().to_string()).collect()
}
