//! What reviewers are told: each case is a change in a few lines of manifest, and the words that it must come to.

mod golden;

use super::{
    FailOn, code, markdown,
    report::{Effect, Report},
    state::{Rules, Side},
};
use std::{collections::BTreeMap, path::PathBuf};

const BASE: &str = r#"
apiVersion: tollgate.dev/v1alpha1
kind: ProviderRoute
metadata: {name: openai, namespace: eng}
spec:
  models: [{name: gpt-5}, {name: gpt-5-mini}, {name: o3-pro}]
  backends: [{name: main, openAI: {}, credentials: {secretRef: {name: openai, key: apiKey}}}]
---
apiVersion: tollgate.dev/v1alpha1
kind: McpServer
metadata: {name: db, namespace: eng}
spec: {streamableHttp: {url: https://db.example.com/mcp}}
---
apiVersion: tollgate.dev/v1alpha1
kind: VirtualKey
metadata: {name: team, namespace: eng}
spec:
  budgets: [{name: month, usd: "200", period: Month}]
---
apiVersion: tollgate.dev/v1alpha1
kind: VirtualKey
metadata: {name: alice, namespace: eng}
spec:
  parentRef: {name: team}
  token: {secretRef: {name: alice, key: token}}
  models: {allow: ["openai/*"], deny: ["*/o3-pro"]}
  tools: [{server: db, allow: ["query", "list_*"]}]
---
apiVersion: tollgate.dev/v1alpha1
kind: VirtualKey
metadata: {name: bob, namespace: eng}
spec:
  parentRef: {name: team}
  token: {secretRef: {name: bob, key: token}}
  models: {allow: ["openai/gpt-5-mini"]}
"#;

fn side(text: &str) -> Side {
    side_by(text, &Rules::default())
}

fn side_by(text: &str, rules: &Rules) -> Side {
    let files = BTreeMap::from([(PathBuf::from("all.yaml"), Ok(text.as_bytes().to_vec()))]);
    Side::of(files, rules)
}

/// The review of replacing `from` by `to` in the base.
fn review(from: &str, to: &str) -> Report {
    assert!(BASE.contains(from), "{from}");
    Report::new(&side(BASE), &side(&BASE.replacen(from, to, 1)), 0)
}

fn words(report: &Report) -> String {
    let mut out = Vec::new();
    markdown::write(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[track_caller]
fn says(report: &Report, lines: &[&str]) {
    let text = words(report);
    for line in lines {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
}

#[test]
fn nothing_is_nothing() {
    let report = Report::new(&side(BASE), &side(BASE), 0);
    says(&report, &["Nothing changes."]);
    assert_eq!(code(&report, &[FailOn::Any]), 0);
    // Other order, comments and quotes are no change of policy.
    let report = review(
        "metadata: {name: db, namespace: eng}",
        "metadata: {namespace: eng, name: \"db\"} # a comment",
    );
    says(&report, &["Nothing changes."]);
}

#[test]
fn a_raised_budget_is_wider_and_a_lowered_one_narrower() {
    let report = review(r#"usd: "200""#, r#"usd: "500""#);
    says(
        &report,
        &[
            "1 setting is wider.",
            "🔺 budget `month`: $200 → $500 (+150 %)",
            "🔺 Budgets of 1 team rise by $300 a month.",
        ],
    );
    assert_eq!(code(&report, &[FailOn::Widens]), 3);
    assert_eq!(code(&report, &[FailOn::Narrows]), 0);
    let report = review(r#"usd: "200""#, r#"usd: "0.50""#);
    says(&report, &["🔻 budget `month`: $200 → $0.50", "🔻 Budgets of 1 team fall by $199.50 a month."]);
    assert!(!report.does(Effect::Widens));
    let report =
        review(r#"  budgets: [{name: month, usd: "200", period: Month}]"#, "  limits: {concurrent: 4}");
    says(
        &report,
        &[
            "🔺 budget `month`: no longer $200 a month",
            "1 team no longer has a budget of $200 a month.",
            "🔻 `limits.concurrent`: `4`",
        ],
    );
}

const BUDGET: &str = r#"usd: "200", period: Month"#;

#[test]
fn another_window_is_told_and_a_shorter_one_is_wider() {
    for (window, widens, lines) in [
        (
            r#"usd: "200", period: Day"#,
            true,
            [
                "🔺 `budgets[month].period`: `Month` → `Day`",
                "🔺 Budgets of 1 team begin anew by another window: $200 a month, now $200 a day.",
            ],
        ),
        (
            r#"usd: "200", rolling: 1h"#,
            true,
            ["🔺 `budgets[month].rolling`: `1h` (begins anew", "$200 a month, now $200 in any 1h."],
        ),
        (
            r#"usd: "200", period: Month, timeZone: Asia/Tokyo"#,
            true,
            [
                "👀 `budgets[month].timeZone`: `Asia/Tokyo` (begins anew",
                "$200 a month (UTC), now $200 a month (Asia/Tokyo).",
            ],
        ),
        // Less from then on, and what was spent before is forgotten all the same.
        (
            r#"usd: "200", period: Year"#,
            true,
            ["🔻 `budgets[month].period`: `Month` → `Year` (begins anew", "$200 a month, now $200 a year."],
        ),
        // The same in other words.
        (
            r#"usd: "200", period: Month, timeZone: UTC"#,
            false,
            ["`budgets[month].timeZone`: `UTC`", "Nobody gains"],
        ),
    ] {
        let report = review(BUDGET, window);
        says(&report, &lines);
        assert_eq!(code(&report, &[FailOn::Widens]), if widens { 3 } else { 0 }, "{window}");
    }
    let report = review(BUDGET, r#"usd: "200", period: Month, models: ["openai/o3-pro"]"#);
    says(&report, &["🔺 `budgets[month].models[]`: `openai/o3-pro`"]);
    // Limits over different times are not added up.
    let text = words(&review(BUDGET, r#"usd: "7", period: Day"#));
    assert!(
        text.contains("🔺 `budgets[month].period`") && text.contains("🔻 budget `month`: $200 → $7"),
        "{text}"
    );
}

#[test]
fn what_annotations_ask_for_is_part_of_the_change() {
    let team = "metadata: {name: team, namespace: eng}";
    let with = |annotations: &str| {
        format!("metadata: {{name: team, namespace: eng, annotations: {{{annotations}}}}}")
    };
    let report = review(team, &with(r#"tollgate.dev/reset-budget: "*:1""#));
    says(
        &report,
        &[
            "1 setting is wider.",
            "🔺 annotation `tollgate.dev/reset-budget`: `*:1` (begins anew",
            "🔺 Budgets of 1 team begin anew: $200 a month.",
        ],
    );
    assert_eq!(code(&report, &[FailOn::Widens]), 3);
    for (annotations, line, exits) in [
        ("tollgate.dev/reset-budget: 'week:1'", "👀 annotation `tollgate.dev/reset-budget`", [0, 3, 3]),
        ("tollgate.dev/rotation-overlap: 8760h", "🔺 annotation `tollgate.dev/rotation-overlap`", [3, 0, 3]),
        ("tollgate.dev/rotation-overlap: '0'", "🔻 annotation `tollgate.dev/rotation-overlap`", [0, 0, 3]),
        ("tollgate.dev/rotation-overlap: soon", "👀 annotation `tollgate.dev/rotation-overlap`", [0, 3, 3]),
        ("tollgate.dev/rotate-token: now", "👀 annotation `tollgate.dev/rotate-token`", [0, 3, 3]),
    ] {
        let report = review(team, &with(annotations));
        says(&report, &[line]);
        let rules = [FailOn::Widens, FailOn::Attention, FailOn::Any];
        assert_eq!(rules.map(|rule| code(&report, &[rule])), exits, "{annotations}");
    }
    // What was carried out already is not asked for again, and what goes asks for nothing.
    let side_with = |annotations: &str| side(&BASE.replacen(team, &with(annotations), 1));
    let (once, twice) =
        ("tollgate.dev/reset-budget: 'month:1'", "tollgate.dev/reset-budget: 'day:1,month:1'");
    let report = Report::new(&side_with(once), &side_with(twice), 0);
    assert!(!report.does(Effect::Widens) && report.money.is_empty(), "{}", words(&report));
    let report = Report::new(&side_with(once), &side(BASE), 0);
    says(&report, &["Nobody gains or loses anything.", "no longer `month:1`"]);
    // Other annotations are none of ours.
    says(&review(team, &with("team: a")), &["Nothing changes."]);
}

#[test]
fn who_gains_a_model_is_computed_and_not_read_off_the_field() {
    // The route gets a model that alice's pattern covers and bob's does not.
    let report = review("{name: gpt-5-mini}", "{name: gpt-5-mini}, {name: gpt-6}");
    says(&report, &["🔺 `eng/alice` gains `openai/gpt-6`", "1 key gains access"]);
    assert!(!words(&report).contains("eng/bob"));
    // An exception taken back.
    let report = review(r#", deny: ["*/o3-pro"]"#, "");
    says(&report, &["🔺 `eng/alice` gains `openai/o3-pro`", "🔺 `models.deny[]`: no longer `*/o3-pro`"]);
    // A wider pattern that gives nothing more is no gain.
    let report = review(r#"["openai/gpt-5-mini"]"#, r#"["openai/gpt-5-mini", "openai/gpt-5-mini*"]"#);
    assert!(
        report
            .access
            .iter()
            .all(|a| a.difference.gains_models == ["openai/gpt-5-mini*"] || !a.difference.widens())
    );
}

#[test]
fn what_a_team_does_reaches_its_keys() {
    let report = review(
        r#"  budgets: [{name: month, usd: "200", period: Month}]"#,
        "  budgets: [{name: month, usd: \"200\", period: Month}]\n  models: {allow: [\"openai/gpt-5\"]}",
    );
    says(
        &report,
        &["🔻 `eng/alice`, `eng/bob` lose `openai/gpt-5-mini`", "👀 `models.allow[]`: `openai/gpt-5`"],
    );
    let report = review(
        "metadata: {name: team, namespace: eng}\nspec:",
        "metadata: {name: team, namespace: eng}\nspec:\n  disabled: true",
    );
    says(&report, &["`eng/alice`", "is disabled by its parent eng/team", "🔻 `disabled`"]);
    assert!(report.does(Effect::Narrows) && !report.does(Effect::Widens));
}

#[test]
fn tools_follow_the_same_rules() {
    let report = review(r#"allow: ["query", "list_*"]"#, r#"allow: ["*"], deny: ["drop_*"]"#);
    says(&report, &["🔺 `eng/alice` gains `db/*` (tools)"]);
    let report = review(
        "spec: {streamableHttp: {url: https://db.example.com/mcp}}",
        "spec: {streamableHttp: {url: https://db.example.com/mcp}, tools: {allow: [query]}}",
    );
    says(&report, &["🔻 `eng/alice` loses `db/list_*` (tools)"]);
}

#[test]
fn where_requests_go_is_worth_a_look() {
    let report = review("openAI: {}, ", "openAI: {}, endpoint: https://api.example.org, ");
    says(&report, &["👀 `backends[main].endpoint`: `https://api.example.org`"]);
    assert_eq!(code(&report, &[FailOn::Attention]), 3);
    assert_eq!(code(&report, &[FailOn::Widens, FailOn::Narrows]), 0);
}

#[test]
fn what_the_compiler_refuses_fails_the_review() {
    let report = review("https://db.example.com/mcp", "http://169.254.169.254/latest");
    says(&report, &["McpServer eng/db: Invalid", "1 manifest is refused", "loses"]);
    assert_eq!(code(&report, &[]), 1);
    let report = review("kind: McpServer", "kind: [");
    assert_eq!(code(&report, &[]), 1);
    assert!(!report.unreadable.is_empty());
}

#[test]
fn new_keys_and_removed_ones() {
    let carol = "\n---\napiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: carol, namespace: eng}\nspec:\n  token: {secretRef: {name: carol, key: token}}\n  models: {allow: [\"*\"]}\n";
    let with = format!("{BASE}{carol}");
    let report = Report::new(&side(BASE), &side(&with), 0);
    says(&report, &["VirtualKey eng/carol (new)", "key eng/carol has no budget", "🔺 `eng/carol` gains"]);
    let report = Report::new(&side(&with), &side(BASE), 0);
    says(&report, &["VirtualKey eng/carol (removed)", "🔻 `eng/carol` loses", "Counters stay"]);
    assert!(!report.does(Effect::Widens), "{report:?}");
}

#[test]
fn words_of_a_manifest_cannot_become_markup() {
    let report = review("{name: gpt-5-mini}", "{name: \"`<img src=x>`\"}");
    assert!(!words(&report).contains("``"), "{}", words(&report));
    let report = review(
        "spec: {streamableHttp: {url: https://db.example.com/mcp}}",
        "spec: {streamableHttp: {url: 'ftp://<script>'}}",
    );
    // Within a code span markup is text.
    let text = words(&report);
    let outside: String = text.split('`').step_by(2).collect();
    assert!(text.contains("<script>") && !outside.contains("<script>"), "{text}");
}

#[test]
fn the_samples_compile_and_a_removed_sample_is_told() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/samples");
    let paths = [root];
    let samples = Side::read(&super::state::Paths::Files(&paths), &Rules::new(true, true, &[])).unwrap();
    let report = Report::new(&Side::empty(), &samples, 0);
    assert!(report.refused.is_empty() && report.unreadable.is_empty(), "{}", words(&report));
    let told: usize = report.changes.iter().filter(|g| !g.also_above).map(|g| g.objects.len()).sum();
    assert!(told >= 7, "{}", words(&report));
    says(&report, &["vk-laptop is anonymous"]);
}

#[test]
fn what_only_platform_namespaces_may_do_is_refused_elsewhere_before_it_is_applied() {
    let tenant = "\n---\napiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: mint, namespace: tenant}\nspec: {budgets: [{name: m, usd: \"1\", period: Day}]}\n\
                  ---\napiVersion: tollgate.dev/v1alpha1\nkind: McpServer\nmetadata: {name: all, namespace: tenant}\nspec: {allowedNamespaces: All, streamableHttp: {url: https://x.example.com}}\n";
    let text = format!("{BASE}{tenant}");
    let rules = Rules::new(false, false, &["eng".to_owned()]);
    let report = Report::new(&side_by(BASE, &rules), &side_by(&text, &rules), 0);
    says(
        &report,
        &[
            "VirtualKey tenant/mint: Forbidden: spec.parentRef: tenant is no platform namespace: a key needs a parent",
            "McpServer tenant/all: Forbidden: spec.allowedNamespaces: tenant is no platform namespace",
            "2 manifests are refused",
        ],
    );
    assert_eq!((report.refused.len(), code(&report, &[])), (2, 1));
    // What is refused brings no money.
    assert!(report.money.is_empty(), "{}", words(&report));
    assert_eq!(Report::new(&side(BASE), &side(&text), 0).money.len(), 1);
    let nowhere = text.replace("period: Day}", "period: Day, timeZone: No/Where}");
    let report = Report::new(&side(BASE), &side(&nowhere), 0);
    assert!(report.money.is_empty() && report.refused.len() == 1, "{}", words(&report));
    // What stands there so already may stay; and without the flag nobody knows which namespaces are the platform's.
    assert!(Report::new(&side_by(&text, &rules), &side_by(&text, &rules), 0).refused.is_empty());
    assert!(Report::new(&side(BASE), &side(&text), 0).refused.is_empty());
}
