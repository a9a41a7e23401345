//! A folder of manifests as the source of the form without a cluster.
//!
//! Within one process the compiler's rule holds that a bad object takes no other with it; and a file in which something
//! cannot be read counts, whole, as it last was good, so that half a save removes nothing.

use crate::telemetry;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tollgate_crds::{
    compile::{Input, Mode, Options, compile},
    conditions::RESOLVED_REFS,
    manifest::{
        self, File, Others,
        folder::{Content, scan},
    },
};
use tollgate_proto::Resources;

/// What a folder has become so far.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    options: Options,
    files: BTreeMap<PathBuf, Read>,
    told: BTreeSet<String>,
    others: Others,
}

/// A file as it was last read.
#[derive(Debug)]
struct Read {
    content: Content,
    /// As it was last good, or as it was first read.
    file: File,
    problems: Vec<String>,
}

/// How often the folder is read: every file system gives this, and this form serves tests and trials.
const POLL: Duration = Duration::from_millis(500);

/// Follows the folder (or the one file) `root` until every receiver is gone.
///
/// # Errors
/// When it cannot be read at all. Objects that are wrong are no error: they are logged.
pub async fn follow(root: &Path, options: Options) -> io::Result<watch::Receiver<Arc<Resources>>> {
    let mut folder = Folder::new(root, options);
    let first = folder.read()?.unwrap_or_default();
    let (sender, receiver) = watch::channel(Arc::new(first));
    tokio::task::spawn_blocking(move || {
        while !sender.is_closed() {
            std::thread::sleep(POLL);
            match folder.read() {
                Ok(Some(resources)) => {
                    sender.send_replace(Arc::new(resources));
                }
                Ok(None) => {}
                Err(error) => folder.tell([format!("cannot read {}: {error}", folder.root.display())].into()),
            }
        }
    });
    Ok(receiver)
}

// === impl Folder ===

impl Folder {
    /// Nothing read yet.
    pub fn new(root: &Path, options: Options) -> Self {
        Folder {
            root: root.to_owned(),
            options,
            files: BTreeMap::new(),
            told: BTreeSet::new(),
            others: Others::default(),
        }
    }

    /// Reads the folder; `None`: no file has changed since the last time.
    ///
    /// # Errors
    /// When the folder cannot be read at all.
    pub fn read(&mut self) -> io::Result<Option<Resources>> {
        let files = scan(&self.root)?;
        let first = self.told.is_empty() && self.files.is_empty();
        let same = files.len() == self.files.len()
            && files
                .iter()
                .all(|(path, content)| self.files.get(path).is_some_and(|r| r.content == *content));
        if same && !first {
            return Ok(None);
        }
        let mut old = std::mem::take(&mut self.files);
        for (path, content) in files {
            let read = match old.remove(&path) {
                Some(read) if read.content == content => read,
                before => self.parse(&path, content, before),
            };
            self.files.insert(path, read);
        }
        Ok(Some(self.compile()))
    }

    fn parse(&self, path: &Path, content: Content, before: Option<Read>) -> Read {
        let name = path.display().to_string();
        let environment = |name: &str| match self.options.mode {
            Mode::Standalone => std::env::var(name).ok(),
            Mode::Cluster => Some(format!("${{{name}}}")),
        };
        let (file, problems) = match &content {
            Ok(bytes) => {
                let file = manifest::read(&name, bytes, &environment);
                let problems = file.problems.iter().map(ToString::to_string).collect();
                (Some(file), problems)
            }
            Err(error) => (None, vec![format!("{name}: {error}")]),
        };
        let file = match (file, before) {
            (Some(file), _) if problems.is_empty() => file,
            (_, Some(before)) => before.file,
            (file, None) => file.unwrap_or_default(),
        };
        Read { content, file, problems }
    }

    fn compile(&mut self) -> Resources {
        let mut input = Input { options: self.options, ..Input::default() };
        let mut said = BTreeSet::new();
        let mut others = Others::default();
        for read in self.files.values() {
            input.objects.extend(read.file.objects.iter().cloned());
            input.namespaces.extend(read.file.namespaces.clone());
            said.extend(read.problems.iter().cloned());
            others.extend(&read.file.others);
        }
        let compiled = telemetry::compiling(|| compile(&input));
        for status in &compiled.statuses {
            let dangling = status.of_condition(RESOLVED_REFS);
            let refused = status.problems.iter().filter(|_| !status.is_accepted());
            said.extend(refused.chain(dangling).map(|p| format!("{status}: {}: {p}", p.reason)));
        }
        if !others.is_empty() && others != self.others {
            tracing::info!("{others}");
        }
        self.others = others;
        self.tell(said);
        telemetry::metrics().statuses(&compiled.statuses);
        compiled.resources
    }

    /// Logs what was not so before.
    fn tell(&mut self, said: BTreeSet<String>) {
        for words in said.difference(&self.told) {
            tracing::warn!("{words}");
        }
        self.told = said;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn key(name: &str) -> String {
        format!(
            "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: {name}}}\n\
             spec: {{}}\n---\n"
        )
    }

    fn names(resources: Option<Resources>) -> Vec<String> {
        let resources = resources.expect("a change");
        resources.keys().map(|key| key.name.clone()).collect()
    }

    #[test]
    fn a_folder_is_compiled_when_it_changes_and_half_a_file_removes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let mut state = Folder::new(folder.path(), Options::STANDALONE);
        assert!(names(state.read().unwrap()).is_empty());
        write("a.yaml", &key("a"));
        assert_eq!(names(state.read().unwrap()), ["a"]);
        assert!(state.read().unwrap().is_none());
        write("a.yaml", &format!("{}a: [", key("b")));
        write("c.yaml", &key("c"));
        assert_eq!(names(state.read().unwrap()), ["a", "c"]);
        write("a.yaml", &key("b"));
        assert_eq!(names(state.read().unwrap()), ["b", "c"]);
        fs::remove_file(folder.path().join("a.yaml")).unwrap();
        assert_eq!(names(state.read().unwrap()), ["c"]);
        assert!(Folder::new(Path::new("/nonexistent"), Options::STANDALONE).read().is_err());
    }
}
