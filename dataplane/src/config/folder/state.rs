//! Files to snapshots, with what was last good.
//!
//! "Last good" lives here and not in the compiler, which has no memory: an object that is refused is replaced by its last
//! good version and everything is compiled once more, so that what is in force is always the outcome of one compilation.

use super::local;
use crate::{bridge::LocalServer, model::convert::model::Model, snapshot::Snapshot};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tollgate_crds::{
    compile::{Compiled, Input, Object, Options, Status, StdioRules, compile},
    conditions::RESOLVED_REFS,
    manifest::{self, File, FileProblem, Others, folder::Content},
};
use tollgate_proto::{ResourceId, Resources};

/// What a folder has become so far.
pub struct State {
    options: Options,
    stdio: StdioRules,
    /// The servers to run, when they are other ones than before.
    stdio_servers: Option<Vec<LocalServer>>,
    environment: Environment,
    files: BTreeMap<PathBuf, Read>,
    good: BTreeMap<ResourceId, Good>,
    resources: Resources,
    model: Model,
    snapshot: Arc<Snapshot>,
    told: BTreeSet<Told>,
    others: Others,
}

/// Looks environment variables up.
type Environment = Box<dyn Fn(&str) -> Option<String> + Send>;

/// A file as it was last read.
struct Read {
    content: Content,
    file: File,
}

/// An object's last good version, and the file that it stood in.
struct Good {
    path: PathBuf,
    object: Object,
}

/// What came of a look at the folder.
#[derive(Debug)]
pub struct Update {
    /// The configuration in force.
    pub snapshot: Arc<Snapshot>,
    /// Whether it is another one than before.
    pub changed: bool,
    /// How many keys, routes and servers are in force.
    pub counts: (usize, usize, usize),
    /// What is not ours and stands among the manifests, when it is not what was told before.
    pub others: Option<Others>,
    /// What is wrong and was not told before, or stands in a file that has changed.
    pub told: Vec<Told>,
    /// Something was wrong before, and nothing is now.
    pub cleared: bool,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// The file, with the line where there is one.
    pub place: String,
    /// The object, when it could be named.
    pub object: Option<String>,
    /// The field, as a path.
    pub field: String,
    /// What is wrong.
    pub reason: String,
    /// What follows from it.
    pub outcome: Outcome,
}

/// What follows from a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The object is not there.
    Refused,
    /// The object is there as it last was good.
    Kept,
    /// The object is there; a name in it leads nowhere, and the reason says what that means.
    Dangling,
}

/// Objects with the files they stand in, and labels of namespaces.
struct World {
    objects: Vec<(PathBuf, Object)>,
    input: Input,
}

// === impl State ===

impl State {
    /// Nothing read yet. `environment` looks up the variables that Secrets name.
    pub fn new(options: Options, environment: impl Fn(&str) -> Option<String> + Send + 'static) -> Self {
        State {
            options,
            stdio: StdioRules::default(),
            stdio_servers: None,
            environment: Box::new(environment),
            files: BTreeMap::new(),
            good: BTreeMap::new(),
            resources: Resources::default(),
            model: Model::default(),
            snapshot: Arc::default(),
            told: BTreeSet::new(),
            others: Others::default(),
        }
    }

    /// Compiles stdio servers to their places below `base`, where [`Self::stdio_servers`] run.
    pub fn run_stdio(&mut self, base: &str) {
        self.stdio.local = Some(base.to_owned());
    }

    /// The stdio servers to run, once after each compilation.
    pub fn stdio_servers(&mut self) -> Option<Vec<LocalServer>> {
        self.stdio_servers.take()
    }

