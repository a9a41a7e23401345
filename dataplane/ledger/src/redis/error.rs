//! What can go wrong between the gateway and its ledger.

use ::redis::{ErrorKind, RedisError, ServerErrorKind};
use std::time::Duration;

/// Why the store gave no answer. Where [`StoreError::is_store_failure`] says so, the key's `onStoreFailure` decides.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is not understood.
    #[error("Redis address: {0}")]
    Address(String),
    /// No connection: nothing was sent.
    #[error("Redis cannot be reached: {0}; check the address, the network policy and whether it runs")]
    Unreachable(#[source] RedisError),
    /// A connection that broke; during a failover also a server that does not answer for the data.
    #[error("Redis cannot be reached: {0}; check the address, the network policy and whether it runs")]
    Away(#[source] RedisError),
    /// No answer in time. Whether it was done is unknown: the sweep finds out.
    #[error("Redis did not answer within {} ms; it is overloaded, paused or far away", .0.as_millis())]
    Slow(Duration),
    /// The ledger's generation is not there, so neither is what was spent.
    #[error(
        "Redis was emptied (or never set up): the ledger's generation is missing; restore it from the records, or found a new ledger"
    )]
    Emptied,
    /// Redis may throw counters away when its memory is full.
    #[error(
        "Redis has maxmemory-policy {0}: it may evict counters, which would be a fresh budget; set it to noeviction"
    )]
    WrongPolicy(String),
    /// The user of the gateways may not do all that the ledger needs.
    #[error(
        "Redis refused {0}: the user of the gateways lacks rights; give it those of deploy/redis/users.acl (ACL SETUSER, or ACL LOAD)"
    )]
    Rights(String),
    /// A limit above what a Redis script can count exactly ([`MAX_AMOUNT`](super::MAX_AMOUNT)).
    #[error(
        "budget {budget:?} of key {key}: its limit {limit} is above {}, the most that is counted exactly (9,007,199 USD)",
        super::MAX_AMOUNT
    )]
    TooLarge {
        /// `namespace/name`.
        key: String,
        /// The budget's name.
        budget: String,
        /// Its limit.
        limit: u64,
    },
    /// The key is refused in the ledger itself: it was revoked.
    #[error("key {key} is revoked: {reason}")]
    Denied {
        /// `namespace/name` of the key of the path that is.
        key: String,
        /// What whoever revoked it said.
        reason: String,
    },
    /// No window of a budget contains Redis's time: one of both clocks is wrong.
    #[error(
        "the clocks of Redis and of this gateway differ by {0} ms: no budget's window fits; synchronise them"
    )]
    Clock(i64),
    /// A key moves between trees, again and again: gateways disagree about its parent.
    #[error("key {0} is moving to another tree; try again")]
    Moving(String),
    /// Redis failed a settle, and more wait for it already than are kept.
    #[error(
        "Redis failed and {0} settles wait for it already: this one is lost to the budgets (not to the records)"
    )]
    Full(usize),
    /// The server refused a command: rights, memory, a broken script.
    #[error("Redis refused a command: {0}")]
    Server(#[source] RedisError),
    /// An answer that no script gives.
    #[error("Redis gave an unexpected answer to {0}")]
    Reply(&'static str),
}

// === impl StoreError ===

impl StoreError {
    /// Whether the store failed (`onStoreFailure` decides), and not the request.
    pub fn is_store_failure(&self) -> bool {
        !matches!(self, StoreError::Denied { .. } | StoreError::TooLarge { .. })
    }

    /// Whether whatever else is asked there will fail as well.
    pub(super) fn is_of_the_server(&self) -> bool {
        matches!(
            self,
            StoreError::Unreachable(_)
                | StoreError::Away(_)
                | StoreError::Slow(_)
                | StoreError::Emptied
                | StoreError::WrongPolicy(_)
                | StoreError::Rights(_)
        )
    }

    /// Whether it is unknown if the command was carried out.
    pub(super) fn is_unsure(&self) -> bool {
        matches!(self, StoreError::Away(_) | StoreError::Slow(_))
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        let lost = match error.kind() {
            ErrorKind::Io
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::NoValidReplicasFoundBySentinel => true,
            ErrorKind::Server(kind) => matches!(
                kind,
                ServerErrorKind::BusyLoading
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::TryAgain
                    | ServerErrorKind::ReadOnly
                    | ServerErrorKind::Moved
                    | ServerErrorKind::Ask
            ),
            _ => error.is_io_error() || error.is_connection_dropped(),
        };
        if lost { StoreError::Away(error) } else { StoreError::Server(error) }
    }
}
