//! What the operator may do, beside what it did: the chart's roles against the API server's audit logs.
//!
//! A right that nothing uses is a right that only an attacker uses; a request that was refused is a missing one.

use crate::cluster::Asked;
use anyhow::{Context, ensure};
use serde::Deserialize;
use std::{collections::BTreeSet, fmt};

/// One right: a verb on a resource (with `/` and its subresource where it has one), or on a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// get, list, watch, …
    pub verb: String,
    /// The API group; empty for the core's and for paths.
    pub group: String,
    /// Such as `virtualkeys/status` or `/openid/v1/jwks`.
    pub resource: String,
    /// The only object it is for.
    pub name: Option<String>,
}

/// Where the two differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Granted, and never used.
    pub unused: BTreeSet<Right>,
    /// Asked for, and refused by RBAC.
    pub refused: BTreeSet<Right>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Role {
    kind: String,
    #[serde(default)]
    rules: Vec<Rule>,
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

/// The rights that Roles and ClusterRoles of rendered manifests grant.
pub fn granted(manifests: &str) -> anyhow::Result<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    for document in serde_yaml::Deserializer::from_str(manifests) {
        let value = serde_yaml::Value::deserialize(document).context("no YAML")?;
        let kind = value.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default();
        if !matches!(kind, "Role" | "ClusterRole") {
            continue;
        }
        let role: Role = serde_yaml::from_value(value)?;
        for rule in role.rules {
            rule.rights(&role.kind, &mut rights)?;
        }
    }
    Ok(rights)
}

/// The difference between rights and what users whose name ends with `user` did with them.
pub fn difference(granted: &BTreeSet<Right>, audit: &[Asked], user: &str) -> Difference {
    let mine = || audit.iter().filter(|asked| asked.user.ends_with(user));
    let mut used: BTreeSet<Right> = mine().filter(|asked| asked.code != 403).map(Right::of).collect();
    used.extend(mine().filter(|asked| asked.verb == "patch" && asked.code == 201).map(Right::to_create));
    // An admission plug-in's 403 is no matter of rights: the same right has been used elsewhere or is granted at least.
    let refused = mine().filter(|asked| asked.code == 403).map(Right::of);
    let refused = refused.filter(|right| !granted.iter().any(|grant| grant.covers(right)));
    let unused = granted.iter().filter(|grant| !used.iter().any(|right| grant.covers(right))).cloned();
    Difference { unused: unused.collect(), refused: refused.collect() }
}

// === impl Rule ===

impl Rule {
    fn rights(&self, kind: &str, rights: &mut BTreeSet<Right>) -> anyhow::Result<()> {
        let star =
            [&self.api_groups, &self.resources, &self.verbs].iter().any(|list| list.iter().any(|w| w == "*"));
        ensure!(!star, "a {kind} grants *: name what is meant");
        let names: Vec<Option<String>> = match self.resource_names.as_slice() {
            [] => vec![None],
            names => names.iter().cloned().map(Some).collect(),
        };
        for verb in &self.verbs {
            for path in &self.non_resource_urls {
                rights.insert(Right {
                    verb: verb.clone(),
                    group: String::new(),
                    resource: path.clone(),
                    name: None,
                });
            }
            for (group, resource) in
                self.api_groups.iter().flat_map(|g| self.resources.iter().map(move |r| (g, r)))
            {
                rights.extend(names.iter().map(|name| Right {
                    verb: verb.clone(),
                    group: group.clone(),
                    resource: resource.clone(),
                    name: name.clone(),
                }));
            }
        }
        Ok(())
    }
}

/// The name of what was asked for. Tests install the chart once in each namespace, so that what belongs to the cluster is
/// called `tollgate-NAMESPACE-…` there (the chart's `clusterName`): it is what a single installation calls `tollgate-…`.
fn own(asked: &Asked) -> String {
    let namespace = asked.user.strip_prefix("system:serviceaccount:").and_then(|user| user.split(':').next());
    let rest = namespace.and_then(|namespace| asked.name.strip_prefix(&format!("tollgate-{namespace}-")));
    rest.map_or_else(|| asked.name.clone(), |rest| format!("tollgate-{rest}"))
}

