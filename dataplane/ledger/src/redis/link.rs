//! The connection: one server, the master that Sentinels name, or a cluster. Every command has one timeout.

use super::{Address, Options, StoreError};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, RedisResult, TlsCertificates, TlsMode, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// A connection that mends itself.
pub(super) struct Link {
    kind: Kind,
    timeout: Duration,
}

enum Kind {
    Single(ConnectionManager),
    Sentinel(Sentinel),
    Cluster(ClusterConnection),
}

/// The master's connection; asked for anew when it breaks or is master no more.
struct Sentinel {
    client: Arc<tokio::sync::Mutex<SentinelClient>>,
    current: Mutex<Option<MultiplexedConnection>>,
    config: AsyncConnectionConfig,
}

// === impl Link ===

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Link {
    /// Connects.
    pub(super) async fn connect(address: &Address, options: &Options) -> Result<Self, StoreError> {
        if address.is_tls() && rustls::crypto::CryptoProvider::get_default().is_none() {
            // Normally the program has installed it; whoever is second gets an error that does not matter.
            rustls::crypto::ring::default_provider().install_default().ok();
        }
        let kind = match address {
            Address::Single(info) => {
                let client = match certificates(options) {
                    Some(tls) if address.is_tls() => Client::build_with_tls((**info).clone(), tls)?,
                    _ => Client::open((**info).clone())?,
                };
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(options.connect_timeout))
                    .set_response_timeout(Some(options.timeout))
                    .set_min_delay(Duration::from_millis(10))
                    .set_max_delay(Duration::from_millis(500));
                Kind::Single(ConnectionManager::new_with_config(client, config).await?)
            }
            Address::Sentinel { .. } => Kind::Sentinel(Sentinel::new(address, options)?),
            Address::Cluster(nodes) => {
                let mut builder = ClusterClientBuilder::new(nodes.iter().cloned())
                    .connection_timeout(options.connect_timeout)
                    .response_timeout(options.timeout)
                    .retries(2);
                if let Some(tls) = certificates(options).filter(|_| address.is_tls()) {
                    builder = builder.certs(tls);
                }
                Kind::Cluster(builder.build()?.get_async_connection().await?)
            }
        };
        Ok(Link { kind, timeout: options.timeout })
    }

    /// Sends a command and waits for its answer, but no longer than the timeout.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, StoreError> {
        let answer = async { self.answer(command).await.and_then(Value::extract_error) };
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Err(error)) if error.is_timeout() => Err(StoreError::Slow(self.timeout)),
            Ok(answer) => Ok(answer?),
            Err(_) => Err(StoreError::Slow(self.timeout)),
        }
    }

    async fn answer(&self, command: &Cmd) -> RedisResult<Value> {
        match &self.kind {
            Kind::Single(connection) => connection.clone().req_packed_command(command).await,
            Kind::Cluster(connection) => connection.clone().req_packed_command(command).await,
            Kind::Sentinel(sentinel) => sentinel.answer(command).await,
        }
    }
}

fn certificates(options: &Options) -> Option<TlsCertificates> {
    let root_cert = options.ca_pem.clone()?;
    Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
}

// === impl Sentinel ===

impl Sentinel {
    fn new(address: &Address, options: &Options) -> Result<Self, StoreError> {
        let Address::Sentinel { nodes, master, db } = address else {
            return Err(StoreError::Address("not of Sentinels".to_owned()));
        };
        let places: Vec<ConnectionAddr> = nodes.iter().map(|node| node.addr().clone()).collect();
        let mut builder = SentinelClientBuilder::new(places, master, SentinelServerType::Master)?
            .set_client_to_redis_db(*db);
        if let Some(settings) = nodes.first().map(|node| node.redis_settings()) {
            if let Some(user) = settings.username() {
                builder = builder.set_client_to_redis_username(user);
            }
            if let Some(password) = settings.password() {
                builder = builder.set_client_to_redis_password(password);
            }
        }
        if address.is_tls() {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            if let Some(tls) = certificates(options) {
                builder = builder
                    .set_client_to_redis_certificates(tls.clone())
                    .set_client_to_sentinel_certificates(tls);
            }
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.timeout));
        let client = Arc::new(tokio::sync::Mutex::new(builder.build()?));
        Ok(Sentinel { client, current: Mutex::new(None), config })
    }

    async fn answer(&self, command: &Cmd) -> RedisResult<Value> {
        let known = self.current.lock().clone();
        let mut connection = match known {
            Some(connection) => connection,
            None => {
                let new = self.client.lock().await.get_async_connection_with_config(&self.config).await?;
                *self.current.lock() = Some(new.clone());
                new
            }
        };
        let answer = connection.req_packed_command(command).await.and_then(Value::extract_error);
        if let Err(error) = &answer
            && !error.is_timeout()
            && (error.is_unrecoverable_error() || error.code() == Some("READONLY"))
        {
            *self.current.lock() = None;
        }
        answer
    }
}
