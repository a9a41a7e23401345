//! A gateway that has nothing to serve yet says so, to probes and to clients; later nothing takes its readiness away.

use crate::support::{Operated, Process, free_port, write};
use serde_json::json;
use tollgate_e2e::{
    client::eventually,
    gateway::{Home, Manifests},
    lab::{KEY, KEY_SPEC},
    provider::Provider,
};

const TOKEN: &str = "a-token-of-a-test-with-32-characters";

#[tokio::test]
async fn without_an_operator_it_says_why_and_later_its_loss_changes_nothing() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    let home = Home::new(&Manifests::routes(&provider.url()).key(KEY, KEY_SPEC))?;
    let token = write(&home.data().join("token"), TOKEN)?;
    let (port, data) = (free_port()?, home.data().display().to_string());
    let operator = format!("http://127.0.0.1:{port}");
    let args = ["--xds", &operator, "--xds-token-file", &token, "--data", &data];
    let gateway = Operated::unready(&args, &[]).await?;

    // Probes.
    assert_eq!(gateway.probe("/healthz").await?.0, 200);
    let told = eventually("the reason is told", || async {
        let (status, words) = gateway.probe("/readyz").await?;
        assert_eq!(status, 503);
        Ok(words.contains("cannot be reached").then_some(words))
    })
    .await?;
    let waiting = format!("waiting for the first configuration from {operator}");
    assert!(told.starts_with(&waiting), "{told}");
    assert_eq!(gateway.http.get(&format!("{}/readyz", gateway.url)).await?.status, 503);
    assert_eq!(gateway.http.get(&format!("{}/healthz", gateway.url)).await?.status, 200);

    // Clients, each in the shape of its API.
    let body = json!({"model": "anthropic/claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    let messages = format!("{}/anthropic/v1/messages", gateway.url);
    let answer = gateway.http.post(&messages, &[("x-api-key", KEY)], &body).await?.expect(503)?;
    assert_eq!(answer.json()?["error"]["type"], "overloaded_error");
    assert!(answer.header("retry-after").is_some_and(|s| s.parse::<u32>().is_ok()));
    assert!(answer.header("request-id").is_some());
    let chat = format!("{}/v1/chat/completions", gateway.url);
    let answer = gateway.http.post(&chat, &[("authorization", "Bearer x")], &body).await?.expect(503)?;
    assert!(answer.json()?["error"]["message"].as_str().is_some_and(|m| m.contains("not ready")));
    assert!(answer.header("retry-after").is_some());

    // The operator comes.
    let manifests = home.manifests().display().to_string();
    let listen = format!("127.0.0.1:{port}");
    let args =
        ["serve", "--manifests", &manifests, "--xds-listen", &listen, "--token-file", &token, "--standalone"];
    let mut serving = Process::start("tollgate-operator", &args, &[])?;
    gateway.wait_ready().await?;
    gateway.http.post(&messages, &[("x-api-key", KEY)], &body).await?.expect(200)?;
    let metrics = gateway.metrics().await?;
    assert_eq!(metrics.sum("tollgate_xds_connected", &[]), 1.0);
    assert_eq!(metrics.sum("tollgate_xds_config_age_seconds", &[]), 0.0);
    assert!(metrics.sum("tollgate_xds_config_generation", &[]) >= 1.0);

    // And goes. One of two gateways serves no configuration that is older than a second.
    let strict_data = tempfile::tempdir()?;
    let data = strict_data.path().display().to_string();
    let args = ["--xds", &operator, "--xds-token-file", &token, "--data", &data, "--max-config-age", "1"];
    let strict = Operated::unready(&args, &[]).await?;
    strict.wait_ready().await?;
    let strict_url = format!("{}/anthropic/v1/messages", strict.url);
    strict.http.post(&strict_url, &[("x-api-key", KEY)], &body).await?.expect(200)?;
    serving.signal("-KILL").await?;
    serving.ended().await?;
    eventually("the loss is seen", || async {
        let metrics = gateway.metrics().await?;
        let aged = metrics.sum("tollgate_xds_config_age_seconds", &[]) > 0.0;
        Ok((metrics.sum("tollgate_xds_connected", &[]) == 0.0 && aged).then_some(()))
    })
    .await?;
    assert_eq!(gateway.probe("/readyz").await?, (200, "ready\n".to_owned()));
    gateway.http.post(&messages, &[("x-api-key", KEY)], &body).await?.expect(200)?;
    let refused = eventually("the configuration is too old", || async {
        let answer = strict.http.post(&strict_url, &[("x-api-key", KEY)], &body).await?;
        Ok((answer.status == 503).then_some(answer))
    })
    .await?;
    assert!(refused.text().contains("--max-config-age"), "{}", refused.text());
    assert_eq!(strict.probe("/readyz").await?.0, 200);
    strict.stop().await?;
    gateway.stop().await
}

#[tokio::test]
async fn one_that_waits_for_its_configuration_stops_in_good_order() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let token = write(&dir.path().join("token"), TOKEN)?;
    let operator = format!("http://127.0.0.1:{}", free_port()?);
    let data = dir.path().display().to_string();
    let args = ["--xds", &operator, "--xds-token-file", &token, "--data", &data];
    Operated::unready(&args, &[]).await?.stop().await
}

