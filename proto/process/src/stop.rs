//! The signals that end a process.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and Ctrl-C: the first asks for an orderly end, a second one for an end at once.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    interrupt: Signal,
}

// === impl Signals ===

impl Signals {
    /// Takes the signals from now on.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn new() -> io::Result<Self> {
        Ok(Signals { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one; returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
