//! The arguments of scripts, and their answers.

use super::StoreError;
use super::journal::{Charge, LiveHold};
use crate::budget::{Budget, Limit, Period, Window};
use crate::charge::{Actual, Ask, Counter, Grant, Level};
use crate::rules::Drained;
use crate::state::State;
use ::redis::{Cmd, Script, Value};
use smallvec::{SmallVec, smallvec};
use std::fmt::{Display, Write};
use std::sync::LazyLock;
use uuid::Uuid;

/// The largest amount and limit that is counted exactly: 2^53 - 1 (a script's numbers are doubles). In nano-USD that is
/// 9,007,199 USD.
pub const MAX_AMOUNT: u64 = (1 << 53) - 1;

/// Above every limit, and still exact.
const OVER: u64 = 1 << 53;

/// A script.
pub(super) struct Code {
    text: &'static str,
    hash: LazyLock<Script>,
    /// No client waits for it.
    pub(super) late: bool,
}

macro_rules! script {
    ($name:ident, late $late:literal, $($file:literal),+) => {
        pub(super) static $name: Code = Code {
            late: $late,
            text: concat!($(include_str!($file)),+),
            hash: LazyLock::new(|| Script::new(concat!($(include_str!($file)),+))),
        };
    };
}
script!(RESERVE, late false, "prelude.lua", "reserve.lua");
script!(SETTLE, late true, "prelude.lua", "post.lua", "settle.lua");
script!(CANCEL, late true, "prelude.lua", "post.lua", "cancel.lua");
script!(PROGRESS, late true, "prelude.lua", "progress.lua");
script!(EXPIRE, late true, "prelude.lua", "post.lua", "expire.lua");
script!(JOIN, late false, "prelude.lua", "join.lua");
script!(LEAVE, late false, "prelude.lua", "leave.lua");
script!(DELIVER, late false, "prelude.lua", "post.lua", "deliver.lua");
script!(DENY, late true, "prelude.lua", "deny.lua");
script!(READ, late true, "prelude.lua", "read.lua");
script!(RESET, late true, "prelude.lua", "post.lua", "reset.lua");
script!(ENDED, late true, "prelude.lua", "ended.lua");
script!(FILL, late true, "prelude.lua", "fill.lua");
script!(OPEN, late false, "open.lua");
script!(HOME, late false, "home.lua");
script!(RIGHTS, late true, "rights.lua");

/// What the scripts use, and what is used beside them (but for reading and emptying streams, which is the drainer's): a gateway
/// that lacks one of these rights uses no Redis, since it would find out in the middle of a charge.
pub(super) const COMMANDS: [&str; 23] = [
    "get",
    "set",
    "del",
    "exists",
    "hget",
    "hmget",
    "hgetall",
    "hset",
    "hdel",
    "hexists",
    "hkeys",
    "hlen",
    "zadd",
    "zrem",
    "zrangebyscore",
    "pexpire",
    "persist",
    "xadd",
    "sadd",
    "sismember",
    "scard",
    "unlink",
    "time",
];

/// Arguments one after another in one buffer.
#[derive(Debug, Clone, Default)]
pub(super) struct Args {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// An answer: a list whose first item is a word.
#[derive(Debug)]
pub(super) struct Reply(Vec<Value>);

/// What makes a limit of an amount.
pub(super) type Unit = fn(u64) -> Limit;

/// A part of a hold, as scripts tell it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) counter: Counter,
    pub(super) held: u64,
}

// === impl Args ===

impl Args {
    pub(super) fn push(&mut self, value: impl Display) -> &mut Self {
        // Writing into a buffer that grows cannot fail.
        write!(Writer(&mut self.bytes), "{value}").ok();
        self.ends.push(self.bytes.len());
        self
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
        self
    }

    fn optional(&mut self, value: Option<u64>) -> &mut Self {
        match value {
            Some(value) => self.push(value.min(MAX_AMOUNT)),
            None => self.push(""),
        }
    }

