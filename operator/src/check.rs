//! `tollgate-operator check PATH…`: what the operator, or a gateway on one machine, would say of manifests.

use anyhow::Context;
use std::{collections::BTreeMap, io::Write, path::PathBuf, process::ExitCode};
use tollgate_crds::{
    compile::{Input, Object, Options, Problem, Source, Status, compile},
    conditions::{ACCEPTED, RESOLVED_REFS},
    manifest::{self, FileProblem, Others, folder::scan},
    platforms,
};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folders or files of manifests; all together are one configuration.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Check by the rules of standalone mode: short tokens, private endpoints, ${NAME} in Secrets from this environment.
    #[arg(long)]
    standalone: bool,
    /// Allow endpoints at private and cluster addresses.
    #[arg(long)]
    allow_private_endpoints: bool,
    /// Namespace whose exports count, as the operator's --platform-namespace (repeatable, its own namespace too); all when left out.
    #[arg(long = "platform-namespace", value_name = "NAME")]
    platform_namespaces: Vec<String>,
    /// Names that lead nowhere are errors too. Without it they are told only: Secrets often stand elsewhere.
    #[arg(long)]
    resolve: bool,
    /// Print what is wrong and nothing else.
    #[arg(long, short)]
    quiet: bool,
}

/// How many objects, by what is said of them.
#[derive(Debug, Default)]
struct Counts {
    accepted: usize,
    refused: usize,
    dangling: usize,
    unreadable: usize,
}

/// Runs the check: prints, and returns the exit code.
pub(crate) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let (input, problems, others) = read(args)?;
    let mut counts = Counts { unreadable: problems.len(), ..Counts::default() };
    for problem in problems {
        writeln!(out, "error {problem}")?;
    }
    let mut forbidden = forbidden(&input);
    for mut status in compile(&input).statuses {
        let refusals = status.source.as_ref().and_then(|source| forbidden.remove(source));
        status.problems.extend(refusals.unwrap_or_default());
        print(&status, args, &mut counts, out)?;
    }
    if !others.is_empty() && !args.quiet {
        writeln!(out, "{others}")?;
    }
    writeln!(
        out,
        "{} accepted, {} refused, {} names that lead nowhere, {} places that cannot be read",
        counts.accepted, counts.refused, counts.dangling, counts.unreadable
    )?;
    let failed = counts.refused > 0 || counts.unreadable > 0 || (args.resolve && counts.dangling > 0);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What the chart's admission policies would say against the objects, where it was said which namespaces are the platform's.
fn forbidden(input: &Input) -> BTreeMap<Source, Vec<Problem>> {
    let Some(namespaces) = &input.platforms else { return BTreeMap::new() };
    let told = |object: &Object| Some((object.source.clone()?, platforms::refusals(object, namespaces)));
    input.objects.iter().filter_map(told).collect()
}

fn read(args: &Args) -> anyhow::Result<(Input, Vec<FileProblem>, Others)> {
    let platforms = &args.platform_namespaces;
    let platforms = (!platforms.is_empty()).then(|| platforms.iter().cloned().collect());
    let mut input = Input { options: options(args), platforms, ..Input::default() };
    let mut problems = Vec::new();
    let mut others = Others::default();
    // In a cluster nothing is expanded, and so nothing is missing.
    let environment = |name: &str| match args.standalone {
        true => std::env::var(name).ok(),
        false => Some(format!("${{{name}}}")),
    };
    for path in &args.paths {
        let files = scan(path).with_context(|| format!("cannot read {}", path.display()))?;
        for (path, content) in files {
            let name = path.display().to_string();
            match content {
                Ok(content) => {
                    let file = manifest::read(&name, &content, &environment);
                    input.objects.extend(file.objects);
                    input.namespaces.extend(file.namespaces);
                    problems.extend(file.problems);
                    others.extend(&file.others);
                }
                Err(message) => problems.push(FileProblem { file: name.into(), line: 0, column: 0, message }),
            }
        }
    }
    Ok((input, problems, others))
}

fn options(args: &Args) -> Options {
    let by_mode = if args.standalone { Options::STANDALONE } else { Options::CLUSTER };
    let allow_private_endpoints = by_mode.allow_private_endpoints || args.allow_private_endpoints;
    Options { allow_private_endpoints, ..by_mode }
}

/// Prints an object's line and those of its problems.
fn print(status: &Status, args: &Args, counts: &mut Counts, out: &mut impl Write) -> std::io::Result<()> {
    if status.is_accepted() {
        counts.accepted += 1;
    } else {
        counts.refused += 1;
    }
    if status.problems.is_empty() && !args.quiet {
        writeln!(out, "ok    {status}")?;
    }
    for problem in status.of_condition(ACCEPTED) {
        writeln!(out, "error {status}: {}: {problem}", problem.reason)?;
    }
    let severity = if args.resolve { "error" } else { "warn " };
    for problem in status.of_condition(RESOLVED_REFS) {
        counts.dangling += 1;
        writeln!(out, "{severity} {status}: {}: {problem}", problem.reason)?;
    }
    Ok(())
}
