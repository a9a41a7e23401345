//! Pods in, patches out; each patch is applied by the library, as the API server does it.

use super::{
    Injection,
    pod::{Outcome, inject},
    review,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

fn injection() -> Injection {
    Injection {
        image: "ghcr.io/tollgate/dataplane:1".into(),
        upstream: "https://tollgate-gateway-headless.tollgate-system.svc:8443".into(),
        server_name: "tollgate.tollgate-system.svc".into(),
        audience: "tollgate".into(),
        ca: "-----BEGIN CERTIFICATE-----\n".into(),
    }
}

fn pod(spec: Value) -> Value {
    let labels = json!({"tollgate.dev/inject": "enabled"});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "agent-", "labels": labels}, "spec": spec})
}

fn one(container: Value) -> Value {
    pod(json!({"containers": [container]}))
}

/// The pod after its patch, and the warnings.
fn injected(pod: &Value) -> (Value, Vec<String>) {
    match inject(pod, &injection()) {
        Outcome::Allow { patch, warnings } => {
            let patch: json_patch::Patch = serde_json::from_value(Value::Array(patch)).unwrap();
            let mut after = pod.clone();
            json_patch::patch(&mut after, &patch).unwrap();
            (after, warnings)
        }
        Outcome::Refuse(reason) => panic!("refused: {reason}"),
    }
}

fn env(pod: &Value, container: usize) -> Vec<(String, String)> {
    let text = |v: &Value, key: &str| v[key].as_str().unwrap_or_default().to_owned();
    let all = pod["spec"]["containers"][container]["env"].as_array().cloned().unwrap_or_default();
    all.iter().map(|v| (text(v, "name"), text(v, "value"))).collect()
}

#[test]
fn a_plain_pod_gets_all_of_it() {
    let (after, warnings) = injected(&one(json!({"name": "agent", "image": "agent"})));
    assert!(warnings.is_empty(), "{warnings:?}");
    let relay = &after["spec"]["initContainers"][0];
    assert_eq!(relay["name"], "tollgate-relay");
    assert_eq!(relay["restartPolicy"], "Always", "a native sidecar");
    assert_eq!(relay["image"], "ghcr.io/tollgate/dataplane:1");
    assert!(relay["startupProbe"]["exec"].is_object());
    assert_eq!(relay["env"][0]["name"], "TOLLGATE_CA_PEM");
    let token = &after["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(*token, json!({"audience": "tollgate", "expirationSeconds": 3600, "path": "token"}));
    let want = [
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:8080/anthropic"),
        ("ANTHROPIC_AUTH_TOKEN", "tollgate"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:8080/openai/v1"),
        ("OPENAI_API_KEY", "tollgate"),
        ("TOLLGATE_URL", "http://127.0.0.1:8080"),
        ("TOLLGATE_MCP_URL", "http://127.0.0.1:8080/mcp"),
    ];
    assert_eq!(env(&after, 0), want.map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!(after["metadata"]["annotations"]["tollgate.dev/injected"], "ghcr.io/tollgate/dataplane:1");
    assert!(after["spec"]["containers"][0].get("volumeMounts").is_none(), "the agent does not see the token");
}

#[test]
fn the_relay_fits_the_restricted_standard() {
    let (after, _) = injected(&one(json!({"name": "agent"})));
    let context = &after["spec"]["initContainers"][0]["securityContext"];
    for (field, want) in [
        ("allowPrivilegeEscalation", json!(false)),
        ("runAsNonRoot", json!(true)),
        ("capabilities", json!({"drop": ["ALL"]})),
        ("seccompProfile", json!({"type": "RuntimeDefault"})),
        ("readOnlyRootFilesystem", json!(true)),
    ] {
        assert_eq!(context[field], want, "{field}");
    }
    assert_ne!(context["runAsUser"], json!(0));
    assert!(after["spec"]["initContainers"][0]["resources"]["limits"]["memory"].is_string());
}

#[test]
fn a_second_call_changes_nothing_and_a_late_container_gets_its_variables() {
    let (mut after, _) = injected(&one(json!({"name": "agent", "env": [{"name": "A", "value": "b"}]})));
    let (again, warnings) = injected(&after);
    assert_eq!((&again, warnings.len()), (&after, 0));
    after["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "late"}));
    let (late, _) = injected(&after);
    assert_eq!(env(&late, 1).len(), 6);
    assert_eq!(env(&late, 0), env(&after, 0));
    assert_eq!(late["spec"]["initContainers"].as_array().unwrap().len(), 1);
    assert_eq!(late["spec"]["volumes"].as_array().unwrap().len(), 1);
}

#[test]
fn what_a_container_has_set_itself_stays() {
    let own = json!({"name": "agent", "env": [{"name": "ANTHROPIC_BASE_URL", "value": "https://elsewhere"}]});
    let names: Vec<_> = env(&injected(&one(own)).0, 0).into_iter().map(|(n, _)| n).collect();
    assert_eq!(
        names,
        ["ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "OPENAI_API_KEY", "TOLLGATE_URL", "TOLLGATE_MCP_URL"]
    );
    let own = json!({"name": "agent", "env": [{"name": "ANTHROPIC_AUTH_TOKEN", "value": "mine"}]});
    let variables = env(&injected(&one(own)).0, 0);
    assert!(variables.contains(&("ANTHROPIC_AUTH_TOKEN".into(), "mine".into())));
    assert_eq!(variables.iter().filter(|(n, _)| n == "ANTHROPIC_AUTH_TOKEN").count(), 1);
    assert!(variables.iter().any(|(n, _)| n == "ANTHROPIC_BASE_URL"));
    let from = json!({"name": "agent", "envFrom": [{"configMapRef": {"name": "a"}}]});
    let (_, warnings) = injected(&one(from));
    assert!(warnings[0].contains("\"agent\" has envFrom"), "{warnings:?}");
}

#[test]
fn the_relay_comes_before_other_init_containers_and_beside_other_volumes() {
    let (after, _) = injected(&pod(json!({
        "initContainers": [{"name": "clone"}], "volumes": [{"name": "work"}], "containers": [{"name": "a"}, {"name": "b"}]
    })));
    let names = |list: &str| {
        let all = after["spec"][list].as_array().unwrap();
        all.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("initContainers"), ["tollgate-relay", "clone"]);
    assert_eq!(names("volumes"), ["work", "tollgate-token"]);
    assert_eq!((env(&after, 0).len(), env(&after, 1).len()), (6, 6));
}

fn annotated(annotations: Value, spec: Value) -> Value {
    let mut pod = pod(spec);
    pod["metadata"]["annotations"] = annotations;
    pod
}

#[test]
fn annotations_choose_port_containers_and_resources() {
    let containers =
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 8080}]}, {"name": "b"}]});
    let (after, _) = injected(&annotated(json!({"x": "y"}), containers.clone()));
    assert_eq!(env(&after, 0)[0].1, "http://127.0.0.1:18080/anthropic", "8080 is the agent's own");
    let wishes = json!({
        "tollgate.dev/relay-port": "9999", "tollgate.dev/inject-containers": "b, c",
        "tollgate.dev/relay-memory-limit": "128Mi", "tollgate.dev/relay-cpu-request": "0.5"
    });
    let (after, warnings) = injected(&annotated(wishes, containers.clone()));
    assert!(env(&after, 0).is_empty() && env(&after, 1)[0].1.contains(":9999/"));
    assert!(warnings[0].contains("no container \"c\""), "{warnings:?}");
    let relay = &after["spec"]["initContainers"][0];
    assert_eq!(relay["resources"]["limits"]["memory"], "128Mi");
    assert!(relay["args"].as_array().unwrap().contains(&json!("127.0.0.1:9999")));
    let (after, _) = injected(&annotated(json!({"tollgate.dev/inject-env": "disabled"}), containers.clone()));
    assert!(env(&after, 0).is_empty() && after["spec"]["initContainers"].is_array());

    for (annotation, value, part) in [
        ("tollgate.dev/relay-port", "80", "is no port"),
        ("tollgate.dev/relay-port", "http", "is no port"),
        ("tollgate.dev/relay-port", "8080", "has port 8080 already"),
        ("tollgate.dev/inject-env", "no", "neither enabled nor disabled"),
        ("tollgate.dev/relay-memory-limit", "much", "is no quantity"),
        ("tollgate.dev/relay-cpu-request", "", "is no quantity"),
    ] {
        match inject(&annotated(json!({annotation: value}), containers.clone()), &injection()) {
            Outcome::Refuse(reason) => {
                assert!(reason.contains(annotation) && reason.contains(part), "{reason}")
            }
            other => panic!("{annotation}={value}: {other:?}"),
        }
    }
}

