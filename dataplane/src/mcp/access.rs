//! Which servers and tools a caller sees: the key's own rules, narrowed by every level up to the root.

use crate::{
    model::{Server, key::ToolRule},
    snapshot::{KeyNode, Snapshot},
};
use std::sync::Arc;

/// A server that a key names, and the rules of every level that restricts it.
#[derive(Debug)]
pub(super) struct Grant<'a> {
    pub(super) server: &'a Arc<Server>,
    levels: Vec<Vec<&'a ToolRule>>,
}

/// The servers that `caller` names and no parent withholds, in the order it names them; with `only`, that one.
pub(super) fn grants<'a>(snapshot: &'a Snapshot, caller: &'a KeyNode, only: Option<&str>) -> Vec<Grant<'a>> {
    let own = caller.key();
    let mut out: Vec<Grant<'a>> = Vec::new();
    for rule in &own.tools {
        if only.is_some_and(|name| name != rule.server) {
            continue;
        }
        let Some(server) = snapshot.server(own.id.namespace(), &rule.server) else { continue };
        if out.iter().all(|g| g.server.id != server.id) {
            out.extend(Grant::of(snapshot, caller, server));
        }
    }
    out
}

// === impl Grant ===

impl<'a> Grant<'a> {
    /// `None` when a level names the server nowhere.
    fn of(snapshot: &'a Snapshot, caller: &'a KeyNode, server: &'a Arc<Server>) -> Option<Self> {
        let mut levels = Vec::with_capacity(caller.path.len());
        for (depth, key) in caller.path.iter().enumerate() {
            if depth > 0 && key.any_tools {
                continue;
            }
            let here = |rule: &&ToolRule| {
                snapshot.server(key.id.namespace(), &rule.server).is_some_and(|s| s.id == server.id)
            };
            let rules: Vec<_> = key.tools.iter().filter(here).collect();
            if rules.is_empty() {
                return None;
            }
            levels.push(rules);
        }
        Some(Grant { server, levels })
    }

    /// Whether the tool, by its name at its server, exists for the caller.
    pub(super) fn allows(&self, tool: &str) -> bool {
        self.server.tools.matches(tool)
            && self.levels.iter().all(|rules| {
                rules.iter().any(|r| r.allow.matches(tool)) && !rules.iter().any(|r| r.deny.matches(tool))
            })
    }
}
