//! What a pod's annotations ask for.

use serde_json::Value;
use std::collections::BTreeSet;

/// The relay's port on loopback, when the first choice does not suit.
pub(super) const PORT: &str = "tollgate.dev/relay-port";
/// `disabled`: no environment variables are set.
pub(super) const ENV: &str = "tollgate.dev/inject-env";
/// The containers that get environment variables, separated by commas; all when left out.
pub(super) const CONTAINERS: &str = "tollgate.dev/inject-containers";
/// The relay's memory and CPU.
pub(super) const MEMORY_LIMIT: &str = "tollgate.dev/relay-memory-limit";
pub(super) const CPU_REQUEST: &str = "tollgate.dev/relay-cpu-request";
/// Set by the webhook: the image of the relay that is in the pod.
pub(super) const INJECTED: &str = "tollgate.dev/injected";

/// Ports that are tried when none is asked for.
const PORTS: [u16; 4] = [8080, 18080, 28080, 38080];

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) port: u16,
    pub(super) env: bool,
    pub(super) containers: Option<BTreeSet<String>>,
    pub(super) memory_limit: String,
    pub(super) cpu_request: String,
}

// === impl Wishes ===

impl Wishes {
    /// Reads a pod's annotations.
    ///
    /// # Errors
    /// The annotation and what is wrong with it.
    pub(super) fn of(pod: &Value) -> Result<Self, String> {
        let annotation = |name: &str| {
            pod.pointer("/metadata/annotations").and_then(|a| a.get(name)).and_then(Value::as_str)
        };
        let taken = taken_ports(pod);
        let port = match annotation(PORT) {
            Some(text) => {
                let port: u16 =
                    text.parse().ok().filter(|p| *p >= 1024).ok_or_else(|| {
                        format!("annotation {PORT}: {text:?} is no port from 1024 to 65535")
                    })?;
                if taken.contains(&port) {
                    return Err(format!("annotation {PORT}: a container of the pod has port {port} already"));
                }
                port
            }
            None => PORTS.into_iter().find(|p| !taken.contains(p)).ok_or_else(|| {
                format!("the pod has all of the ports {PORTS:?}: name a free one in annotation {PORT}")
            })?,
        };
        let env = match annotation(ENV) {
            None | Some("enabled") => true,
            Some("disabled") => false,
            Some(other) => {
                return Err(format!("annotation {ENV}: {other:?} is neither enabled nor disabled"));
            }
        };
        let containers = annotation(CONTAINERS)
            .map(|names| names.split(',').map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect());
        let quantity = |name: &str, default: &str| match annotation(name) {
            None => Ok(default.to_owned()),
            Some(text) if is_quantity(text) => Ok(text.to_owned()),
            Some(text) => Err(format!("annotation {name}: {text:?} is no quantity, such as {default}")),
        };
        Ok(Wishes {
            port,
            env,
            containers,
            memory_limit: quantity(MEMORY_LIMIT, "64Mi")?,
            cpu_request: quantity(CPU_REQUEST, "10m")?,
        })
    }
}

/// The ports that the pod's containers say they have.
fn taken_ports(pod: &Value) -> BTreeSet<u16> {
    let of = |list: &str| pod.pointer(list).and_then(Value::as_array).into_iter().flatten();
    of("/spec/containers")
        .chain(of("/spec/initContainers"))
        .filter(|c| c.get("name").and_then(Value::as_str) != Some(super::relay::NAME))
        .flat_map(|c| c.get("ports").and_then(Value::as_array).into_iter().flatten())
        .filter_map(|port| u16::try_from(port.get("containerPort")?.as_u64()?).ok())
        .collect()
}

/// Digits, perhaps a fraction, and a unit: the API server checks the rest.
fn is_quantity(text: &str) -> bool {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(number.len()..).unwrap_or_default();
    !number.is_empty()
        && number.len() <= 16
        && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && number.starts_with(|c: char| c.is_ascii_digit())
        && matches!(unit, "" | "m" | "k" | "M" | "G" | "Ki" | "Mi" | "Gi")
}
