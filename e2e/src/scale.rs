//! A large installation: keys of people in teams, each with a Secret, routes and servers with credentials; and what there is
//! to say of it: the time until a gateway serves, memory, and what a change is on the wire.
//!
//! # Layout
//! - here: [`Size`] and its objects
//! - [`wire`]: what the operator sends, from its log
//! - [`measure`], [`report`]: `make bench-scale`

pub mod measure;
pub mod report;
pub mod wire;

use anyhow::Context;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
};
use serde_json::{Value, json};

/// How many objects there are.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Virtual keys; one in fifty is a team, the others are people's, with a token in a Secret.
    pub keys: usize,
    /// Provider routes, each with a credential in a Secret.
    pub routes: usize,
    /// MCP servers, each with a credential in a Secret.
    pub servers: usize,
}

/// How many members a team has, itself counted.
const TEAM: usize = 50;
/// How many objects are made at once.
const AT_ONCE: usize = 32;
/// How many objects a page of a list has: what the operator's watches ask for.
const PAGE: u32 = 500;
/// How many Secrets the yardstick reads at once: as many as the operator does.
const READS: usize = 16;
/// The kinds and their names in URLs.
pub const KINDS: [(&str, &str); 3] =
    [("VirtualKey", "virtualkeys"), ("ProviderRoute", "providerroutes"), ("McpServer", "mcpservers")];

// === impl Size ===

impl Size {
    /// What issue 4 asks for.
    pub const LARGE: Size = Size { keys: 5000, routes: 200, servers: 100 };

    /// Makes all of it, each object after the Secret that it names.
    pub async fn make(self, client: &Client, namespace: &str) -> anyhow::Result<()> {
        create(client, namespace, "Secret", "secrets", self.secrets()).await?;
        for (kind, plural) in KINDS {
            let objects: Vec<Value> = match kind {
                "VirtualKey" => (0..self.keys).map(|n| key(n, self.routes)).collect(),
                "ProviderRoute" => (0..self.routes).map(route).collect(),
                _ => (0..self.servers).map(server).collect(),
            };
            create(client, namespace, kind, plural, objects).await?;
        }
        Ok(())
    }

    /// How many objects have a status that says of the newest generation whether it is accepted.
    pub async fn told(client: &Client, namespace: &str) -> anyhow::Result<usize> {
        let mut told = 0;
        for (kind, plural) in KINDS {
            let api: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), namespace, &resource(kind, plural));
            let all = api.list(&ListParams::default()).await?;
            told += all.items.iter().filter(|o| o.data.pointer("/status/conditions/0").is_some()).count();
        }
        Ok(told)
    }

    /// Reads all of it once and parses nothing: lists in pages, tokens by their labels, and each other Secret by its name. The
    /// yardstick of a start.
    pub async fn read(self, client: &Client, namespace: &str) -> anyhow::Result<()> {
        let of_kind = |plural: &str| format!("/apis/tollgate.dev/v1alpha1/namespaces/{namespace}/{plural}?");
        let tokens = "labelSelector=app.kubernetes.io/managed-by%3Dtollgate-operator%2Capp.kubernetes.io/component%3Dtoken";
        let mut lists: Vec<String> = KINDS.iter().map(|(_, plural)| of_kind(plural)).collect();
        lists.push(format!("/api/v1/namespaces/{namespace}/secrets?{tokens}&"));
        futures_util::future::try_join_all(lists.into_iter().map(|url| pages(client, url))).await?;
        let others = self.secrets().filter(|secret| secret.pointer("/metadata/labels").is_none());
        let names = others.filter_map(|s| s.pointer("/metadata/name")?.as_str().map(str::to_owned));
        let read = |name: String| async move {
            let url = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
            client.request_text(http::Request::get(url).body(Vec::new())?).await.map(drop).context("a Secret")
        };
        stream::iter(names).map(read).buffer_unordered(READS).try_collect::<()>().await
    }

    fn secrets(self) -> impl Iterator<Item = Value> {
        let people = (0..self.keys).filter(|n| n % TEAM != 0);
        let tokens = people.map(|n| made(secret(&format!("k{n}"), "token", &token(n))));
        let routes =
            (0..self.routes).map(|n| secret(&format!("r{n}"), "apiKey", &format!("provider-{n:0>40}")));
        let servers =
            (0..self.servers).map(|n| secret(&format!("s{n}"), "header", &format!("Bearer {n:0>40}")));
        tokens.chain(routes).chain(servers)
    }
}