    /// The command that runs `script`, by its hash or (where the server does not know it yet) by its text.
    pub(super) fn command(&self, script: &Code, whole: bool, key: &str) -> Cmd {
        let mut command = ::redis::cmd(if whole { "EVAL" } else { "EVALSHA" });
        command.arg(if whole { script.text } else { script.hash.get_hash() }).arg(1).arg(key);
        let mut start = 0;
        for end in &self.ends {
            command.arg(self.bytes.get(start..*end).unwrap_or_default());
            start = *end;
        }
        command
    }
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Write for Writer<'_> {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

/// The arguments of `reserve.lua`. With `around` the server's clock chooses among the windows around now.
pub(super) fn reserve(levels: &[Level<'_>], ask: &Ask, now: &str, around: bool) -> Args {
    let mut args = Args::default();
    head(&mut args, ask, now, ask.output_cap, false);
    args.push(levels.len());
    for level in levels {
        args.push(level.key).optional(level.requests_per_minute).optional(level.tokens_per_minute);
        args.optional(level.concurrent).push(level.budgets.len());
        for budget in &level.budgets {
            push_budget(&mut args, budget, ask, around);
        }
    }
    args
}

/// The arguments of `reserve.lua` that put a hold in force again, unchecked.
pub(super) fn replay(hold: &LiveHold, now: &str) -> Args {
    let mut args = Args::default();
    head(&mut args, &hold.ask, now, hold.grant.output_cap, true);
    args.push(hold.levels.len());
    for level in &hold.levels {
        args.push(&level.key).optional(level.requests).optional(level.tokens).push("");
        let counters = hold.grant.counters.iter().filter(|counter| counter.key == level.key);
        args.push(counters.clone().count());
        for Counter { budget, window, limit, .. } in counters {
            amounts(&mut args, budget, *limit, &hold.ask);
            args.push("w").push(1).push(window.start).push(window.end);
        }
    }
    args
}

fn head(args: &mut Args, ask: &Ask, now: &str, cap: u64, forced: bool) {
    let ttl = ask.expires.saturating_sub(ask.now).max(0);
    args.push(ask.id.simple()).push(now).push(ttl).push(cap.min(MAX_AMOUNT));
    args.push(ask.rate_tokens.min(OVER)).push(u8::from(forced));
}

fn push_budget(args: &mut Args, budget: &Budget, ask: &Ask, around: bool) {
    amounts(args, &budget.name, budget.limit, ask);
    if let Period::Rolling(_) = budget.period {
        let (length, span) = budget.bucket();
        args.push("r").push(length).push(span);
        return;
    }
    let now = budget.window(ask.now);
    let mut windows: SmallVec<[Window; 3]> = smallvec![now];
    if around {
        windows.extend([budget.window(now.end), budget.window(now.start.saturating_sub(1))]);
        budget.window(ask.now); // So that the present one is the one remembered.
    }
    args.push("w").push(windows.len());
    for window in windows {
        args.push(window.start).push(window.end);
    }
}

fn amounts(args: &mut Args, name: &str, limit: Limit, ask: &Ask) {
    let (input, each) = ask.terms(limit);
    let each = u64::try_from(each).unwrap_or(u64::MAX);
    args.push(unit(limit)).push(name).push(limit.amount());
    args.push(input.min(OVER)).push(each.min(OVER)).push(ask.need(limit, ask.floor()).min(OVER));
}

/// The arguments of `settle.lua`; `tried`: since when it may have been carried out.
pub(super) fn settle(charge: &Charge, now: &str, stream: u64, tried: Option<i64>) -> Args {
    let mut args = Args::default();
    let used = &charge.used;
    args.push(charge.id.simple()).push(now);
    args.push(used.cost).push(used.input_tokens).push(used.output_tokens);
    args.push(stream).push(charge.request.simple()).bytes(&charge.record);
    match tried {
        Some(at) => args.push(at),
        None => args.push(""),
    };
    args.push(charge.levels.len());
    for (key, tokens) in &charge.levels {
        args.push(key).optional(*tokens);
    }
    args.push(charge.counters.len());
    for counter in &charge.counters {
        args.push(&counter.key).push(field(counter)).push(counter.limit.amount().min(MAX_AMOUNT));
    }
    args
}

/// What a script counts of it: nothing above [`MAX_AMOUNT`].
pub(super) fn clamp(actual: &Actual) -> Actual {
    Actual {
        cost: actual.cost.min(MAX_AMOUNT),
        input_tokens: actual.input_tokens.min(MAX_AMOUNT),
        output_tokens: actual.output_tokens.min(MAX_AMOUNT),
    }
}

fn unit(limit: Limit) -> char {
    match limit {
        Limit::NanoUsd(_) => 'u',
        Limit::Tokens(_) => 't',
    }
}

/// A counter's field in its key's hash, without the kind (`c:`, `h:`).
pub(super) fn field(counter: &Counter) -> String {
    let Counter { budget, window, limit, .. } = counter;
    format!("{}:{}:{}:{budget}", unit(*limit), window.start, window.end)
}

pub(super) fn parse_field(field: &str) -> Option<(Unit, Window, &str)> {
    let mut parts = field.splitn(4, ':');
    let unit: Unit = match parts.next()? {
        "u" => Limit::NanoUsd,
        "t" => Limit::Tokens,
        _ => return None,
    };
    let window = Window { start: parts.next()?.parse().ok()?, end: parts.next()?.parse().ok()? };
    Some((unit, window, parts.next()?))
}

/// The inside of an answer's list.
pub(super) fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

/// Text of an answer.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Okay => Some("OK"),
        _ => None,
    }
}