/// The age that `--max-config-age` bounds is counted from when an operator last confirmed the configuration, not from the start
/// of the process that serves it.
#[tokio::test]
async fn a_restart_makes_an_old_configuration_no_younger() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    let home = Home::new(&Manifests::routes(&provider.url()).key(KEY, KEY_SPEC))?;
    let token = write(&home.data().join("token"), TOKEN)?;
    let (port, data) = (free_port()?, home.data().display().to_string());
    let (operator, listen) = (format!("http://127.0.0.1:{port}"), format!("127.0.0.1:{port}"));
    let manifests = home.manifests().display().to_string();
    let serve =
        ["serve", "--manifests", &manifests, "--xds-listen", &listen, "--token-file", &token, "--standalone"];
    let mut serving = Process::start("tollgate-operator", &serve, &[])?;
    let state = home.data().join("snapshot");
    let saved = state.display().to_string();
    let args = ["--xds", &operator, "--xds-token-file", &token, "--data", &data];
    let args = [&args[..], &["--xds-state", &saved, "--max-config-age", "3600"]].concat();
    let body = json!({"model": "anthropic/claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    let ask = async |gateway: &Operated| {
        let url = format!("{}/anthropic/v1/messages", gateway.url);
        gateway.http.post(&url, &[("x-api-key", KEY)], &body).await
    };
    let age = async |gateway: &Operated| {
        anyhow::Ok(gateway.metrics().await?.sum("tollgate_xds_config_age_seconds", &[]))
    };
    let hours_ago = |hours: u64| std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
    let set = |at| std::fs::File::options().write(true).open(&state)?.set_modified(at);

    let first = Operated::unready(&args, &[]).await?;
    first.wait_ready().await?;
    ask(&first).await?.expect(200)?;
    eventually("it is saved", || async { Ok(state.exists().then_some(())) }).await?;
    // As long as the operator is there, what is saved is confirmed again and again.
    set(hours_ago(2))?;
    eventually("it is confirmed", || async {
        let confirmed = std::fs::metadata(&state)?.modified()?;
        Ok((confirmed > hours_ago(1)).then_some(()))
    })
    .await?;
    serving.signal("-KILL").await?;
    serving.ended().await?;
    first.stop().await?;

    // Without an operator: what was confirmed a moment ago serves, what was two hours ago does not, and says so.
    let fresh = Operated::unready(&args, &[]).await?;
    fresh.wait_ready().await?;
    ask(&fresh).await?.expect(200)?;
    fresh.stop().await?;
    set(hours_ago(2))?;
    let old = Operated::unready(&args, &[]).await?;
    old.wait_ready().await?;
    let refused = ask(&old).await?.expect(503)?;
    assert!(refused.text().contains("--max-config-age"), "{}", refused.text());
    assert!(age(&old).await? >= 7200.0);
    // A second restart does not help either; an operator does.
    old.stop().await?;
    let again = Operated::unready(&args, &[]).await?;
    again.wait_ready().await?;
    ask(&again).await?.expect(503)?;
    let mut serving = Process::start("tollgate-operator", &serve, &[])?;
    eventually("the operator confirms it", || async { Ok((ask(&again).await?.status == 200).then_some(())) })
        .await?;
    assert_eq!(age(&again).await?, 0.0);
    again.stop().await?;
    serving.signal("-KILL").await?;
    serving.ended().await.map(drop)
}