    /// Takes the files as they are now.
    pub fn update(&mut self, files: BTreeMap<PathBuf, Content>) -> Update {
        let changed_files = self.read(files);
        if changed_files.is_empty() && self.snapshot.generation > 0 {
            return self.outcome(false, Vec::new(), None, false);
        }
        let mut told = Vec::new();
        let mut world = self.world(&mut told);
        let asked = compile(&world.input);
        let compiled =
            if self.substitute(&mut world, &asked) { compile(&world.input) } else { asked.clone() };
        told.extend(refusals(&asked, &compiled));
        told.extend(references(&compiled));
        self.remember(&world, &compiled);
        self.stdio_servers = Some(local::servers(&world.input.objects, &compiled.resources));

        let changed = self.snapshot.generation == 0 || compiled.resources != self.resources;
        if changed {
            let (snapshot, refused) = self.model.apply(&compiled.resources);
            told.extend(refused.into_iter().map(|r| Told {
                place: String::new(),
                object: Some(r.resource.to_string()),
                field: r.invalid.field,
                reason: r.invalid.reason,
                outcome: if r.kept { Outcome::Kept } else { Outcome::Refused },
            }));
            self.snapshot = Arc::new(snapshot);
            self.resources = compiled.resources;
        }
        let cleared = told.is_empty() && !self.told.is_empty();
        let fresh = self.fresh(told, &changed_files);
        let others = self.others();
        self.outcome(changed, fresh, others, cleared)
    }

    fn outcome(&self, changed: bool, told: Vec<Told>, others: Option<Others>, cleared: bool) -> Update {
        Update {
            snapshot: self.snapshot.clone(),
            changed,
            counts: self.model.counts(),
            others,
            told,
            cleared,
        }
    }

    /// What is not ours, when it is not what was told before.
    fn others(&mut self) -> Option<Others> {
        let mut others = Others::default();
        self.files.values().for_each(|read| others.extend(&read.file.others));
        let fresh = (others != self.others && !others.is_empty()).then(|| others.clone());
        self.others = others;
        fresh
    }

    /// Reads what has changed; returns the names of the files that did, those that are gone included.
    fn read(&mut self, files: BTreeMap<PathBuf, Content>) -> BTreeSet<PathBuf> {
        let mut old = std::mem::take(&mut self.files);
        let mut changed = BTreeSet::new();
        for (path, content) in files {
            let read = match old.remove(&path) {
                Some(read) if read.content == content => read,
                before => {
                    changed.insert(path.clone());
                    let file = parse(&path, &content, before, &*self.environment);
                    Read { content, file }
                }
            };
            self.files.insert(path, read);
        }
        changed.extend(old.into_keys());
        changed
    }

    /// All objects; of a file in which something could not be read, also those that it last had and that are not seen now.
    fn world(&self, told: &mut Vec<Told>) -> World {
        let mut objects: Vec<(PathBuf, Object)> = Vec::new();
        let mut namespaces = BTreeMap::new();
        for (path, read) in &self.files {
            objects.extend(read.file.objects.iter().map(|o| (path.clone(), o.clone())));
            namespaces.extend(read.file.namespaces.clone());
        }
        let present: BTreeSet<ResourceId> = objects.iter().map(|(_, o)| id(o)).collect();
        for (path, read) in self.files.iter().filter(|(_, read)| !read.file.problems.is_empty()) {
            let unseen = self.good.iter().filter(|(id, good)| good.path == *path && !present.contains(id));
            let kept: Vec<_> = unseen.map(|(_, good)| (path.clone(), good.object.clone())).collect();
            let outcome = if kept.is_empty() { Outcome::Refused } else { Outcome::Kept };
            told.extend(read.file.problems.iter().map(|problem| file_told(problem, outcome)));
            objects.extend(kept);
        }
        let input = Input {
            objects: objects.iter().map(|(_, o)| o.clone()).collect(),
            namespaces,
            options: self.options,
            stdio: self.stdio.clone(),
            ..Input::default()
        };
        World { objects, input }
    }

    /// Puts last good versions in the place of refused ones; whether there was one.
    fn substitute(&self, world: &mut World, compiled: &Compiled) -> bool {
        let refused: Vec<&Status> =
            compiled.statuses.iter().filter(|s| !s.is_accepted() && !s.is_duplicate()).collect();
        let mut any = false;
        for (slot, input) in world.objects.iter_mut().zip(&mut world.input.objects) {
            let is_refused = refused.iter().any(|s| s.id() == id(input) && s.source == input.source);
            let Some(good) = self.good.get(&id(input)).filter(|_| is_refused) else { continue };
            *input = good.object.clone();
            slot.1 = good.object.clone();
            any = true;
        }
        any
    }

