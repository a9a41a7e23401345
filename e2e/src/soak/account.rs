//! Every number at the end: the ledger, its streams, PostgreSQL's charges, counters, records and sums, and what clients were
//! answered. They are added up here from single charges, not by the product's own audit, which is asked as well.

use super::{
    faults::Fault,
    judge::{Judge, Phase},
    keys::{CHANGED, LIMITS},
    stage::{GATEWAYS, Stage},
    turn::{End, Kind, Turn},
    watch::{goes_on, logs, look},
};
use crate::client::{Http, eventually};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

/// What was counted.
#[derive(Debug, Default, Clone)]
pub struct Account {
    /// Requests that were sent.
    pub requests: u64,
    /// Model requests that were answered in full.
    pub answered: u64,
    /// Those that were charged exactly what they cost.
    pub exact: u64,
    /// Those that were charged more: for attempts before, which a provider may have billed.
    pub more: u64,
    /// Records.
    pub records: u64,
    /// Single charges, and those of holds whose gateway died, and of settles that came after that.
    pub charges: u64,
    /// See `charges`.
    pub died: u64,
    /// See `charges`.
    pub late: u64,
    /// Nano-USD in all.
    pub charged: u64,
    /// Counters that add up.
    pub counters: usize,
    /// Nano-USD of dead holds above what their requests' records say: what was charged stays charged.
    pub beyond: u64,
    /// What a `kill -9` took along: records, and nano-USD of answers.
    pub lost: (u64, u64),
}

/// A posting as the charges keep it.
#[derive(Debug, Deserialize)]
struct Line {
    key: String,
    budget: String,
    start: i64,
    end: i64,
    unit: String,
    amount: u64,
}

/// Key, budget, window, unit.
type Counter = (String, String, i64, i64, bool);

/// What a request was charged.
#[derive(Debug, Default)]
struct Charged {
    cost: u64,
    died: bool,
}

/// What a record says.
#[derive(Debug, Default, Clone, Copy)]
struct Recorded {
    attempts: u64,
    cost: u64,
}

/// Before a `kill -9`, for so long what is answered may not have been told: the way to Redis, and a batch of records.
const LAST_MOMENTS: Duration = Duration::from_secs(2);
/// The number of a reset among the ways to be charged.
const RESET: u64 = 3;

/// Waits until nothing is under way any more, and counts. What does not add up is a finding.
pub async fn count(stage: &mut Stage) -> anyhow::Result<Account> {
    let judge = stage.world.judge.clone();
    judge.say("all clients have ended; the account is made");
    if let Err(error) = rest(stage).await {
        judge.finding(&format!("{error:#}"));
    }
    let mut account = Account::default();
    let charged = charges(stage, &judge, &mut account)?;
    counters(stage, &judge, &mut account).await?;
    turns(stage, &judge, &charged, &mut account)?;
    sums(stage, &judge, &account)?;
    Ok(account)
}

/// Waits until every hold has ended and every record is written.
async fn rest(stage: &Stage) -> anyhow::Result<()> {
    let (http, world) = (Http::new(), &stage.world);
    let last = parking_lot::Mutex::new(String::new());
    let rested = eventually("the account is at rest", || async {
        let why = match unrest(stage, &http).await {
            Ok(None) => return Ok(Some(())),
            Ok(Some(why)) => why,
            Err(error) => format!("{error:#}"),
        };
        *last.lock() = why;
        Ok(None)
    });
    let rested = rested.await;
    let audit = logs(world, &http, 0, "audit").await;
    rested.map_err(|error| anyhow::anyhow!("{error:#}: {}; the audit says {audit:?}", last.lock()))
}

/// What is still under way.
async fn unrest(stage: &Stage, http: &Http) -> anyhow::Result<Option<String>> {
    let audit = logs(&stage.world, http, 0, "audit").await?;
    if audit["waiting"] != 0 || audit["consistent"] != true {
        return Ok(Some(audit.to_string()));
    }
    for (n, gateway) in stage.plane.gateways().enumerate() {
        let held = look(&stage.world, http, n).await?.into_iter().find(|budget| budget.held > 0);
        if let Some(budget) = held {
            return Ok(Some(format!("gateway {n} tells of a hold: {budget:?}")));
        }
        for metric in
            ["tollgate_records_queued", "tollgate_records_spill_pending", "tollgate_requests_in_flight"]
        {
            let value = gateway.metric(http, metric).await?;
            if value != 0.0 {
                return Ok(Some(format!("gateway {n}: {metric} is {value}")));
            }
        }
        let kept = stage.plane.place(gateway.name()).join("data/unposted.jsonl");
        if std::fs::metadata(&kept)?.len() > 0 {
            return Ok(Some(format!("gateway {n} keeps charges in {}", kept.display())));
        }
    }
    Ok(None)
}

