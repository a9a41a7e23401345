//! The page of `make bench-scale`.

use super::measure::{Measured, Memory, Starts};
use crate::{bench::median, results};
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// What a start and the memory of a process may be.
const AIM: (f64, f64) = (5.0, 150.0);
/// What a row says whose aim was missed.
const MISSED: &str = "MISSED";

/// Whether a page tells of an aim that was missed.
pub fn is_missed(page: &str) -> bool {
    page.contains(MISSED)
}

/// The page.
pub fn page(measured: &Measured) -> String {
    let size = measured.plan.size;
    let mut out = format!(
        "# A large installation\n\n{} VirtualKeys (people's, each with a token in a Secret as the operator makes it; one in fifty a team), {} routes and {} MCP \
         servers with a credential each. {} build; real kube-apiserver, operator and gateways on one machine of {} cores. Medians \
         of {} rounds.\n\n| from → to | seconds | × the yardstick | aim |\n|---|---|---|---|\n",
        size.keys,
        size.routes,
        size.servers,
        results::build(),
        std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        measured.starts.len(),
    );
    let of = |part: fn(&Starts) -> Duration| {
        median(measured.starts.iter().map(|s| part(s).as_secs_f64()).collect())
    };
    let read = of(|s| s.read);
    let rows = [
        ("reading the same from the API server, nothing parsed (the yardstick)", read, None),
        ("the operator's start → it is ready", of(|s| s.operator), None),
        ("the operator's start → the first ready gateway, which was waiting", of(|s| s.first), Some(AIM.0)),
        ("a gateway's start → it is ready, the operator being there", of(|s| s.gateway), Some(AIM.0)),
        (
            "a first installation's start, certificates to be made → the first ready gateway",
            measured.fresh.as_secs_f64(),
            None,
        ),
    ];
    for (name, seconds, aim) in rows {
        let aim = aim.map_or(String::new(), |aim| verdict(seconds, aim, "s"));
        line(&mut out, format_args!("| {name} | {seconds:.2} | {:.2} | {aim} |", seconds / read.max(1e-9)));
    }
    memory(&mut out, measured);
    changes(&mut out, measured);
    out
}

fn memory(out: &mut String, measured: &Measured) {
    line(out, format_args!("\n| resident memory, MB | at the end | most | aim |\n|---|---|---|---|"));
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    for (name, Memory { now, peak }) in [("operator", measured.operator), ("gateway", measured.gateway)] {
        let (now, peak) = (megabytes(now), megabytes(peak));
        line(out, format_args!("| {name} | {now:.0} | {peak:.0} | {} |", verdict(peak, AIM.1, "MB")));
    }
}

fn changes(out: &mut String, measured: &Measured) {
    line(
        out,
        format_args!(
            "\nEvery change of one object was one message of one resource to each gateway (of 2,048 bytes at most, or this would have failed):\n\n\
             | changed | bytes, most | ms until in force at every gateway: p50 | worst |\n|---|---|---|---|"
        ),
    );
    let mut by_kind: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for change in &measured.changes {
        by_kind.entry(change.what).or_default().push(change);
    }
    for (what, changes) in by_kind {
        let bytes = changes.iter().map(|c| c.bytes).max().unwrap_or_default();
        let took: Vec<f64> = changes.iter().map(|c| c.took.as_secs_f64() * 1e3).collect();
        let worst = took.iter().copied().fold(0.0, f64::max);
        line(out, format_args!("| {what} | {bytes} | {:.0} | {worst:.0} |", median(took)));
    }
    let told = measured.told.as_secs_f64();
    line(
        out,
        format_args!(
            "\nThe operators were the leader and wrote statuses meanwhile; memory at the end is that after every object had its \
             status, {told:.0} s after the first change."
        ),
    );
}

fn verdict(value: f64, aim: f64, unit: &str) -> String {
    format!("{aim} {unit}: {}", if value <= aim { "met" } else { MISSED })
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    writeln!(out, "{text}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::{Size, measure::Plan};

    #[test]
    fn one_missed_aim_is_a_missed_page() {
        let plan = Plan { size: Size::LARGE, rounds: 1, changes: 0 };
        let second = Duration::from_secs(1);
        let starts = Starts { read: second, operator: second, first: second, gateway: second };
        let small = Memory { now: 100_000_000, peak: 149_000_000 };
        let (changes, told) = (Vec::new(), second);
        // A first installation has no aim of its own.
        let fresh = Duration::from_secs(20);
        let good =
            Measured { plan, fresh, starts: vec![starts], changes, operator: small, gateway: small, told };
        assert!(!is_missed(&page(&good)), "{}", page(&good));
        let slow = Starts { first: Duration::from_millis(5_010), ..starts };
        assert!(is_missed(&page(&Measured { starts: vec![slow], ..good.clone() })));
        let large = Memory { now: 100_000_000, peak: 151_000_000 };
        assert!(is_missed(&page(&Measured { gateway: large, ..good })));
    }
}
