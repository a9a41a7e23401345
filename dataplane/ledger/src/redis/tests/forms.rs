//! Addresses, and the forms in which Redis runs.

use super::*;
use ::redis::ConnectionAddr;

#[test]
fn addresses_are_understood() {
    let single = |url: &str| match Address::parse(url).unwrap() {
        Address::Single(info) => *info,
        other => panic!("{other:?}"),
    };
    let info = single("redis://gate:p%40ss@redis.infra:6380/3");
    assert_eq!(info.addr(), &ConnectionAddr::Tcp("redis.infra".into(), 6380));
    let settings = info.redis_settings();
    assert_eq!((settings.username(), settings.password(), settings.db()), (Some("gate"), Some("p@ss"), 3));
    assert_eq!(single("redis://localhost").addr(), &ConnectionAddr::Tcp("localhost".into(), 6379));
    assert!(matches!(single("redis://[::1]:7000").addr(), ConnectionAddr::Tcp(_, 7000)));
    assert!(matches!(single("rediss://r:6379").addr(), ConnectionAddr::TcpTls { insecure: false, .. }));

    let Address::Sentinel { nodes, master, db } =
        Address::parse("rediss+sentinel://:pw@one,two:5000/main/2").unwrap()
    else {
        panic!("not of Sentinels")
    };
    assert_eq!((nodes.len(), master.as_str(), db), (2, "main", 2));
    assert!(matches!(nodes[0].addr(), ConnectionAddr::TcpTls { port: 26379, .. }));
    assert!(matches!(nodes[1].addr(), ConnectionAddr::TcpTls { port: 5000, .. }));

    let cluster = Address::parse("redis+cluster://u:pw@one:7000,two").unwrap();
    assert_eq!(format!("{cluster:?}"), "cluster one:7000, two:6379", "and no password");
}

#[test]
fn wrong_addresses_are_told_without_their_password() {
    for url in [
        "localhost:6379",
        "http://u:geheim@r",
        "redis+other://u:geheim@r",
        "redis+sentinel://u:geheim@r:1",
        "redis+cluster://u:geheim@r/1",
        "redis://u:geheim@r/x",
        "redis://u:geheim@r:port",
        "redis+cluster://u:geheim@r,,",
    ] {
        let error = Address::parse(url).map(|address| format!("{address:?}")).unwrap_err().to_string();
        assert!(!error.contains("geheim"), "{error}");
        assert!(error.starts_with("Redis address: "), "{error}");
    }
}

#[tokio::test]
async fn a_user_of_an_acl_needs_no_dangerous_rights() {
    let server = Server::start();
    server.command::<()>(&[
        "ACL",
        "SETUSER",
        "gateway",
        "on",
        ">pw",
        "~tollgate:1:*",
        "+@all",
        "-@dangerous",
        "+info",
    ]);
    let address = Address::parse(&format!("redis://gateway:pw@127.0.0.1:{}", server.port())).unwrap();
    let store = RedisStore::connect(&address, options(Clock::Given)).await.unwrap();
    store.found().await.unwrap();
    spends(&store).await;
    let wrong = Address::parse(&format!("redis://gateway:no@127.0.0.1:{}", server.port())).unwrap();
    let error = RedisStore::connect(&wrong, options(Clock::Given)).await.unwrap_err();
    assert!(matches!(error, StoreError::Server(_)), "{error}");
    let foreign = Options { prefix: "other".into(), ..options(Clock::Given) };
    let error = RedisStore::connect(&address, foreign).await.unwrap_err();
    assert!(matches!(error, StoreError::Server(_)), "{error}");
}

#[tokio::test]
async fn a_cluster_keeps_each_tree_in_its_slot() {
    let server = Server::with(&["--save", "", "--cluster-enabled", "yes"]);
    server.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let patience = Patience::new();
    while !server.command::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
        patience.wait("the cluster is whole").await;
    }
    let address = Address::parse(&format!("redis+cluster://127.0.0.1:{}", server.port())).unwrap();
    let store = RedisStore::connect(&address, options(Clock::Given)).await.unwrap();
    store.found().await.unwrap();
    spends(&store).await;
    let fresh = Fresh { store, _server: server };
    suite::lifecycle::moved_key_takes_its_counters_along(&fresh).await;
    fresh._server.command::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    assert!(matches!(fresh.store.check().await, Err(StoreError::WrongPolicy(_))));
}

#[tokio::test]
async fn sentinels_name_the_master() {
    let master = Server::start();
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), format!("sentinel monitor main 127.0.0.1 {} 1\n", master.port())).unwrap();
    let sentinel = Server::sentinel(config.path());
    let address = Address::parse(&format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port())).unwrap();
    let store = RedisStore::connect(&address, options(Clock::Given)).await.unwrap();
    store.found().await.unwrap();
    spends(&store).await;
    let unknown = Address::parse(&format!("redis+sentinel://127.0.0.1:{}/other", sentinel.port())).unwrap();
    let error = RedisStore::connect(&unknown, options(Clock::Given)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
}

async fn spends(store: &RedisStore) {
    let budget = usd(1_000);
    let levels = [level("b/key", &[&budget]), level("b/team", &[&budget]), level("b/top", &[&budget])];
    let grant = granted(store, &levels, &ask(101, 600, NOON)).await;
    store.settle(&levels, &grant, &used(500), NOON).await.unwrap();
    granted(store, &levels, &ask(102, 500, NOON)).await;
    for level in &levels {
        assert_eq!(counted(store, level, NOON).await, (500, 500));
    }
    assert_eq!(store.sweep(NOON + 2 * MINUTE).await.unwrap(), []);
    assert_eq!(counted(store, &levels[2], NOON + MINUTE).await, (500, 0));
}