/// What each request was charged.
fn charges(stage: &Stage, judge: &Judge, account: &mut Account) -> anyhow::Result<HashMap<String, Charged>> {
    let mut out: HashMap<String, Charged> = HashMap::new();
    for row in stage.rows("SELECT request, how, cost FROM charges")?.lines() {
        let mut cells = row.split('|');
        let request = cells.next().unwrap_or_default().to_owned();
        let (how, cost): (u64, u64) = (number(cells.next()), number(cells.next()));
        if how == RESET {
            judge.finding("a budget was reset, and nobody asked for that");
        }
        account.charges += 1;
        account.died += u64::from(how == 1);
        account.late += u64::from(how == 2);
        account.charged += cost;
        let charged = out.entry(request).or_default();
        charged.cost += cost;
        charged.died |= how == 1;
    }
    Ok(out)
}

/// Adds up every counter from single charges, and compares it with the sums, the ledger and its limit.
async fn counters(stage: &Stage, judge: &Judge, account: &mut Account) -> anyhow::Result<()> {
    let mut added: BTreeMap<Counter, u64> = BTreeMap::new();
    for row in stage.rows("SELECT postings FROM charges")?.lines() {
        for line in serde_json::from_str::<Vec<Line>>(row)? {
            let counter = (line.key, line.budget, line.start, line.end, line.unit == "tokens");
            *added.entry(counter).or_default() += line.amount;
        }
    }
    let sql = "SELECT key, budget, window_start, window_end, unit, amount, last_limit FROM counters";
    let mut stored: BTreeMap<Counter, u64> = BTreeMap::new();
    for row in stage.rows(sql)?.lines() {
        let cells: Vec<&str> = row.split('|').collect();
        let [key, budget, start, end, unit, amount, limit] = cells[..] else { continue };
        let counter = (key.to_owned(), budget.to_owned(), start.parse()?, end.parse()?, unit == "1");
        let (amount, limit): (u64, u64) = (number(Some(amount)), number(Some(limit)));
        let most = most(&counter, limit);
        // A rolling window's counters are slices of it: `watch` looks at their sum.
        if amount > most && !goes_on(&counter.0) && counter.1 != "rolling" {
            judge.finding(&format!("{counter:?} has {amount}, over its limit of {most}"));
        }
        stored.insert(counter, amount);
    }
    if added != stored {
        let off: Vec<_> = stored.iter().filter(|(c, amount)| added.get(c) != Some(amount)).take(5).collect();
        judge.finding(&format!("counters differ from their charges, such as {off:?}"));
    }
    account.counters = stored.len();
    let http = Http::new();
    for gateway in 0..GATEWAYS {
        for budget in look(&stage.world, &http, gateway).await? {
            if !["year", "month", "day"].contains(&budget.budget.as_str()) {
                continue;
            }
            let same = |c: &&Counter| (&c.0, &c.1) == (&budget.key, &budget.budget);
            let sum: u64 = added.keys().filter(same).filter_map(|c| added.get(c)).sum();
            if sum != budget.committed {
                judge.finding(&format!("gateway {gateway} says {budget:?}, its charges say {sum}"));
            }
        }
    }
    Ok(())
}

/// The highest limit that a counter had; that of one key changes.
fn most(counter: &Counter, limit: u64) -> u64 {
    let changes = counter.0.ends_with(&format!("/{CHANGED}"));
    LIMITS.iter().map(|(_, nano)| *nano).filter(|_| changes).max().map_or(limit, |most| most.max(limit))
}

/// Records, charges and the sums by hour say the same.
fn sums(stage: &Stage, judge: &Judge, account: &Account) -> anyhow::Result<()> {
    let sums = [
        ("records", "SELECT COALESCE(SUM(cost), 0) FROM records"),
        ("spend by hour", "SELECT COALESCE(SUM(cost), 0) FROM spend"),
    ];
    for (what, sql) in sums {
        let sum = stage.number(sql)?;
        if sum + account.beyond != account.charged {
            let Account { charged, beyond, .. } = account;
            judge.finding(&format!(
                "the {what} cost {sum} nano-USD, the charges {charged}, of which {beyond} beyond"
            ));
        }
    }
    for (what, sql) in [
        ("overrun", "SELECT COALESCE(SUM(overrun), 0) FROM records"),
        ("entries set aside", "SELECT COUNT(*) FROM set_aside"),
    ] {
        let sum = stage.number(sql)?;
        if sum != 0 {
            judge.finding(&format!("{what}: {sum}, and 0 are expected"));
        }
    }
    Ok(())
}

