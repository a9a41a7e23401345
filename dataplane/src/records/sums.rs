//! Sums that a batch adds to: counters (for the ledger), spend and latency by hour. A batch upserts each counter once.

use super::{
    entry::{BindError, Entry, Line, RecordRow, Unit, int},
    insert::{Insert, insert},
};
use sqlx::{Arguments as _, SqliteConnection, sqlite::SqliteArguments};
use std::collections::HashMap;

/// What one batch adds.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    counters: Vec<CounterRow>,
    spend: Vec<SpendRow>,
    latencies: Vec<LatencyRow>,
}

#[derive(Debug)]
struct CounterRow {
    line: Line,
}

#[derive(Debug, Clone, Default)]
struct SpendRow {
    name: String,
    hour: i64,
    kind: u8,
    tree: i64,
    requests: u64,
    failed: u64,
    unpriced: u64,
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
    cost: u64,
}

#[derive(Debug)]
struct LatencyRow {
    span: i64,
    slot: i64,
    kind: u8,
    tree: i64,
    name: String,
    part: u8,
    bucket: i64,
    count: i64,
}

/// The spans of histograms in hours.
const SPANS: [i64; 2] = [1, 24];

// === Buckets ===

/// The histogram bucket of a latency in microseconds: a quarter of a power of two.
pub(crate) fn bucket(us: u64) -> i64 {
    if us < 4 {
        return us as i64;
    }
    let power = us.ilog2();
    let quarter = (us >> (power - 2)) & 3;
    i64::from(power) * 4 + quarter as i64 - 4
}

/// The middle of a bucket in microseconds.
pub(crate) fn bucket_middle(bucket: i64) -> u64 {
    if bucket < 4 {
        return bucket.max(0) as u64;
    }
    let (power, quarter) = ((bucket + 4) / 4, ((bucket + 4) % 4) as u64);
    let step = 1u64 << (power.min(61) - 2);
    (4 + quarter) * step + step / 2
}

// === impl Sums ===

impl Sums {
    /// The sums of a batch.
    pub(crate) fn of(records: &[RecordRow]) -> Self {
        let mut sums = Sums::default();
        let mut counters: HashMap<(&str, &str, i64, i64, Unit), usize> = HashMap::new();
        let mut spend: HashMap<(i64, i64, u8, std::borrow::Cow<'_, str>), usize> = HashMap::new();
        let mut latencies: HashMap<(usize, i64, u8, i64), usize> = HashMap::new();
        for RecordRow { tree, entry, .. } in records {
            for line in &entry.postings {
                let at = *counters
                    .entry((&line.key, &line.budget, line.start, line.end, line.unit))
                    .or_insert_with(|| {
                        push(&mut sums.counters, CounterRow { line: Line { amount: 0, ..line.clone() } })
                    });
                if let Some(row) = sums.counters.get_mut(at) {
                    row.line.amount = row.line.amount.saturating_add(line.amount);
                    row.line.limit = line.limit;
                }
            }
            let hour = entry.at.div_euclid(3_600_000);
            let name = entry.name();
            let at = *spend.entry((hour, *tree, entry.kind, name.clone())).or_insert_with(|| {
                let row = SpendRow {
                    name: name.into_owned(),
                    hour,
                    kind: entry.kind,
                    tree: *tree,
                    ..SpendRow::default()
                };
                push(&mut sums.spend, row)
            });
            let Some(row) = sums.spend.get_mut(at) else { continue };
            row.add(entry);
            if entry.status >= 400 {
                continue;
            }
            let parts = [Some(entry.total_us), entry.first_byte_us, Some(entry.gateway_us)];
            let cells = (0u8..).zip(parts).flat_map(|(part, us)| SPANS.map(|span| (span, part, us)));
            for (span, part, us) in cells {
                let Some(bucket) = us.map(bucket) else { continue };
                let at = *latencies
                    .entry((at, span, part, bucket))
                    .or_insert_with(|| push(&mut sums.latencies, LatencyRow::new(row, span, part, bucket)));
                if let Some(row) = sums.latencies.get_mut(at) {
                    row.count += 1;
                }
            }
        }
        sums
    }

    /// Adds them to the tables.
    pub(crate) async fn write(&self, conn: &mut SqliteConnection) -> sqlx::Result<()> {
        insert(conn, &self.counters).await?;
        insert(conn, &self.spend).await?;
        insert(conn, &self.latencies).await?;
        Ok(())
    }
}

fn push<T>(list: &mut Vec<T>, row: T) -> usize {
    list.push(row);
    list.len() - 1
}

// === Rows ===

impl SpendRow {
    fn add(&mut self, entry: &Entry) {
        self.requests += 1;
        self.failed += u64::from(entry.status >= 400 || entry.tool.as_ref().is_some_and(|t| t.is_error));
        let Some(model) = &entry.model else { return };
        self.cost = self.cost.saturating_add(model.cost.unwrap_or(0));
        let Some(usage) = model.usage else { return };
        self.unpriced += u64::from(model.cost.is_none());
        self.input = self.input.saturating_add(usage.input);
        self.cache_read = self.cache_read.saturating_add(usage.cache_read);
        self.cache_write =
            self.cache_write.saturating_add(usage.cache_write).saturating_add(usage.cache_write_1h);
        self.output = self.output.saturating_add(usage.output);
    }
}

impl LatencyRow {
    fn new(of: &SpendRow, span: i64, part: u8, bucket: i64) -> Self {
        let slot = of.hour.div_euclid(span);
        LatencyRow { span, slot, kind: of.kind, tree: of.tree, name: of.name.clone(), part, bucket, count: 0 }
    }
}

impl Insert for CounterRow {
    const HEAD: &'static str =
        "INSERT INTO counters (key, budget, window_start, window_end, unit, last_limit, amount) VALUES ";
    const COLUMNS: usize = 7;
    const TAIL: &'static str = " ON CONFLICT (key, budget, window_start, window_end, unit) \
        DO UPDATE SET amount = amount + excluded.amount, last_limit = excluded.last_limit";

