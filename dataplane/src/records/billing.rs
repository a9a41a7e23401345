//! Billing records: what of a model request must not be lost, as bytes that travel with its charge.
//!
//! The ledger's settle appends these bytes to a stream in the same step as it charges; a drainer reads them there and writes
//! the row, whatever became of the gateway that answered. Postings are not in here: the stream's entry tells what was
//! really posted. The full record with its content takes another way; whichever comes second adds only what is missing.
//!
//! The form is one byte for the version, then a protobuf message: fields may be added, never given another meaning, so
//! that gateways of two versions read each other's records during an upgrade.

use super::{
    entry::{Entry, Kept, ModelEntry, UsageEntry, int},
    preview::floor_char,
    record::{ModelRecord, Record, RecordKind},
};
use crate::model::key::Content;
use prost::{
    Message as _,
    bytes::BufMut as _,
    encoding::{WireType, encode_key, encode_varint},
};
use std::sync::Arc;
use tollgate_translate::Usage;
use uuid::Uuid;

/// The form's version. Another one is for a change that a reader of this one would misunderstand.
const VERSION: u8 = 1;
/// The most bytes of an error's words: the full record has them all.
const ERROR_MAX: usize = 200;

/// Bytes that are no billing record of a known version.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Nothing at all.
    #[error("the billing record is empty")]
    Empty,
    /// A later form.
    #[error("the billing record is of form {0}, this program knows {VERSION}: upgrade it")]
    Version(u8),
    /// Damaged.
    #[error("the billing record cannot be read: {0}")]
    Damaged(#[from] prost::DecodeError),
}

/// The message as it is read. [`encode`] writes the same fields straight from a [`Record`].
#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    /// Unix milliseconds.
    #[prost(int64, tag = "2")]
    at: i64,
    #[prost(string, repeated, tag = "3")]
    tree: Vec<String>,
    #[prost(uint32, tag = "4")]
    status: u32,
    #[prost(string, optional, tag = "5")]
    error: Option<String>,
    #[prost(string, optional, tag = "6")]
    session: Option<String>,
    #[prost(uint64, tag = "7")]
    total_us: u64,
    #[prost(uint64, optional, tag = "8")]
    first_byte_us: Option<u64>,
    #[prost(uint64, tag = "9")]
    gateway_us: u64,
    /// 0 none, 1 metadata, 2 full: what the key's policy keeps.
    #[prost(uint32, tag = "10")]
    content: u32,
    #[prost(uint64, tag = "11")]
    retention_s: u64,
    #[prost(string, tag = "12")]
    api: String,
    #[prost(bool, tag = "13")]
    stream: bool,
    #[prost(string, tag = "14")]
    model_asked: String,
    #[prost(string, optional, tag = "15")]
    model: Option<String>,
    #[prost(string, optional, tag = "16")]
    route: Option<String>,
    #[prost(string, optional, tag = "17")]
    backend: Option<String>,
    #[prost(string, optional, tag = "18")]
    provider: Option<String>,
    /// Tokens by kind: input, cache read, cache write, 1-hour cache write, output, reasoning; then web searches.
    #[prost(uint64, repeated, tag = "19")]
    usage: Vec<u64>,
    #[prost(bool, tag = "20")]
    usage_estimated: bool,
    /// Nano-USD.
    #[prost(uint64, optional, tag = "21")]
    cost: Option<u64>,
    #[prost(uint64, tag = "22")]
    overrun: u64,
    #[prost(uint64, optional, tag = "23")]
    output_cap: Option<u64>,
}

