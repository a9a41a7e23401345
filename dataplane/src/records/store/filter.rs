//! What to list: filters, and the one index that each query is led by.
//!
//! In SQLite every query names its index (`INDEXED BY`), so that its time does not hang on a planner's guess: the store has
//! no statistics worth the name while it is young. PostgreSQL keeps statistics and chooses by itself.

use crate::records::{
    db::{Dialect, Sql},
    viewer::Viewer,
    words,
};
use serde::Serialize;
use std::fmt::Write as _;

/// Which records to list. All given conditions hold at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// `namespace/name` of a key: its records and those of all keys below it.
    pub key: Option<String>,
    /// `route/model`.
    pub model: Option<String>,
    /// By status.
    pub status: Option<StatusFilter>,
    /// From this time on, Unix milliseconds.
    pub from: Option<i64>,
    /// Before this time, Unix milliseconds.
    pub to: Option<i64>,
    /// Words that all occur in prompt, answer, error or tool names; those of three letters and more as beginnings of words.
    pub text: Option<String>,
    /// Model requests or tool calls only.
    pub kind: Option<KindFilter>,
    /// The client's session.
    pub session: Option<String>,
}

/// A condition on the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusFilter {
    /// 400 and above.
    Failed,
    /// A hundred: 2, 4, 5.
    Class(u16),
    /// Exactly this.
    Exact(u16),
}

/// A condition on the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindFilter {
    /// Model requests.
    Model,
    /// Tool calls.
    Tool,
}

/// Where a page ended: the next begins below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Time of the last record, Unix milliseconds.
    pub at: i64,
    /// Its `seq`.
    pub seq: i64,
}

/// Matches of a text search that are looked at: the newest ones. Bounds the work of searching a common word.
const MATCHES_MAX: usize = 20_000;
/// A record is written at most this long after it came in (a long stream), milliseconds: what ties `seq` to time.
const LATE_MS: i64 = 3_600_000;
/// Trees up to which each has its own arm of the query.
const ARMS_MAX: usize = 48;

/// Which records a viewer may see, as tree ids; `None`: all.
pub(crate) type Scope = Option<Vec<i64>>;

// === impl StatusFilter ===

impl std::str::FromStr for StatusFilter {
    type Err = ();

    /// `failed`, `4xx`, or `404`.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.as_bytes() {
            b"failed" => Ok(StatusFilter::Failed),
            [class @ b'1'..=b'5', b'x', b'x'] => Ok(StatusFilter::Class(u16::from(class - b'0'))),
            [_, _, _] => text.parse().map(StatusFilter::Exact).map_err(drop),
            _ => Err(()),
        }
    }
}

impl std::fmt::Display for StatusFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StatusFilter::Failed => f.write_str("failed"),
            StatusFilter::Class(class) => write!(f, "{class}xx"),
            StatusFilter::Exact(status) => write!(f, "{status}"),
        }
    }
}

// === impl Cursor ===

impl std::str::FromStr for Cursor {
    type Err = ();

    /// `at-seq`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, seq) = text.split_once('-').ok_or(())?;
        Ok(Cursor { at: at.parse().map_err(drop)?, seq: seq.parse().map_err(drop)? })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.at, self.seq)
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl Filter ===

impl Filter {
    /// Whether anything is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }

    /// The whole list query: `columns` of at most `limit` records below `cursor`, the newest first.
    pub(crate) fn sql(
        &self,
        mut sql: Sql,
        columns: &str,
        scope: &Scope,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Sql {
        if let Some(text) = &self.text {
            return self.text_sql(sql, text, columns, scope, cursor, limit);
        }
        let arms: Vec<Scope> = match scope {
            Some(trees) if self.leads_by_tree() && trees.len() <= ARMS_MAX => {
                trees.iter().map(|tree| Some(vec![*tree])).collect()
            }
            _ => vec![scope.clone()],
        };
        sql.push("SELECT * FROM (");
        for (n, arm) in arms.iter().enumerate() {
            sql.push(if n > 0 { " UNION ALL SELECT * FROM (SELECT " } else { "SELECT * FROM (SELECT " });
            sql.push(columns);
            self.arm(&mut sql, arm, cursor);
            sql.push(" ORDER BY at DESC, seq DESC LIMIT ").int(limit as i64);
            sql.push(") AS arm").int(n as i64);
        }
        sql.push(") AS arms ORDER BY at DESC, seq DESC LIMIT ").int(limit as i64);
        sql
    }

    /// Whether the key's index is the best one to walk: no condition that picks fewer records.
    fn leads_by_tree(&self) -> bool {
        self.session.is_none() && !self.failures_only()
    }

    fn failures_only(&self) -> bool {
        match self.status {
            Some(StatusFilter::Failed) => true,
            Some(StatusFilter::Class(class)) => class >= 4,
            Some(StatusFilter::Exact(status)) => status >= 400,
            None => false,
        }
    }

    /// The index that leads: the condition that is likely to pick the fewest records, in the order of time.
    fn index(&self, by_tree: bool) -> &'static str {
        match () {
            () if self.session.is_some() => " INDEXED BY records_session",
            () if self.failures_only() => " INDEXED BY records_failed",
            () if by_tree => " INDEXED BY records_tree",
            () if self.model.is_some() => " INDEXED BY records_model",
            () if self.kind == Some(KindFilter::Tool) => " INDEXED BY records_tool",
            () => " INDEXED BY records_at",
        }
    }

