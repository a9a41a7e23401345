//! One running server, and the requests that it is to answer.

use super::{
    command::{CommandLine, Ended, Group},
    lines::{self, Line, Throttle},
    rewrite,
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    process::{ChildStderr, ChildStdin, ChildStdout},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::unix::pipe,
    sync::{mpsc, watch},
};
use tollgate_mcp::{Message, RpcError, error::INTERNAL, message::Kind, reply};

/// The most requests that one process has under way.
const MAX_PENDING: usize = 1024;
/// How many messages wait for the process's input, or for a client.
const QUEUE: usize = 64;
/// A process that takes no input for so long hangs.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// After its input was closed, and after SIGTERM: how long a process may take to end.
const END_BY_ITSELF: Duration = Duration::from_secs(2);
const END_BY_SIGNAL: Duration = Duration::from_secs(3);

/// A running server. Dropping the last handle ends it, with its whole process group.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    /// All clients share it: what cannot be told to be one client's is nobody's.
    shared: bool,
    input: mpsc::Sender<String>,
    next: AtomicU64,
    state: Mutex<State>,
    ended: watch::Receiver<Option<Ended>>,
    stop: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    pending: HashMap<u64, Pending>,
    /// Where messages go that belong to no request: the client's GET.
    unasked: Option<mpsc::Sender<String>>,
    last_used: Instant,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Pending {
    id: String,
    token: Option<String>,
    out: mpsc::Sender<Out>,
}

/// What comes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Out {
    /// A message on the way to the answer.
    Message(String),
    /// The answer; nothing follows.
    Answer(String),
}

/// A request under way; dropped early, the process is told that nobody waits when `cancels`.
#[derive(Debug)]
pub(super) struct Asked {
    process: Arc<Process>,
    number: u64,
    cancels: bool,
    pub(super) out: mpsc::Receiver<Out>,
}

/// Why a message did not reach the process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SendError {
    /// It has ended.
    #[error("the server's process has ended: {0}")]
    Ended(String),
    /// It takes no input.
    #[error("the server's process takes no input")]
    Stuck,
    /// Too many requests are under way.
    #[error("the server's process has {MAX_PENDING} requests under way")]
    Busy,
    /// The message is no request.
    #[error("the message is no request")]
    NoRequest,
}

// === impl Process ===

impl Process {
    /// Starts `command`; `name` stands in the log; `max`: the longest message it may write.
    pub(super) fn start(
        command: &CommandLine,
        name: &str,
        shared: bool,
        max: usize,
    ) -> io::Result<Arc<Self>> {
        let started = command.start()?;
        let (input, lines) = mpsc::channel(QUEUE);
        let (stop, stopped) = watch::channel(false);
        let process = Arc::new(Process {
            name: name.to_owned(),
            shared,
            input,
            next: AtomicU64::new(1),
            state: Mutex::new(State { pending: HashMap::new(), unasked: None, last_used: Instant::now() }),
            ended: started.ended.clone(),
            stop,
        });
        let output = reader(started.stdout)?;
        let errors = error_reader(started.stderr)?;
        tokio::spawn(write(writer(started.stdin)?, lines, stopped.clone()));
        tokio::spawn(read(Arc::downgrade(&process), output, max));
        tokio::spawn(log(process.name.clone(), errors));
        tokio::spawn(supervise(started.group, started.ended, stopped));
        Ok(process)
    }

    /// How it ended, once it has.
    pub(super) fn ended(&self) -> Option<String> {
        self.ended.borrow().as_ref().map(|e| e.0.clone())
    }

