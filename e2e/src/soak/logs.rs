//! What the programs say: no panic at all, and no error that the fault which is going on does not explain.

use super::{faults::Fault, stage::Stage};

/// Looks at what is new since the last time.
pub fn check(stage: &mut Stage, fault: Option<Fault>) {
    let mut found = Vec::new();
    for process in stage.processes() {
        let seen = stage.alarms.get(process.name()).copied().unwrap_or(0);
        let alarms = process.log().alarms(seen);
        found.push((process.name().to_owned(), seen + alarms.len(), alarms));
    }
    for (name, seen, alarms) in found {
        stage.alarms.insert(name.clone(), seen);
        for alarm in alarms.iter().filter(|alarm| !fault.is_some_and(|fault| explains(fault, alarm))) {
            stage.world.judge.finding(&format!("{name} logs: {alarm}"));
        }
    }
}

/// Whether a fault explains an error in a log.
fn explains(fault: Fault, line: &str) -> bool {
    let speaks_of =
        |words: &[&str]| words.iter().any(|word| line.contains(word)) && !line.contains("panicked");
    match fault {
        Fault::RedisKill | Fault::RedisPause => speaks_of(&["the ledger is away", "charges"]),
        Fault::PostgresStop | Fault::PostgresPause => {
            speaks_of(&["Records cannot be written", "Records cannot be read", "replayed"])
        }
        // It may have the writers' lock: others wait for that, and write later.
        Fault::GatewayPause => speaks_of(&["Records cannot be written"]) && speaks_of(&["lock timeout"]),
        _ => false,
    }
}

/// Keeps the logs of a run with findings, and says where.
pub fn keep(stage: &Stage) {
    let folder = std::env::temp_dir().join(format!("tollgate-soak-{}", std::process::id()));
    let kept = std::fs::create_dir_all(&folder).and_then(|()| {
        stage.processes().try_for_each(|process| {
            std::fs::write(folder.join(format!("{}.log", process.name())), process.log().text())
        })
    });
    match kept {
        Ok(()) => eprintln!("soak: the logs are in {}", folder.display()),
        Err(error) => eprintln!("soak: the logs cannot be kept: {error}"),
    }
}