/// Names and values of a hash, in either protocol.
pub(super) fn pairs(value: &Value) -> Vec<(&str, &[u8])> {
    fn pair<'a>(name: &'a Value, value: &'a Value) -> Option<(&'a str, &'a [u8])> {
        let Value::BulkString(value) = value else { return None };
        Some((text(name)?, value))
    }
    match value {
        Value::Map(items) => items.iter().filter_map(|(name, value)| pair(name, value)).collect(),
        Value::Array(items) => {
            items.chunks_exact(2).filter_map(|both| pair(both.first()?, both.get(1)?)).collect()
        }
        _ => Vec::new(),
    }
}

/// A number of an answer, be it text or not.
pub(super) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        other => text(other)?.parse().ok(),
    }
}

fn amount(value: Option<&Value>) -> Option<u64> {
    number(value?).and_then(|n| u64::try_from(n).ok())
}

/// What a script tells of a hold's parts.
pub(super) fn parts(value: &Value) -> Option<Vec<Part>> {
    list(value).iter().map(part).collect()
}

fn part(value: &Value) -> Option<Part> {
    let items = list(value);
    let (limit_of, window, budget) = parse_field(text(items.get(1)?)?)?;
    let counter = Counter {
        key: text(items.first()?)?.to_owned(),
        budget: budget.to_owned(),
        window,
        limit: limit_of(amount(items.get(2))?),
    };
    Some(Part { counter, held: amount(items.get(3))? })
}

/// A key's hash as what the rules decide by. Fields of no known form are passed over: a newer version may have more.
pub(super) fn state(flat: &Value) -> State {
    let mut state = State::default();
    let mut fields = std::collections::BTreeMap::<&str, (u64, u64)>::new();
    for (name, value) in pairs(flat) {
        let Some(value) = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok()) else {
            continue;
        };
        let amount = u64::try_from(value).unwrap_or(0);
        match (name, name.split_once(':')) {
            ("n", _) => state.running = amount,
            ("q", _) => state.requests = Drained(value),
            ("t", _) => state.tokens = Drained(value),
            (_, Some(("c", field))) => fields.entry(field).or_default().0 = amount,
            (_, Some(("h", field))) => fields.entry(field).or_default().1 = amount,
            _ => {}
        }
    }
    for (field, (committed, held)) in fields {
        if let Some((limit_of, window, budget)) = parse_field(field) {
            state.load(limit_of(0), budget, window, committed, held);
        }
    }
    state
}

