//! The gateway process.

use clap::Parser;
use std::process::ExitCode;
use tollgate_dataplane::{
    args::{Args, Command},
    bridge, relay, run,
};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("TOLLGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if args.log_json() {
        log.json().init()
    } else {
        log.with_target(false).init()
    }
    let outcome = match args.command {
        None => run::run(args),
        Some(Command::Relay(args)) => relay::run(args),
        Some(Command::Bridge(args)) => bridge::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate-dataplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}
