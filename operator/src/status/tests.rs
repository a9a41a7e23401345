//! What is written of an object, and when: the planner over a world and a fleet that are made up.

mod stage;

use super::{fleet::Fleet, news::event, plan::Planner, subject::Urgency};
use crate::{stdio::health::Health, xds::Identity};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use stage::{EPOCH, Stage, ready};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tollgate_crds::{
    api::{VirtualKey, mcp_server::ServerHealth},
    guard::{Guarded, Unreadable},
};
use tollgate_proto::{Kind, discovery::v1};

fn key(spec: Value) -> Value {
    json!({"kind": "VirtualKey", "metadata": {"name": "k"}, "spec": spec})
}

fn budgeted() -> Value {
    key(json!({"budgets": [{"name": "month", "usd": "10", "period": "Month"}]}))
}

fn spent(committed: u64, sampled_at: i64) -> v1::NodeReport {
    let budget = v1::BudgetReport {
        key: "n/k".into(),
        budget: "month".into(),
        unit: v1::Unit::NanoUsd.into(),
        limit: 10_000_000_000,
        committed,
        resets_at: (EPOCH + 1000) * 1000,
        sampled_at,
        ..Default::default()
    };
    v1::NodeReport { budgets: vec![budget], ..ready() }
}

const GOOD: [&str; 4] = [
    "Accepted=True/Accepted 1",
    "ResolvedRefs=True/Resolved 1",
    "Programmed=True/Programmed 1",
    "Ready=True/Ready 1",
];

#[test]
fn a_change_is_one_write_once_the_gateways_have_it() {
    let mut stage = Stage::new(vec![key(json!({}))]);
    let gateway = stage.gateway("g-1");
    stage.wait(60);
    let plan = stage.write();
    assert!(plan.patches.is_empty() && plan.again.is_some(), "the gateways' answers are waited for a moment");
    gateway.take(stage.all()).unwrap();
    let plan = stage.write();
    assert_eq!((plan.patches.len(), plan.patches[0].urgency), (1, Urgency::Now));
    assert_eq!(stage.conditions(), GOOD);
    let metadata = &plan.patches[0].body["metadata"];
    assert_eq!((&metadata["name"], &metadata["uid"]), (&json!("k"), &json!("u")));
    // The watch does not know of the write yet, then it does: nothing is written again either way.
    assert!(stage.look().patches.is_empty());
    stage.compile();
    assert!(stage.look().patches.is_empty());
    // A change that gateways do not have yet takes nothing back.
    stage.keys[0].spec.disabled = true;
    stage.keys[0].spec.disabled = false;
    stage.keys[0].spec.limits.concurrent = Some(3);
    stage.keys[0].metadata.generation = Some(2);
    stage.compile();
    assert!(stage.write().patches.is_empty());
    stage.wait(2);
    stage.write();
    let between = ["Accepted=True/Accepted 2", "ResolvedRefs=True/Resolved 2", GOOD[2], GOOD[3]];
    assert_eq!(stage.conditions(), between);
    gateway.take(stage.all()).unwrap();
    stage.write();
    assert_eq!(stage.conditions()[2..], ["Programmed=True/Programmed 2", "Ready=True/Ready 2"]);
}

#[test]
fn without_a_gateway_it_is_not_known_yet_and_a_gateway_that_lags_is_named_after_a_while() {
    let mut stage = Stage::new(vec![key(json!({}))]);
    stage.wait(60);
    stage.write();
    stage.wait(2);
    stage.write();
    assert_eq!(stage.conditions()[2..], ["Programmed=Unknown/Pending 1", "Ready=Unknown/Pending 1"]);
    let (one, two) = (stage.gateway("g-1"), stage.gateway("g-2"));
    one.take(stage.all()).unwrap();
    two.take(stage.all()).unwrap();
    stage.compile();
    stage.write();
    assert_eq!(stage.conditions(), GOOD);
    // A pod that starts has nothing yet: nothing is taken back; when it still has nothing, it is named.
    let entered = stage.start.elapsed();
    let three = stage.gateway("g-3");
    stage.compile();
    assert!(stage.write().patches.is_empty());
    stage.at = stage.at.max(entered);
    stage.wait(40);
    stage.write();
    assert_eq!(stage.conditions()[2..], ["Programmed=False/Pending 1", "Ready=False/Pending 1"]);
    assert_eq!(stage.message("Programmed"), "1 of 3 gateways do not have it after 30 s: g-3");
    drop(three);
    stage.compile();
    stage.write();
    assert_eq!(stage.conditions(), GOOD);
}

