//! Failures on request. As JSON they are what `POST /_control/script` takes:
//! `{"method":"tools/call","tool":"query","times":1,"failure":{"status":503}}`.

use serde::{Deserialize, Serialize};

/// A failure and the messages it is for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Only this method; absent: any.
    pub method: Option<String>,
    /// Only calls of this tool; absent: any.
    pub tool: Option<String>,
    /// How often; absent: once; 0: for ever.
    pub times: Option<u32>,
    /// What happens.
    pub failure: Failure,
}

/// What happens instead of, or before, the answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Failure {
    /// Milliseconds before the answer; alone: only that.
    pub delay_ms: u64,
    /// This HTTP status with a plain body.
    pub status: Option<u16>,
    /// A JSON-RPC error: code and words.
    pub error: Option<(i64, String)>,
    /// A tool's own error (`isError`) with these words.
    pub tool_error: Option<String>,
    /// A body that is no JSON, with status 200.
    pub garbage: bool,
    /// The connection is closed without an answer.
    pub drop: bool,
}

// === impl Rule ===

impl Rule {
    /// This failure of a method for ever.
    pub fn always(method: &str, failure: Failure) -> Self {
        Rule { method: Some(method.to_owned()), times: Some(0), failure, ..Rule::default() }
    }

    /// This failure of a tool's next call.
    pub fn call(tool: &str, failure: Failure) -> Self {
        Rule {
            method: Some("tools/call".to_owned()),
            tool: Some(tool.to_owned()),
            failure,
            ..Rule::default()
        }
    }

    pub(super) fn fits(&self, method: &str, tool: &str) -> bool {
        let same = |want: &Option<String>, got: &str| want.as_deref().is_none_or(|w| w == got);
        same(&self.method, method) && same(&self.tool, tool)
    }

    /// Uses the rule once; true when it is used up.
    pub(super) fn spend(&mut self) -> bool {
        match self.times {
            Some(0) => false,
            Some(n) if n > 1 => {
                self.times = Some(n - 1);
                false
            }
            _ => true,
        }
    }
}
