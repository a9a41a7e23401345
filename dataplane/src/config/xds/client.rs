//! The stream, again and again.

use super::{
    Options, Status,
    apply::{Applied, Applier},
    backoff::{self, Backoff},
    connect::{ConnectError, Connection, connect},
    report, saved,
};
use crate::snapshot::Snapshot;
use std::{
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tollgate_proto::discovery::{
    MAX_MESSAGE,
    v1::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, NodeHealth,
        aggregated_discovery_client::AggregatedDiscoveryClient,
    },
};
use tonic::{Code, Streaming};

/// Follows the control plane.
pub(super) struct Client {
    options: Options,
    applier: Applier,
    snapshots: watch::Sender<Arc<Snapshot>>,
    status: watch::Sender<Status>,
    reports: watch::Sender<report::State>,
    observed: watch::Receiver<report::Observed>,
    backoff: Backoff,
    started_at: i64,
    /// When what is in force is to be saved.
    save_at: Option<Instant>,
    /// The file holds what is in force.
    is_saved: bool,
    /// When the operator's word is to be noted in the file again.
    confirm_at: Option<Instant>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the operator refused the stream: {} ({:?})", words(.0), .0.code())]
    Refused(tonic::Status),
    #[error("the stream broke: {}", words(.0))]
    Broken(tonic::Status),
    #[error("the operator says nothing")]
    Silent,
    /// An old stream, or an operator that stops: nothing is wrong.
    #[error("the operator ended the stream")]
    Properly,
}

/// One stream.
struct Session {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    /// Ends with the session.
    _reporting: JoinSet<()>,
}

/// How long the operator may take to accept a stream, and to say the first thing on it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a stream that is open is noted in the file: by so much a restart may overrate the configuration's age.
const CONFIRM: Duration = Duration::from_secs(5);
/// How long changes are collected before they are saved.
const SAVE: Duration = Duration::from_millis(200);

// === impl Client ===

impl Client {
    pub(super) fn new(
        options: Options,
        applier: Applier,
        snapshots: watch::Sender<Arc<Snapshot>>,
        status: watch::Sender<Status>,
        observed: watch::Receiver<report::Observed>,
    ) -> Self {
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let reports = watch::Sender::new(report::State::default());
        let backoff = Backoff::default();
        let is_saved = status.borrow().ready;
        Client {
            options,
            applier,
            snapshots,
            status,
            reports,
            observed,
            backoff,
            started_at,
            save_at: None,
            is_saved,
            confirm_at: None,
        }
    }

