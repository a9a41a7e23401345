//! Real pods: `make e2e-cluster`. Needs root; one run at a time on a machine.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod install;
mod pods;
mod result;

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
        eprintln!("{}", node.logs());
    }
    results.write(&outcome)?;
    outcome
}

async fn scenarios(node: &Node, results: &mut Results) -> anyhow::Result<()> {
    let web = pods::a_deployment_answers_through_its_service_and_its_name(node);
    results.run("a Deployment answers through its Service and by its name", web).await?;
    let install = install::helm_installs_upgrades_under_load_and_leaves_what_it_says(node);
    results
        .run(
            "Helm installs, tests, upgrades under load with no failed request, and leaves what it says",
            install,
        )
        .await?;
    Ok(())
}
