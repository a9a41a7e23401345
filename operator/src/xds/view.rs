//! What each gateway may see.
//!
//! # Layout
//! - here: [`View`], [`Everything`], [`ByNode`]
//! - `needs`: what a full gateway beside a workload needs, and no more

mod needs;

use super::{auth::Identity, publish::Published};
use needs::{is_of, part};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, OnceLock},
};

/// Decides what a gateway may see.
pub trait View: fmt::Debug + Send + Sync + 'static {
    /// Whether `node` may connect at all; else why not, in words that reach it.
    ///
    /// # Errors
    /// When it may not.
    fn admit(&self, node: &Identity, all: &Arc<Published>) -> Result<(), String> {
        let _ = (node, all);
        Ok(())
    }

    /// Whether `node` sees everything, whatever there will be.
    fn is_whole(&self, node: &Identity) -> bool {
        let _ = node;
        false
    }

    /// The part of `all` that `node` sees.
    fn view(&self, node: &Identity, all: &Arc<Published>) -> Arc<Published>;
}

/// Every gateway sees everything: those of the shared installation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Everything;

/// The gateways of the installation see everything. Where full gateways beside workloads are allowed, such a one sees the keys in
/// force that name its ServiceAccount, their parents, the routes and servers that these keys can use, and Secrets of its own
/// namespace; who is named by no key is a stranger, and where they are not allowed, everyone else is.
#[derive(Debug)]
pub struct ByNode {
    namespace: String,
    gateways: BTreeSet<String>,
    sidecars: bool,
    /// Views of one state: many gateways may run with one ServiceAccount.
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    of: Option<Arc<Published>>,
    views: HashMap<(String, String), Arc<OnceLock<Seen>>>,
}

/// A view, and until when it is right (Unix milliseconds): keys in it may expire.
#[derive(Debug, Clone)]
struct Seen {
    view: Arc<Published>,
    until: i64,
}

// === impl Everything ===

impl View for Everything {
    fn is_whole(&self, _: &Identity) -> bool {
        true
    }

    fn view(&self, _: &Identity, all: &Arc<Published>) -> Arc<Published> {
        all.clone()
    }
}

// === impl ByNode ===

impl ByNode {
    /// Pods of these ServiceAccounts in `namespace` are the installation's gateways; `sidecars`: pods that run as a ServiceAccount
    /// of a key may be gateways too, and see what the key needs.
    pub fn new(namespace: &str, gateways: &[String], sidecars: bool) -> Self {
        ByNode {
            namespace: namespace.to_owned(),
            gateways: gateways.iter().cloned().collect(),
            sidecars,
            made: Mutex::default(),
        }
    }

    fn is_gateway(&self, node: &Identity) -> bool {
        node.namespace == self.namespace && self.gateways.contains(&node.service_account)
    }

    /// The views of this state; those of another are dropped.
    fn made_of(&self, all: &Arc<Published>) -> MutexGuard<'_, Made> {
        let mut made = self.made.lock();
        if made.of.as_ref().is_none_or(|of| !Arc::ptr_eq(of, all)) {
            *made = Made { of: Some(all.clone()), views: HashMap::new() };
        }
        made
    }
}

impl View for ByNode {
    fn admit(&self, node: &Identity, all: &Arc<Published>) -> Result<(), String> {
        let Identity { namespace, service_account, .. } = node;
        match self.is_gateway(node) {
            true => Ok(()),
            false if !self.sidecars => Err(format!(
                "ServiceAccount {namespace}/{service_account} is no gateway of this installation, which has no others: the \
                 operator runs without --sidecar-gateways"
            )),
            // By a key that is not in force as well: its gateway has to be told that there is nothing for it any more.
            false if all.resources().keys().any(|key| is_of(key, node)) => Ok(()),
            false => Err(format!(
                "ServiceAccount {namespace}/{service_account} is no gateway of this installation, and no VirtualKey names it \
                 in spec.serviceAccounts"
            )),
        }
    }

    fn is_whole(&self, node: &Identity) -> bool {
        self.is_gateway(node)
    }

    fn view(&self, node: &Identity, all: &Arc<Published>) -> Arc<Published> {
        if self.is_gateway(node) {
            return all.clone();
        }
        let now = jiff::Timestamp::now().as_millisecond();
        let account = (node.namespace.clone(), node.service_account.clone());
        let cell = {
            let mut made = self.made_of(all);
            let cell = made.views.entry(account).or_default();
            if cell.get().is_some_and(|seen| now >= seen.until) {
                *cell = Arc::default();
            }
            cell.clone()
        };
        // Without the lock: among thousands of keys this takes a while, and who waits for it has the same account.
        let seen = cell.get_or_init(|| {
            let (resources, until) = match self.sidecars {
                true => part(node, all.resources(), now),
                false => Default::default(),
            };
            Seen { view: Arc::new(all.next(Arc::new(resources))), until }
        });
        seen.view.clone()
    }
}

#[cfg(test)]
mod tests;
