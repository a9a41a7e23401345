//! The official Python SDKs: a script of `e2e/tests/python/` gets the gateway and a key, and prints JSON.

use super::{hermetic, run, tool};
use anyhow::Context;
use serde_json::Value;
use std::path::Path;

/// Runs `e2e/tests/python/SCRIPT GATEWAY KEY ARGS…` and reads the JSON it prints.
pub async fn script(name: &str, gateway: &str, key: &str, args: &[&str]) -> anyhow::Result<Value> {
    let home = tempfile::Builder::new().prefix("tollgate-python-").tempdir()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name);
    let mut command = hermetic(tool("sdks/bin/python")?, home.path());
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(path).args([gateway, key]).args(args);
    let ended = run(command).await?;
    anyhow::ensure!(
        ended.code == Some(0),
        "{name} ended with {:?}:\n{}{}",
        ended.code,
        ended.stdout,
        ended.stderr
    );
    serde_json::from_str(&ended.stdout).with_context(|| format!("{name} printed no JSON: {}", ended.stdout))
}
