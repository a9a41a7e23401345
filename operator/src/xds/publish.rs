//! Resources with their bytes and versions, encoded once for all streams, and when a change is published.

use crate::telemetry::metrics;
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tollgate_proto::{Kind, Resource, ResourceId, Resources};

/// A resource as it travels. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The hash of its content.
    pub version: Arc<str>,
    /// Its bytes.
    pub body: Bytes,
}

/// The resources of one kind, by `namespace/name`.
pub type Table = BTreeMap<Arc<str>, Entry>;

/// One state of the world.
#[derive(Debug, Default)]
pub struct Published {
    version: String,
    resources: Arc<Resources>,
    tables: BTreeMap<Kind, Table>,
}

/// When a change is published.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long there must be no further change: `kubectl apply` of a folder is many of them.
    pub quiet: Duration,
    /// What never becomes quiet is published after this long all the same.
    pub patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { quiet: Duration::from_millis(10), patience: Duration::from_secs(1) }
    }
}

// === impl Published ===

impl Published {
    /// Encodes `resources`.
    pub fn new(resources: Arc<Resources>) -> Self {
        Published::default().next(resources)
    }

    /// The state after this one; what is equal in both is not encoded again.
    pub fn next(&self, resources: Arc<Resources>) -> Self {
        let mut tables: BTreeMap<Kind, Table> = BTreeMap::new();
        for resource in resources.iter() {
            let id = resource.id();
            let same = self.resources.get(&id).is_some_and(|old| old == resource);
            let (name, entry) = match self.find(&id).filter(|_| same) {
                Some((name, entry)) => (name.clone(), entry.clone()),
                None => (Arc::from(id.name), Entry::new(resource)),
            };
            tables.entry(id.kind).or_default().insert(name, entry);
        }
        Published { version: version(&tables), resources, tables }
    }

    /// The resources.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The version of the whole: equal in all replicas that serve the same.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The resources of one kind.
    pub fn table(&self, kind: Kind) -> &Table {
        static NONE: Table = Table::new();
        self.tables.get(&kind).unwrap_or(&NONE)
    }

    fn find(&self, id: &ResourceId) -> Option<(&Arc<str>, &Entry)> {
        self.tables.get(&id.kind)?.get_key_value(id.name.as_str())
    }
}

// === impl Entry ===

impl Entry {
    fn new(resource: &Resource) -> Self {
        let body = Bytes::from(resource.encode());
        Entry { version: Resource::version_of(&body).into(), body }
    }
}

fn version(tables: &BTreeMap<Kind, Table>) -> String {
    let mut all = Vec::new();
    for (kind, table) in tables {
        for (name, entry) in table {
            for part in [kind.as_str(), name, &entry.version] {
                all.extend_from_slice(part.as_bytes());
                all.push(0);
            }
        }
    }
    Resource::version_of(&all)
}

/// Publishes what `source` holds, now and after each change, until `source` is closed or nobody listens. A change back
/// within the pace's quiet publishes nothing.
pub fn publish(mut source: watch::Receiver<Arc<Resources>>, pace: Pace) -> watch::Receiver<Arc<Published>> {
    let first = source.borrow_and_update().clone();
    metrics().published(first.iter().count());
    let (sender, receiver) = watch::channel(Arc::new(Published::new(first)));
    tokio::spawn(async move {
        while changed(&mut source, &sender).await {
            settle(&mut source, pace).await;
            let resources = source.borrow_and_update().clone();
            let next = sender.borrow().next(resources);
            sender.send_if_modified(|current| {
                let differs = current.version != next.version;
                if differs {
                    metrics().published(next.resources.iter().count());
                    *current = Arc::new(next);
                }
                differs
            });
        }
    });
    receiver
}

async fn changed(
    source: &mut watch::Receiver<Arc<Resources>>,
    sender: &watch::Sender<Arc<Published>>,
) -> bool {
    tokio::select! {
        changed = source.changed() => changed.is_ok(),
        () = sender.closed() => false,
    }
}

/// Waits until there has been no change for `quiet`, for `patience` at most.
async fn settle(source: &mut watch::Receiver<Arc<Resources>>, pace: Pace) {
    let end = Instant::now() + pace.patience;
    loop {
        let quiet = (Instant::now() + pace.quiet).min(end);
        match timeout_at(quiet, source.changed()).await {
            Ok(Ok(())) if Instant::now() < end => source.mark_unchanged(),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_proto::v1;

    fn key(name: &str, disabled: bool) -> Resource {
        v1::VirtualKey { namespace: "n".into(), name: name.into(), disabled, ..Default::default() }.into()
    }

    #[test]
    fn what_is_equal_is_not_encoded_again() {
        let before = Published::new(Arc::new([key("a", false), key("b", false)].into_iter().collect()));
        let after = before.next(Arc::new([key("a", false), key("b", true)].into_iter().collect()));
        let body = |p: &Published, name: &str| p.table(Kind::VirtualKey)[name].body.as_ptr();
        assert_eq!(body(&before, "n/a"), body(&after, "n/a"));
        assert_ne!(body(&before, "n/b"), body(&after, "n/b"));
        assert_ne!(before.version(), after.version());
        assert_eq!(after.table(Kind::VirtualKey)["n/b"].version, key("b", true).version().into());
    }

    const BOUND: Duration = Duration::from_secs(30);

    async fn next(published: &mut watch::Receiver<Arc<Published>>) -> usize {
        tokio::time::timeout(BOUND, published.changed()).await.unwrap().unwrap();
        published.borrow_and_update().resources().len()
    }

    fn keys(count: usize) -> Arc<Resources> {
        Arc::new((0..count).map(|n| key(&n.to_string(), false)).collect())
    }

    #[tokio::test]
    async fn many_changes_are_published_as_one_and_no_change_as_none() {
        let (source, receiver) = watch::channel(keys(0));
        let mut published = publish(receiver, Pace { quiet: Duration::from_millis(50), ..Pace::default() });
        for count in [1, 2, 3] {
            source.send_replace(keys(count));
            tokio::task::yield_now().await;
        }
        assert_eq!(next(&mut published).await, 3);
        source.send_replace(keys(0));
        source.send_replace(keys(3));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!published.has_changed().unwrap());
        source.send_replace(keys(4));
        assert_eq!(next(&mut published).await, 4);
    }

    #[tokio::test]
    async fn what_is_never_quiet_is_published_all_the_same() {
        let (source, receiver) = watch::channel(keys(0));
        let pace = Pace { quiet: BOUND, patience: Duration::from_millis(100) };
        let mut published = publish(receiver, pace);
        source.send_replace(keys(1));
        assert_eq!(next(&mut published).await, 1);
    }
}
