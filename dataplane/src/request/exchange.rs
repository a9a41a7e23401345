//! The context of one model request. Whatever way a request ends (answer, error, disconnect, panic), dropping its exchange
//! settles or cancels the hold and hands the record over, exactly once.

use crate::{
    gateway::Gateway,
    ledger::Held,
    model::{key::Content, route::Backend},
    money, names,
    records::{
        billing,
        record::{Latency, ModelRecord, Record, RecordKind},
        redact,
    },
    request::{failure::Failed, plan::Candidate},
    snapshot::KeyNode,
    telemetry::{
        self, Served,
        outbound::Attempt,
        semconv::{self, attribute},
    },
};
use http::HeaderMap;
use opentelemetry::KeyValue;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;
use tollgate_ledger::{
    budget::Limit,
    charge::{Actual, Posting, Settled},
    redis::Billing,
};
use tollgate_process::trace::{self, Place};
use tollgate_translate::{Format, Usage, answer::Summary};
use uuid::Uuid;

/// The status recorded when the client went away before its answer was complete.
pub const CLIENT_GONE: u16 = 499;

/// One model request from its head to its record.
#[derive(Debug)]
pub struct Exchange {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// The request's id; also the record's and the first hold's.
    pub id: Uuid,
    /// The client's format.
    pub format: Format,
    /// The caller.
    pub node: Arc<KeyNode>,
    /// What the record will say of the request.
    pub record: ModelRecord,
    /// The configuration's generation when the request came in.
    pub generation: u64,
    /// The hold, once granted.
    pub held: Option<Held>,
    /// The `route/model` for which it was granted: its budgets are charged.
    pub reserved: Option<Arc<str>>,
    /// The backend that answers.
    pub candidate: Option<Candidate>,
    /// Whether bytes may have reached a provider: then a request without usage is charged an estimate.
    pub sent: bool,
    /// The closer estimate of the input's tokens.
    pub input_estimate: u64,
    /// The attempt under way, when anybody wants to know.
    pub attempt: Option<Attempt>,
    started: Instant,
    at: i64,
    first_byte: Option<Duration>,
    gateway_time: Duration,
    status: u16,
    error: Option<String>,
    session: Option<String>,
    user_agent: Option<String>,
    metadata: Vec<(String, String)>,
    trace_id: Option<String>,
    place: Option<Arc<Place>>,
    earlier: Earlier,
    /// Whether a hold was asked for under the request's own id.
    asked: bool,
    finished: bool,
}

/// What attempts that gave no answer may have cost all the same.
#[derive(Debug, Default)]
struct Earlier {
    usage: Option<Usage>,
    cost: Option<u64>,
    settled: Settled,
}

// === impl Exchange ===

impl Exchange {
    /// Starts the context of a request that came in at `started`.
    pub fn new(
        gateway: Arc<Gateway>,
        id: Uuid,
        format: Format,
        node: Arc<KeyNode>,
        headers: &HeaderMap,
        at: i64,
    ) -> Self {
        let place = trace::current();
        Exchange {
            gateway,
            id,
            format,
            node,
            record: ModelRecord { api: format.as_str(), ..ModelRecord::default() },
            generation: 0,
            held: None,
            reserved: None,
            candidate: None,
            sent: false,
            input_estimate: 0,
            attempt: None,
            started: Instant::now(),
            at,
            first_byte: None,
            gateway_time: Duration::ZERO,
            status: CLIENT_GONE,
            error: None,
            session: session(headers),
            user_agent: user_agent(headers),
            metadata: metadata(headers),
            trace_id: place
                .as_ref()
                .map(|place| place.context().trace_id().to_string())
                .or_else(|| trace_id(headers)),
            place,
            earlier: Earlier::default(),
            asked: false,
            finished: false,
        }
    }

    /// When the request came in, Unix milliseconds.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// An attempt leaves, whose answer is waited for at most `wait`: the hold must not die before. Notes how long the gateway
    /// itself took before the first one.
    pub fn leaving(&mut self, decoded: Instant, wait: Duration) {
        if self.gateway_time.is_zero() {
            self.gateway_time = decoded.elapsed();
        }
        self.sent = true;
        if let Some(held) = &self.held {
            let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            let expires =
                self.gateway.now().saturating_add(self.gateway.options.hold_ms).saturating_add(wait);
            // From now on the provider has the input: if this process dies, that much is charged.
            self.gateway.ledger.progress(held, &self.so_far(&Summary::default()), expires);
        }
    }

