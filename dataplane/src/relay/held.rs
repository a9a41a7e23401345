//! A request's body that can be taken back while nobody has read of it, so that another gateway can be tried.

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// A handle on a body; the other is on its way to a gateway.
#[derive(Debug, Clone)]
pub(super) struct Held(Arc<Mutex<Slot>>);

#[derive(Debug)]
struct Slot {
    body: Option<Incoming>,
    touched: bool,
}

// === impl Held ===

impl Held {
    pub(super) fn new(body: Incoming) -> Self {
        Held(Arc::new(Mutex::new(Slot { body: Some(body), touched: false })))
    }

    /// Whether nobody has asked for its first byte.
    pub(super) fn untouched(&self) -> bool {
        !self.0.lock().touched
    }

    /// The body itself, to be drained.
    pub(super) fn take(&self) -> Option<Incoming> {
        self.0.lock().body.take()
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut slot = self.0.lock();
        slot.touched = true;
        match &mut slot.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.as_ref().map(Body::size_hint).unwrap_or_else(|| SizeHint::with_exact(0))
    }
}
