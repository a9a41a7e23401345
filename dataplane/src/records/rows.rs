//! A record as a row of the store.

use super::{
    db::{Sql, Value},
    entry::{Entry, ModelEntry, ToolEntry, array, int},
    insert::{Insert, nulls},
};

/// An entry with what the writer adds to it.
#[derive(Debug)]
pub(crate) struct RecordRow {
    /// Its place in the batch.
    pub(crate) at: usize,
    /// Its path's place in the batch.
    pub(crate) path: usize,
    /// Given when it is written.
    pub(crate) seq: i64,
    /// Given when it is written.
    pub(crate) tree: i64,
    pub(crate) entry: Entry,
    pub(crate) prompt: Option<String>,
    pub(crate) reply: Option<String>,
}

/// The columns of a record, in the order that [`bind`] takes them.
macro_rules! columns {
    () => {
        "seq, id, at, expires, kind, tree, status, error, session, \
        user_agent, trace_id, total_us, first_byte_us, gateway_us, content, prompt, reply, metadata, postings, \
        api, stream, model_asked, model, answer_model, answer_id, route, backend, provider, stop, \
        input, cache_read, cache_write, cache_write_1h, output, reasoning, web_searches, usage_estimated, \
        cost, overrun, output_cap, attempts, degradations, tool_calls, \
        server, tool, method, is_error, tool_use_id, suggested"
    };
}
pub(crate) use columns;

/// How many they are.
pub(crate) const COLUMNS: usize = 49;

impl Insert for RecordRow {
    const HEAD: &'static str = concat!("INSERT INTO records (", columns!(), ") VALUES ");
    const COLUMNS: usize = COLUMNS;
    const TAIL: &'static str = " ON CONFLICT (id) DO NOTHING";

    fn bind(&self, to: &mut Sql) {
        bind(self, to);
    }
}

/// Gives all columns their values.
pub(crate) fn bind(row: &RecordRow, to: &mut Sql) {
    let entry = &row.entry;
    to.value(row.seq).value(entry.id).value(entry.at).value(entry.expires);
    to.value(i64::from(entry.kind)).value(row.tree).value(i64::from(entry.status));
    to.value(entry.error.as_deref()).value(entry.session.as_deref());
    to.value(entry.user_agent.as_deref()).value(entry.trace_id.as_deref());
    to.value(int(entry.total_us)).value(entry.first_byte_us.map(int)).value(int(entry.gateway_us));
    to.value(entry.kept as i64).value(row.prompt.as_deref()).value(row.reply.as_deref());
    to.value(entry.metadata.as_deref()).value(array(entry.postings.iter()));
    model(entry.model.as_deref(), to);
    tool(entry.tool.as_deref(), to);
}

fn model(model: Option<&ModelEntry>, to: &mut Sql) {
    let Some(m) = model else {
        for (null, count) in [
            (Value::Text(None), 1),
            (Value::Int(None), 1),
            (Value::Text(None), 8),
            (Value::Int(None), 11),
            (Value::Text(None), 3),
        ] {
            nulls(to, &null, count);
        }
        return;
    };
    to.value(&*m.api).value(m.stream).value(&*m.model_asked).value(m.model.as_deref());
    to.value(m.answer_model.as_deref()).value(m.answer_id.as_deref()).value(m.route.as_deref());
    to.value(m.backend.as_deref()).value(m.provider.as_deref()).value(m.stop.as_deref());
    to.value(m.usage.map(|u| int(u.input)));
    to.value(m.usage.map(|u| int(u.cache_read)));
    to.value(m.usage.map(|u| int(u.cache_write)));
    to.value(m.usage.map(|u| int(u.cache_write_1h)));
    to.value(m.usage.map(|u| int(u.output)));
    to.value(m.usage.map(|u| int(u.reasoning)));
    to.value(m.usage.map(|u| int(u.web_searches)));
    to.value(m.usage_estimated).value(m.cost.map(int)).value(int(m.overrun)).value(m.output_cap.map(int));
    to.value(m.attempts.as_deref()).value(m.degradations.as_deref()).value(array(m.tool_calls.iter()));
}

fn tool(tool: Option<&ToolEntry>, to: &mut Sql) {
    let Some(t) = tool else {
        for (null, count) in
            [(Value::Text(None), 3), (Value::Int(None), 1), (Value::Text(None), 1), (Value::Int(None), 1)]
        {
            nulls(to, &null, count);
        }
        return;
    };
    to.value(t.server.as_deref()).value(&*t.tool).value(&*t.method).value(t.is_error);
    to.value(t.tool_use_id.as_deref()).value(t.suggested);
}
