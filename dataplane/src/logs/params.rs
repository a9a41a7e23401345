//! What a URL's query asks for. The same names in pages and in the API.

use crate::records::{Cursor, Filter, KindFilter};
use jiff::{SignedDuration, Timestamp, civil::DateTime};
use serde::Deserialize;

/// The query of lists and spend. Empty values are as if they were not there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Params {
    /// Words to search.
    pub(crate) q: String,
    /// A key: its records and those below it.
    pub(crate) key: String,
    /// `route/model`.
    pub(crate) model: String,
    /// `failed`, `4xx`, `404`.
    pub(crate) status: String,
    /// `model` or `tool`.
    pub(crate) kind: String,
    /// The client's session.
    pub(crate) session: String,
    /// How far back: `15m`, `1h`, `24h`, `7d`, `30d`.
    pub(crate) since: String,
    /// From, and until before: RFC 3339, or a date and time in the zone of `tz`.
    pub(crate) from: String,
    pub(crate) to: String,
    /// Minutes that the viewer's clock is ahead of UTC.
    pub(crate) tz: String,
    /// Where a page begins: `next` of the page before.
    pub(crate) cursor: String,
    /// Records a page.
    pub(crate) limit: String,
    /// For live views: the `seq` after which to begin.
    pub(crate) after: String,
}

/// A value that cannot be understood: a 400 with these words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?} is not understood; {expected}")]
pub(crate) struct BadParam {
    name: &'static str,
    value: String,
    expected: &'static str,
}

// === impl Params ===

impl Params {
    /// The filter at `now` (Unix milliseconds).
    pub(crate) fn filter(&self, now: i64) -> Result<Filter, BadParam> {
        let status = parsed("status", &self.status, "use failed, 2xx, 4xx, 5xx or a status such as 429")?;
        let kind = match self.kind.trim() {
            "" => None,
            "model" => Some(KindFilter::Model),
            "tool" => Some(KindFilter::Tool),
            other => return Err(bad("kind", other, "use model or tool")),
        };
        let since = self.hours()?.map(|span| now - span);
        let from = self.time("from", &self.from)?;
        Ok(Filter {
            key: some(&self.key),
            model: some(&self.model),
            status,
            from: from.or(since),
            to: self.time("to", &self.to)?,
            text: some(&self.q),
            kind,
            session: some(&self.session),
        })
    }

    /// The length of `since` in milliseconds.
    fn hours(&self) -> Result<Option<i64>, BadParam> {
        let text = self.since.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = || bad("since", text, "use a number with m, h or d, such as 15m, 24h or 7d");
        let unit = match text.as_bytes().last() {
            Some(b'm') => 60_000,
            Some(b'h') => 3_600_000,
            Some(b'd') => 86_400_000,
            _ => return Err(wrong()),
        };
        let count: i64 = text.get(..text.len() - 1).and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
        if !(0..=1_000_000).contains(&count) {
            return Err(wrong());
        }
        Ok(Some(count * unit))
    }

    /// `since` in whole hours, for spend; a week when it is absent. At most 400 days.
    pub(crate) fn spend_hours(&self) -> Result<i64, BadParam> {
        Ok(self.hours()?.map_or(7 * 24, |ms| (ms / 3_600_000).clamp(1, 400 * 24)))
    }

    /// Minutes ahead of UTC; 0 when absent or beyond any zone.
    pub(crate) fn offset(&self) -> i64 {
        self.tz.trim().parse().ok().filter(|m| (-14 * 60..=14 * 60).contains(m)).unwrap_or(0)
    }

