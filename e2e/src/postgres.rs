//! A PostgreSQL of a test's own: a real one, on a free port of loopback, with a folder of its own, ended with the test (also
//! when that is killed). Only the standard library: the data plane's own tests include this file.

use std::{
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// A running PostgreSQL; ended when dropped.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    dir: PathBuf,
    port: u16,
    tls: bool,
    guard: Option<(Child, ChildStdin)>,
}

const INSTALL: &str = "PostgreSQL 15 or later is needed: `e2e/tools/install postgres`";
/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Starts the server and ends it when the test says so, or is no more. It refuses to run as root.
const GUARD: &str = r#"dir=$1; shift
"$@" </dev/null & server=$!
read -r what
kill -QUIT $server 2>/dev/null
wait $server
[ "$what" = keep ] || rm -rf "$dir""#;

/// Who may come in how, where it speaks TLS: the tests' own eyes as they like, everybody else by TLS and with a password.
const ENCRYPTED: &str = "host all postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Postgres {
    /// A new, empty one. What it was told survives its process, not the machine's.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start() -> Result<Self, String> {
        Self::begin(None)
    }

    /// One that speaks TLS with this certificate and its key (PEM), and lets users in by TLS and with their password only.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start_tls(certificate: &str, key: &str) -> Result<Self, String> {
        Self::begin(Some([certificate, key]))
    }

    fn begin(tls: Option<[&str; 2]>) -> Result<Self, String> {
        let bin = installed().ok_or(INSTALL)?;
        let number = NUMBER.fetch_add(1, Relaxed);
        let dir = std::env::temp_dir().join(format!("tollgate-postgres-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let mut server = Postgres { bin, dir, port: 0, tls: tls.is_some(), guard: None };
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(&server.dir))?;
        }
        let mut init = server.unprivileged("initdb");
        init.arg("-D").arg(server.data()).args(["-U", "postgres", "-A", "trust", "-E", "UTF8"]);
        run(init.args(["--locale=C.UTF-8", "--no-sync", "--no-instructions"]))?;
        if let Some([certificate, key]) = tls {
            for (file, text) in [("server.crt", certificate), ("server.key", key), ("pg_hba.conf", ENCRYPTED)]
            {
                server.own(file, text)?;
            }
        }
        for _ in 0..5 {
            server.port = free_port()?;
            if server.launch()? {
                return Ok(server);
            }
        }
        Err(format!("PostgreSQL does not start: see {}", server.dir.join("log").display()))
    }

    /// `postgres://postgres@127.0.0.1:PORT/postgres`, with everything in a schema of its own, which is made.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub fn schema(&self, name: &str) -> Result<String, String> {
        self.psql(&format!("CREATE SCHEMA IF NOT EXISTS {name}"))?;
        Ok(format!("{}&options[search_path]={name}", self.url()))
    }

    /// `postgres://postgres@127.0.0.1:PORT/postgres?sslmode=disable`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// `postgres://USER@127.0.0.1:PORT/postgres?sslmode=verify-full`: its certificate must be for that address.
    pub fn url_tls(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres?sslmode=verify-full", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it logged so far.
    ///
    /// # Errors
    /// When there is no log.
    pub fn log(&self) -> Result<String, String> {
        let log = std::fs::read(self.dir.join("log")).map_err(|e| format!("the log: {e}"))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// What psql prints for statements: rows as lines, columns divided by `|`.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or refuses.
    pub fn psql(&self, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"]);
        psql.args(["-p", &self.port.to_string(), "-d", "postgres", "-c", sql]);
        run(&mut psql).map(|out| out.trim().to_owned())
    }

    /// Ends it at once, as a crash does; what it was told is still there when it is started again.
    pub fn kill(&mut self) {
        self.end("keep");
    }

    /// Stops all its processes where they stand: connections stay, nothing is answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<(), String> {
        // The first makes the others: it must not make more meanwhile.
        let server = self.server()?;
        signal("-STOP", std::slice::from_ref(&server))?;
        signal("-STOP", &children(&server))
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<(), String> {
        let server = self.server()?;
        signal("-CONT", &children(&server))?;
        signal("-CONT", &[server])
    }

    /// The id of its first process.
    fn server(&self) -> Result<String, String> {
        let told = std::fs::read_to_string(self.data().join("postmaster.pid"));
        let told = told.map_err(|e| format!("PostgreSQL does not run: {e}"))?;
        told.lines().next().map(|pid| pid.trim().to_owned()).ok_or_else(|| "no process".to_owned())
    }

    /// Starts it again, on the same port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<(), String> {
        self.kill();
        match self.launch()? {
            true => Ok(()),
            false => Err(format!("PostgreSQL does not start again: see {}", self.dir.join("log").display())),
        }
    }

    /// Starts the process; false if it ended at once (somebody took the port).
    fn launch(&mut self) -> Result<bool, String> {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("log"));
        let log = log.map_err(|e| format!("the log: {e}"))?;
        let server = self.unprivileged("postgres");
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "sh"]).arg(&self.dir).arg(server.get_program()).args(server.get_args());
        guard.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=300",
            "shared_buffers=32MB",
            "timezone=UTC",
        ] {
            guard.args(["-c", setting]);
        }
        if self.tls {
            guard.args(["-c", "ssl=on"]);
        }
        let both = log.try_clone().map_err(|e| format!("the log: {e}"))?;
        guard.stdin(Stdio::piped()).stdout(log).stderr(both).current_dir("/");
        let mut child = guard.spawn().map_err(|e| format!("{INSTALL}: {e}"))?;
        let Some(stdin) = child.stdin.take() else { return Err("no pipe".to_owned()) };
        let until = Instant::now() + PATIENCE;
        let mut ended = false;
        while !ended && Instant::now() < until {
            if self.is_ready() {
                self.guard = Some((child, stdin));
                return Ok(true);
            }
            // The guard waits for our word; the server's own process file tells when it gave up.
            ended = std::fs::read_to_string(self.dir.join("log")).is_ok_and(|l| l.contains("could not bind"));
            std::thread::sleep(Duration::from_millis(20));
        }
        self.guard = Some((child, stdin));
        self.end("keep");
        std::fs::remove_file(self.dir.join("log")).ok();
        Ok(false)
    }

    /// Whether the server in our folder is ready, by what it writes itself.
    fn is_ready(&self) -> bool {
        let told = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        told.lines().nth(7).is_some_and(|status| status.trim() == "ready")
    }

    fn end(&mut self, word: &str) {
        if let Some((mut child, mut stdin)) = self.guard.take() {
            writeln!(stdin, "{word}").ok();
            drop(stdin);
            child.wait().ok();
            std::fs::remove_file(self.data().join("postmaster.pid")).ok();
        }
    }

    /// Writes a file of its folder, for nobody else to read.
    fn own(&self, file: &str, text: &str) -> Result<(), String> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.data().join(file);
        let written = std::fs::write(&path, text)
            .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)));
        written.map_err(|e| format!("{}: {e}", path.display()))?;
        match is_root() {
            true => run(Command::new("chown").arg("postgres:").arg(&path)).map(drop),
            false => Ok(()),
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// A program of PostgreSQL's, as a user that it accepts.
    fn unprivileged(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
        command.current_dir("/");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end("");
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

/// The folder of PostgreSQL's programs: the newest version's.
fn installed() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("postgres").is_file() && bin.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop()
}

/// The processes that a process has made.
fn children(pid: &str) -> Vec<String> {
    let told = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    told.split_whitespace().map(str::to_owned).collect()
}

fn signal(signal: &str, pids: &[String]) -> Result<(), String> {
    for pid in pids {
        // One that has ended meanwhile needs no signal.
        Command::new("kill").args([signal, pid]).stderr(Stdio::null()).status().map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    Ok(listener.local_addr().map_err(|e| e.to_string())?.port())
}

fn run(command: &mut Command) -> Result<String, String> {
    let name = Path::new(command.get_program()).display().to_string();
    let done = command.stdin(Stdio::null()).output().map_err(|e| format!("{name}: {e}; {INSTALL}"))?;
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&done.stderr))),
    }
}
