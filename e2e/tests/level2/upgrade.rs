//! Every pod is replaced while clients ask without a pause: no request may fail, and no session be lost.

use crate::installed::{Installed, NAMESPACE};
use anyhow::ensure;
use serde_json::json;
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};
use tollgate_e2e::{
    client::Mcp,
    cluster::node::{SLOW, within},
    helm::helm,
};

/// How many ask at the same time.
const CLIENTS: usize = 4;

/// `helm upgrade` under load.
pub async fn without_a_failed_request(installed: &Installed<'_>) -> anyhow::Result<()> {
    let session = Mcp::open(format!("{}/mcp", installed.url), &installed.token).await?;
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let upgrade = async {
        let upgraded = upgrade(installed).await;
        stop.store(true, Ordering::Relaxed);
        upgraded
    };
    let clients = futures_util::future::join_all((0..CLIENTS).map(|_| client(installed, &stop, &asked)));
    let (upgraded, failed) = futures_util::future::join(upgrade, clients).await;
    upgraded?;
    let (failed, asked) = (failed.concat(), asked.load(Ordering::Relaxed));
    ensure!(failed.is_empty(), "{} of {asked} requests failed during the upgrade: {failed:?}", failed.len());
    ensure!(asked > 100, "only {asked} requests: that shows little");
    eprintln!("{asked} requests during the upgrade, none failed");

    // No gateway is left that knew this session: what it is stands in its name, sealed.
    let answer = session.call("staging-db__query", json!({"sql": "select * from customers"})).await?;
    ensure!(answer.to_string().contains("Ada Lovelace"), "the session is lost: {answer}");
    Ok(())
}

async fn upgrade(installed: &Installed<'_>) -> anyhow::Result<()> {
    let change =
        "--reuse-values --set gateway.podAnnotations.turn=second --set operator.podAnnotations.turn=second";
    let line = format!("upgrade tollgate charts/tollgate -n {NAMESPACE} --wait --timeout 5m {change}");
    helm(installed.cluster(), &line, &[]).await?;
    within(SLOW, "the old pods are gone", || async {
        let get = format!("get pods -n {NAMESPACE} -l app.kubernetes.io/component=gateway -o name");
        Ok((installed.kubectl(&get).await?.lines().count() == 2).then_some(()))
    })
    .await
}

async fn client(installed: &Installed<'_>, stop: &AtomicBool, asked: &AtomicUsize) -> Vec<String> {
    let mut failed = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match installed.ask().await {
            Ok(answer) if answer.status == 200 => (),
            Ok(answer) => failed.push(format!("{}: {}", answer.status, answer.text())),
            Err(error) => failed.push(format!("{error:#}")),
        }
        asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await; // the node has few processors
    }
    failed
}
