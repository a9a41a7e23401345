//! The API server, and a way to the gateway through it.

use crate::kubeconfig;
use anyhow::{Context, anyhow, bail, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Pod, Secret},
};
use kube::{Api, Client, Resource, api::ListParams};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, path::PathBuf};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tollgate_crds::{
    api::VirtualKey,
    guard::{Guarded, Unreadable},
};

/// Which cluster and namespace; the names of kubectl's own flags.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// The kubeconfig file; those of KUBECONFIG together, or ~/.kube/config, when left out.
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// The context in it.
    #[arg(long, value_name = "NAME", global = true)]
    pub context: Option<String>,
    /// The namespace; the context's own when left out.
    #[arg(long, short, value_name = "NAME", global = true)]
    pub namespace: Option<String>,
}

/// Where Tollgate itself runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Release {
    /// The namespace that Tollgate is installed in.
    #[arg(long, env = "TOLLGATE_NAMESPACE", default_value = "tollgate-system", value_name = "NAME")]
    pub tollgate_namespace: String,
}

/// How the gateway's records are reached.
#[derive(Debug, Clone, clap::Args)]
pub struct Reach {
    /// A port of a gateway that you forwarded yourself, such as http://localhost:8080; other addresses are refused, since the
    /// token would go there in the clear. When left out, the plugin forwards one.
    #[arg(long, env = "TOLLGATE_URL", value_name = "URL")]
    pub url: Option<String>,
    /// The key whose records are asked for: its token is read from its Secret, and it sees itself and the keys below it.
    #[arg(long = "as", id = "as", value_name = "KEY", env = "TOLLGATE_KEY")]
    pub key: Option<String>,
}

/// The labels of the gateway's pods.
const GATEWAY_PODS: &str = "app.kubernetes.io/name=tollgate,app.kubernetes.io/component=gateway";
/// The gateway's port.
const GATEWAY_PORT: u16 = 8080;
/// How many objects a list has at most in one answer.
const PAGE: u32 = 500;
/// The most bytes of an answer of the gateway.
const MAX_ANSWER: usize = 64 << 20;

/// A connection to an API server.
#[derive(Clone)]
pub struct Cluster {
    /// The client.
    pub client: Client,
    /// The namespace that is meant when none is named.
    pub namespace: String,
}

/// The objects of a kind.
#[derive(Debug)]
pub struct Listed<K> {
    /// Those that can be decoded.
    pub read: Vec<K>,
    /// Those that cannot, as the operator that takes them may be newer than this program.
    pub unreadable: Vec<Unreadable>,
}

/// A way to ask the gateway.
#[derive(Debug)]
pub struct Gateway {
    way: Way,
    token: Option<String>,
}

#[derive(Debug)]
enum Way {
    Url { authority: String },
    Pod { pods: Box<Api<Pod>>, name: String },
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

// === impl Cluster ===

impl Cluster {
    /// Connects as kubectl would.
    ///
    /// # Errors
    /// When there is no usable kubeconfig, nor a ServiceAccount of a pod.
    pub async fn connect(target: &Target) -> anyhow::Result<Self> {
        let config = kubeconfig::find(target.kubeconfig.as_deref(), target.context.as_deref()).await?;
        let namespace = target.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Cluster { client: Client::try_from(config)?, namespace })
    }

