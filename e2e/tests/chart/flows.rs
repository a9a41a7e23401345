//! Who may speak to whom: the rendered NetworkPolicies, evaluated over the flows that an installation needs and over some that must
//! not be. The test cluster has no network plug-in that enforces them; this evaluates them by the rules of networking.k8s.io/v1.

use crate::support::helm;
use k8s_openapi::{
    api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::IpAddr};
use tollgate_crds::api::McpServer;
use tollgate_e2e::cluster::Cluster;
use tollgate_operator::stdio::{Runtime, objects::objects};

const HOME: &str = "tollgate-system";

/// One end of a flow. What is no pod has no namespace.
#[derive(Debug, Clone)]
struct End {
    namespace: String,
    labels: BTreeMap<String, String>,
    /// Ports by name.
    ports: BTreeMap<String, i32>,
    address: IpAddr,
}

/// All policies, and the pods that they are about.
struct Installation {
    policies: Vec<NetworkPolicy>,
    pods: BTreeMap<String, End>,
}

// === impl End ===

impl End {
    fn pod(namespace: &str, labels: Value) -> Self {
        let labels = serde_json::from_value(labels).unwrap();
        End {
            namespace: namespace.into(),
            labels,
            ports: BTreeMap::new(),
            address: "10.244.0.9".parse().unwrap(),
        }
    }

    fn outside(address: &str) -> Self {
        End { address: address.parse().unwrap(), ..End::pod("", json!({})) }
    }

    /// The pods of a Deployment or StatefulSet. Untyped: YAML of today reads modes such as 0440 as text.
    fn of(namespace: &str, template: &Value) -> Self {
        let mut end = End::pod(namespace, template["metadata"]["labels"].clone());
        let containers = template["spec"]["containers"].as_array().into_iter().flatten();
        for port in containers.flat_map(|c| c["ports"].as_array().into_iter().flatten()) {
            let number = i32::try_from(port["containerPort"].as_i64().unwrap()).unwrap();
            end.ports.insert(port["name"].as_str().unwrap().to_owned(), number);
        }
        end
    }

    /// The labels of its namespace: the one that every namespace has.
    fn namespace_labels(&self) -> BTreeMap<String, String> {
        [("kubernetes.io/metadata.name".to_owned(), self.namespace.clone())].into()
    }
}

// === impl Installation ===

impl Installation {
    async fn render(more: &[&str]) -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let text =
            helm(cluster, &format!("template tollgate charts/tollgate -n {HOME}"), more).await.unwrap();
        let mut all: Vec<Value> =
            serde_yaml::Deserializer::from_str(&text).map(|d| Value::deserialize(d).unwrap()).collect();
        let server: McpServer = serde_json::from_value(json!({
            "apiVersion": "tollgate.dev/v1alpha1", "kind": "McpServer",
            "metadata": {"name": "db", "namespace": "team-a", "uid": "u"}, "spec": {"stdio": {"image": "db:1", "command": ["db"]}},
        }))
        .unwrap();
        let runtime = Runtime { dataplane_image: "dataplane:1".into(), namespace: HOME.into() };
        all.extend(objects(&server, &runtime));
        let mut installation = Installation { policies: Vec::new(), pods: BTreeMap::new() };
        for object in all {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
            match object["kind"].as_str() {
                Some("NetworkPolicy") => installation.policies.push(serde_json::from_value(object).unwrap()),
                Some("Deployment" | "StatefulSet") => {
                    let end = End::of(&namespace, &object["spec"]["template"]);
                    installation.pods.insert(end.labels["app.kubernetes.io/component"].clone(), end);
                }
                _ => {}
            }
        }
        installation
    }

    fn pod(&self, component: &str) -> &End {
        &self.pods[component]
    }

    /// Whether both ends let it pass.
    fn passes(&self, from: &End, to: &End, port: i32, protocol: &str) -> bool {
        self.lets(from, to, to, port, protocol, "Egress")
            && self.lets(to, from, to, port, protocol, "Ingress")
    }

    /// Whether the policies of `own` let it speak with `other`: all is allowed until a policy is about a pod, then what one allows.
    fn lets(&self, own: &End, other: &End, to: &End, port: i32, protocol: &str, way: &str) -> bool {
        let about = |policy: &&NetworkPolicy| {
            let spec = policy.spec.as_ref().unwrap();
            policy.metadata.namespace.as_ref() == Some(&own.namespace)
                && matches(spec.pod_selector.as_ref().unwrap(), &own.labels)
                && spec.policy_types.as_ref().is_some_and(|types| types.iter().any(|t| t == way))
        };
        let mut about = self.policies.iter().filter(about).peekable();
        if about.peek().is_none() {
            return true;
        }
        about.any(|policy| {
            let (spec, home) = (policy.spec.as_ref().unwrap(), policy.metadata.namespace.as_deref().unwrap());
            let rules: Vec<_> = match way {
                "Ingress" => spec
                    .ingress
                    .iter()
                    .flatten()
                    .map(|rule| (rule.ports.as_deref(), rule.from.as_deref()))
                    .collect(),
                _ => spec
                    .egress
                    .iter()
                    .flatten()
                    .map(|rule| (rule.ports.as_deref(), rule.to.as_deref()))
                    .collect(),
            };
            rules.into_iter().any(|(ports, peers)| {
                let port = ports.is_none_or(|all| all.iter().any(|one| opens(one, to, port, protocol)));
                port && peers.is_none_or(|all| all.iter().any(|peer| names(peer, home, other)))
            })
        })
    }
}