#[test]
fn who_rejects_it_is_named_with_the_reason() {
    let mut stage = Stage::new(vec![key(json!({}))]);
    let (one, two, three) = (stage.gateway("g-1"), stage.gateway("g-2"), stage.gateway("g-3"));
    one.take(stage.all()).unwrap();
    for node in [&two, &three] {
        node.take(stage.nack(Kind::VirtualKey, "k", "spec.x is unknown")).unwrap();
    }
    stage.wait(60);
    let plan = stage.write();
    assert_eq!(stage.conditions()[2..], ["Programmed=False/Rejected 1", "Ready=False/Rejected 1"]);
    let words = "2 of 3 gateways reject it: g-2, g-3: spec.x is unknown (nothing of it is in force)";
    assert_eq!(stage.message("Programmed"), words);
    let news: Vec<_> = plan.patches[0].news.iter().map(|n| (n.reason, n.note.as_str())).collect();
    assert_eq!(news, [("Rejected", words)]);
    // The reason is of that version only.
    stage.keys[0].spec.limits.concurrent = Some(3);
    stage.keys[0].metadata.generation = Some(2);
    stage.compile();
    for node in [&one, &two, &three] {
        node.take(stage.all()).unwrap();
    }
    stage.write();
    assert_eq!(stage.conditions()[2..], ["Programmed=True/Programmed 2", "Ready=True/Ready 2"]);
}

#[test]
fn a_new_leader_that_does_not_know_the_gateways_yet_takes_nothing_back() {
    let mut stage = Stage::new(vec![budgeted()]);
    let gateway = stage.gateway("g-1");
    gateway.take(v1::NodeReport { budgets: spent(5_000_000_000, 1).budgets, ..stage.all() }).unwrap();
    stage.wait(60);
    stage.write();
    assert_eq!(stage.conditions(), GOOD);
    let before = stage.keys[0].status.clone();
    drop(gateway);
    (stage.planner, stage.at) = (Planner::default(), Duration::ZERO);
    for _ in 0..100 {
        stage.compile();
        assert!(stage.write().patches.is_empty());
        stage.wait(1);
    }
    // Gateways come by the real clock: from here on the stage's is the same.
    stage.start = Instant::now().checked_sub(stage.at).unwrap();
    let other = stage.gateway("g-2");
    stage.compile();
    assert!(stage.write().patches.is_empty(), "it has just come");
    other.take(stage.all()).unwrap();
    assert!(stage.write().patches.is_empty());
    assert_eq!(stage.keys[0].status, before);
}

/// Wherever it runs: `system` is where the installation's gateways are.
#[test]
fn a_gateway_that_sees_a_part_only_counts_for_that_part() {
    for namespace in ["n", "system"] {
        let mut stage = Stage::new(vec![
            key(json!({})),
            json!({"kind": "VirtualKey", "metadata": {"name": "other"}, "spec": {}}),
        ]);
        let who = Identity { namespace: namespace.into(), service_account: "a".into(), pod: "p".into() };
        let sidecar = stage.nodes.enter_bounded(who);
        let gateway = stage.gateway("g-1");
        gateway.take(stage.all()).unwrap();
        let mut part = v1::NodeReport { ledger_trouble: "no such host".into(), ..stage.all() };
        part.in_force.retain(|item| item.name == "n/k");
        part.in_force[0].version = "old".into();
        sidecar.take(part).unwrap();
        assert!(
            Fleet::new(stage.nodes.all(), true).without_ledger().is_empty(),
            "it is not the installation's"
        );
        stage.wait(60);
        stage.at += stage.start.elapsed();
        stage.wait(40);
        stage.look();
        stage.wait(40);
        stage.write();
        assert_eq!(stage.message("Programmed"), "1 of 2 gateways do not have it after 30 s: p");
        let other = stage.keys[1].status.as_ref().unwrap();
        assert!(other.conditions.iter().all(|c| c.status == "True"), "{other:?}");
    }
}

