//! `make demo`: the mission's scenario on one machine, with nothing but Rust: fakes, the gateway with `deploy/samples/`,
//! a handful of requests, their answers and costs, and how to point Claude Code at it.
//!
//! # Layout
//! - [`stage`]: starts the fakes and the gateway; [`scenes`]: the requests, each with what it must show
//! - [`print`]: the terminal

pub mod print;
pub mod scenes;
pub mod stage;

use print::Print;
use scenes::Scene;
use stage::Stage;
use std::time::Instant;

/// What the demo is told.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// End after the scenes instead of staying up.
    pub once: bool,
}

/// Runs the demo; fails when one scene did not show what it must.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let print = Print::new();
    print.title(
        "Tollgate demo",
        "everything runs on this machine; no provider is called and no money is spent",
    );
    let started = Instant::now();
    let stage = Stage::set(&print).await?;
    let mut failed = Vec::new();
    for (i, scene) in Scene::ALL.into_iter().enumerate() {
        print.scene(i + 1, scene.title(), scene.who());
        match scene.play(&stage, &print).await {
            Ok(()) => {}
            Err(error) => {
                print.failed(&format!("{error:#}"));
                failed.push(scene.title());
            }
        }
    }
    stage.bill(&print).await?;
    stage.instructions(&print);
    anyhow::ensure!(failed.is_empty(), "not as it should be: {}", failed.join("; "));
    if options.once {
        print.note(&format!("All as it should be, in {:.1} s.", started.elapsed().as_secs_f64()));
        return stage.strike().await;
    }
    print.note("Up until you press Ctrl-C.");
    tokio::signal::ctrl_c().await?;
    print.note("\nStopping.");
    stage.strike().await
}