// === impl Reply ===

impl Reply {
    pub(super) fn new(value: Value) -> Option<Self> {
        match value {
            Value::Array(items) if items.first().and_then(text).is_some() => Some(Reply(items)),
            _ => None,
        }
    }

    /// The commands that an answer of `rights.lua` names.
    pub(super) fn missing(&self) -> Option<String> {
        let commands: Vec<&str> = self.words(1).collect();
        (!commands.is_empty()).then(|| commands.join(", ").to_uppercase())
    }

    /// The first item.
    pub(super) fn word(&self) -> &str {
        self.0.first().and_then(text).unwrap_or_default()
    }

    pub(super) fn item(&self, at: usize) -> &Value {
        self.0.get(at).unwrap_or(&Value::Nil)
    }

    pub(super) fn text(&self, at: usize) -> &str {
        text(self.item(at)).unwrap_or_default()
    }

    pub(super) fn number(&self, at: usize) -> i64 {
        number(self.item(at)).unwrap_or(0)
    }

    /// Cost, input and output from `at` on.
    pub(super) fn actual(&self, at: usize) -> Actual {
        actual(self.0.get(at..).unwrap_or_default())
    }

    pub(super) fn words(&self, at: usize) -> impl Iterator<Item = &str> {
        list(self.item(at)).iter().filter_map(text)
    }
}

fn actual(items: &[Value]) -> Actual {
    let of = |at: usize| amount(items.get(at)).unwrap_or(0);
    Actual { cost: of(0), input_tokens: of(1), output_tokens: of(2) }
}

/// A dead hold as `expire.lua` tells it: id, what was charged, tokens held, parts.
pub(super) fn dead(value: &Value) -> Option<(Uuid, Actual, Vec<Part>)> {
    let items = list(value);
    let id = Uuid::parse_str(text(items.first()?)?).ok()?;
    Some((id, actual(items.get(1..)?), parts(items.get(5)?)?))
}

/// The grant that an answer of `reserve.lua` means. A new hold is told by its counters' fields, in the order in which they
/// were asked; one that was there before with all of its parts.
pub(super) fn grant(reply: &Reply, levels: &[Level<'_>], ask: &Ask) -> Result<Grant, StoreError> {
    let wrong = || StoreError::Reply("reserve");
    let cap = amount(Some(reply.item(1))).ok_or_else(wrong)?;
    // A cap above what scripts count was cut off on the way, and not lowered by a budget.
    let output_cap = if cap == ask.output_cap.min(MAX_AMOUNT) { ask.output_cap } else { cap };
    let counters = match reply.word() {
        "again" => parts(reply.item(3)).ok_or_else(wrong)?.into_iter().map(|part| part.counter).collect(),
        _ => held_counters(reply, levels).ok_or_else(wrong)?,
    };
    Ok(Grant { id: ask.id, output_cap, held: ask.need(Limit::NanoUsd(0), output_cap), counters })
}

fn held_counters(reply: &Reply, levels: &[Level<'_>]) -> Option<Vec<Counter>> {
    let mut fields = reply.0.get(3..)?.iter();
    let mut counters = Vec::with_capacity(fields.len());
    for (at, level) in levels.iter().enumerate() {
        if levels.iter().take(at).any(|before| before.key == level.key) {
            continue; // A key that stands twice in a path counts once.
        }
        for budget in &level.budgets {
            let (_, window, name) = parse_field(text(fields.next()?)?)?;
            if name != budget.name {
                return None;
            }
            counters.push(Counter {
                key: level.key.to_owned(),
                budget: name.to_owned(),
                window,
                limit: budget.limit,
            });
        }
    }
    fields.next().is_none().then_some(counters)
}
