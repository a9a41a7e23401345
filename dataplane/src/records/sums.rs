//! Sums that a batch adds to: counters (for the ledger), spend and latency by hour. A batch upserts each counter once.

use super::{
    db::{Sql, Tx},
    entry::{Entry, Line, Unit, int},
    insert::{Insert, insert},
};
use std::{borrow::Cow, collections::HashMap};

/// What one batch adds.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    counters: Vec<CounterRow>,
    spend: Vec<SpendRow>,
    latencies: Vec<LatencyRow>,
    places: Places,
}

/// Where the sums of a batch are in its lists.
#[derive(Debug, Default)]
struct Places {
    counters: HashMap<(String, String, i64, i64, Unit), usize>,
    spend: HashMap<(i64, i64, u8, String), usize>,
    latencies: HashMap<(usize, i64, u8, i64), usize>,
    /// The first slot of a day (with kind, tree and name): its histogram by day is that of the others.
    days: HashMap<(i64, u8, i64, String), usize>,
}

/// A counter and what it grows by.
#[derive(Debug)]
pub(crate) struct CounterRow {
    line: Line,
    /// Signed: a reset takes back.
    amount: i64,
    /// The tree in which it was charged last.
    root: String,
}

/// [`CounterRow`] in PostgreSQL, which knows the tree as well: a ledger is restored tree by tree.
#[derive(Debug)]
struct RootedRow<'a>(&'a CounterRow);

/// What one record adds to the spend of its hour. Signed: a record that becomes better known takes back what it added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) requests: i64,
    pub(crate) failed: i64,
    pub(crate) unpriced: i64,
    pub(crate) input: i64,
    pub(crate) cache_read: i64,
    pub(crate) cache_write: i64,
    pub(crate) output: i64,
    pub(crate) cost: i64,
}

/// Of which hour, kind, tree and name it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) hour: i64,
    pub(crate) kind: u8,
    pub(crate) tree: i64,
    pub(crate) name: String,
}

#[derive(Debug, Clone, Default)]
struct SpendRow {
    slot: Slot,
    spent: Spent,
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
    /// Adds a posting; `root`: the tree in which it was charged.
    pub(crate) fn post(&mut self, line: &Line, root: &str, taken_back: bool) {
        let Line { key, budget, start, end, unit, .. } = line;
        let at = *self
            .places
            .counters
            .entry((key.clone(), budget.clone(), *start, *end, *unit))
            .or_insert_with(|| {
                push(&mut self.counters, CounterRow { line: line.clone(), amount: 0, root: root.to_owned() })
            });
        if let Some(row) = self.counters.get_mut(at) {
            let amount = if taken_back { -int(line.amount) } else { int(line.amount) };
            row.amount = row.amount.saturating_add(amount);
            row.line.limit = line.limit;
        }
    }

    /// Adds to the spend of a slot.
    pub(crate) fn spend(&mut self, slot: Slot, spent: Spent) -> usize {
        let key = (slot.hour, slot.tree, slot.kind, slot.name.clone());
        let at = *self
            .places
            .spend
            .entry(key)
            .or_insert_with(|| push(&mut self.spend, SpendRow { slot, ..SpendRow::default() }));
        if let Some(row) = self.spend.get_mut(at) {
            row.spent = row.spent.plus(spent);
        }
        at
    }

    /// Adds a whole record: its spend, and its latency when it succeeded.
    pub(crate) fn record(&mut self, tree: i64, entry: &Entry) {
        let at = self.spend(Slot::of(tree, entry), Spent::of(entry));
        if entry.status >= 400 {
            return;
        }
        let Some(slot) = self.spend.get(at).map(|row| &row.slot) else { return };
        let place = (slot.hour.div_euclid(24), slot.kind, slot.tree, slot.name.clone());
        let day = *self.places.days.entry(place).or_insert(at);
        let parts = [Some(entry.total_us), entry.first_byte_us, Some(entry.gateway_us)];
        let cells = (0u8..).zip(parts).flat_map(|(part, us)| SPANS.map(|span| (span, part, us)));
        for (span, part, us) in cells {
            let Some(bucket) = us.map(bucket) else { continue };
            let (list, places) = (&mut self.latencies, &mut self.places.latencies);
            let at = *places
                .entry((if span == 24 { day } else { at }, span, part, bucket))
                .or_insert_with(|| push(list, LatencyRow::new(slot, span, part, bucket)));
            if let Some(row) = list.get_mut(at) {
                row.count += 1;
            }
        }
    }

    /// Adds them to the tables. In an order that is the same for all writers, so that two never wait for each other.
    pub(crate) async fn write(mut self, tx: &mut Tx) -> sqlx::Result<()> {
        self.counters.sort_by(|a, b| (&a.line.key, &a.line.budget).cmp(&(&b.line.key, &b.line.budget)));
        self.spend.retain(|row| row.spent != Spent::default());
        match tx {
            Tx::Sqlite(_) => insert(tx, &self.counters).await?,
            Tx::Postgres(_) => {
                let rooted: Vec<_> = self.counters.iter().map(RootedRow).collect();
                insert(tx, &rooted).await?
            }
        };
        insert(tx, &self.spend).await?;
        insert(tx, &self.latencies).await?;
        Ok(())
    }
}

fn push<T>(list: &mut Vec<T>, row: T) -> usize {
    list.push(row);
    list.len() - 1
}

// === impl Slot, Spent ===

impl Slot {
    pub(crate) fn of(tree: i64, entry: &Entry) -> Self {
        let name: Cow<'_, str> = entry.name();
        Slot { hour: hour(entry.at), kind: entry.kind, tree, name: name.into_owned() }
    }
}

