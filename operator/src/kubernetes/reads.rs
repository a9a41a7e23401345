//! Reads Secrets by name, a bounded number at once.

use super::{ObjectName, secrets::Read};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use std::{collections::VecDeque, time::Duration};
use tokio::{task::JoinSet, time::timeout};

/// Reads under way and those that wait for their turn.
pub(super) struct Reads {
    client: Client,
    waiting: VecDeque<ObjectName>,
    running: JoinSet<(ObjectName, Read)>,
}

/// The most at once: an API server's share for one client is small.
const AT_ONCE: usize = 16;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(10);

// === impl Reads ===

impl Reads {
    pub(super) fn new(client: Client) -> Self {
        Reads { client, waiting: VecDeque::new(), running: JoinSet::new() }
    }

    /// Reads these as well.
    pub(super) fn add(&mut self, names: Vec<ObjectName>) {
        self.waiting.extend(names);
        self.begin();
    }

    /// What came of one; never, when none is under way.
    pub(super) async fn next(&mut self) -> (ObjectName, Read) {
        loop {
            match self.running.join_next().await {
                Some(Ok(read)) => {
                    self.begin();
                    return read;
                }
                Some(Err(error)) => tracing::error!(%error, "reading a Secret broke"),
                None => std::future::pending::<()>().await,
            }
        }
    }

    fn begin(&mut self) {
        while self.running.len() < AT_ONCE
            && let Some(name) = self.waiting.pop_front()
        {
            let client = self.client.clone();
            self.running.spawn(async move {
                let read = read(client, &name).await;
                (name, read)
            });
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
