use super::support::{Installation, key, key_with_token, token, until};
use tollgate_e2e::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn spend_tells_what_is_left_and_whose_budget_it_is() {
    let cluster = Cluster::shared().await.unwrap();
    let here = Installation::start(cluster, 1).await;
    let org = key(
        "org",
        "budgets: [{name: year, usd: '1000', period: Year}, {name: calls, tokens: 1000000, period: Month}]",
    );
    let team = key("team", "parentRef: {name: org}, budgets: [{name: month, usd: '10', period: Month}]");
    let alice = key_with_token("alice", "parentRef: {name: team}, models: {allow: ['main/*']}");
    let idle = key("idle", "budgets: [{name: day, usd: '0.50', period: Day}]");
    here.apply(&(here.route() + &org + &team + &alice + &idle)).await;
    here.asks(0, &token("alice"), 200).await;

    let tree = until("the spend is told at every level", async || {
        let said = here.plugin(&["spend", "--tree"]).await;
        let namespace = here.plane.namespace();
        let of = |name: &str| {
            let own = format!("{namespace}{name} ");
            said.out.lines().find(|line| line.contains(&own)).unwrap_or_default().to_owned()
        };
        let spent =
            |line: &str| line.split_whitespace().any(|cell| cell.starts_with("$0.") && cell != "$0.00");
        if spent(&of("/team")) && spent(&of("/org")) { Ok(said) } else { Err(said.out) }
    })
    .await;
    let namespace = here.plane.namespace();
    // Children stand below their parents, further in.
    let place = |name: &str| {
        let line = tree.line(&format!("{namespace}/{name} "));
        let at = tree.out.lines().position(|l| l == line).unwrap();
        (at, line.find(namespace).unwrap())
    };
    let (org, team, alice) = (place("org"), place("team"), place("alice"));
    assert!(org < team && team < alice, "{}", tree.out);
    assert_eq!((org.1, team.1, alice.1), (0, 2, 4), "{}", tree.out);
    tree.has(&["KEY", "BUDGET", "SPENT", "USED", "RESETS", "1000000 tokens", "$1000", "$10"]);
    assert!(tree.line(&format!("{namespace}/alice ")).contains("(none)"), "{}", tree.out);

    let flat = here.plugin(&["spend"]).await;
    assert_eq!(flat.code, 0);
    let idle: Vec<_> = flat.line("/idle ").split_whitespace().map(str::to_owned).collect();
    assert_eq!(idle[1..3], ["day", "$0.00"], "{idle:?}");
    // A key of which nothing was heard says so instead of 0.
    here.kubectl(&["create", "namespace", &format!("{namespace}-unwatched")]).await;
    let unwatched = key("late", "budgets: [{name: day, usd: '5', period: Day}]");
    let apply = ["apply", "-n", &format!("{namespace}-unwatched"), "-f", "-"];
    cluster.kubectl_as(cluster.kubeconfig(), apply, &unwatched).await.unwrap();
    let all = here.plugin(&["spend", "--all-namespaces"]).await;
    assert!(all.line("-unwatched/late").contains(" ? "), "{}", all.out);
}
