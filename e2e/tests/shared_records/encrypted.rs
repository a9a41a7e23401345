//! Stores elsewhere: Redis and PostgreSQL by TLS and with passwords, both of which rotate.

use crate::support::{SPEC, ask, command, provider};
use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::{net::TcpListener, path::PathBuf};
use tempfile::TempDir;
use tollgate_e2e::{
    client::eventually,
    gateway::{Gateway, Home, Manifests},
    postgres::Postgres,
    provider::Provider,
    redis::{DURABLE, Redis},
};

/// Their users' first password, and the one after it.
const FIRST: &str = "the-password-of-monday";
const SECOND: &str = "the-password-of-tuesday";
/// The users' file that is delivered for people to begin with.
const USERS: &str = include_str!("../../../deploy/redis/users.acl");

/// Real ones, and the files by which a gateway reaches them, in the folders where the chart mounts them.
pub struct Stores {
    pub redis: Redis,
    redis_tls: u16,
    pub postgres: Postgres,
    pub files: TempDir,
    authority: Authority,
}

/// An authority, and what it signed.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

// === impl Authority ===

impl Authority {
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.distinguished_name.push(DnType::CommonName, name);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Authority(CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key (PEM) of a server at 127.0.0.1, and at no other name.
    pub fn server(&self) -> anyhow::Result<[String; 2]> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &self.0)?;
        Ok([certificate.pem(), key.serialize_pem()])
    }
}

// === impl Stores ===

impl Stores {
    pub async fn start() -> anyhow::Result<Self> {
        let (files, authority) = (tempfile::tempdir()?, Authority::new("stores")?);
        let [certificate, key] = authority.server()?;
        let path = |name: &str| files.path().join(name).display().to_string();
        for folder in ["redis", "postgres"] {
            std::fs::create_dir(path(folder))?;
            std::fs::write(path(&format!("{folder}/password")), FIRST)?;
            std::fs::write(path(&format!("{folder}/ca.crt")), authority.pem())?;
        }
        std::fs::write(path("tls.crt"), &certificate)?;
        std::fs::write(path("tls.key"), &key)?;
        let redis_tls = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (port, crt, private) = (redis_tls.to_string(), path("tls.crt"), path("tls.key"));
        let tls = ["--tls-port", &port, "--tls-cert-file", &crt, "--tls-key-file", &private];
        let more = ["--tls-auth-clients", "no"];
        let redis = Redis::start(&[&DURABLE[..], &tls, &more].concat())?;
        let rights =
            USERS.lines().find_map(|line| line.strip_prefix("user gateway ")).context("no rights")?;
        let said = redis.command(&format!("ACL SETUSER gateway {}", rights.replace("CHANGE-ME", FIRST)))?;
        anyhow::ensure!(said.starts_with("+OK"), "{said}");
        let postgres = tokio::task::spawn_blocking(move || Postgres::start_tls(&certificate, &key));
        let postgres = postgres.await?.map_err(anyhow::Error::msg)?;
        let stores = Stores { redis, redis_tls, postgres, files, authority };
        stores.psql(&format!("CREATE ROLE tollgate LOGIN PASSWORD '{FIRST}'"))?;
        stores.psql("GRANT CREATE ON SCHEMA public TO tollgate")?;
        Ok(stores)
    }

    pub fn redis_url(&self) -> String {
        format!("rediss://gateway@127.0.0.1:{}", self.redis_tls)
    }

    pub fn postgres_url(&self) -> String {
        self.postgres.url_tls("tollgate")
    }

