//! Where records are kept, and why that may not work.

use super::postgres;
use std::path::PathBuf;

/// Where records are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Nowhere: gone with the process.
    Memory,
    /// In this SQLite file; its folder exists.
    File(PathBuf),
    /// In PostgreSQL, with all other gateways.
    Postgres(postgres::Options),
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database.
    #[error(
        "the record store {path} cannot be opened: {source}; check that the folder exists and can be written"
    )]
    Database {
        /// Which file.
        path: String,
        /// What the database said.
        source: sqlx::Error,
    },
    /// A database of a later program.
    #[error(
        "the record store {path} is of version {found}, this program knows {known}: it was written by a later version; upgrade, or use another file"
    )]
    Newer {
        /// Which file.
        path: String,
        /// Its version.
        found: i64,
        /// The latest known here.
        known: i64,
    },
    /// PostgreSQL's address, password or authority.
    #[error("{0}")]
    Postgres(#[from] postgres::OptionsError),
    /// PostgreSQL answers, and refuses.
    #[error(
        "the record store {place} refuses: {source}; check the database, the user's right to create tables in it, and the password"
    )]
    Refused {
        /// Which server and database.
        place: String,
        /// What it said.
        source: sqlx::Error,
    },
    /// The spill file, a thread, memory.
    #[error("the record store {path} cannot be started: {source}")]
    Io {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

// === impl Location ===

impl Location {
    /// For messages; without a password.
    pub(crate) fn name(&self) -> String {
        match self {
            Location::Memory => "(in memory)".to_owned(),
            Location::File(path) => path.display().to_string(),
            Location::Postgres(options) => options.name(),
        }
    }
}
