//! What the programs take: resident memory and open files, over the run.

use super::{judge::Judge, stage::Stage};
use std::{collections::BTreeMap, time::Duration};

/// Looks at all programs, in the order of time.
#[derive(Debug, Default)]
pub struct Memory {
    samples: Vec<Sample>,
}

/// A look at a program.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Which.
    pub name: String,
    /// Its process: one that was started again begins anew.
    pub pid: u32,
    /// Since the clients began.
    pub at: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
    /// Open files.
    pub files: usize,
}

/// How much more, as a factor, a program may take at the end than after the first quarter.
const GROWTH: f64 = 1.5;
/// So few files are no leak: connections come and go.
const FEW_FILES: usize = 24;

// === impl Memory ===

impl Memory {
    /// Looks.
    pub fn take(&mut self, stage: &Stage, at: Duration) {
        for process in stage.processes() {
            let Ok(pid) = process.pid() else { continue };
            let Some((resident, files)) = look(pid) else { continue };
            self.samples.push(Sample { name: process.name().to_owned(), pid, at, resident, files });
        }
    }

    /// Each program as it was after the first quarter and at the end, if that was the same process.
    pub fn compared(&self, took: Duration) -> Vec<(Sample, Sample)> {
        let mut last: BTreeMap<&str, &Sample> = BTreeMap::new();
        for sample in &self.samples {
            last.insert(&sample.name, sample);
        }
        let first = |end: &Sample| {
            let warm = |s: &&Sample| s.name == end.name && s.pid == end.pid && s.at >= took / 4;
            self.samples.iter().find(warm).cloned()
        };
        last.into_values().filter_map(|end| Some((first(end)?, end.clone()))).collect()
    }

    /// Tells of programs that grew.
    pub fn judge(&self, judge: &Judge, took: Duration) {
        for (first, last) in self.compared(took) {
            let grew = |from: f64, to: f64| to > from * GROWTH;
            if grew(first.resident as f64, last.resident as f64) {
                let words = (first.resident >> 20, last.resident >> 20);
                judge.finding(&format!("{} grew from {} to {} MiB", last.name, words.0, words.1));
            }
            if grew(first.files as f64, last.files as f64) && last.files > first.files + FEW_FILES {
                let (from, to) = (first.files, last.files);
                judge.finding(&format!(
                    "{} had {from} open files after the first quarter, and {to} at the end",
                    last.name
                ));
            }
        }
    }
}

fn look(pid: u32) -> Option<(u64, usize)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some((kilobytes << 10, files))
}
