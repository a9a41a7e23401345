//! The merged `instructions`: the gateway's words, one line a server, then the servers' own as room allows.

use std::fmt::Write;

/// The most bytes of instructions: Claude Code cuts them at 2 KB.
pub const MAX_BYTES: usize = 2000;

/// What is known of a server.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Its name, the tools' prefix.
    pub server: &'a str,
    /// What its manifest says of it.
    pub description: Option<&'a str>,
    /// What it says itself; untrusted, so it comes last and is cut first.
    pub own: Option<&'a str>,
}

/// The instructions of one endpoint; `None` when there is nothing to say. `merged`: the endpoint has several servers' tools, prefixed.
pub fn merge(parts: &[Part<'_>], merged: bool) -> Option<String> {
    let mut out = String::new();
    if merged && !parts.is_empty() {
        out.push_str(
            "Tools of several servers; a tool's name is its server's, two underscores, and its own.\n",
        );
    }
    for part in parts {
        let Some(description) = part.description.map(str::trim).filter(|d| !d.is_empty()) else { continue };
        let line =
            if merged { format!("- {}: {description}\n", part.server) } else { format!("{description}\n") };
        out.push_str(cut(&line, (MAX_BYTES / 2).saturating_sub(out.len().min(MAX_BYTES / 2))));
    }
    let own: Vec<_> = parts.iter().filter_map(|p| Some((p.server, p.own?.trim()))).collect();
    let mut left = own.len();
    for (server, text) in own {
        let share = MAX_BYTES.saturating_sub(out.len()) / left.max(1);
        left -= 1;
        let mut section = String::new();
        if merged {
            // Writing to a String cannot fail.
            _ = write!(section, "\n# {server}\n");
        }
        section.push_str(text);
        section.push('\n');
        out.push_str(cut(&section, share));
    }
    let text = cut(&out, MAX_BYTES).trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// At most `max` bytes of `text`, whole characters.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn descriptions_come_before_the_servers_own_words() {
        let parts = [
            Part { server: "db", description: Some("Staging database"), own: Some("Use read-only queries.") },
            Part { server: "files", description: None, own: None },
        ];
        let text = merge(&parts, true).unwrap();
        let (line, own) =
            (text.find("- db: Staging database").unwrap(), text.find("# db\nUse read-only").unwrap());
        assert!(line < own);
        assert_eq!(merge(&parts[..1], false).unwrap(), "Staging database\nUse read-only queries.");
        assert_eq!(merge(&[], true), None);
    }

    #[test]
    fn a_talkative_server_leaves_room_for_the_next() {
        let long = "x".repeat(5000);
        let parts = [
            Part { server: "a", description: None, own: Some(&long) },
            Part { server: "b", description: None, own: Some("short") },
        ];
        assert!(merge(&parts, true).unwrap().ends_with("# b\nshort"));
    }

    proptest! {
        #[test]
        fn never_longer_than_the_client_reads(texts in proptest::collection::vec("\\PC{0,600}", 0..12), merged: bool) {
            let parts: Vec<_> = texts
                .iter()
                .map(|t| Part { server: "s", description: Some(t), own: Some(t) })
                .collect();
            prop_assert!(merge(&parts, merged).unwrap_or_default().len() <= MAX_BYTES);
        }
    }
}