    /// The id of the next hold: the request's own first, then one for each further attempt that is billed on its own. Settles
    /// are told without waiting, so an id that was used is not free at once.
    pub fn next_hold(&mut self) -> Uuid {
        match std::mem::replace(&mut self.asked, true) {
            false => self.id,
            true => Uuid::now_v7(),
        }
    }

    /// Takes the hold that was granted.
    pub fn hold(&mut self, held: Held) {
        if held.is_local() && !self.metadata.iter().any(|(name, _)| name == names::META_LEDGER) {
            self.metadata.push((names::META_LEDGER.to_owned(), "away: local allowance".to_owned()));
        }
        self.held = Some(held);
    }

    /// An attempt gave no answer. What the provider may bill for it is charged at once, as an estimate: another attempt is
    /// billed on its own and needs its own hold.
    pub fn failed(&mut self, used: Option<Usage>) {
        self.sent = false;
        let Some(used) = used else { return };
        let cost = self.cost(&used);
        self.record.usage_estimated = true;
        let Some(held) = self.held.take() else { return self.earlier.add(used, cost, Settled::default()) };
        let levels = money::levels(&self.node, self.reserved.as_deref().unwrap_or_default());
        // The record comes with the last charge of the request.
        let billing = Billing { request: self.id, record: b"" };
        let now = self.gateway.now();
        let settled = self.gateway.ledger.settle(&levels, held, &actual(cost, &used), now, billing);
        self.earlier.add(used, cost, settled);
    }

    /// What an attempt without any answer is taken to have used.
    pub fn input_only(&self) -> Usage {
        money::estimate(&Summary::default(), self.input_estimate)
    }

    /// Gives the hold back: another one follows, or nothing was used.
    pub fn release(&mut self) {
        if let Some(held) = self.held.take() {
            let levels = money::levels(&self.node, self.reserved.as_deref().unwrap_or_default());
            self.gateway.ledger.cancel(&levels, &held, self.gateway.now());
        }
    }

    /// Notes how an attempt failed. An upstream's words are noted where the key's policy keeps words, and without secrets.
    pub(super) fn note_failed(&mut self, backend: &Backend, failed: &Failed) {
        let error = &failed.error;
        let words = match self.node.logging().content {
            Content::None => failed.in_public().into_owned(),
            _ => match (cut(&clean(&error.message), MAX_ATTEMPT), error.status) {
                (words, 0) => words,
                (words, status) => format!("{status} {words}"),
            },
        };
        self.record.attempts.push(format!("{}: {words}", backend.name));
    }

    /// The candidate answers: the record speaks of what was used in the end.
    pub fn answering(&mut self, candidate: &Candidate) {
        let Some(backend) = candidate.backend() else { return };
        self.record.attempts.push(format!("{}: ok", backend.name));
        self.record.backend = Some(backend.name.clone());
        self.record.provider = Some(backend.provider.as_str());
        if self.record.model.as_deref() != Some(&*candidate.resolved.qualified) {
            self.record.model = Some(candidate.resolved.qualified.to_string());
            self.record.route = Some(candidate.route().id.shared());
        }
        self.gateway.health.succeeded(&candidate.route().id, &backend.name);
    }

    /// Notes the answer's first byte.
    pub fn first_byte(&mut self) {
        self.first_byte.get_or_insert_with(|| self.started.elapsed());
        if let Some(attempt) = &mut self.attempt {
            attempt.first_byte();
        }
    }

    /// Notes what the client is told. Of the words no secret is noted: the record and what bills leave this process.
    pub fn outcome(&mut self, status: u16, error: Option<String>) {
        self.status = status;
        self.error = error.map(|words| clean(&words));
    }

    /// Charges what a long answer has used so far, should this process die.
    pub fn progress(&self, summary: &Summary, now: i64) {
        if let Some(held) = &self.held {
            let expires = now.saturating_add(self.gateway.options.hold_ms);
            self.gateway.ledger.progress(held, &self.so_far(summary), expires);
        }
    }

    /// What an answer that has come so far has used.
    fn so_far(&self, summary: &Summary) -> Actual {
        let usage = money::estimate(summary, self.input_estimate);
        actual(self.cost(&usage), &usage)
    }

    fn cost(&self, usage: &Usage) -> Option<u64> {
        self.candidate.as_ref().and_then(|c| Some(c.price()?.cost(usage)))
    }

