//! `/logs` in Debian's Chromium: `e2e/browser/check.mjs` looks at the pages at 390 and 1280 px, light and dark, for what
//! axe-core finds, console errors and sideways scroll.

use anyhow::Context;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use tollgate_e2e::{
    client::eventually,
    clients::{hermetic, run_within, tool},
    lab::{KEY, Lab},
    provider::{Reply, Rule},
};

/// Some thirty page loads, each looked at by axe-core, on whatever machine this is.
const BROWSER: Duration = Duration::from_secs(420);

fn ask(model: &str, prompt: &str) -> Value {
    json!({
        "model": model, "max_tokens": 2_000, "stream": false,
        "tools": [{"name": "Read", "description": "Reads", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": prompt}],
    })
}

fn prompt(record: &Value) -> &str {
    record["prompt"].as_str().unwrap_or_default()
}

/// Requests of every kind that the pages show differently; how many.
async fn traffic(lab: &Lab) -> anyhow::Result<usize> {
    let wide = format!("wide {} <script>alert(1)</script> {}", "x".repeat(400), "漢字 ".repeat(80));
    let prompts = [
        "hello",
        "[[think:I should look.]][[say:I look.]][[tool:Read {\"file_path\":\"/etc/hostname\"}]]",
        wide.as_str(),
        "[[status:400]]",
        "[[garbage]]",
    ];
    for model in ["anthropic/claude-sonnet-4-5", "openai/gpt-5"] {
        for prompt in prompts {
            lab.gateway.message(KEY, &ask(model, prompt)).await?;
        }
    }
    lab.gateway.message(KEY, &ask("nobody/knows", "x")).await?.expect(400)?;
    lab.provider.script(Rule::once(Reply::text("# A heading\n\n```rust\nfn main() {}\n```\n".repeat(20))));
    lab.gateway.message(KEY, &ask("anthropic/claude-sonnet-4-5", "long")).await?.expect(200)?;
    Ok(prompts.len() * 2 + 2)
}

#[tokio::test]
async fn logs_are_accessible_quiet_and_narrow_enough() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let sent = traffic(&lab).await?;
    let records = eventually("all is recorded", || async {
        let records = lab.gateway.records(KEY).await?;
        Ok((records.len() >= sent).then_some(records))
    })
    .await?;
    let mut pages = vec![
        "/logs".to_owned(),
        "/logs/spend".to_owned(),
        "/logs?status=failed".to_owned(),
        "/logs?q=nothing-has-this".to_owned(),
    ];
    // One of each kind; all would take minutes.
    let kinds: [fn(&Value) -> bool; 4] = [
        |r| r["status"].as_u64() >= Some(400),
        |r| prompt(r).starts_with("wide"),
        |r| prompt(r).contains("[[think"),
        |r| prompt(r) == "long",
    ];
    for kind in kinds {
        let record = records.iter().find(|r| kind(r)).context("a kind of record is missing")?;
        pages.push(format!("/logs/records/{}", record["id"].as_str().context("no id")?));
    }
    let home = tempfile::tempdir()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/check.mjs");
    let mut command = hermetic("node".into(), home.path());
    let modules = tool("browser/node_modules")?;
    command.env("TOLLGATE_CACHE", modules.ancestors().nth(2).context("no cache")?);
    command.arg(script).args(pages.iter().map(|p| lab.gateway.at(p)));
    let ended = run_within(command, BROWSER).await?;
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    Ok(())
}
