//! Compares audit logs with rendered manifests: `rbac AUDIT-FOLDER [ROLES.yaml NAMESPACE]`. Fails when the operator was refused
//! something; with the roles of a release in NAMESPACE also when it has rights that it never used.

use anyhow::{Context, ensure};
use std::{collections::BTreeSet, path::PathBuf};
use tollgate_e2e::{cluster::audit, rbac};

/// The end of the operator's user names, in whatever namespace.
const OPERATOR: &str = ":tollgate-operator";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder =
        arguments.next().map(PathBuf::from).context("usage: rbac AUDIT-FOLDER [ROLES.yaml NAMESPACE]")?;
    let granted = match arguments.next() {
        None => BTreeSet::new(),
        Some(roles) => {
            let own = arguments.next().context("which namespace is the release's?")?;
            rbac::granted(&std::fs::read_to_string(&roles).context(roles)?, &own)?
        }
    };
    let mut asked = Vec::new();
    for log in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        asked.extend(audit::read(&log?.path())?);
    }
    let by_operators = asked.iter().filter(|asked| asked.user.ends_with(OPERATOR)).count();
    ensure!(by_operators > 0, "no operator asked for anything in {}", folder.display());
    let (unused, refused) = (rbac::unused(&granted, &asked, OPERATOR), rbac::refused(&asked, OPERATOR));
    for right in &unused {
        println!("granted, never used: {right}");
    }
    for refusal in &refused {
        println!("refused: {refusal}");
    }
    println!("{} rights, {by_operators} requests of operators in {}", granted.len(), folder.display());
    ensure!(unused.is_empty() && refused.is_empty(), "the operator's rights are not what it uses");
    Ok(())
}