    /// Resolves when it has ended.
    pub(super) async fn wait(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.as_ref().map(|e| e.0.clone()).unwrap_or_default(),
            Err(_) => "it has ended".to_owned(),
        }
    }

    /// Has it end: its input is closed, then it is signalled.
    pub(super) fn end(&self) {
        self.stop.send_replace(true);
    }

    /// How many requests are under way.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.state.lock().pending.len()
    }

    /// For how long nobody has used it; zero while a request is under way or a client listens.
    pub(super) fn unused_for(&self) -> Duration {
        let state = self.state.lock();
        let listened = state.unasked.as_ref().is_some_and(|s| !s.is_closed());
        if listened || !state.pending.is_empty() { Duration::ZERO } else { state.last_used.elapsed() }
    }

    /// Sends a request. `cancels`: when its client goes away the process is told so.
    pub(super) async fn request(
        self: &Arc<Self>,
        message: &Message<'_>,
        cancels: bool,
    ) -> Result<Asked, SendError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let outgoing = rewrite::request(message, number).ok_or(SendError::NoRequest)?;
        let (sender, out) = mpsc::channel(QUEUE);
        {
            let mut state = self.state.lock();
            if state.pending.len() >= MAX_PENDING {
                return Err(SendError::Busy);
            }
            state.last_used = Instant::now();
            state.pending.insert(number, Pending { id: outgoing.id, token: outgoing.token, out: sender });
        }
        let asked = Asked { process: self.clone(), number, cancels, out };
        self.send(outgoing.line).await.inspect_err(|_| {
            self.state.lock().pending.remove(&number);
        })?;
        Ok(asked)
    }

    /// Sends a message that has no answer.
    pub(super) async fn send(&self, line: String) -> Result<(), SendError> {
        if let Some(ended) = self.ended() {
            return Err(SendError::Ended(ended));
        }
        match tokio::time::timeout(WRITE_DEADLINE, self.input.send(line)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => {
                Err(SendError::Ended(self.ended().unwrap_or_else(|| "it closed its input".to_owned())))
            }
            Err(_) => Err(SendError::Stuck),
        }
    }

    /// The client wants no answer to its request `id` any more. Where several clients may have used that id, nothing is done:
    /// their connections tell.
    pub(super) async fn cancel(&self, id: &str) {
        let number = {
            let mut state = self.state.lock();
            let mut found = state.pending.iter().filter(|(_, p)| p.id == id).map(|(n, _)| *n);
            let number = found.next().filter(|_| found.next().is_none());
            number.inspect(|n| drop(state.pending.remove(n)))
        };
        if let Some(number) = number {
            // A process that has ended needs no cancellation.
            drop(self.send(rewrite::cancel(number, "the client cancelled")).await);
        }
    }

    /// The stream of what belongs to no request; a new one takes the place of an older.
    pub(super) fn listen(&self) -> mpsc::Receiver<String> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.state.lock().unasked = Some(sender);
        receiver
    }

    /// Takes a line of the process's output.
    fn hear(self: &Arc<Self>, line: &str) -> Result<(), String> {
        let message = Message::parse(line).map_err(|e| e.to_string())?;
        match &message.kind {
            Kind::Response { id, .. } => {
                let number = id.and_then(|id| id.parse::<u64>().ok());
                let pending = number.and_then(|n| self.state.lock().pending.remove(&n));
                // An answer after a cancellation, or to nothing.
                let Some(pending) = pending else { return Ok(()) };
                let answer = rewrite::answer(&message, &pending.id).ok_or("its id cannot be replaced")?;
                deliver(pending.out, Out::Answer(answer));
            }
            Kind::Notification { method } if method == "notifications/progress" => self.progress(&message),
            Kind::Notification { method } => self.notified(method, line),
            Kind::Request { id, method } => self.requested(id, method, line),
        }
        Ok(())
    }

    fn progress(&self, message: &Message<'_>) {
        let Some((number, raw)) = rewrite::progress(message) else { return };
        let state = self.state.lock();
        let Some(pending) = state.pending.get(&number) else { return };
        if let Some(text) = pending.token.as_ref().and_then(|token| rewrite::with_token(message, raw, token))
        {
            // A client that reads slowly loses signs of progress, not its answer.
            drop(pending.out.try_send(Out::Message(text)));
        }
    }

    /// A notification that belongs to no request. A shared process's are nobody's, unless they are everybody's.
    fn notified(&self, method: &str, line: &str) {
        let line = rewrite::one_line(line);
        let state = self.state.lock();
        if self.shared {
            if method.ends_with("/list_changed") {
                for pending in state.pending.values() {
                    drop(pending.out.try_send(Out::Message(line.clone())));
                }
            }
            return;
        }
        drop(state.tell(line));
    }

    /// A request of the process's own, such as for elicitation: its client answers it, when there is one that listens.
    fn requested(self: &Arc<Self>, id: &str, method: &str, line: &str) {
        let told =
            !self.shared && method != "ping" && self.state.lock().tell(rewrite::one_line(line)).is_ok();
        if told {
            return;
        }
        let answer = match method {
            "ping" => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
            _ => RpcError::unknown_method(method).to_message(Some(id)),
        };
        let process = self.clone();
        tokio::spawn(async move { drop(process.send(answer).await) });
    }

    /// It has ended: whoever waits is told.
    fn close(&self, reason: &str) {
        let mut state = self.state.lock();
        state.unasked = None;
        for (_, pending) in state.pending.drain() {
            let error =
                RpcError::new(INTERNAL, format!("The server's process ended before it answered: {reason}"));
            deliver(pending.out, Out::Answer(error.to_message(Some(&pending.id))));
        }
    }

    /// Something came that cannot be read. When one request only is under way it was its answer, and nothing else will come.
    fn unusable(&self, reason: &str) {
        let mut state = self.state.lock();
        if state.pending.len() == 1
            && let Some((_, pending)) = state.pending.drain().next()
        {
            let error = RpcError::new(INTERNAL, format!("The server's answer cannot be used: {reason}"));
            deliver(pending.out, Out::Answer(error.to_message(Some(&pending.id))));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

// === impl State ===

impl State {
    /// Gives a message to whoever listens: the GET stream, else the oldest request.
    fn tell(&self, line: String) -> Result<(), String> {
        let line = match &self.unasked {
            Some(unasked) => match unasked.try_send(line) {
                Ok(()) => return Ok(()),
                Err(e) => e.into_inner(),
            },
            None => line,
        };
        let oldest =
            self.pending.iter().filter(|(_, p)| !p.out.is_closed()).min_by_key(|(number, _)| **number);
        match oldest.map(|(_, p)| p.out.try_send(Out::Message(line.clone()))) {
            Some(Ok(())) => Ok(()),
            _ => Err(line),
        }
    }
}

/// Hands an answer over, however full the client's queue is.
fn deliver(out: mpsc::Sender<Out>, answer: Out) {
    if let Err(mpsc::error::TrySendError::Full(answer)) = out.try_send(answer) {
        tokio::spawn(async move { drop(out.send(answer).await) });
    }
}

// === impl Asked ===

impl Asked {
    /// The answer alone.
    pub(super) async fn answer(mut self) -> Option<String> {
        while let Some(out) = self.out.recv().await {
            if let Out::Answer(answer) = out {
                return Some(answer);
            }
        }
        None
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // An answered request is not pending any more.
        if !self.cancels || self.process.state.lock().pending.remove(&self.number).is_none() {
            return;
        }
        let (process, number) = (self.process.clone(), self.number);
        tokio::spawn(
            async move { drop(process.send(rewrite::cancel(number, "the client went away")).await) },
        );
    }
}

// === its pipes ===

fn writer(stdin: ChildStdin) -> io::Result<pipe::Sender> {
    pipe::Sender::from_owned_fd(OwnedFd::from(stdin))
}

fn reader(stdout: ChildStdout) -> io::Result<BufReader<pipe::Receiver>> {
    Ok(BufReader::new(pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?))
}

fn error_reader(stderr: ChildStderr) -> io::Result<BufReader<pipe::Receiver>> {
    Ok(BufReader::new(pipe::Receiver::from_owned_fd(OwnedFd::from(stderr))?))
}

async fn write(
    mut stdin: pipe::Sender,
    mut lines: mpsc::Receiver<String>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = stopped.wait_for(|stop| *stop) => None,
        };
        let Some(mut line) = line else { return };
        line.push('\n');
        let written = tokio::select! {
            written = stdin.write_all(line.as_bytes()) => written,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        if written.is_err() {
            return;
        }
    }
}

async fn read(process: std::sync::Weak<Process>, mut output: BufReader<pipe::Receiver>, max: usize) {
    let mut throttle = Throttle::new();
    loop {
        let line = lines::next(&mut output, max).await;
        let Some(process) = process.upgrade() else { return };
        let (reason, line) = match line {
            Ok(Some(Line::Text(line))) if line.trim().is_empty() => continue,
            Ok(Some(Line::Text(line))) => match process.hear(&line) {
                Ok(()) => continue,
                Err(reason) => (reason, line),
            },
            Ok(Some(Line::Unusable(reason))) => {
                process.unusable(reason);
                (reason.to_owned(), String::new())
            }
            Ok(None) | Err(_) => {
                // Its output is closed: it will answer nothing any more, whatever it does.
                process.end();
                let reason = process.wait().await;
                process.close(&reason);
                tracing::info!(server = %process.name, %reason, "an MCP server's process has ended");
                return;
            }
        };
        if let Some(before) = throttle.pass() {
            let line = lines::shown(&line);
            tracing::warn!(server = %process.name, %reason, not_shown = before, "skipped a line that is no message: {line}");
        }
    }
}

/// What a server writes to its standard error is its log.
async fn log(name: String, mut errors: BufReader<pipe::Receiver>) {
    let mut throttle = Throttle::new();
    while let Ok(Some(line)) = lines::next(&mut errors, 64 << 10).await {
        if let Some(before) = throttle.pass() {
            let line = match &line {
                Line::Text(line) => lines::shown(line),
                Line::Unusable(reason) => format!("(a line is left out: {reason})"),
            };
            tracing::info!(server = %name, not_shown = before, "{line}");
        }
    }
}

/// Ends the process when it is to end, gently first.
async fn supervise(group: Group, mut ended: watch::Receiver<Option<Ended>>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        _ = ended.wait_for(Option::is_some) => return,
        _ = stop.wait_for(|stop| *stop) => {}
    }
    for (patience, next) in [(END_BY_ITSELF, Group::terminate as fn(Group)), (END_BY_SIGNAL, Group::kill)] {
        if tokio::time::timeout(patience, ended.wait_for(Option::is_some)).await.is_ok() {
            return;
        }
        next(group);
    }
}

/// The answer to a client whose message did not reach the process.
pub(super) fn not_sent(error: &SendError, id: Option<&str>) -> reply::Reply {
    let status = if matches!(error, SendError::NoRequest) { 400 } else { 503 };
    reply::Reply::error(status, id, &RpcError::new(INTERNAL, error.to_string()))
}
