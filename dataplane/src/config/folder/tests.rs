//! A folder's life: mistakes come and go, and what was good stays.

use super::{Options, state::*, watch};
use crate::{model::ObjectId, snapshot::Snapshot};
use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc, time::Duration};
use tollgate_crds::compile;

type Files = BTreeMap<PathBuf, Result<Vec<u8>, String>>;

fn files(list: &[(&str, &str)]) -> Files {
    list.iter().map(|(name, text)| (PathBuf::from(name), Ok(text.as_bytes().to_vec()))).collect()
}

fn state() -> State {
    State::new(compile::Options::STANDALONE, |name| (name == "KEY").then(|| "sk-1".to_owned()))
}

fn key(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

fn limit(snapshot: &Snapshot, name: &str) -> Option<u64> {
    snapshot.key(&ObjectId::new("default", name))?.key().limits.concurrent
}

fn has(snapshot: &Snapshot, name: &str) -> bool {
    snapshot.key(&ObjectId::new("default", name)).is_some()
}

#[test]
fn a_bad_object_is_refused_alone_and_its_last_good_version_stays() {
    let mut state = state();
    let first = state.update(files(&[("a.yaml", &(key("a", "limits: {concurrent: 1}") + &key("b", "")))]));
    assert!(first.changed && first.told.is_empty());
    assert_eq!((first.snapshot.generation, first.counts), (1, (2, 0, 0)));
    // `a` gets worse while `b` gets better.
    let text = key("a", "limits: {concurrent: 0}") + &key("b", "limits: {concurrent: 7}");
    let second = state.update(files(&[("a.yaml", &text)]));
    assert_eq!((limit(&second.snapshot, "a"), limit(&second.snapshot, "b")), (Some(1), Some(7)));
    let told = &second.told[0];
    assert_eq!((told.place.as_str(), told.object.as_deref()), ("a.yaml:2", Some("VirtualKey default/a")));
    assert_eq!((told.field.as_str(), told.outcome), ("spec.limits.concurrent", Outcome::Kept));
    assert_eq!(second.told.len(), 1);
    // Corrected.
    let text = key("a", "limits: {concurrent: 3}") + &key("b", "limits: {concurrent: 7}");
    let third = state.update(files(&[("a.yaml", &text)]));
    assert_eq!((limit(&third.snapshot, "a"), third.told.len()), (Some(3), 0));
}

#[test]
fn an_object_that_never_was_good_is_not_there() {
    let update = state().update(files(&[("a.yaml", &(key("a", "oops: 1") + &key("b", "")))]));
    assert!(!has(&update.snapshot, "a") && has(&update.snapshot, "b"));
    assert_eq!(update.told[0].outcome, Outcome::Refused);
}

#[test]
fn what_a_file_last_had_stays_while_it_does_not_parse() {
    let mut state = state();
    let other = key("other", "");
    state.update(files(&[("a.yaml", &(key("a", "") + &key("b", ""))), ("o.yaml", &other)]));
    // One document breaks: the other one of the file still changes.
    let broken = "---\napiVersion: [\n".to_owned() + &key("b", "limits: {concurrent: 2}");
    let update = state.update(files(&[("a.yaml", &broken), ("o.yaml", &other)]));
    assert!(has(&update.snapshot, "a") && has(&update.snapshot, "other"));
    assert_eq!(limit(&update.snapshot, "b"), Some(2));
    assert_eq!((update.told.len(), update.told[0].outcome), (1, Outcome::Kept));
    assert!(update.told[0].place.starts_with("a.yaml:"));
    // A file that cannot be read at all is no deleted file.
    let mut unreadable = files(&[("o.yaml", &other)]);
    unreadable.insert("a.yaml".into(), Err("permission denied".to_owned()));
    let update = state.update(unreadable);
    assert!(has(&update.snapshot, "a") && has(&update.snapshot, "b"));
    // A deleted file takes its objects along.
    let update = state.update(files(&[("o.yaml", &other)]));
    assert!(!has(&update.snapshot, "a") && !has(&update.snapshot, "b") && has(&update.snapshot, "other"));
}

#[test]
fn an_object_taken_out_of_a_good_file_is_gone_and_one_moved_is_not() {
    let mut state = state();
    state.update(files(&[("a.yaml", &(key("a", "") + &key("b", "")))]));
    let update = state.update(files(&[("a.yaml", &key("a", "")), ("c.yaml", &key("b", ""))]));
    assert!(has(&update.snapshot, "a") && has(&update.snapshot, "b") && update.told.is_empty());
    // The file it was moved out of breaks: what it had is not brought back from there.
    let update = state.update(files(&[("a.yaml", "]"), ("c.yaml", &key("b", "limits: {concurrent: 4}"))]));
    assert_eq!(limit(&update.snapshot, "b"), Some(4));
    let update = state.update(files(&[("a.yaml", &key("a", ""))]));
    assert!(!has(&update.snapshot, "b"));
}

#[test]
fn what_changes_nothing_makes_no_new_configuration() {
    let mut state = state();
    let first = state.update(files(&[("a.yaml", &key("a", ""))]));
    let same = state.update(files(&[("a.yaml", &key("a", ""))]));
    assert!(!same.changed && Arc::ptr_eq(&first.snapshot, &same.snapshot));
    let comment = state.update(files(&[("a.yaml", &("# hello\n".to_owned() + &key("a", "")))]));
    assert!(!comment.changed && Arc::ptr_eq(&first.snapshot, &comment.snapshot));
}

#[test]
fn a_mistake_is_told_again_only_when_its_file_changes() {
    let mut state = state();
    let bad = key("a", "oops: 1");
    assert_eq!(state.update(files(&[("a.yaml", &bad)])).told.len(), 1);
    assert_eq!(state.update(files(&[("a.yaml", &bad), ("b.yaml", &key("b", ""))])).told.len(), 0);
    assert_eq!(
        state.update(files(&[("a.yaml", &(bad + "# still\n")), ("b.yaml", &key("b", ""))])).told.len(),
        1
    );
}

#[test]
fn a_key_keeps_its_token_when_its_secret_breaks_and_a_circle_is_not_entered() {
    let secret = |data: &str| {
        format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{{data}}}\n")
    };
    let keyed = key("a", "token: {secretRef: {name: s, key: t}}");
    let mut state = state();
    let first = state.update(files(&[("k.yaml", &keyed), ("s.yaml", &secret("t: \"${KEY}\""))]));
    let update = state.update(files(&[("k.yaml", &keyed), ("s.yaml", &secret("t: \"${NOT_SET}\""))]));
    assert!(!update.changed && Arc::ptr_eq(&first.snapshot, &update.snapshot));
    assert_eq!(update.told[0].reason, "the environment variable NOT_SET is not set");
    assert!(!format!("{first:?}{update:?}").contains("sk-1"));

    let mut state = self::state();
    state.update(files(&[("a.yaml", &(key("a", "") + &key("b", "parentRef: {name: a}")))]));
    let circle = key("a", "parentRef: {name: b}") + &key("b", "parentRef: {name: a}");
    let update = state.update(files(&[("a.yaml", &circle)]));
    assert!(update.snapshot.keys().all(|k| k.denied.is_none()));
    assert_eq!(update.told.iter().filter(|t| t.outcome == Outcome::Kept).count(), 2);
}

