//! `kubectl tollgate spend`: what budgets have left, as the keys' status says, also as a tree.

use crate::{
    cluster::{Cluster, Listed, Target, why_unreadable},
    table::{Table, amount, printable},
};
use kube::ResourceExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::ExitCode,
};
use tollgate_crds::{
    api::{VirtualKey, virtual_key::BudgetStatus},
    guard::Unreadable,
};

/// Arguments of `spend`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keys below their parents, over all namespaces.
    #[arg(long)]
    tree: bool,
    /// In all namespaces.
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    #[command(flatten)]
    target: Target,
}

type Id = (String, String);

/// Shows the budgets.
///
/// # Errors
/// When the cluster cannot be asked, or the output cannot be written.
pub async fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(&args.target).await?;
    let keys: Listed<VirtualKey> = cluster.list(args.all_namespaces || args.tree).await?;
    let mut table = if args.tree { tree(&keys.read) } else { flat(&keys.read) };
    keys.unreadable.iter().for_each(|key| unread(&mut table, key));
    if table.is_empty() {
        writeln!(out, "No keys found.")?;
    } else {
        table.write(out)?;
    }
    for key in &keys.unreadable {
        writeln!(out, "{}: {}", printable(&name(key)), printable(&why_unreadable(key)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A key of which nothing but its name is known.
fn unread(table: &mut Table, key: &Unreadable) {
    let nothing = || "?".to_owned();
    table.row([name(key), nothing(), nothing(), nothing(), nothing(), nothing(), nothing()]);
}

fn name(key: &Unreadable) -> String {
    let of = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", of(&key.metadata.namespace), of(&key.metadata.name))
}

fn headings() -> Table {
    Table::new(["KEY", "BUDGET", "SPENT", "LIMIT", "USED", "HELD", "RESETS"])
}

fn flat(keys: &[VirtualKey]) -> Table {
    let mut table = headings();
    for key in keys {
        let (namespace, name) = id(key);
        rows(&mut table, &format!("{namespace}/{name}"), key);
    }
    table
}

/// Roots first, each with what is below it. A key whose parent is not there is a root of its own; a circle is cut.
fn tree(keys: &[VirtualKey]) -> Table {
    let by_id: BTreeMap<Id, &VirtualKey> = keys.iter().map(|key| (id(key), key)).collect();
    let mut children: BTreeMap<Option<Id>, Vec<Id>> = BTreeMap::new();
    for (id, key) in &by_id {
        children.entry(parent(key).filter(|p| by_id.contains_key(p))).or_default().push(id.clone());
    }
    let mut table = headings();
    let mut seen = BTreeSet::new();
    let roots = children.get(&None).cloned().unwrap_or_default();
    // What hangs in a circle hangs below no root.
    for root in roots.into_iter().chain(by_id.keys().cloned().collect::<Vec<_>>()) {
        let mut waiting = vec![(root, 0_usize)];
        while let Some((id, depth)) = waiting.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            if let Some(key) = by_id.get(&id) {
                rows(&mut table, &format!("{}{}/{}", "  ".repeat(depth), id.0, id.1), key);
            }
            let below = children.get(&Some(id)).into_iter().flatten().rev();
            waiting.extend(below.map(|child| (child.clone(), depth + 1)));
        }
    }
    table
}

fn rows(table: &mut Table, shown: &str, key: &VirtualKey) {
    let budgets = key.status.as_ref().map(|status| status.budgets.as_slice()).unwrap_or_default();
    let declared = &key.spec.budgets;
    if declared.is_empty() {
        table.row([shown.into(), "(none)".into(), "".into(), "".into(), "".into(), "".into(), "".into()]);
    }
    for (place, budget) in declared.iter().enumerate() {
        let name = if place == 0 { shown.to_owned() } else { " ".repeat(shown.chars().count()) };
        let limit = budget.usd.as_ref().map(|usd| format!("${}", usd.0));
        let limit =
            limit.or_else(|| budget.tokens.map(|tokens| format!("{tokens} tokens"))).unwrap_or_default();
        let [spent, used, held, resets] = match budgets.iter().find(|status| status.name == budget.name) {
            Some(status) => state(status),
            None => ["?".into(), String::new(), String::new(), String::new()],
        };
        table.row([name, budget.name.clone(), spent, limit, used, held, resets]);
    }
}

fn state(status: &BudgetStatus) -> [String; 4] {
    let resets = status.resets_at.as_ref().map(|time| time.0.to_string());
    [
        amount(&status.spent, status.unit),
        format!("{} %", status.percent),
        status.held.as_ref().map(|held| amount(held, status.unit)).unwrap_or_default(),
        resets.unwrap_or_default(),
    ]
}

fn id(key: &VirtualKey) -> Id {
    (key.namespace().unwrap_or_default(), key.name_any())
}

fn parent(key: &VirtualKey) -> Option<Id> {
    let parent = key.spec.parent_ref.as_ref()?;
    let namespace = parent.namespace.clone().or_else(|| key.namespace())?;
    Some((namespace, parent.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, parent: Option<&str>) -> VirtualKey {
        let parent = parent.map_or(serde_json::Value::Null, |name| serde_json::json!({"name": name}));
        serde_json::from_value(serde_json::json!({
            "apiVersion": "tollgate.dev/v1alpha1", "kind": "VirtualKey",
            "metadata": {"name": name, "namespace": "n"},
            "spec": {"parentRef": parent, "budgets": [{"name": "month", "usd": "5", "period": "Month"}]},
        }))
        .unwrap()
    }

    #[test]
    fn children_stand_below_their_parents_and_circles_end() {
        let keys = [
            key("b", Some("org")),
            key("a", Some("b")),
            key("org", None),
            key("x", Some("y")),
            key("y", Some("x")),
        ];
        let mut out = Vec::new();
        tree(&keys).write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let names: Vec<&str> =
            text.lines().skip(1).map(|line| line.split("   month").next().unwrap().trim_end()).collect();
        assert_eq!(names, ["n/org", "  n/b", "    n/a", "n/x", "  n/y"], "{text}");
        assert!(text.contains("$5"), "{text}");
    }
}
