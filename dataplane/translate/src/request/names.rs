//! Tool names and call ids that fit the upstream's rules.

use super::ToolNames;
use super::conversation::{Conversation, ToolChoice};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// The names of a request as the upstream sees them.
#[derive(Debug, Default)]
pub(crate) struct Names {
    wire: HashMap<String, String>,
    /// In order of first sight: what [`ToolNames`] reports.
    order: Vec<(String, String)>,
}

/// Finds a name of at most `max` characters of `[a-zA-Z0-9_-]` for every tool that needs one. The same name gets the same
/// wire name on every turn (prompt caches depend on it): a clean beginning and eight digits of a hash.
pub(crate) fn shorten(conversation: &Conversation<'_>, max: usize) -> Names {
    let mut names = Names::default();
    let mut taken: HashSet<String> = HashSet::new();
    for name in all_names(conversation).filter(|name| !fits(name, max)) {
        if names.wire.contains_key(name) {
            continue;
        }
        if taken.is_empty() {
            taken = all_names(conversation).filter(|name| fits(name, max)).map(str::to_owned).collect();
        }
        let wire = unique(name, max, &taken);
        taken.insert(wire.clone());
        names.order.push((wire.clone(), name.to_owned()));
        names.wire.insert(name.to_owned(), wire);
    }
    names
}

fn all_names<'c>(conversation: &'c Conversation<'_>) -> impl Iterator<Item = &'c str> {
    let chosen = match &conversation.tool_choice {
        Some(ToolChoice::Tool(name)) => Some(name.as_ref()),
        _ => None,
    };
    let tools = conversation.tools.iter().map(|tool| tool.name.as_ref());
    tools.chain(chosen).chain(conversation.tool_uses().map(|call| call.name.as_ref()))
}

fn fits(name: &str, max: usize) -> bool {
    !name.is_empty() && name.len() <= max && name.bytes().all(is_plain)
}

fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')
}

fn unique(name: &str, max: usize, taken: &HashSet<String>) -> String {
    let digest = hex::encode(Sha256::digest(name));
    let lengths = (8..=digest.len()).step_by(8).filter(|len| *len < max);
    let mut candidates = lengths.map(|len| cut(name, digest.get(..len).unwrap_or(&digest), max));
    candidates.find(|wire| !taken.contains(wire)).unwrap_or_else(|| cut("", &digest, max))
}

/// The clean beginning of `name`, `_`, `digest`: `max` bytes at most.
fn cut(name: &str, digest: &str, max: usize) -> String {
    let room = max.saturating_sub(digest.len() + 1);
    let clean = |c: char| if c.is_ascii() && is_plain(c as u8) { c } else { '_' };
    let head: String = name.chars().map(clean).take(room).collect();
    let whole = format!("{head}_{digest}");
    whole.get(whole.len().saturating_sub(max)..).unwrap_or_default().to_owned()
}

/// A call's id as `[a-zA-Z0-9_-]{1,max}`; the same id always gives the same.
pub(crate) fn call_id<'a>(id: Cow<'a, str>, max: usize) -> Cow<'a, str> {
    if fits(&id, max) {
        return id;
    }
    let digest = hex::encode(Sha256::digest(id.as_bytes()));
    Cow::Owned(cut(&id, digest.get(..16).unwrap_or(&digest), max))
}

/// The first 32 hexadecimal digits of SHA-256: to tell users and sessions apart without naming them.
pub(crate) fn pseudonym(text: &str) -> String {
    let mut digest = hex::encode(Sha256::digest(text));
    digest.truncate(32);
    digest
}

// === impl Names ===

impl Names {
    /// The upstream's name of the client's tool `name`.
    pub(crate) fn wire<'n>(&'n self, name: &'n str) -> &'n str {
        self.wire.get(name).map_or(name, String::as_str)
    }

    pub(crate) fn into_tool_names(self) -> ToolNames {
        ToolNames { renamed: self.order }
    }
}