/// Every request that a client sent has one record, and every answer was charged what it cost.
fn turns(
    stage: &Stage,
    judge: &Judge,
    charged: &HashMap<String, Charged>,
    account: &mut Account,
) -> anyhow::Result<()> {
    let mut records: HashMap<String, Recorded> = HashMap::new();
    let mut tools = 0;
    let sql = "SELECT id, kind, COALESCE(cost, 0), COALESCE(attempts, '[]') FROM records";
    for row in stage.rows(sql)?.lines() {
        let mut cells = row.splitn(4, '|');
        let (id, kind) = (cells.next().unwrap_or_default().to_owned(), number(cells.next()));
        let cost = number(cells.next());
        let attempts: Vec<serde_json::Value> = serde_json::from_str(cells.next().unwrap_or("[]"))?;
        tools += kind;
        account.records += 1;
        records.insert(id, Recorded { attempts: attempts.len() as u64, cost });
    }
    let (turns, phases) = (judge.turns(), judge.phases());
    account.beyond = same_cost(judge, &records, charged, &turns);
    account.requests = turns.len() as u64;
    let waited = judge.all_waited();
    let mut known: HashSet<&str> = waited.iter().map(String::as_str).collect();
    for turn in turns.iter().filter(|turn| turn.kind.is_model()) {
        let Some(id) = &turn.id else { continue };
        known.insert(id.as_str());
        one(judge, turn, records.get(id).copied(), charged.get(id), killed(turn, &phases), account);
    }
    // What broke before its answer began has no id that its client knows.
    let without = turns.iter().filter(|turn| turn.kind.is_model() && turn.id.is_none()).count() as u64;
    let strange = (records.len() as u64 - tools)
        .saturating_sub(known.iter().filter(|id| records.contains_key(**id)).count() as u64);
    if strange > without {
        judge.finding(&format!(
            "{strange} records are of no request that a client knows of, {without} at most may be"
        ));
    }
    tool_calls(judge, &turns, &phases, tools);
    Ok(())
}

/// Every record says what its request was charged; but for dead holds whose gateway came back and found that less was used. How
/// much those are, in nano-USD.
fn same_cost(
    judge: &Judge,
    records: &HashMap<String, Recorded>,
    charged: &HashMap<String, Charged>,
    turns: &[Turn],
) -> u64 {
    let mut beyond = 0;
    for (id, recorded) in records {
        let charges = charged.get(id).map_or(0, |charged| charged.cost);
        if charged.get(id).is_some_and(|charged| charged.died) && charges > recorded.cost {
            beyond += charges - recorded.cost;
        } else if charges != recorded.cost {
            let turn = turns.iter().find(|turn| turn.id.as_ref() == Some(id));
            let turn = turn.map_or_else(|| "a request whose answer never began".to_owned(), Turn::to_string);
            let charged = charged.get(id);
            judge.finding(&format!("the record {recorded:?} of {id} was charged {charged:?}: {turn}"));
        }
    }
    beyond
}

/// Judges one model request whose id the client knows.
fn one(
    judge: &Judge,
    turn: &Turn,
    recorded: Option<Recorded>,
    charged: Option<&Charged>,
    killed: bool,
    account: &mut Account,
) {
    if is_strangers(&turn.end) {
        return;
    }
    if recorded.is_none() {
        match killed {
            true => account.lost.0 += 1,
            false => judge.finding(&format!("no record of {turn}")),
        }
    }
    if turn.end != End::Answered {
        return;
    }
    account.answered += 1;
    let cost = charged.map_or(0, |charged| charged.cost);
    match cost.cmp(&turn.cost) {
        std::cmp::Ordering::Equal => account.exact += 1,
        std::cmp::Ordering::Greater => {
            account.more += 1;
            if recorded.is_some_and(|recorded| recorded.attempts <= 1) {
                judge.finding(&format!("{cost} nano-USD and not {} were charged for {turn}", turn.cost));
            }
        }
        std::cmp::Ordering::Less if killed => account.lost.1 += turn.cost - cost,
        std::cmp::Ordering::Less => {
            let died = charged.is_some_and(|charged| charged.died);
            let words = if died { "; its hold died" } else { "" };
            judge.finding(&format!("only {cost} of {} nano-USD were charged for {turn}{words}", turn.cost));
        }
    }
}

/// Whether nobody knew whose request it was: then there is no record. A gateway that has just started again knows no keys for a
/// moment, and says so.
fn is_strangers(end: &End) -> bool {
    match end {
        End::Refused { status: 401, .. } => true,
        End::Refused { status: 503, words, .. } => words.contains("no configuration yet"),
        _ => false,
    }
}

/// Every tool call that was answered has a record, and nothing else has.
fn tool_calls(judge: &Judge, turns: &[Turn], phases: &[Phase], records: u64) {
    let calls: Vec<&Turn> = turns.iter().filter(|turn| turn.kind == Kind::Tool).collect();
    let answered = |turn: &&&Turn| matches!(turn.end, End::Answered | End::ToolFailed(_));
    let least = calls.iter().filter(answered).filter(|turn| !killed(turn, phases)).count() as u64;
    if records < least || records > calls.len() as u64 {
        let sent = calls.len();
        judge.finding(&format!("{records} records of tool calls; {sent} were sent, {least} answered"));
    }
}

/// Whether a request ended in the last moments of a gateway that was killed.
fn killed(turn: &Turn, phases: &[Phase]) -> bool {
    phases.iter().any(|phase| {
        let here = phase.target.fault == Fault::GatewayKill && phase.target.gateway == Some(turn.gateway);
        let before = phase.to.is_none_or(|to| turn.began <= to);
        here && before && turn.ended + LAST_MOMENTS >= phase.from
    })
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}
