//! The context of one model request. Whatever way a request ends (answer, error, disconnect, panic), dropping its exchange
//! settles or cancels the hold and hands the record over, exactly once.

use crate::{
    gateway::Gateway,
    money, names,
    records::record::{Latency, ModelRecord, Record, RecordKind},
    request::plan::Candidate,
    snapshot::KeyNode,
};
use http::HeaderMap;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tollgate_ledger::charge::{Actual, Grant, Posting, Settled};
use tollgate_translate::{Format, Usage, answer::Summary};
use uuid::Uuid;

/// The status recorded when the client went away before its answer was complete.
pub const CLIENT_GONE: u16 = 499;

/// One model request from its head to its record.
#[derive(Debug)]
pub struct Exchange {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// The request's id; also the reservation's and the record's.
    pub id: Uuid,
    /// The client's format.
    pub format: Format,
    /// The caller.
    pub node: Arc<KeyNode>,
    /// What the record will say of the request.
    pub record: ModelRecord,
    /// The hold, once granted.
    pub grant: Option<Grant>,
    /// The backend that answers.
    pub candidate: Option<Candidate>,
    /// Whether bytes may have reached a provider: then a request without usage is charged an estimate.
    pub sent: bool,
    /// The closer estimate of the input's tokens.
    pub input_estimate: u64,
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
    finished: bool,
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
        Exchange {
            gateway,
            id,
            format,
            node,
            record: ModelRecord { api: format.as_str(), ..ModelRecord::default() },
            grant: None,
            candidate: None,
            sent: false,
            input_estimate: 0,
            started: Instant::now(),
            at,
            first_byte: None,
            gateway_time: Duration::ZERO,
            status: CLIENT_GONE,
            error: None,
            session: text(headers, &names::CLAUDE_SESSION),
            user_agent: text(headers, &http::header::USER_AGENT),
            metadata: metadata(headers),
            trace_id: trace_id(headers),
            finished: false,
        }
    }

    /// When the request came in, Unix milliseconds.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// Notes how long the gateway itself took before the first attempt left.
    pub fn leaving(&mut self, decoded: Instant) {
        if self.gateway_time.is_zero() {
            self.gateway_time = decoded.elapsed();
        }
    }

    /// Notes the answer's first byte.
    pub fn first_byte(&mut self) {
        self.first_byte.get_or_insert_with(|| self.started.elapsed());
    }

    /// Notes what the client is told.
    pub fn outcome(&mut self, status: u16, error: Option<String>) {
        self.status = status;
        self.error = error;
    }

    /// Charges what a long answer has used so far, should this process die.
    pub fn progress(&self, summary: &Summary, now: i64) {
        if let Some(grant) = &self.grant {
            let usage = money::estimate(summary, self.input_estimate);
            self.gateway.ledger.progress(
                grant,
                &self.actual(&usage),
                now.saturating_add(self.gateway.options.hold_ms),
            );
        }
    }

    /// The answer is over (or will never come): settles and records.
    pub fn finish(&mut self, summary: Summary) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let settled = self.settle(&summary);
        self.record.overrun = settled.overrun;
        self.record.answer = summary;
        self.submit(settled.postings);
    }

    fn settle(&mut self, summary: &Summary) -> Settled {
        let now = self.gateway.now();
        let usage = self.usage(summary);
        self.record.usage = usage;
        let price = self.candidate.as_ref().and_then(|c| c.price.clone());
        self.record.cost = usage.and_then(|u| price.map(|p| p.cost(&u)));
        let Some(grant) = self.grant.take() else { return Settled::default() };
        let qualified = self.record.model.as_deref().unwrap_or_default();
        let levels = money::levels(&self.node, qualified);
        match usage {
            Some(usage) => self.gateway.ledger.settle(&levels, &grant, &self.actual(&usage), now),
            None => {
                self.gateway.ledger.cancel(&levels, &grant, now);
                Settled::default()
            }
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

    fn actual(&self, usage: &Usage) -> Actual {
        let price = self.candidate.as_ref().and_then(|c| c.price.as_ref());
        Actual {
            cost: price.map_or(0, |p| p.cost(usage)),
            input_tokens: usage.total_input().saturating_sub(usage.cache_read),
            output_tokens: usage.output,
        }
    }

    fn submit(&mut self, postings: Vec<Posting>) {
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        let policy = self.node.logging();
        let latency = Latency {
            total: micros(self.started.elapsed()),
            first_byte: self.first_byte.map(micros),
            gateway: micros(self.gateway_time),
        };
        self.gateway.record(Record {
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
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.finished {
            self.finish(Summary::default());
        }
    }
}

/// The most metadata headers that are recorded of a request.
const MAX_METADATA: usize = 32;

/// `x-tollgate-meta-NAME` headers as (name, value).
pub fn metadata(headers: &HeaderMap) -> Vec<(String, String)> {
    let named = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(names::META_PREFIX)?;
        Some((name.to_owned(), value.to_str().ok()?.to_owned()))
    });
    named.take(MAX_METADATA).collect()
}

/// The trace id of a W3C `traceparent`.
pub fn trace_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(names::TRACEPARENT)?.to_str().ok()?;
    let id = value.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

fn text(headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
