//! One record in full: its conversation put together again, and what it is linked to.

use super::{
    Store,
    filter::Scope,
    list::{COLUMN_COUNT, COLUMNS, Columns, Listed},
};
use crate::records::{
    db::{Row, Sql},
    entry::{Line, Unit},
    split::unpack,
    viewer::Viewer,
};
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use uuid::Uuid;

/// One record in full.
#[derive(Debug, Clone, Serialize)]
pub struct Full {
    /// What the list shows of it.
    #[serde(flatten)]
    pub listed: Listed,
    /// Client user agent.
    pub user_agent: Option<String>,
    /// W3C trace id.
    pub trace_id: Option<String>,
    /// The route's `namespace/name`.
    pub route: Option<String>,
    /// The backend that answered.
    pub backend: Option<String>,
    /// The model that the upstream says it used.
    pub answer_model: Option<String>,
    /// The upstream's id of the answer.
    pub answer_id: Option<String>,
    /// Nano-USD over the hold.
    pub overrun: u64,
    /// The output cap that the gateway wrote.
    pub output_cap: Option<u64>,
    /// The JSON-RPC method of a tool call.
    pub method: Option<String>,
    /// Whether an answer through this gateway suggested the tool call.
    pub suggested: Option<bool>,
    /// Attempts: `backend: outcome`.
    pub attempts: Vec<String>,
    /// What translation could not express: field and what happened.
    pub degradations: Vec<(String, String)>,
    /// Metadata headers.
    pub metadata: Vec<(String, String)>,
    /// What was charged where.
    pub postings: Vec<Charge>,
    /// What was said; absent when no content is kept.
    pub conversation: Option<Conversation>,
    /// The tool calls that the answer suggests, and what became of them.
    pub tool_calls: Vec<Link>,
    /// For a tool call: the record of the answer that suggested it.
    pub suggested_by: Option<Uuid>,
    /// The session's record before this one.
    pub previous: Option<Uuid>,
    /// The session's record after this one.
    pub following: Option<Uuid>,
}

/// One amount charged to one budget.
#[derive(Debug, Clone, Serialize)]
pub struct Charge {
    /// The key.
    pub key: String,
    /// The budget.
    pub budget: String,
    /// What is counted.
    pub unit: Unit,
    /// How much.
    pub amount: u64,
    /// When the budget resets, Unix milliseconds.
    pub resets_at: i64,
}

/// A suggested tool call and the record of the call, when it came through this gateway.
#[derive(Debug, Clone, Serialize)]
pub struct Link {
    /// The call's id.
    pub id: String,
    /// The tool's name as the model called it.
    pub name: String,
    /// The call's record.
    pub record: Option<Uuid>,
    /// Whether that call failed.
    pub failed: bool,
}

/// What was said. Values are the client's own JSON, secrets redacted and very long strings shortened.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Conversation {
    /// The request's other fields; for a tool call its arguments.
    pub request: Value,
    /// The tools array.
    pub tools: Option<Value>,
    /// The system prompt's blocks.
    pub system: Vec<Value>,
    /// The messages.
    pub messages: Vec<Value>,
    /// The answer's content blocks in Messages' shape; for a tool call its result.
    pub answer: Value,
    /// Parts of the conversation that are not stored any more.
    pub missing: usize,
}

const MORE: &str = ", user_agent, trace_id, route, backend, answer_model, answer_id, overrun, output_cap, method, \
    suggested, attempts, degradations, metadata, postings, tool_calls FROM records WHERE id = ?";

/// The longest conversation that is put together: a bound for a damaged chain.
const NODES_MAX: usize = 20_000;

// === impl Store ===

impl Store {
    /// The record `id`, if `viewer` may see it.
    pub async fn record(&self, viewer: &Viewer, id: Uuid) -> sqlx::Result<Option<Full>> {
        let scope = self.scope(viewer, None).await?;
        if *viewer == Viewer::Nobody {
            return Ok(None);
        }
        let mut sql = self.pool.sql();
        sql.push("SELECT ").push(COLUMNS).bind(MORE, id).scope("tree", &scope);
        let Some(row) = self.pool.fetch_optional(sql).await? else { return Ok(None) };
        let mut full = self.full(&row)?;
        full.conversation = self.conversation(full.listed.seq).await?;
        self.link_calls(&mut full, &scope).await?;
        self.link_session(&mut full, &scope).await?;
        Ok(Some(full))
    }

