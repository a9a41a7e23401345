//! What is told upwards: what is in force, what was rejected and why, and how this gateway is.

use super::{apply::Standing, connect::Connection};
use std::{collections::BTreeMap, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tollgate_proto::discovery::{MAX_EJECTIONS, MAX_REJECTIONS, MAX_STATES, v1};

/// What is reported.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// What is in force and what is rejected.
    pub standing: Standing,
    /// How this gateway is.
    pub health: v1::NodeHealth,
}

/// What a gateway sees of its world, besides its configuration. Whoever fills it changes an entry only when something other
/// than the time of looking has changed: each change is sent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    /// Budgets that this gateway has touched, by key and budget.
    pub budgets: BTreeMap<(String, String), v1::BudgetReport>,
    /// Backends that are left alone now.
    pub ejected: Vec<v1::Ejection>,
    /// MCP servers that were asked, by `namespace/name`.
    pub servers: BTreeMap<String, v1::ServerReport>,
    /// Why the shared ledger does not answer; empty: it does.
    pub ledger_trouble: String,
}

/// All that is told.
#[derive(Debug, Clone, PartialEq, Default)]
struct Told {
    state: State,
    observed: Observed,
}

/// The receivers of what is told.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The configuration's part.
    pub states: watch::Receiver<State>,
    /// The rest.
    pub observed: watch::Receiver<Observed>,
}

/// The most entries of one report: the first of thousands of resources is told in several.
const PIECE: usize = 5000;
/// How long changes are collected before they are reported.
const PACE: Duration = Duration::from_millis(100);
/// The wait before a stream of reports that ended is opened again.
const AGAIN: Duration = Duration::from_secs(1);

/// Reports for as long as the connection is used; reporting never disturbs the configuration.
pub async fn run(connection: Connection, node: v1::Node, mut sources: Sources) {
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
            () = feed(sender, node.clone(), &mut sources) => {}
        }
        if sources.states.has_changed().is_err() {
            return;
        }
        sleep(AGAIN).await;
    }
}

/// Sends the complete state, then what changes.
async fn feed(sender: mpsc::Sender<v1::NodeReport>, node: v1::Node, sources: &mut Sources) {
    let mut node = Some(node);
    let mut told = Told::default();
    loop {
        let now = sources.read();
        for mut report in reports(&told, &now) {
            report.node = node.take();
            if sender.send(report).await.is_err() {
                return;
            }
        }
        told = now;
        if !sources.changed().await {
            return;
        }
        sleep(PACE).await;
    }
}

/// The reports that lead from one state to another; one at least. Each has all of what is always told completely.
fn reports(told: &Told, now: &Told) -> Vec<v1::NodeReport> {
    let (old, new) = (&told.state.standing.in_force, &now.state.standing.in_force);
    let item = |id: &tollgate_proto::ResourceId, version: &str| v1::InForce {
        type_url: id.kind.type_url(),
        name: id.name.clone(),
        version: version.to_owned(),
    };
    let gone: Vec<_> = old.keys().filter(|id| !new.contains_key(*id)).map(|id| item(id, "")).collect();
    let changed: Vec<_> = news(old, new).map(|(id, version)| item(id, version)).collect();
    let budgets: Vec<_> =
        news(&told.observed.budgets, &now.observed.budgets).map(|(_, b)| b.clone()).collect();
    let servers: Vec<_> =
        news(&told.observed.servers, &now.observed.servers).map(|(_, s)| s.clone()).collect();
    let full = v1::NodeReport {
        rejected: rejections(&now.state.standing),
        health: Some(now.state.health),
        ejected: now.observed.ejected.iter().take(MAX_EJECTIONS).cloned().collect(),
        ledger_trouble: now.observed.ledger_trouble.clone(),
        ..Default::default()
    };
    let mut all = Vec::new();
    all.extend(gone.chunks(PIECE).map(|gone| v1::NodeReport { gone: gone.to_vec(), ..full.clone() }));
    all.extend(changed.chunks(PIECE).map(|new| v1::NodeReport { in_force: new.to_vec(), ..full.clone() }));
    all.extend(budgets.chunks(MAX_STATES).map(|b| v1::NodeReport { budgets: b.to_vec(), ..full.clone() }));
    all.extend(servers.chunks(MAX_STATES).map(|s| v1::NodeReport { servers: s.to_vec(), ..full.clone() }));
    if all.is_empty() {
        all.push(full);
    }
    all
}

