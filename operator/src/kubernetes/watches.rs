//! The watches: what they see is told to the index, and nothing else happens here.

use super::{
    follow::Event,
    observed::{Observed, Source, Watched},
};
use futures_util::{StreamExt as _, future::BoxFuture};
use kube::{
    Api, Client, Resource,
    core::{NamespaceResourceScope, PartialObjectMeta},
    runtime::{WatchStreamExt as _, utils::Backoff, watcher},
};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, hash::BuildHasher, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tollgate_crds::{
    api::{McpServer, ProviderRoute, VirtualKey},
    guard::Guarded,
};

/// The waits between attempts: short, because a change of policy should not wait for them; with chance, so that the
/// replicas of an operator do not call a struggling API server together.
#[derive(Debug, Default)]
struct Waits {
    failures: u32,
}

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);

/// All watches of these namespaces; none: of all.
pub(super) fn sources(namespaces: &[String]) -> Vec<Source> {
    let mut scopes: Vec<Option<Arc<str>>> = namespaces.iter().map(|n| Some(n.as_str().into())).collect();
    scopes.sort();
    scopes.dedup();
    if scopes.is_empty() {
        scopes.push(None);
    }
    let kinds = [Watched::Keys, Watched::Routes, Watched::Servers, Watched::Secrets];
    let of = |watched| scopes.iter().map(move |namespace| Source { watched, namespace: namespace.clone() });
    let mut sources: Vec<_> = kinds.into_iter().flat_map(of).collect();
    sources.push(Source { watched: Watched::Namespaces, namespace: None });
    sources
}

/// Watches `source` until nobody listens.
pub(super) fn watch(client: &Client, source: Source, events: mpsc::Sender<Event>) -> BoxFuture<'static, ()> {
    match source.watched {
        Watched::Keys => {
            let api: Api<Guarded<VirtualKey>> = api(client, &source);
            Box::pin(follow(api, source, events, Observed::Key))
        }
        Watched::Routes => {
            let api: Api<Guarded<ProviderRoute>> = api(client, &source);
            Box::pin(follow(api, source, events, Observed::Route))
        }
        Watched::Servers => {
            let api: Api<Guarded<McpServer>> = api(client, &source);
            Box::pin(follow(api, source, events, Observed::Server))
        }
        Watched::Namespaces => {
            let api: Api<PartialObjectMeta<_>> = Api::all(client.clone());
            Box::pin(follow(api, source, events, |o| Observed::Namespace(Box::new(slim(o)))))
        }
        Watched::Secrets => {
            let api: Api<PartialObjectMeta<_>> = api(client, &source);
            Box::pin(follow(api, source, events, |o| Observed::Secret(Box::new(slim(o)))))
        }
    }
}

fn api<K>(client: &Client, source: &Source) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match &source.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

async fn follow<K>(api: Api<K>, source: Source, events: mpsc::Sender<Event>, observed: fn(K) -> Observed)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut stream = watcher(api, watcher::Config::default()).backoff(Waits::default()).boxed();
    let mut failing = false;
    while let Some(seen) = stream.next().await {
        let event = match seen {
            Ok(watcher::Event::Init) => Event::Restart(source.clone()),
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                Event::Apply(source.clone(), observed(object))
            }
            Ok(watcher::Event::Delete(object)) => {
                let metadata = object.meta();
                let part = |part: &Option<String>| part.clone().unwrap_or_default();
                Event::Delete(source.watched, (part(&metadata.namespace), part(&metadata.name)))
            }
            Ok(watcher::Event::InitDone) => Event::Complete(source.clone()),
            Err(error) => {
                // Told once: the API server may be away for long.
                match failing {
                    false => tracing::warn!(watch = %source, %error, "a watch failed and is tried again"),
                    true => tracing::debug!(watch = %source, %error, "a watch still fails"),
                }
                failing = true;
                if !is_refusal(&error) {
                    continue;
                }
                Event::Refuse(source.clone())
            }
        };
        let refused = matches!(event, Event::Refuse(_));
        if !refused && std::mem::take(&mut failing) {
            tracing::info!(watch = %source, "the watch works again");
        }
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Whether the operator may not watch this.
fn is_refusal(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == 403,
        watcher::Error::WatchError(status) => status.code == 403,
        _ => false,
    }
}

/// Without what nobody here reads; of the other kinds that is left out where they are decoded.
fn slim<K>(mut object: PartialObjectMeta<K>) -> PartialObjectMeta<K> {
    object.metadata.managed_fields = None;
    object
}

// === impl Waits ===

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let base = Duration::from_millis(200) * 2_u32.pow(self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        // A hasher with random keys is randomness enough.
        let random = std::hash::RandomState::new().hash_one(0_u8) % 512;
        Some(base.min(LONGEST) * (768 + random as u32) / 1024)
    }
}

impl Backoff for Waits {
    fn reset(&mut self) {
        self.failures = 0;
    }
}
