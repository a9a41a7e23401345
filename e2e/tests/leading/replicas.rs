use super::{
    support::{Installation, LEADS, WRITES, key, until},
    writers::Writes,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    process::Command,
    time::{Duration, Instant},
};
use tollgate_e2e::cluster::Cluster;

const KEYS: usize = 20;

fn keys(concurrent: usize) -> String {
    (0..KEYS).map(|n| key(&format!("k{n}"), &format!("limits: {{concurrent: {concurrent}}}"))).collect()
}

/// Every object with its resource version: whoever writes anything changes one.
async fn versions(here: &Installation<'_>) -> BTreeMap<String, String> {
    let list: Value = serde_json::from_str(&here.kubectl(&["get", "vk", "-o", "json"]).await).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|o| (text(&o["metadata"]["name"]), text(&o["metadata"]["resourceVersion"]))).collect()
}

async fn all_ready(here: &Installation<'_>) {
    for n in 0..KEYS {
        here.wait_for(&format!("vk/k{n}"), "Ready", "True/Ready").await;
    }
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// For how long nothing may be written after something that is no reason to write: longer than a leader needs to take over,
/// to be sure of its gateways and to look at everything.
const QUIET: Duration = Duration::from_secs(12);

/// What nobody changes, and its resource versions: a status that flaps is written twice, and changes one, though it says the same
/// again afterwards.
struct Still {
    versions: Vec<(&'static str, String)>,
    since: Instant,
}

/// For how long what nobody changes must stay as it is: longer than a gateway may lag until its status says so.
const FLAP: Duration = Duration::from_secs(40);

impl Still {
    const OBJECTS: [&str; 2] = ["vk/still", "proutes/main"];

    fn manifests(here: &Installation<'_>) -> String {
        here.route() + &key("still", "limits: {concurrent: 1}")
    }

    async fn versions(here: &Installation<'_>) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        for object in Self::OBJECTS {
            all.push((object, here.get(object).await["metadata"]["resourceVersion"].to_string()));
        }
        all
    }

    /// As they are now, when all gateways have them.
    async fn begin(here: &Installation<'_>) -> Self {
        for object in Self::OBJECTS {
            here.wait_for(object, "Programmed", "True/Programmed").await;
            here.wait_for(object, "Ready", "True/Ready").await;
        }
        Still { versions: Self::versions(here).await, since: Instant::now() }
    }

    /// What was to be survived is over: the time counts from now.
    fn again(&mut self) {
        self.since = Instant::now();
    }

    /// Nothing was written of them, and is not until the time is over; most of it has gone by while other things were looked at.
    async fn end(self, here: &Installation<'_>) {
        tokio::time::sleep(FLAP.saturating_sub(self.since.elapsed())).await;
        assert_eq!(Self::versions(here).await, self.versions, "a status flapped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_writes_and_when_it_is_killed_the_other_does_without_touching_what_is_right() {
    let cluster = Cluster::shared_own().await.unwrap();
    let mut here = Installation::start(cluster, 2, 2).await;
    here.apply(&(keys(1) + &Still::manifests(&here))).await;
    all_ready(&here).await;
    let mut still = Still::begin(&here).await;
    let leader = here.leader(&[0, 1]).await;
    let other = 1 - leader;
    assert!(here.logged(leader, WRITES) >= KEYS);
    assert_eq!((here.logged(other, WRITES), here.logged(other, LEADS)), (0, 0), "only the leader writes");
    let audit = cluster.audit().unwrap();
    let patches = audit.iter().filter(|asked| {
        asked.namespace == here.plane.namespace() && asked.subresource == "status" && asked.code == 200
    });
    assert!(patches.count() >= here.logged(leader, WRITES), "the log tells all that is written");

    let before = versions(&here).await;
    here.plane.operator_mut(leader).unwrap().kill9().await.unwrap();
    assert_eq!(here.leader(&[other]).await, other);
    still.again();
    tokio::time::sleep(QUIET).await;
    assert_eq!(versions(&here).await, before, "a new leader that finds everything right writes nothing");
    here.apply(&keys(2)).await;
    all_ready(&here).await;
    // The one that was killed comes back, and leads no more.
    let before = versions(&here).await;
    let written = here.logged(leader, WRITES);
    here.plane.operator_mut(leader).unwrap().restart().unwrap();
    here.plane.wait_ready().await.unwrap();
    tokio::time::sleep(QUIET).await;
    assert_eq!(versions(&here).await, before);
    assert_eq!((here.logged(leader, WRITES), here.leader(&[0, 1]).await), (written, other));
    still.end(&here).await;
    let writes = Writes::of(&here);
    let counts = writes.no_second_writer();
    assert!(counts.len() == 2 && counts.values().all(|count| *count >= KEYS), "{counts:?}");
    assert_eq!(writes.moves(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_does_not_write_when_it_wakes() {
    let cluster = Cluster::shared_own().await.unwrap();
    let here = Installation::start(cluster, 2, 1).await;
    here.apply(&keys(1)).await;
    all_ready(&here).await;
    let leader = here.leader(&[0, 1]).await;
    let other = 1 - leader;
    let pid = here.plane.operator(leader).unwrap().pid().unwrap();
    signal(pid, "-STOP");
    // It would have much to write when it wakes.
    here.apply(&keys(2)).await;
    assert_eq!(here.leader(&[other]).await, other);
    all_ready(&here).await;
    let written = here.logged(leader, WRITES);
    here.apply(&keys(3)).await;
    signal(pid, "-CONT");
    until("it knows that it does not lead any more", || async {
        match here.logged(leader, "another replica leads") {
            0 => Err("it does not".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    all_ready(&here).await;
    assert_eq!(here.logged(leader, WRITES), written, "nothing was written after it woke");
    assert_eq!(here.logged(leader, LEADS), 1);
    assert_eq!(here.leader(&[0, 1]).await, other);
    // The audit log says the same of everything that was written, not only of statuses.
    let writes = Writes::of(&here);
    assert_eq!((writes.no_second_writer().len(), writes.moves()), (2, 1));
}

/// It is paused while it writes as fast as it may, again and again: whatever was on its way when it stopped is refused when it
/// wakes, or came in while it still led.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_paused_in_the_middle_of_its_writes_is_not_a_second_writer() {
    let cluster = Cluster::shared_own().await.unwrap();
    let here = Installation::start(cluster, 2, 1).await;
    here.apply(&keys(1)).await;
    all_ready(&here).await;
    let mut leader = here.leader(&[0, 1]).await;
    for round in 0..3 {
        let before = here.logged(leader, WRITES);
        here.apply(&keys(10 + round)).await;
        until("it writes", || async {
            let now = here.logged(leader, WRITES);
            if now > before { Ok(()) } else { Err(format!("{now} writes")) }
        })
        .await;
        let pid = here.plane.operator(leader).unwrap().pid().unwrap();
        signal(pid, "-STOP");
        assert_eq!(here.leader(&[1 - leader]).await, 1 - leader);
        all_ready(&here).await;
        let followed = here.logged(leader, "another replica leads");
        signal(pid, "-CONT");
        until("it follows", || async {
            if here.logged(leader, "another replica leads") > followed {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await;
        all_ready(&here).await;
        leader = 1 - leader;
    }
    let writes = Writes::of(&here);
    let counts = writes.no_second_writer();
    assert_eq!((counts.len(), writes.moves()), (2, 3), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_hands_over_at_once_and_an_api_server_that_was_away_changes_nothing() {
    let cluster = Cluster::start_own().await.unwrap();
    cluster.install_crds().await.unwrap();
    let mut here = Installation::start(&cluster, 2, 2).await;
    here.apply(&(keys(1) + &Still::manifests(&here))).await;
    all_ready(&here).await;
    let mut still = Still::begin(&here).await;
    let before = versions(&here).await;
    cluster.restart_api_server().await.unwrap();
    still.again();
    tokio::time::sleep(QUIET).await;
    assert_eq!(versions(&here).await, before);
    here.apply(&keys(2)).await;
    all_ready(&here).await;

    let leader = here.leader(&[0, 1]).await;
    let before = versions(&here).await;
    here.plane.operator_mut(leader).unwrap().stop().await.unwrap();
    assert_eq!(here.leader(&[1 - leader]).await, 1 - leader);
    assert!(here.logged(leader, "the Lease is released") == 1);
    tokio::time::sleep(QUIET).await;
    assert_eq!(versions(&here).await, before);
    here.apply(&keys(3)).await;
    all_ready(&here).await;
    still.end(&here).await;
    assert_eq!(Writes::of(&here).no_second_writer().len(), 2);
}