    /// The answer is over (or will never come): settles and records.
    pub fn finish(&mut self, summary: Summary) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let used = self.usage(&summary);
        if let Some(attempt) = self.attempt.take() {
            attempt.answered(&summary, used);
        }
        let held = self.held.take();
        if used.is_none()
            && let Some(held) = &held
        {
            let levels = money::levels(&self.node, self.reserved.as_deref().unwrap_or_default());
            self.gateway.ledger.cancel(&levels, held, self.gateway.now());
        }
        let cost = used.and_then(|usage| self.cost(&usage));
        let mut earlier = std::mem::take(&mut self.earlier);
        if let Some(usage) = used {
            earlier.add(usage, cost, Settled::default());
        }
        let Earlier { usage: all, cost: all_cost, settled } = earlier;
        self.record.usage = all;
        self.record.cost = all_cost;
        self.record.answer = summary;
        // A key that only charges afterwards holds nothing, so that all it spends would be an overrun.
        let strict = self.node.path.iter().any(|key| key.spending.strict);
        let last = if used.is_some() { held.as_ref().map_or(0, |held| over(held, cost)) } else { 0 };
        self.record.overrun = if strict { settled.overrun.saturating_add(last) } else { 0 };
        let record = self.record(settled.postings);
        match (used, held) {
            (Some(usage), Some(held)) => self.charge(held, &actual(cost, &usage), record),
            _ => self.gateway.record(record),
        }
    }

    /// Posts `actual` in place of the hold, and hands the record over when it is known what was posted.
    fn charge(&self, held: Held, actual: &Actual, mut record: Record) {
        let levels = money::levels(&self.node, self.reserved.as_deref().unwrap_or_default());
        let bytes =
            if self.gateway.ledger.shared().is_some() { billing::encode(&record) } else { Vec::new() };
        let billing = Billing { request: self.id, record: &bytes };
        let sink = self.gateway.sink();
        let done = move |settled: Settled| {
            add_postings(&mut record.postings, settled.postings);
            sink(record);
        };
        self.gateway.ledger.settle_then(&levels, held, actual, self.gateway.now(), billing, done);
    }

    /// [`Exchange::finish`] for a request that nobody waits for any more. Called while a value is dropped, perhaps by a panic:
    /// a second one would end the process, so it stops here.
    pub fn abandon(&mut self, summary: Summary) {
        if self.finished {
            return;
        }
        if self.status == CLIENT_GONE {
            match std::thread::panicking() {
                true => self.outcome(500, Some("the gateway failed while answering".to_owned())),
                false => self.outcome(CLIENT_GONE, Some("the client went away".to_owned())),
            }
        }
        if catch_unwind(AssertUnwindSafe(|| self.finish(summary))).is_err() {
            tracing::error!(id = %self.id, "a request's end could not be recorded");
        }
    }

    /// The usage to charge: the upstream's, an estimate when it gave none or only its beginning, none when nothing was used.
    fn usage(&mut self, summary: &Summary) -> Option<Usage> {
        let whole = summary.complete && summary.usage.is_some();
        match summary.usage {
            Some(usage) if whole => Some(usage),
            None if !self.sent => None,
            _ => {
                self.record.usage_estimated = true;
                Some(money::estimate(summary, self.input_estimate))
            }
        }
    }

    /// Says of the server's span, and to the metrics, what became of the request.
    fn tell(&self, latency: &Latency) {
        let record = &self.record;
        if let Some(place) = self.place.as_ref().filter(|place| place.records()) {
            let mut all = vec![
                KeyValue::new(attribute::OPERATION, semconv::operation::CHAT),
                KeyValue::new(attribute::KEY, self.node.id().shared()),
                KeyValue::new(attribute::REQUEST_MODEL, record.model_asked.clone()),
                KeyValue::new(attribute::REQUEST_STREAM, record.stream),
            ];
            let mut add = |name, value: Option<String>| all.extend(value.map(|v| KeyValue::new(name, v)));
            add(attribute::CONVERSATION, self.session.clone());
            add(attribute::ROUTE, record.route.as_deref().map(str::to_owned));
            add(attribute::BACKEND, record.backend.clone());
            all.extend(record.cost.map(|nano| KeyValue::new(attribute::COST, nano as f64 / 1e9)));
            place.set(all);
        }
        let seconds = |micros: u64| micros as f64 / 1e6;
        let backend = self.candidate.as_ref().and_then(|candidate| candidate.backend());
        telemetry::served(|| Served {
            key: self.node.id().shared(),
            provider: backend.map(|backend| semconv::provider(backend.provider)),
            model: record.model.clone(),
            status: self.status,
            seconds: seconds(latency.total),
            first: latency.first_byte.map(seconds),
            output: record.usage.map_or(0, |usage| usage.output),
            stream: record.stream,
            cost: record.cost.unwrap_or(0),
            overrun: record.overrun,
        });
    }

    fn record(&mut self, postings: Vec<Posting>) -> Record {
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        let policy = self.node.logging();
        let latency = Latency {
            total: micros(self.started.elapsed()),
            first_byte: self.first_byte.map(micros),
            gateway: micros(self.gateway_time),
        };
        self.tell(&latency);
        Record {
            id: self.id,
            kind: RecordKind::Model(Box::new(std::mem::take(&mut self.record))),
            at: self.at,
            key: self.node.id().shared(),
            tree: self.node.path.iter().map(|k| k.id.shared()).collect(),
            session: self.session.take(),
            user_agent: self.user_agent.take(),
            status: self.status,
            error: self.error.take(),
            latency,
            metadata: std::mem::take(&mut self.metadata),
            trace_id: self.trace_id.take(),
            postings,
            content: policy.content,
            retention_s: policy.retention.as_secs(),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.abandon(Summary::default());
    }
}

