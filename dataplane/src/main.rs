//! The gateway process.

use clap::Parser;
use std::process::ExitCode;
use tollgate_dataplane::{
    args::{Args, Command},
    bridge, check, ledger, records, relay, run,
};

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tollgate_process::memory::without_huge_pages();
    let args = Args::parse();
    tollgate_process::log::init(args.log_json(), "info,sqlx=warn,opentelemetry=warn");
    let outcome = match args.command {
        None => run::run(args),
        Some(Command::Relay(args)) => relay::run(args),
        Some(Command::Bridge(args)) => bridge::run(args),
        Some(Command::Check(args)) => check::run(args),
        Some(Command::Ledger(args)) => ledger::command::run(args),
        Some(Command::Audit(args)) => records::audit::command::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate-dataplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}
