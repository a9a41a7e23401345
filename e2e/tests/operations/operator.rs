//! The operator tells of itself in the same way: probes, metrics, traces.

use crate::{
    support::{Metrics, Operated, Process, write},
    trace::Collector,
};
use anyhow::Context;
use serde_json::Value;
use tollgate_e2e::{
    client::{Http, eventually},
    gateway::{Home, Manifests},
    lab::{KEY, KEY_SPEC},
    provider::Provider,
};

const TOKEN: &str = "a-token-of-a-test-with-32-characters";

/// Every line is an object with what docs/operations.md promises; these messages begin some of them.
fn json_lines(log: &str, messages: &[&str]) -> anyhow::Result<()> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).with_context(|| line.to_owned()));
    let lines = lines.collect::<anyhow::Result<Vec<_>>>()?;
    for line in &lines {
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        let all = ["timestamp", "level", "target", "message"].iter().all(|name| !text(name).is_empty());
        anyhow::ensure!(all, "{line}");
    }
    for message in messages {
        let said = |line: &Value| line["message"].as_str().is_some_and(|said| said.starts_with(message));
        anyhow::ensure!(lines.iter().any(said), "no line says {message}:\n{log}");
    }
    Ok(())
}

#[tokio::test]
async fn objects_gateways_and_compilations_are_told() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path()).await?;
    let provider = Provider::start().await?;
    let dangling = "parentRef: {name: nobody}\n";
    let manifests = Manifests::routes(&provider.url()).key(KEY, KEY_SPEC).key("vk-orphan", dangling);
    let home = Home::new(&manifests)?;
    let token = write(&dir.path().join("token"), TOKEN)?;
    let folder = home.manifests().display().to_string();
    let args = [
        "serve",
        "--manifests",
        &folder,
        "--token-file",
        &token,
        "--standalone",
        "--xds-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--log-json",
    ];
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "300"),
    ];
    let mut operator = Process::start("tollgate-operator", &args, &env)?;
    let (xds, admin) =
        (operator.url("listening on http://").await?, operator.url("admin port on http://").await?);
    let http = Http::new();
    let ready = || async { Ok((http.get(&format!("{admin}/readyz")).await?.status == 200).then_some(())) };
    eventually("the operator is ready", ready).await?;
    http.get(&format!("{admin}/healthz")).await?.expect(200)?;

    let data = home.data().display().to_string();
    let gateway =
        Operated::unready(&["--xds", &xds, "--xds-token-file", &token, "--data", &data], &[]).await?;
    gateway.wait_ready().await?;
    let metrics = eventually("the gateway is counted", || async {
        let text = http.get(&format!("{admin}/metrics")).await?.expect(200)?.text();
        let metrics = Metrics::parse(&text)?;
        Ok((metrics.sum("tollgate_operator_xds_gateways", &[]) == 1.0).then_some(metrics))
    })
    .await?;
    let keys = [("tollgate_kind", "VirtualKey")];
    assert_eq!(metrics.sum("tollgate_operator_objects", &keys), 2.0);
    let dangling = [keys[0], ("tollgate_condition", "ResolvedRefs"), ("tollgate_status", "False")];
    assert_eq!(metrics.sum("tollgate_operator_conditions", &dangling), 1.0);
    assert!(metrics.sum("tollgate_operator_compile_duration_seconds_count", &[]) >= 1.0);
    assert_eq!(metrics.sum("tollgate_operator_xds_rejected", &[]), 0.0);
    assert!(metrics.sum("tollgate_operator_xds_resources", &[]) >= 4.0);

    eventually("its spans and metrics are pushed", || async {
        let span =
            collector.spans().into_iter().any(|s| s.name == "compile" && s.service == "tollgate-operator");
        let metric = collector.metric_names().iter().any(|name| name == "tollgate.operator.xds.gateways");
        Ok((span && metric).then_some(()))
    })
    .await?;
    gateway.stop().await?;
    operator.signal("-TERM").await?;
    anyhow::ensure!(operator.ended().await?.success(), "{}", operator.log.text());
    json_lines(&operator.log.text(), &["listening on http://", "stopped"])
}
