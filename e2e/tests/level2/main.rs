//! Real pods: `make e2e-cluster`. Needs root; one run at a time on a machine.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod agents;
mod install;
mod installed;
mod plugin;
mod pods;
mod result;
mod stdio;
mod upgrade;

use installed::Installed;
use result::Results;
use std::time::Instant;
use tollgate_e2e::cluster::Node;

/// One node for all scenarios: they run one after another, and the first that fails ends the run.
#[tokio::test]
async fn a_real_cluster() -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut results = Results::default();
    let node = Node::start().await?;
    results.passed("control plane and node are Ready", begun.elapsed());
    let outcome = scenarios(&node, &mut results).await;
    if outcome.is_err() {
        eprintln!("{}\n{}", node.logs(), installed::state(node.cluster()).await);
    }
    results.write(&outcome)?;
    outcome
}

async fn scenarios(node: &Node, results: &mut Results) -> anyhow::Result<()> {
    let web = pods::a_deployment_answers_through_its_service_and_its_name(node);
    results.run("a Deployment answers through its Service and by its name", web).await?;
    results.run("images are packed without an engine and loaded", install::images(node)).await?;
    results.run("`helm install` of both charts", install::install(node)).await?;
    results.run("`helm test`", install::test(node)).await?;
    let begin = Installed::begin(node);
    let i =
        &results.run("a route, keys and a stdio server are applied, a request is answered", begin).await?;
    let told = plugin::tells_what_is_there(i);
    results.run("`kubectl tollgate` check (green), get, logs", told).await?;
    let run = stdio::is_run_and_started_again(i);
    results
        .run("a stdio MCP server by manifest: listed, called, its process and its pod killed", run)
        .await?;
    let broken = stdio::that_does_not_start_says_so(i);
    results.run("one that does not start says so, and goes with its manifest", broken).await?;
    let claude = agents::claude_code_through_the_service(i);
    results.run("Claude Code through the Service, with a tool of that server", claude).await?;
    let pod = agents::a_labelled_pod_asks_localhost(i);
    results
        .run(
            "an injected pod asks localhost with a dummy key; it is accounted to its ServiceAccount's key",
            pod,
        )
        .await?;
    let job = agents::claude_code_in_a_job_without_a_key(i);
    results.run("Claude Code in an injected Job without any key; the Job completes", job).await?;
    let spend = plugin::tells_spend_up_the_tree(i);
    results.run("`kubectl tollgate spend --tree`", spend).await?;
    let upgrade = upgrade::without_a_failed_request(i);
    results.run("`helm upgrade` under load: no request fails, no MCP session is lost", upgrade).await?;
    let broken = plugin::says_what_is_broken(i);
    results
        .run("`kubectl tollgate check` is red, with the reason, without operators and for an orphan", broken)
        .await?;
    results.run("`helm uninstall` leaves exactly what docs/operations.md says", install::uninstall(i)).await
}
