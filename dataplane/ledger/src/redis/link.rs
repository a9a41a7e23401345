//! The connection: one server, the master that Sentinels name, or a cluster. A task of its own makes it, and makes it anew
//! when it breaks: no request ever waits for a connection that is not there, it learns at once that there is none.

use super::{Address, Options, StoreError, connect::Maker};
use ::redis::{
    Cmd, ErrorKind, RedisError, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
};
use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A connection that mends itself.
pub(super) struct Link {
    shared: Arc<Shared>,
    maker: JoinHandle<()>,
    timeout: Duration,
}

struct Shared {
    states: watch::Sender<State>,
    /// Commands in a row that had no answer in time.
    slow: AtomicU32,
    made: AtomicU64,
}

/// How the connection is.
#[derive(Clone)]
enum State {
    /// Being made.
    Making,
    /// There; with its number.
    Up(Connection, u64),
    /// Not there; tried again soon.
    Down(Why),
}

/// Why there is no connection.
#[derive(Debug, Clone)]
pub(super) enum Why {
    /// It cannot be made, or broke.
    Failed(RedisError),
    /// The server may evict counters: its policy.
    Policy(String),
    /// The user may not use these commands.
    Rights(String),
}

/// A connection to where the data is.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// So many commands in a row without an answer in time, and the connection is made anew: what is behind it may be gone.
const MOST_SLOW: u32 = 20;

/// Pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

