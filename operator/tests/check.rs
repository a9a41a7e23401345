//! `tollgate-operator check`, as it is run.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs, path::Path, process::Command};

/// Exit code and output.
fn check(arguments: &[&str]) -> (i32, String) {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate-operator"));
    let output = command.arg("check").args(arguments).current_dir(samples).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn the_samples_are_good_on_one_machine() {
    let (code, text) = check(&["--standalone", "--resolve", "deploy/samples"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("ok    deploy/samples/providers.yaml:"), "{text}");
    assert!(text.contains(" 0 refused, 0 names that lead nowhere, 0 places"), "{text}");
}

#[test]
fn a_cluster_takes_no_loopback_endpoints() {
    let (code, text) = check(&["-q", "deploy/samples/providers.yaml"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("ProviderRoute default/anthropic: Invalid: spec.backends[0].endpoint: "), "{text}");
    assert!(!text.contains("ok    "), "{text}");
    let (code, text) = check(&["--allow-private-endpoints", "deploy/samples/providers.yaml"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("warn  deploy/samples/providers.yaml:") && text.contains("SecretNotFound"),
        "{text}"
    );
    let (code, text) = check(&["--allow-private-endpoints", "--resolve", "deploy/samples/providers.yaml"]);
    assert_eq!(code, 1, "{text}");
}

#[test]
fn what_is_not_ours_is_told_in_one_line_and_is_no_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a}\n---\n";
    fs::write(folder.path().join("a.yaml"), format!("{role}{role}")).unwrap();
    let (code, text) = check(&[&folder.path().display().to_string()]);
    assert_eq!(code, 0, "{text}");
    let line = "not read: 2 objects that are not Tollgate's: 2 Role (rbac.authorization.k8s.io)\n";
    assert!(text.starts_with(line), "{text}");
}

#[test]
fn what_only_platform_namespaces_may_do_is_told_before_apply() {
    let folder = tempfile::tempdir().unwrap();
    let key = "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: k, namespace: tenant}\nspec: {}\n";
    fs::write(folder.path().join("a.yaml"), key).unwrap();
    let path = folder.path().display().to_string();
    assert_eq!(check(&[&path]).0, 0);
    assert_eq!(check(&["--platform-namespace", "tenant", &path]).0, 0);
    let (code, text) = check(&["--platform-namespace", "tollgate-system", &path]);
    assert_eq!(code, 1, "{text}");
    let words = "a.yaml:1: VirtualKey tenant/k: Forbidden: spec.parentRef: tenant is no platform namespace: a key needs a parent";
    assert!(text.contains(words), "{text}");
}

#[test]
fn mistakes_are_told_with_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    let key = "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: k}\nspec: {oops: 1}\n";
    fs::write(&file, format!("{key}---\na: [\n")).unwrap();
    let (code, text) = check(&[&folder.path().display().to_string()]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("bad.yaml:1: VirtualKey default/k: Invalid: spec.oops: unknown field"), "{text}");
    assert!(text.contains("bad.yaml:7:1: "), "{text}");
    assert!(text.contains("0 accepted, 1 refused, 0 names that lead nowhere, 1 places"), "{text}");
    assert_eq!(check(&["/nonexistent"]).0, 1);
}
