//! What a process writes on stderr: lines for people, or one JSON object a line.
//!
//! A JSON line has `timestamp`, `level`, `target`, `message`, then the event's own fields, of which an error is always `error`,
//! and `trace_id` and `span_id` when it was written for a request that is in a trace.

use crate::trace;
use std::fmt;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Which lines are written, by target and level: `info,tollgate_dataplane=debug`.
pub const FILTER_VARIABLE: &str = "TOLLGATE_LOG";

/// Events as JSON lines.
struct Json;

/// The members of one line.
struct Line(String);

/// Begins to write logs; `filter`: which, unless [`FILTER_VARIABLE`] says otherwise. To be called once.
pub fn init(json: bool, filter: &str) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(filter));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match json {
        true => log.event_format(Json).init(),
        false => log.with_target(false).init(),
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line(String::with_capacity(256));
        line.text("timestamp", &format!("{:.6}", jiff::Timestamp::now()));
        line.text("level", event.metadata().level().as_str());
        line.text("target", event.metadata().target());
        event.record(&mut line);
        if let Some(place) = trace::current() {
            let context = place.context();
            line.text("trace_id", &context.trace_id().to_string());
            line.text("span_id", &context.span_id().to_string());
        }
        writeln!(to, "{}}}", line.0)
    }
}

// === impl Line ===

impl Line {
    fn member(&mut self, name: &str, value: &serde_json::Value) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&serde_json::Value::from(name).to_string());
        self.0.push(':');
        self.0.push_str(&value.to_string());
    }

    fn text(&mut self, name: &str, value: &str) {
        self.member(name, &value.into());
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field.name(), &value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field.name(), &value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field.name(), &value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field.name(), &value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::{io, sync::Arc};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_line_is_json_with_the_ids_of_its_trace() {
        let written = Written::default();
        let to = written.clone();
        let log = tracing_subscriber::fmt().event_format(Json).with_writer(move || to.clone()).finish();
        let _default = tracing::subscriber::set_default(log);
        let error = io::Error::other("no \"disk\"");
        tracing::warn!(%error, tries = 3, whole = true, "it \n failed");
        let context = trace::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None);
        let place = trace::begin(None, "", opentelemetry::trace::SpanKind::Server, context.as_ref());
        trace::scope(place, async { tracing::info!("inside") }).await;
        let text = String::from_utf8(written.0.lock().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["message"], "it \n failed");
        assert_eq!((&lines[0]["error"], &lines[0]["tries"]), (&"no \"disk\"".into(), &3.into()));
        assert_eq!((&lines[0]["level"], lines[0].get("trace_id")), (&"WARN".into(), None));
        assert!(lines[0]["timestamp"].as_str().unwrap().ends_with('Z'), "{text}");
        assert_eq!(lines[1]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(lines[1]["span_id"], "00f067aa0ba902b7");
    }
}