    /// One arm: from the index that leads, with all conditions. The `+` keeps SQLite's other indexes out of it.
    fn arm(&self, sql: &mut Sql, scope: &Scope, cursor: Option<Cursor>) {
        let by_tree = self.leads_by_tree() && scope.as_ref().is_some_and(|trees| trees.len() == 1);
        sql.push(" FROM records").either(self.index(by_tree), "").push(" WHERE 1 = 1");
        sql.scope(if by_tree || sql.dialect() == Dialect::Postgres { "tree" } else { "+tree" }, scope);
        self.conditions(sql);
        if let Some(Cursor { at, seq }) = cursor {
            sql.bind(" AND at <= ?", at).bind(" AND (at < ?", at).bind(" OR seq < ?)", seq);
        }
    }

    /// A search walks the index's matches from the newest `seq` down and stops when the page is full: its order is that
    /// of writing, which follows time within [`LATE_MS`].
    fn text_sql(
        &self,
        mut sql: Sql,
        text: &str,
        columns: &str,
        scope: &Scope,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Sql {
        sql.push("SELECT * FROM (SELECT ").push(columns).push(" FROM (");
        found(&mut sql, text);
        let seq = place(&sql);
        if let Some(cursor) = cursor {
            sql.push(" AND ").push(seq).bind(" < ?", cursor.seq);
        }
        if let Some(to) = self.to {
            sql.push(" AND ").push(seq).push(" <= COALESCE((SELECT seq FROM records");
            sql.either(" INDEXED BY records_at", "");
            sql.bind(" WHERE at <= ? ORDER BY at DESC, seq DESC LIMIT 1), 0)", to.saturating_add(LATE_MS));
        }
        sql.push(" ORDER BY ").push(seq).push(" DESC LIMIT ").int(MATCHES_MAX as i64);
        sql.either(
            ") CROSS JOIN records NOT INDEXED ON seq = found WHERE 1 = 1",
            ") AS matches JOIN records ON seq = found WHERE 1 = 1",
        );
        sql.scope("tree", scope);
        self.conditions(&mut sql);
        sql.either("", " ORDER BY seq DESC").push(" LIMIT ").int(limit as i64);
        sql.push(") AS page ORDER BY seq DESC");
        sql
    }

    /// `columns` of the records written after `seq`, without order or limit.
    pub(crate) fn after_sql(&self, sql: &mut Sql, columns: &str, scope: &Scope, seq: i64) {
        sql.push("SELECT ").push(columns).push(" FROM records").either(" NOT INDEXED", "");
        sql.bind(" WHERE seq > ?", seq).scope("tree", scope);
        if let Some(text) = &self.text {
            sql.push(" AND seq IN (");
            found(sql, text);
            let place = place(sql);
            sql.push(" AND ").push(place).bind(" > ?)", seq);
        }
        self.conditions(sql);
    }

    /// All conditions but scope, text and cursor.
    fn conditions(&self, sql: &mut Sql) {
        if let Some(session) = &self.session {
            sql.bind(" AND session = ?", session);
        }
        if self.failures_only() {
            sql.push(" AND status >= 400");
        }
        match self.status {
            Some(StatusFilter::Class(class)) => {
                let from = i64::from(class) * 100;
                sql.bind(" AND status >= ?", from).bind(" AND status < ?", from + 100);
            }
            Some(StatusFilter::Exact(status)) => {
                sql.bind(" AND status = ?", i64::from(status));
            }
            _ => {}
        }
        if let Some(model) = &self.model {
            sql.bind(" AND model = ?", model);
        }
        match self.kind {
            Some(KindFilter::Tool) => sql.push(" AND kind = 1"),
            Some(KindFilter::Model) => sql.push(" AND kind = 0"),
            None => sql,
        };
        if let Some(from) = self.from {
            sql.bind(" AND at >= ?", from);
        }
        if let Some(to) = self.to {
            sql.bind(" AND at < ?", to);
        }
    }
}

/// The places of records in which all words of a search occur; more conditions may follow.
fn found(sql: &mut Sql, text: &str) {
    match sql.dialect() {
        Dialect::Sqlite => sql.bind("SELECT rowid AS found FROM words WHERE words MATCH ?", matches(text)),
        Dialect::Postgres => sql.bind(
            "SELECT words.seq AS found FROM words WHERE words.words @@ CAST(? AS tsquery)",
            words::tsquery(text),
        ),
    };
}

/// What the search index calls a record's place.
fn place(sql: &Sql) -> &'static str {
    match sql.dialect() {
        Dialect::Sqlite => "rowid",
        Dialect::Postgres => "words.seq",
    }
}

/// The search's own language is not the user's: each word becomes a quoted prefix, and all must occur.
fn matches(text: &str) -> String {
    let mut out = String::new();
    for (word, prefix) in words::searched(text) {
        let prefix = if prefix { "*" } else { "" };
        write!(out, "{}\"{word}\"{prefix}", if out.is_empty() { "" } else { " AND " }).unwrap_or(());
    }
    if out.is_empty() { "\"\"".to_owned() } else { out }
}

/// The trees that a viewer sees, narrowed to those with `key` on their path.
pub(crate) fn scope(trees: &crate::records::trees::Trees, viewer: &Viewer, key: Option<&str>) -> Scope {
    if *viewer == Viewer::All && key.is_none() {
        return None;
    }
    Some(trees.select(|path| viewer.sees(path) && key.is_none_or(|key| path.iter().any(|k| **k == *key))))
}
