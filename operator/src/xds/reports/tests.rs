use super::*;

fn in_force(name: &str, version: &str) -> v1::InForce {
    v1::InForce { type_url: Kind::VirtualKey.type_url(), name: name.into(), version: version.into() }
}

#[test]
fn reports_are_folded_and_end_with_their_stream() {
    let identity = Identity { namespace: "n".into(), service_account: "sa".into(), pod: "gateway-1".into() };
    let nodes = Arc::new(Nodes::default());
    let mut changes = nodes.changes();
    let entry = nodes.enter(identity);
    let rejection = v1::Rejection {
        type_url: Kind::VirtualKey.type_url(),
        name: "n/b".into(),
        version: "2".into(),
        error: "ä".repeat(MAX_REASON),
        kept: "1".into(),
    };
    let first = v1::NodeReport {
        node: Some(v1::Node { id: "me".into(), ..Default::default() }),
        in_force: vec![in_force("n/a", "1"), in_force("n/b", "1"), v1::InForce::default()],
        rejected: vec![rejection],
        health: Some(v1::NodeHealth { ready: true, ..Default::default() }),
        ..Default::default()
    };
    entry.take(first).unwrap();
    let second = v1::NodeReport {
        in_force: vec![in_force("n/c", "1")],
        gone: vec![in_force("n/a", "")],
        rejected: Vec::new(),
        ..Default::default()
    };
    let node = nodes.all().remove(0);
    let id = ResourceId::new(Kind::VirtualKey, "n", "b");
    assert_eq!(node.rejected[&id].kept.as_deref(), Some("1"));
    assert!(node.rejected[&id].error.len() <= MAX_REASON);
    entry.take(second).unwrap();
    let node = nodes.all().remove(0);
    let names: Vec<_> = node.in_force.keys().map(|id| id.name.as_str()).collect();
    assert_eq!(names, ["n/b", "n/c"]);
    assert!(node.id == "me" && node.rejected.is_empty() && node.health.ready);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    drop(entry);
    assert!(nodes.all().is_empty() && changes.has_changed().unwrap());
}

fn identity(pod: &str) -> Identity {
    Identity { namespace: "n".into(), service_account: "sa".into(), pod: pod.into() }
}

/// What another replica knows after it was told everything.
fn shape(node: &Node) -> (Identity, BTreeMap<ResourceId, String>, usize, usize, usize, bool) {
    (
        node.identity.clone(),
        (*node.in_force).clone(),
        node.rejected.len() + node.ejected.len(),
        node.budgets.len(),
        node.servers.len(),
        node.health.ready,
    )
}

#[test]
fn what_is_passed_on_arrives_whole_and_goes_with_its_sender() {
    let (here, there) = (Arc::new(Nodes::default()), Arc::new(Nodes::default()));
    let entry = here.enter(identity("gateway-1"));
    let budget = v1::BudgetReport { key: "n/a".into(), budget: "month".into(), ..Default::default() };
    let report = v1::NodeReport {
        in_force: vec![in_force("n/a", "1"), in_force("n/b", "1")],
        budgets: vec![budget],
        ejected: vec![v1::Ejection::default()],
        servers: vec![v1::ServerReport { server: "n/s".into(), ..Default::default() }],
        health: Some(v1::NodeHealth { ready: true, ..Default::default() }),
        ledger_trouble: "Redis does not answer".into(),
        node: Some(v1::Node {
            id: "gateway-1".into(),
            metadata: [("version".to_owned(), format!("0.1.0\n{}", "x".repeat(100)))].into(),
        }),
        ..Default::default()
    };
    entry.take(report).unwrap();
    let mut passed = there.pass(identity("operator-1"));
    let (stream, node) = here.own().pop_first().unwrap();
    for report in node.reports_since(None, stream) {
        passed.take(report).unwrap();
    }
    assert_eq!(shape(&there.all()[0]), shape(&node));
    assert_eq!(there.all()[0].via, Some(identity("operator-1")));
    assert_eq!(there.all()[0].ledger_trouble, "Redis does not answer");
    let version = &there.all()[0].version;
    assert!(version.starts_with("0.1.0x") && version.len() == 32, "{version}");
    assert!(there.all()[0].whole, "one of the installation's own");
    let sidecar = here.enter_bounded(identity("sidecar"));
    sidecar.take(v1::NodeReport::default()).unwrap();
    let (stream_of_part, part) = here.own().pop_last().unwrap();
    let mut passed_part = there.pass(identity("operator-1"));
    part.reports_since(None, stream_of_part).into_iter().for_each(|report| passed_part.take(report).unwrap());
    assert!(!there.all()[1].whole, "it sees a part only");
    drop((sidecar, passed_part));
    assert!(there.own().is_empty(), "what was passed on is not passed on again");
    assert!(node.reports_since(Some(&node), stream).is_empty(), "nothing changed, nothing is told");

    let gone = v1::NodeReport { gone: vec![in_force("n/a", "")], ..Default::default() };
    entry.take(gone).unwrap();
    let now = here.own().remove(&stream).unwrap();
    for report in now.reports_since(Some(&node), stream) {
        passed.take(report).unwrap();
    }
    assert_eq!(shape(&there.all()[0]), shape(&now));
    assert!(now.budgets.is_empty() && now.ejected.is_empty(), "a key that is gone has no budgets");

    let left = v1::NodeReport { origin: Some(node.origin(stream)), left: true, ..Default::default() };
    passed.take(left).unwrap();
    assert!(there.all().is_empty());
    for report in now.reports_since(None, stream) {
        passed.take(report).unwrap();
    }
    drop(passed);
    assert!(there.all().is_empty());
}

#[test]
fn no_sample_of_a_budget_is_of_the_future_and_a_part_is_small() {
    let nodes = Arc::new(Nodes::default());
    let entry = nodes.enter_bounded(identity("sidecar"));
    let budget = v1::BudgetReport { key: "n/a".into(), sampled_at: i64::MAX, ..Default::default() };
    entry.take(v1::NodeReport { budgets: vec![budget], ..Default::default() }).unwrap();
    let told = nodes.all().remove(0).budgets.values().next().unwrap().sampled_at;
    assert!(told <= jiff::Timestamp::now().as_millisecond(), "{told}");
    let many = |range: std::ops::Range<usize>| v1::NodeReport {
        in_force: range.map(|n| in_force(&format!("n/{n}"), "1")).collect(),
        ..Default::default()
    };
    entry.take(many(0..MAX_OF_PART)).unwrap();
    assert!(entry.take(many(MAX_OF_PART..MAX_OF_PART + 1)).is_err());
    nodes.enter(identity("gateway")).take(many(0..MAX_OF_PART + 1)).unwrap();
}
