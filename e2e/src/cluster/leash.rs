//! Processes and folders that do not outlive this process, even when it is killed or a `static` holds them.
//!
//! Each is held by a small shell whose standard input is a pipe from here. The kernel closes the pipe when this process
//! ends, whatever the reason; then the shell kills what it holds, by its id.

use anyhow::Context;
use std::{
    ffi::OsString,
    fs::File,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

/// A server process with its log; dropping it kills the process.
#[derive(Debug)]
pub(super) struct Leashed {
    name: String,
    shell: Child,
    leash: Option<ChildStdin>,
    log: PathBuf,
}

/// A folder; dropping it removes it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    shell: Option<(Child, ChildStdin)>,
}

/// Names a folder that collects the audit logs of all clusters, for `make rbac`.
const AUDIT: &str = "TOLLGATE_AUDIT";

/// Starts "$@", and kills it when standard input ends. Ends when it ends, with its status.
const HOLD: &str = r#"
exec 3<&0 < /dev/null
"$@" 3<&- & server=$!
{ cat <&3 > /dev/null; kill -9 $server; } 2> /dev/null & watch=$!
exec 3<&-
wait $server; status=$?
kill $watch 2> /dev/null
exit $status"#;

/// Removes $1 when standard input ends, unless that says `keep`. What still writes there is about to be killed. Its audit
/// log goes to $2 before, when there is such a folder.
const REMOVE: &str = r#"
read -r word
[ -z "$2" ] || cp "$1/audit.log" "$2/$(basename "$1").log"
[ "$word" != keep ] || exit 0
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" 2> /dev/null && exit; sleep 0.2; done"#;

// === impl Leashed ===

impl Leashed {
    /// Starts a program whose output goes to `NAME.log` in `folder`, after what is there.
    pub(super) fn start(
        program: &Path,
        name: &str,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new("sh");
        command.args(["-c", HOLD, name]).arg(program).args(arguments.into_iter().map(Into::into));
        command.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out).current_dir(folder);
        command.process_group(0); // what ends a whole group (^C, timeout) must not end the shell before it has cleaned up
        let mut shell = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let leash = shell.stdin.take();
        Ok(Leashed { name: name.to_owned(), shell, leash, log })
    }

    /// An error with the log's end when the process has ended.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.shell.try_wait()? {
            None => Ok(()),
            Some(status) => {
                anyhow::bail!("{} ended with {status}:\n{}", self.name, tail(&self.log, super::SHOWN))
            }
        }
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        drop(self.leash.take());
        if let Err(error) = self.shell.wait() {
            eprintln!("cannot wait for the end of {}: {error}", self.name);
        }
    }
}

// === impl Folder ===

impl Folder {
    /// A new folder for temporary files.
    pub(super) fn new() -> anyhow::Result<Self> {
        let path = tempfile::Builder::new().prefix("tollgate-cluster-").tempdir()?.keep();
        if std::env::var_os("TOLLGATE_KEEP").is_some_and(|v| v == "1") {
            eprintln!("the cluster's logs are kept in {}", path.display());
            return Ok(Folder { path, shell: None });
        }
        let mut command = Command::new("sh");
        command.args(["-c", REMOVE, "sh"]).arg(&path).arg(std::env::var_os(AUDIT).unwrap_or_default());
        // A test runner waits for whoever holds its output.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut shell = command.spawn().context("cannot start sh")?;
        let leash = shell.stdin.take().context("sh has no standard input")?;
        Ok(Folder { path, shell: Some((shell, leash)) })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps it and says so.
    pub(super) fn keep(&mut self) {
        let Some((_, leash)) = &mut self.shell else { return };
        if leash.write_all(b"keep\n").is_ok() {
            eprintln!("all logs: {}", self.path.display());
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Some((mut shell, leash)) = self.shell.take() else { return };
        drop(leash);
        if let Err(error) = shell.wait() {
            eprintln!("cannot wait for the removal of {}: {error}", self.path.display());
        }
    }
}

/// The last lines of a log.
pub(super) fn tail(log: &Path, most: usize) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(most)..).unwrap_or_default().join("\n")
}
