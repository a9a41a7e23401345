//! Rows, read by position: names would be looked up for each row.

use super::sql::PgUuid;
use sqlx::{
    Column as _, Decode, Postgres, Row as _, TypeInfo as _,
    postgres::{PgRow, PgValueRef},
    sqlite::SqliteRow,
};
use uuid::Uuid;

/// A row of an answer.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

// === impl Row ===

impl Row {
    /// An integer of any width.
    pub(crate) fn maybe_int(&self, at: usize) -> sqlx::Result<Option<i64>> {
        match self {
            Row::Sqlite(row) => row.try_get(at),
            Row::Postgres(row) => match row.try_column(at)?.type_info().name() {
                "INT2" => Ok(row.try_get::<Option<i16>, _>(at)?.map(i64::from)),
                "INT4" => Ok(row.try_get::<Option<i32>, _>(at)?.map(i64::from)),
                "BOOL" => Ok(row.try_get::<Option<bool>, _>(at)?.map(i64::from)),
                _ => row.try_get(at),
            },
        }
    }

    /// An integer; NULL is 0.
    pub(crate) fn int(&self, at: usize) -> sqlx::Result<i64> {
        Ok(self.maybe_int(at)?.unwrap_or(0))
    }

    /// An amount; NULL is 0.
    pub(crate) fn uint(&self, at: usize) -> sqlx::Result<u64> {
        Ok(self.int(at)?.unsigned_abs())
    }

    pub(crate) fn maybe_text(&self, at: usize) -> sqlx::Result<Option<String>> {
        match self {
            Row::Sqlite(row) => row.try_get(at),
            Row::Postgres(row) => row.try_get(at),
        }
    }

    /// A text; NULL is empty.
    pub(crate) fn text(&self, at: usize) -> sqlx::Result<String> {
        Ok(self.maybe_text(at)?.unwrap_or_default())
    }

    pub(crate) fn bytes(&self, at: usize) -> sqlx::Result<Option<Vec<u8>>> {
        match self {
            Row::Sqlite(row) => row.try_get(at),
            Row::Postgres(row) => row.try_get(at),
        }
    }

    /// A record's id.
    pub(crate) fn id(&self, at: usize) -> sqlx::Result<Uuid> {
        match self {
            Row::Sqlite(row) => Ok(Uuid::from_slice(row.try_get(at)?).unwrap_or_default()),
            Row::Postgres(row) => Ok(row.try_get::<PgUuid, _>(at)?.0),
        }
    }
}

// === impl PgUuid ===

impl Decode<'_, Postgres> for PgUuid {
    fn decode(value: PgValueRef<'_>) -> Result<Self, sqlx::error::BoxDynError> {
        Ok(PgUuid(Uuid::from_slice(value.as_bytes()?)?))
    }
}