    pub fn psql(&self, sql: &str) -> anyhow::Result<String> {
        self.postgres.psql(sql).map_err(anyhow::Error::msg)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// What a gateway is told, with this address of PostgreSQL.
    fn flags(&self, postgres: &str) -> Vec<String> {
        let file = |name: &str| self.file(name).display().to_string();
        let flags = [
            ("redis", self.redis_url()),
            ("redis-password-file", file("redis/password")),
            ("redis-ca", file("redis/ca.crt")),
            ("redis-timeout", "2000".to_owned()),
            ("postgres", postgres.to_owned()),
            ("postgres-password-file", file("postgres/password")),
            ("postgres-ca", file("postgres/ca.crt")),
        ];
        flags.iter().map(|(flag, value)| format!("--{flag}={value}")).collect()
    }

    async fn gateway(&self, home: &Home) -> anyhow::Result<Gateway> {
        let flags = self.flags(&self.postgres_url());
        Gateway::start_on(home, "127.0.0.1:0", &flags.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// How many records, and how many charges, PostgreSQL has.
    pub fn has(&self) -> anyhow::Result<[u64; 2]> {
        let [records, charges] = ["records", "charges"].map(|table| {
            let count = self.psql(&format!("SELECT COUNT(*) FROM {table}"))?;
            anyhow::Ok(count.parse()?)
        });
        Ok([records?, charges?])
    }

    /// Waits until so many requests are recorded and billed.
    pub async fn records(&self, requests: u64) -> anyhow::Result<()> {
        let there = eventually("the requests are recorded and billed", || async {
            // There are no tables before the first one.
            Ok((self.has().ok() == Some([requests; 2])).then_some(()))
        });
        there.await.with_context(|| format!("there are {:?}", self.has()))
    }

    /// Throws everybody out.
    fn disconnect(&self) -> anyhow::Result<()> {
        let theirs = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tollgate'";
        self.psql(theirs).map(drop)
    }
}

/// A provider, and manifests of a route to it and a key `alice`.
pub async fn home() -> anyhow::Result<(Provider, Home)> {
    let provider = provider().await?;
    let home = Home::new(&Manifests::routes(&provider.url()).key("alice", SPEC))?;
    Ok((provider, home))
}

/// Waits for words in a gateway's log.
async fn says(gateway: &Gateway, words: &str) -> anyhow::Result<String> {
    eventually(words, || async { Ok(gateway.log().find(words)) }).await.with_context(|| gateway.log().text())
}

#[tokio::test(flavor = "multi_thread")]
async fn records_reach_postgresql_by_tls_with_a_password_that_rotates() -> anyhow::Result<()> {
    let (stores, (_provider, home)) = (Stores::start().await?, home().await?);
    let gateway = stores.gateway(&home).await?;
    gateway.message("alice", &ask("by TLS")).await?.expect(200)?;
    stores.records(1).await?;
    let connections = "SELECT COUNT(*) FILTER (WHERE ssl) > 0 AND bool_and(ssl) FROM pg_stat_ssl \
                       JOIN pg_stat_activity USING (pid) WHERE usename = 'tollgate'";
    assert_eq!(stores.psql(connections)?, "t", "all connections are encrypted");

    // The password is another one, and nobody has told the gateway yet.
    stores.psql(&format!("ALTER ROLE tollgate PASSWORD '{SECOND}'"))?;
    stores.disconnect()?;
    gateway.message("alice", &ask("meanwhile")).await?.expect(200)?;
    says(&gateway, "password authentication failed").await?;
    assert_eq!(stores.has()?, [1, 1]);
    std::fs::write(stores.file("postgres/password"), format!("{SECOND}\n"))?;
    stores.records(2).await?;
    assert_eq!(gateway.records("alice").await?.len(), 2, "pages have connections of their own");
    let log = gateway.log().text();
    assert!(!log.contains(FIRST) && !log.contains(SECOND), "a password is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_another_authority_vouches_for_gets_no_record() -> anyhow::Result<()> {
    let (stores, (_provider, home)) = (Stores::start().await?, home().await?);
    let gateway = stores.gateway(&home).await?;
    gateway.message("alice", &ask("the first")).await?.expect(200)?;
    stores.records(1).await?;
    gateway.stop().await?;

    std::fs::write(stores.file("postgres/ca.crt"), Authority::new("stranger")?.pem())?;
    let gateway = stores.gateway(&home).await?;
    gateway.message("alice", &ask("kept for later")).await?.expect(200)?;
    let line = says(&gateway, "Records cannot be written").await?;
    assert!(line.contains("invalid peer certificate: UnknownIssuer"), "{line}");
    let waits = says(&gateway, "billing records wait").await?;
    assert!(waits.contains("UnknownIssuer"), "{waits}");
    assert_eq!(stores.has()?, [1, 1]);
    let came = command(&["audit"], &stores.flags(&stores.postgres_url())).unwrap_err().to_string();
    assert!(came.contains("UnknownIssuer"), "{came}");

    // The authority has changed, and the file is changed now.
    std::fs::write(stores.file("postgres/ca.crt"), stores.authority.pem())?;
    stores.records(2).await?;
    let came = command(&["audit"], &stores.flags(&stores.postgres_url()))?;
    assert!(came.contains("\"consistent\": true"), "{came}");
    // The right authority, and another's name; and who asks for no TLS is not let in.
    for (changed, words) in
        [("//tollgate@localhost:", "not valid for name"), ("sslmode=disable", "no encryption")]
    {
        let from = if changed.starts_with("//") { "//tollgate@127.0.0.1:" } else { "sslmode=verify-full" };
        let url = stores.postgres_url().replace(from, changed);
        let came = command(&["audit"], &stores.flags(&url)).unwrap_err().to_string();
        assert!(came.contains(words), "{url}: {came}");
    }
    Ok(())
}
