//! The patch of one pod: a pure function. Only what is missing is added, so that a second call on the outcome changes nothing, and
//! one after another webhook added a container gives that container its variables.

use super::{
    Injection, LABEL,
    annotations::{CONTAINERS, ENV, INJECTED, Wishes},
    relay,
};
use serde_json::{Value, json};

/// What to do with a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Let it pass with these changes (RFC 6902), perhaps none, and these warnings.
    Allow {
        /// The operations, in order.
        patch: Vec<Value>,
        /// In words for whoever created the pod.
        warnings: Vec<String>,
    },
    /// Refuse it: it asks for something of ours that makes no sense.
    Refuse(String),
}

/// Builds operations on a pod as it comes along.
struct Patch<'p> {
    pod: &'p Value,
    operations: Vec<Value>,
    warnings: Vec<String>,
}

/// The variables for one client, and which of a container's own variables mean that it is configured already.
struct Variables {
    unless: &'static [&'static str],
    set: Vec<(&'static str, String)>,
}

/// What clients send where they must send something; the relay drops it.
const DUMMY: &str = "tollgate";

/// What to do with `pod`.
pub fn inject(pod: &Value, injection: &Injection) -> Outcome {
    let label = pod.pointer("/metadata/labels").and_then(|l| l.get(LABEL)).and_then(Value::as_str);
    if label != Some("enabled") {
        return Outcome::Allow { patch: Vec::new(), warnings: Vec::new() };
    }
    if let Some(reason) = impossible(pod) {
        let warning = format!("tollgate: no relay was injected: {reason}");
        return Outcome::Allow { patch: Vec::new(), warnings: vec![warning] };
    }
    let wishes = match Wishes::of(pod) {
        Ok(wishes) => wishes,
        Err(reason) => return Outcome::Refuse(format!("tollgate: {reason}")),
    };
    let mut patch = Patch { pod, operations: Vec::new(), warnings: Vec::new() };
    let port = patch.relay(injection, &wishes);
    patch.volume(injection);
    if wishes.env {
        patch.variables(port, &wishes);
    }
    patch.annotation(injection);
    Outcome::Allow { patch: patch.operations, warnings: patch.warnings }
}

/// Why a pod cannot have a relay.
fn impossible(pod: &Value) -> Option<&'static str> {
    let flag = |path: &str| pod.pointer(path).and_then(Value::as_bool) == Some(true);
    if flag("/spec/hostNetwork") {
        return Some(
            "with hostNetwork everything on the node could use the pod's relay; give the agent a virtual key",
        );
    }
    if pod.pointer("/spec/os/name").and_then(Value::as_str) == Some("windows") {
        return Some("there is no relay for Windows");
    }
    None
}

// === impl Patch ===

