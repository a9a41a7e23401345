//! Servers over standard input and output: which images may run, and where the gateway finds the one that runs.
//!
//! In a cluster the operator's leader runs each as a Deployment behind a Service whose name follows from the server's, so
//! that the compiler knows the URL without asking anybody.

/// The port of the bridge in such a server's pod.
pub const PORT: u16 = 8081;

/// The path of its endpoint.
pub const PATH: &str = "/mcp";

/// What may be run for `spec.stdio`. The default: nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StdioRules {
    /// Patterns of container images that the operator may run, such as `ghcr.io/acme/*`; `*` stands for any run of characters.
    pub images: Vec<String>,
    /// Standalone only: where this process's own bridge runs commands as its children, such as `http://127.0.0.1:40123`.
    pub local: Option<String>,
}

/// Name of the Deployment, Service and NetworkPolicy of the server `name`. A server's name has at most 48 characters.
pub fn child_name(name: &str) -> String {
    format!("mcp-{name}")
}

/// The URL of a server that runs in a cluster. The name is relative to the cluster's domain, whatever that is.
pub fn cluster_url(namespace: &str, name: &str) -> String {
    format!("http://{}.{namespace}.svc:{PORT}{PATH}", child_name(name))
}

/// The URL of a server that runs as a child of the gateway whose bridge listens at `base`.
pub fn local_url(base: &str, namespace: &str, name: &str) -> String {
    format!("{}{}", base.trim_end_matches('/'), local_path(namespace, name))
}

/// The path of that URL.
pub fn local_path(namespace: &str, name: &str) -> String {
    format!("/{namespace}/{name}{PATH}")
}

// === impl StdioRules ===

impl StdioRules {
    /// Whether the image may be run. Patterns match the image as it is written, so a pattern with a registry in it is not
    /// matched by a name that a node would complete to it.
    pub fn allows(&self, image: &str) -> bool {
        self.images.iter().any(|pattern| matches(pattern.as_bytes(), image.as_bytes()))
    }
}

/// Whether `text` matches `pattern`; `*` stands for any run of bytes. Linear in practice: only the last star is ever moved.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if text.get(t) == Some(byte) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|b| *b == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_allowed_by_pattern_and_not_by_default() {
        assert!(!StdioRules::default().allows("ghcr.io/acme/db:1"));
        let rules =
            StdioRules { images: vec!["ghcr.io/acme/*".into(), "a*b*c@sha256:*".into()], local: None };
        for yes in ["ghcr.io/acme/db:1", "ghcr.io/acme/x/y@sha256:00", "abbc@sha256:1", "axbxbc@sha256:"] {
            assert!(rules.allows(yes), "{yes}");
        }
        for no in ["ghcr.io/acme", "docker.io/ghcr.io/acme/db", "ghcr.io/acmedb", "", "abc", "bc@sha256:1"] {
            assert!(!rules.allows(no), "{no}");
        }
        assert!(StdioRules { images: vec!["*".into()], local: None }.allows("anything"));
    }

    #[test]
    fn a_server_is_found_by_its_name() {
        assert_eq!(cluster_url("team-a", "db"), "http://mcp-db.team-a.svc:8081/mcp");
        assert_eq!(local_url("http://127.0.0.1:1/", "default", "db"), "http://127.0.0.1:1/default/db/mcp");
    }
}
