//! The official MCP conformance suite against `/mcp` of a real gateway, whose server has the tools that the suite calls by
//! name. `make conformance`; a test of `make test` runs all of it too, because it takes seconds.
//!
//! What fails is either listed with its reason in [`EXPECTED`] or a finding, and so is what is listed and does not fail.

use crate::{
    clients::{hermetic, run, tool},
    gateway::{Gateway, Home, Manifests, manifests},
    mcp_server::{McpServer, Options},
};
use anyhow::{Context, ensure};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Write as _, path::Path};

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// The scenarios in the suite's order, each with its checks.
    pub scenarios: Vec<(String, Vec<Check>)>,
    /// What is not as the list says; a good run has none.
    pub findings: Vec<String>,
}

/// A check as the suite writes it down.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Its id, in its scenario.
    pub id: String,
    /// `SUCCESS`, `FAILURE`, `WARNING`, `INFO`, `SKIPPED`.
    pub status: String,
    /// What was wrong.
    pub error_message: Option<String>,
}

/// A check that fails, and why that is so; [`NOTHING`]: a scenario that has nothing to check.
type Expected = (&'static str, &'static str, &'static str);

const NO_RESOURCES: &str = "tools only: this version offers no resources, and says so in its capabilities";
const NO_PROMPTS: &str = "tools only: this version offers no prompts, and says so in its capabilities";
const NO_LOGGING: &str = "this version hands on no log messages, and does not offer `logging`";
const NO_ASKING: &str =
    "this version answers no server that asks the client's model or user, and offers servers neither";

/// In the place of a check: the scenario passes, but only because nothing of it applies.
const NOTHING: &str = "";

/// What fails: scenario, check, reason.
pub const EXPECTED: [Expected; 19] = [
    ("logging-set-level", "logging-set-level", NO_LOGGING),
    (
        "completion-complete",
        "completion-complete",
        "completions are of prompts and resources, which are not offered",
    ),
    ("tools-call-with-logging", "tools-call-with-logging", NO_LOGGING),
    ("tools-call-sampling", "tools-call-sampling", NO_ASKING),
    ("tools-call-elicitation", "tools-call-elicitation", NO_ASKING),
    ("elicitation-sep1034-defaults", "elicitation-sep1034-general", NO_ASKING),
    ("elicitation-sep1330-enums", "elicitation-sep1330-general", NO_ASKING),
    (
        "server-sse-polling",
        NOTHING,
        "answers are JSON, or a stream that is not taken up again: the gateway keeps no events",
    ),
    ("resources-list", "resources-list", NO_RESOURCES),
    ("resources-read-text", "resources-read-text", NO_RESOURCES),
    ("resources-read-binary", "resources-read-binary", NO_RESOURCES),
    ("resources-templates-read", "resources-templates-read", NO_RESOURCES),
    ("resources-subscribe", "resources-subscribe", NO_RESOURCES),
    ("resources-unsubscribe", "resources-unsubscribe", NO_RESOURCES),
    ("prompts-list", "prompts-list", NO_PROMPTS),
    ("prompts-get-simple", "prompts-get-simple", NO_PROMPTS),
    ("prompts-get-with-args", "prompts-get-with-args", NO_PROMPTS),
    ("prompts-get-embedded-resource", "prompts-get-embedded-resource", NO_PROMPTS),
    ("prompts-get-with-image", "prompts-get-with-image", NO_PROMPTS),
];

/// The suite's program, below the cache, and what lets Node 20 run it.
const PROGRAM: &str = "conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js";
const PACKAGE: &str = "conformance/node_modules/@modelcontextprotocol/conformance/package.json";
const NODE: &str = concat!("file://", env!("CARGO_MANIFEST_DIR"), "/tools/conformance/node20.mjs");
/// What the suite prints before each scenario.
const RUNNING: (&str, &str) = ("=== Running scenario: ", " ===");

/// Runs the whole suite.
pub async fn check() -> anyhow::Result<Outcome> {
    let server = McpServer::with(Options { everything: true, ..Options::named("everything") }).await?;
    // The suite shows no credential, and knows the tools by the names that their server gives them.
    let unprefixed = manifests::server("everything", &server.url()) + "  naming: {mode: None}\n";
    let key = "anonymous: true\ntools: [{server: everything, allow: [\"*\"]}]\n";
    let home = Home::new(&Manifests::new().file("everything.yaml", &unprefixed).key("anybody", key))?;
    let gateway = Gateway::start(&home).await?;
    let folder = tempfile::Builder::new().prefix("tollgate-conformance-").tempdir()?;
    let mut command = hermetic("node".into(), folder.path());
    command.arg("--import").arg(NODE).arg(tool(PROGRAM)?).args(["server", "--suite", "all"]);
    command.args(["--url", &gateway.at("/mcp"), "--output-dir"]).arg(folder.path());
    let ended = run(command).await?;
    let said = &ended.stdout;
    // It ends with 1 when anything failed, expected or not.
    let whole = said.contains("=== SUMMARY ===");
    ensure!(whole, "the suite broke off with {:?}:\n{said}\n{}", ended.code, ended.stderr);
    let names = said.lines().filter_map(|line| line.strip_prefix(RUNNING.0)?.strip_suffix(RUNNING.1));
    let read = |name: &str| Ok((name.to_owned(), checks(folder.path(), name)?));
    let scenarios = names.map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let findings = judge(&scenarios, &EXPECTED);
    Ok(Outcome { scenarios, findings })
}

/// What the suite wrote down of a scenario.
fn checks(folder: &Path, scenario: &str) -> anyhow::Result<Vec<Check>> {
    let prefix = format!("server-{scenario}-2"); // then comes the rest of the year
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let text = std::fs::read_to_string(entry.path().join("checks.json"))?;
            return serde_json::from_str(&text).with_context(|| format!("the checks of {scenario}"));
        }
    }
    anyhow::bail!("the suite wrote down nothing of {scenario}")
}

