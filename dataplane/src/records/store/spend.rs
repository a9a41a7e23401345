//! Spend and latency over a period, from the sums by hour: their time does not grow with the number of records.

use super::{Store, filter::Scope};
use crate::records::{db::Row, sums::bucket_middle, viewer::Viewer};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// A period in whole hours, and where days begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Period {
    /// First hour, Unix hours.
    pub from: i64,
    /// First hour after it.
    pub to: i64,
    /// Minutes that the viewer's clock is ahead of UTC: where days begin.
    pub offset: i64,
}

/// Sums over a period.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Spend {
    /// All model requests.
    pub total: Sum,
    /// All tool calls.
    pub tool_calls: Sum,
    /// By key, the dearest first.
    pub by_key: Vec<Named>,
    /// By model, the dearest first.
    pub by_model: Vec<Named>,
    /// By tool (`server:tool`), the most called first.
    pub by_tool: Vec<Named>,
    /// By day (its first millisecond as the name's number), every day of the period.
    pub by_day: Vec<(i64, Sum)>,
    /// Latency of model requests that succeeded.
    pub latency: Latencies,
}

/// A sum with its name.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Named {
    /// The key, model or tool; empty when none was identified.
    pub name: String,
    /// Its sum.
    #[serde(flatten)]
    pub sum: Sum,
    /// Its latency; not by key.
    pub latency: Option<Latencies>,
}

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Requests.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that used tokens of a model without a price.
    pub unpriced: u64,
    /// Input tokens, not from or to a cache.
    pub input: u64,
    /// Tokens read from caches.
    pub cache_read: u64,
    /// Tokens written to caches.
    pub cache_write: u64,
    /// Output tokens.
    pub output: u64,
    /// Nano-USD.
    pub cost: u64,
}

/// Percentiles in microseconds, exact to about 12 %; `None` without a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Latencies {
    /// From the first byte of the request to the last of the answer: median and 95th percentile.
    pub total: Option<(u64, u64)>,
    /// Until the upstream's first byte.
    pub first_byte: Option<(u64, u64)>,
    /// In the gateway before the request left.
    pub gateway: Option<(u64, u64)>,
}

type Histogram = BTreeMap<i64, u64>;

/// The most names in each list.
const NAMES_MAX: usize = 200;
/// Up to so many hours, histograms are read by the hour.
const HOURS_MAX: i64 = 48;
/// The most days in a series.
const DAYS_MAX: i64 = 400;

// === impl Store ===

impl Store {
    /// Sums over a period, of what `viewer` sees; only of `key` and the keys below it, when given.
    pub async fn spend(&self, viewer: &Viewer, period: Period, key: Option<&str>) -> sqlx::Result<Spend> {
        let scope = self.scope(viewer, key).await?;
        if *viewer == Viewer::Nobody || scope.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Spend {
                by_day: period.days().map(|day| (day, Sum::default())).collect(),
                ..Spend::default()
            });
        }
        let mut spend = self.sums(period, &scope).await?;
        self.latencies(period, &scope, &mut spend).await?;
        Ok(spend)
    }

    async fn sums(&self, period: Period, scope: &Scope) -> sqlx::Result<Spend> {
        let mut sql = self.pool.sql();
        sql.bind("SELECT (hour * 60 + ?) / 1440 AS day, kind, tree, name", period.offset);
        for column in
            ["requests", "failed", "unpriced", "input", "cache_read", "cache_write", "output", "cost"]
        {
            sql.push(", CAST(SUM(").push(column).push(") AS BIGINT)");
        }
        sql.bind(" FROM spend WHERE hour >= ?", period.from).bind(" AND hour < ?", period.to);
        sql.scope("tree", scope).push(" GROUP BY 1, 2, 3, 4");
        let mut spend = Spend::default();
        let (mut keys, mut models, mut tools) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut days: BTreeMap<i64, Sum> = period.days().map(|day| (day, Sum::default())).collect();
        for row in self.pool.fetch_all(sql).await? {
            let sum = Sum::read(&row)?;
            let name = row.text(3)?;
            if row.int(1)? == 1 {
                spend.tool_calls.add(&sum);
                tools.entry(name).or_insert_with(Sum::default).add(&sum);
                continue;
            }
            let path = self.trees.path(row.int(2)?);
            let key = path.first().map_or("", |key| key).to_owned();
            spend.total.add(&sum);
            keys.entry(key).or_insert_with(Sum::default).add(&sum);
            models.entry(name).or_insert_with(Sum::default).add(&sum);
            days.entry(period.day_start(row.int(0)?)).or_default().add(&sum);
        }
        spend.by_key = named(keys, |sum| sum.cost);
        spend.by_model = named(models, |sum| sum.cost);
        spend.by_tool = named(tools, |sum| sum.requests);
        spend.by_day = days.into_iter().collect();
        Ok(spend)
    }

    async fn latencies(&self, period: Period, scope: &Scope, spend: &mut Spend) -> sqlx::Result<()> {
        let mut sql = self.pool.sql();
        // By the day, in UTC, where hours are too many (or too old to be there).
        let span = if period.to - period.from <= HOURS_MAX { 1 } else { 24 };
        sql.push("SELECT kind, name, part, bucket, CAST(SUM(count) AS BIGINT) FROM latencies");
        sql.bind(" WHERE span = ?", span);
        sql.bind(" AND slot >= ?", period.from.div_euclid(span));
        sql.bind(" AND slot <= ?", (period.to - 1).div_euclid(span));
        sql.scope("tree", scope).push(" GROUP BY 1, 2, 3, 4");
        let mut all: [Histogram; 3] = Default::default();
        let mut by_name: HashMap<(i64, String), [Histogram; 3]> = HashMap::new();
        for row in self.pool.fetch_all(sql).await? {
            let (kind, name) = (row.int(0)?, row.text(1)?);
            let part = usize::try_from(row.int(2)?).unwrap_or(0).min(2);
            let (bucket, count) = (row.int(3)?, row.int(4)?);
            let add = |histograms: &mut [Histogram; 3]| {
                if let Some(histogram) = histograms.get_mut(part) {
                    *histogram.entry(bucket).or_default() += count.unsigned_abs();
                }
            };
            if kind == 0 {
                add(&mut all);
            }
            add(by_name.entry((kind, name)).or_default());
        }
        spend.latency = Latencies::of(&all);
        for (kind, list) in [(0, &mut spend.by_model), (1, &mut spend.by_tool)] {
            for named in list {
                named.latency = by_name.get(&(kind, named.name.clone())).map(Latencies::of);
            }
        }
        Ok(())
    }
}

