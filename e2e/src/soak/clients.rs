//! Agents: each asks again and again, at whichever gateway, and does what Claude Code does when it is refused.

use super::{
    keys::{KEYS, Key, STEADY, STEADY_ALLOW},
    random::Random,
    stage::{Stage, World},
    turn::{self, At, End, Kind, Turn},
};
use crate::client::{Http, Mcp};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};

/// All clients.
#[derive(Debug)]
pub struct Fleet {
    world: Arc<World>,
    tasks: JoinSet<()>,
}

/// How often a request is repeated.
const TRIES: u32 = 8;
/// The longest that a client waits before it asks again; agents wait longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one thinks between two requests at most, in milliseconds.
const THINKS: u64 = 500;

// === impl Fleet ===

impl Fleet {
    /// Starts so many.
    pub fn start(stage: &Stage, clients: usize, seed: u64) -> Self {
        let (world, mut tasks) = (stage.world.clone(), JoinSet::new());
        for n in 0..clients {
            tasks.spawn(live(world.clone(), Random::new(seed ^ ((n as u64 + 1) << 32))));
        }
        Fleet { world, tasks }
    }

    /// Lets every request end.
    pub async fn stop(mut self) {
        self.world.stop.store(true, Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                self.world.judge.finding(&format!("a client of the run itself: {error}"));
            }
        }
    }
}

async fn live(world: Arc<World>, mut random: Random) {
    let http = Http::new();
    let mut session = None;
    while !world.stop.load(Relaxed) {
        let kind = Kind::deal(&mut random);
        let key = match kind {
            // A session belongs to a key.
            Kind::Tool => KEYS.iter().find(|key| key.name == STEADY),
            _ => deal(&mut random),
        };
        if let Some(key) = key {
            one(&world, &http, key, kind, &mut session, &mut random).await;
        }
        sleep(Duration::from_millis(random.below(THINKS))).await;
    }
}

fn deal(random: &mut Random) -> Option<&'static Key> {
    let mut left = random.below(KEYS.iter().map(|key| key.share).sum());
    KEYS.iter().find(|key| {
        let here = left < key.share;
        left = left.saturating_sub(key.share);
        here
    })
}

/// One request, repeated as long as that may help.
async fn one(
    world: &World,
    http: &Http,
    key: &Key,
    kind: Kind,
    session: &mut Option<Mcp>,
    random: &mut Random,
) {
    let mut gateway = random.place(world.gateways.len());
    for n in 0..TRIES {
        let turn = ask(world, http, gateway, key, kind, session, random).await;
        let end = turn.end.clone();
        world.judge.ended(turn, true);
        let pause = match end {
            End::Answered | End::HungUp => return,
            End::Refused { status: 429 | 500.., .. } | End::Broken { .. } | End::ErrorEvent(_) => {
                Duration::from_millis(100 << n.min(5)).min(PATIENCE)
            }
            // Final, but a person will try again.
            _ => return sleep(Duration::from_millis(200)).await,
        };
        if world.stop.load(Relaxed) {
            return;
        }
        sleep(pause).await;
        // What a Service does with a gateway that is gone.
        gateway = random.place(world.gateways.len());
    }
}

async fn ask(
    world: &World,
    http: &Http,
    gateway: usize,
    key: &Key,
    kind: Kind,
    session: &mut Option<Mcp>,
    random: &mut Random,
) -> Turn {
    let token = world.token(key.name);
    let at = At { http, gateway, url: world.gateway(gateway), key, token: &token };
    match kind {
        Kind::Tool => turn::call(at, session).await,
        _ => turn::ask(at, kind, random).await,
    }
}

/// Asks a gateway with a key that nothing but its tree's ledger refuses; whether it answered. Not judged.
pub async fn probe(world: &World, http: &Http, gateway: usize, kind: Kind, allow: bool) -> bool {
    let name = if allow { STEADY_ALLOW } else { STEADY };
    let Some(key) = KEYS.iter().find(|key| key.name == name) else { return false };
    let turn = ask(world, http, gateway, key, kind, &mut None, &mut Random::new(gateway as u64)).await;
    let answered = turn.end == End::Answered;
    world.judge.ended(turn, false);
    answered
}
