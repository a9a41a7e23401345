//! Stdio servers of a gateway that stands alone (`--allow-local-stdio`): children of its own process, behind a bridge on loopback
//! that the gateway calls like any other MCP server.

use super::{CommandLine, Limits, MAX_CONNECTIONS, Pool, http};
use crate::{body::full, listen};
use ::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::{collections::HashMap, fmt, io, net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, runtime::Handle};
use tokio_util::sync::CancellationToken;
use tollgate_crds::stdio;
use uuid::Uuid;

/// What each server is allowed.
const LIMITS: Limits =
    Limits { shared: false, sessions: 16, idle: Duration::from_secs(900), message: 8 << 20 };

/// A server that is to run. Its `Debug` prints no values of variables.
#[derive(Clone, PartialEq)]
pub struct LocalServer {
    /// The McpServer's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is run.
    pub command: CommandLine,
    /// One process for all sessions.
    pub shared: bool,
}

/// The servers of this process.
pub struct Local {
    base: String,
    /// A part of every path that only this process knows: other users of the machine reach loopback too.
    secret: String,
    running: Mutex<HashMap<String, (LocalServer, Arc<Pool>)>>,
    runtime: Handle,
    stop: CancellationToken,
}

// === impl Local ===

impl Local {
    /// Listens on a free port of loopback; nothing runs yet.
    ///
    /// # Errors
    /// When loopback cannot be listened on.
    pub async fn start() -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let secret = format!("/{}", Uuid::new_v4().simple());
        let local = Arc::new(Local {
            base: format!("http://{}{secret}", listener.local_addr()?),
            secret,
            running: Mutex::default(),
            runtime: Handle::current(),
            stop: CancellationToken::new(),
        });
        let (shared, stop) = (local.clone(), local.stop.clone());
        let handler = move |request| {
            let local = shared.clone();
            async move { local.answer(request).await }
        };
        tokio::spawn(async move {
            listen::serve(listener, MAX_CONNECTIONS, handler, stop.cancelled_owned(), Duration::ZERO).await;
        });
        Ok(local)
    }

    /// Where compiled servers are found.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Runs these servers and no others. One that did not change keeps its processes.
    pub fn set(&self, servers: Vec<LocalServer>) {
        let _runtime = self.runtime.enter();
        let mut running = self.running.lock();
        let mut old = std::mem::take(&mut *running);
        for server in servers {
            let path = stdio::local_path(&server.namespace, &server.name);
            let pool = match old.remove(&path) {
                Some((same, pool)) if same == server => pool,
                before => {
                    self.end(before);
                    let limits = Limits { shared: server.shared, ..LIMITS };
                    Pool::start(
                        &format!("{}/{}", server.namespace, server.name),
                        server.command.clone(),
                        limits,
                    )
                }
            };
            running.insert(path, (server, pool));
        }
        for (_, gone) in old {
            self.end(Some(gone));
        }
    }

    fn end(&self, gone: Option<(LocalServer, Arc<Pool>)>) {
        if let Some((_, pool)) = gone {
            self.runtime.spawn(async move { pool.end().await });
        }
    }

    /// Ends all servers, and waits until they have ended.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        let pools: Vec<_> = self.running.lock().drain().map(|(_, (_, pool))| pool).collect();
        futures_util::future::join_all(pools.iter().map(|pool| pool.end())).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<crate::body::Body> {
        let path = request.uri().path().strip_prefix(&self.secret);
        let pool = path.and_then(|path| self.running.lock().get(path).map(|(_, pool)| pool.clone()));
        match pool {
            Some(pool) => http::answer(&pool, request).await,
            None => {
                let mut response = Response::new(full("no such server\n"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        }
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("running", &self.running.lock().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for LocalServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalServer({}/{}: {:?})", self.namespace, self.name, self.command)
    }
}