    fn bind(&self, args: &mut SqliteArguments) -> Result<(), BindError> {
        args.add(&*self.line.key)?;
        args.add(&*self.line.budget)?;
        args.add(self.line.start)?;
        args.add(self.line.end)?;
        args.add(self.line.unit as i64)?;
        args.add(int(self.line.limit))?;
        args.add(int(self.line.amount))
    }
}

impl Insert for SpendRow {
    const HEAD: &'static str = "INSERT INTO spend (hour, kind, tree, name, requests, failed, unpriced, \
        input, cache_read, cache_write, output, cost) VALUES ";
    const COLUMNS: usize = 12;
    const TAIL: &'static str = " ON CONFLICT (hour, kind, tree, name) DO UPDATE SET \
        requests = requests + excluded.requests, failed = failed + excluded.failed, \
        unpriced = unpriced + excluded.unpriced, input = input + excluded.input, \
        cache_read = cache_read + excluded.cache_read, cache_write = cache_write + excluded.cache_write, \
        output = output + excluded.output, cost = cost + excluded.cost";

    fn bind(&self, args: &mut SqliteArguments) -> Result<(), BindError> {
        args.add(self.hour)?;
        args.add(i64::from(self.kind))?;
        args.add(self.tree)?;
        args.add(&*self.name)?;
        for amount in [
            self.requests,
            self.failed,
            self.unpriced,
            self.input,
            self.cache_read,
            self.cache_write,
            self.output,
            self.cost,
        ] {
            args.add(int(amount))?;
        }
        Ok(())
    }
}

impl Insert for LatencyRow {
    const HEAD: &'static str =
        "INSERT INTO latencies (span, slot, kind, tree, name, part, bucket, count) VALUES ";
    const COLUMNS: usize = 8;
    const TAIL: &'static str = " ON CONFLICT (span, slot, kind, tree, name, part, bucket) \
        DO UPDATE SET count = count + excluded.count";

    fn bind(&self, args: &mut SqliteArguments) -> Result<(), BindError> {
        args.add(self.span)?;
        args.add(self.slot)?;
        args.add(i64::from(self.kind))?;
        args.add(self.tree)?;
        args.add(&*self.name)?;
        args.add(i64::from(self.part))?;
        args.add(self.bucket)?;
        args.add(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::{bucket, bucket_middle};

    #[test]
    fn buckets_are_narrow_and_ordered() {
        let mut last = -1;
        for us in (0..64).chain((6..40).map(|p| (1u64 << p) + 7)) {
            let b = bucket(us);
            assert!(b >= last, "{us}");
            last = b;
            let error = bucket_middle(b).abs_diff(us);
            assert!(us < 4 && error == 0 || error * 7 <= us, "{us} is shown as {}", bucket_middle(b));
        }
    }
}
