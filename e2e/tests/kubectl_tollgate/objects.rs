use super::support::{Installation, key, key_with_token, plugin, until};
use serde_json::{Value, json};
use tollgate_e2e::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn get_tells_what_is_there_and_what_stands_in_its_way() {
    let cluster = Cluster::shared().await.unwrap();
    let here = Installation::start(cluster, 1).await;
    let server = "apiVersion: tollgate.dev/v1alpha1\nkind: McpServer\nmetadata: {name: db}\n\
                  spec: {streamableHttp: {url: 'https://db.example.com/mcp'}}\n---\n";
    let team = key("team", "budgets: [{name: month, usd: '200', period: Month}]");
    let alice = key_with_token("alice", "parentRef: {name: team}, models: {allow: ['main/*']}");
    let objects = here.route() + server + &team + &alice + &key("orphan", "parentRef: {name: nobody}");
    here.apply(&objects).await;
    let all = until("everything is ready but the orphan", async || {
        let said = here.plugin(&["get"]).await;
        let ready = said.out.lines().filter(|line| line.contains(" True ") || line.ends_with(" True   -"));
        if ready.count() == 4 && said.out.contains("ParentNotFound") {
            Ok(said)
        } else {
            Err(format!("{said:?}"))
        }
    })
    .await;
    assert_eq!(all.code, 0);
    // One table a kind, as wide as it must be; what stands in the way is the cause, with the name that is wrong.
    let orphan = all.line(" orphan ");
    assert!(orphan.contains("False") && orphan.contains("nobody"), "{orphan}");
    assert!(all.line(" alice ").contains("team"), "{}", all.out);
    all.has(&[" month ", "$0.00 of $200 (0 %)"]);
    all.has(&["PARENT", "ROUTE", "BACKENDS", "SERVER", "ERA"]);
    assert!(all.line(" main ").contains("1/1"), "{}", all.out);
    assert_eq!(all.out.matches("NAMESPACE").count(), 3);

    // A server that is in force and does not answer fails as well: nobody is at that address.
    let failing = until("what fails is listed", async || {
        let said = here.plugin(&["get", "--failing"]).await;
        if said.out.contains("Unreachable") { Ok(said) } else { Err(format!("{said:?}")) }
    })
    .await;
    assert_eq!((failing.code, failing.out.lines().count()), (0, 5), "{}", failing.out);
    assert!(failing.line(" db ").contains("1 of 1 gateways"), "{}", failing.out);
    let keys = here.plugin(&["get", "vk"]).await;
    assert_eq!(keys.out.lines().count(), 4, "{}", keys.out);
    here.kubectl(&["delete", "vk/orphan", "mcps/db"]).await;
    let nothing = here.plugin(&["get", "--failing"]).await;
    assert_eq!(nothing.out.trim(), format!("Nothing fails in namespace {}.", here.plane.namespace()));

    // Somebody without rights is told which.
    let other = cluster.kubeconfig_for(here.plane.namespace(), "stranger").await.unwrap();
    let refused = plugin(cluster, &other, &[], &["get", "-A"]).await;
    assert_eq!(refused.code, 2);
    for words in ["cannot list virtualkeys", "name one with --namespace", "stranger"] {
        assert!(refused.error.contains(words), "{}", refused.error);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_definitions_or_a_cluster_it_says_so() {
    let cluster = Cluster::start_own().await.unwrap();
    let bare = plugin(&cluster, cluster.kubeconfig(), &[], &["get"]).await;
    assert_eq!(bare.code, 2);
    assert!(bare.error.contains("Tollgate's definitions are not installed"), "{}", bare.error);
    let check = plugin(&cluster, cluster.kubeconfig(), &[], &["check"]).await;
    assert_eq!(check.code, 1, "{}", check.out);
    check.has(&["× virtualkeys.tollgate.dev", "helm install tollgate-crds"]);
    let before = plugin(&cluster, cluster.kubeconfig(), &[], &["check", "--pre"]).await;
    assert_eq!(before.code, 0, "{}", before.out);
    before.has(&["√ you may create customresourcedefinitions", "0 failed"]);

    let nowhere = cluster.folder().join("no-such-kubeconfig");
    let none = plugin(&cluster, &nowhere, &[], &["get"]).await;
    assert_eq!(none.code, 2);
    assert!(none.error.contains("no-such-kubeconfig"), "{}", none.error);
    cluster.stop_api_server().unwrap();
    let away = plugin(&cluster, cluster.kubeconfig(), &[], &["check"]).await;
    assert_eq!(away.code, 1, "{away:?}");
    away.has(&["× the API server answers", "kubectl version", "1 checks, 0 to look at, 1 failed"]);
}

/// Lets the API server take any spec of a kind, as one whose definitions are newer than the plugin would.
async fn relax(cluster: &Cluster, kind: &str) {
    let name = format!("crd/{kind}.tollgate.dev");
    let definition = cluster.kubectl(["get", &name, "-o", "json"]).await.unwrap();
    let definition: Value = serde_json::from_str(&definition).unwrap();
    let mut version = definition.pointer("/spec/versions/0").unwrap().clone();
    version.as_object_mut().unwrap().remove("selectableFields");
    let schema = &mut version["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    schema.as_object_mut().unwrap().remove("x-kubernetes-validations");
    let patch = json!([{"op": "replace", "path": "/spec/versions/0", "value": version}]).to_string();
    cluster.kubectl(["patch", &name, "--type=json", "-p", &patch]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_decoded_hides_no_other() {
    let cluster = Cluster::start_own().await.unwrap();
    cluster.install_crds().await.unwrap();
    let namespace = cluster.namespace("team").await.unwrap();
    let apply = ["apply", "--validate=false", "--namespace", &namespace, "-f", "-"];
    for (kind, plural, spec) in [
        ("VirtualKey", "virtualkeys", "{budgets: [{name: month, usd: '1', period: Fortnight}]}"),
        ("ProviderRoute", "providerroutes", "{backends: many}"),
        ("McpServer", "mcpservers", "{streamableHttp: {url: [1]}}"),
    ] {
        relax(&cluster, plural).await;
        let broken = format!(
            "apiVersion: tollgate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: newer}}\nspec: {spec}\n"
        );
        // A new schema takes a moment to be in force.
        until(&format!("the {kind} is taken"), async || {
            let applied = cluster.kubectl_as(cluster.kubeconfig(), apply, &broken).await;
            applied.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
    let team = key("team", "budgets: [{name: month, usd: '200', period: Month}]");
    cluster.kubectl_as(cluster.kubeconfig(), apply, &team).await.unwrap();
    let said = async |arguments: &[&str]| plugin(&cluster, cluster.kubeconfig(), &[], arguments).await;

    let all = said(&["get", "-A"]).await;
    assert_eq!(all.code, 0, "{all:?}");
    all.has(&["this plugin cannot read it: spec.backends: ", "spec.streamableHttp.url: "]);
    assert!(all.line("spec.budgets[0].period: ").contains("newer"), "{}", all.out);
    assert!(all.line(" team ").contains("no operator has looked at it yet"), "{}", all.out);
    for arguments in [&["spend", "-A"][..], &["spend", "--tree"]] {
        let spend = said(arguments).await;
        assert_eq!(spend.code, 0, "{spend:?}");
        assert!(spend.line("/team ").contains("$200"), "{}", spend.out);
        spend.has(&[&format!("{namespace}/newer   ?"), "spec.budgets[0].period: "]);
    }
    let check = said(&["check"]).await;
    check.has(&[
        "‼ this plugin can read all virtualkeys",
        &format!("{namespace}/newer: this plugin cannot read it: spec.budgets[0].period"),
        "√ all 2 virtualkeys are accepted",
    ]);
    assert!(!check.out.contains("may you list virtualkeys"), "{}", check.out);
}
