//! The page of `make soak`.

use super::{Outcome, faults::Fault};
use crate::results;
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// A fault that was dealt.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Which.
    pub fault: Fault,
    /// How long it stood.
    pub stood: Duration,
    /// From its end until all was well again.
    pub settled: Duration,
    /// Answers from its beginning until then.
    pub answered: u64,
}

// === impl Outcome ===

impl Outcome {
    /// The page.
    pub fn page(&self) -> String {
        let mut out = format!(
            "# A long run with faults\n\n`make soak SEED={}`: {:.1} minutes of faults, {} clients. {} build; real kube-apiserver, 2 operators, 3 \
             gateways, Redis with AOF, PostgreSQL; fake provider and MCP server. One fault at a time, quiet periods in between; every \
             answer is judged as it comes, all money is added up at the end.\n\n**{}**\n\n",
            self.plan.seed,
            self.took.as_secs_f64() / 60.0,
            self.plan.clients,
            results::build(),
            match self.findings.len() {
                0 => "Nothing was found.".to_owned(),
                n => format!("{n} findings."),
            },
        );
        for finding in &self.findings {
            line(&mut out, format_args!("- {finding}"));
        }
        self.faults(&mut out);
        self.ends(&mut out);
        self.revocations(&mut out);
        self.money(&mut out);
        self.secrets(&mut out);
        self.memory(&mut out);
        out
    }

    fn faults(&self, out: &mut String) {
        line(
            out,
            format_args!(
                "\n| fault | times | stood, s | well again after, s: median | worst | answers meanwhile |\n|---|---|---|---|---|---|"
            ),
        );
        let mut by_fault: BTreeMap<Fault, Vec<&Row>> = BTreeMap::new();
        for row in &self.rows {
            by_fault.entry(row.fault).or_default().push(row);
        }
        for (fault, rows) in by_fault {
            let mut settled: Vec<f64> = rows.iter().map(|row| row.settled.as_secs_f64()).collect();
            settled.sort_by(f64::total_cmp);
            let stood: f64 = rows.iter().map(|row| row.stood.as_secs_f64()).sum();
            let answered: u64 = rows.iter().map(|row| row.answered).sum();
            line(
                out,
                format_args!(
                    "| {} | {} | {stood:.0} | {:.1} | {:.1} | {answered} |",
                    fault.words(),
                    rows.len(),
                    settled.get(settled.len() / 2).copied().unwrap_or_default(),
                    settled.last().copied().unwrap_or_default(),
                ),
            );
        }
    }

    fn ends(&self, out: &mut String) {
        line(
            out,
            format_args!(
                "\nHow requests ended (each of these is explained by a budget, a limit or the fault that was going on):\n\n| | |\n|---|---|"
            ),
        );
        let mut by_kind: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for ((kind, end), count) in self.judge.ends() {
            by_kind.entry(kind).or_default().push(format!("{count} {end}"));
        }
        for (kind, ends) in by_kind {
            line(out, format_args!("| {kind} | {} |", ends.join(", ")));
        }
    }

    fn revocations(&self, out: &mut String) {
        let took = self.judge.all_ended_after();
        let Some(worst) = took.last() else { return };
        let median = took.get(took.len() / 2).copied().unwrap_or_default();
        line(
            out,
            format_args!(
                "\n{} streams were running as their key was revoked; from kubectl's start until they ended: median {:.2} s, worst {:.2} s (aim: 5 s{}).",
                took.len(),
                median.as_secs_f64(),
                worst.as_secs_f64(),
                if self.judge.is_timed() { "; later is a finding" } else { "" },
            ),
        );
    }

    fn money(&self, out: &mut String) {
        let Some(a) = &self.account else { return };
        line(
            out,
            format_args!(
                "\n| money and records | |\n|---|---|\n\
                 | model requests answered in full | {} |\n\
                 | charged exactly what they cost, to the nano-dollar | {} |\n\
                 | charged more, for attempts before that a provider may have billed | {} |\n\
                 | charges: one number in ledger, stream and PostgreSQL | {} of ${:.9}, in {} counters |\n\
                 | of holds whose gateway died; settled after that; beyond what the records say | {}; {}; ${:.9} |\n\
                 | requests sent; records | {}; {} |\n\
                 | lost by `kill -9` in the last moments: records; of answers, uncharged | {}; ${:.9} |",
                a.answered,
                a.exact,
                a.more,
                a.charges,
                a.charged as f64 / 1e9,
                a.counters,
                a.died,
                a.late,
                a.beyond as f64 / 1e9,
                a.requests,
                a.records,
                a.lost.0,
                a.lost.1 as f64 / 1e9,
            ),
        );
    }

    fn secrets(&self, out: &mut String) {
        let Some(bytes) = self.searched else { return };
        line(
            out,
            format_args!(
                "\nEvery token that a key had, the provider's key and the MCP server's credential, as they are and in base64, were searched for \
                 in each line that a program logged, in the logs of Redis, PostgreSQL and the API server, in every object and Event but Secrets (where \
                 the same search finds them), in metrics, records and error answers: {} kB beside our programs' own logs.",
                bytes / 1000
            ),
        );
    }

    fn memory(&self, out: &mut String) {
        line(
            out,
            format_args!(
                "\n| program (the process that ran at the end) | MiB, after a quarter or its start | at the end | open files | at the end |\n|---|---|---|---|---|"
            ),
        );
        for (first, last) in self.memory.compared(self.took) {
            line(
                out,
                format_args!(
                    "| {} | {} | {} | {} | {} |",
                    last.name,
                    first.resident >> 20,
                    last.resident >> 20,
                    first.files,
                    last.files
                ),
            );
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    writeln!(out, "{text}").ok();
}
