//! One row a document that is wrong outside of its spec, beside the good ones of `cases.rs`.

use super::{
    cases::{GOOD, Row},
    input, told,
};
use tollgate_crds::{
    compile::{Options, compile},
    manifest,
};

/// `(document, what is said of it)`, for what is wrong outside of a spec.
#[test]
fn documents() {
    let rows: &[Row] = &[
        ("kind: VirtualKey", &["case.yaml:22: the object has no apiVersion"]),
        ("apiVersion: tollgate.dev/v1alpha1", &["case.yaml:22: the object has no kind"]),
        (
            "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nspec: {}",
            &["case.yaml:22: the VirtualKey has no metadata.name"],
        ),
        ("- a\n- b", &["case.yaml:22: the document is not an object"]),
        (
            "{apiVersion: tollgate.dev/v1, kind: VirtualKey, metadata: {name: x}}",
            &["case.yaml:22: VirtualKey of tollgate.dev/v1 is unknown: this version knows"],
        ),
        (
            "{apiVersion: tollgate.dev/v1alpha1, kind: VirtualKeys, metadata: {name: x}}",
            &["case.yaml:22: VirtualKeys of tollgate.dev/v1alpha1 is unknown"],
        ),
        (
            "{apiVersion: tollgate.io/v1alpha1, kind: VirtualKey, metadata: {name: x}}",
            &["case.yaml:22: VirtualKey of tollgate.io/v1alpha1 is unknown: this version knows"],
        ),
        (
            "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: x\nspec: {}",
            &["case.yaml:25:5: did not find expected ',' or '}', while parsing a flow mapping"],
        ),
        ("a: b\n c: d", &["case.yaml:23:3: mapping values are not allowed in this context"]),
        ("a: &a [*a, *a]\nb: [*c]", &["case.yaml:"]),
        ("kind: List\napiVersion: v1", &["case.yaml:22: the List has no items"]),
        (
            "{apiVersion: tollgate.dev/v1alpha1, kind: VirtualKey, metadata: {name: x}}",
            &["case.yaml:22: VirtualKey default/x: Accepted Invalid spec: missing field `spec`"],
        ),
        (
            "{apiVersion: tollgate.dev/v1alpha1, kind: VirtualKey, metadata: {name: x, namepsace: y}, spec: {}}",
            &["case.yaml:22: VirtualKey default/x: Accepted Invalid metadata.namepsace: is not a field"],
        ),
        (
            "{apiVersion: tollgate.dev/v1alpha1, kind: VirtualKey, metadata: {name: x}, spec: {}, stats: {}}",
            &["case.yaml:22: VirtualKey default/x: Accepted Invalid stats: is not a field"],
        ),
        (
            "{apiVersion: tollgate.dev/v1alpha1, kind: VirtualKey, metadata: {name: a/b}, spec: {}}",
            &[
                "case.yaml:22: VirtualKey default/a/b: Accepted Invalid metadata.name: `a/b` must not contain `/`",
            ],
        ),
        (
            "{apiVersion: tollgate.dev/v1alpha1, kind: VirtualKey, metadata: {name: x, namespace: A}, spec: {}}",
            &["case.yaml:22: VirtualKey A/x: Accepted Invalid metadata.namespace: `A` is not a name"],
        ),
        (
            "{apiVersion: tollgate.dev/v1alpha1, kind: VirtualKey, metadata: {name: team}, spec: {}}",
            &[
                "case.yaml:22: VirtualKey default/team: Accepted Conflict metadata.name: this object is already defined at case.yaml:17",
            ],
        ),
        (
            "{apiVersion: v1, kind: Secret, metadata: {name: x}, stringData: {a: '${UNSET}'}}",
            &[
                "case.yaml:22: Secret default/x: Accepted Invalid stringData.a: the environment variable UNSET is not set",
            ],
        ),
        (
            "{apiVersion: v1, kind: Secret, metadata: {name: x}, stringData: {a: '${SET'}}",
            &["case.yaml:22: Secret default/x: Accepted Invalid stringData.a: has a `${` without `}`"],
        ),
        (
            "{apiVersion: v1, kind: Secret, metadata: {name: x}, data: {a: hush!}}",
            &["case.yaml:22: Secret default/x: Accepted Invalid data.a: is not base64"],
        ),
        (
            "{apiVersion: v1, kind: Secret, metadata: {name: x}, stringData: {a: 12345}}",
            &[
                "case.yaml:22: Secret default/x: Accepted Invalid stringData.a: is not a string: put it in quotes",
            ],
        ),
        (
            "{apiVersion: v1, kind: Secret, metadata: {name: x}, stringdata: {a: b}}",
            &["case.yaml:22: Secret default/x: Accepted Invalid stringdata: is not a field"],
        ),
    ];
    let mut failures = Vec::new();
    for (document, expected) in rows {
        let (input, mut said) = input(&format!("{GOOD}{document}\n"), Options::STANDALONE);
        let outcome = compile(&input);
        said.extend(told(&outcome));
        let as_expected = said.len() == expected.len()
            && said.iter().zip(*expected).all(|(said, expected)| said.starts_with(expected));
        if !as_expected {
            failures.push(format!("{document}\n  said:     {said:#?}\n  expected: {expected:#?}"));
        }
        assert!(outcome.resources.len() >= 4, "{document}: {:?}", outcome.resources);
        assert!(!format!("{said:?}{outcome:?}").contains("12345") && !format!("{said:?}").contains("hush"));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What is not ours harms nothing and is counted, in lists as well.
#[test]
fn what_is_not_ours_is_passed_over() {
    let others = r#"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}}
---
{apiVersion: external-secrets.io/v1, kind: ExternalSecret, metadata: {name: x}, spec: {a: b}}
---
{apiVersion: external-secrets.io/v1, kind: ExternalSecret, metadata: {name: y}, spec: {a: b}}
---
{apiVersion: batch/v1, kind: Job, metadata: {generateName: x-}}
---
{apiVersion: kustomize.config.k8s.io/v1beta1, kind: Kustomization, resources: [a.yaml]}
---
{apiVersion: example.com/v1, kind: AllowList, metadata: {name: x}, spec: {}}
---
{apiVersion: example.com/v1, kind: McpServer, metadata: {name: x}, spec: {url: a}}
---
{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}]}
---
apiVersion: v1
kind: Secret
metadata: {name: sealed}
data: {token: "ENC[AES256_GCM,data:bm8=,type:str]"}
sops: {version: 3.9.0}
"#;
    let file = manifest::read("a/case.yaml", format!("{GOOD}{others}").as_bytes(), &|_| None);
    assert!(file.problems.is_empty(), "{:?}", file.problems);
    let good = manifest::read("a/case.yaml", GOOD.as_bytes(), &|_| None);
    assert_eq!(file.objects.len(), good.objects.len());
    assert_eq!(
        file.others.to_string(),
        "not read: 9 objects that are not Tollgate's: 1 AllowList (example.com), 1 ConfigMap, \
         1 Deployment (apps), 2 ExternalSecret (external-secrets.io), 1 Job (batch), 1 Kustomization (kustomize.config.k8s.io), \
         1 McpServer (example.com), 1 encrypted Secret"
    );
    // Kustomize's own file needs no kind; any other does.
    let kustomize = b"resources: [a.yaml]";
    assert!(manifest::read("a/kustomization.yaml", kustomize, &|_| None).problems.is_empty());
    assert_eq!(manifest::read("a/keys.yaml", kustomize, &|_| None).problems.len(), 1);
}