#[test]
fn spend_is_written_on_steps_once_a_minute_and_at_once_when_it_is_used_up() {
    let mut stage = Stage::new(vec![budgeted()]);
    let gateway = stage.gateway("g-1");
    gateway.take(stage.all()).unwrap();
    stage.wait(60);
    stage.write();
    stage.compile();
    let shown = |stage: &Stage| {
        let tightest = stage.keys[0].status.as_ref().unwrap().tightest.clone().unwrap();
        (tightest.spent, tightest.limit, tightest.percent)
    };
    assert_eq!(shown(&stage), ("0.00".into(), "10".into(), 0));
    gateway.take(spent(1_000_000, 1)).unwrap();
    stage.wait(61);
    let first = stage.write().patches;
    assert_eq!(first.len(), 1, "the first report brings the window's end");
    stage.compile();
    gateway.take(spent(1_010_000, 2)).unwrap();
    stage.wait(61);
    assert!(stage.write().patches.is_empty(), "a hundredth more of little is no step");
    gateway.take(spent(50_000_000, 3)).unwrap();
    assert_eq!(
        stage.write().patches[0].urgency,
        Urgency::Later,
        "fifty times as much is one, below one percent"
    );
    stage.compile();
    assert_eq!(shown(&stage), ("0.0500".into(), "10".into(), 0));
    stage.wait(61);
    gateway.take(spent(1_230_000_000, 3)).unwrap();
    assert_eq!(stage.write().patches[0].urgency, Urgency::Later);
    stage.compile();
    assert_eq!(shown(&stage), ("1.23".into(), "10".into(), 12));
    stage.wait(61);
    gateway.take(spent(1_290_000_000, 3)).unwrap();
    assert!(stage.write().patches.is_empty(), "half a percent is no step");
    gateway.take(spent(1_300_000_000, 4)).unwrap();
    stage.write();
    stage.compile();
    gateway.take(spent(8_500_000_000, 4)).unwrap();
    let plan = stage.write();
    assert!(plan.patches.is_empty() && plan.again.is_some_and(|again| again <= Duration::from_secs(60)));
    gateway.take(spent(10_000_000_000, 5)).unwrap();
    let plan = stage.write();
    assert_eq!(plan.patches[0].urgency, Urgency::Now);
    assert_eq!(plan.patches[0].news[0].reason, event::USED_UP);
    stage.compile();
    assert_eq!(shown(&stage), ("10.00".into(), "10".into(), 100));
    // The window ends: there is room again, although no gateway has said so.
    stage.wait(1000);
    let plan = stage.write();
    assert_eq!(plan.patches[0].news[0].reason, event::BUDGET_RESET);
    stage.compile();
    assert_eq!(shown(&stage), ("0.00".into(), "10".into(), 0));
    stage.wait(1000);
    assert!(stage.write().patches.is_empty());
}

#[test]
fn the_last_sample_of_a_budget_counts() {
    let mut stage = Stage::new(vec![budgeted()]);
    let (one, two) = (stage.gateway("g-1"), stage.gateway("g-2"));
    one.take(v1::NodeReport { budgets: spent(2_000_000_000, 7).budgets, ..stage.all() }).unwrap();
    two.take(v1::NodeReport { budgets: spent(1_000_000_000, 5).budgets, ..stage.all() }).unwrap();
    stage.wait(60);
    stage.write();
    assert_eq!(stage.keys[0].status.as_ref().unwrap().budgets[0].spent, "2.00");
}

