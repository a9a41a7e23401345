//! Alerts and docs name metrics that exist: an alert on one that does not would never fire.

use std::{collections::BTreeSet, path::Path};

/// What Prometheus' exporter and histograms put behind a name.
const SUFFIXES: [&str; 8] =
    ["", "_total", "_seconds", "_seconds_total", "_bucket", "_count", "_sum", "_seconds_bucket"];

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// All words of `text` that begin as our metrics and labels do.
fn words(text: &str, separator: char) -> BTreeSet<String> {
    let of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == separator;
    let words = text.split(|c: char| !of_a_name(c));
    let beginning = format!("tollgate{separator}");
    words.filter(|word| word.starts_with(&beginning)).map(|word| word.replace(separator, "_")).collect()
}

/// The names that the programs have, as Prometheus writes them.
fn known() -> BTreeSet<String> {
    let sources = ["dataplane/src/telemetry/semconv.rs", "operator/src/telemetry.rs"];
    sources.iter().flat_map(|path| words(&read(path), '.')).collect()
}

#[test]
fn alerts_and_the_operations_page_name_metrics_that_exist() {
    let known = known();
    let is_known = |word: &String| {
        SUFFIXES.iter().any(|suffix| word.strip_suffix(suffix).is_some_and(|name| known.contains(name)))
    };
    let alerts = words(&read("charts/tollgate/templates/monitoring/prometheusrule.yaml"), '_');
    assert!(alerts.contains("tollgate_ledger_up"), "{alerts:?}");
    let page = read("docs/operations.md");
    // `tollgate_records_{a,b}_total` stands for several: such rows are read by people.
    let rows: String = page.lines().filter(|line| line.starts_with("| `tollgate_")).collect();
    let whole = rows.split('`').skip(1).step_by(2).filter(|cell| !cell.contains(','));
    let told: BTreeSet<String> = whole.flat_map(|cell| words(cell, '_')).collect();
    assert!(told.contains("tollgate_ledger_up"), "{told:?}");
    let unknown: Vec<_> = alerts.iter().chain(&told).filter(|word| !is_known(word)).collect();
    assert!(unknown.is_empty(), "{unknown:?} are none of {known:?}");
}
