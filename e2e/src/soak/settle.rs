//! When all is well again: everything is ready and connected, every gateway has the same configuration and answers all kinds
//! of requests, and every object's status tells so.

use super::{
    clients::probe,
    keys::{CHAT, MAIN},
    stage::{GATEWAYS, Stage},
    turn::Kind,
};
use crate::{
    client::{Http, eventually},
    scale::KINDS,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams},
};
use serde_json::Value;

/// Waits until all is well; an error says what is not.
pub async fn wait(stage: &mut Stage) -> anyhow::Result<()> {
    stage.plane.wait_ready().await?;
    let http = Http::new();
    for gateway in stage.plane.gateways() {
        let what = format!("{} hears the operator", gateway.name());
        eventually(&what, || async {
            Ok(gateway.metric(&http, "tollgate_xds_connected").await.is_ok_and(|c| c == 1.0).then_some(()))
        })
        .await?;
    }
    for gateway in 0..GATEWAYS {
        for kind in [Kind::Whole, Kind::Chat(CHAT), Kind::ChatStream(MAIN), Kind::Tool] {
            let what = format!("gateway {gateway} answers a {}", kind.words());
            eventually(&what, || async {
                Ok(probe(&stage.world, &http, gateway, kind, false).await.then_some(()))
            })
            .await?;
        }
        let what = format!("gateway {gateway} answers a key that does without the ledger");
        eventually(&what, || async {
            Ok(probe(&stage.world, &http, gateway, Kind::Whole, true).await.then_some(()))
        })
        .await?;
    }
    eventually("every gateway has saved the same configuration", || async { Ok(same(stage)) }).await?;
    eventually("every status tells that all is well", || async { statuses(stage).await }).await
}

/// The versions of all resources, as each gateway saves them for its next start.
fn same(stage: &Stage) -> Option<()> {
    let saved = |n: usize| std::fs::read(stage.plane.place(&format!("gateway-{n}")).join("snapshot")).ok();
    let first = saved(0)?;
    (1..GATEWAYS).all(|n| saved(n).as_ref() == Some(&first)).then_some(())
}

/// Whether every condition of every object is true, about its newest generation.
async fn statuses(stage: &Stage) -> anyhow::Result<Option<()>> {
    let client = stage.cluster.client().await?;
    for (kind, plural) in KINDS {
        let resource = ApiResource {
            group: "tollgate.dev".to_owned(),
            version: "v1alpha1".to_owned(),
            api_version: "tollgate.dev/v1alpha1".to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), stage.plane.namespace(), &resource);
        let Ok(objects) = api.list(&ListParams::default()).await else { return Ok(None) };
        if !objects.items.iter().all(is_well) {
            return Ok(None);
        }
    }
    Ok(Some(()))
}

fn is_well(object: &DynamicObject) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    let newest =
        |c: &Value| c.get("observedGeneration").and_then(Value::as_i64) == object.metadata.generation;
    conditions.is_some_and(|all| {
        !all.is_empty() && all.iter().all(|c| newest(c) && c.get("status").is_some_and(|s| s == "True"))
    })
}
