//! A long run with faults: real parts, clients that behave as agents do, one fault after the other from a seeded list, and
//! checks all along and at the end. `make soak`; its short form is a test of `make test`.
//!
//! What is checked, and what a finding says, is told at once with the seed: the same seed deals the same faults in the same
//! order (not the same interleaving).
//!
//! # Layout
//! - here: [`Plan`] and [`run`]
//! - [`stage`]: the installation and its keys ([`keys`])
//! - [`clients`]: who uses it; [`turn`]: one request of theirs, and how it ended
//! - [`faults`]: what is done to it; [`settle`]: when all is well again
//! - [`judge`]: what each fault explains, and what nothing does
//! - [`watch`]: budgets while it runs; [`account`]: every number at the end
//! - [`logs`]: what the programs say; [`secrets`]: what nobody may say; [`measure`]: memory; [`report`]: the page
//! - [`random`]: what a seed deals

pub mod account;
pub mod clients;
pub mod faults;
pub mod judge;
pub mod keys;
pub mod logs;
pub mod measure;
pub mod random;
pub mod report;
pub mod secrets;
pub mod settle;
pub mod stage;
pub mod turn;
pub mod watch;

use account::Account;
use faults::Fault;
use judge::Judge;
use measure::Memory;
use random::Random;
use report::Row;
use stage::Stage;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What is run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Deals faults and requests.
    pub seed: u64,
    /// How long faults are dealt; without it, each of `faults` once and in this order.
    pub length: Option<Duration>,
    /// The faults that are dealt.
    pub faults: Vec<Fault>,
    /// How many clients.
    pub clients: usize,
    /// The longest that a fault stands.
    pub stand: Duration,
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// The plan.
    pub plan: Plan,
    /// What nothing explains; a good run has none.
    pub findings: Vec<String>,
    /// The faults, in their order.
    pub rows: Vec<Row>,
    /// What clients got.
    pub judge: Arc<Judge>,
    /// The money, when it could be counted.
    pub account: Option<Account>,
    /// How many bytes were searched for secrets, when they could be.
    pub searched: Option<usize>,
    /// What the programs take.
    pub memory: Memory,
    /// From the first client to the last.
    pub took: Duration,
}

// === impl Plan ===

impl Plan {
    /// Every fault again and again, for so long.
    pub fn long(seed: u64, length: Duration, clients: usize) -> Self {
        let faults = Fault::ALL.to_vec();
        Plan { seed, length: Some(length), faults, clients, stand: Duration::from_secs(12) }
    }

    /// A handful of faults, each once: for `make test`.
    pub fn short(seed: u64, faults: &[Fault]) -> Self {
        Plan { seed, length: None, faults: faults.to_vec(), clients: 6, stand: Duration::from_secs(2) }
    }
}

/// Runs a plan. Findings are in the outcome; an error is about the run itself.
pub async fn run(plan: Plan) -> anyhow::Result<Outcome> {
    let judge = Arc::new(Judge::new(plan.seed, plan.length.is_some()));
    judge.say("the parts start");
    let mut stage = Stage::start(judge.clone()).await?;
    // Before every gateway has the keys, a refusal is nobody's fault.
    settle::wait(&mut stage).await?;
    let began = Instant::now();
    let fleet = clients::Fleet::start(&stage, plan.clients, plan.seed);
    let mut memory = Memory::default();
    let mut rows = Vec::new();
    let ended = deal(&plan, &mut stage, &mut rows, &mut memory, began).await;
    if let Err(error) = ended {
        judge.finding(&format!("the run ends early: {error:#}"));
    }
    fleet.stop().await;
    let took = began.elapsed();
    let account = match account::count(&mut stage).await {
        Ok(account) => Some(account),
        Err(error) => {
            judge.finding(&format!("the account cannot be made: {error:#}"));
            None
        }
    };
    logs::check(&mut stage, None);
    let searched = match secrets::check(&stage).await {
        Ok(searched) => Some(searched),
        Err(error) => {
            judge.finding(&format!("secrets cannot be searched for: {error:#}"));
            None
        }
    };
    memory.take(&stage, began.elapsed());
    if plan.length.is_some() {
        memory.judge(&judge, took);
    }
    let findings = judge.findings();
    if !findings.is_empty() {
        logs::keep(&stage);
    }
    Ok(Outcome { plan, findings, rows, judge, account, searched, memory, took })
}

/// Deals faults until the time is over, or each of them once.
async fn deal(
    plan: &Plan,
    stage: &mut Stage,
    rows: &mut Vec<Row>,
    memory: &mut Memory,
    began: Instant,
) -> anyhow::Result<()> {
    let mut random = Random::new(plan.seed);
    let judge = stage.world.judge.clone();
    let mut deck: Vec<Fault> = Vec::new();
    for n in 0.. {
        let fault = match plan.length {
            Some(length) if began.elapsed() >= length => return Ok(()),
            None if n >= plan.faults.len() => return Ok(()),
            None => plan.faults[n],
            Some(_) => {
                if deck.is_empty() {
                    deck = plan.faults.clone();
                    random.shuffle(&mut deck);
                }
                let Some(next) = deck.pop() else { return Ok(()) };
                next
            }
        };
        // Quiet: whatever fails now is explained by nothing.
        let quiet = if plan.length.is_some() { 2_000 } else { 500 };
        judge.quiet(Duration::from_millis(500 + random.below(quiet))).await;
        logs::check(stage, None);
        rows.push(one(fault, plan, stage, &mut random).await?);
        memory.take(stage, began.elapsed());
    }
    Ok(())
}

/// One fault, from its beginning until all is well again.
async fn one(fault: Fault, plan: &Plan, stage: &mut Stage, random: &mut Random) -> anyhow::Result<Row> {
    let judge = stage.world.judge.clone();
    let target = fault.target(random);
    let most = plan.stand.as_millis().try_into().unwrap_or(u64::MAX);
    // Longer than holds live, and shorter.
    let most = if fault.is_pause() { most * 5 / 3 } else { most };
    let stand = Duration::from_millis(most / 6 + random.below(most - most / 6));
    judge.say(&format!("{}, for {:.1} s", target.words(), stand.as_secs_f64()));
    judge.begin(target);
    let before = judge.answered();
    let began = Instant::now();
    faults::apply(stage, target, stand).await?;
    let healed = Instant::now();
    settle::wait(stage).await?;
    let settled = healed.elapsed();
    logs::check(stage, Some(fault));
    judge.end();
    let answered = judge.answered() - before;
    judge.say(&format!("well again after {:.1} s; {answered} answers meanwhile", settled.as_secs_f64()));
    Ok(Row { fault, stood: healed - began, settled, answered })
}
