//! Redis as it runs in earnest: TLS and a user with few rights, a cluster of several masters, a failover.

use super::*;
use ::redis::Value;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::Path;

/// The users' file that is delivered for people to begin with.
const USERS: &str = include_str!("../../../../../deploy/redis/users.acl");

/// An authority, and a server's certificate and key by it.
fn certificates(dir: &Path) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&key, &ca).unwrap();
    std::fs::write(dir.join("ca.crt"), ca.pem()).unwrap();
    std::fs::write(dir.join("tls.crt"), server.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

#[tokio::test]
async fn tls_and_a_user_who_may_only_what_the_ledger_needs() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let tls = server::free_port().to_string();
    let [crt, key, ca] = ["tls.crt", "tls.key", "ca.crt"].map(|name| path(dir.path(), name));
    let flags = ["--save", "", "--tls-port", &tls, "--tls-cert-file", &crt, "--tls-key-file", &key];
    let server =
        Server::with(&[&flags[..], &["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"]].concat());
    // As in the file, but for the default user, by whom this test looks.
    let rights = USERS.lines().find_map(|line| line.strip_prefix("user gateway ")).unwrap();
    let rights = rights.replace("CHANGE-ME", "first");
    let words: Vec<&str> = ["ACL", "SETUSER", "gateway"].into_iter().chain(rights.split(' ')).collect();
    server.command::<()>(&words);
    let password = dir.path().join("password");
    std::fs::write(&password, "first\n").unwrap();
    let options = Options {
        password_file: Some(password.clone()),
        ca_file: Some(dir.path().join("ca.crt")),
        ..options(Clock::Given)
    };
    let address = Address::parse(&format!("rediss://gateway@localhost:{tls}")).unwrap();
    let store = RedisStore::connect(&address, options.clone()).await.unwrap();
    // All that a gateway, an operator's hook and a drainer do.
    assert!(store.found().await.unwrap());
    store.check().await.unwrap();
    let budget = usd(1_000_000);
    let levels = [level("a/key", &[&budget]), level("a/root", &[&budget])];
    let grant = granted(&store, &levels, &ask(1, 10, NOON)).await;
    store.progress(&grant, &used(5), NOON + 2 * MINUTE).await.unwrap();
    store.settle(&levels, &grant, &used(7), NOON).await.unwrap();
    let cancelled = granted(&store, &levels, &ask(2, 10, NOON)).await;
    store.cancel(&levels, &cancelled, NOON).await.unwrap();
    granted(&store, &levels, &ask(3, 10, NOON)).await;
    assert_eq!(store.expire(NOON + 2 * MINUTE).await.unwrap().len(), 1);
    granted(&store, &[level("a/key", &[&budget]), level("a/other", &[])], &ask(4, 10, NOON)).await;
    store.deny("a/root", "a/root", Some("gone")).await.unwrap();
    assert_eq!(store.denied().await.unwrap().len(), 1);
    store.deny("a/root", "a/root", None).await.unwrap();
    let billing = Billing { request: Uuid::from_u128(50), record: b"" };
    let reset = store.reset("a/root", "a/root", None, "x", true, NOON, billing).await.unwrap();
    assert_eq!(reset, Reset::Done);
    let postings = store.committed("a/root").await.unwrap();
    let restored = store.restore(&backup("a/lost", &postings, &[grant.id]), "-").await.unwrap();
    assert_eq!((restored.trees, restored.there), (1, 2));
    assert!(store.restored().await.unwrap().is_some());
    let positions: Vec<String> = entries(&store, "a/root").await.into_iter().map(|e| e.position).collect();
    store.delete_entries("a/root", &positions).await.unwrap();
    assert_eq!(store.stream_length("a/root").await.unwrap(), 0);
    assert_eq!(store.states("a/root", &[("a/root", &[&budget])], NOON).await.unwrap().len(), 1);
    // The password changes; whoever is connected is thrown out, and comes back with the new one.
    server.command::<()>(&["ACL", "SETUSER", "gateway", "resetpass", ">second"]);
    std::fs::write(&password, "second\n").unwrap();
    server.command::<Value>(&["CLIENT", "KILL", "USER", "gateway"]);
    let patience = Patience::new();
    while store.check().await.is_err() {
        patience.wait("it comes back").await;
    }
    // A server that another authority vouches for is none of ours; and nobody is let in by the old password.
    let stranger = tempfile::tempdir().unwrap();
    certificates(stranger.path());
    let wrong = Options { ca_file: Some(stranger.path().join("ca.crt")), ..options.clone() };
    assert!(RedisStore::connect(&address, wrong).await.is_err());
    std::fs::write(&password, "first").unwrap();
    let error = RedisStore::connect(&address, options).await.unwrap_err();
    assert!(!error.to_string().contains("first"), "{error}");
}

/// Three masters, each with a third of the slots.
async fn cluster() -> Vec<Server> {
    let flags = ["--save", "", "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
    let more = ["--cluster-node-timeout", "2000"];
    let nodes: Vec<Server> = (0..3).map(|_| Server::with(&[&flags[..], &more[..]].concat())).collect();
    let slots = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
    for (n, (node, (from, to))) in nodes.iter().zip(slots).enumerate() {
        node.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", from, to]);
        node.command::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
    }
    for node in &nodes[1..] {
        nodes[0].command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string()]);
    }
    let patience = Patience::new();
    let whole = |node: &Server| {
        let info = node.command::<String>(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok")
            && info.contains("cluster_slots_ok:16384")
            && info.contains("cluster_known_nodes:3")
    };
    while !nodes.iter().all(whole) {
        patience.wait("the cluster is whole").await;
    }
    nodes
}

