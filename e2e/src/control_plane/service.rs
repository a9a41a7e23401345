//! What a Service is to the gateways: one address before several operators. A connection goes to the first that accepts.

use anyhow::Context;
use std::sync::Arc;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A TCP relay; dropping it ends its connections.
#[derive(Debug)]
pub(super) struct Service {
    port: u16,
    task: JoinHandle<()>,
}

// === impl Service ===

impl Service {
    /// Relays to these ports, round robin over those that accept.
    pub(super) async fn start(ports: Vec<u16>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for the Service")?;
        let port = listener.local_addr()?.port();
        let ports: Arc<[u16]> = ports.into();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            let mut first = 0_usize;
            while let Ok((socket, _)) = listener.accept().await {
                first = first.wrapping_add(1);
                connections.spawn(relay(socket, ports.clone(), first));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Service { port, task })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(mut socket: TcpStream, ports: Arc<[u16]>, first: usize) {
    for n in 0..ports.len() {
        let Some(port) = ports.get((first + n) % ports.len()) else { return };
        if let Ok(mut upstream) = TcpStream::connect(("127.0.0.1", *port)).await {
            drop(tokio::io::copy_bidirectional(&mut socket, &mut upstream).await);
            return;
        }
    }
}