#[test]
fn what_is_wrong_or_switched_off_is_said() {
    for (spec, conditions) in [
        (
            json!({"budgets": [{"name": "b"}]}),
            vec![
                "Accepted=False/Invalid 1",
                "ResolvedRefs=Unknown/Invalid 1",
                "Programmed=Unknown/Invalid 1",
                "Ready=False/Invalid 1",
            ],
        ),
        (
            json!({"token": {"secretRef": {"name": "s", "key": "token"}}}),
            vec![GOOD[0], "ResolvedRefs=False/SecretNotFound 1", GOOD[2], "Ready=False/SecretNotFound 1"],
        ),
        (json!({"disabled": true}), vec![GOOD[0], GOOD[1], GOOD[2], "Ready=False/Disabled 1"]),
        (
            json!({"expiresAt": "2020-01-01T00:00:00Z"}),
            vec![GOOD[0], GOOD[1], GOOD[2], "Ready=False/Expired 1"],
        ),
    ] {
        let mut stage = Stage::new(vec![key(spec.clone())]);
        let gateway = stage.gateway("g-1");
        gateway.take(stage.all()).unwrap();
        stage.wait(60);
        let plan = stage.write();
        assert_eq!(stage.conditions(), conditions, "{spec}");
        // A token that the operator is about to make is no news.
        let warned = conditions.iter().any(|c| c.starts_with("Accepted=False"));
        assert_eq!(!plan.patches[0].news.is_empty(), warned, "{spec}: {:?}", plan.patches[0].news);
        stage.compile();
        stage.wait(60);
        assert!(stage.write().patches.is_empty(), "{spec}: said once");
    }
}

#[test]
fn a_parent_that_is_switched_off_is_named() {
    let team = json!({"kind": "VirtualKey", "metadata": {"name": "team"}, "spec": {"disabled": true}});
    let mut stage = Stage::new(vec![key(json!({"parentRef": {"name": "team"}})), team]);
    let gateway = stage.gateway("g-1");
    gateway.take(stage.all()).unwrap();
    stage.wait(60);
    stage.write();
    assert_eq!(stage.message("Ready"), "parent n/team is disabled");
}

#[test]
fn health_of_backends_and_servers_is_what_the_gateways_see() {
    let mut stage = Stage::new(vec![
        json!({"kind": "ProviderRoute", "metadata": {"name": "r"},
            "spec": {"backends": [{"name": "a", "anthropic": {}, "endpoint": "https://x.example.com"}, {"name": "b", "anthropic": {}, "endpoint": "https://x.example.com"}]}}),
        json!({"kind": "McpServer", "metadata": {"name": "s"}, "spec": {"streamableHttp": {"url": "https://x.com/mcp"}}}),
    ]);
    let (one, two) = (stage.gateway("g-1"), stage.gateway("g-2"));
    let seen = |stage: &Stage, ejected: &[&str], error: &str| {
        let ejected = ejected.iter().map(|backend| v1::Ejection {
            route: "n/r".into(),
            backend: (*backend).into(),
            until: (EPOCH + 100_000) * 1000,
            error: "503 Service Unavailable".into(),
        });
        let server = v1::ServerReport {
            server: "n/s".into(),
            error: error.into(),
            tools: 3,
            listed_at: 1000,
            protocol_version: "2025-11-25".into(),
            modern: false,
        };
        v1::NodeReport { ejected: ejected.collect(), servers: vec![server], ..stage.all() }
    };
    let health = |stage: &Stage| {
        let route = stage.routes[0].status.clone().unwrap();
        let server = stage.servers[0].status.clone().unwrap();
        (route.healthy_backends.unwrap(), format!("{:?}", server.health), server.message.unwrap_or_default())
    };
    stage.wait(60);
    one.take(seen(&stage, &[], "")).unwrap();
    two.take(seen(&stage, &[], "")).unwrap();
    stage.write();
    assert_eq!(health(&stage), ("2/2".into(), "Healthy".into(), String::new()));
    assert_eq!(stage.servers[0].status.as_ref().unwrap().tools, Some(3));
    stage.compile();
    one.take(seen(&stage, &["a"], "connection refused")).unwrap();
    stage.wait(60);
    stage.write();
    assert_eq!(
        health(&stage),
        ("2/2".into(), "Degraded".into(), "1 of 2 gateways: connection refused".into())
    );
    stage.compile();
    two.take(seen(&stage, &["a"], "connection refused")).unwrap();
    assert!(stage.write().patches.is_empty(), "health is not written more often than it helps");
    stage.wait(60);
    stage.write();
    assert_eq!(
        health(&stage),
        ("1/2".into(), "Unreachable".into(), "2 of 2 gateways: connection refused".into())
    );
    let backend = &stage.routes[0].status.as_ref().unwrap().backends[0];
    assert_eq!(backend.message.as_deref(), Some("503 Service Unavailable"));
    assert_eq!(backend.ejected_by, Some(2));
}

