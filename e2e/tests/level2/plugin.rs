//! `kubectl tollgate` on a real installation: green when all is well, red with the reason when something is not.

use crate::installed::{Installed, NAMESPACE, TEAM, until};
use anyhow::{Context, ensure};

/// `check`, `get`, `spend --tree` and `logs`, found by kubectl as a plugin is.
pub async fn tells_what_is_there(installed: &Installed<'_>) -> anyhow::Result<()> {
    installed.until_green().await?;
    let by_kubectl = installed.kubectl("tollgate check").await?;
    ensure!(by_kubectl.contains("√ an operator leads"), "{by_kubectl}");

    let (fine, listed) = installed.plugin("get -A").await?;
    ensure!(fine, "{listed}");
    for what in ["engineering", "devbox", "anthropic", "staging-db"] {
        ensure!(listed.contains(what), "{what} is not listed: {listed}");
    }
    let (_, failing) = installed.plugin("get -A --failing").await?;
    ensure!(!failing.contains("devbox"), "nothing fails: {failing}");

    installed.ask().await?.expect(200)?;
    let records = installed.records("tollgate-system/engineering").await?;
    let last = records.last().context("no record")?;
    ensure!(last["status"] == 200 && last["model"] == "anthropic/claude-sonnet-4-5", "{last}");
    Ok(())
}

/// `spend --tree`: what was spent by a key stands at its team as well.
pub async fn tells_spend_up_the_tree(installed: &Installed<'_>) -> anyhow::Result<()> {
    until("spend is told, a team above its keys", async || {
        let (fine, spend) = installed.plugin("spend --tree").await?;
        ensure!(fine, "{spend}");
        let line = |name: &str| spend.lines().position(|line| line.starts_with(name));
        let (team, key) = (line("tollgate-system/engineering"), line("  team-a/devbox"));
        ensure!(team.is_some() && key == team.map(|at| at + 1), "the key stands below its team:\n{spend}");
        let team = installed.spent(NAMESPACE, "engineering").await?;
        let key = installed.spent(TEAM, "devbox").await?;
        Ok(if key > 0.0 && team > key { Ok(()) } else { Err(spend) })
    })
    .await
}

/// Requests go on without an operator, and `check` says what is wrong; a key whose parent is not there is named.
pub async fn says_what_is_broken(installed: &Installed<'_>) -> anyhow::Result<()> {
    let operator = format!("deployment/tollgate-operator -n {NAMESPACE}");
    installed.kubectl(&format!("scale {operator} --replicas=0")).await?;
    until_red(
        installed,
        &[
            "× the operator runs",
            "deployment/tollgate-operator is scaled to 0",
            "× service tollgate-operator has endpoints",
        ],
    )
    .await?;
    installed.ask().await?.expect(200)?;
    installed.kubectl(&format!("scale {operator} --replicas=2")).await?;
    installed.kubectl(&format!("rollout status {operator} --timeout=180s")).await?;
    installed.until_green().await?;

    let orphan = format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: orphan, namespace: {TEAM}}}\n\
         spec: {{parentRef: {{name: nobody}}, models: {{allow: ['*']}}}}\n"
    );
    installed.cluster().apply(&orphan).await?;
    until_red(installed, &["× all 3 virtualkeys find what they name", "team-a/orphan"]).await?;
    installed.kubectl(&format!("delete vk orphan -n {TEAM}")).await?;
    installed.until_green().await?;
    Ok(())
}

/// Waits until `check` fails with all of these words.
async fn until_red(installed: &Installed<'_>, words: &[&str]) -> anyhow::Result<()> {
    until(&format!("kubectl tollgate check is red and says {words:?}"), async || {
        let (passed, said) = installed.plugin("check").await?;
        Ok(if !passed && words.iter().all(|word| said.contains(word)) { Ok(()) } else { Err(said) })
    })
    .await
}
