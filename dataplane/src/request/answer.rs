//! The way back: an upstream's stream on its way to the client, tapped or translated, with everything that can happen to it.
//!
//! The body is pulled by the client's connection: nothing is buffered beyond one piece, a slow client slows the upstream down,
//! and a client that goes away drops the body, which ends the upstream's request and settles what was used.

use super::exchange::Exchange;
use crate::{request::identify, request::plan, request::resolve};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tollgate_translate::{
    answer::{self, Summary, Tap, Translator},
    error::{Kind, UpstreamError},
};

/// Silence after which the client gets a heartbeat, so that no watchdog on the way gives up.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often a stream looks at the clock and at the configuration: a revoked key ends its streams within 5 s.
const TICK: Duration = Duration::from_secs(1);
/// A longer time between two looks at the upstream is our own: the client took nothing, or this process stood still.
const AWAY: Duration = Duration::from_secs(2);
/// How often a long stream renews its hold.
const PROGRESS_TICKS: u32 = 10;

/// How the pieces are handled.
#[derive(Debug)]
pub enum Through {
    /// Byte for byte, watched.
    Tap(Box<Tap>),
    /// Into the client's format.
    Translate(Box<Translator>),
}

/// A streamed answer.
#[derive(Debug)]
pub struct Answer {
    upstream: Incoming,
    through: Option<Through>,
    exchange: Exchange,
    /// Bytes that were made before the body was polled (the first piece).
    ready: Option<Bytes>,
    ended: bool,
    idle: Duration,
    last_piece: Instant,
    /// When the upstream was last asked, and since when it has been asked without a longer break.
    asked: Instant,
    asking: Instant,
    last_sent: Instant,
    ticks: Interval,
    ticked: u32,
    generation: u64,
}

// === impl Through ===

impl Through {
    /// Takes a piece of the upstream's answer; returns what the client gets for it.
    pub fn feed(&mut self, piece: Bytes) -> Bytes {
        match self {
            Through::Tap(tap) => tap.feed(&piece).map_or(piece, Bytes::from),
            Through::Translate(translator) => {
                let mut out = Vec::with_capacity(piece.len() * 2);
                translator.feed(&piece, &mut out);
                out.into()
            }
        }
    }

    /// Whether the client has whole events only.
    pub fn between_events(&self) -> bool {
        match self {
            Through::Tap(tap) => tap.at_boundary(),
            Through::Translate(_) => true,
        }
    }

    fn end(&mut self) -> Bytes {
        match self {
            Through::Tap(tap) => tap.end().into(),
            Through::Translate(translator) => {
                let mut out = Vec::new();
                translator.end(&mut out);
                out.into()
            }
        }
    }

    fn fail(&mut self, error: UpstreamError) -> Bytes {
        match self {
            Through::Tap(tap) => tap.fail(error).into(),
            Through::Translate(translator) => {
                let mut out = Vec::new();
                translator.fail(error, &mut out);
                out.into()
            }
        }
    }

    fn heartbeat(&mut self, format: tollgate_translate::Format) -> Bytes {
        match self {
            Through::Tap(tap) if !tap.at_boundary() => Bytes::new(),
            Through::Tap(_) => Bytes::from_static(answer::heartbeat(format)),
            Through::Translate(translator) => {
                let mut out = Vec::new();
                translator.heartbeat(&mut out);
                out.into()
            }
        }
    }

    /// What is known so far.
    pub fn summary(&self) -> &Summary {
        match self {
            Through::Tap(tap) => tap.summary(),
            Through::Translate(translator) => translator.summary(),
        }
    }

    /// The last word.
    pub fn into_summary(self) -> Summary {
        match self {
            Through::Tap(tap) => tap.into_summary(),
            Through::Translate(translator) => translator.into_summary(),
        }
    }
}

// === impl Answer ===

