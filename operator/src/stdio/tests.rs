//! A server's objects, field by field where a mistake would be a hole.

use super::{
    Runtime,
    health::health,
    objects::objects,
    plan::{Found, Memory, Plan, Print, ServerName, Troubles, Wanted, Write, plan, print},
};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tollgate_crds::api::McpServer;

fn server(stdio: Value) -> McpServer {
    serde_json::from_value(json!({
        "apiVersion": "tollgate.dev/v1alpha1",
        "kind": "McpServer",
        "metadata": {"name": "db", "namespace": "team-a", "uid": "u-1"},
        "spec": {"stdio": stdio},
    }))
    .unwrap()
}

fn made(stdio: Value) -> Vec<Value> {
    let runtime = Runtime { dataplane_image: "dataplane:1".into(), namespace: "tollgate-system".into() };
    objects(&server(stdio), &runtime)
}

#[test]
fn a_server_is_a_deployment_a_service_and_a_policy_that_it_owns() {
    let all = made(json!({"image": "db:1", "command": ["serve"]}));
    let kinds: Vec<_> = all.iter().map(|o| o["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Deployment", "Service", "NetworkPolicy"]);
    for object in &all {
        assert_eq!(object["metadata"]["name"], "mcp-db");
        assert_eq!(object["metadata"]["namespace"], "team-a");
        assert_eq!(object["metadata"]["labels"]["tollgate.dev/mcp-server"], "db");
        let owner = &object["metadata"]["ownerReferences"][0];
        assert_eq!(
            (&owner["kind"], &owner["uid"], &owner["controller"]),
            (&json!("McpServer"), &json!("u-1"), &json!(true))
        );
    }
    assert_eq!(all[1]["spec"]["ports"][0]["port"], tollgate_crds::stdio::PORT);
    let from = &all[2]["spec"]["ingress"][0]["from"][0];
    assert_eq!(from["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "tollgate-system");
    assert_eq!(from["podSelector"]["matchLabels"]["app.kubernetes.io/component"], "gateway");
    // Typed as the API server reads it: no field is misspelt.
    let typed: Deployment = serde_json::from_value(all[0].clone()).unwrap();
    assert_eq!(serde_json::to_value(&typed).unwrap()["spec"]["template"], all[0]["spec"]["template"]);
}

#[test]
fn its_pod_can_do_nothing_but_serve() {
    let all = made(json!({"image": "db:1", "command": ["serve"]}));
    let pod = &all[0]["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], json!(false));
    assert_eq!(pod["securityContext"]["runAsNonRoot"], json!(true));
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in [&pod["containers"][0], &pod["initContainers"][0]] {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], json!(false));
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(context["readOnlyRootFilesystem"], json!(true));
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
    assert!(!all[0].to_string().contains("hostPath"));
}

#[test]
fn what_the_user_wrote_is_run_as_it_stands() {
    let stdio = json!({
        "image": "db:1", "command": ["npx", "server"], "args": ["--token=$(TOKEN)", "--", "-x"], "shared": true,
        "env": [{"name": "HOME", "value": "/data"}, {"name": "TOKEN", "secretRef": {"name": "s", "key": "k"}}, {"name": "A", "value": "$(B)"}]
    });
    let all = made(stdio);
    let container = &all[0]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["args"],
        json!([
            "bridge",
            "--listen",
            "0.0.0.0:8081",
            "--log-json",
            "--shared",
            "--",
            "npx",
            "server",
            "--token=$$(TOKEN)",
            "--",
            "-x"
        ])
    );
    assert_eq!(
        container["env"],
        json!([
            {"name": "TMPDIR", "value": "/tmp"},
            {"name": "HOME", "value": "/data"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "A", "value": "$$(B)"},
        ])
    );
}

#[test]
fn a_server_over_http_needs_nothing() {
    let runtime = Runtime { dataplane_image: "d".into(), namespace: "n".into() };
    let mut server = server(json!({"image": "a"}));
    server.spec.stdio = None;
    assert!(objects(&server, &runtime).is_empty());
}

#[test]
fn health_is_told_in_words() {
    let deployment = |status: Value| -> Deployment {
        serde_json::from_value(json!({"metadata": {"generation": 2, "labels": {"tollgate.dev/mcp-server": "db"}}, "status": status})).unwrap()
    };
    assert!(health(&deployment(json!({"observedGeneration": 2, "availableReplicas": 1}))).ready);
    let changed = health(&deployment(json!({"observedGeneration": 1, "availableReplicas": 1})));
    assert!(changed.ready, "the pod from before the change serves on");
    let new = health(&deployment(json!({})));
    assert!(!new.ready && new.message.contains("not been looked at"));
    let failing = json!([{"type": "ReplicaFailure", "status": "True", "message": "quota exceeded"}]);
    let failed = health(&deployment(json!({"observedGeneration": 2, "conditions": failing})));
    let more = "(kubectl describe pods -l tollgate.dev/mcp-server=db says more)";
    assert_eq!(failed.message, format!("its pod is not ready: quota exceeded {more}"));
    let silent = health(&deployment(json!({"observedGeneration": 2})));
    assert_eq!(silent.message, format!("its pod is not ready {more}"));
}

/// What is wanted, what is there, and what was written.
#[derive(Default)]
struct Stage {
    wanted: Wanted,
    unreadable: BTreeSet<ServerName>,
    found: Found,
    memory: Memory,
}

impl Stage {
    fn want(&mut self, name: &str) -> ServerName {
        let server = ("team-a".to_owned(), name.to_owned());
        let object = |kind: &str| json!({"kind": kind, "metadata": {"name": name}});
        self.wanted.insert(server.clone(), vec![object("Deployment"), object("Service")]);
        server
    }

    /// Everything that is planned is done.
    fn carry_out(&mut self) -> Plan {
        let plan = self.plan();
        for (server, kind) in &plan.remove {
            self.found.children.get_mut(server).unwrap().remove(kind);
        }
        self.found.children.retain(|_, kinds| !kinds.is_empty());
        for (server, writes) in &plan.write {
            for Write { object, .. } in writes {
                let answer = print(&json!(["answer", object]));
                self.memory.wrote(server, object, answer);
                self.there(server, object["kind"].as_str().unwrap(), answer);
            }
        }
        plan
    }

    fn there(&mut self, server: &ServerName, kind: &str, print: Print) {
        self.found.children.entry(server.clone()).or_default().insert(kind.to_owned(), print);
    }

    fn plan(&self) -> Plan {
        plan(&self.wanted, &self.unreadable, &self.found, &self.memory)
    }
}

#[test]
fn what_is_as_it_was_written_is_left_alone_and_what_somebody_changed_is_not() {
    let mut stage = Stage::default();
    let db = stage.want("db");
    let first = stage.carry_out();
    assert_eq!(first.write.len(), 1);
    assert!(
        first.write[0].1.iter().all(|write| !write.ours),
        "nothing of ours is overwritten that is not there"
    );
    assert_eq!(stage.carry_out(), Plan::default());
    // Somebody changes the Service, or removes it.
    stage.there(&db, "Service", [7; 32]);
    let repair = stage.carry_out();
    let [Write { object, ours: true }] = &repair.write[0].1[..] else { panic!("{repair:?}") };
    assert_eq!(object["kind"], "Service");
    stage.found.children.get_mut(&db).unwrap().remove("Service");
    let again = stage.carry_out();
    let [Write { object, ours: false }] = &again.write[0].1[..] else { panic!("{again:?}") };
    assert_eq!(object["kind"], "Service");
    // Something else is wanted: that alone is written.
    stage.wanted.get_mut(&db).unwrap()[0]["spec"] = json!(2);
    assert_eq!(stage.carry_out().write[0].1.len(), 1);
    // Another leader knows nothing of what was written.
    stage.memory = Memory::default();
    assert!(stage.carry_out().write[0].1.iter().all(|write| write.ours));
    assert_eq!(stage.carry_out(), Plan::default());
}

#[test]
fn what_nobody_wants_goes_and_a_namespace_that_cannot_be_seen_stays_as_it_is() {
    let mut stage = Stage::default();
    let (db, gone) = (stage.want("db"), stage.want("gone"));
    stage.carry_out();
    stage.wanted.remove(&gone);
    stage.found.unseen.insert(Some("team-b".into()));
    stage.wanted.insert(("team-b".into(), "x".into()), vec![json!({"kind": "Service"})]);
    let plan = stage.carry_out();
    assert_eq!(plan.remove, [(gone.clone(), "Deployment".to_owned()), (gone, "Service".to_owned())]);
    assert!(plan.write.is_empty());
    stage.found.unseen = [None].into();
    stage.there(&db, "Service", [7; 32]);
    assert_eq!(stage.plan(), Plan::default(), "nobody knows what is there");
    stage.found.unseen.clear();
    assert_eq!(stage.plan().write.len(), 2);
}

#[test]
fn a_server_that_cannot_be_read_keeps_what_it_has() {
    let mut stage = Stage::default();
    let db = stage.want("db");
    stage.carry_out();
    let wanted = stage.wanted.remove(&db).unwrap();
    stage.unreadable.insert(db.clone());
    stage.memory.keep(&stage.wanted, &stage.unreadable);
    assert_eq!(stage.plan(), Plan::default(), "nobody knows what it wants");
    // It can be read again, and says what it said: nothing is written.
    stage.unreadable.clear();
    stage.wanted.insert(db.clone(), wanted);
    assert_eq!(stage.plan(), Plan::default());
    stage.wanted.clear();
    assert_eq!(stage.plan().remove.len(), 2);
}

#[test]
fn what_is_refused_is_tried_again_less_and_less_often() {
    let (mut troubles, start) = (Troubles::default(), Instant::now());
    let db = ("team-a".to_owned(), "db".to_owned());
    assert!(troubles.failed(&db, "quota".into(), start) && !troubles.failed(&db, "quota".into(), start));
    assert!(troubles.failed(&db, "policy".into(), start), "another reason is news");
    let mut tries = Vec::new();
    for second in (0..600).step_by(10) {
        let now = start + Duration::from_secs(second);
        if !troubles.waits(&db, now) {
            tries.push(second);
            troubles.failed(&db, "policy".into(), now);
        }
    }
    assert!(tries.len() < 20 && tries.windows(2).last().is_some_and(|w| w[1] - w[0] == 60), "{tries:?}");
    assert_eq!(troubles.iter().collect::<Vec<_>>(), [(&db, "policy")]);
    // Something else is wanted, or it could be written.
    troubles.keep(|_| false);
    assert!(!troubles.waits(&db, start));
    troubles.failed(&db, "quota".into(), start);
    troubles.written(&db);
    assert!(!troubles.waits(&db, start) && troubles.iter().next().is_none());
}