fn named(sums: HashMap<String, Sum>, by: impl Fn(&Sum) -> u64) -> Vec<Named> {
    let mut list: Vec<Named> =
        sums.into_iter().map(|(name, sum)| Named { name, sum, latency: None }).collect();
    list.sort_by(|a, b| by(&b.sum).cmp(&by(&a.sum)).then_with(|| a.name.cmp(&b.name)));
    list.truncate(NAMES_MAX);
    list
}

// === impl Period ===

impl Period {
    /// The period that ends with the hour of `now` (Unix milliseconds) and lasts `hours`.
    pub fn last(now: i64, hours: i64, offset: i64) -> Self {
        let to = now.div_euclid(3_600_000) + 1;
        Period { from: to - hours, to, offset }
    }

    /// The first milliseconds of its days.
    fn days(self) -> impl Iterator<Item = i64> {
        let day = move |hour: i64| (hour * 60 + self.offset).div_euclid(1440);
        let (first, last) = (day(self.from), day(self.to - 1));
        (first.max(last - DAYS_MAX)..=last).map(move |day| self.day_start(day))
    }

    fn day_start(self, day: i64) -> i64 {
        (day * 1440 - self.offset) * 60_000
    }
}

// === impl Sum ===

impl Sum {
    fn read(row: &Row) -> sqlx::Result<Self> {
        let amount = |at: usize| row.int(at).map(|amount| amount.max(0).unsigned_abs());
        Ok(Sum {
            requests: amount(4)?,
            failed: amount(5)?,
            unpriced: amount(6)?,
            input: amount(7)?,
            cache_read: amount(8)?,
            cache_write: amount(9)?,
            output: amount(10)?,
            cost: amount(11)?,
        })
    }

    fn add(&mut self, other: &Sum) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.unpriced += other.unpriced;
        self.input = self.input.saturating_add(other.input);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
        self.output = self.output.saturating_add(other.output);
        self.cost = self.cost.saturating_add(other.cost);
    }

    /// All input tokens.
    pub fn total_input(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }
}

// === impl Latencies ===

impl Latencies {
    fn of(parts: &[Histogram; 3]) -> Self {
        let [total, first_byte, gateway] =
            parts.each_ref().map(|h| Some((percentile(h, 50)?, percentile(h, 95)?)));
        Latencies { total, first_byte, gateway }
    }
}

/// The value that `percent` of the counted stay at or below.
fn percentile(histogram: &Histogram, percent: u64) -> Option<u64> {
    let all: u64 = histogram.values().sum();
    let rank = (all * percent).div_ceil(100);
    let mut seen = 0;
    histogram
        .iter()
        .find(|(_, count)| {
            seen += **count;
            seen >= rank
        })
        .map(|(bucket, _)| bucket_middle(*bucket))
}