impl Answer {
    /// An answer whose first piece (already fed) is `first`; `ended` when the upstream's body ended with it.
    pub fn new(
        upstream: Incoming,
        through: Through,
        exchange: Exchange,
        first: Bytes,
        idle: Duration,
    ) -> Self {
        let now = Instant::now();
        let mut ticks = tokio::time::interval_at(now + TICK, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // Not the one in force by now: what has changed since the request came in counts as well.
        let generation = exchange.generation;
        let ready = (!first.is_empty()).then_some(first);
        Answer {
            upstream,
            through: Some(through),
            exchange,
            ready,
            ended: false,
            idle,
            last_piece: now,
            asked: now,
            asking: now,
            last_sent: now,
            ticks,
            ticked: 0,
            generation,
        }
    }

    /// The upstream's body ended in good order: the client's proper end, or its error event.
    fn ending(&mut self) -> Bytes {
        let last = self.through.as_mut().map(Through::end).unwrap_or_default();
        self.close();
        last
    }

    fn failing(&mut self, kind: Kind, message: String) -> Bytes {
        let error = UpstreamError { kind, message, ..UpstreamError::default() };
        let last = self.through.as_mut().map(|t| t.fail(error)).unwrap_or_default();
        self.close();
        last
    }

    fn close(&mut self) {
        self.ended = true;
        if let Some(through) = self.through.take() {
            let summary = through.into_summary();
            self.exchange.outcome(200, summary.error.as_ref().map(|e| e.message.clone()));
            self.exchange.finish(summary);
        }
    }

    /// A second has passed, however busy the stream is: still allowed? Renews the hold. Returns the client's error, if any.
    fn tick(&mut self) -> Option<Bytes> {
        self.ticked = self.ticked.wrapping_add(1);
        if let Some(words) = self.revoked() {
            return Some(self.failing(Kind::Permission, words));
        }
        if let Some(through) = &self.through
            && self.ticked.is_multiple_of(PROGRESS_TICKS)
        {
            self.exchange.progress(through.summary(), self.exchange.gateway.now());
        }
        None
    }

    /// A second has passed and the upstream is silent. Returns bytes for the client, if any.
    fn silent(&mut self) -> Option<Bytes> {
        let complete = self.through.as_ref().is_some_and(|t| t.summary().complete);
        if complete && self.last_piece.elapsed() >= TICK {
            // The answer is whole; an upstream that leaves its stream open must not keep the client waiting for more.
            return Some(self.ending());
        }
        if self.last_piece.max(self.asking).elapsed() >= self.idle {
            let words = format!("the upstream sent nothing for {} s", self.idle.as_secs());
            return Some(self.failing(Kind::Timeout, words));
        }
        let through = self.through.as_mut()?;
        if self.last_sent.elapsed() < HEARTBEAT {
            return None;
        }
        let beat = through.heartbeat(self.exchange.format);
        (!beat.is_empty()).then_some(beat)
    }

    /// The upstream is asked now. Its silence counts from here, when nobody asked for a while: what it sent meanwhile may still lie in
    /// the kernel.
    fn ask(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.asked) >= AWAY {
            self.asking = now;
        }
        self.asked = now;
    }

    /// Why the key may not go on, when the configuration changed to that effect.
    fn revoked(&mut self) -> Option<String> {
        let snapshot = self.exchange.gateway.snapshot();
        if snapshot.generation == self.generation {
            let expired = identify::check(&self.exchange.node, self.exchange.gateway.now());
            return expired.err().map(|e| e.to_string());
        }
        self.generation = snapshot.generation;
        let Some(node) = snapshot.key(self.exchange.node.id()) else {
            return Some(format!("key {} was deleted", self.exchange.node.id()));
        };
        let qualified = self.exchange.record.model.as_deref().unwrap_or_default();
        let still = identify::check(node, self.exchange.gateway.now())
            .and_then(|()| resolve::allowed(node, qualified));
        let backend = self.exchange.candidate.as_ref().and_then(|c| c.backend());
        still.err().map(|e| e.to_string()).or_else(|| plan::forbidden(node, backend?))
    }

    fn emit(&mut self, bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.last_sent = Instant::now();
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = &mut *self;
        if let Some(bytes) = this.ready.take() {
            return this.emit(bytes);
        }
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            this.ask();
            // Before the upstream: one that always has something to say must not outlive its key.
            let ticked = this.ticks.poll_tick(cx).is_ready();
            if let Some(last) = ticked.then(|| this.tick()).flatten() {
                return this.emit(last);
            }
            let out = match Pin::new(&mut this.upstream).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(piece) = frame.into_data() else { continue };
                    this.last_piece = Instant::now();
                    this.through.as_mut().map(|t| t.feed(piece)).unwrap_or_default()
                }
                Poll::Ready(Some(Err(error))) => {
                    let cause = crate::upstream::send::root_cause(&error);
                    this.failing(Kind::Api, format!("the upstream's stream broke: {cause}"))
                }
                Poll::Ready(None) => this.ending(),
                Poll::Pending if ticked => this.silent().unwrap_or_default(),
                Poll::Pending => return Poll::Pending,
            };
            if !out.is_empty() {
                return this.emit(out);
            }
        }
    }
}

impl Drop for Answer {
    /// The client went away: what was used until then is charged. One that leaves with the last event has its whole answer.
    fn drop(&mut self) {
        if let Some(through) = self.through.take() {
            let summary = through.into_summary();
            if summary.complete {
                self.exchange.outcome(200, None);
            }
            self.exchange.abandon(summary);
        }
    }
}