/// The Unix hour of a time in Unix milliseconds.
pub(crate) fn hour(at: i64) -> i64 {
    at.div_euclid(3_600_000)
}

impl Spent {
    pub(crate) fn of(entry: &Entry) -> Self {
        let failed = entry.status >= 400 || entry.tool.as_ref().is_some_and(|t| t.is_error);
        let mut spent = Spent { requests: 1, failed: failed.into(), ..Spent::default() };
        let Some(model) = &entry.model else { return spent };
        spent.cost = int(model.cost.unwrap_or(0));
        let Some(usage) = model.usage else { return spent };
        spent.unpriced = model.cost.is_none().into();
        spent.input = int(usage.input);
        spent.cache_read = int(usage.cache_read);
        spent.cache_write = int(usage.cache_write.saturating_add(usage.cache_write_1h));
        spent.output = int(usage.output);
        spent
    }

    /// What takes it back.
    pub(crate) fn negated(self) -> Self {
        Spent::from_amounts(self.amounts().map(|amount| -amount))
    }

    fn plus(self, other: Self) -> Self {
        let mut sum = self.amounts();
        sum.iter_mut().zip(other.amounts()).for_each(|(sum, amount)| *sum = sum.saturating_add(amount));
        Spent::from_amounts(sum)
    }

    fn amounts(self) -> [i64; 8] {
        let Spent { requests, failed, unpriced, input, cache_read, cache_write, output, cost } = self;
        [requests, failed, unpriced, input, cache_read, cache_write, output, cost]
    }

    fn from_amounts(amounts: [i64; 8]) -> Self {
        let [requests, failed, unpriced, input, cache_read, cache_write, output, cost] = amounts;
        Spent { requests, failed, unpriced, input, cache_read, cache_write, output, cost }
    }
}

// === Rows ===

impl LatencyRow {
    fn new(of: &Slot, span: i64, part: u8, bucket: i64) -> Self {
        let slot = of.hour.div_euclid(span);
        LatencyRow { span, slot, kind: of.kind, tree: of.tree, name: of.name.clone(), part, bucket, count: 0 }
    }
}

impl CounterRow {
    fn bind(&self, to: &mut Sql) {
        to.value(&*self.line.key).value(&*self.line.budget).value(self.line.start).value(self.line.end);
        to.value(self.line.unit as i64).value(int(self.line.limit)).value(self.amount);
    }
}

impl Insert for CounterRow {
    const HEAD: &'static str =
        "INSERT INTO counters (key, budget, window_start, window_end, unit, last_limit, amount) VALUES ";
    const COLUMNS: usize = 7;
    const TAIL: &'static str = " ON CONFLICT (key, budget, window_start, window_end, unit) \
        DO UPDATE SET amount = counters.amount + excluded.amount, last_limit = excluded.last_limit";

    fn bind(&self, to: &mut Sql) {
        self.bind(to);
    }
}

impl Insert for RootedRow<'_> {
    const HEAD: &'static str = "INSERT INTO counters (key, budget, window_start, window_end, unit, last_limit, amount, root) VALUES ";
    const COLUMNS: usize = 8;
    const TAIL: &'static str = " ON CONFLICT (key, budget, window_start, window_end, unit) \
        DO UPDATE SET amount = counters.amount + excluded.amount, last_limit = excluded.last_limit, \
        root = excluded.root";

    fn bind(&self, to: &mut Sql) {
        self.0.bind(to);
        to.value(&*self.0.root);
    }
}

/// The most that one number of a row of [`SpendRow`] may become: a million dollars an hour. A tenant's own upstream and prices can say
/// what they like; sums over years of such rows are numbers still.
const MOST: i64 = 1_000_000_000_000_000;

/// `column = column + what is inserted`, at most [`MOST`]; both databases know `CASE`.
macro_rules! added {
    ($column:literal) => {
        concat!(
            $column,
            " = CASE WHEN spend.",
            $column,
            " > 1000000000000000 - excluded.",
            $column,
            " ",
            "THEN 1000000000000000 ELSE spend.",
            $column,
            " + excluded.",
            $column,
            " END"
        )
    };
}

impl Insert for SpendRow {
    const HEAD: &'static str = "INSERT INTO spend (hour, kind, tree, name, requests, failed, unpriced, \
        input, cache_read, cache_write, output, cost) VALUES ";
    const COLUMNS: usize = 12;
    const TAIL: &'static str = concat!(
        " ON CONFLICT (hour, kind, tree, name) DO UPDATE SET ",
        added!("requests"),
        ", ",
        added!("failed"),
        ", ",
        added!("unpriced"),
        ", ",
        added!("input"),
        ", ",
        added!("cache_read"),
        ", ",
        added!("cache_write"),
        ", ",
        added!("output"),
        ", ",
        added!("cost"),
    );

    fn bind(&self, to: &mut Sql) {
        to.value(self.slot.hour)
            .value(i64::from(self.slot.kind))
            .value(self.slot.tree)
            .value(&*self.slot.name);
        self.spent.amounts().into_iter().for_each(|amount| {
            to.value(amount.clamp(-MOST, MOST));
        });
    }
}

impl Insert for LatencyRow {
    const HEAD: &'static str =
        "INSERT INTO latencies (span, slot, kind, tree, name, part, bucket, count) VALUES ";
    const COLUMNS: usize = 8;
    const TAIL: &'static str = " ON CONFLICT (span, slot, kind, tree, name, part, bucket) \
        DO UPDATE SET count = latencies.count + excluded.count";

    fn bind(&self, to: &mut Sql) {
        to.value(self.span).value(self.slot).value(i64::from(self.kind)).value(self.tree).value(&*self.name);
        to.value(i64::from(self.part)).value(self.bucket).value(self.count);
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
