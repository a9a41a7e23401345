//! Looking for, writing and removing the objects of servers.

use super::{
    health::health,
    objects::SERVER_LABEL,
    plan::{Found, Print, ServerName, print},
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use tollgate_crds::{annotations::OPERATOR, stdio::child_name};

/// The kinds of objects that a server has, and where the API server has them.
const KINDS: [(&str, &str); 3] =
    [("v1", "Service"), ("networking.k8s.io/v1", "NetworkPolicy"), ("apps/v1", DEPLOYMENT)];
/// See [`KINDS`].
pub(super) const DEPLOYMENT: &str = "Deployment";

/// Finds the objects of all servers in a namespace (`None`: in all).
///
/// # Errors
/// What the API server says.
pub async fn find(client: &Client, namespace: Option<&str>, found: &mut Found) -> kube::Result<()> {
    let ours = ListParams::default().labels(SERVER_LABEL);
    for (api_version, kind) in KINDS {
        let resource = resource(api_version, kind);
        let all: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        for object in all.list(&ours).await? {
            let Some(server) = server(&object) else { continue };
            if kind == DEPLOYMENT
                && let Some(deployment) = deployment(&object)
            {
                found.healths.insert(server.clone(), health(&deployment));
            }
            found.children.entry(server).or_default().insert(kind.to_owned(), print_of(&object));
        }
    }
    Ok(())
}

/// Writes an object. `ours`: whoever changed it is overruled; else what somebody else says of it is a conflict.
///
/// # Errors
/// What the API server says; an object that is no object.
pub async fn write(client: &Client, object: &Value, ours: bool) -> kube::Result<DynamicObject> {
    let object: DynamicObject = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
    let types = object.types.clone().unwrap_or_default();
    let resource = resource(&types.api_version, &types.kind);
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &object.namespace().unwrap_or_default(), &resource);
    let by = PatchParams { force: ours, ..PatchParams::apply(OPERATOR) };
    api.patch(&object.name_any(), &by, &Patch::Apply(&object)).await
}

/// Removes an object of a server. What is not there need not be removed.
///
/// # Errors
/// What the API server says.
pub async fn remove(client: &Client, (namespace, server): &ServerName, kind: &str) -> kube::Result<()> {
    let Some((api_version, kind)) = KINDS.into_iter().find(|(_, k)| *k == kind) else { return Ok(()) };
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &resource(api_version, kind));
    match api.delete(&child_name(server), &DeleteParams::background()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

/// The print of what an object says, its status and its history aside.
pub fn print_of(object: &DynamicObject) -> Print {
    print(&json!({
        "labels": object.metadata.labels,
        "owners": object.metadata.owner_references,
        "spec": object.data.get("spec"),
    }))
}

/// The Deployment that `object` is.
pub fn deployment(object: &DynamicObject) -> Option<Deployment> {
    serde_json::from_value(serde_json::to_value(object).ok()?).ok()
}

/// The server whose object it is: by its label, its name and its owner. Somebody else's object with our label is none of ours.
fn server(object: &DynamicObject) -> Option<ServerName> {
    let server = object.labels().get(SERVER_LABEL)?.clone();
    let owned = |owner: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
        owner.kind == "McpServer" && owner.name == server && owner.controller == Some(true)
    };
    let ours = object.name_any() == child_name(&server) && object.owner_references().iter().any(owned);
    Some((object.namespace()?, server)).filter(|_| ours)
}

fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let plural = match kind {
        "NetworkPolicy" => "networkpolicies".to_owned(),
        other => format!("{}s", other.to_lowercase()),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural)
}