#[tokio::test]
async fn a_cluster_of_three_masters_keeps_its_trees_apart() {
    let mut nodes = cluster().await;
    let address = format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", nodes[0].port(), nodes[1].port());
    let store = RedisStore::connect(&Address::parse(&address).unwrap(), options(Clock::Given)).await.unwrap();
    store.found().await.unwrap();
    store.check().await.unwrap();
    let budget = usd(1_000);
    let roots: Vec<String> = (0..12).map(|n| format!("a/root-{n}")).collect();
    let mut all = Backup::default();
    for (n, root) in roots.iter().enumerate() {
        let levels = [level("a/key", &[&budget]), level(root, &[&budget])];
        // The one key moves from tree to tree, and from node to node.
        let grant = granted(&store, &levels, &ask(n as u128, 10, NOON)).await;
        let settled = store.settle(&levels, &grant, &used(7), NOON).await.unwrap();
        restores::merge(&mut all, backup(root, &settled.postings, &[grant.id]));
        assert_eq!(counted(&store, &levels[0], NOON).await, (7 * (n as u64 + 1), 0));
        assert_eq!(counted(&store, &levels[1], NOON).await, (7, 0));
        assert_eq!(entries(&store, root).await.len(), 1);
    }
    let on = |node: &Server| node.command::<u64>(&["DBSIZE"]);
    assert!(nodes.iter().all(|node| on(node) > 5), "all nodes have trees");
    // Each is emptied and restored in its turn; the others keep what they have.
    for node in &nodes {
        node.command::<()>(&["FLUSHALL"]);
        let restored = store.restore(&all, "another").await.unwrap();
        assert!((1..12).contains(&restored.trees) && restored.trees + restored.there == 12, "{restored:?}");
        store.check().await.unwrap();
        assert_eq!(counted(&store, &level("a/key", &[&budget]), NOON).await, (84, 0));
        for root in &roots {
            assert_eq!(counted(&store, &level(root, &[&budget]), NOON).await, (7, 0), "{root}");
        }
    }
    // One node gone: its trees fail, the others' go on.
    nodes[2].kill();
    let (mut failed, mut fine) = (0, 0);
    for (n, root) in roots.iter().enumerate() {
        let levels = [level(root, &[&budget])];
        match store.reserve(&levels, &ask(100 + n as u128, 10, NOON)).await {
            Ok(Decision::Granted(_)) => fine += 1,
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(error.is_store_failure(), "{error}");
                failed += 1;
            }
        }
    }
    assert!(failed > 0 && fine > 0, "{failed} failed, {fine} went on");
}

#[tokio::test]
async fn a_failover_by_sentinels_loses_no_money() {
    let mut master = Server::durable();
    let port = master.port().to_string();
    let replica = Server::with(&["--save", "", "--replicaof", "127.0.0.1", &port]);
    let dir = tempfile::tempdir().unwrap();
    let sentinels: Vec<Server> = (0..3)
        .map(|n| {
            let config = dir.path().join(format!("sentinel-{n}.conf"));
            let text = format!(
                "sentinel monitor main 127.0.0.1 {port} 2\nsentinel down-after-milliseconds main 500\n\
                 sentinel failover-timeout main 5000\n"
            );
            std::fs::write(&config, text).unwrap();
            Server::sentinel(&config)
        })
        .collect();
    let patience = Patience::new();
    let knows_all = |sentinel: &Server| {
        let info = sentinel.command::<String>(&["INFO", "sentinel"]);
        info.contains("slaves=1,sentinels=3")
    };
    while !sentinels.iter().all(knows_all) {
        patience.wait("the Sentinels know each other and the replica").await;
    }
    let ports: Vec<String> = sentinels.iter().map(|s| format!("127.0.0.1:{}", s.port())).collect();
    let address = Address::parse(&format!("redis+sentinel://{}/main", ports.join(","))).unwrap();
    let store = RedisStore::connect(&address, options(Clock::Given)).await.unwrap();
    store.found().await.unwrap();
    let budget = usd(10_000);
    let levels = [level("a/key", &[&budget]), level("a/root", &[&budget])];
    let known = granted(&store, &levels, &ask(1, 300, NOON)).await;
    store.settle(&levels, &known, &used(250), NOON).await.unwrap();
    store.sweep(NOON).await.unwrap();
    while master.command::<u64>(&["WAIT", "1", "1000"]) < 1 {
        patience.wait("the replica has it").await;
    }
    // What the master does from now on, its replica does not learn.
    replica.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    let lost = granted(&store, &levels, &ask(2, 500, NOON)).await;
    store.settle(&levels, &lost, &used(450), NOON).await.unwrap();
    let running = granted(&store, &levels, &ask(3, 600, NOON)).await;
    replica.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    master.kill();
    loop {
        patience.wait("the replica is the master, and knows all again").await;
        if store.sweep(NOON).await.is_ok()
            && let Ok(states) = store.state(&levels[1], NOON).await
            && (states[0].committed, states[0].held) == (700, 600)
        {
            break;
        }
    }
    assert_eq!(counted(&store, &levels[0], NOON).await, (700, 600));
    store.settle(&levels, &running, &used(600), NOON).await.unwrap();
    assert_eq!(replica.command::<Vec<Value>>(&["ROLE"])[0], Value::BulkString(b"master".to_vec()));
    assert_eq!(counted(&store, &levels[1], NOON).await, (1_300, 0));
}
