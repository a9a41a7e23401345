//! What is told upwards: what is in force, what was rejected and why, and how this gateway is.

use super::{apply::Standing, connect::Connection};
use std::time::Duration;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tollgate_proto::discovery::{MAX_REJECTIONS, v1};

/// What is reported.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// What is in force and what is rejected.
    pub standing: Standing,
    /// How this gateway is.
    pub health: v1::NodeHealth,
}

/// The most entries of one report: the first of thousands of resources is told in several.
const PIECE: usize = 5000;
/// How long changes are collected before they are reported.
const PACE: Duration = Duration::from_millis(100);
/// The wait before a stream of reports that ended is opened again.
const AGAIN: Duration = Duration::from_secs(1);

/// Reports for as long as the connection is used; reporting never disturbs the configuration.
pub async fn run(connection: Connection, node: v1::Node, mut states: watch::Receiver<State>) {
    loop {
        let (sender, receiver) = mpsc::channel(4);
        let mut client = v1::reports_client::ReportsClient::new(connection.channel.clone());
        let call = client.report(connection.request(ReceiverStream::new(receiver)));
        tokio::select! {
            ended = call => {
                if let Err(status) = ended {
                    tracing::debug!(reason = status.message(), "the stream of reports ended");
                }
            }
            () = feed(sender, node.clone(), &mut states) => {}
        }
        if states.has_changed().is_err() {
            return;
        }
        sleep(AGAIN).await;
    }
}

/// Sends the complete state, then what changes.
async fn feed(sender: mpsc::Sender<v1::NodeReport>, node: v1::Node, states: &mut watch::Receiver<State>) {
    let mut node = Some(node);
    let mut told = State::default();
    loop {
        let now = states.borrow_and_update().clone();
        for mut report in reports(&told, &now) {
            report.node = node.take();
            if sender.send(report).await.is_err() {
                return;
            }
        }
        told = now;
        if states.changed().await.is_err() {
            return;
        }
        sleep(PACE).await;
    }
}

/// The reports that lead from one state to another; one at least.
fn reports(told: &State, now: &State) -> Vec<v1::NodeReport> {
    let (old, new) = (&told.standing.in_force, &now.standing.in_force);
    let changed = new.iter().filter(|(id, version)| old.get(*id) != Some(*version));
    let item = |id: &tollgate_proto::ResourceId, version: &str| v1::InForce {
        type_url: id.kind.type_url(),
        name: id.name.clone(),
        version: version.to_owned(),
    };
    let changed: Vec<_> = changed.map(|(id, version)| item(id, version)).collect();
    let gone: Vec<_> = old.keys().filter(|id| !new.contains_key(*id)).map(|id| item(id, "")).collect();
    let rejected: Vec<_> = rejections(&now.standing);
    let report = |in_force: Vec<v1::InForce>, gone: Vec<v1::InForce>| v1::NodeReport {
        node: None,
        in_force,
        gone,
        rejected: rejected.clone(),
        health: Some(now.health),
    };
    let mut all: Vec<_> = gone.chunks(PIECE).map(|piece| report(Vec::new(), piece.to_vec())).collect();
    all.extend(changed.chunks(PIECE).map(|piece| report(piece.to_vec(), Vec::new())));
    if all.is_empty() {
        all.push(report(Vec::new(), Vec::new()));
    }
    all
}

fn rejections(standing: &Standing) -> Vec<v1::Rejection> {
    let rejection =
        |(id, rejection): (&tollgate_proto::ResourceId, &super::apply::Rejection)| v1::Rejection {
            type_url: id.kind.type_url(),
            name: id.name.clone(),
            version: rejection.version.clone(),
            error: rejection.error.clone(),
            kept: standing.in_force.get(id).cloned().unwrap_or_default(),
        };
    standing.rejected.iter().take(MAX_REJECTIONS).map(rejection).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_proto::{Kind, ResourceId};

    fn state(in_force: impl IntoIterator<Item = (String, &'static str)>) -> State {
        let in_force =
            in_force.into_iter().map(|(name, v)| (ResourceId { kind: Kind::VirtualKey, name }, v.to_owned()));
        State {
            standing: Standing { in_force: in_force.collect(), ..Standing::default() },
            ..State::default()
        }
    }

    #[test]
    fn a_report_is_what_has_changed_and_a_large_one_comes_in_pieces() {
        let few = state([("a".into(), "1"), ("b".into(), "1")]);
        let first = reports(&State::default(), &few);
        assert_eq!((first.len(), first[0].in_force.len()), (1, 2));
        let next = state([("b".into(), "2"), ("c".into(), "1")]);
        let second = reports(&few, &next);
        let names = |items: &[v1::InForce]| items.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
        let told: Vec<_> = second.iter().map(|r| (names(&r.gone), names(&r.in_force))).collect();
        assert_eq!(told, [(vec!["a".into()], vec![]), (vec![], vec!["b".into(), "c".into()])]);
        assert_eq!(reports(&next, &next).len(), 1);
        let many = state((0..PIECE + 1).map(|n| (n.to_string(), "1")));
        assert_eq!(reports(&State::default(), &many).len(), 2);
    }
}
