//! A Redis server of a test's own: on a free port, in a folder of its own, stopped with the test.

use super::super::{Address, Clock, Options, RedisStore};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const INSTALL: &str =
    "redis-server is needed on PATH for these tests: `apt-get install -y redis-server` (7.0 or newer)";

pub(crate) struct Server {
    child: Option<Child>,
    port: u16,
    dir: tempfile::TempDir,
    flags: Vec<String>,
}

impl Server {
    /// Without persistence.
    pub(crate) fn start() -> Self {
        Server::with(&["--save", "", "--appendonly", "no"])
    }

    /// Nothing that was answered is lost by a kill.
    pub(crate) fn durable() -> Self {
        Server::with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
    }

    pub(crate) fn with(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder for Redis");
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut server = Server { child: None, port: 0, dir, flags };
        for _ in 0..20 {
            server.port = free_port();
            if server.launch() {
                return server;
            }
        }
        panic!("redis-server does not start: see its log in {}", server.dir.path().display());
    }

    /// A Sentinel with this configuration.
    pub(crate) fn sentinel(config: &std::path::Path) -> Self {
        Server::with(&[config.to_str().expect("a path in UTF-8"), "--sentinel"])
    }

    /// Starts the process; false if it ended at once (somebody took the port).
    pub(crate) fn launch(&mut self) -> bool {
        // A file of settings comes first, if there is one.
        let file = usize::from(self.flags.first().is_some_and(|flag| !flag.starts_with("--")));
        let child = Command::new("redis-server")
            .args(&self.flags[..file])
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"])
            .arg(self.dir.path())
            .args(["--logfile", "log", "--daemonize", "no"])
            .args(&self.flags[file..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect(INSTALL);
        let id = child.id().to_string();
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let ended = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
            if ended || Instant::now() > until {
                self.kill();
                return false;
            }
            // Answering, done with loading, and ours.
            let mine = format!("process_id:{id}");
            if self
                .try_command(&["INFO"])
                .is_some_and(|info| info.contains(&mine) && !info.contains("loading:1"))
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// As `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// A new server in its place, which knows nothing.
    pub(crate) fn replace(&mut self) {
        self.kill();
        self.dir = tempfile::tempdir().expect("a folder for Redis");
        assert!(self.launch(), "redis-server starts again");
    }

    /// Deletes what a tree (or, with the name "ledger", the ledger itself) has, as when the shard of a cluster was emptied.
    pub(crate) fn lose(&self, root: &str) {
        let keys: Vec<String> = self.command(&["KEYS", &format!("tollgate:1:{{{root}}}:*")]);
        for key in keys {
            self.command::<()>(&["DEL", &key]);
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn client(&self) -> ::redis::Client {
        ::redis::Client::open(format!("redis://127.0.0.1:{}/", self.port)).expect("an address")
    }

    /// A command over a connection of its own.
    pub(crate) fn command<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.client().get_connection().expect("Redis answers");
        let mut command = ::redis::cmd(words[0]);
        command.arg(&words[1..]).query(&mut connection).expect("Redis does as told")
    }

    fn try_command(&self, words: &[&str]) -> Option<String> {
        let mut connection = self.client().get_connection().ok()?;
        ::redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).ok()
    }

    pub(crate) fn address(&self) -> Address {
        Address::parse(&format!("redis://127.0.0.1:{}", self.port)).expect("an address")
    }

    /// A gateway's store on this server, with a timeout that a busy test machine keeps.
    pub(crate) async fn store(&self, clock: Clock) -> RedisStore {
        let store = RedisStore::connect(&self.address(), options(clock)).await.expect("Redis answers");
        store.found().await.expect("a ledger");
        store
    }
}

pub(crate) fn options(clock: Clock) -> Options {
    Options { clock, timeout: Duration::from_secs(5), ..Options::default() }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its number").port()
}
