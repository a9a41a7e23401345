//! What the user of the gateways may, and what happens where that is too little.

use super::*;

/// What the scripts are made of.
const SCRIPTS: [&str; 17] = [
    include_str!("../prelude.lua"),
    include_str!("../post.lua"),
    include_str!("../reserve.lua"),
    include_str!("../settle.lua"),
    include_str!("../cancel.lua"),
    include_str!("../progress.lua"),
    include_str!("../expire.lua"),
    include_str!("../join.lua"),
    include_str!("../leave.lua"),
    include_str!("../deliver.lua"),
    include_str!("../deny.lua"),
    include_str!("../read.lua"),
    include_str!("../reset.lua"),
    include_str!("../ended.lua"),
    include_str!("../open.lua"),
    include_str!("../home.lua"),
    include_str!("../rights.lua"),
];

#[test]
fn every_command_of_the_scripts_is_asked_for_and_among_the_rights() {
    let users = include_str!("../../../../../deploy/redis/users.acl");
    let given: Vec<&str> = users.split_whitespace().filter_map(|word| word.strip_prefix('+')).collect();
    for script in SCRIPTS {
        for (at, call) in script.match_indices("call('") {
            let rest = &script[at + call.len()..];
            let command = rest[..rest.find('\'').unwrap()].to_lowercase();
            assert!(wire::COMMANDS.contains(&&*command) || command == "info", "{command} is not asked for");
        }
    }
    for command in wire::COMMANDS {
        assert!(given.contains(&command), "{command} is not in users.acl");
    }
}

/// As with an older users' file: nothing is held, nothing is posted, and whoever looks is told which right is missing.
#[tokio::test]
async fn a_gateway_without_a_right_uses_no_redis_and_says_which() {
    let server = Server::start();
    let user = ["ACL", "SETUSER", "gateway", "on", ">pw", "~tollgate:1:*", "+@all", "-sadd", "-unlink"];
    server.command::<()>(&user);
    let address = Address::parse(&format!("redis://gateway:pw@127.0.0.1:{}", server.port())).unwrap();
    let error = RedisStore::connect(&address, options(Clock::Given)).await.unwrap_err();
    assert!(error.to_string().starts_with("Redis refused SADD, UNLINK: "), "{error}");
    assert!(error.is_store_failure());
    server.command::<()>(&["ACL", "SETUSER", "gateway", "+sadd", "+unlink"]);
    let store = RedisStore::connect(&address, options(Clock::Given)).await.unwrap();
    store.found().await.unwrap();
    store.check().await.unwrap();
    server.command::<()>(&["ACL", "SETUSER", "gateway", "-hdel"]);
    assert!(matches!(store.check().await, Err(StoreError::Rights(commands)) if commands == "HDEL"));
}

/// A right that is taken away under a gateway: an end of a hold is posted whole or not at all.
#[tokio::test]
async fn what_redis_refuses_is_refused_before_anything_changes() {
    let Fresh { store, _server: server } = fresh().await;
    let budget = usd(100_000);
    let levels = [level("a/key", &[&budget]), level("a/root", &[&budget])];
    let mut posted = 0;
    let commands = ["del", "zrem", "hmget", "hkeys", "hdel", "hset", "pexpire", "xadd", "sadd", "set"];
    for (n, command) in commands.iter().enumerate() {
        let id = 10 * n as u128;
        let grant = granted(&store, &levels, &ask(id, 300, NOON)).await;
        granted(&store, &levels, &ask(id + 1, 200, NOON - 2 * MINUTE)).await;
        let dead = granted(&store, &levels, &ask(id + 2, 100, NOON)).await;
        server.command::<()>(&["ACL", "SETUSER", "default", &format!("-{command}")]);
        let error = store.settle(&levels, &grant, &used(250), NOON).await.unwrap_err();
        assert!(matches!(error, StoreError::Server(_)), "{command}: {error}");
        let cancelled = store.cancel(&levels, &dead, NOON).await.is_ok();
        assert_eq!(cancelled, ["set", "sadd"].contains(command), "{command}");
        assert!(*command == "sadd" || store.expire(NOON).await.is_err(), "{command}");
        server.command::<()>(&["ACL", "SETUSER", "default", &format!("+{command}")]);
        let held = if cancelled { 500 } else { 600 };
        for level in &levels {
            assert_eq!(counted(&store, level, NOON).await, (posted, held), "{command}");
        }
        assert_eq!(entries(&store, "a/root").await.len(), 2 * n, "{command}");
        // Then it is carried out, once.
        store.sweep(NOON).await.unwrap();
        posted += 250;
        for level in &levels {
            assert_eq!(counted(&store, level, NOON).await, (posted, 0), "{command}");
        }
        assert_eq!(entries(&store, "a/root").await.len(), 2 * n + 2, "{command}");
    }
}
