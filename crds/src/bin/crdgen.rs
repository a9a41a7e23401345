//! Writes `crds/manifests/` and the templates of `charts/tollgate-crds` from the types, or checks that they are what the types
//! say.
//!
//! ```text
//! crdgen [--check] [DIR [TEMPLATES]]      crds/manifests and charts/tollgate-crds/templates when both are left out
//! ```

use std::{fs, path::Path, process::ExitCode};
use tollgate_crds::manifests::{Manifest, manifests, templates};

fn main() -> ExitCode {
    let mut check = false;
    let mut dirs = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--check" => check = true,
            other if other.starts_with('-') || dirs.len() == 2 => {
                eprintln!("crdgen: unknown argument {other}\nusage: crdgen [--check] [DIR [TEMPLATES]]");
                return ExitCode::from(2);
            }
            other => dirs.push(other.to_owned()),
        }
    }
    if dirs.is_empty() {
        let home = env!("CARGO_MANIFEST_DIR");
        dirs = vec![format!("{home}/manifests"), format!("{home}/../charts/tollgate-crds/templates")];
    }
    match run(&dirs, check) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("crdgen: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Writes the manifests into the first folder and the templates into the second, or compares them; false when one differs.
fn run(dirs: &[String], check: bool) -> anyhow::Result<bool> {
    let mut equal = true;
    for (dir, wanted) in dirs.iter().zip([manifests()?, templates()?]) {
        equal &= folder(Path::new(dir), &wanted, check)?;
    }
    Ok(equal)
}

/// One folder of [`run`].
fn folder(dir: &Path, wanted: &[Manifest], check: bool) -> anyhow::Result<bool> {
    use anyhow::Context;
    let mut equal = true;
    if !check {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    for manifest in wanted {
        let path = dir.join(&manifest.file);
        if !check {
            fs::write(&path, &manifest.text).with_context(|| format!("cannot write {}", path.display()))?;
        } else if fs::read_to_string(&path).ok().as_deref() != Some(manifest.text.as_str()) {
            eprintln!("{} is not what crds/src/api says: run `make crds` and commit it", path.display());
            equal = false;
        }
    }
    for path in strangers(dir, wanted.iter().map(|m| m.file.as_str()).collect())? {
        eprintln!("{} belongs to no kind: remove it", path.display());
        equal = false;
    }
    Ok(equal)
}

/// YAML files that no kind writes, such as those of a kind that was renamed.
fn strangers(dir: &Path, known: Vec<&str>) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.ends_with(".yaml") && !known.contains(&name) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
