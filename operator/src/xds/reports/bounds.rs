//! What is believed of a report (pure): a workload's own gateway runs in a tenant's pod, so it may say what it likes.

use crate::xds::{auth::Identity, publish::Published};
use tollgate_proto::{
    Kind, ResourceId,
    discovery::{MAX_REASON, v1},
};

/// The most entries of each kind that one report of a workload's gateway may have.
const MAX_ENTRIES: usize = 1000;
/// The longest version, or name of a budget or backend, in bytes.
const MAX_WORD: usize = 128;

/// The part of a report that counts when a gateway of `node` sees `view`: what it says of objects of its own namespace that are in
/// it. Others' statuses are not its to write, even of those that it may use.
pub(in crate::xds) fn believed(
    mut report: v1::NodeReport,
    node: &Identity,
    view: &Published,
) -> v1::NodeReport {
    let home = |name: &str| name.strip_prefix(&node.namespace).is_some_and(|rest| rest.starts_with('/'));
    let is = |kind: Kind, name: &str| {
        home(name) && view.resources().get(&ResourceId { kind, name: name.to_owned() }).is_some()
    };
    let typed = |type_url: &str, name: &str| Kind::of_type_url(type_url).is_some_and(|kind| is(kind, name));
    let short = |word: &str| word.len() <= MAX_WORD;
    keep(&mut report.in_force, |i| typed(&i.type_url, &i.name) && short(&i.version));
    keep(&mut report.gone, |i| home(&i.name));
    keep(&mut report.rejected, |r| typed(&r.type_url, &r.name) && short(&r.version) && short(&r.kept));
    keep(&mut report.budgets, |b| is(Kind::VirtualKey, &b.key) && short(&b.budget));
    keep(&mut report.ejected, |e| is(Kind::ProviderRoute, &e.route) && short(&e.backend));
    keep(&mut report.servers, |s| is(Kind::McpServer, &s.server));
    for ejection in &mut report.ejected {
        ejection.error.truncate(ejection.error.floor_char_boundary(MAX_REASON));
    }
    if let Some(told) = &mut report.node {
        told.id.truncate(told.id.floor_char_boundary(MAX_WORD));
        told.metadata.clear();
    }
    // Nor is the installation's ledger its to speak of.
    v1::NodeReport { origin: None, left: false, ledger_trouble: String::new(), ..report }
}

fn keep<T>(list: &mut Vec<T>, is_believed: impl Fn(&T) -> bool) {
    list.retain(is_believed);
    list.truncate(MAX_ENTRIES);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tollgate_proto::Resource;

    #[test]
    fn a_workload_speaks_of_its_own_objects_alone() {
        let key = |namespace: &str, name: &str| -> Resource { v1_key(namespace, name).into() };
        let route: Resource = tollgate_proto::v1::ProviderRoute {
            namespace: "platform".into(),
            name: "main".into(),
            ..Default::default()
        }
        .into();
        let view = Published::new(Arc::new(
            [key("apps", "mine"), key("platform", "org"), route].into_iter().collect(),
        ));
        let node = Identity { namespace: "apps".into(), service_account: "devbox".into(), pod: "p".into() };
        let (key, route) = (Kind::VirtualKey.type_url(), Kind::ProviderRoute.type_url());
        let names = ["apps/mine", "apps/unseen", "platform/org", "apps-2/mine"];
        let budget = |key: &&str| v1::BudgetReport { key: (*key).to_owned(), ..Default::default() };
        let in_force = |type_url: &str, name: &str, version: &str| v1::InForce {
            type_url: type_url.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
        };
        let rejection = |type_url: &str, name: &str| v1::Rejection {
            type_url: type_url.to_owned(),
            name: name.to_owned(),
            error: "lies".into(),
            ..Default::default()
        };
        let report = v1::NodeReport {
            in_force: [in_force(&key, "apps/mine", "1"), in_force(&key, "apps/mine", &"1".repeat(1000))]
                .into(),
            rejected: vec![rejection(&route, "platform/main"), rejection(&key, "apps/mine")],
            budgets: names.iter().map(budget).collect(),
            ejected: vec![v1::Ejection { route: "platform/main".into(), ..Default::default() }],
            servers: vec![v1::ServerReport { server: "platform/db".into(), ..Default::default() }],
            origin: Some(v1::Origin::default()),
            left: true,
            ledger_trouble: "lies".into(),
            ..Default::default()
        };
        let believed = believed(report, &node, &view);
        assert_eq!(believed.in_force, [in_force(&key, "apps/mine", "1")]);
        assert_eq!(believed.rejected, [rejection(&key, "apps/mine")]);
        assert_eq!(believed.budgets, [budget(&"apps/mine")]);
        assert!(believed.ejected.is_empty() && believed.servers.is_empty());
        assert!(believed.origin.is_none() && !believed.left && believed.ledger_trouble.is_empty());
    }

    fn v1_key(namespace: &str, name: &str) -> tollgate_proto::v1::VirtualKey {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        tollgate_proto::v1::VirtualKey { namespace, name, ..Default::default() }
    }
}
