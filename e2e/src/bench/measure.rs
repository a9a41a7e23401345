//! Rounds: in each, every row, mode and target once, one after the other, so that a machine's mood hits all alike.

use super::{
    cases::{self, Case},
    load::{Mode, Target},
    median, percentile,
    process::{self, Cpu, Helper},
    stored,
};
use crate::gateway::{Gateway, Home, Manifests, beside};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// The virtual key of the benchmark.
pub const KEY: &str = "vk-bench";

/// What is measured, and for how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How often everything is measured.
    pub rounds: u32,
    /// How long each cell is, in each round.
    pub time: Duration,
    /// Another proxy `PROGRAM LISTEN UPSTREAM` to measure beside the floor.
    pub yardstick: Option<PathBuf>,
}

/// One proxy (or none) under one load, in one round.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    p50: f64,
    p99: f64,
    cpu: f64,
    peak: f64,
    requests: f64,
}

/// The medians of a cell's readings.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The row.
    pub case: &'static str,
    /// Whether the gateway translates.
    pub translated: bool,
    /// The mode's name.
    pub mode: String,
    /// The target's name.
    pub target: &'static str,
    /// Latency in microseconds, the middle.
    pub p50: f64,
    /// Latency in microseconds, of 99 in 100.
    pub p99: f64,
    /// CPU microseconds a request; 0 where there is no proxy.
    pub cpu: f64,
    /// Peak memory in bytes; 0 where there is no proxy.
    pub peak: f64,
    /// Requests a second.
    pub rate: f64,
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Results {
    /// The cells, by row, mode, target.
    pub cells: Vec<Cell>,
    /// Bytes stored a request, by row.
    pub stored: Vec<(&'static str, f64)>,
    /// Milliseconds from the start of the process to its first answer.
    pub cold_start: f64,
}

/// A target and the process to account for.
struct Proxy {
    name: &'static str,
    target: Target,
    pid: Option<u32>,
}

/// The name of the row without a proxy.
pub const DIRECT: &str = "no gateway";
/// The name of the floor.
pub const FLOOR: &str = "floor";
/// The name of the gateway.
pub const TOLLGATE: &str = "Tollgate";
/// The name of the other floor.
pub const YARDSTICK: &str = "yardstick";

/// Both routes, a key with a budget, limits, and full content in its records.
pub fn manifests(provider: SocketAddr) -> Manifests {
    let spec = "models: {allow: [\"*/*\"]}\n\
        budgets: [{name: month, usd: \"1000000\", period: Month}, {name: day, usd: \"100000\", period: Day}]\n\
        limits: {requestsPerMinute: 100000000, tokensPerMinute: 1000000000000, concurrent: 10000}\n\
        logging: {content: Full}\n";
    Manifests::routes(&format!("http://{provider}")).key(KEY, spec)
}

/// Measures everything; `say` is told how far it is.
pub async fn run(plan: &Plan, say: impl Fn(&str)) -> anyhow::Result<Results> {
    let any = "127.0.0.1:0";
    let provider = Helper::start(beside("fake-provider")?, &["--fast", "--listen", any]).await?;
    let upstream = provider.addr.to_string();
    let floor = Helper::start(beside("floor")?, &[any, &upstream]).await?;
    let home = Home::new(&manifests(provider.addr))?;
    let gateway = Gateway::start_quietly(&home).await?;
    let mut proxies = vec![
        Proxy { name: DIRECT, target: Target::plain(provider.addr), pid: None },
        Proxy { name: FLOOR, target: Target::plain(floor.addr), pid: Some(floor.pid()?) },
        Proxy { name: TOLLGATE, target: Target::keyed(gateway.addr()?, KEY), pid: Some(gateway.pid()?) },
    ];
    let mut other = None;
    if let Some(program) = &plan.yardstick {
        let addr = free_address()?;
        let started = Helper::start_silent(program.clone(), addr, &[&addr.to_string(), &upstream]).await?;
        proxies.push(Proxy { name: YARDSTICK, target: Target::plain(addr), pid: Some(started.pid()?) });
        other = Some(started);
    }
    let cases: Vec<Arc<Case>> = cases::all().into_iter().map(Arc::new).collect();
    let mut readings: Vec<Vec<Reading>> = Vec::new();
    for round in 1..=plan.rounds {
        say(&format!("round {round} of {}", plan.rounds));
        let mut at = 0;
        for case in &cases {
            for mode in Mode::ALL {
                for proxy in &proxies {
                    let reading = proxy.read(case, mode, plan.time).await?;
                    readings.resize_with(readings.len().max(at + 1), Vec::new);
                    readings.iter_mut().skip(at).take(1).for_each(|cell| cell.push(reading));
                    at += 1;
                }
            }
        }
    }
    drop(other);
    let cells = cells(&cases, &proxies, &readings, plan);
    gateway.stop().await?;
    let mut stored = Vec::new();
    for case in &cases {
        say(&format!("records on disk: {}", case.name));
        stored.push((case.name, stored::bytes_a_request(case, provider.addr).await?));
    }
    let cold_start = match cases.first() {
        Some(case) => stored::cold_start(case, provider.addr).await?,
        None => 0.0,
    };
    Ok(Results { cells, stored, cold_start })
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn cells(cases: &[Arc<Case>], proxies: &[Proxy], readings: &[Vec<Reading>], plan: &Plan) -> Vec<Cell> {
    let places = cases.iter().flat_map(|case| {
        Mode::ALL.into_iter().flat_map(move |mode| proxies.iter().map(move |proxy| (case, mode, proxy)))
    });
    let cell = |((case, mode, proxy), all): ((&Arc<Case>, Mode, &Proxy), &Vec<Reading>)| {
        let of = |f: fn(&Reading) -> f64| median(all.iter().map(f).collect());
        Cell {
            case: case.name,
            translated: case.translated,
            mode: mode.name(case),
            target: proxy.name,
            p50: of(|r| r.p50),
            p99: of(|r| r.p99),
            cpu: of(|r| r.cpu),
            peak: of(|r| r.peak),
            rate: of(|r| r.requests) / plan.time.as_secs_f64(),
        }
    };
    places.zip(readings).map(cell).collect()
}

// === impl Proxy ===

impl Proxy {
    async fn read(&self, case: &Arc<Case>, mode: Mode, time: Duration) -> anyhow::Result<Reading> {
        let before = self.pid.map(Cpu::of).transpose()?;
        if let Some(pid) = self.pid {
            process::reset_peak(pid)?;
        }
        let mut latencies = self.target.run(case, mode, time).await?;
        // The warm-up requests are in the CPU time too: one each of the mode's connections.
        let warm = if let Mode::Connections(n) = mode { n } else { 8 };
        let requests = latencies.len() as f64 + f64::from(warm);
        let (mut cpu, mut peak) = (0.0, 0.0);
        if let (Some(pid), Some(before)) = (self.pid, before) {
            cpu = Cpu::of(pid)?.since(&before) as f64 / 1e3 / requests;
            peak = process::peak_memory(pid)? as f64;
        }
        latencies.sort_by(f64::total_cmp);
        Ok(Reading {
            p50: percentile(&latencies, 50.0),
            p99: percentile(&latencies, 99.0),
            cpu,
            peak,
            requests: latencies.len() as f64,
        })
    }
}