/// The entries of `new` that are not the same in `old`.
fn news<'m, K: Ord, V: PartialEq>(
    old: &'m BTreeMap<K, V>,
    new: &'m BTreeMap<K, V>,
) -> impl Iterator<Item = (&'m K, &'m V)> {
    new.iter().filter(|(key, value)| old.get(*key) != Some(*value))
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

// === impl Sources ===

impl Sources {
    fn read(&mut self) -> Told {
        let state = self.states.borrow_and_update().clone();
        Told { state, observed: self.observed.borrow_and_update().clone() }
    }

    /// Waits for a change; false when there will be none.
    async fn changed(&mut self) -> bool {
        tokio::select! {
            changed = self.states.changed() => changed.is_ok(),
            // Nobody may observe anything: then only the configuration's part changes.
            Ok(()) = self.observed.changed() => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_proto::{Kind, ResourceId};

    fn told(in_force: impl IntoIterator<Item = (String, &'static str)>) -> Told {
        let in_force =
            in_force.into_iter().map(|(name, v)| (ResourceId { kind: Kind::VirtualKey, name }, v.to_owned()));
        let standing = Standing { in_force: in_force.collect(), ..Standing::default() };
        Told { state: State { standing, ..State::default() }, ..Told::default() }
    }

    #[test]
    fn a_report_is_what_has_changed_and_a_large_one_comes_in_pieces() {
        let few = told([("a".into(), "1"), ("b".into(), "1")]);
        let first = reports(&Told::default(), &few);
        assert_eq!((first.len(), first[0].in_force.len()), (1, 2));
        let next = told([("b".into(), "2"), ("c".into(), "1")]);
        let second = reports(&few, &next);
        let names = |items: &[v1::InForce]| items.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
        let said: Vec<_> = second.iter().map(|r| (names(&r.gone), names(&r.in_force))).collect();
        assert_eq!(said, [(vec!["a".into()], vec![]), (vec![], vec!["b".into(), "c".into()])]);
        assert_eq!(reports(&next, &next).len(), 1);
        let many = told((0..PIECE + 1).map(|n| (n.to_string(), "1")));
        assert_eq!(reports(&Told::default(), &many).len(), 2);
    }

    #[test]
    fn what_is_observed_is_told_when_it_changes_and_ejections_always() {
        let budget = |committed| v1::BudgetReport { key: "n/a".into(), committed, ..Default::default() };
        let ejected = vec![v1::Ejection { backend: "b".into(), ..Default::default() }];
        let server = v1::ServerReport { server: "n/s".into(), tools: 3, ..Default::default() };
        let seen = |committed| Told {
            observed: Observed {
                budgets: [(("n/a".to_owned(), "month".to_owned()), budget(committed))].into(),
                ejected: ejected.clone(),
                servers: [("n/s".to_owned(), server.clone())].into(),
                ledger_trouble: "no route".to_owned(),
            },
            ..Told::default()
        };
        let first = reports(&Told::default(), &seen(1));
        assert_eq!(
            first.iter().map(|r| (r.budgets.len(), r.servers.len())).collect::<Vec<_>>(),
            [(1, 0), (0, 1)]
        );
        let second = reports(&seen(1), &seen(2));
        assert_eq!((second.len(), &second[0].budgets, &second[0].ejected), (1, &vec![budget(2)], &ejected));
        assert!(first.iter().chain(&second).all(|report| report.ledger_trouble == "no route"));
        let well = &reports(&seen(2), &Told::default())[0];
        assert!(well.ejected.is_empty() && well.ledger_trouble.is_empty());
    }
}
