use super::support::{Installation, key, key_with_token, plugin, until};
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
    let cluster = Cluster::start().await.unwrap();
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
