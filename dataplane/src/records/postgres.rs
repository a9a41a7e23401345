//! Records in PostgreSQL 15 or later: any number of gateways write, any of them reads.
//!
//! # Layout
//! - [`migrate`]: the schema's versions; [`lock`]: who may do what alone
//! - [`write`]: full records as they come from a gateway; [`charge`]: charges as they come from the ledger's stream; [`stored`]:
//!   what of a record is there already, and what another part of it adds
//! - [`retention`]: deletion; [`restore`]: the ledger's committed sums and its generation
//!
//! # Order
//! Live views follow `seq`, so rows must become visible in its order. Transactions that give places in that order hold one
//! lock from then to their commit ([`lock::WRITERS`]). They would wait for each other anyway: all of them add to the sums of
//! the same roots. Blocks and conversations, most of what is written, are written before it is taken.

pub(crate) mod charge;
pub(crate) mod lock;
pub(crate) mod migrate;
pub mod restore;
pub(crate) mod retention;
pub(crate) mod stored;
pub(crate) mod write;

use super::db::{Pool, Value};
use sqlx::{
    ConnectOptions as _, Executor as _, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{fmt, path::PathBuf, str::FromStr as _, sync::Arc, time::Duration};

/// How PostgreSQL is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?sslmode=verify-full]`.
    pub url: String,
    /// File of the password; read anew whenever a connection fails, so that it may rotate.
    pub password_file: Option<PathBuf>,
    /// File of the authorities (PEM) to trust beside the public ones; read anew likewise.
    pub ca: Option<PathBuf>,
    /// Connections for records of this process at most; a drainer has its own.
    pub connections: u32,
    /// The folder where records wait while PostgreSQL is away; `None`: they wait in memory only.
    pub spill: Option<PathBuf>,
}

/// Why PostgreSQL's options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// No PostgreSQL URL. Its text is not repeated: it may hold a password.
    #[error(
        "the PostgreSQL address is not understood ({0}): write postgres://USER@HOST:5432/DATABASE?sslmode=verify-full"
    )]
    Url(String),
    /// A file that cannot be read.
    #[error("{what} {} cannot be read: {source}", path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Two pools: writing is never kept waiting by pages.
#[derive(Debug, Clone)]
pub(crate) struct Pools {
    pub(crate) writer: Pool,
    pub(crate) readers: Pool,
}

/// The writer's connections: one for records, one to spare.
const WRITERS: u32 = 2;
/// How long connecting, or waiting for a free connection, may take.
const CONNECT: Duration = Duration::from_secs(5);
/// What each session is told. A page's query, or a batch, that takes longer than this is given up by the server itself; a
/// writer that stops in the middle does not hold the others' lock for long; a peer that is gone is noticed within a minute.
const SESSION: &str = "SET statement_timeout = '20s'; SET lock_timeout = '10s'; \
    SET idle_in_transaction_session_timeout = '15s'; SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 10; \
    SET tcp_keepalives_count = 3; SET timezone = 'UTC'; SET client_min_messages = 'warning'";

// === impl Options ===

impl Options {
    /// Defaults for an address.
    pub fn new(url: impl Into<String>) -> Self {
        Options { url: url.into(), password_file: None, ca: None, connections: 8, spill: None }
    }

    /// Server and database, for messages.
    pub(crate) fn name(&self) -> String {
        PgConnectOptions::from_str(&self.url).map_or_else(
            |_| "PostgreSQL".to_owned(),
            |o| {
                let database = o.get_database().unwrap_or_default();
                format!("postgres://{}:{}/{database}", o.get_host(), o.get_port())
            },
        )
    }

    fn connect(&self) -> Result<PgConnectOptions, OptionsError> {
        let mut options =
            PgConnectOptions::from_str(&self.url).map_err(|error| OptionsError::Url(words(&error)))?;
        if let Some(path) = &self.password_file {
            let password = std::fs::read_to_string(path).map_err(|source| OptionsError::File {
                what: "the PostgreSQL password file",
                path: path.clone(),
                source,
            })?;
            options = options.password(password.trim_end_matches(['\r', '\n']));
        }
        if let Some(path) = &self.ca {
            let pem = std::fs::read(path).map_err(|source| OptionsError::File {
                what: "the PostgreSQL authorities file",
                path: path.clone(),
                source,
            })?;
            options = options.ssl_root_cert_from_pem(pem);
        }
        Ok(options.application_name("tollgate").statement_cache_capacity(200).disable_statement_logging())
    }

    /// The pools; nothing is connected yet, so that a gateway starts without PostgreSQL.
    pub(crate) fn pools(&self) -> Result<Pools, OptionsError> {
        let connect = self.connect()?;
        let readers = self.connections.saturating_sub(WRITERS).max(2);
        let pool = |most, connect| Pool::Postgres(pool(most, connect), Arc::new(self.clone()));
        Ok(Pools { writer: pool(WRITERS, connect.clone()), readers: pool(readers, connect) })
    }

    /// Reads password and authorities anew, for the connections that will be made; false where neither is in a file.
    pub(crate) fn renew(&self, pool: &PgPool) -> Result<bool, OptionsError> {
        let in_files = self.password_file.is_some() || self.ca.is_some();
        if in_files {
            pool.set_connect_options(self.connect()?);
        }
        Ok(in_files)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("place", &self.name())
            .field("password_file", &self.password_file)
            .field("ca", &self.ca)
            .field("connections", &self.connections)
            .field("spill", &self.spill)
            .finish()
    }
}

fn pool(connections: u32, options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT)
        .idle_timeout(Duration::from_secs(300))
        .max_lifetime(Duration::from_secs(1800))
        .after_connect(|conn, _| Box::pin(async move { conn.execute(SESSION).await.map(drop) }))
        .connect_lazy_with(options)
}

/// What the parser says of an address; it does not repeat it.
fn words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(inner) => inner.to_string(),
        _ => "not a URL".to_owned(),
    }
}

/// Ids as a list for `= ANY(CAST(? AS uuid[]))`.
pub(crate) fn uuids(ids: impl Iterator<Item = uuid::Uuid>) -> Value {
    Value::Texts(ids.map(|id| id.hyphenated().to_string()).collect())
}
