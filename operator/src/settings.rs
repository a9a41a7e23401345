//! What the operator was told at its start, as all its parts see it.

use std::{net::IpAddr, time::Duration};

/// The settings of a running operator.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespace it runs in, which holds what its leader owns.
    pub namespace: String,
    /// Its pod.
    pub pod: String,
    /// Its pod's address; `None` outside of a cluster.
    pub pod_ip: Option<IpAddr>,
    /// The namespaces whose objects it watches; empty: all.
    pub watch_namespaces: Vec<String>,
    /// Its own Service.
    pub service: String,
    /// The gateways' Service.
    pub gateway_service: String,
    /// ServiceAccounts of its own namespace whose pods are gateways of the shared installation: they see everything.
    pub gateway_service_accounts: Vec<String>,
    /// The audience that tokens shown to the operator and to gateways must have.
    pub audience: String,
    /// Endpoints may lead to private and cluster addresses.
    pub allow_private_endpoints: bool,
    /// Images that `McpServer.spec.stdio` may name, as globs; none: no stdio servers.
    pub allowed_stdio_images: Vec<String>,
    /// The image of the data plane, for what is injected into pods.
    pub dataplane_image: Option<String>,
    /// The MutatingWebhookConfiguration whose caBundle the leader writes.
    pub webhook_configuration: Option<String>,
    /// How long a certificate of the own authority is valid.
    pub certificate_life: Duration,
    /// Further names (or addresses) of the operator's certificate.
    pub tls_names: Vec<String>,
    /// Further names (or addresses) of the gateways' certificate.
    pub gateway_tls_names: Vec<String>,
}

// === impl Settings ===

impl Settings {
    /// Whether objects of `namespace` are watched.
    pub fn watches(&self, namespace: &str) -> bool {
        self.watch_namespaces.is_empty() || self.watch_namespaces.iter().any(|n| n == namespace)
    }

    /// The names of the operator's certificate.
    pub fn operator_names(&self) -> Vec<String> {
        [self.names_of(&self.service), self.tls_names.clone()].concat()
    }

    /// The names of the gateways' certificate.
    pub fn gateway_names(&self) -> Vec<String> {
        [self.names_of(&self.gateway_service), self.gateway_tls_names.clone()].concat()
    }

    /// The names by which a Service of the own namespace is called.
    fn names_of(&self, service: &str) -> Vec<String> {
        let namespace = &self.namespace;
        vec![
            service.to_owned(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
        ]
    }

    /// Settings of an operator without flags, for tests of its parts.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Settings {
            namespace: "tollgate-system".to_owned(),
            pod: "tollgate-operator-0".to_owned(),
            pod_ip: None,
            watch_namespaces: Vec::new(),
            service: "tollgate-operator".to_owned(),
            gateway_service: "tollgate".to_owned(),
            gateway_service_accounts: vec!["tollgate-gateway".to_owned()],
            audience: "tollgate".to_owned(),
            allow_private_endpoints: false,
            allowed_stdio_images: Vec::new(),
            dataplane_image: None,
            webhook_configuration: None,
            certificate_life: Duration::from_secs(90 * 24 * 3600),
            tls_names: Vec::new(),
            gateway_tls_names: Vec::new(),
        }
    }
}
