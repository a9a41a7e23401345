//! A cluster's issuer of tokens, and the other programs of the data plane's file.

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tollgate_e2e::{client::eventually, gateway::binary};

pub const ISSUER: &str = "https://kubernetes.default.svc";

/// Signs tokens as a cluster does.
pub struct Issuer {
    key: EncodingKey,
    jwk: Value,
    pub dir: TempDir,
}

/// A running program of the data plane's file; dropping it kills the process.
pub struct Program {
    pub child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

/// An authority and what it signed.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

// === impl Issuer ===

impl Issuer {
    pub fn new() -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let point = pair.public_key_raw();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        let jwk = json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": "k", "x": part(1..33), "y": part(33..65)});
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        Issuer { key, jwk, dir: tempfile::tempdir().unwrap() }
    }

    /// The file for `--token-issuer`.
    pub fn file(&self) -> String {
        let path = self.dir.path().join("issuer.json");
        let issuer = json!({"issuer": ISSUER, "audience": "tollgate", "jwks": {"keys": [self.jwk]}});
        std::fs::write(&path, issuer.to_string()).unwrap();
        path.display().to_string()
    }

    /// A token of `default/NAME` with other claims in place of the usual ones.
    pub fn token_with(&self, account: &str, other: &Value) -> String {
        let mut claims = json!({
            "iss": ISSUER, "sub": format!("system:serviceaccount:default:{account}"), "aud": ["tollgate"],
            "iat": now(), "nbf": now(), "exp": now() + 3600
        });
        for (name, value) in other.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let header = Header { kid: Some("k".into()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }

    pub fn token(&self, account: &str) -> String {
        self.token_with(account, &json!({}))
    }
}

// === impl Program ===

impl Program {
    /// Starts `tollgate-dataplane ARGS…` with this environment alone, and waits until it listens.
    pub async fn start(args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut command = Command::new(binary()?);
        command.args(args).env_clear().envs(env.iter().copied()).env("NO_COLOR", "1");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = child.stderr.take().context("no stderr")?;
        let kept = log.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(lines).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().push(line);
            }
        });
        let address = eventually("it listens", || {
            let (log, ended) = (log.clone(), child.try_wait());
            async move {
                let found =
                    log.lock().iter().find_map(|l| l.split("listening on http://").nth(1).map(str::to_owned));
                if let Some(status) = ended? {
                    anyhow::bail!("it ended with {status}: {:?}", log.lock());
                }
                let digits = |c: char| !(c.is_ascii_digit() || ".:[]".contains(c));
                Ok(found.map(|text| text.split(digits).next().unwrap_or_default().to_owned()))
            }
        });
        let address = address.await?.parse()?;
        Ok(Program { child, address, log })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn log(&self) -> String {
        self.log.lock().join("\n")
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// SIGTERM, and its orderly end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.pid().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await?;
        let status = tokio::time::timeout(std::time::Duration::from_secs(40), self.child.wait()).await??;
        anyhow::ensure!(status.success(), "{status}: {}", self.log());
        Ok(())
    }
}

// === impl Authority ===

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes `tls.crt` and `tls.key` for a name into a folder.
    pub fn write(&self, dir: &std::path::Path, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let files = (dir.join("tls.crt"), dir.join("tls.key"));
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        std::fs::write(&files.0, certificate.pem()).unwrap();
        files
    }
}
