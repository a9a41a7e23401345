//! What each gateway may see.

use super::{auth::Identity, publish::Published};
use std::{fmt, sync::Arc};

/// Decides what a gateway may see: the hook for gateways that serve only a part, such as a full gateway as a sidecar.
pub trait View: fmt::Debug + Send + Sync + 'static {
    /// The part of `all` that `node` sees; see [`Published::restricted`].
    fn view(&self, node: &Identity, all: &Arc<Published>) -> Arc<Published>;
}

/// Every gateway sees everything: those of the shared installation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Everything;

impl View for Everything {
    fn view(&self, _: &Identity, all: &Arc<Published>) -> Arc<Published> {
        all.clone()
    }
}
