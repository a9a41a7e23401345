//! The table for people and the JSON for machines.

use super::measure::{Cell, DIRECT, FLOOR, Results, TOLLGATE, YARDSTICK};
use serde_json::{Value, json};
use std::fmt::Write;

/// What the gateway may cost, as a multiple of the floor's CPU.
const AIM: (f64, f64) = (3.0, 5.0);

/// The table.
pub fn table(results: &Results) -> String {
    let mut out = String::new();
    let head = ["", "p50 µs", "+p50", "p99 µs", "+p99", "CPU µs/req", "× floor", "peak MB", "req/s"];
    let mut last = String::new();
    for cell in &results.cells {
        let place = format!("{} · {}", cell.case, cell.mode);
        if place != last {
            line(&mut out, &format!("\n{place}"), &head[1..]);
            last = place;
        }
        line(&mut out, &format!("  {}", cell.target), &columns(results, cell));
    }
    out.push_str("\nStored on disk, content included\n");
    for (case, bytes) in &results.stored {
        line(&mut out, &format!("  {case}"), &[&format!("{bytes:.0} B/req")]);
    }
    out.push_str(&format!("\nCold start to the first answer: {:.0} ms\n", results.cold_start));
    out.push_str(&verdict(results));
    out
}

fn line<S: AsRef<str>>(out: &mut String, name: &str, columns: &[S]) {
    let pad = 46usize.saturating_sub(name.trim_start_matches('\n').chars().count());
    out.push_str(name);
    out.push_str(&" ".repeat(pad));
    for column in columns {
        // Writing to a String cannot fail.
        write!(out, "{:>11}", column.as_ref()).unwrap_or_default();
    }
    out.push('\n');
}

fn columns(results: &Results, cell: &Cell) -> Vec<String> {
    let added = |f: fn(&Cell) -> f64| match beside(results, cell, DIRECT) {
        Some(direct) if cell.target != DIRECT => format!("{:+.0}", f(cell) - f(direct)),
        _ => String::new(),
    };
    let proxy = |text: String| if cell.target == DIRECT { String::new() } else { text };
    vec![
        format!("{:.0}", cell.p50),
        added(|c| c.p50),
        format!("{:.0}", cell.p99),
        added(|c| c.p99),
        proxy(format!("{:.0}", cell.cpu)),
        proxy(format!("{:.2}", ratio(results, cell))),
        proxy(format!("{:.1}", cell.peak / 1e6)),
        format!("{:.0}", cell.rate),
    ]
}

fn beside<'r>(results: &'r Results, cell: &Cell, target: &str) -> Option<&'r Cell> {
    results.cells.iter().find(|c| c.case == cell.case && c.mode == cell.mode && c.target == target)
}

/// CPU as a multiple of the floor's.
fn ratio(results: &Results, cell: &Cell) -> f64 {
    beside(results, cell, FLOOR).map_or(0.0, |floor| cell.cpu / floor.cpu.max(1e-9))
}

fn verdict(results: &Results) -> String {
    let mut out = String::from("\nAgainst the aim\n");
    for cell in results.cells.iter().filter(|c| c.target == TOLLGATE) {
        let aim = if cell.translated { AIM.1 } else { AIM.0 };
        let got = ratio(results, cell);
        let word = if got <= aim { "within" } else { "OVER" };
        let line =
            format!("  {} · {}: {got:.2} × the floor's CPU, {word} {aim:.0} ×\n", cell.case, cell.mode);
        out.push_str(&line);
    }
    for cell in results.cells.iter().filter(|c| c.target == YARDSTICK) {
        let got = 1.0 / ratio(results, cell).max(1e-9);
        let line = format!("  {} · {}: our floor is {got:.2} × the yardstick's CPU\n", cell.case, cell.mode);
        out.push_str(&line);
    }
    out
}

/// The same as JSON.
pub fn json(results: &Results) -> Value {
    let cell = |c: &Cell| {
        json!({
            "case": c.case, "mode": c.mode, "target": c.target, "translated": c.translated,
            "p50_us": c.p50, "p99_us": c.p99, "cpu_us": c.cpu, "cpu_over_floor": ratio(results, c),
            "peak_bytes": c.peak, "requests_per_s": c.rate,
        })
    };
    let stored = |(case, bytes): &(&str, f64)| json!({"case": case, "bytes_per_request": bytes});
    json!({
        "cells": results.cells.iter().map(cell).collect::<Vec<_>>(),
        "cold_start_ms": results.cold_start,
        "stored": results.stored.iter().map(stored).collect::<Vec<_>>(),
    })
}
