//! Where the writer writes to.

use super::{
    batch::Batch,
    db::{Pool, is_away, is_refused},
    location::OpenError,
    postgres::{self, migrate, write::Money},
    sqlite,
    trees::Trees,
};

/// Where the writer writes to.
pub(crate) enum Target {
    /// One process's file.
    Sqlite {
        pool: Pool,
        trees: Trees,
        /// The first free place in the order of writing.
        next_seq: i64,
    },
    /// All gateways' database.
    Postgres {
        pool: Pool,
        trees: Trees,
        options: postgres::Options,
        money: Money,
        /// Whether the schema is known to be up to date.
        ready: bool,
    },
}

/// Why a batch was not written.
#[derive(Debug)]
pub(crate) struct WriteError {
    pub(crate) words: String,
    /// The database cannot be reached: worth waiting for.
    pub(crate) away: bool,
    /// It refuses something in the batch, whenever it is asked.
    pub(crate) refused: bool,
}

// === impl Target ===

impl Target {
    /// SQLite's.
    pub(crate) async fn sqlite(pool: Pool) -> sqlx::Result<(Self, Trees)> {
        let trees = Trees::load(&pool).await?;
        let mut sql = pool.sql();
        sql.push("SELECT COALESCE(MAX(seq), 0) + 1 FROM records");
        let next_seq = pool.fetch_optional(sql).await?.map(|row| row.int(0)).transpose()?.unwrap_or(1);
        Ok((Target::Sqlite { pool, trees: trees.clone(), next_seq }, trees))
    }

    /// PostgreSQL's. That it cannot be reached now is no error: the schema is seen to when it can.
    ///
    /// # Errors
    /// When it answers and refuses, or belongs to a later program that this one must not disturb.
    pub(crate) async fn postgres(
        pool: Pool,
        options: postgres::Options,
        money: Money,
    ) -> Result<(Self, Trees), OpenError> {
        let trees = Trees::default();
        let place = options.name();
        let mut target = Target::Postgres { pool, trees: trees.clone(), options, money, ready: false };
        match target.prepare().await {
            Ok(()) => {}
            Err(sqlx::Error::Configuration(words)) => {
                return Err(OpenError::Refused { place, source: sqlx::Error::Configuration(words) });
            }
            Err(error) if is_away(&error) => {
                tracing::warn!(%error, %place, "PostgreSQL does not answer; records wait here until it does");
            }
            Err(source) => return Err(OpenError::Refused { place, source }),
        }
        Ok((target, trees))
    }

    pub(crate) fn pool(&self) -> &Pool {
        match self {
            Target::Sqlite { pool, .. } | Target::Postgres { pool, .. } => pool,
        }
    }

    /// Whether records may wait for it in the queue, with their content, for as long as there is room.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Target::Postgres { .. })
    }

    /// Sees to the schema, once.
    async fn prepare(&mut self) -> sqlx::Result<()> {
        let Target::Postgres { pool, trees, options, ready, .. } = self else { return Ok(()) };
        if *ready {
            return Ok(());
        }
        let version = migrate::migrate(pool).await?;
        if version.oldest > migrate::NEEDED {
            let words = format!(
                "the records in {} are of version {} and must not be touched by programs before version {}; this one knows {}: upgrade it",
                options.name(),
                version.found,
                version.oldest,
                migrate::NEEDED
            );
            return Err(sqlx::Error::Configuration(words.into()));
        }
        trees.refresh(pool).await?;
        *ready = true;
        Ok(())
    }

    /// Writes all of a batch or nothing.
    pub(crate) async fn write(&mut self, batch: &mut Batch) -> Result<(), WriteError> {
        let written = async {
            self.prepare().await?;
            match self {
                Target::Sqlite { pool, trees, next_seq } => {
                    sqlite::write::write(batch, pool, trees, next_seq).await
                }
                Target::Postgres { pool, trees, money, .. } => {
                    postgres::write::write(batch, pool, trees, *money).await
                }
            }
        };
        match written.await {
            Ok(()) => Ok(()),
            Err(error) => {
                let (away, refused) = (is_away(&error), is_refused(&error));
                Err(WriteError { away, refused, words: error.to_string() })
            }
        }
    }
}
