//! Phase 2: the body, bounded in size and in time between two pieces.

use crate::error::GatewayError;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;

/// The longest silence in the middle of a request body.
const IDLE: Duration = Duration::from_secs(30);
/// What is set aside at once for a body of a declared length; more grows as it comes.
const MAX_PREALLOCATED: usize = 1 << 20;

/// What is read of an unwanted body at most.
const DISCARD: usize = 64 << 20;
/// How long it is read at most.
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// Reads a whole body of at most `limit` bytes.
pub async fn receive(headers: &HeaderMap, mut body: Incoming, limit: usize) -> Result<Bytes, GatewayError> {
    match collect(headers, &mut body, limit).await {
        Ok(whole) => Ok(whole),
        Err(error) => {
            discard(body).await;
            Err(error)
        }
    }
}

async fn collect(headers: &HeaderMap, body: &mut Incoming, limit: usize) -> Result<Bytes, GatewayError> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(GatewayError::BadRequest(
            "the request body must not be compressed (content-encoding)".into(),
        ));
    }
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|n| n > limit) {
        return Err(GatewayError::TooLarge { limit });
    }
    let mut whole: Option<BytesMut> = None;
    let mut first: Option<Bytes> = None;
    let mut size = 0_usize;
    while let Some(piece) = next(body).await? {
        size = size.saturating_add(piece.len());
        if size > limit {
            return Err(GatewayError::TooLarge { limit });
        }
        match (&mut whole, first.take()) {
            (Some(whole), _) => whole.extend_from_slice(&piece),
            (None, None) => first = Some(piece),
            (None, Some(before)) => {
                let mut all = BytesMut::with_capacity(
                    declared.unwrap_or(size * 2).clamp(size, MAX_PREALLOCATED.max(size)),
                );
                all.extend_from_slice(&before);
                all.extend_from_slice(&piece);
                whole = Some(all);
            }
        }
    }
    Ok(whole.map_or_else(|| first.unwrap_or_default(), BytesMut::freeze))
}

/// Takes in what is left of a body that nobody wants, within bounds: a client that is still sending would otherwise lose the
/// error it is answered with, as its connection is reset under it.
pub async fn discard<B>(mut body: B)
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let all = async {
        let mut left = DISCARD;
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // A client that goes on beyond the bounds is cut off: it was going to fail anyway.
    tokio::time::timeout(DISCARD_TIME, all).await.unwrap_or_default();
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, GatewayError> {
    loop {
        let frame = tokio::time::timeout(IDLE, body.frame()).await.map_err(|_| {
            GatewayError::BadRequest(format!("the request body stopped for {} s", IDLE.as_secs()))
        })?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => {
                let cause = crate::upstream::send::root_cause(&error);
                return Err(GatewayError::BadRequest(format!("the request body broke off: {cause}")));
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Ok(Some(data));
                }
            }
        }
    }
}