/// The token of a person's key.
pub fn token(n: usize) -> String {
    format!("scale-{n:0>40}")
}

fn secret(name: &str, entry: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {entry: value}})
}

/// A Secret as the operator makes it for a key: its labels.
fn made(mut secret: Value) -> Value {
    let labels =
        json!({"app.kubernetes.io/managed-by": "tollgate-operator", "app.kubernetes.io/component": "token"});
    if let Some(metadata) = secret.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert("labels".to_owned(), labels);
    }
    secret
}

fn key(n: usize, routes: usize) -> Value {
    let route = format!("r{}", n % routes.max(1));
    let spec = match n % TEAM {
        0 => json!({
            "models": {"allow": ["r*/*"]},
            "budgets": [{"name": "month", "usd": "5000", "period": "Month", "timeZone": "Europe/Berlin"}],
        }),
        _ => json!({
            "parentRef": {"name": format!("k{}", n / TEAM * TEAM)},
            "token": {"secretRef": {"name": format!("k{n}"), "key": "token"}},
            "defaultRoute": route,
            "models": {"allow": [format!("{route}/*"), "r1/claude-*"], "deny": ["*/claude-opus-*"]},
            "budgets": [{"name": "month", "usd": "200", "period": "Month"}, {"name": "day", "usd": "25", "period": "Day"}],
            "limits": {"requestsPerMinute": 60, "tokensPerMinute": 2_000_000, "concurrent": 10},
            "tools": [{"server": "s1", "allow": ["*"], "deny": ["drop_*"]}],
        }),
    };
    object("VirtualKey", &format!("k{n}"), spec)
}

fn route(n: usize) -> Value {
    let backend = json!({"name": "main", "anthropic": {}, "endpoint": "https://x.example.com", "credentials": {"secretRef": {"name": format!("r{n}"), "key": "apiKey"}}});
    object(
        "ProviderRoute",
        &format!("r{n}"),
        json!({"models": [{"name": "claude-*"}], "backends": [backend]}),
    )
}

fn server(n: usize) -> Value {
    let auth =
        json!({"header": {"name": "Authorization", "secretRef": {"name": format!("s{n}"), "key": "header"}}});
    object(
        "McpServer",
        &format!("s{n}"),
        json!({"streamableHttp": {"url": "https://mcp.example.com/mcp"}, "auth": auth}),
    )
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn resource(kind: &str, plural: &str) -> ApiResource {
    let (group, version) = match kind {
        "Secret" => ("", "v1"),
        _ => ("tollgate.dev", "v1alpha1"),
    };
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let text = str::to_owned;
    ApiResource {
        group: text(group),
        version: text(version),
        api_version,
        kind: text(kind),
        plural: text(plural),
    }
}

async fn create(
    client: &Client,
    namespace: &str,
    kind: &str,
    plural: &str,
    objects: impl IntoIterator<Item = Value>,
) -> anyhow::Result<()> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource(kind, plural));
    let post = |object: Value| {
        let api = api.clone();
        async move {
            let name = object.pointer("/metadata/name").map(Value::to_string).unwrap_or_default();
            let object: DynamicObject = serde_json::from_value(object)?;
            api.create(&PostParams::default(), &object)
                .await
                .map(drop)
                .with_context(|| format!("{kind} {name}"))
        }
    };
    stream::iter(objects).map(post).buffer_unordered(AT_ONCE).try_collect::<()>().await
}

/// Reads a list to its end, page by page.
async fn pages(client: &Client, url: String) -> anyhow::Result<()> {
    let mut next = String::new();
    loop {
        let page = format!("{url}limit={PAGE}&continue={next}");
        let text = client.request_text(http::Request::get(page).body(Vec::new())?).await?;
        // The list's metadata comes before its items: what is searched is short.
        let after = text.split_once("\"continue\":\"").and_then(|(_, rest)| rest.split_once('"'));
        match after {
            Some((token, _)) if !token.is_empty() => next = token.to_owned(),
            _ => return Ok(()),
        }
    }
}