// === impl Link ===

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Link {
    /// Begins to connect, and never stops trying.
    pub(super) fn start(address: &Address, options: &Options) -> Self {
        let (states, _) = watch::channel(State::Making);
        let shared = Arc::new(Shared { states, slow: AtomicU32::new(0), made: AtomicU64::new(0) });
        let maker = Maker::new(address.clone(), options.clone());
        let maker = tokio::spawn(shared.clone().keep_up(maker));
        Link { shared, maker, timeout: options.timeout }
    }

    /// Waits for the first connection, or for why there is none.
    pub(super) async fn first(&self) -> Result<(), StoreError> {
        let mut states = self.shared.states.subscribe();
        let settled = states.wait_for(|state| !matches!(state, State::Making)).await;
        match settled.as_deref() {
            Ok(State::Down(why)) => Err(why.clone().into()),
            _ => Ok(()),
        }
    }

    /// Why there is no connection, if there is none.
    pub(super) fn trouble(&self) -> Option<StoreError> {
        match &*self.shared.states.borrow() {
            State::Up(..) => None,
            State::Down(why) => Some(why.clone().into()),
            State::Making => Some(Why::Failed(connecting()).into()),
        }
    }

    /// The server turned out not to be usable: connects anew, which finds out whether it is now.
    pub(super) fn distrust(&self, policy: String) {
        if let State::Up(_, number) = self.shared.state() {
            self.shared.broke(number, State::Down(Why::Policy(policy)));
        }
    }

    /// Sends a command and waits for its answer, but no longer than the timeout of a request.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, StoreError> {
        self.send_within(command, self.timeout).await
    }

    /// Sends a command and waits for its answer, but no longer than `limit`. Every command here may be sent twice: where a
    /// connection breaks under it, it goes over the next one, if that comes in time.
    pub(super) async fn send_within(&self, command: &Cmd, limit: Duration) -> Result<Value, StoreError> {
        match tokio::time::timeout(limit, self.shared.send(command)).await {
            Ok(Err(error)) if error.is_timeout() => Err(StoreError::Slow(limit)),
            Ok(answer) => Ok(answer?),
            Err(_) => {
                self.shared.too_slow();
                Err(StoreError::Slow(limit))
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.maker.abort();
    }
}

// === impl Shared ===

/// What ended the sending of a command.
enum Unsent {
    /// Nothing was sent.
    Why(Why),
    Error(RedisError),
    /// The connection broke after it was sent, and there is no other: it may have been carried out.
    Lost(RedisError),
}

impl Shared {
    fn state(&self) -> State {
        self.states.borrow().clone()
    }

    async fn send(&self, command: &Cmd) -> Result<Value, Unsent> {
        let (mut connection, mut number) = match self.state() {
            State::Up(connection, number) => (connection, number),
            State::Down(why) => return Err(Unsent::Why(why)),
            State::Making => self.next(0).await?,
        };
        for last in [false, true] {
            match connection.answer(command).await {
                Err(error) if is_broken(&error) => {
                    self.broke(number, State::Making);
                    if last {
                        return Err(error.into());
                    }
                }
                answer => {
                    self.slow.store(0, Relaxed);
                    return Ok(answer?);
                }
            }
            // What broke under it may have been carried out all the same.
            (connection, number) = self.next(number).await.map_err(Unsent::after_sending)?;
        }
        Err(connecting().into())
    }

    /// The connection that comes after the one with this number.
    async fn next(&self, number: u64) -> Result<(Connection, u64), Unsent> {
        let mut states = self.states.subscribe();
        loop {
            match states.borrow_and_update().clone() {
                State::Up(connection, new) if new != number => return Ok((connection, new)),
                State::Down(why) => return Err(Unsent::Why(why)),
                _ => {}
            }
            if states.changed().await.is_err() {
                return Err(connecting().into());
            }
        }
    }

    /// The connection with this number is of no use any more.
    fn broke(&self, number: u64, instead: State) {
        self.states.send_if_modified(|state| {
            let current = matches!(state, State::Up(_, n) if *n == number);
            if current {
                *state = instead;
            }
            current
        });
    }

    fn too_slow(&self) {
        if self.slow.fetch_add(1, Relaxed) + 1 < MOST_SLOW {
            return;
        }
        self.slow.store(0, Relaxed);
        // A cluster's other nodes go on answering; it finds out about its nodes by itself.
        if let State::Up(Connection::Single(_), number) = self.state() {
            self.broke(number, State::Making);
        }
    }

    /// Connects whenever there is no connection.
    async fn keep_up(self: Arc<Self>, maker: Maker) {
        let mut states = self.states.subscribe();
        let mut pause = FIRST_PAUSE;
        loop {
            match maker.make().await {
                Ok(connection) => {
                    pause = FIRST_PAUSE;
                    let number = self.made.fetch_add(1, Relaxed) + 1;
                    self.slow.store(0, Relaxed);
                    self.states.send_replace(State::Up(connection, number));
                    if states.wait_for(|state| !matches!(state, State::Up(..))).await.is_err() {
                        return;
                    }
                }
                Err(why) => {
                    self.states.send_replace(State::Down(why));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

fn connecting() -> RedisError {
    RedisError::from((ErrorKind::Io, "the connection is being made"))
}

/// Whether another connection may do better: this one broke, or leads to a server that is no master (any more), or the
/// password has changed.
fn is_broken(error: &RedisError) -> bool {
    let stale = matches!(error.code(), Some("READONLY" | "NOAUTH" | "WRONGPASS" | "MASTERDOWN"));
    let lost = error.is_unrecoverable_error() || error.is_connection_dropped();
    stale || (lost && !error.is_timeout())
}

// === impl Connection ===

impl Connection {
    pub(super) async fn answer(&mut self, command: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Connection::Single(connection) => connection.req_packed_command(command).await,
            Connection::Cluster(connection) => connection.req_packed_command(command).await,
        };
        answer.and_then(Value::extract_error)
    }
}

// === impl Unsent ===

impl Unsent {
    fn is_timeout(&self) -> bool {
        matches!(self, Unsent::Error(error) if error.is_timeout())
    }
}

impl Unsent {
    /// The same after something was sent.
    fn after_sending(self) -> Self {
        match self {
            // Whatever keeps the next one from being made, a changed password too.
            Unsent::Why(Why::Failed(error)) => Unsent::Lost(error),
            Unsent::Why(Why::Policy(_) | Why::Rights(_)) => Unsent::Lost(connecting()),
            error => error,
        }
    }
}

impl From<RedisError> for Unsent {
    fn from(error: RedisError) -> Self {
        Unsent::Error(error)
    }
}

impl From<Unsent> for StoreError {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Why(why) => why.into(),
            Unsent::Error(error) => error.into(),
            Unsent::Lost(error) => StoreError::Away(error),
        }
    }
}

// === impl Why ===

impl From<RedisError> for Why {
    fn from(error: RedisError) -> Self {
        Why::Failed(error)
    }
}

impl From<Why> for StoreError {
    fn from(why: Why) -> Self {
        match why {
            Why::Failed(error) => match StoreError::from(error) {
                StoreError::Away(error) => StoreError::Unreachable(error),
                other => other,
            },
            Why::Policy(policy) => StoreError::WrongPolicy(policy),
            Why::Rights(commands) => StoreError::Rights(commands),
        }
    }
}