/// A manifest with several mistakes is told all of them at once, the parser's first with its line.
#[test]
fn all_mistakes_of_a_manifest_are_told() {
    let key = "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: x, label: a}\nspec:\n  disabled: maybe\n  oops: 1\n  \
               limits: {concurrent: 0}\n  logging: {content: All}\n  budgets:\n  - {usd: 5, period: Day}\n";
    let (input, _) = input(&format!("{GOOD}{key}"), Options::STANDALONE);
    let mut said = told(&compile(&input));
    said.sort();
    let said: Vec<&str> = said
        .iter()
        .filter_map(|s| s.strip_prefix("case.yaml:22: VirtualKey default/x: Accepted Invalid "))
        .collect();
    let start = |s: &&str| s.split(',').next().unwrap_or_default().to_owned();
    assert_eq!(
        said.iter().map(start).collect::<Vec<_>>(),
        [
            "metadata.label: is not a field: is it misspelt?",
            "spec.budgets[0].name: missing field `name`",
            "spec.budgets[0].usd: must be a string: put it in quotes",
            "spec.disabled: invalid type: string",
            "spec.limits.concurrent: must be at least 1",
            "spec.logging.content: must be one of None",
            "spec.oops: unknown field `oops`: is it misspelt?",
        ]
    );
    let backends = "[{name: a, anthropic: }, {name: b, openai: {}}]";
    let route = format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: ProviderRoute\nmetadata: {{name: x}}\nspec: {{backends: {backends}}}\n"
    );
    let said = told(&compile(&super::input(&format!("{GOOD}{route}"), Options::STANDALONE).0)).join("\n");
    for words in [
        "spec.backends[0].anthropic: is nothing: write `{}` after it",
        "spec.backends[1].openai: unknown field `openai`",
    ] {
        assert!(said.contains(words), "{said}");
    }
}