impl<'p> Patch<'p> {
    fn list(&self, path: &str) -> &'p [Value] {
        self.pod.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, path: impl Into<String>, value: Value) {
        self.operations.push(json!({"op": "add", "path": path.into(), "value": value}));
    }

    /// Appends to a list that may not be there yet.
    fn append(&mut self, list: &str, value: Value) {
        if self.pod.pointer(list).is_some_and(Value::is_array) {
            self.add(format!("{list}/-"), value);
        } else {
            self.add(list, json!([value]));
        }
    }

    /// Adds the relay before all other init containers, which may want to use it; returns its port.
    fn relay(&mut self, injection: &Injection, wishes: &Wishes) -> u16 {
        let there = self.list("/spec/initContainers").iter().find(|c| name(c) == relay::NAME);
        if let Some(there) = there {
            return port_of(there).unwrap_or(wishes.port);
        }
        if injection.ca.is_empty() {
            self.warnings.push(
                "tollgate: the authority of the gateways is not known yet; the relay trusts the public web's"
                    .to_owned(),
            );
        }
        let container = relay::container(injection, wishes);
        if self.list("/spec/initContainers").is_empty() {
            self.add("/spec/initContainers", json!([container]));
        } else {
            self.add("/spec/initContainers/0", container);
        }
        wishes.port
    }

    fn volume(&mut self, injection: &Injection) {
        if self.list("/spec/volumes").iter().all(|v| name(v) != relay::VOLUME) {
            self.append("/spec/volumes", relay::volume(injection));
        }
    }

    fn variables(&mut self, port: u16, wishes: &Wishes) {
        let names: Vec<&str> = self.list("/spec/containers").iter().map(name).collect();
        if let Some(unknown) =
            wishes.containers.iter().flatten().find(|wanted| !names.contains(&wanted.as_str()))
        {
            self.warnings
                .push(format!("tollgate: annotation {CONTAINERS}: the pod has no container {unknown:?}"));
        }
        for i in 0..self.list("/spec/containers").len() {
            self.variables_of(i, port, wishes);
        }
    }

    fn variables_of(&mut self, i: usize, port: u16, wishes: &Wishes) {
        let Some(container) = self.list("/spec/containers").get(i) else { return };
        if wishes.containers.as_ref().is_some_and(|wanted| !wanted.contains(name(container))) {
            return;
        }
        let env: Vec<&str> =
            container.get("env").and_then(Value::as_array).into_iter().flatten().map(name).collect();
        let missing: Vec<(&str, String)> = variables(port)
            .into_iter()
            .filter(|v| !v.unless.iter().any(|own| env.contains(own)))
            .flat_map(|v| v.set)
            .filter(|(own, _)| !env.contains(own))
            .collect();
        if missing.is_empty() {
            return;
        }
        if container.get("envFrom").and_then(Value::as_array).is_some_and(|from| !from.is_empty()) {
            self.warnings.push(format!(
                "tollgate: container {:?} has envFrom, which variables of the relay's take precedence over; annotation {ENV}: \
                 disabled leaves them out",
                name(container)
            ));
        }
        let list = format!("/spec/containers/{i}/env");
        if container.get("env").is_some_and(Value::is_array) {
            for (name, value) in missing {
                self.add(format!("{list}/-"), json!({"name": name, "value": value}));
            }
        } else {
            let all: Vec<Value> =
                missing.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            self.add(list, Value::Array(all));
        }
    }

    /// Says in the pod what was done.
    fn annotation(&mut self, injection: &Injection) {
        if self.operations.is_empty() {
            return;
        }
        match self.pod.pointer("/metadata/annotations").and_then(Value::as_object) {
            Some(there) if there.contains_key(INJECTED) => {}
            Some(_) => {
                self.add(format!("/metadata/annotations/{}", escaped(INJECTED)), json!(injection.image))
            }
            None => self.add("/metadata/annotations", json!({INJECTED: injection.image})),
        }
    }
}

/// The variables by which clients find the relay. Each client's are set together or not at all: a dummy key must not go to a server
/// that the container chose itself.
fn variables(port: u16) -> [Variables; 3] {
    let base = format!("http://127.0.0.1:{port}");
    [
        Variables {
            unless: &[
                "ANTHROPIC_BASE_URL",
                "ANTHROPIC_API_KEY",
                "CLAUDE_CODE_USE_BEDROCK",
                "CLAUDE_CODE_USE_VERTEX",
            ],
            set: vec![
                ("ANTHROPIC_BASE_URL", format!("{base}/anthropic")),
                ("ANTHROPIC_AUTH_TOKEN", DUMMY.to_owned()),
            ],
        },
        Variables {
            unless: &["OPENAI_BASE_URL", "OPENAI_API_KEY"],
            set: vec![("OPENAI_BASE_URL", format!("{base}/openai/v1")), ("OPENAI_API_KEY", DUMMY.to_owned())],
        },
        Variables {
            unless: &[],
            set: vec![("TOLLGATE_URL", base.clone()), ("TOLLGATE_MCP_URL", format!("{base}/mcp"))],
        },
    ]
}

fn name(object: &Value) -> &str {
    object.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// The port that a relay which is there listens on.
fn port_of(relay: &Value) -> Option<u16> {
    let args = relay.get("args")?.as_array()?;
    let at = args.iter().position(|a| a == "--listen")?;
    args.get(at + 1)?.as_str()?.rsplit_once(':')?.1.parse().ok()
}

/// A key as a part of a JSON pointer (RFC 6901).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
