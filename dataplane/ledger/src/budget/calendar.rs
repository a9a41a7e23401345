//! Calendar windows: pure arithmetic over a time zone.

use super::{Period, Window};
use jiff::{Span, Timestamp, ToSpan, Zoned, civil::Date, tz::TimeZone};

/// Where no calendar reaches: one window without end.
const ALWAYS: Window = Window { start: i64::MIN, end: i64::MAX };

/// The calendar window of `period` that contains `now`. Days have 23 or 25 hours where the zone's clock changes.
pub(super) fn window(period: Period, zone: &TimeZone, now: i64) -> Window {
    let found = match period {
        Period::Minute => clock(zone, now, 60_000),
        Period::Hour => clock(zone, now, 3_600_000),
        Period::Day => dates(zone, now, Some, 1.day()),
        Period::Week => dates(zone, now, monday, 1.week()),
        Period::Month => dates(zone, now, |d| Some(d.first_of_month()), 1.month()),
        Period::Quarter => dates(zone, now, quarter, 3.months()),
        Period::Year => dates(zone, now, |d| Some(d.first_of_year()), 1.year()),
        // Rolling budgets have buckets, not calendar windows.
        Period::Rolling(_) => None,
    };
    found.unwrap_or(ALWAYS)
}

fn monday(date: Date) -> Option<Date> {
    let days = i64::from(date.weekday().to_monday_zero_offset());
    date.checked_sub(days.days()).ok()
}

fn quarter(date: Date) -> Option<Date> {
    let month = (date.month() - 1) / 3 * 3 + 1;
    Date::new(date.year(), month, 1).ok()
}

/// A window from one date's first instant to another's.
fn dates(zone: &TimeZone, now: i64, first: impl Fn(Date) -> Option<Date>, step: Span) -> Option<Window> {
    let local = Timestamp::from_millisecond(now).ok()?.to_zoned(zone.clone());
    let mut start = first(local.date())?;
    loop {
        let next = start.checked_add(step).ok()?;
        let window = Window { start: midnight(start, zone)?, end: midnight(next, zone)? };
        // Where a clock is set back across midnight the old date comes a second time: it belongs to the new window.
        if now < window.end {
            return Some(window);
        }
        start = next;
    }
}

/// A date's first instant; a date that the zone skipped (Pacific/Apia 2011-12-30) begins with the next one.
fn midnight(date: Date, zone: &TimeZone) -> Option<i64> {
    let zoned: Zoned = date.to_zoned(zone.clone()).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

/// Minutes and hours as the local clock shows them, cut where its offset changes: a repeated hour is two windows.
fn clock(zone: &TimeZone, now: i64, length: i64) -> Option<Window> {
    let at = Timestamp::from_millisecond(now).ok()?;
    let offset = zone.to_offset(at);
    let shift = i64::from(offset.seconds()) * 1000;
    let start = (now + shift).div_euclid(length) * length - shift;
    let (mut from, mut to) = (start, start + length);
    let after_now = Timestamp::from_millisecond(now + 1).ok()?;
    if let Some(last) =
        zone.preceding(after_now).find(|t| zone.to_offset(before(t.timestamp())) != t.offset())
    {
        from = from.max(last.timestamp().as_millisecond());
    }
    if let Some(next) = zone.following(at).find(|t| t.offset() != offset) {
        to = to.min(next.timestamp().as_millisecond());
    }
    Some(Window { start: from, end: to })
}

fn before(at: Timestamp) -> Timestamp {
    at.checked_sub(1.nanosecond()).unwrap_or(Timestamp::MIN)
}
