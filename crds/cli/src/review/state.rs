//! One side of a comparison: manifests of a folder or of a Git revision, compiled.

use super::annotations::{self, Asked};
use anyhow::{Context, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};
use tollgate_crds::{
    compile::{Body, Compiled, Input, Object, Options, Problem, Status, compile},
    manifest::{self, FileProblem, Others, folder},
    platforms,
    stdio::StdioRules,
};
use tollgate_proto::Kind;

/// Where manifests are.
#[derive(Debug)]
pub enum Paths<'a> {
    /// Files and folders as they are now.
    Files(&'a [PathBuf]),
    /// Files and folders as a revision has them.
    Git {
        /// The revision, in Git's words.
        revision: &'a str,
        /// The paths, from the current folder.
        paths: &'a [PathBuf],
    },
}

/// The name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One side.
#[derive(Debug, Default)]
pub struct Side {
    /// The specs of the three kinds, as JSON with the defaults written out.
    pub specs: BTreeMap<Id, serde_json::Value>,
    /// What the annotations of keys ask for.
    pub asked: BTreeMap<Id, Asked>,
    /// What the compiler made of them and says of them.
    pub compiled: Compiled,
    /// Why the API server would refuse objects that the compiler takes, by the chart's admission policies.
    pub forbidden: BTreeMap<Id, Vec<Problem>>,
    /// What stands there and is not Tollgate's.
    pub others: Others,
    /// What could not be read.
    pub problems: Vec<FileProblem>,
}

/// What the operator that will read the manifests was told.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The options of the compiler.
    pub options: Options,
    /// The platform namespaces; `None`: all, or nobody has said which.
    pub platforms: Option<BTreeSet<String>>,
}

impl Rules {
    /// The rules of a cluster or of standalone mode.
    pub fn new(standalone: bool, allow_private_endpoints: bool, platforms: &[String]) -> Self {
        let by_mode = if standalone { Options::STANDALONE } else { Options::CLUSTER };
        let allow_private_endpoints = by_mode.allow_private_endpoints || allow_private_endpoints;
        let platforms = (!platforms.is_empty()).then(|| platforms.iter().cloned().collect());
        Rules { options: Options { allow_private_endpoints, ..by_mode }, platforms }
    }
}

// === impl Side ===

impl Side {
    /// Nothing: what a first manifest is compared with.
    pub fn empty() -> Self {
        Side::default()
    }

    /// Reads and compiles.
    ///
    /// # Errors
    /// When a path cannot be read or Git fails.
    pub fn read(paths: &Paths<'_>, rules: &Rules) -> anyhow::Result<Self> {
        let files = match paths {
            Paths::Files(paths) => scan(paths)?,
            Paths::Git { revision, paths } => of_revision(revision, paths)?,
        };
        Ok(Side::of(files, rules))
    }

    /// Compiles files by name.
    pub fn of(files: BTreeMap<PathBuf, folder::Content>, rules: &Rules) -> Self {
        // Which images may run is the operator's configuration; a pull request's reviewer sees the image among the changes.
        let stdio = StdioRules { images: vec!["*".to_owned()], ..StdioRules::default() };
        let platforms = rules.platforms.clone();
        let mut input = Input { options: rules.options, stdio, platforms, ..Input::default() };
        let mut problems = Vec::new();
        let mut others = Others::default();
        // Secrets are not looked into here: a placeholder is as good as a value.
        let environment = |name: &str| Some(format!("${{{name}}}-placeholder-of-a-secret-value"));
        for (path, content) in files {
            let name = path.display().to_string();
            match content {
                Ok(content) => {
                    let file = manifest::read(&name, &content, &environment);
                    input.objects.extend(file.objects);
                    input.namespaces.extend(file.namespaces);
                    problems.extend(file.problems);
                    others.extend(&file.others);
                }
                Err(message) => problems.push(FileProblem { file: name.into(), line: 0, column: 0, message }),
            }
        }
        let specs = input.objects.iter().filter_map(spec).collect();
        let asked = input.objects.iter().filter_map(asked).collect();
        let forbidden = rules.platforms.iter().flat_map(|platforms| forbidden(&input.objects, platforms));
        let forbidden = forbidden.collect();
        Side { specs, asked, compiled: compile(&input), forbidden, others, problems }
    }

