//! The installation under test.

use super::{
    judge::Judge,
    keys::{self, AUDITOR, MCP_TOKEN, ROTATED},
    secrets, watch,
};
use crate::{
    client::{Http, eventually},
    cluster::Cluster,
    control_plane::{ControlPlane, Options, process::Process},
    mcp_server::{self, McpServer},
    postgres::Postgres,
    provider::Provider,
    redis::{DURABLE, Redis},
};
use anyhow::Context;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::Api;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::task::JoinHandle;

/// How many gateways there are. The last is never stopped: its memory tells of leaks.
pub const GATEWAYS: usize = 3;
/// How many operators there are.
pub const OPERATORS: usize = 2;
/// What both programs log by themselves: what is told in production.
const LOG: &str = "info,sqlx=warn,opentelemetry=warn,kube_client::client=off";
/// How long a hold lives without its gateway, in seconds.
pub const HOLD: u64 = 10;

/// Everything that runs.
#[derive(Debug)]
pub struct Stage {
    /// What clients and watchers see of it.
    pub world: Arc<World>,
    /// Operators and gateways.
    pub plane: ControlPlane,
    /// The API server.
    pub cluster: Cluster,
    /// The ledger.
    pub redis: Redis,
    /// The records.
    pub postgres: Postgres,
    /// The backends: the first also speaks Chat Completions.
    pub providers: [Provider; 2],
    /// The tools; `None` while it is killed.
    pub server: Option<McpServer>,
    /// Where it listens.
    pub server_at: SocketAddr,
    /// How many alarms of each program's log were looked at.
    pub alarms: HashMap<String, usize>,
    /// How often a token was changed.
    pub rotations: u64,
    watch: JoinHandle<()>,
}

/// What clients see.
#[derive(Debug)]
pub struct World {
    /// The gateways' addresses.
    pub gateways: Vec<String>,
    /// Sees how everything ends.
    pub judge: Arc<Judge>,
    /// No more requests.
    pub stop: AtomicBool,
    tokens: Mutex<BTreeMap<String, String>>,
    past: Mutex<Vec<(String, String)>>,
}

// === impl World ===

impl World {
    /// A key's token now.
    pub fn token(&self, key: &str) -> String {
        self.tokens.lock().get(key).cloned().unwrap_or_else(|| keys::token(key))
    }

    /// Everybody uses another token from now on.
    pub fn rotate(&self, key: &str, token: String) {
        if let Some(old) = self.tokens.lock().insert(key.to_owned(), token) {
            self.past.lock().push((key.to_owned(), old));
        }
    }

    /// Tokens that keys had before, with their names.
    pub fn past_tokens(&self) -> Vec<(String, String)> {
        self.past.lock().clone()
    }

    /// A gateway's address.
    pub fn gateway(&self, n: usize) -> &str {
        self.gateways.get(n).map_or("", String::as_str)
    }
}

// === impl Stage ===

impl Stage {
    /// Starts everything, with its keys in force.
    pub async fn start(judge: Arc<Judge>) -> anyhow::Result<Self> {
        let redis = Redis::start(&DURABLE)?;
        let postgres = tokio::task::spawn_blocking(Postgres::start).await?.map_err(anyhow::Error::msg)?;
        let providers = [Provider::start().await?, Provider::start().await?];
        let server = McpServer::with(server_options(([127, 0, 0, 1], 0).into())).await?;
        let cluster = Cluster::start().await?;
        cluster.install_crds().await?;
        let namespace = cluster.namespace("soak").await?;
        let gateway = [
            format!("--redis={}", redis.url()),
            format!("--redis-hold={HOLD}"),
            "--redis-timeout=1500".to_owned(),
            "--redis-patience=5".to_owned(),
            format!("--postgres={}", postgres.url()),
            format!("--logs-admin={namespace}/{AUDITOR}"),
            "--min-drain=1".to_owned(),
            "--drain=30".to_owned(),
        ];
        let environment = vec![("TOLLGATE_LOG".to_owned(), LOG.to_owned())];
        let options = Options {
            operators: OPERATORS,
            gateways: GATEWAYS,
            gateway: gateway.into(),
            environment,
            ..Options::default()
        };
        let plane = ControlPlane::start_in(&cluster, &namespace, options).await?;
        let gateways = plane.gateways().map(|gateway| gateway.url().to_owned()).collect();
        let (stop, tokens, past) = (AtomicBool::new(false), Mutex::default(), Mutex::default());
        let world = Arc::new(World { gateways, judge, stop, tokens, past });
        let watch = tokio::spawn(watch::budgets(world.clone()));
        let server_at = server.url().trim_start_matches("http://").trim_end_matches("/mcp").parse()?;
        let mut stage = Stage {
            world,
            plane,
            cluster,
            redis,
            postgres,
            providers,
            server: Some(server),
            server_at,
            alarms: HashMap::new(),
            rotations: 0,
            watch,
        };
        stage.apply().await?;
        Ok(stage)
    }

