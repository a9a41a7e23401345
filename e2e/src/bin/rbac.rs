//! Compares rendered manifests with audit logs: `rbac ROLES.yaml AUDIT-FOLDER`. Fails when the operator's rights are not
//! exactly what it used.

use anyhow::{Context, ensure};
use std::path::PathBuf;
use tollgate_e2e::{cluster::audit, rbac};

/// The end of the operator's user names, in whatever namespace.
const OPERATOR: &str = ":tollgate-operator";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (roles, folder) =
        arguments.next().zip(arguments.next()).context("usage: rbac ROLES.yaml AUDIT-FOLDER")?;
    let granted = rbac::granted(&std::fs::read_to_string(&roles)?)?;
    let mut asked = Vec::new();
    for log in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        asked.extend(audit::read(&log?.path())?);
    }
    let found = rbac::difference(&granted, &asked, OPERATOR);
    for right in &found.unused {
        println!("granted, never used: {right}");
    }
    for right in &found.refused {
        println!("refused: {right}");
    }
    println!("{} rights, {} requests in {}", granted.len(), asked.len(), folder.display());
    ensure!(found == rbac::Difference::default(), "the operator's rights are not what it uses");
    Ok(())
}