#[test]
fn a_dangling_name_is_told_and_the_object_is_in_force() {
    let update = state().update(files(&[("a.yaml", &key("a", "parentRef: {name: gone}"))]));
    assert_eq!(update.told[0].outcome, Outcome::Dangling);
    assert!(update.snapshot.key(&ObjectId::new("default", "a")).unwrap().denied.is_some());
}

/// What the terminal shows of updates.
fn shown(updates: &[Update]) -> String {
    #[derive(Clone, Default)]
    struct Screen(Arc<parking_lot::Mutex<Vec<u8>>>);
    impl std::io::Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let screen = Screen::default();
    let writer = screen.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    // Another test's thread may meet a line for the first time just now, and note that nobody listens: said once before,
    // and asked again who listens, every line is known to be wanted.
    updates.iter().for_each(super::say);
    tracing::subscriber::with_default(subscriber, || {
        tracing::callsite::rebuild_interest_cache();
        updates.iter().for_each(super::say);
    });
    let bytes = screen.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_terminal_says_what_is_wrong_and_what_is_in_force() {
    let mut state = state();
    let good = key("a", "") + &key("b", "parentRef: {name: gone}");
    let first = state.update(files(&[("keys.yaml", &good)]));
    let bad = key("a", "disabled: 5") + &key("b", "parentRef: {name: gone}") + "---\nkind: Pod\n";
    let second = state.update(files(&[("keys.yaml", &bad)]));
    let expected = [
        "WARN a name leads nowhere file=keys.yaml:7 object=VirtualKey default/b field=spec.parentRef reason=VirtualKey default/gone does not exist; the key is denied",
        "INFO configuration 1 in force: 2 keys, 0 routes, 0 servers",
        "WARN refused file=keys.yaml:12 reason=the object has no apiVersion, such as `tollgate.dev/v1alpha1`",
        "WARN refused; the last good version stays in force file=keys.yaml:2 object=VirtualKey default/a field=spec.disabled reason=invalid type: integer `5`, expected a boolean (line 5)",
        "WARN a name leads nowhere file=keys.yaml:7 object=VirtualKey default/b field=spec.parentRef reason=VirtualKey default/gone does not exist; the key is denied",
        "INFO nothing is wrong with the manifests any more",
        "INFO configuration 2 in force: 1 key, 0 routes, 0 servers",
        "WARN refused; the last good version stays in force file=keys.yaml:2 object=VirtualKey default/a field=spec.disabled reason=invalid type: integer `5`, expected a boolean (line 5)",
        "INFO nothing is wrong with the manifests any more",
        "INFO configuration 2 in force: 1 key, 0 routes, 0 servers",
    ];
    // Taken back: nothing changes, and that is said.
    let third = state.update(files(&[("keys.yaml", &key("a", ""))]));
    let fourth = state.update(files(&[("keys.yaml", &key("a", "disabled: 5"))]));
    let fifth = state.update(files(&[("keys.yaml", &key("a", ""))]));
    assert!(third.cleared && third.changed && fifth.cleared && !fifth.changed);
    let shown = shown(&[first, second, third, fourth, fifth]);
    let lines: Vec<_> = shown.lines().map(str::trim).collect();
    assert_eq!(lines, expected);
}

/// Waits until the snapshot is as wanted.
async fn until(
    receiver: &mut tokio::sync::watch::Receiver<Arc<Snapshot>>,
    wanted: impl Fn(&Snapshot) -> bool,
) {
    let found = receiver.wait_for(|s| wanted(s));
    tokio::time::timeout(Duration::from_secs(20), found).await.unwrap().unwrap();
}

async fn lives(options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.yaml");
    fs::write(&file, key("a", "")).unwrap();
    let mut receiver = watch(folder.path(), options).await.unwrap();
    assert!(has(&receiver.borrow(), "a"));
    fs::write(&file, key("a", "limits: {concurrent: 5}")).unwrap();
    until(&mut receiver, |s| limit(s, "a") == Some(5)).await;
    // As editors save: another file takes its place.
    fs::write(folder.path().join(".keys.swp"), key("b", "")).unwrap();
    fs::rename(folder.path().join(".keys.swp"), &file).unwrap();
    until(&mut receiver, |s| has(s, "b") && !has(s, "a")).await;
    // A folder that is new, and a file in it.
    fs::create_dir(folder.path().join("more")).unwrap();
    fs::write(folder.path().join("more/c.yml"), key("c", "")).unwrap();
    until(&mut receiver, |s| has(s, "c")).await;
    fs::remove_file(folder.path().join("more/c.yml")).unwrap();
    until(&mut receiver, |s| !has(s, "c") && has(s, "b")).await;
}

#[tokio::test]
async fn a_change_is_noticed() {
    lives(Options { poll: Duration::from_secs(3600), ..Options::default() }).await;
}

#[tokio::test]
async fn a_change_is_found_without_a_notice() {
    let options = Options { poll: Duration::from_millis(20), notices: false, ..Options::default() };
    lives(options).await;
}

#[tokio::test]
async fn one_file_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.yaml");
    fs::write(&file, key("a", "")).unwrap();
    fs::write(folder.path().join("other.yaml"), key("other", "")).unwrap();
    let mut receiver =
        watch(&file, Options { poll: Duration::from_secs(3600), ..Options::default() }).await.unwrap();
    assert!(!has(&receiver.borrow(), "other"));
    fs::write(&file, key("b", "")).unwrap();
    until(&mut receiver, |s| has(s, "b")).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_mounted_config_map_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, key_name) in [("..v1", "a"), ("..v2", "b")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("keys.yaml"), key(key_name, "")).unwrap();
    }
    std::os::unix::fs::symlink("..v1", at("..data")).unwrap();
    std::os::unix::fs::symlink("..data/keys.yaml", at("keys.yaml")).unwrap();
    let mut receiver =
        watch(folder.path(), Options { poll: Duration::from_secs(3600), ..Options::default() })
            .await
            .unwrap();
    assert!(has(&receiver.borrow(), "a"));
    std::os::unix::fs::symlink("..v2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    until(&mut receiver, |s| has(s, "b") && !has(s, "a")).await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error() {
    assert!(watch(std::path::Path::new("/nonexistent/manifests"), Options::default()).await.is_err());
}