/// The bytes that are appended to the billing stream for `record`; empty for a tool call, which costs nothing.
pub fn encode(record: &Record) -> Vec<u8> {
    let RecordKind::Model(model) = &record.kind else { return Vec::new() };
    let mut out = Writer(Vec::with_capacity(320));
    out.0.put_u8(VERSION);
    out.bytes(1, record.id.as_bytes());
    out.int(2, record.at.max(0).unsigned_abs());
    match record.tree.as_slice() {
        [] => out.text(3, Some(&record.key)),
        tree => tree.iter().for_each(|key| out.bytes(3, key.as_bytes())),
    }
    out.int(4, record.status.into());
    if record.content != Content::None {
        out.text(5, record.error.as_deref().map(|e| e.get(..floor_char(e, ERROR_MAX)).unwrap_or_default()));
        out.text(6, record.session.as_deref());
    }
    out.int(7, record.latency.total);
    out.some(8, record.latency.first_byte);
    out.int(9, record.latency.gateway);
    out.int(10, Kept::from(record.content) as u64);
    out.int(11, record.retention_s);
    out.model(model);
    out.0
}

/// A billing record's entry, without postings.
pub(crate) fn decode(bytes: &[u8]) -> Result<Entry, DecodeError> {
    let wire = match bytes.split_first() {
        None => return Err(DecodeError::Empty),
        Some((&VERSION, message)) => Wire::decode(message)?,
        Some((version, _)) => return Err(DecodeError::Version(*version)),
    };
    Ok(wire.into())
}

// === Writing ===

struct Writer(Vec<u8>);

impl Writer {
    fn model(&mut self, model: &ModelRecord) {
        self.text(12, Some(model.api));
        self.int(13, model.stream.into());
        self.text(14, Some(&model.model_asked));
        self.text(15, model.model.as_deref());
        self.text(16, model.route.as_deref());
        self.text(17, model.backend.as_deref());
        self.text(18, model.provider);
        if let Some(usage) = &model.usage {
            let mut packed = Vec::with_capacity(24);
            amounts(usage).into_iter().for_each(|amount| encode_varint(amount, &mut packed));
            self.bytes(19, &packed);
        }
        self.int(20, model.usage_estimated.into());
        self.some(21, model.cost);
        self.int(22, model.overrun);
        self.some(23, model.output_cap);
    }

    fn bytes(&mut self, tag: u32, value: &[u8]) {
        encode_key(tag, WireType::LengthDelimited, &mut self.0);
        encode_varint(value.len() as u64, &mut self.0);
        self.0.put_slice(value);
    }

    fn text(&mut self, tag: u32, value: Option<&str>) {
        if let Some(value) = value {
            self.bytes(tag, value.as_bytes());
        }
    }

    /// A number; 0 is what is read where there is none.
    fn int(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.some(tag, Some(value));
        }
    }

    fn some(&mut self, tag: u32, value: Option<u64>) {
        if let Some(value) = value {
            encode_key(tag, WireType::Varint, &mut self.0);
            encode_varint(value, &mut self.0);
        }
    }
}

fn amounts(usage: &Usage) -> [u64; 7] {
    let Usage { input, cache_read, cache_write, cache_write_1h, output, reasoning, web_searches } = *usage;
    [input, cache_read, cache_write, cache_write_1h, output, reasoning, web_searches]
}

// === Reading ===

impl From<Wire> for Entry {
    fn from(wire: Wire) -> Self {
        let kept = i64::from(wire.content);
        let retention = wire.retention_s.saturating_mul(1000);
        Entry {
            id: Uuid::from_slice(&wire.id).unwrap_or_default(),
            at: wire.at,
            expires: wire.at.saturating_add(int(retention)),
            tree: wire.tree.iter().filter(|key| !key.is_empty()).map(|key| Arc::from(key.as_str())).collect(),
            status: u16::try_from(wire.status).unwrap_or(0),
            total_us: wire.total_us,
            first_byte_us: wire.first_byte_us,
            gateway_us: wire.gateway_us,
            // The content itself comes the other way, or never.
            kept: match Kept::from_column(kept) {
                Kept::Full => Kept::Dropped,
                kept => kept,
            },
            error: wire.error.clone(),
            session: wire.session.clone(),
            model: Some(Box::new(wire.into())),
            ..Entry::default()
        }
    }
}

