//! `kubectl tollgate review` as a pipeline runs it: the program, in a Git repository.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path, process::Command};

fn git(folder: &Path, arguments: &[&str]) {
    let done = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn review(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_kubectl-tollgate"))
        .arg("review")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code().unwrap(), text(&done.stdout), text(&done.stderr))
}

fn key(budget: &str) -> String {
    format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: a, namespace: n}}\nspec:\n  \
         token: {{secretRef: {{name: a, key: token}}}}\n  budgets: [{{name: month, usd: \"{budget}\", period: Month}}]\n"
    )
}

/// A policy repository as it is: what other programs read stands beside keys.
#[test]
fn what_is_not_tollgates_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let external = "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: openai}\n";
    let binding =
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: approvers}\n";
    fs::write(root.join("key.yaml"), format!("{}---\n{external}---\n{binding}", key("5"))).unwrap();
    fs::write(root.join("kustomization.yaml"), "resources: [key.yaml]\n").unwrap();
    let (code, out, error) = review(root, &["."]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(
        out.contains("not read: 3 objects that are not Tollgate's: 1 ExternalSecret (external-secrets.io)"),
        "{out}"
    );
    let (code, out, _) = review(root, &[".", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, report["notRead"][0]["kind"].as_str()), (0, Some("ExternalSecret")), "{out}");
    // A kind of ours that this version does not know is a mistake.
    fs::write(root.join("key.yaml"), key("5").replace("v1alpha1", "v2")).unwrap();
    assert_eq!(review(root, &["."]).0, 1);
}

#[test]
fn a_branch_is_compared_with_its_base() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("policy/team")).unwrap();
    fs::write(root.join("policy/team/key.yaml"), key("5")).unwrap();
    fs::write(root.join("other.yaml"), "not: ours").unwrap();
    git(root, &["init", "-q"]);
    git(root, &["add", "."]);
    git(root, &["commit", "-qm", "base"]);
    fs::write(root.join("policy/team/key.yaml"), key("9")).unwrap();

    let (code, out, error) = review(root, &["policy", "--base", "HEAD", "--fail-on", "widens"]);
    assert_eq!(code, 3, "{out}{error}");
    assert!(out.contains("$5 → $9 (+80 %)"), "{out}");
    // From a folder below, with paths from there.
    let (code, out, error) = review(&root.join("policy"), &["team", "--base", "HEAD", "--output", "json"]);
    assert_eq!(code, 0, "{out}{error}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["changes"][0]["fields"][0]["effect"], "Widens");
    assert_eq!(report["changes"][0]["fields"][0]["path"], "budgets[month].usd");
    // A branch without commits of its own, and a main that goes on: what main got is not undone by it.
    git(root, &["branch", "fresh"]);
    git(root, &["stash", "-q"]);
    fs::write(root.join("policy/other.yaml"), key("7").replace("name: a,", "name: b,")).unwrap();
    git(root, &["add", "policy"]);
    git(root, &["commit", "-qm", "more"]);
    git(root, &["branch", "newer"]);
    git(root, &["checkout", "-q", "fresh"]);
    git(root, &["stash", "pop", "-q"]);
    let (_, out, error) = review(root, &["policy", "--base", "newer"]);
    assert!(out.contains("$5 → $9") && !out.contains("n/b"), "{out}{error}");
    // A revision that is not there is an error in use, and says so.
    let (code, _, error) = review(root, &["policy", "--base", "nowhere"]);
    assert_eq!(code, 2);
    assert!(error.contains("no revision \"nowhere\""), "{error}");
    // Refused.
    fs::write(root.join("policy/team/key.yaml"), key("-1")).unwrap();
    let (code, out, _) = review(root, &["policy", "--base", "HEAD"]);
    assert_eq!(code, 1, "{out}");
}
