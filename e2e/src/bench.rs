//! `make bench`: what the gateway adds, beside no gateway and beside the [floor](crate::floor), in one run, interleaved.
//!
//! # Layout
//! - [`cases`]: the requests; [`load`]: sends them and measures latency
//! - [`process`]: the processes under test, their CPU time and memory; [`stored`]: what records take on disk
//! - [`measure`]: rounds and medians; [`report`]: the table and the JSON

pub mod cases;
pub mod load;
pub mod measure;
pub mod process;
pub mod report;
pub mod stored;

/// The middle value; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(&values, 50.0)
}

/// A percentile of sorted values, by nearest rank; 0 of none.
pub fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 50.0), 50.0);
        assert_eq!(percentile(&values, 99.0), 99.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![]), 0.0);
    }
}
