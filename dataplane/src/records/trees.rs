//! The paths of keys, by small ids: known to the writer, and to readers for a viewer's scope.

use super::{
    db::{Dialect, Pool, Row, Sql, Tx},
    insert::{Insert, insert},
    viewer::Viewer,
};
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};

/// A path: the key itself first, its root last. Empty: no key was identified.
pub(crate) type Path = Arc<[Arc<str>]>;

/// All stored paths.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trees {
    known: Arc<RwLock<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    by_id: HashMap<i64, Path>,
    by_path: HashMap<Path, i64>,
    last: i64,
}

/// A row of `trees`.
#[derive(Debug, Clone)]
pub(crate) struct TreeRow {
    id: i64,
    path: Path,
}

/// Paths that a transaction stores: known to all once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Fresh(Vec<TreeRow>);

// === impl Trees ===

impl Trees {
    /// Reads what is stored.
    pub(crate) async fn load(pool: &Pool) -> sqlx::Result<Self> {
        let trees = Trees::default();
        trees.refresh(pool).await?;
        Ok(trees)
    }

    /// Reads what others have stored since. Ids are given in the order of writing, so that only the newest are asked for.
    pub(crate) async fn refresh(&self, pool: &Pool) -> sqlx::Result<()> {
        let mut sql = pool.sql();
        sql.bind("SELECT id, path FROM trees WHERE id > ?", self.known.read().last);
        self.add(pool.fetch_all(sql).await?)
    }

    /// [`Trees::refresh`] within a transaction.
    pub(crate) async fn refresh_in(&self, tx: &mut Tx) -> sqlx::Result<()> {
        let mut sql = tx.sql();
        sql.bind("SELECT id, path FROM trees WHERE id > ?", self.known.read().last);
        let rows = tx.fetch_all(sql).await?;
        self.add(rows)
    }

    /// Whether a path is known.
    pub(crate) fn knows(&self, id: i64) -> bool {
        self.known.read().by_id.contains_key(&id)
    }

    fn add(&self, rows: Vec<Row>) -> sqlx::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut known = self.known.write();
        for row in rows {
            let path: Vec<Arc<str>> = serde_json::from_str(&row.text(1)?).unwrap_or_default();
            known.add(row.int(0)?, Path::from(path));
        }
        Ok(())
    }

    /// The ids of paths, in their order; new paths get new ids. Nobody else gives ids meanwhile: in PostgreSQL the
    /// transaction holds the writers' lock.
    pub(crate) async fn ids(&self, tx: &mut Tx, paths: &[Path]) -> sqlx::Result<(Vec<i64>, Fresh)> {
        let missing = |known: &Known| paths.iter().any(|path| !known.by_path.contains_key(path));
        if missing(&self.known.read()) && tx.sql().dialect() == Dialect::Postgres {
            self.refresh_in(tx).await?;
        }
        let (mut ids, mut fresh) = (Vec::with_capacity(paths.len()), Vec::new());
        {
            let known = self.known.read();
            let mut next = known.last + 1;
            for path in paths {
                ids.push(known.by_path.get(path).copied().unwrap_or_else(|| {
                    fresh.push(TreeRow { id: next, path: path.clone() });
                    next += 1;
                    next - 1
                }));
            }
        }
        insert(tx, &fresh).await?;
        Ok((ids, Fresh(fresh)))
    }

    /// What was stored is committed: readers may use it.
    pub(crate) fn committed(&self, fresh: Fresh) {
        if !fresh.0.is_empty() {
            let mut known = self.known.write();
            fresh.0.into_iter().for_each(|row| known.add(row.id, row.path));
        }
    }

    /// The ids of the paths that `keep` accepts.
    pub(crate) fn select(&self, keep: impl Fn(&[Arc<str>]) -> bool) -> Vec<i64> {
        self.known.read().by_id.iter().filter(|(_, path)| keep(path)).map(|(id, _)| *id).collect()
    }

    /// The keys on the paths that `viewer` sees, none above what it may see; sorted.
    pub(crate) fn keys(&self, viewer: &Viewer) -> Vec<Arc<str>> {
        let mut keys: Vec<Arc<str>> = Vec::new();
        for path in self.known.read().by_id.values() {
            let seen = (0..path.len()).rev().find(|at| viewer.sees(&path[*at..=*at]));
            let seen = if *viewer == Viewer::All { path.len() } else { seen.map_or(0, |at| at + 1) };
            keys.extend(path.iter().take(seen).cloned());
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// A path by its id.
    pub(crate) fn path(&self, id: i64) -> Path {
        self.known.read().by_id.get(&id).cloned().unwrap_or_else(|| Path::from([]))
    }
}

// === impl Known ===

impl Known {
    fn add(&mut self, id: i64, path: Path) {
        self.last = self.last.max(id);
        self.by_path.insert(path.clone(), id);
        self.by_id.insert(id, path);
    }
}

// === impl TreeRow ===

impl Insert for TreeRow {
    const HEAD: &'static str = "INSERT INTO trees (id, path) VALUES ";
    const COLUMNS: usize = 2;
    const TAIL: &'static str = "";

    fn bind(&self, to: &mut Sql) {
        to.value(self.id).value(serde_json::to_string(&*self.path).unwrap_or_default());
    }
}
