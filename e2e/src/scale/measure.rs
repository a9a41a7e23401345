//! Starts and changes of a large installation.

use super::{
    Size,
    wire::{self, Change},
};
use crate::{
    bench::process,
    client::Http,
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
};
use anyhow::ensure;
use kube::Client;
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The installation.
    pub size: Size,
    /// How often operator and gateway are started.
    pub rounds: usize,
    /// How often each kind of object is changed.
    pub changes: usize,
}

/// One round of starts.
#[derive(Debug, Clone, Copy)]
pub struct Starts {
    /// Reading the same from the API server and parsing nothing: the yardstick.
    pub read: Duration,
    /// From the operator's start to its readiness.
    pub operator: Duration,
    /// From the operator's start to the first ready gateway, which was started before it.
    pub first: Duration,
    /// From a gateway's start to its readiness, the operator being warm.
    pub gateway: Duration,
}

/// Resident memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// After everything.
    pub now: u64,
    /// The most ever.
    pub peak: u64,
}

/// All that was measured.
#[derive(Debug, Clone)]
pub struct Measured {
    /// What was asked for.
    pub plan: Plan,
    /// From an operator's very first start, with certificates to make and nothing told to users yet, to the first ready
    /// gateway, started once the operator was ready.
    pub fresh: Duration,
    /// Further starts.
    pub starts: Vec<Starts>,
    /// Changes of single objects.
    pub changes: Vec<Change>,
    /// The largest of the operators.
    pub operator: Memory,
    /// The largest of the gateways.
    pub gateway: Memory,
    /// From the first change until every object had its status.
    pub told: Duration,
}

/// How long the leader may take to write all statuses: it writes 50 a second.
const TOLD: Duration = Duration::from_secs(900);

/// Measures on a cluster of its own.
pub async fn run(plan: Plan, tell: impl Fn(&str)) -> anyhow::Result<Measured> {
    let cluster = Cluster::start().await?;
    cluster.install_crds().await?;
    let namespace = cluster.namespace("tollgate").await?;
    let client = cluster.client().await?;
    let started = Instant::now();
    plan.size.make(&client, &namespace).await?;
    tell(&format!("the objects are made, in {:.1} s", started.elapsed().as_secs_f64()));

    let started = Instant::now();
    // The API server's rules for endpoints are the strict ones: these objects need no private endpoint.
    let options = Options { gateways: 1, private_endpoints: false, ..Options::default() };
    let mut plane = ControlPlane::start_in(&cluster, &namespace, options).await?;
    let fresh = started.elapsed();
    tell(&format!("the first gateway is ready after {:.2} s", fresh.as_secs_f64()));
    let (mut operator, mut gateway) = (Memory::default(), Memory::default());
    let mut starts = Vec::new();
    for round in 0..plan.rounds {
        operator.take(plane.operator(0)?.pid()?)?;
        let one = start(&cluster, &client, &mut plane, plan.size).await?;
        tell(&format!("round {}: {one:.2?}", round + 1));
        starts.push(one);
    }
    let started = Instant::now();
    let changes = wire::changes(&client, &plane, plan.changes).await?;
    tell("the changes are made; now every object gets its status");
    all_told(&client, plane.namespace(), plan.size).await?;
    let told = started.elapsed();
    operator.take(plane.operator(0)?.pid()?)?;
    for one in plane.gateways().filter(|gateway| gateway.is_running()) {
        gateway.take(one.pid()?)?;
    }
    Ok(Measured { plan, fresh, starts, changes, operator, gateway, told })
}

/// A gateway is started, then the operator, then another gateway.
async fn start(
    cluster: &Cluster,
    client: &Client,
    plane: &mut ControlPlane,
    size: Size,
) -> anyhow::Result<Starts> {
    let http = Http::new();
    plane.operator_mut(0)?.kill9().await?;
    plane.kill_gateways().await?;
    let began = Instant::now();
    size.read(client, plane.namespace()).await?;
    let read = began.elapsed();
    let waits = plane.add_gateway(cluster, &[]).await?;
    let began = Instant::now();
    plane.operator_mut(0)?.restart()?;
    let plane_ref = &*plane;
    let (operator, first) = tokio::try_join!(
        async { plane_ref.operator(0)?.wait_ready(&http).await.map(|()| began.elapsed()) },
        async { plane_ref.gateway(waits)?.wait_ready(&http).await.map(|()| began.elapsed()) },
    )?;
    let (pod, token) = plane.add_pod(cluster).await?;
    let authority = plane.authority(cluster).await?;
    let began = Instant::now();
    let late = plane.start_gateway(&pod, &token, &authority, &[])?;
    plane.gateway(late)?.wait_ready(&http).await?;
    Ok(Starts { read, operator, first, gateway: began.elapsed() })
}

/// Waits until every object has its status: an operator holds what it has written, and what the watch brings of it.
async fn all_told(client: &Client, namespace: &str, size: Size) -> anyhow::Result<()> {
    let (all, end) = (size.keys + size.routes + size.servers, Instant::now() + TOLD);
    loop {
        let told = Size::told(client, namespace).await?;
        if told >= all {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{told} of {all} objects have a status after {TOLD:?}");
        // Counting thousands of objects is work for the API server too: not so often that it is measured as well.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

// === impl Memory ===

impl Memory {
    fn take(&mut self, pid: u32) -> anyhow::Result<()> {
        self.now = self.now.max(process::memory(pid)?);
        self.peak = self.peak.max(process::peak_memory(pid)?);
        Ok(())
    }
}
