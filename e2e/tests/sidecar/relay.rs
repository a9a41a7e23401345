//! Two gateways behind TLS and a relay before them.

use super::{
    identity::manifests,
    support::{Authority, Issuer, Program, now},
};
use anyhow::Context;
use serde_json::{Value, json};
use std::path::PathBuf;
use tempfile::TempDir;
use tollgate_e2e::{
    client::{Http, eventually},
    clients::claude::Claude,
    gateway::{Gateway, Home},
    memory::{contains, in_memory},
    provider::{DEFAULT_KEY, Provider},
};

/// A provider, gateways and what the relay needs.
struct World {
    provider: Provider,
    gateways: Vec<Option<Gateway>>,
    ports: Vec<u16>,
    _homes: Vec<Home>,
    issuer: Issuer,
    authority: Authority,
    files: TempDir,
    http: Http,
}

const NAME: &str = "tollgate.tollgate-system.svc";

fn body() -> Value {
    json!({"model": "anthropic/claude-x", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]})
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl World {
    async fn start(count: usize) -> anyhow::Result<Self> {
        let provider = Provider::start().await?;
        let (issuer, authority, files) = (Issuer::new(), Authority::new(), tempfile::tempdir()?);
        let (certificate, key) = authority.write(files.path(), NAME);
        std::fs::write(files.path().join("ca.pem"), authority.pem())?;
        let (mut gateways, mut ports, mut homes) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            let home = Home::new(&manifests(&provider.url()))?;
            let port = free_port();
            let (issuer, listen) = (issuer.file(), format!("127.0.0.1:{port}"));
            let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
            let args = [
                "--token-issuer",
                &issuer,
                "--listen-tls",
                &listen,
                "--tls-cert",
                &certificate,
                "--tls-key",
                &key,
            ];
            gateways.push(Some(Gateway::start_on(&home, "127.0.0.1:0", &args).await?));
            ports.push(port);
            homes.push(home);
        }
        let world =
            World { provider, gateways, ports, _homes: homes, issuer, authority, files, http: Http::new() };
        world.show(&world.issuer.token("devbox"));
        Ok(world)
    }

    fn token_file(&self) -> PathBuf {
        self.files.path().join("token")
    }

    /// Puts a token into the file, whole.
    fn show(&self, token: &str) {
        let partial = self.files.path().join("token.partial");
        std::fs::write(&partial, token).unwrap();
        std::fs::rename(partial, self.token_file()).unwrap();
    }

    async fn relay(&self) -> anyhow::Result<Program> {
        let upstreams: Vec<String> = self.ports.iter().map(|p| format!("https://127.0.0.1:{p}")).collect();
        let (upstreams, token) = (upstreams.join(","), self.token_file().display().to_string());
        let ca = self.files.path().join("ca.pem").display().to_string();
        let args = [
            "relay",
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            &upstreams,
            "--server-name",
            NAME,
            "--token-file",
            &token,
            "--ca",
            &ca,
        ];
        Program::start(&args, &[("TOLLGATE_LOG", "debug")]).await
    }

    async fn ask(&self, relay: &Program) -> anyhow::Result<tollgate_e2e::client::Answer> {
        let headers = [("x-api-key", "dummy"), ("x-tollgate-meta-project", "apollo")];
        self.http.post(&relay.url("/anthropic/v1/messages"), &headers, &body()).await
    }

    /// How many requests each gateway has recorded for the workload.
    async fn served(&self) -> anyhow::Result<Vec<usize>> {
        let mut all = Vec::new();
        for gateway in &self.gateways {
            all.push(match gateway {
                Some(gateway) => gateway.records("devbox").await?.len(),
                None => 0,
            });
        }
        Ok(all)
    }
}

#[tokio::test]
async fn requests_are_spread_and_a_killed_gateway_is_replaced() -> anyhow::Result<()> {
    let mut world = World::start(2).await?;
    let relay = world.relay().await?;
    for _ in 0..6 {
        world.ask(&relay).await?.expect(200)?;
    }
    eventually("both gateways had their turns", || async {
        let served = world.served().await?;
        Ok((served.iter().sum::<usize>() == 6 && served.iter().all(|n| *n >= 2)).then_some(()))
    })
    .await?;
    let gateway = world.gateways[0].as_ref().unwrap();
    let id = gateway.records("devbox").await?.remove(0)["id"].as_str().unwrap_or_default().to_owned();
    let record = gateway.logs(&format!("records/{id}")).await?;
    assert!(record.to_string().contains("apollo"), "metadata headers stay: {record}");
    let page = world.http.get(&relay.url("/readyz")).await?;
    assert_eq!((page.status, page.text().as_str()), (200, "ready\n"));

    // One dies: whatever was its turn goes to the other, and nobody notices.
    world.gateways[0].take().unwrap().kill().await?;
    for _ in 0..6 {
        world.ask(&relay).await?.expect(200)?;
    }
    // Both are gone: the client is told, in its own API's shape.
    world.gateways[1].take().unwrap().kill().await?;
    let answer = world.ask(&relay).await?.expect(503)?;
    let error: Value = answer.json()?;
    assert_eq!(error["type"], "error", "{error}");
    let words = error.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    assert!(words.contains("the relay cannot reach any gateway at https://127.0.0.1"), "{words}");
    assert!(answer.header("retry-after").is_some());
    let chat = json!({"model": "m", "messages": []});
    let answer = world.http.post(&relay.url("/v1/chat/completions"), &[], &chat).await?.expect(503)?;
    assert!(answer.json()?.pointer("/error/type").is_some());
    assert_eq!(world.http.get(&relay.url("/healthz")).await?.status, 200, "the relay lives");
    assert_eq!(world.http.get(&relay.url("/readyz")).await?.status, 503);
    relay.stop().await
}

