//! What the `OTEL_*` variables say that the SDK does not read by itself.
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use std::path::PathBuf;

/// What is exported, by the variables.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Environment {
    /// Traces have an endpoint.
    pub(super) traces: bool,
    /// Metrics have an endpoint.
    pub(super) metrics: bool,
    /// The authorities of the collector's certificate (PEM), in place of the public web's.
    pub(super) authorities: Option<PathBuf>,
    /// A protocol that is asked for and not spoken.
    pub(super) unsupported: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`, and `service.name` when it is said.
    named: Vec<String>,
}

// === impl Environment ===

impl Environment {
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        // An empty variable is an unset one.
        let said = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let is = |name: &str, value: &str| said(name).is_some_and(|v| v.eq_ignore_ascii_case(value));
        let on = !is("OTEL_SDK_DISABLED", "true");
        let exported = |signal: &str| {
            let endpoint = said(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
            let endpoint = endpoint.or_else(|| said("OTEL_EXPORTER_OTLP_ENDPOINT"));
            on && endpoint.is_some() && !is(&format!("OTEL_{signal}_EXPORTER"), "none")
        };
        let attributes = said("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let mut named: Vec<String> = attributes
            .split(',')
            .filter_map(|pair| Some(pair.split_once('=')?.0.trim().to_owned()))
            .collect();
        named.extend(said("OTEL_SERVICE_NAME").map(|_| "service.name".to_owned()));
        Environment {
            traces: exported("TRACES"),
            metrics: exported("METRICS"),
            authorities: said("OTEL_EXPORTER_OTLP_CERTIFICATE").map(PathBuf::from),
            unsupported: said("OTEL_EXPORTER_OTLP_PROTOCOL").filter(|p| !p.eq_ignore_ascii_case("grpc")),
            named,
        }
    }

    /// Whether the variables name this attribute of the process.
    pub(super) fn names(&self, attribute: &str) -> bool {
        self.named.iter().any(|name| name == attribute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        Environment::read(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn what_is_exported_is_what_the_variables_say() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        let on = |variables: &[(&str, &str)]| {
            let environment = read(variables);
            (environment.traces, environment.metrics)
        };
        assert_eq!(on(&[]), (false, false));
        assert_eq!(on(&[endpoint]), (true, true));
        assert_eq!(on(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), (false, false));
        assert_eq!(on(&[endpoint, ("OTEL_SDK_DISABLED", "True")]), (false, false));
        assert_eq!(on(&[endpoint, ("OTEL_METRICS_EXPORTER", "none")]), (true, false));
        assert_eq!(on(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4317")]), (true, false));
        let named =
            read(&[("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=x, a = b"), ("OTEL_SERVICE_NAME", "s")]);
        assert!(named.names("service.instance.id") && named.names("a") && named.names("service.name"));
        assert!(!named.names("service.version"));
        assert!(read(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]).unsupported.is_some());
    }
}
