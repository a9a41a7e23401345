//! Tool names as clients see them: `server__tool`, in the characters and the length that every client takes.
//!
//! A name is a pure function of server and tool, so it stays the same on every replica and whatever other tools come and go. It is
//! turned back by a table of the tools that exist, never by splitting it.

use sha2::{Digest, Sha256};

/// The longest name that every client takes (the model APIs' historic limit).
pub const MAX_NAME: usize = 64;
/// The most of a name that the server's part takes, so that the tool's part stays readable.
const MAX_SERVER: usize = 32;
/// Characters of the hash that ends a name which could not be kept as it is.
const HASH: usize = 6;

/// The beginning of the names of all of a server's tools.
pub fn prefix(server: &str) -> String {
    let mut out = clean(server);
    out.truncate(MAX_SERVER);
    out.push_str("__");
    out
}

/// The name of a server's tool. A name that is too long or has other characters than `[A-Za-z0-9_-]` is cut and cleaned, and ends in a
/// hash of the true one: two tools never share a name because of it, and none takes over another's.
pub fn public(server: &str, tool: &str) -> String {
    let mut name = prefix(server);
    name.push_str(&clean(tool));
    let kept = name.len() == server.len() + 2 + tool.len()
        && name.starts_with(server)
        && name.ends_with(tool)
        && !server.contains('_');
    if kept && name.len() <= MAX_NAME {
        return name;
    }
    name.truncate(MAX_NAME - HASH - 1);
    name.push('_');
    name.push_str(&hash(server, tool));
    name
}

/// Every character outside the charset becomes one `_`. The result is ASCII.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).collect()
}

fn hash(server: &str, tool: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digest = Sha256::new().chain_update(server).chain_update([0]).chain_update(tool).finalize();
    digest.iter().take(HASH).map(|b| char::from(ALPHABET[usize::from(b % 32)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn ordinary_names_are_only_prefixed() {
        assert_eq!(public("staging-db", "run_query"), "staging-db__run_query");
        assert_eq!(public("a", "b__c"), "a__b__c");
    }

    #[test]
    fn what_cannot_be_kept_ends_in_a_hash() {
        let long = public("staging-db", &"x".repeat(100));
        assert_eq!(long.len(), MAX_NAME);
        assert_ne!(long, public("staging-db", &"x".repeat(101)));
        assert_ne!(public("s", "files.read"), public("s", "files_read"));
        assert!(public("s", "files.read").starts_with("s__files_read_"));
        let server = "a-very-long-server-name-that-nobody-would-want";
        assert!(public(server, "query").starts_with(&format!("{}__query_", &server[..32])));
    }

    proptest! {
        #[test]
        fn names_are_legal_prefixed_and_tell_tools_apart(
            tools in proptest::collection::hash_set(("[a-z0-9.-]{1,40}", "\\PC{1,80}"), 1..12)
        ) {
            let mut table = HashMap::new();
            for (server, tool) in &tools {
                let name = public(server, tool);
                prop_assert!(name.len() <= MAX_NAME && name.starts_with(&prefix(server)));
                prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
                prop_assert_eq!(table.insert(name, (server, tool)), None);
            }
        }
    }
}
