//! Reads Secrets by name, a bounded number at once. Where many are wanted of one namespace, those that the operator has made itself
//! are listed first, by their labels: an operator that starts among thousands of keys would else ask thousands of times. Never
//! are all Secrets of a namespace listed.

use super::{ObjectName, secrets::Read};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use tokio::{task::JoinSet, time::timeout};
use tollgate_crds::annotations::{COMPONENT, MANAGED_BY, OPERATOR};

/// Reads under way and those that wait for their turn.
pub(super) struct Reads {
    client: Client,
    waiting: VecDeque<ObjectName>,
    /// Wanted of namespaces whose list is wanted or under way.
    listed: BTreeMap<String, BTreeSet<ObjectName>>,
    lists: VecDeque<String>,
    running: JoinSet<Done>,
    /// What came, and was not told yet.
    ready: VecDeque<(ObjectName, Read)>,
}

/// What a task has done.
enum Done {
    One(ObjectName, Read),
    /// What there is in a namespace of the operator's own making; what could not be listed is read by name.
    List(String, Vec<(ObjectName, Read)>),
}

/// The most at once: an API server's share for one client is small.
const AT_ONCE: usize = 16;
/// From so many on of one namespace, a list is cheaper.
const MANY: usize = 32;
/// The most that one answer lists.
const PAGE: u32 = 500;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(10);

// === impl Reads ===

impl Reads {
    pub(super) fn new(client: Client) -> Self {
        Reads {
            client,
            waiting: VecDeque::new(),
            listed: BTreeMap::new(),
            lists: VecDeque::new(),
            running: JoinSet::new(),
            ready: VecDeque::new(),
        }
    }

    /// Reads these as well.
    pub(super) fn add(&mut self, names: Vec<ObjectName>) {
        let mut by_namespace: BTreeMap<String, BTreeSet<ObjectName>> = BTreeMap::new();
        for name in names {
            by_namespace.entry(name.0.clone()).or_default().insert(name);
        }
        for (namespace, names) in by_namespace {
            if names.len() < MANY || self.listed.contains_key(&namespace) {
                self.waiting.extend(names);
            } else {
                self.lists.push_back(namespace.clone());
                self.listed.insert(namespace, names);
            }
        }
        self.begin();
    }

    /// What came of one; never, when none is under way.
    pub(super) async fn next(&mut self) -> (ObjectName, Read) {
        loop {
            if let Some(read) = self.ready.pop_front() {
                return read;
            }
            match self.running.join_next().await {
                Some(Ok(done)) => self.take(done),
                Some(Err(error)) => tracing::error!(%error, "reading a Secret broke"),
                None => std::future::pending::<()>().await,
            }
        }
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::One(name, read) => self.ready.push_back((name, read)),
            Done::List(namespace, found) => {
                let mut wanted = self.listed.remove(&namespace).unwrap_or_default();
                self.ready.extend(found.into_iter().filter(|(name, _)| wanted.remove(name)));
                self.waiting.extend(wanted);
            }
        }
        self.begin();
    }

    fn begin(&mut self) {
        while self.running.len() < AT_ONCE
            && let Some(namespace) = self.lists.pop_front()
        {
            let client = self.client.clone();
            self.running.spawn(async move {
                let found = list(client, &namespace).await;
                Done::List(namespace, found)
            });
        }
        while self.running.len() < AT_ONCE
            && let Some(name) = self.waiting.pop_front()
        {
            let client = self.client.clone();
            self.running.spawn(async move {
                let read = read(client, &name).await;
                Done::One(name, read)
            });
        }
    }
}

/// The Secrets of a namespace that the operator has made for keys. What cannot be listed is missing here.
async fn list(client: Client, namespace: &str) -> Vec<(ObjectName, Read)> {
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let labels = format!("{MANAGED_BY}={OPERATOR},{COMPONENT}=token");
    let mut page = ListParams::default().labels(&labels).limit(PAGE);
    let mut found = Vec::new();
    loop {
        let listed = match timeout(PATIENCE, api.list(&page)).await {
            Ok(Ok(listed)) => listed,
            Ok(Err(error)) => {
                tracing::debug!(namespace, %error, "Secrets cannot be listed, and are read by name");
                return found;
            }
            Err(_) => return found,
        };
        let next = listed.metadata.continue_.filter(|token| !token.is_empty());
        let read = |secret: Secret| {
            ((namespace.to_owned(), secret.name_any()), Read::Found(secret.data.unwrap_or_default()))
        };
        found.extend(listed.items.into_iter().map(read));
        match next {
            Some(token) => page.continue_token = Some(token),
            None => return found,
        }
    }
}

async fn read(client: Client, (namespace, name): &ObjectName) -> Read {
    let api: Api<Secret> = Api::namespaced(client, namespace);
    match timeout(PATIENCE, api.get_opt(name)).await {
        Ok(Ok(Some(secret))) => Read::Found(secret.data.unwrap_or_default()),
        Ok(Ok(None)) => Read::Absent,
        Ok(Err(kube::Error::Api(status))) if is_refusal(status.code) => Read::Refused(status.message),
        Ok(Err(error)) => Read::Failed(error.to_string()),
        Err(_) => Read::Failed("the API server did not answer in time".to_owned()),
    }
}

/// Whether an answer says something of the request itself. Who is not known (401), came too slowly (408), in the way of
/// another (409) or too often (429) may ask again.
fn is_refusal(code: u16) -> bool {
    matches!(code, 400..=428) && !matches!(code, 401 | 408 | 409)
}
