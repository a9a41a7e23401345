//! A large installation, in its short form: `make bench-scale` measures 5,000 keys.

use crate::support::until;
use std::collections::BTreeMap;
use tollgate_e2e::{
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
    scale::{Size, wire},
};

const SIZE: Size = Size { keys: 500, routes: 20, servers: 10 };

#[tokio::test(flavor = "multi_thread")]
async fn of_hundreds_of_keys_one_change_is_one_small_resource() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.namespace("tollgate").await.unwrap();
    let client = cluster.client().await.unwrap();
    SIZE.make(&client, &namespace).await.unwrap();
    let options = Options { private_endpoints: false, ..Options::default() };
    let plane = ControlPlane::start_in(cluster, &namespace, options).await.unwrap();
    let everything = format!("keys={} routes={} servers={}", SIZE.keys, SIZE.routes, SIZE.servers);
    for gateway in plane.gateways() {
        let log = gateway.log();
        until("the gateway has all of it", async || {
            log.find(&everything).map(drop).ok_or_else(|| log.text())
        })
        .await;
    }

    let first = wire::sent(plane.operator(0).unwrap().log()).unwrap();
    let mut by_kind: BTreeMap<&str, usize> = BTreeMap::new();
    for sent in &first {
        *by_kind.entry(&sent.kind).or_default() += sent.resources;
    }
    // Each object once to each of two gateways; of a person's Secret only a hash travels, in the key.
    let both = |count: usize| Some(count * 2);
    let count = |kind: &str| by_kind.get(kind).copied();
    assert_eq!(count("VirtualKey"), both(SIZE.keys), "{by_kind:?}");
    assert_eq!(count("ProviderRoute"), both(SIZE.routes), "{by_kind:?}");
    assert_eq!(count("McpServer"), both(SIZE.servers), "{by_kind:?}");
    assert_eq!(count("Secret"), both(SIZE.routes + SIZE.servers), "{by_kind:?}");

    // Fails when a change is more than one message of one resource and 2,048 bytes to each gateway.
    let changes = wire::changes(&client, &plane, 2).await.unwrap();
    let after = wire::sent(plane.operator(0).unwrap().log()).unwrap();
    assert_eq!(after.len(), first.len() + 2 * changes.len(), "something was sent beside the changes");
}
