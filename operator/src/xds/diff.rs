//! What a client lacks: a pure function of what it holds and what there is, in pieces of bounded size.

use super::publish::{Entry, Table};
use std::{collections::BTreeMap, sync::Arc};

/// Versions by name.
pub type Versions = BTreeMap<Arc<str>, Arc<str>>;

/// The size of one response.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most resources, or names of removed ones.
    pub resources: usize,
    /// The bytes after which no further resource is added; a single larger one travels alone.
    pub bytes: usize,
}

/// A piece of a difference. Changes come first: what is removed is told when nothing is left to change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// New resources, and those in another version.
    pub changed: Vec<(Arc<str>, Entry)>,
    /// Names of resources that are gone.
    pub removed: Vec<Arc<str>>,
    /// There is more of the same.
    pub more: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { resources: 1000, bytes: 1 << 20 }
    }
}

/// What has changed for a client that holds `held` and rejected the versions `refused`: those are not sent again.
pub fn changed(held: &Versions, refused: &Versions, want: &Table, limits: Limits) -> Diff {
    let is_at = |versions: &Versions, name: &str, entry: &Entry| {
        versions.get(name).is_some_and(|version| *version == entry.version)
    };
    let mut diff = Diff::default();
    let mut bytes = 0;
    for (name, entry) in want {
        if is_at(held, name, entry) || is_at(refused, name, entry) {
            continue;
        }
        bytes += entry.body.len();
        let full = diff.changed.len() >= limits.resources || bytes > limits.bytes;
        if full && !diff.changed.is_empty() {
            diff.more = true;
            break;
        }
        diff.changed.push((name.clone(), entry.clone()));
    }
    diff
}

/// What a client that holds `held` must give up.
pub fn removed(held: &Versions, want: &Table, limits: Limits) -> Diff {
    let mut gone = held.keys().filter(|name| !want.contains_key(*name));
    let removed: Vec<_> = gone.by_ref().take(limits.resources.max(1)).cloned().collect();
    Diff { removed, more: gone.next().is_some(), ..Diff::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn table(entries: &BTreeMap<u8, (u8, u8)>) -> Table {
        let entry = |version: u8, size: u8| Entry {
            version: version.to_string().into(),
            body: vec![0; size.into()].into(),
        };
        entries.iter().map(|(name, (v, size))| (name.to_string().into(), entry(*v, *size))).collect()
    }

    fn versions(entries: &BTreeMap<u8, u8>) -> Versions {
        entries.iter().map(|(name, v)| (name.to_string().into(), v.to_string().into())).collect()
    }

    fn limits() -> impl Strategy<Value = Limits> {
        (0..5_usize, 0..300_usize).prop_map(|(resources, bytes)| Limits { resources, bytes })
    }

    proptest! {
        #[test]
        fn from_any_state_the_pieces_lead_to_the_wanted_one(
            held: BTreeMap<u8, u8>,
            want: BTreeMap<u8, (u8, u8)>,
            limits in limits(),
        ) {
            let (mut held, want) = (versions(&held), table(&want));
            let refused = Versions::new();
            let mut sent = 0;
            loop {
                let diff = changed(&held, &refused, &want, limits);
                prop_assert!(diff.changed.len() <= limits.resources.max(1));
                let bytes: usize = diff.changed.iter().map(|(_, e)| e.body.len()).sum();
                prop_assert!(diff.changed.len() <= 1 || bytes <= limits.bytes);
                sent += diff.changed.len();
                held.extend(diff.changed.into_iter().map(|(name, e)| (name, e.version)));
                if !diff.more { break }
            }
            prop_assert!(sent <= want.len());
            loop {
                let diff = removed(&held, &want, limits);
                for name in &diff.removed {
                    prop_assert!(held.remove(name).is_some());
                }
                if !diff.more { break }
            }
            let wanted: Versions = want.into_iter().map(|(name, e)| (name, e.version)).collect();
            prop_assert_eq!(held, wanted);
        }

        #[test]
        fn one_change_is_one_resource(mut want: BTreeMap<u8, (u8, u8)>, name: u8, size: u8) {
            let held: Versions = table(&want).into_iter().map(|(name, e)| (name, e.version)).collect();
            let version = want.get(&name).map_or(0, |(v, _)| v.wrapping_add(1));
            want.insert(name, (version, size));
            let diff = changed(&held, &Versions::new(), &table(&want), Limits::default());
            prop_assert_eq!(diff.changed.len(), 1);
            prop_assert!(removed(&held, &table(&want), Limits::default()).removed.is_empty());
        }
    }

    #[test]
    fn a_refused_version_is_sent_again_only_when_it_changes() {
        let want = |version: &str| {
            Table::from([("a".into(), Entry { version: version.into(), body: Bytes::new() })])
        };
        let held = Versions::from([("a".into(), "1".into())]);
        let refused = Versions::from([("a".into(), "2".into())]);
        assert!(changed(&held, &refused, &want("2"), Limits::default()).changed.is_empty());
        assert!(changed(&held, &refused, &want("1"), Limits::default()).changed.is_empty());
        assert_eq!(changed(&held, &refused, &want("3"), Limits::default()).changed.len(), 1);
        assert_eq!(removed(&held, &Table::new(), Limits::default()).removed, ["a".into()]);
    }
}
