//! A gateway's ledger with a Redis that is away, for all trees or for one. With a real redis-server.

use super::*;
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};
use tollgate_ledger::{
    budget::{Budget, Limit, Period},
    redis::{Address, Options},
};
use uuid::Uuid;

/// A server that loses nothing.
struct Server {
    child: Option<Child>,
    port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    /// One that does not run yet.
    fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Server { child: None, port, dir: tempfile::tempdir().unwrap() }
    }

    fn launch(&mut self) {
        let flags = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"];
        let child = Command::new("redis-server")
            .args(flags)
            .args(["--port", &self.port.to_string(), "--dir"])
            .arg(self.dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is needed: `e2e/tools/install redis`");
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(60);
        while !self.command("PING").is_ok_and(|answer| answer.starts_with("+PONG")) {
            assert!(Instant::now() < until, "Redis does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn command(&self, line: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        let mut answer = [0; 512];
        let read = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    fn gateway(&self) -> Shared {
        let address = Address::parse(&format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let options = Options { timeout: Duration::from_secs(5), ..Options::default() };
        let settings = Settings { hold: Duration::from_secs(60), drained: true };
        Shared::new(RedisStore::start(&address, options), settings)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn budget(limit: u64) -> Budget {
    Budget::new("b", Limit::NanoUsd(limit), Period::Year, jiff::tz::TimeZone::UTC)
}

fn levels<'a>(key: &'a str, budget: &'a Budget) -> [Level<'a>; 1] {
    [Level::unlimited(key, [budget])]
}

/// A request that costs ten; whether it was served, and if so on a local allowance.
async fn request(shared: &Shared, levels: &[Level<'_>]) -> Option<bool> {
    let now = unix_ms();
    let ask = Ask { input_cost: 10, ..Ask::free(Uuid::new_v4(), now, now) };
    let held = match shared.reserve(levels, &ask, false).await {
        Ok(held) => held,
        Err(Refused::Limit(_)) => return None,
        Err(other) => panic!("{other:?}"),
    };
    let (local, actual) = (held.is_local(), Actual { cost: 10, ..Actual::default() });
    let billing = Billing { request: ask.id, record: b"" };
    let settling = shared.begin(levels, held, &actual, now, billing);
    let (done, told) = tokio::sync::oneshot::channel();
    shared.confirm_later(settling, |_| done.send(()).unwrap());
    told.await.unwrap();
    Some(local)
}

async fn eventually(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is().await {
        assert!(Instant::now() < until, "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn founded(server: &mut Server) -> Shared {
    server.launch();
    let shared = server.gateway();
    eventually("the ledger is founded", async || shared.store.found().await.is_ok()).await;
    shared
}

/// One tree is lost (a shard of a cluster), the others answer: its allowance has a limit all the same.
#[tokio::test]
async fn an_answer_for_one_tree_renews_no_allowance_of_another() {
    let mut server = Server::new();
    let shared = founded(&mut server).await;
    let budget = budget(100);
    let (lost, other) = (levels("a/lost", &budget), levels("a/other", &budget));
    assert_eq!(request(&shared, &lost).await, Some(false));
    server.command("DEL tollgate:1:{a/lost}:g").unwrap();
    let (mut served, mut others) = (1, 0);
    for _ in 0..15 {
        served += usize::from(request(&shared, &lost).await.is_some());
        if let Some(local) = request(&shared, &other).await {
            assert!(!local, "its tree is there");
            others += 1;
        }
        shared.tick(unix_ms()).await;
    }
    assert_eq!((served, others), (10, 10), "each has a hundred");
    assert!(!shared.health().ok);
}

/// Redis comes back for a moment, again and again: what was granted meanwhile is not forgotten, neither while it waits nor
/// when it is posted.
#[tokio::test]
async fn a_redis_that_comes_and_goes_makes_no_fresh_budget() {
    let mut server = Server::new();
    let shared = founded(&mut server).await;
    let (own, wide) = (budget(100), budget(1_000_000));
    let (levels, other) = (levels("a/key", &own), levels("a/other", &wide));
    for _ in 0..2 {
        assert_eq!(request(&shared, &levels).await, Some(false));
    }
    for posted in [false, true] {
        server.kill();
        for _ in 0..3 {
            assert_eq!(request(&shared, &levels).await, Some(true));
        }
        server.launch();
        eventually("Redis is found", async || request(&shared, &other).await == Some(false)).await;
        if posted {
            eventually("all is posted", async || {
                shared.tick(unix_ms()).await;
                shared.store.waiting() == 0
            })
            .await;
        }
    }
    // 80 of 100 are spent.
    server.kill();
    let mut served = 0;
    for _ in 0..5 {
        served += usize::from(request(&shared, &levels).await.is_some());
    }
    assert_eq!(served, 2);
    server.launch();
    eventually("all is posted, and the allowances go", async || {
        shared.tick(unix_ms()).await;
        shared.store.waiting() == 0 && shared.away.read().trees.is_empty()
    })
    .await;
    assert!(shared.health().ok, "{:?}", shared.health());
    let states = shared.store.state(&levels[0], unix_ms()).await.unwrap();
    assert_eq!((states[0].committed, states[0].held), (100, 0));
}

/// What an earlier process kept is taken over, told to Redis, and the file is emptied.
#[tokio::test]
async fn a_file_that_was_kept_is_posted_and_emptied() {
    let mut server = Server::new();
    let data = tempfile::tempdir().unwrap();
    let own = budget(100);
    let levels = levels("a/key", &own);
    let first = server.gateway();
    first.keep_unposted(data.path()).unwrap();
    for _ in 0..3 {
        assert_eq!(request(&first, &levels).await, Some(true));
    }
    assert_eq!(first.update_kept().await, Some(3));
    first.kept.lock().take();
    drop(first);
    let again = server.gateway();
    again.keep_unposted(data.path()).unwrap();
    assert_eq!(request(&again, &levels).await, Some(true));
    assert_eq!(again.update_kept().await, Some(4));
    let file = data.path().join("unposted.jsonl");
    server.launch();
    eventually("all is posted", async || {
        again.store.found().await.ok();
        again.tick(unix_ms()).await;
        again.store.waiting() == 0
    })
    .await;
    assert!(again.store.state(&levels[0], unix_ms()).await.unwrap()[0].committed == 40);
    let kept = again.update_kept().await;
    assert_eq!((kept, std::fs::metadata(&file).unwrap().len()), (Some(0), 0));
}
