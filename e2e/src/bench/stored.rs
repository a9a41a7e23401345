//! How many bytes a record takes on disk: a gateway of its own, so many requests, an orderly stop, the files' sizes.

use super::{cases::Case, load::Target, measure};
use crate::gateway::{Gateway, Home};
use std::{net::SocketAddr, path::Path};

/// Requests whose records are weighed.
const REQUESTS: u64 = 300;

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
