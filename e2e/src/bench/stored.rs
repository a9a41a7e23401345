//! What needs a gateway of its own: how many bytes a record takes on disk, how long a cold start takes.

use super::{cases::Case, load::Target, measure};
use crate::gateway::{Gateway, Home};
use std::{net::SocketAddr, path::Path, time::Instant};

/// Requests whose records are weighed.
const REQUESTS: u64 = 300;

/// Starts whose median is the cold start.
const STARTS: usize = 5;

/// Milliseconds from the start of the process to its first whole answer (polled every few milliseconds).
pub async fn cold_start(case: &Case, provider: SocketAddr) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let home = Home::new(&measure::manifests(provider))?;
        let started = Instant::now();
        let gateway = Gateway::start_quietly(&home).await?;
        Target::keyed(gateway.addr()?, measure::KEY).send(case, 1).await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        gateway.stop().await?;
    }
    Ok(super::median(times))
}

/// Bytes a request, content included, over what an empty store takes.
pub async fn bytes_a_request(case: &Case, provider: SocketAddr) -> anyhow::Result<f64> {
    let empty = weigh(case, provider, 0).await?;
    let full = weigh(case, provider, REQUESTS).await?;
    Ok(full.saturating_sub(empty) as f64 / REQUESTS as f64)
}

async fn weigh(case: &Case, provider: SocketAddr, requests: u64) -> anyhow::Result<u64> {
    let home = Home::new(&measure::manifests(provider))?;
    let gateway = Gateway::start_quietly(&home).await?;
    let target = Target::keyed(gateway.addr()?, measure::KEY);
    target.send(case, requests).await?;
    gateway.stop().await?;
    size(home.data())
}

fn size(folder: &Path) -> anyhow::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        total += if kind.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(total)
}
