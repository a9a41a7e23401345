//! What stands among manifests and is not ours: told in one line, never a mistake. A policy repository holds the Secrets' sources,
//! roles and the lists of its tools beside keys and routes.

use super::metadata::Header;
use crate::api::{API_VERSION, GROUP};
use std::{collections::BTreeMap, fmt};

/// Objects that were passed over: how many of each kind of each API group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others(BTreeMap<(String, String), usize>);

/// The most kinds that the line names.
const NAMED: usize = 8;

/// The kinds of ours.
const OURS: [&str; 3] = ["VirtualKey", "ProviderRoute", "McpServer"];

/// The most letters by which a group is taken for a misspelt `tollgate.dev`.
const SLIPS: usize = 3;

// === impl Others ===

impl Others {
    /// Counts one more object.
    pub(super) fn add(&mut self, kind: &str, group: &str) {
        *self.0.entry((kind.to_owned(), group.to_owned())).or_default() += 1;
    }

    /// Adds what another file has of them.
    pub fn extend(&mut self, other: &Others) {
        for (name, count) in &other.0 {
            *self.0.entry(name.clone()).or_default() += count;
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Kind, API group (empty: the core group) and number.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, usize)> {
        self.0.iter().map(|((kind, group), count)| (kind.as_str(), group.as_str(), *count))
    }
}

impl fmt::Display for Others {
    /// `not read: 3 objects that are not Tollgate's: 2 ExternalSecret (external-secrets.io), 1 ConfigMap`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: usize = self.0.values().sum();
        let (noun, verb) = if all == 1 { ("object", "is") } else { ("objects", "are") };
        write!(f, "not read: {all} {noun} that {verb} not Tollgate's: ")?;
        for (i, (kind, group, count)) in self.iter().take(NAMED).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let group = if group.is_empty() { String::new() } else { format!(" ({group})") };
            write!(f, "{comma}{count} {kind}{group}")?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, ", and {more} more kinds"),
        }
    }
}

/// The API group of an object that is none of ours, which is passed over; or why it is a mistake.
pub(super) fn group(header: &Header) -> Result<&str, String> {
    let Header { api_version, kind, .. } = header;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let ours = OURS.contains(&kind.as_str()) && (group.is_empty() || resembles(group));
    if ours || group == GROUP {
        return Err(format!(
            "{kind} of {api_version} is unknown: this version knows {} of {API_VERSION}",
            OURS.join(", ")
        ));
    }
    Ok(group)
}

/// Whether a group is ours but for a slip or two of the pen: passing such a key over would look like its removal.
fn resembles(group: &str) -> bool {
    let distance = |a: &str, b: &str| {
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.bytes().enumerate() {
            let mut before = i;
            let mut next = vec![i + 1];
            for (y, above) in b.bytes().zip(row.iter().skip(1)) {
                let left = next.last().copied().unwrap_or_default();
                next.push((before + usize::from(x != y)).min(above + 1).min(left + 1));
                before = *above;
            }
            row = next;
        }
        row.last().copied().unwrap_or_default()
    };
    group.len() <= 2 * GROUP.len() && (group.contains("tollgate") || distance(group, GROUP) <= SLIPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_in_the_group_is_known_from_another_group() {
        for slip in
            ["tollgate.dev", "tolgate.dev", "tollgate.de", "tollgate.io", "tollgatedev", "Tollgate.dev"]
        {
            assert!(resembles(slip), "{slip}");
        }
        for other in ["kagent.dev", "apps", "external-secrets.io", "toolhive.stacklok.dev", "k8s.io"] {
            assert!(!resembles(other), "{other}");
        }
    }

    #[test]
    fn the_line_is_bounded() {
        let mut others = Others::default();
        (0..20).for_each(|i| others.add(&format!("Kind{i:02}"), "example.com"));
        let line = others.to_string();
        assert!(
            line.starts_with("not read: 20 objects that are not Tollgate's: 1 Kind00 (example.com), "),
            "{line}"
        );
        assert!(line.ends_with(", and 12 more kinds"), "{line}");
    }
}
