//! Where long runs write down what they found: a dated page with its commit and machine.

use anyhow::Context;
use std::{path::Path, process::Command};

/// Writes `FOLDER/DATE-NAME.md`: the page, then commit, date and machine.
pub fn write(folder: &Path, name: &str, page: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let (date, commit) = (said("date", &["-u", "+%F"])?, said("git", &["rev-parse", "--short", "HEAD"])?);
    let changed = match said("git", &["status", "--porcelain", "--untracked-files=no"])?.as_str() {
        "" => "",
        _ => " with changes",
    };
    let machine = said("uname", &["-srm"])?;
    let processors = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown");
    let foot = format!(
        "Commit {commit}{changed}, {date}. {machine}, {processors} processors; load average at the end: {load}."
    );
    let path = folder.join(format!("{date}-{name}.md"));
    std::fs::write(&path, format!("{}\n\n{foot}\n", page.trim_end()))?;
    eprintln!("{name}: written to {}", path.display());
    Ok(())
}

fn said(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What this was compiled for.
pub fn build() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}
