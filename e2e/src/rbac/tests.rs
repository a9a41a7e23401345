use super::*;

const OPERATOR: &str = ":operator";
/// As the chart renders it: the release in `n`, which watches `team` and itself.
const ROLES: &str = r#"
kind: ClusterRole
metadata: {name: operator}
rules:
- {apiGroups: [""], resources: [namespaces], verbs: [list]}
- {nonResourceURLs: [/openid/v1/jwks], verbs: [get]}
---
kind: ClusterRoleBinding
---
kind: Role
metadata: {name: operator, namespace: n}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [mine], verbs: [patch]}
---
kind: Role
metadata: {name: operator-watched, namespace: team}
rules:
- {apiGroups: [""], resources: [secrets], verbs: [get, list]}
---
kind: Role
metadata: {name: operator-watched, namespace: n}
rules:
- {apiGroups: [""], resources: [secrets], verbs: [get, list]}
"#;

fn asked(verb: &str, resource: &str, namespace: &str, name: &str) -> Asked {
    Asked {
        user: "system:serviceaccount:n:operator".into(),
        verb: verb.into(),
        group: if resource == "leases" { "coordination.k8s.io".into() } else { String::new() },
        resource: resource.into(),
        namespace: namespace.into(),
        name: name.into(),
        url: if resource.is_empty() { "/openid/v1/jwks?x=1".into() } else { "/api".into() },
        code: 200,
        ..Asked::default()
    }
}

fn forbidden(asked: Asked) -> Asked {
    Asked { code: 403, forbidden: true, ..asked }
}

/// What uses every right of [`ROLES`].
fn everything() -> Vec<Asked> {
    vec![
        asked("list", "namespaces", "", ""),
        asked("get", "", "", ""),
        Asked { code: 409, ..asked("patch", "leases", "n", "mine") },
        Asked { code: 404, ..asked("get", "secrets", "team", "a") },
        asked("list", "secrets", "team", ""),
    ]
}

fn never(audit: &[Asked]) -> Vec<String> {
    unused(&granted(ROLES, "n").unwrap(), audit, OPERATOR).iter().map(ToString::to_string).collect()
}

fn words(audit: &[Asked]) -> Vec<String> {
    refused(audit, OPERATOR).iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_used_is_what_is_granted() {
    let all = everything();
    assert_eq!((never(&all), words(&all)), (vec![], vec![]));
    assert_eq!(unused(&granted(ROLES, "n").unwrap(), &all, ":somebody").len(), 5);
    // Another object, and a refused request, use no right; what a plug-in of admission refused does.
    let mut others = all.clone();
    others[2] = asked("patch", "leases", "n", "other");
    others[3] = forbidden(asked("get", "secrets", "team", "a"));
    assert_eq!(
        never(&others),
        [
            "patch leases.coordination.k8s.io mine in the release's namespace",
            "get secrets in a watched namespace"
        ]
    );
    others[3] = Asked { code: 403, ..asked("get", "secrets", "team", "a") };
    assert_eq!(never(&others).len(), 1);
}

#[test]
fn a_right_is_used_where_it_is_for() {
    let mut audit = everything();
    audit[4] = asked("list", "secrets", "n", "");
    assert_eq!(
        never(&audit),
        ["list secrets in a watched namespace"],
        "the release's own is not another one"
    );
    audit[4] = asked("list", "secrets", "", "");
    assert_eq!(never(&audit).len(), 1, "nor is all of the cluster");
    audit[4] = asked("list", "secrets", "team", "");
    audit[2] = asked("patch", "leases", "team", "mine");
    assert_eq!(never(&audit), ["patch leases.coordination.k8s.io mine in the release's namespace"]);
}

#[test]
fn what_belongs_to_the_cluster_has_the_namespace_in_its_name() {
    let rule = "kind: ClusterRole\nmetadata: {name: a}\nrules: [{apiGroups: [''], resources: [hooks], resourceNames: [tollgate-x], verbs: [get]}]";
    let granted = granted(rule, "n").unwrap();
    assert!(unused(&granted, &[asked("get", "hooks", "", "tollgate-n-x")], OPERATOR).is_empty());
    assert_eq!(unused(&granted, &[asked("get", "hooks", "", "tollgate-m-x")], OPERATOR).len(), 1);
}

#[test]
fn what_was_never_allowed_is_told() {
    let strange = forbidden(asked("get", "secrets", "stranger", "a"));
    let told = "get secrets a in a watched namespace (stranger) for system:serviceaccount:n:operator";
    let mut audit = [everything(), vec![strange.clone()]].concat();
    assert_eq!(words(&audit), [told], "a namespace without a Role");
    // The same of another namespace's object, and by another installation's operator, excuses nothing.
    audit.push(asked("get", "secrets", "team", "a"));
    audit.push(Asked {
        user: "system:serviceaccount:m:operator".into(),
        ..asked("get", "secrets", "stranger", "a")
    });
    assert_eq!(words(&audit), [told]);
    // The API server had not read its roles yet.
    audit.push(Asked { forbidden: false, code: 200, ..strange });
    assert_eq!(words(&audit), [""; 0]);
    // Others' refusals are their own.
    let other =
        forbidden(Asked { user: "system:serviceaccount:n:x".into(), ..asked("get", "secrets", "n", "a") });
    assert_eq!(words(&[other]), [""; 0]);
}

#[test]
fn what_an_apply_creates_uses_the_right_to_create() {
    let rule = "kind: Role\nmetadata: {name: a, namespace: n}\nrules: [{apiGroups: [''], resources: [services], verbs: [create, patch]}]";
    let granted = granted(rule, "n").unwrap();
    let patched = asked("patch", "services", "n", "a");
    let found = unused(&granted, std::slice::from_ref(&patched), OPERATOR);
    assert_eq!(found.iter().map(|right| right.verb.as_str()).collect::<Vec<_>>(), ["create"]);
    assert!(unused(&granted, &[Asked { code: 201, ..patched }], OPERATOR).is_empty());
}

#[test]
fn a_star_is_refused() {
    let wide =
        "kind: ClusterRole\nmetadata: {name: a}\nrules: [{apiGroups: ['*'], resources: [a], verbs: [get]}]";
    assert!(format!("{:#}", granted(wide, "n").unwrap_err()).contains("grants *"));
}