    /// The objects that would not come into force as they are here: the compiler refuses them, or the API server would. It lets
    /// those be whose spec is as it was `before`.
    pub fn refused(&self, before: Option<&Side>) -> BTreeSet<Id> {
        let statuses = self.compiled.statuses.iter().filter(|status| !status.is_accepted());
        let of_status =
            |s: &Status| Id { kind: s.kind, namespace: s.namespace.clone(), name: s.name.clone() };
        let changed = |id: &&Id| before.is_some_and(|before| before.specs.get(*id) != self.specs.get(*id));
        statuses.map(of_status).chain(self.forbidden.keys().filter(changed).cloned()).collect()
    }
}

/// What the admission policies say against the objects.
fn forbidden(objects: &[Object], platforms: &BTreeSet<String>) -> Vec<(Id, Vec<Problem>)> {
    let told = objects.iter().map(|object| (id(object), platforms::refusals(object, platforms)));
    told.filter(|(_, problems)| !problems.is_empty()).collect()
}

fn id(object: &Object) -> Id {
    Id { kind: object.kind, namespace: object.namespace.clone(), name: object.name.clone() }
}

fn spec(object: &Object) -> Option<(Id, serde_json::Value)> {
    let spec = match &object.body {
        Body::VirtualKey(key) => serde_json::to_value(&key.spec),
        Body::ProviderRoute(route) => serde_json::to_value(&route.spec),
        Body::McpServer(server) => serde_json::to_value(&server.spec),
        Body::Secret(_) | Body::Unreadable(..) => return None,
    };
    Some((id(object), spec.ok()?))
}

fn asked(object: &Object) -> Option<(Id, Asked)> {
    let Body::VirtualKey(key) = &object.body else { return None };
    Some((id(object), annotations::of(key.metadata.annotations.as_ref())))
}

fn scan(paths: &[PathBuf]) -> anyhow::Result<BTreeMap<PathBuf, folder::Content>> {
    let mut files = BTreeMap::new();
    for path in paths {
        files.extend(folder::scan(path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(files)
}

/// The manifests below `paths` in a revision. A path that the revision does not have is empty there.
fn of_revision(revision: &str, paths: &[PathBuf]) -> anyhow::Result<BTreeMap<PathBuf, folder::Content>> {
    ensure!(!revision.starts_with('-'), "{revision:?} is no revision");
    let here = git(&["rev-parse", "--show-prefix"])?;
    let prefix = PathBuf::from(String::from_utf8_lossy(&here).trim());
    let revision = &fork_point(revision)?;
    let mut arguments = vec!["ls-tree", "-r", "-z", "--name-only", "--full-tree", revision, "--"];
    let wanted: Vec<String> =
        paths.iter().map(|path| plain(&prefix.join(path))).filter(|path| !path.is_empty()).collect();
    arguments.extend(wanted.iter().map(String::as_str));
    let mut files = BTreeMap::new();
    for name in git(&arguments)?.split(|byte| *byte == 0) {
        let name = String::from_utf8_lossy(name).into_owned();
        if !is_manifest(Path::new(&name)) {
            continue;
        }
        ensure!(files.len() < folder::MAX_FILES, "{revision} has more than {} manifests", folder::MAX_FILES);
        let content = git(&["cat-file", "blob", &format!("{revision}:{name}")])?;
        files.insert(PathBuf::from(name), Ok(content));
    }
    Ok(files)
}

/// Where the branch that is reviewed left `revision`, so that what `revision` got since is not told as this branch's doing: of a
/// branch without commits of its own, its tip. It is `revision` itself when Git does not know (a shallow clone).
fn fork_point(revision: &str) -> anyhow::Result<String> {
    let base = git(&["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")]);
    let base =
        base.with_context(|| format!("Git has no revision {revision:?}; in a pipeline, fetch it first"))?;
    let base = String::from_utf8_lossy(&base).trim().to_owned();
    let Ok(fork) = git(&["merge-base", &base, "HEAD"]) else { return Ok(base) };
    let fork = String::from_utf8_lossy(&fork).trim().to_owned();
    Ok(if fork.is_empty() { base } else { fork })
}

/// The path without `.` and `..`, as Git names it.
fn plain(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            std::path::Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    parts.join("/")
}

fn is_manifest(path: &Path) -> bool {
    let hidden = path.components().any(|part| part.as_os_str().to_string_lossy().starts_with('.'));
    !hidden && matches!(path.extension().and_then(|e| e.to_str()), Some("yaml" | "yml" | "json"))
}

fn git(arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new("git").args(arguments).output().context("cannot run git")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), said.trim());
    Ok(output.stdout)
}