    fn full(&self, row: &Row) -> sqlx::Result<Full> {
        let listed = self.listed(row)?;
        let r = &mut Columns { row, at: COLUMN_COUNT };
        Ok(Full {
            listed,
            user_agent: r.text()?,
            trace_id: r.text()?,
            route: r.text()?,
            backend: r.text()?,
            answer_model: r.text()?,
            answer_id: r.text()?,
            overrun: r.uint()?,
            output_cap: r.maybe_uint()?,
            method: r.text()?,
            suggested: r.maybe_int()?.map(|suggested| suggested == 1),
            attempts: json(r.text()?),
            degradations: json(r.text()?),
            metadata: json::<std::collections::BTreeMap<String, String>>(r.text()?).into_iter().collect(),
            postings: json::<Vec<Line>>(r.text()?).into_iter().map(Charge::from).collect(),
            conversation: None,
            tool_calls: json::<Vec<(String, String)>>(r.text()?).into_iter().map(Link::from).collect(),
            suggested_by: None,
            previous: None,
            following: None,
        })
    }

    async fn conversation(&self, seq: i64) -> sqlx::Result<Option<Conversation>> {
        let mut sql = self.pool.sql();
        sql.bind("SELECT request, answer, tools, system, thread FROM contents WHERE seq = ?", seq);
        let Some(row) = self.pool.fetch_optional(sql).await? else { return Ok(None) };
        let mut said = Conversation { answer: value(row.bytes(1)?), ..Conversation::default() };
        said.take_request(value(row.bytes(0)?));
        if let Some(id) = row.bytes(2)? {
            said.tools = self.block(&id, &mut said.missing).await?;
        }
        for id in row.bytes(3)?.unwrap_or_default().chunks(16) {
            let block = self.block(id, &mut said.missing).await?;
            said.system.extend(block);
        }
        if let Some(head) = row.bytes(4)? {
            said.messages = self.thread(&head, &mut said.missing).await?;
        }
        Ok(Some(said))
    }

    async fn block(&self, id: &[u8], missing: &mut usize) -> sqlx::Result<Option<Value>> {
        let mut sql = self.pool.sql();
        sql.bind("SELECT body FROM blocks WHERE id = ?", id);
        let body = self.pool.fetch_optional(sql).await?.map(|row| row.bytes(0)).transpose()?.flatten();
        *missing += usize::from(body.is_none());
        Ok(body.map(|body| value(Some(body))))
    }

    /// The messages from the conversation's beginning to its node `head`.
    async fn thread(&self, head: &[u8], missing: &mut usize) -> sqlx::Result<Vec<Value>> {
        let mut sql = self.pool.sql();
        sql.push(
            "WITH RECURSIVE thread (parent, block, depth) AS ( \
              SELECT parent, block, 0 FROM nodes WHERE id = ? \
              UNION ALL SELECT nodes.parent, nodes.block, depth + 1 FROM thread JOIN nodes ON nodes.id = thread.parent \
              WHERE depth < ?) \
            SELECT blocks.body, thread.parent FROM thread LEFT JOIN blocks ON blocks.id = thread.block ORDER BY depth DESC",
        );
        sql.value(head).value(NODES_MAX as i64);
        let rows = self.pool.fetch_all(sql).await?;
        let cut_off = match rows.first() {
            Some(first) => first.bytes(1)?.is_some(),
            None => true,
        };
        *missing += usize::from(cut_off);
        let mut messages = Vec::with_capacity(rows.len());
        for row in rows {
            match row.bytes(0)? {
                Some(body) => messages.push(value(Some(body))),
                None => *missing += 1,
            }
        }
        Ok(messages)
    }

