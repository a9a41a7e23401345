//! The pool and its processes, with small shell scripts for servers. The protocol end to end is in `e2e/tests/sidecar`.

use super::{
    CommandLine, Limits, Pool,
    process::{Out, Process, SendError},
};
use std::{sync::Arc, time::Duration};
use tollgate_mcp::Message;

/// The bound on everything here.
const BOUND: Duration = Duration::from_secs(30);

fn shell(script: &str) -> CommandLine {
    CommandLine::with_env(
        ["sh", "-c", script].map(str::to_owned).to_vec(),
        vec![("GIVEN".into(), "yes".into())],
    )
}

fn limits(shared: bool, sessions: usize) -> Limits {
    Limits { shared, sessions, idle: Duration::from_secs(60), message: 1 << 16 }
}

fn process(script: &str, shared: bool) -> Arc<Process> {
    Process::start(&shell(script), "test", shared, 4096).unwrap()
}

async fn ask(process: &Arc<Process>, text: &str) -> Result<String, SendError> {
    let asked = process.request(&Message::parse(text).unwrap(), true).await?;
    Ok(within(asked.answer()).await.unwrap())
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future).await.expect("it takes too long")
}

async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !check() {
        assert!(begin.elapsed() < BOUND, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const REQUEST: &str = r#"{"jsonrpc":"2.0","id":"x","method":"a"}"#;

/// Answers every request by what `sed` makes of it: `{"id":N` at the front of the line is wanted.
const ECHO: &str = r#"while read -r line; do id=$(echo "$line" | sed 's/.*"id":\([0-9]*\).*/\1/'); echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"given\":\"$GIVEN\"}}"; done"#;

#[tokio::test]
async fn answers_find_their_requests_among_garbage() {
    let noisy = format!("echo hello; echo; echo '[1]'; echo oops >&2; {ECHO}");
    let process = process(&noisy, false);
    let answer = ask(&process, REQUEST).await.unwrap();
    assert_eq!(answer, r#"{"jsonrpc":"2.0","id":"x","result":{"given":"yes"}}"#);
    assert_eq!(process.under_way(), 0);
    process.end();
    within(process.wait()).await;
    assert!(matches!(ask(&process, REQUEST).await, Err(SendError::Ended(_))));
}

#[tokio::test]
async fn a_process_inherits_no_secret() {
    let known = "PATH|HOME|LANG|LC_ALL|TMPDIR|TZ|GIVEN|PWD|OLDPWD|SHLVL|_";
    let script = format!(
        "read line; n=$(env | grep -vcE '^({known})='); \
         echo \"{{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"id\\\":1,\\\"result\\\":{{\\\"n\\\":$n}}}}\""
    );
    let process = process(&script, false);
    let known: Vec<&str> = known.split('|').collect();
    assert!(std::env::vars().any(|(name, _)| !known.contains(&name.as_str())), "there is something to hide");
    assert!(ask(&process, REQUEST).await.unwrap().ends_with(r#"{"n":0}}"#));
}

#[tokio::test]
async fn who_waits_is_told_when_the_process_dies_or_answers_too_much() {
    let dies = process("read line; exit 3", false);
    let answer = ask(&dies, REQUEST).await.unwrap();
    assert!(answer.contains(r#""id":"x""#) && answer.contains("exit status: 3"), "{answer}");
    let talks = process("read line; head -c 10000 /dev/zero | tr '\\0' a; echo; cat", false);
    let answer = ask(&talks, REQUEST).await.unwrap();
    assert!(answer.contains("cannot be used: it is too long"), "{answer}");
}

#[tokio::test]
async fn the_whole_group_ends() {
    let stubborn = process(
        "trap '' TERM; sleep 1000 & echo \"$!\" >&2; echo '{\"jsonrpc\":\"2.0\",\"method\":\"up\"}'; wait; sleep 1000",
        false,
    );
    let mut unasked = stubborn.listen();
    assert!(within(unasked.recv()).await.unwrap().contains("up"));
    let children = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let of = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("cmdline")).ok();
        all.filter_map(of).filter(|c| c.starts_with("sleep\x001000")).count()
    };
    until("it has children", || children() > 0).await;
    stubborn.end();
    within(stubborn.wait()).await;
    until("its children are gone", || children() == 0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_a_cancellation() {
    let process = process("while read -r line; do echo \"$line\"; done", false);
    let mut unasked = process.listen();
    let asked = process.request(&Message::parse(REQUEST).unwrap(), true).await.unwrap();
    // The server sends the request back, which is a request of its own to the client.
    assert!(within(unasked.recv()).await.unwrap().contains(r#""id":1"#));
    drop(asked);
    let cancelled = within(unasked.recv()).await.unwrap();
    assert!(
        cancelled.contains("notifications/cancelled") && cancelled.contains(r#""requestId":1"#),
        "{cancelled}"
    );
    let mut asked = process.request(&Message::parse(REQUEST).unwrap(), false).await.unwrap();
    assert!(within(unasked.recv()).await.unwrap().contains(r#""id":2"#));
    process.cancel("\"y\"").await;
    process.cancel("\"x\"").await;
    assert!(within(unasked.recv()).await.unwrap().contains(r#""requestId":2"#));
    assert_eq!(within(asked.out.recv()).await, None::<Out>);
}

#[tokio::test]
async fn sessions_are_capped_and_failures_are_waited_for() {
    let pool = Pool::start("test", shell(ECHO), limits(false, 1));
    let first = pool.open().unwrap();
    let id = pool.keep(first);
    let full = pool.open().unwrap_err();
    assert!(full.to_string().contains("all 1 sessions"), "{full}");
    assert!(
        pool.session(&id).is_some() && pool.close(&id) && !pool.close(&id) && pool.session(&id).is_none()
    );
    let second = pool.open().unwrap();
    pool.failed(&second, "on purpose");
    assert!(pool.open().unwrap_err().to_string().contains("on purpose"));
    pool.end().await;

    let missing = Pool::start("test", CommandLine::inheriting(vec!["/nonexistent".into()]), limits(true, 1));
    until("it is told that it cannot start", || {
        missing.not_ready().is_some_and(|r| r.contains("cannot run /nonexistent"))
    })
    .await;
}

#[tokio::test]
async fn a_shared_process_is_opened_by_the_bridge_and_started_again() {
    let pool = Pool::start("test", shell(ECHO), limits(true, 1));
    until("it is ready", || pool.not_ready().is_none()).await;
    let common = pool.common().await.unwrap();
    assert_eq!(common.opened.as_deref(), Some(r#"{"given":"yes"}"#));
    common.process.end();
    within(common.process.wait()).await;
    drop(common);
    until("it is ready again", || pool.not_ready().is_none()).await;
    assert!(ask(&pool.common().await.unwrap().process, REQUEST).await.is_ok());
    pool.end().await;
}