impl From<Wire> for ModelEntry {
    fn from(wire: Wire) -> Self {
        let usage = |amounts: &[u64]| {
            let mut amounts = amounts.iter().copied();
            let mut next = || amounts.next().unwrap_or(0);
            UsageEntry {
                input: next(),
                cache_read: next(),
                cache_write: next(),
                cache_write_1h: next(),
                output: next(),
                reasoning: next(),
                web_searches: next(),
            }
        };
        ModelEntry {
            api: wire.api.into(),
            stream: wire.stream,
            model_asked: wire.model_asked,
            model: wire.model,
            route: wire.route.map(Arc::from),
            backend: wire.backend,
            provider: wire.provider.map(Into::into),
            usage: (!wire.usage.is_empty()).then(|| usage(&wire.usage)),
            usage_estimated: wire.usage_estimated,
            cost: wire.cost,
            overrun: wire.overrun,
            output_cap: wire.output_cap,
            ..ModelEntry::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::record::{Latency, ToolRecord};

    fn record() -> Record {
        let model = ModelRecord {
            api: "messages",
            stream: true,
            model_asked: "claude-haiku".into(),
            model: Some("anthropic/claude-haiku".into()),
            route: Some("eng/anthropic".into()),
            backend: Some("main".into()),
            provider: Some("Anthropic"),
            usage: Some(Usage { input: 10, cache_read: 100_000, output: 500, ..Usage::default() }),
            cost: Some(0),
            output_cap: Some(4096),
            ..ModelRecord::default()
        };
        Record {
            id: Uuid::now_v7(),
            kind: RecordKind::Model(Box::new(model)),
            at: 1_790_000_000_000,
            key: "eng/alice".into(),
            tree: vec!["eng/alice".into(), "eng/team".into()],
            session: Some("7f3b".into()),
            user_agent: None,
            status: 200,
            error: Some("ü".repeat(400)),
            latency: Latency { total: 1_000_000, first_byte: Some(0), gateway: 250 },
            metadata: Vec::new(),
            trace_id: None,
            postings: Vec::new(),
            content: Content::Full,
            retention_s: 3600,
        }
    }

    #[test]
    fn what_bills_comes_back_as_it_was() {
        let record = record();
        let bytes = encode(&record);
        assert!(bytes.len() < 500, "{} bytes", bytes.len());
        let entry = decode(&bytes).unwrap();
        let mut whole = Entry::take(&mut record.clone());
        (whole.kept, whole.error) = (Kept::Dropped, Some("ü".repeat(100)));
        assert_eq!(format!("{entry:?}"), format!("{whole:?}"));
    }

    #[test]
    fn a_policy_of_none_keeps_no_words() {
        let entry = decode(&encode(&Record { content: Content::None, ..record() })).unwrap();
        assert_eq!((entry.kept, entry.error, entry.session), (Kept::None, None, None));
        assert_eq!(entry.model.unwrap().cost, Some(0), "a cost of nothing is a price all the same");
    }

    #[test]
    fn a_key_without_a_tree_is_its_own_root() {
        let entry = decode(&encode(&Record { tree: Vec::new(), ..record() })).unwrap();
        assert_eq!(entry.tree, [Arc::<str>::from("eng/alice")]);
        assert!(
            encode(&Record { kind: RecordKind::Tool(Box::<ToolRecord>::default()), ..record() }).is_empty()
        );
    }

    #[test]
    fn later_versions_and_damage_are_told() {
        assert!(matches!(decode(b""), Err(DecodeError::Empty)));
        assert!(matches!(decode(&[9, 1, 2]), Err(DecodeError::Version(9))));
        let mut bytes = encode(&record());
        // A field of a later program is passed over.
        bytes.extend_from_slice(&[0xfa, 0x01, 3, b'n', b'e', b'w']);
        assert_eq!(decode(&bytes).unwrap().at, record().at);
        assert!(matches!(decode(&bytes[..20]), Err(DecodeError::Damaged(_))));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(0u8.., 0..200)) {
            let _entry = decode(&bytes);
            let _entry = decode(&[&[VERSION], bytes.as_slice()].concat());
        }
    }
}