#[tokio::test]
async fn a_stream_that_breaks_is_not_begun_again() -> anyhow::Result<()> {
    let mut world = World::start(2).await?;
    let relay = world.relay().await?;
    let mut streamed = body();
    streamed["stream"] = json!(true);
    let url = relay.url("/anthropic/v1/messages");
    let mut answer = world.http.stream(&url, &[("x-api-key", "dummy")], &streamed).await?;
    assert_eq!(answer.status, 200);
    assert!(answer.next().await?.is_some());
    assert_eq!(
        answer.headers.get("content-type").map(|v| v.as_bytes().starts_with(b"text/event-stream")),
        Some(true)
    );
    for gateway in &mut world.gateways {
        gateway.take().unwrap().kill().await?;
    }
    // Either the rest had been sent already, or the stream breaks; it never hangs and never begins anew.
    let rest = tokio::time::timeout(std::time::Duration::from_secs(30), async {
        while let Ok(Some(_)) = answer.next().await {}
    });
    rest.await.context("the stream hangs")?;
    assert_eq!(world.provider.requests().len(), 1);
    relay.stop().await
}

#[tokio::test]
async fn tokens_certificates_and_authorities_rotate_under_way() -> anyhow::Result<()> {
    let world = World::start(1).await?;
    world.show(&world.issuer.token_with("devbox", &json!({"exp": now() - 100})));
    let relay = world.relay().await?;
    let answer = world.ask(&relay).await?.expect(401)?;
    assert!(answer.text().contains("expired"), "{}", answer.text());
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    // A 401 makes the relay read the file anew at once.
    world.show(&world.issuer.token("devbox"));
    world.ask(&relay).await?;
    world.ask(&relay).await?.expect(200)?;

    // The gateway gets a certificate of another authority; the relay learns of it from its file.
    let next = Authority::new();
    std::fs::write(world.files.path().join("ca.pem"), format!("{}{}", world.authority.pem(), next.pem()))?;
    next.write(world.files.path(), NAME);
    std::fs::write(world.files.path().join("ca.pem"), next.pem())?;
    eventually("the relay trusts the new authority, and the gateway shows its certificate", || {
        let (log, gateway) =
            (relay.log(), world.gateways[0].as_ref().map(|g| g.log().text()).unwrap_or_default());
        async move {
            Ok((log.contains("a new authority is in use") && gateway.contains("a new certificate is in use"))
                .then_some(()))
        }
    })
    .await?;
    world.ask(&relay).await?.expect(200)?;
    relay.stop().await
}

#[tokio::test]
async fn a_gateway_that_nobody_vouches_for_gets_no_token() -> anyhow::Result<()> {
    let world = World::start(1).await?;
    std::fs::write(world.files.path().join("ca.pem"), Authority::new().pem())?;
    let relay = world.relay().await?;
    let answer = world.ask(&relay).await?.expect(503)?;
    assert!(answer.text().contains("cannot reach any gateway"), "{}", answer.text());
    assert!(world.provider.requests().is_empty());

    // A web page on the agent's machine gets nothing either.
    let page = [("origin", "https://evil.example"), ("x-api-key", "dummy")];
    world.http.post(&relay.url("/anthropic/v1/messages"), &page, &body()).await?.expect(403)?;
    let rebound = [("host", "evil.example"), ("x-api-key", "dummy")];
    world.http.post(&relay.url("/anthropic/v1/messages"), &rebound, &body()).await?.expect(403)?;
    relay.stop().await
}

#[tokio::test]
async fn claude_code_talks_through_a_relay_that_holds_no_secret() -> anyhow::Result<()> {
    let world = World::start(1).await?;
    let relay = world.relay().await?;
    let claude = Claude::new(&relay.url(""), "dummy")?.model("anthropic/claude-sonnet-4-5");
    let said = claude.ask("say hello").await?;
    assert!(!said.ok()?.is_empty(), "{}", said.json);
    eventually("it is recorded as the workload's", || async {
        Ok((world.served().await?[0] >= 1).then_some(()))
    })
    .await?;

    let pid = relay.pid();
    let environment = std::fs::read(format!("/proc/{pid}/environ"))?;
    assert!(!contains(&environment, DEFAULT_KEY.as_bytes()));
    assert!(!in_memory(pid, DEFAULT_KEY.as_bytes())?, "the provider's key is in the relay's memory");
    assert!(in_memory(pid, b"Bearer eyJ")?, "the search finds what is there");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rss = status.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default().to_owned();
    println!("the relay after a session of Claude Code: {rss}");
    let probe = tokio::process::Command::new(tollgate_e2e::gateway::binary()?)
        .args(["relay", "--probe", "--listen", &relay.address.to_string()])
        .status()
        .await?;
    assert!(probe.success());
    relay.stop().await
}
