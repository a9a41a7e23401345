//! Keys, routes and servers: how many are not in force, and why.

use super::outcome::{Outcome, Report, SHOWN};
use crate::{
    cluster::{Cluster, Listed, why_unreadable},
    words,
};
use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tollgate_crds::{
    api::{McpServer, ProviderRoute, VirtualKey, mcp_server::ServerHealth},
    conditions::{ACCEPTED, PROGRAMMED, RESOLVED_REFS},
};

/// All three kinds.
pub async fn all(cluster: &Cluster, report: &mut Report) {
    of::<VirtualKey>(cluster, report, |o| o.status.as_ref().map(|s| s.conditions.as_slice())).await;
    of::<ProviderRoute>(cluster, report, |o| o.status.as_ref().map(|s| s.conditions.as_slice())).await;
    let servers =
        of::<McpServer>(cluster, report, |o| o.status.as_ref().map(|s| s.conditions.as_slice())).await;
    answers(&servers, report);
}

/// Servers that gateways, or their own pods, say do not answer.
fn answers(servers: &[McpServer], report: &mut Report) {
    let silent = servers.iter().filter_map(|server| {
        let status = server.status.as_ref()?;
        let health = status.health;
        let why = status.message.clone().unwrap_or_default();
        let name = format!("{}/{}", server.namespace().unwrap_or_default(), server.name_any());
        matches!(health, ServerHealth::Degraded | ServerHealth::Unreachable)
            .then(|| format!("{name}: {health:?}: {why}"))
    });
    let outcome = match shown(&silent.collect::<Vec<_>>()) {
        None => Outcome::Passed,
        Some(found) => Outcome::warned(found, "their tools are not listed; the others' are"),
    };
    report.note("Objects", format!("all {} mcpservers answer", servers.len()), outcome);
}

async fn of<K>(
    cluster: &Cluster,
    report: &mut Report,
    conditions: impl Fn(&K) -> Option<&[Condition]>,
) -> Vec<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let plural = K::plural(&());
    let Listed { read, unreadable } = match cluster.list::<K>(true).await {
        Ok(all) => all,
        Err(error) => {
            let hint = match words::is_forbidden(&error) {
                true => format!("may you list {plural} in all namespaces?"),
                false => format!("kubectl get {plural} -A says more"),
            };
            report.note(
                "Objects",
                format!("{plural} can be listed"),
                Outcome::failed(words::of(&error), hint),
            );
            return Vec::new();
        }
    };
    let mut said: Vec<(String, &[Condition])> = Vec::new();
    said.extend(read.iter().map(|object| (name(object.meta()), conditions(object).unwrap_or_default())));
    said.extend(unreadable.iter().map(|object| (name(&object.metadata), object.conditions.as_slice())));
    in_force(&plural, &said, report);
    let newer: Vec<String> = unreadable
        .iter()
        .map(|object| format!("{}: {}", name(&object.metadata), why_unreadable(object)))
        .collect();
    if let Some(found) = shown(&newer) {
        let hint = "correct the field that is named; if the operator takes it, this plugin is older than the operator";
        report.note("Objects", format!("this plugin can read all {plural}"), Outcome::warned(found, hint));
    }
    read
}

/// What the conditions of all objects of a kind, by their names, say.
fn in_force(plural: &str, all: &[(String, &[Condition])], report: &mut Report) {
    for (kind, sentence, hint) in [
        (ACCEPTED, "are accepted", "correct the field that the message names"),
        (RESOLVED_REFS, "find what they name", "create what is missing, or correct the name"),
        (PROGRAMMED, "are in force at every gateway", "the message names the gateway and what it says"),
    ] {
        let failing = all.iter().filter_map(|(name, conditions)| {
            let condition = conditions.iter().find(|c| c.type_ == kind && c.status == "False")?;
            Some(format!("{name}: {}: {}", condition.reason, condition.message))
        });
        let failing: Vec<String> = failing.collect();
        report.note("Objects", format!("all {} {plural} {sentence}", all.len()), outcome(&failing, hint));
    }
    let silent = all.iter().filter(|(_, conditions)| conditions.is_empty()).count();
    if silent > 0 {
        let found = format!("{silent} of {} have no conditions", all.len());
        let outcome = Outcome::warned(found, "no operator that leads watches their namespace");
        report.note("Objects", format!("an operator has looked at all {plural}"), outcome);
    }
}

fn name(metadata: &ObjectMeta) -> String {
    let of = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", of(&metadata.namespace), of(&metadata.name))
}

fn outcome(failing: &[String], hint: &str) -> Outcome {
    shown(failing).map_or(Outcome::Passed, |found| Outcome::failed(found, hint))
}

/// The first few of them.
fn shown(failing: &[String]) -> Option<String> {
    let mut shown: Vec<String> = failing.iter().take(SHOWN).cloned().collect();
    if failing.len() > SHOWN {
        shown.push(format!("and {} more", failing.len() - SHOWN));
    }
    (!shown.is_empty()).then(|| shown.join("; "))
}
