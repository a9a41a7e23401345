//! The billing stream of a tree: each charge, in the step in which it was made. Whoever writes it to a database deletes the
//! entries when they are there, and makes sure by (reservation, how) that one that is read twice counts once.

use super::wire::{self, number, text};
use super::{RedisStore, StoreError};
use crate::budget::Limit;
use crate::charge::{Actual, Counter, Posting};
use ::redis::Value;
use uuid::Uuid;

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its place in the stream, `MS-N`; later ones are greater.
    pub position: String,
    /// The hold's id.
    pub reservation: Uuid,
    /// The record's id: a record may have several entries.
    pub request: Uuid,
    /// How it came about.
    pub how: How,
    /// What was used.
    pub actual: Actual,
    /// What was posted: as the script did, whatever the record says.
    pub postings: Vec<Posting>,
    /// What a reset took back, of each counter.
    pub taken_back: Vec<Posting>,
    /// The keys of a dead hold, the charged key first, its root last; empty for others, whose record tells.
    pub levels: Vec<String>,
    /// The record, as the gateway encoded it; empty where another entry of the same request has it, and for dead holds.
    pub record: Vec<u8>,
}

/// An entry that no version of the scripts known here has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Its place in the stream.
    pub position: String,
    /// Its fields as far as they are text, for people.
    pub fields: String,
}

/// How a charge came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// A hold was settled.
    Live,
    /// A settle after its hold was given up as dead: the difference.
    Late,
    /// A settle whose hold the ledger does not know: made while Redis was away, or lost with it.
    Unknown,
    /// A hold was given up as dead, its gateway with it: what it had used so far.
    Dead,
    /// A budget was reset.
    Reset,
}

/// How many entries are deleted in one call.
const DELETED: usize = 500;

/// How much is shown of a field that is not understood.
const SHOWN: usize = 500;

// === impl RedisStore ===

impl RedisStore {
    /// The entries of a tree's stream after `after` (empty: from the start), at most `count`.
    pub async fn read_stream(
        &self,
        root: &str,
        after: &str,
        count: usize,
    ) -> Result<Vec<Result<Entry, Malformed>>, StoreError> {
        let from = if after.is_empty() { "-".to_owned() } else { format!("({after}") };
        let mut command = ::redis::cmd("XRANGE");
        command.arg(self.stream_key(root)).arg(from).arg("+").arg("COUNT").arg(count);
        let answer = self.link.send_within(&command, self.options.late).await?;
        Ok(wire::list(&answer).iter().map(|item| entry(item).ok_or_else(|| malformed(item))).collect())
    }

    /// Deletes entries of a tree's stream.
    pub async fn delete_entries(&self, root: &str, positions: &[String]) -> Result<(), StoreError> {
        for batch in positions.chunks(DELETED) {
            let mut command = ::redis::cmd("XDEL");
            command.arg(self.stream_key(root)).arg(batch);
            self.link.send_within(&command, self.options.late).await?;
        }
        Ok(())
    }

    /// How many entries a tree's stream has.
    pub async fn stream_length(&self, root: &str) -> Result<u64, StoreError> {
        let mut command = ::redis::cmd("XLEN");
        let answer = self.link.send_within(command.arg(self.stream_key(root)), self.options.late).await?;
        Ok(number(&answer).and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
    }

    fn stream_key(&self, root: &str) -> String {
        format!("{}:s", self.base(root))
    }
}

fn malformed(item: &Value) -> Malformed {
    let items = wire::list(item);
    let position = items.first().and_then(text).unwrap_or_default().to_owned();
    let fields = items.get(1).map(wire::pairs).unwrap_or_default();
    let shown = |(name, value): &(&str, &[u8])| {
        let value: String = String::from_utf8_lossy(value).chars().take(SHOWN).collect();
        format!("{name}={value:?}")
    };
    Malformed { position, fields: fields.iter().map(shown).collect::<Vec<_>>().join(" ") }
}

fn entry(item: &Value) -> Option<Entry> {
    let items = wire::list(item);
    let position = text(items.first()?)?.to_owned();
    let fields = wire::pairs(items.get(1)?);
    let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let word = |name: &str| field(name).and_then(|value| std::str::from_utf8(value).ok());
    let amount = |name: &str| word(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    let how = match word("how")? {
        "live" => How::Live,
        "late" => How::Late,
        "unknown" => How::Unknown,
        "dead" => How::Dead,
        "reset" => How::Reset,
        _ => return None,
    };
    let (postings, taken_back) = postings(field("postings")?)?;
    Some(Entry {
        position,
        reservation: Uuid::parse_str(word("id")?).ok()?,
        request: word("request").and_then(|id| Uuid::parse_str(id).ok()).unwrap_or_default(),
        how,
        actual: Actual {
            cost: amount("cost"),
            input_tokens: amount("input"),
            output_tokens: amount("output"),
        },
        postings,
        taken_back,
        levels: field("levels").and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default(),
        record: field("record").unwrap_or_default().to_vec(),
    })
}

/// `[[key, field, limit, amount], …]`, all text, as the scripts write it; amounts below zero are what a reset took back.
fn postings(json: &[u8]) -> Option<(Vec<Posting>, Vec<Posting>)> {
    let list: Vec<[String; 4]> = serde_json::from_slice(json).ok()?;
    let (mut posted, mut taken_back) = (Vec::new(), Vec::new());
    for [key, field, limit, amount] in list {
        let (unit, window, budget) = wire::parse_field(&field)?;
        let limit: Limit = unit(limit.parse().ok()?);
        let counter = Counter { key, budget: budget.to_owned(), window, limit };
        match amount.strip_prefix('-') {
            Some(amount) => taken_back.push(Posting { counter, amount: amount.parse().ok()? }),
            None if amount == "0" => {}
            None => posted.push(Posting { counter, amount: amount.parse().ok()? }),
        }
    }
    Some((posted, taken_back))
}
