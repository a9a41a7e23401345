//! Statements: text made of constants and integers, and bound values.

use super::Dialect;
use sqlx::{
    Arguments as _, AssertSqlSafe, Encode, Postgres, Sqlite, Type,
    encode::IsNull,
    postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo},
    query::Query,
    sqlite::SqliteArguments,
};
use std::{borrow::Cow, fmt::Write as _};
use uuid::Uuid;

/// A value of a statement. NULLs have a type: PostgreSQL wants to know.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Id(Uuid),
    /// PostgreSQL only.
    Ints(Vec<i64>),
    /// PostgreSQL only.
    Texts(Vec<String>),
    /// PostgreSQL only: a tsvector's words, sorted, each once.
    Words(Vec<String>),
}

/// SQL text with its bound values, each a `?` in the text. Nothing that comes from outside goes into the text.
#[derive(Debug, Clone)]
pub(crate) struct Sql {
    dialect: Dialect,
    text: String,
    values: Vec<Value>,
}

/// A UUID as PostgreSQL has it.
pub(super) struct PgUuid(pub(super) Uuid);

/// A tsvector without positions.
struct PgWords(Vec<String>);

/// PostgreSQL's numbers of the types uuid and tsvector.
const UUID_OID: u32 = 2950;
const TSVECTOR_OID: u32 = 3614;

// === impl Sql ===

impl Sql {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Sql { dialect, text: String::new(), values: Vec::new() }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Text that only one of the two understands, or needs.
    pub(crate) fn either(&mut self, sqlite: &str, postgres: &str) -> &mut Self {
        match self.dialect {
            Dialect::Sqlite => self.push(sqlite),
            Dialect::Postgres => self.push(postgres),
        }
    }

    pub(crate) fn int(&mut self, number: i64) -> &mut Self {
        // Writing to a String cannot fail.
        write!(self.text, "{number}").unwrap_or(());
        self
    }

    /// Text with one `?`, and its value.
    pub(crate) fn bind(&mut self, text: &str, value: impl Into<Value>) -> &mut Self {
        self.text.push_str(text);
        self.values.push(value.into());
        self
    }

    /// A value whose `?` is in the text already.
    pub(crate) fn value(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self
    }

    /// ` AND column IN (…)`; nothing for a scope of all.
    pub(crate) fn scope(&mut self, column: &str, scope: &Option<Vec<i64>>) -> &mut Self {
        let Some(trees) = scope else { return self };
        self.push(" AND ").push(column).push(" IN (");
        for (n, tree) in trees.iter().enumerate() {
            self.push(if n > 0 { "," } else { "" }).int(*tree);
        }
        self.push(")")
    }

    pub(super) fn sqlite(self) -> sqlx::Result<Query<'static, Sqlite, SqliteArguments>> {
        let mut args = SqliteArguments::default();
        for value in self.values {
            match value {
                Value::Int(value) => args.add(value),
                Value::Text(value) => args.add(value),
                Value::Bytes(value) => args.add(value),
                Value::Id(id) => args.add(id.as_bytes().to_vec()),
                Value::Ints(_) | Value::Texts(_) | Value::Words(_) => Err("SQLite has no lists".into()),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(sqlx::query_with(AssertSqlSafe(self.text), args))
    }

    pub(super) fn postgres(self) -> sqlx::Result<Query<'static, Postgres, PgArguments>> {
        let text = numbered(&self.text);
        let mut args = PgArguments::default();
        args.reserve(self.values.len(), 0);
        for value in self.values {
            match value {
                Value::Int(value) => args.add(value),
                Value::Text(value) => args.add(value.map(without_nul)),
                Value::Bytes(value) => args.add(value),
                Value::Id(id) => args.add(PgUuid(id)),
                Value::Ints(list) => args.add(list),
                Value::Words(words) => args.add(PgWords(words)),
                Value::Texts(list) => args.add(list.into_iter().map(without_nul).collect::<Vec<_>>()),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(sqlx::query_with(AssertSqlSafe(text), args))
    }
}

/// `?` as PostgreSQL writes it: `$1`, `$2`, …
fn numbered(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for (n, part) in text.split('?').enumerate() {
        if n > 0 {
            write!(out, "${n}").unwrap_or(());
        }
        out.push_str(part);
    }
    out
}

/// PostgreSQL's texts cannot hold a NUL character.
fn without_nul(text: String) -> String {
    match memchr::memchr(0, text.as_bytes()) {
        Some(_) => text.replace('\0', "\u{fffd}"),
        None => text,
    }
}

// === impl Value ===

macro_rules! values {
    ($($from:ty => |$it:ident| $make:expr),+ $(,)?) => {
        $(impl From<$from> for Value {
            fn from($it: $from) -> Self {
                $make
            }
        })+
    };
}

values! {
    i64 => |it| Value::Int(Some(it)),
    Option<i64> => |it| Value::Int(it),
    bool => |it| Value::Int(Some(it.into())),
    Option<bool> => |it| Value::Int(it.map(i64::from)),
    &str => |it| Value::Text(Some(it.to_owned())),
    Option<&str> => |it| Value::Text(it.map(str::to_owned)),
    String => |it| Value::Text(Some(it)),
    &String => |it| Value::Text(Some(it.clone())),
    Option<String> => |it| Value::Text(it),
    Cow<'_, str> => |it| Value::Text(Some(it.into_owned())),
    &[u8] => |it| Value::Bytes(Some(it.to_vec())),
    Option<&[u8]> => |it| Value::Bytes(it.map(<[u8]>::to_vec)),
    Vec<u8> => |it| Value::Bytes(Some(it)),
    Uuid => |it| Value::Id(it),
    Vec<i64> => |it| Value::Ints(it),
    Vec<String> => |it| Value::Texts(it),
}

// === impl PgUuid ===

impl Type<Postgres> for PgUuid {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(sqlx::postgres::types::Oid(UUID_OID))
    }
}

impl Encode<'_, Postgres> for PgUuid {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, sqlx::error::BoxDynError> {
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

// === impl PgWords ===

impl Type<Postgres> for PgWords {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(sqlx::postgres::types::Oid(TSVECTOR_OID))
    }
}

impl Encode<'_, Postgres> for PgWords {
    /// The number of words; each ends with a NUL and has a number of positions: none.
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, sqlx::error::BoxDynError> {
        buffer.extend_from_slice(&u32::try_from(self.0.len())?.to_be_bytes());
        for word in &self.0 {
            buffer.extend_from_slice(word.as_bytes());
            buffer.extend_from_slice(&[0, 0, 0]);
        }
        Ok(IsNull::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_for_postgres() {
        assert_eq!(numbered("SELECT a WHERE b = ? AND c > ?"), "SELECT a WHERE b = $1 AND c > $2");
        assert_eq!(numbered("SELECT 1"), "SELECT 1");
        assert_eq!(without_nul("a\0b".to_owned()), "a\u{fffd}b");
    }
}
