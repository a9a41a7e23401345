//! The lines of the file.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, io};
use tollgate_ledger::{
    charge::{Actual, Counter},
    redis::Charge,
};
use uuid::Uuid;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line<'a> {
    Charge(Box<Written<'a>>),
    /// Charges that may have been carried out since a time.
    Tried(Vec<(Uuid, i64)>),
    Done(Vec<Uuid>),
}

/// A charge as it is written. What a later version adds has a default: a line that cannot be read is money.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Written<'a> {
    pub(super) id: Uuid,
    root: Cow<'a, str>,
    #[serde(default)]
    held: u64,
    #[serde(default)]
    counters: Cow<'a, [Counter]>,
    #[serde(default)]
    levels: Cow<'a, [(String, Option<u64>)]>,
    #[serde(default)]
    cost: u64,
    #[serde(default)]
    input: u64,
    #[serde(default)]
    output: u64,
    #[serde(default)]
    request: Uuid,
    #[serde(default)]
    record: String,
    #[serde(default)]
    tried: Option<i64>,
}

/// The line of a charge.
pub(super) fn charge(charge: &Charge, tried: Option<i64>) -> io::Result<Vec<u8>> {
    Line::Charge(Box::new(Written::new(charge, tried))).text()
}

// === impl Line ===

impl Line<'_> {
    pub(super) fn text(&self) -> io::Result<Vec<u8>> {
        let mut out = serde_json::to_vec(self)?;
        out.push(b'\n');
        Ok(out)
    }
}

// === impl Written ===

impl<'a> Written<'a> {
    fn new(charge: &'a Charge, tried: Option<i64>) -> Self {
        Written {
            id: charge.id,
            root: Cow::Borrowed(&charge.root),
            held: charge.held,
            counters: Cow::Borrowed(&charge.counters),
            levels: Cow::Borrowed(&charge.levels),
            cost: charge.used.cost,
            input: charge.used.input_tokens,
            output: charge.used.output_tokens,
            request: charge.request,
            record: BASE64.encode(&charge.record),
            tried,
        }
    }

    pub(super) fn charge(&self) -> Option<(Charge, Option<i64>)> {
        let charge = Charge {
            id: self.id,
            root: self.root.to_string(),
            held: self.held,
            counters: self.counters.to_vec(),
            levels: self.levels.to_vec(),
            used: Actual { cost: self.cost, input_tokens: self.input, output_tokens: self.output },
            request: self.request,
            record: BASE64.decode(&self.record).ok()?,
        };
        Some((charge, self.tried))
    }
}