// === impl Earlier ===

impl Earlier {
    fn add(&mut self, usage: Usage, cost: Option<u64>, settled: Settled) {
        self.usage = Some(self.usage.map_or(usage, |before| before.plus(usage)));
        self.cost = match (self.cost, cost) {
            (Some(before), Some(cost)) => Some(before.saturating_add(cost)),
            (before, cost) => before.or(cost),
        };
        self.settled.overrun = self.settled.overrun.saturating_add(settled.overrun);
        add_postings(&mut self.settled.postings, settled.postings);
    }
}

fn add_postings(all: &mut Vec<Posting>, more: Vec<Posting>) {
    for posting in more {
        match all.iter_mut().find(|known| known.counter == posting.counter) {
            Some(known) => known.amount = known.amount.saturating_add(posting.amount),
            None => all.push(posting),
        }
    }
}

/// Nano-USD above what was held for them.
fn over(held: &Held, cost: Option<u64>) -> u64 {
    let in_usd = held.grant.counters.iter().any(|counter| matches!(counter.limit, Limit::NanoUsd(_)));
    cost.filter(|_| in_usd).map_or(0, |cost| cost.saturating_sub(held.grant.held))
}

fn actual(cost: Option<u64>, usage: &Usage) -> Actual {
    Actual {
        cost: cost.unwrap_or(0),
        input_tokens: usage.total_input().saturating_sub(usage.cache_read),
        output_tokens: usage.output,
    }
}

/// Words without secrets, as much of them as any record keeps.
fn clean(words: &str) -> String {
    redact::default(words.get(..words.floor_char_boundary(MAX_WORDS)).unwrap_or_default()).into_owned()
}

/// The most that is looked at of an error's words, and kept of them for an attempt, in bytes.
const MAX_WORDS: usize = 4096;
const MAX_ATTEMPT: usize = 200;
/// The most metadata headers that are recorded of a request.
const MAX_METADATA: usize = 32;
/// The longest name of one, and the longest value; what is longer is cut.
const MAX_METADATA_NAME: usize = 64;
const MAX_METADATA_VALUE: usize = 1024;
/// The longest session and user agent in a record.
const MAX_SESSION: usize = 128;
const MAX_USER_AGENT: usize = 256;

/// `x-tollgate-meta-NAME` headers as (name, value).
pub fn metadata(headers: &HeaderMap) -> Vec<(String, String)> {
    let named = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(names::META_PREFIX)?;
        // The gateway's own to say.
        if name.starts_with(names::META_OWN) {
            return None;
        }
        Some((cut(name, MAX_METADATA_NAME), cut(value.to_str().ok()?, MAX_METADATA_VALUE)))
    });
    named.take(MAX_METADATA).collect()
}

/// The trace id of a W3C `traceparent`.
pub fn trace_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(names::TRACEPARENT)?.to_str().ok()?;
    let id = value.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// The client's own session, as Claude Code names it.
pub fn session(headers: &HeaderMap) -> Option<String> {
    text(headers, &names::CLAUDE_SESSION, MAX_SESSION)
}

/// A client's user agent as it is recorded.
pub fn user_agent(headers: &HeaderMap) -> Option<String> {
    text(headers, &http::header::USER_AGENT, MAX_USER_AGENT)
}

fn text(headers: &HeaderMap, name: &http::HeaderName, most: usize) -> Option<String> {
    Some(cut(headers.get(name)?.to_str().ok()?, most))
}

/// The beginning of `text`, at most `most` bytes.
pub(super) fn cut(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
