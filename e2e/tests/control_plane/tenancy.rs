//! What one namespace may do to another: nothing that the other has not agreed to.

use crate::support::{Installation, key, route, token, until};
use serde_json::Value;
use tollgate_e2e::{
    cluster::Cluster,
    control_plane::{Options, chart},
    provider::Provider,
};

const REFUSED_ROUTES: &str = r#"tollgate_operator_conditions{tollgate_condition="Accepted",tollgate_kind="ProviderRoute",tollgate_status="False"}"#;
const REFUSED_SERVERS: &str = r#"tollgate_operator_conditions{tollgate_condition="Accepted",tollgate_kind="McpServer",tollgate_status="False"}"#;

/// An installation, and two tenants' namespaces that it watches.
async fn tenants(private_endpoints: bool) -> (Installation, String, String) {
    let cluster = Cluster::shared().await.unwrap();
    let (red, blue) = (cluster.namespace("red").await.unwrap(), cluster.namespace("blue").await.unwrap());
    let watch = vec![red.clone(), blue.clone()];
    let options = Options { watch, private_endpoints, gateways: 1, ..Options::default() };
    (Installation::start_on(cluster, options).await, red, blue)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_namespaces_have_a_route_of_one_name_each() {
    let (installation, red, blue) = tenants(true).await;
    // Two providers: each tenant's requests go to its own. Their keys need a consenting parent.
    let other = Provider::start().await.unwrap();
    let parent = "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: org}\nspec: {allowedNamespaces: All}\n";
    installation.apply(parent).await;
    let platform = installation.plane.namespace().to_owned();
    let child = |name: &str| {
        key(name, &format!("parentRef: {{name: org, namespace: {platform}}}, models: {{allow: [openai/*]}}"))
    };
    installation.apply_in(&red, &route("openai", &installation.provider.url(), "")).await.unwrap();
    installation.apply_in(&red, &child("red-key")).await.unwrap();
    installation.apply_in(&blue, &route("openai", &other.url(), "")).await.unwrap();
    installation.apply_in(&blue, &child("blue-key")).await.unwrap();
    installation.every_gateway("red-key", "openai/claude-sonnet-4-5", 200).await;
    installation.every_gateway("blue-key", "openai/claude-sonnet-4-5", 200).await;
    assert_eq!((installation.provider.requests().len(), other.requests().len()), (1, 1));
    // A tenant's own route that is refused hides the exported one of its name: its requests go nowhere else.
    let exported = route("shared", &installation.provider.url(), "allowedNamespaces: All");
    installation.apply(&exported).await;
    installation
        .apply_in(
            &red,
            &key(
                "user",
                &format!("parentRef: {{name: org, namespace: {platform}}}, models: {{allow: [shared/*]}}"),
            ),
        )
        .await
        .unwrap();
    installation.every_gateway("user", "shared/claude-sonnet-4-5", 200).await;
    // Nor does it take the name for others, though its namespace is the first; also not where no admission policy refuses that.
    assert!(red < platform);
    let binding = format!("tollgate-{platform}-exports");
    installation.cluster.kubectl(["delete", "validatingadmissionpolicybinding", &binding]).await.unwrap();
    let theft = route("shared", &other.url(), "allowedNamespaces: All");
    until("no policy is in force", || async {
        installation.apply_in(&red, &theft).await.map(drop).map_err(|error| format!("{error:#}"))
    })
    .await;
    until("red's own requests go to its own provider", || async {
        installation.every_gateway("user", "shared/claude-sonnet-4-5", 200).await;
        if other.requests().len() > 1 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let taken = other.requests().len();
    let victim = "parentRef: {name: org}, models: {allow: [shared/*]}";
    installation.apply_in(&blue, &key("victim", victim)).await.unwrap();
    installation.every_gateway("victim", "shared/claude-sonnet-4-5", 200).await;
    assert_eq!(other.requests().len(), taken, "blue's requests reached red's provider");
    until("the route's status says so", || async {
        let conditions =
            ["get", "providerroute", "shared", "-n", &red, "-o", "jsonpath={.status.conditions}"];
        let conditions = installation.cluster.kubectl(conditions).await.unwrap();
        if conditions.contains("PlatformNamespacesOnly") { Ok(()) } else { Err(conditions) }
    })
    .await;
    // What the API server cannot know: that these brackets hold no address.
    let refused = route("shared", "http://[1:2:3]", "");
    installation.apply_in(&red, &refused).await.unwrap();
    let answers = installation.every_gateway("user", "shared/claude-sonnet-4-5", 503).await;
    assert!(answers[0].text().contains("is not accepted"), "{}", answers[0].text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_no_way_into_the_cluster() {
    let (installation, red, _) = tenants(false).await;
    let endpoints = [
        "http://169.254.169.254/latest",
        "https://kubernetes.default.svc",
        "http://127.0.0.1:9090",
        "http://10.0.0.1",
    ];
    for (n, endpoint) in endpoints.into_iter().enumerate() {
        let name = format!("route{n}");
        installation.apply_in(&red, &route(&name, endpoint, "")).await.unwrap();
        let field = "spec.backends[0].endpoint";
        refused(&installation, &red, &format!("proutes/{name}"), field, endpoint).await;
        assert!(installation.operator_metric(REFUSED_ROUTES, (n + 1) as f64).await);
    }
    // A server likewise.
    let url = "https://kubernetes.default.svc/mcp";
    let server = format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: McpServer\nmetadata: {{name: s}}\nspec: {{streamableHttp: {{url: {url:?}}}}}\n"
    );
    installation.apply_in(&red, &server).await.unwrap();
    refused(&installation, &red, "mcps/s", "spec.streamableHttp.url", url).await;
    assert!(installation.operator_metric(REFUSED_SERVERS, 1.0).await);
}

/// Waits until an object's own status says that it is refused because of an address, by field and address.
async fn refused(installation: &Installation, namespace: &str, object: &str, field: &str, url: &str) {
    let words =
        format!("{field}: `{url}` leads to a private or cluster address, which the operator does not allow");
    until(&format!("{object} is told why it is refused"), || async {
        let get = ["get", object, "-n", namespace, "-o", "json"];
        let found: Value = serde_json::from_str(&installation.cluster.kubectl(get).await.unwrap()).unwrap();
        let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let told = |kind: &str| {
            conditions.iter().any(|c| {
                (&c["type"], &c["status"], &c["reason"]) == (&kind.into(), &"False".into(), &"Invalid".into())
                    && c["message"].as_str().is_some_and(|message| message.contains(&words))
            })
        };
        if told("Accepted") && told("Ready") { Ok(()) } else { Err(format!("{conditions:#?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_parent_did_not_consent_is_denied_and_told_why() {
    let (installation, red, _) = tenants(true).await;
    let platform = installation.plane.namespace().to_owned();
    installation.apply(&route("main", &installation.provider.url(), "allowedNamespaces: All")).await;
    let parent = |consent: &str| {
        format!(
            "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: org}}\nspec: {{{consent}}}\n"
        )
    };
    installation.apply(&parent("")).await;
    let child = key(
        "guest",
        &format!("parentRef: {{name: org, namespace: {platform}}}, models: {{allow: [main/*]}}"),
    );
    installation.apply_in(&red, &child).await.unwrap();
    let denied = installation.every_gateway("guest", "main/claude-sonnet-4-5", 403).await;
    assert!(denied[0].text().contains("does not allow keys of namespace"), "{}", denied[0].text());
    // By a label of the namespace, which it gets only then.
    installation.apply(&parent("allowedNamespaces: {selector: {matchLabels: {money: \"yes\"}}}")).await;
    installation.cluster.kubectl(["label", "namespace", &red, "money=yes"]).await.unwrap();
    installation.every_gateway("guest", "main/claude-sonnet-4-5", 200).await;
    installation.cluster.kubectl(["label", "namespace", &red, "money-"]).await.unwrap();
    installation.every_gateway("guest", "main/claude-sonnet-4-5", 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_create_keys_does_not_mint_money() {
    let cluster = Cluster::shared().await.unwrap();
    let (platform, tenant) =
        (cluster.namespace("tollgate").await.unwrap(), cluster.namespace("tenant").await.unwrap());
    let set = format!("watchNamespaces={{{tenant}}}");
    let policy = chart(&platform, &[&set], &["templates/admission/rootkeys.yaml"]).await.unwrap();
    cluster.apply(&policy).await.unwrap();
    let apply = |yaml: String| {
        let tenant = tenant.clone();
        async move {
            cluster
                .kubectl_as(cluster.kubeconfig(), ["apply", "--namespace", &tenant, "-f", "-"], &yaml)
                .await
        }
    };
    let root =
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: rich}\nspec: {}\n".to_owned();
    // The API server takes a moment to enforce a new policy.
    until("a root key is refused", || async {
        match apply(root.clone()).await {
            Err(error) if error.to_string().contains("needs spec.parentRef") => Ok(()),
            other => {
                drop(cluster.kubectl(["delete", "virtualkey", "rich", "--namespace", &tenant]).await);
                Err(format!("{other:?}"))
            }
        }
    })
    .await;
    apply(root.replace("spec: {}", "spec: {parentRef: {name: org}}")).await.unwrap();
    let error = apply(root).await.unwrap_err().to_string();
    assert!(error.contains("needs spec.parentRef"), "a parent cannot be taken away: {error}");
    let status: Value = serde_json::from_str(
        &cluster.kubectl(["get", "virtualkey", "rich", "-n", &tenant, "-o", "json"]).await.unwrap(),
    )
    .unwrap();
    assert_eq!(status["spec"]["parentRef"]["name"], "org");
    assert!(token("x").len() >= 32);
}