#[test]
fn a_server_whose_pod_is_not_ready_is_unreachable_whatever_gateways_said_of_it() {
    let server = json!({"kind": "McpServer", "metadata": {"name": "s"}, "spec": {"streamableHttp": {"url": "https://x.com/mcp"}}});
    let mut stage = Stage::new(vec![server]);
    let next = |stage: &mut Stage, ready: bool| {
        let message = if ready { "" } else { "its pod is not ready" }.to_owned();
        stage.pods.insert(("n".into(), "s".into()), Health { ready, message });
        stage.wait(60);
        stage.write();
        stage.wait(2);
        stage.write();
        stage.compile();
        let status = stage.servers[0].status.clone().unwrap();
        (format!("{:?}", status.health), status.message.unwrap_or_default())
    };
    assert_eq!(next(&mut stage, false), ("Unreachable".into(), "its pod is not ready".into()));
    // Nobody has asked it yet: that it answers is not known.
    assert_eq!(
        next(&mut stage, true),
        ("Unknown".into(), "its pod is ready; no gateway has asked it yet".into())
    );
    let gateway = stage.gateway("g-1");
    let report = v1::ServerReport { server: "n/s".into(), tools: 3, listed_at: 1000, ..Default::default() };
    gateway.take(v1::NodeReport { servers: vec![report], ..stage.all() }).unwrap();
    assert_eq!(next(&mut stage, true), ("Healthy".into(), String::new()));
    assert_eq!(next(&mut stage, false).0, "Unreachable");
    assert_eq!(next(&mut stage, true), ("Healthy".into(), String::new()), "what gateways said holds again");
}

#[test]
fn a_reset_is_told_once_with_who_asked_for_it() {
    let mut stage = Stage::new(vec![budgeted()]);
    assert!(stage.look().news.is_empty());
    stage.keys[0].annotations_mut().insert("tollgate.dev/reset-budget".into(), "month:today".into());
    let fields = json!({"f:metadata": {"f:annotations": {"f:tollgate.dev/reset-budget": {}}}});
    let managed = json!([{"manager": "kubectl-annotate", "fieldsV1": fields}]);
    stage.keys[0].metadata.managed_fields = serde_json::from_value(managed).unwrap();
    stage.compile();
    let news: Vec<_> = stage.look().news.into_iter().map(|(_, news)| (news.reason, news.note)).collect();
    let note = "budget month: reset asked for (tollgate.dev/reset-budget: month:today, by kubectl-annotate)";
    assert_eq!(news, [(event::RESET_ASKED, note.to_owned())]);
    assert!(stage.look().news.is_empty());
    stage.compile();
    assert!(stage.look().news.is_empty());
}

#[test]
fn what_fails_is_left_alone_for_a_while() {
    let mut stage = Stage::new(vec![key(json!({}))]);
    let gateway = stage.gateway("g-1");
    gateway.take(stage.all()).unwrap();
    stage.wait(60);
    let plan = stage.look();
    let now = stage.now().instant;
    stage.planner.failed(&plan.patches[0].id, now);
    let plan = stage.look();
    assert!(plan.patches.is_empty() && plan.again.is_some());
    stage.wait(1);
    assert_eq!(stage.look().patches.len(), 1);
}

