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

/// The version of no object: etcd's first write makes the second one.
const NO_VERSION: &str = "1";

/// Writes an object. `ours`: whoever changed it is overruled; else it is made, and one that is there already is a conflict, unless
/// it is this server's and only its label is gone.
///
/// # Errors
/// What the API server says; an object that is no object.
pub async fn write(client: &Client, object: &Value, ours: bool) -> kube::Result<DynamicObject> {
    let object: DynamicObject = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
    let types = object.types.clone().unwrap_or_default();
    let resource = resource(&types.api_version, &types.kind);
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &object.namespace().unwrap_or_default(), &resource);
    let by = PatchParams::apply(OPERATOR).force();
    if !ours {
        // Applied as well, not created: the fields of a plain create would belong to another of the operator's own entries in
        // managedFields, and stay when a later version does not name them.
        let mut new = object.clone();
        new.metadata.resource_version = Some(NO_VERSION.to_owned());
        match api.patch(&object.name_any(), &by, &Patch::Apply(&new)).await {
            Err(kube::Error::Api(status)) if status.code == 409 && is_owned(&api, &object).await? => {}
            made => return made,
        }
    }
    api.patch(&object.name_any(), &by, &Patch::Apply(&object)).await
}

/// Whether what is there under the name of `object` has the same owner.
async fn is_owned(api: &Api<DynamicObject>, object: &DynamicObject) -> kube::Result<bool> {
    let named = ListParams::default().fields(&format!("metadata.name={}", object.name_any()));
    let owner = object.owner_references().first().map(|owner| owner.uid.as_str());
    let there = api.list(&named).await?;
    let mut owners = there.items.iter().flat_map(|found| found.owner_references());
    Ok(owners.any(|found| found.controller == Some(true) && Some(found.uid.as_str()) == owner))
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
