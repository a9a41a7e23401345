//! The status of an McpServer (pure).

use super::subject::{Subject, Urgency, time};
use tollgate_crds::{
    api::{
        McpServer, McpServerStatus,
        mcp_server::{Era, ServerHealth},
    },
    conditions::{READY, reasons, same},
};
use tollgate_proto::discovery::v1::ServerReport;

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 1000;
/// Of a server that runs in a pod of ours.
const NOT_ASKED: &str = "its pod is ready; no gateway has asked it yet";
/// The longest version of the protocol.
const MAX_VERSION: usize = 32;

/// The status after `old`, and how soon it is to be written.
pub(super) fn status(
    server: &McpServer,
    old: &McpServerStatus,
    subject: &Subject<'_>,
) -> (McpServerStatus, Urgency) {
    let generation = server.metadata.generation;
    let off = down(server, old, subject).map(|why| (reasons::NOT_RUNNING, why));
    let (conditions, waits) = subject.conditions(&old.conditions, generation, off);
    let reports = subject.fleet.server(&subject.compiled.id().name);
    let mut next = McpServerStatus { observed_generation: generation, conditions, ..old.clone() };
    // Not all gateways are known yet, or none has asked: what stands there stays.
    if !reports.is_empty() && (subject.fleet.is_settled() || old.health == ServerHealth::Unknown) {
        (next.health, next.message) = health(&reports);
    }
    if let Some(pod) = subject.fleet.pod(&subject.compiled.id().name) {
        if !pod.ready {
            // What gateways said of it before does not hold any more.
            (next.health, next.message) =
                (ServerHealth::Unreachable, Some(shortened(&pod.message).to_owned()));
        } else if reports.is_empty() && next.health == ServerHealth::Unreachable {
            (next.health, next.message) = (ServerHealth::Unknown, Some(NOT_ASKED.to_owned()));
        }
    }
    if let Some(last) = reports.iter().filter(|r| r.listed_at > 0).max_by_key(|r| r.listed_at) {
        next.era = Some(if last.modern { Era::Modern } else { Era::Legacy });
        next.protocol_version = version(last).or(next.protocol_version);
        next.tools = i32::try_from(last.tools).ok();
        next.listed_at = time(last.listed_at);
    }
    let urgency =
        if !same(&old.conditions, &next.conditions) || old.observed_generation != next.observed_generation {
            if waits { Urgency::Soon } else { Urgency::Now }
        } else if seen(old) != seen(&next) {
            Urgency::Later
        } else {
            Urgency::None
        };
    (next, urgency)
}

/// Why a server over standard input and output does not run; `None`: it does, or is no such server. What stands there stays
/// until this leader has looked for itself.
fn down(server: &McpServer, old: &McpServerStatus, subject: &Subject<'_>) -> Option<String> {
    server.spec.stdio.as_ref()?;
    match subject.fleet.pod(&subject.compiled.id().name) {
        Some(pod) if pod.ready => None,
        Some(pod) => Some(shortened(&pod.message).to_owned()),
        None => {
            let ready = old.conditions.iter().find(|c| c.type_ == READY)?;
            (ready.reason == reasons::NOT_RUNNING).then(|| ready.message.clone())
        }
    }
}

fn health(reports: &[&ServerReport]) -> (ServerHealth, Option<String>) {
    let failing: Vec<_> = reports.iter().filter(|r| !r.error.is_empty()).collect();
    let message = failing.first().map(|report| {
        format!("{} of {} gateways: {}", failing.len(), reports.len(), shortened(&report.error))
    });
    let health = match failing.len() {
        0 => ServerHealth::Healthy,
        some if some < reports.len() => ServerHealth::Degraded,
        _ => ServerHealth::Unreachable,
    };
    (health, message)
}

fn shortened(message: &str) -> &str {
    message.get(..message.floor_char_boundary(MAX_MESSAGE)).unwrap_or_default()
}

fn version(report: &ServerReport) -> Option<String> {
    let version = &report.protocol_version;
    (!version.is_empty() && version.len() <= MAX_VERSION).then(|| version.clone())
}

/// What makes a status worth writing.
fn seen(status: &McpServerStatus) -> (ServerHealth, Option<Era>, Option<&str>, Option<i32>) {
    (status.health, status.era, status.protocol_version.as_deref(), status.tools)
}
