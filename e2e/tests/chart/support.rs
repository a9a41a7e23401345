//! What the tests share.

use std::time::{Duration, Instant};
use tollgate_e2e::cluster::Cluster;
pub use tollgate_e2e::helm::helm;

/// kubectl with all rights; each word of `line` is an argument.
pub async fn kubectl(cluster: &Cluster, line: &str) -> anyhow::Result<String> {
    cluster.kubectl(line.split_whitespace().collect::<Vec<_>>()).await
}

/// Asks again until it is so, for a minute at most.
pub async fn until<F>(what: &str, mut so: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so().await {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