    fn time(&self, name: &'static str, text: &str) -> Result<Option<i64>, BadParam> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Ok(Some(instant.as_millisecond()));
        }
        let civil: Option<DateTime> = text.parse().ok();
        let local = civil.and_then(|t| t.to_zoned(jiff::tz::TimeZone::UTC).ok());
        let instant =
            local.and_then(|t| t.timestamp().checked_sub(SignedDuration::from_mins(self.offset())).ok());
        let expected = "use RFC 3339, such as 2026-11-23T05:00:00Z, or a local date and time";
        instant.map(|t| Some(t.as_millisecond())).ok_or_else(|| bad(name, text, expected))
    }

    /// Where the page begins.
    pub(crate) fn cursor(&self) -> Result<Option<Cursor>, BadParam> {
        parsed("cursor", &self.cursor, "use `next` of the page before")
    }

    /// Records a page.
    pub(crate) fn limit(&self) -> Result<usize, BadParam> {
        let limit: Option<usize> = parsed("limit", &self.limit, "use a number from 1 to 500")?;
        Ok(limit.unwrap_or(50))
    }

    /// The `seq` after which a live view begins.
    pub(crate) fn after(&self) -> Result<Option<i64>, BadParam> {
        parsed("after", &self.after, "use the highest `seq` seen so far")
    }

    /// This query as a URL's, with `change` in place of some values; empty ones are left out.
    pub(crate) fn link(&self, change: &[(&str, &str)]) -> String {
        let own = [
            ("q", &self.q),
            ("key", &self.key),
            ("model", &self.model),
            ("status", &self.status),
            ("kind", &self.kind),
            ("session", &self.session),
            ("since", &self.since),
            ("from", &self.from),
            ("to", &self.to),
            ("tz", &self.tz),
        ];
        let mut out = String::new();
        let kept = own.into_iter().filter(|(name, _)| change.iter().all(|(n, _)| n != name));
        for (name, value) in kept.map(|(n, v)| (n, v.trim())).chain(change.iter().copied()) {
            if value.is_empty() {
                continue;
            }
            out.push(if out.is_empty() { '?' } else { '&' });
            out.push_str(name);
            out.push('=');
            escape(value, &mut out);
        }
        out
    }
}

/// Percent-escapes a query's value.
fn escape(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/' | b':') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn some(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn parsed<T: std::str::FromStr>(
    name: &'static str,
    text: &str,
    expected: &'static str,
) -> Result<Option<T>, BadParam> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| bad(name, text, expected)),
    }
}

fn bad(name: &'static str, value: &str, expected: &'static str) -> BadParam {
    BadParam { name, value: value.chars().take(100).collect(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::StatusFilter;

    #[test]
    fn reads_what_forms_and_programs_send() {
        let params = Params {
            status: "4xx".into(),
            since: "15m".into(),
            key: " eng/alice ".into(),
            ..Params::default()
        };
        let filter = params.filter(1_000_000_000).unwrap();
        assert_eq!(filter.status, Some(StatusFilter::Class(4)));
        assert_eq!(filter.from, Some(1_000_000_000 - 900_000));
        assert_eq!(filter.key.as_deref(), Some("eng/alice"));
        let local = Params {
            from: "2026-11-20T13:00".into(),
            tz: "60".into(),
            to: "2026-11-20T12:00:01Z".into(),
            ..Params::default()
        };
        let filter = local.filter(0).unwrap();
        assert_eq!((filter.from, filter.to), (Some(1_795_176_000_000), Some(1_795_176_001_000)));
        assert!(Params::default().filter(0).unwrap().is_empty());
    }

    #[test]
    fn says_what_is_wrong() {
        let p = Params::default;
        for (params, name) in [
            (Params { status: "teapot".into(), ..p() }, "status"),
            (Params { since: "99999999999d".into(), ..p() }, "since"),
            (Params { since: "µ".into(), ..p() }, "since"),
            (Params { from: "yesterday".into(), ..p() }, "from"),
            (Params { kind: "x".into(), ..p() }, "kind"),
        ] {
            assert_eq!(params.filter(0).unwrap_err().name, name);
        }
        assert!(Params { cursor: "1-".into(), ..p() }.cursor().is_err());
        assert!(Params { limit: "-3".into(), ..p() }.limit().is_err());
    }

    #[test]
    fn links_keep_the_query() {
        let params =
            Params { q: "a b&c".into(), status: "4xx".into(), cursor: "9-9".into(), ..Params::default() };
        assert_eq!(params.link(&[("status", ""), ("cursor", "1-2")]), "?q=a%20b%26c&cursor=1-2");
    }
}
