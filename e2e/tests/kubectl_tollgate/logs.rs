use super::support::{Installation, ask, key, key_with_token, plugin, token, until};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tollgate_e2e::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn logs_shows_a_teams_requests_and_follows_them() {
    let cluster = Cluster::shared().await.unwrap();
    let here = Installation::start(cluster, 1).await;
    let team = key("team", "budgets: [{name: month, usd: '10', period: Month}]");
    let alice = key_with_token("alice", "parentRef: {name: team}, models: {allow: ['main/*']}");
    let bob = key_with_token("bob", "models: {allow: ['main/*']}");
    here.apply(&(here.route() + &team + &alice + &bob)).await;
    here.asks(0, &token("alice"), 200).await;
    here.asks(0, &token("bob"), 200).await;
    let gateway = here.plane.gateway(0).unwrap();
    let refused = gateway.message(&token("alice"), &ask("other/model")).await.unwrap();
    assert!(refused.status >= 400, "{}", refused.text());

    let url = gateway.url().to_owned();
    let as_alice = ["--as", "alice", "--url", &url];
    let logs = async |more: &[&str]| here.plugin(&[&["logs"], more, &as_alice[..]].concat()).await;
    let said = until("both requests are kept", async || {
        let said = logs(&[]).await;
        if said.out.lines().count() >= 2 { Ok(said) } else { Err(format!("{said:?}")) }
    })
    .await;
    assert_eq!(said.code, 0, "{said:?}");
    let namespace = here.plane.namespace();
    let good = said.line(" 200 ");
    for words in [&format!("{namespace}/alice"), "main/claude-sonnet-4-5", "tokens", "$0.", " ms"] {
        assert!(good.contains(words), "{words}: {good}");
    }
    assert!(!said.out.contains("/bob"), "others' records are not shown: {}", said.out);
    // The refused one is there, with what was asked for and why it was refused.
    let failed = logs(&["--status", "failed"]).await;
    assert_eq!(failed.out.lines().count(), 1, "{failed:?}");
    assert!(failed.line(&format!(" {} ", refused.status)).contains("other/model"), "{}", failed.out);
    let json = logs(&["-o", "json", "--status", "2xx"]).await;
    let record: Value = serde_json::from_str(json.out.lines().next().unwrap()).unwrap();
    assert_eq!(record["status"], 200);

    // As they come: nothing of before is shown twice.
    let mut command = cluster.kubectl_command(cluster.kubeconfig()).unwrap();
    command.args(["tollgate", "logs", "-f", "--tail", "1", "-n", namespace]).args(as_alice);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(super::support::BOUND, lines.next_line()).await.unwrap().unwrap();
    assert!(first.unwrap().contains("other/model"));
    here.asks(0, &token("alice"), 200).await;
    let next =
        tokio::time::timeout(super::support::BOUND, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(next.contains(" 200 ") && next.contains("/alice"), "{next}");
    child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_may_not_see_is_said_in_words() {
    let cluster = Cluster::shared().await.unwrap();
    let here = Installation::start(cluster, 1).await;
    here.apply(&(here.route() + &key_with_token("alice", "models: {allow: ['main/*']}") + &key("team", "")))
        .await;
    here.asks(0, &token("alice"), 200).await;
    let url = here.plane.gateway(0).unwrap().url().to_owned();
    let logs = async |more: &[&str]| here.plugin(&[&["logs", "--url", &url], more].concat()).await;
    for (arguments, words) in [
        (vec![], "--as KEY"),
        (vec!["--as", "team"], "is a team: it has no token"),
        (vec!["--as", "nobody"], "no VirtualKey"),
        (vec!["--as", "alice", "--since", "yesterday"], "since"),
    ] {
        let said = logs(&arguments).await;
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.error.contains(words), "{arguments:?}: {}", said.error);
    }
    // A token may come from the environment instead: others see arguments.
    let token = token("alice");
    let variables = [("TOLLGATE_TOKEN", token.as_str())];
    let said = until("the record is kept", async || {
        let arguments = ["logs", "--url", &url];
        let said = plugin(cluster, cluster.kubeconfig(), &variables, &arguments).await;
        if said.out.contains("/alice") { Ok(said) } else { Err(format!("{said:?}")) }
    })
    .await;
    assert_eq!(said.code, 0);
    // Without --url a gateway's pod is looked for; where none is ready, that is said.
    let said = here.plugin(&["logs", "--as", "alice"]).await;
    assert_eq!(said.code, 2);
    assert!(said.error.contains("no gateway pod is ready in namespace"), "{}", said.error);
}
