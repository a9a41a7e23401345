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
        if !self.service_accounts.is_empty() {
            errors.push(FieldError::not_yet("spec.serviceAccounts", "give the key a token instead"));
        }
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
            errors.push(FieldError::not_yet("spec.sse", "this version speaks streamableHttp only"));
        }
        if self.stdio.is_some() {
            errors.push(FieldError::not_yet("spec.stdio", "this version speaks streamableHttp only"));
        }
        if self.tools.pin.is_some_and(|pin| pin != PinMode::Off) {
            errors.push(FieldError::not_yet("spec.tools.pin", "only Off is; leave it out"));
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