    /// Applies the keys and waits for the token that the operator makes.
    async fn apply(&mut self) -> anyhow::Result<()> {
        let [a, b] = &self.providers;
        let server = self.server.as_ref().context("the MCP server")?.url();
        let all = keys::manifests([&a.url(), &b.url()], &server);
        let apply = ["apply", "--namespace", self.plane.namespace(), "-f", "-"];
        self.cluster.kubectl_as(self.cluster.kubeconfig(), apply, &all).await?;
        let token = self.token_but(None).await?;
        self.rotate(ROTATED, token);
        Ok(())
    }

    /// Everybody uses another token from now on, and nobody may tell it.
    pub fn rotate(&self, key: &str, token: String) {
        self.world.rotate(key, token);
        secrets::seek(self);
    }

    /// The token of the key that rotates, as soon as it is another than this one.
    pub async fn token_but(&self, old: Option<&str>) -> anyhow::Result<String> {
        let secrets: Api<Secret> = Api::namespaced(self.cluster.client().await?, self.plane.namespace());
        eventually("the operator makes a token", || {
            let secrets = secrets.clone();
            async move {
                let Some(data) = secrets.get_opt(ROTATED).await?.and_then(|secret| secret.data) else {
                    return Ok(None);
                };
                let token = data.get("token").map(|token| String::from_utf8_lossy(&token.0).into_owned());
                Ok(token.filter(|token| Some(token.as_str()) != old))
            }
        })
        .await
    }

    /// kubectl in the namespace.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let all = ["--namespace", self.plane.namespace()].into_iter().chain(arguments.iter().copied());
        self.cluster.kubectl(all).await
    }

    /// Changes a key's spec by a merge patch.
    pub async fn patch(&self, key: &str, spec: &str) -> anyhow::Result<()> {
        let patch = format!("{{\"spec\": {spec}}}");
        self.kubectl(&["patch", "virtualkey", key, "--type=merge", "--patch", &patch]).await.map(drop)
    }

    /// The number of the operator that leads, when one does that runs.
    pub async fn leader(&self) -> anyhow::Result<Option<usize>> {
        let leases: Api<Lease> = Api::namespaced(self.cluster.client().await?, self.plane.namespace());
        let lease = leases.get_opt("tollgate-operator").await?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
        Ok(self.plane.operators().position(|operator| operator.is_running() && operator.name() == holder))
    }

    /// All operators and gateways.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.plane.operators().chain(self.plane.gateways())
    }

    /// Asks each gateway until all of them say yes, or for too long.
    pub async fn every_gateway<F>(&self, what: &str, check: impl Fn(usize, Http) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<bool>>,
    {
        let http = Http::new();
        for gateway in 0..GATEWAYS {
            let what = format!("gateway {gateway}: {what}");
            eventually(&what, || {
                let asked = check(gateway, http.clone());
                async move { Ok(asked.await?.then_some(())) }
            })
            .await?;
        }
        Ok(())
    }

    /// A number that PostgreSQL answers with.
    pub fn number(&self, sql: &str) -> anyhow::Result<u64> {
        let text = self.rows(sql)?;
        text.trim().parse().with_context(|| format!("{sql}: {text:?}"))
    }

    /// What PostgreSQL answers.
    pub fn rows(&self, sql: &str) -> anyhow::Result<String> {
        tokio::task::block_in_place(|| self.postgres.psql(sql)).map_err(anyhow::Error::msg)
    }
}

/// The MCP server, at an address.
pub fn server_options(listen: SocketAddr) -> mcp_server::Options {
    let authorization = Some(format!("Bearer {MCP_TOKEN}"));
    mcp_server::Options { listen, authorization, ..mcp_server::Options::named("db") }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.world.stop.store(true, Relaxed);
        self.watch.abort();
        // Nothing that stands still outlives this.
        self.redis.resume().ok();
        self.postgres.resume().ok();
    }
}