    /// Remembers the accepted objects as good, and forgets those that are gone.
    fn remember(&mut self, world: &World, compiled: &Compiled) {
        let accepted: BTreeSet<_> = compiled
            .statuses
            .iter()
            .filter(|s| s.is_accepted())
            .map(|s| (s.id(), s.source.clone()))
            .collect();
        let mut before = std::mem::take(&mut self.good);
        for (path, object) in &world.objects {
            let id = id(object);
            let good = if accepted.contains(&(id.clone(), object.source.clone())) {
                Some(Good { path: path.clone(), object: object.clone() })
            } else {
                before.remove(&id)
            };
            if let Some(good) = good {
                self.good.entry(id).or_insert(good);
            }
        }
    }

    /// What was not told before, or stands in a file that has changed since.
    fn fresh(&mut self, told: Vec<Told>, changed: &BTreeSet<PathBuf>) -> Vec<Told> {
        let changed: Vec<String> = changed.iter().map(|p| p.display().to_string()).collect();
        let stands_in = |t: &Told, file: &String| {
            t.place.strip_prefix(file.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        let is_fresh = |t: &&Told| !self.told.contains(t) || changed.iter().any(|file| stands_in(t, file));
        let fresh = told.iter().filter(is_fresh).cloned().collect();
        self.told = told.into_iter().collect();
        fresh
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("files", &self.files.keys()).finish_non_exhaustive()
    }
}

fn id(object: &Object) -> ResourceId {
    ResourceId::new(object.kind, &object.namespace, &object.name)
}

/// Reads a file. When something in it cannot be read, the namespaces it last described stay.
fn parse(
    path: &Path,
    content: &Content,
    before: Option<Read>,
    environment: manifest::Environment<'_>,
) -> File {
    let name = path.display().to_string();
    let mut file = match content {
        Ok(content) => manifest::read(&name, content, environment),
        Err(message) => {
            let problem = FileProblem { file: name.into(), line: 0, column: 0, message: message.clone() };
            File { problems: vec![problem], ..File::default() }
        }
    };
    if let Some(before) = before.filter(|_| !file.problems.is_empty()) {
        for (namespace, labels) in before.file.namespaces {
            file.namespaces.entry(namespace).or_insert(labels);
        }
    }
    file
}

fn file_told(problem: &FileProblem, outcome: Outcome) -> Told {
    Told {
        place: problem.place(),
        object: None,
        field: String::new(),
        reason: problem.message.clone(),
        outcome,
    }
}

/// What is wrong with the objects as they stand in the files.
fn refusals(asked: &Compiled, compiled: &Compiled) -> Vec<Told> {
    let in_force = |status: &Status| {
        compiled.statuses.iter().any(|s| s.id() == status.id() && s.is_accepted() && !status.is_duplicate())
    };
    let refused = asked.statuses.iter().filter(|s| !s.is_accepted());
    refused
        .flat_map(|status| {
            let outcome = if in_force(status) { Outcome::Kept } else { Outcome::Refused };
            let problems = status.problems.iter().filter(|p| p.condition != RESOLVED_REFS);
            problems.map(move |p| object_told(status, &p.field, &p.message, outcome))
        })
        .collect()
}

/// Which names lead nowhere in the objects that are in force.
fn references(compiled: &Compiled) -> Vec<Told> {
    let accepted = compiled.statuses.iter().filter(|s| s.is_accepted());
    accepted
        .flat_map(|status| {
            let problems = status.of_condition(RESOLVED_REFS);
            problems.map(move |p| object_told(status, &p.field, &p.message, Outcome::Dangling))
        })
        .collect()
}

fn object_told(status: &Status, field: &str, reason: &str, outcome: Outcome) -> Told {
    Told {
        place: status.source.as_ref().map(ToString::to_string).unwrap_or_default(),
        object: Some(status.id().to_string()),
        field: field.to_owned(),
        reason: reason.to_owned(),
        outcome,
    }
}