    /// Until nobody takes snapshots any more.
    pub(super) async fn run(mut self) {
        let closed = self.snapshots.clone();
        tokio::select! {
            () = closed.closed() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        loop {
            let ended = match self.open().await {
                Ok(session) => self.session(session).await,
                Err(ended) => ended,
            };
            self.tell(&ended);
            // What came last is kept even when the next connection is long in coming.
            self.save();
            if self.confirm_at.take().is_some() {
                self.confirm();
                self.confirm_at = None;
            }
            let ready = self.status.borrow().ready;
            let longest = if ready { backoff::LONGEST } else { backoff::LONGEST_UNREADY };
            sleep(self.backoff.next(backoff::random(), longest)).await;
        }
    }

    async fn open(&mut self) -> Result<Session, Ended> {
        let connection = connect(&self.options).await?;
        // One answer a type waits at most, and the subscriptions before them.
        let (requests, receiver) = mpsc::channel(16);
        let node = self.node();
        for subscription in self.applier.subscribe(node.clone()) {
            requests.try_send(subscription).map_err(|_| Ended::Silent)?;
        }
        let mut client = AggregatedDiscoveryClient::new(connection.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let call = client.delta_resources(connection.request(ReceiverStream::new(receiver)));
        let responses = timeout(PATIENCE, call).await.map_err(|_| Ended::Silent)?.map_err(Ended::Refused)?;
        self.status.send_modify(|status| status.connected = true);
        self.report();
        let responses = responses.into_inner();
        Ok(Session { requests, responses, _reporting: self.reporting(connection, node) })
    }

    fn reporting(&self, connection: Connection, node: Node) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let sources = report::Sources { states: self.reports.subscribe(), observed: self.observed.clone() };
        tasks.spawn(report::run(connection, node, sources));
        tasks
    }

    /// Takes responses until the stream ends.
    async fn session(&mut self, mut session: Session) -> Ended {
        let mut silent_at = Some(Instant::now() + PATIENCE);
        loop {
            tokio::select! {
                response = session.responses.message() => match response {
                    Ok(Some(response)) => {
                        silent_at = None;
                        self.backoff.reset();
                        let answer = self.take(response);
                        if session.requests.send(answer).await.is_err() {
                            return Ended::Properly;
                        }
                    }
                    Ok(None) => return Ended::Properly,
                    Err(status) if is_proper(&status) => return Ended::Properly,
                    Err(status) => return Ended::Broken(status),
                },
                () = at(self.save_at) => self.save(),
                () = at(self.confirm_at) => self.confirm(),
                () = at(silent_at) => return Ended::Silent,
            }
        }
    }

    /// Applies a response, and says what came of it.
    fn take(&mut self, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
        let Applied { answer, changed, rejected } = self.applier.apply(response);
        for (id, rejection) in &rejected {
            let kept = self.applier.standing().in_force.contains_key(id);
            tracing::warn!(resource = %id, reason = %rejection.error, kept, "a resource is rejected");
        }
        let missing = self.applier.missing();
        let ready = self.status.borrow().ready || missing.is_empty();
        if ready && (changed || !self.status.borrow().ready) {
            self.publish();
        }
        let standing = (self.applier.snapshot().generation, self.applier.standing().rejected.len());
        self.status.send_if_modified(|status| {
            let before = status.clone();
            (status.ready, status.missing) = (ready, missing);
            (status.generation, status.rejected) = standing;
            status.confirmed = true;
            *status != before
        });
        if self.options.saved.is_some() {
            self.confirm_at.get_or_insert_with(Instant::now);
        }
        self.report();
        answer
    }

    fn publish(&mut self) {
        let snapshot = self.applier.snapshot().clone();
        let (keys, routes, servers) = self.applier.counts();
        tracing::info!(
            generation = snapshot.generation,
            keys,
            routes,
            servers,
            "a configuration is in force"
        );
        self.snapshots.send_replace(snapshot);
        self.is_saved = false;
        if self.options.saved.is_some() {
            self.save_at.get_or_insert_with(|| Instant::now() + SAVE);
        }
    }

    fn report(&self) {
        let health = NodeHealth {
            ready: self.status.borrow().ready,
            generation: self.applier.snapshot().generation,
            started_at: self.started_at,
        };
        let next = report::State { standing: self.applier.standing().clone(), health };
        self.reports.send_if_modified(|state| {
            let differs = *state != next;
            *state = next;
            differs
        });
    }

    /// Saves what is in force, when it is due.
    fn save(&mut self) {
        let (Some(_), Some(path)) = (self.save_at.take(), &self.options.saved) else { return };
        match saved::save(path, &self.applier.save()) {
            Ok(()) => self.is_saved = true,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the configuration cannot be saved for the next start");
            }
        }
    }

    /// Notes that an operator wants what the file holds: a restart without one counts from then.
    fn confirm(&mut self) {
        self.confirm_at = Some(Instant::now() + CONFIRM);
        let Some(path) = self.options.saved.as_ref().filter(|_| self.is_saved) else { return };
        if let Err(error) = saved::confirm(path) {
            tracing::debug!(file = %path.display(), %error, "the time of the saved configuration cannot be set");
        }
    }

    fn node(&self) -> Node {
        let version = ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        Node { id: self.options.node.clone(), metadata: [version].into() }
    }

    /// Says why a stream ended; the same reason once only.
    fn tell(&self, ended: &Ended) {
        let error = (!matches!(ended, Ended::Properly)).then(|| ended.to_string());
        let news = error.is_some() && self.status.borrow().error != error;
        match &error {
            Some(error) if news => {
                tracing::warn!(%error, "no configuration from the operator; what is in force stays")
            }
            Some(error) => tracing::debug!(%error, "still no configuration from the operator"),
            None => tracing::debug!("the operator ended the stream: connecting again"),
        }
        self.status.send_modify(|status| {
            status.connected = false;
            if std::mem::take(&mut status.confirmed) {
                (status.heard, status.before) = (Some(std::time::Instant::now()), Duration::ZERO);
            }
            status.error = error;
        });
    }
}

/// What a status says, with its causes: where the connection itself failed, they alone say why.
fn words(status: &tonic::Status) -> String {
    let mut words = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}

/// What an operator that stops, or a connection that is old, looks like.
fn is_proper(status: &tonic::Status) -> bool {
    matches!(status.code(), Code::Cancelled | Code::Ok)
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
