//! What the operator may do, beside what it did: the chart's roles against the API server's audit logs.
//!
//! A right that nothing uses is a right that only an attacker uses; a request that was refused is a missing one. Rights are
//! compared where they are for: one for the namespaces that are watched is not used by what was done in the release's own.

use crate::cluster::Asked;
use anyhow::{Context, ensure};
use serde::Deserialize;
use std::{
    collections::{BTreeSet, HashSet},
    fmt,
};

/// Where a right is for, or something was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// What is in no namespace.
    Cluster,
    /// The release's namespace.
    Own,
    /// Another namespace, whose objects count.
    Watched,
}

/// One right: a verb on a resource (with `/` and its subresource where it has one), or on a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Where.
    pub scope: Scope,
    /// get, list, watch, …
    pub verb: String,
    /// The API group; empty for the core's and for paths.
    pub group: String,
    /// Such as `virtualkeys/status` or `/openid/v1/jwks`.
    pub resource: String,
    /// The only object it is for.
    pub name: Option<String>,
}

/// Something that RBAC did not allow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// What was asked for.
    pub right: Right,
    /// Who asked.
    pub user: String,
    /// In which namespace.
    pub namespace: String,
}

/// The manifests' roles.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Role {
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    resource_names: Vec<String>,
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
}

/// The rights that the roles of rendered manifests grant, for a release in the namespace `own`: by ClusterRoles in the cluster,
/// by its Roles there, and by those that other namespaces have too in what is watched.
pub fn granted(manifests: &str, own: &str) -> anyhow::Result<BTreeSet<Right>> {
    let mut roles = Vec::<Role>::new();
    for document in serde_yaml::Deserializer::from_str(manifests) {
        let value = serde_yaml::Value::deserialize(document).context("no YAML")?;
        let kind = value.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default();
        if matches!(kind, "Role" | "ClusterRole") {
            roles.push(serde_yaml::from_value(value)?);
        }
    }
    let elsewhere = roles.iter().filter(|role| role.kind == "Role" && role.metadata.namespace != own);
    let watched: HashSet<&str> = elsewhere.map(|role| role.metadata.name.as_str()).collect();
    let mut rights = BTreeSet::new();
    for role in &roles {
        let scope = match role.kind.as_str() {
            "ClusterRole" => Scope::Cluster,
            _ if watched.contains(role.metadata.name.as_str()) => Scope::Watched,
            _ => Scope::Own,
        };
        for rule in &role.rules {
            rule.rights(scope, &mut rights)
                .with_context(|| format!("{} {}", role.kind, role.metadata.name))?;
        }
    }
    Ok(rights)
}

/// The rights that users whose name ends with `user` never used.
pub fn unused(granted: &BTreeSet<Right>, audit: &[Asked], user: &str) -> BTreeSet<Right> {
    let mine = || audit.iter().filter(|asked| asked.user.ends_with(user) && !asked.forbidden);
    let mut used: BTreeSet<Right> = mine().map(Right::of).collect();
    used.extend(mine().filter(|asked| asked.verb == "patch" && asked.code == 201).map(Right::to_create));
    granted.iter().filter(|grant| !used.iter().any(|right| grant.covers(right))).cloned().collect()
}

/// What such users asked for and RBAC never allowed. What it allowed at another time is none of it: an API server that has
/// just started does not know all roles yet, and some tests bring a namespace's Role after its operator.
pub fn refused(audit: &[Asked], user: &str) -> BTreeSet<Refusal> {
    let mine = |forbidden: bool| {
        audit.iter().filter(move |asked| asked.user.ends_with(user) && asked.forbidden == forbidden)
    };
    let allowed: BTreeSet<Refusal> = mine(false).map(Refusal::of).collect();
    mine(true).map(Refusal::of).filter(|refusal| !allowed.contains(refusal)).collect()
}

// === impl Rule ===

impl Rule {
    fn rights(&self, scope: Scope, rights: &mut BTreeSet<Right>) -> anyhow::Result<()> {
        let star =
            [&self.api_groups, &self.resources, &self.verbs].iter().any(|list| list.iter().any(|w| w == "*"));
        ensure!(!star, "grants *: name what is meant");
        let names: Vec<Option<String>> = match self.resource_names.as_slice() {
            [] => vec![None],
            names => names.iter().cloned().map(Some).collect(),
        };
        for verb in &self.verbs {
            let right = |group: &str, resource: &str, name: Option<String>| Right {
                scope,
                verb: verb.clone(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                name,
            };
            rights.extend(self.non_resource_urls.iter().map(|path| right("", path, None)));
            for group in &self.api_groups {
                for resource in &self.resources {
                    rights.extend(names.iter().map(|name| right(group, resource, name.clone())));
                }
            }
        }
        Ok(())
    }
}

// === impl Right ===

impl Right {
    fn of(asked: &Asked) -> Self {
        let resource = match (asked.resource.as_str(), asked.subresource.as_str()) {
            ("", _) => asked.url.split('?').next().unwrap_or_default().to_owned(),
            (resource, "") => resource.to_owned(),
            (resource, subresource) => format!("{resource}/{subresource}"),
        };
        let scope = match asked.namespace.as_str() {
            "" => Scope::Cluster,
            namespace if home(asked) == Some(namespace) => Scope::Own,
            _ => Scope::Watched,
        };
        let name = Some(own(asked)).filter(|name| !name.is_empty());
        Right { scope, verb: asked.verb.clone(), group: asked.group.clone(), resource, name }
    }

    /// The second right of a server-side apply that created its object: it is asked for as `create`, and logged as `patch`.
    fn to_create(asked: &Asked) -> Self {
        Right { verb: "create".into(), name: None, ..Right::of(asked) }
    }

    fn covers(&self, used: &Right) -> bool {
        let what =
            |right: &Right| (right.scope, right.verb.clone(), right.group.clone(), right.resource.clone());
        what(self) == what(used) && (self.name.is_none() || self.name == used.name)
    }
}

/// The namespace of a ServiceAccount.
fn home(asked: &Asked) -> Option<&str> {
    asked.user.strip_prefix("system:serviceaccount:")?.split(':').next()
}

/// The name of what was asked for. Tests install the chart once in each namespace, so that what belongs to the cluster is
/// called `tollgate-NAMESPACE-…` there (the chart's `clusterName`): it is what a single installation calls `tollgate-…`.
fn own(asked: &Asked) -> String {
    let rest = home(asked).and_then(|namespace| asked.name.strip_prefix(&format!("tollgate-{namespace}-")));
    rest.map_or_else(|| asked.name.clone(), |rest| format!("tollgate-{rest}"))
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        f.write_str(match self.scope {
            Scope::Cluster => " in the cluster",
            Scope::Own => " in the release's namespace",
            Scope::Watched => " in a watched namespace",
        })
    }
}

// === impl Refusal ===

impl Refusal {
    fn of(asked: &Asked) -> Self {
        Refusal { right: Right::of(asked), user: asked.user.clone(), namespace: asked.namespace.clone() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.right)?;
        if !self.namespace.is_empty() {
            write!(f, " ({})", self.namespace)?;
        }
        write!(f, " for {}", self.user)
    }
}

#[cfg(test)]
mod tests;
