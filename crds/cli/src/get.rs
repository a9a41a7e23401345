//! `kubectl tollgate get`: keys, routes and servers, with what stands in their way.

use crate::{
    cluster::{Cluster, Listed, Target, why_unreadable},
    table::{Table, amount},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use std::{io::Write, process::ExitCode};
use tollgate_crds::{
    api::{
        McpServer, ProviderRoute, VirtualKey,
        mcp_server::ServerHealth,
        virtual_key::{BudgetStatus, Unit},
    },
    conditions::READY,
    guard::Unreadable,
};

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to list; all three when left out.
    #[arg(value_enum)]
    what: Option<What>,
    /// In all namespaces.
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Only what is not ready.
    #[arg(long)]
    failing: bool,
    #[command(flatten)]
    target: Target,
}

/// The kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Virtual keys.
    #[value(alias = "vk", alias = "virtualkeys")]
    Keys,
    /// Provider routes.
    #[value(alias = "proutes", alias = "providerroutes")]
    Routes,
    /// MCP servers.
    #[value(alias = "mcps", alias = "mcpservers")]
    Servers,
}

/// What `Ready` says of an object.
#[derive(Debug, PartialEq, Eq)]
struct Ready {
    status: String,
    why: String,
}

/// Lists.
///
/// # Errors
/// When the cluster cannot be asked, or the output cannot be written.
pub async fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(&args.target).await?;
    let mut shown = 0;
    for what in [What::Keys, What::Routes, What::Servers] {
        if args.what.is_some_and(|wanted| wanted != what) {
            continue;
        }
        let everywhere = args.all_namespaces;
        let table = match what {
            What::Keys => keys(&cluster.list(everywhere).await?, args.failing),
            What::Routes => routes(&cluster.list(everywhere).await?, args.failing),
            What::Servers => servers(&cluster.list(everywhere).await?, args.failing),
        };
        if table.is_empty() {
            continue;
        }
        if shown > 0 {
            writeln!(out)?;
        }
        shown += 1;
        table.write(out)?;
    }
    if shown == 0 {
        let what = if args.failing { "Nothing fails" } else { "Nothing found" };
        let place = if args.all_namespaces {
            "any namespace".to_owned()
        } else {
            format!("namespace {}", cluster.namespace)
        };
        writeln!(out, "{what} in {place}.")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn keys(keys: &Listed<VirtualKey>, failing: bool) -> Table {
    let mut table = Table::new(["NAMESPACE", "KEY", "PARENT", "BUDGET", "USED", "READY", "WHY"]);
    for key in &keys.read {
        let status = key.status.as_ref();
        let Some(ready) = wanted(status.map(|s| s.conditions.as_slice()), failing) else { continue };
        let tightest = status.and_then(|s| s.tightest.as_ref());
        let parent = key.spec.parent_ref.as_ref().map(|parent| match &parent.namespace {
            Some(namespace) => format!("{namespace}/{}", parent.name),
            None => parent.name.clone(),
        });
        table.row([
            key.namespace().unwrap_or_default(),
            key.name_any(),
            parent.unwrap_or_default(),
            tightest.map(|b| b.name.clone()).unwrap_or_default(),
            tightest.map(used).unwrap_or_default(),
            ready.status,
            ready.why,
        ]);
    }
    for [namespace, name, ready, why] in unreadable(&keys.unreadable, failing) {
        let none = String::new;
        table.row([namespace, name, none(), none(), none(), ready, why]);
    }
    table
}

/// Namespace, name, `Ready` and the reason of what cannot be decoded. What is in force all the same is newer than this program.
fn unreadable(objects: &[Unreadable], failing: bool) -> impl Iterator<Item = [String; 4]> {
    objects.iter().filter_map(move |object| {
        let ready = wanted(Some(&object.conditions), failing)?;
        let metadata = &object.metadata;
        let [namespace, name] =
            [&metadata.namespace, &metadata.name].map(|it| it.clone().unwrap_or_default());
        Some([namespace, name, ready.status, why_unreadable(object)])
    })
}

/// `$1.50 of $200 (0 %)`.
fn used(budget: &BudgetStatus) -> String {
    let BudgetStatus { spent, limit, unit, percent, .. } = budget;
    let spent = if *unit == Unit::Usd { amount(spent, *unit) } else { spent.clone() };
    format!("{spent} of {} ({percent} %)", amount(limit, *unit))
}

fn routes(routes: &Listed<ProviderRoute>, failing: bool) -> Table {
    let mut table = Table::new(["NAMESPACE", "ROUTE", "MODELS", "BACKENDS", "READY", "WHY"]);
    for route in &routes.read {
        let status = route.status.as_ref();
        let Some(ready) = wanted(status.map(|s| s.conditions.as_slice()), failing) else { continue };
        let models = match route.spec.models.len() {
            0 => "any".to_owned(),
            number => number.to_string(),
        };
        let healthy = status.and_then(|s| s.healthy_backends.clone());
        table.row([
            route.namespace().unwrap_or_default(),
            route.name_any(),
            models,
            healthy.unwrap_or_else(|| format!("?/{}", route.spec.backends.len())),
            ready.status,
            ready.why,
        ]);
    }
    for [namespace, name, ready, why] in unreadable(&routes.unreadable, failing) {
        table.row([namespace, name, String::new(), String::new(), ready, why]);
    }
    table
}

fn servers(servers: &Listed<McpServer>, failing: bool) -> Table {
    let mut table = Table::new(["NAMESPACE", "SERVER", "HEALTH", "ERA", "TOOLS", "READY", "WHY"]);
    for server in &servers.read {
        let status = server.status.as_ref();
        let health = status.map(|s| s.health).unwrap_or_default();
        let answers = matches!(health, ServerHealth::Healthy | ServerHealth::Unknown);
        let conditions = status.map(|s| s.conditions.as_slice());
        let Some(mut ready) = wanted(conditions, failing && answers) else { continue };
        if ready.why.is_empty() && !answers {
            ready.why = status.and_then(|s| s.message.clone()).unwrap_or_default();
        }
        table.row([
            server.namespace().unwrap_or_default(),
            server.name_any(),
            format!("{health:?}"),
            status.and_then(|s| s.era).map(|era| format!("{era:?}")).unwrap_or_default(),
            status.and_then(|s| s.tools).map(|tools| tools.to_string()).unwrap_or_default(),
            ready.status,
            ready.why,
        ]);
    }
    for [namespace, name, ready, why] in unreadable(&servers.unreadable, failing) {
        let none = String::new;
        table.row([namespace, name, none(), none(), none(), ready, why]);
    }
    table
}

/// What `Ready` says; `None`: it is not wanted.
fn wanted(conditions: Option<&[Condition]>, failing: bool) -> Option<Ready> {
    let conditions = conditions.unwrap_or_default();
    let ready = conditions.iter().find(|c| c.type_ == READY);
    let ready = match ready {
        None => Ready { status: "Unknown".into(), why: "no operator has looked at it yet".into() },
        Some(ready) if ready.status == "True" => Ready { status: "True".into(), why: String::new() },
        Some(ready) => {
            // The condition that is behind it says more than the summary.
            let cause = conditions.iter().find(|c| c.type_ != READY && c.status == "False").unwrap_or(ready);
            Ready { status: ready.status.clone(), why: format!("{}: {}", cause.reason, cause.message) }
        }
    };
    (!failing || ready.status != "True").then_some(ready)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Condition {
        Condition {
            type_: kind.into(),
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn a_server_that_does_not_answer_fails_although_it_is_in_force() {
        let server = |name: &str, health: &str| -> McpServer {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "tollgate.dev/v1alpha1", "kind": "McpServer", "metadata": {"name": name, "namespace": "n"},
                "spec": {"streamableHttp": {"url": "https://x.com"}},
                "status": {"health": health, "message": "connection refused", "conditions": [condition("Ready", "True", "Ready", "")]},
            }))
            .unwrap()
        };
        let mut out = Vec::new();
        let read = vec![server("up", "Healthy"), server("down", "Unreachable")];
        servers(&Listed { read, unreadable: Vec::new() }, true).write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains("up ") && text.contains("Unreachable"), "{text}");
        assert!(text.trim_end().ends_with("connection refused"), "{text}");
    }

    #[test]
    fn the_cause_is_told_and_not_the_summary() {
        let conditions = [
            condition("Accepted", "False", "Conflict", "b claims it too"),
            condition("Ready", "False", "Conflict", "not accepted"),
        ];
        let why = wanted(Some(&conditions), true).unwrap();
        assert_eq!(why, Ready { status: "False".into(), why: "Conflict: b claims it too".into() });
        assert_eq!(wanted(Some(&[condition("Ready", "True", "Ready", "")]), true), None);
        assert_eq!(wanted(None, true).unwrap().status, "Unknown");
    }
}
