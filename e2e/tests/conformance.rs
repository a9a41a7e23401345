//! `make conformance` takes seconds: all of it is a test.
#![allow(missing_docs, unreachable_pub, reason = "a test")]

use tollgate_e2e::conformance;

#[tokio::test]
async fn the_official_suite_finds_what_is_listed_and_nothing_else() -> anyhow::Result<()> {
    let outcome = conformance::check().await?;
    println!("{}", outcome.page()?);
    anyhow::ensure!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
    // A suite that checks nothing finds nothing.
    let passes = |name: &str| {
        let checks = outcome.scenarios.iter().find(|(scenario, _)| scenario == name);
        checks.is_some_and(|(_, checks)| checks.iter().any(|check| check.status == "SUCCESS"))
    };
    for scenario in ["server-initialize", "tools-list", "tools-call-simple-text", "tools-call-with-progress"]
    {
        anyhow::ensure!(passes(scenario), "{scenario} was not checked");
    }
    Ok(())
}
