//! The paths of keys, by small ids: known to the writer, and to readers for a viewer's scope.

use parking_lot::RwLock;
use sqlx::{Arguments as _, Row as _, SqliteConnection, sqlite::SqliteArguments};
use std::{collections::HashMap, sync::Arc};

use super::{entry::BindError, insert::Insert, viewer::Viewer};

/// A path: the key itself first, its root last. Empty: no key was identified.
pub(crate) type Path = Arc<[Arc<str>]>;

/// All stored paths.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trees {
    shared: Arc<RwLock<HashMap<i64, Path>>>,
}

/// The writer's side: gives ids.
#[derive(Debug)]
pub(crate) struct TreeIds {
    ids: HashMap<Path, i64>,
    next: i64,
    /// Given but not yet committed.
    fresh: Vec<TreeRow>,
    trees: Trees,
}

/// A row of `trees`.
#[derive(Debug, Clone)]
pub(crate) struct TreeRow {
    id: i64,
    path: Path,
}

// === impl Trees ===

impl Trees {
    /// Reads what is stored.
    pub(crate) async fn load(conn: &mut SqliteConnection) -> sqlx::Result<Self> {
        let rows = sqlx::query("SELECT id, path FROM trees").fetch_all(conn).await?;
        let mut map = HashMap::with_capacity(rows.len());
        for row in rows {
            let path: Vec<Arc<str>> = serde_json::from_str(row.try_get(1)?).unwrap_or_default();
            map.insert(row.try_get(0)?, Path::from(path));
        }
        Ok(Trees { shared: Arc::new(RwLock::new(map)) })
    }

    /// The ids of the paths that `keep` accepts.
    pub(crate) fn select(&self, keep: impl Fn(&[Arc<str>]) -> bool) -> Vec<i64> {
        self.shared.read().iter().filter(|(_, path)| keep(path)).map(|(id, _)| *id).collect()
    }

    /// The keys on the paths that `viewer` sees, none above what it may see; sorted.
    pub(crate) fn keys(&self, viewer: &Viewer) -> Vec<Arc<str>> {
        let mut keys: Vec<Arc<str>> = Vec::new();
        for path in self.shared.read().values() {
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
        self.shared.read().get(&id).cloned().unwrap_or_else(|| Path::from([]))
    }
}

// === impl TreeIds ===

impl TreeIds {
    pub(crate) fn new(trees: Trees) -> Self {
        let ids: HashMap<Path, i64> =
            trees.shared.read().iter().map(|(id, path)| (path.clone(), *id)).collect();
        let next = ids.values().max().map_or(1, |max| max + 1);
        TreeIds { ids, next, fresh: Vec::new(), trees }
    }

    /// The id of a path; a new one for a new path.
    pub(crate) fn id(&mut self, path: &[Arc<str>]) -> i64 {
        if let Some(id) = self.ids.get(path) {
            return *id;
        }
        let (id, path) = (self.next, Path::from(path));
        self.next += 1;
        self.ids.insert(path.clone(), id);
        self.fresh.push(TreeRow { id, path });
        id
    }

    /// Rows still to be stored.
    pub(crate) fn fresh(&self) -> &[TreeRow] {
        &self.fresh
    }

    /// The fresh rows are stored: readers may use them.
    pub(crate) fn committed(&mut self) {
        if !self.fresh.is_empty() {
            let mut shared = self.trees.shared.write();
            shared.extend(self.fresh.drain(..).map(|row| (row.id, row.path)));
        }
    }
}

// === impl TreeRow ===

impl Insert for TreeRow {
    const HEAD: &'static str = "INSERT INTO trees (id, path) VALUES ";
    const COLUMNS: usize = 2;
    const TAIL: &'static str = "";

    fn bind(&self, args: &mut SqliteArguments) -> Result<(), BindError> {
        args.add(self.id)?;
        args.add(serde_json::to_string(&*self.path)?)
    }
}
