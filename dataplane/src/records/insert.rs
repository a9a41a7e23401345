//! Many rows by few statements. Chunks come in four sizes only, so that the prepared statements are always cached.

use super::entry::BindError;
use sqlx::{AssertSqlSafe, SqliteConnection, sqlite::SqliteArguments};

/// A row of a table.
pub(crate) trait Insert {
    /// `INSERT INTO … VALUES `
    const HEAD: &'static str;
    /// How many values a row binds.
    const COLUMNS: usize;
    /// What follows the rows: a conflict clause.
    const TAIL: &'static str;

    /// Binds the row's values in the order of its columns.
    fn bind(&self, args: &mut SqliteArguments) -> Result<(), BindError>;
}

/// Rows a statement, largest first.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];

/// Inserts all rows; returns how many were written (conflicts that do nothing are not).
pub(crate) async fn insert<R: Insert>(conn: &mut SqliteConnection, rows: &[R]) -> sqlx::Result<u64> {
    let mut left = rows.len();
    let mut rows = rows.iter();
    let mut written = 0;
    for chunk in CHUNKS {
        while left >= chunk {
            left -= chunk;
            let mut args = SqliteArguments::default();
            for row in rows.by_ref().take(chunk) {
                row.bind(&mut args).map_err(sqlx::Error::Encode)?;
            }
            // Only constants of this crate go into the text; every value is bound.
            let sql = AssertSqlSafe(statement::<R>(chunk));
            written += sqlx::query_with(sql, args).execute(&mut *conn).await?.rows_affected();
        }
    }
    Ok(written)
}

fn statement<R: Insert>(rows: usize) -> String {
    let mut sql = String::with_capacity(R::HEAD.len() + rows * (R::COLUMNS * 2 + 2) + R::TAIL.len());
    sql.push_str(R::HEAD);
    for row in 0..rows {
        sql.push_str(if row == 0 { "(?" } else { ",(?" });
        for _ in 1..R::COLUMNS {
            sql.push_str(",?");
        }
        sql.push(')');
    }
    sql.push_str(R::TAIL);
    sql
}
