use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tollgate_e2e::gateway::beside;

/// A repository of manifests, as a team of platform engineers keeps it: `main`, and a branch from it.
struct Repository {
    folder: tempfile::TempDir,
}

const ROUTE: &str = "\
apiVersion: tollgate.dev/v1alpha1
kind: ProviderRoute
metadata: {name: anthropic, namespace: eng}
spec:
  models: [{name: claude-sonnet-4-5}, {name: claude-opus-4-5}]
  backends: [{name: main, anthropic: {}, credentials: {secretRef: {name: anthropic, key: apiKey}}}]
";

fn key(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: {name}, namespace: eng}}\nspec:\n{spec}\n"
    )
}

fn alice(models: &str) -> String {
    let spec = "  parentRef: {name: team}\n  token: {secretRef: {name: alice, key: token}}\n";
    key("alice", &format!("{spec}  models: {{allow: [{models}]}}"))
}

fn team(usd: &str) -> String {
    key("team", &format!("  budgets: [{{name: month, usd: \"{usd}\", period: Month}}]"))
}

// === impl Repository ===

impl Repository {
    fn new() -> Self {
        let repository = Repository { folder: tempfile::tempdir().unwrap() };
        repository.write("policy/routes/anthropic.yaml", ROUTE);
        repository.write("policy/keys/team.yaml", &team("200"));
        repository.write("policy/keys/alice.yaml", &alice("anthropic/claude-sonnet-4-5"));
        repository.write("README.md", "our policy");
        repository.git(&["init", "-q"]);
        repository.commit("base");
        repository.git(&["branch", "base"]);
        repository
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn git(&self, arguments: &[&str]) {
        let user = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"];
        let mut git = Command::new("git");
        let ended = git.args(user).args(arguments).current_dir(self.path()).output().unwrap();
        assert!(ended.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-qm", message]);
    }

    fn review(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut plugin = Command::new(program());
        let ended = plugin.arg("review").args(arguments).current_dir(self.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (ended.status.code().unwrap(), text(&ended.stdout), text(&ended.stderr))
    }
}

fn program() -> PathBuf {
    beside("kubectl-tollgate").unwrap()
}

#[test]
fn a_branch_is_told_in_the_words_of_its_effect() {
    let repository = Repository::new();
    let (code, out, error) = repository.review(&["policy", "--base", "base", "--fail-on", "any"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.contains("Nothing changes."), "{out}");

    repository.git(&["checkout", "-qb", "more-for-alice"]);
    repository.write("policy/keys/alice.yaml", &alice("\"anthropic/*\""));
    repository.write("policy/keys/team.yaml", &team("150"));
    repository.write("policy/keys/bob.yaml", &key("bob", "  token: {secretRef: {name: bob, key: token}}"));
    repository.commit("more");
    let (code, out, error) =
        repository.review(&["policy", "--base", "base", "--fail-on", "widens", "--fail-on", "narrows"]);
    assert_eq!(code, 3, "{out}{error}");
    for words in [
        "`eng/alice` gains `anthropic/claude-opus-4-5`",
        "🔻 budget `month`: $200 → $150 (-25 %)",
        "VirtualKey eng/bob (new)",
        "key eng/bob has no budget",
    ] {
        assert!(out.contains(words), "{words:?} is missing in:\n{out}");
    }
    // What main got meanwhile is none of this branch's doing.
    repository.git(&["checkout", "-q", "main"]);
    repository.write("policy/keys/carol.yaml", &key("carol", "  disabled: true"));
    repository.commit("carol");
    repository.git(&["checkout", "-q", "more-for-alice"]);
    let (_, out, error) = repository.review(&["policy", "--base", "main"]);
    assert!(!out.contains("carol") && out.contains("eng/alice"), "{out}{error}");
    // Nor of one that has no commits of its own yet.
    repository.git(&["checkout", "-qb", "fresh", "base"]);
    repository.write("policy/keys/team.yaml", &team("150"));
    let (_, out, error) = repository.review(&["policy", "--base", "main"]);
    assert!(!out.contains("carol") && out.contains("$200 → $150"), "{out}{error}");
    repository.git(&["checkout", "-qf", "more-for-alice"]);
    // Seen from main, whose branch is behind: what there is in the tree against that branch.
    repository.git(&["checkout", "-q", "main"]);
    let (_, out, _) = repository.review(&["policy", "--base", "base"]);
    assert!(out.contains("VirtualKey eng/carol (new)"), "{out}");
}

#[test]
fn renames_are_no_change_and_removals_and_refusals_are_told() {
    let repository = Repository::new();
    repository.git(&["mv", "policy/keys/alice.yaml", "policy/a.yaml"]);
    repository.commit("moved");
    let (code, out, _) = repository.review(&["policy", "--base", "base", "--fail-on", "any"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("Nothing changes."), "{out}");

    // What is in the working tree counts, committed or not.
    fs::remove_file(repository.path().join("policy/a.yaml")).unwrap();
    let (code, out, _) = repository.review(&["policy", "--base", "base", "--fail-on", "narrows"]);
    assert_eq!(code, 3, "{out}");
    assert!(out.contains("VirtualKey eng/alice (removed)") && out.contains("loses"), "{out}");
    repository.write("policy/keys/team.yaml", &team("two hundred"));
    let (code, out, _) = repository.review(&["policy", "--base", "base"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("policy/keys/team.yaml") && out.contains("budgets"), "{out}");
    let (code, out, _) = repository.review(&["policy", "--base", "base", "--output", "json"]);
    assert_eq!(code, 1);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(report.get("access").is_some_and(|access| access.is_array()), "{report}");

    for (arguments, words) in [
        (["policy", "--base", "nowhere"], "no revision \"nowhere\""),
        (["no-such-folder", "--base", "base"], "no-such-folder"),
        (["policy", "--base", "--output=json"], "error"),
    ] {
        let (code, _, error) = repository.review(&arguments);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(words), "{words}: {error}");
    }
    // Outside of a repository there is no base.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("a.yaml"), ROUTE).unwrap();
    let mut plugin = Command::new(program());
    plugin.args(["review", ".", "--base", "base"]).current_dir(elsewhere.path());
    let ended = plugin.env("GIT_CEILING_DIRECTORIES", "/").output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("git"), "{ended:?}");
}
