//! Events (`events.k8s.io`), as `kubectl describe` shows them: few, bounded, and only from the leader.

use crate::{
    leader::{Lead, WRITE},
    status::{news::News, pace::Bucket, subject::Object},
};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use std::time::Instant;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tollgate_crds::{annotations::OPERATOR, api::API_VERSION};

/// Takes what is to be told. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Teller(mpsc::Sender<(ObjectReference, News)>);

/// The most Events that wait; more are left out: the status says the same.
const QUEUE: usize = 512;
/// Events a second, and at once.
const RATE: (u32, u32) = (5, 50);

/// Begins to tell, while this replica leads. Equal Events within some minutes become one with a count.
pub fn start(client: Client, pod: &str, lead: Lead) -> Teller {
    let reporter = Reporter { controller: OPERATOR.to_owned(), instance: Some(pod.to_owned()) };
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(run(Recorder::new(client, reporter), lead, receiver));
    Teller(sender)
}

async fn run(recorder: Recorder, lead: Lead, mut queue: mpsc::Receiver<(ObjectReference, News)>) {
    let mut bucket = Bucket::new(RATE.0, RATE.1);
    while let Some((object, news)) = queue.recv().await {
        while let Err(wait) = bucket.take(Instant::now()) {
            sleep(wait).await;
        }
        // What a former leader had still to say, its successor sees by itself.
        let Some(_permit) = lead.permit() else { continue };
        let event = Event {
            type_: if news.warning { EventType::Warning } else { EventType::Normal },
            reason: news.reason.to_owned(),
            note: (!news.note.is_empty()).then_some(news.note),
            action: news.action.to_owned(),
            secondary: None,
        };
        match timeout(WRITE, recorder.publish(&event, &object)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "an Event could not be written"),
            Err(_) => tracing::debug!("the API server did not take an Event in time"),
        }
    }
}

// === impl Teller ===

impl Teller {
    /// Nobody is told anything.
    pub fn mute() -> Self {
        Teller(mpsc::channel(1).0)
    }

    /// Tells `news` of `object`; never waits.
    pub fn tell(&self, object: &Object, news: News) {
        if self.0.try_send((reference(object), news)).is_err() {
            tracing::debug!("an Event is left out: too many wait");
        }
    }
}

fn reference(object: &Object) -> ObjectReference {
    let metadata = object.metadata();
    ObjectReference {
        api_version: Some(API_VERSION.to_owned()),
        kind: Some(object.kind().to_owned()),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    }
}