    /// All objects of a kind, in one namespace or in all, page by page. One that cannot be decoded keeps none of the others away.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn list<K>(&self, everywhere: bool) -> anyhow::Result<Listed<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api: Api<Guarded<K>> = match everywhere {
            true => Api::all(self.client.clone()),
            false => Api::namespaced(self.client.clone(), &self.namespace),
        };
        let mut parameters = ListParams::default().limit(PAGE);
        let mut all = Listed { read: Vec::new(), unreadable: Vec::new() };
        loop {
            let page = api.list(&parameters).await.map_err(|error| unlisted::<K>(error, everywhere))?;
            for object in page.items {
                match object {
                    Guarded::Read(object) => all.read.push(*object),
                    Guarded::Unreadable(object) => all.unreadable.push(*object),
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    /// The token of a key (`name`, or `namespace/name`), from its Secret.
    async fn token_of(&self, key: &str) -> anyhow::Result<String> {
        let (namespace, name) = key.split_once('/').unwrap_or((&self.namespace, key));
        let keys: Api<VirtualKey> = Api::namespaced(self.client.clone(), namespace);
        let found = keys.get(name).await.with_context(|| format!("no VirtualKey {namespace}/{name}"))?;
        let source = found
            .spec
            .token
            .ok_or_else(|| anyhow!("VirtualKey {namespace}/{name} is a team: it has no token"))?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = secrets.get(&source.secret_ref.name).await;
        let secret =
            secret.with_context(|| format!("cannot read Secret {namespace}/{}", source.secret_ref.name))?;
        let value = secret.data.unwrap_or_default().remove(&source.secret_ref.key);
        let value = value.ok_or_else(|| {
            anyhow!("Secret {namespace}/{} has no key {}", source.secret_ref.name, source.secret_ref.key)
        })?;
        Ok(String::from_utf8(value.0).context("the token is no text")?.trim().to_owned())
    }

    /// The name of a gateway's pod that is ready.
    async fn gateway_pod(&self, namespace: &str) -> anyhow::Result<(Api<Pod>, String)> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let list = pods.list(&ListParams::default().labels(GATEWAY_PODS)).await;
        let list =
            list.with_context(|| format!("cannot list the gateway's pods in namespace {namespace}"))?;
        let ready = list.items.into_iter().find(is_ready);
        let name = ready.and_then(|pod| pod.metadata.name).ok_or_else(|| {
            anyhow!("no gateway pod is ready in namespace {namespace}: kubectl tollgate check says more")
        })?;
        Ok((pods, name))
    }
}

/// Why an object cannot be shown as others are.
pub fn why_unreadable(object: &Unreadable) -> String {
    let Unreadable { field, error, .. } = object;
    let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
    format!("this plugin cannot read it: {field}{error}")
}

/// Why a kind cannot be listed, and what to do.
fn unlisted<K: Resource<DynamicType = ()>>(error: kube::Error, everywhere: bool) -> anyhow::Error {
    let plural = K::plural(&());
    let hint = match &error {
        kube::Error::Api(status) if status.code == 404 => {
            ": Tollgate's definitions are not installed (kubectl tollgate check says more)"
        }
        kube::Error::Api(status) if status.code == 403 && everywhere => {
            ": you may not list them in all namespaces; name one with --namespace"
        }
        _ => "",
    };
    anyhow::Error::new(error).context(format!("cannot list {plural}{hint}"))
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

impl Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

// === impl Gateway ===

impl Gateway {
    /// Finds the way. `TOLLGATE_TOKEN` in the environment is the token where no key is named: arguments are seen by others.
    ///
    /// # Errors
    /// When neither an address nor a pod is there, or the key has no token that one may read.
    pub async fn reach(target: &Target, release: &Release, reach: &Reach) -> anyhow::Result<Self> {
        let needs_cluster = reach.url.is_none() || reach.key.is_some();
        let cluster = if needs_cluster { Some(Cluster::connect(target).await?) } else { None };
        let token = match (&cluster, &reach.key) {
            (Some(cluster), Some(key)) => Some(cluster.token_of(key).await?),
            _ => std::env::var("TOLLGATE_TOKEN").ok(),
        };
        let way = match (&reach.url, &cluster) {
            (Some(url), _) => Way::Url { authority: authority(url)? },
            (None, Some(cluster)) => {
                let (pods, name) = cluster.gateway_pod(&release.tollgate_namespace).await?;
                Way::Pod { pods: Box::new(pods), name }
            }
            (None, None) => bail!("neither --url nor a cluster"),
        };
        Ok(Gateway { way, token })
    }

    /// `GET path`, as JSON.
    ///
    /// # Errors
    /// When the gateway cannot be reached, or says no: with its words.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(io).await?;
        let driver = tokio::spawn(connection);
        let host = match &self.way {
            Way::Url { authority } => authority.as_str(),
            Way::Pod { .. } => "localhost",
        };
        let mut request =
            Request::get(path).header(header::HOST, host).header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = sender.send_request(request.body(Empty::new())?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow!("the answer cannot be read: {error}"))?.to_bytes();
        driver.abort();
        let hint = match (status.as_u16(), &self.token) {
            (401, None) => " (name the key whose records you want with --as KEY, or set TOLLGATE_TOKEN)",
            (401, Some(_)) => " (the token was rotated, or the key is disabled or not at the gateways yet)",
            _ => "",
        };
        ensure!(status.is_success(), "the gateway says {status}: {}{hint}", words(&body));
        serde_json::from_slice(&body).context("the gateway's answer is not what this version expects")
    }

    async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        match &self.way {
            Way::Url { authority } => {
                let stream = TcpStream::connect(authority).await;
                Ok(Box::new(stream.with_context(|| format!("cannot connect to {authority}"))?))
            }
            Way::Pod { pods, name } => {
                let forwarded = pods.portforward(name, &[GATEWAY_PORT]).await;
                let mut forwarded =
                    forwarded.with_context(|| format!("cannot forward a port of pod {name}"))?;
                let stream = forwarded.take_stream(GATEWAY_PORT).context("the port was not forwarded")?;
                tokio::spawn(async move { forwarded.join().await.ok() });
                Ok(Box::new(stream))
            }
        }
    }
}

/// `host:port` of an `http://` address. TLS ends at the pod's port or at an ingress; a token goes to nobody in the clear but
/// over loopback.
fn authority(url: &str) -> anyhow::Result<String> {
    let uri: http::Uri = url.parse().with_context(|| format!("{url:?} is no address"))?;
    let host = uri.host().ok_or_else(|| anyhow!("{url:?} names no host"))?;
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    ensure!(
        uri.scheme_str() == Some("http") && loopback,
        "--url takes http:// on loopback (a forwarded port); leave it out and the plugin forwards a port by itself"
    );
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(80)))
}

/// What an error's body says.
fn words(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| {
        let error = json.get("error")?;
        error.as_str().or_else(|| error.get("message")?.as_str()).map(str::to_owned)
    });
    let text = message.unwrap_or_else(|| String::from_utf8_lossy(body).chars().take(300).collect());
    crate::table::printable(&text)
}
