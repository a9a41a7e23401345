//! Fields that this version knows but does not yet enforce. An object that sets one is refused with its name: a field that
//! is silently ignored would be a permission nobody gave, or a limit that does not hold.

use crate::api::{
    McpServerSpec, ProviderKind, ProviderRouteSpec, VirtualKeySpec, mcp_server::PinMode,
    virtual_key::ContextMode,
};
use std::fmt;

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FieldError {
    /// Path from the object's root, such as `spec.tools[0].approve`.
    pub path: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// The specs of the three kinds.
pub trait Support {
    /// The fields that are set although this version does not enforce them.
    fn not_supported_yet(&self) -> Vec<FieldError>;
}

// === impl FieldError ===

impl FieldError {
    /// An error of `path`.
    pub fn new(path: impl fmt::Display, message: impl Into<String>) -> Self {
        FieldError { path: path.to_string(), message: message.into() }
    }

    fn not_yet(path: impl fmt::Display, what: &str) -> Self {
        FieldError::new(path, format!("not supported yet: {what}"))
    }
}

// === impl VirtualKeySpec ===

impl Support for VirtualKeySpec {
    fn not_supported_yet(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.context != ContextMode::PassThrough {
            errors.push(FieldError::not_yet("spec.context", "only PassThrough is; leave it out"));
        }
        for (i, rule) in self.tools.iter().flatten().enumerate() {
            if !rule.approve.is_empty() {
                let what = "no call waits for approval in this version; deny these tools instead";
                errors.push(FieldError::not_yet(format_args!("spec.tools[{i}].approve"), what));
            }
            if rule.require_suggestion {
                let what = "suggestions are not tracked in this version; leave it out";
                errors.push(FieldError::not_yet(format_args!("spec.tools[{i}].requireSuggestion"), what));
            }
        }
        errors
    }
}

// === impl ProviderRouteSpec ===

impl Support for ProviderRouteSpec {
    fn not_supported_yet(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (i, backend) in self.backends.iter().enumerate() {
            for (kind, field) in backend.providers() {
                if !provider(kind) {
                    let what = "this version speaks to anthropic, openAI and openAICompatible";
                    errors.push(FieldError::not_yet(format_args!("spec.backends[{i}].{field}"), what));
                }
            }
            if backend.credentials.as_ref().is_some_and(|c| c.ambient) {
                let what = "give the credential in secretRef";
                errors
                    .push(FieldError::not_yet(format_args!("spec.backends[{i}].credentials.ambient"), what));
            }
        }
        errors
    }
}

/// Whether this version can talk to that kind of provider.
pub fn provider(kind: ProviderKind) -> bool {
    matches!(kind, ProviderKind::Anthropic | ProviderKind::OpenAi | ProviderKind::OpenAiCompatible)
}

// === impl McpServerSpec ===

impl Support for McpServerSpec {
    fn not_supported_yet(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.sse.is_some() {
            errors.push(FieldError::not_yet("spec.sse", "this version speaks streamableHttp and stdio"));
        }
        if self.tools.pin.is_some_and(|pin| pin != PinMode::None) {
            errors.push(FieldError::not_yet("spec.tools.pin", "only None is; leave it out"));
        }
        if !self.tools.prices.is_empty() {
            errors.push(FieldError::not_yet(
                "spec.tools.prices",
                "calls cost nothing in this version; leave it out",
            ));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    /// The paths that are not supported in a spec given in YAML's flow style.
    fn paths<T: Support + DeserializeOwned>(spec: &str) -> Vec<String> {
        let spec: T = serde_yaml::from_str(spec).unwrap_or_else(|e| panic!("{e}: {spec}"));
        let errors = spec.not_supported_yet();
        assert!(errors.iter().all(|e| e.message.starts_with("not supported yet: ")), "{errors:?}");
        errors.into_iter().map(|e| e.path).collect()
    }

    #[test]
    fn of_keys() {
        for (spec, want) in [
            ("{}", vec![]),
            ("{spending: {enforcement: Relaxed, onStoreFailure: Allow}, context: PassThrough}", vec![]),
            (
                "{tools: [{server: a, allow: ['*'], deny: [b], approve: [], requireSuggestion: false}]}",
                vec![],
            ),
            ("{serviceAccounts: [{name: a}]}", vec![]),
            ("{context: Compact}", vec!["spec.context"]),
            (
                "{tools: [{server: a}, {server: b, approve: [c], requireSuggestion: true}]}",
                vec!["spec.tools[1].approve", "spec.tools[1].requireSuggestion"],
            ),
        ] {
            assert_eq!(paths::<VirtualKeySpec>(spec), want, "{spec}");
        }
    }

    #[test]
    fn of_routes() {
        for (spec, want) in [
            ("{name: a, anthropic: {}, region: eu, credentials: {secretRef: {name: a, key: b}}}", vec![]),
            ("{name: a, openAI: {}, credentials: {ambient: false}}", vec![]),
            ("{name: a, openAICompatible: {}}", vec![]),
            ("{name: a, azureOpenAI: {}}", vec!["spec.backends[0].azureOpenAI"]),
            ("{name: a, azureFoundry: {}}", vec!["spec.backends[0].azureFoundry"]),
            ("{name: a, vertexAI: {project: a, location: b}}", vec!["spec.backends[0].vertexAI"]),
            ("{name: a, gemini: {}}", vec!["spec.backends[0].gemini"]),
            ("{name: a, bedrock: {awsRegion: a}}", vec!["spec.backends[0].bedrock"]),
            (
                "{name: a, openAI: {}, credentials: {ambient: true}}",
                vec!["spec.backends[0].credentials.ambient"],
            ),
        ] {
            assert_eq!(paths::<ProviderRouteSpec>(&format!("{{backends: [{spec}]}}")), want, "{spec}");
        }
    }

    #[test]
    fn of_servers() {
        for (spec, want) in [
            ("{streamableHttp: {url: a}, tools: {pin: None, prices: []}, naming: {mode: None}}", vec![]),
            ("{streamableHttp: {url: a}, tools: {allow: [a]}, failureMode: Closed}", vec![]),
            ("{sse: {url: a}}", vec!["spec.sse"]),
            ("{stdio: {image: a}}", vec![]),
            ("{streamableHttp: {url: a}, tools: {pin: Strict}}", vec!["spec.tools.pin"]),
            ("{streamableHttp: {url: a}, tools: {prices: [{tool: a, usd: '1'}]}}", vec!["spec.tools.prices"]),
        ] {
            assert_eq!(paths::<McpServerSpec>(spec), want, "{spec}");
        }
    }
}
