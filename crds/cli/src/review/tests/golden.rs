//! Whole reviews as a reviewer reads them, in the folder beside this file. `UPDATE_GOLDEN=1 cargo test` writes them anew: read the
//! difference.

use super::{BASE, side, words};
use crate::review::{page, report::Report};
use std::{fs, path::PathBuf};

const PEOPLE: [&str; 20] = [
    "alice2", "ben", "chloe", "dan", "eve", "finn", "gina", "hugo", "ida", "jon", "kim", "leo", "mia", "ned",
    "ola", "pia", "quinn", "ron", "sue", "tom",
];

/// A key as a platform team writes one for each person.
fn key(name: &str, usd: &str, more: &str) -> String {
    format!(
        "---\napiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: {name}, namespace: eng}}\nspec:\n  \
         parentRef: {{name: team}}\n  token: {{secretRef: {{name: vk-{name}, key: token}}}}\n  \
         models: {{allow: [\"openai/gpt-5\", \"openai/gpt-5-mini\"]}}\n  \
         budgets: [{{name: month, usd: \"{usd}\", period: Month, timeZone: Europe/Berlin}}]\n{more}"
    )
}

fn keys(usd: &str, more: impl Fn(&str) -> &'static str) -> String {
    PEOPLE.iter().fold(BASE.to_owned(), |mut text, name| {
        text.push_str(&key(name, usd, more(name)));
        text
    })
}

#[track_caller]
fn is_golden(name: &str, report: &Report) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/review/tests/golden").join(name);
    let json = serde_json::to_string_pretty(report).unwrap() + "\n";
    for (extension, told) in [("md", words(report)), ("json", json)] {
        let path = path.with_extension(extension);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &told).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert!(told == golden, "{} is not what is told:\n{told}", path.display());
    }
}

#[test]
fn twenty_new_keys() {
    let report = Report::new(&side(BASE), &side(&keys("300", |_| "")), 0);
    is_golden("twenty-new-keys", &report);
}

#[test]
fn a_raise_for_twenty_and_something_more_for_one() {
    let more = |name: &str| match name {
        "kim" => "  limits: {concurrent: 4}\n  spending: {onStoreFailure: Allow}\n",
        _ => "",
    };
    let report = Report::new(&side(&keys("200", |_| "")), &side(&keys("300", more)), 0);
    is_golden("a-raise-for-twenty", &report);
}

#[test]
fn who_goes_and_what_ends() {
    let before = keys("200", |_| "");
    let after = BASE.replace("{name: gpt-5-mini}", "{name: gpt-5-mini}, {name: gpt-6}").replace(
        r#"  budgets: [{name: month, usd: "200", period: Month}]"#,
        "  budgets: [{name: day, tokens: 2000000, rolling: 24h}]",
    );
    let role =
        "\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a, namespace: eng}\n";
    let report = Report::new(&side(&before), &side(&format!("{after}{role}")), 0);
    is_golden("who-goes", &report);
}

/// Thousands of changes that have nothing in common: what a comment does not hold is counted, and no line is half.
#[test]
fn a_comment_is_never_too_long() {
    let mut text = String::new();
    for i in 0..3000 {
        let more = format!("  limits: {{requestsPerMinute: {}}}\n", i + 1);
        text.push_str(&key(&format!("person-with-a-rather-long-name-{i}"), &format!("{}", i + 1), &more));
    }
    let report = Report::new(&side(BASE), &side(&format!("{BASE}{text}")), 0);
    let told = words(&report);
    assert!(told.encode_utf16().count() <= page::MAX, "{}", told.len());
    assert!(told.contains("**Cut here: ") && told.contains("3000 keys"), "{told}");
    assert_eq!(told.matches("<details>").count(), told.matches("</details>").count());
    let (_, cut) = told.split_once("**Cut here: ").unwrap();
    let lines: usize = cut.split(' ').next().unwrap().parse().unwrap();
    assert!(lines > 1000, "{lines}");
    // Programs get all of it.
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["access"][0]["keys"].as_array().unwrap().len(), 3000);
}
