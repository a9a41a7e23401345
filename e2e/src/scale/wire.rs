//! What the operator sends to gateways, as its log tells, and changes of single objects.

use super::{KINDS, resource};
use crate::{client::eventually, control_plane::ControlPlane, gateway::Log};
use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// One response to one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Resources that are new or changed.
    pub resources: usize,
    /// Resources that are gone.
    pub removed: usize,
    /// The whole message.
    pub bytes: usize,
    /// Their kind.
    pub kind: String,
}

/// A change of one object that was sent.
#[derive(Debug, Clone)]
pub struct Change {
    /// What was changed.
    pub what: &'static str,
    /// The bytes of the message.
    pub bytes: usize,
    /// From the patch to when every gateway had it in force.
    pub took: Duration,
}

/// The largest message that one change may be.
pub const MOST: usize = 2048;

/// Every response so far, in order.
pub fn sent(log: &Log) -> anyhow::Result<Vec<Sent>> {
    log.text().lines().filter(|line| line.contains("resources are sent")).map(parse).collect()
}

fn parse(line: &str) -> anyhow::Result<Sent> {
    let field = |name: &str| {
        let mut words = line.split_whitespace().filter_map(|word| word.split_once('='));
        let value = words.find(|(n, _)| *n == name).map(|(_, value)| value.trim_matches('"'));
        value.with_context(|| format!("no {name} in {line:?}"))
    };
    let number = |name: &str| anyhow::Ok(field(name)?.parse::<usize>()?);
    Ok(Sent {
        resources: number("resources")?,
        removed: number("removed")?,
        bytes: number("bytes")?,
        kind: field("kind")?.to_owned(),
    })
}

/// Changes objects of each kind and their Secrets, one after the other, `rounds` times.
///
/// # Errors
/// When a change is sent as anything but one message of one resource and at most [`MOST`] bytes to each gateway.
pub async fn changes(client: &Client, plane: &ControlPlane, rounds: usize) -> anyhow::Result<Vec<Change>> {
    let mut all = Vec::new();
    for round in 0..rounds {
        let number = round + 1;
        all.push(
            change(
                client,
                plane,
                "a key",
                ("VirtualKey", "k7"),
                json!({"spec": {"limits": {"concurrent": number}}}),
            )
            .await?,
        );
        all.push(
            change(
                client,
                plane,
                "a team",
                ("VirtualKey", "k0"),
                json!({"spec": {"limits": {"concurrent": number}}}),
            )
            .await?,
        );
        all.push(change(client, plane, "a key's token", ("Secret", "k8"), entry("token", number)).await?);
        all.push(
            change(
                client,
                plane,
                "a route",
                ("ProviderRoute", "r1"),
                json!({"spec": {"retry": {"attempts": number % 5}}}),
            )
            .await?,
        );
        all.push(
            change(client, plane, "a route's credential", ("Secret", "r1"), entry("apiKey", number)).await?,
        );
        all.push(
            change(
                client,
                plane,
                "a server",
                ("McpServer", "s1"),
                json!({"spec": {"description": format!("{number}")}}),
            )
            .await?,
        );
    }
    Ok(all)
}

fn entry(name: &str, number: usize) -> Value {
    json!({"stringData": {name: format!("changed-{number:0>40}")}})
}

async fn change(
    client: &Client,
    plane: &ControlPlane,
    what: &'static str,
    (kind, name): (&str, &str),
    patch: Value,
) -> anyhow::Result<Change> {
    let log = plane.operator(0)?.log();
    let before = sent(log)?.len();
    let running = || plane.gateways().filter(|gateway| gateway.is_running());
    let in_force: Vec<usize> = running().map(|gateway| configurations(gateway.log())).collect();
    let started = Instant::now();
    apply(client, plane.namespace(), kind, name, &patch)
        .await
        .with_context(|| format!("cannot change {what}"))?;
    eventually(&format!("{what} is in force"), || async {
        let mut now = running().map(|gateway| configurations(gateway.log())).zip(&in_force);
        Ok(now.all(|(now, before)| now > *before).then_some(()))
    })
    .await?;
    let took = started.elapsed();
    let new = sent(log)?.split_off(before);
    let fits = |s: &Sent| s.resources == 1 && s.removed == 0 && s.bytes <= MOST;
    ensure!(new.len() == in_force.len() && new.iter().all(fits), "a change of {what} was sent as {new:?}");
    Ok(Change { what, bytes: new.iter().map(|s| s.bytes).max().unwrap_or_default(), took })
}

/// How often a gateway has put a configuration in force.
fn configurations(log: &Log) -> usize {
    log.text().lines().filter(|line| line.contains("a configuration is in force")).count()
}

async fn apply(
    client: &Client,
    namespace: &str,
    kind: &str,
    name: &str,
    patch: &Value,
) -> anyhow::Result<()> {
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
    if kind == "Secret" {
        Api::<Secret>::namespaced(client.clone(), namespace).patch(name, &parameters, &patch).await?;
        return Ok(());
    }
    let plural = KINDS.iter().find(|(k, _)| *k == kind).map_or("", |(_, plural)| plural);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource(kind, plural));
    api.patch(name, &parameters, &patch).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_read() {
        let line = "2026-11-23T11:00:00Z DEBUG tollgate_operator::xds::server: resources are sent gateway=a/b \
                    resources=1 removed=0 bytes=312 kind=\"VirtualKey\"";
        let sent = Sent { resources: 1, removed: 0, bytes: 312, kind: "VirtualKey".to_owned() };
        assert_eq!(parse(line).unwrap(), sent);
    }
}
