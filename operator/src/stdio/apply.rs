//! Writing objects, and removing those that nobody wants any more.

use super::objects::SERVER_LABEL;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service, networking::v1::NetworkPolicy};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::Value;
use std::collections::BTreeSet;
use tollgate_crds::{annotations::OPERATOR, stdio::child_name};

/// Writes an object, whoever changed it meanwhile.
///
/// # Errors
/// What the API server says; an object that is no object.
pub async fn write(client: &Client, object: &Value) -> kube::Result<()> {
    let object: DynamicObject = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
    let types = object.types.clone().unwrap_or_default();
    let resource = resource(&types.api_version, &types.kind);
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &object.namespace().unwrap_or_default(), &resource);
    let by = PatchParams::apply(OPERATOR).force();
    api.patch(&object.name_any(), &by, &Patch::Apply(&object)).await.map(drop)
}

fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind))
}

/// Removes the objects of servers that are not in `wanted`, in a namespace (`None`: in all); returns how many servers lost theirs.
///
/// # Errors
/// What the API server says.
pub async fn remove_others(
    client: &Client,
    namespace: Option<&str>,
    wanted: &BTreeSet<(String, String)>,
) -> kube::Result<usize> {
    let all: Api<Deployment> = api(client, namespace);
    let ours = ListParams::default().labels(SERVER_LABEL);
    let mut removed = 0;
    for deployment in all.list(&ours).await? {
        let namespace = deployment.namespace().unwrap_or_default();
        let Some(server) = deployment.labels().get(SERVER_LABEL).cloned() else { continue };
        // Somebody else's Deployment with our label is none of ours.
        if deployment.name_any() != child_name(&server) || !is_owned(&deployment) {
            continue;
        }
        if !wanted.contains(&(namespace.clone(), server.clone())) {
            remove(client, &namespace, &child_name(&server)).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn api(client: &Client, namespace: Option<&str>) -> Api<Deployment> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn is_owned(deployment: &Deployment) -> bool {
    deployment.owner_references().iter().any(|o| o.kind == "McpServer" && o.controller == Some(true))
}

/// The Deployment last: as long as it is there, what is left of the others is looked for again.
async fn remove(client: &Client, namespace: &str, name: &str) -> kube::Result<()> {
    let how = DeleteParams::background();
    gone(Api::<Service>::namespaced(client.clone(), namespace).delete(name, &how).await)?;
    gone(Api::<NetworkPolicy>::namespaced(client.clone(), namespace).delete(name, &how).await)?;
    gone(Api::<Deployment>::namespaced(client.clone(), namespace).delete(name, &how).await)
}

/// What is not there need not be removed.
fn gone<T>(outcome: kube::Result<T>) -> kube::Result<()> {
    match outcome {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}
