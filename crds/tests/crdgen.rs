//! `crdgen` writes what it later finds equal, and says which file is not.

// Helpers of tests count as tests; clippy knows only functions marked so.
#![allow(clippy::unwrap_used)]
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// A new empty folder for a test.
fn folder(name: &str) -> String {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _gone = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir.display().to_string()
}

fn crdgen(arguments: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } =
        Command::new(env!("CARGO_BIN_EXE_crdgen")).args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn what_was_written_is_equal() {
    let dir = folder("crdgen-equal");
    assert_eq!(crdgen(&[&dir]), (0, String::new()));
    assert_eq!(crdgen(&["--check", &dir]), (0, String::new()));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
}

#[test]
fn a_difference_names_the_file_and_the_command() {
    let dir = folder("crdgen-differs");
    crdgen(&[&dir]);
    let (changed, missing) =
        (format!("{dir}/virtualkeys.tollgate.dev.yaml"), format!("{dir}/mcpservers.tollgate.dev.yaml"));
    let text = fs::read_to_string(&changed).unwrap();
    fs::write(&changed, text.replace("maxItems: 16", "maxItems: 17")).unwrap();
    fs::remove_file(&missing).unwrap();
    let (code, words) = crdgen(&["--check", &dir]);
    assert_eq!(code, 1);
    let lines: Vec<_> = words.lines().collect();
    let told = |file: &str| format!("{file} is not what crds/src/api says: run `make crds` and commit it");
    assert_eq!(lines, [told(&missing), told(&changed)]);
    assert!(!Path::new(&missing).exists(), "--check writes nothing");
}

#[test]
fn a_file_of_no_kind_is_found() {
    let dir = folder("crdgen-stranger");
    crdgen(&[&dir]);
    fs::write(format!("{dir}/oldkinds.tollgate.dev.yaml"), "").unwrap();
    let (code, words) = crdgen(&["--check", &dir]);
    assert_eq!(code, 1);
    assert!(words.contains("oldkinds.tollgate.dev.yaml belongs to no kind: remove it"), "{words}");
}

#[test]
fn helm_gets_the_same_definitions_and_keeps_them() {
    let (dir, templates) = (folder("crdgen-both"), folder("crdgen-templates"));
    assert_eq!(crdgen(&[&dir, &templates]), (0, String::new()));
    assert_eq!(crdgen(&["--check", &dir, &templates]), (0, String::new()));
    let file = "virtualkeys.tollgate.dev.yaml";
    let [plain, template] = [&dir, &templates].map(|d| fs::read_to_string(format!("{d}/{file}")).unwrap());
    let kept = "metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n  name: virtualkeys";
    assert_eq!(template, plain.replace("metadata:\n  name: virtualkeys", kept));
    assert_ne!(template, plain);
    fs::write(format!("{templates}/{file}"), plain).unwrap();
    let (code, words) = crdgen(&["--check", &dir, &templates]);
    assert_eq!((code, words.lines().count()), (1, 1), "{words}");
    assert!(words.contains(&format!("{templates}/{file} is not what crds/src/api says")), "{words}");
}

#[test]
fn wrong_arguments_are_another_failure() {
    let (code, words) = crdgen(&["--chekc"]);
    assert_eq!(code, 2);
    assert!(words.contains("unknown argument --chekc"), "{words}");
}
