//! What a cluster must have before Tollgate comes.

use super::outcome::{Outcome, Report};
use crate::{cluster::Cluster, words::said};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, api::PostParams};

const SECTION: &str = "Kubernetes";
/// The oldest version that is tested: the first whose admission policies and native sidecars are both stable.
const OLDEST: (u32, u32) = (1, 33);

/// The API server answers and is new enough.
pub async fn server(cluster: &Cluster, report: &mut Report) {
    let version = match cluster.client.apiserver_version().await {
        Ok(version) => {
            report.note(SECTION, "the API server answers", Outcome::Passed);
            version
        }
        Err(error) => {
            let hint = "check the context (kubectl config current-context) and that kubectl version answers";
            report.note(SECTION, "the API server answers", Outcome::failed(said(&error), hint));
            return;
        }
    };
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
    let is_new = (number(&version.major), number(&version.minor)) >= OLDEST;
    let outcome = match is_new {
        true => Outcome::Passed,
        false => Outcome::failed(
            format!("it is {}.{}", version.major, version.minor),
            "native sidecars and admission policies need a newer cluster: upgrade it",
        ),
    };
    report.note(SECTION, format!("it is {}.{} or newer", OLDEST.0, OLDEST.1), outcome);
}

/// One may create what the charts create.
pub async fn permissions(cluster: &Cluster, namespace: &str, report: &mut Report) {
    for (group, resource, place) in [
        ("apiextensions.k8s.io", "customresourcedefinitions", None),
        ("rbac.authorization.k8s.io", "clusterroles", None),
        ("rbac.authorization.k8s.io", "clusterrolebindings", None),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", None),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies", None),
        ("apps", "deployments", Some(namespace)),
        ("", "services", Some(namespace)),
        ("", "secrets", Some(namespace)),
        ("policy", "poddisruptionbudgets", Some(namespace)),
    ] {
        let what = format!("you may create {resource}");
        report.note("Before installation", what, may_create(cluster, group, resource, place).await);
    }
}

async fn may_create(cluster: &Cluster, group: &str, resource: &str, namespace: Option<&str>) -> Outcome {
    let attributes = ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        namespace: namespace.map(str::to_owned),
        verb: Some("create".to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    match api.create(&PostParams::default(), &review).await {
        Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => Outcome::Passed,
        Ok(_) => Outcome::failed("the API server says no", "install with an administrator's account"),
        Err(error) => Outcome::failed(said(&error), "ask for permission to create selfsubjectaccessreviews"),
    }
}