#[test]
fn other_pods_and_impossible_ones_pass() {
    let mut unlabelled = one(json!({"name": "a"}));
    for label in [json!({}), json!({"tollgate.dev/inject": "disabled"}), Value::Null] {
        unlabelled["metadata"]["labels"] = label;
        assert_eq!(inject(&unlabelled, &injection()), Outcome::Allow { patch: vec![], warnings: vec![] });
    }
    for spec in [
        json!({"hostNetwork": true, "containers": [{"name": "a"}]}),
        json!({"os": {"name": "windows"}, "containers": [{"name": "a"}]}),
    ] {
        match inject(&pod(spec.clone()), &injection()) {
            Outcome::Allow { patch, warnings } => assert!(patch.is_empty() && warnings.len() == 1, "{spec}"),
            other => panic!("{other:?}"),
        }
    }
    let (_, warnings) =
        match inject(&one(json!({"name": "a"})), &Injection { ca: String::new(), ..injection() }) {
            Outcome::Allow { patch, warnings } => (patch, warnings),
            other => panic!("{other:?}"),
        };
    assert!(warnings[0].contains("authority"), "{warnings:?}");
}

fn review(operation: &str, kind: &str, object: &Value) -> Value {
    let request = json!({
        "uid": "u-1", "operation": operation, "kind": {"group": "", "version": "v1", "kind": kind}, "object": object
    });
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
}

fn reviewed(body: &Value) -> Value {
    serde_json::from_slice(&review::answer(body.to_string().as_bytes(), &injection()).unwrap()).unwrap()
}

#[test]
fn a_review_is_answered_in_its_own_form() {
    let pod = one(json!({"name": "a"}));
    let answer = reviewed(&review("CREATE", "Pod", &pod));
    assert_eq!((&answer["response"]["uid"], &answer["response"]["allowed"]), (&json!("u-1"), &json!(true)));
    let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
    assert!(serde_json::from_slice::<json_patch::Patch>(&patch).is_ok());
    for other in [
        review("UPDATE", "Pod", &pod),
        review("CREATE", "Deployment", &pod),
        review("CREATE", "Pod", &Value::Null),
    ] {
        assert_eq!(reviewed(&other)["response"], json!({"uid": "u-1", "allowed": true}));
    }
    let refused =
        reviewed(&review("CREATE", "Pod", &annotated(json!({"tollgate.dev/relay-port": "1"}), json!({}))));
    assert_eq!(refused["response"]["allowed"], json!(false));
    assert!(refused["response"]["status"]["message"].as_str().unwrap().contains("relay-port"));
    for bad in [
        "",
        "{}",
        "[]",
        r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"a"}}"#,
    ] {
        assert!(review::answer(bad.as_bytes(), &injection()).is_err(), "{bad}");
    }
}