fn opens(rule: &NetworkPolicyPort, to: &End, port: i32, protocol: &str) -> bool {
    let number = match &rule.port {
        None => Some(port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => to.ports.get(name).copied(),
    };
    number == Some(port) && rule.protocol.as_deref().unwrap_or("TCP") == protocol && rule.end_port.is_none()
}

fn names(peer: &NetworkPolicyPeer, home: &str, end: &End) -> bool {
    if let Some(block) = &peer.ip_block {
        return is_in(block, end.address);
    }
    let here = match &peer.namespace_selector {
        None => end.namespace == home,
        Some(selector) => !end.namespace.is_empty() && matches(selector, &end.namespace_labels()),
    };
    here && peer.pod_selector.as_ref().is_none_or(|selector| matches(selector, &end.labels))
}

fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    assert!(selector.match_expressions.is_none(), "the charts use none");
    selector.match_labels.iter().flatten().all(|(name, value)| labels.get(name) == Some(value))
}

fn is_in(block: &IPBlock, address: IpAddr) -> bool {
    let covers = |cidr: &String| {
        let (network, length) = cidr.split_once('/').unwrap();
        let (network, length): (IpAddr, u32) = (network.parse().unwrap(), length.parse().unwrap());
        match (network, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= length,
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= length,
            _ => false,
        }
    };
    covers(&block.cidr) && !block.except.iter().flatten().any(covers)
}

#[tokio::test]
async fn what_an_installation_needs_passes() {
    let all = Installation::render(&[]).await;
    let [gateway, operator] = ["gateway", "operator"].map(|name| all.pod(name));
    let agent = End::pod("team-a", json!({"app": "agent"}));
    let prometheus = End::pod("monitoring", json!({"app": "prometheus"}));
    let dns = End::pod("kube-system", json!({"k8s-app": "kube-dns"}));
    let (api_server, provider) = (End::outside("10.0.0.1"), End::outside("160.79.104.10"));
    for (what, from, to, port, protocol) in [
        ("an agent asks", &agent, gateway, 8080, "TCP"),
        ("a relay asks", &agent, gateway, 8443, "TCP"),
        ("configuration", gateway, operator, 18000, "TCP"),
        ("reports are passed on to the leader", operator, operator, 18000, "TCP"),
        ("money", gateway, all.pod("redis"), 6379, "TCP"),
        ("records", gateway, all.pod("postgres"), 5432, "TCP"),
        ("a provider", gateway, &provider, 443, "TCP"),
        ("a stdio server", gateway, all.pod("mcp-server"), 8081, "TCP"),
        ("a gateway's names", gateway, &dns, 53, "UDP"),
        ("an operator's names", operator, &dns, 53, "TCP"),
        ("the API server", operator, &api_server, 6443, "TCP"),
        ("the API server's Service", operator, &End::outside("10.96.0.1"), 443, "TCP"),
        ("the webhook", &api_server, operator, 9443, "TCP"),
        ("a gateway's metrics", &prometheus, gateway, 9090, "TCP"),
        ("an operator's metrics", &prometheus, operator, 9090, "TCP"),
    ] {
        assert!(all.passes(from, to, port, protocol), "{what}: port {port} is closed");
    }
}

#[tokio::test]
async fn what_no_installation_needs_does_not_pass() {
    let all = Installation::render(&[]).await;
    let [gateway, operator] = ["gateway", "operator"].map(|name| all.pod(name));
    let [redis, postgres, server] = ["redis", "postgres", "mcp-server"].map(|name| all.pod(name));
    let agent = End::pod("team-a", json!({"app": "agent"}));
    // Labels are anybody's to choose, in his own namespace.
    let posing = End { namespace: "team-a".into(), ..gateway.clone() };
    let neighbour = End::pod(HOME, json!({"app": "neighbour"}));
    for (what, from, to, port) in [
        ("an agent in Redis", &agent, redis, 6379),
        ("an operator in Redis", operator, redis, 6379),
        ("a neighbour in PostgreSQL", &neighbour, postgres, 5432),
        ("a pod that poses as a gateway, in Redis", &posing, redis, 6379),
        ("a pod that poses as a gateway, for configuration", &posing, operator, 18000),
        ("an agent for configuration", &agent, operator, 18000),
        ("an agent for metrics", &agent, gateway, 9090),
        ("an agent past the gateway", &agent, server, 8081),
        ("a pod that poses as a gateway, past the gateway", &posing, server, 8081),
        ("a gateway in the API server", gateway, &End::outside("10.96.0.1"), 443),
        ("a gateway in the cloud's metadata", gateway, &End::outside("169.254.169.254"), 443),
        ("a gateway in a tenant's pod", gateway, &agent, 443),
        ("a gateway in the world, without TLS", gateway, &End::outside("160.79.104.10"), 80),
        ("a gateway in a private network of IPv6", gateway, &End::outside("fd00::1"), 443),
        ("Redis in the world", redis, &End::outside("160.79.104.10"), 443),
        ("PostgreSQL in the operator", postgres, operator, 18000),
    ] {
        assert!(!all.passes(from, to, port, "TCP"), "{what}: port {port} is open");
    }
    let known = Installation::render(&["--set", "networkPolicy.apiServerCIDRs={10.0.0.1/32}"]).await;
    let operator = known.pod("operator");
    assert!(known.passes(operator, &End::outside("10.0.0.1"), 6443, "TCP"));
    assert!(!known.passes(operator, &End::outside("160.79.104.10"), 443, "TCP"), "its API server is known");
    assert!(!known.passes(&agent, operator, 9443, "TCP"), "an agent asks the webhook");
}
