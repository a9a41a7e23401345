use super::*;
use jiff::{Timestamp, tz::TimeZone};
use proptest::prelude::*;

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn budget(period: Period, zone: &str) -> Budget {
    Budget::new("b", Limit::NanoUsd(1), period, TimeZone::get(zone).unwrap())
}

/// Start and end of the window at `now`, in the zone's own time.
fn shown(period: Period, zone: &str, now: &str) -> (String, String) {
    let window = budget(period, zone).window(ms(now));
    let local = |at| {
        let zoned = Timestamp::from_millisecond(at).unwrap().in_tz(zone).unwrap();
        zoned.strftime("%Y-%m-%d %H:%M %:z").to_string()
    };
    (local(window.start), local(window.end))
}

fn hours(window: Window) -> i64 {
    window.length() / 3_600_000
}

#[test]
fn calendar_windows_follow_the_zone() {
    for (period, zone, now, start, end) in [
        (Period::Minute, "UTC", "2026-03-04T05:06:07Z", "2026-03-04 05:06 +00:00", "2026-03-04 05:07 +00:00"),
        (
            Period::Hour,
            "Asia/Kathmandu",
            "2026-03-04T05:06:07Z",
            "2026-03-04 10:00 +05:45",
            "2026-03-04 11:00 +05:45",
        ),
        (
            Period::Day,
            "Asia/Kathmandu",
            "2026-03-04T18:20:00Z",
            "2026-03-05 00:00 +05:45",
            "2026-03-06 00:00 +05:45",
        ),
        (
            Period::Day,
            "America/New_York",
            "2026-01-01T04:59:59Z",
            "2025-12-31 00:00 -05:00",
            "2026-01-01 00:00 -05:00",
        ),
        (
            Period::Week,
            "Europe/Berlin",
            "2026-03-01T12:00:00Z",
            "2026-02-23 00:00 +01:00",
            "2026-03-02 00:00 +01:00",
        ),
        (
            Period::Week,
            "Europe/Berlin",
            "2026-03-01T23:00:00Z",
            "2026-03-02 00:00 +01:00",
            "2026-03-09 00:00 +01:00",
        ),
        (Period::Week, "UTC", "2027-01-01T00:00:00Z", "2026-12-28 00:00 +00:00", "2027-01-04 00:00 +00:00"),
        (
            Period::Month,
            "Europe/Berlin",
            "2026-03-31T21:59:59Z",
            "2026-03-01 00:00 +01:00",
            "2026-04-01 00:00 +02:00",
        ),
        (
            Period::Month,
            "Europe/Berlin",
            "2026-03-31T22:00:00Z",
            "2026-04-01 00:00 +02:00",
            "2026-05-01 00:00 +02:00",
        ),
        (
            Period::Quarter,
            "UTC",
            "2026-12-31T23:59:59Z",
            "2026-10-01 00:00 +00:00",
            "2027-01-01 00:00 +00:00",
        ),
        (
            Period::Year,
            "Pacific/Apia",
            "2025-12-31T11:00:00Z",
            "2026-01-01 00:00 +13:00",
            "2027-01-01 00:00 +13:00",
        ),
    ] {
        assert_eq!(shown(period, zone, now), (start.into(), end.into()), "{period:?} {zone} {now}");
    }
}

#[test]
fn days_are_23_or_25_hours_long_where_the_clock_changes() {
    for (zone, now, length) in [
        ("Europe/Berlin", "2026-03-29T10:00:00Z", 23),
        ("Europe/Berlin", "2026-03-30T10:00:00Z", 24),
        ("Europe/Berlin", "2026-10-25T10:00:00Z", 25),
        ("America/New_York", "2026-11-01T12:00:00Z", 25),
        ("America/Sao_Paulo", "2018-11-04T12:00:00Z", 23), // no midnight: the day begins at one
        ("America/Havana", "2019-11-03T12:00:00Z", 25),    // the hour after midnight twice
    ] {
        assert_eq!(hours(budget(Period::Day, zone).window(ms(now))), length, "{zone} {now}");
    }
}

#[test]
fn a_day_that_a_zone_skipped_is_no_window() {
    // Samoa had no 30 December 2011.
    let apia = budget(Period::Day, "Pacific/Apia");
    let before = apia.window(ms("2011-12-30T09:59:59Z"));
    let after = apia.window(ms("2011-12-30T10:00:00Z"));
    assert_eq!(before.end, after.start);
    assert_eq!((hours(before), hours(after)), (24, 24));
}

