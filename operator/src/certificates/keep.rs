//! The task: looks, publishes what there is, and writes what is due while this replica leads.

use super::{
    authority::IssueError,
    plan::{Seen, WATCHED},
    write::{WEBHOOK_LOOK, Writer},
};
use crate::{context::Context, xds::listen::CertificatePem};
use futures_util::{Stream, StreamExt as _, stream::SelectAll};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher},
};
use ring::rand::SecureRandom as _;
use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::watch, time::MissedTickBehavior};
use tollgate_proto::v1;

/// What comes of it, in every replica.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The operator's certificate; `None` until there is one.
    pub operator: watch::Receiver<Option<Arc<CertificatePem>>>,
    /// The authorities to trust, as PEM; empty until there is one.
    pub bundle: watch::Receiver<Arc<str>>,
    /// The sealing keys; `None` until there are some.
    pub sealing: watch::Receiver<Option<v1::SealingKeys>>,
}

/// The other ends.
struct Senders {
    operator: watch::Sender<Option<Arc<CertificatePem>>>,
    bundle: watch::Sender<Arc<str>>,
    sealing: watch::Sender<Option<v1::SealingKeys>>,
}

type Sightings = SelectAll<Pin<Box<dyn Stream<Item = (&'static str, Option<Secret>)> + Send>>>;

/// How often what is due is looked for at least.
const LOOK: Duration = Duration::from_secs(60);
/// The wait after a write that failed.
const AGAIN: Duration = Duration::from_secs(2);

/// Begins to keep certificates and sealing keys, until the context's `stop`.
pub fn start(client: &Client, namespace: &str) -> (Certificates, Keeper) {
    let (operator, operator_receiver) = watch::channel(None);
    let (bundle, bundle_receiver) = watch::channel(Arc::from(""));
    let (sealing, sealing_receiver) = watch::channel(None);
    let keeper = Keeper {
        sightings: sightings(client, namespace),
        seen: Seen::default(),
        senders: Senders { operator, bundle, sealing },
    };
    let certificates =
        Certificates { operator: operator_receiver, bundle: bundle_receiver, sealing: sealing_receiver };
    (certificates, keeper)
}

/// The task, to be run.
pub struct Keeper {
    sightings: Sightings,
    seen: Seen,
    senders: Senders,
}

// === impl Keeper ===

impl Keeper {
    /// Keeps them until the context's `stop`.
    pub async fn run(mut self, mut context: Context) {
        let stop = context.stop.clone();
        stop.run_until_cancelled(self.keep(&mut context)).await;
    }

    async fn keep(&mut self, context: &mut Context) {
        let mut writer = Writer::new(context);
        let most = if context.settings.webhook_configuration.is_some() { WEBHOOK_LOOK } else { LOOK };
        let look = (context.settings.certificate_life / 30).clamp(Duration::from_secs(1), most);
        let mut ticks = tokio::time::interval(look);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some((name, secret)) = self.sightings.next() => self.seen.set(name, secret),
                _ = ticks.tick() => {}
                standing = context.lead.changed() => if standing.is_none() {
                    return;
                },
            }
            self.publish();
            if self.seen.is_complete() && context.lead.leads() {
                let plan = self.seen.plan(&context.settings, now(), random);
                self.write(plan, &mut writer).await;
            }
        }
    }

    /// Writes what is due. What was written counts as seen, so that it is not written again until the watch tells of it.
    async fn write(&mut self, plan: Result<Vec<Secret>, IssueError>, writer: &mut Writer) {
        let mut written = Vec::new();
        let outcome = match plan {
            Ok(secrets) => writer.write(secrets, &self.seen.bundle(), &mut written).await,
            Err(error) => Err(error.into()),
        };
        for secret in written {
            let name = WATCHED.into_iter().find(|name| secret.metadata.name.as_deref() == Some(name));
            if let Some(name) = name {
                self.seen.set(name, Some(secret));
            }
        }
        self.publish();
        if let Err(error) = outcome {
            tracing::warn!(error = format!("{error:#}"), "certificates cannot be written now");
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn publish(&self) {
        self.senders.operator.send_if_modified(|current| replace(current, self.seen.operator()));
        self.senders.bundle.send_if_modified(|current| replace(current, self.seen.bundle().into()));
        self.senders.sealing.send_if_modified(|current| replace(current, self.seen.sealing(now())));
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

/// Puts `next` in the place of what is not equal to it.
fn replace<T: PartialEq>(current: &mut T, next: T) -> bool {
    let differs = *current != next;
    *current = next;
    differs
}

/// Each Secret by name: what it is now, and whenever it changes.
fn sightings(client: &Client, namespace: &str) -> Sightings {
    let sighting = |name: &'static str| {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let stream = watcher::watch_object(api, name).default_backoff().filter_map(move |seen| async move {
            match seen {
                Ok(secret) => Some((name, secret)),
                Err(error) => {
                    tracing::warn!(secret = name, %error, "a Secret of the operator cannot be watched");
                    None
                }
            }
        });
        Box::pin(stream) as Pin<Box<dyn Stream<Item = _> + Send>>
    };
    futures_util::stream::select_all(WATCHED.map(sighting))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A fresh key; where the system has no randomness, there is nothing left to protect.
fn random() -> [u8; super::sealing::KEY_LEN] {
    let mut key = [0; super::sealing::KEY_LEN];
    if ring::rand::SystemRandom::new().fill(&mut key).is_err() {
        tracing::error!("the system has no randomness");
        std::process::abort();
    }
    key
}
