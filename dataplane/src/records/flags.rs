//! The flags that say where records are kept.

use super::{Location, postgres};
use std::path::{Path, PathBuf};

/// Where records are kept.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PostgresArgs {
    /// PostgreSQL (15 or later) where all gateways keep their records, such as
    /// postgres://tollgate@db:5432/tollgate?sslmode=verify-full; without it they are in a SQLite file here.
    #[arg(long, env = "TOLLGATE_POSTGRES", hide_env_values = true, value_name = "URL")]
    pub postgres: Option<String>,
    /// File of PostgreSQL's password; read anew when a connection fails.
    #[arg(long, env = "TOLLGATE_POSTGRES_PASSWORD_FILE", value_name = "FILE", requires = "postgres")]
    pub postgres_password_file: Option<PathBuf>,
    /// File of the authorities (PEM) to trust for PostgreSQL's certificate, beside the public ones; read anew when a connection
    /// fails.
    #[arg(long, env = "TOLLGATE_POSTGRES_CA", value_name = "FILE", requires = "postgres")]
    pub postgres_ca: Option<PathBuf>,
}

// === impl PostgresArgs ===

impl PostgresArgs {
    /// PostgreSQL, if it was given. Records wait in `data` while it is away.
    pub fn options(&self, data: &Path) -> Option<postgres::Options> {
        let url = self.postgres.as_deref().filter(|url| !url.is_empty())?;
        Some(postgres::Options {
            password_file: self.postgres_password_file.clone(),
            ca: self.postgres_ca.clone(),
            spill: Some(data.to_owned()),
            ..postgres::Options::new(url)
        })
    }

    /// Where records are kept: PostgreSQL, or a file in `data`.
    pub fn location(&self, data: &Path) -> Location {
        match self.options(data) {
            Some(options) => Location::Postgres(options),
            None => Location::File(data.join("records.sqlite")),
        }
    }
}