#[test]
fn a_stdio_server_that_does_not_run_says_why_and_a_new_leader_says_no_less() {
    let spec = json!({"stdio": {"image": "ghcr.io/acme/db:1", "command": ["db"]}});
    let mut stage = Stage::new(vec![json!({"kind": "McpServer", "metadata": {"name": "db"}, "spec": spec})]);
    let ready = |stage: &Stage| {
        let status = stage.servers[0].status.clone().unwrap();
        let ready = status.conditions.into_iter().find(|c| c.type_ == "Ready").unwrap();
        (format!("{}/{}", ready.status, ready.reason), ready.message, status.health)
    };
    let gateway = stage.gateway("g-1");
    gateway.take(stage.all()).unwrap();
    stage.wait(60);
    let name = ("n".to_owned(), "db".to_owned());
    stage.pods.insert(name.clone(), Health { ready: false, message: "no pod is available".to_owned() });
    stage.write();
    let (is, why, health) = ready(&stage);
    assert_eq!((is.as_str(), health), ("False/NotRunning", ServerHealth::Unreachable));
    assert_eq!(why, "no pod is available");
    // A new leader has not looked at Deployments yet: nothing flaps.
    stage.pods.clear();
    stage.compile();
    assert!(stage.look().patches.is_empty());
    // It runs.
    stage.pods.insert(name, Health { ready: true, message: String::new() });
    stage.write();
    assert_eq!(ready(&stage).0, "True/Ready");
}

/// A key that cannot be decoded.
fn unreadable(object: Value) -> Arc<Unreadable> {
    match Guarded::<VirtualKey>::decode(object).unwrap() {
        Guarded::Unreadable(wrong) => Arc::from(wrong),
        Guarded::Read(_) => panic!("it can be decoded"),
    }
}

#[test]
fn an_object_that_cannot_be_decoded_is_told_of_once_and_keeps_its_spend() {
    let mut stage = Stage::new(Vec::new());
    let mut wrong = json!({"metadata": {"name": "k", "namespace": "n", "uid": "u", "generation": 4}, "spec": {"disabled": 5}});
    let budgets = json!([{"name": "month", "unit": "USD", "spent": "8.50", "limit": "10", "percent": 85}]);
    // A condition that somebody else put there cannot be decoded either.
    wrong["status"] =
        json!({"budgets": budgets, "token": {"state": "Active"}, "conditions": [{"type": "Theirs"}]});
    stage.unreadable.push(unreadable(wrong.clone()));
    stage.compile();
    let plan = stage.look();
    assert_eq!(plan.patches.len(), 1);
    let status = &plan.patches[0].body["status"];
    assert!(status.to_string().contains("spec.disabled"), "{status}");
    assert!(plan.patches[0].news.iter().any(|news| news.warning), "{:?}", plan.patches[0].news);
    assert_eq!((&status["budgets"], &status["token"]["state"]), (&budgets, &json!("Active")));
    assert_eq!(status["observedGeneration"], 4);
    // As the API server has it now: what others manage is still there.
    wrong["status"] = status.clone();
    wrong["status"]["conditions"].as_array_mut().unwrap().push(json!({"type": "Theirs"}));
    stage.unreadable[0] = unreadable(wrong);
    stage.compile();
    stage.wait(5);
    assert!(stage.look().patches.is_empty(), "what stands there is right");
}

#[test]
fn a_status_that_somebody_else_has_a_part_in_is_written_once() {
    let mut stage = Stage::new(vec![budgeted()]);
    let gateway = stage.gateway("a");
    gateway.take(stage.all()).unwrap();
    stage.wait(60);
    stage.write();
    let mut object = serde_json::to_value(&stage.keys[0]).unwrap();
    assert_eq!(object["status"]["budgets"][0]["name"], "month");
    // Entries of another manager, which this version cannot decode.
    let budgets = object["status"]["budgets"].as_array_mut().unwrap();
    budgets.insert(0, json!({"name": "theirs", "unit": "Euro"}));
    object["status"]["conditions"].as_array_mut().unwrap().insert(0, json!({"type": "Theirs"}));
    object["status"]["token"] = json!({"state": "Lost"});
    let Guarded::Read(key) = Guarded::<VirtualKey>::decode(object).unwrap() else {
        panic!("its spec is good")
    };
    stage.keys[0] = *key;
    stage.compile();
    for _ in 0..3 {
        stage.wait(60);
        assert!(stage.look().patches.is_empty(), "what stands there is right");
    }
}
