//! The chart's values for stores elsewhere, all the way: what it renders is what a gateway starts with.

use crate::{
    encrypted::{Authority, Stores, home},
    support::ask,
};
use anyhow::{Context, ensure};
use serde_json::Value;
use std::{path::Path, process::Stdio};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tollgate_e2e::{
    client::{Http, eventually},
    control_plane::chart,
    gateway::{Home, Log, beside},
};

/// What a gateway shows to the operator.
const TOKEN: &str = "a-token-of-a-test-with-32-characters";
/// Where the chart's gateways look for operators.
const OPERATORS: &str = "https://tollgate-operator.tollgate-system.svc:18000";

/// A process; dropping it kills it.
struct Process {
    _child: Child,
    log: Log,
}

// === impl Process ===

impl Process {
    fn start(program: &str, arguments: &[String], environment: &[(String, String)]) -> anyhow::Result<Self> {
        let mut command = Command::new(beside(program)?);
        command.args(arguments).env_clear().envs(environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let (mut child, log) = (command.spawn()?, Log::default());
        log.follow(child.stdout.take());
        log.follow(child.stderr.take());
        Ok(Process { _child: child, log })
    }

    /// The URL that it logs after these words.
    async fn url(&self, words: &str) -> anyhow::Result<String> {
        let found = eventually(words, || async { Ok(self.log.url_after(words)) }).await;
        found.with_context(|| self.log.text())
    }
}

/// An operator over a folder of manifests, by TLS; its URL.
async fn operator(home: &Home, files: &Path, authority: &Authority) -> anyhow::Result<(Process, String)> {
    let [certificate, key] = authority.server()?;
    let write = |name: &str, text: &str| {
        let path = files.join(name);
        std::fs::write(&path, text).map(|()| path.display().to_string())
    };
    let arguments = [
        "serve".to_owned(),
        "--standalone".to_owned(),
        format!("--manifests={}", home.manifests().display()),
        format!("--token-file={}", write("operator-token", TOKEN)?),
        "--xds-listen=127.0.0.1:0".to_owned(),
        format!("--tls-cert={}", write("operator.crt", &certificate)?),
        format!("--tls-key={}", write("operator.key", &key)?),
    ];
    let process = Process::start("tollgate-operator", &arguments, &[])?;
    let url = process.url("listening on https://").await?;
    Ok((process, url))
}

/// The gateway's pod as the chart renders it.
async fn rendered(stores: &Stores) -> anyhow::Result<Value> {
    let urls = [
        format!("redis.external.url={}", stores.redis_url()),
        format!("postgres.external.url={}", stores.postgres_url()),
    ];
    let names = ["redis", "postgres"].map(|store| {
        format!(
            "{store}.bundled.enabled=false,{store}.external.existingSecret={store}-elsewhere,\
             {store}.external.passwordKey=pw,{store}.external.caKey=authority"
        )
    });
    let set: Vec<&str> = urls.iter().chain(&names).map(String::as_str).collect();
    let yaml = chart("tollgate-system", &set, &["templates/gateway/deployment.yaml"]).await?;
    let deployment: Value = serde_yaml::from_str(&yaml)?;
    Ok(deployment["spec"]["template"]["spec"].clone())
}

/// Puts files where the pod's volumes have them; `content` knows what stands under a key of a Secret or ConfigMap.
fn mount(pod: &Value, root: &Path, content: impl Fn(&str, &str) -> Option<String>) -> anyhow::Result<()> {
    for mounted in pod["containers"][0]["volumeMounts"].as_array().context("no mounts")? {
        let path = mounted["mountPath"].as_str().context("a mount without a path")?;
        let folder = root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(&folder)?;
        let volume = pod["volumes"].as_array().into_iter().flatten().find(|v| v["name"] == mounted["name"]);
        let volume = volume.with_context(|| format!("no volume for {mounted}"))?;
        for item in volume["secret"]["items"].as_array().into_iter().flatten() {
            let secret = volume["secret"]["secretName"].as_str().unwrap_or_default();
            let (key, file) =
                (item["key"].as_str().unwrap_or_default(), item["path"].as_str().unwrap_or_default());
            let text = content(secret, key).with_context(|| format!("no key {key} in Secret {secret}"))?;
            std::fs::write(folder.join(file), text)?;
        }
    }
    Ok(())
}

/// A word of the pod's, for a process whose root is `root`, and that listens at free ports.
fn local(word: &str, root: &Path, operators: &str) -> String {
    let word = word.replace(OPERATORS, operators).replace("$(POD_NAME)", "gateway-0");
    let (flag, value) = word.split_once('=').map_or(("", word.as_str()), |(flag, value)| (flag, value));
    let value = match value {
        path if path.starts_with('/') => format!("{}{path}", root.display()),
        all if all.starts_with("0.0.0.0:") => "127.0.0.1:0".to_owned(),
        other => other.to_owned(),
    };
    if flag.is_empty() { value } else { format!("{flag}={value}") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_started_as_the_chart_says_uses_the_external_stores() -> anyhow::Result<()> {
    let (stores, (_provider, home), root) = (Stores::start().await?, home().await?, TempDir::new()?);
    let authority = Authority::new("operator")?;
    let (_operator, operators) = operator(&home, stores.files.path(), &authority).await?;
    let pod = rendered(&stores).await?;
    mount(&pod, root.path(), |secret, key| {
        let store = secret.strip_suffix("-elsewhere")?;
        let file = match key {
            "pw" => "password",
            "authority" => "ca.crt",
            _ => return None,
        };
        std::fs::read_to_string(stores.files.path().join(store).join(file)).ok()
    })?;
    let [certificate, key] = authority.server()?;
    // What is not from the values: the operator's ConfigMap and Secret, and the kubelet's token.
    for (file, text) in [
        ("etc/tollgate/ca/ca.crt", authority.pem().as_str()),
        ("etc/tollgate/tls/tls.crt", &certificate),
        ("etc/tollgate/tls/tls.key", &key),
        ("var/run/secrets/tollgate/token", TOKEN),
    ] {
        std::fs::write(root.path().join(file), text).context(file)?;
    }
    let container = &pod["containers"][0];
    let words = container["args"].as_array().context("no arguments")?.iter().filter_map(Value::as_str);
    let arguments: Vec<String> = words.map(|word| local(word, root.path(), &operators)).collect();
    let variables = container["env"].as_array().context("no variables")?.iter().filter_map(|variable| {
        let value = local(variable["value"].as_str()?, root.path(), &operators);
        Some((variable["name"].as_str()?.to_owned(), value))
    });
    let gateway = Process::start("tollgate-dataplane", &arguments, &variables.collect::<Vec<_>>())?;
    let url = gateway.url("listening on http://").await?;
    let admin = gateway.url("admin port on http://").await?;
    let http = Http::new();
    let ready = eventually("the gateway is ready", || async {
        Ok(http.get(&format!("{admin}/readyz")).await.is_ok_and(|answer| answer.status == 200).then_some(()))
    });
    ready.await.with_context(|| gateway.log.text())?;

    let headers = [("x-api-key", "alice"), ("anthropic-version", "2023-06-01")];
    http.post(&format!("{url}/anthropic/v1/messages"), &headers, &ask("as the chart says"))
        .await?
        .expect(200)?;
    stores.records(1).await.with_context(|| gateway.log.text())?;
    // Whoever is connected came by TLS: the server lets nobody in otherwise.
    let ledger = stores.redis.command("KEYS tollgate:1:*alice*")?;
    ensure!(!ledger.starts_with("*0"), "the account is not in that Redis: {ledger}");
    Ok(())
}
