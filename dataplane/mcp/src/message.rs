//! The JSON-RPC envelope over raw JSON.

use crate::{
    error::{INVALID_REQUEST, PARSE, RpcError},
    json::{Object, splice, string},
};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The most messages of a batch (2025-03-26 only).
pub const MAX_BATCH: usize = 50;

/// One message: its kind, and its parts as raw text.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    /// The envelope.
    pub object: Object<'a>,
    /// What it is.
    pub kind: Kind<'a>,
}

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Wants an answer.
    Request {
        /// Raw JSON text of a string or a number, byte by byte as it came.
        id: &'a str,
        /// The method.
        method: Cow<'a, str>,
    },
    /// Wants none.
    Notification {
        /// The method.
        method: Cow<'a, str>,
    },
    /// Answers a request of the other side.
    Response {
        /// Raw JSON text; `None` or `null` when the other side could not read the request's id.
        id: Option<&'a str>,
        /// Raw JSON text of the result, or of the error.
        outcome: Result<&'a str, &'a str>,
    },
}

// === impl Message ===

impl<'a> Message<'a> {
    /// Reads one message.
    ///
    /// # Errors
    /// [`PARSE`] or [`INVALID_REQUEST`] with the reason.
    pub fn parse(text: &'a str) -> Result<Self, RpcError> {
        let object = Object::parse(text).map_err(|e| {
            let code = if serde_json::from_str::<&RawValue>(text).is_ok() { INVALID_REQUEST } else { PARSE };
            RpcError::new(code, format!("Not a JSON-RPC message: {e}"))
        })?;
        let kind = kind(&object).map_err(|why| RpcError::new(INVALID_REQUEST, why))?;
        Ok(Message { object, kind })
    }

    /// The `params` of a request or notification; `None` when there are none.
    ///
    /// # Errors
    /// [`INVALID_REQUEST`] when they are not an object.
    pub fn params(&self) -> Result<Option<Object<'a>>, RpcError> {
        self.object
            .object("params")
            .map_err(|e| RpcError::new(INVALID_REQUEST, format!("Invalid request: {e}")))
    }

    /// The message with another id; everything else stays as it is. `None` when it has no id.
    pub fn with_id(&self, id: &str) -> Option<String> {
        splice(self.object.text(), &[(self.object.get("id")?, id.to_owned())])
    }
}

fn kind<'a>(object: &Object<'a>) -> Result<Kind<'a>, String> {
    if object.get("jsonrpc").and_then(string).as_deref() != Some("2.0") {
        return Err("Invalid request: \"jsonrpc\" is not \"2.0\"".into());
    }
    let id = object.get("id");
    if let Some(method) = object.string("method").map_err(|e| format!("Invalid request: {e}"))? {
        return match id {
            None => Ok(Kind::Notification { method }),
            Some(id) if is_id(id) => Ok(Kind::Request { id, method }),
            Some(_) => Err("Invalid request: the id is neither a string nor a number".into()),
        };
    }
    let id = id.filter(|id| *id != "null");
    match (object.get("result"), object.get("error")) {
        (Some(result), None) => Ok(Kind::Response { id, outcome: Ok(result) }),
        (None, Some(error)) => Ok(Kind::Response { id, outcome: Err(error) }),
        _ => Err("Invalid request: neither a method nor one of result and error".into()),
    }
}

/// Strings and numbers are ids; `null` is none in MCP.
fn is_id(raw: &str) -> bool {
    raw.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
}

/// The messages of a batch as raw text; `None` when the text is no array.
///
/// # Errors
/// [`INVALID_REQUEST`] when it is empty or has more than [`MAX_BATCH`] messages.
pub fn batch(text: &str) -> Result<Option<Vec<&str>>, RpcError> {
    if !text.trim_start().starts_with('[') {
        return Ok(None);
    }
    let messages: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|e| RpcError::new(PARSE, format!("Not JSON: {e}")))?;
    if messages.is_empty() || messages.len() > MAX_BATCH {
        return Err(RpcError::new(
            INVALID_REQUEST,
            format!("A batch has 1 to {MAX_BATCH} messages, this one has {}", messages.len()),
        ));
    }
    Ok(Some(messages.into_iter().map(RawValue::get).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_kept_byte_by_byte() {
        for id in ["1", "-7", "123456789012345678901234567890", "1.50", r#""a\u0062""#, r#""""#] {
            let text = format!(r#"{{"jsonrpc":"2.0", "id": {id} ,"method":"ping","x":{{"b":1,"a":[ ]}}}}"#);
            let message = Message::parse(&text).unwrap();
            assert!(matches!(&message.kind, Kind::Request { id: got, .. } if *got == id), "{id}");
            assert_eq!(message.with_id(id).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_code() {
        for (text, code) in [
            ("{", PARSE),
            ("", PARSE),
            ("3", INVALID_REQUEST),
            (r#"{"id":1,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, INVALID_REQUEST),
        ] {
            assert_eq!(Message::parse(text).unwrap_err().code, code, "{text}");
        }
    }

    #[test]
    fn batches_are_arrays_within_bounds() {
        assert_eq!(batch(" {}").unwrap(), None);
        assert_eq!(batch(r#" [{"a": 1}, 2]"#).unwrap().unwrap(), [r#"{"a": 1}"#, "2"]);
        assert_eq!(batch("[]").unwrap_err().code, INVALID_REQUEST);
        assert_eq!(batch("[1").unwrap_err().code, PARSE);
        assert_eq!(batch(&format!("[{}1]", "1,".repeat(MAX_BATCH))).unwrap_err().code, INVALID_REQUEST);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = String::from_utf8_lossy(&bytes);
            _ = (Message::parse(&text), batch(&text));
        }
    }
}
