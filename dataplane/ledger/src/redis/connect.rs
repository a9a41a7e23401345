//! Making a connection. Whatever may rotate (password, authorities) is read anew each time.

use super::link::{Connection, Why};
use super::wire::{self, Args, Reply};
use super::{Address, Options};
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult,
    TlsCertificates, TlsMode, Value,
    cluster::ClusterClientBuilder,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use std::path::Path;
use std::time::Duration;

/// What makes connections.
pub(super) struct Maker {
    address: Address,
    options: Options,
}

/// What is read of files.
#[derive(Default)]
struct Secrets {
    password: Option<String>,
    tls: Option<TlsCertificates>,
}

/// A cluster's answers may take as long as what is done off a client's path.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(2);

// === impl Maker ===

impl Maker {
    pub(super) fn new(address: Address, options: Options) -> Self {
        if address.is_tls() && rustls::crypto::CryptoProvider::get_default().is_none() {
            // Normally the program has installed it; whoever is second gets an error that does not matter.
            rustls::crypto::ring::default_provider().install_default().ok();
        }
        Maker { address, options }
    }

    /// Connects, and looks whether the server keeps what it is given.
    pub(super) async fn make(&self) -> Result<Connection, Why> {
        let made = async {
            let mut connection = self.connect().await?;
            let mut command = ::redis::cmd("INFO");
            let answer = connection.answer(command.arg("memory")).await?;
            if let Some(policy) = wrong_policy(&answer) {
                return Err(Why::Policy(policy));
            }
            match self.missing_rights(&mut connection).await? {
                Some(commands) => Err(Why::Rights(commands)),
                None => Ok(connection),
            }
        };
        let slow = || Why::Failed(RedisError::from((ErrorKind::Io, "connecting took too long")));
        // Name, connection, login, and the question: each of them may hang.
        tokio::time::timeout(self.options.connect_timeout * 2, made).await.unwrap_or_else(|_| Err(slow()))
    }

    /// The commands that the user may not use.
    async fn missing_rights(&self, connection: &mut Connection) -> RedisResult<Option<String>> {
        let (key, args) = rights(&self.options);
        let by_hash = connection.answer(&args.command(&wire::RIGHTS, false, &key)).await;
        let answer: Value = match by_hash {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                connection.answer(&args.command(&wire::RIGHTS, true, &key)).await?
            }
            answer => answer?,
        };
        Ok(Reply::new(answer).and_then(|reply| reply.missing()))
    }

    async fn connect(&self) -> RedisResult<Connection> {
        let secrets = self.secrets().await?;
        match &self.address {
            Address::Single(info) => {
                let info = with_password((**info).clone(), &secrets);
                let client = match secrets.tls {
                    Some(tls) => Client::build_with_tls(info, tls)?,
                    None => Client::open(info)?,
                };
                let config = self.config();
                client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Single)
            }
            Address::Cluster(nodes) => {
                let nodes = nodes.iter().map(|node| with_password(node.clone(), &secrets));
                let mut builder = ClusterClientBuilder::new(nodes)
                    .connection_timeout(self.options.connect_timeout)
                    .response_timeout(self.options.timeout.max(CLUSTER_TIMEOUT))
                    .retries(2);
                if let Some(tls) = secrets.tls {
                    builder = builder.certs(tls);
                }
                builder.build()?.get_async_connection().await.map(Connection::Cluster)
            }
            Address::Sentinel { nodes, master, db } => {
                let asked = self.by_sentinels(nodes, master, *db, &secrets, false).await;
                match asked {
                    // Some guard their Sentinels by the password of Redis.
                    Err(error) if is_login(&error) => {
                        self.by_sentinels(nodes, master, *db, &secrets, true).await
                    }
                    other => other,
                }
            }
        }
    }

    /// Requests have timeouts of their own, shorter ones.
    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(None)
    }

    async fn by_sentinels(
        &self,
        nodes: &[ConnectionInfo],
        master: &str,
        db: i64,
        secrets: &Secrets,
        login: bool,
    ) -> RedisResult<Connection> {
        let places: Vec<ConnectionAddr> = nodes.iter().map(|node| node.addr().clone()).collect();
        let mut builder = SentinelClientBuilder::new(places, master, SentinelServerType::Master)?
            .set_client_to_redis_db(db);
        let known = nodes.first().map(|node| with_password(node.clone(), secrets));
        if let Some(settings) = known.as_ref().map(ConnectionInfo::redis_settings) {
            if let Some(user) = settings.username() {
                builder = builder.set_client_to_redis_username(user);
            }
            if let Some(password) = settings.password() {
                builder = builder.set_client_to_redis_password(password);
                if login {
                    builder = builder.set_client_to_sentinel_password(password);
                }
            }
        }
        if self.address.is_tls() {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
            if let Some(tls) = &secrets.tls {
                builder = builder
                    .set_client_to_redis_certificates(tls.clone())
                    .set_client_to_sentinel_certificates(tls.clone());
            }
        }
        let mut client = builder.build()?;
        client.get_async_connection_with_config(&self.config()).await.map(Connection::Single)
    }

    async fn secrets(&self) -> RedisResult<Secrets> {
        let mut secrets = Secrets::default();
        if let Some(file) = &self.options.password_file {
            let text = read(file).await?;
            let text = String::from_utf8(text).map_err(|_| unreadable(file, "it is no text"))?;
            secrets.password = Some(text.trim_end_matches(['\r', '\n']).to_owned());
        }
        if let (Some(file), true) = (&self.options.ca_file, self.address.is_tls()) {
            secrets.tls = Some(TlsCertificates { client_tls: None, root_cert: Some(read(file).await?) });
        }
        Ok(secrets)
    }
}

async fn read(file: &Path) -> RedisResult<Vec<u8>> {
    tokio::fs::read(file).await.map_err(|error| unreadable(file, error))
}

fn unreadable(file: &Path, why: impl std::fmt::Display) -> RedisError {
    let words = format!("{}: {why}", file.display());
    RedisError::from((ErrorKind::InvalidClientConfig, "a file cannot be read", words))
}

fn with_password(info: ConnectionInfo, secrets: &Secrets) -> ConnectionInfo {
    match &secrets.password {
        Some(password) => {
            let settings = info.redis_settings().clone().set_password(password);
            info.set_redis_settings(settings)
        }
        None => info,
    }
}

fn is_login(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}

/// The key and the arguments of the question after rights.
pub(super) fn rights(options: &Options) -> (String, Args) {
    let mut args = Args::default();
    for command in wire::COMMANDS {
        args.push(command);
    }
    (format!("{}:{{ledger}}:rights", options.prefix), args)
}

/// The first `maxmemory_policy` of an answer, be it of one node or of many, that is not `noeviction`.
pub(super) fn wrong_policy(value: &Value) -> Option<String> {
    match value {
        Value::Map(nodes) => nodes.iter().find_map(|(_, answer)| wrong_policy(answer)),
        Value::Array(nodes) => nodes.iter().find_map(wrong_policy),
        other => {
            let text = match other {
                Value::VerbatimString { text, .. } => Some(text.as_str()),
                other => super::wire::text(other),
            };
            let mut lines = text.unwrap_or_default().lines();
            let policy = lines.find_map(|line| line.strip_prefix("maxmemory_policy:"))?;
            (policy != "noeviction").then(|| policy.to_owned())
        }
    }
}
