//! Many rows by few statements. Chunks come in four sizes only, so that the prepared statements are always cached.

use super::db::{Sql, Tx, Value};

/// A row of a table.
pub(crate) trait Insert {
    /// `INSERT INTO … VALUES `
    const HEAD: &'static str;
    /// How many values a row binds.
    const COLUMNS: usize;
    /// What follows the rows: a conflict clause.
    const TAIL: &'static str;

    /// Gives the row's values in the order of its columns.
    fn bind(&self, to: &mut Sql);
}

/// Rows a statement, largest first.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];

/// Inserts all rows; returns how many were written (conflicts that do nothing are not).
pub(crate) async fn insert<'a, R: Insert + 'a>(
    tx: &mut Tx,
    rows: impl IntoIterator<Item = &'a R, IntoIter: ExactSizeIterator>,
) -> sqlx::Result<u64> {
    let mut rows = rows.into_iter();
    let mut left = rows.len();
    let mut written = 0;
    for chunk in CHUNKS {
        while left >= chunk {
            left -= chunk;
            let mut sql = tx.sql();
            statement::<R>(&mut sql, chunk);
            rows.by_ref().take(chunk).for_each(|row| row.bind(&mut sql));
            written += tx.execute(sql).await?;
        }
    }
    Ok(written)
}

fn statement<R: Insert>(sql: &mut Sql, rows: usize) {
    sql.push(R::HEAD);
    for row in 0..rows {
        sql.push(if row == 0 { "(?" } else { ",(?" });
        for _ in 1..R::COLUMNS {
            sql.push(",?");
        }
        sql.push(")");
    }
    sql.push(R::TAIL);
}

/// Binds so many NULLs of one type.
pub(crate) fn nulls(to: &mut Sql, null: &Value, count: usize) {
    (0..count).for_each(|_| {
        to.value(null.clone());
    });
}
