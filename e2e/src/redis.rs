//! A real Redis of a test's own: on a free port, in a folder of its own, stopped with the test.

use anyhow::{Context, bail};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A server.
#[derive(Debug)]
pub struct Redis {
    child: Option<Child>,
    port: u16,
    dir: TempDir,
    flags: Vec<String>,
}

/// Nothing that was answered is lost by a kill.
pub const DURABLE: [&str; 6] = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];

/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);

// === impl Redis ===

impl Redis {
    /// Starts a server with these flags.
    ///
    /// # Errors
    /// When redis-server is not there (`e2e/tools/install redis`) or does not start.
    pub fn start(flags: &[&str]) -> anyhow::Result<Self> {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let dir = tempfile::Builder::new().prefix("tollgate-redis-").tempdir()?;
        let mut redis = Redis { child: None, port: 0, dir, flags };
        for _ in 0..10 {
            redis.port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            if redis.launch().is_ok() {
                return Ok(redis);
            }
        }
        redis.launch()?;
        Ok(redis)
    }

    /// Starts the process again, on the same port and folder.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"])
            .arg(self.dir.path())
            .args(["--logfile", "log", "--daemonize", "no"])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("redis-server is missing: run `e2e/tools/install redis`")?;
        self.child = Some(child);
        let until = Instant::now() + START;
        loop {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                self.child = None;
                bail!("redis-server ended with {status}: see {}", self.dir.path().join("log").display());
            }
            if self.command("PING").is_ok_and(|answer| answer.starts_with("+PONG")) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A new server in its place, on the same port, which knows nothing.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn replace(&mut self) -> anyhow::Result<()> {
        self.kill();
        self.dir = tempfile::Builder::new().prefix("tollgate-redis-").tempdir()?;
        self.launch()
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its process's id.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What it logged so far.
    ///
    /// # Errors
    /// When there is no log.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.dir.path().join("log"))?).into_owned())
    }

    /// A command in one line, and the beginning of its answer as it comes.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn command(&self, line: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(answer.get(..read).unwrap_or_default()).into_owned())
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Stops it where it stands: connections stay, nothing is answered.
    ///
    /// # Errors
    /// When there is no process.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal("-STOP")
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When there is no process.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let pid = self.pid().context("Redis does not run")?.to_string();
        let status = Command::new("kill").args([signal, &pid]).status()?;
        anyhow::ensure!(status.success(), "kill {signal} {pid}: {status}");
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