#[test]
fn a_repeated_hour_is_two_windows() {
    let berlin = budget(Period::Hour, "Europe/Berlin");
    let first = berlin.window(ms("2026-10-25T00:30:00Z"));
    let second = berlin.window(ms("2026-10-25T01:30:00Z"));
    assert_eq!((hours(first), hours(second), first.end), (1, 1, second.start));
    // Lord Howe's clock goes back by half an hour at two: half past one to two comes twice.
    let howe = budget(Period::Hour, "Australia/Lord_Howe");
    let before = howe.window(ms("2026-04-04T14:59:59Z"));
    let after = howe.window(ms("2026-04-04T15:00:00Z"));
    assert_eq!((before.length(), before.end), (3_600_000, after.start));
    assert_eq!(after.length(), 1_800_000);
}

#[test]
fn buckets_are_a_sixtieth_of_the_span_and_live_a_span_longer() {
    let rolling = budget(Period::Rolling(86_400), "UTC");
    let now = ms("2026-03-04T05:06:07Z");
    let window = rolling.window(now);
    assert_eq!(window.start, ms("2026-03-04T04:48:00Z"));
    assert_eq!(window.end, ms("2026-03-05T05:12:00Z"));
    assert!(rolling.counts(window, window.end - 1));
    assert!(!rolling.counts(window, window.end));
    let other = budget(Period::Rolling(3_600), "UTC");
    assert!(!other.counts(window, now), "a bucket of another span");
}

#[test]
fn times_beyond_the_calendar_do_not_panic() {
    for period in [Period::Minute, Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year] {
        for now in [i64::MIN, i64::MIN + 1, -377_705_023_201_000, 253_402_207_200_000, i64::MAX - 1] {
            let window = budget(period, "Asia/Kathmandu").window(now);
            assert!(window.contains(now), "{period:?} {now}: {window:?}");
        }
    }
    for seconds in [0, 1, u64::MAX] {
        for now in [i64::MIN, -1, 0, i64::MAX] {
            let _window = budget(Period::Rolling(seconds), "UTC").window(now);
        }
    }
}

#[test]
fn the_remembered_window_is_never_a_mixture() {
    let budget = budget(Period::Minute, "UTC");
    std::thread::scope(|scope| {
        for thread in 0..4_i64 {
            let budget = &budget;
            scope.spawn(move || {
                for i in 0..200_000_i64 {
                    let now = (i / 7 + thread) * 20_000;
                    let start = now.div_euclid(60_000) * 60_000;
                    assert_eq!(budget.window(now), Window { start, end: start + 60_000 });
                }
            });
        }
    });
}

const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "America/Havana",
    "America/St_Johns",
    "Africa/Casablanca",
    "Asia/Tehran",
];

const PERIODS: [Period; 7] =
    [Period::Minute, Period::Hour, Period::Day, Period::Week, Period::Month, Period::Quarter, Period::Year];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn windows_tile_time(
        zone in 0..ZONES.len(),
        period in 0..PERIODS.len(),
        // 1980 to 2050, when clocks changed by today's habits and by older ones.
        now in 315_532_800_000_i64..2_524_608_000_000,
    ) {
        let budget = budget(PERIODS[period], ZONES[zone]);
        let window = budget.window(now);
        prop_assert!(window.contains(now), "{window:?}");
        for inside in [window.start, window.end - 1, now] {
            prop_assert_eq!(budget.window(inside), window, "one window, whatever the time in it");
        }
        prop_assert_eq!(budget.window(window.start - 1).end, window.start, "no gap and no overlap before");
        prop_assert_eq!(budget.window(window.end).start, window.end, "no gap and no overlap after");
    }

    #[test]
    fn windows_tile_time_around_every_change_of_the_clock(
        zone in 0..ZONES.len(), period in 0..PERIODS.len(), from in 315_532_800_000_i64..2_524_608_000_000, off in -2_i64..3,
    ) {
        let budget = budget(PERIODS[period], ZONES[zone]);
        let after = Timestamp::from_millisecond(from).unwrap();
        let Some(change) = budget.zone.following(after).next() else { return Ok(()) };
        let now = change.timestamp().as_millisecond() + off * 1_800_000;
        for now in [now - 1, now] {
            let window = budget.window(now);
            prop_assert!(window.contains(now), "{window:?}");
            prop_assert_eq!(budget.window(window.start), window);
            prop_assert_eq!(budget.window(window.end - 1), window);
            prop_assert_eq!(budget.window(window.start - 1).end, window.start);
            prop_assert_eq!(budget.window(window.end).start, window.end);
        }
    }

    #[test]
    fn a_rolling_charge_counts_for_the_span_and_at_most_a_bucket_more(
        seconds in 1_u64..40_000_000, charged in 0_i64..2_000_000_000_000, later in 0_i64..80_000_000_000,
    ) {
        let budget = budget(Period::Rolling(seconds), "UTC");
        let span = seconds as i64 * 1_000;
        let window = budget.window(charged);
        let counts = budget.counts(window, charged + later);
        if later < span {
            prop_assert!(counts);
        }
        if later >= span + span / BUCKETS {
            prop_assert!(!counts);
        }
    }
}