/// What fails and is not expected to, and what is expected to and does not.
fn judge(scenarios: &[(String, Vec<Check>)], expected: &[Expected]) -> Vec<String> {
    let mut findings = Vec::new();
    for (scenario, checks) in scenarios {
        for check in checks.iter().filter(|check| check.is_failed()) {
            if !expected.iter().any(|(s, id, _)| (s, id) == (&scenario.as_str(), &check.id.as_str())) {
                let why = check.error_message.as_deref().unwrap_or("no reason given");
                findings.push(format!("{scenario}: {} is a {}: {why}", check.id, check.status));
            }
        }
        let nothing = !checks.iter().any(Check::is_verdict);
        let allowed = expected.iter().any(|(s, id, _)| (*s, *id) == (scenario.as_str(), NOTHING));
        if nothing && !allowed {
            findings.push(format!("{scenario} has checked nothing"));
        }
    }
    for (scenario, id, _) in expected {
        let checks = scenarios.iter().find(|(name, _)| name == scenario).map(|(_, checks)| checks.as_slice());
        let same = match *id {
            NOTHING => checks.is_some_and(|checks| !checks.iter().any(Check::is_verdict)),
            id => checks.unwrap_or_default().iter().any(|check| check.id == id && check.is_failed()),
        };
        if !same {
            findings.push(format!("{scenario}: {id:?} is not as expected any more: take it off the list"));
        }
    }
    findings
}

// === impl Check ===

impl Check {
    fn is_failed(&self) -> bool {
        matches!(self.status.as_str(), "FAILURE" | "WARNING")
    }

    fn is_verdict(&self) -> bool {
        self.is_failed() || self.status == "SUCCESS"
    }
}

// === impl Outcome ===

impl Outcome {
    /// The page.
    pub fn page(&self) -> anyhow::Result<String> {
        let package: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(tool(PACKAGE)?)?)?;
        let version = package["version"].as_str().unwrap_or("unknown");
        let all = || self.scenarios.iter().flat_map(|(_, checks)| checks);
        let passed = all().filter(|check| check.status == "SUCCESS").count();
        let failed = all().filter(|check| check.is_failed()).count();
        let mut out = format!(
            "# MCP conformance\n\n`make conformance`: the server scenarios of `@modelcontextprotocol/conformance` {version} (suite `all`), against `/mcp` of a \
             gateway on this machine, with an anonymous key and one server behind it that has the suite's tools.\n\n**{}** {passed} checks \
             pass in {} scenarios; {failed} fail, for the reasons below.\n\n| scenario | checks | |\n|---|---|---|\n",
            if self.findings.is_empty() { "As expected." } else { "Not as expected." },
            self.scenarios.len(),
        );
        let reasons: BTreeMap<&str, &str> =
            EXPECTED.iter().map(|(scenario, _, why)| (*scenario, *why)).collect();
        for (scenario, checks) in &self.scenarios {
            let passed = checks.iter().filter(|check| check.status == "SUCCESS").count();
            let failed = checks.iter().filter(|check| check.is_failed()).count();
            let verdict = match (failed, reasons.get(scenario.as_str())) {
                (0, None) => "passes".to_owned(),
                (0, Some(why)) if passed == 0 => format!("nothing applies: {why}"),
                (0, Some(_)) => "**passes**".to_owned(),
                (_, Some(why)) => format!("fails: {why}"),
                (_, None) => "**fails**".to_owned(),
            };
            // Writing to a string cannot fail.
            writeln!(out, "| {scenario} | {passed} of {} | {verdict} |", passed + failed).ok();
        }
        for finding in &self.findings {
            writeln!(out, "\n- {finding}").ok();
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(name: &str, checks: &[(&str, &str)]) -> (String, Vec<Check>) {
        let check = |(id, status): &(&str, &str)| Check {
            id: (*id).to_owned(),
            status: (*status).to_owned(),
            error_message: None,
        };
        (name.to_owned(), checks.iter().map(check).collect())
    }

    #[test]
    fn an_unexpected_failure_and_an_unexpected_pass_are_findings() {
        let expected = [("a", "one", "why"), ("gone", "one", "why")];
        let good = scenario("gone", &[("one", "FAILURE")]);
        let findings = |a: &[(&str, &str)]| judge(&[scenario("a", a), good.clone()], &expected);
        assert_eq!(findings(&[("one", "FAILURE"), ("two", "SUCCESS")]), Vec::<String>::new());
        assert_eq!(
            findings(&[("one", "SUCCESS")]),
            ["a: \"one\" is not as expected any more: take it off the list"]
        );
        let two = findings(&[("one", "WARNING"), ("two", "WARNING")]);
        assert_eq!(two, ["a: two is a WARNING: no reason given"]);
        assert_eq!(findings(&[("one", "FAILURE"), ("three", "INFO")]), Vec::<String>::new());
        let only_one = judge(&[scenario("a", &[("one", "FAILURE")])], &expected);
        assert_eq!(only_one, ["gone: \"one\" is not as expected any more: take it off the list"]);
        let nothing = [scenario("b", &[("one", "INFO")])];
        assert_eq!(judge(&nothing, &[]), ["b has checked nothing"]);
        let listed = [("b", NOTHING, "why")];
        assert_eq!(judge(&nothing, &listed), Vec::<String>::new());
        let checked = judge(&[scenario("b", &[("one", "SUCCESS")])], &listed);
        assert_eq!(checked, ["b: \"\" is not as expected any more: take it off the list"]);
    }
}