    async fn first_id(&self, sql: Sql) -> sqlx::Result<Option<Uuid>> {
        self.pool.fetch_optional(sql).await?.map(|row| row.id(0)).transpose()
    }

    /// Links suggested calls with their records, and a call with the answer that suggested it.
    async fn link_calls(&self, full: &mut Full, scope: &Scope) -> sqlx::Result<()> {
        if let Some(call) = &full.listed.tool_use_id {
            let mut sql = self.pool.sql();
            sql.bind(
                "SELECT records.id FROM suggestions JOIN records ON records.seq = suggestions.seq \
                 WHERE suggestions.tool_use_id = ?",
                call,
            );
            sql.scope("records.tree", scope).push(" ORDER BY records.seq LIMIT 1");
            full.suggested_by = self.first_id(sql).await?;
        }
        if full.tool_calls.is_empty() {
            return Ok(());
        }
        let mut sql = self.pool.sql();
        sql.push("SELECT id, tool_use_id, status >= 400 OR COALESCE(is_error, 0) = 1 FROM records");
        sql.either(" INDEXED BY records_use", "").push(" WHERE tool_use_id IN (");
        for (n, call) in full.tool_calls.iter().enumerate() {
            sql.bind(if n > 0 { ",?" } else { "?" }, &call.id);
        }
        sql.push(")").scope("tree", scope);
        let mut calls = HashMap::new();
        for row in self.pool.fetch_all(sql).await? {
            calls.insert(row.text(1)?, (row.id(0)?, row.int(2)? == 1));
        }
        for link in &mut full.tool_calls {
            if let Some((record, failed)) = calls.get(&link.id) {
                (link.record, link.failed) = (Some(*record), *failed);
            }
        }
        Ok(())
    }

    async fn link_session(&self, full: &mut Full, scope: &Scope) -> sqlx::Result<()> {
        let Some(session) = full.listed.session.clone() else { return Ok(()) };
        let near = async |order: &'static str, later: bool| {
            let mut sql = self.pool.sql();
            sql.push("SELECT id FROM records").either(" INDEXED BY records_session", "");
            sql.bind(" WHERE session = ?", &session);
            sql.bind(if later { " AND (at > ?" } else { " AND (at < ?" }, full.listed.at);
            sql.bind(" OR at = ?", full.listed.at);
            sql.bind(if later { " AND seq > ?)" } else { " AND seq < ?)" }, full.listed.seq);
            sql.scope("tree", scope).push(order);
            self.first_id(sql).await
        };
        let previous = near(" ORDER BY at DESC, seq DESC LIMIT 1", false).await?;
        let following = near(" ORDER BY at, seq LIMIT 1", true).await?;
        (full.previous, full.following) = (previous, following);
        Ok(())
    }
}

/// A JSON column; what cannot be read is as if it were not there.
fn json<T: serde::de::DeserializeOwned + Default>(column: Option<String>) -> T {
    column.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// A packed JSON text; text that is no JSON becomes a string.
fn value(packed: Option<Vec<u8>>) -> Value {
    let Some(packed) = packed else { return Value::Null };
    let text = unpack(&packed);
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

// === impl Conversation ===

impl Conversation {
    /// Takes the parts of a request that was stored whole out to their places.
    fn take_request(&mut self, request: Value) {
        self.request = request;
        let Value::Object(fields) = &mut self.request else { return };
        self.tools = fields.remove("tools").filter(|tools| !tools.is_null());
        self.system = match fields.remove("system") {
            Some(Value::Array(blocks)) => blocks,
            Some(Value::Null) | None => Vec::new(),
            Some(one) => vec![one],
        };
        if let Some(Value::Array(messages)) = fields.get_mut("messages") {
            self.messages = std::mem::take(messages);
            fields.remove("messages");
        }
    }
}

impl From<(String, String)> for Link {
    fn from((id, name): (String, String)) -> Self {
        Link { id, name, record: None, failed: false }
    }
}

impl From<Line> for Charge {
    fn from(line: Line) -> Self {
        Charge {
            key: line.key,
            budget: line.budget,
            unit: line.unit,
            amount: line.amount,
            resets_at: line.end,
        }
    }
}