// === impl Right ===

impl Right {
    fn of(asked: &Asked) -> Self {
        let resource = match (asked.resource.as_str(), asked.subresource.as_str()) {
            ("", _) => asked.url.split('?').next().unwrap_or_default().to_owned(),
            (resource, "") => resource.to_owned(),
            (resource, subresource) => format!("{resource}/{subresource}"),
        };
        let name = Some(own(asked)).filter(|name| !name.is_empty());
        Right { verb: asked.verb.clone(), group: asked.group.clone(), resource, name }
    }

    /// The second right of a server-side apply that created its object: it is asked for as `create`, and logged as `patch`.
    fn to_create(asked: &Asked) -> Self {
        Right { verb: "create".into(), name: None, ..Right::of(asked) }
    }

    fn covers(&self, used: &Right) -> bool {
        let same = (&self.verb, &self.group, &self.resource) == (&used.verb, &used.group, &used.resource);
        same && (self.name.is_none() || self.name == used.name)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = r#"
kind: Role
rules:
- {apiGroups: [""], resources: [secrets], verbs: [get, list]}
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [mine], verbs: [patch]}
- {nonResourceURLs: [/openid/v1/jwks], verbs: [get]}
---
kind: RoleBinding
"#;

    fn asked(verb: &str, resource: &str, name: &str, code: u16) -> Asked {
        Asked {
            user: "system:serviceaccount:n:operator".into(),
            verb: verb.into(),
            group: if resource == "leases" { "coordination.k8s.io".into() } else { String::new() },
            resource: resource.into(),
            subresource: String::new(),
            namespace: "n".into(),
            name: name.into(),
            url: if resource.is_empty() { "/openid/v1/jwks?x=1".into() } else { "/api".into() },
            code,
            agent: String::new(),
            ..Asked::default()
        }
    }

    fn words(rights: &BTreeSet<Right>) -> Vec<String> {
        rights.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_used_is_what_is_granted() {
        let granted = granted(ROLE).unwrap();
        let all = [
            asked("get", "secrets", "a", 404),
            asked("list", "secrets", "", 200),
            asked("patch", "leases", "mine", 409),
            asked("get", "", "", 200),
        ];
        assert_eq!(difference(&granted, &all, ":operator"), Difference::default());
        let whole = [asked("get", "", "", 200), asked("patch", "leases", "tollgate-n-x", 200)];
        let named = ROLE.replace("[mine]", "[tollgate-x]");
        let found = difference(&super::granted(&named).unwrap(), &whole, ":operator");
        assert_eq!(words(&found.unused), ["get secrets", "list secrets"], "n is the user's namespace");
        // Another object, another user, and a refused request use no right.
        let others = [asked("patch", "leases", "other", 403), asked("get", "secrets", "a", 403)];
        let found = difference(&granted, &others, ":operator");
        assert_eq!(
            words(&found.unused),
            ["get /openid/v1/jwks", "get secrets", "list secrets", "patch leases.coordination.k8s.io mine"]
        );
        assert_eq!(words(&found.refused), ["patch leases.coordination.k8s.io other"]);
        assert_eq!(difference(&granted, &all, ":somebody").unused.len(), 4);
    }

    #[test]
    fn what_an_apply_creates_uses_the_right_to_create() {
        let rule = "kind: Role\nrules: [{apiGroups: [''], resources: [services], verbs: [create, patch]}]";
        let granted = granted(rule).unwrap();
        let found = difference(&granted, &[asked("patch", "services", "a", 200)], ":operator");
        assert_eq!(words(&found.unused), ["create services"]);
        assert_eq!(
            difference(&granted, &[asked("patch", "services", "a", 201)], ":operator"),
            Difference::default()
        );
    }

    #[test]
    fn a_star_is_refused() {
        let wide = "kind: ClusterRole\nrules: [{apiGroups: ['*'], resources: [a], verbs: [get]}]";
        assert!(granted(wide).unwrap_err().to_string().contains("grants *"));
    }
}
