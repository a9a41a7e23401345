//! Tokens of keys: made where the Secret that a key names does not exist, and rotated on request.
//!
//! ```text
//! Secret (owned by its VirtualKey)
//!   data.token                    tg_…: 32 random bytes
//!   data.previous-token           while a rotation's overlap lasts, and until when:
//!   data.previous-token-expires   RFC 3339
//!   annotation tollgate.dev/rotated   the value of tollgate.dev/rotate-token that was carried out
//! ```
//! A Secret that the operator has not made for this key is never written. A write says which version of the Secret it replaces,
//! so that no two replicas, whatever their clocks, make two tokens of one request. Nothing of a token is logged.
//!
//! # Layout
//! - [`decide`]: what is to be done about one Secret (pure)

pub mod decide;

#[cfg(test)]
mod tests;

use crate::{
    events::Teller,
    kubernetes::World,
    leader::{Term, WRITE},
    status::{
        news::{News, event},
        pace::{Backoff, Bucket},
        subject::{Now, Object},
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use decide::{Change, Done, decide};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tollgate_crds::{
    annotations::{OPERATOR, ROTATE_TOKEN, ROTATION_OVERLAP},
    api::VirtualKey,
    conditions::reasons,
};
use tollgate_proto::{Kind, ResourceId};

/// How often tokens whose time is over are looked for.
const IDLE: Duration = Duration::from_secs(5);
/// Secrets a second, and at once.
const RATE: (u32, u32) = (20, 20);
/// The bytes of randomness of a token.
const RANDOM: usize = 32;
/// How a token begins, so that people and scanners know it.
const PREFIX: &str = "tg_";

/// The task of one term.
struct Keeper {
    client: Client,
    term: Term,
    teller: Teller,
    random: SystemRandom,
    bucket: Bucket,
    tracks: HashMap<ResourceId, Track>,
}

/// What is remembered of one key.
#[derive(Default)]
struct Track {
    /// What its owner said when it was last looked at.
    said: Said,
    /// The request to rotate that needs nothing any more.
    handled: Option<String>,
    backoff: Backoff,
    /// What was told last, so that it is not told again.
    told: Option<String>,
}

/// What decides what becomes of a key's token: its generation, the request to rotate, and the overlap.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said(Option<i64>, Option<String>, Option<String>);

/// A key whose Secret is to be looked at, and how often that failed.
type Due = (ResourceId, Arc<VirtualKey>, u32);

/// What came of looking at one key's Secret.
enum Tended {
    /// What was to be done is done.
    Done,
    /// This key's alone cannot be written now.
    Failed,
    /// The API server does not answer, or cannot write in this namespace: the next key is not to wait for that again.
    Stuck,
}

/// Makes and rotates tokens until `term` ends.
pub async fn run(client: Client, term: Term, teller: Teller, mut world: watch::Receiver<Arc<World>>) {
    let mut keeper = Keeper {
        client,
        term: term.clone(),
        teller,
        random: SystemRandom::new(),
        bucket: Bucket::new(RATE.0, RATE.1),
        tracks: HashMap::new(),
    };
    let work = async {
        loop {
            let state = world.borrow_and_update().clone();
            let again = if state.synced { keeper.look(&state).await } else { IDLE };
            tokio::select! {
                changed = world.changed() => if changed.is_err() { return },
                () = sleep(again) => {}
            }
        }
    };
    tokio::select! {
        () = term.ended() => {}
        () = work => {}
    }
}

/// Why a key's Secret is to be looked at; `None`: it is not.
fn is_due(
    key: &VirtualKey,
    wire: Option<&tollgate_proto::v1::VirtualKey>,
    missing: bool,
    handled: Option<&str>,
    now: Now,
) -> bool {
    let asked = key.annotations().get(ROTATE_TOKEN).filter(|value| !value.is_empty());
    let expired = wire.and_then(|w| w.previous_token_until).is_some_and(|until| until <= now.millis());
    missing || expired || (asked.is_some() && asked.map(String::as_str) != handled)
}

// === impl Track ===

impl Track {
    /// Takes what the key says. What was refused is looked at again at once when that is something else: a token that has leaked
    /// does not wait for the time that a slip in its annotations has cost.
    fn hear(&mut self, key: &VirtualKey) {
        let of = |name: &str| key.annotations().get(name).cloned();
        let said = Said(key.metadata.generation, of(ROTATE_TOKEN), of(ROTATION_OVERLAP));
        if self.said != said {
            self.said = said;
            self.backoff = Backoff::default();
        }
    }
}

// === impl Keeper ===

impl Keeper {
    /// Does what is due; returns when to look again.
    async fn look(&mut self, world: &World) -> Duration {
        let now = Now::read();
        let mut again = IDLE;
        self.tracks.retain(|id, _| {
            id.name
                .split_once('/')
                .is_some_and(|(ns, n)| world.keys.contains_key(&(ns.to_owned(), n.to_owned())))
        });
        let (mut due, waits) = self.due(world, now);
        again = waits.map_or(again, |wait| again.min(wait));
        // What failed before comes last: keys of a namespace that cannot be written keep nobody waiting.
        due.sort_by_key(|(_, _, failures)| *failures);
        let mut stuck = HashSet::new();
        for (id, key, _) in due {
            if stuck.contains(&key.metadata.namespace) {
                again = again.min(Duration::from_millis(300));
                continue;
            }
            if let Err(wait) = self.bucket.take(Instant::now()) {
                return again.min(wait);
            }
            match self.tend(&id, &key, now).await {
                Tended::Done => {}
                Tended::Failed => again = again.min(Duration::from_millis(300)),
                Tended::Stuck => drop(stuck.insert(key.metadata.namespace.clone())),
            }
        }
        again
    }

    /// The keys whose Secrets are to be looked at now, each with how often that failed; and when the next one is.
    fn due(&mut self, world: &World, now: Now) -> (Vec<Due>, Option<Duration>) {
        let (mut due, mut waits) = (Vec::new(), None::<Duration>);
        for status in world.compiled.statuses.iter().filter(|s| s.kind == Kind::VirtualKey) {
            let Some(key) = world.keys.get(&(status.namespace.clone(), status.name.clone())) else {
                continue;
            };
            if key.spec.token.is_none() || key.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let id = status.id();
            let missing = status
                .problems
                .iter()
                .any(|p| p.reason == reasons::SECRET_NOT_FOUND && p.field == "spec.token.secretRef");
            let wire = match world.compiled.resources.get(&id) {
                Some(tollgate_proto::Resource::VirtualKey(wire)) => Some(&**wire),
                _ => None,
            };
            let track = self.tracks.entry(id.clone()).or_default();
            track.hear(key);
            if !is_due(key, wire, missing, track.handled.as_deref(), now) {
                continue;
            }
            match track.backoff.wait(now.instant) {
                Some(wait) => waits = Some(waits.map_or(wait, |waits| waits.min(wait))),
                None => due.push((id, key.clone(), track.backoff.failures())),
            }
        }
        (due, waits)
    }

    /// Looks at one key's Secret and writes it if that is right.
    async fn tend(&mut self, id: &ResourceId, key: &Arc<VirtualKey>, now: Now) -> Tended {
        let outcome = timeout(WRITE, self.try_tend(key, now)).await;
        let track = self.tracks.entry(id.clone()).or_default();
        match outcome {
            Ok(Ok(done)) => {
                // What is refused is asked again: it may be another annotation that is wrong.
                if !matches!(done, Done::Refused(_)) {
                    track.handled = key.annotations().get(ROTATE_TOKEN).cloned();
                }
                if matches!(done, Done::Nothing | Done::Refused(_)) {
                    // The world may not know yet what was written; and what is refused changes only with the objects.
                    track.backoff.failed(Instant::now());
                } else {
                    track.backoff = Backoff::default();
                    track.backoff.failed(Instant::now());
                }
                // A refusal is told once, what was done each time: also the second rotation, in the same words.
                let refusal = matches!(done, Done::Refused(_));
                let news = news(&done).filter(|news| !refusal || track.told.as_ref() != Some(&news.note));
                if let Some(news) = news {
                    track.told = Some(news.note.clone());
                    tracing::info!(key = %id, what = news.reason, "{}", news.note);
                    self.teller.tell(&Object::Key(key.clone()), news);
                }
                Tended::Done
            }
            Ok(Err(error)) => {
                track.backoff.failed(Instant::now());
                let conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
                if !conflict {
                    tracing::warn!(key = %id, %error, "the Secret of a key's token cannot be read or written");
                    let news =
                        refused_by_server(&error).filter(|news| track.told.as_ref() != Some(&news.note));
                    if let Some(news) = news {
                        track.told = Some(news.note.clone());
                        self.teller.tell(&Object::Key(key.clone()), news);
                    }
                }
                let is_objects = matches!(&error, kube::Error::Api(status) if status.code < 500);
                if is_objects { Tended::Failed } else { Tended::Stuck }
            }
            Err(_) => {
                track.backoff.failed(Instant::now());
                tracing::warn!(key = %id, "the API server did not answer about the Secret of a key's token");
                Tended::Stuck
            }
        }
    }

    async fn try_tend(&self, key: &VirtualKey, now: Now) -> Result<Done, kube::Error> {
        let Some(source) = &key.spec.token else { return Ok(Done::Nothing) };
        let namespace = key.namespace().unwrap_or_default();
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
        let found = api.get_opt(&source.secret_ref.name).await?;
        let Some(fresh) = self.fresh() else { return Ok(Done::Nothing) };
        let Change { secret, done } = decide(key, found.as_ref(), &fresh, now.time);
        let Some(secret) = secret else { return Ok(done) };
        let Some(_permit) = self.term.permit() else { return Ok(Done::Nothing) };
        let params = PostParams { field_manager: Some(OPERATOR.to_owned()), ..PostParams::default() };
        match found {
            None => api.create(&params, &secret).await?,
            Some(_) => api.replace(&source.secret_ref.name, &params, &secret).await?,
        };
        Ok(done)
    }

    /// A token that nobody has.
    fn fresh(&self) -> Option<String> {
        let mut bytes = [0_u8; RANDOM];
        if self.random.fill(&mut bytes).is_err() {
            tracing::error!("the system gives no random numbers: no token can be made");
            return None;
        }
        Some(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }
}

/// What is told when the API server does not let the operator write: without it a key that waits for its token would wait unnoticed.
fn refused_by_server(error: &kube::Error) -> Option<News> {
    let kube::Error::Api(status) = error else { return None };
    let note = format!("the key's token cannot be made: {}", status.message);
    (400..500).contains(&status.code).then_some(News {
        warning: true,
        reason: event::TOKEN_REFUSED,
        action: "Tokens",
        note,
    })
}

/// What is told of what was done.
fn news(done: &Done) -> Option<News> {
    let told = |warning, reason, note: String| Some(News { warning, reason, action: "Tokens", note });
    match done {
        Done::Nothing => None,
        Done::Generated { secret, entry } => told(
            false,
            event::TOKEN_GENERATED,
            format!("the key's token stands in Secret {secret}, entry {entry}"),
        ),
        Done::Rotated { secret, until: Some(until) } => told(
            false,
            event::TOKEN_ROTATED,
            format!("Secret {secret} has a new token; the one before is valid until {until}"),
        ),
        Done::Rotated { secret, until: None } => told(
            false,
            event::TOKEN_ROTATED,
            format!("Secret {secret} has a new token; the one before is no longer valid"),
        ),
        Done::Expired { secret } => told(
            false,
            event::TOKEN_EXPIRED,
            format!("the token before the last rotation is taken out of Secret {secret}"),
        ),
        Done::Refused(why) => told(true, event::TOKEN_REFUSED, why.clone()),
    }
}
